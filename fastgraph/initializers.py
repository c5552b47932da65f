"""Starting values of parameters, drawn from NumPy's generator: the same seed, the same array.

Weights are ``(in, out)``, so ``fan_in`` is the product of all axes but the last.
"""

from __future__ import annotations

import math

import numpy as np

from .errors import ShapeError

__all__ = [
    "glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "kaiming_normal",
    "kaiming_uniform", "normal", "ones", "uniform", "xavier_normal", "xavier_uniform", "zeros",
]  # fmt: skip


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    if not shape:
        raise ShapeError("an initializer by fan needs at least one axis, got shape ()")
    if len(shape) == 1:
        return shape[0], 1
    return math.prod(shape[:-1]), shape[-1]


def uniform(shape: tuple[int, ...], low: float = -0.05, high: float = 0.05, seed: int = 0):
    """Uniform in [low, high)."""
    return np.random.default_rng(seed).uniform(low, high, shape)


def normal(shape: tuple[int, ...], mean: float = 0.0, std: float = 0.05, seed: int = 0):
    """Normal with the given mean and standard deviation."""
    return np.random.default_rng(seed).normal(mean, std, shape)


def glorot_uniform(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Uniform in ±√(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010): for sigmoid and tanh."""
    limit = math.sqrt(6 / sum(_fans(shape)))
    return uniform(shape, -limit, limit, seed)


def glorot_normal(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Normal with std √(2 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    return normal(shape, 0.0, math.sqrt(2 / sum(_fans(shape))), seed)


def he_uniform(shape: tuple[int, ...], seed: int = 0, slope: float = 0.0) -> np.ndarray:
    """Uniform in ±√(6 / ((1 + slope²)·fan_in)) (He et al., 2015): for ReLU, or LeakyReLU(slope)."""
    limit = math.sqrt(6 / (_fans(shape)[0] * (1 + slope**2)))
    return uniform(shape, -limit, limit, seed)


def he_normal(shape: tuple[int, ...], seed: int = 0, slope: float = 0.0) -> np.ndarray:
    """Normal with std √(2 / ((1 + slope²)·fan_in)): as `he_uniform`."""
    return normal(shape, 0.0, math.sqrt(2 / (_fans(shape)[0] * (1 + slope**2))), seed)


# The same under the first names of their authors, as PyTorch calls them.
xavier_uniform, xavier_normal = glorot_uniform, glorot_normal
kaiming_uniform, kaiming_normal = he_uniform, he_normal


def zeros(shape: tuple[int, ...]) -> np.ndarray:
    """All 0: for biases."""
    return np.zeros(shape)


def ones(shape: tuple[int, ...]) -> np.ndarray:
    """All 1."""
    return np.ones(shape)
