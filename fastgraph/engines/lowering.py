"""From a program to steps: which kernel runs when, on which buffers.

This is where the native engine's decisions are made: what runs once a step and what runs block by
block, who writes a gradient first and who adds to it, and what is fused. The result is data (lists
of `Step`, named buffers); `native.py` gives it memory and hands it to the compiled `Plan`.

An operation needs nothing here: elementwise operations, losses and reductions are told by their
base classes, and a kernel is found by the name in the operation's class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ..errors import GraphError
from ..node import Constant, Input, Node, Parameter, Shape
from ..ops import (
    MAE,
    MSE,
    Add,
    Concatenate,
    Linear,
    MatMul,
    Multiply,
    ReLU,
    Sigmoid,
    SoftmaxCrossEntropy,
    Tanh,
)
from ..ops.elementwise import Elementwise
from ..ops.losses import Loss
from ..ops.reductions import Mean, Reduction
from ..ops.rowwise import Rowwise, Training
from ..program import Program

__all__ = ["STAGES", "Buffer", "CustomBack", "CustomForward", "Lowered", "Step", "lower"]

# Stages, in the order of ``csrc/plan.pxi``.
STAGES = ONCE, SEED, ROWS, BACK, TAIL, ONCE_BACK, KEEP = range(7)

# Positions of operands and flags, as in ``csrc/native.pyx`` and the kernels.
IN, OUT, GRAD, TO, MORE, MORE2 = 0, 3, 4, 5, 8, 9
#: Operands of the inputs, of their gradients, and the flags how these are written, by position.
INPUTS, TARGETS, HOW = (0, 1, 2, 10, 11), (5, 6, 7, 12, 13), (0, 1, 2, 8, 9)
WRITE, ADD, FIRST = 0, 1, 2
VALUE = 7
LONE0, PER_ROW = 3, 3
ACTIVATION, THROUGH, PASSED, LONE_BIAS = 3, 4, 5, 6
ACTIVATIONS = {ReLU: 1, Sigmoid: 2, Tanh: 3}

# From this many rows a step on, W is transposed once for the products that go back through it.
TRANSPOSE_ROWS = 4


@dataclass(eq=False, slots=True)
class Buffer:
    """A place for numbers.

    ``space`` is ``"rows"`` (one row's elements for each row of a block), ``"once"``,
    ``"gradients"`` (added up over lanes), ``"parameter"``, ``"constant"`` or ``"data"``; ``node``
    is whose value it is for the last three. ``size``: elements, or elements a row.
    """

    space: str
    size: int
    node: Node | None = None


@dataclass(eq=False, slots=True)
class Step:
    """A kernel on operands."""

    kernel: str
    batched: bool
    operands: list[Buffer | None]
    sizes: tuple[int, ...] = ()
    flags: list[int] = field(default_factory=lambda: [0] * 10)
    numbers: tuple[float, ...] = ()
    table: np.ndarray | None = None
    call: CustomForward | CustomBack | None = None
    node: Node | None = None


@dataclass(eq=False, slots=True)
class Lowered:
    """Steps by stage, and the buffers they speak of.

    Attributes:
        stages: a list of steps for each stage.
        values: each node's value buffer (not of nodes fused away).
        gradients: each node's gradient buffer, where it has one.
        contributions: ``{(node, position): buffer}``, for step-by-step runs.
        totals: (data, its sum over the batch), which must be there before the rows run.
        whole: the rows depend on all rows, so a batch runs in one block.
        buffers: all buffers but parameters, constants and data, in the order they were made.
    """

    stages: list[list[Step]]
    values: dict[Node, Buffer]
    gradients: dict[Node, Buffer]
    contributions: dict[tuple[Node, int], Buffer]
    totals: list[tuple[Buffer, Buffer]]
    whole: bool
    buffers: list[Buffer]


def lower(program: Program, mode: str, rows: int, output: Node | None = None) -> Lowered:
    """The steps of ``program``.

    Parameters:
        mode: ``"inspect"`` (forward and backward, every value and contribution kept, in one
            block), ``"evaluate"`` (forward alone), ``"train"`` (fused, block by block) or
            ``"gradient"`` (as that, of what evaluation computes).
        rows: rows a step, which decide what pays.
        output: which output gradients start from.
    """
    return _Lowering(program, mode, rows, output or program.outputs[0]).run()


class _Lowering:
    def __init__(self, program: Program, mode: str, rows: int, output: Node):
        self.program = program
        self.output = output
        self.training = mode == "train"  # else what trains otherwise does as in evaluation
        self.mode = mode = "train" if mode == "gradient" else mode
        self.rows = rows
        self.shapes = program.shapes
        self.batched = {node: shape.batched for node, shape in program.shapes.items()}
        self.sizes = {node: math.prod(shape.features) for node, shape in program.shapes.items()}
        self.stages: list[list[Step]] = [[] for _ in STAGES]
        self.values: dict[Node, Buffer] = {}
        self.gradients: dict[Node, Buffer] = {}
        self.contributions: dict[tuple[Node, int], Buffer] = {}
        self.buffers: list[Buffer] = []
        self.written: set[Buffer] = set()  # gradients that have something to add to
        self.spreads: dict[tuple[Node, int], Step] = {}  # by reader and position
        self.spread_to: dict[tuple[Node, bool, tuple[int, ...]], Step] = {}  # by what and shape
        self.transposed: dict[Node, Buffer] = {}
        self.copies: dict[Node, Buffer] = {}
        self.totals: dict[Node, Buffer] = {}  # sums over the batch
        self.memories: dict[Node, list[Buffer]] = {}  # what kernels keep until backward
        self.repeats: dict[tuple[Node, int], Buffer] = {}
        self.described: dict[Node, Step] = {}
        self.stage_of: dict[Node, int] = {}
        self.fused: dict[Node, Node] = {}  # a linear layer -> the activation it runs
        self.affine: dict[Node, tuple[Node, Node, Node]] = {}  # an Add -> x, W, b
        self.heads: dict[Node, Node] = {}  # a loss -> the layer of width one it runs
        self.skipped: set[Node] = set()  # nodes that run inside another one
        self.passed: set[Node] = set()  # activations whose gradient has been passed by the reader
        self.done_back: set[Node] = set()  # losses whose gradients were written on the way forward
        if mode == "train":
            self.wanted = program.trained
        else:
            self.wanted = program.differentiable if mode == "inspect" else frozenset()
        self.readers: dict[Node, list[Node]] = {node: [] for node in program.nodes}
        for node in program.nodes:
            for item in node.inputs:
                self.readers[item].append(node)
        self.reducing = {
            node
            for node in program.nodes
            if not self.batched[node] and any(self.batched[item] for item in node.inputs)
        }
        self.summed = self._find_sums()
        self.whole = mode == "inspect" or self._needs_whole()

    # What depends on what --------------------------------------------------------------------

    def _reduces(self, node: Node) -> bool:
        return node in self.reducing

    def _find_sums(self) -> set[Node]:
        """Nodes that depend on a sum over rows."""
        found: set[Node] = set()
        for node in self.program.nodes:
            if self._reduces(node) or any(item in found for item in node.inputs):
                found.add(node)
        return found

    def _needs_whole(self) -> bool:
        """Whether the rows, or the gradients that go back to them, depend on all rows."""
        for node in self.program.nodes:
            if self.batched[node] and node in self.summed:
                return True
            custom = node.kernel is None and bool(node.inputs)
            if custom and any(self.batched[item] for item in node.inputs):
                return True
            if self.training and isinstance(node, Training) and node.running:
                return True
            if isinstance(node, Loss) and len(node.inputs) > 2 and node.kernel is not None:
                weight = node.inputs[2]  # the rows need the sum of the weights
                fed = isinstance(weight, Input) and self.batched[weight]
                if weight in self.wanted or not fed:
                    return True
            if self.mode == "train" and node in self.summed and not self._reduces(node):
                # Its gradients are wanted before the rows have run: none may read their sums.
                for position, item in enumerate(node.inputs):
                    if item not in self.wanted:
                        continue
                    reads = (node.gradient_reads or {}).get(position)
                    if reads is None or any(node.inputs[i] in self.summed for i in reads):
                        return True
        return False

    def _stage(self, node: Node) -> int:
        stage = self.stage_of.get(node)
        if stage is None:
            stage = self.stage_of[node] = self._find_stage(node)
        return stage

    def _find_stage(self, node: Node) -> int:
        if self.whole or self.batched[node] or self._reduces(node):
            return ROWS
        return TAIL if node in self.summed else ONCE

    # Buffers ---------------------------------------------------------------------------------

    def _new(self, space: str, size: int) -> Buffer:
        buffer = Buffer(space, size)
        self.buffers.append(buffer)
        return buffer

    def _value(self, node: Node) -> Buffer:
        if node not in self.values:
            size = self.sizes[node]
            if isinstance(node, Parameter):
                buffer = Buffer("parameter", size, node)
            elif isinstance(node, Constant):
                buffer = Buffer("constant", size, node)
            elif isinstance(node, Input):
                buffer = Buffer("data" if self.batched[node] else "constant", size, node)
            elif self.batched[node]:
                buffer = self._new("rows", size)
            else:
                space = "gradients" if self._reduces(node) and not self.whole else "once"
                buffer = self._new(space, size)
            self.values[node] = buffer
        return self.values[node]

    def _gradient(self, node: Node) -> Buffer:
        if node not in self.gradients:
            if self.batched[node]:
                space = "rows"
            else:
                shared = node in self.summed or node is self.output or self.mode == "inspect"
                space = "once" if shared and not isinstance(node, Parameter) else "gradients"
            self.gradients[node] = self._new(space, self.sizes[node])
        return self.gradients[node]

    def _target(self, node: Node, position: int) -> tuple[Buffer | None, int]:
        """Where the gradient of an input goes, and whether it is written or added."""
        item = node.inputs[position]
        if item not in self.wanted:
            return None, WRITE
        if self.mode == "inspect":
            space = "rows" if self.batched[item] else "once"
            buffer = self._new(space, self.sizes[item])
            self.contributions[node, position] = buffer
            return buffer, WRITE
        return self._meeting(self._gradient(item), self.batched[item], self._rowwise(node))

    def _rowwise(self, node: Node) -> bool:
        """Whether the node's backward step runs once per block."""
        return self._stage(node) == ROWS and not self.whole

    def _meeting(self, buffer: Buffer, batched: bool, rowwise: bool) -> tuple[Buffer, int]:
        if buffer in self.written:
            return buffer, ADD
        self.written.add(buffer)
        # What has no rows gathers over the blocks of a step.
        return buffer, FIRST if rowwise and not batched else WRITE

    # Steps -----------------------------------------------------------------------------------

    def run(self) -> Lowered:
        if self.mode != "inspect":
            self._fuse()
        if self.mode != "evaluate":
            for node in self.program.parameters:
                # First, so that the gradients of all parameters lie together, in their order.
                self._gradient(node)
            self.written.add(self._gradient(self.output))
        forward = [n for n in self.program.nodes if n.inputs and n not in self.skipped]
        if self.mode == "train" and not self.whole:
            self._seed_stage(forward)
        for node in forward:
            self._forward(node)
        for node in self.program.outputs:
            self._value(node)
        if self.mode != "evaluate":
            # In the order in which they will run: what is lowered first writes, the rest adds.
            for stage in (ROWS, ONCE):
                for node in reversed(forward):
                    if self._stage(node) == stage and node not in self.done_back:
                        self._backward(node)
        return Lowered(
            self.stages, self.values, self.gradients, self.contributions,
            [] if self.whole else [(self._value(n), total) for n, total in self.totals.items()],
            self.whole, self.buffers,
        )  # fmt: skip

    def _seed_stage(self, forward: list[Node]) -> None:
        """Gradients from the output down to the sums over rows: before the rows."""
        for node in reversed(forward):
            if self._stage(node) == TAIL:
                self._backward(node)

    def _forward(self, node: Node) -> None:
        if node in self.heads:
            self._head(node, self.heads[node])
            return
        stage = self._stage(node)
        if _runs(node, Concatenate):
            self._join(node, stage)
            return
        step = self._describe(node, stage)
        step.kernel += "_forward"
        step.operands[OUT] = self._value(self.fused.get(node, node))
        if isinstance(step.call, CustomForward):
            step.call.value = step.operands[OUT]
        if self._reduces(node) and not self.whole:
            step.flags[VALUE] = FIRST
            fused = _runs(node, Loss) and self.mode == "train" and node in self.wanted
            if fused and not self._gradient_missing(node):
                # The gradient of the loss is known already: write those of its inputs as well.
                step.operands[GRAD] = self._gradient(node)
                self._point_back(node, step)
                self.done_back.add(node)
        self.stages[stage].append(step)
        if node in self.done_back:
            self._after_back(node, step, ROWS)
        if self._trains(node) and node.keeps():
            keep = self._describe(node, stage)
            keep.kernel = f"{node.kernel}_keep"
            keep.batched = False
            for position in node.running:
                if position not in node.keeps():
                    keep.operands[INPUTS[position]] = None
            self.stages[KEEP].append(keep)

    def _head(self, loss: Loss, layer: Node) -> None:
        """A loss and the layer before it as one step, forward and backward."""
        step = self._describe(layer, ROWS)
        step.kernel = f"{loss.kernel}_head"
        self._point_back(layer, step)
        size = step.sizes[2]
        step.sizes, step.numbers = (size,), (1 / size,)
        step.flags[PER_ROW] = 1
        step.flags[VALUE] = FIRST
        step.operands[OUT] = self._value(loss)
        step.operands[GRAD] = self._gradient(loss)
        step.operands[MORE] = self._value(loss.inputs[0])
        step.flags[THROUGH] = 0  # it passes no gradient through the ReLU before it
        self.passed.discard(layer.inputs[0])
        self.stages[ROWS].append(step)
        self.done_back.update((loss, layer))

    def _backward(self, node: Node) -> None:
        owner = self.fused.get(node, node)  # whose gradient this step is given
        if self._gradient_missing(owner) or not any(
            item in self.wanted for item in self._reads(node)
        ):
            return
        forward_stage = self._stage(node)
        stage = {ROWS: BACK, TAIL: SEED, ONCE: ONCE_BACK}[forward_stage]
        if _runs(node, Concatenate):
            self._part(node, stage)
            return
        step = self._describe(node, forward_stage, backward=True)
        step.kernel += "_backward"
        step.operands[OUT] = self._value(owner)
        step.operands[GRAD] = self._gradient(owner)
        if owner in self.passed:
            step.flags[PASSED] = 1
        self._point_back(node, step)
        self.stages[stage].append(step)
        self._after_back(node, step, stage)

    def _gradient_missing(self, node: Node) -> bool:
        return node not in self.gradients or self.gradients[node] not in self.written

    def _reads(self, node: Node) -> tuple[Node, ...]:
        return self.affine.get(node, node.inputs)

    def _point_back(self, node: Node, step: Step) -> None:
        """Set the operands that take the gradients of the inputs."""
        if node in self.affine:
            targets = [self._affine_target(node, item) for item in self.affine[node]]
        else:
            targets = []
            for position in range(len(node.inputs)):
                spread = self.spreads.get((node, position))
                if self._trains(node) and position in node.running:
                    targets.append((None, WRITE))
                elif spread is not None and node.inputs[position] in self.wanted:
                    # The gradient of the spread operand first; it is summed back after.
                    out = spread.operands[OUT]
                    targets.append((self._new(out.space, out.size), WRITE))
                else:
                    targets.append(self._target(node, position))
        if step.call is None:
            for position, (buffer, how) in enumerate(targets):
                step.operands[TARGETS[position]] = buffer
                step.flags[HOW[position]] = how
        if isinstance(step.call, CustomBack):
            step.call.gradient = step.operands[GRAD]
            step.call.targets = targets
        if _runs(node, Linear) and step.operands[TO] is not None:
            self._point_linear_back(node, step)

    def _affine_target(self, node: Node, item: Node) -> tuple[Buffer | None, int]:
        if item not in self.wanted:
            return None, WRITE
        return self._meeting(self._gradient(item), self.batched[item], self._rowwise(node))

    def _point_linear_back(self, node: Node, step: Step) -> None:
        x, W = node.inputs[0], node.inputs[1]
        k, n, _ = step.sizes
        if n > 1 and self.rows * step.sizes[2] >= TRANSPOSE_ROWS:
            if W not in self.transposed:
                buffer = self._new("once", k * n)
                self.transposed[W] = buffer
                transposing = Step(
                    "transpose_forward", False, _operands({IN: self._value(W), OUT: buffer}), (k, n)
                )
                where = self._stage(W) if not isinstance(W, (Parameter, Constant)) else ONCE
                self.stages[where].append(transposing)
            step.operands[MORE] = self.transposed[W]
        if (
            self.mode == "train"
            and isinstance(x, ReLU)
            and x in self.skipped  # run by its layer
            and len(self.readers[x]) == 1
            and step.flags[0] == WRITE
            and x not in self.program.outputs
        ):
            step.flags[THROUGH] = 1
            self.passed.add(x)

    def _after_back(self, node: Node, step: Step, stage: int) -> None:
        """Sum spread gradients back, and let contributions meet."""
        for position, item in enumerate(node.inputs):
            spread = self.spreads.get((node, position))
            if spread is None or item not in self.wanted:
                continue
            target, how = self._target(node, position)
            back = Step(
                "spread_backward",
                spread.batched,
                _operands({GRAD: step.operands[TO + position], TO: target}),
                spread.sizes,
                table=spread.table,
            )
            back.flags[0] = how
            self.stages[stage].append(back)
        if self.mode != "inspect":
            return
        for position, item in enumerate(node.inputs):
            buffer = self.contributions.get((node, position))
            if buffer is None:
                continue
            target, how = self._meeting(self._gradient(item), self.batched[item], False)
            meet = Step(
                "accumulate_forward",
                self.batched[item],
                _operands({IN: buffer, OUT: target}),
                (buffer.size,),
            )
            meet.flags[VALUE] = how
            self.stages[stage].append(meet)

    # Joining ---------------------------------------------------------------------------------

    def _parts(self, node: Concatenate) -> list[Step]:
        """A step for each input; without operands."""
        sizes = node.parts(*(self.shapes[item] for item in node.inputs))
        return [
            Step(node.kernel, self.batched[node], [None] * 14, size, node=node) for size in sizes
        ]

    def _join(self, node: Concatenate, stage: int) -> None:
        for step, item in zip(self._parts(node), node.inputs, strict=True):
            step.kernel += "_forward"
            step.operands[IN], step.operands[OUT] = self._value(item), self._value(node)
            self.stages[stage].append(step)

    def _part(self, node: Concatenate, stage: int) -> None:
        for position, step in enumerate(self._parts(node)):
            step.kernel += "_backward"
            step.operands[GRAD] = self._gradient(node)
            step.operands[TO], step.flags[0] = self._target(node, position)
            if step.operands[TO] is not None:
                self.stages[stage].append(step)
        self._after_back(node, step, stage)

    # Kinds of operations ---------------------------------------------------------------------

    def _trains(self, node: Node) -> bool:
        """Whether the node does what it does while training alone."""
        return self.training and _runs(node, Training)

    def _memory(self, node: Node, buffers: list[tuple[str, int]]) -> list[Buffer]:
        """What the node's kernels keep from forward to backward."""
        if node not in self.memories:
            self.memories[node] = [self._new(*buffer) for buffer in buffers]
        return self.memories[node]

    def _describe(self, node: Node, stage: int, backward: bool = False) -> Step:
        """The step of ``node`` without value and gradients: kernel, operands, sizes, flags."""
        known = self.described.get(node)
        if known is None:
            known = self.described[node] = self._first_description(node, stage)
        call = known.call
        if call is not None and backward:
            call = CustomBack(node, call.inputs)
        return Step(
            known.kernel, known.batched, known.operands.copy(), known.sizes, known.flags.copy(),
            known.numbers, known.table, call, node,
        )  # fmt: skip

    def _first_description(self, node: Node, stage: int) -> Step:
        batched = self.batched[node] or self._reduces(node)
        step = Step(node.kernel or "custom", batched, [None] * 14, node=node)
        if node in self.affine:
            return self._describe_affine(node, step)
        if node.kernel is None:
            step.call = CustomForward(node, [self._readable(item) for item in node.inputs])
            return step
        if isinstance(node, Elementwise):
            shape = self.shapes[node]
            self._operands_of(node, step, shape, stage, lone=True)
            step.sizes = (self.sizes[node],)
            step.numbers = node.numbers
        elif isinstance(node, Loss):
            self._describe_loss(node, step, stage)
        elif isinstance(node, Rowwise):
            self._describe_rowwise(node, step)
        elif isinstance(node, Reduction):
            self._describe_reduction(node, step)
        elif isinstance(node, Linear):
            self._describe_linear(node, step, stage)
        elif isinstance(node, MatMul):
            self._describe_matmul(node, step)
        else:
            raise GraphError(f"{node}: the native engine does not know this kind of operation")
        return step

    def _describe_loss(self, node: Loss, step: Step, stage: int) -> None:
        y_true, y_pred = node.inputs[:2]
        if isinstance(node, SoftmaxCrossEntropy):
            shape = self.shapes[y_pred]
            *labels, classes = shape.features
            size = math.prod(labels)
            step.operands[IN], step.operands[IN + 1] = self._value(y_true), self._value(y_pred)
            step.sizes = (size, 0, classes, self.sizes[y_true] // size)
        else:
            given = [self.shapes[y_true], self.shapes[y_pred]]
            shape = next((shape for shape in given if shape.batched), None)
            shape = shape or Shape(None, np.broadcast_shapes(*(shape.features for shape in given)))
            self._operands_of(node, step, shape, stage, lone=False)
            size = math.prod(shape.features)
            step.sizes = (size, 0)
        step.flags[PER_ROW] = int(shape.batched)
        step.numbers = (1 / size, *node.numbers)
        if len(node.inputs) > 2:
            weight = node.inputs[2]
            step.sizes = (size, self.sizes[weight], *step.sizes[2:])
            step.operands[IN + 2] = self._value(weight)
            step.operands[MORE] = self._total(weight, stage)

    def _total(self, node: Node, stage: int) -> Buffer:
        """The sum of a node over the batch, which is there before what reads it."""
        if node not in self.totals:
            total = self.totals[node] = self._new("once", 1)
            if self.whole:
                adding = Step(
                    "total_forward", self.batched[node],
                    _operands({IN: self._value(node), OUT: total}),
                    (self.sizes[node],), numbers=(1.0,),
                )  # fmt: skip
                self.stages[stage].append(adding)
        return self.totals[node]

    def _describe_rowwise(self, node: Rowwise, step: Step) -> None:
        shapes = [self.shapes[item] for item in node.inputs]
        for position, item in enumerate(node.inputs):
            step.operands[INPUTS[position]] = self._value(item)
        step.sizes, step.table = node.sizes(*shapes), node.table(*shapes)
        step.numbers = node.numbers
        space = "rows" if self.batched[node] else "once"
        if self._trains(node):
            step.kernel += "_train"
        if self._trains(node) and node.running:
            kept = [("once", self.sizes[node.inputs[position]]) for position in node.running]
        else:
            kept = [(space, count) for count in (node.kept(*shapes),) if count]
        for position, buffer in enumerate(self._memory(node, kept)):
            step.operands[MORE + position] = buffer
        if self._trains(node):
            step.sizes = (*step.sizes, self.program.nodes.index(node))

    def _readable(self, node: Node) -> Buffer:
        """The node's value where a callback can read it: rows of data are copied for it."""
        value = self._value(node)
        if value.space != "data":
            return value
        if node not in self.copies:
            out = self.copies[node] = self._new("rows", value.size)
            copy = Step("accumulate_forward", True, _operands({IN: value, OUT: out}), (value.size,))
            self.stages[ROWS].append(copy)
        return self.copies[node]

    def _operands_of(self, node: Node, step: Step, shape: Shape, stage: int, lone: bool) -> None:
        """The first two inputs in ``shape``: as they are, single numbers where the kernel takes
        them, or spread."""
        for position, item in enumerate(node.inputs[:2]):
            given = self.shapes[item]
            if given.batched == shape.batched and given.features == shape.features:
                step.operands[IN + position] = self._value(item)
            elif lone and not given.batched and self.sizes[item] == 1 and len(node.inputs) > 1:
                step.operands[IN + position] = self._value(item)
                step.flags[LONE0 + position] = 1
            else:
                step.operands[IN + position] = self._spread(node, position, shape, stage)

    def _spread(self, node: Node, position: int, shape: Shape, stage: int) -> Buffer:
        """The buffer of an input repeated to ``shape``: made on first use, shared by readers."""
        item = node.inputs[position]
        key = (item, shape.batched, shape.features)
        known = self.spread_to.get(key)
        if known is None:
            given = self.shapes[item]
            axes = given.features
            if shape.batched and not given.batched and len(axes) > len(shape.features):
                axes = axes[1:]  # an axis of size 1 that falls on the batch
            size, own = math.prod(shape.features), math.prod(axes)
            index = np.arange(own, dtype=np.int32).reshape(axes)
            table = np.ascontiguousarray(np.broadcast_to(index, shape.features).ravel())
            out = self._new("rows" if shape.batched else "once", size)
            known = self.spread_to[key] = Step(
                "spread_forward",
                shape.batched,
                _operands({IN: self._value(item), OUT: out}),
                (size, own, own if given.batched else 0),
                table=table,
            )
            self.stages[stage].append(known)
        self.spreads[node, position] = known
        return known.operands[OUT]

    def _describe_reduction(self, node: Reduction, step: Step) -> None:
        (x,) = node.inputs
        given = self.shapes[x]
        size = math.prod(given.features)
        step.operands[IN] = self._value(x)
        if node.axis is None:
            step.kernel = "total"
            step.sizes = (size,)
            mean = isinstance(node, Mean)
            step.flags[PER_ROW] = int(mean and given.batched)
            step.numbers = (1 / size if mean else 1.0,)
            return
        first = 1 if given.batched else 0
        axes = tuple(axis - first for axis in node.reduced_axes(given))
        kept = tuple(1 if i in axes else n for i, n in enumerate(given.features))
        out = math.prod(kept)
        index = np.arange(out, dtype=np.int32).reshape(kept)
        step.kernel = "along"
        step.table = np.ascontiguousarray(np.broadcast_to(index, given.features).ravel())
        step.sizes = (size, out)
        step.numbers = (out / size if isinstance(node, Mean) else 1.0,)

    def _describe_linear(self, node: Linear, step: Step, stage: int) -> None:
        x, W = node.inputs[0], node.inputs[1]
        size = self.sizes[x]
        out = self.sizes[node]
        if not self.shapes[W].features:
            step.sizes = (1, 1, size)
        else:
            k = self.shapes[W].features[0]
            step.sizes = (k, out * k // size, size // k)
        step.operands[IN] = self._value(x)
        step.operands[IN + 1] = self._value(W)
        if len(node.inputs) == 3:
            b = node.inputs[2]
            n = step.sizes[1]
            if self.sizes[b] == n:
                step.operands[IN + 2] = self._value(b)
            else:  # one number for all outputs
                step.operands[IN + 2] = self._repeated(b, n, stage)
                step.flags[LONE_BIAS] = 1
        if node in self.fused:
            step.flags[ACTIVATION] = ACTIVATIONS[type(self.fused[node])]

    def _repeated(self, number: Node, size: int, stage: int) -> Buffer:
        """A buffer with ``number`` in every element, for what has no rows."""
        key = (number, size)
        if key not in self.repeats:
            out = self.repeats[key] = self._new("once", size)
            spread = Step(
                "spread_forward",
                False,
                _operands({IN: self._value(number), OUT: out}),
                (size, 1, 0),
                table=np.zeros(size, np.int32),
            )
            self.stages[stage if self.whole or stage != ROWS else ONCE].append(spread)
        return self.repeats[key]

    def _describe_affine(self, node: Node, step: Step) -> Step:
        x, W, b = self.affine[node]
        step.kernel = "linear"
        step.sizes = (1, 1, self.sizes[x])
        for position, item in enumerate((x, W, b)):
            step.operands[IN + position] = self._value(item)
        if node in self.fused:
            step.flags[ACTIVATION] = ACTIVATIONS[type(self.fused[node])]
        return step

    def _describe_matmul(self, node: MatMul, step: Step) -> None:
        a, b = node.inputs
        left, right = self.shapes[a], self.shapes[b]
        k = left.features[-1]
        n = right.features[-1] if len(right.features) > 1 else 1
        step.operands[IN], step.operands[IN + 1] = self._value(a), self._value(b)
        if left.batched and not right.batched:
            m, count = math.prod(left.features[:-1]), 1
        else:
            m = left.features[-2] if len(left.features) > 1 else 1
            deeper = left if left.batched else right
            count = math.prod(deeper.features[:-2]) if self.batched[node] else 1
        a_step = m * k if left.batched or not right.batched else 0
        b_step = k * n if right.batched or not left.batched else 0
        step.sizes = (m, k, n, a_step, b_step, count)

    # Fusion ----------------------------------------------------------------------------------

    def _fuse(self) -> None:
        """Find k * x + b on single numbers, and layers that can run their activation."""
        for node in self.program.nodes:
            if _runs(node, Add):
                found = self._find_affine(node)
                if found is not None:
                    self.affine[node] = found[1]
                    self.skipped.add(found[0])
        for node in self.program.nodes:
            if type(node) in ACTIVATIONS:
                (layer,) = node.inputs
                if (
                    (_runs(layer, Linear) or layer in self.affine)
                    and self._alone(layer)
                    and self.batched[layer]
                ):
                    self.fused[layer] = node
                    self.skipped.add(node)

        if self.mode == "train" and not self.whole:
            for node in self.program.nodes:
                if type(node) in (MSE, MAE) and self._has_head(node):
                    self.heads[node] = node.inputs[1]
                    self.skipped.add(node.inputs[1])

    def _has_head(self, loss: Loss) -> bool:
        """Whether a loss can run the layer before it: width one, one feature, a bias."""
        y_true, layer, *weights = loss.inputs
        if weights or not self.batched[layer] or not self._alone(layer) or y_true in self.wanted:
            return False
        if self.shapes[y_true] != self.shapes[layer] or layer in self.fused:
            return False
        if layer in self.affine:
            return True
        if not _runs(layer, Linear) or len(layer.inputs) < 3:
            return False
        x, W, b = layer.inputs
        return self.sizes[W] == 1 and self.sizes[b] == 1 and self.sizes[x] == self.sizes[layer]

    def _alone(self, node: Node) -> bool:
        """Whether nobody but one reader looks at the node."""
        return len(self.readers[node]) == 1 and node not in self.program.outputs

    def _find_affine(self, node: Add) -> tuple[Node, tuple[Node, Node, Node]] | None:
        def number(item: Node) -> bool:
            return not self.batched[item] and self.sizes[item] == 1 and item not in self.summed

        for product, b in (node.inputs, node.inputs[::-1]):
            if not (_runs(product, Multiply) and self._alone(product) and number(b)):
                continue
            for x, W in (product.inputs, product.inputs[::-1]):
                plain = self.batched[x] and number(W)
                if plain and self.shapes[x] == self.shapes[node]:
                    return product, (x, W, b)
        return None


@dataclass(eq=False, slots=True)
class CustomForward:
    """A call of a user's forward, on buffers that `native.py` shows it as arrays."""

    node: Node
    inputs: list[Buffer] = field(default_factory=list)
    value: Buffer | None = None


@dataclass(eq=False, slots=True)
class CustomBack:
    """A call of a user's backward."""

    node: Node
    inputs: list[Buffer] = field(default_factory=list)
    gradient: Buffer | None = None
    targets: list[tuple[Buffer | None, int]] = field(default_factory=list)


def _runs(node: Node, operation: type[Node]) -> bool:
    """Whether native kernels run ``node`` as this operation; a user's subclass has none."""
    return isinstance(node, operation) and node.kernel is not None


def _operands(named: dict[int, Buffer | None]) -> list[Buffer | None]:
    return [named.get(position) for position in range(14)]
