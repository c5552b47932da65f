"""Losses: one number that says how far predictions are from the truth. Targets come first.

Each class tells the loss of an element and its slopes; `Loss` makes the mean of them, weighted by
``sample_weight`` where there is one.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np

from ..errors import GraphError, SettingError, ShapeError
from ..node import Constant, Domain, Input, Node, Shape
from .activations import Sigmoid, sigmoid, softplus
from .broadcasting import broadcast, same_rows, sum_to
from .softmax import Softmax, log_softmax

__all__ = [
    "MAE", "MSE", "BinaryCrossEntropy", "Huber", "PoissonLoss", "QuantileLoss",
    "SoftmaxCrossEntropy",
]  # fmt: skip


class Loss(Node):
    """Base of losses on two equal shapes; a scalar over everything.

    With ``sample_weight`` w it is ``Σ w·l / Σ w`` over the elements l of the batch, and 0 where
    all weights of a batch are 0; without, the plain mean.
    """

    def __init__(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, name: str | None = None
    ):
        weight = () if sample_weight is None else (sample_weight,)
        super().__init__(y_true, y_pred, *weight, name=name)

    # What a loss defines ---------------------------------------------------------------------

    #: What y_true may hold; None for any number.
    truth: Domain | None = None

    def losses(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """The loss of each element."""
        raise GraphError(f"{self.kind} defines no losses(self, y_true, y_pred)")

    def slopes(self, y_true: np.ndarray, y_pred: np.ndarray) -> tuple:
        """The derivatives of `losses` with respect to y_true and y_pred."""
        raise GraphError(f"{self.kind} defines no slopes(self, y_true, y_pred)")

    # What all have ---------------------------------------------------------------------------

    def weighted(self, weight: Node) -> Loss:
        """The same loss of the same inputs, with ``weight`` as its sample weight."""
        if len(self.inputs) > 2:
            raise SettingError(f"{self}: has a sample_weight of its own; feed that one")
        twin = copy.copy(self)
        twin.inputs = (*self.inputs, weight)
        twin.value, twin.gradient, twin.gradients = None, None, {}
        return twin

    def domains(self, *shapes: Shape) -> dict[int, Domain]:
        found = {} if self.truth is None else {0: self.truth}
        return {**found, 2: Domain("sample weights", 0)} if len(shapes) > 2 else found

    def shape(self, y_true: Shape, y_pred: Shape, weight: Shape | None = None) -> Shape:
        of_losses = self._shape_of_losses(y_true, y_pred)
        if weight is not None:
            same_rows(self, of_losses, weight)
            ones = (1,) * len(of_losses.features)
            if weight.batched != of_losses.batched or weight.features not in (
                (), ones, of_losses.features,
            ):  # fmt: skip
                wanted = {str(Shape(of_losses.rows, f)) for f in ((), of_losses.features)}
                raise ShapeError(
                    f"{self}: sample_weight has shape {weight}; one weight a row or an element is "
                    f"expected, shape {' or '.join(sorted(wanted))}"
                )
        return Shape(None, ())

    def _named(self, y_true: Shape, y_pred: Shape) -> tuple[str, str, str]:
        """Both names, and what to say of their shapes."""
        pairs = zip(self.inputs, ("y_true", "y_pred"), strict=False)
        first, second = (item.name or default for item, default in pairs)
        return first, second, f"{self}: {first} has shape {y_true}, {second} has {y_pred}"

    def _shape_of_losses(self, y_true: Shape, y_pred: Shape) -> Shape:
        """The shape of the elements that the mean is of."""
        first, _, said = self._named(y_true, y_pred)
        same = y_true.batched and y_pred.batched and y_true.rows == y_pred.rows
        sizes = math.prod(y_true.features), math.prod(y_pred.features)
        if same and y_true.features != y_pred.features and sizes[0] == sizes[1]:
            raise ShapeError(f"{said}; reshape {first} to {y_pred}")
        batched = y_pred if y_pred.batched else y_true
        try:
            fits = broadcast(self, y_true, y_pred) == batched
        except ShapeError:
            fits = False
        if not fits:
            raise ShapeError(f"{said}; both must have one shape")
        return batched

    def forward(self, y_true, y_pred, weight=None):
        losses = self.losses(y_true, y_pred)
        if weight is None:
            return np.mean(losses)
        return np.sum(_shares(weight, losses) * losses)

    def backward(self, gradient, y_true, y_pred, weight=None):
        losses = self.losses(y_true, y_pred)
        shares = 1 / losses.size if weight is None else _shares(weight, losses)
        scale = np.broadcast_to(gradient * shares, losses.shape)
        gradients = [
            None if slope is None else sum_to(_times(scale, slope), value.shape)
            for slope, value in zip(self.slopes(y_true, y_pred), (y_true, y_pred), strict=True)
        ]
        if weight is not None:
            # The mean moves towards the losses that gain weight.
            apart = losses - np.sum(shares * losses)
            total = np.sum(np.broadcast_to(_along(weight, losses), losses.shape))
            slope = gradient * apart / total if total else np.zeros_like(losses)
            gradients.append(sum_to(slope, _along(weight, losses).shape).reshape(weight.shape))
        return tuple(gradients)


def _along(weight: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Weights with as many axes as the losses: one of a row counts for all its elements."""
    return weight.reshape(weight.shape + (1,) * (losses.ndim - weight.ndim))


def _shares(weight: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """What each loss counts for in the mean: w / Σ w."""
    weight = np.broadcast_to(_along(weight, losses), losses.shape)
    total = np.sum(weight)
    return weight / total if total else np.zeros_like(losses)


def _times(scale: np.ndarray, slope: np.ndarray) -> np.ndarray:
    return scale.reshape(scale.shape + (1,) * (slope.ndim - scale.ndim)) * slope


class MSE(Loss):
    """Mean squared error, ``mean((y_true - y_pred)²)``: the L2 loss.

    Parameters:
        y_true: node of shape (n, …).
        y_pred: node of the same shape; nothing is broadcast over the batch.
        sample_weight: node of shape (n,) or of theirs, 0 or more: the weighted mean
            ``Σ w·l / Σ w`` over the batch (0 where all weights are 0).

    Gradient: ±2·(y_pred - y_true) / count; with weights w / Σ w takes the place of 1 / count.

    Raises:
        ShapeError: the shapes differ, as (n,) and (n, 1) do.
    """

    kernel = "mse"

    def losses(self, y_true, y_pred):
        return (y_true - y_pred) ** 2

    def slopes(self, y_true, y_pred):
        difference = y_pred - y_true
        return -2 * difference, 2 * difference


class MAE(Loss):
    """Mean absolute error, ``mean(|y_true - y_pred|)``: the L1 loss.

    Parameters as for `MSE`. Gradient: ±sign(y_pred - y_true) / count, 0 where they are equal.
    """

    kernel = "mae"

    def losses(self, y_true, y_pred):
        return np.abs(y_true - y_pred)

    def slopes(self, y_true, y_pred):
        sign = np.sign(y_pred - y_true)
        return -sign, sign


class Huber(Loss):
    """The mean of ``d²/2`` where |d| ≤ delta, else ``delta·(|d| - delta/2)``: d = y_pred - y_true.

    Parameters as for `MSE`, and delta in (0, ∞), the difference from which on it grows linearly.
    Gradient: ±min(max(d, -delta), delta) / count.

    Source: P. Huber, "Robust estimation of a location parameter" (1964).
    """

    kernel = "huber"

    def __init__(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any = None,
        delta: float = 1.0,
        name: str | None = None,
    ):
        super().__init__(y_true, y_pred, sample_weight, name)
        self.delta = _between(self, "delta", delta, 0, math.inf)

    @property
    def numbers(self):
        return (self.delta,)

    def losses(self, y_true, y_pred):
        size = np.abs(y_pred - y_true)
        small = np.minimum(size, self.delta)
        return small * (size - small / 2)

    def slopes(self, y_true, y_pred):
        slope = np.clip(y_pred - y_true, -self.delta, self.delta)
        return -slope, slope


class QuantileLoss(Loss):
    """The mean of ``max(q·d, (q - 1)·d)``, d = y_true - y_pred: predictions become the quantile q.

    Parameters as for `MSE`, and quantile in (0, 1): the share of the targets that the best
    prediction lies above. Half of `MAE` at 0.5. Gradient of y_pred: -q / count where it is below
    y_true, (1 - q) / count above, 0 where they are equal.

    Source: R. Koenker and G. Bassett, "Regression quantiles" (1978).
    """

    kernel = "quantile"

    def __init__(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any = None,
        quantile: float = 0.5,
        name: str | None = None,
    ):
        super().__init__(y_true, y_pred, sample_weight, name)
        self.quantile = _between(self, "quantile", quantile, 0, 1)

    @property
    def numbers(self):
        return (self.quantile,)

    def losses(self, y_true, y_pred):
        d = y_true - y_pred
        return np.maximum(self.quantile * d, (self.quantile - 1) * d)

    def slopes(self, y_true, y_pred):
        sign = np.sign(y_pred - y_true)
        slope = sign / 2 + (0.5 - self.quantile) * np.abs(sign)
        return -slope, slope


class PoissonLoss(Loss):
    """The mean of ``e^p - y·p``, with p the logarithm of the predicted rate: counts as targets.

    It is the negative logarithm of the Poisson probability without ``ln y!``, which no prediction
    changes.

    Parameters:
        y_true: node of shape (n, …), counts or rates, 0 or more.
        y_pred: node of the same shape, logarithms of rates, as a linear layer gives.
        sample_weight: as for `MSE`.

    Gradient of y_pred: (e^p - y) / count; of y_true: -p / count.
    """

    kernel = "poisson"
    truth = Domain("counts", 0)

    def losses(self, y_true, y_pred):
        return np.exp(y_pred) - y_true * y_pred

    def slopes(self, y_true, y_pred):
        return -y_pred, np.exp(y_pred) - y_true


class BinaryCrossEntropy(Loss):
    """The mean of ``ln(1 + eᶻ) - y·z``, z logits: cross entropy of ``sigmoid(z)``, kept accurate.

    Parameters:
        y_true: node of shape (n, …), in [0, 1]: 0 and 1, or probabilities.
        y_pred: node of the same shape: logits, any number. `Sigmoid` of it is the probability;
            the loss takes what goes into the sigmoid, so that neither end is lost to rounding.
        sample_weight: as for `MSE`.

    Gradient of the logits: (sigmoid(z) - y) / count; of y_true: -z / count.

    Raises:
        GraphError: y_pred is a `Sigmoid` or a `Softmax`.
    """

    kernel = "binary_cross_entropy"
    truth = Domain("targets", 0, 1)

    def __init__(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, name: str | None = None
    ):
        super().__init__(y_true, y_pred, sample_weight, name)
        _refuse_probabilities(self, (Sigmoid, Softmax))

    def losses(self, y_true, y_pred):
        return softplus(y_pred) - y_true * y_pred

    def slopes(self, y_true, y_pred):
        return -y_pred, sigmoid(y_pred) - y_true


class SoftmaxCrossEntropy(Loss):
    """The mean of ``ln Σ eᶻ - z_y``, z logits, y the class: cross entropy of ``softmax(z)``.

    Parameters:
        y_true: class labels, whole numbers from 0, of shape (n,) or (n, …), an `Input`; or
            one-hot rows (also probabilities, in [0, 1]) of the logits' shape (n, …, C), for
            which it is ``Σ_k y_k·(ln Σ eᶻ - z_k)``.
        y_pred: node of shape (n, …, C), C ≥ 2: logits, any numbers. `Softmax` of it is the
            probabilities; the loss takes what goes into the softmax.
        sample_weight: node of shape (n,), or one weight for each label.

    Gradient of the logits: (softmax(z) - onehot(y)) / count. Labels have none.

    Raises:
        GraphError: y_pred is a `Softmax`, or labels that are no `Input`.
        ShapeError: the shapes do not fit.
    """

    kernel = "softmax_cross_entropy"

    def __init__(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, name: str | None = None
    ):
        super().__init__(y_true, y_pred, sample_weight, name)
        _refuse_probabilities(self, (Softmax, Sigmoid))

    def domains(self, *shapes: Shape) -> dict[int, Domain]:
        y_true, y_pred = shapes[:2]
        truth = Domain("targets", 0, 1)
        if y_true.features != y_pred.features:
            truth = Domain("class labels", 0, y_pred.features[-1] - 1, whole=True)
        return {**super().domains(*shapes), 0: truth}

    def _shape_of_losses(self, y_true: Shape, y_pred: Shape) -> Shape:
        first, second, said = self._named(y_true, y_pred)
        same_rows(self, y_true, y_pred)
        classes = y_pred.features[-1:]
        if not classes or classes[0] < 2:
            raise ShapeError(
                f"{said}; {second} must have the logits of two classes or more in its last axis; "
                "for one logit use BinaryCrossEntropy"
            )
        labels = Shape(y_pred.rows, y_pred.features[:-1])
        if y_true.batched != y_pred.batched or y_true.features not in (
            labels.features, y_pred.features,
        ):  # fmt: skip
            raise ShapeError(
                f"{said}; {first} must be class labels of shape {labels} or one-hot rows of "
                f"shape {y_pred}"
            )
        if y_true.features == labels.features and not isinstance(self.inputs[0], (Input, Constant)):
            raise GraphError(
                f"{self}: class labels are data, and {self.inputs[0]} is computed; feed them "
                "through an Input"
            )
        return labels

    def losses(self, y_true, y_pred):
        picked = self._one_hot(y_true, y_pred)
        return -np.sum(picked * log_softmax(y_pred), axis=-1)

    def slopes(self, y_true, y_pred):
        picked = self._one_hot(y_true, y_pred)
        log_p = log_softmax(y_pred)
        to_pred = np.exp(log_p) * np.sum(picked, axis=-1, keepdims=True) - picked
        return (-log_p if y_true.ndim == y_pred.ndim else None), to_pred

    @staticmethod
    def _one_hot(y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        if y_true.ndim == y_pred.ndim:
            return y_true
        return (y_true[..., None] == np.arange(y_pred.shape[-1])).astype(y_pred.dtype)


def _between(node: Node, name: str, value: Any, low: float, high: float) -> float:
    number = isinstance(value, (int, float, np.integer, np.floating))
    if not number or isinstance(value, bool) or not low < value < high:
        raise SettingError(f"{node}: {name} must be a number in ({low:g}, {high:g}), got {value!r}")
    return float(value)


def _refuse_probabilities(loss: Loss, kinds: tuple[type[Node], ...]) -> None:
    given = loss.inputs[1]
    if isinstance(given, kinds):
        raise GraphError(
            f"{loss}: takes logits, and {given} is applied to them already; pass what goes into "
            f"it, {given.inputs[0]}, and evaluate {given} for predictions"
        )
