"""6b. Why gradient descent crawls, and what makes it fly.

The loss is a bowl. How stretched a bowl is tells the *condition number*: the steepest curvature
divided by the flattest (the eigenvalues of the second derivatives). The steep direction limits the
learning rate, the flat one then needs about condition-number steps.

Look at: momentum helps, a better start helps a little, Adam does not: its steps are about as long
as its rate, however far the way, and it scales k and b each by itself where the bowl lies askew.
One line of arithmetic helps most: standardize the rooms, and the bowl becomes round.
Next: 7, something no line can do, however well it is trained.
"""

import numpy as np
from matplotlib import pyplot as plt

import fastgraph as fg
from _lesson import start
from fastgraph import plot

show = start(__doc__)

# %%
boston = fg.datasets.load_boston()
rooms, prices = boston["RM"], boston["MEDV"]
z = (rooms - rooms.mean()) / rooms.std()  # standardized: mean 0, standard deviation 1
least = np.mean((np.polyval(np.polyfit(rooms, prices, 1), rooms) - prices) ** 2)


def curvatures(x):
    """The eigenvalues of the second derivatives of mean (k x + b - y)², smallest first."""
    return np.linalg.eigvalsh(2 * np.array([[np.mean(x * x), np.mean(x)], [np.mean(x), 1]]))


for name, values in (("rooms", rooms), ("standardized", z)):
    flat, steep = curvatures(values)
    print(f"{name:<13} curvatures {flat:.4f} and {steep:.2f}: condition number "
          f"{steep / flat:,.0f}, learning rate below {2 / steep:.4f}")  # fmt: skip


# %%
def train(x, k, b, optimizer, epochs):
    """The loss at every step, from the line k * x + b on."""
    given, y = fg.Input("x"), fg.Input("y")
    line = fg.Parameter(k, "k") * given + fg.Parameter(b, "b")
    graph = fg.Graph(fg.MSE(y, line))
    return graph.fit({given: x, y: prices}, optimizer=optimizer, epochs=epochs).loss


def steps_needed(loss):
    """Steps until the loss stays within 1 % of least squares."""
    return int(np.flatnonzero(loss > 1.01 * least)[-1]) + 1


k, b = np.random.default_rng(3).uniform(-200, -100, size=2)  # the start of step 6
same_k, same_b = k * rooms.std(), b + k * rooms.mean()  # the same line, written with z
runs = {
    "rate 0.001": train(rooms, k, b, fg.SGD(1e-3), 150_000),
    "rate 0.024, nearly too large": train(rooms, k, b, fg.SGD(0.024), 8_000),
    "rate 0.02, momentum 0.9": train(rooms, k, b, fg.SGD(0.02, momentum=0.9), 2_000),
    "Adam, rate 0.1": train(rooms, k, b, fg.Adam(0.1), 20_000),
    "standardized, rate 0.1": train(z, same_k, same_b, fg.SGD(0.1), 100),
}
needed = {name: steps_needed(loss) for name, loss in runs.items()}
print(f"from k = {k:.1f}, b = {b:.1f}: steps until within 1 % of the least loss, {least:.2f}")
for name, steps in needed.items():
    print(f"  {name:<30} {steps:>8,}")

# %% [markdown]
# Where one starts matters as long as the way is long:

# %%
starts = {"far off": (k, b), "zero": (0.0, 0.0), "the mean price": (0.0, prices.mean())}
from_start = {}
for name, (start_k, start_b) in starts.items():
    slow = steps_needed(train(rooms, start_k, start_b, fg.SGD(0.024), 8_000))
    as_z = start_k * rooms.std(), start_b + start_k * rooms.mean()
    fast = steps_needed(train(z, *as_z, fg.SGD(0.1), 100))
    from_start[name] = slow, fast
    print(f"start {name:<15} rooms: {slow:>6,} steps    standardized: {fast:>3} steps")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), layout="constrained")
plot.history(runs, xlabel="step", title="The same start, five ways to go on", ax=left)
left.axhline(least, color="black", linewidth=0.8)
left.set(xscale="log", ylabel="loss (thousands of dollars, squared)")
left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
bars = right.barh(list(needed), list(needed.values()), color=plot.PALETTE["sky"])
right.bar_label(bars, [f"{steps:,}" for steps in needed.values()], padding=4)
right.set(xscale="log", xlim=(10, 2e6), xlabel="steps until within 1 % of the least loss")
right.invert_yaxis()
right.set_title("Standardizing beats every optimizer here")
show(figure, "06b_scaling")
