"""The benchmark computes what it says it times. No time is asserted, and no peer is needed."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastgraph import bench
from fastgraph.bench import WORKLOADS, FastGraph, NumPyByHand, Workload

ROOT = Path(__file__).resolve().parent.parent
SMALL = (
    Workload("adam", (5, 7, 3, 2), "tanh", 11, 33, "adam", "float64", check_steps=30),
    Workload("narrow", (3, 1, 1), "relu", 7, 21, "sgd", "float64", check_steps=30),
    Workload("single", (5, 13, 1), "sigmoid", 16, 64, "adam", "float32", check_steps=20),
)


@pytest.mark.parametrize("workload", [*WORKLOADS, *SMALL], ids=lambda w: w.name)
def test_losses_agree(workload):
    losses = bench.check_losses(workload, [FastGraph])
    assert set(losses) == {"NumPy", "fastgraph"}
    assert losses["NumPy"] < workload.loss(workload.initial_parameters())


@pytest.mark.parametrize("workload", [WORKLOADS[0], WORKLOADS[1], *SMALL[:2]], ids=lambda w: w.name)
def test_numpy_by_hand_follows_the_gradient(workload):
    """One step of SGD moves every parameter by the central difference of the loss."""
    whole = Workload(
        workload.name, workload.sizes, workload.activation, workload.rows, workload.rows,
        boston=workload.boston,
    )  # fmt: skip
    contender = NumPyByHand(whole)
    contender.run(1)
    start = whole.initial_parameters()
    for i, (before, after) in enumerate(zip(start, contender.parameters(), strict=True)):
        for index in np.ndindex(before.shape):
            losses = []
            for shift in (1e-5, -1e-5):
                moved = [p.copy() for p in start]
                moved[i][index] += shift
                losses.append(whole.loss(moved))
            slope = (losses[0] - losses[1]) / 2e-5
            assert before[index] - after[index] == pytest.approx(1e-3 * slope, rel=1e-5, abs=1e-11)


def test_a_contender_that_computes_something_else_is_caught():
    class Wrong(NumPyByHand):
        name = "wrong"

        def _sgd(self):
            self._vector -= 1.001e-3 * self._gradient

    with pytest.raises(ArithmeticError, match="wrong has loss"):
        bench.check_losses(WORKLOADS[1], [Wrong])


def test_a_contender_is_trained_in_whole_epochs():
    asked = []

    class Counting(NumPyByHand):
        def run(self, steps):
            asked.append(steps)
            super().run(steps)

    times = bench.best_times(SMALL[0], [Counting], rounds=3, seconds=1e-4)
    assert set(times) == {"NumPy"} and math.isfinite(times["NumPy"])
    assert asked and all(steps > 0 and steps % SMALL[0].batches == 0 for steps in asked)


def test_flops_count_the_matrix_products():
    # 4 rows through 3-5-2: forward and weight gradient of both layers, input gradient of one.
    assert Workload("", (3, 5, 2), "relu", 4, 4).flops == 2 * 4 * (2 * 15 + 3 * 10)


def test_table_is_aligned_in_text_and_markdown():
    text = bench.table(["net", "µs"], [["a", "1.5"], ["longer", "12"]])
    assert text.splitlines() == ["net      µs", "------  ---", "a       1.5", "longer   12"]
    markdown = bench.table(["net", "µs"], [["a", "1.5"]], markdown=True)
    assert markdown.splitlines() == ["| net |  µs |", "|-----|----:|", "| a   | 1.5 |"]


def test_rows_show_ratios_and_leave_gaps():
    entries = {
        "first": {"step_us": {"fastgraph": 2.0, "other": 1234.0}, "ratio": {"other": 617.0}},
        "second": {
            "step_us": {"fastgraph": 0.0834},
            "ratio": {},
            "gflops": 94.4,
            "percent_of_peak": 80.0,
        },
    }
    header, rows = bench.workload_rows(entries)
    assert header[1:] == ["fastgraph", "other", "GFLOP/s", "of peak"]
    assert rows[0] == ["first", "2.00", "1,234 (617x)", "–", "–"]
    assert rows[1] == ["second", "0.083", "–", "94.4", "80 %"]


def test_measuring_writes_json_and_pictures(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(bench, "GRID_WIDTHS", (1, 5))
    monkeypatch.setattr(bench, "GRID_BATCHES", (1, 7, 32))
    results = bench.measure(["line", "miniflow"], rounds=1, seconds=1e-3)
    paths = bench.write_results(results, tmp_path)
    assert [p.name for p in paths] == ["benchmark.json", "workloads.png", "width_batch.png"]
    loaded = json.loads(paths[0].read_text())
    assert set(loaded) == {"machine", "workloads", "grid"}
    assert set(loaded["workloads"]) == {"line", "miniflow"}
    assert np.array(loaded["grid"]["ratio"]["NumPy"]).shape == (2, 3)
    for path in paths[1:]:
        head = path.read_bytes()[:24]
        width, height = struct.unpack(">II", head[16:24])
        assert head.startswith(b"\x89PNG") and width > 400 and height > 300
    assert "6/6" in capsys.readouterr().err  # progress


@pytest.mark.parametrize("command", [["fastgraph", "bench"], ["benchmarks"]])
def test_help_names_the_options(command):
    shown = subprocess.run(
        [sys.executable, "-m", *command, "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert shown.returncode == 0, shown.stderr
    for option in ("--quick", "--only", "--rounds", "--out", "--markdown"):
        assert option in shown.stdout
