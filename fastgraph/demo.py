"""`fastgraph demo`: three models on the Boston house prices, timed, checked and drawn.

The whole program in one readable page: the data, the models as graphs, the same gradient descent
once more in plain Python loops (what each speed is compared with), the table and the pictures.
Nothing here is used by the rest of the package.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import plot
from .datasets import Dataset, load_boston
from .engines import engine, extension, set_engine
from .errors import SettingError, require
from .graph import Graph
from .initializers import glorot_uniform
from .node import Input, Node, Parameter
from .ops import MAE, MSE, Linear, Sigmoid
from .optimizers import SGD

__all__ = ["run"]

_PYTHON = "Python loops"
_NAMES = {"native": "native", "numpy": "NumPy", "python": _PYTHON}

# ---------------------------------------------------------------------------- models


class _Built(NamedTuple):
    graph: Graph
    x: Input
    y: Input
    prediction: Node


def _line() -> _Built:
    """price = k * x + b, from k = b = 0."""
    x, y = Input("x"), Input("y")
    k, b = Parameter(0.0, "k"), Parameter(0.0, "b")
    prediction = k * x + b
    return _Built(Graph(MSE(y, prediction, name="loss")), x, y, prediction)


def _curve() -> _Built:
    """price = k2 * sigmoid(k1 * x + b1) + b2."""
    x, y = Input("x"), Input("y")
    k1, b1 = Parameter(1.0, "k1"), Parameter(0.0, "b1")
    k2, b2 = Parameter(1.0, "k2"), Parameter(0.0, "b2")
    prediction = k2 * Sigmoid(k1 * x + b1) + b2
    return _Built(Graph(MSE(y, prediction, name="loss")), x, y, prediction)


def _net() -> _Built:
    """13 features, 10 sigmoid units, 1 price."""
    x, y = Input("x"), Input("y")
    W1 = Parameter(glorot_uniform((13, 10), seed=0), "W1")
    b1 = Parameter(np.zeros(10), "b1")
    W2 = Parameter(glorot_uniform((10, 1), seed=1), "W2")
    b2 = Parameter(np.zeros(1), "b2")
    hidden = Sigmoid(Linear(x, W1, b1, name="linear 1"), name="hidden")
    prediction = Linear(hidden, W2, b2, name="price")
    return _Built(Graph(MSE(y, prediction, name="loss")), x, y, prediction)


# The same gradient descent without arrays: lists, loops and the chain rule written out. Each takes
# the starting parameters as lists and floats and returns the trained ones.


def _line_loops(x, y, parameters, learning_rate, epochs, batch_size):
    k, b = parameters["k"], parameters["b"]
    n = len(x)
    for _ in range(epochs):
        dk = db = 0.0
        for xi, yi in zip(x, y, strict=True):
            error = k * xi + b - yi
            dk += error * xi
            db += error
        k -= learning_rate * 2 * dk / n
        b -= learning_rate * 2 * db / n
    return {"k": k, "b": b}


def _curve_loops(x, y, parameters, learning_rate, epochs, batch_size):
    k1, b1, k2, b2 = (parameters[name] for name in ("k1", "b1", "k2", "b2"))
    n = len(x)
    for _ in range(epochs):
        dk1 = db1 = dk2 = db2 = 0.0
        for xi, yi in zip(x, y, strict=True):
            s = 1 / (1 + math.exp(-(k1 * xi + b1)))
            error = k2 * s + b2 - yi
            slope = error * k2 * s * (1 - s)
            dk1 += slope * xi
            db1 += slope
            dk2 += error * s
            db2 += error
        k1 -= learning_rate * 2 * dk1 / n
        b1 -= learning_rate * 2 * db1 / n
        k2 -= learning_rate * 2 * dk2 / n
        b2 -= learning_rate * 2 * db2 / n
    return {"k1": k1, "b1": b1, "k2": k2, "b2": b2}


def _net_loops(x, y, parameters, learning_rate, epochs, batch_size):
    W1 = [list(row) for row in parameters["W1"]]  # W1[i][j]: from feature i to unit j
    b1, W2, b2 = list(parameters["b1"]), [row[0] for row in parameters["W2"]], parameters["b2"][0]
    features, units = range(len(W1)), range(len(b1))
    for _ in range(epochs):
        for start in range(0, len(x), batch_size):
            rows, prices = x[start : start + batch_size], y[start : start + batch_size]
            dW1, db1 = [[0.0 for _ in units] for _ in features], [0.0 for _ in units]
            dW2, db2 = [0.0 for _ in units], 0.0
            for row, (price,) in zip(rows, prices, strict=True):
                hidden = [
                    1 / (1 + math.exp(-b1[j] - sum(row[i] * W1[i][j] for i in features)))
                    for j in units
                ]
                error = sum(h * w for h, w in zip(hidden, W2, strict=True)) + b2 - price
                db2 += error
                for j in units:
                    dW2[j] += error * hidden[j]
                    slope = error * W2[j] * hidden[j] * (1 - hidden[j])
                    db1[j] += slope
                    for i in features:
                        dW1[i][j] += slope * row[i]
            rate = learning_rate * 2 / len(rows)
            b2 -= rate * db2
            for j in units:
                W2[j] -= rate * dW2[j]
                b1[j] -= rate * db1[j]
                for i in features:
                    W1[i][j] -= rate * dW1[i][j]
    return {"W1": W1, "b1": b1, "W2": [[w] for w in W2], "b2": [b2]}


@dataclass(frozen=True)
class _Model:
    """What is trained and how; `epochs` by engine, fewer where the engine is slow."""

    name: str
    build: Callable[[], _Built]
    loops: Callable
    learning_rate: float
    batch_size: int | None
    epochs: dict[str, int]


def _epochs(native: int, numpy: int, python: int) -> dict[str, int]:
    return {"native": native, "numpy": numpy, "python": python}


_MODELS = (
    _Model("line", _line, _line_loops, 0.1, None, _epochs(20_000, 2_000, 1_000)),
    _Model("curve", _curve, _curve_loops, 0.02, None, _epochs(20_000, 5_000, 1_000)),
    _Model("13-10-1", _net, _net_loops, 0.01, 11, _epochs(1_000, 100, 20)),
)


# ---------------------------------------------------------------------------- training


class _Run(NamedTuple):
    """One model trained by one engine."""

    engine: str
    epochs: int
    steps: int
    seconds: float
    before: float
    after: float
    losses: np.ndarray | None
    built: _Built


def _feeds(boston: Dataset, model: _Model) -> tuple[np.ndarray, np.ndarray]:
    """x and y for the model: standardized rooms and prices, or all features, in a fixed order."""
    if model.batch_size is None:
        return _standardized(boston["RM"]), boston.target
    # The table is sorted by town: batches in that order would each see one town only.
    order = np.random.default_rng(0).permutation(len(boston.target))
    return _standardized(boston.data)[order], boston.target[order, np.newaxis]


def _standardized(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(axis=0)) / values.std(axis=0)


def _train(model: _Model, by: str, epochs: int, boston: Dataset) -> _Run:
    """Train a fresh model for so many epochs, batches in order, by an engine or in plain loops."""
    x, y = _feeds(boston, model)
    with _engine("numpy" if by == "python" else by):
        built = model.build()
        feeds = {built.x: x, built.y: y}
        before = float(built.graph.forward(feeds))
        losses = None
        if by == "python":
            start = {name: one.value.tolist() for name, one in built.graph.parameters.items()}
            rows, prices = x.tolist(), y.tolist()
            clock = time.perf_counter()
            end = model.loops(rows, prices, start, model.learning_rate, epochs, model.batch_size)
            seconds = time.perf_counter() - clock
            for name, parameter in built.graph.parameters.items():
                parameter.value = end[name]
        else:
            clock = time.perf_counter()
            history = built.graph.fit(
                feeds, optimizer=SGD(model.learning_rate), epochs=epochs,
                batch_size=model.batch_size, shuffle=False,
            )  # fmt: skip
            seconds = time.perf_counter() - clock
            losses = history.loss
        after = float(built.graph.forward(feeds))
    steps = epochs * math.ceil(len(x) / (model.batch_size or len(x)))
    return _Run(by, epochs, steps, seconds, before, after, losses, built)


@contextmanager
def _engine(name: str) -> Iterator[None]:
    before = engine()
    set_engine(name)
    try:
        yield
    finally:
        set_engine(before)


# ---------------------------------------------------------------------------- what is shown


def run(out: str | Path = "fastgraph-demo") -> dict[str, dict[str, _Run]]:
    """Train, print the table and the checks, write the pictures to the folder `out`.

    Returns:
        The runs by model and engine.
    """
    boston = load_boston()
    engines = ["native"] * extension.NATIVE_AVAILABLE + ["numpy", "python"]
    try:
        for module in ("matplotlib", "networkx"):
            require(module, "plot")
        no_pictures = None
    except SettingError as error:
        no_pictures = str(error)

    pictures = {} if no_pictures else _PICTURES
    folder = Path(out)
    if pictures:  # before the work: what cannot be written is said at once
        folder.mkdir(parents=True, exist_ok=True)
    runs: dict[str, dict[str, _Run]] = {}
    spread: dict[str, float] = {}
    with _progress(len(_MODELS) * (len(engines) + 1) + len(pictures)) as advance:
        for model in _MODELS:
            runs[model.name] = {}
            for by in engines:
                advance(f"{model.name}: {_NAMES[by]}")
                runs[model.name][by] = _train(model, by, model.epochs[by], boston)
            advance(f"{model.name}: do the engines agree?")
            spread[model.name] = _disagreement(model, engines, boston)
        written = []
        for name, draw in pictures.items():
            advance(f"picture: {name}")
            figure = draw(boston, runs)
            figure.savefig(folder / name)
            written.append(folder / name)

    print(_table(runs), _checks(boston, runs, spread), sep="\n\n", end="\n\n")
    if no_pictures:
        print(f"No pictures: {no_pictures}")
    for path in written:
        print(f"wrote {path}")
    return runs


def _disagreement(model: _Model, engines: list[str], boston: Dataset) -> float:
    """The largest relative difference of the loss after the same few epochs by each engine."""
    losses = [_train(model, by, model.epochs["python"], boston).after for by in engines]
    return (max(losses) - min(losses)) / abs(losses[0])


_FORMULAS = {
    "line": "price = k * RM + b",
    "curve": "price = k2 * sigmoid(k1 * RM + b1) + b2",
    "13-10-1": "13 features, 10 sigmoid units, 1 price; batches of 11",
}


def _table(runs: dict[str, dict[str, _Run]]) -> str:
    lines = [
        "Boston house prices: 506 rows, loss MSE in (thousands of dollars)^2, gradient descent",
        "",
        f"{'':<15}{'loss before':>12}{'loss after':>12}{'steps':>9}{'seconds':>10}"
        f"{'steps/s':>13}{'speed':>9}",
    ]
    for model, by_engine in runs.items():
        lines.append(f"{model}: {_FORMULAS[model]}")
        slowest = _rate(by_engine["python"])
        for by, one in by_engine.items():
            lines.append(
                f"  {_NAMES[by]:<13}{one.before:>12.4f}{one.after:>12.4f}{one.steps:>9,}"
                f"{one.seconds:>10.4f}{_rate(one):>13,.0f}{_times(_rate(one) / slowest):>9}"
            )
    lines += [
        "",
        "Each row is measured; slower ones run fewer steps, hence their higher loss after them.",
        f"Speed is steps/s against {_PYTHON}.",
    ]
    return "\n".join(lines)


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.1f}x"


def _rate(run: _Run) -> float:
    return run.steps / run.seconds


def _best(by_engine: dict[str, _Run]) -> _Run:
    """The run of the fastest engine there is: the one trained longest."""
    return next(iter(by_engine.values()))


def _checks(boston: Dataset, runs: dict[str, dict[str, _Run]], spread: dict[str, float]) -> str:
    rooms, prices = boston["RM"], boston.target
    slope, intercept = np.linalg.lstsq(
        np.column_stack([rooms, np.ones_like(rooms)]), prices, rcond=None
    )[0]
    squares = np.mean((slope * rooms + intercept - prices) ** 2)
    line = _best(runs["line"])
    k, b = _in_original_units(line.built, rooms)
    guess = np.full_like(prices, np.median(prices))
    given, y = Input("guess"), Input("y")
    direct = np.mean(np.abs(prices - np.median(prices)))
    absolute = float(Graph(MAE(y, given)).forward({given: guess, y: prices}))
    checks = {
        "k, thousands of dollars a room": (k, slope),
        "b, thousands of dollars": (b, intercept),
        "MSE of the line": (line.after, squares),
        "MAE of always saying the median price": (absolute, direct),
    }
    apart = "losses after the same steps, relative"
    return "\n".join([
        f"{'Checks':<44}{'fastgraph':>12}{'closed form':>16}",
        *(f"  {name:<42}{ours:>12.4f}{exact:>16.4f}" for name, (ours, exact) in checks.items()),
        f"{'All engines against each other':<44}{'differ by':>12}",
        f"  {apart:<42}{max(spread.values()):>12.0e}",
    ])  # fmt: skip


def _in_original_units(line: _Built, rooms: np.ndarray) -> tuple[float, float]:
    """k and b for rooms, from those for standardized rooms."""
    k, b = (float(line.graph.parameters[name].value) for name in ("k", "b"))
    return k / rooms.std(), b - k * rooms.mean() / rooms.std()


# ---------------------------------------------------------------------------- pictures


def _axes(width: float, height: float):
    """Axes of a figure of its own: no pyplot, so no display and no window is asked for."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=110).subplots()


def _fit_picture(boston: Dataset, runs):
    rooms = boston["RM"]

    def curve(built: _Built):
        return lambda at: built.graph.evaluate(
            built.prediction, {built.x: (at - rooms.mean()) / rooms.std()}
        )

    line, bent = _best(runs["line"]), _best(runs["curve"])
    return plot.fit(
        rooms, boston.target,
        {
            f"k * RM + b (MSE {line.after:.1f})": curve(line.built),
            f"k2 * sigmoid(k1 * RM + b1) + b2 (MSE {bent.after:.1f})": curve(bent.built),
        },
        xlabel="average number of rooms (RM)", ylabel="median price (thousands of dollars)",
        title="Boston house prices, 1970", ax=_axes(7.2, 5.4),
    ).figure  # fmt: skip


def _loss_picture(boston: Dataset, runs):
    ax = plot.history(
        {f"{model} ({_best(by).steps:,} steps)": _best(by).losses for model, by in runs.items()},
        title="Training loss", ax=_axes(7.2, 4.4),
    )  # fmt: skip
    ax.set(
        xscale="log", xlabel="epoch (line and curve: 1 step each, 13-10-1: 46)",
        ylabel="MSE (thousands of dollars squared)",
    )  # fmt: skip
    return ax.figure


def _graph_picture(boston: Dataset, runs):
    graph = _best(runs["13-10-1"]).built.graph
    return plot.graph(graph, title="13-10-1 as a graph", ax=_axes(8.6, 4.6)).figure


def _speed_picture(boston: Dataset, runs):
    rates = {
        model: {_NAMES[by]: _rate(one) for by, one in by_engine.items()}
        for model, by_engine in runs.items()
    }
    title = "Training speed, the same gradient descent"
    return plot.speed(rates, title=title, ax=_axes(7.6, 4.6)).figure


_PICTURES = {
    "fit.png": _fit_picture,
    "loss.png": _loss_picture,
    "graph.png": _graph_picture,
    "speed.png": _speed_picture,
}


# ---------------------------------------------------------------------------- progress


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str], None]]:
    """A bar on standard error: tqdm's if installed, else a plain one; none where nobody looks.

    Gives a function to call with the name of each of the `total` tasks as it begins.
    """
    try:
        bar = require("tqdm", "progress").tqdm(total=total, leave=False, disable=None)
    except SettingError:
        yield from _plain_bar(total)
        return
    done = -1

    def advance(task: str) -> None:
        nonlocal done
        done += 1
        bar.n = done
        bar.set_description_str(f"{task:<32}")

    with bar:
        yield advance


def _plain_bar(total: int, width: int = 30) -> Iterator[Callable[[str], None]]:
    done = 0
    shown = sys.stderr.isatty()

    def advance(task: str) -> None:
        nonlocal done
        if shown:
            full = "#" * (width * done // total)
            sys.stderr.write(f"\r[{full:<{width}}] {done}/{total} {task:<32}")
            sys.stderr.flush()
        done += 1

    try:
        yield advance
    finally:
        if shown:
            sys.stderr.write("\r" + " " * (width + 50) + "\r")
            sys.stderr.flush()
