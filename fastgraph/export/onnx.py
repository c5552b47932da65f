"""A graph as an ONNX file: one row per operation, by the name of its kernel.

A row puts ONNX operators together through `_Writer`. The operators are those of opset 18, which
broadcast as NumPy does; the batch axis is the symbolic dimension ``n``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
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

    def number(self, array: Any, name: str | None = None) -> str:
        """Store an array of the file's dtype and return its name."""
        name = self._unused("constant") if name is None else name
        array = np.ascontiguousarray(array, self.dtype).reshape(np.shape(array))
        self.stored.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def whole(self, numbers: Iterable[int]) -> str:
        """Store whole numbers, as operators take axes and sizes, and return their name."""
        name = self._unused("constant")
        self.stored.append(self.onnx.numpy_helper.from_array(np.array([*numbers], np.int64), name))
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
        axes = writer.whole(node.reduced_axes(shapes[0]))
        return writer(operator, *names, axes, keepdims=keep)

    return row


def _composed(compute: Callable[..., str]) -> _Row:
    """Of operators: ``compute(writer, *names, *settings)``, the settings stored as constants."""

    def row(writer: _Writer, node: Node, names: list[str], shapes: list[Shape]) -> str:
        return compute(writer, *names, *map(writer.number, node.numbers))

    return row


def _loss(losses: Callable[..., str]) -> _Row:
    """The mean of ``losses(writer, y_true, y_pred, *settings)``, weighted where weights are."""

    def row(writer: _Writer, node: Node, names: list[str], shapes: list[Shape]) -> str:
        found = losses(writer, *names[:2], *map(writer.number, node.numbers))
        rank = max(len(shape.axes) for shape in shapes[:2])
        return _mean(writer, found, rank, names[2:], shapes[2:])

    return row


def _mean(
    writer: _Writer, losses: str, rank: int, weight: list[str], shapes: list[Shape]
) -> str:
    """Over everything; a weight of a row counts for all its elements."""
    if not weight:
        return writer("ReduceMean", losses, keepdims=0) if rank else losses
    added = range(len(shapes[0].axes), rank)
    weights = writer("Unsqueeze", *weight, writer.whole(added)) if added else weight[0]
    weights = writer("Expand", weights, writer("Shape", losses))
    total = writer("ReduceSum", weights, keepdims=0)
    mean = writer("Div", writer("ReduceSum", writer("Mul", weights, losses), keepdims=0), total)
    zero = writer.number(0.0)
    return writer("Where", writer("Greater", total, zero), mean, zero)


def _cross_entropy(writer: _Writer, node: Node, names: list[str], shapes: list[Shape]) -> str:
    truth, logits = shapes[:2]
    log_p = writer("LogSoftmax", names[1])
    last = writer.whole([-1])
    if truth.features == logits.features:
        picked = writer("ReduceSum", writer("Mul", names[0], log_p), last, keepdims=0)
    else:
        labels = writer("Unsqueeze", _whole(writer, names[0]), last)
        picked = writer("Squeeze", writer("GatherElements", log_p, labels, axis=-1), last)
    losses = writer("Neg", picked)
    return _mean(writer, losses, len(logits.axes) - 1, names[2:], shapes[2:])


def _whole(writer: _Writer, name: str) -> str:
    """Labels, which come as the graph's dtype, as the whole numbers they are."""
    return writer("Cast", name, to=writer.onnx.TensorProto.INT64)


def _where_above(writer: _Writer, x: str, below: str) -> str:
    """``x`` above 0, else ``below``; operators with a slope of their own keep it as float32."""
    return writer("Where", writer("Greater", x, writer.number(0)), x, below)


def _gelu(writer: _Writer, x: str) -> str:
    share = writer("Erf", writer("Mul", x, writer.number(math.sqrt(0.5))))
    below = writer("Mul", writer("Add", share, writer.number(1)), writer.number(0.5))
    return writer("Mul", x, below)


def _huber(writer: _Writer, y_true: str, y_pred: str, delta: str) -> str:
    size = writer("Abs", writer("Sub", y_true, y_pred))
    small = writer("Min", size, delta)
    return writer("Mul", small, writer("Sub", size, writer("Mul", small, writer.number(0.5))))


def _quantile(writer: _Writer, y_true: str, y_pred: str, quantile: str) -> str:
    d = writer("Sub", y_true, y_pred)
    above = writer("Mul", d, quantile)
    return writer("Max", above, writer("Sub", above, d))


def _batch_norm(writer: _Writer, x: str, gamma: str, beta: str, *rest: str) -> str:
    """ONNX's own takes the features for the second axis; here they are the last."""
    mean, variance, epsilon, _ = rest
    deviation = writer("Sqrt", writer("Add", variance, epsilon))
    normal = writer("Div", writer("Sub", x, mean), deviation)
    return writer("Add", writer("Mul", normal, gamma), beta)


def _reshape(writer: _Writer, node: Node, names: list[str], shapes: list[Shape]) -> str:
    features = node.shape(*shapes).features  # type: ignore[union-attr]
    return writer("Reshape", *names, writer.whole([-1, *features]))


def _slice(writer: _Writer, node: Any, names: list[str], shapes: list[Shape]) -> str:
    axis = node.axis % len(shapes[0].axes)
    start, stop, step = slice(node.start, node.stop, node.step).indices(shapes[0].axes[axis])
    if stop < 0:  # to the first element and with it; a negative stop would count from the end
        stop = np.iinfo(np.int64).min
    return writer("Slice", *names, *(writer.whole([n]) for n in (start, stop, axis, step)))


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
    "leaky_relu": _composed(
        lambda writer, x, slope: _where_above(writer, x, writer("Mul", x, slope))
    ),
    "elu": _composed(
        lambda writer, x, alpha: _where_above(writer, x, writer("Mul", writer("Elu", x), alpha))
    ),
    "gelu": _composed(_gelu),
    "silu": _composed(lambda writer, x: writer("Mul", x, writer("Sigmoid", x))),
    "softplus": _same("Softplus"),
    "sin": _same("Sin"),
    "cos": _same("Cos"),
    "clip": _composed(lambda writer, x, low, high: writer("Clip", x, low, high)),
    "maximum": _same("Max"),
    "minimum": _same("Min"),
    "softmax": _same("Softmax"),
    "log_softmax": _same("LogSoftmax"),
    "layer_norm": lambda writer, node, names, shapes: writer(
        "LayerNormalization", *names, axis=-1, epsilon=node.numbers[0]
    ),
    "batch_norm": _composed(_batch_norm),
    "dropout": _same("Identity"),
    "reshape": _reshape,
    "concatenate": lambda writer, node, names, shapes: writer(
        "Concat", *names, axis=node.axis  # type: ignore[attr-defined]
    ),
    "slice": _slice,
    "embedding": lambda writer, node, names, shapes: writer(
        "Gather", names[1], _whole(writer, names[0])
    ),
    "mse": _loss(lambda writer, y, p: writer("Pow", writer("Sub", y, p), writer.number(2))),
    "mae": _loss(lambda writer, y, p: writer("Abs", writer("Sub", y, p))),
    "huber": _loss(_huber),
    "quantile": _loss(_quantile),
    "poisson": _loss(
        lambda writer, y, p: writer("Sub", writer("Exp", p), writer("Mul", y, p))
    ),
    "binary_cross_entropy": _loss(
        lambda writer, y, p: writer("Sub", writer("Softplus", p), writer("Mul", y, p))
    ),
    "softmax_cross_entropy": _cross_entropy,
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
) -> str:
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
    with open(target, "wb") as file:
        file.write(model.SerializeToString())
    return target


def _tensor(onnx: Any, name: str, shape: Shape, dtype: np.dtype) -> Any:
    kind = onnx.helper.np_dtype_to_tensor_dtype(dtype)
    axes = ["n", *shape.features] if shape.batched else list(shape.features)
    return onnx.helper.make_tensor_value_info(name, kind, axes)


def _path(path: Any) -> str:
    try:
        target = os.fsdecode(path)
    except TypeError:
        raise SettingError(f"export_onnx: expected a path, got {type(path).__name__}") from None
    if not target.endswith(".onnx"):
        name = os.path.basename(target)
        raise SettingError(f"export_onnx: {name!r} must end in .onnx, as 'model.onnx'")
    return target
