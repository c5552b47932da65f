"""What is done to a gradient before an optimizer takes it: penalties added, then clipping.

This is the reference; the native engine does the same in ``csrc/optimizers.pxi``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import GraphError, SettingError, unknown
from .node import Parameter
from .program import Program
from .settings import number

__all__ = ["Regularization", "regularization"]


@dataclass(eq=False, repr=False)
class Regularization:
    """Penalties ``Σ l1·|p| + ½ Σ l2·p²`` on the loss, and bounds on the gradient.

    Attributes:
        clip_norm: the gradient of all parameters together is scaled to this norm at most; 0 is
            no bound (Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural
            networks", 2013).
        clip_value: each element is kept within ± this; 0 is no bound.
        l1, l2: the strength for each element of the parameter vector, or None.
    """

    clip_norm: float = 0.0
    clip_value: float = 0.0
    l1: np.ndarray | None = None
    l2: np.ndarray | None = None

    def penalty(self, vector: np.ndarray) -> float:
        """What the penalties add to the loss."""
        wide, total = vector.astype(np.float64), 0.0
        if self.l1 is not None:
            total += float(np.sum(self.l1 * np.abs(wide)))
        if self.l2 is not None:
            total += float(np.sum(self.l2 * wide**2)) / 2
        return total

    def apply(self, gradient: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """The gradient with penalties, by value and then by norm within its bounds."""
        if self.l1 is not None:
            gradient = gradient + self.l1 * np.sign(vector)
        if self.l2 is not None:
            gradient = gradient + self.l2 * vector
        if self.clip_value:
            gradient = np.clip(gradient, -self.clip_value, self.clip_value)
        if self.clip_norm:
            norm = math.sqrt(float(np.sum(gradient.astype(np.float64) ** 2)))
            if norm > self.clip_norm:
                gradient = gradient * gradient.dtype.type(self.clip_norm / norm)
        return gradient


def regularization(
    program: Program,
    names: Mapping[str, Parameter],
    clip_norm: float | None,
    clip_value: float | None,
    l1: Any,
    l2: Any,
) -> Regularization | None:
    """The settings of ``fit``, checked; None where nothing is asked for."""
    bounds = {}
    for name, bound in (("clip_norm", clip_norm), ("clip_value", clip_value)):
        bounds[name] = 0.0 if bound is None else number(name, bound, above=True)
    strengths = {
        key: _strengths(key, value, program, names) for key, value in (("l1", l1), ("l2", l2))
    }
    if not any(bounds.values()) and all(vector is None for vector in strengths.values()):
        return None
    return Regularization(**bounds, **strengths)


def _strengths(
    key: str, value: Any, program: Program, names: Mapping[str, Parameter]
) -> np.ndarray | None:
    """One strength for each element: a number is for all weight matrices, a mapping by name."""
    if isinstance(value, Mapping):
        chosen = {_named(key, name, program, names): value[name] for name in value}
    elif number(key, value) == 0:
        return None
    else:
        chosen = {node: value for node in program.parameters if node.value.ndim >= 2}
        if not chosen:
            shown = next((name for name, node in names.items() if node in program.parameters), "W")
            raise SettingError(
                f"{key}={value!r} is for weight matrices, and no parameter has two axes; name "
                f"those that are meant, as {key}={{{shown!r}: {value!r}}}"
            )
    checked = {node: number(f"{key} of {node}", strength) for node, strength in chosen.items()}
    parts = [np.full(node.value.size, checked.get(node, 0.0)) for node in program.parameters]
    vector = np.concatenate(parts).astype(program.dtype)
    return vector if vector.any() else None


def _named(
    key: str, name: Any, program: Program, names: Mapping[str, Parameter]
) -> Parameter:
    node = names.get(name) if isinstance(name, str) else name
    if node is None:
        raise SettingError(f"{key}: " + unknown("parameter", name, names))
    if node not in program.parameters:
        raise GraphError(f"{key}: {node} is no parameter that this loss trains")
    return node
