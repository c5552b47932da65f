"""The table of operations in C: one row each, by the name of the operation's kernel.

A row says in C expressions what an operation computes and what it passes back. The letters are
``a b c d e`` the inputs (``x5 x6 …`` where there are more), ``y`` the value, ``g`` the gradient of
the value, ``da db …`` what is added to the gradients of the inputs, ``t0 t1 …`` arrays of its own;
``{0} {1}`` are the settings of the node. An expression stands for every element: `Site.each` says
over which index space it runs, and each letter is read there with strides, 0 along an axis it is
broadcast or summed over. Hence a sum is ``y += a`` and the reverse of a broadcast is ``da += g``.

Math functions are written as for ``double``; the emitter takes those for ``float`` where needed.
Nothing here writes a file or lays out memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from ..node import Node

__all__ = [
    "FUNCTIONS", "OPERATIONS", "OPTIMIZERS", "Array", "Operation", "Pass", "Site", "aligned",
    "letter_of",
]  # fmt: skip


_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Array:
    """Numbers of a known shape in one of the storages of a C file.

    Attributes:
        name: the identifier in C.
        shape: with the rows; the layout is that of NumPy, the last axis fastest.
        storage: ``parameters``, ``constants``, ``gradients``, ``scratch`` or ``argument``.
        offset: within its storage; scratch gets its own when all passes are known.
    """

    name: str
    shape: tuple[int, ...]
    storage: str
    offset: int = 0

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Pass:
    """One loop nest: ``statement`` for every element of ``space``.

    Attributes:
        space: sizes of the loops, the outermost first.
        statement: an assignment in letters.
        operands: by letter the array and its stride along each axis of ``space``.
        starts: by letter, the element its strides count from, where that is not the first.
        lookups: by letter, another letter whose value says which row of it is read, the number of
            rows, and the step from one to the next.
    """

    space: tuple[int, ...]
    statement: str
    operands: dict[str, tuple[Array, tuple[int, ...]]]
    starts: Mapping[str, int] = field(default_factory=dict)
    lookups: Mapping[str, tuple[str, int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Site:
    """Where an operation is written: its node and the arrays its letters stand for."""

    node: Node
    arrays: dict[str, Array]
    temporary: Callable[[str, tuple[int, ...]], Array]

    def shape(self, letter: str) -> tuple[int, ...]:
        return self.arrays[letter].shape

    def own(self, letter: str, shape: tuple[int, ...]) -> None:
        """Give the operation an array of its own, as ``t0``; it lives while it is used."""
        if letter not in self.arrays:
            self.arrays[letter] = self.temporary(letter, shape)

    def each(
        self,
        space: tuple[int, ...],
        statement: str,
        strides: Mapping[Any, tuple[int, ...]] = _NONE,
        starts: Mapping[str, int] = _NONE,
        lookups: Mapping[str, tuple[str, int, int]] = _NONE,
    ) -> Pass:
        """A pass over ``space``; letters without strides of their own broadcast to it."""
        operands = {
            letter: (array, strides[letter] if letter in strides else aligned(array.shape, space))
            for letter, array in self.arrays.items()
            if letter in strides or _fits(array.shape, space)
        }
        settings = (f"({_in_c(number)})" for number in map(float, self.node.numbers))
        return Pass(space, statement.format(*settings), operands, starts, lookups)


@dataclass(frozen=True)
class Operation:
    """A row: the passes that compute the value, and those that pass back to one input.

    ``learns`` is False for what does something else in training, which has no C.
    """

    forward: Callable[[Site], Iterator[Pass]]
    backward: Callable[[Site, int], Iterator[Pass]]
    learns: bool = True

    def predicting(self) -> Operation:
        """The row of what does something else in training."""
        return Operation(self.forward, self.backward, learns=False)


def letter_of(position: int) -> str:
    """The letter of an input."""
    return "abcde"[position] if position < 5 else f"x{position}"


def _in_c(number: float) -> str:
    return f"{'-' if number < 0 else ''}HUGE_VAL" if math.isinf(number) else repr(number)


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of an array in memory, in elements."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def _fits(shape: tuple[int, ...], space: tuple[int, ...]) -> bool:
    tail = space[len(space) - len(shape) :] if len(shape) <= len(space) else None
    return tail is not None and all(s in (1, t) for s, t in zip(shape, tail, strict=True))


def aligned(shape: tuple[int, ...], space: tuple[int, ...]) -> tuple[int, ...]:
    """Strides that broadcast ``shape`` to ``space`` as NumPy does."""
    own = [0 if n == 1 else step for n, step in zip(shape, contiguous(shape), strict=True)]
    return (0,) * (len(space) - len(shape)) + tuple(own)


# Families ------------------------------------------------------------------------------------


def elementwise(value: str, *gradients: str) -> Operation:
    """``y = value``; ``gradients`` are what each input gets, summed over broadcast axes."""

    def forward(site: Site) -> Iterator[Pass]:
        yield site.each(site.shape("y"), f"y = {value}")

    def backward(site: Site, i: int) -> Iterator[Pass]:
        yield site.each(site.shape("y"), f"d{letter_of(i)} += {gradients[i]}")

    return Operation(forward, backward)


def reduction(*, mean: bool) -> Operation:
    """``y += a`` over the axes the node reduces."""

    def space_of(site: Site) -> tuple[tuple[int, ...], tuple[int, ...], str]:
        space, axes = site.shape("a"), site.node.axis  # type: ignore[attr-defined]
        axes = range(len(space)) if axes is None else [axis % len(space) for axis in axes]
        kept = tuple(1 if axis in axes else size for axis, size in enumerate(space))
        share = f" / {math.prod(space) // math.prod(kept)}" if mean else ""
        return space, aligned(kept, space), share

    def forward(site: Site) -> Iterator[Pass]:
        space, strides, share = space_of(site)
        yield site.each(site.shape("y"), "y = 0")
        yield site.each(space, "y += a", {"y": strides})
        if share:
            yield site.each(site.shape("y"), f"y = y{share}")

    def backward(site: Site, i: int) -> Iterator[Pass]:
        space, strides, share = space_of(site)
        yield site.each(space, f"da += g{share}", {"g": strides})

    return Operation(forward, backward)


def loss(value: str, to_true: str, to_pred: str) -> Operation:
    """The mean of ``value`` over everything, weighted by ``c`` where there is one."""

    def space_of(site: Site) -> tuple[int, ...]:
        return np.broadcast_shapes(site.shape("a"), site.shape("b"))

    def forward(site: Site) -> Iterator[Pass]:
        yield from _mean(site, space_of(site), value)

    def backward(site: Site, i: int) -> Iterator[Pass]:
        space = space_of(site)
        if i == 2:
            yield from _weight_gradient(site, space, value)
        else:
            gradient = (to_true, to_pred)[i]
            yield _shared(site, space, f"d{letter_of(i)} +=", gradient, space)

    return Operation(forward, backward)


def _weights(site: Site, space: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Strides of the weights: one of a row counts for all elements of the row."""
    if "c" not in site.arrays:
        return {}
    shape = site.shape("c")
    strides = aligned((*shape, *(1,) * (len(space) - len(shape))), space)
    return {letter: strides for letter in ("c", "dc") if letter in site.arrays}


def _mean(
    site: Site, space: tuple[int, ...], value: str, read: Mapping[str, Any] = _NONE
) -> Iterator[Pass]:
    """``y``, the mean of ``value``; ``t0`` becomes the sum of the weights."""
    weights = _weights(site, space)
    yield site.each((), "y = 0")
    if not weights:
        yield _read(site, space, f"y += {value}", {}, read)
        yield site.each((), f"y /= {math.prod(space)}")
        return
    site.own("t0", ())
    yield site.each((), "t0 = 0")
    yield site.each(space, "t0 += c", weights)
    yield _read(site, space, f"y += c * ({value})", weights, read)
    yield site.each((), "y = t0 > 0 ? y / t0 : 0")


def _shared(
    site: Site,
    space: tuple[int, ...],
    target: str,
    slope: str,
    of: tuple[int, ...],
    read: Mapping[str, Any] = _NONE,
) -> Pass:
    """Add a slope times what an element counts for in the mean over ``of``."""
    weights = _weights(site, space)
    share = f"t0 > 0 ? {slope} * c / t0 : 0" if weights else f"{slope} / {math.prod(of)}"
    return _read(site, space, f"{target} {share}", weights, read)


def _weight_gradient(
    site: Site, space: tuple[int, ...], value: str, read: Mapping[str, Any] = _NONE
) -> Iterator[Pass]:
    """The mean moves towards the losses that gain weight."""
    statement = f"dc += t0 > 0 ? g * ({value} - y) / t0 : 0"
    yield _read(site, space, statement, _weights(site, space), read)


def _read(site: Site, space: tuple, statement: str, strides: dict, read: Mapping) -> Pass:
    """A pass with further strides, and lookups."""
    more = {**strides, **read.get("strides", {})}
    return site.each(space, statement, more, lookups=read.get("lookups", {}))


def _product_space(site: Site) -> tuple[tuple[int, ...], dict[str, tuple[int, ...]]]:
    """Rows, then the inner axis, then columns: the innermost loop runs along memory."""
    a, b = site.shape("a"), site.shape("b")
    left = a if len(a) > 1 else (1, *a)
    right = b if len(b) > 1 else (*b, 1)
    before = np.broadcast_shapes(left[:-2], right[:-2])
    rows, inner, columns = *left[-2:], right[-1]
    step_a = aligned(left, (*before, rows, inner))
    step_b = aligned(right, (*before, inner, columns))
    step_y = contiguous((*before, rows, columns))
    y = (*step_y[:-1], 0, step_y[-1])
    strides = {
        "a": (*step_a, 0),
        "b": (*step_b[:-2], 0, *step_b[-2:]),
        "y": y,
        "g": y,
    }
    strides["da"], strides["db"] = strides["a"], strides["b"]
    return (*before, rows, inner, columns), strides


def _matmul_forward(site: Site) -> Iterator[Pass]:
    space, strides = _product_space(site)
    yield site.each(site.shape("y"), "y = c" if "c" in site.arrays else "y = 0")
    yield site.each(space, "y += a * b", strides)


def _matmul_backward(site: Site, i: int) -> Iterator[Pass]:
    if i == 2:
        yield site.each(site.shape("y"), "dc += g")
    else:
        space, strides = _product_space(site)
        yield site.each(space, ("da += g * b", "db += g * a")[i], strides)


_MATMUL = Operation(_matmul_forward, _matmul_backward)
_LINE = elementwise("a * b", "g * b", "g * a", "g")
_LINE_WITH_BIAS = elementwise("a * b + c", "g * b", "g * a", "g")


def _line(site: Site) -> Operation:
    """`Linear` is a product of matrices, or ``W * x + b`` where W is one number."""
    if site.shape("b"):
        return _MATMUL
    return _LINE_WITH_BIAS if "c" in site.arrays else _LINE


_LINEAR = Operation(
    lambda site: _line(site).forward(site), lambda site, i: _line(site).backward(site, i)
)


def _per_row(site: Site, letter: str, *own: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shape of an input and that of one number for each of its rows, the last axis; arrays of
    the operation's own get the latter."""
    shape = site.shape(letter)
    row = (*shape[:-1], 1)
    for name in own:
        site.own(name, row)
    return shape, row


def _largest(site: Site, shape: tuple[int, ...], row: tuple[int, ...], letter: str) -> Iterator:
    """``t1`` the largest of each row: what is left after taking it away does not overflow."""
    yield site.each(row, "t1 = -HUGE_VAL")
    yield site.each(shape, f"t1 = {letter} > t1 ? {letter} : t1")


def _sum_rows(site: Site, shape: tuple, row: tuple, name: str, value: str) -> Iterator[Pass]:
    yield site.each(row, f"{name} = 0")
    yield site.each(shape, f"{name} += {value}")


def _softmax_forward(site: Site) -> Iterator[Pass]:
    shape, row = _per_row(site, "a", "t1", "t2")
    yield from _largest(site, shape, row, "a")
    yield site.each(shape, "y = exp(a - t1)")
    yield from _sum_rows(site, shape, row, "t2", "y")
    yield site.each(shape, "y /= t2")


def _softmax_backward(site: Site, i: int) -> Iterator[Pass]:
    shape, row = _per_row(site, "a", "t3")
    yield from _sum_rows(site, shape, row, "t3", "g * y")
    yield site.each(shape, "da += y * (g - t3)")


def _log_softmax_forward(site: Site) -> Iterator[Pass]:
    shape, row = _per_row(site, "a", "t1", "t2")
    yield from _largest(site, shape, row, "a")
    yield from _sum_rows(site, shape, row, "t2", "exp(a - t1)")
    yield site.each(shape, "y = a - t1 - log(t2)")


def _log_softmax_backward(site: Site, i: int) -> Iterator[Pass]:
    shape, row = _per_row(site, "a", "t3")
    yield from _sum_rows(site, shape, row, "t3", "g")
    yield site.each(shape, "da += g - exp(y) * t3")


def _layer_norm_forward(site: Site) -> Iterator[Pass]:
    """``t1`` the mean of a row, ``t2`` one over its standard deviation."""
    shape, row = _per_row(site, "a", "t1", "t2")
    yield from _sum_rows(site, shape, row, "t1", "a")
    yield site.each(row, f"t1 /= {shape[-1]}")
    yield from _sum_rows(site, shape, row, "t2", "(a - t1) * (a - t1)")
    yield site.each(row, f"t2 = 1 / sqrt(t2 / {shape[-1]} + {{0}})")
    yield site.each(shape, "y = (a - t1) * t2 * b + c")


def _layer_norm_backward(site: Site, i: int) -> Iterator[Pass]:
    shape, row = _per_row(site, "a", "t3", "t4")
    if i:
        yield site.each(shape, ("db += g * (a - t1) * t2", "dc += g")[i - 1])
        return
    yield from _sum_rows(site, shape, row, "t3", "g * b")
    yield from _sum_rows(site, shape, row, "t4", "g * b * (a - t1) * t2")
    n = shape[-1]
    yield site.each(shape, f"da += t2 * (g * b - t3 / {n} - (a - t1) * t2 * t4 / {n})")


def _cross_entropy(site: Site) -> tuple[tuple, tuple, tuple, str, dict[str, Any]]:
    """Shapes of logits, of a number for each row, of the losses; the loss of a row, and how the
    logit of a row's class is read: by its label, or as a sum over the classes."""
    shape, row = _per_row(site, "b", "t1", "t2")
    classes = shape[-1]
    if site.shape("a") == shape:
        site.own("t3", row)  # the loss of each row
        site.own("t4", row)  # the sum of its targets
        return shape, row, row, "t3", {}
    first = (*contiguous(shape)[:-1], 0)  # the first logit of each row
    strides = {"a": (*contiguous(shape[:-1]), 0), "b": first}
    if "db" in site.arrays:
        strides["db"] = first
    lookups = dict.fromkeys(("b", "db"), ("a", classes, 1))
    return shape, row, row, "t2 - b", {"strides": strides, "lookups": lookups}


def _cross_entropy_forward(site: Site) -> Iterator[Pass]:
    """``t2`` is the logarithm of the sum of each row's exponentials."""
    shape, row, space, value, read = _cross_entropy(site)
    yield from _largest(site, shape, row, "b")
    yield from _sum_rows(site, shape, row, "t2", "exp(b - t1)")
    yield site.each(row, "t2 = log(t2) + t1")
    if not read:
        yield from _sum_rows(site, shape, row, "t3", "a * (t2 - b)")
        yield from _sum_rows(site, shape, row, "t4", "a")
    yield from _mean(site, space, value, read)


def _cross_entropy_backward(site: Site, i: int) -> Iterator[Pass]:
    shape, row, space, value, read = _cross_entropy(site)
    if i == 2:
        yield from _weight_gradient(site, space, value, read)
    elif i == 0:
        yield _shared(site, shape, "da +=", "g * (t2 - b)", row)
    elif read:
        yield _shared(site, shape, "db +=", "g * exp(b - t2)", row)
        yield _shared(site, row, "db -=", "g", row, read)
    else:
        yield _shared(site, shape, "db +=", "g * (exp(b - t2) * t4 - a)", row)


def _reshape(statement: str) -> Callable[..., Iterator[Pass]]:
    def passes(site: Site, i: int = 0) -> Iterator[Pass]:
        flat = {letter: (1,) for letter in ("a", "y", "g", "da") if letter in site.arrays}
        yield site.each((site.arrays["a"].size,), statement, flat)

    return passes


def _concatenate(site: Site, positions: range, statement: str, whole: str) -> Iterator[Pass]:
    """``whole`` is the letter of what has all parts."""
    shapes = [site.shape(letter_of(i)) for i in range(len(site.node.inputs))]
    axis = site.node.axis % len(shapes[0])  # type: ignore[attr-defined]
    strides = contiguous(site.shape("y"))
    for i in positions:
        start = sum(shape[axis] for shape in shapes[:i]) * strides[axis]
        yield site.each(
            shapes[i], statement.format(letter_of(i)), {whole: strides}, {whole: start}
        )


def _slice(statement: str, whole: str) -> Callable[..., Iterator[Pass]]:
    """``whole`` is the letter of what the slice is taken of."""

    def passes(site: Site, i: int = 0) -> Iterator[Pass]:
        node: Any = site.node
        shape = site.shape("a")
        axis, strides = node.axis % len(shape), list(contiguous(shape))
        start, _, step = slice(node.start, node.stop, node.step).indices(shape[axis])
        begin = start * strides[axis]
        strides[axis] *= step
        yield site.each(site.shape("y"), statement, {whole: tuple(strides)}, {whole: begin})

    return passes


def _embedding(statement: str, table: str) -> Callable[..., Iterator[Pass]]:
    def passes(site: Site, i: int = 0) -> Iterator[Pass]:
        space, (categories, width) = site.shape("y"), site.shape("b")
        along = (*(0,) * (len(space) - 1), 1)
        strides = {"a": (*contiguous(site.shape("a")), 0), table: along}
        lookups = {table: ("a", categories, width)}
        yield site.each(space, statement, strides, lookups=lookups)

    return passes


# The table -----------------------------------------------------------------------------------

OPERATIONS: dict[str, Operation] = {
    "add": elementwise("a + b", "g", "g"),
    "subtract": elementwise("a - b", "g", "-g"),
    "multiply": elementwise("a * b", "g * b", "g * a"),
    "divide": elementwise("a / b", "g / b", "-g * a / (b * b)"),
    "power": elementwise(
        "pow(a, b)", "b == 0 ? 0 : g * b * pow(a, b - 1)", "a == 0 ? 0 : g * y * log(a)"
    ),
    "negate": elementwise("-a", "-g"),
    "exp": elementwise("exp(a)", "g * y"),
    "log": elementwise("log(a)", "g / a"),
    "sqrt": elementwise("sqrt(a)", "g / (2 * y)"),
    "abs": elementwise("fabs(a)", "a > 0 ? g : a < 0 ? -g : 0"),
    "sigmoid": elementwise("sigmoid(a)", "g * y * (1 - y)"),
    "tanh": elementwise("tanh(a)", "g * (1 - y * y)"),
    "relu": elementwise("a < 0 ? 0 : a", "a > 0 ? g : 0"),
    "leaky_relu": elementwise("a > 0 ? a : {0} * a", "a > 0 ? g : {0} * g"),
    "elu": elementwise("a > 0 ? a : {0} * expm1(a)", "a > 0 ? g : g * {0} * exp(a)"),
    "gelu": elementwise("a * normal(a)", "g * (normal(a) + a * density(a))"),
    "silu": elementwise("a * sigmoid(a)", "g * sigmoid(a) * (1 + a * (1 - sigmoid(a)))"),
    "softplus": elementwise("softplus(a)", "g * sigmoid(a)"),
    "sin": elementwise("sin(a)", "g * cos(a)"),
    "cos": elementwise("cos(a)", "-g * sin(a)"),
    "clip": elementwise("bounded(a, {0}, {1})", "{0} <= a && a <= {1} ? g : 0"),
    "maximum": elementwise(
        "a > b ? a : b", "a > b ? g : a < b ? 0 : g / 2", "b > a ? g : b < a ? 0 : g / 2"
    ),
    "minimum": elementwise(
        "a < b ? a : b", "a < b ? g : a > b ? 0 : g / 2", "b < a ? g : b > a ? 0 : g / 2"
    ),
    "softmax": Operation(_softmax_forward, _softmax_backward),
    "log_softmax": Operation(_log_softmax_forward, _log_softmax_backward),
    "layer_norm": Operation(_layer_norm_forward, _layer_norm_backward),
    "batch_norm": elementwise("(a - d) / sqrt(e + {0}) * b + c").predicting(),
    "dropout": elementwise("a").predicting(),
    "reshape": Operation(_reshape("y = a"), _reshape("da += g")),
    "concatenate": Operation(
        lambda site: _concatenate(site, range(len(site.node.inputs)), "y = {}", "y"),
        lambda site, i: _concatenate(site, range(i, i + 1), "d{} += g", "g"),
    ),
    "slice": Operation(_slice("y = a", "a"), _slice("da += g", "da")),
    "embedding": Operation(_embedding("y = b", "b"), _embedding("db += g", "db")),
    "sum": reduction(mean=False),
    "mean": reduction(mean=True),
    "mse": loss("(b - a) * (b - a)", "g * 2 * (a - b)", "g * 2 * (b - a)"),
    "mae": loss(
        "fabs(b - a)", "(a > b ? g : a < b ? -g : 0)", "(b > a ? g : b < a ? -g : 0)"
    ),
    "huber": loss(
        "huber(b - a, {0})", "g * bounded(a - b, -{0}, {0})", "g * bounded(b - a, -{0}, {0})"
    ),
    "quantile": loss(
        "(b < a ? {0} * (a - b) : (1 - {0}) * (b - a))",
        "(b < a ? g * {0} : b > a ? g * ({0} - 1) : 0)",
        "(b < a ? -g * {0} : b > a ? g * (1 - {0}) : 0)",
    ),
    "poisson": loss("exp(b) - a * b", "-g * b", "g * (exp(b) - a)"),
    "binary_cross_entropy": loss("softplus(b) - a * b", "-g * b", "g * (sigmoid(b) - a)"),
    "softmax_cross_entropy": Operation(_cross_entropy_forward, _cross_entropy_backward),
    "matmul": _MATMUL,
    "linear": _LINEAR,
}

#: Functions that expressions above may call, in C; ``real`` is the file's type.
FUNCTIONS: dict[str, str] = {
    "sigmoid": """\
static real sigmoid(real x)
{
    const real small = exp(-fabs(x)); /* never overflows */
    return (x >= 0 ? 1 : small) / (1 + small);
}
""",
    "softplus": """\
static real softplus(real x)
{
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}
""",
    "normal": """\
static real normal(real x) /* the probability that a standard normal number is below x */
{
    return 0.5 * erfc(-0.7071067811865476 * x);
}
""",
    "density": """\
static real density(real x) /* of a standard normal number */
{
    return 0.3989422804014327 * exp(-0.5 * x * x);
}
""",
    "bounded": """\
static real bounded(real x, real low, real high)
{
    return x < low ? low : x > high ? high : x;
}
""",
    "huber": """\
static real huber(real x, real delta)
{
    const real size = fabs(x);
    const real small = size < delta ? size : delta;
    return small * (size - small / 2);
}
""",
    "place": """\
static int place(real x, int count) /* a whole number as an index, in any case a valid one */
{
    return x > 0 ? (x < (real)count ? (int)x : count - 1) : 0;
}
""",
}


# Optimizers ----------------------------------------------------------------------------------


def _sgd(o: Any) -> list[str]:
    gradient = "g + {weight_decay} * p" if o.weight_decay else "g"
    if o.momentum == 0:
        return [f"p -= {{learning_rate}} * ({gradient})"]
    step = "d + {momentum} * s0" if o.nesterov else "s0"
    return [
        f"const real d = {gradient}",
        "s0 = {momentum} * s0 + d",
        f"p -= {{learning_rate}} * ({step})",
    ]


def _adam(o: Any) -> list[str]:
    decay = ["p -= {learning_rate} * {weight_decay} * p"] if getattr(o, "weight_decay", 0) else []
    return [
        "s0 = {beta1} * s0 + {1-beta1} * g",
        "s1 = {beta2} * s1 + {1-beta2} * g * g",
        *decay,
        "p -= {learning_rate} * (s0 / c0) / (sqrt(s1 / c1) + {epsilon})",
    ]


#: By kernel: the statements for one parameter ``p`` with gradient ``g`` and state ``s0``, ``s1``.
#: ``c0`` and ``c1`` are ``1 - beta1ᵗ`` and ``1 - beta2ᵗ``; names in braces are settings.
OPTIMIZERS: dict[str, Callable[[Any], list[str]]] = {
    "sgd": _sgd,
    "rmsprop": lambda o: [
        "s0 = {rho} * s0 + {1-rho} * g * g",
        "p -= {learning_rate} * g / (sqrt(s0) + {epsilon})",
    ],
    "adagrad": lambda o: [
        "s0 += g * g",
        "p -= {learning_rate} * g / (sqrt(s0) + {epsilon})",
    ],
    "adam": _adam,  # AdamW too: it is Adam's kernel with a weight decay
}
