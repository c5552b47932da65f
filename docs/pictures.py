"""Draws the pictures of the README and the documentation: `python docs/pictures.py`.

Every number in them is computed here and now; nothing is drawn by hand.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import fastgraph as fg
from fastgraph import plot
from fastgraph.datasets import load_boston

BOSTON = load_boston()
ROOMS, PRICES = BOSTON["RM"], BOSTON.target
Z = (ROOMS - ROOMS.mean()) / ROOMS.std()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "img")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for draw in (graph, fit, backward, surface):
        path = out / f"{draw.__name__}.png"
        draw().savefig(path, dpi=90)
        print(f"wrote {path}")


def line():
    """k * x + b from k = b = 0: the graph, and the node that predicts."""
    x, y = fg.Input("x"), fg.Input("y")
    prediction = fg.Parameter(0.0, "k") * x + fg.Parameter(0.0, "b")
    return fg.Graph(fg.MSE(y, prediction, name="loss")), prediction


def curve():
    """k2 * sigmoid(k1 * x + b1) + b2: the graph, and the node that predicts."""
    x, y = fg.Input("x"), fg.Input("y")
    k1, b1 = fg.Parameter(1.0, "k1"), fg.Parameter(0.0, "b1")
    k2, b2 = fg.Parameter(1.0, "k2"), fg.Parameter(0.0, "b2")
    prediction = k2 * fg.Sigmoid(k1 * x + b1) + b2
    return fg.Graph(fg.MSE(y, prediction, name="loss")), prediction


def graph():
    """A 13-10-1 net after one forward pass over all 506 rows."""
    x, y = fg.Input("x"), fg.Input("y")
    W1 = fg.Parameter(fg.initializers.glorot_uniform((13, 10), seed=0), "W1")
    b1 = fg.Parameter(np.zeros(10), "b1")
    W2 = fg.Parameter(fg.initializers.glorot_uniform((10, 1), seed=1), "W2")
    b2 = fg.Parameter(np.zeros(1), "b2")
    hidden = fg.Sigmoid(fg.Linear(x, W1, b1), name="hidden")
    net = fg.Graph(fg.MSE(y, fg.Linear(hidden, W2, b2, name="price"), name="loss"))
    net.forward({x: BOSTON.data, y: PRICES[:, np.newaxis]})
    return plot.graph(net).figure


def fit():
    """The line and the curve over the data."""
    curves = {}
    for formula, (net, prediction), rate in (
        ("k * RM + b", line(), 0.1),
        ("k2 * sigmoid(k1 * RM + b1) + b2", curve(), 0.02),
    ):
        net.fit({"x": Z, "y": PRICES}, optimizer=fg.SGD(rate), epochs=5000)
        loss = float(net.forward({"x": Z, "y": PRICES}))
        curves[f"{formula} (MSE {loss:.1f})"] = net.evaluate(prediction, {"x": Z})
    return plot.fit(
        ROOMS, PRICES, curves,
        xlabel="average number of rooms (RM)", ylabel="median price (thousands of dollars)",
    ).figure  # fmt: skip


def backward():
    """One house through the curve and back: every gradient and every local derivative."""
    net, _ = curve()
    net.forward({"x": Z[:1], "y": PRICES[:1]})
    net.backward()
    return plot.steps(net, "backward", only=[-1]).figure


def surface():
    """The loss over (k, b) and the way gradient descent took."""
    net, _ = line()
    k, b = net.parameters["k"], net.parameters["b"]
    way = [(0.0, 0.0)]
    for _ in range(40):
        net.fit({"x": Z, "y": PRICES}, optimizer=fg.SGD(0.1), epochs=1)
        way.append((float(k.value), float(b.value)))
    best = np.polyfit(Z, PRICES, 1)
    ax = plot.loss_surface(
        net, k, b, {"x": Z, "y": PRICES}, path={"gradient descent": way},
        marks={"least squares": best},
    )  # fmt: skip
    ax.set(xlabel="k (thousands of dollars a standard deviation of RM)")
    ax.set(ylabel="b (thousands of dollars)")
    return ax.figure


if __name__ == "__main__":
    main()
