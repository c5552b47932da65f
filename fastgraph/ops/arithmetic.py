"""Elementwise arithmetic: the operations behind ``+ - * / **`` and the elementary functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import SettingError
from ..node import Constant
from .broadcasting import sum_to
from .elementwise import Binary, Unary

__all__ = [
    "Abs", "Add", "Clip", "Cos", "Divide", "Exp", "Log", "Maximum", "Minimum", "Multiply",
    "Negate", "Power", "Sin", "Sqrt", "Subtract",
]  # fmt: skip


class Add(Binary, operator="+"):
    """``a + b``. Gradient: g to both, summed over broadcast axes."""

    kernel = "add"
    gradient_reads = {0: (), 1: ()}

    def forward(self, a, b):
        return a + b

    def backward(self, gradient, a, b):
        return sum_to(gradient, a.shape), sum_to(gradient, b.shape)


class Subtract(Binary, operator="-"):
    """``a - b``. Gradient: g and -g."""

    kernel = "subtract"
    gradient_reads = {0: (), 1: ()}

    def forward(self, a, b):
        return a - b

    def backward(self, gradient, a, b):
        return sum_to(gradient, a.shape), sum_to(-gradient, b.shape)


class Multiply(Binary, operator="*"):
    """``a * b`` elementwise. Gradient: g·b and g·a."""

    kernel = "multiply"
    gradient_reads = {0: (1,), 1: (0,)}

    def forward(self, a, b):
        return a * b

    def backward(self, gradient, a, b):
        return sum_to(gradient * b, a.shape), sum_to(gradient * a, b.shape)


class Divide(Binary, operator="/"):
    """``a / b`` elementwise. Gradient: g/b and -g·a/b²."""

    kernel = "divide"
    gradient_reads = {0: (1,), 1: (0, 1)}

    def forward(self, a, b):
        return a / b

    def backward(self, gradient, a, b):
        return sum_to(gradient / b, a.shape), sum_to(-gradient * a / (b * b), b.shape)


class Power(Binary, operator="**"):
    """``a ** b`` elementwise, as ``numpy.power`` on floats.

    Gradient: g·b·a^(b-1) (0 where b is 0), and g·a^b·ln a (0 where a is 0). A negative base with
    a fractional exponent is NaN.
    """

    kernel = "power"

    def forward(self, a, b):
        return np.power(a, b)

    def backward(self, gradient, a, b):
        to_a = np.where(b == 0, 0, gradient * b * np.power(a, b - 1))
        to_b = None
        if not isinstance(self.inputs[1], Constant):
            to_b = np.where(a == 0, 0, gradient * np.power(a, b) * np.log(a))
            to_b = sum_to(to_b, b.shape)
        return sum_to(to_a, a.shape), to_b


class Maximum(Binary):
    """``max(a, b)`` elementwise; NaN in either gives NaN.

    Gradient: g to the larger one; half of it to each where they are equal.
    """

    kernel = "maximum"

    def forward(self, a, b):
        return np.maximum(a, b)

    def backward(self, gradient, a, b):
        to_a = np.where(a > b, gradient, np.where(a == b, gradient / 2, 0))
        to_b = np.where(b > a, gradient, np.where(a == b, gradient / 2, 0))
        return sum_to(to_a, a.shape), sum_to(to_b, b.shape)


class Minimum(Binary):
    """``min(a, b)`` elementwise; NaN in either gives NaN.

    Gradient: g to the smaller one; half of it to each where they are equal.
    """

    kernel = "minimum"

    def forward(self, a, b):
        return np.minimum(a, b)

    def backward(self, gradient, a, b):
        to_a = np.where(a < b, gradient, np.where(a == b, gradient / 2, 0))
        to_b = np.where(b < a, gradient, np.where(a == b, gradient / 2, 0))
        return sum_to(to_a, a.shape), sum_to(to_b, b.shape)


class Negate(Unary, operator="negate"):
    """``-x``. Gradient: -g."""

    kernel = "negate"
    gradient_reads = {0: ()}

    def forward(self, x):
        return -x

    def backward(self, gradient, x):
        return (-gradient,)


class Exp(Unary):
    """``e ** x``. Gradient: g·eˣ."""

    kernel = "exp"

    def forward(self, x):
        return np.exp(x)

    def backward(self, gradient, x):
        return (gradient * np.exp(x),)


class Log(Unary):
    """The natural logarithm, ``ln x``; -inf at 0 and NaN below. Gradient: g/x."""

    kernel = "log"

    def forward(self, x):
        return np.log(x)

    def backward(self, gradient, x):
        return (gradient / x,)


class Sqrt(Unary):
    """``√x``; NaN below 0. Gradient: g/(2√x), which is infinite at 0."""

    kernel = "sqrt"

    def forward(self, x):
        return np.sqrt(x)

    def backward(self, gradient, x):
        return (gradient / (2 * np.sqrt(x)),)


class Abs(Unary, operator="abs"):
    """``|x|``. Gradient: g·sign(x), 0 at 0."""

    kernel = "abs"

    def forward(self, x):
        return np.abs(x)

    def backward(self, gradient, x):
        return (gradient * np.sign(x),)


class Sin(Unary):
    """``sin x``, x in radians. Gradient: g·cos x."""

    kernel = "sin"

    def forward(self, x):
        return np.sin(x)

    def backward(self, gradient, x):
        return (gradient * np.cos(x),)


class Cos(Unary):
    """``cos x``, x in radians. Gradient: -g·sin x."""

    kernel = "cos"

    def forward(self, x):
        return np.cos(x)

    def backward(self, gradient, x):
        return (-gradient * np.sin(x),)


class Clip(Unary):
    """``min(max(x, low), high)``.

    Parameters:
        x: node of any shape.
        low, high: the bounds, low ≤ high; None for none.

    Gradient: g where low ≤ x ≤ high, else 0.
    """

    kernel = "clip"

    def __init__(
        self, x: Any, low: float | None = None, high: float | None = None, name: str | None = None
    ):
        super().__init__(x, name=name)
        self.low, self.high = low, high
        for bound in (low, high):
            number = isinstance(bound, (int, float, np.integer, np.floating))
            if bound is not None and (not number or math.isnan(bound)):
                raise SettingError(f"{self}: low and high must be numbers or None, got {bound!r}")
        if self.numbers[0] > self.numbers[1]:
            raise SettingError(f"{self}: low must not be above high, got {low!r} and {high!r}")

    @property
    def numbers(self):
        low = -math.inf if self.low is None else float(self.low)
        return (low, math.inf if self.high is None else float(self.high))

    def forward(self, x):
        return np.clip(x, *self.numbers)

    def backward(self, gradient, x):
        low, high = self.numbers
        return (np.where((low <= x) & (x <= high), gradient, 0),)
