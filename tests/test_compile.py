"""`Graph.compile`: a quick call that gives what `evaluate` gives, whatever it is handed."""

import numpy as np
import pytest
from numerics import assert_close

import fastgraph as fg

DRAW = np.random.default_rng(2)


def net(dtype="float64", declared=True):
    """3-7-2, of which the formula is `expected`."""
    x = fg.Input("x", shape=(3,) if declared else None)
    W1 = fg.Parameter(np.random.default_rng(0).normal(size=(3, 7)), "W1")
    b1 = fg.Parameter(np.random.default_rng(1).normal(size=7), "b1")
    W2 = fg.Parameter(np.random.default_rng(2).normal(size=(7, 2)), "W2")
    y = fg.Input("y", shape=(2,))
    out = fg.Linear(fg.Tanh(fg.Linear(x, W1, b1)), W2, name="out")
    return fg.Graph(fg.MSE(y, out), dtype=dtype)


def expected(graph, x):
    p = {name: parameter.value.astype(float) for name, parameter in graph.parameters.items()}
    return np.tanh(np.asarray(x, float) @ p["W1"] + p["b1"]) @ p["W2"]


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 5, 31, 1009, 20_011])
def test_it_gives_what_evaluate_gives(rows, declared, engine, dtype):
    graph = net(dtype, declared)
    predict = graph.compile("out")
    x = DRAW.normal(size=(rows, 3)).astype(dtype)
    for _ in range(3):
        result = predict(x)
        assert result.dtype == dtype
        assert_close(result, expected(graph, x), 1e-5 if dtype == "float32" else 1e-12)
        np.testing.assert_allclose(result, graph.evaluate("out", {"x": x}), rtol=1e-6)


def test_it_follows_the_parameters(engine, dtype):
    graph = net(dtype)
    predict = graph.compile(graph.node("out"))
    x = DRAW.normal(size=(5, 3)).astype(dtype)
    tolerance = {"float64": 1e-12, "float32": 1e-5}[dtype]
    first = predict(x)
    graph.fit({"x": x, "y": np.ones((5, 2))}, optimizer=fg.SGD(0.1), epochs=3)
    assert_close(predict(x), expected(graph, x), tolerance)
    assert not np.array_equal(predict(x), first)
    graph.parameters["b1"].value[...] = 0.25
    assert_close(predict(x), expected(graph, x), tolerance)
    graph.parameters["W2"].value = np.ones((7, 2))
    assert_close(predict(x), expected(graph, x), tolerance)


def test_it_follows_parameters_that_another_graph_has_cast(engine):
    graph = net()
    predict = graph.compile("out")
    x = DRAW.normal(size=(2, 3))
    predict(x)
    fg.Graph(*graph.outputs, dtype="float32").fit(
        {"x": x, "y": np.ones((2, 2))}, optimizer=fg.SGD(0.1), epochs=2
    )
    for _ in range(2):
        assert_close(predict(x), expected(graph, x), 1e-6)


def test_a_result_stays_after_the_next_call(engine):
    graph = net()
    predict = graph.compile("out")
    first = predict(np.ones((1, 3)))
    kept = first.copy()
    predict(np.zeros((1, 3)))
    np.testing.assert_array_equal(first, kept)


def test_it_writes_into_out(engine, dtype):
    graph = net(dtype)
    predict = graph.compile("out")
    x, out = DRAW.normal(size=(5, 3)).astype(dtype), np.zeros((5, 2), dtype)
    for _ in range(2):
        assert predict(x, out=out) is out
        assert_close(out, expected(graph, x), 1e-5 if dtype == "float32" else 1e-12)
        out[...] = 0
    wide = np.zeros((5, 4), dtype)[:, ::2]
    assert predict(x, out=wide) is wide
    assert_close(wide, expected(graph, x), 1e-5)


@pytest.mark.parametrize(
    "out",
    [np.zeros((4, 2)), np.zeros((5, 2), "float32"), np.zeros(10), [[0.0, 0.0]] * 5, 5],
    ids=["rows", "dtype", "shape", "list", "number"],
)
def test_an_out_that_does_not_fit_is_refused(out, engine):
    predict = net().compile("out")
    for _ in range(2):
        with pytest.raises(fg.ShapeError, match="out must be an array of float64 of shape"):
            predict(np.ones((5, 3)), out=out)


def test_a_read_only_out_is_not_written(engine):
    out = np.zeros((5, 2))
    out.flags.writeable = False
    predict = net().compile("out")
    with pytest.raises(ValueError, match="read-only"):
        predict(np.ones((5, 3)), out=out)
    assert not out.any()


ODD = {
    "list": lambda x: x.tolist(),
    "float32": lambda x: x.astype("float32").astype("float64").astype("float32"),
    "Fortran order": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=0)[::2],
    "reversed": lambda x: x[::-1].copy()[::-1],
    "other byte order": lambda x: x.astype(">f8"),
    "integers": lambda x: (x * 10).astype(int),
    "read-only": lambda x: np.frombuffer(x.tobytes()).reshape(x.shape),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_arrays_are_taken(kind, engine):
    graph = net()
    predict = graph.compile("out")
    given = ODD[kind](DRAW.normal(size=(5, 3)))
    for _ in range(2):
        assert_close(predict(given), expected(graph, given), 1e-12)


@pytest.mark.parametrize(
    ("arrays", "error", "words"),
    [
        ((), fg.DataError, r"Linear 'out': expected 1 arrays \(x\), got 0"),
        ((np.ones((2, 3)), np.ones((2, 2))), fg.DataError, "expected 1 arrays"),
        ((np.ones((2, 2)),), fg.ShapeError, r"expected shape \(n, 3\), got \(2, 2\)"),
        ((np.ones(3),), fg.ShapeError, "a single sample needs a batch axis"),
        ((np.empty((0, 3)),), fg.DataError, "an empty batch"),
        ((np.full((1, 3), np.nan),), fg.DataError, "the data has nan"),
        ((np.array([[1.0, 2.0, np.inf]]),), fg.DataError, "the data has inf"),
        (("text",), fg.DataError, "expected numbers"),
    ],
)
def test_what_cannot_be_used_is_refused_each_time(arrays, error, words, engine):
    predict = net().compile("out")
    for _ in range(2):
        with pytest.raises(error, match=words):
            predict(*arrays)
    predict(np.ones((1, 3)))


def test_several_inputs_come_in_the_graphs_order(engine):
    a, b, c = fg.Input("a", shape=2), fg.Input("b", shape=()), fg.Input("c", shape=())
    node = fg.Sum(a, axis=1) * 100 + b * 10 + c
    graph = fg.Graph(node)
    assert graph.inputs == (a, b, c)
    predict = graph.compile(node)
    for _ in range(2):
        assert predict([[1.0, 1.0], [2.0, 0.0]], [3.0, 4.0], [5.0, 6.0]).tolist() == [235, 246]
    part = graph.compile(node.inputs[0].inputs[1])
    assert part([3.0]).tolist() == [30]
    with pytest.raises(fg.DataError, match="different numbers of rows"):
        predict([[1.0, 1.0]], [3.0, 4.0], [5.0, 6.0])


def test_any_node_compiles(engine):
    """Scalars, parameters, inputs, custom nodes: quick or not, it is the same."""

    class Double(fg.Node):
        def forward(self, x):
            return 2 * x

    x, p = fg.Input("x", shape=2), fg.Parameter([1.0, 2.0], "p")
    double = Double(x * p)
    graph = fg.Graph(fg.Mean(double))
    data = np.array([[1.0, 2.0], [3.0, 4.0]])
    wants = {graph.outputs[0]: 8.0, double: 2 * data * [1, 2], x: data}
    for node, want in wants.items():
        predict = graph.compile(node)
        for _ in range(2):
            np.testing.assert_allclose(predict(data), want)
    predict = graph.compile(p)
    np.testing.assert_array_equal(predict(), [1, 2])


def test_a_node_of_another_graph_does_not_compile(engine):
    with pytest.raises(fg.GraphError, match="is not in this graph"):
        net().compile(fg.Input("z"))
    with pytest.raises(fg.GraphError, match="unknown node"):
        net().compile("outt")


def test_answers_in_many_rows_do_not_make_the_quick_call_anew(monkeypatch):
    """They go the long way each time; what was made for a few rows stays."""
    x = fg.Input("x", shape=(3,))
    graph = fg.Graph(fg.Dense(x, 2, "tanh"))
    made = []
    quick = fg.graph._Predictor.quick
    monkeypatch.setattr(
        fg.graph._Predictor, "quick", lambda self: made.append(self) or quick(self)
    )
    rows = np.random.default_rng(0).normal(size=(20_011, 3))
    answers = [graph.evaluate(graph.outputs[0], {x: rows}) for _ in range(3)]
    assert len(made) == 1 and (answers[0] == answers[2]).all()
