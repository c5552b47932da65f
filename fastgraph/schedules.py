"""Schedules: how the learning rate changes as training goes on.

A schedule gives the factor by which the optimizer's own learning rate is multiplied, from the
position in the run alone: finished steps and epochs, counted from the optimizer's first on this
graph, so that two runs of 50 epochs are one of 100. The factors of a stretch of steps are computed
together beforehand; the native loop never comes back to ask. `ReduceOnPlateau` alone looks at the
losses, between epochs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from .errors import SettingError
from .settings import fraction, number, whole_number

__all__ = ["Constant", "Cosine", "ReduceOnPlateau", "Schedule", "Step", "WarmUp"]


class Schedule(ABC):
    """Base of the schedules; subclass it and define `factors` for one of your own."""

    @abstractmethod
    def factors(self, epochs: np.ndarray) -> np.ndarray:
        """The factor at each position.

        Parameters:
            epochs: (steps,) float array, 0 or more: how many epochs have passed before each step;
                2.5 is the middle of the third one.
        """

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if not k.startswith("_"))
        return f"{type(self).__name__}({shown})"


class Constant(Schedule):
    """The optimizer's learning rate times ``factor``, throughout.

    Parameters:
        factor: in (0, ∞).
    """

    def __init__(self, factor: float = 1.0):
        self.factor = number("Constant: factor", factor, above=True)

    def factors(self, epochs):
        return np.full(len(epochs), self.factor)


class Step(Schedule):
    """``factor ** (epoch // every)``: a drop every so many epochs.

    Parameters:
        every: epochs between drops, above 0.
        factor: in (0, 1].
    """

    def __init__(self, every: float, factor: float = 0.1):
        self.every = number("Step: every", every, above=True)
        self.factor = fraction("Step: factor", factor)

    def factors(self, epochs):
        return self.factor ** np.floor(epochs / self.every)


class Cosine(Schedule):
    """``minimum + (1 - minimum)·(1 + cos π·t)/2``, t from 0 to 1 over ``epochs``, then constant.

    Parameters:
        epochs: how long the decay takes, above 0.
        minimum: the factor at the end, in [0, 1].

    Source: I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with warm restarts"
    (2017), without the restarts.

    Example:
        >>> import numpy as np, fastgraph as fg
        >>> fg.schedules.Cosine(epochs=10).factors(np.array([0.0, 5.0, 10.0])).round(3)
        array([1. , 0.5, 0. ])
    """

    def __init__(self, epochs: float, minimum: float = 0.0):
        self.epochs = number("Cosine: epochs", epochs, above=True)
        self.minimum = 0.0 if minimum == 0 else fraction("Cosine: minimum", minimum)

    def factors(self, epochs):
        passed = np.minimum(epochs / self.epochs, 1)
        return self.minimum + (1 - self.minimum) * (1 + np.cos(np.pi * passed)) / 2


class WarmUp(Schedule):
    """From ``start`` in a straight line to 1 over ``epochs``, then another schedule from there.

    Parameters:
        epochs: how long the rise takes, above 0; a part of one, as 0.5, too.
        then: the schedule that follows, which counts from the end of the rise; None: constant.
        start: the factor of the first step, in (0, 1].

    Source: P. Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour" (2017).
    """

    def __init__(self, epochs: float, then: Schedule | None = None, start: float = 0.01):
        self.epochs = number("WarmUp: epochs", epochs, above=True)
        alone = isinstance(then, Schedule) and not isinstance(then, ReduceOnPlateau)
        if then is not None and not alone:
            raise SettingError(
                "WarmUp: then must be a schedule of the position alone, as Cosine(100), "
                f"got {then!r}"
            )
        self.then = then
        self.start = fraction("WarmUp: start", start)

    def factors(self, epochs):
        rise = self.start + (1 - self.start) * epochs / self.epochs
        if self.then is None:
            return np.minimum(rise, 1)
        after = self.then.factors(np.maximum(epochs - self.epochs, 0))
        return np.where(epochs < self.epochs, rise, after)


class ReduceOnPlateau(Schedule):
    """The rate times ``factor`` whenever the loss has not improved for ``patience`` epochs.

    It watches the validation loss where there is one, else the training loss.

    Parameters:
        factor: in (0, 1).
        patience: epochs without an improvement before a reduction, 1 or more.
        minimum: the factor is not reduced below it, in [0, 1).
        min_delta: what counts as an improvement must be more than this, 0 or more.
    """

    def __init__(
        self, factor: float = 0.5, patience: int = 10, minimum: float = 0.0, min_delta: float = 0.0
    ):
        self.factor = fraction("ReduceOnPlateau: factor", factor)
        if self.factor == 1:
            raise SettingError("ReduceOnPlateau: factor must be below 1, as 0.5")
        self.patience = whole_number("ReduceOnPlateau: patience", patience, 1)
        self.minimum = number("ReduceOnPlateau: minimum", minimum)
        if self.minimum >= 1:
            raise SettingError(f"ReduceOnPlateau: minimum must be below 1, got {minimum!r}")
        self.min_delta = number("ReduceOnPlateau: min_delta", min_delta)

    def factors(self, epochs):
        """1: what it does depends on the losses, see `watch`."""
        return np.ones(len(epochs))

    def watch(
        self, known: tuple[float, float, int] | None, loss: float
    ) -> tuple[float, float, int]:
        """(factor, best loss, epochs waited) after an epoch of the given loss."""
        factor, best, waited = known or (1.0, np.inf, 0)
        if loss < best - self.min_delta:
            return factor, loss, 0
        if waited + 1 < self.patience:
            return factor, best, waited + 1
        return max(factor * self.factor, self.minimum), best, 0


class _ByEpoch(Schedule):
    """A plain function of the epoch's number, counted from 0."""

    def __init__(self, function: Callable[[int], float]):
        self.function = function

    def factors(self, epochs):
        numbers = np.floor(epochs).astype(np.int64)
        every, place = np.unique(numbers, return_inverse=True)
        found = []
        for epoch in every.tolist():
            found.append(number(f"schedule: the factor of epoch {epoch}", self.function(epoch)))
        return np.array(found)[place]


def as_schedule(value: Any) -> Schedule | None:
    """What ``fit`` was given, as a schedule."""
    if value is None or isinstance(value, Schedule):
        return value
    if callable(value) and not isinstance(value, type):
        return _ByEpoch(value)
    hint = "; make one, as Cosine(100)" if isinstance(value, type) else ""
    raise SettingError(
        "schedule: expected one of fastgraph.schedules, or a function from an epoch's number to a "
        f"factor, got {value!r}{hint}"
    )
