"""7. A parabola: what no line can do.

The best line is found. Is it good? Take data that follow 10 x² + 5 x + 5 exactly, without any
noise, and train the line on them to the very end.

Look at: the line can only cut through the middle; what is left over (the errors) has a plain
pattern. A pattern in the errors says: the model is too simple, more training will not help.
Next: 8, how to bend a line.
"""

import numpy as np
from matplotlib import pyplot as plt

import fastgraph as fg
from _lesson import start
from fastgraph import plot

show = start(__doc__)

# %%
xs = np.linspace(-2, 2, 101)
ys = 10 * xs**2 + 5 * xs + 5


def train(*features):
    """Least squares by gradient descent on the sum of weight * feature; (weights, loss, guess)."""
    y = fg.Input("y")
    inputs = [fg.Input(f"x{i}") for i in range(len(features))]
    weights = [fg.Parameter(0.0, f"w{i}") for i in range(len(features))]
    guess = sum(w * x for w, x in zip(weights, inputs, strict=True))
    graph = fg.Graph(fg.MSE(y, guess))
    feeds = dict(zip(inputs, features, strict=True))
    graph.fit({**feeds, y: ys}, optimizer=fg.SGD(0.1), epochs=5000)
    loss = float(graph.forward({**feeds, y: ys}))
    return [float(w.value) for w in weights], loss, guess.value


ones = np.ones_like(xs)
(b, k), line_loss, line = train(ones, xs)
print(f"the best line: {k:.3f} x + {b:.3f}, loss {line_loss:.2f} however long it is trained")
explained = 1 - line_loss / ys.var()
print(f"it explains {explained:.0%} of the variance of y; the rest is shape it cannot take")

# %% [markdown]
# Give the model the square as one more input, and it is exact. But we had to know that a square
# was wanted. For house prices nobody tells us. We need models that find the bends themselves.

# %%
(c, b2, a), square_loss, _ = train(ones, xs, xs**2)
print(f"with x² as an input: {a:.4f} x² + {b2:.4f} x + {c:.4f}, loss {square_loss:.1e}")

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
plot.fit(xs, ys, {f"best line (loss {line_loss:.0f})": line}, title="10 x² + 5 x + 5", ax=left)
right.plot(xs, line - ys, color=plot.PALETTE["vermillion"])
right.axhline(0, color="black", linewidth=0.8)
right.set(xlabel="x", ylabel="error = line - y", title="The errors have a pattern")
show(figure, "07_parabola")
