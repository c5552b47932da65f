"""A graph as an ONNX file: one row per operation, by the name of its kernel.

A row puts ONNX operators together through `_Writer`. The operators are those of opset 18, which
broadcast as NumPy does; the batch axis is the symbolic dimension ``n``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import GraphError, SettingError, require
from ..node import Constant, Input, Node, Parameter, Shape
from ..program import Program
from .scaling import Scaling, checked

__all__ = ["write_onnx"]

_OPSET = 18
#: The oldest file format that has this opset, so that old runtimes read it.
_FORMAT = 8


class _Writer:
    """The ONNX graph while it is made; ``writer(operator, *names)`` adds a node to it."""

    def __init__(self, onnx: Any, dtype: np.dtype, taken: set[str]):
        self.onnx, self.dtype = onnx, dtype
        self.nodes: list[Any] = []
        self.stored: list[Any] = []
        self._taken = taken

    def __call__(self, operator: str, *names: str, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        out = self._unused(operator)
        self.nodes.append(self.onnx.helper.make_node(operator, names, [out], **attributes))
        return out

    def number(self, array: Any, name: str | None = None, dtype: Any = None) -> str:
        """Store an array and return its name."""
        name = self._unused("constant") if name is None else name
        array = np.ascontiguousarray(array, dtype or self.dtype).reshape(np.shape(array))
        self.stored.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def rename(self, out: str, name: str) -> None:
        """Call the output of the last node, which nothing reads yet, ``name``."""
        assert self.nodes[-1].output[0] == out
        self.nodes[-1].output[0] = name

    def _unused(self, base: str) -> str:
        name, count = base, 1
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name


#: What a row is given: the writer, the node, the names of its inputs and their shapes.
_Row = Callable[[_Writer, Node, list[str], list[Shape]], str]


def _same(operator: str) -> _Row:
    """The operator of ONNX that means the same."""
    return lambda writer, node, names, shapes: writer(operator, *names)


def _reduce(operator: str) -> _Row:
    def row(writer: _Writer, node: Any, names: list[str], shapes: list[Shape]) -> str:
        keep = int(node.keepdims)
        if not shapes[0].axes:
            return writer("Identity", *names)
        if node.axis is None:
            return writer(operator, *names, keepdims=keep)
        axes = writer.number(node.reduced_axes(shapes[0]), dtype=np.int64)
        return writer(operator, *names, axes, keepdims=keep)

    return row


def _loss(distance: Callable[[_Writer, str], str]) -> _Row:
    """The mean of a distance over everything."""

    def row(writer: _Writer, node: Node, names: list[str], shapes: list[Shape]) -> str:
        far = distance(writer, writer("Sub", *names))
        if not any(shape.axes for shape in shapes):
            return far
        return writer("ReduceMean", far, keepdims=0)

    return row


def _linear(writer: _Writer, node: Node, names: list[str], shapes: list[Shape]) -> str:
    product = writer("MatMul" if shapes[1].axes else "Mul", *names[:2])
    return writer("Add", product, names[2]) if len(names) > 2 else product


OPERATIONS: dict[str, _Row] = {
    "add": _same("Add"),
    "subtract": _same("Sub"),
    "multiply": _same("Mul"),
    "divide": _same("Div"),
    "power": _same("Pow"),
    "negate": _same("Neg"),
    "exp": _same("Exp"),
    "log": _same("Log"),
    "sqrt": _same("Sqrt"),
    "abs": _same("Abs"),
    "sigmoid": _same("Sigmoid"),
    "tanh": _same("Tanh"),
    "relu": _same("Relu"),
    "sum": _reduce("ReduceSum"),
    "mean": _reduce("ReduceMean"),
    "mse": _loss(lambda writer, difference: writer("Mul", difference, difference)),
    "mae": _loss(lambda writer, difference: writer("Abs", difference)),
    "matmul": _same("MatMul"),
    "linear": _linear,
}


def write_onnx(
    path: Any,
    prediction: Program,
    *,
    titles: Mapping[Node, str],
    dtype: np.dtype,
    scaling: Scaling,
) -> Path:
    """Write ``prediction``; see ``Graph.export_onnx``."""
    onnx = require("onnx", "onnx")
    require("onnx.helper", "onnx")
    target = _path(path)
    writer = _Writer(onnx, dtype, {titles[node] for node in prediction.nodes})
    names: dict[Node, str] = {}
    inputs = []
    for node in prediction.nodes:
        title, shape = titles[node], prediction.shapes[node]
        if isinstance(node, Input):
            inputs.append(_tensor(onnx, title, shape, dtype))
            names[node] = title
            if node in scaling:
                mean, scale = map(writer.number, scaling[node])
                names[node] = writer("Div", writer("Sub", title, mean), scale)
        elif isinstance(node, Parameter):
            names[node] = writer.number(checked(node, node.value, dtype), title)
        elif isinstance(node, Constant):
            names[node] = writer.number(checked(node, node.constant, dtype), title)
        else:
            row = OPERATIONS.get(node.kernel or "")
            if row is None:
                raise GraphError(
                    f"{node}: export_onnx has no operator for {node.kind}; it knows the kernels "
                    + ", ".join(OPERATIONS)
                )
            shapes = [prediction.shapes[item] for item in node.inputs]
            out = row(writer, node, [names[item] for item in node.inputs], shapes)
            if node in prediction.outputs and node in scaling:
                mean, scale = map(writer.number, scaling[node])
                out = writer("Add", writer("Mul", out, scale), mean)
            writer.rename(out, title)
            names[node] = title
    (output,) = prediction.outputs
    graph = onnx.helper.make_graph(
        writer.nodes,
        titles[output],
        inputs,
        [_tensor(onnx, titles[output], prediction.shapes[output], dtype)],
        writer.stored,
    )
    model = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid("", _OPSET)],
        ir_version=_FORMAT,
        producer_name="fastgraph",
    )
    onnx.checker.check_model(model, full_check=True)
    target.write_bytes(model.SerializeToString())
    return target


def _tensor(onnx: Any, name: str, shape: Shape, dtype: np.dtype) -> Any:
    kind = onnx.helper.np_dtype_to_tensor_dtype(dtype)
    axes = ["n", *shape.features] if shape.batched else list(shape.features)
    return onnx.helper.make_tensor_value_info(name, kind, axes)


def _path(path: Any) -> Path:
    try:
        target = Path(os.fspath(path))
    except TypeError:
        raise SettingError(f"export_onnx: expected a path, got {type(path).__name__}") from None
    if target.suffix != ".onnx":
        raise SettingError(f"export_onnx: {target.name!r} must end in .onnx, as 'model.onnx'")
    return target
