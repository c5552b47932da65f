"""The table of operations in C: one row each, by the name of the operation's kernel.

A row says in C expressions what an operation computes and what it passes back. The letters are
``a b c`` the inputs, ``y`` the value, ``g`` the gradient of the value, ``da db dc`` what is added
to the gradients of the inputs, ``t0 t1 …`` arrays of its own. An expression stands for every
element: `Site.each` says over which index space it runs, and each letter is read there with
strides, 0 along an axis it is broadcast or summed over. Hence a sum is ``y += a`` and the reverse
of a broadcast is ``da += g``.

Math functions are written as for ``double``; the emitter takes those for ``float`` where needed.
Nothing here writes a file or lays out memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..node import Node

__all__ = [
    "FUNCTIONS", "OPERATIONS", "OPTIMIZERS", "Array", "Operation", "Pass", "Site", "aligned",
    "contiguous",
]  # fmt: skip


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
    """

    space: tuple[int, ...]
    statement: str
    operands: dict[str, tuple[Array, tuple[int, ...]]]


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
        self, space: tuple[int, ...], statement: str, **strides: tuple[int, ...]
    ) -> Pass:
        """A pass over ``space``; letters without strides of their own broadcast to it."""
        operands = {
            letter: (array, strides[letter] if letter in strides else aligned(array.shape, space))
            for letter, array in self.arrays.items()
            if letter in strides or _fits(array.shape, space)
        }
        return Pass(space, statement, operands)


@dataclass(frozen=True)
class Operation:
    """A row: the passes that compute the value, and those that pass back to one input."""

    forward: Callable[[Site], Iterator[Pass]]
    backward: Callable[[Site, int], Iterator[Pass]]


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
        yield site.each(site.shape("y"), f"y = {_with_numbers(value, site.node)}")

    def backward(site: Site, i: int) -> Iterator[Pass]:
        gradient = _with_numbers(gradients[i], site.node)
        yield site.each(site.shape("y"), f"d{'abc'[i]} += {gradient}")

    return Operation(forward, backward)


def reduction(value: str, *gradients: str, mean: bool = False) -> Operation:
    """``y += value`` over the axes the node reduces, all of them for a loss."""

    def spaces(site: Site) -> tuple[tuple[int, ...], dict[str, tuple[int, ...]], int]:
        shapes = [site.shape(letter) for letter in "abc" if letter in site.arrays]
        space = np.broadcast_shapes(*shapes)
        axes = getattr(site.node, "axis", None)
        axes = range(len(space)) if axes is None else [axis % len(space) for axis in axes]
        kept = [1 if axis in axes else size for axis, size in enumerate(space)]
        strides = aligned(tuple(kept), space)
        return space, {"y": strides, "g": strides}, math.prod(space) // math.prod(kept)

    def forward(site: Site) -> Iterator[Pass]:
        space, strides, count = spaces(site)
        yield site.each(site.shape("y"), "y = 0")
        yield site.each(space, f"y += {value}", **strides)
        if mean:
            yield site.each(site.shape("y"), f"y /= {count}")

    def backward(site: Site, i: int) -> Iterator[Pass]:
        space, strides, count = spaces(site)
        share = f" / {count}" if mean else ""
        yield site.each(space, f"d{'abc'[i]} += {gradients[i]}{share}", **strides)

    return Operation(forward, backward)


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
    yield site.each(space, "y += a * b", **strides)


def _matmul_backward(site: Site, i: int) -> Iterator[Pass]:
    if i == 2:
        yield site.each(site.shape("y"), "dc += g")
    else:
        space, strides = _product_space(site)
        yield site.each(space, ("da += g * b", "db += g * a")[i], **strides)


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


def _with_numbers(expression: str, node: Node) -> str:
    """Put the settings of an operation, as a slope, where ``{0}``, ``{1}`` stand."""
    return expression.format(*(f"({number!r})" for number in map(float, node.numbers)))


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
    "sum": reduction("a", "g"),
    "mean": reduction("a", "g", mean=True),
    "mse": reduction(
        "(b - a) * (b - a)", "g * 2 * (a - b)", "g * 2 * (b - a)", mean=True
    ),
    "mae": reduction(
        "fabs(b - a)",
        "(a > b ? g : a < b ? -g : 0)",
        "(b > a ? g : b < a ? -g : 0)",
        mean=True,
    ),
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
    "adam": _adam,  # AdamW too: it is Adam's kernel with a weight decay
}
