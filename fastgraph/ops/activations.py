"""Activations: the elementwise non-linearities between linear layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import SettingError
from .elementwise import Unary

__all__ = ["ELU", "GELU", "LeakyReLU", "ReLU", "SiLU", "Sigmoid", "Softplus", "Tanh"]


def sigmoid(x: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(x))  # never overflows
    return np.where(x >= 0, 1, small) / (1 + small)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


class Sigmoid(Unary):
    """``1 / (1 + e⁻ˣ)``, in (0, 1), accurate at both ends. Gradient: g·s·(1 - s)."""

    kernel = "sigmoid"

    def forward(self, x):
        return sigmoid(x)

    def backward(self, gradient, x):
        s = sigmoid(x)
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


class LeakyReLU(Unary):
    """``x`` where x > 0, else ``slope·x`` (Maas, Hannun and Ng, 2013).

    Parameters:
        x: node of any shape.
        slope: in [0, ∞).

    Gradient: g where x > 0, else slope·g.
    """

    kernel = "leaky_relu"

    def __init__(self, x: Any, slope: float = 0.01, name: str | None = None):
        super().__init__(x, name=name)
        self.slope = at_least_zero(self, "slope", slope)

    @property
    def numbers(self):
        return (self.slope,)

    def forward(self, x):
        return np.where(x > 0, x, self.slope * x)

    def backward(self, gradient, x):
        return (np.where(x > 0, gradient, self.slope * gradient),)


class ELU(Unary):
    """``x`` where x > 0, else ``alpha·(eˣ - 1)`` (Clevert, Unterthiner and Hochreiter, 2016).

    Parameters:
        x: node of any shape.
        alpha: in [0, ∞); minus the limit at -∞.

    Gradient: g where x > 0, else g·alpha·eˣ.
    """

    kernel = "elu"

    def __init__(self, x: Any, alpha: float = 1.0, name: str | None = None):
        super().__init__(x, name=name)
        self.alpha = at_least_zero(self, "alpha", alpha)

    @property
    def numbers(self):
        return (self.alpha,)

    def forward(self, x):
        return np.where(x > 0, x, self.alpha * np.expm1(np.minimum(x, 0)))

    def backward(self, gradient, x):
        slope = self.alpha * np.exp(np.minimum(x, 0))
        return (np.where(x > 0, gradient, gradient * slope),)


class GELU(Unary):
    """``x·Φ(x)``, Φ the normal distribution, exact (Hendrycks and Gimpel, 2016).

    Gradient: g·(Φ(x) + x·φ(x)), φ the normal density.
    """

    kernel = "gelu"

    def forward(self, x):
        return x * _normal(x)

    def backward(self, gradient, x):
        density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        return (gradient * (_normal(x) + x * density),)


class SiLU(Unary):
    """``x·sigmoid(x)``, also called swish (Elfwing, Uchibe and Doya, 2018).

    Gradient: g·s·(1 + x·(1 - s)), s the sigmoid.
    """

    kernel = "silu"

    def forward(self, x):
        return x * sigmoid(x)

    def backward(self, gradient, x):
        s = sigmoid(x)
        return (gradient * s * (1 + x * (1 - s)),)


class Softplus(Unary):
    """``ln(1 + eˣ)``, never below 0 and never overflowing. Gradient: g·sigmoid(x)."""

    kernel = "softplus"

    def forward(self, x):
        return softplus(x)

    def backward(self, gradient, x):
        return (gradient * sigmoid(x),)


def at_least_zero(node: Unary, name: str, value: Any) -> float:
    """``value`` as a float, or a `SettingError` where it is not in [0, ∞)."""
    number = isinstance(value, (int, float, np.integer, np.floating)) and math.isfinite(value)
    if not number or isinstance(value, bool) or value < 0:
        raise SettingError(f"{node}: {name} must be a number, 0 or more, got {value!r}")
    return float(value)


def _normal(x: np.ndarray) -> np.ndarray:
    """The probability that a standard normal number is below x; NumPy has no such function."""
    flat = [0.5 * math.erfc(-v / math.sqrt(2)) for v in x.ravel().tolist()]
    return np.array(flat, x.dtype).reshape(x.shape)
