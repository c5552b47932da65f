"""Row blocks, lanes and threads: a batch is one batch, however it is cut and whoever runs it."""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import fastgraph as fg
from fastgraph.engines import extension

pytestmark = pytest.mark.skipif(
    not extension.NATIVE_AVAILABLE, reason="blocks are the native engine's"
)

WIDTHS = (5, 33, 9, 1)  # blocks of about a hundred rows


def fitted(engine, rows, batch_size, threads=1, dtype="float64", shuffle=True, epochs=2):
    """The parameters and losses of a small net after a few epochs."""
    fg.set_engine(engine)
    rng = np.random.default_rng(rows)
    x, y = fg.Input("x"), fg.Input("y")
    node, parameters = x, []
    for a, b in itertools.pairwise(WIDTHS):
        W = fg.Parameter(rng.normal(size=(a, b)) / np.sqrt(a))
        bias = fg.Parameter(rng.normal(size=b))
        parameters += [W, bias]
        node = fg.Linear(node, W, bias)
        if b > 1:
            node = fg.ReLU(node)
    penalty = 0.01 * fg.Sum(parameters[0] * parameters[0])
    graph = fg.Graph(fg.MSE(y, node) + penalty, dtype=dtype)
    feeds = {x: rng.normal(size=(rows, WIDTHS[0])), y: rng.normal(size=(rows, 1))}
    history = graph.fit(
        feeds,
        optimizer=fg.SGD(1e-2, momentum=0.5),
        epochs=epochs,
        batch_size=batch_size,
        threads=threads,
        shuffle=shuffle,
        seed=7,
    )
    return np.concatenate([p.value.ravel() for p in parameters]), history.loss


@pytest.fixture(autouse=True)
def same_engine_after():
    before = fg.engine()
    yield
    fg.set_engine(before)


# (650, 300): the last batch has fewer blocks than lanes. (1201, None): nineteen blocks or so.
@pytest.mark.parametrize(
    "rows, batch_size",
    [(650, 300), (1201, None), (1201, 1200), (97, None), (1, None), (513, 1), (401, 400)],
)
@pytest.mark.parametrize("shuffle", [True, False])
def test_blocks_give_what_the_whole_batch_gives(rows, batch_size, shuffle):
    native = fitted("native", rows, batch_size, shuffle=shuffle)
    reference = fitted("numpy", rows, batch_size, shuffle=shuffle)
    for ours, theirs in zip(native, reference, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("threads", [2, 3, 8, 50])
def test_threads_change_no_bit(threads, dtype):
    # Large enough for threads to be used: 6,000 rows of about a hundred numbers.
    alone = fitted("native", 6000, 5000, dtype=dtype)
    shared = fitted("native", 6000, 5000, threads=threads, dtype=dtype)
    for ours, theirs in zip(shared, alone, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_threads_leave_when_a_run_fails():
    fg.set_engine("native")
    x, y = fg.Input("x"), fg.Input("y")
    W = fg.Parameter(np.ones((40, 30)))
    graph = fg.Graph(fg.MSE(y, fg.Sum(fg.Exp(x @ W), axis=1, keepdims=True)))
    feeds = {x: np.full((6000, 40), 100.0), y: np.zeros((6000, 1))}
    for _ in range(3):
        with pytest.raises(fg.DivergenceError):
            graph.fit(feeds, optimizer=fg.SGD(1.0), epochs=5, threads=2)
    np.testing.assert_array_equal(W.value, 1)


def test_evaluation_in_blocks_gives_every_row():
    fg.set_engine("native")
    x = fg.Input("x")
    W = fg.Parameter(np.random.default_rng(0).normal(size=(7, 11)))
    out = fg.Tanh(x @ W)
    graph = fg.Graph(out)
    X = np.random.default_rng(1).normal(size=(5003, 7))
    np.testing.assert_allclose(graph.evaluate(out, {x: X}), np.tanh(X @ W.value), rtol=1e-12)
    few = graph.evaluate(out, {x: X[:3]})
    np.testing.assert_array_equal(few, graph.evaluate(out, {x: X})[:3])


def test_rows_that_depend_on_all_rows_are_not_cut():
    # x + tanh(mean(x)): the mean of the batch, not of a block.
    x = fg.Input("x")
    k = fg.Parameter(0.5)
    out = k * x + fg.Tanh(fg.Mean(k * x))
    loss = fg.Sqrt(fg.Mean(out * out))
    X = np.random.default_rng(2).normal(size=(20_011, 3)) + 1
    results = []
    for engine in ("numpy", "native"):
        fg.set_engine(engine)
        k.value = 0.5
        graph = fg.Graph(loss)
        values = graph.evaluate(out, {x: X})
        history = graph.fit({x: X}, optimizer=fg.SGD(0.1), epochs=3, batch_size=15_000)
        results.append((values, history.loss, float(k.value)))
    for ours, theirs in zip(results[1], results[0], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)


def test_a_debug_build_looks_behind_every_buffer(monkeypatch):
    fg.set_engine("native")
    plain = fitted("native", 650, 300)
    module = extension.load_extension(extension.choose_isa(), "float64")
    monkeypatch.setattr(module, "debug", lambda: True)
    for ours, theirs in zip(fitted("native", 650, 300), plain, strict=True):
        np.testing.assert_array_equal(ours, theirs)  # the guards are there, and nobody wrote there
    x = fg.Input("x")
    graph = fg.Graph(fg.Sum(fg.Exp(x)))
    graph.forward({x: np.ones((5, 3))})
    bound = graph._ran._last[0]
    value = bound.lowered.values[graph.node("exp_1")]
    (guard,) = (guard for guard, buffer in bound._guards if buffer is value)
    guard[0] = 0.0  # as a kernel that writes too far
    with pytest.raises(fg.GraphError, match=r"wrote beyond a buffer of \['Exp'\]"):
        graph.forward({x: np.ones((5, 3))})


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory as Linux does")
def test_a_file_larger_than_the_memory_allowed_trains(tmp_path):
    rows, features = 400_000, 40
    path = tmp_path / "x.npy"
    X = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, features))
    for start in range(0, rows, 50_000):
        X[start : start + 50_000] = np.random.default_rng(start).normal(size=(50_000, features))
    del X
    assert path.stat().st_size > 60e6
    code = f"""
        import resource, numpy as np, fastgraph as fg
        X = np.load({str(path)!r}, mmap_mode="r")
        x = fg.Input("x")
        W, b = fg.Parameter(np.zeros((40, 1)), "W"), fg.Parameter(np.zeros(1), "b")
        graph = fg.Graph(fg.Mean((fg.Linear(x, W, b) - 3.0) ** 2), dtype="float32")
        graph.fit({{x: X[:1000]}}, optimizer=fg.SGD(0.1), epochs=1, batch_size=100)
        used = int(next(l for l in open("/proc/self/status") if l.startswith("VmData")).split()[1])
        allowed = used * 1024 + 30_000_000  # for private memory; the file has 64,000,000 bytes
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))
        for batch_size in (10_000, None):
            graph.fit({{x: X}}, optimizer=fg.SGD(0.1), epochs=1, batch_size=batch_size)
        print(float(b.value[0]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert 2.9 < float(done.stdout) < 3.1
