"""`python -m benchmarks`: fastgraph against every other framework that is installed.

This file chooses what is measured and lays out what is printed. How a thing is timed is in
`fastgraph.bench`, what each framework does in `peers.py`, whole processes in `processes.py`.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import util
from typing import Any

import numpy as np

from fastgraph import bench
from fastgraph.bench import FastGraph, Kinds, NumPyByHand, Workload, table

from .peers import JAX, PEERS, PREDICTORS, PyTorch, installed
from .processes import run_job

_PACKAGES = ("jax", "torch", "scikit-learn", "autograd", "mygrad", "onnxruntime")

# The frameworks of the sweep and of the heat map; the others are slower at everything.
_FASTEST = (FastGraph, NumPyByHand, JAX, PyTorch)


# ---------------------------------------------------------------------------------------- sweep


def random_workloads(count: int, seed: int = 0) -> list[Workload]:
    """Nets of 1 to 4 hidden layers, widths 1 to 128, batches 1 to 512, drawn evenly in the log."""
    rng = np.random.default_rng(seed)

    def upto(largest: int) -> int:
        return round(math.exp(rng.uniform(0, math.log(largest))))

    workloads = []
    for i in range(count):
        hidden = tuple(upto(128) for _ in range(rng.integers(1, 5)))
        sizes = (1 + upto(64), *hidden, upto(10))
        batch = upto(512)
        workloads.append(
            Workload(
                f"random {i}",
                sizes,
                str(rng.choice(["sigmoid", "tanh", "relu"])),
                batch,
                batch * max(1, 512 // batch),
                str(rng.choice(["sgd", "adam"])),
                str(rng.choice(["float32", "float64"])),
                check_steps=20,
            )
        )
    return workloads


def measure_sweep(count: int, kinds: Kinds, rounds: int, seconds: float) -> dict[str, Any]:
    """Ratios peer / fastgraph over random nets: all of them, the median and the least."""
    nets = []
    for workload in bench.progress(random_workloads(count), "sweep", lambda w: w.title):
        bench.check_losses(workload, kinds)
        nets.append(
            {
                "title": workload.title,
                "step_us": bench.best_times(workload, kinds, rounds, seconds),
            }
        )
    summary = {}
    for kind in kinds:
        if kind is FastGraph:
            continue
        ratios = [net["step_us"][kind.name] / net["step_us"][FastGraph.name] for net in nets]
        worst = int(np.argmin(ratios))
        summary[kind.name] = {
            "median": float(np.median(ratios)),
            "least": ratios[worst],
            "least_net": nets[worst]["title"],
        }
    return {"summary": summary, "nets": nets}


def show_sweep(sweep: dict[str, Any], markdown: bool) -> str:
    rows = [
        [name, f"{s['median']:.2f}x", f"{s['least']:.2f}x", s["least_net"]]
        for name, s in sweep["summary"].items()
    ]
    header = [f"{len(sweep['nets'])} random nets, against", "median", "least", "net of the least"]
    return table(header, rows, markdown)


# -------------------------------------------------------------------------------------- predict


def measure_predict(rounds: int) -> dict[str, Any]:
    """Microseconds to predict one row with the miniflow net."""
    workload = next(w for w in bench.WORKLOADS if w.name == "miniflow")
    row = workload.data()[0][:1]
    contender = FastGraph(workload)
    compiled, out = contender.graph.compile(contender.prediction), np.empty((1, 1))
    calls: dict[str, Callable[[], Any]] = {
        "fastgraph, compiled, out=": partial(compiled, row, out=out),
        "fastgraph, compiled": partial(compiled, row),
        "fastgraph, graph.evaluate": partial(
            contender.graph.evaluate, contender.prediction, {contender.x: row}
        ),
    }
    for name, (module, make, dtype) in PREDICTORS.items():
        if util.find_spec(module):
            calls[name] = partial(make(workload), row.astype(dtype))
    # scikit-learn's predictor has taken one training step; the others must agree exactly.
    expected = calls["NumPy"]()
    for name, call in calls.items():
        if name != "scikit-learn":
            np.testing.assert_allclose(np.asarray(call()), expected, rtol=1e-5, err_msg=name)
    best = dict.fromkeys(calls, math.inf)
    for _ in range(rounds):
        for name, call in calls.items():
            best[name] = min(best[name], _one_call(call))
    return {"net": workload.title, "us": {name: 1e6 * best[name] for name in best}}


def _one_call(call: Callable[[], Any], repeats: int = 2000) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def show_predict(result: dict[str, Any], markdown: bool) -> str:
    rows = [[name, f"{us:.2f}"] for name, us in result["us"].items()]
    return table(["one row, 13-10-1 sigmoid", "µs"], rows, markdown)


# -------------------------------------------------------------------------------------- jobs


def _jobs(calls: Sequence[tuple[str, str, tuple, int]]) -> dict[str, Any]:
    """Run jobs of `processes.py`, keeping each number's least (`speedup`: most) of some repeats."""
    results = {}
    for title, name, arguments, repeats in bench.progress(calls, "processes", lambda call: call[0]):
        runs = [run_job(name, *arguments) for _ in range(repeats)]
        if runs[0] is None:
            print(f"skipped: {title} (not installed, or too few cores)", file=sys.stderr)
            continue
        results[title] = {
            key: (max if key == "speedup" else min)(run[key] for run in runs) for key in runs[0]
        }
    return results


def measure_process(rounds: int) -> dict[str, Any]:
    return _jobs(
        [
            ("fastgraph", "script_fastgraph", (), min(rounds, 7)),
            ("NumPy by hand", "script_numpy", (), min(rounds, 3)),
            ("JAX", "script_jax", (), min(rounds, 3)),
            ("PyTorch", "script_pytorch", (), 1),
        ]
    )


def show_process(results: dict[str, Any], markdown: bool) -> str:
    own = results["fastgraph"]["process_s"]
    rows = [
        [name, f"{r['process_s']:.3f}", f"{r['process_s'] / own:.1f}x", f"{r['loss']:.10f}"]
        for name, r in results.items()
    ]
    header = ["a whole script: import, miniflow 1,000 epochs, predict", "s", "ratio", "loss"]
    return table(header, rows, markdown)


def measure_start() -> dict[str, Any]:
    return _jobs(
        [
            ("import", "start_import", (), 15),
            ("miniflow graph", "start_build", (), 1),
            ("5,000 nodes", "start_large", (5000,), 3),
            ("10,000 nodes", "start_large", (10000,), 3),
        ]
    )


def measure_memory() -> dict[str, Any]:
    return _jobs(
        [
            ("fastgraph, full batch", "memory_fastgraph", (0,), 2),
            ("fastgraph, batch 256", "memory_fastgraph", (256,), 2),
            ("PyTorch, full batch", "memory_pytorch", (), 1),
            ("JAX, full batch", "memory_jax", (), 1),
        ]
    )


def measure_threads() -> dict[str, Any]:
    return _jobs(
        [
            *((f"threads=2, {n} rows", "threads_scaling", (n,), 2) for n in (64, 512, 4096, 65536)),
            ("two graphs, two Python threads", "threads_two_graphs", (), 2),
        ]
    )


def show_jobs(results: dict[str, Any], markdown: bool) -> str:
    rows = [
        [name, ", ".join(f"{key} {_number(v)}" for key, v in r.items() if key != "process_s")]
        for name, r in results.items()
    ]
    return table(["measured", "result"], rows, markdown)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# --------------------------------------------------------------------------------- the command


def show_steps(entries: dict[str, Any], markdown: bool) -> str:
    return table(*bench.workload_rows(entries), markdown)


_PARTS = ("workloads", "predict", "sweep", "grid", "process", "start", "memory", "threads")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    modules = sorted({peer.module for peer in PEERS})
    add("parts", nargs="*", metavar="PART", help=f"{', '.join(_PARTS)}; all if left out")
    add("--sweep", type=int, default=60, metavar="N", help="random nets in the sweep: %(default)s")
    add("--peers", nargs="+", choices=modules, metavar="MODULE", help=", ".join(modules))
    bench.add_options(parser)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(_PARTS):
        parser.error(f"no part {', '.join(unknown)}; there are: {', '.join(_PARTS)}")
    if options.quick:
        return bench.main()
    bench.on_one_core(options.cpu)

    parts = options.parts or _PARTS
    rounds, seconds = options.rounds or bench.ROUNDS, bench.SECONDS
    peers, missing = installed(p for p in PEERS if p.module in (options.peers or modules))
    kinds = [FastGraph, NumPyByHand, *peers]
    fastest = [kind for kind in kinds if kind in _FASTEST]
    chosen = [w for w in bench.WORKLOADS if w.name in options.only]
    few, short = min(rounds, 9), seconds / 2
    measures: dict[str, tuple[Callable[[], Any], Callable[[Any, bool], str] | None]] = {
        "workloads": (lambda: bench.measure_workloads(chosen, kinds, rounds, seconds), show_steps),
        "predict": (lambda: measure_predict(rounds), show_predict),
        "sweep": (lambda: measure_sweep(options.sweep, fastest, few, short), show_sweep),
        "grid": (lambda: bench.measure_grid(fastest, few, short), None),
        "process": (lambda: measure_process(rounds), show_process),
        "start": (measure_start, show_jobs),
        "memory": (measure_memory, show_jobs),
        "threads": (measure_threads, show_jobs),
    }
    results = {"machine": bench.machine(_PACKAGES)}
    print(bench.show_header(results["machine"]))
    for peer in missing:
        print(f"not installed, skipped: {peer.name}")
    for part in parts:
        measure, show = measures[part]
        results[part] = measure()
        if show:
            print(f"\n{show(results[part], options.markdown)}", flush=True)
        # After every part, so that one which fails later takes nothing away.
        written = bench.write_results(results, options.out)
    print("\nwrote", *written)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
