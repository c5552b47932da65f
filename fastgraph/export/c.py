"""A graph as one C99 file and its header: no allocation, nothing needed but <math.h>.

The operations are in ``c_operations.py``: there each becomes a few `Pass`es, loops over arrays.
Here the passes of a function are put in order, scratch memory is planned (an array lives from the
first pass that names it to the last, and arrays that never live together share memory), and all is
written down. Every name that comes from a user gets a prefix (``in_``, ``v_``, ``g_``) or goes
into a comment, cleaned; so none can meet a keyword, a macro or the end of the comment.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import GraphError, SettingError, ShapeError, unknown
from ..node import Constant, Input, Node, Parameter
from ..optimizers import Optimizer, OptimizerState
from ..program import Program
from .c_operations import (
    FUNCTIONS,
    OPERATIONS,
    OPTIMIZERS,
    Array,
    Operation,
    Pass,
    Site,
    aligned,
    letter_of,
)
from .scaling import Scaling, checked, targets

__all__ = ["CExport", "write_c"]

_REAL = {"float32": "float", "float64": "double"}
_LETTER = re.compile(r"\b(d?[a-e]|d?x\d+|[gy]|t\d)\b")
_MATH = re.compile(r"\b(cos|erfc|exp|expm1|fabs|log|log1p|pow|sin|sqrt|tanh)\(")
_LITERAL = re.compile(r"\b\d+(\.\d+(e[+-]?\d+)?|e[+-]?\d+)\b")
_COUNTERS = "ijklmnpq"
#: What C99 promises of a string literal.
_LONGEST_STRING = 4095


@dataclass(frozen=True)
class CExport:
    """What an export to C came to.

    Attributes:
        source, header: the files written.
        name: with which every public name in them begins.
        dtype: of all numbers, ``float32`` (C's float) or ``float64`` (double).
        parameter_bytes: read-only, or in RAM where the model goes on learning.
        constant_bytes: of constants and scaling, read-only.
        training_bytes: of gradients and optimizer state, in RAM; 0 without training.
        scratch_bytes: of intermediate values, in RAM.
        source_bytes: of the C text.
    """

    source: str
    header: str
    name: str
    dtype: str
    parameter_bytes: int
    constant_bytes: int
    training_bytes: int
    scratch_bytes: int
    source_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.source} and {os.path.basename(self.header)} ({_REAL[self.dtype]}): "
            f"parameters {self.parameter_bytes:,} bytes, constants {self.constant_bytes:,}, "
            f"training {self.training_bytes:,}, scratch {self.scratch_bytes:,}; "
            f"C text {self.source_bytes:,}"
        )


def write_c(
    path: Any,
    prediction: Program,
    *,
    titles: Mapping[Node, str],
    dtype: np.dtype,
    scaling: Scaling,
    name: str | None = None,
    labels: Iterable[Any] | None = None,
    loss: Program | None = None,
    optimizer: Optimizer | None = None,
    state: OptimizerState | None = None,
) -> CExport:
    """Write ``prediction`` (a program of one row), and a training step where there is a ``loss``
    (a program of as many rows as a step takes); see ``Graph.export_c``."""
    source, header = _paths(path)
    stem = _identifier(
        os.path.basename(source)[: -len(".c")] if name is None else _checked_name(name)
    )
    prefix = stem if stem[0].isalpha() else f"model_{stem.lstrip('_') or 'c'}"
    unit = _Unit(prefix, dtype, titles, scaling, prediction, loss)
    classes = _classes(labels, prediction, scaling)
    functions = [unit.predict()]
    if classes:
        functions.append(unit.classify(len(classes)))
    training_size = 0
    if loss is not None:
        assert optimizer is not None and state is not None
        unit.check_targets()
        functions += [unit.train_step(optimizer, state), unit.parameter_access()]
        training_size = sum(array.size for array in unit.training.values())
    sizes = (len(unit.parameters), len(unit.constants), training_size, unit.scratch_size)
    parameters, constants, learning, scratch = sized = [n * dtype.itemsize for n in sizes]
    text = unit.source(os.path.basename(header), functions, classes)
    header_text = unit.header(functions, len(classes), sized)
    for path_to, content in ((source, text), (header, header_text)):
        with open(path_to, "w", encoding="ascii", newline="\n") as file:
            file.write(content)
    return CExport(
        source, header, prefix, dtype.name, parameters, constants, learning, scratch, len(text)
    )


@dataclass(frozen=True)
class _Function:
    """A function of the file: its prototype, what the header says of it, and its body."""

    prototype: str
    about: str
    body: str


class _Unit:
    """The C file while it is made: its arrays, what it is given, and the functions in it."""

    def __init__(
        self,
        prefix: str,
        dtype: np.dtype,
        titles: Mapping[Node, str],
        scaling: Scaling,
        prediction: Program,
        loss: Program | None,
    ):
        self.prefix, self.dtype, self.titles, self.scaling = prefix, dtype, titles, scaling
        self.real = _REAL[dtype.name]
        self.prediction, self.loss = prediction, loss
        programs = [program for program in (loss, prediction) if program is not None]
        nodes = dict.fromkeys(node for program in programs for node in program.nodes)
        self.names = _identifiers({node: titles[node] for node in nodes})
        self.parameters: list[Any] = []  # the numbers of the file's array, in order
        self.constants: list[Any] = []
        self.training: dict[str, Array] = {}
        self.initial: dict[str, np.ndarray] = {}  # where the optimizer's state starts
        self.listed: list[tuple[Node, Array]] = []
        self.fixed: dict[Node, Array] = {}
        # Those the loss trains come first, in the order in which the optimizer has them.
        for item in dict.fromkeys(item for program in programs for item in program.parameters):
            array = self._stored(self.parameters, "parameters", "v", item, item.value)
            self.listed.append((item, array))
            self.fixed[item] = array
        for node in nodes:
            if isinstance(node, (Parameter, Constant)) and node not in self.fixed:
                value = node.value if isinstance(node, Parameter) else node.constant
                self.fixed[node] = self._stored(self.constants, "constants", "v", node, value)
        self.scales: dict[Node, tuple[Array, Array]] = {}
        for node, (mean, scale) in scaling.items():
            if node in self.names:
                self.scales[node] = (
                    self._stored(self.constants, "constants", "mean", node, mean),
                    self._stored(self.constants, "constants", "scale", node, scale),
                )
        self.scratch_size = 0
        largest = max(math.prod(p.shapes[node].axes) for p in programs for node in p.nodes)
        self.index = "int" if max(largest, len(self.parameters)) <= 32767 else "long"

    def _stored(
        self, into: list, storage: str, what: str, node: Node, value: np.ndarray
    ) -> Array:
        array = checked(node, value, self.dtype)
        place = Array(f"{what}_{self.names[node]}", array.shape, storage, len(into))
        into.extend(array.ravel())
        return place

    def check_targets(self) -> None:
        """A prediction that is scaled back is learned from targets that are scaled too."""
        assert self.loss is not None
        (output,) = self.prediction.outputs
        wanted = targets(self.loss.inputs, self.prediction.inputs)
        if output in self.scaling and wanted and not any(node in self.scaling for node in wanted):
            names = ", ".join(map(str, wanted))
            raise SettingError(
                f"scaling: {output} is scaled but {names} is not, so a training step would compare "
                f"the two in different units; scale {names} with the same mean and scale"
            )

    # Functions -------------------------------------------------------------------------------

    def predict(self) -> _Function:
        routine = _Routine(self, self.prediction)
        (output,) = self.prediction.outputs
        out = Array("out", self.prediction.shapes[output].axes, "argument")
        routine.forward(into={output: out})
        arguments = [*self._arguments(self.prediction), f"{self.real} out[{out.size}]"]
        return _Function(
            f"void {self.prefix}_predict({', '.join(arguments)})",
            f"Computes {_comment(self.titles[output])} of one row into out: {_count(out.size)}.",
            self._body(routine),
        )

    def classify(self, classes: int) -> _Function:
        (output,) = self.prediction.outputs
        size = math.prod(self.prediction.shapes[output].features)
        called = [f"in_{self.names[node]}" for node in self.prediction.inputs]
        if size == 1:
            limit = "0.5" if output.kernel == "sigmoid" else "0.0"
            best = [f"return out[0] > {_suffixed(limit, self.dtype)};"]
            how = f"1 where the output is above {limit}, else 0"
        else:
            best = [
                "int best = 0;",
                f"for (int i = 1; i < {size}; i++) {{",
                "    if (out[i] > out[best]) {",
                "        best = i;",
                "    }",
                "}",
                "return best;",
            ]
            how = "the place of the largest output"
        lines = [
            f"{self.real} out[{size}];",
            f"{self.prefix}_predict({', '.join([*called, 'out'])});",
            *best,
        ]
        arguments = ", ".join(self._arguments(self.prediction)) or "void"
        return _Function(
            f"int {self.prefix}_classify({arguments})",
            f"The class of one row, an index into {self.prefix}_labels: {how}.",
            _indented(lines),
        )

    def train_step(self, optimizer: Optimizer, state: OptimizerState) -> _Function:
        assert self.loss is not None
        for node in self.loss.nodes:
            if node.inputs and not _operation(node).learns:
                raise GraphError(
                    f"{node}: {node.kind} does something else in training, for which export_c has "
                    "no C; export the prediction without training"
                )
        routine = _Routine(self, self.loss)
        (output,) = self.loss.outputs
        routine.forward()
        forward = len(routine.passes)
        routine.backward()
        size = sum(node.value.size for node in self.loss.parameters)
        self.training["gradients"] = Array("gradients", (size,), "gradients")
        lines = [
            f"for ({self.index} i = 0; i < {size}; i++) {{",
            f"    if (!isfinite({self.prefix}_gradients[i])) {{",
            "        return loss;",
            "    }",
            "}",
            *self._update(optimizer, state, size),
            "return loss;",
        ]
        loss = f"    const {self.real} loss = {routine.values[output].name}[0];\n"
        loss += "    if (!isfinite(loss)) {\n        return loss;\n    }\n"
        body = self._body(routine, {forward: loss}) + _indented(lines)
        rows = next((self.loss.shapes[n].rows for n in self.loss.inputs), 1)
        return _Function(
            f"{self.real} {self.prefix}_train_step("
            f"{', '.join(self._arguments(self.loss)) or 'void'})",
            f"One step of {type(optimizer).__name__} on {_count(rows, 'row')}. Returns the loss "
            "before the step; where it or its gradient is not finite, nothing changes.",
            body,
        )

    def parameter_access(self) -> _Function:
        listed = "; ".join(
            f"{_comment(self.titles[node])} {array.shape} from {array.offset}"
            for node, array in self.listed
        )
        return _Function(
            f"{self.real} *{self.prefix}_parameters(void)",
            f"The parameters, {self.prefix.upper()}_PARAMETERS numbers, to save and to restore: "
            f"{listed}.",
            f"    return {self.prefix}_parameters_;\n",
        )

    def _arguments(self, program: Program) -> list[str]:
        """The inputs of a function: those of the prediction first, then the targets."""
        ordered = [node for node in self.prediction.inputs if node in program.inputs]
        ordered += targets(program.inputs, ordered)
        return [
            f"const {self.real} in_{self.names[node]}[{math.prod(program.shapes[node].axes)}]"
            for node in ordered
        ]

    def _update(self, optimizer: Optimizer, state: OptimizerState, size: int) -> list[str]:
        row = OPTIMIZERS.get(getattr(optimizer, "kernel", ""))
        if row is None:
            kind = type(optimizer).__name__.lower()
            raise SettingError("export_c: " + unknown("optimizer", kind, OPTIMIZERS))
        statements = row(optimizer)
        names = {"p": f"{self.prefix}_parameters_[i]", "g": f"{self.prefix}_gradients[i]"}
        text = " ".join(statements)
        before = []
        for slot, vector in enumerate(state.slots):
            if re.search(rf"\bs{slot}\b", text):
                name = f"state{slot}"
                self.training[name] = Array(name, (size,), "state")
                self.initial[name] = checked(optimizer, vector, self.dtype)
                names[f"s{slot}"] = f"{self.prefix}_{name}[i]"
        for power, beta in enumerate(("beta1", "beta2")):
            if re.search(rf"\bc{power}\b", text):
                # 1 - betaᵗ as a running sum: the difference itself would lose a float's digits.
                name = f"correction{power}"
                self.training[name] = Array(name, (1,), "state")
                self.initial[name] = np.array([1 - state.powers[power]], self.dtype)
                names[f"c{power}"] = variable = f"{self.prefix}_{name}[0]"
                rate = self._setting(optimizer, f"1-{beta}")
                before.append(f"{variable} += {rate} * (1 - {variable});")
        lines = []
        for statement in statements:
            statement = re.sub(
                r"\{([^}]+)\}", lambda m: self._setting(optimizer, m[1]), statement
            )
            statement = re.sub(
                r"\b([pg]|[sc]\d)\b", lambda m: names.get(m[0], m[0]), statement
            )
            lines.append(f"    {self._typed(statement)};")
        return [*before, f"for ({self.index} i = 0; i < {size}; i++) {{", *lines, "}"]

    def _setting(self, optimizer: Optimizer, name: str) -> str:
        value = getattr(optimizer, name.removeprefix("1-"))
        value = 1 - value if name.startswith("1-") else value
        return _number(checked(optimizer, np.asarray(value), self.dtype)[()])

    # Text ------------------------------------------------------------------------------------

    def _typed(self, text: str) -> str:
        """``text`` written for double, in the file's own type and names."""
        if self.real == "float":
            text = _MATH.sub(r"\1f(", text)
            text = _LITERAL.sub(r"\g<0>f", text)
            text = text.replace("HUGE_VAL", "HUGE_VALF")
        for function in FUNCTIONS:
            text = re.sub(rf"\b{function}\(", f"{self.prefix}_{function}(", text)
        return re.sub(r"\breal\b", self.real, text)

    def _body(
        self,
        routine: _Routine,
        after: Mapping[int, str] | None = None,
    ) -> str:
        """The declarations and loops of a routine; ``after`` holds text by number of passes."""
        passes = routine.passes
        offsets, size = _plan([item for _, item in passes])
        self.scratch_size = max(self.scratch_size, size)
        written = {_named(item)[_target(item)][0] for _, item in passes}
        lines = []
        for array in dict.fromkeys(a for _, item in passes for a, _ in _named(item).values()):
            if array.storage != "argument":
                const = "" if array in written else "const "
                offset = offsets.get(array, array.offset)
                storage = array.storage + ("_" if array.storage == "parameters" else "")
                lines.append(
                    f"    {const}{self.real} *const {array.name} = "
                    f"{self.prefix}_{storage} + {offset};\n"
                )
        said = None
        for number, (comment, item) in enumerate(passes):
            lines.append((after or {}).get(number, ""))
            if comment != said:
                lines.append(f"\n    /* {comment} */\n")
                said = comment
            lines.append(_indented(_loops(item, self.index, self.real, self._typed)))
        lines.append((after or {}).get(len(passes), ""))
        return "".join(lines)

    def source(self, header: str, functions: Sequence[_Function], classes: list[str]) -> str:
        bodies = "\n".join(f"{f.prototype}\n{{\n{f.body}}}\n" for f in functions)
        parts = [
            f"/* {self._title()} See {_comment(header)}. */",
            f'#include "{header}"\n\n#include <math.h>\n',
        ]
        if classes:
            strings = "".join(f"    {_string(label)},\n" for label in classes)
            parts.append(
                f"const char *const {self.prefix}_labels[{len(classes)}] = {{\n{strings}}};\n"
            )
        constant = "" if self.loss is not None else "const "
        if self.parameters:
            parts.append(self._array(constant, "parameters_", self.parameters))
        if self.constants:
            parts.append(self._array("const ", "constants", self.constants))
        for name, array in self.training.items():
            parts.append(self._array("", name, self.initial.get(name, np.zeros(array.shape))))
        if self.scratch_size:
            parts.append(f"static {self.real} {self.prefix}_scratch[{self.scratch_size}];\n")
        for function, text in FUNCTIONS.items():
            if f"{self.prefix}_{function}(" in bodies:
                parts.append(self._typed(text))
        return "\n".join([*parts, bodies])

    def _array(self, const: str, name: str, numbers: Any) -> str:
        start = f"static {const}{self.real} {self.prefix}_{name}[{len(numbers)}]"
        if not np.any(numbers):
            # C starts static memory at 0, and the file then holds no zeros.
            return f"{start};\n" if not const else f"{start} = {{0}};\n"
        texts = [_number(number) for number in numbers]
        lines = [", ".join(texts[at : at + 4]) for at in range(0, len(texts), 4)]
        return f"{start} = {{\n    " + ",\n    ".join(lines) + ",\n};\n"

    def _title(self) -> str:
        (output,) = self.prediction.outputs
        return f"The model of {_comment(self.titles[output])}, written by fastgraph."

    def header(self, functions: Sequence[_Function], classes: int, sizes: list[int]) -> str:
        macro = self.prefix.upper()
        (output,) = self.prediction.outputs
        outputs = math.prod(self.prediction.shapes[output].features)
        scaled = ", ".join(_comment(self.titles[node]) for node in self.scales) or "nothing"
        parameters, constants, training, scratch = sizes
        about = [
            self._title(),
            "",
            "C99 with <math.h>; no allocation. The functions share static memory, so only one may",
            "run at a time, and the arrays handed over must not overlap. Arrays are row by row.",
            *_wrapped(f"Scaled inside, so that raw numbers go in and come out: {scaled}."),
            f"Bytes: parameters {parameters}, constants {constants}, training {training}, "
            f"scratch {scratch}.",
        ]
        lines = ["/* " + "\n * ".join(about).replace(" * \n", " *\n") + "\n */"]
        lines += [f"#ifndef {macro}_H", f"#define {macro}_H", ""]
        lines += [f"#define {macro}_OUTPUTS {outputs}"]
        if self.loss is not None:
            rows = next((self.loss.shapes[n].rows for n in self.loss.inputs), 1)
            lines.append(f"#define {macro}_PARAMETERS {len(self.parameters)}")
            lines.append(f"#define {macro}_BATCH_SIZE {rows}")
        if classes:
            lines.append(f"#define {macro}_CLASSES {classes}")
        lines += ["", "#ifdef __cplusplus", 'extern "C" {', "#endif", ""]
        if classes:
            lines += [f"extern const char *const {self.prefix}_labels[{classes}];", ""]
        for function in functions:
            lines += ["/* " + "\n * ".join(_wrapped(function.about)) + " */"]
            lines += [f"{function.prototype};", ""]
        return "\n".join([*lines, "#ifdef __cplusplus", "}", "#endif", "", "#endif", ""])


class _Routine:
    """The passes of one function, in order, each with the comment that stands above it."""

    def __init__(self, unit: _Unit, program: Program):
        self.unit, self.program = unit, program
        self.passes: list[tuple[str, Pass]] = []
        self.values: dict[Node, Array] = {}
        self._sites: dict[Node, Site] = {}
        self._begun: set[Array] = set()  # gradients that have had a contribution

    def forward(self, into: Mapping[Node, Array] | None = None) -> None:
        """Every value; ``into`` holds places of its own for some."""
        unit, shapes = self.unit, self.program.shapes
        for node in self.program.nodes:
            name, title = unit.names[node], f"{_comment(unit.titles[node])}: {_comment(node.kind)}"
            if node in unit.fixed:
                self.values[node] = unit.fixed[node]
                continue
            shape = shapes[node].axes
            if isinstance(node, Input):
                value = raw = Array(f"in_{name}", shape, "argument")
                if node in unit.scales:
                    mean, scale = unit.scales[node]
                    value = Array(f"v_{name}", shape, "scratch")
                    self._add(
                        f"{title}, scaled",
                        _pass("y = (a - b) / c", y=value, a=raw, b=mean, c=scale),
                    )
                self.values[node] = value
                continue
            value = (into or {}).get(node) or Array(f"v_{name}", shape, "scratch")
            self.values[node] = value
            arrays = {"y": value}
            arrays |= {letter_of(i): self.values[item] for i, item in enumerate(node.inputs)}
            site = self._sites[node] = Site(node, arrays, self._temporary(name))
            for item in _operation(node).forward(site):
                self._add(title, item)
            if into and node in into and node in unit.scales:
                mean, scale = unit.scales[node]
                self._add(
                    f"{title}, scaled back", _pass("y = y * b + a", y=value, a=mean, b=scale)
                )

    def backward(self) -> None:
        """The gradient of the output with respect to every trained node."""
        unit, program = self.unit, self.program
        (output,) = program.outputs
        gradients: dict[Node, Array] = {}
        for node in program.nodes:
            if node in program.trained:
                fixed = unit.fixed.get(node)
                storage, offset = ("gradients", fixed.offset) if fixed else ("scratch", 0)
                gradients[node] = Array(
                    f"g_{unit.names[node]}", self.values[node].shape, storage, offset
                )
        self._add("Backward: the loss with respect to itself", _pass("y = 1", y=gradients[output]))
        for node in reversed(program.nodes):
            if node not in program.trained or not node.inputs:
                continue
            site, operation = self._sites[node], _operation(node)
            site.arrays["g"] = gradients[node]
            title = f"Back through {_comment(unit.titles[node])}"
            for i, item in enumerate(node.inputs):
                if item not in program.trained:
                    continue
                letter = f"d{letter_of(i)}"
                site.arrays[letter] = gradients[item]
                for step in operation.backward(site, i):
                    if _target(step) == letter:
                        step = self._begin(title, step, letter)
                    self._add(title, step)

    def _begin(self, title: str, step: Pass, letter: str) -> Pass:
        """``step``, which adds to a gradient, made right for a gradient that has no value yet."""
        array, strides = step.operands[letter]
        if array in self._begun:
            return step
        self._begun.add(array)
        once = all(stride for stride, size in zip(strides, step.space, strict=True) if size > 1)
        if once and math.prod(step.space) == array.size:
            return replace(step, statement=step.statement.replace("+=", "=", 1))
        self._add(title, _pass("y = 0", y=array))
        return step

    def _temporary(self, name: str):
        counter = iter(range(100))
        return lambda letter, shape: Array(f"t{next(counter)}_{name}", shape, "scratch")

    def _add(self, comment: str, item: Pass) -> None:
        if 0 not in item.space:
            self.passes.append((comment, item))


def _operation(node: Node) -> Operation:
    """The row of ``node``, or a `GraphError` that names it."""
    row = OPERATIONS.get(node.kernel or "")
    if row is None:
        raise GraphError(
            f"{node}: export_c has no C for {node.kind}; it knows the kernels "
            + ", ".join(OPERATIONS)
        )
    return row


# Passes --------------------------------------------------------------------------------------


def _pass(statement: str, **arrays: Array) -> Pass:
    """A pass over ``y``, to which the other arrays broadcast."""
    space = arrays["y"].shape
    operands = {letter: (a, aligned(a.shape, space)) for letter, a in arrays.items()}
    return Pass(space, statement, operands)


def _named(item: Pass) -> dict[str, tuple[Array, tuple[int, ...]]]:
    """The operands that the statement names; the letters of a row may be more."""
    letters = dict.fromkeys(_LETTER.findall(item.statement))
    letters |= dict.fromkeys(
        item.lookups[letter][0] for letter in list(letters) if letter in item.lookups
    )
    missing = [letter for letter in letters if letter not in item.operands]
    if missing:
        raise ShapeError(f"{item.statement!r}: {missing} cannot be read over {item.space}")
    return {letter: item.operands[letter] for letter in letters}


def _target(item: Pass) -> str:
    return item.statement.split(" ", 1)[0]


def _plan(passes: list[Pass]) -> tuple[dict[Array, int], int]:
    """A place in scratch for every array, and the size: those that live together do not overlap."""
    lives: dict[Array, tuple[int, int]] = {}
    for time, item in enumerate(passes):
        for array, _ in _named(item).values():
            if array.storage == "scratch":
                lives[array] = (lives.get(array, (time, time))[0], time)
    places: dict[Array, int] = {}
    for array in sorted(lives, key=lambda a: -a.size):  # the large ones first leave no holes
        first, last = lives[array]
        beside = sorted(
            (places[other], places[other] + other.size)
            for other in places
            if lives[other][0] <= last and first <= lives[other][1]
        )
        start = 0
        for low, high in beside:
            if start + array.size <= low:
                break
            start = max(start, high)
        places[array] = start
    return places, max((place + array.size for array, place in places.items()), default=0)


def _loops(item: Pass, index: str, real: str, typed) -> list[str]:
    """The loop nest of a pass: axes of one element left out, axes that lie together made one."""
    operands = _named(item)
    axes: list[tuple[int, list[int]]] = []
    for axis, size in enumerate(item.space):
        steps = [strides[axis] for _, strides in operands.values()]
        if size == 1:
            continue
        if axes and all(a == b * size for a, b in zip(axes[-1][1], steps, strict=True)):
            axes[-1] = (axes[-1][0] * size, steps)
        else:
            axes.append((size, steps))
    texts = {}
    for i, (letter, (array, _)) in enumerate(operands.items()):
        start = item.starts.get(letter, 0)
        texts[letter] = f"{array.name}[{_index(start, [steps[i] for _, steps in axes])}"
    for letter, (by, rows, step) in item.lookups.items():
        if letter in texts:
            texts[letter] += f" + place({texts[by]}], {rows}) * {step}"
    texts = {letter: f"{text}]" for letter, text in texts.items()}
    target = _target(item)
    place = list(operands).index(target)
    # A sum that the inner loops add to one place is kept in a variable.
    inner = len(axes)
    while inner and axes[inner - 1][1][place] == 0:
        inner -= 1
    summed = inner < len(axes) and " += " in item.statement and target not in item.lookups
    names = texts | ({target: "sum"} if summed else {})
    text = typed(_LETTER.sub(lambda match: names[match[0]], item.statement))
    lines, depth = [], 0

    def line(content: str) -> None:
        lines.append("    " * depth + content)

    for level, (size, _) in enumerate(axes):
        if summed and level == inner:
            line(f"{real} sum = {texts[target]};")
        n = _COUNTERS[level]
        line(f"for ({index} {n} = 0; {n} < {size}; {n}++) {{")
        depth += 1
    line(f"{text};")
    for level in reversed(range(len(axes))):
        depth -= 1
        line("}")
        if summed and level == inner:
            line(f"{texts[target]} = sum;")
    # A variable at the top of a function needs a block of its own.
    return ["{", *("    " + content for content in lines), "}"] if summed and not inner else lines


def _index(start: int, steps: list[int]) -> str:
    terms = [str(start)] if start else []
    terms += [
        _COUNTERS[level] if step == 1 else f"{_COUNTERS[level]} * {step}"
        for level, step in enumerate(steps)
        if step
    ]
    return " + ".join(terms) or "0"


# Names and literals --------------------------------------------------------------------------


def _paths(path: Any) -> tuple[str, str]:
    try:
        source = os.fsdecode(path)
    except TypeError:
        raise SettingError(f"export_c: expected a path, got {type(path).__name__}") from None
    file = os.path.basename(source)
    if not re.fullmatch(r"[A-Za-z0-9_. +-]+\.c", file):
        raise SettingError(
            f"export_c: {file!r} cannot be the C file; take letters, digits, '_', '-' and "
            "the suffix .c, as in 'model.c'"
        )
    return source, source[: -len(".c")] + ".h"


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise SettingError(
            f"export_c: name must be letters, digits and '_', a letter first, got {name!r}"
        )
    return name


def _identifier(name: str) -> str:
    """``name`` with only what an identifier may have, at most 40 characters."""
    return re.sub(r"[^A-Za-z0-9]+", "_", name)[:40].strip("_") or "_"


def _identifiers(titles: Mapping[Node, str]) -> dict[Node, str]:
    """A different identifier for every node, as like its name as C allows."""
    names: dict[Node, str] = {}
    taken: set[str] = set()
    for node, title in titles.items():
        base = name = _identifier(title).lstrip("_") or "node"
        count = 1
        while name in taken:
            count += 1
            name = f"{base}_{count}"
        taken.add(name)
        names[node] = name
    return names


def _comment(text: str) -> str:
    """``text`` made harmless within a comment."""
    return re.sub(r"[^A-Za-z0-9 _.,:()+=\[\]-]", "_", text)[:60]


def _string(text: str) -> str:
    """``text`` as a C string in UTF-8; only what cannot be misread stays as it is."""
    return '"' + "".join(
        chr(byte) if re.match(rb"[A-Za-z0-9 _.,:;()+=<>/-]", bytes([byte])) else f"\\{byte:03o}"
        for byte in text.encode("utf-8")
    ) + '"'  # fmt: skip


def _classes(labels: Iterable[Any] | None, program: Program, scaling: Scaling) -> list[str]:
    if labels is None:
        return []
    if isinstance(labels, (str, bytes)) or not isinstance(labels, Iterable):
        raise SettingError(f"labels: expected a list of names, got {type(labels).__name__}")
    names = [str(label) for label in labels]
    (output,) = program.outputs
    size = math.prod(program.shapes[output].features)
    wanted = 2 if size == 1 else size
    if len(names) != wanted:
        raise SettingError(
            f"labels: {output} has {_count(size, 'output')} a row, which takes {wanted} labels, "
            f"got {len(names)}"
        )
    if output in scaling:
        raise SettingError(f"labels: {output} is scaled, so it is no score of classes; drop either")
    for name in names:
        try:
            length = len(name.encode("utf-8"))
        except UnicodeEncodeError:
            raise SettingError(f"labels: {name!r} is not valid Unicode") from None
        if length > _LONGEST_STRING or "\0" in name:
            raise SettingError(
                f"labels: {name[:40]!r} is no C string: at most {_LONGEST_STRING} bytes, none of "
                "them zero"
            )
    return names


def _number(number: Any) -> str:
    """The shortest decimal that is read back as the same bits."""
    return repr(float(number)) if number.dtype == np.float64 else f"{_shortest(number)}f"


def _shortest(number: np.float32) -> str:
    text = str(number)
    return text if "." in text or "e" in text else f"{text}.0"


def _suffixed(literal: str, dtype: np.dtype) -> str:
    return literal + ("f" if dtype == np.float32 else "")


def _count(number: Any, what: str = "number") -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _indented(lines: Iterable[str]) -> str:
    return "".join(f"    {line}\n" for line in lines)


def _wrapped(text: str, width: int = 92) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return lines
