"""9. Two layers: y = k2 * sigmoid(k1 * x + b1) + b2, trained by hand.

Four numbers, four partial derivatives. The *chain rule* makes each of them a product of small
factors, one for every function on the way from the number to the loss:

    ∂loss/∂k1 = ∂loss/∂ŷ · ∂ŷ/∂s · ∂s/∂u · ∂u/∂k1
    with u = k1 x + b1, s = sigmoid(u), ŷ = k2 s + b2

Look at: the products share their first factors. Computed from the loss backwards, each factor is
needed only once. That is all there is to backpropagation.
Next: 10, let a machine find the order: the model as a graph.
"""

import numpy as np

import fastgraph as fg
from _lesson import start
from fastgraph import plot

show = start(__doc__)

# %%
boston = fg.datasets.load_boston()
rooms, prices = boston["RM"], boston["MEDV"]
x = (rooms - rooms.mean()) / rooms.std()


def sigmoid(u):
    return 1 / (1 + np.exp(-u))


def model(x, k1, b1, k2, b2):
    return k2 * sigmoid(k1 * x + b1) + b2


def loss(x, y, *parameters):
    return ((model(x, *parameters) - y) ** 2).mean()


def factors(x, y, k1, b1, k2, b2):
    """For each parameter the factors of its derivative, from the loss back to it, by sample."""
    s = sigmoid(k1 * x + b1)
    by_guess = 2 * (k2 * s + b2 - y)  # ∂loss/∂ŷ of this sample
    by_u = [by_guess, k2, s * (1 - s)]  # · ∂ŷ/∂s · ∂s/∂u: shared by k1 and b1
    return {"k1": [*by_u, x], "b1": [*by_u, 1.0], "k2": [by_guess, s], "b2": [by_guess, 1.0]}


def gradient(x, y, *parameters):
    """The four partial derivatives: the products, their mean over the samples."""
    return np.array([np.mean(np.multiply.reduce(np.broadcast_arrays(*f)))
                     for f in factors(x, y, *parameters).values()])  # fmt: skip


# %% [markdown]
# One house, every factor:

# %%
begin = 1.0, 0.0, 10.0, 10.0
one = {name: [float(f) for f in found] for name, found in factors(x[0], prices[0], *begin).items()}
for i, (name, found) in enumerate(one.items()):
    moved = [np.add(begin, sign * 1e-6 * np.eye(4)[i]) for sign in (1, -1)]
    numeric = (loss(x[0], prices[0], *moved[0]) - loss(x[0], prices[0], *moved[1])) / 2e-6
    product = " · ".join(f"{factor:8.4f}" for factor in found)
    print(f"∂loss/∂{name} = {product:<43} = {np.prod(found):8.4f}   (small step: {numeric:8.4f})")

# %% [markdown]
# Now all houses, 10,000 steps.

# %%
parameters, losses = np.array(begin), []
for _ in range(10_000):
    losses.append(loss(x, prices, *parameters))
    parameters = parameters - 0.02 * gradient(x, prices, *parameters)
k1, b1, k2, b2 = parameters
k, b = np.polyfit(x, prices, 1)
line_loss, curve_loss = ((k * x + b - prices) ** 2).mean(), loss(x, prices, *parameters)
print(f"price = {k2:.2f} * sigmoid({k1:.2f} * x + {b1:.2f}) + {b2:.2f}")
print(f"loss {losses[0]:.2f} -> {curve_loss:.2f}; the best line has {line_loss:.2f}")

ax = plot.fit(
    rooms, prices,
    {f"line (loss {line_loss:.1f})": k * x + b,
     f"k2 * sigmoid(k1 * x + b1) + b2 (loss {curve_loss:.1f})": model(x, *parameters)},
    xlabel="average number of rooms (RM)", ylabel="median price (thousands of dollars)",
)  # fmt: skip
show(ax, "09_curve")
