"""4. Random search: draw 5,000 lines, keep the best.

With a loss, a machine can do the looking. The laziest plan first: draw k and b at random, again
and again, and remember the best so far.

Look at: the first improvements come quickly, then they get rare. To halve the distance to the best
line in two numbers takes about four times as many draws; in a hundred numbers it is hopeless.
Next: 5, use what the last try has told us.
"""

import numpy as np

import fastgraph as fg
from _lesson import start
from fastgraph import plot

show = start(__doc__)

# %%
boston = fg.datasets.load_boston()
rooms, prices = boston["RM"], boston["MEDV"]


def loss(k, b):
    """The mean squared error of the line, in (thousands of dollars)²."""
    return ((k * rooms + b - prices) ** 2).mean()


rng = np.random.default_rng(0)
best, improved, curve = np.inf, [], []
for draw in range(1, 5001):
    k, b = rng.uniform(-100, 100, size=2)
    now = loss(k, b)
    if now < best:
        best, best_k, best_b = now, k, b
        improved.append((draw, k, b, now))
        print(f"draw {draw:5}: price = {k:7.2f} * RM + {b:7.2f}   loss {now:12,.2f}")
    curve.append(best)
print(f"{len(improved)} improvements in 5,000 draws")

# %% [markdown]
# How good is that? For a line the best answer can be computed (least squares). It is our yardstick
# from here on; soon there will be models for which no formula exists.

# %%
exact_k, exact_b = np.polyfit(rooms, prices, 1)
least = loss(exact_k, exact_b)
print(f"best of 5,000:  price = {best_k:.2f} * RM + {best_b:.2f}, loss {best:.2f}")
print(f"least squares:  price = {exact_k:.2f} * RM + {exact_b:.2f}, loss {least:.2f}")

ax = plot.history(np.array(curve), xlabel="draw", best=False, title="The best so far")
ax.axhline(least, color="black", linestyle=":", label=f"least squares: {least:.1f}")
ax.plot([i for i, *_ in improved], [now for *_, now in improved], "o", markersize=5,
        color=plot.PALETTE["vermillion"], markerfacecolor="white", label="improved")  # fmt: skip
ax.set(xscale="log", ylabel="loss (thousands of dollars, squared)")
ax.lines[0].set_label("best so far")
ax.legend()
show(ax, "04_random_search")

# %%
ax = plot.fit(
    rooms, prices,
    {
        f"best of 5,000 (loss {best:.1f})": best_k * rooms + best_b,
        f"least squares (loss {least:.1f})": exact_k * rooms + exact_b,
    },
    xlabel="average number of rooms (RM)", ylabel="median price (thousands of dollars)",
)  # fmt: skip
show(ax, "04_best_line")
