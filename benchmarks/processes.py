"""What only shows in a process of its own: start-up, memory, threads, a whole script.

Each measurement is a *job*: `python -m benchmarks.processes JOB` runs it and prints one line of
JSON. `run_job` starts that from outside. A job imports its framework itself and may import nothing
else of this project before it, or it would be charged for it; that is why the data are made here
from NumPy alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

_ROOT = Path(__file__).resolve().parent.parent
_JOBS: dict[str, tuple[Callable[..., Any], str, int]] = {}


def job(module: str, cores: int = 1) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as a job that needs `module` installed and takes `cores` cores."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        _JOBS[function.__name__] = (function, module, cores)
        return function

    return register


def run_job(name: str, *arguments: Any) -> dict[str, Any] | None:
    """Run a job in a fresh process. Adds `process_s`, its wall time from start to exit.

    Returns None when its framework is not installed, the machine has too few cores, or memory
    cannot be seen, which needs Linux.
    """
    _, module, cores = _JOBS[name]
    blind = name.startswith("memory") and sys.platform != "linux"
    if find_spec(module) is None or (os.cpu_count() or 1) < cores or blind:
        return None
    command = [sys.executable, "-m", "benchmarks.processes", name, *map(str, arguments)]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True)
    taken = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1]) | {"process_s": taken}


# ---------------------------------------------------------- a whole script: miniflow, 1000 epochs

_BATCHES, _BATCH, _EPOCHS = 46, 11, 1000


def _miniflow() -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((_BATCHES * _BATCH, 13))
    y = np.tanh(x @ rng.standard_normal((13, 1))) + 0.1 * rng.standard_normal((len(x), 1))
    shapes = ((13, 10), (10,), (10, 1), (1,))
    return x, y, [0.3 * rng.standard_normal(shape) for shape in shapes]


def _outcome(prediction: Any, y: np.ndarray) -> dict[str, float]:
    return {"loss": float(np.mean((np.asarray(prediction) - y) ** 2))}


@job("fastgraph")
def script_fastgraph() -> dict[str, float]:
    import fastgraph as fg

    features, target, initial = _miniflow()
    x, y = fg.Input("x"), fg.Input("y")
    w1, b1, w2, b2 = (fg.Parameter(p) for p in initial)
    prediction = fg.Linear(fg.Sigmoid(fg.Linear(x, w1, b1)), w2, b2)
    graph = fg.Graph(fg.MSE(y, prediction))
    graph.fit(
        {x: features, y: target},
        optimizer=fg.SGD(1e-3),
        epochs=_EPOCHS,
        batch_size=_BATCH,
        shuffle=False,
    )
    return _outcome(graph.evaluate(prediction, {x: features}), target)


@job("jax")
def script_jax() -> dict[str, float]:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    features, target, initial = _miniflow()

    def predict(p: list, x: Any) -> Any:
        return jax.nn.sigmoid(x @ p[0] + p[1]) @ p[2] + p[3]

    def loss(p: list, x: Any, y: Any) -> Any:
        return jnp.mean((predict(p, x) - y) ** 2)

    @jax.jit
    def train(parameters: list, x: Any, y: Any) -> list:
        def step(i: Any, p: list) -> list:
            gradients = jax.grad(loss)(p, x[i % _BATCHES], y[i % _BATCHES])
            return [a - 1e-3 * g for a, g in zip(p, gradients, strict=True)]

        return jax.lax.fori_loop(0, _EPOCHS * _BATCHES, step, parameters)

    trained = train(
        [jnp.asarray(p) for p in initial],
        features.reshape(_BATCHES, _BATCH, 13),
        target.reshape(_BATCHES, _BATCH, 1),
    )
    return _outcome(jax.jit(predict)(trained, features), target)


@job("torch")
def script_pytorch() -> dict[str, float]:
    import torch

    torch.set_num_threads(1)
    features, target, initial = _miniflow()
    x, y = torch.from_numpy(features), torch.from_numpy(target)
    w1, b1, w2, b2 = parameters = [torch.tensor(p, requires_grad=True) for p in initial]
    optimizer = torch.optim.SGD(parameters, 1e-3)

    def predict(x: Any) -> Any:
        return torch.addmm(b2, torch.sigmoid(torch.addmm(b1, x, w1)), w2)

    for _ in range(_EPOCHS):
        for start in range(0, len(x), _BATCH):
            optimizer.zero_grad()
            batch = slice(start, start + _BATCH)
            torch.nn.functional.mse_loss(predict(x[batch]), y[batch]).backward()
            optimizer.step()
    with torch.no_grad():
        return _outcome(predict(x).numpy(), target)


@job("numpy")
def script_numpy() -> dict[str, float]:
    features, target, (w1, b1, w2, b2) = _miniflow()
    for _ in range(_EPOCHS):
        for start in range(0, len(features), _BATCH):
            x, y = features[start : start + _BATCH], target[start : start + _BATCH]
            hidden = 1 / (1 + np.exp(-(x @ w1 + b1)))
            upstream = (2 / len(x)) * (hidden @ w2 + b2 - y)
            slope = upstream @ w2.T * hidden * (1 - hidden)
            w2 -= 1e-3 * (hidden.T @ upstream)
            b2 -= 1e-3 * upstream.sum(axis=0)
            w1 -= 1e-3 * (x.T @ slope)
            b1 -= 1e-3 * slope.sum(axis=0)
    return _outcome(1 / (1 + np.exp(-(features @ w1 + b1))) @ w2 + b2, target)


# ---------------------------------------------------------------------------------------- start


@job("fastgraph")
def start_import() -> dict[str, float]:
    """Milliseconds of `import fastgraph` once NumPy is imported."""
    start = time.perf_counter()
    import fastgraph  # noqa: F401

    return {"import_ms": 1e3 * (time.perf_counter() - start)}


@job("fastgraph")
def start_build() -> dict[str, float]:
    """Milliseconds to make the miniflow graph, to compile a prediction, and to fit one step."""
    import fastgraph as fg

    features, target, initial = _miniflow()
    best: dict[str, float] = {}
    for _ in range(20):
        clock = [time.perf_counter()]
        x, y = fg.Input("x"), fg.Input("y")
        w1, b1, w2, b2 = (fg.Parameter(p) for p in initial)
        prediction = fg.Linear(fg.Sigmoid(fg.Linear(x, w1, b1)), w2, b2)
        graph = fg.Graph(fg.MSE(y, prediction))
        clock.append(time.perf_counter())
        graph.fit({x: features, y: target}, optimizer=fg.SGD(1e-3), epochs=1, shuffle=False)
        clock.append(time.perf_counter())
        graph.compile(prediction)
        clock.append(time.perf_counter())
        for name, i in (("build_ms", 0), ("first_fit_ms", 1), ("compile_predict_ms", 2)):
            best[name] = min(best.get(name, np.inf), 1e3 * (clock[i + 1] - clock[i]))
    return best


@job("fastgraph")
def start_large(nodes: str = "10000") -> dict[str, float]:
    """Seconds to make a graph of that many nodes and to run it forward and backward once."""
    import fastgraph as fg

    start = time.perf_counter()
    x = fg.Input("x")
    shift = fg.Parameter(np.zeros(3))
    value = x
    for i in range((int(nodes) - 4) // 2):
        value = fg.Tanh(value + shift) if i % 2 else fg.Sigmoid(value * shift)
    y = fg.Input("y")
    graph = fg.Graph(fg.MSE(y, value))
    built = time.perf_counter()
    graph.forward({x: np.ones((5, 3)), y: np.ones((5, 3))})
    graph.backward()
    return {
        "nodes": len(graph),
        "build_s": built - start,
        "forward_backward_s": time.perf_counter() - built,
    }


# --------------------------------------------------------------------------------------- memory

_MEMORY_ROWS = 1_000_000


def _status_mb(field: str) -> float:
    """A memory field of this process as Linux tells it: VmRSS is in use now, VmHWM the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024e-6 for line in lines if line.startswith(field))


def _big() -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    rng = np.random.default_rng(5)
    x, y = np.empty((_MEMORY_ROWS, 8), np.float32), np.empty((_MEMORY_ROWS, 1), np.float32)
    rng.standard_normal(dtype=np.float32, out=x)
    rng.standard_normal(dtype=np.float32, out=y)
    shapes = ((8, 64), (64,), (64, 64), (64,), (64, 1), (1,))
    initial = [0.2 * rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    return x, y, initial


def _memory(run: Callable[[int], None], warm: Callable[[], None]) -> dict[str, float]:
    """Peak memory that `run` adds to what is there after `warm`, and its time a row."""
    warm()
    before = _status_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    start = time.perf_counter()
    run(3)
    taken = time.perf_counter() - start
    return {"extra_mb": _status_mb("VmHWM") - before, "ns_a_row": 1e9 * taken / 3 / _MEMORY_ROWS}


@job("fastgraph")
def memory_fastgraph(batch: str = "0") -> dict[str, float]:
    """Full batch, or the batch size given."""
    import fastgraph as fg

    features, target, initial = _big()

    def fit(features: np.ndarray, target: np.ndarray, epochs: int) -> None:
        x, y = fg.Input("x"), fg.Input("y")
        p = [fg.Parameter(value) for value in initial]
        hidden = fg.ReLU(fg.Linear(fg.ReLU(fg.Linear(x, p[0], p[1])), p[2], p[3]))
        graph = fg.Graph(fg.MSE(y, fg.Linear(hidden, p[4], p[5])), dtype="float32")
        graph.fit(
            {x: features, y: target},
            optimizer=fg.SGD(1e-3),
            epochs=epochs,
            batch_size=int(batch) or None,
            shuffle=False,
        )

    return _memory(
        lambda epochs: fit(features, target, epochs), lambda: fit(features[:256], target[:256], 1)
    )


@job("torch")
def memory_pytorch() -> dict[str, float]:
    import torch

    torch.set_num_threads(1)
    features, target, initial = _big()

    def fit(features: np.ndarray, target: np.ndarray, epochs: int) -> None:
        p = [torch.tensor(value, requires_grad=True) for value in initial]
        x, y = torch.from_numpy(features), torch.from_numpy(target)
        optimizer = torch.optim.SGD(p, 1e-3)
        for _ in range(epochs):
            optimizer.zero_grad()
            hidden = torch.relu(torch.addmm(p[1], x, p[0]))
            hidden = torch.relu(torch.addmm(p[3], hidden, p[2]))
            torch.nn.functional.mse_loss(torch.addmm(p[5], hidden, p[4]), y).backward()
            optimizer.step()

    return _memory(
        lambda epochs: fit(features, target, epochs), lambda: fit(features[:256], target[:256], 1)
    )


@job("jax")
def memory_jax() -> dict[str, float]:
    import jax
    import jax.numpy as jnp

    features, target, initial = _big()

    def loss(p: list, x: Any, y: Any) -> Any:
        hidden = jax.nn.relu(jax.nn.relu(x @ p[0] + p[1]) @ p[2] + p[3])
        return jnp.mean((hidden @ p[4] + p[5] - y) ** 2)

    @jax.jit
    def train(p: list, x: Any, y: Any, steps: int) -> list:
        def step(_: Any, p: list) -> list:
            return [a - 1e-3 * g for a, g in zip(p, jax.grad(loss)(p, x, y), strict=True)]

        return jax.lax.fori_loop(0, steps, step, p)

    def fit(features: np.ndarray, target: np.ndarray, epochs: int) -> None:
        jax.block_until_ready(train([jnp.asarray(p) for p in initial], features, target, epochs))

    return _memory(
        lambda epochs: fit(features, target, epochs), lambda: fit(features[:256], target[:256], 1)
    )


# -------------------------------------------------------------------------------------- threads


def _tabular(rows: int) -> tuple[Any, dict[Any, np.ndarray]]:
    import fastgraph as fg

    features, target, initial = _big()
    x, y = fg.Input("x"), fg.Input("y")
    p = [fg.Parameter(value) for value in initial]
    hidden = fg.ReLU(fg.Linear(fg.ReLU(fg.Linear(x, p[0], p[1])), p[2], p[3]))
    graph = fg.Graph(fg.MSE(y, fg.Linear(hidden, p[4], p[5])), dtype="float32")
    return graph, {x: features[:rows], y: target[:rows]}


@job("fastgraph", cores=2)
def threads_scaling(rows: str = "4096") -> dict[str, float]:
    """How many times faster a full-batch step of that many rows is with two threads."""
    import fastgraph as fg

    _use_every_core()
    graph, feeds = _tabular(int(rows))
    epochs = max(20, 200_000 // int(rows))
    best = {1: np.inf, 2: np.inf}
    for _ in range(15):
        for threads in best:
            start = time.perf_counter()
            graph.fit(feeds, optimizer=fg.SGD(1e-3), epochs=epochs, shuffle=False, threads=threads)
            best[threads] = min(best[threads], time.perf_counter() - start)
    return {
        "rows": int(rows),
        "one_thread_us": 1e6 * best[1] / epochs,
        "two_threads_us": 1e6 * best[2] / epochs,
        "speedup": best[1] / best[2],
    }


@job("fastgraph", cores=2)
def threads_two_graphs() -> dict[str, float]:
    """How many times faster two graphs train in two Python threads than one after the other."""
    import fastgraph as fg

    _use_every_core()
    pairs = [_tabular(256) for _ in range(2)]

    def train(pair: tuple[Any, dict]) -> None:
        graph, feeds = pair
        graph.fit(feeds, optimizer=fg.SGD(1e-3), epochs=1500, shuffle=False)

    def together() -> None:
        workers = [threading.Thread(target=train, args=(pair,)) for pair in pairs]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    best = [np.inf, np.inf]
    for _ in range(7):
        start = time.perf_counter()
        for pair in pairs:
            train(pair)
        middle = time.perf_counter()
        together()
        best[0] = min(best[0], middle - start)
        best[1] = min(best[1], time.perf_counter() - middle)
    return {"in_turn_s": best[0], "together_s": best[1], "speedup": best[0] / best[1]}


def _use_every_core() -> None:
    """Undo the binding to one core that the parent may have passed on."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))


if __name__ == "__main__":
    print(json.dumps(_JOBS[sys.argv[1]][0](*sys.argv[2:])))
