"""23. The training doctor: why a net does not learn, with the number that shows it.

A net is given the Boston data as it was published: taxes in hundreds, shares below one, prices in
thousands. `graph.diagnose` looks before any training. The remedies are followed, and it looks
again; then a column is smuggled in that is the price itself. Last, a learning rate a hundred times
too large runs into infinity, and the error says where.

Look at: each finding, its number and its remedy, and what the loss makes of them.
"""

import numpy as np

import fastgraph as fg
from _lesson import start
from fastgraph import plot

# %%
show = start(__doc__)
boston = fg.datasets.load_boston()
Y = boston.target[:, np.newaxis]


def net(features):
    x, y = fg.Input("x", shape=(features,)), fg.Input("y", shape=(1,))
    price = fg.mlp(x, [16, 1], activation="sigmoid", seed=1, name="net")
    return fg.Graph(fg.MSE(y, price, name="loss")), x, y


def fit(graph, feeds):
    return graph.fit(feeds, optimizer=fg.SGD(1e-2), epochs=200, batch_size=32)


# %%
graph, x, y = net(13)
raw = graph.diagnose({x: boston.data, y: Y}, optimizer=fg.SGD(1e-2))
print("as published:\n" + str(raw))
as_published = fit(graph, {x: boston.data, y: Y})

# %%
X = (boston.data - boston.data.mean(axis=0)) / boston.data.std(axis=0)
target = (Y - Y.mean()) / Y.std()
graph, x, y = net(13)
print("\nstandardized:\n" + str(graph.diagnose({x: X, y: target}, optimizer=fg.SGD(1e-2))))
standardized = fit(graph, {x: X, y: target})
print(
    f"\nMSE after 200 epochs: {as_published.loss[-1]:.1f} as published, "
    f"{standardized.loss[-1] * Y.var():.1f} standardized"
)

# %%
leaking = np.hstack([X, target])
graph, x, y = net(14)
print("\nwith the price among the features:\n" + str(graph.diagnose({x: leaking, y: target})))

# %%
graph, x, y = net(13)
try:
    graph.fit({x: X, y: target}, optimizer=fg.SGD(500.0), epochs=200, batch_size=32)
except fg.DivergenceError as error:
    print(f"\n{error}")

# %%
ax = plot.history({"as published": as_published.loss, "standardized": standardized.loss * Y.var()})
ax.set_ylabel("MSE (thousands of dollars squared)")
show(ax, "23_remedies")
