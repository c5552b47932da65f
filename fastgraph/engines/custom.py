"""What both engines hold a user's own node to: shapes out, gradients back, inputs untouched."""

from __future__ import annotations

import numpy as np

from ..errors import GraphError, ShapeError
from ..node import Node, Shape
from ..program import numbers, read_only

__all__ = ["check_gradients", "check_value", "read_only"]


def check_value(
    node: Node, value: object, shape: Shape, rows: int | None, dtype: np.dtype
) -> np.ndarray:
    """The value as an array of ``dtype``, if it has the shape the node was first seen to have."""
    array = numbers(node, "forward", value, dtype)
    want = (rows, *shape.features) if shape.batched else shape.features
    if array.shape != want:
        raise ShapeError(f"{node}: forward returned shape {array.shape}, expected {want}")
    return array


def check_gradients(
    node: Node, parts: object, shapes: list[tuple[int, ...]], dtype: np.dtype
) -> tuple:
    """The gradients a node returned, of ``dtype``, or an error that says what was expected."""
    if not isinstance(parts, (tuple, list)) or len(parts) != len(shapes):
        got = f"{len(parts)} of them" if isinstance(parts, (tuple, list)) else type(parts).__name__
        raise GraphError(
            f"{node}: backward must return a tuple of {len(shapes)} gradients, one per input "
            f"(None where there is none), got {got}"
        )
    arrays = [None if part is None else numbers(node, "backward", part, dtype) for part in parts]
    for item, array, shape in zip(node.inputs, arrays, shapes, strict=True):
        if array is not None and array.shape != shape:
            raise ShapeError(
                f"{node}: backward returned shape {array.shape} for {item}, expected {shape}"
            )
    return tuple(arrays)
