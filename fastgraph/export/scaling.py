"""The scaling that goes with a model: raw numbers in, raw numbers out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..errors import DataError, GraphError, SettingError, ShapeError, unknown
from ..node import Input, Node

__all__ = ["Scaling", "checked", "resolve_scaling", "targets"]

#: By node: mean and scale, both of the shape of one row.
Scaling = dict[Node, tuple[np.ndarray, np.ndarray]]


def resolve_scaling(
    given: Mapping[Any, Any] | None,
    rows: Mapping[Node, tuple[int, ...] | None],
    labels: Mapping[Node, str],
) -> Scaling:
    """``{node or name: (mean, scale)}`` checked, each number in the shape of one row.

    ``rows`` holds the nodes that may be scaled (the inputs and the prediction) and the shape of a
    row of each, None where it is not known because nothing that is exported needs it.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise SettingError(
            f"scaling: expected a dict {{node: (mean, scale)}}, got {type(given).__name__}"
        )
    by_name = {labels[node]: node for node in rows}
    found: Scaling = {}
    for key, pair in given.items():
        node: Any = by_name.get(key) if isinstance(key, str) else key
        if node not in rows:
            name = labels.get(node, node) if isinstance(node, Node) else key
            raise GraphError("scaling: " + unknown("input or prediction", name, by_name))
        if node in found:
            raise SettingError(f"scaling: {node} is given twice, by node and by name")
        if not isinstance(pair, Iterable) or len(pair := tuple(pair)) != 2:
            raise SettingError(f"scaling: {node} needs a pair (mean, scale), got {pair!r}")
        mean, scale = (
            _row(f"scaling: the {what} of {node}", value, rows[node])
            for what, value in zip(("mean", "scale"), pair, strict=True)
        )
        if (scale == 0).any():
            at = tuple(map(int, np.argwhere(scale == 0)[0]))
            raise SettingError(
                f"scaling: the scale of {node} is 0 at {at}; give a constant column the scale 1"
            )
        found[node] = (mean, scale)
    return found


def _row(what: str, value: Any, row: tuple[int, ...] | None) -> np.ndarray:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise DataError(f"{what}: expected numbers ({error})") from None
    if not np.isfinite(array).all():
        raise DataError(f"{what} has NaN or infinite elements")
    try:
        return array if row is None else np.broadcast_to(array, row)
    except ValueError:
        raise ShapeError(
            f"{what} has shape {array.shape}, one row has {row}; "
            "give one number, or one for each"
        ) from None


def checked(what: Any, value: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """``value`` in ``dtype``, contiguous; a `DataError` where it does not fit or is not finite."""
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(value, dtype).reshape(np.shape(value))
    if not np.isfinite(array).all():
        at = np.asarray(value)[~np.isfinite(array)].flat[0]
        raise DataError(f"{what}: {at} cannot be exported as {dtype}")
    return array


def targets(inputs: Iterable[Input], used: Iterable[Input]) -> list[Input]:
    """The inputs of a loss that its prediction does not read."""
    used = set(used)
    return [node for node in inputs if node not in used]
