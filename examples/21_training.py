"""21. A run as practice has it: held-out data, a schedule, early stopping, a file at the end.

A 13-32-16-1 net learns the Boston prices with Adam. The learning rate rises for five epochs and
then falls along a cosine; a fifth of the houses are held out, and the run stops when their loss
has not improved for forty epochs, with the parameters of its best epoch. A second run is written
to a file as it goes, interrupted half-way, and taken up again: it comes to the same bits as the
first. The trained model is saved, loaded, and asked again.

Look at: where the best epoch lies on the validation curve, and the three equalities at the end.
Next: 22, many of these at once.
"""

import numpy as np

import fastgraph as fg
from _lesson import start
from fastgraph import plot

# %%
show = start(__doc__)
boston = fg.datasets.load_boston()
order = np.random.default_rng(0).permutation(506)
held, kept = order[:101], order[101:]
X = (boston.data - boston.data[kept].mean(axis=0)) / boston.data[kept].std(axis=0)
Y = (boston.target - boston.target[kept].mean())[:, np.newaxis]


def net():
    """A fresh net and its inputs: the same seed, the same start."""
    x, y = fg.Input("x", shape=(13,)), fg.Input("y", shape=(1,))
    price = fg.mlp(x, [32, 16, 1], activation="silu", seed=3, name="net")
    return fg.Graph(fg.MSE(y, price, name="loss")), x, y, price


def run(graph, x, y, epochs, **more):
    return graph.fit(
        {x: X[kept], y: Y[kept]},
        optimizer=fg.Adam(1e-2),
        epochs=epochs,
        batch_size=32,
        schedule=fg.schedules.WarmUp(5, then=fg.schedules.Cosine(400)),
        l2=1e-3,
        validation={x: X[held], y: Y[held]},
        early_stopping=fg.EarlyStopping(patience=40),
        **more,
    )


# %%
graph, x, y, price = net()
history = run(graph, x, y, 400)
best = history.best_epoch
print(f"stopped after {history.epochs} of 400 epochs; the best was {best}")
print(
    f"held-out MSE {history.validation_loss[best - 1]:.2f}, training {history.loss[best - 1]:.2f}"
)
ax = plot.history(history)
ax.set_ylabel("MSE (thousands of dollars squared)")
show(ax, "21_history")

# %% [markdown]
# The same run in two halves, through a file.

# %%
checkpoint = show.out / "21_run.npz"
checkpoint.unlink(missing_ok=True)
halves, x2, y2, price2 = net()


def power_cut(progress):
    if progress.epoch == best // 2:
        raise KeyboardInterrupt  # as Ctrl-C; killing the process comes to the same


try:
    run(halves, x2, y2, 400, checkpoint=checkpoint, every=1, callbacks=power_cut)
except KeyboardInterrupt:
    print(f"ended in epoch {best // 2}")
resumed, x3, y3, price3 = net()
run(resumed, x3, y3, 400, checkpoint=checkpoint, every=50)
same = all(
    np.array_equal(one.value, other.value)
    for one, other in zip(graph.parameters.values(), resumed.parameters.values(), strict=True)
)
print(f"resumed, the parameters are the same bits: {same}")

# %%
graph.save(show.out / "21_model.npz")
loaded = fg.load(show.out / "21_model.npz")
again = loaded.evaluate(graph.label(price), {"x": X[held]})
before = graph.evaluate(price, {x: X[held]})
print(f"loaded, it predicts the same bits: {np.array_equal(again, before)}")
