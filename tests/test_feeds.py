"""What is fed: every kind of array that holds numbers is taken, everything else has its error."""

import re

import numpy as np
import pytest

import fastgraph as fg

X = np.array([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0]])


def byte_swapped(array):
    return array.astype(array.dtype.newbyteorder())


def unaligned(array):
    raw = np.empty(array.nbytes + 1, dtype=np.uint8)
    view = raw[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    assert not view.flags.aligned
    return view


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def every_other(array):
    wide = np.full((array.shape[0] * 2, array.shape[1] * 2), np.nan)
    wide[::2, ::2] = array
    return wide[::2, ::2]


class ArrayLike:
    def __array__(self, dtype=None, copy=None):
        return np.array(X, dtype=dtype)


KINDS = {
    "lists": X.tolist(),
    "tuples": tuple(map(tuple, X)),
    "rows as arrays": list(X),
    "int64": X.astype(np.int64),
    "int8": X.astype(np.int8),
    "float16": X.astype(np.float16),
    "float32": X.astype(np.float32),
    "longdouble": X.astype(np.longdouble),
    "Fortran order": np.asfortranarray(X),
    "negative strides": X[::-1, ::-1].copy()[::-1, ::-1],
    "every other": every_other(X),
    "a transpose": X.T.copy().T,
    "read-only": read_only(X),
    "non-native float64": byte_swapped(X),
    "non-native int32": byte_swapped(X.astype(np.int32)),
    "unaligned": unaligned(X),
    "unaligned, non-native": unaligned(byte_swapped(X)),
    "a repeated row": None,
    "an array-like": ArrayLike(),
    "np.matrix": X.view(np.matrix),
}


@pytest.mark.parametrize("kind", KINDS)
def test_anything_that_holds_numbers_is_taken(kind, engine, dtype):
    data = KINDS[kind]
    want = X
    if kind == "a repeated row":
        data = want = np.broadcast_to(X[0], (5, 3))
    x = fg.Input("x", shape=(3,))
    p = fg.Parameter(np.ones(3))
    loss = fg.Mean((x * p - 0.5) ** 2)
    graph = fg.Graph(loss, dtype=dtype)
    value = graph.forward({x: data})
    assert x.value.dtype == dtype
    np.testing.assert_allclose(x.value, want)
    np.testing.assert_allclose(value, np.mean((want - 0.5) ** 2), rtol=1e-6)
    graph.backward()
    np.testing.assert_allclose(p.gradient, (2 * want * (want - 0.5)).sum(0) / want.size, rtol=1e-5)
    history = graph.fit({x: data}, optimizer=fg.SGD(1e-3), epochs=1, batch_size=1, shuffle=False)
    assert history.steps == len(want)
    assert np.isfinite(history.loss).all()


@pytest.mark.parametrize("data", [[True, False], np.array([True, False])], ids=["list", "array"])
def test_truth_values_are_0_and_1(data, engine):
    x = fg.Input("x")
    assert fg.Graph(fg.Sum(x * 3)).forward({x: data}) == 3


def test_numbers_from_a_file_are_taken_without_reading_it_in_whole(tmp_path, engine):
    file = np.memmap(tmp_path / "x", dtype=np.float64, mode="w+", shape=(1000, 3))
    file[...] = np.arange(3000).reshape(1000, 3)
    file.flush()
    mapped = np.memmap(tmp_path / "x", dtype=np.float64, mode="r", shape=(1000, 3))
    x = fg.Input("x")
    graph = fg.Graph(fg.Mean(x))
    assert graph.forward({x: mapped}) == pytest.approx(1499.5)
    assert np.shares_memory(fg.feeds.bind([x], {x: mapped}, np.dtype(float))[x], mapped)


def test_an_array_that_fits_is_not_copied():
    x = fg.Input("x")
    assert np.shares_memory(fg.feeds.bind([x], {x: X}, np.dtype(float))[x], X)


def test_feeding_does_not_change_the_data(engine):
    data = X.copy()
    x = fg.Input("x")
    p = fg.Parameter(np.ones(3))
    graph = fg.Graph(fg.Mean((x * p) ** 2))
    graph.forward({x: data})
    graph.backward()
    graph.fit({x: data}, optimizer=fg.SGD(0.1), epochs=3, batch_size=1)
    np.testing.assert_array_equal(data, X)


def test_one_row(engine):
    x, y = fg.Input("x"), fg.Input("y")
    k = fg.Parameter(1.0)
    graph = fg.Graph(fg.MSE(y, x * k))
    assert graph.forward({x: [2.0], y: [5.0]}) == 9
    assert graph.fit({x: [2.0], y: [5.0]}, optimizer=fg.SGD(0.1), epochs=3).steps == 3


def test_a_single_number_is_shared_by_all_rows(engine):
    x, scale = fg.Input("x"), fg.Input("scale", shape=())
    p = fg.Parameter(1.0)
    node = x * scale * p
    graph = fg.Graph(fg.Mean(node * node))
    assert graph.evaluate(node, {x: [1.0, 2.0], scale: 3.0}).tolist() == [3, 6]
    value = graph.forward({x: [1.0, 2.0, 4.0], scale: 3.0})
    assert value == pytest.approx(9 * 21 / 3)
    graph.backward()
    assert scale.gradient.shape == ()
    assert scale.gradient == pytest.approx(2 * 3 * 21 / 3)
    history = graph.fit(
        {x: [1.0, 2.0, 4.0], scale: 3.0}, optimizer=fg.SGD(1e-3), epochs=2, batch_size=2
    )
    assert history.steps == 4
    assert history.loss[1] < history.loss[0]


def test_an_input_may_be_fed_a_number_now_and_rows_later(engine):
    x = fg.Input("x")
    graph = fg.Graph(x * 2.0)
    assert graph.forward({x: 3.0}).shape == ()
    assert graph.forward({x: [3.0, 4.0]}).tolist() == [6, 8]
    assert graph.forward({x: [[3.0], [4.0]]}).tolist() == [[6], [8]]
    assert graph.forward({x: 5.0}) == 10


def test_feeds_by_name_and_by_node(engine):
    x, y = fg.Input("x"), fg.Input("y")
    graph = fg.Graph(x - y)
    assert graph.forward({"x": [3.0], y: [1.0]}).tolist() == [2]


def test_a_parameters_own_value_may_be_fed(engine):
    """The data of a run does not change while the parameters do."""
    p, x = fg.Parameter([1.0, 2.0, 4.0]), fg.Input("x")
    copied, shared = fg.Graph(loss := fg.Mean((fg.Sum(p) - x) ** 2)), None
    copied.fit({x: p.value.copy()}, optimizer=fg.SGD(0.01), epochs=5)
    want = p.value.copy()
    p.value = [1.0, 2.0, 4.0]
    shared = fg.Graph(loss)
    shared.fit({x: p.value}, optimizer=fg.SGD(0.01), epochs=5)
    np.testing.assert_array_equal(p.value, want)


# --- refused ------------------------------------------------------------------------------------

Y = [1.0, 2.0]
REFUSED = {
    "missing": ({"x": X}, fg.DataError, "Input 'y': not fed"),
    "all missing": ({}, fg.DataError, "Input 'y', Input 'x': not fed"),
    "an unknown name": (
        {"x": X, "y": Y, "yy": Y},
        fg.DataError,
        "feeds: unknown input 'yy'; did you mean 'y'? (candidates: 'y', 'x')",
    ),
    "an unused input": (
        {"x": X, "y": Y, fg.Input("other"): Y},
        fg.DataError,
        "Input 'other' is not used by this graph; take it out (inputs: Input 'y', Input 'x')",
    ),
    "a parameter": ({"x": X, "y": Y, fg.Parameter(1.0, "p"): 1.0}, fg.DataError, "is not an Input"),
    "a key of another type": (
        {"x": X, "y": Y, 5: Y},
        fg.DataError,
        "an Input or its name, got int",
    ),
    "None as a key": ({"x": X, "y": Y, None: Y}, fg.DataError, "feeds: "),
    "no mapping": ([X, Y], fg.DataError, "expected a dict {input: array}, got list"),
    "None": (None, fg.DataError, "expected a dict {input: array}, got NoneType"),
    "other row counts": (
        {"x": X, "y": [1.0, 2.0, 3.0]},
        fg.DataError,
        "the feeds have different numbers of rows: Input 'y' has 3, Input 'x' has 2",
    ),
    "no rows": (
        {"x": np.empty((0, 3)), "y": []},
        fg.DataError,
        "Input 'y': an empty batch, shape (0,); feed at least one row",
    ),
    "rows without elements": (
        {"x": np.empty((2, 0)), "y": Y},
        fg.DataError,
        "Input 'x': rows without elements, shape (2, 0)",
    ),
    "strings": (
        {"x": X, "y": ["1", "2"]},
        fg.DataError,
        "Input 'y': expected numbers, got dtype <U1",
    ),
    "bytes": ({"x": X, "y": b"12"}, fg.DataError, "Input 'y': expected numbers, got dtype |S2"),
    "objects": (
        {"x": X, "y": np.array([1.0, 2.0], dtype=object)},
        fg.DataError,
        "Input 'y': expected numbers, got dtype object; convert it",
    ),
    "None as data": ({"x": X, "y": None}, fg.DataError, "Input 'y': expected numbers"),
    "complex": ({"x": X, "y": [1j, 2]}, fg.DataError, "got dtype complex128"),
    "dates": (
        {"x": X, "y": np.array(["2020-01-01"] * 2, dtype="M8[D]")},
        fg.DataError,
        "got dtype datetime64",
    ),
    "records": ({"x": X, "y": np.zeros(2, dtype=[("a", float)])}, fg.DataError, "expected numbers"),
    "ragged": (
        {"x": [[1, 2, 3], [4, 5]], "y": Y},
        fg.DataError,
        "Input 'x': expected an array of numbers, got rows that differ",
    ),
    "a node": (
        {"x": X, "y": fg.Input("z")},
        fg.DataError,
        "Input 'y': fed with a node (Input 'z')",
    ),
    "a set": ({"x": X, "y": {1.0, 2.0}}, fg.DataError, "Input 'y': expected numbers"),
    "NaN": (
        {"x": X, "y": [1.0, np.nan]},
        fg.DataError,
        "Input 'y': the data has nan at (1,); drop or fill",
    ),
    "NaN in a row": (
        {"x": [[1, 2, 3], [4, np.nan, 6]], "y": Y},
        fg.DataError,
        "Input 'x': the data has nan at (1, 1)",
    ),
    "infinity": ({"x": X, "y": [-np.inf, 0]}, fg.DataError, "Input 'y': the data has -inf at (0,)"),
    "NaN in foreign order": (
        {"x": X, "y": np.array([0, np.nan], dtype=">f4")},
        fg.DataError,
        "the data has nan at (1,)",
    ),
    "another shape": (
        {"x": X[:, :2], "y": Y},
        fg.ShapeError,
        "Input 'x': expected shape (n, 3), got (2, 2)",
    ),
    "a single sample": (
        {"x": X[0], "y": Y},
        fg.ShapeError,
        "expected shape (n, 3), got (3,); a single sample needs a batch axis, as x[None]",
    ),
    "a number for rows": (
        {"x": 1.0, "y": Y},
        fg.ShapeError,
        "Input 'x': expected shape (n, 3), got ()",
    ),
}


@pytest.fixture
def line(engine):
    """A small net that has taken one step, its optimizer, and a copy of what an error must keep."""
    x, y = fg.Input("x", shape=(3,)), fg.Input("y")
    W, b = fg.Parameter([1.0, 2.0, 3.0], "W"), fg.Parameter(0.5, "b")
    graph = fg.Graph(fg.MSE(y, fg.Linear(x, W, b, name="line"), name="loss"))
    optimizer = fg.SGD(1e-3, momentum=0.9)
    graph.fit({x: X, y: Y}, optimizer=optimizer, epochs=1)
    return graph, optimizer


def snapshot(graph, optimizer):
    """Everything an error must leave as it was, as bytes."""
    state = optimizer.state_of(graph, tuple(graph.parameters.values()), graph.dtype)
    return (
        [p.value.tobytes() for p in graph.parameters.values()],
        [slot.tobytes() for slot in state.slots],
        state.powers.tobytes(),
        state.steps,
        state.epochs,
    )


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("method", ["forward", "evaluate", "fit"])
def test_feeds_that_cannot_be_used_are_refused_before_anything_changes(what, method, line):
    graph, optimizer = line
    feeds, error, words = REFUSED[what]
    before = snapshot(graph, optimizer)
    run = {
        "forward": lambda: graph.forward(feeds),
        "evaluate": lambda: graph.evaluate("loss", feeds),
        "fit": lambda: graph.fit(feeds, optimizer=optimizer, epochs=2),
    }[method]
    with pytest.raises(error, match=re.escape(words)) as caught:
        run()
    assert type(caught.value) is error
    assert isinstance(caught.value, fg.FastGraphError)
    assert isinstance(caught.value, ValueError)
    assert snapshot(graph, optimizer) == before
    graph.fit({"x": X, "y": Y}, optimizer=optimizer, epochs=1)  # and the graph still works


def test_the_same_input_twice_is_refused(line):
    graph, _ = line
    y = graph.node("y")
    with pytest.raises(fg.DataError, match="fed twice, by node and by name"):
        graph.forward({"x": X, "y": Y, y: Y})


def test_what_is_too_large_for_float32_is_refused(engine):
    x = fg.Input("x")
    graph = fg.Graph(fg.Sum(x), dtype="float32")
    with pytest.raises(fg.DataError, match=r"Input 'x': 1e\+39 at \(1,\) is too large for float32"):
        graph.forward({x: [1.0, 1e39]})
    assert fg.Graph(fg.Sum(x)).forward({x: [1.0, 1e39]}) == 1e39


def test_what_is_too_small_for_float32_becomes_zero(engine):
    x = fg.Input("x")
    assert fg.Graph(fg.Sum(x), dtype="float32").forward({x: [1e-60]}) == 0


def test_nan_far_down_the_data_is_found():
    data = np.zeros((1 << 20, 2))
    data[-1, 1] = np.nan
    x = fg.Input("x")
    with pytest.raises(fg.DataError, match=re.escape(f"the data has nan at ({(1 << 20) - 1}, 1)")):
        fg.Graph(fg.Sum(x)).forward({x: data})


def test_a_data_error_is_a_type_error_too(engine):
    x = fg.Input("x")
    with pytest.raises(TypeError):
        fg.Graph(fg.Sum(x)).forward({x: "text"})


def test_masked_data_is_refused(engine):
    """A mask would be dropped in silence, and what lies under it be used."""
    x = fg.Input("x")
    with pytest.raises(fg.DataError, match="masked"):
        fg.Graph(fg.Sum(x)).forward({x: np.ma.masked_array([1.0, 2.0], mask=[False, True])})
