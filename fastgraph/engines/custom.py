"""What both engines hold a user's own node to: shapes out, gradients back, inputs untouched."""

from __future__ import annotations

import numpy as np

from ..errors import GraphError, ShapeError
from ..node import Node, Shape

__all__ = ["check_gradients", "check_value", "read_only"]


def read_only(array: np.ndarray) -> np.ndarray:
    """A view of ``array`` that a user's code can read and cannot change."""
    view = array.view()
    view.flags.writeable = False
    return view


def check_value(node: Node, got: tuple[int, ...], shape: Shape, rows: int | None) -> None:
    """Raise a `ShapeError` where a value has not the shape the node was first seen to have."""
    want = (rows, *shape.features) if shape.batched else shape.features
    if got != want:
        raise ShapeError(f"{node}: forward returned shape {got}, expected {want}")


def check_gradients(node: Node, parts: object, shapes: list[tuple[int, ...]]) -> tuple:
    """The gradients a node returned, or an error that says what was expected."""
    if not isinstance(parts, (tuple, list)) or len(parts) != len(shapes):
        got = f"{len(parts)} of them" if isinstance(parts, (tuple, list)) else type(parts).__name__
        raise GraphError(
            f"{node}: backward must return a tuple of {len(shapes)} gradients, one per input "
            f"(None where there is none), got {got}"
        )
    for item, part, shape in zip(node.inputs, parts, shapes, strict=True):
        if part is not None and np.shape(part) != shape:
            raise ShapeError(
                f"{node}: backward returned shape {np.shape(part)} for {item}, expected {shape}"
            )
    return tuple(parts)
