"""14. A gallery: what "more complex than k * x + b" comes to.

Three small models, each with a few lines of graph: a deeper net on a noisy sine, a classifier with
a curved border, and an operation of your own.

Look at: nothing new is needed. More layers, another loss, one more node: the graph is sorted, run
forward and backward as before.
Next: your own data.
"""

import numpy as np
from matplotlib import pyplot as plt

import fastgraph as fg
from _lesson import start
from fastgraph import plot

show = start(__doc__)

# %% A deeper net: 1-32-32-1 on a noisy sine.
rng = np.random.default_rng(0)
xs = rng.uniform(-np.pi, np.pi, (300, 1))
ys = np.sin(2 * xs) + rng.normal(0, 0.2, xs.shape)
x, y = fg.Input("x", shape=(1,)), fg.Input("y", shape=(1,))
deep = fg.Dense(fg.Dense(fg.Dense(x, 32, "tanh", seed=1), 32, "tanh", seed=2), 1, seed=3)
graph = fg.Graph(fg.MSE(y, deep))
history = graph.fit({x: xs, y: ys}, optimizer=fg.Adam(5e-3), epochs=500, batch_size=50)
grid = np.linspace(-np.pi, np.pi, 200)[:, np.newaxis]
sine_error = np.sqrt(np.mean((graph.evaluate(deep, {x: grid}) - np.sin(2 * grid)) ** 2))
print(f"sine: loss {history.loss[-1]:.4f} (the noise alone has 0.04), off the true curve by "
      f"{sine_error:.3f}")  # fmt: skip
ax = plot.fit(xs, ys, {"sin 2x": lambda at: np.sin(2 * at),
              "1-32-32-1": lambda at: graph.evaluate(deep, {x: at[:, np.newaxis]})})  # fmt: skip
show(ax, "14_sine")

# %% [markdown]
# Two classes: the output u is turned into a probability by a sigmoid, and the loss is the negative
# logarithm of the probability of the right class (cross-entropy). As one formula of nodes it is
# mean log(1 + exp u) - y u.

# %%
angle = rng.uniform(0, np.pi, 200)
upper = np.column_stack([np.cos(angle), np.sin(angle)])
lower = np.column_stack([1 - np.cos(angle), 0.5 - np.sin(angle)])
points = np.vstack([upper, lower]) + rng.normal(0, 0.12, (400, 2))
moon = np.repeat([0.0, 1.0], 200)[:, np.newaxis]
p, label = fg.Input("point", shape=(2,)), fg.Input("label", shape=(1,))
u = fg.Dense(fg.Dense(fg.Dense(p, 16, "relu", seed=1), 16, "relu", seed=2), 1, seed=3)
moons = fg.Graph(fg.Mean(fg.Log(1 + fg.Exp(u)) - label * u, name="cross-entropy"))
moons.fit({p: points, label: moon}, optimizer=fg.Adam(1e-2), epochs=100, batch_size=50)
right = np.mean((moons.evaluate(u, {p: points}) > 0) == moon)
print(f"two moons: {right:.1%} right, cross-entropy "
      f"{moons.evaluate('cross-entropy', {p: points, label: moon}):.4f}")  # fmt: skip

across, up = np.meshgrid(np.linspace(-1.6, 2.6, 150), np.linspace(-1.1, 1.6, 120))
field = moons.evaluate(u, {p: np.column_stack([across.ravel(), up.ravel()])}).reshape(across.shape)
_, ax = plt.subplots(figsize=(6.4, 4.8), layout="constrained")
filled = ax.contourf(across, up, 1 / (1 + np.exp(-field)), np.linspace(0, 1, 11), cmap="cividis")
ax.contour(across, up, field, [0], colors="white", linewidths=2)
for which, marker, color in ((0, "o", "white"), (1, "^", plot.PALETTE["vermillion"])):
    mine = points[moon[:, 0] == which]
    ax.scatter(*mine.T, marker=marker, color=color, edgecolor="black", s=24, label=f"moon {which}")
ax.figure.colorbar(filled, label="probability of moon 1")
ax.set(xlabel="first coordinate", ylabel="second coordinate", title="Two moons (white: 50 %)")
ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
show(ax, "14_moons")


# %% An operation of your own: two formulas, and a check that they agree.
class Sine(fg.Node):
    """sin x, as an activation."""

    def shape(self, x):
        return x

    def forward(self, x):
        return np.sin(x)

    def backward(self, gradient, x):
        return (np.cos(x) * gradient,)


wave = fg.Dense(fg.Dense(x, 8, Sine, seed=4), 1, seed=5)
waves = fg.Graph(fg.MSE(y, wave))
report = fg.check_gradients(waves, {x: xs[:20], y: ys[:20]})
own = waves.fit({x: xs, y: ys}, optimizer=fg.Adam(1e-2), epochs=500, batch_size=50)
wave_error = np.sqrt(np.mean((waves.evaluate(wave, {x: grid}) - np.sin(2 * grid)) ** 2))
print(f"check: {report}")
print(f"eight sines: {waves.parameter_count} parameters instead of {graph.parameter_count}, loss "
      f"{own.loss[-1]:.4f}, off the true curve by {wave_error:.3f}")  # fmt: skip
ax = plot.fit(xs, ys, {"sin 2x": lambda at: np.sin(2 * at),
              "eight sines": lambda at: waves.evaluate(wave, {x: at[:, np.newaxis]})})  # fmt: skip
show(ax, "14_own_node")
