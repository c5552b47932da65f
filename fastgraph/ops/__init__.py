"""Operations: one `Node` class each, with its shape rule, forward and backward in NumPy.

This is the reference: it reads like the lesson and the native kernels are compared with it.
"""

from .activations import ELU, GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh
from .arithmetic import (
    Abs,
    Add,
    Clip,
    Cos,
    Divide,
    Exp,
    Log,
    Maximum,
    Minimum,
    Multiply,
    Negate,
    Power,
    Sin,
    Sqrt,
    Subtract,
)
from .dropout import Dropout
from .linear import Linear, MatMul
from .losses import (
    MAE,
    MSE,
    BinaryCrossEntropy,
    Huber,
    PoissonLoss,
    QuantileLoss,
    SoftmaxCrossEntropy,
)
from .normalization import BatchNorm, LayerNorm
from .reductions import Mean, Sum
from .softmax import LogSoftmax, Softmax
from .structure import Concatenate, Embedding, Reshape, Slice

__all__ = [
    "ELU",
    "GELU",
    "MAE",
    "MSE",
    "Abs",
    "Add",
    "BatchNorm",
    "BinaryCrossEntropy",
    "Clip",
    "Concatenate",
    "Cos",
    "Divide",
    "Dropout",
    "Embedding",
    "Exp",
    "Huber",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "Log",
    "LogSoftmax",
    "MatMul",
    "Maximum",
    "Mean",
    "Minimum",
    "Multiply",
    "Negate",
    "PoissonLoss",
    "Power",
    "QuantileLoss",
    "ReLU",
    "Reshape",
    "SiLU",
    "Sigmoid",
    "Sin",
    "Slice",
    "Softmax",
    "SoftmaxCrossEntropy",
    "Softplus",
    "Sqrt",
    "Subtract",
    "Sum",
    "Tanh",
]
