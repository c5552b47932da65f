"""Activations: the elementwise non-linearities between linear layers."""

from __future__ import annotations

import numpy as np

from .elementwise import Unary

__all__ = ["ReLU", "Sigmoid", "Tanh"]


class Sigmoid(Unary):
    """``1 / (1 + e⁻ˣ)``, in (0, 1), accurate at both ends. Gradient: g·s·(1 - s)."""

    kernel = "sigmoid"

    def forward(self, x):
        small = np.exp(-np.abs(x))  # never overflows
        return np.where(x >= 0, 1, small) / (1 + small)

    def backward(self, gradient, x):
        s = self.forward(x)
        return (gradient * s * (1 - s),)


class Tanh(Unary):
    """``tanh x``, in (-1, 1). Gradient: g·(1 - tanh² x)."""

    kernel = "tanh"

    def forward(self, x):
        return np.tanh(x)

    def backward(self, gradient, x):
        t = np.tanh(x)
        return (gradient * (1 - t * t),)


class ReLU(Unary):
    """``max(x, 0)`` (Nair and Hinton, 2010). Gradient: g where x > 0, else 0; 0 at 0."""

    kernel = "relu"

    def forward(self, x):
        return np.maximum(x, 0)

    def backward(self, gradient, x):
        return (np.where(x > 0, gradient, 0),)
