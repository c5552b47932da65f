"""12. The framework: a Node in thirty lines.

What a node must do: keep its inputs, compute its value from theirs (forward), and from its own
gradient those of its inputs (backward). The graph only calls them in order. That is the whole of a
deep learning framework; the rest is more kinds of nodes, and speed.

Look at: an operation is two formulas. A node that feeds several others *adds up* what they hand
back. And fastgraph, in C, gives the same gradients to the last digits.
Next: 13, put it to work.
"""

import numpy as np

import fastgraph as fg
from _lesson import start
from fastgraph import plot

show = start(__doc__)


# %%
class Node:
    """A number or function in the graph; `Node(value=…)` is data or a parameter."""

    def __init__(self, *inputs, value=None):
        self.inputs, self.value, self.gradient = inputs, value, 0.0

    def forward(self):
        """Set self.value from the inputs' values."""

    def backward(self):
        """Add to the inputs' gradients, from self.gradient."""


class Linear(Node):
    def forward(self):
        x, k, b = self.inputs
        self.value = k.value * x.value + b.value

    def backward(self):
        x, k, b = self.inputs
        x.gradient += k.value * self.gradient
        k.gradient += np.sum(x.value * self.gradient)
        b.gradient += np.sum(self.gradient)


class Sigmoid(Node):
    def forward(self):
        self.value = 1 / (1 + np.exp(-self.inputs[0].value))

    def backward(self):
        self.inputs[0].gradient += self.value * (1 - self.value) * self.gradient


class MSE(Node):
    def forward(self):
        y, guess = self.inputs
        self.value = np.mean((guess.value - y.value) ** 2)

    def backward(self):
        y, guess = self.inputs
        guess.gradient += 2 * (guess.value - y.value) / len(y.value) * self.gradient


def run(output):
    order, todo = [], [output]
    while todo:  # a node is placed when all its inputs are
        waits_for = [node for node in todo[-1].inputs if node not in order]
        todo += waits_for
        if not waits_for and (node := todo.pop()) not in order:
            order.append(node)
    for node in order:
        node.forward()
    output.gradient = 1.0
    for node in reversed(order):
        node.backward()


# %%
boston = fg.datasets.load_boston()
z = (boston["RM"] - boston["RM"].mean()) / boston["RM"].std()
begin = {"k1": 1.0, "b1": 0.5, "k2": 10.0, "b2": 10.0}
ours = {name: Node(value=value) for name, value in begin.items()}
hidden = Sigmoid(Linear(Node(value=z), ours["k1"], ours["b1"]))
loss = MSE(Node(value=boston["MEDV"]), Linear(hidden, ours["k2"], ours["b2"]))
run(loss)

# %% The same in fastgraph; only the spelling differs.
x, y = fg.Input("x"), fg.Input("y")
theirs = {name: fg.Parameter(value, name) for name, value in begin.items()}
fg_hidden = fg.Sigmoid(fg.Linear(x, theirs["k1"], theirs["b1"]))
graph = fg.Graph(fg.MSE(y, fg.Linear(fg_hidden, theirs["k2"], theirs["b2"]), name="loss"))
graph.forward({x: z, y: boston["MEDV"]})
graph.backward()
print(f"loss   ours {loss.value:.12f}   fastgraph {graph.outputs[0].value:.12f}")
for name, node in theirs.items():
    print(f"∂/∂{name}  ours {ours[name].gradient:+.12f}   fastgraph {node.gradient:+.12f}")
show(plot.graph(graph, title="The same graph in fastgraph"), "12_graph")
