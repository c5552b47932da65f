"""The NumPy engine: the reference. It runs each node's own forward and backward, one by one.

It reads like the lesson: forward in topological order, backward in reverse, each node adding its
contribution to the gradients of its inputs. The native engine promises the same numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..node import Constant, Input, Node, Parameter
from ..ops.rowwise import Moment, Training
from ..optimizers import Optimizer, OptimizerState
from ..program import Program
from ..randomness import permutation
from ..regularization import Regularization
from .custom import check_gradients, check_value, read_only
from .outcome import Failure, Outcome

__all__ = ["Executor", "Trainer", "damped_step", "gram"]

#: Nobody trains.
_EVALUATION: Mapping[Node, Moment] = {}


def damped_step(hessian: np.ndarray, damping: float, gradient: np.ndarray) -> np.ndarray | None:
    """x with ``(hessian + damping·I) x = gradient``; None where there is none."""
    try:
        return np.linalg.solve(hessian + damping * np.eye(len(gradient)), gradient)
    except np.linalg.LinAlgError:
        return None


def gram(matrix: np.ndarray) -> np.ndarray:
    """``matrixᵀ @ matrix``."""
    return matrix.T @ matrix


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

    def value_and_gradient(
        self,
        arrays: dict[Input, np.ndarray],
        vector: np.ndarray,
        interrupted: Callable[[], bool] = bool,
        threads: int = 1,
    ) -> tuple[float, np.ndarray]:
        """The program's scalar output and its gradient, for all parameters as one ``vector``."""
        (output,) = self.program.outputs
        values = forward(self.program, arrays, self._at(vector))
        one = np.ones(values[output].shape, self.program.dtype)
        gradients, _ = backward(self.program, values, output, one, self.program.trained)
        parts = [gradients[node].ravel() for node in self.program.parameters]
        return float(values[output].reshape(())), np.concatenate(parts).astype(np.float64)

    def jacobian(
        self, arrays: dict[Input, np.ndarray], vector: np.ndarray, start: int, stop: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The output's values for some rows, flat, and the gradient of each: (values, parameters).

        One backward pass a row and feature: it presumes that no row depends on another.
        """
        (output,) = self.program.outputs
        parameters, values, rows = self._at(vector), [], []
        for row in range(start, stop):
            batch = {node: a[row : row + 1] if a.ndim else a for node, a in arrays.items()}
            found = forward(self.program, batch, parameters)
            values.append(found[output].ravel())
            for i in range(found[output].size):
                seed = np.zeros(found[output].size, self.program.dtype)
                seed[i] = 1
                seed = seed.reshape(found[output].shape)
                gradients, _ = backward(self.program, found, output, seed, self.program.trained)
                rows.append(np.concatenate([gradients[p].ravel() for p in self.program.parameters]))
        return np.concatenate(values), np.array(rows)

    def _at(self, vector: np.ndarray) -> dict[Parameter, np.ndarray]:
        """The parameters, the trained ones from ``vector``."""
        return {**_parameter_values(self.program), **_split(self.program, vector)}

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
        regularization: Regularization | None = None,
    ):
        self.program = program
        self.arrays = arrays
        self.optimizer = copy.copy(optimizer)  # its learning rate may follow a schedule
        self.regularization = regularization
        self.seed = seed
        self.rows = _rows(arrays) or 1
        self.batch_size = min(batch_size or self.rows, self.rows)
        self.shuffle = shuffle and self.batch_size < self.rows
        values = _parameter_values(program)
        statistics = {node: values[node] for node in values if not node.trained}
        self._committed = (
            _vector(program), statistics, list(state.slots), state.powers.copy(), state.steps,
        )  # fmt: skip
        self._state = replace(state)

    def run(
        self,
        epochs: int,
        interrupted: Callable[[], bool],
        steps: int | None = None,
        rates: np.ndarray | None = None,
    ) -> Outcome:
        """Train for ``epochs`` more or ``steps``, at the learning ``rates`` of the steps, until a
        step fails or ``interrupted()`` after a step."""
        state, losses, taken = self._state, [], 0
        for _ in range(epochs):
            if taken == steps:
                break
            order = permutation(self.rows, self.seed, state.epochs) if self.shuffle else None
            for start in range(state.step * self.batch_size, self.rows, self.batch_size):
                if taken == steps:
                    break
                stop = min(start + self.batch_size, self.rows)
                batch = np.arange(start, stop) if order is None else order[start:stop]
                if rates is not None:
                    self.optimizer.learning_rate = float(rates[taken])
                loss = self._step(batch)
                if loss is None:
                    failure = Failure(len(losses), state.step, batch)
                    return Outcome(np.array(losses), taken, failure)
                taken += 1
                state.step += 1
                state.total += loss * (stop - start)
                if stop == self.rows:
                    losses.append(state.total / self.rows)
                    state.epochs, state.step, state.total = state.epochs + 1, 0, 0.0
                if interrupted():
                    return Outcome(np.array(losses), taken, interrupted=True)
        return Outcome(np.array(losses), taken)

    def _step(self, batch: np.ndarray) -> float | None:
        """One step on the rows of ``batch``: its loss, or None where it left the finite numbers."""
        vector, statistics, slots, powers, steps = self._committed
        parameters = _split(self.program, vector)
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
        if self.regularization is not None:
            loss += self.regularization.penalty(vector)
            gradient = self.regularization.apply(gradient, vector)
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

    def scale_slots(self, factor: float) -> None:
        """Multiply the optimizer's vectors, as a velocity when the unit it is kept in changes."""
        vector, statistics, slots, *rest = self._committed
        self._committed = (vector, statistics, [slot * factor for slot in slots], *rest)

    def store(self) -> None:
        """Write the parameters to their nodes."""
        vector, statistics, *_ = self._committed
        for node, value in {**statistics, **_split(self.program, vector)}.items():
            node.value[...] = value

    def load(self) -> None:
        """Take the parameters from their nodes."""
        values = _parameter_values(self.program)
        statistics = {node: values[node] for node in values if not node.trained}
        self._committed = (_vector(self.program), statistics, *self._committed[2:])

    def state(self) -> OptimizerState:
        """The state of the last finished step."""
        *_, slots, powers, steps = self._committed
        return replace(self._state, slots=slots, powers=powers, steps=steps)


def _vector(program: Program) -> np.ndarray:
    """A copy of all parameters, one after another."""
    return np.concatenate([np.asarray(p.value, program.dtype).ravel() for p in program.parameters])


def _split(program: Program, vector: np.ndarray) -> dict[Parameter, np.ndarray]:
    """The vector of all parameters as one array for each."""
    vector, parts, start = np.asarray(vector, program.dtype), {}, 0
    for node in program.parameters:
        size = node.value.size
        parts[node] = vector[start : start + size].reshape(node.value.shape)
        start += size
    return parts


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
