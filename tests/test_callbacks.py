"""Validation, early stopping and callbacks: what happens between stretches of a run."""

import re

import numpy as np
import pytest
from numerics import assert_close
from test_training import FEEDS, X, Y, flat, line, line_gradient, net

import fastgraph as fg

OTHER = np.random.default_rng(8)
X_VAL = OTHER.normal(size=(11, 3))
VALIDATION = {"x": X_VAL, "y": X_VAL @ [1.0, -2.0, 0.5] + 0.3}


# --- validation ---------------------------------------------------------------------------------


def test_the_validation_loss_is_that_after_each_epoch(engine, dtype):
    graph = line(dtype)
    history = graph.fit(FEEDS, optimizer=fg.SGD(0.05), epochs=6, validation=VALIDATION)
    p, want = np.array([0.5, 0.25, -0.5, 0.1]), []
    for _ in range(6):
        p -= 0.05 * line_gradient(p, X, Y)[1]
        want.append(line_gradient(p, VALIDATION["x"], VALIDATION["y"])[0])
    tolerance = {"float64": 1e-12, "float32": 1e-5}[dtype]
    assert_close(history.validation_loss, want, tolerance)
    assert history.validation_loss.shape == history.loss.shape == (6,)
    assert "validation loss" in repr(history)


def test_validation_does_not_change_the_run(engine):
    plain, watched = net(), net()
    settings = {"epochs": 7, "batch_size": 5}
    one = plain.fit(FEEDS, optimizer=fg.Adam(0.01), **settings)
    two = watched.fit(FEEDS, optimizer=fg.Adam(0.01), validation=VALIDATION, **settings)
    np.testing.assert_array_equal(one.loss, two.loss)
    assert flat(plain).tobytes() == flat(watched).tobytes()
    assert one.validation_loss is None


def test_validation_of_more_rows_than_training(engine):
    many = {"x": np.tile(X, (500, 1)), "y": np.tile(Y, 500)}
    history = net().fit(FEEDS, optimizer=fg.SGD(1e-12), epochs=1, validation=many)
    assert history.validation_loss[0] == pytest.approx(history.loss[0], rel=1e-6)


@pytest.mark.parametrize(
    ("validation", "error", "words"),
    [
        ({"x": X}, fg.DataError, "validation: Input 'y': not fed"),
        ({"x": X[:, :2], "y": Y}, fg.ShapeError, "validation: Input 'x' has rows of shape (2,)"),
        ({"x": X, "y": Y[:5]}, fg.DataError, "validation: the feeds have different numbers"),
        ({"x": X * np.nan, "y": Y}, fg.DataError, "validation: Input 'x': the data has nan"),
        (0.2, fg.DataError, "validation: feeds: expected a dict"),
    ],
)
def test_wrong_validation_changes_nothing(validation, error, words, engine):
    graph = line()
    before = flat(graph)
    with pytest.raises(error, match=re.escape(words)):
        graph.fit(FEEDS, optimizer=fg.SGD(0.1), epochs=2, validation=validation)
    assert flat(graph).tobytes() == before.tobytes()


# --- early stopping -----------------------------------------------------------------------------


def overfitting(engine=None):
    """y = x is trained, from k = -1; y = 0.5 x validated: best when k passes 0.5, worse after."""
    x, y, k = fg.Input("x"), fg.Input("y"), fg.Parameter(-1.0, "k")
    rows = np.array([-1.0, 1.0])
    graph = fg.Graph(fg.MSE(y, k * x))
    return graph, k, {x: rows, y: rows}, {x: rows, y: 0.5 * rows}


def path(rate, epochs):
    """k after each epoch: its distance to 1 shrinks by 1 - 2 rate."""
    return 1 - 2 * (1 - 2 * rate) ** np.arange(1, epochs + 1)


def test_the_run_stops_after_its_patience_at_the_best(engine):
    graph, k, feeds, validation = overfitting()
    history = graph.fit(
        feeds, optimizer=fg.SGD(0.05), epochs=1000, validation=validation,
        early_stopping=fg.EarlyStopping(patience=4),
    )  # fmt: skip
    ks = path(0.05, 100)
    best = int(np.argmin((ks - 0.5) ** 2))
    assert history.best_epoch == best + 1
    assert history.epochs == best + 1 + 4
    assert history.stopped_early
    assert k.value == pytest.approx(ks[best], rel=1e-12)
    assert history.validation_loss.argmin() == best
    assert "stopped early" in repr(history)
    assert f"best in epoch {best + 1}" in repr(history)


def test_the_last_parameters_are_kept_where_they_are_wanted(engine):
    graph, k, feeds, validation = overfitting()
    history = graph.fit(
        feeds, optimizer=fg.SGD(0.05), epochs=1000, validation=validation,
        early_stopping=fg.EarlyStopping(4, restore_best=False),
    )  # fmt: skip
    assert k.value == pytest.approx(path(0.05, 100)[history.epochs - 1], rel=1e-12)


def test_the_best_is_restored_at_the_end_of_a_run_too(engine):
    graph, k, feeds, validation = overfitting()
    history = graph.fit(
        feeds, optimizer=fg.SGD(0.05), epochs=15, validation=validation,
        early_stopping=fg.EarlyStopping(100),
    )  # fmt: skip
    ks = path(0.05, 15)
    assert not history.stopped_early
    assert k.value == pytest.approx(ks[np.argmin((ks - 0.5) ** 2)], rel=1e-12)
    assert history.best_epoch < 15


def test_an_improvement_must_exceed_min_delta(engine):
    graph, _, feeds, validation = overfitting()
    history = graph.fit(
        feeds, optimizer=fg.SGD(0.05), epochs=1000, validation=validation,
        early_stopping=fg.EarlyStopping(2, min_delta=0.3),
    )  # fmt: skip
    losses = (path(0.05, 100) - 0.5) ** 2
    best, reached = losses[0], 0
    for epoch, loss in enumerate(losses):
        if loss < best - 0.3:
            best, reached = loss, epoch
        elif epoch - reached >= 2:
            break
    assert (history.best_epoch, history.epochs) == (reached + 1, epoch + 1)


def test_the_training_loss_may_be_watched(engine):
    x, p = fg.Input("x"), fg.Parameter(1.0)
    graph = fg.Graph(fg.Mean(x) + 0.0 * p)
    history = graph.fit(
        {x: [1.0]}, optimizer=fg.SGD(0.1), epochs=50,
        early_stopping=fg.EarlyStopping(3, monitor="loss"),
    )  # fmt: skip
    assert (history.epochs, history.best_epoch) == (4, 1)


def test_a_validation_loss_that_is_no_number_is_no_improvement(engine):
    x, p = fg.Input("x"), fg.Parameter(1.0)
    graph = fg.Graph(fg.Mean(fg.Log(x * p)))
    history = graph.fit(
        {x: [1.0]}, optimizer=fg.SGD(1e-3), epochs=9, validation={x: [-1.0]},
        early_stopping=fg.EarlyStopping(2),
    )  # fmt: skip
    assert np.isnan(history.validation_loss).all()
    assert history.epochs == 3


BAD = {
    "EarlyStopping: patience must be a whole number, 1 or more, got 0": lambda: fg.EarlyStopping(0),
    "EarlyStopping: patience must be a whole number": lambda: fg.EarlyStopping(1.5),
    "EarlyStopping: min_delta must be a number of 0 or more": lambda: fg.EarlyStopping(
        1, min_delta=-1
    ),
    "EarlyStopping: restore_best must be True or False": lambda: fg.EarlyStopping(1, "yes"),
    "EarlyStopping: unknown monitor 'val_loss'; did you mean 'validation_loss'?": lambda: (
        fg.EarlyStopping(1, monitor="val_loss")
    ),
    "Every: give epochs or steps, not both": lambda: fg.Every(print, epochs=1, steps=2),
    "Every: steps must be a whole number, 1 or more, got 0": lambda: fg.Every(print, steps=0),
    "Every: epochs must be a whole number, 1 or more, got -1": lambda: fg.Every(print, epochs=-1),
    "callbacks: expected a function of a Progress, got 3": lambda: fg.Every(3),
}


@pytest.mark.parametrize("words", BAD)
def test_settings_out_of_range_are_refused(words):
    with pytest.raises(fg.SettingError, match=re.escape(words)):
        BAD[words]()


BAD_FIT = {
    "early_stopping: it watches the validation loss and there is no validation": {
        "early_stopping": fg.EarlyStopping(3)
    },
    "early_stopping: expected an EarlyStopping, as EarlyStopping(patience=10), got 5": {
        "early_stopping": 5
    },
    "callbacks: EarlyStopping is given as early_stopping=": {"callbacks": fg.EarlyStopping(3)},
    "callbacks: expected a function or a list of them, got 3": {"callbacks": 3},
    "callbacks: expected a function of a Progress, got 'x'": {"callbacks": ["x"]},
}


@pytest.mark.parametrize("words", BAD_FIT)
def test_wrong_settings_of_fit_change_nothing(words, engine):
    graph = line()
    before = flat(graph)
    with pytest.raises(fg.SettingError, match=re.escape(words)):
        graph.fit(FEEDS, optimizer=fg.SGD(0.1), epochs=2, **BAD_FIT[words])
    assert flat(graph).tobytes() == before.tobytes()


# --- callbacks ----------------------------------------------------------------------------------


def test_a_function_is_called_after_each_epoch(engine):
    seen = []
    graph = line()
    history = graph.fit(
        FEEDS, optimizer=fg.SGD(0.05), epochs=4, batch_size=9, validation=VALIDATION,
        callbacks=seen.append,
    )  # fmt: skip
    assert [p.epoch for p in seen] == [1, 2, 3, 4]
    assert [p.step for p in seen] == [3, 6, 9, 12]
    assert [p.loss for p in seen] == history.loss.tolist()
    assert [p.validation_loss for p in seen] == history.validation_loss.tolist()
    assert {(p.epochs, p.learning_rate, p.graph) for p in seen} == {(4, 0.05, graph)}
    assert 0 < seen[0].seconds < seen[-1].seconds <= history.seconds


def test_functions_are_called_every_so_many_steps_and_epochs(engine):
    """23 rows in batches of 9: three steps an epoch, and two that fall within one."""
    by_steps, by_epochs = [], []
    graph, alone = net(), net()
    history = graph.fit(
        FEEDS, optimizer=fg.Adam(0.01), epochs=10, batch_size=9,
        callbacks=[fg.Every(lambda p: by_steps.append((p.step, p.epoch, flat(p.graph))), steps=4),
                   fg.Every(lambda p: by_epochs.append((p.step, p.epoch)), epochs=3)],
    )  # fmt: skip
    assert [step for step, _, _ in by_steps] == [4, 8, 12, 16, 20, 24, 28]
    assert [epoch for _, epoch, _ in by_steps] == [1, 2, 4, 5, 6, 8, 9]
    assert by_epochs == [(9, 3), (18, 6), (27, 9)]
    assert len({vector.tobytes() for _, _, vector in by_steps}) == 7
    plain = alone.fit(FEEDS, optimizer=fg.Adam(0.01), epochs=10, batch_size=9)
    np.testing.assert_array_equal(plain.loss, history.loss)
    assert flat(alone).tobytes() == flat(graph).tobytes()


def test_parameters_are_those_of_the_step(engine):
    """Each step takes 1 from the parameter."""
    p = fg.Parameter(0.0)
    seen = []
    fg.Graph(fg.Sum(p * 1.0)).fit(
        {}, optimizer=fg.SGD(1.0), epochs=6,
        callbacks=fg.Every(lambda _: seen.append(float(p.value)), steps=2),
    )  # fmt: skip
    assert seen == [-2, -4, -6]


def test_true_stops_the_run_and_nothing_else_does(engine):
    graph = line()
    history = graph.fit(
        FEEDS, optimizer=fg.SGD(0.05), epochs=100, batch_size=9,
        callbacks=fg.Every(lambda p: p.step == 8, steps=1),
    )  # fmt: skip
    assert (history.epochs, history.steps, history.stopped_early) == (2, 8, True)
    history = line().fit(FEEDS, optimizer=fg.SGD(0.05), epochs=5, callbacks=lambda p: "go on")
    assert (history.epochs, history.stopped_early) == (5, False)


def test_a_callback_may_use_the_graph(engine):
    """Evaluate, run forward and backward, and write parameters; the run goes on from there."""
    graph, seen = line(), []

    def look(progress):
        seen.append(float(graph.evaluate("loss", FEEDS)))
        progress.graph.forward(FEEDS)
        progress.graph.backward()
        graph.parameters["b"].value = 7.0

    graph.fit(FEEDS, optimizer=fg.SGD(0.05), epochs=2, callbacks=look)
    p = np.array([0.5, 0.25, -0.5, 0.1])
    for _ in range(2):
        p = p - 0.05 * line_gradient(p, X, Y)[1]
        assert seen.pop(0) == pytest.approx(line_gradient(p, X, Y)[0], rel=1e-12)
        p[3] = 7.0
    assert_close(flat(graph), p, 1e-12)


def test_an_error_in_a_callback_comes_through(engine):
    """The parameters are those of the step before, and the graph can be used again."""
    graph, optimizer = line(), fg.SGD(0.05)

    def fail(progress):
        if progress.epoch == 3:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        graph.fit(FEEDS, optimizer=optimizer, epochs=9, callbacks=fail)
    p = np.array([0.5, 0.25, -0.5, 0.1])
    for _ in range(3):
        p = p - 0.05 * line_gradient(p, X, Y)[1]
    assert_close(flat(graph), p, 1e-12)
    assert graph.fit(FEEDS, optimizer=optimizer, epochs=1).epochs == 1


def test_the_bar_shows_the_validation_loss(engine, capsys):
    pytest.importorskip("tqdm")
    net().fit(FEEDS, optimizer=fg.SGD(0.05), epochs=3, validation=VALIDATION, progress=True)
    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert "validation_loss=" in shown


def test_without_hooks_the_engine_runs_once(engine, monkeypatch):
    """Nothing leaves the loop for a plain run; hooks make it as many stretches as they need."""
    trainer = fg.engines.current().Trainer
    calls, run = [], trainer.run

    def counted(self, *args, **settings):
        calls.append(args)
        return run(self, *args, **settings)

    monkeypatch.setattr(trainer, "run", counted)
    for settings, want in [
        ({}, 1),
        ({"schedule": fg.schedules.Cosine(100)}, 1),
        ({"clip_norm": 1.0}, 1),
        ({"callbacks": fg.Every(print, epochs=1000)}, 1),
        ({"callbacks": fg.Every(lambda p: None, steps=60)}, 5),
        ({"validation": VALIDATION}, 100),
    ]:
        calls.clear()
        line().fit(FEEDS, optimizer=fg.SGD(0.01), epochs=100, batch_size=9, **settings)
        assert len(calls) == want, settings
