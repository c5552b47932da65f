"""Softmax and its logarithm over the last axis, in which the scores of the classes lie."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..node import Shape
from .rowwise import Rowwise

__all__ = ["LogSoftmax", "Softmax"]


def log_softmax(x: np.ndarray) -> np.ndarray:
    moved = x - np.max(x, axis=-1, keepdims=True)  # the largest is 0: nothing overflows
    return moved - np.log(np.sum(np.exp(moved), axis=-1, keepdims=True))


class _OverLastAxis(Rowwise):
    def __init__(self, x: Any, name: str | None = None):
        super().__init__(x, name=name)

    def shape(self, x: Shape) -> Shape:
        if not x.features:
            raise ShapeError(
                f"{self}: {self.inputs[0]} has shape {x}; a feature axis is needed, as (n, classes)"
            )
        return x

    def sizes(self, x: Shape) -> tuple[int, ...]:
        return x.features[-1], math.prod(x.features[:-1])


class Softmax(_OverLastAxis):
    """``eˣ / Σ eˣ`` over the last axis: probabilities from logits, for any numbers.

    Parameters:
        x: node of shape (n, …, C).

    Gradient: p·(g - Σ g·p). To train use `SoftmaxCrossEntropy` on x itself.

    Raises:
        ShapeError: x has no feature axis.
    """

    kernel = "softmax"

    def forward(self, x):
        return np.exp(log_softmax(x))

    def backward(self, gradient, x):
        p = np.exp(log_softmax(x))
        return (p * (gradient - np.sum(gradient * p, axis=-1, keepdims=True)),)


class LogSoftmax(_OverLastAxis):
    """``x - ln Σ eˣ`` over the last axis: logarithms of probabilities, for any numbers.

    Parameters as for `Softmax`. Gradient: g - p·Σ g, p the softmax.
    """

    kernel = "log_softmax"

    def forward(self, x):
        return log_softmax(x)

    def backward(self, gradient, x):
        p = np.exp(log_softmax(x))
        return (gradient - p * np.sum(gradient, axis=-1, keepdims=True),)
