"""The backprop microscope: recorded training steps of a graph as one HTML file to click through.

Here the numbers are recorded and laid out; the page that shows them is `microscope_page.py`. What
is shown was computed by the engine in use. Where a graph is small and made of operations the page
knows, it also gets the whole data, so that an edited number can be run forward and back there.
"""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import ops
from .errors import DivergenceError, GraphError, SettingError, ShapeError
from .feeds import bind
from .microscope_page import PAGE, escape
from .node import Constant, Input, Node, Parameter
from .optimizers import SGD, Optimizer
from .program import Program

__all__ = ["microscope"]

_MOST_NODES = 60
_MOST_ELEMENTS = 256  # of one array in the file; longer ones are cut, their norm is of the whole
_MOST_LIVE = 20_000  # numbers of data the page computes with itself
#: What the page can run itself; the names are those of the functions in the page.
_LIVE = (
    ops.Abs, ops.Add, ops.Divide, ops.Exp, ops.Linear, ops.Log, ops.MAE, ops.MSE, ops.Mean,
    ops.Multiply, ops.Negate, ops.ReLU, ops.Sigmoid, ops.Sqrt, ops.Subtract, ops.Sum, ops.Tanh,
)  # fmt: skip


def microscope(
    graph: Any,
    feeds: Mapping[Any, Any],
    *,
    steps: int = 20,
    optimizer: Optimizer | None = None,
    rows: int = 5,
    path: str | os.PathLike = "microscope.html",
    title: str | None = None,
) -> str:
    """Train a graph for some full-batch steps and write them as one HTML file to look into.

    The page needs no network and no server. It goes through the training steps and, within each,
    node by node forward and back; a node that is clicked shows its value, its gradient, and the
    local derivative on each of its edges as the product of the chain rule, for a row that can be
    chosen. Where the graph is small and of the operations of the first lessons, parameters and
    inputs can be edited there. The graph is left as it was: with the parameters it had, run
    forward and back.

    Parameters:
        graph: a `Graph` of at most 60 nodes with one output, a scalar.
        feeds: as in ``graph.fit``.
        steps: training steps to record, 0 or more; the start is recorded too. Recording ends early
            where training leaves the finite numbers, and the page says so.
        optimizer: settings to train with; its state is not touched. By default SGD(0.01).
        rows: of the batch to show, the first ones, 1 or more.
        path: the file to write.
        title: of the page.

    Returns:
        The path of the file.

    Raises:
        SettingError, DataError, ShapeError, GraphError: before anything is trained.

    Example:
        >>> import fastgraph as fg
        >>> x, y = fg.Input("x"), fg.Input("y")
        >>> k, b = fg.Parameter(0.0, "k"), fg.Parameter(0.0, "b")
        >>> graph = fg.Graph(fg.MSE(y, k * x + b))
        >>> page = microscope(graph, {x: [0, 1], y: [1, 3]}, steps=3)  # doctest: +SKIP
    """
    if len(graph.nodes) > _MOST_NODES:
        raise SettingError(
            f"microscope: {len(graph.nodes)} nodes cannot be read on one page (at most "
            f"{_MOST_NODES}); build a Graph of a part of it"
        )
    for name, value, least in (("steps", steps, 0), ("rows", rows, 1)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise SettingError(
                f"microscope: {name} must be a whole number, {least} or more, got {value!r}"
            )
    if len(graph.outputs) != 1:
        raise GraphError(f"microscope: the graph must have one output, it has {len(graph.outputs)}")
    optimizer = SGD(0.01) if optimizer is None else copy.copy(optimizer)
    arrays = bind(graph.inputs, feeds, graph.dtype)
    program = Program.build(graph.nodes, graph.outputs, graph.dtype, arrays)
    if program.shapes[graph.outputs[0]].axes != ():
        raise ShapeError(
            f"microscope: the output must be a scalar, {graph.outputs[0]} has shape "
            f"{program.shapes[graph.outputs[0]]}; end the graph in a loss, or in Mean or Sum"
        )
    recorder = _Recorder(graph, program, arrays, rows)
    frames, stopped = _record(graph, feeds, steps, optimizer, recorder)
    name = title or f"{graph.label(graph.outputs[0])}: {len(frames) - 1} training steps"
    data = {**recorder.head(), "title": name, "stopped": stopped, "steps": frames}
    with open(path, "w", encoding="utf-8") as file:
        file.write(_page(name, data))
    return os.fspath(path)


def _record(graph, feeds, steps, optimizer, recorder) -> tuple[list[dict], str | None]:
    """The frames of the start and of every step, and why there are no more, if so."""
    before = [(one, one.value.copy()) for one in graph.parameters.values()]
    frames, stopped = [], None
    try:
        for step in range(steps + 1):
            if step:
                graph.fit(feeds, optimizer=optimizer, epochs=1)
            graph.forward(feeds)
            graph.backward()
            frames.append(recorder.frame())
    except DivergenceError as error:
        stopped = str(error)
    finally:
        for parameter, value in before:
            parameter.value = value
    graph.forward(feeds)
    graph.backward()
    return frames, stopped


def _page(title: str, data: dict) -> str:
    """The file: a "<" of the data must not end the script element it stands in."""
    text = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    head, tail = PAGE.split("%DATA%")
    return head.replace("%TITLE%", escape(title)) + text + tail


class _Recorder:
    """Turns what is in the nodes after a forward and a backward pass into plain lists."""

    def __init__(self, graph: Any, program: Program, arrays: dict, rows: int):
        self.graph, self.nodes, self.arrays = graph, graph.nodes, arrays
        self.index = {node: i for i, node in enumerate(self.nodes)}
        self.shapes = program.shapes
        self.rows = next((len(array) for array in arrays.values() if array.ndim), 1)
        self.shown = min(rows, self.rows)
        # One edge for each pair of nodes: x * x hands x one gradient, not two.
        self.edges = [
            (self.index[source], self.index[node])
            for node in self.nodes
            for source in dict.fromkeys(node.inputs)
        ]

    def head(self) -> dict:
        """What is the same in all steps."""
        places = _layout(len(self.nodes), self.edges)
        strange = sorted({node.kind for node in self.nodes if not _is_live(node)})
        numbers = sum(array.size for array in self.arrays.values())
        why = None
        if strange:
            why = f"numbers cannot be edited: the page does not know {', '.join(strange)}"
        elif numbers > _MOST_LIVE:
            why = f"numbers cannot be edited: {numbers:,} numbers of data are too many for the page"
        live = None
        if why is None:
            live = {self.index[node]: _whole(array) for node, array in self.arrays.items()}
            for node in self.nodes:
                if isinstance(node, Constant):
                    live[self.index[node]] = _whole(node.constant)
        return {
            "rows": self.rows,
            "shown": self.shown,
            "live": live,
            "why": why,
            "edges": self.edges,
            "nodes": [
                {
                    "label": self.graph.label(node),
                    "kind": node.kind,
                    "role": self._role(node),
                    "about": _about(node),
                    "inputs": [self.index[item] for item in node.inputs],
                    "batched": self.shapes[node].batched,
                    "shape": str(self.shapes[node]),
                    "place": place,
                }
                for node, place in zip(self.nodes, places, strict=True)
            ],
        }

    def frame(self) -> dict:
        """The numbers of one step."""
        locals_ = [self._local(*edge) for edge in self.edges]
        return {
            "values": [self._cut(node, node.value) for node in self.nodes],
            "gradients": [self._cut(node, node.gradient) for node in self.nodes],
            "parts": [
                self._cut(self.nodes[i], self.nodes[j].gradients.get(self.nodes[i]))
                for i, j in self.edges
            ],
            "locals": locals_,
        }

    def _role(self, node: Node) -> str:
        for kind, role in ((Input, "input"), (Parameter, "parameter"), (Constant, "constant")):
            if isinstance(node, kind):
                return role
        return "output" if node in self.graph.outputs else "operation"

    def _cut(self, node: Node, array: Any) -> dict | None:
        """The shown rows of an array, at most so many elements, and the norm of all of it."""
        if array is None:
            return None
        array = np.asarray(array, dtype=np.float64)
        shown = array[: self.shown] if self.shapes[node].batched else array
        with np.errstate(over="ignore"):  # just before training diverges
            norm = np.linalg.norm(array.reshape(-1))
        return {
            "s": list(array.shape),
            "d": [_number(value) for value in shown.reshape(-1)[:_MOST_ELEMENTS]],
            "n": _number(norm),
        }

    def _local(self, i: int, j: int) -> list | None:
        """∂node/∂source in each shown row, where both have one number a row; else None."""
        source, node = self.nodes[i], self.nodes[j]
        one_each = all(math.prod(self.shapes[item].features) == 1 for item in (source, node))
        if not one_each or node.gradients.get(source) is None:
            return None
        values = [item.value for item in node.inputs]
        found = []
        for row in range(self.shown):
            # Only this row's output counts, so what comes back is this row's derivative.
            seed = np.zeros(node.value.shape, node.value.dtype)
            seed.reshape(-1)[row if self.shapes[node].batched else 0] = 1
            with np.errstate(all="ignore"):
                parts = node.backward(seed, *values)
            found.append(
                sum(
                    float(np.reshape(part, -1)[row if self.shapes[source].batched else 0])
                    for part, item in zip(parts, node.inputs, strict=True)
                    if item is source and part is not None
                )
            )
        return [_number(value) for value in found]


def _is_live(node: Node) -> bool:
    if isinstance(node, (Input, Parameter, Constant)):
        return True
    plain = getattr(node, "axis", None) is None and not getattr(node, "keepdims", False)
    return type(node) in _LIVE and plain


def _about(node: Node) -> str:
    """The first sentences of the operation's docstring."""
    first = (type(node).__doc__ or "").strip().split("\n\n")[0]
    return " ".join(first.split()).replace("``", "")


def _whole(array: Any) -> dict:
    return {"s": list(np.shape(array)), "d": np.asarray(array, np.float64).reshape(-1).tolist()}


def _number(value: Any) -> float | str:
    """A number JSON can hold: what is not finite becomes the word for it."""
    value = float(value)
    return value if math.isfinite(value) else str(value)


def _layout(n: int, edges: list[tuple[int, int]]) -> list[tuple[int, float]]:
    """(layer, height) of each node; nodes are numbered in topological order.

    A layer is the longest way from a source; a source stands right before what it feeds first.
    Within a layer nodes are ordered by the mean of their neighbours (Sugiyama et al., 1981).
    """
    layer = [0] * n
    for i, j in sorted(edges, key=lambda edge: edge[1]):
        layer[j] = max(layer[j], layer[i] + 1)
    fed = {j for _, j in edges}
    for i in set(range(n)) - fed:
        layer[i] = min((layer[j] for a, j in edges if a == i), default=1) - 1
    neighbours: list[list[int]] = [[] for _ in range(n)]
    for i, j in edges:
        neighbours[i].append(j)
        neighbours[j].append(i)
    columns = [[i for i in range(n) if layer[i] == at] for at in range(max(layer) + 1)]
    height = {i: k - (len(column) - 1) / 2 for column in columns for k, i in enumerate(column)}
    for sweep in range(12):
        for column in columns if sweep % 2 else reversed(columns):
            wish = {
                i: sum(height[other] for other in neighbours[i]) / len(neighbours[i])
                if neighbours[i]
                else height[i]
                for i in column
            }
            column.sort(key=wish.__getitem__)
            for k, i in enumerate(column):
                height[i] = max(wish[i], height[column[k - 1]] + 1) if k else wish[i]
            shift = sum(height[i] - wish[i] for i in column) / len(column)
            for i in column:
                height[i] -= shift
    lowest = min(height.values())
    return [(layer[i], round(float(height[i] - lowest), 3)) for i in range(n)]
