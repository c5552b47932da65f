"""Nodes: operators, inputs, parameters, constants, and what each refuses."""

import numpy as np
import pytest

import fastgraph as fg

X = np.array([0.5, 2.0, 3.0])
OPERATORS = {
    "x + 2": (lambda x: x + 2, fg.Add),
    "2 + x": (lambda x: 2 + x, fg.Add),
    "x - 2": (lambda x: x - 2, fg.Subtract),
    "2 - x": (lambda x: 2 - x, fg.Subtract),
    "x * 2": (lambda x: x * 2, fg.Multiply),
    "2 * x": (lambda x: 2 * x, fg.Multiply),
    "x / 2": (lambda x: x / 2, fg.Divide),
    "2 / x": (lambda x: 2 / x, fg.Divide),
    "x ** 2": (lambda x: x**2, fg.Power),
    "2 ** x": (lambda x: 2**x, fg.Power),
    "-x": (lambda x: -x, fg.Negate),
    "abs(x)": (lambda x: abs(x), fg.Abs),
    "x + array(1)": (lambda x: x + np.array([1.5]), fg.Add),
    "array(1) - x": (lambda x: np.array([1.5]) - x, fg.Subtract),
    "float64 * x": (lambda x: np.float64(3) * x, fg.Multiply),
    "array() / x": (lambda x: np.array(3.0) / x, fg.Divide),
    "float32 ** x": (lambda x: np.float32(3) ** x, fg.Power),
    "tuple * x": (lambda x: (1.5,) * x if isinstance(x, fg.Node) else 1.5 * x, fg.Multiply),
    "True * x": (lambda x: True * x, fg.Multiply),
}


@pytest.mark.parametrize("text", OPERATORS)
def test_operators_build_nodes(text, engine):
    function, operation = OPERATORS[text]
    x = fg.Input("x")
    node = function(x)
    assert type(node) is operation
    np.testing.assert_allclose(fg.Graph(node).forward({x: X}), function(X), rtol=1e-14)


def test_matrix_products_by_operator(engine):
    x, W = fg.Input("x"), np.arange(6.0).reshape(3, 2)
    assert type(x @ W) is fg.MatMul
    np.testing.assert_allclose(fg.Graph(x @ W).forward({x: [X]}), [X @ W])
    p = fg.Parameter(X)
    np.testing.assert_allclose(fg.Graph(W.T @ p).forward({}), W.T @ X)


def test_plus_changes_nothing():
    x = fg.Input("x")
    assert +x is x


def test_operators_between_nodes_keep_their_order():
    a, b = fg.Input("a"), fg.Input("b")
    assert (a - b).inputs == (a, b)
    assert (b / a).inputs == (b, a)


def test_nodes_are_compared_by_identity():
    a, b = fg.Parameter(1.0), fg.Parameter(1.0)
    assert a != b
    assert len({a, b, a}) == 2
    assert bool(a)


def test_a_node_is_no_sequence():
    with pytest.raises(fg.GraphError, match="is a node, not a sequence"):
        list(fg.Input("x"))


@pytest.mark.parametrize(
    "operand",
    ["two", [1, "a"], 1j, None, object(), [[1, 2], [3]], np.nan, [np.inf]],
    ids=lambda v: repr(v)[:9],
)
def test_operands_that_are_no_numbers_are_refused(operand):
    with pytest.raises(fg.DataError, match="Constant: "):
        fg.Input("x") + operand


def test_a_class_where_a_node_belongs_is_refused():
    with pytest.raises(fg.GraphError, match=r"got the class Input; pass a node, as Input"):
        fg.Sigmoid(fg.Input)


@pytest.mark.parametrize("name", [5, b"x", ("x",)])
def test_a_name_is_a_string(name):
    with pytest.raises(fg.GraphError, match="a name is a string"):
        fg.Input(name)


def test_a_node_says_kind_and_name():
    assert str(fg.Input("x")) == "Input 'x'"
    assert str(fg.Input()) == "Input"
    assert repr(fg.Sigmoid(0.5, name="hidden")) == "<Sigmoid 'hidden'>"
    assert fg.Linear(fg.Input(), fg.Parameter(1.0)).kind == "Linear"


def test_a_node_starts_without_values():
    node = fg.Exp(fg.Input("x"))
    assert (node.value, node.gradient, node.gradients) == (None, None, {})


# --- Input --------------------------------------------------------------------------------------


def test_the_shape_of_an_input_is_one_samples():
    assert fg.Input("x", shape=(13,)).sample_shape == (13,)
    assert fg.Input("x", shape=13).sample_shape == (13,)
    assert fg.Input("x", shape=np.int64(13)).sample_shape == (13,)
    assert fg.Input("x", shape=[2, 3]).sample_shape == (2, 3)
    assert fg.Input("x", shape=()).sample_shape == ()
    assert fg.Input("x").sample_shape is None


@pytest.mark.parametrize("shape", [(-1,), -1, (1.5,), ("a",), (None, 3), 2.5])
def test_a_shape_that_is_none_is_refused(shape):
    with pytest.raises(fg.ShapeError, match="Input 'x': shape is one sample's"):
        fg.Input("x", shape=shape)


# --- Parameter ----------------------------------------------------------------------------------


def test_a_parameter_copies_its_value():
    array = np.arange(3.0)
    p = fg.Parameter(array)
    array[0] = 99
    assert p.value.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "value", [2, True, [1, 2], np.float32(2), np.arange(3, dtype=">i2")], ids=lambda v: repr(v)[:9]
)
def test_a_parameter_takes_any_numbers(value):
    p = fg.Parameter(value)
    assert p.value.dtype == np.float64
    assert p.value.dtype.isnative
    np.testing.assert_array_equal(p.value, value)


@pytest.mark.parametrize(
    "value", ["a", None, 1j, [np.nan], np.inf, [[1], [2, 3]], [object()]], ids=lambda v: repr(v)[:9]
)
def test_a_parameter_refuses_what_is_no_finite_number(value):
    with pytest.raises(fg.DataError, match="Parameter 'W': "):
        fg.Parameter(value, "W")


def test_a_parameter_has_an_element():
    with pytest.raises(fg.ShapeError, match="at least one element"):
        fg.Parameter(np.zeros((3, 0)))


def test_assigning_a_value_writes_into_it():
    p = fg.Parameter([1.0, 2.0])
    kept = p.value
    p.value = [3, 4]
    assert p.value is kept
    assert kept.tolist() == [3, 4]
    p.value += 1
    assert kept.tolist() == [4, 5]
    p.value[0] = 7
    assert kept.tolist() == [7, 5]


@pytest.mark.parametrize(
    ("new", "error"),
    [
        ([1.0], fg.ShapeError),
        (3.0, fg.ShapeError),
        (["a", "b"], fg.DataError),
        ([1.0, np.nan], fg.DataError),
    ],
)
def test_a_wrong_new_value_changes_nothing(new, error):
    p = fg.Parameter([1.0, 2.0], "p")
    with pytest.raises(error, match="Parameter 'p': "):
        p.value = new
    assert p.value.tolist() == [1, 2]


def test_a_written_value_is_what_runs(engine):
    p = fg.Parameter([1.0, 2.0])
    graph = fg.Graph(fg.Sum(p * p))
    assert graph.forward({}) == 5
    p.value = [3, 4]
    assert graph.forward({}) == 25
    p.value[0] = 0
    assert graph.forward({}) == 16


# --- Constant -----------------------------------------------------------------------------------


def test_a_constant_never_changes():
    array = np.arange(3.0)
    c = fg.Constant(array)
    array[0] = 99
    assert c.constant.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="read-only"):
        c.constant[0] = 1


def test_a_constant_has_no_gradient(engine):
    x = fg.Input("x")
    c = fg.Constant(3.0)
    graph = fg.Graph(node := fg.Multiply(x, c))
    graph.forward({x: X})
    graph.backward()
    assert c.gradient is None
    assert c not in node.gradients
    np.testing.assert_allclose(x.gradient, 3.0)
    np.testing.assert_allclose(c.value, 3.0)


# --- Shape --------------------------------------------------------------------------------------


def test_shapes_print_as_numpy_writes_them():
    assert str(fg.Shape(None, ())) == "()"
    assert str(fg.Shape(7, ())) == "(7,)"
    assert str(fg.Shape("n", (13,))) == "(n, 13)"
    assert str(fg.Shape(None, (5,))) == "(5,)"
