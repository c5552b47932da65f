"""The table of operations: one row each, run by `test_operations.py` in every engine and dtype.

A new operation gets one row: how it is built, shapes to try it on (prime sizes, so that a wrong
stride cannot hide; one row; width 1; every broadcast), the range of its operands, a formula
written independently of `fastgraph/ops`, and shapes it must refuse. The table knows nothing of
engines, and nothing here runs a graph.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean, pvariance
from typing import Any

import numpy as np

import fastgraph as fg


@dataclass(frozen=True)
class Operand:
    """One operand: data with a batch axis (an `Input`) or without one (a `Parameter`)."""

    shape: tuple[int, ...]
    batched: bool
    count: int = 0  # of classes, for labels; 0: any number

    def __str__(self):
        shape = "x".join(map(str, (*"n" * self.batched, *self.shape))) or "()"
        return shape + f"<{self.count}" * bool(self.count)


def rows(*shape):
    """An operand with a batch axis; ``shape`` is one row's."""
    return Operand(shape, True)


def labels(count, *shape):
    """Data of whole numbers from 0 to ``count - 1``; no gradient flows to it."""
    return Operand(shape, True, count)


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
        in_fit: the formula while `fit` trains, where it is another one.
    """

    operation: type[fg.Node]
    formula: Callable[..., Any]
    variants: tuple[Variant, ...]
    bad: tuple[Bad, ...]
    ranges: tuple = ((-2.0, 2.0),)
    in_fit: Callable[..., Any] | None = None

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

#: With sample weights: one a row, and one an element.
WEIGHTED = (
    Variant((rows(), rows(), rows())),
    Variant((rows(1), rows(1), rows())),
    Variant((rows(1), rows(1), rows(1))),
    Variant((rows(5), rows(5), rows())),
    Variant((rows(5), rows(5), rows(1))),
    Variant((rows(5), rows(5), rows(5))),
    Variant((rows(3, 2), rows(3, 2), rows())),
    Variant((rows(3, 2), rows(3, 2), rows(3, 2))),
    Variant((rows(37), rows(37), rows()), n=31),
    Variant((rows(37), rows(37), rows(37)), n=31),
    Variant((rows(5), single(5), rows())),
    Variant((rows(1), rows(1), rows()), n=2),
)

#: Shapes with a last axis of classes.
VECTORS = (
    Variant((rows(5),)),
    Variant((rows(1),)),
    Variant((rows(37),), n=31),
    Variant((rows(67),), n=3),
    Variant((rows(3, 2),)),
    Variant((rows(5),), n=1),
    Variant((single(5),)),
    Variant((single(5, 3),)),
)

BAD_VECTORS = (Bad((rows(),), "a feature axis is needed"),)


def with_options(variants, **options):
    """The variants, each with these options."""
    return tuple(Variant(v.operands, options, v.n) for v in variants)


def weighted_mean(loss):
    """The mean of ``loss`` of each pair of numbers, weighted where there is a third operand."""

    def formula(y, p, w=None, **options):
        y, p = np.broadcast_arrays(y, p)
        losses = np.vectorize(lambda a, b: loss(a, b, **options), otypes=[float])(y, p)
        if w is None:
            return losses.mean()
        rows_of_losses, rows_of_weights = losses.reshape(len(losses), -1), w.reshape(len(w), -1)
        weights = np.repeat(rows_of_weights, rows_of_losses.shape[1] // rows_of_weights.shape[1], 1)
        return (weights * rows_of_losses).sum() / weights.sum()

    return formula


def softmax(x):
    powers = each(math.exp)(x)
    return powers / total(powers, -1, keepdims=True)


def concatenated(*arrays, axis=-1):
    moved = [np.moveaxis(a, axis, 0) for a in arrays]
    return np.moveaxis(np.array([part for a in moved for part in a]), 0, axis)


def sliced(x, start=None, stop=None, step=None, axis=-1):
    moved = np.moveaxis(x, axis, 0)
    taken = [moved[i] for i in range(*slice(start, stop, step).indices(len(moved)))]
    return np.moveaxis(np.array(taken), 0, axis)


def layer_norm(x, gamma, beta, epsilon=1e-5):
    m = mean(x, -1, keepdims=True)
    variance = mean(x**2, -1, keepdims=True) - m**2
    return (x - m) * gamma / (variance + epsilon) ** 0.5 + beta


def batch_norm(x, gamma, beta, m, variance, epsilon=1e-5, momentum=0.1):
    scale = gamma * (variance + epsilon) ** -0.5
    return x * scale + (beta - m * scale)


def batch_norm_in_fit(x, gamma, beta, m, variance, **options):
    columns = x.reshape(-1, x.shape[-1]).T.tolist()
    m, variance = [np.array([f(c) for c in columns]) for f in (fmean, pvariance)]
    return batch_norm(x, gamma, beta, m, variance, **options)


def cross_entropy(y, z, w=None):
    if y.ndim < z.ndim:
        y = (np.rint(y)[..., None] == np.arange(z.shape[-1])).astype(float)
    losses = -total(y * np.log(softmax(z)), -1)
    w = np.ones_like(losses) if w is None else w.reshape(w.shape + (1,) * (losses.ndim - w.ndim))
    return (w * losses).sum() / np.broadcast_to(w, losses.shape).sum()


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
        weighted_mean(lambda y, p: (p - y) ** 2),
        LOSSES + WEIGHTED,
        BAD_LOSSES,
        ((-2.0, 2.0), (-2.0, 2.0), (0.1, 2.0)),
    ),
    Row(
        fg.MAE,
        weighted_mean(lambda y, p: abs(p - y)),
        LOSSES + WEIGHTED,
        BAD_LOSSES,
        ((-2.0, 2.0), (-2.0, 2.0), (0.1, 2.0)),
    ),
    Row(fg.Maximum, each(max), binary(), BAD_BINARY),
    Row(fg.Minimum, each(min), binary(), BAD_BINARY),
    Row(fg.Sin, each(math.sin), unary(), (), ((-9.0, 9.0),)),
    Row(fg.Cos, each(math.cos), unary(), (), ((-9.0, 9.0),)),
    Row(
        fg.Clip,
        lambda x, low=-math.inf, high=math.inf: each(lambda v: min(max(v, low), high))(x),
        (
            *with_options(unary(), low=-1.0, high=0.7),
            Variant((rows(5),), {"low": 0.2}),
            Variant((rows(5),), {"high": 0.2}),
            Variant((rows(5),)),
        ),
        (
            Bad((rows(5),), "low must not be above high", {"low": 2, "high": 1}, fg.SettingError),
            Bad((rows(5),), "must be numbers or None", {"low": "0"}, fg.SettingError),
        ),
    ),
    Row(
        fg.LeakyReLU,
        lambda x, slope=0.01: each(lambda v: v if v > 0 else slope * v)(x),
        unary(Variant((rows(5),), {"slope": 0.3}), Variant((rows(5),), {"slope": 2})),
        (Bad((rows(5),), "slope must be a number, 0 or more", {"slope": -1}, fg.SettingError),),
    ),
    Row(
        fg.ELU,
        lambda x, alpha=1.0: each(lambda v: v if v > 0 else alpha * math.expm1(v))(x),
        unary(Variant((rows(37),), {"alpha": 0.3}), Variant((rows(5),), {"alpha": 0})),
        (Bad((rows(5),), "alpha must be a number, 0 or more", {"alpha": "1"}, fg.SettingError),),
        ((-5.0, 3.0),),
    ),
    Row(
        fg.GELU,
        each(lambda x: x / 2 * (1 + math.erf(x / math.sqrt(2)))),
        unary(),
        (),
        ((-2.5, 6.0),),
    ),
    Row(fg.SiLU, each(lambda x: x / (1 + math.exp(-x))), unary(), (), ((-9.0, 9.0),)),
    Row(fg.Softplus, each(lambda x: math.log(1 + math.exp(x))), unary(), (), ((-9.0, 4.0),)),
    Row(fg.Softmax, softmax, VECTORS, BAD_VECTORS, ((-4.0, 4.0),)),
    Row(fg.LogSoftmax, lambda x: np.log(softmax(x)), VECTORS, BAD_VECTORS, ((-4.0, 4.0),)),
    Row(
        fg.Reshape,
        lambda x, features: np.array(x.ravel()).reshape(
            (len(x), *((features,) if isinstance(features, int) else features))
        ),
        (
            Variant((rows(6),), {"features": (3, 2)}),
            Variant((rows(3, 5),), {"features": -1}),
            Variant((rows(3, 5),), {"features": (5, -1)}),
            Variant((rows(1),), {"features": ()}),
            Variant((rows(),), {"features": (1, 1)}),
            Variant((rows(37, 2),), {"features": 74}, n=1),
        ),
        (
            Bad((rows(5),), "has 5 elements, which do not make (3, 2)", {"features": (3, 2)}),
            Bad((rows(5),), "do not make (3, -1)", {"features": (3, -1)}),
            Bad((rows(5),), "at most one -1", {"features": (-1, -1)}),
            Bad((single(5),), "only what has a batch axis", {"features": 5}),
        ),
    ),
    Row(
        fg.Concatenate,
        concatenated,
        (
            Variant((rows(5), rows(3))),
            Variant((rows(5),)),
            Variant((rows(1), rows(1), rows(37)), n=13),
            Variant((rows(2), rows(3), rows(1), rows(2), rows(2))),
            Variant((rows(3, 2), rows(3, 5))),
            Variant((rows(3, 2), rows(5, 2)), {"axis": 1}),
            Variant((rows(3, 5, 2), rows(3, 1, 2)), {"axis": -2}, n=3),
            Variant((rows(5), rows(3)), n=1),
            Variant((single(5), single(3))),
            Variant((single(3, 2), single(1, 2)), {"axis": 0}),
        ),
        (
            Bad((rows(5), rows(3)), "axis 0 of (n, 5) is the batch", {"axis": 0}),
            Bad((rows(5), rows(3)), "axis 2 is out of range", {"axis": 2}),
            Bad((rows(3, 2), rows(2, 2)), "may differ along axis -1 alone"),
            Bad((rows(5), rows()), "may differ along axis -1 alone"),
            Bad((rows(5), single(5)), "may differ along axis -1 alone"),
        ),
    ),
    Row(
        fg.Slice,
        sliced,
        (
            Variant((rows(5),), {"start": 1, "stop": 4}),
            Variant((rows(5),), {"stop": -1}),
            Variant((rows(37),), {"start": 3, "step": 5}, n=13),
            Variant((rows(5),), {"step": -1}),
            Variant((rows(5),)),
            Variant((rows(3, 5),), {"start": 1, "axis": 1}),
            Variant((rows(3, 5),), {"start": 2, "stop": 3, "axis": -1}),
            Variant((rows(3, 5, 2),), {"start": 1, "stop": 5, "step": 2, "axis": -2}, n=3),
            Variant((rows(5),), {"start": 2}, n=1),
            Variant((single(5, 3),), {"start": 2, "axis": 0}),
        ),
        (
            Bad((rows(5),), "axis 0 of (n, 5) is the batch", {"axis": 0}),
            Bad((rows(5),), "axis 2 is out of range", {"axis": 2}),
            Bad((rows(5),), "leaves nothing of axis -1", {"start": 5}),
            Bad((rows(5),), "step must not be 0", {"step": 0}),
            Bad((rows(5),), "are whole numbers", {"start": 0.5}),
        ),
    ),
    Row(
        fg.Embedding,
        lambda i, W: np.einsum("...k,kj->...j", np.rint(i)[..., None] == np.arange(len(W)), W),
        (
            Variant((labels(5), single(5, 3))),
            Variant((labels(5), single(5, 1))),
            Variant((labels(11, 2), single(11, 3))),
            Variant((labels(41, 2, 3), single(41, 37)), n=5),
            Variant((labels(5), single(5, 3)), n=1),
            Variant((labels(2), single(2, 19)), n=31),
        ),
        (
            Bad((labels(5), single(5)), "(categories, width) is expected"),
            Bad((labels(5), rows(5, 3)), "(categories, width) is expected"),
            Bad((single(), single(5, 3)), "indices are data", error=fg.GraphError),
        ),
    ),
    Row(
        fg.Dropout,
        lambda x, rate: x + 0.0,
        with_options(unary(), rate=0.0),
        (
            Bad((rows(5),), "rate must be a number in [0, 1)", {"rate": 1}, fg.SettingError),
            Bad((rows(5),), "rate must be a number in [0, 1)", {"rate": "0"}, fg.SettingError),
        ),
    ),
    Row(
        fg.LayerNorm,
        layer_norm,
        (
            Variant((rows(5), single(5), single(5))),
            Variant((rows(37), single(37), single(37)), n=13),
            Variant((rows(3, 5), single(5), single(5))),
            Variant((rows(2), single(2), single(2)), {"epsilon": 0.5}, n=1),
            Variant((single(3, 5), single(5), single(5))),
        ),
        (
            Bad((rows(5), single(3), single(5)), "gamma has (3,); gamma must have shape (5,)"),
            Bad((rows(5), single(5), rows(5)), "beta must have shape (5,)"),
            Bad((rows(), single(1), single(1)), "x needs a feature axis"),
            Bad(
                (rows(5), single(5), single(5)),
                "epsilon must be a number above 0",
                {"epsilon": 0},
                fg.SettingError,
            ),
        ),
    ),
    Row(
        fg.BatchNorm,
        batch_norm,
        (
            Variant((rows(5), *[single(5)] * 4)),
            Variant((rows(37), *[single(37)] * 4), n=31),
            Variant((rows(3, 5), *[single(5)] * 4)),
            Variant((rows(1), *[single(1)] * 4), {"epsilon": 0.5, "momentum": 0.3}),
            Variant((rows(5), *[single(5)] * 4), {"epsilon": 0.5}, n=1),
        ),
        (
            Bad((rows(5), single(3), *[single(5)] * 3), "gamma must have shape (5,)"),
            Bad((rows(5), *[single(5)] * 3, single(3)), "variance must have shape (5,)"),
            Bad((rows(), *[single(1)] * 4), "x needs a feature axis"),
            Bad((single(3, 5), *[single(5)] * 4), "a batch axis is needed"),
            Bad(
                (rows(5), *[single(5)] * 4),
                "momentum must be in (0, 1]",
                {"momentum": 2},
                fg.SettingError,
            ),
        ),
        ((-2.0, 2.0), (-2.0, 2.0), (-2.0, 2.0), (-2.0, 2.0), (0.5, 2.0)),
        in_fit=batch_norm_in_fit,
    ),
    Row(
        fg.Huber,
        weighted_mean(
            lambda y, p, delta=1.0: (
                (p - y) ** 2 / 2 if abs(p - y) <= delta else delta * (abs(p - y) - delta / 2)
            )
        ),
        LOSSES + WEIGHTED + (Variant((rows(5), rows(5)), {"delta": 0.3}),),
        (
            *BAD_LOSSES,
            Bad((rows(), rows()), "a number in (0, inf)", {"delta": 0}, fg.SettingError),
        ),
        ((-2.0, 2.0), (-2.0, 2.0), (0.1, 2.0)),
    ),
    Row(
        fg.QuantileLoss,
        weighted_mean(lambda y, p, quantile=0.5: (quantile - (y < p)) * (y - p)),
        LOSSES + WEIGHTED + (Variant((rows(5), rows(5)), {"quantile": 0.9}),),
        (
            *BAD_LOSSES,
            Bad((rows(), rows()), "a number in (0, 1)", {"quantile": 1}, fg.SettingError),
        ),
        ((-2.0, 2.0), (-2.0, 2.0), (0.1, 2.0)),
    ),
    Row(
        fg.PoissonLoss,
        weighted_mean(lambda y, p: math.exp(p) - y * p),
        LOSSES + WEIGHTED,
        BAD_LOSSES,
        ((0.1, 3.0), (-2.0, 2.0), (0.1, 2.0)),
    ),
    Row(
        fg.BinaryCrossEntropy,
        weighted_mean(
            lambda y, p: y * math.log(1 + math.exp(-p)) + (1 - y) * math.log(1 + math.exp(p))
        ),
        LOSSES + WEIGHTED,
        BAD_LOSSES,
        ((0.1, 0.9), (-4.0, 4.0), (0.1, 2.0)),
    ),
    Row(
        fg.SoftmaxCrossEntropy,
        cross_entropy,
        (
            Variant((labels(3), rows(3))),
            Variant((labels(37), rows(37)), n=31),
            Variant((labels(2), rows(2)), n=1),
            Variant((labels(5, 3), rows(3, 5))),
            Variant((labels(5, 3, 2), rows(3, 2, 5)), n=3),
            Variant((rows(3), rows(3))),
            Variant((rows(3, 5), rows(3, 5))),
            Variant((labels(3), rows(3), rows())),
            Variant((labels(5, 3), rows(3, 5), rows())),
            Variant((labels(5, 3), rows(3, 5), rows(3))),
            Variant((rows(7), rows(7), rows()), n=13),
            Variant((single(3), single(3))),
        ),
        (
            Bad((rows(1), rows(3)), "class labels of shape (n,) or one-hot rows of shape (n, 3)"),
            Bad((rows(), rows(1)), "for one logit use BinaryCrossEntropy"),
            Bad((rows(), rows()), "for one logit use BinaryCrossEntropy"),
            Bad((rows(5), single(5)), "must be class labels"),
            Bad((single(), single(3)), "class labels are data", error=fg.GraphError),
            Bad((rows(), rows(3), rows(3)), "one weight a row or an element is expected"),
        ),
        ((0.05, 0.3), (-4.0, 4.0), (0.1, 2.0)),
    ),
)


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
        found = []
        for i, o in enumerate(self.variant.operands):
            shape = (self.variant.n, *o.shape) if o.batched else o.shape
            if o.count:
                found.append(random.integers(0, o.count, shape))
            else:
                found.append(random.uniform(*self.row.range(i), shape))
        return found

    def formula(self, *arrays, in_fit=False):
        formula = self.row.in_fit if in_fit and self.row.in_fit else self.row.formula
        return np.asarray(formula(*arrays, **self.variant.options), dtype=float)

    def build(self, *operands):
        return self.row.operation(*operands, **self.variant.options)

    def nodes(self, arrays):
        """A node for each operand, and the feeds of those that are inputs."""
        nodes, feeds = [], {}
        for letter, operand, array in zip("abcde", self.variant.operands, arrays, strict=False):
            if operand.batched:
                node = fg.Input(letter, shape=operand.shape)
                feeds[node] = array
            else:
                node = fg.Parameter(array, letter)
            nodes.append(node)
        return nodes, feeds


CASES = tuple(Case(row, variant) for row in OPERATIONS for variant in row.variants)
