"""What users feed becomes the arrays an engine takes: checked, converted once, all rows equal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .errors import DataError, ShapeError, unknown
from .node import Input, Node, Shape, check_numeric

__all__ = ["bind", "shape_of_feed"]

_CHUNK = 1 << 20  # elements looked at together, so that a mapped file is never read in whole


def bind(
    inputs: Iterable[Input], feeds: Mapping[Any, Any], dtype: np.dtype, known: Iterable[Input] = ()
) -> dict[Input, np.ndarray]:
    """One C-contiguous, aligned array of ``dtype`` for each of ``inputs``.

    An array that is already so is taken as it is, without a copy. ``known`` are further inputs of
    the graph, which may be fed and are left out here.

    Raises:
        DataError: a feed is missing, unknown, not numeric, not finite, empty, or has another
            number of rows than the others.
        ShapeError: a feed does not have the shape its input declares.
    """
    inputs = list(inputs)
    if not isinstance(feeds, Mapping):
        raise DataError(f"feeds: expected a dict {{input: array}}, got {type(feeds).__name__}")
    fed = _resolve(inputs, list(known), feeds)
    missing = [node for node in inputs if node not in fed]
    if missing:
        names = ", ".join(_title(node) for node in missing)
        raise DataError(f"{names}: not fed; add it to the feeds, as {{x: X, y: Y}}")
    arrays = {node: _array(node, fed[node], dtype) for node in inputs}
    rows = {node: array.shape[0] for node, array in arrays.items() if array.ndim}
    if len(set(rows.values())) > 1:
        raise DataError(
            "the feeds have different numbers of rows: "
            + ", ".join(f"{_title(node)} has {count}" for node, count in rows.items())
        )
    return arrays


def shape_of_feed(array: np.ndarray) -> Shape:
    """The `Shape` of a bound array: rows first; a single number has none."""
    return Shape(array.shape[0], array.shape[1:]) if array.ndim else Shape(None, ())


def _title(node: Node) -> str:
    return str(node)


def _resolve(inputs: list, known: list, feeds: Mapping) -> dict:
    every = [*inputs, *(node for node in known if node not in inputs)]
    by_name = {node.name: node for node in every if node.name}
    fed: dict[Node, Any] = {}
    for key, value in feeds.items():
        node = by_name.get(key) if isinstance(key, str) else key
        if node is None:
            raise DataError("feeds: " + unknown("input", key, by_name))
        if not isinstance(node, Node):
            raise DataError(
                f"feeds: a key is an Input or its name, got {type(key).__name__} ({key!r})"
            )
        if node not in every:
            hint = ", ".join(_title(item) for item in every) or "none"
            what = "is not used by this graph" if isinstance(node, Input) else "is not an Input"
            raise DataError(f"feeds: {node} {what}; take it out (inputs: {hint})")
        if node in fed:
            raise DataError(f"feeds: {node} is fed twice, by node and by name")
        fed[node] = value
    return fed


def _array(node: Input, value: Any, dtype: np.dtype) -> np.ndarray:
    if isinstance(value, Node):
        raise DataError(f"{node}: fed with a node ({value}); feed an array of numbers")
    if np.ma.is_masked(value):  # NumPy would drop the mask in silence
        raise DataError(
            f"{node}: the data has masked elements; drop or fill such rows before feeding"
        )
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{node}: expected an array of numbers, got rows that differ ({error})"
        ) from None
    check_numeric(str(node), array)
    if array.ndim and array.shape[0] == 0:
        raise DataError(f"{node}: an empty batch, shape {array.shape}; feed at least one row")
    if array.size == 0:
        raise DataError(f"{node}: rows without elements, shape {array.shape}")
    want = node.sample_shape
    if want is not None and array.shape[1:] != want and not (array.ndim == 0 and want == ()):
        hint = "; a single sample needs a batch axis, as x[None]" if array.shape == want else ""
        raise ShapeError(f"{node}: expected shape {Shape('n', want)}, got {array.shape}{hint}")
    with np.errstate(over="ignore"):
        bound = np.require(array, dtype, ["C", "A"])
    if not bound.dtype.isnative:
        bound = bound.astype(dtype)
    _check_finite(node, array, bound)
    return bound


def _check_finite(node: Input, array: np.ndarray, bound: np.ndarray) -> None:
    flat = bound.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        finite = np.isfinite(flat[start : start + _CHUNK])
        if finite.all():
            continue
        at = np.unravel_index(start + int(np.argmin(finite)), bound.shape) if bound.ndim else ()
        place = f" at {tuple(map(int, at))}" if at else ""
        if array.dtype.kind == "f" and not np.isfinite(array[at]):
            raise DataError(
                f"{node}: the data has {array[at]}{place}; drop or fill such rows before feeding"
            )
        raise DataError(
            f"{node}: {array[at]}{place} is too large for {bound.dtype}; scale the data"
        )
