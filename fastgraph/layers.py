"""Layers: composition of parameters and operations. Nothing here is an operation of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import initializers
from .errors import SettingError, ShapeError, unknown
from .node import Node, Parameter
from .ops import Linear, ReLU, Sigmoid, Tanh
from .program import infer_shapes
from .sort import topological_sort

__all__ = ["Dense"]

ACTIVATIONS: dict[str, type[Node]] = {"relu": ReLU, "sigmoid": Sigmoid, "tanh": Tanh}


def Dense(
    x: Node,
    units: int,
    activation: str | Callable[[Node], Node] | None = None,
    *,
    bias: bool = True,
    initializer: Callable[..., np.ndarray] | None = None,
    seed: int = 0,
    name: str | None = None,
) -> Node:
    """A fully connected layer, ``activation(x @ W + b)``: its parameters, `Linear`, activation.

    Parameters:
        x: node of shape (n, in); the number of features must be known, as from
            ``Input("x", shape=(13,))``.
        units: outputs, 1 or more.
        activation: ``"relu"``, ``"sigmoid"``, ``"tanh"``, a node class, or None.
        bias: add a bias that starts at 0.
        initializer: of W, called as ``initializer((in, units), seed=seed)``; by default He's for
            ReLU and Glorot's otherwise.
        seed: of the initializer.
        name: of the layer; its parameters are ``name_W`` and ``name_b``.

    Raises:
        ShapeError: the number of features is not known.
        SettingError: an unknown activation, or units below 1.
    """
    if isinstance(units, bool) or not isinstance(units, (int, np.integer)) or units < 1:
        raise SettingError(f"Dense: units must be a whole number, 1 or more, got {units!r}")
    make: Any = activation
    if isinstance(activation, str):
        if activation not in ACTIVATIONS:
            raise SettingError("Dense: " + unknown("activation", activation, ACTIVATIONS))
        make = ACTIVATIONS[activation]
    shape = infer_shapes(topological_sort(x))[x]
    if shape is None or not shape.features:
        raise ShapeError(
            f"Dense: the number of features of {x} is not known; declare it on the input, as "
            "Input('x', shape=(13,))"
        )
    if initializer is None:
        initializer = initializers.he_uniform if make is ReLU else initializers.glorot_uniform
    named = (lambda suffix: f"{name}_{suffix}") if name else (lambda suffix: None)
    W = Parameter(initializer((shape.features[-1], int(units)), seed=seed), named("W"))
    inputs = [x, W] + ([Parameter(np.zeros(units), named("b"))] if bias else [])
    linear = Linear(*inputs, name=name if make is None else named("linear"))
    if make is None:
        return linear
    return make(linear, name=name) if isinstance(make, type) else make(linear)
