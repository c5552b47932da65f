"""The shape rules that operations share, and their reverse: summing a gradient back.

The batch axis comes first and never broadcasts. What has no batch axis (parameters, constants)
broadcasts over it as in NumPy.
"""

from __future__ import annotations

import numpy as np

from ..errors import ShapeError
from ..node import Node, Shape

__all__ = ["broadcast", "same_rows", "sum_to"]


def same_rows(node: Node, *shapes: Shape) -> int | str | None:
    """The number of rows of the batched shapes, which must be one number; None if none is."""
    rows = {shape.rows for shape in shapes if shape.batched}
    if len(rows) > 1:
        raise ShapeError(
            f"{node}: the inputs have different numbers of rows: "
            + ", ".join(map(str, shapes))
            + "; the batch axis does not broadcast"
        )
    return rows.pop() if rows else None


def broadcast(node: Node, *shapes: Shape) -> Shape:
    """The shape of an elementwise operation on ``shapes``, or a `ShapeError`."""
    rows = same_rows(node, *shapes)
    ranks = {len(shape.features) for shape in shapes if shape.batched}
    if len(ranks) > 1:
        a, b = [s for s in shapes if s.batched][:2]
        longer, shorter = (a, b) if len(a.features) > len(b.features) else (b, a)
        ones = (1,) * (len(longer.features) - len(shorter.features))
        raise ShapeError(
            f"{node}: {_listed(node, shapes)}; the batch axis does not broadcast, so both need "
            f"as many axes; reshape {shorter} to {Shape(shorter.rows, shorter.features + ones)}"
        )
    features = []
    for shape in shapes:
        axes = shape.features
        if rows is not None and not shape.batched and ranks and len(axes) > max(ranks):
            extra = len(axes) - max(ranks)
            if extra > 1 or axes[0] != 1:
                raise ShapeError(
                    f"{node}: {_listed(node, shapes)}; the first axis of {shape} would fall on "
                    "the batch axis, which does not broadcast"
                )
            axes = axes[1:]
        features.append(axes)
    try:
        return Shape(rows, np.broadcast_shapes(*features))
    except ValueError:
        raise ShapeError(
            f"{node}: {_listed(node, shapes)}; these do not broadcast together"
        ) from None


def _listed(node: Node, shapes: tuple[Shape, ...]) -> str:
    names = [item.name or item.kind for item in node.inputs]
    return ", ".join(
        f"{name} has shape {shape}" for name, shape in zip(names, shapes, strict=False)
    )


def sum_to(gradient: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum ``gradient`` over the axes along which ``shape`` was broadcast: the reverse of it."""
    gradient = np.asarray(gradient)
    if gradient.shape == shape:
        return gradient
    extra = gradient.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(
        extra + axis
        for axis, size in enumerate(shape)
        if size == 1 and gradient.shape[extra + axis] != 1
    )
    return gradient.sum(axis=axes).reshape(shape)
