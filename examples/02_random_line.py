"""2. A random line: price = k * x + b, with k and b out of a hat.

The smallest model there is: two numbers, k and b. We draw both from [-100, 100] and see how far
off the line is. Nothing is learned yet.

Look at: most random lines do not even touch the cloud. How would you say *how bad* each one is?
Next: 3, the loss: one number that says how bad.
"""

import numpy as np

import fastgraph as fg
from _lesson import start
from fastgraph import plot

show = start(__doc__)

# %%
boston = fg.datasets.load_boston()
rooms, prices = boston["RM"], boston["MEDV"]


def price(x, k, b):
    """The model: a line."""
    return k * x + b


rng = np.random.default_rng(3)
k, b = rng.uniform(-100, 100, size=2)
guess = price(rooms, k, b)
print(f"k = {k:.2f}, b = {b:.2f}")
print(f"{'rooms':>6} {'true':>7} {'guess':>8} {'off by':>8}")
for i in range(5):
    print(f"{rooms[i]:6.2f} {prices[i]:7.1f} {guess[i]:8.1f} {guess[i] - prices[i]:8.1f}")
print(f"on average off by {np.abs(guess - prices).mean():.1f} thousand dollars")

# %% [markdown]
# One draw may be bad luck. Six more, beside the cloud:

# %%
draws = rng.uniform(-100, 100, size=(6, 2))
lines = {f"k = {k:.0f}, b = {b:.0f}": price(rooms, k, b) for k, b in draws}
off = [np.abs(guess - prices).mean() for guess in lines.values()]
for label, distance in zip(lines, off, strict=True):
    print(f"{label:<18} off by {distance:6.1f} thousand dollars on average")

ax = plot.fit(
    rooms, prices, lines, xlabel="average number of rooms (RM)",
    ylabel="price (thousands of dollars)", title="Six lines out of a hat",
)  # fmt: skip
legend = ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
show(ax, "02_random_lines")
