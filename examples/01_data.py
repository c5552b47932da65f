"""1. The data: how does the number of rooms go with the price of a house?

506 census tracts of the Boston area in 1970. We use two columns: RM, the average number of rooms
per dwelling, and MEDV, the median price in thousands of dollars (capped at 50).

Look at: the cloud rises to the right, but it is no line; a row of dots lies on the cap at 50.
Next: 2, a line through the cloud, guessed at random.
"""

import numpy as np

import fastgraph as fg
from _lesson import start
from fastgraph import plot

show = start(__doc__)

# %%
boston = fg.datasets.load_boston()
rooms, prices = boston["RM"], boston["MEDV"]

print(boston)
print(f"rooms   from {rooms.min():.2f} to {rooms.max():.2f}, mean {rooms.mean():.3f}")
print(f"prices  from {prices.min():.1f} to {prices.max():.1f}, mean {prices.mean():.3f}")
correlation = np.corrcoef(rooms, prices)[0, 1]
print(f"correlation {correlation:.3f}: more rooms, higher price, with many exceptions")

ax = plot.fit(
    rooms, prices, xlabel="average number of rooms (RM)",
    ylabel="median price (thousands of dollars)", title="Boston house prices, 1970",
)  # fmt: skip
show(ax, "01_scatter")

# %% [markdown]
# What should a house with 6.5 rooms cost? The simplest answer looks up the tracts with about as
# many rooms and takes their mean. That needs all the data, for every question. We want to put the
# data into a *function* instead, with a few numbers in it that are found from the data. That is
# what learning means on the following pages.

# %%
def look_up(asked, nearest=10):
    """The mean price of the `nearest` tracts whose houses have about `asked` rooms."""
    order = np.argsort(np.abs(rooms - asked), kind="stable")
    return prices[order[:nearest]].mean()


for asked in (5.5, 6.5, 7.5):
    print(f"{asked} rooms: about {look_up(asked):.1f} thousand dollars, by looking it up")

# %% [markdown]
# A word on the data. Its authors put a racist assumption into one of its columns, and a proxy for
# class into another; scikit-learn removed it for that. It is used here for its history and for two
# harmless columns. No conclusion about people may be drawn from it: read
# `help(fg.datasets.load_boston)`.
