"""Elementwise arithmetic: the operations behind ``+ - * / **`` and the elementary functions."""

from __future__ import annotations

import numpy as np

from ..node import Constant
from .broadcasting import sum_to
from .elementwise import Binary, Unary

__all__ = [
    "Abs", "Add", "Divide", "Exp", "Log", "Multiply", "Negate", "Power", "Sqrt", "Subtract",
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
