"""The table of operations: one row each, run by `test_operations.py` in every engine and dtype.

A new operation gets one row: how it is built, shapes to try it on (prime sizes, so that a wrong
stride cannot hide; one row; width 1; every broadcast), the range of its operands, a formula
written independently of `fastgraph/ops`, and shapes it must refuse. The table knows nothing of
engines, and nothing here runs a graph.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import fastgraph as fg


@dataclass(frozen=True)
class Operand:
    """One operand: data with a batch axis (an `Input`) or without one (a `Parameter`)."""

    shape: tuple[int, ...]
    batched: bool

    def __str__(self):
        return "x".join(map(str, (*"n" * self.batched, *self.shape))) or "()"


def rows(*shape):
    """An operand with a batch axis; ``shape`` is one row's."""
    return Operand(shape, True)


def single(*shape):
    """An operand without a batch axis."""
    return Operand(shape, False)


@dataclass(frozen=True, eq=False)
class Variant:
    """Shapes to try an operation on, with its options."""

    operands: tuple[Operand, ...]
    options: dict[str, Any] = field(default_factory=dict)
    n: int = 7

    def __str__(self):
        options = "".join(f",{k}={v}" for k, v in self.options.items())
        return f"n={self.n}:" + ",".join(map(str, self.operands)) + options.replace(" ", "")


@dataclass(frozen=True, eq=False)
class Bad:
    """Operands an operation must refuse when the graph is built."""

    operands: tuple[Operand, ...]
    words: str
    options: dict[str, Any] = field(default_factory=dict)
    error: type = fg.ShapeError


@dataclass(frozen=True, eq=False)
class Row:
    """One operation.

    Attributes:
        operation: the class.
        formula: its value from float64 arrays and the variant's options.
        variants: shapes and options to try.
        bad: what it must refuse.
        ranges: one (low, high) for all operands, or one for each.
    """

    operation: type[fg.Node]
    formula: Callable[..., Any]
    variants: tuple[Variant, ...]
    bad: tuple[Bad, ...]
    ranges: tuple = ((-2.0, 2.0),)

    @property
    def name(self):
        return self.operation.__name__

    def range(self, position):
        return self.ranges[min(position, len(self.ranges) - 1)]


def unary(*more):
    """Shapes every operation on one operand is tried on."""
    return (
        Variant((rows(),)),
        Variant((rows(1),)),
        Variant((rows(5),)),
        Variant((rows(37),), n=31),
        Variant((rows(3, 2),)),
        Variant((rows(5),), n=1),
        Variant((rows(),), n=1),
        Variant((single(),)),
        Variant((single(5, 3),)),
        *more,
    )


def binary():
    """Shapes every operation on two operands is tried on: equal, and each way to broadcast."""
    return (
        Variant((rows(5), rows(5))),
        Variant((rows(), rows())),
        Variant((rows(17), rows(17)), n=13),
        Variant((rows(5), rows(5)), n=1),
        Variant((rows(1), rows(5))),
        Variant((rows(5), rows(1))),
        Variant((rows(3, 1), rows(1, 2))),
        Variant((rows(5), single(5))),
        Variant((single(5), rows(5))),
        Variant((rows(5), single())),
        Variant((single(), rows(5))),
        Variant((rows(), single())),
        Variant((rows(), single(1))),
        Variant((rows(1), single(5))),
        Variant((single(5), rows(1))),
        Variant((rows(5), single(1))),
        Variant((rows(5), single(1, 5))),
        Variant((rows(3, 2), single(2))),
        Variant((rows(3, 2), single(3, 1))),
        Variant((single(3, 1), rows(1, 2))),
        Variant((rows(5), single(5)), n=1),
        Variant((single(3), single(3))),
        Variant((single(3, 1), single(2))),
        Variant((single(), single(2, 3))),
        Variant((single(), single())),
    )


BAD_BINARY = (
    Bad((rows(5), rows(3)), "do not broadcast together"),
    Bad((rows(), rows(1)), "the batch axis does not broadcast"),
    Bad((rows(5), single(3)), "do not broadcast together"),
    Bad((rows(), single(5)), "would fall on the batch axis"),
    Bad((rows(5), single(7, 5)), "would fall on the batch axis"),
)


def each(function):
    """``function`` of numbers, applied to every element by Python itself."""
    return np.vectorize(function, otypes=[float])


def matmul(a, b):
    """The matrix product by its definition: a sum of products."""
    left = a if a.ndim > 1 else a[None, :]
    right = b if b.ndim > 1 else b[:, None]
    product = (left[..., :, :, None] * right[..., None, :, :]).sum(axis=-2)
    if b.ndim == 1:
        product = product[..., 0]
    if a.ndim == 1:
        product = product[..., 0] if b.ndim == 1 else product[..., 0, :]
    return product


def linear(x, W, b=0.0):
    if W.ndim == 0:
        return np.array([W * v for v in x.ravel()]).reshape(x.shape) + b
    return matmul(x, W) + b


def total(x, axis=None, keepdims=False):
    """The sum by its definition, one axis after another, the last one first."""
    x = x + 0.0
    axes = range(x.ndim) if axis is None else np.atleast_1d(axis)
    for a in sorted((int(a) % x.ndim for a in axes), reverse=True):
        parts = np.moveaxis(x, a, 0)
        x = sum(parts[1:], parts[0])
        x = np.expand_dims(x, a) if keepdims else x
    return x


def mean(x, axis=None, keepdims=False):
    summed = total(x, axis, keepdims)
    return summed * (np.size(summed) / np.size(x))


REDUCTIONS = (
    Variant((rows(),)),
    Variant((rows(5),)),
    Variant((rows(1),)),
    Variant((rows(37),), n=31),
    Variant((rows(5),), n=1),
    Variant((rows(5),), {"axis": 1}),
    Variant((rows(5),), {"axis": 1, "keepdims": True}),
    Variant((rows(5),), {"axis": -1}, n=1),
    Variant((rows(5),), {"keepdims": True}),
    Variant((rows(3, 2),), {"axis": 1}),
    Variant((rows(3, 2),), {"axis": 2}),
    Variant((rows(3, 2),), {"axis": (1, 2)}),
    Variant((rows(3, 2),), {"axis": (-1, 1), "keepdims": True}),
    Variant((rows(3, 5, 2),), {"axis": 2}),
    Variant((rows(3, 5, 2),), {"axis": (1, 3)}),
    Variant((rows(1),), {"axis": 1}),
    Variant((single(),)),
    Variant((single(5, 3),)),
    Variant((single(5, 3),), {"axis": 0}),
    Variant((single(5, 3),), {"axis": -1, "keepdims": True}),
)

BAD_REDUCTIONS = (
    Bad((rows(5),), "axis 0 of (n, 5) is the batch", {"axis": 0}),
    Bad((rows(),), "leave axis out for a scalar", {"axis": -1}),
    Bad((rows(5),), "axis 2 is out of range", {"axis": 2}),
    Bad((rows(5),), "names an axis twice", {"axis": (1, -1)}),
    Bad((rows(5),), "axis is a whole number", {"axis": 1.5}),
)

LOSSES = (
    Variant((rows(), rows())),
    Variant((rows(1), rows(1))),
    Variant((rows(5), rows(5))),
    Variant((rows(3, 2), rows(3, 2))),
    Variant((rows(1), rows(1)), n=1),
    Variant((rows(37), rows(37)), n=31),
    Variant((rows(5), single(5))),
    Variant((rows(5), single())),
    Variant((rows(), single())),
    Variant((single(), rows(5))),
    Variant((single(5), single(5))),
    Variant((single(), single())),
)

BAD_LOSSES = (
    Bad((rows(), rows(1)), "a has shape (n,), b has (n, 1); reshape a to (n, 1)"),
    Bad((rows(1), rows()), "a has shape (n, 1), b has (n,); reshape a to (n,)"),
    Bad((rows(5), rows(3)), "a has shape (n, 5), b has (n, 3)"),
    Bad((rows(1), single(5)), "both must have one shape"),
    Bad((rows(), single(5)), "both must have one shape"),
)

OPERATIONS = (
    Row(fg.Add, lambda a, b: a - (-b), binary(), BAD_BINARY),
    Row(fg.Subtract, lambda a, b: a + (-1.0) * b, binary(), BAD_BINARY),
    Row(fg.Multiply, each(lambda a, b: a * b), binary(), BAD_BINARY),
    Row(fg.Divide, each(lambda a, b: a / b), binary(), BAD_BINARY, ((-2, 2), (0.5, 2.0))),
    Row(fg.Power, each(math.pow), binary(), BAD_BINARY, ((0.3, 2.0), (-2, 2))),
    Row(fg.Negate, lambda x: 0.0 - x, unary(), ()),
    Row(fg.Exp, each(math.exp), unary(), ()),
    Row(fg.Log, each(math.log), unary(), (), ((0.1, 9.0),)),
    Row(fg.Sqrt, each(math.sqrt), unary(), (), ((0.1, 9.0),)),
    Row(fg.Abs, each(math.fabs), unary(), ()),
    Row(fg.Sigmoid, each(lambda x: 1 / (1 + math.exp(-x))), unary(), (), ((-9.0, 9.0),)),
    Row(fg.Tanh, each(math.tanh), unary(), (), ((-3.0, 3.0),)),
    Row(fg.ReLU, each(lambda x: x if x > 0 else 0.0), unary(), ()),
    Row(fg.Sum, total, REDUCTIONS, BAD_REDUCTIONS),
    Row(fg.Mean, mean, REDUCTIONS, BAD_REDUCTIONS),
    Row(
        fg.MatMul,
        matmul,
        (
            Variant((rows(5), single(5, 3))),
            Variant((rows(1), single(1, 1))),
            Variant((rows(1), single(1, 17))),
            Variant((rows(17), single(17, 1))),
            Variant((rows(37), single(37, 41)), n=31),
            Variant((rows(5), single(5, 3)), n=1),
            Variant((rows(5), single(5))),
            Variant((rows(3, 5), single(5, 2))),
            Variant((rows(3, 5), single(5))),
            Variant((rows(3, 5), rows(5, 2))),
            Variant((rows(2, 3, 5), rows(2, 5, 3)), n=3),
            Variant((rows(3, 5), rows(5, 2)), n=1),
            Variant((single(3, 5), rows(5, 2))),
            Variant((single(5), rows(5, 2))),
            Variant((single(3, 5), single(5, 2))),
            Variant((single(5), single(5, 2))),
            Variant((single(3, 5), single(5))),
            Variant((single(5), single(5))),
        ),
        (
            Bad((rows(5), single(3, 2)), "the inner sizes 5 and 3 differ"),
            Bad((rows(), single(5, 2)), "at least one axis beside the batch"),
            Bad((rows(5), rows(5)), "each row must be a matrix"),
            Bad((single(3, 5), rows(5)), "would run over the batch axis"),
            Bad((rows(5), single()), "at least one axis beside the batch"),
            Bad((rows(3, 5), rows(3, 5)), "the inner sizes 5 and 3 differ"),
        ),
    ),
    Row(
        fg.Linear,
        linear,
        (
            Variant((rows(5), single(5, 3), single(3))),
            Variant((rows(13), single(13, 10), single(10)), n=11),
            Variant((rows(10), single(10, 1), single(1)), n=11),
            Variant((rows(1), single(1, 17), single(17))),
            Variant((rows(1), single(1, 1), single(1))),
            Variant((rows(67), single(67, 71), single(71)), n=61),
            Variant((rows(5), single(5, 3), single(3)), n=1),
            Variant((rows(5), single(5, 3))),
            Variant((rows(5), single(5, 3), single())),
            Variant((rows(5), single(5, 3), single(1))),
            Variant((rows(5), single(5, 3), single(1, 3))),
            Variant((rows(5), single(5), single())),
            Variant((rows(5), single(5), single(1))),
            Variant((rows(5), single(5))),
            Variant((rows(), single(), single())),
            Variant((rows(), single())),
            Variant((rows(5), single(), single())),
            Variant((rows(5), single(), single(1))),
            Variant((rows(3, 5), single(5, 2), single(2))),
            Variant((rows(3, 5), single(5, 2), single())),
            Variant((rows(3, 5), single(5, 2), single(1, 1, 2))),
            Variant((rows(3, 5), single(5), single())),
            Variant((single(3, 5), single(5, 2), single(2))),
            Variant((single(5), single(5, 2), single(2))),
            Variant((single(), single(), single())),
        ),
        (
            Bad(
                (rows(5), single(3, 2), single(2)),
                "W expects 3 features in the last axis of x, got 5",
            ),
            Bad((rows(), single(3, 2), single(2)), "got no feature axis"),
            Bad((rows(5), single(5, 2), single(3)), "b must have shape (2,) or ()"),
            Bad((rows(5), single(5, 1), single(3)), "b must have shape (1,) or ()"),
            Bad((rows(5), single(5), single(3)), "b must have shape ()"),
            Bad((rows(5), single(), single(5)), "b must have shape ()"),
            Bad((rows(3, 5), single(5, 2), single(3, 1)), "b must have shape (2,) or ()"),
            Bad((single(5), single(5, 2), single(1, 2)), "b must have shape (2,) or ()"),
            Bad((rows(5), rows(5, 2), single(2)), "W and b have no batch axis"),
            Bad((rows(5), single(5, 2), rows(2)), "W and b have no batch axis"),
            Bad((rows(5), single(5, 2, 3), single(3)), "W has at most two axes"),
        ),
    ),
    Row(
        fg.MSE,
        lambda a, b: sum((u - v) ** 2 for u, v in pairs(a, b)) / max(a.size, b.size),
        LOSSES,
        BAD_LOSSES,
    ),
    Row(
        fg.MAE,
        lambda a, b: sum(abs(u - v) for u, v in pairs(a, b)) / max(a.size, b.size),
        LOSSES,
        BAD_LOSSES,
    ),
)


def pairs(a, b):
    return zip(*(m.ravel() for m in np.broadcast_arrays(a, b)), strict=True)


@dataclass(frozen=True, eq=False)
class Case:
    """One operation on one variant, with numbers drawn for it."""

    row: Row
    variant: Variant

    def __str__(self):
        return f"{self.row.name}-{self.variant}"

    def arrays(self, seed=0):
        """A float64 array for each operand, always the same for one seed."""
        random = np.random.default_rng([seed, *str(self).encode()])
        return [
            random.uniform(*self.row.range(i), (self.variant.n, *o.shape) if o.batched else o.shape)
            for i, o in enumerate(self.variant.operands)
        ]

    def formula(self, *arrays):
        return np.asarray(self.row.formula(*arrays, **self.variant.options), dtype=float)

    def build(self, *operands):
        return self.row.operation(*operands, **self.variant.options)

    def nodes(self, arrays):
        """A node for each operand, and the feeds of those that are inputs."""
        nodes, feeds = [], {}
        for letter, operand, array in zip("abc", self.variant.operands, arrays, strict=False):
            if operand.batched:
                node = fg.Input(letter, shape=operand.shape)
                feeds[node] = array
            else:
                node = fg.Parameter(array, letter)
            nodes.append(node)
        return nodes, feeds


CASES = tuple(Case(row, variant) for row in OPERATIONS for variant in row.variants)
