"""All parameters as one vector, and the loss as a function of it."""

import re

import numpy as np
import pytest
from numerics import assert_close
from test_training import FEEDS, X, Y, flat, line, line_gradient, net

import fastgraph as fg


def test_the_vector_is_the_parameters(engine, dtype):
    graph = net(dtype)
    before = flat(graph)
    vector = graph.vector
    assert vector.dtype == dtype
    assert vector.shape == (graph.parameter_count,)
    np.testing.assert_array_equal(vector, before)
    vector += 1
    np.testing.assert_array_equal(flat(graph), before + 1)
    first = next(iter(graph.parameters.values()))
    first.value = np.zeros(first.value.shape)
    assert not vector[: first.value.size].any()
    assert graph.vector is vector
    graph.vector = before
    np.testing.assert_array_equal(flat(graph), before)


def test_training_and_evaluating_go_on_after_parameters_have_moved(engine):
    moved, stayed = net(), net()
    predict = [graph.compile(graph.outputs[0]) for graph in (moved, stayed)]
    for graph in (moved, stayed):
        graph.evaluate(graph.outputs[0], FEEDS)
    assert predict[0](Y, X) == predict[1](Y, X)
    vector = moved.vector
    for graph in (moved, stayed):
        graph.fit(FEEDS, optimizer=fg.Adam(0.01), epochs=5, batch_size=5)
    assert flat(moved).tobytes() == flat(stayed).tobytes()
    np.testing.assert_array_equal(vector, flat(stayed))
    assert predict[0](Y, X) == predict[1](Y, X)
    assert moved.evaluate(moved.outputs[0], FEEDS) == stayed.evaluate(stayed.outputs[0], FEEDS)


def test_a_parameter_of_two_graphs_lies_in_the_one_asked_last(engine):
    x, shared = fg.Input("x"), fg.Parameter([1.0, 2.0], "shared")
    one = fg.Graph(fg.Mean(x * shared * fg.Parameter([3.0, 4.0], "own")))
    two = fg.Graph(fg.Mean(x * shared))
    one.vector[:2] = 5.0
    two.vector[:] = [7.0, 8.0]
    assert shared.value.tolist() == [7, 8]
    assert one.vector.tolist() == [7, 8, 3, 4]
    one.vector[0] = 9.0
    assert shared.value.tolist() == [9, 8]


@pytest.mark.parametrize(
    ("new", "error", "words"),
    [
        (np.zeros(3), fg.ShapeError, "vector: expected shape (4,), one number a"),
        (np.zeros((4, 1)), fg.ShapeError, "got (4, 1)"),
        ([0, 0, 0, np.nan], fg.DataError, "vector: it has NaN or infinite elements"),
        (["a"] * 4, fg.DataError, "vector: expected numbers"),
    ],
)
def test_a_wrong_vector_changes_nothing(new, error, words, engine):
    graph = line()
    before = flat(graph)
    with pytest.raises(error, match=re.escape(words)):
        graph.vector = new
    with pytest.raises(error, match=re.escape(words)):
        graph.value_and_gradient(new, FEEDS)
    assert flat(graph).tobytes() == before.tobytes()


def test_value_and_gradient_are_those_of_the_formula(runner, dtype):
    graph = line(dtype)
    before = flat(graph)
    for seed in range(3):
        at = np.random.default_rng(seed).normal(size=4)
        loss, gradient = graph.value_and_gradient(at, FEEDS)
        want, slope = line_gradient(at, X, Y)
        tolerance = {"float64": 1e-13, "float32": 1e-5}[dtype]
        assert loss == pytest.approx(want, rel=tolerance)
        assert_close(gradient, slope, tolerance)
        assert gradient.dtype == np.float64
    np.testing.assert_array_equal(flat(graph), before)


def test_value_and_gradient_on_many_blocks_and_rows(engine):
    graph = net()
    for rows in (2300, 1, 46000):
        data = {"x": np.resize(X, (rows, 3)), "y": np.resize(Y, rows)}
        loss, gradient = graph.value_and_gradient(graph.vector, data)
        graph.forward(data)
        graph.backward()
        want = np.concatenate([p.gradient.ravel() for p in graph.parameters.values()])
        assert_close(gradient, want, 1e-11)
        assert loss == pytest.approx(float(graph.outputs[0].value), rel=1e-12)


def test_it_is_the_loss_of_evaluation(engine):
    """What does otherwise while `fit` trains does here as in evaluation: no dropout."""
    x, y = fg.Input("x", shape=(3,)), fg.Input("y")
    W = fg.Parameter([0.5, 0.25, -0.5], "W")
    dropped = fg.Graph(fg.MSE(y, fg.Linear(fg.Dropout(x * 1.0), W, fg.Parameter(0.1, "b"))))
    at = np.array([1.0, 2.0, -1.0, 0.5])
    loss, gradient = dropped.value_and_gradient(at, FEEDS)
    want, slope = line_gradient(at, X, Y)
    assert loss == pytest.approx(want, rel=1e-12)
    assert_close(gradient, slope, 1e-12)


def test_scipy_takes_it(engine):
    optimize = pytest.importorskip("scipy.optimize")
    graph = line()
    start = graph.vector.copy()
    result = optimize.minimize(graph.value_and_gradient, start, args=(FEEDS,), jac=True)
    want = np.linalg.lstsq(np.column_stack([X, np.ones(len(X))]), Y, rcond=None)[0]
    assert_close(result.x, want, 1e-5)
    graph.vector = result.x
    assert_close(flat(graph), want, 1e-5)


def test_what_has_no_parameters_or_no_scalar_is_refused():
    x = fg.Input("x")
    with pytest.raises(fg.ShapeError, match="minimises a scalar"):
        fg.Graph(x * fg.Parameter(1.0)).value_and_gradient([1.0], {x: [1.0]})
    with pytest.raises(fg.GraphError, match="nothing to train"):
        fg.Graph(fg.Mean(x)).value_and_gradient([], {x: [1.0]})
