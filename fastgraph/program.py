"""A program: sorted nodes with their shapes, and what of them needs a gradient.

It is what both engines take. The NumPy engine runs the nodes of it as they stand; the native
engine lowers it further to steps (``engines/lowering.py``). Nothing here runs anything, except a
custom node's ``forward`` where its shape cannot be known otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from .errors import DataError, GraphError, ShapeError
from .feeds import shape_of_feed
from .node import Constant, Domain, Input, Node, Parameter, Shape

__all__ = ["Program", "infer_shapes", "numbers", "read_only"]


def read_only(array: np.ndarray) -> np.ndarray:
    """A view of ``array`` that a user's code can read and cannot change."""
    view = array.view()
    view.flags.writeable = False
    return view


def numbers(node: Node, method: str, value: object, dtype: np.dtype) -> np.ndarray:
    """What a user's ``method`` returned as an array of ``dtype``, or a `GraphError`."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise GraphError(f"{node}: {method} must return arrays of numbers ({error})") from None
    if array.dtype.kind not in "fiub":
        raise GraphError(f"{node}: {method} must return numbers, got dtype {array.dtype}")
    return np.asarray(array, dtype)


def infer_shapes(
    nodes: Iterable[Node], fed: Mapping[Input, Shape] | None = None
) -> dict[Node, Shape | None]:
    """The shape of every one of ``nodes`` (sorted); None where it cannot be known yet.

    ``fed`` holds the shapes of the inputs that are bound; the others count with the sample shape
    they declare. Raises the `ShapeError` of the first node whose inputs do not fit.
    """
    fed = fed or {}
    shapes: dict[Node, Shape | None] = {}
    for node in nodes:
        if isinstance(node, Input):
            declared = None if node.sample_shape is None else Shape("n", node.sample_shape)
            shapes[node] = fed.get(node, declared)
        elif isinstance(node, Parameter):
            shapes[node] = Shape(None, node.value.shape)
        elif isinstance(node, Constant):
            shapes[node] = Shape(None, node.constant.shape)
        else:
            given = [shapes[item] for item in node.inputs]
            shapes[node] = None if None in given else node.shape(*given)
    return shapes


@dataclass(eq=False, repr=False)
class Program:
    """Sorted nodes with everything an engine must know to run them.

    Attributes:
        nodes: every node the outputs need, each after its inputs.
        outputs: what is asked for.
        shapes: by node; with the number of rows that were bound when it was made.
        dtype: of all values and gradients.
        trained: the nodes that depend on a trained parameter, so that training needs their
            gradient.
        differentiable: the nodes a step-by-step backward pass gives a gradient: all but constants
            and labels.
        parameters: the trained ones.
        domains: what may be fed: (reader, position, `Domain`).
    """

    nodes: tuple[Node, ...]
    outputs: tuple[Node, ...]
    shapes: dict[Node, Shape]
    dtype: np.dtype
    trained: frozenset[Node]
    differentiable: frozenset[Node]
    inputs: tuple[Input, ...]
    parameters: tuple[Parameter, ...]
    domains: tuple[tuple[Node, int, Domain], ...]

    @staticmethod
    def build(
        nodes: Iterable[Node],
        outputs: Iterable[Node],
        dtype: np.dtype,
        arrays: Mapping[Input, np.ndarray],
    ) -> Program:
        """The program for ``outputs`` on data of the shapes of ``arrays``.

        ``nodes`` is sorted and has at least what the outputs need.
        """
        outputs = tuple(outputs)
        needed = _needed(nodes, outputs)
        shapes = infer_shapes(needed, {node: shape_of_feed(a) for node, a in arrays.items()})
        if None in shapes.values():
            _probe(needed, shapes, dtype, arrays)
        trained: set[Node] = set()
        for node in needed:
            if _is_trained(node) or any(item in trained for item in node.inputs):
                trained.add(node)
        domains = tuple(
            (node, position, domain)
            for node in needed
            for position, domain in node.domains(*(shapes[item] for item in node.inputs)).items()
            if isinstance(node.inputs[position], (Input, Constant))
        )
        labels = {node.inputs[position] for node, position, domain in domains if domain.whole}
        for node, position, domain in domains:
            if isinstance(node.inputs[position], Constant):
                _check_domain(node, position, domain, node.inputs[position].constant)
        return Program(
            nodes=tuple(needed),
            outputs=outputs,
            shapes=shapes,
            dtype=dtype,
            trained=frozenset(trained),
            differentiable=frozenset(
                n for n in needed if not isinstance(n, Constant) and n not in labels
            ),
            inputs=tuple(n for n in needed if isinstance(n, Input)),
            parameters=tuple(n for n in needed if _is_trained(n)),
            domains=domains,
        )

    def check(self, arrays: Mapping[Input, np.ndarray]) -> None:
        """Raise a `DataError` where what is fed is not what its readers accept."""
        for node, position, domain in self.domains:
            if domain.whole and domain.high >= _WHOLE[self.dtype.name]:
                raise DataError(
                    f"{node}: {self.dtype} tells whole numbers apart up to "
                    f"{_WHOLE[self.dtype.name]:,}, and {domain.what} go up to {domain.high:,}; "
                    "use dtype='float64'"
                )
            item = node.inputs[position]
            if isinstance(item, Input):
                _check_domain(node, position, domain, arrays[item])


#: Up to here floats hold whole numbers exactly.
_WHOLE = {"float32": 2**24, "float64": 2**53}


def _is_trained(node: Node) -> bool:
    return isinstance(node, Parameter) and node.trained


def _check_domain(node: Node, position: int, domain: Domain, array: np.ndarray) -> None:
    wrong = (array < domain.low) | (array > domain.high)
    if domain.whole:
        wrong |= array != np.floor(array)
    if not wrong.any():
        return
    at = np.unravel_index(int(np.argmax(wrong)), array.shape)
    place = f" at {tuple(map(int, at))}" if at else ""
    kind = "whole numbers" if domain.whole else "numbers"
    span = "or more" if domain.high == math.inf else f"to {domain.high:g}"
    raise DataError(
        f"{node.inputs[position]}: {domain.what} of {node} are {kind}, {domain.low:g} {span}; got "
        f"{array[at]:g}{place}"
    )


def _needed(nodes: Iterable[Node], outputs: tuple[Node, ...]) -> list[Node]:
    nodes = list(nodes)
    wanted = set(outputs)
    for node in reversed(nodes):
        if node in wanted:
            wanted.update(node.inputs)
    if len(wanted) == len(nodes):
        return nodes
    return [node for node in nodes if node in wanted]


def _probe(
    nodes: list[Node],
    shapes: dict[Node, Shape | None],
    dtype: np.dtype,
    arrays: Mapping[Input, np.ndarray],
) -> None:
    """Find the shapes that only running tells: custom nodes run once, on the first two rows."""
    rows = next((array.shape[0] for array in arrays.values() if array.ndim), None)
    few = None if rows is None else min(rows, 2)
    values: dict[Node, np.ndarray] = {}
    for node in nodes:
        if isinstance(node, Input):
            values[node] = arrays[node][:few] if arrays[node].ndim else arrays[node]
        elif isinstance(node, Parameter):
            values[node] = np.asarray(node.value, dtype)
        elif isinstance(node, Constant):
            values[node] = np.asarray(node.constant, dtype)
        else:
            given = [shapes[item] for item in node.inputs]
            shape = node.shape(*given)
            with np.errstate(all="ignore"):
                value = node.forward(*(read_only(values[item]) for item in node.inputs))
                value = values[node] = numbers(node, "forward", value, dtype)
            if shape is None:
                batched = any(item.batched for item in given)
                shape = _shape_of_probe(node, value, few if batched else None, rows)
            shapes[node] = shape


def _shape_of_probe(node: Node, value: np.ndarray, few: int | None, rows: int | None) -> Shape:
    if few is None or value.ndim == 0:
        return Shape(None, value.shape)
    if value.shape[0] == few:
        return Shape(rows, value.shape[1:])
    raise ShapeError(
        f"{node}: forward on {few} rows returned shape {value.shape}; expected {few} rows first, "
        "or a scalar"
    )
