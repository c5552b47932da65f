"""The NumPy engine: the reference. It runs each node's own forward and backward, one by one.

It reads like the lesson: forward in topological order, backward in reverse, each node adding its
contribution to the gradients of its inputs. The native engine promises the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..node import Constant, Input, Node, Parameter
from ..ops.rowwise import Moment, Training
from ..optimizers import Optimizer, OptimizerState
from ..program import Program
from ..randomness import permutation
from .custom import check_gradients, check_value, read_only
from .outcome import Failure, Outcome

__all__ = ["Executor", "Trainer"]

#: Nobody trains.
_EVALUATION: Mapping[Node, Moment] = {}


class Executor:
    """Runs a program step by step: forward, then backward."""

    def __init__(self, program: Program):
        self.program = program
        self._values: dict[Node, np.ndarray] = {}

    def forward(self, arrays: dict[Input, np.ndarray]) -> dict[Node, np.ndarray]:
        """The value of every node, by node."""
        self._values = forward(self.program, arrays, _parameter_values(self.program))
        return self._values

    def backward(self, output: Node, gradient: np.ndarray) -> tuple[dict, dict]:
        """Gradients of ``output`` with respect to every node, and contributions by edge."""
        return backward(self.program, self._values, output, gradient, self.program.differentiable)

    def evaluate(self, arrays: dict[Input, np.ndarray]) -> list[np.ndarray]:
        """The values of the program's outputs."""
        values = forward(self.program, arrays, _parameter_values(self.program))
        return [values[node] for node in self.program.outputs]

    def predictor(
        self, inputs: tuple[Input, ...], slow: Callable[[tuple, Any], np.ndarray]
    ) -> Callable[..., np.ndarray]:
        """A call from arrays to an array."""
        return lambda *arrays, out=None: slow(arrays, out)


class Trainer:
    """Runs epochs of a program over bound data.

    What is committed is one tuple, replaced at the end of a step and never changed: an interrupt
    or an error at any place leaves the parameters and the state of the last finished step.
    """

    def __init__(
        self,
        program: Program,
        arrays: dict[Input, np.ndarray],
        *,
        optimizer: Optimizer,
        state: OptimizerState,
        batch_size: int | None,
        shuffle: bool,
        seed: int,
        threads: int = 1,
    ):
        self.program = program
        self.arrays = arrays
        self.optimizer = optimizer
        self.shuffle = shuffle
        self.seed = seed
        self.rows = _rows(arrays) or 1
        self.batch_size = min(batch_size or self.rows, self.rows)
        self._spans = _spans(program)
        values = _parameter_values(program)
        vector = np.concatenate([values[node].ravel() for node in program.parameters])
        statistics = {node: values[node] for node in values if not node.trained}
        self._committed = (
            vector, statistics, list(state.slots), state.powers.copy(), state.steps,
        )  # fmt: skip
        self._epochs = state.epochs

    def run(self, epochs: int, interrupted: Callable[[], bool]) -> Outcome:
        """Train for ``epochs`` more, until a step fails or ``interrupted()`` after a step."""
        losses: list[float] = []
        for _ in range(epochs):
            order = permutation(self.rows, self.seed, self._epochs) if self.shuffle else None
            total = 0.0
            for step, start in enumerate(range(0, self.rows, self.batch_size)):
                stop = min(start + self.batch_size, self.rows)
                batch = np.arange(start, stop) if order is None else order[start:stop]
                loss = self._step(batch)
                if loss is None:
                    return Outcome(np.array(losses), Failure(len(losses), step, batch))
                total += loss * (stop - start)
                if interrupted():
                    return Outcome(np.array(losses), interrupted=True)
            losses.append(total / self.rows)
            self._epochs += 1
        return Outcome(np.array(losses))

    def _step(self, batch: np.ndarray) -> float | None:
        """One step on the rows of ``batch``: its loss, or None where it left the finite numbers."""
        vector, statistics, slots, powers, steps = self._committed
        parameters = {
            node: vector[start:stop].reshape(node.value.shape)
            for node, (start, stop) in self._spans.items()
        }
        arrays = {node: a[batch] if a.ndim else a for node, a in self.arrays.items()}
        moments = self._moments(steps, batch)
        values = forward(self.program, arrays, {**parameters, **statistics}, moments)
        (output,) = self.program.outputs
        loss = float(values[output].reshape(()))
        if not np.isfinite(loss):
            return None
        one = np.ones(values[output].shape, self.program.dtype)
        gradients, _ = backward(self.program, values, output, one, self.program.trained, moments)
        gradient = np.concatenate([gradients[node].ravel() for node in self.program.parameters])
        if not np.isfinite(gradient).all():
            return None
        powers = self.optimizer.advance(powers)
        with np.errstate(all="ignore"):
            vector, slots = self.optimizer.update(vector, gradient, slots, powers)
        if not np.isfinite(vector).all():
            return None
        for node in moments:
            fresh = node.statistics(*(values[item] for item in node.inputs))
            for position, value in zip(node.running, fresh, strict=True):
                if position in node.keeps():
                    kept = np.asarray(value, self.program.dtype)
                    statistics = {**statistics, node.inputs[position]: kept}
        self._committed = (vector, statistics, slots, powers, steps + 1)
        return loss

    def _moments(self, steps: int, batch: np.ndarray) -> dict[Training, Moment]:
        """What the operations that train otherwise are told of a step."""
        one = np.zeros(1, np.int64)
        return {
            node: Moment(
                self.seed, steps, batch if self.program.shapes[node].batched else one, place
            )
            for place, node in enumerate(self.program.nodes)
            if isinstance(node, Training) and node.kernel is not None
        }

    def finish(self) -> OptimizerState:
        """Write the committed parameters back to their nodes; the state to go on from."""
        vector, statistics, slots, powers, steps = self._committed
        for node, value in statistics.items():
            node.value[...] = value
        for node, (start, stop) in self._spans.items():
            node.value[...] = vector[start:stop].reshape(node.value.shape)
        return OptimizerState(slots, powers, steps, self._epochs)


def _spans(program: Program) -> dict[Parameter, tuple[int, int]]:
    spans, start = {}, 0
    for node in program.parameters:
        spans[node] = (start, start + node.value.size)
        start += node.value.size
    return spans


def _parameter_values(program: Program) -> dict[Parameter, np.ndarray]:
    return {
        node: np.asarray(node.value, program.dtype)
        for node in program.nodes
        if isinstance(node, Parameter)
    }


def forward(
    program: Program, arrays: dict, parameters: dict, moments: Mapping[Node, Moment] = _EVALUATION
) -> dict[Node, np.ndarray]:
    """The value of every node; the nodes of ``moments`` train."""
    values: dict[Node, np.ndarray] = {}
    with np.errstate(all="ignore"):
        for node in program.nodes:
            if isinstance(node, Input):
                values[node] = arrays[node]
            elif isinstance(node, Parameter):
                values[node] = parameters[node]
            elif isinstance(node, Constant):
                values[node] = np.asarray(node.constant, program.dtype)
            else:
                given = _given(node, values)
                moment = moments.get(node)
                value = node.train_forward(moment, *given) if moment else node.forward(*given)
                if node.kernel is None:
                    shape, rows = program.shapes[node], _rows(arrays)
                    value = check_value(node, value, shape, rows, program.dtype)
                values[node] = np.asarray(value, program.dtype)
    return values


def backward(
    program: Program,
    values: dict,
    output: Node,
    gradient: np.ndarray,
    wanted: frozenset,
    moments: Mapping[Node, Moment] = _EVALUATION,
) -> tuple[dict[Node, np.ndarray], dict[Node, dict[Node, np.ndarray]]]:
    gradients = {node: np.zeros(values[node].shape, program.dtype) for node in wanted}
    contributions: dict[Node, dict[Node, np.ndarray]] = {node: {} for node in program.nodes}
    gradients[output] = np.array(gradient, program.dtype)  # a copy: the node keeps it
    reached = {output}
    with np.errstate(all="ignore"):
        for node in reversed(program.nodes):
            if node not in reached or not any(item in wanted for item in node.inputs):
                continue
            given = _given(node, values)
            if node.kernel is None:
                parts = node.backward(read_only(gradients[node]), *given)
                parts = check_gradients(node, parts, [v.shape for v in given], program.dtype)
            elif node in moments:
                parts = node.train_backward(moments[node], gradients[node], *given)
            else:
                parts = node.backward(gradients[node], *given)
            for item, part in zip(node.inputs, parts, strict=True):
                if item not in wanted or part is None:
                    continue
                part = np.asarray(part, program.dtype)
                # A sum of two arrays without axes would be a NumPy scalar.
                gradients[item] = np.asarray(gradients[item] + part)
                known = contributions[node].get(item)
                contributions[node][item] = part if known is None else np.asarray(known + part)
                reached.add(item)
    return gradients, contributions


def _given(node: Node, values: dict) -> list[np.ndarray]:
    given = [values[item] for item in node.inputs]
    return [read_only(array) for array in given] if node.kernel is None else given


def _rows(arrays: dict) -> int | None:
    return next((array.shape[0] for array in arrays.values() if array.ndim), None)
