"""Many models at once: the bits of each alone, failures apart, folds, sweeps, ensembles, Ctrl-C.

What is expected comes from ``Graph.fit`` alone, from closed solutions, or from NumPy by hand.
"""

import math
import os
import runpy
import subprocess
import sys
import textwrap
import threading
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import ENGINES

import fastgraph as fg
from fastgraph import many
from fastgraph.ensemble import _normal_quantile

ROWS = 53
DRAW = np.random.default_rng(7)
X = DRAW.normal(size=(ROWS, 3))
Y = np.sin(X[:, :1]) + 0.5 * X[:, 1:2] + 0.1 * DRAW.normal(size=(ROWS, 1))
FEEDS = {"x": X, "y": Y}


@pytest.fixture(params=ENGINES)
def engine(request):
    fg.set_engine(request.param)


def net(width=5, seed=0, dropout=0.0):
    x, y = fg.Input("x", shape=(3,)), fg.Input("y", shape=(1,))
    units = [width, 1]
    prediction = fg.mlp(x, units, "tanh", seed=seed, dropout=dropout, name="prediction")
    return fg.Graph(fg.MSE(y, prediction, name="loss"))


def line(start=0.0):
    """``y ≈ k·x``; one step of gradient descent multiplies the error of k by a known factor."""
    x, y = fg.Input("x"), fg.Input("y")
    return fg.Graph(fg.MSE(y, fg.Multiply(fg.Parameter(start, "k"), x, name="line"), name="loss"))


def k_of(model):
    return float(getattr(model, "graph", model).parameters["k"].value)


def numbers(model):
    """All that training came to, as bytes."""
    parameters = [p.value.tobytes() for p in model.graph.parameters.values()]
    return b"".join([*parameters, model.history.loss.tobytes()])


MIXED = [
    {"width": 3 + i % 4, "learning_rate": 10.0 ** (-1 - i % 3), "batch_size": (None, 7, 11)[i % 3]}
    for i in range(11)
]


def mixed(threads):
    return fg.fit_many(
        net, FEEDS, MIXED, threads=threads, optimizer=fg.Adam(), epochs=7, dropout=0.2
    )


# fit_many ----------------------------------------------------------------------------------------


def test_bits_do_not_depend_on_the_number_of_threads(engine):
    one, two, five = (mixed(threads) for threads in (1, 2, 5))
    assert len({numbers(model) for model in one}) == len(one)  # they differ from one another
    for a, b, c in zip(one, two, five, strict=True):
        assert numbers(a) == numbers(b) == numbers(c)


def test_each_is_the_model_trained_alone(engine):
    for i, (model, own) in enumerate(zip(mixed(3), MIXED, strict=True)):
        alone = net(own["width"], seed=i, dropout=0.2)
        history = alone.fit(
            FEEDS,
            optimizer=fg.Adam(own["learning_rate"]),
            epochs=7,
            batch_size=own["batch_size"],
            seed=i,
        )
        np.testing.assert_array_equal(model.history.loss, history.loss)
        for name, parameter in alone.parameters.items():
            np.testing.assert_array_equal(model.graph.parameters[name].value, parameter.value)
        assert model.number == i
        assert model.settings["seed"] == i
        assert model.loss == history.loss[-1]


def test_a_seed_counts_on_and_an_own_seed_is_taken():
    found = fg.fit_many(
        net, FEEDS, [{}, {"seed": 40}, {}], seed=5, optimizer=fg.SGD(0.1), epochs=1
    )
    assert [model.settings["seed"] for model in found] == [5, 40, 7]


def test_graphs_and_feeds_of_their_own():
    starts = [0.0, 5.0, -3.0]
    feeds = [{"x": [1.0, 2.0], "y": [slope, 2 * slope]} for slope in (2.0, -7.0, 0.5)]
    found = fg.fit_many(
        [line(start) for start in starts], feeds, optimizer=fg.SGD(0.1), epochs=100
    )
    np.testing.assert_allclose([k_of(model) for model in found], [2.0, -7.0, 0.5], rtol=1e-9)


def test_graphs_are_made_in_order_at_any_number_of_threads():
    """A function that draws from one generator: models and draws belong together."""

    def drawn(threads):
        draw = np.random.default_rng(5)
        found = fg.fit_many(
            lambda: line(draw.normal()), SLOPE, count=20, threads=threads,
            optimizer=fg.SGD(0.01), epochs=3,
        )  # fmt: skip
        return [k_of(model) for model in found]

    # The error of k shrinks by 1 - 2·0.01 a step.
    expected = 3 + (np.random.default_rng(5).normal(size=20) - 3) * 0.98**3
    for threads in (1, 5):
        np.testing.assert_allclose(drawn(threads), expected, rtol=1e-12)


def test_one_graph_is_made_at_a_time():
    made, inside = [], []

    def model(number):
        inside.append(number)
        time.sleep(0.003)  # lets any other thread in
        assert inside == [number]
        inside.clear()
        made.append(number)
        return line()

    settings = [{"number": number} for number in range(9)]
    fg.fit_many(model, SLOPE, settings, threads=4, optimizer=fg.SGD(0.1), epochs=1)
    assert made == list(range(9))


def test_a_function_that_gives_the_same_graph_twice_is_refused():
    graph = line()
    with pytest.raises(fg.GraphError, match=r"model 0 and model 1 share Parameter 'k'"):
        fg.fit_many(lambda: graph, SLOPE, count=2, threads=1, optimizer=fg.SGD(0.1), epochs=1)


def test_an_optimizer_of_the_users_is_not_touched():
    optimizer = fg.SGD(0.1, momentum=0.5)
    fg.fit_many(
        line, {"x": [1.0], "y": [1.0]}, [{"learning_rate": 0.2}, {"momentum": 0.0}],
        optimizer=optimizer, epochs=3,
    )  # fmt: skip
    assert (optimizer.learning_rate, optimizer.momentum) == (0.1, 0.5)
    assert len(optimizer._states) == 0


def test_each_setting_reaches_the_one_who_knows_it():
    """One step from k=1 on x=1, y=0: k ← 1 - rate·2; with momentum, a second adds 0.5 of it."""
    seen = []

    def model(start, seed, **rest):
        seen.append((seed, rest))
        return line(start)

    (found,) = fg.fit_many(
        model, {"x": [1.0], "y": [0.0]}, [{"start": 1.0, "learning_rate": 0.25, "colour": "red"}],
        optimizer=fg.SGD(9.0, momentum=0.5), epochs=2, seed=3,
    )  # fmt: skip
    assert seen == [(3, {"colour": "red"})]
    first = 1 - 0.25 * 2
    assert k_of(found) == pytest.approx(first - 0.25 * (2 * first + 0.5 * 2))


def test_a_divergence_stays_with_its_model(engine):
    settings = [{"learning_rate": rate} for rate in (0.1, 1e200, 0.05)]
    found = fg.fit_many(
        line, {"x": [1.0, 2.0], "y": [2.0, 4.0]}, settings, threads=2,
        optimizer=fg.SGD(1.0), epochs=300,
    )  # fmt: skip
    assert isinstance(found[1].error, fg.DivergenceError)
    assert str(found[1].error).startswith("model 1 (learning_rate=1e+200): training left")
    assert found[1].history is None
    assert math.isnan(found[1].loss)
    assert np.isfinite(k_of(found[1]))
    assert "diverged" in repr(found[1])
    for model in (found[0], found[2]):
        assert model.error is None
        assert k_of(model) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"learning_rat": 1.0}, fg.SettingError, ["learning_rat", "did you mean 'learning_rate'"]),
        ({"batch_size": 0}, fg.SettingError, ["model 0", "batch_size"]),
        ({"learning_rate": -1.0}, fg.SettingError, ["model 0", "learning_rate", "-1"]),
        ({"threads": 2.5}, fg.SettingError, ["threads", "2.5"]),
        ({"progress": 1}, fg.SettingError, ["progress"]),
        ({"settings": [{"threads": 2}]}, fg.SettingError, ["model 0 (threads=2)", "together"]),
        ({"optimizer": fg.SGD}, fg.SettingError, ["optimizer", "SGD(1e-2)"]),
        ({"count": 0}, fg.SettingError, ["count"]),
        ({"count": None}, fg.SettingError, ["how many models", "count="]),
        ({"settings": [{}, {}]}, fg.SettingError, ["settings 2", "count 1"]),
        ({"settings": [3]}, fg.SettingError, ["model 0", "3"]),
        ({"settings": "abc"}, fg.SettingError, ["settings", "str"]),
        ({"settings": []}, fg.SettingError, ["settings", "an empty list"]),
        ({"feeds": 3}, fg.SettingError, ["feeds", "int"]),
        ({"seed": -1}, fg.SettingError, ["seed", "-1"]),
        ({"feeds": {"x": [1.0]}}, fg.DataError, ["model 0", "'y'"]),
        ({"models": lambda width: line()}, fg.SettingError, ["'width'"]),
        ({"models": lambda: 3}, fg.GraphError, ["model 0", "3"]),
        ({"models": line()}, fg.GraphError, ["one Graph"]),
        ({"models": []}, fg.SettingError, ["no models"]),
        ({"models": [3]}, fg.GraphError, ["model 0", "3"]),
    ],
)
def test_what_is_wrong_is_refused_by_name(change, error, words):
    given = {
        "models": line, "feeds": {"x": [1.0], "y": [2.0]}, "count": 1, "optimizer": fg.SGD(0.1),
        "epochs": 2,
    }  # fmt: skip
    with pytest.raises(error) as caught:
        fg.fit_many(**(given | change))
    for word in words:
        assert word in str(caught.value)


def test_epochs_are_asked_for():
    with pytest.raises(fg.SettingError, match="epochs"):
        fg.fit_many(line, {"x": [1.0], "y": [2.0]}, count=1, optimizer=fg.SGD(0.1))


def test_models_that_share_a_parameter_are_refused():
    graph = line()
    with pytest.raises(fg.GraphError, match=r"model 0 and model 1 share Parameter 'k'"):
        fg.fit_many(
            [graph, graph], {"x": [1.0], "y": [2.0]}, optimizer=fg.SGD(0.1), epochs=1
        )
    assert k_of(graph) == 0.0


def test_models_that_write_to_one_checkpoint_are_refused(tmp_path):
    own = [{"checkpoint": tmp_path / "one.npz"}, {"checkpoint": tmp_path / "." / "one.npz"}]
    with pytest.raises(fg.GraphError, match=r"share the checkpoint .*one\.npz"):
        fg.fit_many(
            line, {"x": [1.0], "y": [2.0]}, own, optimizer=fg.SGD(0.1), epochs=1
        )
    own[1]["checkpoint"] = tmp_path / "two.npz"
    fg.fit_many(line, {"x": [1.0], "y": [2.0]}, own, optimizer=fg.SGD(0.1), epochs=1)
    assert {path.name for path in tmp_path.iterdir()} == {"one.npz", "two.npz"}


def test_all_that_a_run_can_have_a_model_can_have(engine):
    """Schedule, penalties, validation, early stopping: as ``fit`` alone, at three threads."""
    common = {
        "epochs": 30, "batch_size": 11, "schedule": fg.schedules.Cosine(30), "l2": 1e-3,
        "clip_norm": 1.0, "validation": {"x": X[40:], "y": Y[40:]},
        "early_stopping": fg.EarlyStopping(patience=2),
    }  # fmt: skip
    seen = {"x": X[:40], "y": Y[:40]}
    found = fg.fit_many(net, seen, count=4, threads=3, optimizer=fg.Adam(0.2), **common)
    for model in found:
        alone = net(seed=model.number)
        history = alone.fit(seen, optimizer=fg.Adam(0.2), seed=model.number, **common)
        np.testing.assert_array_equal(model.history.validation_loss, history.validation_loss)
        np.testing.assert_array_equal(model.graph.vector, alone.vector)
    assert any(model.history.stopped_early for model in found)


def test_solvers_run_side_by_side():
    found = fg.fit_many(
        [line(k) for k in (0.0, 9.0)], SLOPE, threads=2,
        optimizer=fg.LevenbergMarquardt(), epochs=20,
    )  # fmt: skip
    np.testing.assert_allclose([k_of(model) for model in found], 3.0, rtol=1e-6)


def test_an_error_in_one_model_stops_the_others_and_names_it():
    """The second model is wrong; the first would run for hours."""
    feeds = [{"x": [1.0], "y": [2.0]}, {"x": [1.0], "y": [2.0, 3.0]}]
    before = threading.active_count()
    with pytest.raises(fg.DataError, match=r"^model 1: the feeds have different numbers of rows"):
        fg.fit_many(line, feeds, threads=2, optimizer=fg.SGD(1e-12), epochs=10**9)
    assert threading.active_count() == before


def test_a_foreign_error_comes_through_with_a_note():
    class Odd(fg.Node):
        def shape(self, x):
            return x

        def forward(self, x):
            raise RuntimeError("mine")

        def backward(self, gradient, x):
            return (gradient,)

    def model():
        x = fg.Input("x")
        return fg.Graph(fg.Mean(Odd(x) * fg.Parameter(1.0)))

    with pytest.raises(RuntimeError, match="mine") as caught:
        fg.fit_many(model, {"x": [1.0]}, count=2, optimizer=fg.SGD(0.1), epochs=1)
    assert caught.value.__notes__ == ["fastgraph: in model 0"]


def test_one_bar_for_all_models(monkeypatch):
    tqdm = pytest.importorskip("tqdm.auto")
    bars = []

    class Bar:
        def __init__(self, total, unit):
            self.total, self.unit, self.done, self.closed = total, unit, 0, False
            bars.append(self)

        def update(self, count):
            self.done += count

        def set_postfix(self, refresh, **shown):
            self.shown = shown

        def close(self):
            self.closed = True

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    settings = [{"learning_rate": rate} for rate in (0.1, 1e200, 0.1, 0.1, 0.1)]
    fg.fit_many(
        line, {"x": [1.0, 2.0], "y": [2.0, 4.0]}, settings, optimizer=fg.SGD(1.0), epochs=30,
        progress=True,
    )  # fmt: skip
    (bar,) = bars
    assert (bar.total, bar.unit, bar.done, bar.closed) == (5, "model", 5, True)
    assert bar.shown == {"diverged": 1}


# Ctrl-C ------------------------------------------------------------------------------------------

INTERRUPT = """
import os, signal, threading, time
import numpy as np
import fastgraph as fg
from fastgraph import many
signal.signal(signal.SIGINT, signal.default_int_handler)

def steps():
    # Every step adds exactly 1 to each number, so any mixture of steps would show.
    return fg.Graph(fg.Sum(fg.Parameter(np.zeros(1000), "p") * -1.0))

graphs = [steps() for _ in range(5)]
def press():
    time.sleep(0.4)
    os.kill(os.getpid(), signal.SIGINT)
work = many._Crew.work
def working(self, threads, bar):
    threading.Thread(target=press, daemon=True).start()
    return work(self, threads, bar)
many._Crew.work = working
try:
    fg.fit_many(graphs, {}, threads=2, optimizer=fg.SGD(1.0), epochs=10**9)
except KeyboardInterrupt as stop:
    results = stop.results
else:
    raise AssertionError("no KeyboardInterrupt")
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
assert threading.active_count() <= 2, threading.enumerate()
assert [r.graph for r in results] == graphs
assert all(r.history is None and r.error is None for r in results)
taken = [set(g.parameters["p"].value.tolist()) for g in graphs]
assert all(len(values) == 1 for values in taken), "a step was torn"
assert [min(values) > 0 for values in taken] == [True, True, False, False, False], taken
graphs[0].fit({}, optimizer=fg.SGD(1.0), epochs=3)  # and it can go on
"""


@pytest.mark.parametrize("name", ENGINES)
def test_ctrl_c_stops_all_after_a_whole_step(name):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(INTERRUPT)],
        env=os.environ | {"FASTGRAPH_ENGINE": name},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


# cross_validate ----------------------------------------------------------------------------------


@pytest.mark.parametrize("folds", [2, 5, 7, ROWS])
def test_folds_are_apart_complete_and_even(folds):
    found = many_folds(folds, 0)
    assert sorted(np.concatenate(found).tolist()) == list(range(ROWS))
    sizes = [len(rows) for rows in found]
    assert len(found) == folds
    assert max(sizes) - min(sizes) <= 1
    assert all((np.diff(rows) > 0).all() for rows in found)


def many_folds(folds, seed):
    return fg.cross_validate(
        net, FEEDS, folds=folds, seed=seed, optimizer=fg.SGD(0.1), epochs=1
    ).rows


def test_folds_are_shuffled_by_the_seed():
    first, again, other = many_folds(3, 0), many_folds(3, 0), many_folds(3, 1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    assert not any(np.array_equal(rows, np.arange(rows[0], rows[-1] + 1)) for rows in first)


def test_cross_validation_is_what_one_gets_by_hand(engine):
    found = fg.cross_validate(
        net, FEEDS, folds=4, seed=2, optimizer=fg.Adam(0.01), epochs=9, batch_size=7, threads=3
    )
    by_hand = np.empty(Y.shape)
    for i, held in enumerate(found.rows):
        seen = np.array([row for row in range(ROWS) if row not in set(held.tolist())])
        graph = net(seed=2)
        graph.fit(
            {"x": X[seen], "y": Y[seen]}, optimizer=fg.Adam(0.01), epochs=9, batch_size=7, seed=2
        )
        for rows, loss in ((seen, found.train_losses[i]), (held, found.validation_losses[i])):
            predicted = graph.evaluate("prediction", {"x": X[rows]})
            assert loss == pytest.approx(np.mean((predicted - Y[rows]) ** 2), rel=1e-12)
        by_hand[held] = predicted
    np.testing.assert_array_equal(found.predictions("prediction"), by_hand)
    # Folds weighted by their rows: the mean over all rows, each predicted by who has not seen it.
    assert found.mean == pytest.approx(np.mean((by_hand - Y) ** 2), rel=1e-12)
    assert found.std == pytest.approx(found.validation_losses.std() * math.sqrt(4 / 3))


def test_folds_of_the_users_own():
    folds = [[0, 5, 2], np.array([1, 3])]
    found = fg.cross_validate(net, FEEDS, folds=folds, optimizer=fg.SGD(0.1), epochs=1)
    assert [rows.tolist() for rows in found.rows] == [[0, 2, 5], [1, 3]]
    with pytest.raises(fg.DataError, match="48 rows are in no fold"):
        found.predictions("prediction")


def test_a_fold_that_diverged_has_no_loss():
    feeds = {"x": [0.0, 0.0, 1.0, 1.0], "y": [0.0, 0.0, 1.0, 1.0]}
    found = fg.cross_validate(
        line, feeds, folds=[[2, 3], [0, 1]], optimizer=fg.SGD(1e200), epochs=9
    )
    assert found.models[0].error is None  # x is 0 throughout: no gradient
    assert found.validation_losses[0] == 1.0
    assert np.isnan(found.validation_losses[1])
    assert str(found.models[1].error).startswith("fold 1: ")
    with pytest.raises(fg.DivergenceError, match="fold 1"):
        found.predictions("line")


def test_early_stopping_watches_the_fold_that_is_held_out():
    settings = {"epochs": 40, "early_stopping": fg.EarlyStopping(patience=3)}
    found = fg.cross_validate(net, FEEDS, folds=3, optimizer=fg.Adam(0.1), **settings)
    for model, loss in zip(found.models, found.validation_losses, strict=True):
        # The parameters of the best epoch are back, so its loss is the fold's.
        best = model.history.validation_loss[model.history.best_epoch - 1]
        assert loss == pytest.approx(best, rel=1e-12)
        assert best == model.history.validation_loss.min()


@pytest.mark.parametrize(
    ("folds", "words"),
    [(1, "folds"), (ROWS + 1, "54 folds of 53 rows"), (2.5, "folds"), ([[0], [ROWS]], "fold 1"),
     ([[0, 0], [1]], "fold 0"), ([[0]], "2 or more"), ([[], [1]], "fold 0"),
     ([list(range(ROWS)), [0]], "fold 0")],
)  # fmt: skip
def test_folds_that_do_not_fit_are_refused(folds, words):
    with pytest.raises(fg.SettingError, match=words):
        fg.cross_validate(net, FEEDS, folds=folds, optimizer=fg.SGD(0.1), epochs=1)


def test_rows_that_differ_cannot_be_dealt():
    with pytest.raises(fg.DataError, match="x has 3, y has 2"):
        fg.cross_validate(
            line, {"x": [1, 2, 3], "y": [1, 2]}, folds=2, optimizer=fg.SGD(0.1), epochs=1
        )


# sweep -------------------------------------------------------------------------------------------

SLOPE = {"x": np.array([1.0, -1.0, 1.0, -1.0]), "y": np.array([3.0, -3.0, 3.0, -3.0])}


def test_a_sweep_finds_the_learning_rate_with_a_known_answer(engine):
    """x² is 1 in each row, so the error of k shrinks by ``1 - 2·rate`` a step: 0.5 is exact."""
    rates = [0.001, 0.1, 0.5, 0.9, 1e200]
    table = fg.sweep(
        line, SLOPE, {"learning_rate": rates}, folds=2, optimizer=fg.SGD(1.0), epochs=4
    )
    assert table.best.settings == {"learning_rate": 0.5}
    assert table.best.validation_loss == 0.0
    by_rate = {row["learning_rate"]: row["validation_loss"] for row in table.to_dicts()}
    for rate in rates[:4]:
        assert by_rate[rate] == pytest.approx(9 * (1 - 2 * rate) ** 8)
    assert math.isnan(by_rate[1e200])
    assert [trial.settings["learning_rate"] for trial in table][-1] == 1e200
    losses = [trial.validation_loss for trial in table[:-1]]
    assert losses == sorted(losses)


def test_a_grid_is_every_combination_by_validation_rows():
    held = {"x": X[40:], "y": Y[40:]}
    seen = {"x": X[:40], "y": Y[:40]}
    grid = {"width": [2, 5], "learning_rate": np.array([0.01, 0.1]), "batch_size": [None, 7]}
    table = fg.sweep(net, seen, grid, validation=held, optimizer=fg.Adam(), epochs=5, seed=4)
    tried = {tuple(trial.settings.values()) for trial in table}
    assert tried == {(w, r, b) for w in (2, 5) for r in (0.01, 0.1) for b in (None, 7)}
    best = table.best
    alone = net(best.settings["width"], seed=4)
    alone.fit(
        seen, optimizer=fg.Adam(best.settings["learning_rate"]), epochs=5, seed=4,
        batch_size=best.settings["batch_size"],
    )  # fmt: skip
    expected = np.mean((alone.evaluate("prediction", {"x": X[40:]}) - Y[40:]) ** 2)
    assert best.validation_loss == pytest.approx(expected, rel=1e-12)
    assert math.isnan(best.spread)
    assert best.validation_loss == min(row["validation_loss"] for row in table.to_dicts())


def test_a_table_sorts_and_prints():
    table = fg.sweep(
        line, SLOPE, {"learning_rate": [0.1, 1e200, 0.4]}, folds=2, optimizer=fg.SGD(1.0), epochs=4
    )
    rates = [t.settings["learning_rate"] for t in table.sort("learning_rate", descending=True)]
    assert rates == [1e200, 0.4, 0.1]
    assert [t.settings["learning_rate"] for t in table.sort("train_loss")] == [0.4, 0.1, 1e200]
    lines = str(table).splitlines()
    assert lines[0].split() == ["learning_rate", "train_loss", "validation_loss", "spread"]
    assert lines[2].split() == ["0.4", "2.304e-05", "2.304e-05", "0"]  # 9 · 0.2⁸
    assert lines[-1].split() == ["1e+200", "diverged"]
    assert len({len(text) for text in lines}) == 1
    assert table._repr_html_().count("<tr>") == 4
    with pytest.raises(fg.SettingError, match="did you mean 'learning_rate'"):
        table.sort("learning_rat")
    assert isinstance(table[:2], fg.Sweep)
    only = fg.sweep(
        line, SLOPE, {"learning_rate": [1e200]}, folds=2, optimizer=fg.SGD(1.0), epochs=4
    )
    with pytest.raises(fg.DivergenceError, match=r"none of 1 trials .* trial 0"):
        only.best  # noqa: B018


def test_a_random_search_draws_by_the_seed_within_its_ranges():
    grid = {
        "width": fg.Range(2, 6), "learning_rate": fg.Range(1e-4, 1e-1, log=True),
        "batch_size": [5, 7, None],
    }  # fmt: skip

    def drawn(seed):
        table = fg.sweep(
            net, FEEDS, grid, samples=40, seed=seed, validation=FEEDS, optimizer=fg.Adam(), epochs=1
        )
        return [trial.settings for trial in sorted(table, key=lambda trial: trial.number)]

    first, again, other = drawn(0), drawn(0), drawn(1)
    assert first == again != other
    assert {own["width"] for own in first} == {2, 3, 4, 5, 6}  # both ends included
    assert {own["batch_size"] for own in first} == {5, 7, None}
    rates = np.log10([own["learning_rate"] for own in first])
    assert (rates >= -4).all() and (rates <= -1).all()
    # Even in the logarithm: the mean of 40 draws of U(-4, -1) is -2.5 ± 3/√12/√40.
    assert abs(rates.mean() + 2.5) < 4 * 3 / math.sqrt(12 * 40)


def test_whole_ranges_are_even():
    """Each of 4 values takes a quarter of the way."""
    parts = (np.arange(1000) + 0.5) / 1000
    values, counts = np.unique([fg.Range(-2, 1).at(p) for p in parts], return_counts=True)
    assert values.tolist() == [-2, -1, 0, 1]
    assert counts.tolist() == [250] * 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"grid": {}}, "settings to try"),
        ({"grid": {"learning_rate": []}}, "learning_rate has no values"),
        ({"grid": {"learning_rate": 0.1}}, "learning_rate: expected a list"),
        ({"grid": {"learning_rate": fg.Range(0.1, 1.0)}}, "samples="),
        ({"grid": {"learning_rat": [0.1]}, "folds": 2}, "did you mean 'learning_rate'"),
        ({"grid": {"epochs": [1]}}, "epochs is in the grid and"),
        ({"validation": SLOPE, "folds": 2}, "not both"),
        ({"samples": 0}, "samples"),
        ({"model": [line()]}, "function"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused(change, words):
    given = {
        "model": line, "feeds": SLOPE, "grid": {"learning_rate": [0.1]},
        "optimizer": fg.SGD(1.0), "epochs": 2,
    }  # fmt: skip
    with pytest.raises(fg.SettingError, match=words):
        fg.sweep(**(given | change))


@pytest.mark.parametrize("ends", [(1, 1), (2, 1), ("a", 2), (0, math.inf)])
def test_a_range_has_two_ends(ends):
    with pytest.raises(fg.SettingError, match="low < high"):
        fg.Range(*ends)
    with pytest.raises(fg.SettingError, match="0 < low"):
        fg.Range(0.0, 1.0, log=True)


# Ensemble ----------------------------------------------------------------------------------------


def test_an_ensemble_is_the_mean_and_the_spread_of_its_models():
    slopes = np.array([1.0, 2.0, 4.5])
    ensemble = fg.Ensemble([line(k) for k in slopes], "line")
    at = np.array([1.0, -2.0])
    np.testing.assert_allclose(ensemble.predict(at), slopes.mean() * at)
    np.testing.assert_allclose(ensemble.members({"x": at}), slopes[:, None] * at)
    low, high = ensemble.interval(at, level=0.95)
    width = 1.959963984540054 * np.sqrt(((slopes - 2.5) ** 2).sum() / 2) * np.abs(at)
    np.testing.assert_allclose(high - 2.5 * at, width)
    np.testing.assert_allclose(2.5 * at - low, width)


@pytest.mark.parametrize(("chance", "point"), [(0.5, 0.0), (0.95, 1.6448536269514722)])
def test_the_normal_quantile_is_that_of_the_tables(chance, point):
    assert _normal_quantile(chance) == pytest.approx(point, abs=1e-12)


def test_a_calibrated_interval_covers_new_targets():
    """Noise of a known kind, rows the models have not seen: coverage is the level asked for."""
    draw = np.random.default_rng(3)
    x = draw.uniform(-2, 2, size=(1100, 1))
    y = np.sin(2 * x) + 0.3 * draw.standard_t(5, size=x.shape)
    seen, held, new = slice(0, 100), slice(100, 300), slice(300, None)

    def model(seed):
        inputs, target = fg.Input("x", shape=(1,)), fg.Input("y")
        prediction = fg.mlp(inputs, [13, 1], "tanh", seed=seed, name="prediction")
        return fg.Graph(fg.MSE(target, prediction))

    models = fg.fit_many(
        model, {"x": x[seen], "y": y[seen]}, count=7, optimizer=fg.Adam(0.02), epochs=300
    )
    ensemble = fg.Ensemble(models, "prediction")

    def coverage(level):
        low, high = ensemble.interval(x[new], level)
        return np.mean((low <= y[new]) & (y[new] <= high))

    assert coverage(0.9) < 0.7  # the models agree more than the data does
    ensemble.calibrate(x[held], y[held])
    for level in (0.5, 0.8, 0.9, 0.95):
        # 800 new rows and 200 to calibrate on: three standard deviations of both together.
        deviation = math.sqrt(level * (1 - level) * (1 / 800 + 1 / 200))
        assert abs(coverage(level) - level) < 3 * deviation
    widths = [np.ptp(ensemble.interval(x[new], level), axis=0).mean() for level in (0.5, 0.9, 0.95)]
    assert all(a < b for a, b in pairwise(widths))


def test_an_ensemble_leaves_out_what_diverged():
    settings = [{"learning_rate": rate} for rate in (0.1, 1e200, 0.1)]
    found = fg.fit_many(line, SLOPE, settings, optimizer=fg.SGD(1.0), epochs=30)
    assert len(fg.Ensemble(found, "line")) == 2
    with pytest.raises(fg.SettingError, match="got 1 and 1 that did not come to"):
        fg.Ensemble(found[:2], "line")


def test_an_ensemble_refuses_what_does_not_fit():
    pair = [line(1.0), line(2.0)]
    with pytest.raises(fg.GraphError, match=r"model 0: unknown node 'lin'; did you mean 'line'"):
        fg.Ensemble(pair, "lin")
    with pytest.raises(fg.GraphError, match="model 1: expected a Graph"):
        fg.Ensemble([pair[0], 3], "line")
    ensemble = fg.Ensemble(pair, "line")
    for level in (0, 1, -0.5, "high"):
        with pytest.raises(fg.SettingError, match="level"):
            ensemble.interval([1.0], level)
    with pytest.raises(fg.ShapeError, match=r"\(2, 1\).*\(2,\)"):
        ensemble.calibrate([1.0, 2.0], [[1.0], [2.0]])
    with pytest.raises(fg.DataError, match="finite"):
        ensemble.calibrate([1.0], [np.nan])
    ensemble.calibrate([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(fg.SettingError, match="needs 9 rows"):
        ensemble.interval([1.0], 0.9)
    with pytest.raises(fg.DataError, match="needs 2 inputs"):
        fg.Ensemble(pair, "loss").predict([1.0])


# The example -------------------------------------------------------------------------------------


def test_the_example_finds_settings_and_an_interval(tmp_path, monkeypatch, capsys):
    matplotlib = pytest.importorskip("matplotlib")
    script = Path(__file__).parent.parent / "examples" / "22_many_models.py"
    assert len(script.read_text(encoding="utf-8").splitlines()) < 100
    monkeypatch.setattr(sys, "argv", [str(script), "--out", str(tmp_path)])
    monkeypatch.syspath_prepend(str(script.parent))
    with matplotlib.rc_context():
        step = runpy.run_path(str(script), run_name="__main__")
    assert (tmp_path / "22_many_models.png").stat().st_size > 10_000
    assert len(step["table"]) == 40
    assert 1e-3 < step["best"]["learning_rate"] < 1e-1
    target = step["Y"][step["new"]]
    # Averaging never has a larger square error than its members have on average.
    assert step["together"] < step["alone"].mean() < target.var()
    # 106 new rows and 100 to calibrate on: three standard deviations of both together.
    assert abs(step["inside"] - 0.9) < 3 * math.sqrt(0.9 * 0.1 * (1 / 106 + 1 / 100))
    assert f"{step['inside']:.0%}" in capsys.readouterr().out


def test_cores_are_those_this_process_may_use():
    assert 1 <= many.cores() <= (os.cpu_count() or 1)
