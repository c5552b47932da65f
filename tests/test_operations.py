"""Every row of the table of operations, in every engine, instruction set and dtype."""

import importlib
import re
from functools import cache, wraps
from itertools import compress

import numpy as np
import pytest
from cases import CASES, OPERATIONS, matmul
from conftest import NATIVE
from numerics import STEP_TOLERANCE, assert_close, assert_gradient, central_differences

import fastgraph as fg
from fastgraph import ops
from fastgraph.ops.rowwise import Rowwise


def each_case(test, rows=OPERATIONS):
    """Run ``test`` on every case: one test a row, so that there are hundreds and not thousands."""

    @wraps(test)
    def over_the_variants(case, **fixtures):
        for one in CASES:
            if one.row is case:
                try:
                    test(case=one, **fixtures)
                except Exception as error:
                    error.add_note(f"in the case {one}")
                    raise

    return pytest.mark.parametrize("case", rows, ids=lambda row: row.name)(over_the_variants)


def each_case_of_both_engines(test):
    return each_case(test, OPERATIONS if NATIVE else ())


#: Of a value against a formula in float64: rounding only.
VALUE_TOLERANCE = {"float64": 1e-13, "float32": 2e-6}
#: Of a gradient against central differences: those are right to about 1e-9.
GRADIENT_TOLERANCE = {"float64": 1e-7, "float32": 1e-4}


def upstream(shape):
    """A gradient that is not all ones."""
    return np.random.default_rng([7, *shape]).uniform(0.5, 2.0, shape)


@cache
def expected_gradients(case, ones=False):
    """Of the case's arrays, for an upstream gradient of all ones or not; None for labels."""
    arrays = case.arrays()
    gradient = 1.0 if ones else upstream(case.formula(*arrays).shape)
    slopes = central_differences(case.formula, arrays, gradient)
    operands = case.variant.operands
    return [None if o.count else slope for o, slope in zip(operands, slopes, strict=True)]


# --- alone --------------------------------------------------------------------------------------


@each_case
def test_value_is_that_of_the_formula(case, runner, dtype):
    arrays = case.arrays()
    nodes, feeds = case.nodes(arrays)
    value = fg.Graph(case.build(*nodes), dtype=dtype).forward(feeds)
    assert value.dtype == dtype
    assert_close(value, case.formula(*arrays), VALUE_TOLERANCE[dtype])


@each_case
def test_shape_is_known_before_anything_runs(case):
    arrays = case.arrays()
    nodes, _ = case.nodes(arrays)
    shapes = [
        fg.Shape(case.variant.n if operand.batched else None, operand.shape)
        for operand in case.variant.operands
    ]
    assert case.build(*nodes).shape(*shapes).axes == case.formula(*arrays).shape


@each_case
def test_gradients_are_those_of_central_differences(case, runner, dtype):
    arrays = case.arrays()
    nodes, feeds = case.nodes(arrays)
    node = case.build(*nodes)
    graph = fg.Graph(node, dtype=dtype)
    gradient = upstream(graph.forward(feeds).shape)
    graph.backward(gradient)
    for operand, want in zip(nodes, expected_gradients(case), strict=True):
        if want is None:  # labels
            assert operand.gradient is None
            continue
        assert operand.gradient.dtype == dtype
        assert_gradient(operand.gradient, want, GRADIENT_TOLERANCE[dtype], str(operand))
        assert_gradient(node.gradients[operand], want, GRADIENT_TOLERANCE[dtype], str(operand))
    assert_close(node.gradient, gradient, GRADIENT_TOLERANCE[dtype])


@each_case
def test_check_gradients_accepts_it(case, engine):
    nodes, feeds = case.nodes(case.arrays())
    report = fg.check_gradients(fg.Graph(case.build(*nodes)), feeds)
    differentiable = [not operand.count for operand in case.variant.operands]
    assert report.elements == sum(a.size for a in compress(case.arrays(), differentiable))


@each_case
def test_what_is_fed_is_only_read(case, runner, dtype):
    arrays = [array.astype(dtype) for array in case.arrays()]
    kept = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    nodes, feeds = case.nodes(arrays)
    graph = fg.Graph(case.build(*nodes), dtype=dtype)
    graph.forward(feeds)
    graph.backward()
    for node, array, before in zip(nodes, arrays, kept, strict=True):
        np.testing.assert_array_equal(array, before)
        np.testing.assert_array_equal(node.value, before)


@pytest.mark.parametrize("row", OPERATIONS, ids=lambda row: row.name)
def test_values_differ_between_draws(row):
    case = next(case for case in CASES if case.row is row)
    assert not np.array_equal(case.formula(*case.arrays(0)), case.formula(*case.arrays(1)))


# --- among others -------------------------------------------------------------------------------


@each_case
def test_gradient_adds_to_that_of_another_consumer(case, runner, dtype):
    """Each operand also feeds a product, before the operation in the order, or after it."""
    arrays = case.arrays()
    for first in (True, False):
        nodes, feeds = case.nodes(arrays)
        others = [fg.Sum(3.0 * operand) for operand in nodes]
        here = [fg.Sum(case.build(*nodes))]
        terms = [*others, *here] if first else [*here, *others]
        loss = terms[0]
        for term in terms[1:]:
            loss = loss + term
        graph = fg.Graph(loss, dtype=dtype)
        graph.forward(feeds)
        graph.backward()
        for operand, want in zip(nodes, expected_gradients(case, ones=True), strict=True):
            if want is not None:
                assert_gradient(operand.gradient, want + 3, GRADIENT_TOLERANCE[dtype], str(operand))


@each_case
def test_the_same_node_for_every_operand(case, runner, dtype):
    shapes = set(case.variant.operands)
    ranges = {case.row.range(i) for i in range(len(case.variant.operands))}
    if len(case.variant.operands) == 1:  # used twice outside instead
        arrays, formula = case.arrays(), lambda x: case.formula(x) * case.formula(x)

        def build(x):
            return case.build(x) * case.build(x)

    elif len(shapes) == 1:
        low, high = max(r[0] for r in ranges), min(r[1] for r in ranges)
        arrays = [np.clip(case.arrays()[0], low, high)]
        formula = lambda x: case.formula(*[x] * len(case.variant.operands))  # noqa: E731

        def build(x):
            return case.build(*[x] * len(case.variant.operands))

    else:
        return  # operands of different shapes cannot be one node
    if case.row.operation in (fg.MAE, fg.QuantileLoss):
        return  # |x - x| has its kink everywhere
    if case.row.operation is fg.MatMul and len(arrays[0].shape) > 1:
        return  # no shape of the table fits itself
    nodes, feeds = case.nodes(arrays)
    node = build(nodes[0])
    graph = fg.Graph(node, dtype=dtype)
    value = graph.forward(feeds)
    assert_close(value, formula(*arrays), VALUE_TOLERANCE[dtype] * 5, floor=1e-3)
    gradient = upstream(value.shape)
    graph.backward(gradient)
    (want,) = central_differences(formula, arrays, gradient)
    assert_gradient(nodes[0].gradient, want, GRADIENT_TOLERANCE[dtype])
    if len(case.variant.operands) > 1:
        assert_gradient(node.gradients[nodes[0]], want, GRADIENT_TOLERANCE[dtype])


@each_case_of_both_engines
def test_engines_agree(case, dtype):
    """On every value, gradient and contribution of a graph around the operation."""
    arrays = case.arrays()
    found = {}
    for engine in ("numpy", "native"):
        fg.set_engine(engine)
        nodes, feeds = case.nodes(arrays)
        scaled = [
            node if operand.count else node * 1.25
            for node, operand in zip(nodes, case.variant.operands, strict=True)
        ]
        result = fg.Tanh(case.build(*scaled) * 0.5)
        graph = fg.Graph(fg.Sum(result * result), dtype=dtype)
        graph.forward(feeds)
        graph.backward()
        found[engine] = [
            (node.value, node.gradient, *(node.gradients.get(item) for item in node.inputs))
            for node in graph.nodes
        ]
    for want, got in zip(found["numpy"], found["native"], strict=True):
        assert len(want) == len(got)
        for a, b in zip(want, got, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                assert_close(b, a, STEP_TOLERANCE[dtype], floor=1e-3)


# --- inside fit ---------------------------------------------------------------------------------


def trained(case, arrays):
    """A scalar loss around the case in which every operand depends on a parameter of its shape."""
    nodes, feeds = case.nodes(arrays)
    scales = [
        fg.Parameter(np.ones(operand.shape), f"scale_{i}")
        for i, operand in enumerate(case.variant.operands)
    ]
    operands = [
        node if operand.count else node * scale
        for node, scale, operand in zip(nodes, scales, case.variant.operands, strict=True)
    ]
    here = case.build(*operands)
    loss = fg.Mean(here * here)
    return loss, scales, nodes, feeds


@cache
def expected_step(case):
    """The loss of `trained` and its slopes, from the formula."""
    arrays = case.arrays()

    def squares(*values):
        given, factors = values[: len(arrays)], values[len(arrays) :]
        scaled = [a * f for a, f in zip(given, factors, strict=True)]
        return case.formula(*scaled, in_fit=True) ** 2

    ones = [np.ones(operand.shape) for operand in case.variant.operands]
    values = squares(*arrays, *ones)
    return values.mean(), central_differences(squares, [*arrays, *ones], 1 / values.size)


@each_case
def test_a_step_of_fit_follows_the_gradient(case, runner, dtype):
    arrays, rate = case.arrays(), 1e-2
    loss, scales, nodes, feeds = trained(case, arrays)
    plain = [node for node in nodes if isinstance(node, fg.Parameter)]

    start = [*arrays, *(scale.value.copy() for scale in scales)]
    loss_before, slopes = expected_step(case)
    history = fg.Graph(loss, dtype=dtype).fit(feeds, optimizer=fg.SGD(rate), epochs=1)
    assert_close(history.loss, [loss_before], GRADIENT_TOLERANCE[dtype])
    for node, before, slope in zip([*nodes, *scales], start, slopes, strict=True):
        if node in plain or node in scales:
            moved = (before - node.value) / rate
            tolerance = {"float64": 1e-7, "float32": 2e-3}[dtype]
            assert_gradient(moved, slope, tolerance, str(node))


@each_case_of_both_engines
def test_engines_agree_on_batches(case, dtype):
    """Three epochs of shuffled batches, the last one short."""
    arrays = case.arrays()
    found = {}
    for engine in ("numpy", "native"):
        fg.set_engine(engine)
        loss, _, _, feeds = trained(case, arrays)
        graph = fg.Graph(loss, dtype=dtype)
        history = graph.fit(
            feeds, optimizer=fg.SGD(1e-3, momentum=0.5), epochs=3, batch_size=3, seed=5
        )
        found[engine] = [history.loss, *(node.value for node in graph.parameters.values())]
    for want, got in zip(found["numpy"], found["native"], strict=True):
        assert_close(got, want, STEP_TOLERANCE[dtype], floor=1e-3)


# --- refused ------------------------------------------------------------------------------------

REFUSED = [(row, bad) for row in OPERATIONS for bad in row.bad]


@pytest.mark.parametrize(
    ("row", "bad"), REFUSED, ids=[f"{r.name}-{','.join(map(str, b.operands))}" for r, b in REFUSED]
)
def test_shapes_that_do_not_fit_are_refused_when_the_graph_is_built(row, bad):
    nodes = [
        fg.Input(letter, shape=operand.shape)
        if operand.batched
        else fg.Parameter(np.ones(operand.shape), letter)
        for letter, operand in zip("abcde", bad.operands, strict=False)
    ]
    with pytest.raises(bad.error, match=re.escape(bad.words)) as caught:
        fg.Graph(row.operation(*nodes, name="here", **bad.options))
    assert type(caught.value) is bad.error
    assert str(caught.value).startswith(f"{row.name} 'here': ")


@pytest.mark.parametrize("row", OPERATIONS, ids=lambda row: row.name)
def test_a_wrong_number_of_operands_is_a_type_error(row):
    with pytest.raises(TypeError):
        row.operation()
    with pytest.raises(TypeError):
        row.operation(*[fg.Parameter(1.0)] * (7 if row.operation is not fg.Concatenate else 0))


# --- at the edges -------------------------------------------------------------------------------

#: At x: value and gradient, by definition.
EDGES = {
    fg.ReLU: [(0.0, 0.0, 0.0), (-0.0, 0.0, 0.0), (1e-300, 1e-300, 1.0), (-5.0, 0.0, 0.0)],
    fg.Abs: [(0.0, 0.0, 0.0), (-0.0, 0.0, 0.0), (-3.0, 3.0, -1.0)],
    fg.Sigmoid: [
        (0.0, 0.5, 0.25),
        (800.0, 1.0, 0.0),
        (-800.0, 0.0, 0.0),
        (-30.0, 9.357622968839299e-14, 9.357622968838423e-14),
    ],
    fg.Tanh: [(0.0, 0.0, 1.0), (400.0, 1.0, 0.0), (-400.0, -1.0, 0.0)],
    fg.Exp: [(0.0, 1.0, 1.0), (-1000.0, 0.0, 0.0), (1000.0, np.inf, np.inf)],
    fg.Log: [(1.0, 0.0, 1.0), (0.0, -np.inf, np.inf), (1e-300, -690.7755278982137, 1e300)],
    fg.Sqrt: [(0.0, 0.0, np.inf), (4.0, 2.0, 0.25)],
}


@pytest.mark.parametrize("operation", EDGES, ids=lambda c: c.__name__)
def test_values_at_the_edges(operation, runner):
    """Among ordinary neighbours, so that a vector of several elements meets them too."""
    for at, value, gradient in EDGES[operation]:
        x = fg.Input("x")
        graph = fg.Graph(node := operation(x))
        graph.forward({x: np.array([1.0] * 5 + [at] + [2.0] * 7)})
        graph.backward()
        np.testing.assert_allclose(node.value[5], value, rtol=1e-14, atol=0)
        np.testing.assert_allclose(x.gradient[5], gradient, rtol=1e-14, atol=0)


SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 5e-324, -1e-310, 1e308, -1e308])


#: Operations that one axis of elements is not enough for.
ON_MORE_AXES = (fg.MatMul, fg.Linear, Rowwise, fg.SoftmaxCrossEntropy)


class Special(fg.Node):
    """Adds values that cannot be fed: NaN, infinities."""

    def forward(self, x):
        return x + np.resize(SPECIAL, x.shape)

    def backward(self, gradient, x):
        return (gradient,)


@pytest.mark.parametrize(
    "operation",
    [row.operation for row in OPERATIONS if not issubclass(row.operation, ON_MORE_AXES)],
    ids=lambda c: c.__name__,
)
def test_special_values_pass_as_in_numpy(operation, runner):
    """NaN stays NaN, infinities and zeros keep their sign, in value and gradient."""
    found = []
    for engine in ("numpy", runner.partition("-")[0]):
        fg.set_engine(engine)
        x, y = fg.Input("x"), fg.Input("y")
        operands = [Special(x), y]
        one = next(len(c.variant.operands) for c in CASES if c.row.operation is operation) == 1
        graph = fg.Graph(node := operation(*operands[: 1 if one else 2]), *([y * 1] if one else []))
        n = len(SPECIAL)
        feeds = {x: np.zeros(n * n), y: np.repeat(np.linspace(-2, 3, n), n)}
        graph.forward(feeds)
        graph.backward(output=node)
        found += [[node.value, x.gradient]]
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-13, atol=0)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-13, atol=1e-300)


class Spoilt(fg.Node):
    """Its input with row 3 replaced by a value that cannot be fed."""

    with_value = np.nan

    def shape(self, x):
        return x

    def forward(self, x):
        x = x.copy()
        x[3] = self.with_value
        return x

    def backward(self, gradient, x):
        return (gradient,)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("operation", [fg.Linear, fg.MatMul])
def test_a_row_that_is_not_finite_spoils_no_other(operation, value, runner, dtype):
    """Kernels work on several rows and columns at once; none may leak into its neighbours."""
    for k, n in ((1, 1), (1, 17), (10, 1), (13, 10), (33, 65)):
        x, W = fg.Input("x"), fg.Parameter(np.linspace(0.5, 1.5, k * n).reshape(k, n))
        spoilt = Spoilt(x)
        spoilt.with_value = value
        graph = fg.Graph(node := operation(spoilt, W), dtype=dtype)
        data = np.linspace(-1, 1, 11 * k).reshape(11, k)
        graph.forward({x: data})
        graph.backward()
        others = np.arange(11) != 3
        want = matmul(data, W.value.astype(float))
        assert_close(node.value[others], want[others], 1e-5, f"{k}x{n}")
        assert not np.isfinite(node.value[3]).any()
        assert np.isfinite(x.gradient).all()
        assert not np.isfinite(W.gradient).any()


@pytest.mark.parametrize(
    ("base", "exponent", "value", "to_base", "to_exponent"),
    [
        (0.0, 2.0, 0.0, 0.0, 0.0),
        (0.0, 1.0, 0.0, 1.0, 0.0),
        (0.0, 0.0, 1.0, 0.0, 0.0),
        (3.0, 0.0, 1.0, 0.0, np.log(3.0)),
        (-2.0, 3.0, -8.0, 12.0, np.nan),
        (-2.0, 2.0, 4.0, -4.0, np.nan),
        (-2.0, 0.5, np.nan, np.nan, np.nan),
        (4.0, 0.5, 2.0, 0.25, 2 * np.log(4.0)),
        (0.0, 0.5, 0.0, np.inf, 0.0),
        (0.0, -1.0, np.inf, -np.inf, 0.0),
    ],
)
def test_power_at_the_edges(base, exponent, value, to_base, to_exponent, runner):
    a, b = fg.Input("a"), fg.Input("b")
    graph = fg.Graph(node := a**b)
    graph.forward({a: [base] * 3, b: [exponent] * 3})
    graph.backward()
    np.testing.assert_allclose(node.value, [value] * 3, rtol=1e-14)
    np.testing.assert_allclose(a.gradient, [to_base] * 3, rtol=1e-14)
    np.testing.assert_allclose(b.gradient, [to_exponent] * 3, rtol=1e-14)
    # With a constant exponent, as users write it, kernels of their own may run.
    graph = fg.Graph(node := a**exponent)
    graph.forward({a: [base] * 3})
    graph.backward()
    np.testing.assert_allclose(node.value, [value] * 3, rtol=1e-14)
    np.testing.assert_allclose(a.gradient, [to_base] * 3, rtol=1e-14)


def test_a_constant_takes_the_place_of_any_operand(runner, dtype):
    for case in CASES:
        arrays = case.arrays()
        for place, operand in enumerate(case.variant.operands):
            if operand.batched or len(arrays) == 1:
                continue
            nodes, feeds = case.nodes(arrays)
            operands = list(nodes)
            operands[place] = fg.Constant(arrays[place])
            graph = fg.Graph(case.build(*operands), dtype=dtype)
            value = graph.forward(feeds)
            assert_close(value, case.formula(*arrays), VALUE_TOLERANCE[dtype], str(case))
            graph.backward()
            wants = expected_gradients(case, ones=True)
            for i, (node, want) in enumerate(zip(nodes, wants, strict=True)):
                if i != place and want is not None:
                    assert_gradient(node.gradient, want, GRADIENT_TOLERANCE[dtype], str(case))
            assert operands[place].gradient is None


# --- complete -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ops.__all__)
def test_every_operation_has_its_row(name):
    assert name in [row.name for row in OPERATIONS], f"{name} has no row in tests/cases.py"


def test_every_row_is_one_operation():
    names = [row.name for row in OPERATIONS]
    assert len(names) == len(set(names))
    assert set(names) == set(ops.__all__)
    assert len(CASES) == len(set(map(str, CASES)))


#: Operations whose kernels have other names: over everything, and along some axes.
KERNELS = {"sum": {"total", "along"}, "mean": {"total", "along"}}


@pytest.mark.parametrize("name", ops.__all__ if NATIVE else ())
def test_every_operation_has_its_native_kernel(name):
    kernels = importlib.import_module("fastgraph.engines.native").kernels()
    kernel = getattr(fg, name).kernel
    missing = KERNELS.get(kernel, {kernel}) - kernels
    assert not missing, f"{name}: no native kernels named {missing}"


@pytest.mark.parametrize("name", ops.__all__)
def test_every_operation_is_public_and_explained(name):
    operation = getattr(fg, name)
    assert name in fg.__all__
    assert "radient" in (operation.__doc__ or ""), f"{name} does not tell its gradient"
    assert operation.kernel, f"{name} names no kernel"
