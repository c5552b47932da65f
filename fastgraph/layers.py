"""Layers: composition of parameters and operations. Nothing here is an operation of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from . import initializers
from .errors import SettingError, ShapeError, unknown
from .node import Node, Parameter
from .ops import (
    ELU,
    GELU,
    Dropout,
    LeakyReLU,
    Linear,
    ReLU,
    Sigmoid,
    SiLU,
    Sin,
    Softmax,
    Softplus,
    Tanh,
)
from .program import infer_shapes
from .sort import topological_sort

__all__ = ["Dense", "mlp"]

ACTIVATIONS: dict[str, type[Node]] = {
    "elu": ELU, "gelu": GELU, "leaky_relu": LeakyReLU, "relu": ReLU, "sigmoid": Sigmoid,
    "silu": SiLU, "sin": Sin, "softmax": Softmax, "softplus": Softplus, "tanh": Tanh,
}  # fmt: skip

#: Half of what goes in is lost, or nearly so: He's initial values make up for it.
_RECTIFIERS = (ELU, GELU, LeakyReLU, ReLU, SiLU, Softplus)


def Dense(
    x: Node,
    units: int,
    activation: str | Callable[[Node], Node] | None = None,
    *,
    bias: bool = True,
    initializer: Callable[..., np.ndarray] | None = None,
    seed: int | Sequence[int] = 0,
    name: str | None = None,
) -> Node:
    """A fully connected layer, ``activation(x @ W + b)``: its parameters, `Linear`, activation.

    Parameters:
        x: node of shape (n, in); the number of features must be known, as from
            ``Input("x", shape=(13,))``.
        units: outputs, 1 or more.
        activation: ``"relu"``, ``"sigmoid"``, ``"tanh"``, ``"elu"``, ``"gelu"``,
            ``"leaky_relu"``, ``"silu"``, ``"sin"``, ``"softmax"``, ``"softplus"``, a node class
            or function of a node, or None.
        bias: add a bias that starts at 0.
        initializer: of W, called as ``initializer((in, units), seed=seed)``; by default He's for
            ReLU and its kin, Glorot's otherwise.
        seed: of the initializer, a whole number or a sequence of them.
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
        rectifies = make in _RECTIFIERS
        initializer = initializers.he_uniform if rectifies else initializers.glorot_uniform
    named = (lambda suffix: f"{name}_{suffix}") if name else (lambda suffix: None)
    W = Parameter(initializer((shape.features[-1], int(units)), seed=seed), named("W"))
    inputs = [x, W] + ([Parameter(np.zeros(units), named("b"))] if bias else [])
    linear = Linear(*inputs, name=name if make is None else named("linear"))
    if make is None:
        return linear
    return make(linear, name=name) if isinstance(make, type) else make(linear)


def mlp(
    x: Node,
    units: Sequence[int],
    activation: str | Callable[[Node], Node] = "relu",
    *,
    output_activation: str | Callable[[Node], Node] | None = None,
    dropout: float = 0.0,
    seed: int = 0,
    name: str | None = None,
) -> Node:
    """A multilayer perceptron: a `Dense` layer for each of ``units``, one on top of the other.

    Parameters:
        x: node of shape (n, in), as ``Input("x", shape=(13,))``.
        units: outputs of each layer, as ``[64, 64, 1]``; the last is the output.
        activation: after each layer but the last, as in `Dense`.
        output_activation: after the last; losses from logits want None.
        dropout: rate of a `Dropout` after each hidden activation, in [0, 1); 0 is none.
        seed: each layer draws with this and its own number.
        name: the layers are ``name_1``, ``name_2``, …, the last ``name``.

    Raises:
        ShapeError, SettingError: as `Dense`; no layers.

    Example:
        >>> import fastgraph as fg
        >>> x = fg.Input("x", shape=(8,))
        >>> fg.Graph(fg.mlp(x, [64, 64, 1], activation="gelu")).parameter_count
        4801
    """
    layers = list(units) if isinstance(units, Iterable) else []
    if not layers:
        raise SettingError(f"mlp: units must be sizes of layers, as [64, 64, 1], got {units!r}")
    for number, size in enumerate(layers[:-1], 1):
        own = f"{name}_{number}" if name else None
        x = Dense(x, size, activation, seed=[seed, number], name=own)
        if dropout:
            x = Dropout(x, dropout)
    return Dense(x, layers[-1], output_activation, seed=[seed, len(layers)], name=name)
