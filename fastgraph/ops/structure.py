"""Operations that move numbers and change none: reshape, join, cut, look up."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..errors import GraphError, ShapeError
from ..node import Constant, Domain, Input, Shape
from .broadcasting import same_rows
from .rowwise import Rowwise, feature_axis

__all__ = ["Concatenate", "Embedding", "Reshape", "Slice"]


class Reshape(Rowwise):
    """The same numbers with other axes: each row takes the shape ``features``.

    Parameters:
        x: node of shape (n, …).
        features: the new shape of one row, without the batch; one size may be -1, which is what
            is left: ``Reshape(x, -1)`` flattens.

    Gradient: g, in the shape of x.

    Raises:
        ShapeError: the numbers of elements differ.
    """

    kernel = "reshape"
    gradient_reads = {0: ()}

    def __init__(self, x: Any, features: int | tuple[int, ...], name: str | None = None):
        super().__init__(x, name=name)
        sizes = tuple(features) if isinstance(features, Iterable) else (features,)
        whole = all(isinstance(n, (int, np.integer)) and (n > 0 or n == -1) for n in sizes)
        if not whole or sizes.count(-1) > 1:
            raise ShapeError(
                f"{self}: features is the new shape of one row, as (3, 2), with at most one -1, "
                f"got {features}"
            )
        self.features = tuple(int(n) for n in sizes)

    def shape(self, x: Shape) -> Shape:
        if not x.batched:
            raise ShapeError(f"{self}: x has shape {x}; only what has a batch axis is reshaped")
        count = math.prod(x.features)
        known = math.prod(n for n in self.features if n != -1)
        left = count // known if -1 in self.features else 1
        if known * left != count:
            raise ShapeError(
                f"{self}: a row of shape {Shape(None, x.features)} has {count} elements, which do "
                f"not make {Shape(None, self.features)}"
            )
        return Shape(x.rows, tuple(left if n == -1 else n for n in self.features))

    def sizes(self, x: Shape) -> tuple[int, ...]:
        return (math.prod(x.features),)

    def forward(self, x):
        return x.reshape(len(x), *self.features)

    def backward(self, gradient, x):
        return (gradient.reshape(x.shape),)


class Concatenate(Rowwise):
    """The inputs one after another along a feature axis.

    Parameters:
        *inputs: nodes of shapes that differ along ``axis`` alone; all with a batch axis, or none.
        axis: a feature axis as NumPy counts it on the whole array (the batch is axis 0 and cannot
            be named).

    Gradient: to each input its part of g.

    Raises:
        ShapeError: the other axes differ.
    """

    kernel = "concatenate"

    def __init__(self, *inputs: Any, axis: int = -1, name: str | None = None):
        if not inputs:
            raise TypeError("Concatenate: expected nodes, as Concatenate(a, b)")
        super().__init__(*inputs, name=name)
        self.axis = axis

    @property
    def gradient_reads(self):
        return dict.fromkeys(range(len(self.inputs)), ())

    def shape(self, *shapes: Shape) -> Shape:
        rows = same_rows(self, *shapes)
        axis = feature_axis(self, self.axis, shapes[0])
        others = {(s.batched, s.features[:axis], s.features[axis + 1 :]) for s in shapes}
        if len(others) > 1 or len({len(s.features) for s in shapes}) > 1:
            raise ShapeError(
                f"{self}: the inputs have shapes {', '.join(map(str, shapes))}; they may differ "
                f"along axis {self.axis} alone"
            )
        joined = sum(s.features[axis] for s in shapes)
        first = shapes[0].features
        return Shape(rows, (*first[:axis], joined, *first[axis + 1 :]))

    def parts(self, *shapes: Shape) -> list[tuple[int, ...]]:
        """For each input the sizes its kernel takes: runs a row, length of one in the input, in
        the value, and where in that it begins."""
        axis = feature_axis(self, self.axis, shapes[0])
        runs = math.prod(shapes[0].features[:axis])
        lengths = [math.prod(s.features[axis:]) for s in shapes]
        return [
            (runs, length, sum(lengths), sum(lengths[:i])) for i, length in enumerate(lengths)
        ]

    def forward(self, *values):
        return np.concatenate(values, axis=self.axis)

    def backward(self, gradient, *values):
        ends = np.cumsum([value.shape[self.axis] for value in values])
        return tuple(np.split(gradient, ends[:-1], axis=self.axis))


class Slice(Rowwise):
    """``x[…, start:stop:step]`` along a feature axis, as Python slices.

    Parameters:
        x: node of shape (n, …).
        start, stop, step: whole numbers or None, as in ``slice(start, stop, step)``.
        axis: a feature axis as NumPy counts it on the whole array (the batch is axis 0 and cannot
            be named).

    Gradient: g where x was taken, 0 elsewhere.

    Raises:
        ShapeError: nothing is left.
    """

    kernel = "slice"
    gradient_reads = {0: ()}

    def __init__(
        self,
        x: Any,
        start: int | None = None,
        stop: int | None = None,
        step: int | None = None,
        axis: int = -1,
        name: str | None = None,
    ):
        super().__init__(x, name=name)
        for bound in (start, stop, step):
            if bound is not None and not isinstance(bound, (int, np.integer)):
                raise ShapeError(f"{self}: start, stop and step are whole numbers, got {bound!r}")
        if step == 0:
            raise ShapeError(f"{self}: step must not be 0")
        self.start, self.stop, self.step, self.axis = start, stop, step, axis

    def _index(self, axis: int) -> tuple:
        return (slice(None),) * axis + (slice(self.start, self.stop, self.step),)

    def shape(self, x: Shape) -> Shape:
        axis = feature_axis(self, self.axis, x)
        taken = range(x.features[axis])[slice(self.start, self.stop, self.step)]
        if not taken:
            raise ShapeError(
                f"{self}: {self.start}:{self.stop}:{self.step} leaves nothing of axis {self.axis} "
                f"of {x}"
            )
        return Shape(x.rows, (*x.features[:axis], len(taken), *x.features[axis + 1 :]))

    def sizes(self, x: Shape) -> tuple[int, ...]:
        own = math.prod(x.features)
        return math.prod(self.shape(x).features), own, own if x.batched else 0

    def table(self, x: Shape) -> np.ndarray:
        elements = np.arange(math.prod(x.features), dtype=np.int32).reshape(x.features)
        taken = elements[self._index(feature_axis(self, self.axis, x))]
        return np.ascontiguousarray(taken.ravel())

    def forward(self, x):
        return x[self._index(self.axis % x.ndim)]

    def backward(self, gradient, x):
        whole = np.zeros_like(x)
        whole[self._index(self.axis % x.ndim)] = gradient
        return (whole,)


class Embedding(Rowwise):
    """``W[indices]``: a row of W, trained, for each category.

    Parameters:
        indices: an `Input` of whole numbers from 0 to ``categories - 1``, of shape (n,) or
            (n, …).
        W: node of shape (categories, width), as ``Parameter(initializers.normal((50, 8)))``.

    The value has shape (n, …, width). Gradient of W: g summed for each category; the indices
    have none.

    Raises:
        GraphError: the indices are computed, and not data.
        ShapeError: W has another number of axes.
    """

    kernel = "embedding"
    gradient_reads = {1: (0,)}

    def __init__(self, indices: Any, W: Any, name: str | None = None):
        super().__init__(indices, W, name=name)
        if not isinstance(self.inputs[0], (Input, Constant)):
            raise GraphError(
                f"{self}: indices are data, and {self.inputs[0]} is computed; feed them through "
                "an Input"
            )

    def domains(self, indices: Shape, W: Shape) -> dict[int, Domain]:
        return {0: Domain("indices", 0, W.features[0] - 1, whole=True)}

    def shape(self, indices: Shape, W: Shape) -> Shape:
        if W.batched or len(W.features) != 2:
            raise ShapeError(f"{self}: W has shape {W}; (categories, width) is expected")
        return Shape(indices.rows, (*indices.features, W.features[1]))

    def sizes(self, indices: Shape, W: Shape) -> tuple[int, ...]:
        return math.prod(indices.features), *W.features

    def forward(self, indices, W):
        return np.take(W, indices.astype(np.intp), axis=0, mode="clip")

    def backward(self, gradient, indices, W):
        to_W = np.zeros_like(W)
        np.add.at(to_W, indices.astype(np.intp), gradient)
        return None, to_W
