"""Operations: one `Node` class each, with its shape rule, forward and backward in NumPy.

This is the reference: it reads like the lesson and the native kernels are compared with it.
"""

from .activations import ReLU, Sigmoid, Tanh
from .arithmetic import Abs, Add, Divide, Exp, Log, Multiply, Negate, Power, Sqrt, Subtract
from .linear import Linear, MatMul
from .losses import MAE, MSE
from .reductions import Mean, Sum

__all__ = [
    "Abs",
    "Add",
    "Divide",
    "Exp",
    "Linear",
    "Log",
    "MAE",
    "MSE",
    "MatMul",
    "Mean",
    "Multiply",
    "Negate",
    "Power",
    "ReLU",
    "Sigmoid",
    "Sqrt",
    "Subtract",
    "Sum",
    "Tanh",
]
