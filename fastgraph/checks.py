"""Gradient checking: the backward pass against central differences, in float64."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .engines import current
from .errors import GraphError, SettingError
from .feeds import bind
from .node import Node, Parameter
from .program import Program

__all__ = ["GradientReport", "check_gradients"]


@dataclass(eq=False)
class GradientReport:
    """What a gradient check found at its worst element.

    Attributes:
        node: the parameter or input it belongs to.
        index: the element.
        analytic: its gradient from the backward pass.
        numeric: its gradient from central differences.
        error: ``|analytic - numeric| / max(1, |analytic|, |numeric|)``.
        elements: how many were compared.
    """

    node: Node
    index: tuple[int, ...]
    analytic: float
    numeric: float
    error: float
    elements: int

    def __str__(self) -> str:
        return (
            f"worst of {self.elements} elements: {self.node} at {self.index}: backward says "
            f"{self.analytic:.10g}, central differences say {self.numeric:.10g}, "
            f"relative error {self.error:.2e}"
        )


def check_gradients(
    graph: Any,
    feeds: Mapping[Any, Any],
    *,
    epsilon: float = 1e-6,
    tolerance: float = 1e-6,
    output: Node | None = None,
) -> GradientReport:
    """Compare ``backward`` with ``(f(p + ε) - f(p - ε)) / 2ε``, in float64, for every element.

    f is the sum of the graph's output. Every element of every parameter and input is compared,
    with the engine in use; the graph, its parameters and its dtype stay as they are.

    Parameters:
        graph: a `Graph`.
        feeds: as in ``graph.forward``; few rows make it quick.
        epsilon: step ε, scaled by max(1, |p|); in (0, ∞).
        tolerance: the largest relative error accepted.
        output: which output, where the graph has several.

    Returns:
        `GradientReport` of the worst element.

    Raises:
        GraphError: it is above ``tolerance``; the message names node, index and both values.
    """
    for name, value in (("epsilon", epsilon), ("tolerance", tolerance)):
        if not value > 0:
            raise SettingError(f"{name} must be above 0, got {value!r}")
    output = graph._one_output(output)
    float64 = np.dtype(np.float64)
    arrays = bind(graph._inputs_of((output,)), feeds, float64, graph.inputs)
    program = Program.build(graph.nodes, (output,), float64, arrays)
    program.check(arrays)
    executor = current().Executor(program)
    value = executor.forward(arrays)[output]
    gradients, _ = executor.backward(output, np.ones(value.shape))

    parameters = {p: np.array(p.value, float64) for p in program.nodes if isinstance(p, Parameter)}
    arrays = {node: np.array(array) for node, array in arrays.items()}
    reference = current("numpy")

    def total() -> float:
        return float(np.sum(reference.forward(program, arrays, parameters)[output]))

    worst: GradientReport | None = None
    points = {**parameters, **arrays}
    elements = sum(point.size for node, point in points.items() if node in gradients)
    for node, point in points.items():
        if node not in gradients:
            continue  # labels
        for index in np.ndindex(point.shape):
            kept = point[index]
            step = epsilon * max(1.0, abs(float(kept)))
            point[index] = kept + step
            above = total()
            point[index] = kept - step
            below = total()
            point[index] = kept
            numeric = (above - below) / (2 * step)
            analytic = float(gradients[node][index])
            error = abs(analytic - numeric) / max(1.0, abs(analytic), abs(numeric))
            if not np.isfinite(error):
                error = float("inf")
            if worst is None or error > worst.error:
                worst = GradientReport(node, index, analytic, numeric, error, elements)
    if worst is None:
        raise GraphError("check_gradients: the graph has neither parameters nor inputs")
    if worst.error > tolerance:
        raise GraphError(f"check_gradients: {worst}")
    return worst


