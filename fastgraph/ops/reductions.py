"""Reductions: sums and means, over everything or over the axes of one row."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..node import Node, Shape

__all__ = ["Mean", "Reduction", "Sum"]


class Reduction(Node):
    """Base of `Sum` and `Mean`."""

    gradient_reads = {0: ()}

    def __init__(
        self,
        x: Any,
        axis: int | tuple[int, ...] | None = None,
        keepdims: bool = False,
        name: str | None = None,
    ):
        super().__init__(x, name=name)
        axes = (axis,) if isinstance(axis, (int, np.integer)) else axis
        if axes is not None:
            axes = tuple(axes) if isinstance(axes, Iterable) else ()
            if not axes or not all(isinstance(a, (int, np.integer)) for a in axes):
                raise ShapeError(
                    f"{self}: axis is a whole number, a tuple of them or None, got {axis}"
                )
        self.axis: tuple[int, ...] | None = axes
        self.keepdims = bool(keepdims)

    def reduced_axes(self, shape: Shape) -> tuple[int, ...]:
        """The axes summed over, counted from 0 with the batch axis first, sorted."""
        rank = len(shape.axes)
        if self.axis is None:
            return tuple(range(rank))
        axes = set()
        for axis in self.axis:
            if not -rank <= axis < rank:
                raise ShapeError(f"{self}: axis {axis} is out of range for shape {shape}")
            axes.add(int(axis) % rank)
        if len(axes) < len(self.axis):
            raise ShapeError(f"{self}: axis {self.axis} names an axis twice")
        if shape.batched and 0 in axes:
            raise ShapeError(
                f"{self}: axis 0 of {shape} is the batch; reduce over the feature axes "
                f"(1 to {rank - 1}), or leave axis out for a scalar over everything"
                if rank > 1
                else f"{self}: axis 0 of {shape} is the batch; leave axis out for a scalar"
            )
        return tuple(sorted(axes))

    def shape(self, x: Shape) -> Shape:
        axes = self.reduced_axes(x)
        if self.axis is None:
            return Shape(None, (1,) * len(x.axes) if self.keepdims else ())
        first = 1 if x.batched else 0
        features = tuple(
            1 if axis + first in axes else size
            for axis, size in enumerate(x.features)
            if self.keepdims or axis + first not in axes
        )
        return Shape(x.rows, features)

    def _spread(self, gradient, x):
        """``gradient`` repeated along the axes that were summed over."""
        if self.axis is not None and not self.keepdims:
            gradient = np.expand_dims(gradient, self.axis)
        return np.broadcast_to(gradient, x.shape)


class Sum(Reduction):
    """The sum of the elements: a scalar, or over the feature axes given by ``axis``.

    Parameters:
        x: node of shape (n, …), or without a batch axis.
        axis: feature axes as NumPy counts them on the whole array (the batch is axis 0 and cannot
            be named); None sums over everything, the batch too, and gives a scalar.
        keepdims: keep the summed axes with size 1.

    Gradient: g, repeated along the summed axes.
    """

    kernel = "sum"

    def forward(self, x):
        return np.sum(x, axis=self.axis, keepdims=self.keepdims)

    def backward(self, gradient, x):
        return (self._spread(gradient, x),)


class Mean(Reduction):
    """The mean of the elements: a scalar, or over the feature axes given by ``axis``.

    Parameters as for `Sum`. Gradient: g / count, repeated along the averaged axes.
    """

    kernel = "mean"

    def forward(self, x):
        return np.mean(x, axis=self.axis, keepdims=self.keepdims)

    def backward(self, gradient, x):
        axes = range(x.ndim) if self.axis is None else self.axis
        count = math.prod(x.shape[axis] for axis in axes)
        return (self._spread(gradient, x) / count,)
