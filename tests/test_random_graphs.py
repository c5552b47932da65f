"""Random graphs: the engines agree on them, and central differences agree with both.

A graph is drawn as a list of (operation, three whole numbers), which `Drawn` turns into nodes:
operands are picked among the nodes there are, so nodes are shared, read twice, and left over.
Arguments are kept where operations are finite and their slopes moderate, so that a difference is
an error and not rounding.
"""

import numpy as np
import pytest
from conftest import ENGINES, NATIVE
from hypothesis import given, settings
from hypothesis import strategies as st
from numerics import STEP_TOLERANCE, assert_close

import fastgraph as fg

PRIMES = (1, 2, 3, 5, 7)
FEATURES = ((), (1,), (2,), (3,), (5,), (3, 2), (1, 5))


class Center(fg.Node):
    """A user's node that mixes the rows of a batch."""

    def forward(self, x):
        return x - x.mean(axis=0)

    def backward(self, gradient, x):
        return (gradient - gradient.mean(axis=0),)


class Drawn:
    """The nodes of a drawn graph, the feeds for it, and its loss."""

    def __init__(self, spec, smooth=False):
        leaves, steps, self.n, seed = spec
        self.draw = np.random.default_rng(seed)
        self.smooth = smooth
        self.nodes, self.feeds = [], {}
        for features in leaves:
            node = fg.Input(f"x{len(self.nodes)}", shape=features)
            self.feeds[node] = self.draw.normal(size=(self.n, *features))
            self.nodes.append((node, fg.Shape(self.n, features)))
        self.parameter(leaves[0])
        for name, i, j, k in steps:
            getattr(self, name)(i, j, k)
        self.loss = self.sum_of_what_is_left()

    # What there is to pick from

    def keep(self, node, *shapes):
        self.nodes.append((node, node.shape(*shapes) or shapes[0]))

    def parameter(self, shape):
        value = self.draw.uniform(-1, 1, size=shape)
        node = fg.Parameter(value, f"p{len(self.nodes)}")
        self.nodes.append((node, fg.Shape(None, np.shape(value))))
        return self.nodes[-1]

    def pick(self, i, fits=lambda shape: True):
        found = [pair for pair in self.nodes if fits(pair[1])]
        return found[i % len(found)] if found else self.parameter((3,))

    def apply(self, operation, *pairs, **options):
        """Keep ``operation`` on the pairs and return it as a pair."""
        node = operation(*(node for node, _ in pairs), **options)
        self.keep(node, *(shape for _, shape in pairs))
        return self.nodes[-1]

    def constant(self, value):
        return fg.Constant(value), fg.Shape(None, ())

    def two(self, i, j):
        """A node and one that broadcasts with it; often the same."""
        first = self.pick(i)

        def fits(shape):
            try:
                fg.Add(first[0], 1.0).shape(first[1], shape)
            except fg.ShapeError:
                return False
            return True

        return first, self.pick(j, fits)

    # Operations

    def add(self, i, j, k):
        self.apply(fg.Add, *self.two(i, j))

    def subtract(self, i, j, k):
        self.apply(fg.Subtract, *self.two(i, j))

    def multiply(self, i, j, k):
        a, b = self.two(i, j)
        self.apply(fg.Multiply, self.apply(fg.Tanh, a) if k % 2 else self.apply(fg.Sigmoid, a), b)

    def square(self, i, j, k):
        a = self.apply(fg.Tanh, self.pick(i))
        self.apply(fg.Multiply, a, a)

    def affine(self, i, j, k):
        product = self.apply(fg.Multiply, self.pick(i), self.parameter(()))
        total = self.apply(fg.Add, product, self.parameter(()))
        if k % 2:
            self.apply(fg.Sigmoid, total)

    def divide(self, i, j, k):
        a, b = self.two(i, j)
        self.apply(fg.Divide, a, self.positive(b))

    def power(self, i, j, k):
        a, b = self.two(i, j)
        exponent = self.constant((2.0, 3.0, 0.5, -1.0)[k % 4]) if k % 3 else self.apply(fg.Tanh, b)
        self.apply(fg.Power, self.positive(a), exponent)

    def positive(self, pair):
        """Something in (0.5, 1.5)."""
        return self.apply(fg.Add, self.apply(fg.Sigmoid, pair), self.constant(0.5))

    def bent(self, i, j, k):
        operation = fg.Tanh if self.smooth else (fg.ReLU, fg.Abs, fg.LeakyReLU)[k % 3]
        self.apply(operation, self.pick(i))

    def bounded(self, i, j, k):
        a, b = self.two(i, j)
        if k % 3 and not self.smooth:
            self.apply((fg.Maximum, fg.Minimum)[k % 2], a, b)
        elif not self.smooth:
            self.apply(fg.Clip, a, low=-0.6, high=0.7)

    def smooth_unary(self, i, j, k):
        kinds = (fg.Sigmoid, fg.Tanh, fg.Negate, fg.GELU, fg.SiLU, fg.Softplus, fg.Sin, fg.Cos)
        kinds += (fg.ELU,)
        self.apply(kinds[k % len(kinds)], self.pick(i))

    def vector(self, i):
        """Something with a feature axis, and rows."""
        return self.pick(i, lambda shape: shape.batched and len(shape.features) > 0)

    def of_classes(self, i, j, k):
        x = self.vector(i)
        if x[1].batched:
            self.apply((fg.Softmax, fg.LogSoftmax)[k % 2], x)

    def normalised(self, i, j, k):
        x = self.vector(i)
        size = x[1].features[-1:]
        scales = [self.parameter(size), self.parameter(size)]
        if k % 2 or not x[1].batched:
            self.apply(fg.LayerNorm, x, *scales, epsilon=0.5)
            return
        number, shape = len(self.nodes), fg.Shape(None, size)
        running = [
            (fg.Parameter(np.full(size, v), f"r{number}_{v}", trained=False), shape)
            for v in (0.25, 1.5)
        ]
        self.apply(fg.BatchNorm, x, *scales, *running, epsilon=0.5)

    def moved(self, i, j, k):
        x = self.pick(i, lambda shape: shape.batched)
        y = self.pick(j, lambda shape: shape == x[1])
        if k % 3 == 0 or not x[1].features:
            self.apply(fg.Reshape, x, features=-1)
        elif k % 3 == 1:
            self.apply(fg.Slice, x, start=k % x[1].features[-1], step=1 + k % 2)
        else:
            self.apply(fg.Concatenate, x, y, x, axis=-1 - k % len(x[1].features))

    def dropped(self, i, j, k):
        self.apply(fg.Dropout, self.pick(i), rate=(0.3, 0.75)[k % 2])

    def labels(self, count):
        node = fg.Input(f"l{len(self.nodes)}", shape=())
        self.feeds[node] = self.draw.integers(0, count, self.n)
        return node, fg.Shape(self.n, ())

    def looked_up(self, i, j, k):
        count = PRIMES[1 + i % 4]
        self.apply(fg.Embedding, self.labels(count), self.parameter((count, PRIMES[j % 5])))

    def class_loss(self, i, j, k):
        logits = self.vector(i)
        if isinstance(logits[0], (fg.Sigmoid, fg.Softmax)):
            logits = self.apply(fg.Negate, logits)  # probabilities are refused
        if logits[1].batched and len(logits[1].features) == 1 and logits[1].features[0] > 1:
            weights = (self.row_weights(),) * (k % 2)
            self.apply(fg.SoftmaxCrossEntropy, self.labels(logits[1].features[0]), logits, *weights)

    def row_weights(self):
        node = fg.Input(f"w{len(self.nodes)}", shape=())
        self.feeds[node] = self.draw.uniform(0.5, 1.5, self.n)
        return node, fg.Shape(self.n, ())

    def exp(self, i, j, k):
        self.apply(fg.Exp, self.apply(fg.Tanh, self.pick(i)))

    def root_or_log(self, i, j, k):
        self.apply((fg.Sqrt, fg.Log)[k % 2], self.positive(self.pick(i)))

    def linear(self, i, j, k):
        x = self.pick(i)
        size, out = (x[1].features or (1,))[-1], PRIMES[j % 5]
        if not x[1].features:
            operands = x, self.parameter(()), self.parameter(())
        elif k % 4 == 0:
            operands = x, self.parameter((size,)), self.parameter(())
        else:
            operands = x, self.parameter((size, out)), self.parameter((out,))
        layer = self.apply(fg.Linear, *operands[: 2 if k % 5 == 0 else 3])
        if k % 3:
            self.apply(fg.Tanh if self.smooth or k % 2 else fg.ReLU, layer)

    def matmul(self, i, j, k):
        x = self.pick(i, lambda shape: len(shape.features) > 0)
        self.apply(fg.MatMul, x, self.parameter((x[1].features[-1], PRIMES[j % 5])))

    def along(self, i, j, k):
        x = self.pick(i, lambda shape: len(shape.features) > 0)
        axis = j % len(x[1].features) - len(x[1].features)
        self.apply((fg.Sum, fg.Mean)[k % 2], x, axis=axis, keepdims=bool(k % 3))

    def total(self, i, j, k):
        self.apply((fg.Mean, fg.Sum)[k % 4 == 0], self.apply(fg.Tanh, self.pick(i)))

    def loss_of_two(self, i, j, k):
        a = self.pick(i)
        b = self.pick(j, lambda shape: shape == a[1])
        weights = (self.row_weights(),) * (k % 2 and a[1].batched)
        kinds = (fg.MSE, fg.Huber, fg.PoissonLoss, fg.BinaryCrossEntropy, fg.MAE, fg.QuantileLoss)
        kind = kinds[k % (4 if self.smooth else 6)]
        if kind is fg.PoissonLoss:
            b = self.apply(fg.Tanh, b)
        elif kind is fg.BinaryCrossEntropy:
            b = self.apply(fg.Negate, b)
        self.apply(kind, a if kind in (fg.MSE, fg.MAE) else self.positive(a), b, *weights)

    def custom(self, i, j, k):
        x = self.pick(i, lambda shape: shape.batched)
        if x[1].batched:
            self.apply(Center, x)

    def sum_of_what_is_left(self):
        """The mean of every node that nobody reads, added up."""
        read = {item for node, _ in self.nodes for item in node.inputs}
        left = [(node, shape) for node, shape in self.nodes if node not in read and node.inputs]
        trained = self.apply(fg.Multiply, self.nodes[0], next(
            pair for pair in self.nodes if isinstance(pair[0], fg.Parameter)))  # fmt: skip
        terms = [
            node if shape.axes == () else fg.Mean(fg.Tanh(node)) for node, shape in [*left, trained]
        ]
        loss = terms[0]
        for term in terms[1:]:
            loss = loss + term
        return loss


OPERATIONS = [name for name in vars(Drawn) if name not in {
    "__init__", "keep", "parameter", "pick", "apply", "constant", "two", "positive", "vector",
    "labels", "row_weights", "sum_of_what_is_left"} and not name.startswith("__")]  # fmt: skip
STEP = st.tuples(st.sampled_from(OPERATIONS), *[st.integers(0, 59)] * 3)


def graphs(rows, most=12):
    leaves = st.lists(st.sampled_from(FEATURES), min_size=1, max_size=3)
    steps = st.lists(STEP, min_size=3, max_size=most)
    return st.tuples(leaves, steps, st.sampled_from(rows), st.integers(0, 10_000))


def look(graph, feeds):
    """Copies of every value, gradient and contribution."""
    graph.forward(feeds)
    graph.backward()
    found = []
    for node in graph.nodes:
        found.append((node.value.copy(), f"value of {node}"))
        if node.gradient is not None:
            found.append((node.gradient.copy(), f"gradient of {node}"))
        for item in dict.fromkeys(node.inputs):
            if item in node.gradients:
                found.append((node.gradients[item].copy(), f"gradient of {item} from {node}"))
    return found


def compare(got, want, tolerance):
    """With the largest number in the graph as the scale of rounding."""
    scale = max(float(np.abs(array).max(initial=0)) for array, _ in want)
    for (a, what), (b, _) in zip(got, want, strict=True):
        assert_close(a, b, tolerance, what, floor=scale)


def values_of(graph, looked):
    """Of the last node and a few others."""
    values = [pair for pair in looked if pair[1].startswith("value")]
    return [values[i] for i in (len(graph.nodes) - 1, *range(2, len(graph.nodes), 5))]


def evaluated(graph, feeds):
    """The same ones, each for itself: with nothing kept, other things run."""
    nodes = [graph.nodes[-1], *graph.nodes[2::5]]
    found = []
    for node in nodes:
        needed = {item: feeds[item] for item in graph._inputs_of((node,))}
        value = graph.evaluate(node, needed)
        np.testing.assert_array_equal(graph.compile(node)(*needed.values()), value)
        found.append((value, f"{node} alone"))
    return found


def fitted(graph, feeds, start, rate, **settings):
    for node, value in start.items():
        node.value = value
    history = graph.fit(feeds, optimizer=fg.SGD(rate, momentum=0.5), **settings)
    found = [(node.value.copy(), str(node)) for node in start]
    return [*found, (history.loss, "loss")]


def steep(looked):
    """The largest gradient."""
    return max((float(np.abs(a).max()) for a, what in looked if what[0] == "g"), default=1.0)


RUNS = ({"epochs": 1}, {"epochs": 2, "batch_size": 3, "seed": 1})


def assert_engines_agree(spec, dtype, runs=RUNS):
    drawn = Drawn(spec)
    graph = fg.Graph(drawn.loss, dtype=dtype)
    feeds = {node: drawn.feeds[node] for node in graph.inputs}
    parameters = [node for node in graph.nodes if isinstance(node, fg.Parameter)]
    start = {node: node.value.copy() for node in parameters}
    tolerance = STEP_TOLERANCE[dtype]
    found = {}
    for engine in ("numpy", "native"):
        fg.set_engine(engine)
        looked = look(graph, feeds)
        rate = found["numpy"][2] if found else 1e-2 / max(1.0, steep(looked))
        trained = [fitted(graph, feeds, start, rate, **run) for run in runs]
        for node, value in start.items():
            node.value = value
        found[engine] = (looked, trained, rate)
    compare(found["native"][0], found["numpy"][0], tolerance)
    compare(evaluated(graph, feeds), values_of(graph, found["numpy"][0]), tolerance)
    for got, want in zip(found["native"][1], found["numpy"][1], strict=True):
        compare(got, want, tolerance)


if NATIVE:

    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    @settings(max_examples=200)
    @given(spec=graphs(rows=(1, 2, 3, 5, 7, 13)))
    def test_engines_agree(spec, dtype):
        """On every number of 200 graphs, and on one step and a few batches of fit."""
        assert_engines_agree(spec, dtype)

    @settings(max_examples=25)
    @given(spec=graphs(rows=(5003,), most=8))
    def test_engines_agree_on_many_rows(spec):
        """A batch of many blocks, the last one short."""
        runs = ({"epochs": 1}, {"epochs": 1, "batch_size": 2999, "seed": 2})
        assert_engines_agree(spec, "float64", runs)


@pytest.mark.parametrize("engine_name", ENGINES)
@settings(max_examples=100)
@given(spec=graphs(rows=(1, 2, 5), most=9))
def test_central_differences_agree(spec, engine_name):
    fg.set_engine(engine_name)
    drawn = Drawn(spec, smooth=True)
    graph = fg.Graph(drawn.loss)
    fg.check_gradients(graph, {node: drawn.feeds[node] for node in graph.inputs}, tolerance=1e-5)


def test_the_graphs_are_what_they_should_be():
    """They vary, share nodes, use every operation, and are deep enough to mean something."""
    kinds, sizes, shared = set(), set(), []

    @settings(max_examples=600)
    @given(spec=graphs(rows=(3,)))
    def collect(spec):
        graph = fg.Graph(Drawn(spec).loss)
        kinds.update(node.kind for node in graph.nodes)
        sizes.add(len(graph.nodes))
        edges = [item for node in graph.nodes for item in node.inputs]
        shared.append(len(edges) > len(set(edges)))

    collect()
    assert set(fg.ops.__all__) | {"Center"} <= kinds
    assert len(sizes) > 15
    assert max(sizes) > 30
    assert sum(shared) > 0.9 * len(shared)
