"""13. The framework at work: all 13 features, ten hidden units.

The same four kinds of nodes make a real model: 13 features, 10 sigmoid units, 1 price. A fifth of
the rows is held out: the model never sees them in training, so they tell how good it is on new
houses.

Look at: the training loss keeps falling while the held-out loss turns up again: from there on the
net learns its rows by heart (overfitting). The best epoch is the one to stop at. (Its held-out loss
flatters a little, since these same rows chose the epoch; strictly, a third part would judge.)
Next: 14, what else a graph can be.
"""

import time

import numpy as np
from matplotlib import pyplot as plt

import fastgraph as fg
from _lesson import start
from fastgraph import plot
from fastgraph.engines import extension

show = start(__doc__)

# %%
boston = fg.datasets.load_boston()
order = np.random.default_rng(0).permutation(506)
held, kept = order[:101], order[101:]
mean, std = boston.data[kept].mean(axis=0), boston.data[kept].std(axis=0)
X, Y = (boston.data - mean) / std, boston.target[:, np.newaxis]


def build():
    """13-10-1: the graph, and its node that predicts."""
    x, y = fg.Input("x", shape=(13,)), fg.Input("y", shape=(1,))
    hidden = fg.Dense(x, 10, "sigmoid", seed=0, name="hidden")
    price = fg.Dense(hidden, 1, seed=1, name="price")
    return fg.Graph(fg.MSE(y, price, name="loss")), price


graph, price = build()
train, new = {"x": X[kept], "y": Y[kept]}, {"x": X[held], "y": Y[held]}
print(graph.summary())

# %%
optimizer, losses, held_out = fg.Adam(1e-2), [], []
parameters = list(graph.parameters.values())
for _ in range(600):  # an epoch at a time, to look at the held-out rows after each
    history = graph.fit(train, optimizer=optimizer, epochs=1, batch_size=32, seed=0)
    losses.append(history.loss[0])
    held_out.append(float(graph.evaluate("loss", new)))
    if held_out[-1] == min(held_out):
        best = [parameter.value.copy() for parameter in parameters]
best_epoch = int(np.argmin(held_out)) + 1
print(f"after 600 epochs: loss {losses[-1]:.2f} in training, {held_out[-1]:.2f} held out")
for parameter, value in zip(parameters, best, strict=True):
    parameter.value = value
predicted = graph.evaluate(price, new)[:, 0]
root = np.sqrt(np.mean((predicted - boston.target[held]) ** 2))
print(f"best epoch {best_epoch}: {held_out[best_epoch - 1]:.2f} held out; off by about "
      f"{root:.2f} thousand dollars (root of it)")  # fmt: skip

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
plot.history(np.array(losses), validation=np.array(held_out), ax=left, title="13-10-1")
left.set(ylabel="loss (thousands of dollars, squared)")
plot.fit(boston.target[held], predicted, {"exact": lambda true: true}, ax=right,
         xlabel="true price (thousands of dollars)",
         ylabel="predicted price (thousands of dollars)", title="101 held-out rows")  # fmt: skip
show(figure, "13_net")

# %% [markdown]
# How fast is it? The same training, batches of 11, by each engine:

# %%
rates, final, chosen = {}, {}, fg.engine()
for engine in ("numpy", "native") if extension.NATIVE_AVAILABLE else ("numpy",):
    fg.set_engine(engine)
    graph, _ = build()
    graph.fit(train, optimizer=fg.SGD(1e-2), epochs=5, batch_size=11)
    clock = time.perf_counter()
    history = graph.fit(train, optimizer=fg.SGD(1e-2), epochs=20, batch_size=11)
    rates[engine] = history.steps / (time.perf_counter() - clock)
    final[engine] = history.loss[-1]
    print(f"{engine:<7} {rates[engine]:>10,.0f} steps a second, loss {final[engine]:.9f}")
fg.set_engine(chosen)
_, ax = plt.subplots(figsize=(7.2, 2.8), layout="constrained")
show(plot.speed({"13-10-1": rates}, title="Training speed, batches of 11", ax=ax), "13_speed")
