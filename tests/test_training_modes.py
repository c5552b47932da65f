"""Operations that train otherwise than they evaluate, labels, weights: what no table tells."""

import numpy as np
import pytest

import fastgraph as fg

RNG = np.random.default_rng(0)
X = RNG.normal(size=(53, 5))
Y = RNG.normal(size=(53, 1))

MASK = (1 << 64) - 1


def mix(z):
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def bits(seed, stream, counter):
    """SplitMix64 (Steele, Lea and Flood, 2014) in whole numbers of Python."""
    golden = 0x9E3779B97F4A7C15
    return mix(mix(seed + golden * (stream + 1) & MASK) + golden * (counter + 1) & MASK)


def drawn(seed, step, place, row, size):
    key = bits(seed, (1 << 63) + place, step)
    for element in range(row * size, (row + 1) * size):
        both = bits(key, 0, element // 2)
        yield both >> 32 if element % 2 else both & 0xFFFFFFFF


def dropped_sum(size, rate):
    """A graph whose gradient shows what was dropped: the sum of scale * x, x all ones."""
    x = fg.Input("x", shape=(size,))
    scale = fg.Parameter(np.ones(size), "scale")
    dropout = fg.Dropout(x, rate)
    graph = fg.Graph(fg.Sum(dropout * scale))
    return graph, x, scale, graph.nodes.index(dropout)


@pytest.mark.parametrize("size", [1, 5, 8, 37])
def test_dropout_draws_by_seed_step_and_row(size, runner):
    graph, x, scale, place = dropped_sum(size, 0.3)
    n, rate = 7, 1e-3
    steps = [graph.fit({x: np.ones((n, size))}, optimizer=fg.SGD(rate), epochs=1, seed=11)]
    kept = [
        [0 if chance < 0.3 * 2**32 else 1 / 0.7 for chance in drawn(11, 0, place, row, size)]
        for row in range(n)
    ]
    assert len(steps) == 1
    np.testing.assert_allclose((1 - scale.value) / rate, np.sum(kept, axis=0), rtol=1e-9)


def test_dropout_keeps_its_share_and_differs_from_step_to_step(engine):
    graph, x, scale, _ = dropped_sum(1000, 0.25)
    optimizer, moved = fg.SGD(1.0), []
    for _ in range(2):
        before = scale.value.copy()
        graph.fit({x: np.ones((1, 1000))}, optimizer=optimizer, epochs=1, seed=3)
        moved.append(before - scale.value)
    np.testing.assert_allclose(np.unique(moved), [0, 4 / 3], atol=1e-12)
    assert abs(np.mean(np.equal(moved, 0)) - 0.25) < 0.04
    both = np.mean(np.equal(moved[0], 0) & np.equal(moved[1], 0))
    assert abs(both - 0.0625) < 0.03


def test_dropout_does_nothing_outside_fit(runner):
    x = fg.Input("x", shape=(5,))
    graph = fg.Graph(node := fg.Dropout(x, 0.9))
    np.testing.assert_array_equal(graph.forward({x: X}), X)
    np.testing.assert_array_equal(graph.evaluate(node, {x: X}), X)
    np.testing.assert_array_equal(graph.compile(node)(X), X)
    graph.backward()
    np.testing.assert_array_equal(x.gradient, np.ones_like(X))


def dropout_net():
    x, y = fg.Input("x", shape=(5,)), fg.Input("y", shape=(1,))
    graph = fg.Graph(fg.MSE(y, fg.mlp(x, [31, 31, 1], dropout=0.4)))
    return graph, {x: np.tile(X, (100, 1)), y: np.tile(Y, (100, 1))}


def test_dropout_gives_the_same_bits_at_any_number_of_threads():
    found = []
    for threads in (1, 2, 3):
        graph, feeds = dropout_net()
        graph.fit(feeds, optimizer=fg.SGD(0.1), epochs=2, threads=threads)
        found.append([p.value.copy() for p in graph.parameters.values()])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_two_runs_with_dropout_are_one(engine):
    found = []
    for runs in ((4,), (1, 3)):
        graph, feeds = dropout_net()
        optimizer = fg.SGD(0.1)
        for epochs in runs:
            graph.fit(feeds, optimizer=optimizer, epochs=epochs, batch_size=997, seed=5)
        found.append([p.value.copy() for p in graph.parameters.values()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def normed(scale=1.0):
    x, y = fg.Input("x", shape=(5,)), fg.Input("y", shape=(1,))
    ones, zeros = fg.Parameter(np.ones(5), "gamma"), fg.Parameter(np.zeros(5), "beta")
    norm = fg.BatchNorm(x, ones, zeros, momentum=0.25, name="norm")
    graph = fg.Graph(fg.MSE(y, fg.Dense(norm, 1)))
    mean, variance = (graph.node(f"norm_{name}") for name in ("mean", "variance"))
    return graph, {x: X * scale, y: Y}, norm, mean, variance


def test_batch_norm_keeps_running_statistics(runner):
    graph, feeds, norm, mean, variance = normed()
    graph.fit(feeds, optimizer=fg.SGD(0.01), epochs=1, batch_size=20, shuffle=False)
    want_mean, want_variance = np.zeros(5), np.ones(5)
    for batch in (X[:20], X[20:40], X[40:]):
        want_mean = 0.75 * want_mean + 0.25 * batch.mean(axis=0)
        want_variance = 0.75 * want_variance + 0.25 * batch.var(axis=0, ddof=1)
    np.testing.assert_allclose(mean.value, want_mean, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(variance.value, want_variance, rtol=1e-12)
    assert list(graph.parameters) == ["gamma", "beta", *list(graph.parameters)[2:]]
    assert not {"norm_mean", "norm_variance"} & set(graph.parameters)
    gamma, beta = graph.parameters["gamma"].value, graph.parameters["beta"].value
    want = (X - mean.value) / np.sqrt(variance.value + 1e-5) * gamma + beta
    np.testing.assert_allclose(graph.evaluate(norm, {"x": X}), want, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(graph.compile(norm)(X), want, rtol=1e-12, atol=1e-13)


def test_batch_norm_follows_its_statistics_when_compiled(runner):
    graph, _, norm, mean, _ = normed()
    predict = graph.compile(norm)
    before = predict(X)
    mean.value = np.ones(5)
    np.testing.assert_allclose(before - predict(X), 1 / np.sqrt(1 + 1e-5), rtol=1e-12)


def test_a_step_that_fails_leaves_the_statistics_of_the_last_good_one(runner):
    graph, feeds, _, mean, variance = normed()
    feeds = {node: a.copy() for node, a in feeds.items()}
    next(a for node, a in feeds.items() if node.name == "y")[25] = 1e200  # its square overflows
    with pytest.raises(fg.DivergenceError):
        graph.fit(feeds, optimizer=fg.SGD(0.01), epochs=1, batch_size=20, shuffle=False)
    np.testing.assert_allclose(mean.value, 0.25 * X[:20].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(variance.value, 0.75 + 0.25 * X[:20].var(axis=0, ddof=1), rtol=1e-12)


def test_untrained_parameters_stay(runner):
    x, y = fg.Input("x", shape=(5,)), fg.Input("y", shape=(1,))
    frozen = fg.Parameter(np.ones((5, 3)), "frozen", trained=False)
    graph = fg.Graph(fg.MSE(y, fg.Dense(fg.Tanh(x @ frozen), 1, name="top")))
    graph.fit({x: X, y: Y}, optimizer=fg.Adam(), epochs=3)
    np.testing.assert_array_equal(frozen.value, np.ones((5, 3)))
    assert list(graph.parameters) == ["top_W", "top_b"]
    graph.forward({x: X, y: Y})
    graph.backward()
    assert frozen.gradient.any()  # looked at, not followed


# --- labels and weights -------------------------------------------------------------------------


def classes():
    x, y = fg.Input("x", shape=(5,)), fg.Input("y")
    return fg.Graph(fg.SoftmaxCrossEntropy(y, fg.Dense(x, 3), name="loss")), x, y


LABELS = np.arange(53) % 3


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (
            LABELS + 1,
            r"Input 'y': class labels of SoftmaxCrossEntropy 'loss' are whole numbers, 0 to 2; "
            r"got 3 at \(2,\)",
        ),
        (LABELS - 1, r"got -1 at \(0,\)"),
        (LABELS / 2, r"got 0.5 at \(1,\)"),
    ],
)
def test_labels_that_are_none_are_refused(labels, words, engine):
    graph, x, y = classes()
    for run in (
        lambda: graph.fit({x: X, y: labels}, optimizer=fg.SGD(0.1), epochs=1),
        lambda: graph.forward({x: X, y: labels}),
        lambda: graph.evaluate("loss", {x: X, y: labels}),
    ):
        with pytest.raises(fg.DataError, match=words):
            run()


def test_compiled_lookups_refuse_what_is_no_index(engine):
    indices = fg.Input("i", shape=())
    graph = fg.Graph(node := fg.Embedding(indices, fg.Parameter(X)))
    look_up = graph.compile(node)
    np.testing.assert_array_equal(look_up(np.array([3.0, 0.0, 52.0])), X[[3, 0, 52]])
    for wrong in ([53.0], [-1.0], [0.5]):
        with pytest.raises(fg.DataError, match="indices of Embedding are whole numbers, 0 to 52"):
            look_up(np.array(wrong))


def test_float32_tells_labels_apart_or_says_it_cannot(engine):
    indices = fg.Input("i", shape=())
    graph = fg.Graph(fg.Embedding(indices, fg.Parameter(np.zeros((2**24 + 2, 1)))), dtype="float32")
    with pytest.raises(fg.DataError, match="use dtype='float64'"):
        graph.forward({indices: [0]})


def test_labels_of_any_integer_type_and_one_hot_rows_are_the_same(runner):
    values = []
    for labels in (LABELS, LABELS.astype(np.int8), LABELS.astype(float), np.eye(3)[LABELS]):
        graph, x, y = classes()
        values.append(graph.forward({x: X, y: labels}))
    np.testing.assert_allclose(values, values[0], rtol=1e-14)


@pytest.mark.parametrize(
    ("loss", "activation"),
    [
        (fg.SoftmaxCrossEntropy, fg.Softmax),
        (fg.SoftmaxCrossEntropy, fg.Sigmoid),
        (fg.BinaryCrossEntropy, fg.Sigmoid),
        (fg.BinaryCrossEntropy, fg.Softmax),
    ],
)
def test_probabilities_are_refused_where_logits_are_wanted(loss, activation):
    x, y = fg.Input("x", shape=(5,)), fg.Input("y")
    scores = fg.Dense(x, 3, name="scores")
    with pytest.raises(fg.GraphError, match=r"logits.*pass what goes into it, Linear 'scores'"):
        loss(y, activation(scores))


@pytest.mark.parametrize(
    ("loss", "targets", "words"),
    [
        (fg.BinaryCrossEntropy, [0, 2], "targets of BinaryCrossEntropy are numbers, 0 to 1; got 2"),
        (fg.PoissonLoss, [0, -1], "counts of PoissonLoss are numbers, 0 or more; got -1"),
    ],
)
def test_targets_out_of_range_are_refused(loss, targets, words, engine):
    y, z = fg.Input("y"), fg.Input("z")
    with pytest.raises(fg.DataError, match=words):
        fg.Graph(loss(y, z)).forward({y: targets, z: [0.0, 0.0]})


LOSSES = (fg.MSE, fg.MAE, fg.Huber, fg.QuantileLoss, fg.PoissonLoss, fg.BinaryCrossEntropy)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda c: c.__name__)
def test_a_weight_of_two_is_a_row_twice_and_of_zero_none(loss, runner):
    weights = RNG.integers(0, 3, 53)
    targets = RNG.uniform(0, 1, 53)
    found = []
    for rows, given in ((np.repeat(np.arange(53), weights), None), (np.arange(53), weights)):
        x, y, w = fg.Input("x", shape=(5,)), fg.Input("y"), fg.Input("w")
        prediction = fg.Linear(x, fg.Parameter(np.linspace(-1, 1, 5)), fg.Parameter(0.0))
        graph = fg.Graph(loss(y, prediction, sample_weight=None if given is None else w))
        feeds = {x: X[rows], y: targets[rows]} | ({} if given is None else {w: given})
        history = graph.fit(feeds, optimizer=fg.SGD(0.1), epochs=3, shuffle=False)
        found.append([history.loss, *(p.value for p in graph.parameters.values())])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_weights_in_batches_of_many_blocks_agree(runner):
    """The sum of the weights is there before the first block."""
    n = 20_011
    draw = np.random.default_rng(2)
    x, y, w = fg.Input("x", shape=(5,)), fg.Input("y"), fg.Input("w")
    prediction = fg.Linear(x, W := fg.Parameter(np.ones(5)), 0.5)
    X, Y, weights = draw.normal(size=(n, 5)), draw.normal(size=n), draw.uniform(0, 2, n)
    history = fg.Graph(fg.MSE(y, prediction, w)).fit(
        {x: X, y: Y, w: weights}, optimizer=fg.SGD(0.1), epochs=1
    )
    apart = X.sum(axis=1) + 0.5 - Y
    np.testing.assert_allclose(history.loss, np.average(apart**2, weights=weights), rtol=1e-12)
    slope = 2 * (weights * apart) @ X / weights.sum()
    np.testing.assert_allclose(1 - W.value, 0.1 * slope, rtol=1e-9)


def test_a_batch_without_weight_changes_nothing(runner):
    x, y, w = fg.Input("x"), fg.Input("y"), fg.Input("w")
    k = fg.Parameter(1.0)
    graph = fg.Graph(fg.MSE(y, k * x, w))
    history = graph.fit({x: [1, 2], y: [3, 4], w: [0, 0]}, optimizer=fg.SGD(0.1), epochs=1)
    assert history.loss[0] == 0 and k.value == 1


def test_negative_weights_are_refused(engine):
    y, z, w = fg.Input("y"), fg.Input("z"), fg.Input("w")
    graph = fg.Graph(fg.MSE(y, z, sample_weight=w))
    with pytest.raises(fg.DataError, match="sample weights of MSE are numbers, 0 or more; got -1"):
        graph.forward({y: [1, 2], z: [1, 2], w: [1, -1]})


# --- far from zero ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_losses_from_logits_are_exact_far_from_zero(runner, dtype):
    z = np.array([-1e4, -800, -90, -30, -1, 0, 1, 30, 90, 800, 1e4])
    y, x = fg.Input("y"), fg.Input("z")
    for truth in (0.0, 1.0):
        graph = fg.Graph(fg.Sum(fg.Softplus(x)), node := fg.BinaryCrossEntropy(y, x), dtype=dtype)
        graph.forward({x: z, y: np.full(len(z), truth)})
        wrong = z if truth == 0 else -z
        tails = np.where(np.abs(z) < 700, np.log1p(np.exp(-np.abs(z))), 0)
        want = (np.maximum(wrong, 0) + tails).mean()
        rounding = {"float64": 1e-15, "float32": 3e-7}[dtype]
        np.testing.assert_allclose(node.value, want, rtol=rounding)
        graph.backward(output=node)
        probability = 1 / (1 + np.exp(np.clip(-z, -700, 700)))
        np.testing.assert_allclose(x.gradient * len(z), probability - truth, atol=rounding)
    labels, logits = fg.Input("l"), fg.Input("m")
    loss = fg.SoftmaxCrossEntropy(labels, logits)
    graph = fg.Graph(loss, fg.Softmax(logits), dtype=dtype)
    rows = np.array([[1e4, 0, -1e4], [-1e4, -1e4, -1e4], [1e4, 1e4, 0]])
    values = graph.forward({logits: rows, labels: [2, 1, 0]})
    np.testing.assert_allclose(values[0], (2e4 + np.log(3) + np.log(2)) / 3, rtol=2e-7)
    np.testing.assert_allclose(values[1], [[1, 0, 0], [1 / 3] * 3, [0.5, 0.5, 0]], rtol=2e-7)
    graph.backward(output=loss)
    want = np.array([[1, 0, -1], [1 / 3, -2 / 3, 1 / 3], [-0.5, 0.5, 0]]) / 3
    np.testing.assert_allclose(logits.gradient, want, rtol=3e-7, atol=1e-9)
