"""What operations on whole rows have in common: what their native kernels must be told.

Elementwise operations, losses and reductions have bases of their own; this is the base of the
rest, and of those that do something else while `fit` trains.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..errors import GraphError, ShapeError
from ..node import Node, Parameter, Shape

__all__ = ["Moment", "Rowwise", "Training", "feature_axis"]


class Rowwise(Node):
    """An operation on each row by itself, whose kernel takes its operands as they are."""

    def sizes(self, *shapes: Shape) -> tuple[int, ...]:
        """The sizes of one row, in the kernel's order."""
        raise GraphError(f"{self.kind} defines no sizes(self, *shapes)")

    def table(self, *shapes: Shape) -> np.ndarray | None:
        """Where each element of a row comes from, for kernels that ask."""
        return None

    def kept(self, *shapes: Shape) -> int:
        """How many numbers a row the kernel keeps from forward to backward."""
        return 0


class Moment(NamedTuple):
    """Where a run of ``fit`` stands, for operations that ask.

    Attributes:
        seed: of the run.
        step: finished steps.
        rows: the indices of the batch's rows within the data; one 0 for a node without rows.
        place: of the node in the order of the program, so that no two draw the same numbers.
    """

    seed: int
    step: int
    rows: np.ndarray
    place: int


class Training(Rowwise):
    """An operation that does something else while ``fit`` trains than in evaluation.

    ``forward`` and ``backward`` are the evaluation, which also ``graph.forward`` and
    ``graph.backward`` run.
    """

    #: Positions of inputs that are running statistics: in training they are not read but kept,
    #: and the rows of the batch depend on each other.
    running: tuple[int, ...] = ()

    def train_forward(self, moment: Moment, *values: np.ndarray) -> np.ndarray:
        """The value while training."""
        raise GraphError(f"{self.kind} defines no train_forward(self, moment, *values)")

    def train_backward(self, moment: Moment, gradient: np.ndarray, *values: np.ndarray) -> tuple:
        """The gradients while training."""
        raise GraphError(f"{self.kind} defines no train_backward(self, moment, gradient, *values)")

    def statistics(self, *values: np.ndarray) -> tuple[np.ndarray, ...]:
        """The new values of the inputs ``running``, after a step that went well."""
        return ()

    def keeps(self) -> tuple[int, ...]:
        """Those of ``running`` that can be kept: parameters that no optimizer changes."""
        items = [(position, self.inputs[position]) for position in self.running]
        return tuple(p for p, item in items if isinstance(item, Parameter) and not item.trained)


def feature_axis(node: Node, axis: int, shape: Shape) -> int:
    """``axis``, counted as NumPy does on the whole array, as an axis of one row."""
    rank = len(shape.axes)
    first = int(shape.batched)
    if not -rank <= axis < rank:
        raise ShapeError(f"{node}: axis {axis} is out of range for shape {shape}")
    if axis % rank < first:
        raise ShapeError(f"{node}: axis 0 of {shape} is the batch; name a feature axis")
    return axis % rank - first
