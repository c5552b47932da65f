"""3. The loss: one number that says how bad.

To get better we must first be able to say what better *is*. Two old answers: the sum of the
distances (L1, absolute) and the mean of the squared distances (L2, squared).

Look at: L1 prefers the second guess, L2 the first: it fears one large error more than two middling
ones. Choosing a loss is choosing which errors hurt.
Next: 4, the laziest way to make the loss small.
"""

import numpy as np
from matplotlib import pyplot as plt

import fastgraph as fg
from _lesson import start
from fastgraph import plot

show = start(__doc__)

# %%
y = np.array([3.0, 4.0, 4.0])
first, second = np.array([1.0, 1.0, 4.0]), np.array([3.0, 4.0, 0.0])


def l1(y, guess):
    """The sum of the absolute errors."""
    return np.abs(guess - y).sum()


def l2(y, guess):
    """The mean of the squared errors."""
    return ((guess - y) ** 2).mean()


for name, guess in (("first", first), ("second", second)):
    errors = " + ".join(f"{abs(e):g}" for e in guess - y)
    squares = " + ".join(f"{e * e:g}" for e in guess - y)
    print(f"{name:>6} guess {guess}: L1 = {errors} = {l1(y, guess):g}")
    print(f"{'':>21}L2 = ({squares}) / 3 = {l2(y, guess) * 3:g}/3 = {l2(y, guess):.4f}")
print("(The lesson's first sheet says L1 = 4 for the first guess. It is |1-3| + |1-4| + 0 = 5.)")

# %% [markdown]
# fastgraph has both as nodes, `MAE` (the mean of the absolute errors, so L1 / 3) and `MSE`.

# %%
target, prediction = fg.Input("y"), fg.Input("prediction")
absolute, squared = fg.MAE(target, prediction), fg.MSE(target, prediction)
graph = fg.Graph(absolute, squared)
for name, guess in (("first", first), ("second", second)):
    mae, mse = graph.forward({target: y, prediction: guess})
    print(f"{name:>6} guess: MAE = {mae:.4f} = {3 * mae:g}/3, MSE = {mse:.4f} = {3 * mse:g}/3")

# %% [markdown]
# Half of the work is done here. With one number that says good or bad, "find a good line" becomes
# "make this number small", and that can be left to a machine. Below: what one error costs. The
# square starts flat and grows without bound, so its slope tells how far there is to go; the slope
# of |e| is always one.

# %%
errors = np.linspace(-4, 4, 401)
_, ax = plt.subplots(figsize=(6, 4), layout="constrained")
ax.plot(errors, np.abs(errors), "--", color=plot.PALETTE["blue"], label="L1: |e|")
ax.plot(errors, errors**2, color=plot.PALETTE["vermillion"], label="L2: e²")
for e in (2, 3, 4):
    ax.plot([e, e], [abs(e), e * e], "o:", color=plot.PALETTE["grey"], markersize=5)
    ax.annotate(f"{abs(e)} or {e * e}", (e, e * e), xytext=(-8, 0), textcoords="offset points",
                ha="right", va="center")  # fmt: skip
ax.set(xlabel="error e = guess - y", ylabel="what it costs", title="The price of one error")
ax.legend()
show(ax, "03_losses")
