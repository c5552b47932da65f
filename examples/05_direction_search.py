"""5. Direction search: go on where it helps, turn where it does not.

Random search forgets everything. Now each try starts from the best line so far and moves k and b
by 0.3 each, in one of four directions (±1, ±1). A direction that helps is kept; one that does not
is swapped for another of the four at random.

Look at: it runs down the slope in a straight line, then sticks. It has found the floor of a
narrow valley, and all four directions lead up its sides.
Next: 6, ask the loss itself for the direction.
"""

import numpy as np

import fastgraph as fg
from _lesson import start
from fastgraph import plot

show = start(__doc__)

# %%
boston = fg.datasets.load_boston()
rooms, prices = boston["RM"], boston["MEDV"]
directions = [(+1, +1), (+1, -1), (-1, +1), (-1, -1)]
step = 0.3


def loss(k, b):
    """The mean squared error of the line, in (thousands of dollars)²."""
    return ((k * rooms + b - prices) ** 2).mean()


rng = np.random.default_rng(0)
k, b = rng.uniform(-100, 100, size=2)
best, direction = loss(k, b), directions[0]
curve, path, last = [], [(k, b)], 0
for attempt in range(1, 10_001):
    new_k, new_b = k + step * direction[0], b + step * direction[1]
    now = loss(new_k, new_b)
    if now < best:
        k, b, best, last = new_k, new_b, now, attempt
        path.append((k, b))
        if len(path) % 7 == 1:
            print(f"try {attempt:4}: price = {k:6.2f} * RM + {b:6.2f}   loss {best:10,.2f}")
    else:
        others = [other for other in directions if other != direction]
        direction = others[rng.integers(3)]
    curve.append(best)
print(f"{len(path) - 1} steps in 10,000 tries; after try {last} none helped any more")

# %%
exact_k, exact_b = np.polyfit(rooms, prices, 1)
least = loss(exact_k, exact_b)
print(f"stuck at:       price = {k:.2f} * RM + {b:.2f}, loss {best:.2f}")
print(f"least squares:  price = {exact_k:.2f} * RM + {exact_b:.2f}, loss {least:.2f}")
around = [loss(k + step * dk, b + step * db) for dk, db in directions]
print("the four directions from here:", ", ".join(f"{value:.2f}" for value in around))

# %% [markdown]
# The picture shows why. The loss over (k, b) is a long narrow valley: along it a larger k makes up
# for a smaller b. To go on, the step would have to run *along* the valley, about 6.3 down in b for
# 1 up in k, and that is none of the four.

# %%
x, y = fg.Input("x"), fg.Input("y")
k_node, b_node = fg.Parameter(k, "k"), fg.Parameter(b, "b")
graph = fg.Graph(fg.MSE(y, k_node * x + b_node))
ax = plot.loss_surface(
    graph, k_node, b_node, {x: rooms, y: prices}, path={"direction search": path},
    marks={"least squares": (exact_k, exact_b)},
)  # fmt: skip
ax.set(xlabel="k (thousands of dollars a room)", ylabel="b (thousands of dollars)")
ax.set_title("Down the slope, then stuck")
show(ax, "05_path")
