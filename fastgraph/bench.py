"""The part of the benchmark that needs nothing but the package: `fastgraph bench`.

Here are the workloads, fastgraph and NumPy-by-hand on them, the way time is taken, the table and
the pictures. The other frameworks, the sweep and the measurements of whole processes are in the
`benchmarks` folder of the repository, which builds on this module (`python -m benchmarks`).

Nothing here may know a `Contender` other than the two it defines.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeVar

import numpy as np

import fastgraph as fg

from . import errors
from .datasets import load_boston
from .engines import extension

__all__ = [
    "WORKLOADS",
    "Contender",
    "FastGraph",
    "Kinds",
    "NumPyByHand",
    "Workload",
    "bar_picture",
    "best_times",
    "check_losses",
    "grid_workloads",
    "heat_picture",
    "machine",
    "main",
    "measure_grid",
    "measure_workloads",
    "on_one_core",
    "peak_gflops",
    "progress",
    "show_header",
    "table",
    "workload_rows",
    "write_results",
]

LEARNING_RATE = 1e-3
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

# A sample is short and there are many, so that on a machine with other work some go undisturbed.
SECONDS = 0.025
ROUNDS = 25

# How far apart two contenders' losses may be, relative, after a workload's `check_steps`.
# They add the same numbers in different orders, and training carries the rounding on.
LOSS_TOLERANCE = {"float64": 1e-9, "float32": 1e-4}

_T = TypeVar("_T")


# --------------------------------------------------------------------------------- workloads


@dataclass(frozen=True)
class Workload:
    """One training run: a fully connected net, mean squared error, batches in order.

    Parameters:
        name: what the table calls it.
        sizes: features, hidden widths, outputs. When all are 1 the net is written without
            matrices, as k * x + b, and its data are vectors.
        activation: "sigmoid", "tanh" or "relu", after every hidden layer.
        batch: rows of one step.
        rows: rows of the data, a multiple of `batch`.
        optimizer: "sgd" or "adam", at a learning rate of 1e-3.
        dtype: "float64" or "float32".
        boston: take the data from the Boston house prices, not from a random generator.
        check_steps: steps after which all contenders must have the same loss.
    """

    name: str
    sizes: tuple[int, ...]
    activation: str
    batch: int
    rows: int
    optimizer: str = "sgd"
    dtype: str = "float64"
    boston: bool = False
    check_steps: int = 100

    @property
    def scalar(self) -> bool:
        """True for nets without matrices."""
        return max(self.sizes) == 1

    @property
    def batches(self) -> int:
        """Steps in an epoch."""
        return self.rows // self.batch

    @property
    def flops(self) -> int:
        """Floating-point operations of the matrix products in one step.

        Forward and weight gradient take 2*m*k*n each, the gradient of a layer's inputs as much
        again in all layers but the first, whose inputs are data. Activations, loss and optimizer
        are not counted, so the efficiency shown errs on the low side.
        """
        pairs = list(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        return sum(2 * self.batch * k * n * (2 if i == 0 else 3) for i, (k, n) in enumerate(pairs))

    @property
    def title(self) -> str:
        """One line for people: the net, the batch, the optimizer, the precision."""
        net = "k x + b" if self.sizes == (1, 1) else "-".join(map(str, self.sizes))
        kind = f" {self.activation}" if len(self.sizes) > 2 else ""
        bits = self.dtype.replace("float", "f")
        optimizer = {"sgd": "SGD", "adam": "Adam"}[self.optimizer]
        return f"{net}{kind}, batch {self.batch}, {optimizer}, {bits}"

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets: (rows, features) and (rows, outputs), or vectors for scalar nets."""
        if self.boston:
            boston = load_boston()
            features, target = boston.data, boston.target
            if self.scalar:
                features = features[:, 5:6]  # RM, the rooms of a home
            features = (features - features.mean(axis=0)) / features.std(axis=0)
        else:
            rng = np.random.default_rng(7)
            features = rng.standard_normal((self.rows, self.sizes[0]))
            target = np.tanh(features @ rng.standard_normal((self.sizes[0], self.sizes[-1])))
            target += 0.1 * rng.standard_normal(target.shape)
        shape = (-1,) if self.scalar else (self.rows, -1)
        return (
            np.ascontiguousarray(features.reshape(shape), dtype=self.dtype),
            np.ascontiguousarray(target.reshape(shape), dtype=self.dtype),
        )

    def initial_parameters(self) -> list[np.ndarray]:
        """[W1, b1, W2, b2, ...]: Glorot-uniform weights of shape (in, out) and zero biases."""
        rng = np.random.default_rng(11)
        parameters: list[np.ndarray] = []
        for k, n in zip(self.sizes[:-1], self.sizes[1:], strict=True):
            limit = math.sqrt(6 / (k + n))
            shapes = ((), ()) if self.scalar else ((k, n), (n,))
            weight, bias = rng.uniform(-limit, limit, shapes[0]), np.zeros(shapes[1])
            parameters += [np.asarray(p, self.dtype) for p in (weight, bias)]
        return parameters

    def loss(self, parameters: Sequence[np.ndarray]) -> float:
        """Mean squared error over all rows, in float64, for anybody's parameters."""
        features, target = (array.astype(np.float64) for array in self.data())
        layers = [np.asarray(p, dtype=np.float64) for p in parameters]
        value = features
        for i in range(0, len(layers), 2):
            if i:
                value = _ACTIVATIONS[self.activation](value)
            value = (value * layers[i] if self.scalar else value @ layers[i]) + layers[i + 1]
        return float(np.mean((value - target) ** 2))


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def _relu(z: np.ndarray) -> np.ndarray:
    return np.maximum(z, 0)


_ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "relu": _relu,
}

# A derivative in terms of the activation's own value, the way it is written by hand.
_SLOPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": lambda a: a * (1 - a),
    "tanh": lambda a: 1 - a * a,
    "relu": lambda a: a > 0,
}

WORKLOADS = (
    Workload("line", (1, 1), "sigmoid", 506, 506, boston=True),
    Workload("seednet", (1, 1, 1), "sigmoid", 506, 506, boston=True),
    Workload("miniflow", (13, 10, 1), "sigmoid", 11, 506, boston=True, check_steps=460),
    Workload("tabular", (8, 64, 64, 1), "relu", 256, 4096, "adam", "float32", check_steps=64),
    Workload("mnist", (784, 256, 10), "relu", 128, 2560, "sgd", "float32", check_steps=40),
)


GRID_WIDTHS = (1, 3, 8, 16, 31, 64, 128)
GRID_BATCHES = (1, 4, 16, 64, 256, 512)


# --------------------------------------------------------------------------------- contenders


class Contender(ABC):
    """Something that trains a `Workload`: made from it, it starts at its initial parameters."""

    name: ClassVar[str]
    tolerance: ClassVar[float] = 0.0
    """Where its arithmetic is known to differ: by how much its loss may, relative."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload

    @classmethod
    def can_run(cls, workload: Workload) -> bool:
        """Whether the workload is one that it can express."""
        return True

    @abstractmethod
    def run(self, steps: int) -> None:
        """Train that many steps, whole epochs, from where it stands; return when they are done."""

    @abstractmethod
    def parameters(self) -> list[np.ndarray]:
        """The parameters now, as copies in the order of `Workload.initial_parameters`."""


Kinds = Sequence[type[Contender]]


class NumPyByHand(Contender):
    """What a careful person writes in NumPy for this one net.

    All parameters are views into one vector, so that the optimizer is a handful of calls however
    many layers there are.
    """

    name = "NumPy"

    def __init__(self, workload: Workload) -> None:
        super().__init__(workload)
        self.x, self.y = workload.data()
        initial = workload.initial_parameters()
        self._vector = np.concatenate([p.ravel() for p in initial])
        self._gradient = np.zeros_like(self._vector)
        self._views = _views(self._vector, initial)
        self._gradients = _views(self._gradient, initial)
        self._mean, self._square = np.zeros_like(self._vector), np.zeros_like(self._vector)
        self._steps = 0
        self._differentiate = self._mlp
        if workload.scalar:
            self._differentiate = {2: self._line, 3: self._seednet}[len(workload.sizes)]
        self._update = self._adam if workload.optimizer == "adam" else self._sgd

    def run(self, steps: int) -> None:
        batch, batches = self.workload.batch, self.workload.batches
        x, y = self.x, self.y
        for step in range(steps):
            if batches > 1:
                start = step % batches * batch
                x, y = self.x[start : start + batch], self.y[start : start + batch]
            self._differentiate(x, y)
            self._update()

    def parameters(self) -> list[np.ndarray]:
        return [view.copy() for view in self._views]

    def _line(self, x: np.ndarray, y: np.ndarray) -> None:
        k, b = self._vector
        error = k * x
        error += b
        error -= y
        self._gradient[0] = error @ x
        self._gradient[1] = error.sum()
        self._gradient *= 2 / len(x)

    def _seednet(self, x: np.ndarray, y: np.ndarray) -> None:
        k1, b1, k2, b2 = self._vector
        hidden = 1 / (1 + np.exp(-(k1 * x + b1)))
        error = (2 / len(x)) * (k2 * hidden + b2 - y)
        slope = error * k2 * hidden * (1 - hidden)
        self._gradient[:] = slope @ x, slope.sum(), error @ hidden, error.sum()

    def _mlp(self, x: np.ndarray, y: np.ndarray) -> None:
        weights, biases = self._views[::2], self._views[1::2]
        activate, slope = _ACTIVATIONS[self.workload.activation], _SLOPES[self.workload.activation]
        values = [x]
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            values.append(activate(values[-1] @ weight + bias))
        upstream = (2 / y.size) * (values[-1] @ weights[-1] + biases[-1] - y)
        for i in reversed(range(len(weights))):
            np.matmul(values[i].T, upstream, out=self._gradients[2 * i])
            upstream.sum(axis=0, out=self._gradients[2 * i + 1])
            if i:
                upstream = upstream @ weights[i].T
                upstream *= slope(values[i])

    def _sgd(self) -> None:
        self._vector -= LEARNING_RATE * self._gradient

    def _adam(self) -> None:
        self._steps += 1
        gradient, mean, square = self._gradient, self._mean, self._square
        mean += (1 - BETA1) * (gradient - mean)
        square += (1 - BETA2) * (gradient * gradient - square)
        rate = LEARNING_RATE / (1 - BETA1**self._steps)
        root = np.sqrt(square / (1 - BETA2**self._steps))
        self._vector -= rate * mean / (root + EPSILON)


def _views(vector: np.ndarray, like: Sequence[np.ndarray]) -> list[np.ndarray]:
    ends = np.cumsum([array.size for array in like])
    return [
        vector[end - array.size : end].reshape(array.shape)
        for end, array in zip(ends, like, strict=True)
    ]


class FastGraph(Contender):
    """The same net as a graph, trained by one call of `Graph.fit`."""

    name = "fastgraph"

    def __init__(self, workload: Workload) -> None:
        super().__init__(workload)
        self.x, target = fg.Input("x"), fg.Input("y")
        self._parameters = [
            fg.Parameter(value, f"{'Wb'[i % 2]}{i // 2 + 1}")
            for i, value in enumerate(workload.initial_parameters())
        ]
        activation = {"sigmoid": fg.Sigmoid, "tanh": fg.Tanh, "relu": fg.ReLU}[workload.activation]
        value: fg.Node = self.x
        for i in range(0, len(self._parameters), 2):
            weight, bias = self._parameters[i : i + 2]
            if i:
                value = activation(value)
            value = weight * value + bias if workload.scalar else fg.Linear(value, weight, bias)
        self.prediction = value
        self.graph = fg.Graph(fg.MSE(target, value), dtype=workload.dtype)
        self._optimizer = (
            fg.Adam(LEARNING_RATE, BETA1, BETA2, EPSILON)
            if workload.optimizer == "adam"
            else fg.SGD(LEARNING_RATE)
        )
        x, y = workload.data()
        self._feeds = {self.x: x, target: y}

    def run(self, steps: int) -> None:
        epochs, rest = divmod(steps, self.workload.batches)
        if rest:
            raise errors.SettingError(f"steps is {steps}, not a whole number of epochs")
        self.graph.fit(
            self._feeds,
            optimizer=self._optimizer,
            epochs=epochs,
            batch_size=self.workload.batch,
            shuffle=False,
        )

    def parameters(self) -> list[np.ndarray]:
        return [np.array(parameter.value) for parameter in self._parameters]


# --------------------------------------------------------------------------------- measuring


def check_losses(
    workload: Workload, kinds: Kinds, reference: type[Contender] = NumPyByHand
) -> dict[str, float]:
    """Train each contender for `check_steps` and compare all losses with the reference's.

    Returns:
        Loss by contender, over all rows, computed in float64 from its parameters.

    Raises:
        ArithmeticError: a loss differs by more than `LOSS_TOLERANCE`, or training did not help.
    """
    losses: dict[str, float] = {}
    steps = _whole_epochs(workload, workload.check_steps)
    before = workload.loss(workload.initial_parameters())
    tolerances: dict[str, float] = {}
    for kind in dict.fromkeys([reference, *kinds]):
        tolerances[kind.name] = kind.tolerance
        contender = kind(workload)
        contender.run(steps)
        losses[kind.name] = workload.loss(contender.parameters())
    expected = losses[reference.name]
    if not expected < before:
        raise ArithmeticError(f"{workload.name}: {steps} steps left the loss at {expected}")
    for name, loss in losses.items():
        tolerance = max(LOSS_TOLERANCE[workload.dtype], tolerances[name])
        if not abs(loss - expected) <= tolerance * expected:
            raise ArithmeticError(
                f"{workload.name}: after {steps} steps {name} has loss {loss!r}, "
                f"{reference.name} has {expected!r}; they may differ by {tolerance:g} of it"
            )
    return losses


def best_times(
    workload: Workload, kinds: Kinds, rounds: int = ROUNDS, seconds: float = SECONDS
) -> dict[str, float]:
    """Microseconds a step of each contender: the least of `rounds`, in turns.

    Each sample runs as many whole epochs as take about `seconds`; taking turns lets a slow phase
    of the machine hit everybody, and the least is the time with the fewest interruptions.
    """
    contenders = [kind(workload) for kind in kinds]
    steps = [_calibrate(contender, workload, seconds) for contender in contenders]
    best = [math.inf] * len(contenders)
    for _ in range(rounds):
        for i, contender in enumerate(contenders):
            best[i] = min(best[i], _timed(contender.run, steps[i]) / steps[i] * 1e6)
            # A calibration that was disturbed would leave the samples short for good.
            steps[i] = _whole_epochs(workload, seconds / best[i] * 1e6)
    return {kind.name: time_ for kind, time_ in zip(kinds, best, strict=True)}


def _whole_epochs(workload: Workload, steps: float) -> int:
    return max(1, round(steps / workload.batches)) * workload.batches


def _timed(run: Callable[[int], None], steps: int) -> float:
    start = time.perf_counter()
    run(steps)
    return time.perf_counter() - start


def _calibrate(contender: Contender, workload: Workload, seconds: float) -> int:
    contender.run(workload.batches)  # compiles, where there is something to compile
    steps = workload.batches
    while (taken := _timed(contender.run, steps)) < seconds / 4:
        steps = _whole_epochs(workload, steps * min(10.0, seconds / 2 / taken))
    return _whole_epochs(workload, steps * seconds / taken)


def peak_gflops(dtype: str) -> float:
    """Measured peak of this core, GFLOP/s: multiply-adds in registers.

    Without the native engine it is the best that a large matrix product of NumPy reaches, some
    ten percent less.
    """
    if extension.NATIVE_AVAILABLE:
        return extension.load_extension(extension.choose_isa(), dtype).peak_gflops()
    best = 0.0
    for size in (256, 384, 512, 768, 1024):
        a, b = np.ones((2, size, size), dtype)
        out = np.empty_like(a)
        for _ in range(max(3, 1024 // size)):
            start = time.perf_counter()
            np.matmul(a, b, out=out)
            best = max(best, 2e-9 * size**3 / (time.perf_counter() - start))
    return best


def measure_workloads(
    workloads: Sequence[Workload], kinds: Kinds, rounds: int, seconds: float
) -> dict[str, Any]:
    """Check, then time every workload. Returns one JSON-able entry a workload."""
    peaks = {dtype: peak_gflops(dtype) for dtype in sorted({w.dtype for w in workloads})}
    entries: dict[str, Any] = {}
    for workload in progress(workloads, "workloads", lambda w: w.name):
        able = [kind for kind in kinds if kind.can_run(workload)]
        losses = check_losses(workload, able)
        times = best_times(workload, able, rounds, seconds)
        entry: dict[str, Any] = {
            "title": workload.title,
            "loss": losses,
            "step_us": times,
        }
        own = times.get(FastGraph.name)
        if own is not None:
            entry["ratio"] = {name: t / own for name, t in times.items() if name != FastGraph.name}
            if not workload.scalar:
                entry["gflops"] = workload.flops / own / 1e3
                entry["peak_gflops"] = peaks[workload.dtype]
                entry["percent_of_peak"] = 100 * entry["gflops"] / peaks[workload.dtype]
        entries[workload.name] = entry
    return entries


def grid_workloads() -> dict[tuple[int, int], Workload]:
    """Nets 8-w-w-1 (ReLU, SGD, float32) by (width, batch)."""
    return {
        (width, batch): Workload(
            f"8-{width}-{width}-1 / {batch}",
            (8, width, width, 1),
            "relu",
            batch,
            batch * max(1, 512 // batch),
            dtype="float32",
        )
        for width in GRID_WIDTHS
        for batch in GRID_BATCHES
    }


def measure_grid(kinds: Kinds, rounds: int, seconds: float) -> dict[str, Any]:
    """Time `grid_workloads`; ratios are (widths, batches) tables by contender."""
    times: dict[str, list[list[float]]] = {k.name: [[] for _ in GRID_WIDTHS] for k in kinds}
    for (width, _), workload in progress(
        grid_workloads().items(), "width x batch", lambda item: item[1].name
    ):
        for name, taken in best_times(workload, kinds, rounds, seconds).items():
            times[name][GRID_WIDTHS.index(width)].append(taken)
    own = np.array(times[FastGraph.name])
    return {
        "net": "8-w-w-1 ReLU, SGD, float32",
        "widths": list(GRID_WIDTHS),
        "batches": list(GRID_BATCHES),
        "step_us": times,
        "ratio": {
            name: (np.array(rows) / own).tolist()
            for name, rows in times.items()
            if name != FastGraph.name
        },
    }


# --------------------------------------------------------------------------------- one core

_PINNED = "FASTGRAPH_BENCH_CORE"


def on_one_core(cpu: int | None = None) -> None:
    """Start this very command again on one core with one thread a library; return in that.

    Thread counts are read when a library is loaded, which has already happened by now, hence the
    second start. `cpu` is the core to take; by default the last one this process may use.
    """
    if _PINNED in os.environ:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {int(os.environ[_PINNED])})
        return
    if cpu is None:
        cpu = max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    one = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
        "1",
    )
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
    environment = os.environ | one | {_PINNED: str(cpu), "XLA_FLAGS": flags.strip()}
    _replace_process(sys.orig_argv[1:], environment)


def _replace_process(arguments: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    command = [sys.executable, *arguments]
    if os.name == "posix":  # in place, so that signals go to the one who works
        sys.stdout.flush()
        os.execve(sys.executable, command, environment)
    raise SystemExit(subprocess.run(command, env=environment).returncode)


# --------------------------------------------------------------------------------- showing


def progress(items: Iterable[_T], title: str, label: Callable[[_T], str] = str) -> Iterator[_T]:
    """Yield the items, showing on standard error how far it is: tqdm if installed, else lines."""
    items = list(items)
    if util.find_spec("tqdm") and sys.stderr.isatty():
        from tqdm import tqdm

        bar = tqdm(items, desc=title, leave=False)
        for item in bar:
            bar.set_postfix_str(label(item))
            yield item
        return
    for i, item in enumerate(items):
        print(f"{title} {i + 1}/{len(items)}: {label(item)}", file=sys.stderr, flush=True)
        yield item


def machine(packages: Iterable[str] = ()) -> dict[str, Any]:
    """Processor, operating system and versions, for the head of every result."""
    versions = {
        "fastgraph": fg.__version__,
        "Python": platform.python_version(),
        "NumPy": np.__version__,
    }
    engine = fg.engine()
    if engine == "native":
        engine += f" ({extension.choose_isa()})"
    for package in packages:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "engine": engine,
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    found = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    name = found.get("model name", platform.processor() or "unknown")
    flags = found.get("flags", "").split()
    widest = next((f for f in ("avx512f", "avx2", "sse2") if f in flags), "")
    return f"{name} ({widest})" if widest else name


def show_header(info: Mapping[str, Any]) -> str:
    """The machine as two lines of text."""
    versions = ", ".join(f"{name} {version}" for name, version in info["versions"].items())
    return (
        f"{info['processor']}, {info['cores']} cores, {info['system']}, {info['date']}; "
        f"engine {info['engine']}\n{versions}"
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]], markdown: bool = False) -> str:
    """Rows of text as an aligned table: first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |" if markdown else "  ".join(padded).rstrip()

    if markdown:
        rule = "|".join(
            "-" * (width + 2) if i == 0 else "-" * (width + 1) + ":"
            for i, width in enumerate(widths)
        )
        rule = f"|{rule}|"
    else:
        rule = "  ".join("-" * width for width in widths)
    return "\n".join([line(header), rule, *map(line, rows)])


def workload_rows(entries: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of workloads: microseconds a step, and peer / fastgraph."""
    names = _contender_names(entries)
    counted = any("gflops" in entry for entry in entries.values())
    header = ["µs a step (ratio)", *names, *(["GFLOP/s", "of peak"] if counted else [])]
    rows = []
    for name, entry in entries.items():
        row = [name]
        for contender in names:
            taken = entry["step_us"].get(contender)
            ratio = entry.get("ratio", {}).get(contender)
            cell = "–" if taken is None else _three_digits(taken)
            row.append(cell if ratio is None else f"{cell} ({_three_digits(ratio)}x)")
        if counted:
            row.append(f"{entry['gflops']:.1f}" if "gflops" in entry else "–")
            row.append(f"{entry['percent_of_peak']:.0f} %" if "gflops" in entry else "–")
        rows.append(row)
    return header, rows


def _contender_names(entries: Mapping[str, Any]) -> list[str]:
    """All names, in the order of the entry that has most, so that gaps do not change it."""
    fullest_first = sorted(entries.values(), key=lambda entry: -len(entry["step_us"]))
    return list(dict.fromkeys(name for entry in fullest_first for name in entry["step_us"]))


def _three_digits(number: float) -> str:
    """1234 -> '1,234', 12.34 -> '12.3', 0.0834 -> '0.083'."""
    decimals = next((i for i, least in enumerate((100, 10, 0.1)) if number >= least), 3)
    return f"{number:,.{decimals}f}"


# Okabe and Ito's colours, told apart with any kind of colour vision; fastgraph has the black.
_COLOURS = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip


def bar_picture(entries: Mapping[str, Any], path: str | Path, caption: str = "") -> None:
    """Draw microseconds a step, by workload, on a log axis; save it as `path`."""
    errors.require("matplotlib", "plot")
    from matplotlib.figure import Figure

    names = _contender_names(entries)
    # A group is as wide as its own contenders, so that one left out leaves no hole.
    widest = max(len(entry["step_us"]) for entry in entries.values())
    width = max(7.0, 0.27 * (widest + 2) * len(entries))
    figure = Figure(figsize=(width, 4.8), layout="constrained")
    axes = figure.subplots()
    axes.set_yscale("log")
    times = [t for entry in entries.values() for t in entry["step_us"].values()]
    floor = 10 ** math.floor(math.log10(min(times)) - 0.3)
    drawn: dict[str, Any] = {}
    ticks, left = [], 0.0
    for entry in entries.values():
        present = [name for name in names if name in entry["step_us"]]
        for i, name in enumerate(present):
            taken = entry["step_us"][name]
            index = names.index(name)
            bar = axes.bar(
                left + i,
                taken - floor,
                width=0.86,
                bottom=floor,
                color=_COLOURS[index % len(_COLOURS)],
                edgecolor="black",
                linewidth=0.5,
                hatch="//" if index >= len(_COLOURS) else None,
            )
            drawn.setdefault(name, bar)
            axes.annotate(
                _three_digits(taken),
                (left + i, taken),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                va="bottom",
                rotation=90,
                fontsize=7,
            )
        ticks.append(left + (len(present) - 1) / 2)
        left += len(present) + 1.2
    axes.set_ylim(floor, max(times) * 6)
    axes.set_xticks(ticks, [f"{name}\n{_wrapped(e['title'])}" for name, e in entries.items()])
    axes.tick_params(axis="x", labelsize=8, length=0)
    axes.set_ylabel("µs a training step (log), lower is better")
    axes.grid(axis="y", color="0.85", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        [drawn[name] for name in names if name in drawn],
        [name for name in names if name in drawn],
        loc="outside upper center",
        ncols=min(len(drawn), 9),
        frameon=False,
        fontsize=8,
    )
    if caption:
        figure.supxlabel(caption, fontsize=7, color="0.35")
    figure.savefig(path, dpi=150)


def _wrapped(title: str) -> str:
    net, *rest = title.split(", ")
    return f"{net}\n{', '.join(rest)}"


def heat_picture(grid: Mapping[str, Any], path: str | Path, caption: str = "") -> None:
    """Draw how many times faster fastgraph is, over width and batch, a panel a peer; save it."""
    errors.require("matplotlib", "plot")
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    peers = list(grid["ratio"])
    widths, batches = grid["widths"], grid["batches"]
    size = (1.6 + len(peers) * (0.5 * len(batches) + 0.3), 1.7 + 0.36 * len(widths))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(peers), squeeze=False, sharey=True)[0]
    values = np.array([grid["ratio"][peer] for peer in peers])
    low = min(1.0, values.min())
    norm = LogNorm(low, max(values.max(), low * 10))
    for axes, peer in zip(panels, peers, strict=True):
        ratios = np.array(grid["ratio"][peer])
        image = axes.imshow(ratios, norm=norm, cmap="cividis", origin="lower", aspect="auto")
        for (row, column), ratio in np.ndenumerate(ratios):
            axes.text(
                column,
                row,
                _two_digits(ratio),
                ha="center",
                va="center",
                fontsize=7,
                fontweight="bold" if ratio < 1 else "normal",
                color="black" if norm(ratio) > 0.55 else "white",
            )
        axes.set_title(f"against {peer}", fontsize=9)
        axes.set_xticks(range(len(batches)), batches, fontsize=8)
        axes.set_yticks(range(len(widths)), widths, fontsize=8)
        axes.set_xlabel("batch (rows)", fontsize=8)
        axes.tick_params(length=0)
    panels[0].set_ylabel("width of the hidden layers", fontsize=8)
    bar = figure.colorbar(image, ax=list(panels), pad=0.02)
    bar.set_label("its time / fastgraph's (log)", fontsize=8)
    bar.ax.yaxis.set_major_formatter("{x:g}")
    bar.ax.yaxis.set_minor_formatter("")
    bar.ax.tick_params(labelsize=8)
    figure.suptitle(f"Time of a training step\n{grid['net']}", fontsize=9)
    if caption:
        figure.supxlabel(caption, fontsize=7, color="0.35")
    figure.savefig(path, dpi=150)


def _two_digits(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"


# --------------------------------------------------------------------------------- the command


def write_results(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write benchmark.json and, where matplotlib is installed, the two pictures. Returns paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "benchmark.json"]
    written[0].write_text(json.dumps(results, indent=2) + "\n")
    if not util.find_spec("matplotlib"):
        print("no pictures without matplotlib: pip install 'fastgraph-nn[plot]'", file=sys.stderr)
        return written
    info = results["machine"]
    caption = f"{info['processor']}, one core, {info['date']}"
    for key, draw, name in (
        ("workloads", bar_picture, "workloads.png"),
        ("grid", heat_picture, "width_batch.png"),
    ):
        if results.get(key):
            written.append(folder / name)
            draw(results[key], written[-1], caption)
    return written


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `fastgraph bench` and `python -m benchmarks` share."""
    names = [workload.name for workload in WORKLOADS]
    add = parser.add_argument
    folder = Path("fastgraph-bench")
    add("--quick", action="store_true", help="under a minute, no other frameworks")
    add(
        "--only", nargs="+", choices=names, default=names, metavar="WORKLOAD", help=", ".join(names)
    )
    add("--rounds", type=int, metavar="N", help="samples, of which the least counts")
    add(
        "--out", type=Path, default=folder, metavar="DIR", help="for JSON and pictures: %(default)s"
    )
    add("--markdown", action="store_true", help="print the tables as Markdown")
    add("--cpu", type=int, metavar="N", help="the core to run on")


def measure(only: Sequence[str], rounds: int = ROUNDS, seconds: float = SECONDS) -> dict[str, Any]:
    """fastgraph against NumPy by hand: machine, workloads and grid, ready for JSON."""
    kinds = [FastGraph, NumPyByHand]
    chosen = [workload for workload in WORKLOADS if workload.name in only]
    return {
        "machine": machine(),
        "workloads": measure_workloads(chosen, kinds, rounds, seconds),
        "grid": measure_grid(kinds, min(rounds, 9), seconds / 2),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """`fastgraph bench`: print the table, write benchmark.json and the pictures.

    In a checkout, and without --quick, it hands over to `python -m benchmarks`.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    root = Path(__file__).resolve().parent.parent
    if (root / "benchmarks" / "__main__.py").exists() and "--quick" not in argv:
        path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
        _replace_process(["-m", "benchmarks", *argv], os.environ | {"PYTHONPATH": path})
    parser = argparse.ArgumentParser(
        prog="fastgraph bench",
        description="Time training steps of fastgraph and of NumPy by hand, on one core. "
        "The comparison with other frameworks is `python -m benchmarks` in the repository.",
    )
    add_options(parser)
    options = parser.parse_args(argv)
    on_one_core(options.cpu)
    results = measure(options.only, options.rounds or ROUNDS)
    print(show_header(results["machine"]), end="\n\n")
    print(table(*workload_rows(results["workloads"]), options.markdown), end="\n\n")
    for written in write_results(results, options.out):
        print(f"wrote {written}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
