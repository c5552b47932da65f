"""The training doctor: what is wrong with data, net or rate, and the number that shows it.

It looks and measures; it changes nothing. `training.py` asks it for the remedy in a
`DivergenceError`.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from .errors import ShapeError
from .node import Input, Node, Parameter, Shape
from .ops import ReLU, Sigmoid, Subtract, Tanh
from .ops.losses import Loss
from .optimizers import SGD, Optimizer
from .program import Program
from .solvers import Solver
from .sort import topological_sort

__all__ = ["Diagnosis", "Finding", "diagnose", "remedy_for_divergence", "shape_finding"]

#: Rows and columns that are looked at; of more, a part that is spread evenly.
ROWS, COLUMNS = 4096, 1000
#: A column is unscaled from this mean or standard deviation on.
LARGE = 10.0
#: Correlation from which two columns are called the same.
SAME = 1 - 1e-9
#: Losses that measure distances in the target's own unit.
DISTANCES = {"MSE", "MAE", "Huber", "QuantileLoss"}
STANDARDIZE = "subtract the mean and divide by the standard deviation, of the training rows"


class Finding(NamedTuple):
    """One thing that is wrong.

    Attributes:
        problem: what, in one of a few words, as ``"dead_relu"``.
        where: the node it is about, as ``"Input 'x'"``.
        number: the measurement that shows it.
        message: what was measured, in a sentence.
        remedy: what to do.
    """

    problem: str
    where: str
    number: float
    message: str
    remedy: str


class Diagnosis(tuple):
    """The findings of ``graph.diagnose``: a tuple that prints as a report; empty is healthy."""

    def __str__(self) -> str:
        if not self:
            return "nothing found"
        return "\n".join(f"{f.where}: {f.message}\n    → {f.remedy}" for f in self)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        if not self:
            return "<p>nothing found</p>"
        cells = [[f.where, f.message, f.remedy] for f in self]
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in cells
        )
        return f"<table><tr><th>where</th><th>measured</th><th>remedy</th></tr>{rows}</table>"


def diagnose(
    program: Program,
    arrays: Mapping[Input, np.ndarray],
    values: Callable[[dict], dict[Node, np.ndarray]],
    gradient: Callable[[dict, np.ndarray], tuple[float, np.ndarray]],
    optimizer: Optimizer | None,
) -> Diagnosis:
    """Examine a program and its data.

    Parameters:
        values: gives the value of every node for some arrays.
        gradient: gives the loss and its gradient for some arrays at a vector of all parameters.
    """
    few = {node: _spread(array, ROWS) if array.ndim else array for node, array in arrays.items()}
    targets = _targets(program)
    findings = [
        *_of_columns(program, arrays, targets),
        *_of_pairs(few, targets),
        *_of_activations(program, values(few)),
    ]
    if optimizer is not None and not isinstance(optimizer, Solver):
        unscaled = any(finding.problem == "unscaled_input" for finding in findings)
        findings += _of_learning_rate(
            program, optimizer, lambda vector: gradient(few, vector), unscaled
        )
    return Diagnosis(findings)


def remedy_for_divergence(
    batch: Mapping[Input, np.ndarray], learning_rate: float
) -> tuple[str, str]:
    """The scale of what a failed step was fed, and what to do about the failure."""
    scales = {item: float(np.abs(a).max()) for item, a in batch.items()}
    scale = ", ".join(f"{item} up to {size:.3g}" for item, size in scales.items())
    if max(scales.values(), default=0) > LARGE:
        remedy = (
            "standardize the inputs and targets (subtract the mean, divide by the standard "
            "deviation)"
        )
    else:
        remedy = f"lower the learning rate, as to {learning_rate / 10:.3g}"
    return scale or "none", f"{remedy}, and fit again; graph.diagnose(feeds, optimizer) tells more"


def shape_finding(error: ShapeError) -> Finding:
    """Shapes that do not fit, as (n,) and (n, 1): what would be training on every pair of rows."""
    return Finding("shape_mismatch", "the graph", float("nan"), str(error), "reshape as it says")


# --- data ----------------------------------------------------------------------------------------


def _spread(array: np.ndarray, most: int) -> np.ndarray:
    """At most so many rows, evenly spread."""
    if len(array) <= most:
        return array
    return np.ascontiguousarray(array[np.linspace(0, len(array) - 1, most).astype(int)])


def _columns(array: np.ndarray) -> np.ndarray:
    return array.reshape(len(array), -1)[:, :COLUMNS]


def _targets(program: Program) -> dict[Input, str]:
    """The inputs that are targets, and the kind of loss that reads each."""
    found: dict[Input, str] = {}
    readers: dict[Node, list[Node]] = {node: [] for node in program.nodes}
    for node in program.nodes:
        for item in node.inputs:
            readers[item].append(node)
        if isinstance(node, Loss):
            cone = topological_sort(node.inputs[0])
            if not any(isinstance(item, Parameter) for item in cone):
                found |= {item: node.kind for item in cone if isinstance(item, Input)}
    for node in program.inputs:
        differences = [
            reader for reader in readers[node]
            if isinstance(reader, Subtract) and any(i in program.trained for i in reader.inputs)
        ]  # fmt: skip
        if node not in found and differences and len(differences) == len(readers[node]):
            found[node] = "MSE"  # a difference written out
    return found


def _of_columns(
    program: Program, arrays: Mapping[Input, np.ndarray], targets: Mapping[Input, str]
) -> Iterator[Finding]:
    """Scales and constants, of all rows."""
    for node, array in arrays.items():
        if array.ndim == 0 or len(array) < 2 or array.dtype.kind != "f":
            continue
        columns = _columns(array)
        mean, deviation = columns.mean(0, dtype=float), columns.std(0, dtype=float)
        constant = deviation <= 1e-12 * np.abs(columns).max(0)
        which = "target" if node in targets else "feature"
        if constant.any():
            numbers = np.flatnonzero(constant)
            yield Finding(
                f"constant_{which}",
                str(node),
                float(len(numbers)),
                f"{_count(numbers, columns)} constant: column {numbers[0]} is "
                f"{columns[0, numbers[0]]:.6g} in every row",
                "take it out: it tells nothing"
                if which == "feature"
                else "check the target: there is nothing to learn",
            )
        if node in targets and targets[node] not in DISTANCES:
            continue  # labels have no scale
        large = ~constant & ((deviation > LARGE) | (np.abs(mean) > LARGE))
        small = ~constant & (deviation < 1e-3)
        if large.any() or small.any():
            numbers = np.flatnonzero(large | small)
            size = np.maximum(deviation, np.abs(mean))
            worst = numbers[np.argmax(size[numbers])] if large.any() else numbers[0]
            yield Finding(
                "unscaled_target" if which == "target" else "unscaled_input",
                str(node),
                float(size[worst]),
                f"{_count(numbers, columns)} not scaled: column {worst} has mean {mean[worst]:.3g} "
                f"and standard deviation {deviation[worst]:.3g}",
                f"standardize it: {STANDARDIZE}",
            )


def _count(numbers: np.ndarray, columns: np.ndarray) -> str:
    if columns.shape[1] == 1:
        return "it is"
    return f"{len(numbers)} of {columns.shape[1]} columns {'is' if len(numbers) == 1 else 'are'}"


def _of_pairs(few: Mapping[Input, np.ndarray], targets: Mapping[Input, str]) -> Iterator[Finding]:
    """Features that repeat one another, and features that are the target."""
    features, names = [], []
    for node, array in few.items():
        if array.ndim and len(array) > 2 and array.dtype.kind == "f" and node not in targets:
            columns = _standardized(array)
            features.append(columns)
            names += [(node, i) for i in range(columns.shape[1])]
    if not features:
        return
    table = np.concatenate(features, axis=1)[:, :COLUMNS]
    likeness = np.abs(table.T @ table)
    first, second = np.nonzero(np.triu(likeness >= SAME, 1))
    if len(first):
        (node, i), (other, j) = names[first[0]], names[second[0]]
        more = f", and {len(first) - 1} more pairs" if len(first) > 1 else ""
        yield Finding(
            "duplicate_features",
            str(node),
            float(len(first)),
            f"column {i} and column {j} of {other} are one up to scale: correlation "
            f"{likeness[first[0], second[0]]:.9f}{more}",
            "take one of them out: together they tell nothing new and slow the training down",
        )
    for target in targets:
        array = few[target]
        if array.ndim == 0 or array.dtype.kind != "f":
            continue
        likeness = np.abs(table.T @ _standardized(array))
        i, j = np.unravel_index(np.argmax(likeness), likeness.shape)
        if likeness[i, j] >= SAME:
            node, column = names[i]
            yield Finding(
                "target_leakage",
                str(node),
                float(likeness[i, j]),
                f"column {column} is {target} up to scale: correlation {likeness[i, j]:.9f}, in "
                f"shapes {_shape(few[node])} and {_shape(array)}",
                "take it out, unless it is known when the model is used",
            )


def _shape(array: np.ndarray) -> str:
    return str(Shape("n", array.shape[1:]))


def _standardized(array: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and length 1; constant ones are 0."""
    columns = _columns(array).astype(float)
    columns = columns - columns.mean(0)
    length = np.sqrt((columns**2).sum(0))
    constant = length <= 1e-12 * np.sqrt(len(columns)) * np.abs(_columns(array)).max(0)
    return columns / np.where(constant, np.inf, length)


# --- the net -------------------------------------------------------------------------------------


def _of_activations(program: Program, values: Mapping[Node, np.ndarray]) -> Iterator[Finding]:
    outputs = {item for node in program.nodes if isinstance(node, Loss) for item in node.inputs}
    for node in program.nodes:
        value = values[node]
        if node in outputs or not program.shapes[node].batched or len(value) < 2:
            continue
        units = value.reshape(len(value), -1)
        if isinstance(node, ReLU):
            dead = (units <= 0).all(0)
            if dead.mean() >= 0.1:
                yield Finding(
                    "dead_relu",
                    str(node),
                    float(dead.mean()),
                    f"{dead.sum()} of {len(dead)} units are 0 in every row: they pass no gradient "
                    "and cannot come back",
                    "initialise with He's (initializers.he_uniform), lower the learning rate, or "
                    "standardize the inputs",
                )
        elif isinstance(node, (Sigmoid, Tanh)):
            low, high = (0.01, 0.99) if isinstance(node, Sigmoid) else (-0.99, 0.99)
            share = float(((units < low) | (units > high)).mean())
            if share >= 0.5:
                yield Finding(
                    f"saturated_{node.kind.lower()}",
                    str(node),
                    share,
                    f"{share:.0%} of its values are within 0.01 of their bounds, where the "
                    "gradient all but vanishes",
                    "standardize the inputs, and initialise with Glorot's "
                    "(initializers.glorot_uniform)",
                )


# --- the learning rate ---------------------------------------------------------------------------


def _of_learning_rate(
    program: Program,
    optimizer: Optimizer,
    gradient: Callable[[np.ndarray], tuple[float, np.ndarray]],
    unscaled: bool,
) -> Iterator[Finding]:
    rate: Any = getattr(optimizer, "learning_rate", None)
    if rate is None:
        return
    where = repr(optimizer).partition("(")[0]
    vector = np.concatenate([p.value.astype(float).ravel() for p in program.parameters])
    if not isinstance(optimizer, SGD):
        # A step of these is about the learning rate in each element, whatever the gradient.
        size = max(float(np.sqrt(np.mean(vector**2))), 0.1)
        if rate > size or rate < 1e-6 * size:
            large = rate > size
            yield Finding(
                "learning_rate_too_large" if large else "learning_rate_too_small",
                where,
                rate / size,
                f"learning rate {rate:.3g}: a step changes each parameter by about that, "
                f"{rate / size:.3g} of their typical size {size:.3g}",
                f"try {0.01 * size:.1g}",
            )
        return
    curvature = _curvature(program, vector, gradient)
    if not np.isfinite(curvature) or curvature <= 0:
        return
    limit = 2 * (1 + optimizer.momentum) / curvature
    if rate > limit or rate < 1e-5 * limit:
        large = rate > limit
        yield Finding(
            "learning_rate_too_large" if large else "learning_rate_too_small",
            where,
            rate / limit,
            f"learning rate {rate:.3g}, where steps grow without end above {limit:.3g} (the "
            f"steepest curvature here is {curvature:.3g})",
            f"try {limit / 4:.1g}" + ("; standardized inputs allow more" if unscaled else ""),
        )


def _curvature(
    program: Program,
    vector: np.ndarray,
    gradient: Callable[[np.ndarray], tuple[float, np.ndarray]],
    rounds: int = 20,
) -> float:
    """The largest curvature of the loss: power iteration on differences of gradients.

    Source: Y. LeCun, P. Simard, B. Pearlmutter, "Automatic learning rate maximization by on-line
    estimation of the Hessian's eigenvectors" (1993).
    """
    _, start = gradient(vector)
    direction = np.random.default_rng(0).normal(size=vector.size)
    scale = 1 + float(np.abs(vector).max())
    small = np.sqrt(np.finfo(program.dtype).eps) * scale
    curvature = 0.0
    for _ in range(rounds):
        length = float(np.linalg.norm(direction))
        if not np.isfinite(length) or length == 0:
            break
        direction = direction / length
        direction = (gradient(vector + small * direction)[1] - start) / small
        curvature = float(np.linalg.norm(direction))
    return curvature
