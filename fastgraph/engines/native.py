"""The native engine: memory for a lowered program, and the compiled `Plan` that runs it.

Only this file imports the compiled extension (through `extension.py`). Arrays are checked where
they cross: by `feeds.bind` for what users feed, by ``Plan`` for dtype, contiguity and size.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import GraphError
from ..node import Constant, Input, Node, Parameter
from ..optimizers import Optimizer, OptimizerState
from ..program import Program
from ..regularization import Regularization
from .custom import check_gradients, check_value, read_only
from .extension import available_isas, build_info, choose_isa, load_extension
from .lowering import BACK, ROWS, STAGES, Buffer, CustomBack, Lowered, Step, lower
from .outcome import Failure, Outcome

__all__ = [
    "Executor", "Trainer", "available_isas", "build_info", "choose_isa", "damped_step", "gram",
    "kernels", "load_extension",
]  # fmt: skip

#: Bytes of one block's values and gradients; measured, see docs/performance.md.
BLOCK_BYTES = 128 * 1024
#: The most rows of a block.
MAX_BLOCK_ROWS = 4096
#: The most shares a batch is divided into, whatever the number of threads.
MAX_LANES = 8

#: Data of a run up to so many bytes is moved to the start of a cache line.
ALIGN_BYTES = 1 << 20
#: Equations from which a library with threads solves them sooner.
SOLVE_SIZE = 500
#: Numbers a batch must make before threads share it: below, waking them costs more.
THREAD_WORK = 100_000

_LINE = 64  # bytes; every buffer starts on a cache line


def kernels() -> frozenset[str]:
    """The names of the operations that have a pair of native kernels."""
    names = load_extension(choose_isa(), "float64").kernels()
    return frozenset(name.rpartition("_")[0] for name in names)


def damped_step(hessian: np.ndarray, damping: float, gradient: np.ndarray) -> np.ndarray | None:
    """x with ``(hessian + damping·I) x = gradient`` (float64); None where there is none."""
    damped = hessian.copy()
    damped[np.diag_indices(len(gradient))] += damping
    if len(gradient) > SOLVE_SIZE:
        try:
            return np.linalg.solve(damped, gradient)
        except np.linalg.LinAlgError:
            return None
    return load_extension(choose_isa(), "float64").solve_positive(damped, gradient)


def gram(matrix: np.ndarray) -> np.ndarray:
    """``matrixᵀ @ matrix`` (float64)."""
    return load_extension(choose_isa(), "float64").gemm(matrix, matrix, transpose_a=True)


class Executor:
    """Runs a program step by step, or forward alone."""

    def __init__(self, program: Program):
        self.program = program
        self._bound: dict[Any, _Bound] = {}
        self._last: tuple[_Bound, dict[Input, np.ndarray], int] | None = None

    def forward(self, arrays: dict[Input, np.ndarray]) -> dict[Node, np.ndarray]:
        """The value of every node, by node."""
        return self._inspect(arrays, self.program.outputs[0])

    def _inspect(self, arrays: dict[Input, np.ndarray], output: Node) -> dict[Node, np.ndarray]:
        rows = _rows(arrays)
        bound = self._bound.get((output, rows))
        if bound is None:
            self._forget_inspections()
            bound = self._bound[output, rows] = _Bound(self.program, "inspect", rows, output=output)
        bound.feed(arrays)
        bound.checked(bound.plan.forward(rows, []))
        self._last = (bound, arrays, rows)
        values = {}
        for node in self.program.nodes:
            if isinstance(node, Input):
                values[node] = arrays[node]
            elif isinstance(node, Parameter):
                values[node] = node.value
            else:
                values[node] = bound.read(bound.lowered.values[node], node, rows)
        return values

    def backward(self, output: Node, gradient: np.ndarray) -> tuple[dict, dict]:
        """Gradients of ``output`` with respect to every node, and contributions by edge."""
        bound, arrays, rows = self._last
        if bound is not self._bound.get((output, rows)):
            self._inspect(arrays, output)
            bound, _, _ = self._last
        lowered = bound.lowered
        bound.view(lowered.gradients[output], output, rows)[...] = gradient
        bound.checked(bound.plan.backward(rows))
        gradients = {}
        for node in self.program.differentiable:
            buffer = lowered.gradients.get(node)
            if buffer is None or not bound.reached(node):
                shape = _shape(self.program, node, rows)
                gradients[node] = np.zeros(shape, self.program.dtype)
            else:
                gradients[node] = bound.read(buffer, node, rows)
        contributions: dict[Node, dict[Node, np.ndarray]] = {n: {} for n in self.program.nodes}
        for (node, position), buffer in lowered.contributions.items():
            item = node.inputs[position]
            part = bound.read(buffer, item, rows)
            known = contributions[node].get(item)
            contributions[node][item] = part if known is None else known + part
        return gradients, contributions

    def evaluate(self, arrays: dict[Input, np.ndarray]) -> list[np.ndarray]:
        """The values of the program's outputs."""
        rows = _rows(arrays)
        bound = self._bound.get("evaluate")
        if bound is None or not bound.takes(rows):
            bound = self._bound["evaluate"] = _Bound(self.program, "evaluate", rows)
        bound.feed(arrays)
        results, copies = [], []
        for node in self.program.outputs:
            buffer = bound.lowered.values[node]
            if buffer.space == "rows":
                result = np.empty(_shape(self.program, node, rows), self.program.dtype)
                copies.append((bound.address(buffer, 0), buffer.size, result.ctypes.data))
            else:
                result = None
            results.append(result)
        bound.checked(bound.plan.forward(rows, copies))
        for i, node in enumerate(self.program.outputs):
            if isinstance(node, Input):
                results[i] = arrays[node].copy()
            elif results[i] is None:
                results[i] = bound.read(bound.lowered.values[node], node, rows)
        return results

    def value_and_gradient(
        self,
        arrays: dict[Input, np.ndarray],
        vector: np.ndarray,
        interrupted: Callable[[], bool] = bool,
        threads: int = 1,
    ) -> tuple[float, np.ndarray]:
        """The program's scalar output and its gradient, for all parameters as one ``vector``."""
        rows = _rows(arrays)
        (output,) = self.program.outputs
        bound = self._bound.get("gradient")
        if bound is None or bound.rows != rows:
            bound = _Bound(self.program, "gradient", rows, MAX_LANES)
            bound.view(bound.lowered.gradients[output], output, 1)[...] = 1
            self._bound["gradient"] = bound
        bound.feed(arrays)
        bound.vector[...] = vector
        loss = bound.address(bound.lowered.values[output], 0)
        with _sharing(bound.plan, bound.threads(threads)):
            status, value = bound.plan.gradients_of(rows, loss, interrupted)
        bound.checked(status != 3)
        gradient = bound.gradient().astype(np.float64)
        return value, np.full(gradient.shape, np.nan) if status else gradient

    def jacobian(
        self, arrays: dict[Input, np.ndarray], vector: np.ndarray, start: int, stop: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The output's values for some rows, flat, and the gradient of each: (values, parameters).

        One backward pass a row and feature: it presumes that no row depends on another.
        """
        (output,) = self.program.outputs
        bound = self._bound.get("jacobian")
        if bound is None:
            bound = self._bound["jacobian"] = _Bound(self.program, "gradient", 1)
        bound.feed(arrays)
        bound.vector[...] = vector
        outputs = bound.lowered.values[output].size
        values = np.empty((stop - start) * outputs, self.program.dtype)
        result = np.empty((len(values), vector.size), self.program.dtype)
        fine = bound.plan.jacobian(
            start,
            stop - start,
            outputs,
            bound.address(bound.lowered.gradients[output], 0),
            bound.address(bound.lowered.values[output], 0),
            bound.vector,
            values,
            result,
        )
        bound.checked(fine)
        return values, result

    def predictor(
        self, inputs: tuple[Input, ...], slow: Callable[[tuple, Any], np.ndarray]
    ) -> Callable[..., np.ndarray]:
        """A quick call for a few rows; ``slow(arrays, out)`` takes what needs more care."""
        (node,) = self.program.outputs
        bound = _Bound(self.program, "evaluate", MAX_BLOCK_ROWS)
        lowered = bound.lowered
        plain = not lowered.whole and lowered.values[node].space == "rows"
        if not plain or not all(self.program.shapes[item].batched for item in inputs):
            return lambda *arrays, out=None: slow(arrays, out)
        order = [inputs.index(item) for item in bound.inputs]
        if order != sorted(order):
            raise GraphError("the inputs of a program are in another order than the graph's")
        return load_extension(choose_isa(), self.program.dtype.name).Predictor(
            bound.plan,
            bound.address(lowered.values[node], 0),
            tuple(self.program.shapes[item].features for item in inputs),
            self.program.shapes[node].features,
            Parameter._moves,
            [(item, item.value) for item in self.program.nodes if isinstance(item, Parameter)],
            slow,
        )

    def _forget_inspections(self) -> None:
        """Free the memory of step-by-step runs on other numbers of rows."""
        self._bound = {key: bound for key, bound in self._bound.items() if isinstance(key, str)}


class Trainer:
    """Runs epochs of a program over bound data, in compiled code."""

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
        self.optimizer = optimizer
        self.seed = seed
        self.rows = _rows(arrays)
        self.batch_size = min(batch_size or self.rows, self.rows)
        self.shuffle = shuffle and self.batch_size < self.rows
        self._bound = _Bound(program, "train", self.batch_size, MAX_LANES)
        lowered = self._bound.lowered
        self._bound.feed({node: _on_a_line(array) for node, array in arrays.items()})
        self.threads = self._bound.threads(threads)
        (output,) = program.outputs
        self._bound.view(lowered.gradients[output], output, 1)[...] = 1
        self._loss = self._bound.address(lowered.values[output], 0)
        self._shaping = None if regularization is None else _shaping(regularization)
        self._slots = [slot.copy() for slot in state.slots]
        self._powers = state.powers.copy()
        self._state = replace(state)

    def run(
        self,
        epochs: int,
        interrupted: Callable[[], bool],
        steps: int | None = None,
        rates: np.ndarray | None = None,
    ) -> Outcome:
        """Train for ``epochs`` more or ``steps``, at the learning ``rates`` of the steps, until a
        step fails or ``interrupted()`` between two steps."""
        bound, state = self._bound, self._state
        losses = np.empty(epochs)
        with _sharing(bound.plan, self.threads):
            status, done, taken, step, total, order = bound.plan.train(
                epochs,
                sys.maxsize if steps is None else steps,
                self.rows,
                self.batch_size,
                self.shuffle,
                self.seed,
                state.epochs,
                state.steps,
                state.step,
                state.total,
                bound.vector,
                self._loss,
                self.optimizer.kernel,
                self.optimizer.settings(),
                self._slots,
                self._powers,
                rates,
                self._shaping,
                losses,
                interrupted,
            )
        state.epochs += done
        state.steps += taken
        state.step, state.total = step, total
        bound.checked(status != 3)
        failure = None
        if status == 1:
            start = step * self.batch_size
            rows = np.arange(self.rows) if order is None else order
            failure = Failure(done, step, rows[start : start + self.batch_size].copy())
        return Outcome(losses[:done].copy(), taken, failure, interrupted=status == 2)

    def scale_slots(self, factor: float) -> None:
        """Multiply the optimizer's vectors, as a velocity when the unit it is kept in changes."""
        for slot in self._slots:
            slot *= factor

    def store(self) -> None:
        """Write the parameters to their nodes."""
        self._bound.write_parameters()

    def load(self) -> None:
        """Take the parameters from their nodes."""
        self._bound.read_parameters()

    def state(self) -> OptimizerState:
        """The state of the last finished step."""
        slots = [slot.copy() for slot in self._slots]
        return replace(self._state, slots=slots, powers=self._powers.copy())


@contextmanager
def _sharing(plan: Any, threads: int) -> Iterator[None]:
    """Threads that take their share of the lanes; they wait for work without the GIL."""
    plan.share(threads)
    helpers = [
        threading.Thread(target=plan.help, args=(number,), daemon=True)
        for number in range(1, threads)
    ]
    try:
        for helper in helpers:
            helper.start()
        yield
    finally:
        plan.dismiss()
        for helper in helpers:
            helper.join()


class _Bound:
    """A lowered program with memory: buffers at addresses, steps in a compiled plan.

    Parameters:
        mode: as for `lower`. In training all parameters are kept in one vector, which an
            optimizer works on; else kernels read them where their nodes keep them.
        rows: the largest batch.
        lanes: the most shares of a batch.
        output: which output gradients start from.
    """

    def __init__(
        self, program: Program, mode: str, rows: int, lanes: int = 1, output: Node | None = None
    ):
        self.program = program
        self.dtype = program.dtype
        with _no_collection():
            self.lowered = lower(program, mode, rows, output)
            self._bind(rows, lanes, vector=mode in ("train", "gradient"))

    def _bind(self, rows: int, lanes: int, vector: bool) -> None:
        program, lowered = self.program, self.lowered
        self.row_size = _row_size(lowered)
        weights = sum(node.value.size for node in program.parameters)
        self.largest = rows if lowered.whole else _block_rows(self.row_size, weights, self.dtype)
        self.rows = rows
        self.capacity = min(rows, self.largest)
        blocks = -(-rows // self.capacity)
        self.lanes = 1 if lowered.whole or blocks < 4 else min(lanes, blocks // 2)
        self.inputs = [n for n in program.inputs if program.shapes[n].batched]
        self.errors: list[BaseException] = []
        self.vector: np.ndarray | None = None
        self._has_vector = vector
        self._constants: dict[Node, np.ndarray] = {}
        self._parameters: dict[Parameter, np.ndarray] = {}
        self._offsets: dict[Buffer, int] = {}
        self._lay_out()
        self._build()

    def takes(self, rows: int) -> bool:
        """Whether so many rows can run: in blocks, or in one where the rows depend on all rows."""
        return rows <= self.capacity or (not self.lowered.whole and self.capacity == self.largest)

    # Memory ----------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        item, line = self.dtype.itemsize, _LINE // self.dtype.itemsize
        totals = {"rows": 0, "once": 0, "gradients": 0}
        guard = line if load_extension(choose_isa(), self.dtype.name).debug() else 0
        guards: list[tuple[str, int, int, Buffer]] = []

        def place(buffer: Buffer, space: str, size: int) -> None:
            start = self._offsets[buffer] = totals[space]
            totals[space] = -(-(start + size) // line) * line + guard
            guards.append((space, start + size, totals[space], buffer))

        for buffer in self.lowered.buffers:
            if buffer.space == "gradients":  # without gaps: one vector, as the parameters
                self._offsets[buffer] = totals["gradients"]
                totals["gradients"] += buffer.size
            else:
                rows = self.capacity if buffer.space == "rows" else 1
                place(buffer, buffer.space, buffer.size * rows)
        for node in self.inputs:
            if node in self.lowered.values:
                buffer = self.lowered.values[node]
                place(buffer, "rows", buffer.size * self.capacity)
        self.n_gradients = totals["gradients"]
        self._arena = {
            space: [_zeros(size, self.dtype) for _ in range(1 if space == "once" else self.lanes)]
            for space, size in totals.items()
        }
        self._guards = [
            (array[start:stop], buffer)
            for space, start, stop, buffer in (guards if guard else ())
            for array in self._arena[space]
        ]
        for beyond, _ in self._guards:
            beyond[...] = np.nan
        self._base = {
            space: [a.ctypes.data for a in arrays] for space, arrays in self._arena.items()
        }
        self._item = item
        for node in self.program.nodes:
            if isinstance(node, Constant):
                self._constants[node] = np.array(node.constant, self.dtype, order="C")
            elif isinstance(node, Input) and node not in self.inputs:
                self._constants[node] = np.zeros((), self.dtype)
        if self._has_vector:
            size = sum(node.value.size for node in self.program.parameters)
            self.vector = _zeros(size, self.dtype)
            at = 0
            self._take_parameters()
            for node in self.program.parameters:
                span = self.vector[at : at + node.value.size]
                self._parameters[node] = span.reshape(node.value.shape)
                at += node.value.size
            self.read_parameters()
        else:
            self._take_parameters()

    def _take_parameters(self) -> None:
        """Read the parameters where they are kept; in another dtype, a copy of them."""
        for node in self.program.nodes:
            if not isinstance(node, Parameter):
                continue
            same = node.value.dtype == self.dtype
            self._parameters[node] = node.value if same else np.array(node.value, self.dtype)

    def threads(self, wanted: int) -> int:
        """How many threads pay for a batch of all rows."""
        return min(wanted, self.lanes) if self.rows * self.row_size >= THREAD_WORK else 1

    def gradient(self) -> np.ndarray:
        """The gradients of all parameters after a step, one after another."""
        return self._arena["gradients"][0][: self.vector.size]

    def read_parameters(self) -> None:
        """Take the parameters of the nodes into the vector."""
        for node in self.program.parameters:
            self._parameters[node][...] = node.value

    def write_parameters(self) -> None:
        """Give the nodes the parameters of the vector."""
        for node in self.program.parameters:
            node.value[...] = self._parameters[node]

    def address(self, buffer: Buffer | None, lane: int) -> int:
        """Where a buffer lies, for one lane; -1 - i stands for data input i."""
        if buffer is None:
            return 0
        if buffer.space == "data":
            return -1 - self.inputs.index(buffer.node)
        if buffer.space == "parameter":
            return self._parameters[buffer.node].ctypes.data
        if buffer.space == "constant":
            return self._constants[buffer.node].ctypes.data
        base = self._base[buffer.space][0 if buffer.space == "once" else lane]
        return base + self._offsets[buffer] * self._item

    def view(self, buffer: Buffer, node: Node, rows: int, lane: int = 0) -> np.ndarray:
        """A buffer's memory as an array of the node's shape."""
        shape = _shape(self.program, node, rows)
        if buffer.space == "parameter":
            return self._parameters[buffer.node]
        if buffer.space == "constant":
            return self._constants[buffer.node]
        flat = self._arena[buffer.space][lane]
        start = self._offsets[buffer]
        return flat[start : start + _count(shape)].reshape(shape)

    def read(self, buffer: Buffer, node: Node, rows: int) -> np.ndarray:
        """A copy of a buffer's numbers in the node's shape."""
        return self.view(buffer, node, rows).copy()

    def reached(self, node: Node) -> bool:
        """Whether the gradient of the node is written by some step."""
        buffer = self.lowered.gradients.get(node)
        return buffer in self._written

    # The plan --------------------------------------------------------------------------------

    def _build(self) -> None:
        self._written = {
            operand
            for steps in self.lowered.stages
            for step in steps
            for operand in (*step.operands[3:4], *step.operands[5:8], *step.operands[12:14])
            if operand is not None
        } | {self.lowered.gradients[n] for n in self.program.outputs if n in self.lowered.gradients}
        spoken_of = {
            buffer
            for steps in self.lowered.stages
            for step in steps
            for buffer in step.operands
            if buffer is not None
        }
        lanes = []
        for lane in range(self.lanes):
            places: dict[Buffer | None, int] = {b: self.address(b, lane) for b in spoken_of}
            places[None] = 0
            lanes.append(
                [
                    [self._bound_step(step, places) for step in self.lowered.stages[stage]]
                    if lane == 0 or stage in (ROWS, BACK)
                    else []
                    for stage in STAGES
                ]
            )
        staging = [
            [
                self._base["rows"][lane] + self._offsets[self.lowered.values[n]] * self._item
                if n in self.lowered.values
                else 0
                for n in self.inputs
            ]
            for lane in range(self.lanes)
        ]
        sizes = [_count(self.program.shapes[n].features) for n in self.inputs]
        module = load_extension(choose_isa(), self.dtype.name)
        keep = (lanes, self._arena, self._constants, self._parameters, self.vector, self.lowered)
        totals = [
            (self.inputs.index(data.node), self.address(total, 0))
            for data, total in self.lowered.totals
        ]
        self.plan = module.Plan(
            lanes, staging, sizes, self.capacity, self._base["gradients"], self.n_gradients,
            totals, keep, self.errors,
        )  # fmt: skip

    def _bound_step(self, step: Step, places: dict) -> tuple:
        """A step as `Plan` takes it."""
        return (
            step.kernel,
            step.batched,
            [places[buffer] for buffer in step.operands],
            step.sizes,
            step.flags,
            step.numbers,
            0 if step.table is None else step.table.ctypes.data,
            None if step.call is None else self._callback(step.call),
        )

    def feed(self, arrays: dict[Input, np.ndarray]) -> None:
        """Bind data and what stands outside the plan's memory."""
        if not self._has_vector:
            moved = False
            for node, array in self._parameters.items():
                if node.value.dtype != self.dtype:
                    array[...] = node.value
                elif node.value is not array:
                    moved = True
            if moved:
                self._take_parameters()
                self._build()
        for node, array in self._constants.items():
            if isinstance(node, Input):
                array[...] = arrays[node]
        self.plan.bind_data([arrays[node] for node in self.inputs])

    def checked(self, fine: bool) -> None:
        """Raise what a callback raised; in a debug build, also where a kernel wrote too far."""
        for beyond, buffer in self._guards:
            if not np.isnan(beyond).all():
                whose = {**self.lowered.gradients, **self.lowered.values}
                names = [str(node) for node, known in whose.items() if known is buffer]
                raise GraphError(f"a kernel wrote beyond a buffer of {names or 'its own'}")
        if not fine:
            error = self.errors.pop() if self.errors else GraphError("the native engine stopped")
            self.errors.clear()
            raise error

    # A user's own nodes ----------------------------------------------------------------------

    def _callback(self, call: Any) -> Callable[[int], bool]:
        run = self._backward_call if isinstance(call, CustomBack) else self._forward_call

        def guarded(rows: int) -> bool:
            try:
                run(call, rows)
            except BaseException as error:
                self.errors.append(error)
                return False
            return True

        return guarded

    def _given(self, call: Any, rows: int) -> list[np.ndarray]:
        pairs = zip(call.inputs, call.node.inputs, strict=True)
        return [self._shown(buffer, item, rows) for buffer, item in pairs]

    def _shown(self, buffer: Buffer, node: Node, rows: int) -> np.ndarray:
        """A copy a user's code may keep: the buffer's own memory changes with every block."""
        return read_only(self.view(buffer, node, rows).copy())

    def _forward_call(self, call: Any, rows: int) -> None:
        with np.errstate(all="ignore"):
            value = call.node.forward(*self._given(call, rows))
        value = check_value(call.node, value, self.program.shapes[call.node], rows, self.dtype)
        self.view(call.value, call.node, rows)[...] = value

    def _backward_call(self, call: Any, rows: int) -> None:
        gradient = self._shown(call.gradient, call.node, rows)
        given = self._given(call, rows)
        with np.errstate(all="ignore"):
            parts = call.node.backward(gradient, *given)
        parts = check_gradients(call.node, parts, [array.shape for array in given], self.dtype)
        for item, part, (buffer, how) in zip(call.node.inputs, parts, call.targets, strict=True):
            if buffer is None:
                continue
            target = self.view(buffer, item, rows)
            if how != 1:
                target[...] = 0 if part is None else part
            elif part is not None:
                target += part


@contextmanager
def _no_collection() -> Iterator[None]:
    """Let the garbage collector rest while many small objects are made, none of them garbage."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _shaping(regularization: Regularization) -> tuple:
    """As the compiled plan takes it."""
    settings = regularization
    return (settings.clip_norm, settings.clip_value, settings.l1, settings.l2)


def _row_size(lowered: Lowered) -> int:
    """Numbers that one row of a block takes: data, values, gradients."""
    own = sum(buffer.size for buffer in lowered.buffers if buffer.space == "rows")
    data = sum(buffer.size for buffer in lowered.values.values() if buffer.space == "data")
    return max(own + data, 1)


def _block_rows(row_size: int, weights: int, dtype: np.dtype) -> int:
    """Rows of a block: its values and gradients stay in the cache, and are not outweighed by the
    parameters, all of which every block reads and whose gradients it adds to."""
    rows = max(BLOCK_BYTES // dtype.itemsize, weights) // row_size
    return max(32, min(rows // 32 * 32, MAX_BLOCK_ROWS))


def _rows(arrays: dict[Input, np.ndarray]) -> int:
    return next((array.shape[0] for array in arrays.values() if array.ndim), 1)


def _shape(program: Program, node: Node, rows: int) -> tuple[int, ...]:
    shape = program.shapes[node]
    return (rows, *shape.features) if shape.batched else shape.features


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _on_a_line(array: np.ndarray) -> np.ndarray:
    """The array, or a copy that starts on a cache line: small data is read so often that a vector
    across two lines costs more than copying once."""
    if array.ctypes.data % _LINE == 0 or array.nbytes > ALIGN_BYTES:
        return array
    copy = _zeros(array.size, array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _zeros(count: int, dtype: np.dtype) -> np.ndarray:
    """Zeros that start on a cache line."""
    raw = np.zeros(count * dtype.itemsize + 2 * _LINE, np.uint8)
    start = -raw.ctypes.data % _LINE
    return raw[start : start + count * dtype.itemsize].view(dtype)
