"""LBFGS and LevenbergMarquardt: against least squares in closed form and the rule itself."""

import re

import numpy as np
import pytest
from numerics import assert_close, central_differences
from test_callbacks import VALIDATION
from test_training import FEEDS, X, Y, flat, line, line_gradient, net

import fastgraph as fg

BEST = np.linalg.lstsq(np.column_stack([X, np.ones(len(X))]), Y, rcond=None)[0]


def lbfgs(**settings):
    pytest.importorskip("scipy")
    return fg.LBFGS(**settings)


SOLVERS = [lbfgs, fg.LevenbergMarquardt]
each_solver = pytest.mark.parametrize("make", SOLVERS)


@each_solver
def test_a_linear_fit_is_least_squares(make, engine):
    graph = line()
    history = graph.fit(FEEDS, optimizer=make(), epochs=50)
    assert_close(flat(graph), BEST, 1e-6)
    assert history.stopped_early
    assert history.epochs < 30
    assert history.learning_rate is None
    start = np.array([0.5, 0.25, -0.5, 0.1])
    assert history.loss[0] == pytest.approx(line_gradient(start, X, Y)[0])
    assert (np.diff(history.loss) < 0).all()


@each_solver
def test_a_net_learns_in_few_iterations(make, engine):
    graph = net()
    history = graph.fit(FEEDS, optimizer=make(), epochs=60)
    assert history.loss[-1] < 1e-2 * history.loss[0]
    assert history.steps == history.epochs


@each_solver
def test_float32_comes_to_the_same(make, engine):
    graph = line("float32")
    graph.fit(FEEDS, optimizer=make(), epochs=50)
    assert_close(flat(graph), BEST, 1e-3)


@each_solver
def test_an_l2_penalty_is_ridge_regression(make, engine):
    """½·l2·|W|² beside the mean of squares: (2AᵀA/n + l2·I') p = 2Aᵀy/n."""
    graph = line()
    graph.fit(FEEDS, optimizer=make(), epochs=50, l2={"W": 0.4})
    A = np.column_stack([X, np.ones(len(X))])
    normal = 2 * A.T @ A / len(X) + np.diag([0.4] * 3 + [0])
    assert_close(flat(graph), np.linalg.solve(normal, 2 * A.T @ Y / len(X)), 1e-6)


@each_solver
def test_validation_early_stopping_and_callbacks_work_as_with_steps(make, engine):
    graph, seen = net(), []
    history = graph.fit(
        FEEDS, optimizer=make(), epochs=200, validation=VALIDATION,
        early_stopping=fg.EarlyStopping(5), callbacks=lambda p: seen.append(flat(p.graph)),
    )  # fmt: skip
    assert len(seen) == history.epochs == len(history.validation_loss)
    best = history.validation_loss.argmin()
    assert history.best_epoch == best + 1
    np.testing.assert_array_equal(flat(graph), seen[best])
    assert float(graph.evaluate(graph.outputs[0], VALIDATION)) == history.validation_loss[best]


@each_solver
def test_a_callback_stops_it(make, engine):
    history = net().fit(FEEDS, optimizer=make(), epochs=50, callbacks=lambda p: p.epoch == 3)
    assert (history.epochs, history.stopped_early) == (3, True)


@each_solver
def test_epochs_are_a_bound(make, engine):
    assert net().fit(FEEDS, optimizer=make(), epochs=4).epochs == 4


@each_solver
def test_a_loss_that_starts_infinite_is_divergence(make, engine):
    x, y, p = fg.Input("x"), fg.Input("y"), fg.Parameter(0.0)
    graph = fg.Graph(fg.MSE(y, fg.Log(x * p)))
    with pytest.raises(fg.DivergenceError, match="Log became -inf"):
        graph.fit({x: [1.0, 2.0], y: [1.0, 2.0]}, optimizer=make(), epochs=3)
    assert p.value == 0


# --- Levenberg-Marquardt ------------------------------------------------------------------------


def two_outputs(dtype="float64"):
    """3-5-2 with tanh: a prediction of two numbers a row."""
    x, y = fg.Input("x", shape=(3,)), fg.Input("y")
    prediction = fg.Dense(fg.Dense(x, 5, "tanh", seed=1, name="a"), 2, seed=2, name="b")
    return fg.Graph(fg.MSE(y, prediction), dtype=dtype), prediction


Y2 = np.column_stack([Y, Y**2])


def predict(vector, x):
    W, b = vector[:15].reshape(3, 5), vector[15:20]
    V, c = vector[20:30].reshape(5, 2), vector[30:32]
    return np.tanh(x @ W + b) @ V + c


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_the_jacobian_has_the_gradient_of_every_prediction(activation, runner, dtype):
    x = fg.Input("x", shape=(3,))
    out = fg.Dense(fg.Dense(x, 5, activation, seed=1), 2, activation, seed=2)
    graph = fg.Graph(out, dtype=dtype)
    arrays = {x: np.ascontiguousarray(X, dtype)}
    executor = graph._executor((out,), arrays)
    values, jacobian = executor.jacobian(arrays, graph.vector, 3, 10)
    tolerance = {"float64": 1e-12, "float32": 1e-5}[dtype]
    assert_close(values.reshape(7, 2), graph.evaluate(out, {x: X[3:10]}), tolerance)
    assert jacobian.shape == (14, graph.parameter_count)
    row = fg.Graph(fg.Sum(out * fg.Input("pick")), dtype=dtype)
    for i in range(7):
        for j in range(2):
            row.forward({x: X[3 + i : 4 + i], "pick": np.eye(2)[j : j + 1]})
            row.backward()
            want = np.concatenate([p.gradient.ravel() for p in row.parameters.values()])
            assert_close(jacobian[2 * i + j], want, tolerance, f"row {i}, output {j}")


def test_the_jacobian_is_that_of_central_differences(engine):
    graph, out = two_outputs()
    x = graph.node("x")
    arrays = {x: X}
    vector = graph.vector.copy()
    values, jacobian = graph._executor((out,), arrays).jacobian(arrays, vector, 0, len(X))
    assert_close(values.reshape(-1, 2), predict(vector, X), 1e-13)
    for i in (0, 7, 22):
        for j in range(2):
            one = lambda v, i=i, j=j: predict(v, X[i : i + 1])[0, j]  # noqa: E731
            (want,) = central_differences(one, [vector])
            assert_close(jacobian[2 * i + j], want, 1e-8, floor=0.1)


def test_each_step_is_the_papers(engine, monkeypatch):
    """With the rule written out, and a Jacobian by central differences; in blocks of rows."""
    monkeypatch.setattr("fastgraph.solvers._BLOCK", 32 * 2 * 5)
    graph, _ = two_outputs()
    vector, damping = graph.vector.copy(), 1e-3

    def loss(v):
        return np.mean((predict(v, X) - Y2) ** 2)

    history = graph.fit({"x": X, "y": Y2}, optimizer=fg.LevenbergMarquardt(), epochs=4)
    for got in history.loss:
        assert got == pytest.approx(loss(vector), rel=1e-5)
        J = np.column_stack([
            (predict(vector + h, X) - predict(vector - h, X)).ravel() / 2e-6
            for h in 1e-6 * np.eye(32)
        ])  # fmt: skip
        error = (predict(vector, X) - Y2).ravel()
        while True:
            H = 2 * J.T @ J / error.size + damping * np.eye(32)
            trial = vector - np.linalg.solve(H, 2 * J.T @ error / error.size)
            if loss(trial) < loss(vector):
                break
            damping *= 10
        vector, damping = trial, damping / 10
    assert loss(graph.vector) == pytest.approx(loss(vector), rel=1e-4)


def test_damping_goes_on_with_the_run(engine):
    whole, parts = net(), net()
    whole.fit(FEEDS, optimizer=fg.LevenbergMarquardt(), epochs=12)
    optimizer = fg.LevenbergMarquardt()
    for epochs in (5, 7):
        parts.fit(FEEDS, optimizer=optimizer, epochs=epochs)
    assert flat(whole).tobytes() == flat(parts).tobytes()


def test_both_engines_take_the_same_steps():
    found = []
    for name in ("numpy", fg.engine()):
        fg.set_engine(name)
        graph = net()
        found.append(graph.fit(FEEDS, optimizer=fg.LevenbergMarquardt(), epochs=10).loss)
    assert_close(found[1], found[0], 1e-6)


def test_the_target_may_stand_on_either_side(engine):
    x, y, k = fg.Input("x"), fg.Input("y"), fg.Parameter(0.0)
    graph = fg.Graph(fg.MSE(k * x, y))
    graph.fit({x: [1.0, 2.0], y: [3.0, 6.0]}, optimizer=fg.LevenbergMarquardt(), epochs=20)
    assert k.value == pytest.approx(3)


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda x, y, p: fg.MAE(y, p * x), fg.GraphError, "minimises a mean of squares"),
        (lambda x, y, p: fg.MSE(y, p * x) + fg.Sum(p * p), fg.GraphError, "a mean of squares"),
        (lambda x, y, p: fg.MSE(y * p, p * x), fg.GraphError, "a side without parameters"),
        (lambda x, y, p: fg.MSE(y, x * p - fg.Mean(x)), fg.GraphError, "rows that do not depend"),
    ],
)  # fmt: skip
def test_what_is_no_sum_over_rows_is_refused(build, error, words, engine):
    x, y, p = fg.Input("x"), fg.Input("y"), fg.Parameter(1.0)
    graph = fg.Graph(build(x, y, p))
    with pytest.raises(error, match=re.escape(words)):
        graph.fit({x: X[:, 0], y: Y}, optimizer=fg.LevenbergMarquardt(), epochs=2)
    assert p.value == 1.0


def test_a_large_net_is_refused(engine):
    x, y = fg.Input("x", shape=(3,)), fg.Input("y")
    graph = fg.Graph(fg.MSE(y, fg.Dense(x, 3000)))
    with pytest.raises(fg.SettingError, match="this one has 12,000; use LBFGS or Adam"):
        graph.fit({x: X, y: np.zeros((23, 3000))}, optimizer=fg.LevenbergMarquardt(), epochs=1)


@pytest.mark.parametrize("size", [1, 2, 7, 16, 17, 101, 499])
def test_the_damped_equations_are_solved(size, runner):
    draw = np.random.default_rng(size)
    J, right = draw.normal(size=(size + 3, size)), draw.normal(size=size)
    engine = fg.engines.current()
    assert_close(engine.gram(J), J.T @ J, 1e-13)
    x = engine.damped_step(J.T @ J, 0.5, right)
    assert_close((J.T @ J + 0.5 * np.eye(size)) @ x, right, 1e-10)


@pytest.mark.parametrize("wrong", [np.nan, -1e300])
def test_equations_without_a_solution_have_none_that_is_finite(wrong, engine):
    matrix = np.eye(5)
    matrix[2, 2] = wrong
    x = fg.engines.current().damped_step(matrix, 0.0, np.ones(5))
    assert x is None or not np.isfinite(x).all() or wrong < 0


# --- what is refused ----------------------------------------------------------------------------

BAD = {
    "LBFGS: memory must be a whole number, 1 or more, got 0": lambda: fg.LBFGS(memory=0),
    "LBFGS: tolerance must be a number of 0 or more": lambda: fg.LBFGS(tolerance=-1),
    "LBFGS: improvement must be a number of 0 or more": lambda: fg.LBFGS(improvement="no"),
    "damping must be a number in (0, inf), got 0": lambda: fg.LevenbergMarquardt(0),
    "increase must be a number in (1, inf), got 1": lambda: fg.LevenbergMarquardt(increase=1),
    "decrease must be a number in (0, 1), got 1": lambda: fg.LevenbergMarquardt(decrease=1),
}


@pytest.mark.parametrize("words", BAD)
def test_settings_out_of_range_are_refused(words):
    with pytest.raises(fg.SettingError, match=re.escape(words)):
        BAD[words]()


@each_solver
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch_size": 5}, "takes no batch_size"),
        ({"schedule": fg.schedules.Constant()}, "takes no schedule"),
        ({"checkpoint": "run.npz"}, "takes no checkpoint"),
        ({"clip_norm": 1.0}, "takes no clip_norm"),
        ({"l1": {"W": 0.1}}, "takes no clip_norm, clip_value or l1"),
    ],
)
def test_settings_of_steps_are_refused(make, settings, words, engine):
    graph = line()
    before = flat(graph)
    with pytest.raises(fg.SettingError, match=words):
        graph.fit(FEEDS, optimizer=make(), epochs=2, **settings)
    assert flat(graph).tobytes() == before.tobytes()


def test_without_scipy_the_extra_is_named(monkeypatch, engine):
    monkeypatch.setitem(__import__("sys").modules, "scipy.optimize", None)
    with pytest.raises(fg.SettingError, match=re.escape("pip install 'fastgraph-nn[lbfgs]'")):
        line().fit(FEEDS, optimizer=fg.LBFGS(), epochs=2)
