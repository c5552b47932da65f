"""24. Solvers for small nets: Levenberg-Marquardt against Adam and gradient descent.

For a regression net with a few hundred parameters the derivative of every prediction by every
parameter fits in memory; Levenberg and Marquardt's method solves for the step with it. The same
13-10-1 net starts at the same place with each method.

Look at: the loss after a hundred epochs, and that an epoch of each takes a different time.
"""

import numpy as np

import fastgraph as fg
from _lesson import start
from fastgraph import plot

# %%
show = start(__doc__)
boston = fg.datasets.load_boston()
X = (boston.data - boston.data.mean(axis=0)) / boston.data.std(axis=0)
Y = ((boston.target - boston.target.mean()) / boston.target.std())[:, np.newaxis]


def trained(optimizer, **settings):
    """The history of the same net with another optimizer."""
    x, y = fg.Input("x", shape=(13,)), fg.Input("y", shape=(1,))
    price = fg.mlp(x, [10, 1], activation="tanh", seed=5)
    graph = fg.Graph(fg.MSE(y, price))
    return graph.fit({x: X, y: Y}, optimizer=optimizer, epochs=100, **settings)


# %%
histories = {
    "Levenberg-Marquardt": trained(fg.LevenbergMarquardt()),
    "Adam, batches of 32": trained(fg.Adam(1e-2), batch_size=32),
    "SGD with momentum": trained(fg.SGD(1e-1, momentum=0.9)),
}
variance = boston.target.var()
for name, history in histories.items():
    print(f"{name:22} {history.epochs:4d} epochs, MSE {history.loss[-1] * variance:6.3f}")

# %%
ax = plot.history({name: history.loss * variance for name, history in histories.items()})
ax.set_ylabel("MSE (thousands of dollars squared)")
show(ax, "24_solvers")
