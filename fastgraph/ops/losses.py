"""Losses: one number that says how far predictions are from the truth. Targets come first."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ShapeError
from ..node import Node, Shape
from .broadcasting import broadcast, sum_to

__all__ = ["MAE", "MSE"]


class Loss(Node):
    """Base of losses on two equal shapes; a scalar over everything."""

    def __init__(self, y_true: Any, y_pred: Any, name: str | None = None):
        super().__init__(y_true, y_pred, name=name)

    def shape(self, y_true: Shape, y_pred: Shape) -> Shape:
        names = [
            item.name or default
            for item, default in zip(self.inputs, ("y_true", "y_pred"), strict=True)
        ]
        said = f"{self}: {names[0]} has shape {y_true}, {names[1]} has {y_pred}"
        if y_true.batched and y_pred.batched:
            if y_true.features != y_pred.features and y_true.rows == y_pred.rows:
                raise ShapeError(f"{said}; reshape {names[0]} to {y_pred}")
        batched = y_pred if y_pred.batched else y_true
        try:
            fits = broadcast(self, y_true, y_pred) == batched
        except ShapeError:
            fits = False
        if not fits:
            raise ShapeError(f"{said}; both must have one shape")
        return Shape(None, ())


class MSE(Loss):
    """Mean squared error, ``mean((y_true - y_pred)²)``: the L2 loss.

    Parameters:
        y_true: node of shape (n, …).
        y_pred: node of the same shape; nothing is broadcast over the batch.

    Gradient: ±2·(y_pred - y_true) / count.

    Raises:
        ShapeError: the shapes differ, as (n,) and (n, 1) do.
    """

    kernel = "mse"

    def forward(self, y_true, y_pred):
        return np.mean((y_true - y_pred) ** 2)

    def backward(self, gradient, y_true, y_pred):
        difference = y_pred - y_true
        slope = gradient * 2 * difference / difference.size
        return sum_to(-slope, y_true.shape), sum_to(slope, y_pred.shape)


class MAE(Loss):
    """Mean absolute error, ``mean(|y_true - y_pred|)``: the L1 loss.

    Parameters as for `MSE`. Gradient: ±sign(y_pred - y_true) / count, 0 where they are equal.
    """

    kernel = "mae"

    def forward(self, y_true, y_pred):
        return np.mean(np.abs(y_true - y_pred))

    def backward(self, gradient, y_true, y_pred):
        difference = y_pred - y_true
        slope = gradient * np.sign(difference) / difference.size
        return sum_to(-slope, y_true.shape), sum_to(slope, y_pred.shape)
