"""Optimizers: how a gradient changes the parameters.

Each is one class: its settings, checked, and its update rule as a pure function on the vector of
all parameters. The native engine has a kernel of the same name for each (``csrc/optimizers.pxi``).
The state of a run (velocity, moments, counts) is kept per graph, so a run can be continued.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np

from .errors import SettingError
from .node import Parameter

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop"]


@dataclass
class OptimizerState:
    """Where a run stands: what the next step needs besides the parameters.

    Attributes:
        slots: the optimizer's vectors, each as long as all parameters together.
        powers: beta1ᵗ and beta2ᵗ after t steps (Adam's bias correction).
        steps: finished steps.
        epochs: finished epochs; the next one is shuffled by this number.
        step: finished steps of an epoch that is under way.
        total: their losses added up, each times its rows.
        plateau: what `schedules.ReduceOnPlateau` remembers: factor, best, epochs waited.
    """

    slots: list[np.ndarray]
    powers: np.ndarray = field(default_factory=lambda: np.ones(2))
    steps: int = 0
    epochs: int = 0
    step: int = 0
    total: float = 0.0
    plateau: tuple[float, float, int] | None = None


class Optimizer(ABC):
    """Base of the optimizers."""

    #: Name of the native kernel.
    kernel: ClassVar[str]
    #: Number of state vectors.
    slots: ClassVar[int] = 0

    def __init__(self) -> None:
        #: By graph, then by the parameters trained: several outputs train different ones.
        self._states: WeakKeyDictionary[Any, dict[tuple, OptimizerState]] = WeakKeyDictionary()
        self.check()

    @abstractmethod
    def check(self) -> None:
        """Raise a `SettingError` where a setting is out of its range."""

    @abstractmethod
    def settings(self) -> tuple[float, ...]:
        """The numbers the native kernel takes, in its order."""

    @abstractmethod
    def update(
        self, vector: np.ndarray, gradient: np.ndarray, slots: list, powers: np.ndarray
    ) -> tuple[np.ndarray, list]:
        """The new parameters and the new slots; nothing given is changed. ``powers`` has already
        been advanced to this step."""

    def advance(self, powers: np.ndarray) -> np.ndarray:
        """``powers`` after one more step."""
        return powers

    def state_of(
        self, graph: Any, parameters: tuple[Parameter, ...], dtype: np.dtype
    ) -> OptimizerState:
        """The state kept for these parameters of ``graph``, fresh where there is none."""
        state = self._states.get(graph, {}).get(parameters)
        if state is None:
            size = sum(node.value.size for node in parameters)
            state = OptimizerState([np.zeros(size, dtype) for _ in range(self.slots)])
        return state

    def keep(
        self, graph: Any, parameters: tuple[Parameter, ...], state: OptimizerState
    ) -> None:
        """Keep ``state`` for the next ``fit`` of these parameters of ``graph``."""
        self._states.setdefault(graph, {})[parameters] = state

    def reset(self) -> None:
        """Forget the state of every graph."""
        self._states.clear()

    def __getstate__(self) -> dict:
        return {key: value for key, value in vars(self).items() if key != "_states"}

    def __setstate__(self, settings: dict) -> None:
        vars(self).update(settings)
        self._states = WeakKeyDictionary()

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if not k.startswith("_"))
        return f"{type(self).__name__}({shown})"

    def _number(self, name: str, low: float, high: float = math.inf, *, open_low=False) -> None:
        value = getattr(self, name)
        ok = isinstance(value, (int, float, np.integer, np.floating)) and math.isfinite(value)
        if ok:
            ok = (low < value if open_low else low <= value) and (value < high)
        if not ok or isinstance(value, bool):
            bracket = "(" if open_low else "["
            raise SettingError(
                f"{type(self).__name__}: {name} must be a number in {bracket}{low:g}, {high:g}), "
                f"got {value!r}"
            )
        setattr(self, name, float(value))


class SGD(Optimizer):
    """Stochastic gradient descent: ``p ← p - learning_rate · v``, ``v ← momentum · v + g``.

    Parameters:
        learning_rate: in (0, ∞).
        momentum: in [0, 1); 0 is plain gradient descent (Polyak, 1964).
        nesterov: step along ``g + momentum · v`` (Nesterov, 1983); needs momentum.
        weight_decay: in [0, ∞); adds ``weight_decay · p`` to the gradient (L2).
    """

    kernel = "sgd"
    slots = 1

    def __init__(
        self,
        learning_rate: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ):
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        super().__init__()

    def check(self) -> None:
        self._number("learning_rate", 0, open_low=True)
        self._number("momentum", 0, 1)
        self._number("weight_decay", 0)
        if not isinstance(self.nesterov, (bool, np.bool_)):
            raise SettingError(f"SGD: nesterov must be True or False, got {self.nesterov!r}")
        if self.nesterov and self.momentum == 0:
            raise SettingError("SGD: nesterov needs a momentum above 0, as momentum=0.9")

    def settings(self) -> tuple[float, ...]:
        return (self.learning_rate, self.momentum, float(self.nesterov), self.weight_decay)

    def update(self, vector, gradient, slots, powers):
        if self.weight_decay:
            gradient = gradient + self.weight_decay * vector
        if self.momentum == 0:
            return vector - self.learning_rate * gradient, slots
        velocity = self.momentum * slots[0] + gradient
        step = gradient + self.momentum * velocity if self.nesterov else velocity
        return vector - self.learning_rate * step, [velocity]


class Adagrad(Optimizer):
    """Adagrad: ``s ← s + g²``, ``p ← p - learning_rate · g / (√s + epsilon)``.

    Parameters:
        learning_rate: in (0, ∞).
        epsilon: in (0, ∞).

    Source: J. Duchi, E. Hazan and Y. Singer, "Adaptive subgradient methods for online learning
    and stochastic optimization" (2011).
    """

    kernel = "adagrad"
    slots = 1

    def __init__(self, learning_rate: float = 1e-2, epsilon: float = 1e-10):
        self.learning_rate = learning_rate
        self.epsilon = epsilon
        super().__init__()

    def check(self) -> None:
        self._number("learning_rate", 0, open_low=True)
        self._number("epsilon", 0, open_low=True)

    def settings(self) -> tuple[float, ...]:
        return (self.learning_rate, self.epsilon)

    def update(self, vector, gradient, slots, powers):
        square = slots[0] + gradient**2
        return vector - self.learning_rate * gradient / (np.sqrt(square) + self.epsilon), [square]


class RMSprop(Optimizer):
    """RMSprop: ``s ← rho·s + (1 - rho)·g²``, ``p ← p - learning_rate · g / (√s + epsilon)``.

    Parameters:
        learning_rate: in (0, ∞).
        rho: decay of the average of squares, in [0, 1).
        epsilon: in (0, ∞).

    Source: T. Tieleman and G. Hinton, Lecture 6.5 of "Neural networks for machine learning" (2012).
    """

    kernel = "rmsprop"
    slots = 1

    def __init__(self, learning_rate: float = 1e-3, rho: float = 0.9, epsilon: float = 1e-8):
        self.learning_rate = learning_rate
        self.rho = rho
        self.epsilon = epsilon
        super().__init__()

    def check(self) -> None:
        self._number("learning_rate", 0, open_low=True)
        self._number("rho", 0, 1)
        self._number("epsilon", 0, open_low=True)

    def settings(self) -> tuple[float, ...]:
        return (self.learning_rate, self.rho, self.epsilon)

    def update(self, vector, gradient, slots, powers):
        square = self.rho * slots[0] + (1 - self.rho) * gradient**2
        return vector - self.learning_rate * gradient / (np.sqrt(square) + self.epsilon), [square]


class Adam(Optimizer):
    """Adam: steps scaled by running estimates of the gradient's mean m and mean square v.

    ``m ← β1·m + (1-β1)·g``, ``v ← β2·v + (1-β2)·g²``,
    ``p ← p - learning_rate · m/(1-β1ᵗ) / (√(v/(1-β2ᵗ)) + epsilon)``.

    Parameters:
        learning_rate: in (0, ∞).
        beta1, beta2: decay of the two averages, in [0, 1).
        epsilon: in (0, ∞).

    Source: D. Kingma and J. Ba, "Adam: a method for stochastic optimization" (2015).
    """

    kernel = "adam"
    slots = 2

    def __init__(
        self,
        learning_rate: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ):
        self.learning_rate = learning_rate
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        super().__init__()

    def check(self) -> None:
        self._number("learning_rate", 0, open_low=True)
        self._number("beta1", 0, 1)
        self._number("beta2", 0, 1)
        self._number("epsilon", 0, open_low=True)

    def settings(self) -> tuple[float, ...]:
        return (self.learning_rate, self.beta1, self.beta2, self.epsilon, 0.0)

    def advance(self, powers):
        return powers * (self.beta1, self.beta2)

    def update(self, vector, gradient, slots, powers):
        mean = self.beta1 * slots[0] + (1 - self.beta1) * gradient
        square = self.beta2 * slots[1] + (1 - self.beta2) * gradient**2
        power1, power2 = map(float, powers)  # NumPy's own float64 would widen a float32 vector
        step = (mean / (1 - power1)) / (np.sqrt(square / (1 - power2)) + self.epsilon)
        return vector - self.learning_rate * step, [mean, square]


class AdamW(Adam):
    """Adam with decoupled weight decay: also ``p ← p - learning_rate · weight_decay · p``.

    Parameters as for `Adam`, and weight_decay in [0, ∞).

    Source: I. Loshchilov and F. Hutter, "Decoupled weight decay regularization" (2019).
    """

    def __init__(
        self,
        learning_rate: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
    ):
        self.weight_decay = weight_decay
        super().__init__(learning_rate, beta1, beta2, epsilon)

    def check(self) -> None:
        super().check()
        self._number("weight_decay", 0)

    def settings(self) -> tuple[float, ...]:
        return (*super().settings()[:4], self.weight_decay)

    def update(self, vector, gradient, slots, powers):
        decayed = vector - self.learning_rate * self.weight_decay * vector
        stepped, slots = super().update(vector, gradient, slots, powers)
        return decayed + (stepped - vector), slots
