"""A user's own nodes: right in both engines, held to what they promise, and harmless when wrong."""

import re

import numpy as np
import pytest
from numerics import assert_close

import fastgraph as fg

X = np.random.default_rng(5).normal(size=(11, 3))
Y = np.random.default_rng(6).normal(size=11)


class Cube(fg.Node):
    def forward(self, x):
        return x**3

    def backward(self, gradient, x):
        return (3 * x**2 * gradient,)


class Scaled(fg.Node):
    """Two inputs, one a parameter, with a shape rule."""

    def shape(self, x, scale):
        return x

    def forward(self, x, scale):
        return x * scale

    def backward(self, gradient, x, scale):
        return gradient * scale, (gradient * x).sum(axis=0)


class Center(fg.Node):
    """Subtracts the mean of the batch: it mixes rows."""

    def forward(self, x):
        return x - x.mean(axis=0)

    def backward(self, gradient, x):
        return (gradient - gradient.mean(axis=0),)


class Total(fg.Node):
    """A scalar from a batch."""

    def forward(self, x):
        return np.sum(x * x)

    def backward(self, gradient, x):
        return (2 * x * gradient,)


def around(make):
    """A custom node in the middle of a graph: x @ W → node → loss."""
    x, y = fg.Input("x"), fg.Input("y")
    W = fg.Parameter(np.random.default_rng(7).normal(size=(3, 2)), "W")
    v = fg.Parameter([0.5, -0.25], "v")
    node = make(fg.MatMul(x, W))
    return fg.Graph(fg.MSE(y, fg.MatMul(fg.Tanh(node), v))), node


def own_scale():
    scale = fg.Parameter([1.5, 0.5], "scale")
    return lambda x: Scaled(x, scale)


MIDDLE = {"Cube": lambda: Cube, "Scaled": own_scale, "Center": lambda: Center}


@pytest.mark.parametrize("name", MIDDLE)
def test_a_custom_node_passes_the_check(name, engine):
    graph, node = around(MIDDLE[name]())
    assert node.kernel is None
    fg.check_gradients(graph, {"x": X[:5], "y": Y[:5]})


@pytest.mark.parametrize("name", MIDDLE)
def test_a_custom_node_trains_alike_in_both_engines(name, engine, dtype):
    """The NumPy engine in float64 against both; batches of 4, the last one of 3 rows."""
    graph, _ = around(MIDDLE[name]())
    found = fg.Graph(*graph.outputs, dtype=dtype).fit(
        {"x": X, "y": Y}, optimizer=fg.SGD(0.05), epochs=4, batch_size=4, seed=1
    )
    got = [p.value for p in graph.parameters.values()]
    fg.set_engine("numpy")
    graph, _ = around(MIDDLE[name]())
    want = graph.fit({"x": X, "y": Y}, optimizer=fg.SGD(0.05), epochs=4, batch_size=4, seed=1)
    tolerance = {"float64": 1e-10, "float32": 1e-4}[dtype]
    assert_close(found.loss, want.loss, tolerance)
    for a, b in zip(got, graph.parameters.values(), strict=True):
        assert_close(a, b.value, tolerance, floor=0.1)


def test_a_batch_mixing_node_sees_its_batch_whole(engine):
    """Also when the batch is larger than any block of rows."""
    big = np.random.default_rng(8).normal(size=(5003, 3)) + 10.0
    x = fg.Input("x")
    node = Center(x)
    graph = fg.Graph(fg.Mean(node * node))
    assert_close(graph.forward({x: big}), big.var(axis=0).mean(), 1e-12)
    p = fg.Parameter(1.0)
    graph = fg.Graph(fg.Mean(Center(x * p) ** 2))
    history = graph.fit({x: big}, optimizer=fg.SGD(0.1), epochs=1, batch_size=5000, shuffle=False)
    first, rest = big[:5000].var(0).mean(), big[5000:].var(0).mean()
    p1 = 1 - 0.2 * first
    assert history.loss[0] == pytest.approx((5000 * first + 3 * p1**2 * rest) / 5003, rel=1e-10)
    assert p.value == pytest.approx(p1 - 0.2 * p1 * rest, rel=1e-10)


def test_a_custom_loss(engine):
    x, p = fg.Input("x"), fg.Parameter(1.0)
    graph = fg.Graph(Total(x * p))
    history = graph.fit({x: X}, optimizer=fg.SGD(1e-3), epochs=2)
    total = np.sum(X * X)
    assert_close(history.loss, [total, total * (1 - 2e-3 * total) ** 2], 1e-12)


def test_a_custom_node_on_parameters_alone(engine):
    x, p = fg.Input("x"), fg.Parameter([1.0, 2.0, 3.0])
    graph = fg.Graph(fg.Mean((x - Cube(p)) ** 2))
    fg.check_gradients(graph, {x: X})
    want = p.value - 1e-3 * (2 * (p.value**3 - X) * 3 * p.value**2).sum(0) / X.size
    graph.fit({x: X}, optimizer=fg.SGD(1e-3), epochs=1)
    assert_close(p.value, want, 1e-12)


def test_a_custom_node_twice_and_a_shared_input(engine):
    x, p = fg.Input("x"), fg.Parameter(0.5)
    inner = x * p
    node = Cube(inner)
    graph = fg.Graph(fg.Mean(Cube(node) + node * inner))
    fg.check_gradients(graph, {x: Y})


def test_a_custom_node_that_reads_one_node_twice(engine):
    class Product(fg.Node):
        def forward(self, a, b):
            return a * b

        def backward(self, gradient, a, b):
            return gradient * b, gradient * a

    x, p = fg.Input("x"), fg.Parameter(0.5)
    scaled = x * p
    node = Product(scaled, scaled)
    graph = fg.Graph(fg.Mean(node))
    fg.check_gradients(graph, {x: Y})
    graph.forward({x: Y})
    graph.backward()
    assert_close(node.gradients[scaled], 2 * Y * 0.5 / 11, 1e-14)


def test_none_is_no_gradient(engine):
    class Stop(fg.Node):
        def forward(self, x):
            return x * 1.0

        def backward(self, gradient, x):
            return (None,)

    x, p, q = fg.Input("x"), fg.Parameter(2.0, "p"), fg.Parameter(3.0, "q")
    node = Stop(x * p)
    graph = fg.Graph(fg.Mean(node * q))
    graph.forward({x: Y})
    graph.backward()
    assert p.gradient == 0
    assert q.gradient == pytest.approx(2 * Y.mean())
    graph.fit({x: Y}, optimizer=fg.SGD(0.1), epochs=1)
    assert p.value == 2


def test_a_list_of_gradients_and_other_dtypes_are_taken(engine, dtype):
    class Loose(fg.Node):
        def forward(self, x):
            return x.astype("float16").astype("float64").tolist()

        def backward(self, gradient, x):
            return [np.ones(x.shape, dtype=int)]

    x, p = fg.Input("x"), fg.Parameter(1.0)
    graph = fg.Graph(node := Loose(x * p), dtype=dtype)
    assert graph.forward({x: [1.0, 2.0]}).dtype == dtype
    graph.backward()
    assert node.inputs[0].gradient.dtype == dtype
    assert p.gradient == 3


def test_a_subclass_of_an_operation_is_a_node_of_its_own(engine):
    """Its forward and backward run, not the kernel of the class it came from."""

    class HardSigmoid(fg.Sigmoid):
        def forward(self, x):
            return np.clip(0.2 * x + 0.5, 0, 1)

        def backward(self, gradient, x):
            return (gradient * 0.2 * (np.abs(x) < 2.5),)

    x, p = fg.Input("x"), fg.Parameter(2.0)
    graph = fg.Graph(fg.Sum(HardSigmoid(x * p)))
    assert_close(graph.forward({x: Y}), np.clip(0.4 * Y + 0.5, 0, 1).sum(), 1e-14)
    fg.check_gradients(graph, {x: Y})
    want = 2.0 - 0.01 * (0.2 * Y * (np.abs(2 * Y) < 2.5)).sum()
    graph.fit({x: Y}, optimizer=fg.SGD(0.01), epochs=1)
    assert p.value == pytest.approx(want, rel=1e-12)


def changed(operation, factor=2.0):
    """A subclass of an operation whose value and gradients are ``factor`` times as large."""

    class Changed(operation):
        def forward(self, *values):
            return factor * super().forward(*values)

        def backward(self, gradient, *values):
            return super().backward(factor * gradient, *values)

    return Changed


@pytest.mark.parametrize(
    "build",
    [
        lambda x, y, k, b: fg.MSE(y, changed(fg.Add)(x * k, b)),
        lambda x, y, k, b: fg.MSE(y, fg.Add(changed(fg.Multiply)(x, k), b)),
        lambda x, y, k, b: fg.MSE(y, changed(fg.Linear)(x, k, b)),
        lambda x, y, k, b: fg.MSE(y, fg.Sigmoid(changed(fg.Linear)(x, k, b))),
        lambda x, y, k, b: fg.MSE(y, changed(fg.Tanh)(fg.Linear(x, k, b))),
        lambda x, y, k, b: fg.MSE(y, fg.Linear(changed(fg.ReLU)(fg.Linear(x, k, b)), k)),
        lambda x, y, k, b: changed(fg.MSE)(y, fg.Linear(x, k, b)),
        lambda x, y, k, b: changed(fg.Mean)(fg.Linear(x, k, b) ** 2),
        lambda x, y, k, b: fg.Mean(changed(fg.Power)(x * k + b, 2)),
    ],
    ids=["Add", "Multiply", "Linear", "Linear-Sigmoid", "Tanh", "ReLU", "MSE", "Mean", "Power"],
)
def test_a_changed_operation_is_never_fused_away(build, engine):
    """Each stands where the native engine would fuse the operation it comes from."""
    values = []
    for used in (engine, "numpy"):
        fg.set_engine(used)
        x, y, k, b = fg.Input("x"), fg.Input("y"), fg.Parameter(0.7), fg.Parameter(0.2)
        graph = fg.Graph(build(x, y, k, b))
        feeds = {x: Y, y: Y**2} if y in graph else {x: Y}
        history = graph.fit(feeds, optimizer=fg.SGD(0.05), epochs=3, batch_size=4)
        values.append([float(k.value), float(b.value), *history.loss])
    assert_close(*values, 1e-11)
    assert "python" in graph.summary()


def test_state_of_a_node_may_change_between_runs(engine):
    class Switch(fg.Node):
        on = True

        def forward(self, x):
            return x * (2.0 if self.on else 0.0)

        def backward(self, gradient, x):
            return (gradient * (2.0 if self.on else 0.0),)

    x = fg.Input("x")
    node = Switch(x)
    graph = fg.Graph(fg.Sum(node))
    assert graph.forward({x: [1.0, 2.0]}) == 6
    node.on = False
    assert graph.forward({x: [1.0, 2.0]}) == 0


# --- what goes wrong ----------------------------------------------------------------------------


def snapshot(graph, optimizer):
    states = [s for kept in optimizer._states.values() for s in kept.values()]
    return (
        [p.value.tobytes() for p in graph.parameters.values()],
        [(s.steps, [slot.tobytes() for slot in s.slots]) for s in states],
    )


def broken(**methods):
    """A Cube with some methods replaced."""
    return type("Broken", (Cube,), methods)


def count_to(number, error):
    """A forward that raises ``error`` in its ``number``-th call."""
    calls = []

    def forward(self, x):
        calls.append(1)
        if len(calls) == number:
            raise error
        return x**3

    return forward


@pytest.mark.parametrize(
    "error",
    [ValueError("mine"), KeyboardInterrupt(), MemoryError(), StopIteration()],
    ids=lambda e: type(e).__name__,
)
def test_an_exception_inside_fit_comes_out_and_keeps_the_last_step(error, engine):
    graph, _ = around(broken(shape=lambda self, x: x, forward=count_to(4, error)))
    reference, _ = around(Cube)
    optimizer = fg.SGD(0.05, momentum=0.9)
    settings = {"batch_size": 4, "seed": 3}
    with pytest.raises(type(error)) as caught:
        graph.fit({"x": X, "y": Y}, optimizer=optimizer, epochs=9, **settings)
    assert caught.value is error
    expected = fg.SGD(0.05, momentum=0.9)
    reference.fit({"x": X, "y": Y}, optimizer=expected, epochs=1, **settings)  # three steps
    assert snapshot(graph, optimizer) == snapshot(reference, expected)
    graph.fit({"x": X, "y": Y}, optimizer=optimizer, epochs=1)  # and the graph is free again


def test_an_exception_in_backward_comes_out_too(engine):
    def backward(self, gradient, x):
        raise ZeroDivisionError("mine")

    graph, _ = around(broken(backward=backward))
    optimizer = fg.Adam()
    before = [p.value.tobytes() for p in graph.parameters.values()]
    with pytest.raises(ZeroDivisionError, match="mine"):
        graph.fit({"x": X, "y": Y}, optimizer=optimizer, epochs=2)
    assert [p.value.tobytes() for p in graph.parameters.values()] == before
    graph.forward({"x": X, "y": Y})
    with pytest.raises(ZeroDivisionError):
        graph.backward()


WRONG = {
    "one gradient, not a tuple": (
        {"backward": lambda self, g, x: g},
        fg.GraphError,
        "backward must return a tuple of 1 gradients, one per input (None where there is none)",
    ),
    "too many gradients": (
        {"backward": lambda self, g, x: (g, g)},
        fg.GraphError,
        "one per input (None where there is none), got 2 of them",
    ),
    "no gradients": ({"backward": lambda self, g, x: ()}, fg.GraphError, "got 0 of them"),
    "nothing": ({"backward": lambda self, g, x: None}, fg.GraphError, "got NoneType"),
    "a gradient of another shape": (
        {"backward": lambda self, g, x: (g[:1],)},
        fg.ShapeError,
        "backward returned shape (1, 2) for MatMul, expected (11, 2)",
    ),
    "a transposed gradient": (
        {"backward": lambda self, g, x: (g.T,)},
        fg.ShapeError,
        "backward returned shape (2, 11)",
    ),
    "another number of rows": (
        {"forward": lambda self, x: x[:1]},
        fg.ShapeError,
        "forward on 2 rows returned shape (1, 2); expected 2 rows first, or a scalar",
    ),
    "another shape than declared": (
        {"shape": lambda self, x: x, "forward": lambda self, x: x[:, :1]},
        fg.ShapeError,
        "forward returned shape (11, 1), expected (11, 2)",
    ),
    "text": (
        {"forward": lambda self, x: np.full(x.shape, "a")},
        fg.GraphError,
        "forward must return numbers, got dtype <U1",
    ),
    "nothing from forward": (
        {"forward": lambda self, x: None},
        fg.GraphError,
        "forward must return numbers, got dtype object",
    ),
    "nothing from a forward whose shape is declared": (
        {"shape": lambda self, x: x, "forward": lambda self, x: None},
        fg.FastGraphError,
        "Broken: forward ",
    ),
    "text from a forward whose shape is declared": (
        {"shape": lambda self, x: x, "forward": lambda self, x: np.full(x.shape, "a")},
        fg.GraphError,
        "forward must return numbers, got dtype <U1",
    ),
    "text as a gradient": (
        {"backward": lambda self, g, x: (np.full(x.shape, "a"),)},
        fg.GraphError,
        "backward must return numbers",
    ),
    "complex numbers": (
        {"shape": lambda self, x: x, "forward": lambda self, x: x + 1j},
        fg.GraphError,
        "forward must return numbers, got dtype complex128",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_node_that_breaks_its_promise_is_named(what, engine):
    methods, error, words = WRONG[what]
    graph, _ = around(broken(**methods))
    optimizer = fg.SGD(0.1)
    before = [p.value.tobytes() for p in graph.parameters.values()]
    with pytest.raises(error, match=re.escape(words)) as caught:
        graph.fit({"x": X, "y": Y}, optimizer=optimizer, epochs=2)
    assert str(caught.value).startswith("Broken")
    assert [p.value.tobytes() for p in graph.parameters.values()] == before


def test_a_node_without_methods_is_named(engine):
    class Empty(fg.Node):
        pass

    class Half(fg.Node):
        def forward(self, x):
            return x * 1.0

    x, p = fg.Input("x"), fg.Parameter(1.0)
    with pytest.raises(fg.GraphError, match="Empty defines no forward"):
        fg.Graph(Empty(x)).forward({x: Y})
    graph = fg.Graph(fg.Sum(Half(x * p)))
    graph.forward({x: Y})
    with pytest.raises(fg.GraphError, match="Half defines no backward"):
        graph.backward()


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("method", ["forward", "backward"])
def test_a_node_cannot_change_what_it_reads(method, declared, engine):
    """Neither the user's data, nor other nodes' values, nor its own gradient."""

    def forward(self, x):
        x *= 2
        return x

    def backward(self, gradient, x):
        x *= 2
        return (gradient,)

    methods = {method: forward if method == "forward" else backward}
    if declared:
        methods["shape"] = lambda self, x: x
    data = Y.copy()
    x, p = fg.Input("x"), fg.Parameter(np.float64(3.0))
    for operand in (x, p, x * p):
        graph = fg.Graph(fg.Sum(broken(**methods)(operand) + x * 0.0))
        with pytest.raises(ValueError, match="read-only"):
            graph.forward({x: data})
            graph.backward()
        with pytest.raises(ValueError, match="read-only"):
            fg.check_gradients(graph, {x: data})
    np.testing.assert_array_equal(data, Y)
    assert p.value == 3


def test_a_node_cannot_change_its_gradient(engine):
    def backward(self, gradient, x):
        gradient *= 2
        return (gradient,)

    x = fg.Input("x")
    graph = fg.Graph(fg.Sum(broken(backward=backward)(x)))
    graph.forward({x: Y})
    with pytest.raises(ValueError, match="read-only"):
        graph.backward()


def test_keeping_what_was_read_is_safe(engine):
    """A node that stores its arrays finds them unchanged after the run."""
    kept = []

    class Keeper(fg.Node):
        def forward(self, x):
            kept.append((x, x.copy()))
            return x * 1.0

        def backward(self, gradient, x):
            return (gradient,)

    x, p = fg.Input("x"), fg.Parameter(2.0)
    graph = fg.Graph(fg.Mean(Keeper(x * p) ** 2))
    for sign in (1.0, -1.0):
        graph.forward({x: sign * Y})
    graph.fit({x: Y}, optimizer=fg.SGD(0.1), epochs=3)
    for array, copied in kept:
        np.testing.assert_array_equal(array, copied)


def test_nan_from_a_custom_node_is_divergence(engine):
    x, p = fg.Input("x"), fg.Parameter(1.0)
    node = broken(shape=lambda self, x: x, forward=lambda self, x: x * np.nan)(x * p)
    with pytest.raises(fg.DivergenceError, match="Broken became nan") as caught:
        fg.Graph(fg.Mean(node)).fit({x: Y}, optimizer=fg.SGD(0.1), epochs=2)
    assert caught.value.node is node
    assert p.value == 1
