"""Schedules: the learning rate of every step, in both engines, against formulas."""

import re

import numpy as np
import pytest
from numerics import STEP_TOLERANCE, assert_close
from test_training import FEEDS, OPTIMIZERS, ROWS, RULES, X, Y, flat, line, line_gradient, net

import fastgraph as fg
from fastgraph import schedules
from fastgraph.optimizers import OptimizerState

POSITIONS = np.arange(0, 20, 0.25)

FORMULAS = {
    "constant": (schedules.Constant(0.5), lambda t: 0.5),
    "step": (schedules.Step(3, 0.1), lambda t: 0.1 ** int(t / 3)),
    "step, parts of epochs": (schedules.Step(0.5, 0.9), lambda t: 0.9 ** int(t / 0.5)),
    "cosine": (
        schedules.Cosine(10, minimum=0.2),
        lambda t: 0.2 + 0.8 * (1 + np.cos(np.pi * min(t, 10) / 10)) / 2,
    ),
    "cosine to nothing": (
        schedules.Cosine(8), lambda t: (1 + np.cos(np.pi * min(t, 8) / 8)) / 2,
    ),
    "warm-up": (schedules.WarmUp(4, start=0.1), lambda t: 0.1 + 0.9 * min(t, 4) / 4),
    "warm-up, then steps": (
        schedules.WarmUp(4, schedules.Step(2, 0.5), start=0.1),
        lambda t: 0.1 + 0.9 * t / 4 if t < 4 else 0.5 ** int((t - 4) / 2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMULAS)
def test_a_schedule_follows_its_formula(name):
    schedule, formula = FORMULAS[name]
    assert_close(schedule.factors(POSITIONS), [formula(t) for t in POSITIONS], 1e-15)


@pytest.mark.parametrize("name", FORMULAS)
def test_every_step_is_taken_at_its_own_rate(name, runner, dtype):
    """23 rows in batches of 9 are 3 steps an epoch; the rate moves within the epoch."""
    schedule, formula = FORMULAS[name]
    graph = line(dtype)
    history = graph.fit(
        FEEDS, optimizer=fg.SGD(0.05), epochs=12, batch_size=9, shuffle=False, schedule=schedule
    )
    p, step = np.array([0.5, 0.25, -0.5, 0.1]), 0
    for epoch in range(12):
        for start in range(0, ROWS, 9):
            _, gradient = line_gradient(p, X[start : start + 9], Y[start : start + 9])
            rate = 0.05 * formula(step / 3)
            p, step = p - rate * gradient, step + 1
        assert history.learning_rate[epoch] == pytest.approx(rate, rel=1e-14, abs=1e-18)
    assert_close(flat(graph), p, {"float64": 1e-11, "float32": 1e-4}[dtype])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_takes_the_rate(name, engine):
    """Also weight decay and moments are those of the paper at this step's rate."""
    optimizer = OPTIMIZERS[name]()
    graph = line()
    graph.fit(
        FEEDS, optimizer=optimizer, epochs=5, shuffle=False, schedule=schedules.Step(1, 0.7)
    )
    p, state, at_rate = np.array([0.5, 0.25, -0.5, 0.1]), {}, OPTIMIZERS[name]()
    for t in range(1, 6):
        at_rate.learning_rate = optimizer.learning_rate * 0.7 ** (t - 1)
        p = RULES[type(optimizer)](p, line_gradient(p, X, Y)[1], state, t, at_rate)
    assert_close(flat(graph), p, 1e-11)
    assert optimizer.learning_rate == OPTIMIZERS[name]().learning_rate


def test_a_function_is_asked_once_an_epoch(engine):
    asked = []

    def halve(epoch):
        asked.append(epoch)
        return 0.5**epoch

    history = line().fit(
        FEEDS, optimizer=fg.SGD(0.1), epochs=4, batch_size=5, schedule=halve
    )
    assert asked == [0, 1, 2, 3]
    assert history.learning_rate.tolist() == [0.1, 0.05, 0.025, 0.0125]


def test_without_a_schedule_the_rate_is_the_optimizers(engine):
    history = line().fit(FEEDS, optimizer=fg.Adam(0.01), epochs=3)
    assert history.learning_rate.tolist() == [0.01] * 3


def test_the_schedule_goes_on_with_the_run(engine):
    """Two runs of 6 epochs are one of 12, to the bit; a fresh optimizer starts it over."""
    whole, parts, schedule = net(), net(), schedules.WarmUp(4, schedules.Cosine(10))
    settings = {"batch_size": 5, "schedule": schedule}
    once = whole.fit(FEEDS, optimizer=fg.Adam(0.01), epochs=12, **settings)
    optimizer = fg.Adam(0.01)
    first = parts.fit(FEEDS, optimizer=optimizer, epochs=6, **settings)
    second = parts.fit(FEEDS, optimizer=optimizer, epochs=6, **settings)
    assert flat(whole).tobytes() == flat(parts).tobytes()
    assert once.learning_rate.tolist() == [*first.learning_rate, *second.learning_rate]
    again = parts.fit(FEEDS, optimizer=fg.Adam(0.01), epochs=6, **settings)
    np.testing.assert_array_equal(again.learning_rate, first.learning_rate)


def test_many_stretches_are_one_run(engine, monkeypatch):
    """Rates are computed for so many steps at a time; that does not show."""
    found = []
    for most in (1, 7, 1 << 16):
        monkeypatch.setattr("fastgraph.training.RATES", most)
        graph = net()
        history = graph.fit(
            FEEDS, optimizer=fg.SGD(0.05), epochs=9, batch_size=5, schedule=schedules.Cosine(9)
        )
        found.append((flat(graph).tobytes(), history.learning_rate.tobytes()))
    assert len(set(found)) == 1


def test_both_engines_agree_on_a_scheduled_run(dtype):
    found = []
    for name in ("numpy", fg.engine()):
        fg.set_engine(name)
        graph = net(dtype)
        graph.fit(FEEDS, optimizer=fg.Adam(0.01), epochs=1, batch_size=5,
                  schedule=schedules.WarmUp(1))  # fmt: skip
        found.append(flat(graph))
    assert_close(found[1], found[0], STEP_TOLERANCE[dtype] * 10)


# --- plateau ------------------------------------------------------------------------------------


def test_a_plateau_is_told_from_the_losses():
    schedule = schedules.ReduceOnPlateau(0.5, patience=2, minimum=0.2, min_delta=0.1)
    known, factors = None, []
    for loss in [3.0, 2.0, 1.95, 1.95, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, np.nan]:
        known = schedule.watch(known, loss)
        factors.append(known[0])
    assert factors == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2, 0.2]


def test_the_rate_falls_where_the_loss_stays(engine):
    """A loss that cannot fall: nothing but the rate changes."""
    x, p = fg.Input("x"), fg.Parameter(1.0)
    graph = fg.Graph(fg.Mean(x) + 0.0 * p)
    history = graph.fit({x: np.ones(7)}, optimizer=fg.SGD(0.8), epochs=8,
                        schedule=schedules.ReduceOnPlateau(0.5, patience=2))  # fmt: skip
    assert history.learning_rate.tolist() == [0.8] * 3 + [0.4] * 2 + [0.2] * 2 + [0.1]


def test_the_plateau_watches_the_validation_loss_where_there_is_one(engine):
    """Trained on y = x, validated on y = -x: what is learnt makes that worse from the start."""
    x, y, k = fg.Input("x"), fg.Input("y"), fg.Parameter(0.0)
    graph = fg.Graph(fg.MSE(y, k * x))
    rows = np.arange(1.0, 6.0)
    history = graph.fit({x: rows, y: rows}, optimizer=fg.SGD(1e-3), epochs=6,
                        validation={x: rows, y: -rows},
                        schedule=schedules.ReduceOnPlateau(0.1, patience=1))  # fmt: skip
    assert (np.diff(history.loss) < 0).all()
    assert (np.diff(history.validation_loss) > 0).all()
    np.testing.assert_allclose(history.learning_rate, 1e-3 * 0.1 ** np.array([0, 0, 1, 2, 3, 4]))


def test_a_plateau_goes_on_with_the_run(engine):
    settings = {"batch_size": 5, "schedule": schedules.ReduceOnPlateau(0.5, patience=2)}
    whole, parts = net(), net()
    once = whole.fit(FEEDS, optimizer=fg.SGD(0.3), epochs=30, **settings)
    optimizer = fg.SGD(0.3)
    runs = [parts.fit(FEEDS, optimizer=optimizer, epochs=n, **settings) for n in (1, 10, 19)]
    assert once.learning_rate[-1] < 0.3
    assert once.learning_rate.tolist() == [rate for run in runs for rate in run.learning_rate]
    assert flat(whole).tobytes() == flat(parts).tobytes()


def test_the_state_starts_without_a_plateau():
    assert OptimizerState([]).plateau is None


# --- what is refused ----------------------------------------------------------------------------

BAD = {
    "Step: every must be a number above 0, got 0": lambda: schedules.Step(0),
    "Step: factor must be a number in (0, 1], got 2": lambda: schedules.Step(1, 2),
    "Cosine: epochs must be a number above 0, got -1": lambda: schedules.Cosine(-1),
    "Cosine: epochs must be a number above 0, got '9'": lambda: schedules.Cosine("9"),
    "Cosine: minimum must be a number in (0, 1], got 1.5": lambda: schedules.Cosine(9, 1.5),
    "WarmUp: epochs must be a number above 0, got nan": lambda: schedules.WarmUp(np.nan),
    "WarmUp: then must be a schedule of the position alone": lambda: schedules.WarmUp(
        1, schedules.ReduceOnPlateau()
    ),
    "WarmUp: start must be a number above 0, got 0": lambda: schedules.WarmUp(1, start=0),
    "ReduceOnPlateau: factor must be below 1": lambda: schedules.ReduceOnPlateau(1),
    "ReduceOnPlateau: patience must be a whole number, 1 or more, got 0": lambda: (
        schedules.ReduceOnPlateau(patience=0)
    ),
    "ReduceOnPlateau: minimum must be below 1": lambda: schedules.ReduceOnPlateau(minimum=1),
    "ReduceOnPlateau: min_delta must be a number of 0 or more": lambda: schedules.ReduceOnPlateau(
        min_delta=-1
    ),
    "Constant: factor must be a number above 0": lambda: schedules.Constant(0),
}


@pytest.mark.parametrize("words", BAD)
def test_settings_out_of_range_are_refused(words):
    with pytest.raises(fg.SettingError, match=re.escape(words)):
        BAD[words]()


class Wrong(schedules.Schedule):
    def factors(self, epochs):
        return -np.ones(len(epochs))


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (0.1, "schedule: expected one of fastgraph.schedules"),
        (schedules.Cosine, "make one, as Cosine(100)"),
        (lambda epoch: -1.0, "the factor of epoch 0 must be a number of 0 or more, got -1.0"),
        (Wrong(), "not finite or below 0"),
    ],
)
def test_no_schedule_changes_nothing(schedule, words, engine):
    graph = line()
    before = flat(graph)
    with pytest.raises(fg.SettingError, match=re.escape(words)):
        graph.fit(FEEDS, optimizer=fg.SGD(0.1), epochs=2, schedule=schedule)
    assert flat(graph).tobytes() == before.tobytes()
