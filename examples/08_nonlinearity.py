"""8. Non-linearity: how to bend a line.

Lines of lines are lines: k2 (k1 x + b1) + b2 is again some k x + b. Put one bent function in
between, the sigmoid or ReLU, and stacks of lines become curves.

Look at: each panel is a family, one list of layers, with six random members. Only lines of lines
stay straight. A deep stack of single sigmoids goes flat (each squeezes what comes to it); several
side by side go up and down as they like.
Next: 9, train such a curve.
"""

import numpy as np
from matplotlib import pyplot as plt

from _lesson import start
from fastgraph import plot

show = start(__doc__)


# %%
def sigmoid(x):
    """An S from 0 to 1, steepest at 0."""
    return 1 / (1 + np.exp(-x))


def relu(x):
    """0 to the left of 0, x to the right of it."""
    return np.maximum(x, 0)


rng = np.random.default_rng(1)


def line(x):
    """A line with random k and b; a new one at every call."""
    return rng.normal(0, 3) * x + rng.normal(0, 3)


def so_many_layers(x, layers):
    """x through the layers, one after the other: f3(f2(f1(x))) for [f1, f2, f3]."""
    for layer in layers:
        x = layer(x)
    return x


def side_by_side(x, units=12):
    """The sum of so many lines of sigmoids of lines, each with its own random numbers."""
    return sum(so_many_layers(x, [line, sigmoid, line]) for _ in range(units))


def bends(y):
    """The largest second difference of y, against its range: 0 for a line."""
    return np.abs(np.diff(y, 2)).max() / np.ptp(y)


# %%
families = {
    "line": [line],
    "line-line-line": [line, line, line],
    "line-sigmoid": [line, sigmoid],
    "line-sigmoid-line": [line, sigmoid, line],
    "line-sigmoid-line-sigmoid": [line, sigmoid, line, sigmoid],
    "(line-sigmoid) x 5": [line, sigmoid] * 5,
    "line-relu-line": [line, relu, line],
    "12 sigmoids side by side": [side_by_side],
}
xs = np.linspace(-3, 3, 301)
figure, axes = plt.subplots(2, 4, figsize=(12, 5.6), layout="constrained", sharex=True)
largest = {}
for ax, (name, layers) in zip(axes.flat, families.items(), strict=True):
    curves = [so_many_layers(xs, layers) for _ in range(6)]
    largest[name] = max(bends(curve) for curve in curves)
    for curve, color in zip(curves, list(plot.PALETTE.values())[:6], strict=True):
        ax.plot(xs, curve, color=color)
    ax.set_title(name)
    print(f"{name:<27} largest bend of six: {largest[name]:.1e}")
for ax in axes[-1]:
    ax.set_xlabel("x")
show(figure, "08_families")

# %% [markdown]
# One input through one unit a layer can only rise or only fall with sigmoids: each layer keeps the
# order of its inputs or turns it round. To go up *and* down, a layer needs several units side by
# side, whose sum is taken, as in the last panel. Two sigmoids already make a bump:

# %%
bump = 4 * sigmoid(6 * (xs + 1)) - 4 * sigmoid(6 * (xs - 1))
rises = bool((np.diff(bump) > 1e-9).any()), bool((np.diff(bump) < -1e-9).any())
print(f"4 sigmoid(6 (x + 1)) - 4 sigmoid(6 (x - 1)): rises {rises[0]}, falls {rises[1]}")
_, ax = plt.subplots(figsize=(6, 3.4), layout="constrained")
ax.plot(xs, 4 * sigmoid(6 * (xs + 1)), "--", color=plot.PALETTE["blue"], label="one sigmoid")
ax.plot(xs, -4 * sigmoid(6 * (xs - 1)), ":", color=plot.PALETTE["green"], label="another, negative")
ax.plot(xs, bump, color=plot.PALETTE["vermillion"], label="their sum", linewidth=2)
ax.set(xlabel="x", ylabel="y", title="Two units side by side")
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
show(ax, "08_bump")
