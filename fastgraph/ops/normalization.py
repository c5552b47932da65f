"""Normalisations: features of mean 0 and variance 1, over one row or over the batch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import GraphError, SettingError, ShapeError
from ..node import Constant, Node, Parameter, Shape
from .rowwise import Moment, Rowwise, Training

__all__ = ["BatchNorm", "LayerNorm"]


class LayerNorm(Rowwise):
    """``gamma·(x - μ)/√(σ² + epsilon) + beta``, μ and σ² the mean and variance of the last axis.

    Parameters:
        x: node of shape (n, …, C).
        gamma, beta: nodes of shape (C,), as parameters that start at 1 and 0.
        epsilon: in (0, ∞).

    Gradient, with x̂ the normalised x and h = g·gamma:
    (h - mean h - x̂·mean(h·x̂))/√(σ² + epsilon) to x; Σ g·x̂ to gamma and Σ g to beta.

    Raises:
        ShapeError: the shapes do not fit.

    Source: J. Ba, J. Kiros and G. Hinton, "Layer normalization" (2016).
    """

    kernel = "layer_norm"

    def __init__(
        self, x: Any, gamma: Any, beta: Any, epsilon: float = 1e-5, name: str | None = None
    ):
        super().__init__(x, gamma, beta, name=name)
        self.epsilon = _above_zero(self, "epsilon", epsilon)

    @property
    def numbers(self):
        return (self.epsilon,)

    def shape(self, x: Shape, *others: Shape) -> Shape:
        return _shape(self, x, ("gamma", "beta"), others)

    def sizes(self, x: Shape, *others: Shape) -> tuple[int, ...]:
        return x.features[-1], math.prod(x.features[:-1])

    def kept(self, x: Shape, *others: Shape) -> int:
        return 2 * math.prod(x.features[:-1])  # mean and 1/√variance

    def _normal(self, x):
        apart = x - np.mean(x, axis=-1, keepdims=True)
        scale = 1 / np.sqrt(np.mean(apart * apart, axis=-1, keepdims=True) + self.epsilon)
        return apart * scale, scale

    def forward(self, x, gamma, beta):
        return self._normal(x)[0] * gamma + beta

    def backward(self, gradient, x, gamma, beta):
        normal, scale = self._normal(x)
        h = gradient * gamma
        along = np.mean(h * normal, axis=-1, keepdims=True)
        to_x = scale * (h - np.mean(h, axis=-1, keepdims=True) - normal * along)
        return to_x, _columns(gradient * normal), _columns(gradient)


class BatchNorm(Training):
    """``gamma·(x - μ)/√(σ² + epsilon) + beta``, μ and σ² of each feature over the batch.

    While `fit` trains, mean and variance are the batch's own, and running ones are kept:
    ``running ← (1 - momentum)·running + momentum·batch`` at the end of each step, with the
    unbiased variance. Everything else (``evaluate``, ``compile``, ``forward``, ``backward``) uses
    the running ones.

    Parameters:
        x: node of shape (n, …, C); the statistics are of all axes but the last.
        gamma, beta: nodes of shape (C,), as parameters that start at 1 and 0.
        mean, variance: the running statistics, ``Parameter(…, trained=False)`` of shape (C,);
            left out, they are made from gamma's shape and start at 0 and 1.
        momentum: share of the newest batch, in (0, 1].
        epsilon: in (0, ∞).

    Gradient in training, over the m values of a feature, with x̂ the normalised x:
    gamma/√(σ² + epsilon)·(g - mean g - x̂·mean(g·x̂)) to x; Σ g·x̂ to gamma and Σ g to beta.

    Raises:
        ShapeError: the shapes do not fit.
        GraphError: the statistics are left out and gamma's shape is not known.

    Source: S. Ioffe and C. Szegedy, "Batch normalization" (2015).
    """

    kernel = "batch_norm"
    running = (3, 4)

    def __init__(
        self,
        x: Any,
        gamma: Any,
        beta: Any,
        mean: Any = None,
        variance: Any = None,
        *,
        momentum: float = 0.1,
        epsilon: float = 1e-5,
        name: str | None = None,
    ):
        start = getattr(gamma, "constant" if isinstance(gamma, Constant) else "value", gamma)
        if start is None and (mean is None or variance is None):
            raise GraphError(
                f"BatchNorm: the shape of {gamma} is not known; give mean and variance, as "
                "Parameter(np.zeros(8), trained=False) and Parameter(np.ones(8), trained=False)"
            )
        named = (lambda suffix: f"{name}_{suffix}") if name else (lambda suffix: None)
        if mean is None:
            mean = Parameter(np.zeros(np.shape(start)), named("mean"), trained=False)
        if variance is None:
            variance = Parameter(np.ones(np.shape(start)), named("variance"), trained=False)
        super().__init__(x, gamma, beta, mean, variance, name=name)
        self.epsilon = _above_zero(self, "epsilon", epsilon)
        self.momentum = _above_zero(self, "momentum", momentum)
        if self.momentum > 1:
            raise SettingError(f"{self}: momentum must be in (0, 1], got {momentum!r}")

    @property
    def numbers(self):
        return (self.epsilon, self.momentum)

    def shape(self, x: Shape, *others: Shape) -> Shape:
        if not x.batched:
            raise ShapeError(f"{self}: x has shape {x}; a batch axis is needed for its statistics")
        return _shape(self, x, ("gamma", "beta", "mean", "variance"), others)

    def sizes(self, x: Shape, *others: Shape) -> tuple[int, ...]:
        return x.features[-1], math.prod(x.features[:-1])

    def forward(self, x, gamma, beta, mean, variance):
        return (x - mean) / np.sqrt(variance + self.epsilon) * gamma + beta

    def backward(self, gradient, x, gamma, beta, mean, variance):
        scale = 1 / np.sqrt(variance + self.epsilon)
        to_beta, to_gamma = _columns(gradient), _columns(gradient * (x - mean) * scale)
        to_mean, to_variance = -gamma * scale * to_beta, -gamma * scale**2 / 2 * to_gamma
        return gradient * gamma * scale, to_gamma, to_beta, to_mean, to_variance

    def _batch(self, x):
        axes = tuple(range(x.ndim - 1))
        mean = np.mean(x, axis=axes)
        return mean, np.mean((x - mean) ** 2, axis=axes)

    def train_forward(self, moment: Moment, x, gamma, beta, mean, variance):
        return self.forward(x, gamma, beta, *self._batch(x))

    def train_backward(self, moment: Moment, gradient, x, gamma, beta, mean, variance):
        mean, variance = self._batch(x)
        scale = 1 / np.sqrt(variance + self.epsilon)
        normal = (x - mean) * scale
        to_beta, to_gamma = _columns(gradient), _columns(gradient * normal)
        count = x.size // x.shape[-1]
        to_x = gamma * scale * (gradient - to_beta / count - normal * (to_gamma / count))
        return to_x, to_gamma, to_beta, None, None

    def statistics(self, x, gamma, beta, mean, variance):
        count = x.size // x.shape[-1]
        new_mean, new_variance = self._batch(x)
        unbiased = new_variance * (count / max(count - 1, 1))
        keep, m = 1 - self.momentum, self.momentum
        return keep * mean + m * new_mean, keep * variance + m * unbiased


def _columns(array: np.ndarray) -> np.ndarray:
    return np.sum(array, axis=tuple(range(array.ndim - 1)))


def _shape(node: Node, x: Shape, names: tuple[str, ...], others: tuple[Shape, ...]) -> Shape:
    want = Shape(None, x.features[-1:])
    for name, shape in zip(names, others, strict=True):
        if not x.features or shape != want:
            need = f"{name} must have shape {want}" if x.features else "x needs a feature axis"
            raise ShapeError(f"{node}: x has shape {x}, {name} has {shape}; {need}")
    return x


def _above_zero(node: Node, name: str, value: Any) -> float:
    number = isinstance(value, (int, float, np.integer, np.floating)) and math.isfinite(value)
    if not number or isinstance(value, bool) or value <= 0:
        raise SettingError(f"{node}: {name} must be a number above 0, got {value!r}")
    return float(value)
