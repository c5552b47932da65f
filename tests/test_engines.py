"""The two engines: how one is chosen, and that they mean the same, over one step and a thousand."""

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ENGINES, NATIVE
from numerics import STEP_TOLERANCE, assert_close

import fastgraph as fg

BOSTON = fg.datasets.load_boston()
RM = BOSTON.data[:, BOSTON.feature_names.index("RM")]
PRICE = BOSTON.target
FEATURES = (BOSTON.data - BOSTON.data.mean(axis=0)) / BOSTON.data.std(axis=0)
OVER = {"x": FEATURES, "y": PRICE[:, None]}


def run(code, **environment):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("FASTGRAPH_")}
    return subprocess.run(
        [sys.executable, "-W", "always", "-c", code],
        env=kept | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip


# --- the choice ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_is_set_by_name(name):
    fg.set_engine(name)
    assert fg.engine() == name


@pytest.mark.parametrize("name", ["nativ", "Numpy", "", None, 5])
def test_an_unknown_engine_changes_nothing(name):
    before = fg.engine()
    with pytest.raises(fg.SettingError, match="candidates: 'native', 'numpy'"):
        fg.set_engine(name)
    assert fg.engine() == before


@pytest.mark.parametrize("name", ENGINES)
def test_the_environment_chooses_the_engine(name):
    result = run("import fastgraph as fg; print(fg.engine())", FASTGRAPH_ENGINE=name)
    assert (result.stdout, result.stderr) == (f"{name}\n", "")


def test_the_native_engine_is_the_default_where_it_is_built():
    result = run("import fastgraph as fg; print(fg.engine())")
    assert result.stdout == ("native\n" if NATIVE else "numpy\n")
    assert result.stderr.count("NumPy engine") == (0 if NATIVE else 1)


def test_an_unknown_engine_in_the_environment_is_an_error():
    result = run("import fastgraph", FASTGRAPH_ENGINE="nativ")
    assert result.returncode == 1
    assert "unknown engine 'nativ'; did you mean 'native'?" in result.stderr


@pytest.mark.parametrize("name", ENGINES)
def test_a_graph_takes_the_engine_that_is_set_when_it_runs(name):
    fg.set_engine("numpy")
    x = fg.Input("x")
    graph = fg.Graph(fg.Exp(x))
    graph.forward({x: [1.0]})
    fg.set_engine(name)
    assert graph.summary().endswith(name)
    np.testing.assert_allclose(graph.forward({x: [1.0]}), [np.e])


@pytest.mark.skipif(not NATIVE, reason="the native engine is not built")
def test_without_its_extension_the_numpy_engine_runs_with_one_notice():
    code = (
        "import sys\n"
        "sys.modules['fastgraph._cpu'] = None\n"
        "import fastgraph as fg\n"
        "print(fg.engine(), float(fg.Graph(fg.Exp(fg.Input('x'))).forward({'x': 0.0})))\n"
        "try: fg.set_engine('native')\n"
        "except fg.SettingError as error: print(error)\n"
    )
    result = run(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("numpy 1.0\nthe native engine is not available: ")
    assert result.stderr.count("fastgraph runs on its NumPy engine") == 1
    assert run(code, FASTGRAPH_ENGINE="numpy").stderr == "", "asked for, so no notice"
    assert run(code, FASTGRAPH_ENGINE="native").returncode == 1, "asked for and not there"


# --- one meaning --------------------------------------------------------------------------------


def miniflow(dtype="float64", width=10, activation="sigmoid"):
    """13-10-1 on all features, as in the lesson."""
    x, y = fg.Input("x", shape=(13,)), fg.Input("y", shape=(1,))
    hidden = fg.Dense(x, width, activation, seed=0, name="hidden")
    return fg.Graph(fg.MSE(y, fg.Dense(hidden, 1, seed=1, name="out")), dtype=dtype)


def seednet(dtype="float64"):
    """k2 * sigmoid(k1 * x + b1) + b2 on one feature."""
    x, y = fg.Input("x"), fg.Input("y")
    start = {"k1": 1.0, "b1": 0.0, "k2": 10.0, "b2": 15.0}
    k1, b1, k2, b2 = (fg.Parameter(value, name) for name, value in start.items())
    return fg.Graph(fg.MSE(y, k2 * fg.Sigmoid(k1 * x + b1) + b2), dtype=dtype)


def deep(dtype="float64"):
    return miniflow(dtype, 64, "relu")


def flat(graph):
    return np.concatenate([p.value.ravel() for p in graph.parameters.values()]).astype(float)


def trained(make, engine, dtype, feeds, **settings):
    fg.set_engine(engine)
    graph = make(dtype)
    settings = {"optimizer": fg.SGD(1e-3), "batch_size": 11, "seed": 0} | settings
    history = graph.fit(feeds, **settings)
    return flat(graph), history


FEEDS = {
    "miniflow": (miniflow, OVER),
    "deep": (deep, OVER),
    "seednet": (seednet, {"x": FEATURES[:, 5], "y": PRICE}),
}

if NATIVE:

    @pytest.mark.parametrize("name", FEEDS)
    @pytest.mark.parametrize("batch_size", [1, 11, 506, None])
    def test_one_step_agrees(name, batch_size, dtype):
        make, feeds = FEEDS[name]
        rows = min(batch_size or 506, 506)
        feeds = {key: value[:rows] for key, value in feeds.items()}
        settings = {"epochs": 1, "batch_size": batch_size}
        want, first = trained(make, "numpy", dtype, feeds, **settings)
        got, second = trained(make, "native", dtype, feeds, **settings)
        assert first.steps == second.steps == 1
        assert_close(got, want, STEP_TOLERANCE[dtype])
        assert_close(second.loss, first.loss, STEP_TOLERANCE[dtype])

    def test_a_thousand_steps_of_miniflow_agree(dtype):
        """In float64 to 1e-6; in float32 as far as rounding lets two such runs agree."""
        feeds = {key: value[:220] for key, value in OVER.items()}  # 20 batches of 11, 50 epochs
        want, first = trained(miniflow, "numpy", dtype, feeds, epochs=50)
        got, second = trained(miniflow, "native", dtype, feeds, epochs=50)
        assert first.steps == second.steps == 1000
        tolerance = {"float64": 1e-6, "float32": 1e-2}[dtype]
        assert_close(got, want, tolerance)
        assert_close(second.loss, first.loss, tolerance)

    @pytest.mark.parametrize("name", FEEDS)
    def test_an_epoch_with_adam_agrees(name):
        make, feeds = FEEDS[name]
        want, _ = trained(make, "numpy", "float64", feeds, epochs=1, optimizer=fg.Adam(0.01))
        got, _ = trained(make, "native", "float64", feeds, epochs=1, optimizer=fg.Adam(0.01))
        assert_close(got, want, 1e-8)


@pytest.mark.parametrize("name", FEEDS)
def test_the_same_seed_gives_the_same_bits(name, runner, dtype):
    make, feeds = FEEDS[name]
    engine = fg.engine()
    first, one = trained(make, engine, dtype, feeds, epochs=2, seed=5)
    second, two = trained(make, engine, dtype, feeds, epochs=2, seed=5)
    other, _ = trained(make, engine, dtype, feeds, epochs=2, seed=6)
    assert first.tobytes() == second.tobytes()
    assert one.loss.tobytes() == two.loss.tobytes()
    assert first.tobytes() != other.tobytes()


def test_the_bits_do_not_depend_on_where_the_data_lies(engine):
    """Neither on its alignment nor on what else is in memory."""
    found = set()
    for offset in range(4):
        raw = np.empty(FEATURES.size + 8)
        x = raw[offset : offset + FEATURES.size].reshape(FEATURES.shape)
        x[...] = FEATURES
        values, _ = trained(miniflow, engine, "float64", OVER | {"x": x}, epochs=1)
        found.add(values.tobytes())
    assert len(found) == 1


def test_many_rows_in_threads_give_the_same_bits(engine, dtype):
    """Enough rows that threads share them."""
    draw = np.random.default_rng(0)
    feeds = {"x": draw.normal(size=(20_011, 13)), "y": draw.normal(size=(20_011, 1))}
    found = set()
    for threads in (1, 2, 5):
        values, history = trained(
            deep, engine, dtype, feeds, epochs=2, batch_size=None, threads=threads
        )
        found.add((values.tobytes(), history.loss.tobytes()))
    assert len(found) == 1


@pytest.mark.parametrize("batch_size", [None, 9973])
def test_a_large_batch_follows_its_formula(batch_size, engine, dtype):
    """A batch of many blocks, the last one short, against the whole matrix at once."""
    draw = np.random.default_rng(1)
    n = 19_946
    x, y = draw.normal(size=(n, 13)), draw.normal(size=(n, 1))
    start = flat(miniflow())
    W, b, V, c = start[:130].reshape(13, 10), start[130:140], start[140:150], start[150]
    size = batch_size or n
    got, _ = trained(miniflow, engine, dtype, {"x": x, "y": y}, epochs=1, batch_size=batch_size,
                     shuffle=False, optimizer=fg.SGD(0.1))  # fmt: skip
    for i in range(0, n, size):
        rows, want = x[i : i + size], y[i : i + size, 0]
        h = 1 / (1 + np.exp(-(rows @ W + b)))
        slope = 2 * (h @ V + c - want) / len(want)
        back = np.outer(slope, V) * h * (1 - h)
        W, b = W - 0.1 * rows.T @ back, b - 0.1 * back.sum(0)
        V, c = V - 0.1 * h.T @ slope, c - 0.1 * slope.sum()
    expected = np.concatenate([W.ravel(), b, V, [c]])
    assert_close(got, expected, {"float64": 1e-11, "float32": 1e-4}[dtype])


# --- on the real data ---------------------------------------------------------------------------


def test_the_line_converges_to_least_squares(engine):
    """price = k * RM + b in original units; the numbers are those of the normal equations."""
    mean, std = RM.mean(), RM.std()
    x, y = fg.Input("x"), fg.Input("y")
    k, b = fg.Parameter(0.0, "k"), fg.Parameter(0.0, "b")
    graph = fg.Graph(fg.MSE(y, k * x + b))
    history = graph.fit({x: (RM - mean) / std, y: PRICE}, optimizer=fg.SGD(0.1), epochs=300)
    slope = float(k.value) / std
    intercept = float(b.value) - slope * mean
    assert round(slope, 4) == 9.1021
    assert round(intercept, 4) == -34.6706
    assert round(history.loss[-1], 4) == 43.6006
    (want_slope, want_intercept), *_ = np.linalg.lstsq(
        np.column_stack([RM, np.ones_like(RM)]), PRICE, rcond=None
    )
    assert slope == pytest.approx(want_slope, rel=1e-9)
    assert intercept == pytest.approx(want_intercept, rel=1e-9)


def test_the_best_constant_under_mae_is_the_median(engine):
    y = fg.Input("y")
    c = fg.Parameter(np.median(PRICE), "c")
    graph = fg.Graph(fg.MAE(y, c))
    assert round(float(graph.forward({y: PRICE})), 4) == 6.5308
    graph.backward()
    assert c.gradient == pytest.approx(
        (np.sum(c.value > PRICE) - np.sum(c.value < PRICE)) / 506, abs=1e-12
    )


@pytest.mark.parametrize("engine_name", ENGINES)
def test_miniflow_goes_under_ten(engine_name):
    """13-10-1, batches of 11, SGD; the NumPy engine is given fewer epochs, as it needs no more."""
    epochs = {"native": 1000, "numpy": 40}[engine_name]
    _, history = trained(
        miniflow, engine_name, "float64", OVER, epochs=epochs, optimizer=fg.SGD(1e-2)
    )
    assert history.loss[0] > 50
    assert history.loss[-1] < 10
    assert history.steps == epochs * 46
