"""Graph: what runs, what every node keeps, names and tables, and one run at a time."""

import threading

import numpy as np
import pytest
from numerics import assert_close

import fastgraph as fg

X = np.array([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0], [0.5, 0.25, 0.125], [7.0, 8.0, 9.0], [-1, 0, 1]])
Y = np.array([1.0, 0.0, 2.0, -1.0, 0.5])


def small_net(dtype="float64"):
    """3-2-1 with a sigmoid; every node is named."""
    draw = np.random.default_rng(0)
    x, y = fg.Input("x", shape=(3,)), fg.Input("y", shape=())
    W1 = fg.Parameter(draw.normal(size=(3, 2)), "W1")
    b1 = fg.Parameter(draw.normal(size=2), "b1")
    W2 = fg.Parameter(draw.normal(size=2), "W2")
    b2 = fg.Parameter(0.25, "b2")
    linear1 = fg.Linear(x, W1, b1, name="linear1")
    hidden = fg.Sigmoid(linear1, name="hidden")
    prediction = fg.Linear(hidden, W2, b2, name="prediction")
    return fg.Graph(fg.MSE(y, prediction, name="loss"), dtype=dtype)


class Counted(fg.Node):
    """Passes its input on, and counts."""

    def __init__(self, x, name=None):
        super().__init__(x, name=name)
        self.forwards = self.backwards = 0

    def shape(self, x):
        return x

    def forward(self, x):
        self.forwards += 1
        return x + 0.0

    def backward(self, gradient, x):
        self.backwards += 1
        return (gradient * 1.0,)


# --- forward and backward -----------------------------------------------------------------------


def test_every_node_keeps_value_gradient_and_gradients(engine):
    """By the formulas of the lesson, written out."""
    graph = small_net()
    node = graph.node
    loss = graph.forward({"x": X, "y": Y})
    graph.backward()
    W1, b1, W2, b2 = (node(n).value for n in ("W1", "b1", "W2", "b2"))
    z = X @ W1 + b1
    h = 1 / (1 + np.exp(-z))
    p = h @ W2 + b2
    assert_close(loss, np.mean((Y - p) ** 2), 1e-14)
    for name, value in {"x": X, "linear1": z, "hidden": h, "prediction": p, "loss": loss}.items():
        assert_close(node(name).value, value, 1e-14, name)
    to_p = 2 * (p - Y) / 5
    to_h = to_p[:, None] * W2
    to_z = to_h * h * (1 - h)
    gradients = {
        "loss": np.ones(()), "y": -to_p, "prediction": to_p, "W2": h.T @ to_p, "b2": to_p.sum(),
        "hidden": to_h, "linear1": to_z, "W1": X.T @ to_z, "b1": to_z.sum(0), "x": to_z @ W1.T,
    }  # fmt: skip
    assert set(gradients) == {graph.label(n) for n in graph.nodes}
    for name, gradient in gradients.items():
        assert_close(node(name).gradient, gradient, 1e-13, name)
        for consumer in graph.nodes:
            if node(name) in consumer.inputs:
                assert_close(consumer.gradients[node(name)], gradient, 1e-13, name)
    assert node("x").gradients == {}
    assert set(node("loss").gradients) == {node("y"), node("prediction")}


def test_contributions_add_up_to_the_gradient(engine):
    x = fg.Input("x")
    a, b = fg.Exp(x), x * x
    graph = fg.Graph(fg.Sum(a * b) + fg.Mean(x))
    graph.forward({x: Y})
    graph.backward()
    total = sum(node.gradients[x] for node in graph.nodes if x in node.gradients)
    assert_close(x.gradient, total, 1e-14)
    assert_close(b.gradients[x], 2 * Y * np.exp(Y), 1e-14)
    assert_close(x.gradient, np.exp(Y) * (Y**2 + 2 * Y) + 1 / 5, 1e-13)


def test_x_times_x(engine):
    x = fg.Input("x")
    square = x * x
    graph = fg.Graph(square)
    np.testing.assert_array_equal(graph.forward({x: Y}), Y * Y)
    graph.backward()
    np.testing.assert_array_equal(x.gradient, 2 * Y)
    np.testing.assert_array_equal(square.gradients[x], 2 * Y)


def test_a_parameter_used_twice(engine):
    x, y = fg.Input("x"), fg.Input("y")
    k = fg.Parameter(0.7, "k")
    graph = fg.Graph(fg.MSE(y, k * fg.Tanh(k * x)))
    assert list(graph.parameters) == ["k"]
    graph.forward({x: Y, y: Y**2})
    graph.backward()

    def loss(k):
        return np.mean((Y**2 - k * np.tanh(k * Y)) ** 2)

    assert k.gradient == pytest.approx((loss(0.7 + 1e-6) - loss(0.7 - 1e-6)) / 2e-6, rel=1e-6)
    graph.fit({x: Y, y: Y**2}, optimizer=fg.SGD(0.5), epochs=1)
    assert k.value == pytest.approx(
        0.7 - 0.5 * (loss(0.7 + 1e-6) - loss(0.7 - 1e-6)) / 2e-6, rel=1e-7
    )


def test_chained_diamonds(engine):
    """12 diamonds: 2 ** 12 paths, all with derivative 1."""
    x = fg.Input("x")
    node = x
    for _ in range(12):
        node = 0.5 * node + 0.5 * node
    graph = fg.Graph(node)
    np.testing.assert_allclose(graph.forward({x: Y}), Y, rtol=1e-14)
    graph.backward()
    np.testing.assert_allclose(x.gradient, np.ones(5), rtol=1e-14)


def test_a_long_chain_runs(engine):
    x = fg.Input("x")
    node = x
    for _ in range(3000):
        node = node + 0.001
    graph = fg.Graph(node)
    np.testing.assert_allclose(graph.forward({x: [1.0, 2.0]}), [4.0, 5.0])
    graph.backward()
    np.testing.assert_array_equal(x.gradient, [1, 1])


def test_a_wide_sum_of_consumers(engine):
    x = fg.Input("x")
    total = x * 0.0
    for i in range(97):
        total = total + x * float(i)
    graph = fg.Graph(total)
    graph.forward({x: [2.0]})
    graph.backward()
    assert x.gradient == sum(range(97))


def test_several_inputs_and_outputs(engine):
    a, b, c = fg.Input("a"), fg.Input("b"), fg.Input("c")
    shared = a * b
    first, second = shared + c, fg.Sum(shared)
    graph = fg.Graph(first, second)
    assert graph.outputs == (first, second)
    assert set(graph.inputs) == {a, b, c}
    feeds = {a: [1.0, 2.0], b: [3.0, 4.0], c: [5.0, 6.0]}
    one, two = graph.forward(feeds)
    assert (one.tolist(), float(two)) == ([8, 14], 11)
    graph.backward(output=second)
    assert a.gradient.tolist() == [3, 4]
    assert c.gradient.tolist() == [0, 0]
    graph.backward([10.0, 100.0], output=first)
    assert a.gradient.tolist() == [30, 400]
    assert c.gradient.tolist() == [10, 100]
    with pytest.raises(
        fg.GraphError, match=r"several outputs \(add_1, sum_1\); name one with output="
    ):
        graph.backward()


def test_fit_minimises_the_named_output(engine):
    x = fg.Input("x")
    p, q = fg.Parameter(1.0, "p"), fg.Parameter(1.0, "q")
    first, second = fg.Mean((p - x) ** 2), fg.Mean((q - x) ** 2)
    graph = fg.Graph(first, second)
    graph.fit({x: [5.0, 5.0]}, optimizer=fg.SGD(0.1), epochs=1, output=second)
    assert (float(p.value), float(q.value)) == (1.0, pytest.approx(1.8))
    with pytest.raises(fg.GraphError, match="several outputs"):
        graph.fit({x: [5.0]}, optimizer=fg.SGD(0.1), epochs=1)
    with pytest.raises(fg.GraphError, match="is not an output of this graph"):
        graph.fit({x: [5.0]}, optimizer=fg.SGD(0.1), epochs=1, output=first.inputs[0])


def test_one_optimizer_on_two_outputs_keeps_their_states_apart(engine):
    """p and q have one size; the velocity of p must not move q."""
    x = fg.Input("x")
    p, q = fg.Parameter(1.0, "p"), fg.Parameter(1.0, "q")
    first, second = fg.Mean((p - x) ** 2), fg.Mean((q - x) ** 2)
    graph = fg.Graph(first, second)
    optimizer = fg.SGD(0.1, momentum=0.9)
    graph.fit({x: [5.0, 5.0]}, optimizer=optimizer, epochs=1, output=first)
    graph.fit({x: [5.0, 5.0]}, optimizer=optimizer, epochs=1, output=second)
    assert float(q.value) == float(p.value) == pytest.approx(1.8)


def test_an_upstream_gradient(engine, dtype):
    x = fg.Input("x")
    graph = fg.Graph(fg.Exp(x), dtype=dtype)
    graph.forward({x: Y})
    weights = [1, 0, -2, 3, 0.5]
    graph.backward(weights)
    assert x.gradient.dtype == dtype
    assert_close(x.gradient, np.exp(Y) * weights, 1e-6)
    with pytest.raises(fg.ShapeError, match=r"has shape \(5,\), the gradient \(1,\)"):
        graph.backward([1.0])
    with pytest.raises(fg.DataError, match="gradient: expected numbers"):
        graph.backward(["a"] * 5)


@pytest.mark.parametrize(
    "layout",
    [
        np.asfortranarray,
        lambda g: g[::-1].copy()[::-1],
        lambda g: np.repeat(g, 2, axis=1)[:, ::2],
        lambda g: g.astype(">f8"),
        lambda g: g.astype("float32"),
        lambda g: g.tolist(),
        lambda g: g.astype(int),
    ],
    ids=["Fortran", "reversed", "strided", "byte order", "float32", "list", "int"],
)
def test_an_upstream_gradient_in_any_layout(layout, engine):
    x = fg.Input("x")
    graph = fg.Graph(node := fg.Exp(x))
    graph.forward({x: X})
    weights = np.arange(15.0).reshape(5, 3)
    given = layout(weights)
    graph.backward(given)
    assert_close(x.gradient, np.exp(X) * weights, 1e-14)
    if isinstance(given, np.ndarray):
        given[...] = 0
    np.testing.assert_array_equal(node.gradient, weights)


def test_backward_twice_gives_the_same(engine):
    graph = small_net()
    graph.forward({"x": X, "y": Y})
    graph.backward()
    first = [node.gradient.copy() for node in graph.nodes]
    graph.backward()
    for node, before in zip(graph.nodes, first, strict=True):
        np.testing.assert_array_equal(node.gradient, before)


def test_backward_needs_forward(engine):
    graph = small_net()
    with pytest.raises(fg.GraphError, match=r"call graph\.forward"):
        graph.backward()
    graph.forward({"x": X, "y": Y})
    graph.fit({"x": X, "y": Y}, optimizer=fg.SGD(0.1), epochs=1)
    with pytest.raises(fg.GraphError, match=r"call graph\.forward"):
        graph.backward()
    assert graph.node("hidden").value is None, "nothing stale can be read after fit"


def test_what_a_run_gave_stays_after_the_next(engine):
    graph = small_net()
    first = graph.forward({"x": X, "y": Y})
    hidden, value = graph.node("hidden").value, graph.node("hidden").value.copy()
    graph.backward()
    gradient, kept = graph.node("W1").gradient, graph.node("W1").gradient.copy()
    loss = float(first)
    predicted = graph.evaluate("prediction", {"x": X})
    copied = predicted.copy()
    graph.forward({"x": -X, "y": Y + 1})
    graph.backward()
    graph.evaluate("prediction", {"x": -X})
    graph.fit({"x": X, "y": Y}, optimizer=fg.SGD(0.1), epochs=2, batch_size=2)
    assert float(first) == loss
    np.testing.assert_array_equal(hidden, value)
    np.testing.assert_array_equal(gradient, kept)
    np.testing.assert_array_equal(predicted, copied)


def test_rows_may_change_between_runs(engine):
    graph = small_net()
    whole = graph.evaluate("prediction", {"x": X})
    for n in (1, 5, 2, 4, 3):
        assert_close(graph.evaluate("prediction", {"x": X[:n]}), whole[:n], 1e-14)
        graph.forward({"x": X[:n], "y": Y[:n]})
        graph.backward()
        assert graph.node("hidden").value.shape == (n, 2)
        assert graph.node("x").gradient.shape == (n, 3)


def test_many_rows(engine, dtype):
    """More rows than any block or cache holds."""
    draw = np.random.default_rng(1)
    x = draw.normal(size=(10_007, 3))
    y = draw.normal(size=10_007)
    graph = small_net(dtype)
    loss = graph.forward({"x": x, "y": y})
    graph.backward()
    node = graph.node
    h = 1 / (1 + np.exp(-(x @ node("W1").value + node("b1").value)))
    p = h @ node("W2").value + node("b2").value
    assert_close(node("prediction").value, p, 1e-12 if dtype == "float64" else 1e-5)
    assert_close(loss, np.mean((y - p) ** 2), 1e-12 if dtype == "float64" else 1e-5)
    to_p = 2 * (p - y) / len(y)
    assert_close(node("W2").gradient, h.T @ to_p, 1e-11 if dtype == "float64" else 1e-4, floor=0.1)


def test_a_graph_without_inputs(engine):
    p = fg.Parameter([1.0, 2.0], "p")
    graph = fg.Graph(fg.Sum((p - 3.0) ** 2))
    assert graph.forward({}) == 5
    graph.backward()
    assert p.gradient.tolist() == [-4, -2]
    history = graph.fit({}, optimizer=fg.SGD(0.25), epochs=3)
    assert history.loss.tolist() == [5, 1.25, 0.3125]
    assert p.value.tolist() == [2.75, 2.875]


def test_a_graph_that_is_one_node(engine):
    x, p = fg.Input("x"), fg.Parameter(2.0)
    graph = fg.Graph(x)
    np.testing.assert_array_equal(graph.forward({x: Y}), Y)
    graph.backward()
    np.testing.assert_array_equal(x.gradient, np.ones(5))
    line = fg.Graph(p)
    assert line.forward({}) == 2
    line.fit({}, optimizer=fg.SGD(0.5), epochs=3)
    assert p.value == 0.5


def test_constants_alone(engine):
    graph = fg.Graph(fg.Constant(2.0) * 3.0)
    assert graph.forward({}) == 6
    graph.backward()
    with pytest.raises(fg.GraphError, match="nothing to train, the graph has no Parameter"):
        graph.fit({}, optimizer=fg.SGD(0.1), epochs=1)


def test_an_unused_second_output_does_not_disturb(engine):
    x = fg.Input("x")
    p = fg.Parameter(2.0)
    loss, other = fg.Mean((x * p) ** 2), fg.Log(x)
    graph = fg.Graph(loss, other)
    graph.fit({x: [-1.0, -2.0]}, optimizer=fg.SGD(0.01), epochs=2, output=loss)
    assert np.isfinite(p.value)


# --- evaluate -----------------------------------------------------------------------------------


def test_evaluate_runs_only_what_is_needed(engine):
    x, y = fg.Input("x"), fg.Input("y")
    p = fg.Parameter(3.0)
    shared = Counted(x * p)
    aside = Counted(shared * 2.0)
    graph = fg.Graph(fg.MSE(y, aside))
    np.testing.assert_allclose(graph.evaluate(shared, {x: Y}), 3 * Y)
    assert (shared.forwards, aside.forwards) == (1, 0)
    assert (shared.backwards, aside.backwards) == (0, 0)
    np.testing.assert_allclose(graph.evaluate(aside, {x: Y, y: Y}), 6 * Y)
    assert (shared.forwards, aside.forwards) == (2, 1)


def test_evaluate_needs_no_more_than_its_inputs(engine):
    graph = small_net()
    with pytest.raises(fg.DataError, match="Input 'y': not fed"):
        graph.evaluate("loss", {"x": X})
    with pytest.raises(fg.DataError, match="Input 'x': not fed"):
        graph.evaluate("prediction", {"y": Y})


def test_evaluate_keeps_nothing(engine):
    graph = small_net()
    graph.forward({"x": X, "y": Y})
    before = graph.node("hidden").value
    graph.evaluate("loss", {"x": -X, "y": Y})
    assert graph.node("hidden").value is before
    graph.backward()  # still of the last forward
    assert_close(
        graph.node("prediction").gradient, 2 * (graph.node("prediction").value - Y) / 5, 1e-14
    )


def test_evaluate_several_nodes(engine):
    graph = small_net()
    hidden, prediction = graph.evaluate(["hidden", graph.node("prediction")], {"x": X})
    assert (hidden.shape, prediction.shape) == ((5, 2), (5,))


def test_evaluated_leaves_do_not_change_with_the_graph(engine):
    """A copy of a parameter's value, not the storage that fit writes to."""
    graph = small_net()
    before = graph.evaluate("W1", {})
    kept = before.copy()
    graph.fit({"x": X, "y": Y}, optimizer=fg.SGD(0.1), epochs=1)
    np.testing.assert_array_equal(before, kept)
    assert not np.array_equal(graph.node("W1").value, kept)


def test_nodes_of_other_graphs_are_refused(engine):
    graph = small_net()
    with pytest.raises(fg.GraphError, match="is not in this graph"):
        graph.evaluate(fg.Input("z"), {})
    with pytest.raises(fg.GraphError, match="unknown node 'hiden'; did you mean 'hidden'"):
        graph.evaluate("hiden", {"x": X})
    with pytest.raises(fg.GraphError, match="expected a node or its name, got int"):
        graph.evaluate(5, {"x": X})


# --- dtypes -------------------------------------------------------------------------------------


def test_one_dtype_a_graph(engine, dtype):
    graph = small_net(dtype)
    graph.forward({"x": X, "y": Y})
    graph.backward()
    for node in graph.nodes:
        assert node.value.dtype == dtype, node
        assert node.gradient.dtype == dtype, node
        assert all(g.dtype == dtype for g in node.gradients.values()), node
    graph.fit({"x": X, "y": Y}, optimizer=fg.Adam(), epochs=2, batch_size=2)
    assert all(p.value.dtype == dtype for p in graph.parameters.values())
    assert graph.evaluate("prediction", {"x": X}).dtype == dtype


@pytest.mark.parametrize("given", ["float32", np.float32, np.dtype("f4"), ">f4"])
def test_a_dtype_in_any_spelling(given):
    assert fg.Graph(fg.Input("x"), dtype=given).dtype == np.dtype("float32")


@pytest.mark.parametrize("given", ["float16", int, "complex64", "flaot32", 5, np.longdouble])
def test_other_dtypes_are_refused(given):
    with pytest.raises(fg.SettingError, match="candidates: 'float64', 'float32'"):
        fg.Graph(fg.Input("x"), dtype=given)


def test_graphs_of_two_dtypes_share_a_parameter(engine):
    x = fg.Input("x")
    p = fg.Parameter(2.0)
    loss = fg.Mean((x * p - 1.0) ** 2)
    double, single = fg.Graph(loss), fg.Graph(loss, dtype="float32")
    want = 2.0
    for graph in (double, single, double, double, single):
        graph.fit({x: [0.5, 1.5]}, optimizer=fg.SGD(0.1), epochs=1)
        want -= 0.1 * (0.5 * (0.5 * want - 1) + 1.5 * (1.5 * want - 1))
        assert p.value == pytest.approx(want, rel=1e-6)
        assert p.value.dtype == graph.dtype


def test_two_graphs_share_a_parameter(engine):
    x = fg.Input("x")
    p = fg.Parameter(2.0)
    training, applying = fg.Graph(fg.Mean((x * p) ** 2)), fg.Graph(out := x * p)
    applying.forward({x: [1.0]})
    training.fit({x: [1.0]}, optimizer=fg.SGD(0.25), epochs=1)
    assert p.value == 1.0
    assert applying.evaluate(out, {x: [1.0]}) == 1.0


# --- names and pictures -------------------------------------------------------------------------


def test_labels_are_unique():
    x = fg.Input()
    graph = fg.Graph(fg.Exp(fg.Exp(x), name="exp_2") + fg.Exp(x))
    labels = [graph.label(node) for node in graph.nodes]
    assert labels == ["input_1", "exp_1", "exp_2", "exp_3", "add_1"]
    assert [graph.label(graph.node(label)) for label in labels] == labels


def test_a_name_twice_is_refused():
    with pytest.raises(fg.GraphError, match="two nodes are called 'x': Input and Parameter"):
        fg.Graph(fg.Input("x") + fg.Parameter(1.0, "x"))


def test_one_named_node_twice_is_fine():
    x = fg.Input("x")
    assert len(fg.Graph(x * x)) == 2


def test_parameters_by_name_in_sorted_order():
    graph = small_net()
    assert list(graph.parameters) == ["W1", "b1", "W2", "b2"]
    assert graph.parameter_count == 6 + 2 + 2 + 1
    assert graph.parameters["W1"] in graph
    assert fg.Input("x") not in graph


def test_the_summary_tells_every_node(engine):
    x = fg.Input("x", shape=(3,))
    W = fg.Parameter(np.ones((3, 2000)), "W")
    graph = fg.Graph(fg.Mean(Counted(fg.Linear(x, W, name="line"), name="own"), name="loss"))
    summary = graph.summary()
    assert isinstance(summary, str)
    rows = {line.split()[0]: line for line in summary.splitlines()[3:]}
    assert list(rows) == ["x", "W", "line", "own", "loss"]
    assert "(n, 3)" in rows["x"]
    assert "6,000" in rows["W"]
    assert "Linear" in rows["line"]
    assert "x, W" in rows["line"]
    assert rows["line"].endswith(engine)
    assert rows["own"].endswith("python"), "the summary says what runs a node"
    assert rows["W"].endswith("data")
    assert "6000 parameters" in summary.splitlines()[0]


def test_the_summary_knows_shapes_after_a_run(engine):
    x = fg.Input("x")
    graph = fg.Graph(fg.Exp(x, name="e"))
    assert "?" in graph.summary()
    graph.forward({x: X})
    assert "(n, 3)" in graph.summary().splitlines()[-1]
    assert "?" not in graph.summary()


def test_the_summary_in_a_notebook_escapes_names():
    page = fg.Graph(fg.Input("<x>")).summary()._repr_html_()
    assert "&lt;x&gt;" in page
    assert "<x>" not in page
    assert page.startswith("<table")


def test_a_graph_in_a_notebook_draws_itself():
    x = fg.Input("x")
    small, large = fg.Graph(fg.Exp(x, name="<e>")), x
    page = small._repr_html_()
    assert page.startswith("<svg") and "<e>" not in page.replace("<ellipse", "")
    for _ in range(600):  # too many for a picture: the table
        large = fg.Exp(large)
    assert fg.Graph(large)._repr_html_().startswith("<table")


def test_the_dot_text_names_nodes_and_edges():
    x = fg.Input('say "x"')
    text = fg.Graph(x * x).to_dot()
    assert text.startswith("digraph fastgraph {")
    assert text.count("n0 -> n1;") == 2
    assert '\\"x\\"' in text


def test_a_graph_says_what_it_is():
    assert repr(small_net()) == "<Graph loss: 10 nodes, 11 parameters, float64>"


@pytest.mark.parametrize("outputs", [(), ([],), ("abc",), (5,), (None,), ([fg.Input("x"), 5],)])
def test_what_is_no_output_is_refused(outputs):
    with pytest.raises(fg.GraphError):
        fg.Graph(*outputs)


def test_outputs_in_a_list():
    x = fg.Input("x")
    assert fg.Graph([x, fg.Exp(x)]).outputs[0] is x


# --- one run at a time --------------------------------------------------------------------------


class Gate(fg.Node):
    """Waits inside forward until it is let through."""

    def __init__(self, x):
        super().__init__(x)
        self.inside, self.go = threading.Event(), threading.Event()

    def shape(self, x):
        return x

    def forward(self, x):
        self.inside.set()
        assert self.go.wait(60)
        return x * 1.0

    def backward(self, gradient, x):
        return (gradient,)


@pytest.mark.parametrize("method", ["forward", "fit", "evaluate", "backward"])
def test_a_graph_in_two_threads_is_an_error(method, engine):
    x = fg.Input("x")
    p = fg.Parameter(1.0)
    gate = Gate(x * p)
    graph = fg.Graph(fg.Mean(gate))
    problems = []

    def work():
        try:
            graph.fit({x: Y}, optimizer=fg.SGD(0.1), epochs=1)
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while not gate.inside.wait(0.05):
        assert thread.is_alive(), problems
    try:
        with pytest.raises(fg.GraphError, match="this graph is running already"):
            {
                "forward": lambda: graph.forward({x: Y}),
                "fit": lambda: graph.fit({x: Y}, optimizer=fg.SGD(0.1), epochs=1),
                "evaluate": lambda: graph.evaluate(gate, {x: Y}),
                "backward": graph.backward,
            }[method]()
    finally:
        gate.go.set()
        thread.join(60)
    assert not problems
    assert p.value == pytest.approx(1 - 0.1 * Y.mean())
    graph.forward({x: Y})  # and it is free again


def test_a_graph_that_runs_itself_is_an_error(engine):
    x = fg.Input("x")

    class Inward(fg.Node):
        def shape(self, x):
            return x

        def forward(self, value):
            graph.forward({x: value})
            return value

    graph = fg.Graph(Inward(x))
    with pytest.raises(fg.GraphError, match="running already"):
        graph.forward({x: Y})


def test_a_node_may_run_another_graph(engine):
    a, x = fg.Input("a"), fg.Input("x")
    inner = fg.Graph(fg.Exp(a))

    class Inner(fg.Node):
        def forward(self, value):
            return inner.forward({a: value})

        def backward(self, gradient, value):
            inner.forward({a: value})
            inner.backward(gradient)
            return (a.gradient,)

    p = fg.Parameter(1.0)
    graph = fg.Graph(fg.Mean(Inner(x * p)))
    fg.check_gradients(graph, {x: Y})
    graph.fit({x: Y}, optimizer=fg.SGD(0.1), epochs=1)
    assert p.value == pytest.approx(1 - 0.1 * np.mean(Y * np.exp(Y)))


def test_the_engine_may_change_between_forward_and_backward(engine):
    x = fg.Input("x")
    graph = fg.Graph(fg.Exp(x))
    graph.forward({x: Y})
    fg.set_engine("numpy")
    graph.backward()
    assert_close(x.gradient, np.exp(Y), 1e-14)
