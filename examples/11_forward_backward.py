"""11. Feed forward and backward, step by step.

Forward: walk the sorted order; every node computes its value from those before it. Backward: walk
it in reverse; every node receives its gradient (how much the loss grows with it) and hands each of
its inputs that gradient times the local derivative on the edge between them.

Look at: first the order alone (red has been reached going forward, black going back, green waits).
Then the same walk with the numbers of one house: below each name its value, going back its
gradient ∂, and on the edges the local derivatives. Multiply along a path: the products of step 9.
Next: 12, write the framework that does this.
"""

import numpy as np

import fastgraph as fg
from _lesson import start
from fastgraph import plot

show = start(__doc__)

# %%
lesson = {
    "x": ["linear"], "k1": ["linear"], "b1": ["linear"], "linear": ["sigmoid"],
    "sigmoid": ["linear_2"], "k2": ["linear_2"], "b2": ["linear_2"], "linear_2": ["loss"],
    "y": ["loss"],
}  # fmt: skip
show(plot.steps(lesson, "forward"), "11_forward_order")
show(plot.steps(lesson, "backward"), "11_backward_order")

# %%
boston = fg.datasets.load_boston()
rooms, prices = boston["RM"], boston["MEDV"]
z = (rooms - rooms.mean()) / rooms.std()

x, y = fg.Input("x"), fg.Input("y")
k1, b1 = fg.Parameter(1.0, "k1"), fg.Parameter(0.0, "b1")
k2, b2 = fg.Parameter(10.0, "k2"), fg.Parameter(10.0, "b2")
linear = fg.Linear(x, k1, b1, name="linear")
sigmoid = fg.Sigmoid(linear, name="sigmoid")
linear_2 = fg.Linear(sigmoid, k2, b2, name="linear_2")
graph = fg.Graph(fg.MSE(y, linear_2, name="loss"))

graph.forward({x: z[:1], y: prices[:1]})  # one house; a batch of one
graph.backward()
print("forward:")
for node in graph.nodes:
    print(f"  {graph.label(node):<9} value {node.value.item():9.4f}")
print("backward:")
for node in reversed(graph.nodes):
    hands = ", ".join(f"{graph.label(to)} {part.item():.4f}" for to, part in node.gradients.items())
    print(f"  {graph.label(node):<9} gradient {node.gradient.item():9.4f}"
          + (f"   hands to {hands}" if hands else ""))  # fmt: skip

show(plot.steps(graph, "forward", columns=2), "11_forward")
show(plot.steps(graph, "backward", columns=2), "11_backward")

# %% [markdown]
# The same as a film, forward and back:

# %%
show(plot.animate(graph, "both", interval=900), "11_passes")

# %% [markdown]
# k1's gradient is the product along its path, as in step 9:

# %%
s = sigmoid.value.item()
path = [2 * (linear_2.value - prices[0]).item(), k2.value.item(), s * (1 - s), z[0]]
print(" · ".join(f"{factor:.4f}" for factor in path), f"= {np.prod(path):.4f}",
      f"and the graph says {k1.gradient.item():.4f}")  # fmt: skip
