"""22. Many models at once: which settings, how good, and how sure.

One training run answers none of these. A random search tries 40 settings, each on 5 folds: 200
nets, trained over all cores. The best settings are then trained 20 times from different seeds;
together they predict better than one of them alone, and where they disagree they say so. Houses
that no net has seen calibrate that into an interval for about nine prices of ten.

Look at: the time of the search, the learning rates that are too small and too large on the left,
and how many prices of new houses lie inside the band on the right.
Next: `print(table.sort("width"))`, or `grid` with your own settings.
"""

import time

import matplotlib.pyplot as plt
import numpy as np

import fastgraph as fg
from _lesson import start

show = start(__doc__)

# %%
boston = fg.datasets.load_boston()
order = np.random.default_rng(0).permutation(506)
kept, calibrating, new = order[:300], order[300:400], order[400:]
X = (boston.data - boston.data[kept].mean(axis=0)) / boston.data[kept].std(axis=0)
Y = boston.target[:, np.newaxis] / 10  # tens of thousands of dollars
feeds = {"x": X[kept], "y": Y[kept]}


def model(width, seed):
    """13-width-1, from its own starting values."""
    x, y = fg.Input("x", shape=(13,)), fg.Input("y", shape=(1,))
    return fg.Graph(fg.MSE(y, fg.mlp(x, [width, 1], "tanh", seed=seed, name="price")))


# %% [markdown]
# A setting goes to whoever knows its name: the function above, `fit`, or the optimizer.

# %%
grid = {
    "width": [5, 10, 20, 40],
    "learning_rate": fg.Range(1e-4, 1.0, log=True),
    "weight_decay": fg.Range(1e-4, 1.0, log=True),
}
common = {"optimizer": fg.AdamW(), "epochs": 100, "batch_size": 32}
began = time.perf_counter()
table = fg.sweep(model, feeds, grid, samples=40, folds=5, **common)
print(table[:5])
print(f"{5 * len(table)} nets in {time.perf_counter() - began:.2f} s")

# %% [markdown]
# The best settings, from 20 seeds: an ensemble.

# %%
best = table.best.settings
trained = fg.fit_many(model, feeds, best, count=20, **common)
ensemble = fg.Ensemble(trained, "price").calibrate(X[calibrating], Y[calibrating])
alone = np.mean((ensemble.members(X[new]) - Y[new]) ** 2, axis=(1, 2))
together = float(np.mean((ensemble.predict(X[new]) - Y[new]) ** 2))
low, high = ensemble.interval(X[new], level=0.9)
inside = float(np.mean((low <= Y[new]) & (Y[new] <= high)))
print(f"best settings: {best}")
print(f"new houses: MSE of one net {alone.mean():.4f} on average, of all together {together:.4f}")
print(f"prices inside the 90 % interval: {inside:.0%}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
rows = [row for row in table.to_dicts() if np.isfinite(row["validation_loss"])]
for width in grid["width"]:
    some = [row for row in rows if row["width"] == width]
    left.plot(
        [row["learning_rate"] for row in some], [row["validation_loss"] for row in some],
        "o", label=f"width {width}",
    )  # fmt: skip
left.axhline(table.best.validation_loss, color="0.6", linewidth=1, zorder=0)
left.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="loss on houses not seen")
left.set_title("200 nets: 40 settings, 5 folds each")
left.legend()
rank = np.argsort(ensemble.predict(X[new])[:, 0])
place = np.arange(len(rank))
right.fill_between(place, 10 * low[rank, 0], 10 * high[rank, 0], alpha=0.3, label="90 % interval")
right.plot(place, 10 * ensemble.predict(X[new])[rank, 0], label="ensemble of 20")
right.plot(place, 10 * Y[new][rank, 0], "k.", label="price")
right.set(xlabel="new houses, by predicted price", ylabel="thousands of dollars")
right.set_title(f"{inside:.0%} of the prices are inside")
right.legend()
show(figure, "22_many_models")
