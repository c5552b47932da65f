"""6. Gradient descent: ask the loss itself for the direction.

The loss is a formula of k and b, so it can be differentiated: the partial derivatives say how much
it grows for a small step in k and in b. Go the other way, a little. With e = k x + b - y:

    loss = mean e²        ∂loss/∂k = mean 2 e x        ∂loss/∂b = mean 2 e

Look at: from a start far off, it reaches the valley and goes on along it, where direction search
sticks; but the valley's floor is nearly flat, and there it crawls. Next: 6b, how to make it fly.
"""

import numpy as np
from matplotlib import pyplot as plt

import fastgraph as fg
from _lesson import start
from fastgraph import plot

show = start(__doc__)

# %%
boston = fg.datasets.load_boston()
rooms, prices = boston["RM"], boston["MEDV"]


def loss(k, b):
    return ((k * rooms + b - prices) ** 2).mean()


def partial_k(k, b):
    return (2 * (k * rooms + b - prices) * rooms).mean()


def partial_b(k, b):
    return (2 * (k * rooms + b - prices)).mean()


k, b = far = np.random.default_rng(3).uniform(-200, -100, size=2)  # where the lesson starts
by_step_k = (loss(k + 1e-4, b) - loss(k - 1e-4, b)) / 2e-4
by_step_b = (loss(k, b + 1e-4) - loss(k, b - 1e-4)) / 2e-4
print(f"at k = {k:.2f}, b = {b:.2f} the loss is {loss(k, b):,.0f}")
print(f"∂loss/∂k = {partial_k(k, b):,.2f}; by a small step in k: {by_step_k:,.2f}")
print(f"∂loss/∂b = {partial_b(k, b):,.2f}; by a small step in b: {by_step_b:,.2f}")

# %% Two derivatives and a learning rate of 0.001 are the whole method.
learning_rate, path = 1e-3, [far]
for _ in range(50_000):
    k, b = k - learning_rate * partial_k(k, b), b - learning_rate * partial_b(k, b)
    path.append((k, b))

exact = np.polyfit(rooms, prices, 1)
least = loss(*exact)
for steps in (0, 10, 100, 1000, 10_000, 50_000):
    k, b = path[steps]
    print(f"step {steps:6}: price = {k:7.2f} * RM + {b:7.2f}   loss {loss(k, b):13,.2f}")
print(f"least squares: price = {exact[0]:.2f} * RM + {exact[1]:.2f}, loss {least:.2f}")

# %% [markdown]
# The three methods, 10,000 tries each. Direction search starts where gradient descent does; where
# it sticks is luck: it is where its diagonal meets the valley. Random search draws from
# [-100, 100], which is a great help; its path joins the draws that improved.

# %%
rng = np.random.default_rng(0)
draws = rng.uniform(-100, 100, size=(10_000, 2))
random_losses = np.array([loss(*draw) for draw in draws])
random_curve = np.minimum.accumulate(random_losses)
directions = np.array([(1, 1), (1, -1), (-1, 1), (-1, -1)])
direction_path, direction_curve, now = [far], [], 0
for _ in range(10_000):
    tried = direction_path[-1] + 0.3 * directions[now]
    if loss(*tried) < loss(*direction_path[-1]):
        direction_path.append(tried)
    else:
        now = (now + rng.integers(1, 4)) % 4
    direction_curve.append(loss(*direction_path[-1]))
descent = np.array([loss(*at) for at in path[:10_000]])
improved = draws[random_losses == random_curve]
names = "random search", "direction search", "gradient descent"
curves = dict(zip(names, (random_curve, np.array(direction_curve), descent), strict=True))
paths = dict(zip(names, (improved, direction_path, path), strict=True))
for name in names:
    print(f"{name:<17} loss {curves[name][-1]:8.2f} after 10,000 tries")

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
plot.history(curves, xlabel="try", title="The best loss so far", ax=left)
left.axhline(least, color="black", linewidth=0.8)
left.text(1.2, 1.08 * least, f"least squares: {least:.1f}")
left.set(xscale="log", ylabel="loss (thousands of dollars, squared)")
left.legend(loc="upper center", bbox_to_anchor=(0.45, -0.12), ncols=3, columnspacing=1)
k_node, b_node = fg.Parameter(0.0, "k"), fg.Parameter(0.0, "b")
graph = fg.Graph(fg.MSE(fg.Input("y"), k_node * fg.Input("x") + b_node))
plot.loss_surface(graph, k_node, b_node, {"x": rooms, "y": prices}, path=paths,
                  marks={"least squares": exact}, ax=right)  # fmt: skip
right.set(xlabel="k (thousands of dollars a room)", ylabel="b (thousands of dollars)",
          title="Their ways (hollow: start, full: end)")  # fmt: skip
show(figure, "06_three_methods")
