"""Training: histories, batches, shuffling, optimizers, and errors that change nothing."""

import copy
import gc
import re
import warnings

import numpy as np
import pytest
from conftest import ENGINES
from numerics import assert_close
from test_feeds import snapshot

import fastgraph as fg
from fastgraph.randomness import permutation, random_bits

ROWS = 23
DRAW = np.random.default_rng(3)
X = DRAW.normal(size=(ROWS, 3))
Y = X @ [1.0, -2.0, 0.5] + 0.3 + 0.1 * DRAW.normal(size=ROWS)


def line(dtype="float64"):
    """y = x @ W + b under MSE, of which the gradient is written out below."""
    x, y = fg.Input("x"), fg.Input("y")
    W, b = fg.Parameter([0.5, 0.25, -0.5], "W"), fg.Parameter(0.1, "b")
    return fg.Graph(fg.MSE(y, fg.Linear(x, W, b), name="loss"), dtype=dtype)


def net(dtype="float64", seed=0):
    """3-7-1 with tanh."""
    x, y = fg.Input("x", shape=(3,)), fg.Input("y")
    hidden = fg.Dense(x, 7, "tanh", seed=seed, name="one")
    W, b = (
        fg.Parameter(fg.initializers.normal((7,), std=0.5, seed=seed), "W"),
        fg.Parameter(0.0, "b"),
    )
    return fg.Graph(fg.MSE(y, fg.Linear(hidden, W, b)), dtype=dtype)


def flat(graph):
    return np.concatenate([p.value.ravel() for p in graph.parameters.values()])


def line_gradient(p, x, y):
    """Loss and its gradient for p = (W, b)."""
    residual = x @ p[:3] + p[3] - y
    return np.mean(residual**2), 2 / len(y) * np.append(x.T @ residual, residual.sum())


FEEDS = {"x": X, "y": Y}


# --- the loop -----------------------------------------------------------------------------------


def test_history_has_the_loss_of_every_epoch(engine):
    graph = line()
    history = graph.fit(FEEDS, optimizer=fg.SGD(0.05), epochs=17)
    assert history.loss.shape == (17,)
    assert history.loss.dtype == np.float64
    assert (history.epochs, history.steps) == (17, 17)
    assert history.seconds > 0
    p = np.array([0.5, 0.25, -0.5, 0.1])
    for loss in history.loss:
        want, gradient = line_gradient(p, X, Y)
        assert loss == pytest.approx(want, rel=1e-12)
        p -= 0.05 * gradient
    assert_close(flat(graph), p, 1e-12)
    assert "17 epochs, 17 steps" in repr(history)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 11, 22, 23, 24, 1000, None])
def test_every_row_is_used_once_an_epoch(batch_size, engine):
    """The last batch is short, not dropped; its rows count by their number in the mean loss."""
    graph = line()
    history = graph.fit(
        FEEDS, optimizer=fg.SGD(0.01), epochs=2, batch_size=batch_size, shuffle=False
    )
    size = min(batch_size or ROWS, ROWS)
    assert history.steps == 2 * -(-ROWS // size)
    p = np.array([0.5, 0.25, -0.5, 0.1])
    for mean in history.loss:
        total = 0.0
        for start in range(0, ROWS, size):
            x, y = X[start : start + size], Y[start : start + size]
            loss, gradient = line_gradient(p, x, y)
            total += loss * len(y)
            p -= 0.01 * gradient
        assert mean == pytest.approx(total / ROWS, rel=1e-12)
    assert_close(flat(graph), p, 1e-12)


class Recorder(fg.Node):
    """Passes rows on and writes down which came, in which order."""

    def __init__(self, x):
        super().__init__(x)
        self.seen = []

    def shape(self, x):
        return x

    def forward(self, x):
        self.seen.append(x.copy())
        return x * 1.0

    def backward(self, gradient, x):
        return (gradient,)


def order_of_rows(graph_seed, epochs=3, batch_size=5, **settings):
    x = fg.Input("x")
    recorder = Recorder(x)
    graph = fg.Graph(fg.Mean((recorder - fg.Parameter(0.0)) ** 2))
    graph.fit(
        {x: np.arange(float(ROWS))},
        optimizer=fg.SGD(1e-6), epochs=epochs, batch_size=batch_size, seed=graph_seed, **settings,
    )  # fmt: skip
    return np.concatenate(recorder.seen).astype(int).reshape(epochs, ROWS)


def test_the_order_of_an_epoch_is_a_permutation_of_its_own(engine):
    epochs = order_of_rows(0)
    assert all(sorted(epoch) == list(range(ROWS)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    np.testing.assert_array_equal(order_of_rows(0), epochs)
    assert not np.array_equal(order_of_rows(1), epochs)
    for number, epoch in enumerate(epochs):
        np.testing.assert_array_equal(epoch, permutation(ROWS, 0, number))


def test_the_order_does_not_depend_on_the_batch_size(engine):
    np.testing.assert_array_equal(order_of_rows(4, batch_size=1), order_of_rows(4, batch_size=7))


def test_without_shuffling_rows_keep_their_order(engine):
    np.testing.assert_array_equal(order_of_rows(0, shuffle=False), [list(range(ROWS))] * 3)


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**63, 2**64 - 1, 2**64, 2**100, np.int64(7)])
def test_both_engines_shuffle_alike(seed):
    found = []
    for name in ENGINES:
        fg.set_engine(name)
        found.append(order_of_rows(seed))
    for order in found[1:]:
        np.testing.assert_array_equal(order, found[0])


def test_a_permutation_is_fair():
    """Every row comes to every place equally often: chi-squared with 36 cells of 100."""
    counts = np.zeros((6, 6))
    for seed in range(600):
        counts[np.arange(6), permutation(6, seed, seed % 5)] += 1
    assert ((counts - 100) ** 2 / 100).sum() < 60  # 25 degrees of freedom: p < 0.0002


def test_random_bits_are_those_of_splitmix64():
    """With a key of 0 the stream is SplitMix64's own, from Vigna's reference implementation."""

    def mix(z):
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & (2**64 - 1)
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & (2**64 - 1)
        return z ^ (z >> 31)

    golden = 0x9E3779B97F4A7C15
    got = random_bits(12345, 6, np.arange(4))
    key = mix((12345 + 7 * golden) % 2**64)
    assert [int(bits) for bits in got] == [mix((key + golden * (i + 1)) % 2**64) for i in range(4)]
    zero_key = (-golden) % 2**64  # a seed whose key is mix(0) == 0
    first = int(random_bits(zero_key, 0, np.array([0]))[0])
    assert first == 0xE220A8397B1DCDAF


def test_a_run_may_be_continued(engine, dtype):
    """50 + 50 epochs are 100, to the bit: optimizer state and shuffle go on where they were."""
    for make in OPTIMIZERS.values():
        whole, parts = net(dtype), net(dtype)
        settings = {"batch_size": 5, "seed": 2}
        once = whole.fit(FEEDS, optimizer=make(), epochs=20, **settings)
        optimizer = make()
        first = parts.fit(FEEDS, optimizer=optimizer, epochs=9, **settings)
        second = parts.fit(FEEDS, optimizer=optimizer, epochs=11, **settings)
        assert flat(whole).tobytes() == flat(parts).tobytes(), optimizer
        np.testing.assert_array_equal(once.loss, np.append(first.loss, second.loss))


def test_a_fresh_optimizer_starts_over(engine):
    one, two = net(), net()
    shared = fg.Adam(0.01)
    one.fit(FEEDS, optimizer=shared, epochs=3)
    two.fit(FEEDS, optimizer=shared, epochs=3)  # another graph, another state
    assert flat(one).tobytes() == flat(two).tobytes()
    one.fit(FEEDS, optimizer=shared, epochs=1)
    shared.reset()
    two.fit(FEEDS, optimizer=shared, epochs=1)
    assert flat(one).tobytes() != flat(two).tobytes()


@pytest.mark.skipif(len(ENGINES) < 2, reason="needs both engines")
def test_a_run_may_be_continued_in_the_other_engine():
    for make in OPTIMIZERS.values():
        whole, parts = net(), net()
        fg.set_engine("numpy")
        whole.fit(FEEDS, optimizer=make(), epochs=10, batch_size=5)
        optimizer = make()
        for name in ("native", "numpy", "native"):
            fg.set_engine(name)
            parts.fit(
                FEEDS, optimizer=optimizer, epochs={"native": 3, "numpy": 4}[name], batch_size=5
            )
        assert_close(flat(parts), flat(whole), 1e-9)


def test_the_state_of_a_graph_goes_with_it():
    optimizer = fg.Adam()
    graph = line()
    graph.fit(FEEDS, optimizer=optimizer, epochs=1)
    assert len(optimizer._states) == 1
    del graph
    gc.collect()
    assert len(optimizer._states) == 0


def test_values_written_between_runs_are_trained_on(engine):
    graph = line()
    graph.fit(FEEDS, optimizer=fg.SGD(0.1), epochs=1)
    graph.parameters["W"].value = [1.0, 2.0, 3.0]
    graph.parameters["b"].value[...] = 4.0
    graph.fit(FEEDS, optimizer=fg.SGD(0.1), epochs=1)
    start = np.array([1.0, 2.0, 3.0, 4.0])
    assert_close(flat(graph), start - 0.1 * line_gradient(start, X, Y)[1], 1e-12)


def test_the_learning_rate_may_change_between_runs(engine):
    graph = line()
    optimizer = fg.SGD(0.1)
    graph.fit(FEEDS, optimizer=optimizer, epochs=1)
    start = flat(graph)
    optimizer.learning_rate = 0.01
    graph.fit(FEEDS, optimizer=optimizer, epochs=1)
    assert_close(flat(graph), start - 0.01 * line_gradient(start, X, Y)[1], 1e-12)


def test_other_data_of_another_length_may_follow(engine):
    graph = line()
    optimizer = fg.SGD(0.1)
    for n in (23, 5, 1, 11):
        start = flat(graph)
        graph.fit({"x": X[:n], "y": Y[:n]}, optimizer=optimizer, epochs=1)
        assert_close(flat(graph), start - 0.1 * line_gradient(start, X[:n], Y[:n])[1], 1e-12)


def test_the_manual_loop_is_fit(engine):
    by_hand, by_fit = net(), net()
    for _ in range(5):
        by_hand.forward(FEEDS)
        by_hand.backward()
        for parameter in by_hand.parameters.values():
            parameter.value -= 0.1 * parameter.gradient
    by_fit.fit(FEEDS, optimizer=fg.SGD(0.1), epochs=5, shuffle=False)
    assert_close(flat(by_fit), flat(by_hand), 1e-12)


def test_fit_descends(engine, dtype):
    graph = net(dtype)
    history = graph.fit(FEEDS, optimizer=fg.Adam(0.02), epochs=300, batch_size=8)
    assert history.loss[-1] < 0.05 * history.loss[0]


def test_a_parameter_the_loss_does_not_need_is_left_alone(engine):
    x = fg.Input("x")
    p, other = fg.Parameter(1.0, "p"), fg.Parameter(5.0, "other")
    loss = fg.Mean((x * p) ** 2)
    graph = fg.Graph(loss, other * 2.0)
    graph.fit({x: X}, optimizer=fg.SGD(0.1, weight_decay=0.5), epochs=2, output=loss)
    assert other.value == 5.0
    assert p.value != 1.0


def test_a_parameter_that_gets_no_gradient_stays(engine):
    x = fg.Input("x")
    p, dead = fg.Parameter(1.0), fg.Parameter([-1.0, -2.0])
    graph = fg.Graph(fg.Mean((x * p) ** 2) + fg.Sum(fg.ReLU(dead)))
    graph.fit({x: X}, optimizer=fg.Adam(0.1), epochs=3)
    assert dead.value.tolist() == [-1, -2]


def test_a_progress_bar_does_not_change_the_run(engine, capsys):
    pytest.importorskip("tqdm")
    plain, shown = net(), net()
    first = plain.fit(FEEDS, optimizer=fg.SGD(0.05), epochs=30, batch_size=5)
    second = shown.fit(FEEDS, optimizer=fg.SGD(0.05), epochs=30, batch_size=5, progress=True)
    np.testing.assert_array_equal(first.loss, second.loss)
    assert flat(plain).tobytes() == flat(shown).tobytes()
    assert "30/30" in capsys.readouterr().err


def test_the_bits_do_not_depend_on_the_number_of_threads(engine, dtype):
    found = []
    for threads in (1, 2, 3):
        graph = net(dtype)
        history = graph.fit(FEEDS, optimizer=fg.SGD(0.05), epochs=5, threads=threads)
        found.append((flat(graph).tobytes(), history.loss.tobytes()))
    assert len(set(found)) == 1


# --- optimizers: the papers' rules, written out apart --------------------------------------------

OPTIMIZERS = {
    "SGD": lambda: fg.SGD(0.05),
    "momentum": lambda: fg.SGD(0.02, momentum=0.9),
    "Nesterov": lambda: fg.SGD(0.02, momentum=0.9, nesterov=True),
    "weight decay": lambda: fg.SGD(0.05, weight_decay=0.1),
    "all of it": lambda: fg.SGD(0.02, momentum=0.5, nesterov=True, weight_decay=0.01),
    "RMSprop": lambda: fg.RMSprop(0.01, rho=0.8, epsilon=1e-6),
    "Adam": lambda: fg.Adam(0.01, beta1=0.8, beta2=0.95, epsilon=1e-6),
    "Adam, the paper's": lambda: fg.Adam(),
    "AdamW": lambda: fg.AdamW(0.01, weight_decay=0.1),
    "Adam without averages": lambda: fg.Adam(0.01, beta1=0.0, beta2=0.0),
}


def sgd(p, g, s, t, o):
    g = g + o.weight_decay * p
    if o.momentum:
        s["v"] = o.momentum * s["v"] + g if t > 1 else g
        g = g + o.momentum * s["v"] if o.nesterov else s["v"]
    return p - o.learning_rate * g


def rmsprop(p, g, s, t, o):
    s["s"] = o.rho * s.get("s", 0) + (1 - o.rho) * g * g
    return p - o.learning_rate * g / (np.sqrt(s["s"]) + o.epsilon)


def adam(p, g, s, t, o):
    s["m"] = o.beta1 * s.get("m", 0) + (1 - o.beta1) * g
    s["v"] = o.beta2 * s.get("v", 0) + (1 - o.beta2) * g * g
    m_hat, v_hat = s["m"] / (1 - o.beta1**t), s["v"] / (1 - o.beta2**t)
    decay = o.learning_rate * getattr(o, "weight_decay", 0.0) * p
    return p - decay - o.learning_rate * m_hat / (np.sqrt(v_hat) + o.epsilon)


RULES = {fg.SGD: sgd, fg.RMSprop: rmsprop, fg.Adam: adam, fg.AdamW: adam}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_follows_its_paper(name, runner, dtype):
    optimizer = OPTIMIZERS[name]()
    graph = line(dtype)
    graph.fit(FEEDS, optimizer=optimizer, epochs=6, batch_size=9, shuffle=False)
    p, state, t = np.array([0.5, 0.25, -0.5, 0.1]), {}, 0
    for _ in range(6):
        for start in range(0, ROWS, 9):
            t += 1
            _, g = line_gradient(p, X[start : start + 9], Y[start : start + 9])
            p = RULES[type(optimizer)](p, g, state, t, optimizer)
    assert t == 18
    assert_close(flat(graph), p, {"float64": 1e-11, "float32": 1e-4}[dtype])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_treats_every_element_alike(name, runner, dtype):
    """A parameter of any size: every element is updated, those past the last full vector too."""
    for size in (1, 3, 16, 17, 101):
        optimizer = OPTIMIZERS[name]()
        start = np.linspace(2, 5, size)  # no gradient changes its sign
        p = fg.Parameter(start)
        graph = fg.Graph(fg.Sum((p - 1.0) ** 2), dtype=dtype)
        graph.fit({}, optimizer=optimizer, epochs=5)
        want, state = start, {}
        for t in range(1, 6):
            want = RULES[type(optimizer)](want, 2 * (want - 1.0), state, t, optimizer)
        assert_close(p.value, want, {"float64": 1e-12, "float32": 1e-4}[dtype], f"{size} elements")


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=list(OPTIMIZERS))
def test_an_optimizers_state_stays_in_the_dtype(make, engine, dtype):
    graph = line(dtype)
    optimizer = make()
    graph.fit(FEEDS, optimizer=optimizer, epochs=2)
    (state,) = [s for kept in optimizer._states.values() for s in kept.values()]
    assert all(slot.dtype == dtype for slot in state.slots)
    assert (state.steps, state.epochs) == (2, 2)


def test_optimizers_say_what_they_are():
    assert (
        repr(fg.SGD(0.1))
        == "SGD(learning_rate=0.1, momentum=0.0, nesterov=False, weight_decay=0.0)"
    )
    assert "beta2=0.999" in repr(fg.Adam())


def test_a_copy_of_an_optimizer_has_its_settings_and_no_state(engine):
    optimizer = fg.Adam(0.02, beta1=0.5)
    one, two = line(), line()
    one.fit(FEEDS, optimizer=optimizer, epochs=3)
    copied = copy.deepcopy(optimizer)
    assert repr(copied) == repr(optimizer)
    two.fit(FEEDS, optimizer=copied, epochs=3)
    assert flat(one).tobytes() == flat(two).tobytes()


def test_the_defaults_are_the_papers():
    adam = fg.Adam()
    assert (adam.learning_rate, adam.beta1, adam.beta2, adam.epsilon) == (1e-3, 0.9, 0.999, 1e-8)
    assert (fg.SGD(0.1).momentum, fg.SGD(0.1).weight_decay) == (0.0, 0.0)


BAD_OPTIMIZERS = {
    "SGD: learning_rate must be a number in (0, inf), got 0": lambda: fg.SGD(0),
    "SGD: learning_rate must be a number in (0, inf), got -0.1": lambda: fg.SGD(-0.1),
    "SGD: learning_rate must be a number in (0, inf), got nan": lambda: fg.SGD(float("nan")),
    "SGD: learning_rate must be a number in (0, inf), got inf": lambda: fg.SGD(float("inf")),
    "SGD: learning_rate must be a number in (0, inf), got 'fast'": lambda: fg.SGD("fast"),
    "SGD: learning_rate must be a number in (0, inf), got None": lambda: fg.SGD(None),
    "SGD: learning_rate must be a number in (0, inf), got True": lambda: fg.SGD(True),
    "SGD: momentum must be a number in [0, 1), got 1": lambda: fg.SGD(0.1, momentum=1),
    "SGD: momentum must be a number in [0, 1), got -0.5": lambda: fg.SGD(0.1, momentum=-0.5),
    "SGD: weight_decay must be a number in [0, inf), got -1": lambda: fg.SGD(0.1, weight_decay=-1),
    "SGD: nesterov must be True or False, got 1": lambda: fg.SGD(0.1, momentum=0.9, nesterov=1),
    "SGD: nesterov needs a momentum above 0": lambda: fg.SGD(0.1, nesterov=True),
    "Adam: beta1 must be a number in [0, 1), got 1.0": lambda: fg.Adam(beta1=1.0),
    "Adam: beta2 must be a number in [0, 1), got 1.5": lambda: fg.Adam(beta2=1.5),
    "Adam: epsilon must be a number in (0, inf), got 0": lambda: fg.Adam(epsilon=0),
    "Adam: learning_rate must be a number in (0, inf), got [0.1]": lambda: fg.Adam([0.1]),
    "AdamW: weight_decay must be a number in [0, inf), got -0.1": lambda: fg.AdamW(
        weight_decay=-0.1
    ),
    "RMSprop: rho must be a number in [0, 1), got 2": lambda: fg.RMSprop(rho=2),
}


@pytest.mark.parametrize("words", BAD_OPTIMIZERS)
def test_settings_out_of_range_are_refused(words):
    with pytest.raises(fg.SettingError, match=re.escape(words)):
        BAD_OPTIMIZERS[words]()


# --- settings of fit ----------------------------------------------------------------------------

BAD_SETTINGS = {
    "epochs must be a whole number, 1 or more, got 0": {"epochs": 0},
    "epochs must be a whole number, 1 or more, got -1": {"epochs": -1},
    "epochs must be a whole number, 1 or more, got 1.5": {"epochs": 1.5},
    "epochs must be a whole number, 1 or more, got '3'": {"epochs": "3"},
    "epochs must be a whole number, 1 or more, got True": {"epochs": True},
    "epochs must be a whole number, 1 or more, got None": {"epochs": None},
    "batch_size must be a whole number, 1 or more, got 0": {"batch_size": 0},
    "batch_size must be a whole number, 1 or more, got -11": {"batch_size": -11},
    "batch_size must be a whole number, 1 or more, got 2.0": {"batch_size": 2.0},
    "seed must be a whole number, 0 or more, got -1": {"seed": -1},
    "seed must be a whole number, 0 or more, got None": {"seed": None},
    "threads must be a whole number, 1 or more, got 0": {"threads": 0},
    "shuffle must be True or False, got 'no'": {"shuffle": "no"},
    "progress must be True or False, got 1": {"progress": 1},
    "optimizer: expected an Optimizer, got 'sgd'": {"optimizer": "sgd"},
    "optimizer: expected an Optimizer, got None": {"optimizer": None},
    "got <class 'fastgraph.optimizers.SGD'>; make one, as SGD(1e-2)": {"optimizer": fg.SGD},
}


@pytest.mark.parametrize("words", BAD_SETTINGS)
def test_wrong_settings_of_fit_change_nothing(words, engine):
    graph, optimizer = line(), fg.Adam()
    graph.fit(FEEDS, optimizer=optimizer, epochs=1)
    before = snapshot(graph, optimizer)
    settings = {"optimizer": optimizer, "epochs": 2} | BAD_SETTINGS[words]
    with pytest.raises(fg.SettingError, match=re.escape(words)):
        graph.fit(FEEDS, **settings)
    assert snapshot(graph, optimizer) == before


def test_a_setting_spoilt_later_is_found_by_fit(engine):
    graph, optimizer = line(), fg.SGD(0.1)
    optimizer.learning_rate = -1
    with pytest.raises(fg.SettingError, match="learning_rate must be a number"):
        graph.fit(FEEDS, optimizer=optimizer, epochs=1)


def test_whole_numbers_of_numpy_are_taken(engine):
    history = line().fit(
        FEEDS, optimizer=fg.SGD(np.float32(0.1)), epochs=np.int64(2), batch_size=np.uint8(5),
        seed=np.int16(3), shuffle=np.bool_(True),
    )  # fmt: skip
    assert history.epochs == 2


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (lambda x, p: x * p, "fit minimises a scalar, got shape (23, 3)"),
        (lambda x, p: fg.Sum(x * p, axis=1), "fit minimises a scalar, got shape (23,)"),
        (lambda x, p: fg.Sum(x * p, keepdims=True), "fit minimises a scalar, got shape (1, 1)"),
    ],
)
def test_a_loss_is_a_scalar(output, words, engine):
    x, p = fg.Input("x"), fg.Parameter(1.0)
    with pytest.raises(fg.ShapeError, match=re.escape(words)):
        fg.Graph(output(x, p)).fit({x: X}, optimizer=fg.SGD(0.1), epochs=1)
    assert p.value == 1.0


def test_there_must_be_something_to_train(engine):
    x = fg.Input("x")
    with pytest.raises(fg.GraphError, match="nothing to train"):
        fg.Graph(fg.Mean(x)).fit({x: X}, optimizer=fg.SGD(0.1), epochs=1)


@pytest.mark.parametrize("flip", [False, True])
def test_a_loss_never_broadcasts_the_batch(flip, engine):
    """(506,) against (506, 1) names both shapes and the fix, when the data is bound."""
    x, y, W = fg.Input("x"), fg.Input("y"), fg.Parameter(np.zeros((3, 1)), "W")
    prediction = fg.MatMul(x, W, name="prediction")
    loss = fg.MSE(prediction, y, name="loss") if flip else fg.MSE(y, prediction, name="loss")
    graph = fg.Graph(loss)
    said = (
        "MSE 'loss': prediction has shape (23, 1), y has (23,); reshape prediction to (23,)"
        if flip
        else "MSE 'loss': y has shape (23,), prediction has (23, 1); reshape y to (23, 1)"
    )
    with pytest.raises(fg.ShapeError, match=re.escape(said)):
        graph.fit({x: X, y: Y}, optimizer=fg.SGD(0.1), epochs=1)
    with pytest.raises(fg.ShapeError, match=re.escape(said)):
        graph.forward({x: X, y: Y})
    assert not W.value.any()


# --- leaving the finite numbers -------------------------------------------------------------------


def test_divergence_keeps_the_last_finite_step(engine):
    """k grows by the factor 1 - 2·100·x² a step; the first loss that is infinite stops the run."""
    x, y = fg.Input("x"), fg.Input("y")
    k = fg.Parameter(1.0, "k")
    graph = fg.Graph(fg.MSE(y, fg.Multiply(k, x, name="line"), name="loss"))
    optimizer = fg.SGD(100.0)
    data, factor = 3.0, 1 - 2 * 100.0 * 9.0
    with pytest.raises(fg.DivergenceError) as caught:
        graph.fit({x: [data], y: [0.0]}, optimizer=optimizer, epochs=1000)
    error = caught.value
    value, step = 1.0, 1
    while np.isfinite((value * data) * (value * data)):
        value, step = value * factor, step + 1
    assert error.epoch == step
    assert error.step == 1
    assert k.value == pytest.approx(value, rel=1e-12)
    (state,) = optimizer._states[graph].values()
    assert state.steps == step - 1
    assert error.node is graph.node("loss")
    for words in (
        f"epoch {step}, step 1 of 1",
        "MSE 'loss' became inf",
        "learning rate 100",
        "Input 'x' up to 3",
        "lower the learning rate, as to 10",
    ):
        assert words in str(error)
    assert isinstance(error, ArithmeticError)


def test_divergence_is_met_alike_in_both_engines():
    found = []
    for name in ENGINES:
        fg.set_engine(name)
        graph = net()
        with pytest.raises(fg.DivergenceError) as caught:
            graph.fit(FEEDS, optimizer=fg.SGD(1e12), epochs=500, batch_size=7)
        error = caught.value
        found.append((error.epoch, error.step, graph.label(error.node), str(error)[:60]))
    assert len(set(found)) == 1


def test_the_remedy_for_large_inputs_is_to_scale_them(engine):
    graph = line()
    with pytest.raises(fg.DivergenceError, match=r"Input 'x' up to .*; standardize the inputs"):
        graph.fit({"x": X * 1000, "y": Y}, optimizer=fg.SGD(0.1), epochs=1000)


def test_steps_are_counted_within_the_epoch(engine):
    """The sixth row is the first that makes the logarithm infinite."""
    x, p = fg.Input("x"), fg.Parameter(1.0)
    log = fg.Log(x * p, name="log")
    graph = fg.Graph(fg.Mean(log))
    data = np.ones(11)
    data[5] = 0.0
    with pytest.raises(fg.DivergenceError) as caught:
        graph.fit({x: data}, optimizer=fg.SGD(1e-3), epochs=1, batch_size=2, shuffle=False)
    assert (caught.value.epoch, caught.value.step) == (1, 3)
    assert caught.value.node is log
    assert "step 3 of 6" in str(caught.value)
    assert p.value == pytest.approx(1 - 1e-3 - 1e-3 / (1 - 1e-3), rel=1e-12)


def test_the_epoch_counts_within_this_call(engine):
    x, p = fg.Input("x"), fg.Parameter(1.0)
    graph = fg.Graph(fg.Mean(fg.Log(x * p)))
    optimizer = fg.SGD(1e-9)
    graph.fit({x: [1.0]}, optimizer=optimizer, epochs=5)
    with pytest.raises(fg.DivergenceError) as caught:
        graph.fit({x: [0.0]}, optimizer=optimizer, epochs=5)
    assert caught.value.epoch == 1


def test_an_infinite_gradient_of_a_finite_loss_stops_too(engine):
    x, p = fg.Input("x"), fg.Parameter([4.0, 0.0], "p")
    root = fg.Sqrt(p, name="root")
    graph = fg.Graph(fg.Mean(x * root))
    optimizer = fg.Adam()
    with pytest.raises(
        fg.DivergenceError, match="the gradient of Parameter 'p' is not finite"
    ) as caught:
        graph.fit({x: [[1.0, 1.0]]}, optimizer=optimizer, epochs=3)
    assert caught.value.node is p
    assert p.value.tolist() == [4, 0]
    assert sum(state.steps for kept in optimizer._states.values() for state in kept.values()) == 0


@pytest.mark.parametrize("make", [lambda: fg.SGD(1e308), lambda: fg.SGD(1e308, momentum=0.9)])
def test_an_update_that_overflows_is_divergence(make, engine):
    """Loss and gradient are finite, the new parameter would not be: it is not taken."""
    x, p = fg.Input("x"), fg.Parameter(1.0, "p")
    graph = fg.Graph(fg.Mean((x * p) ** 2))
    with pytest.raises(fg.DivergenceError):
        graph.fit({x: [100.0]}, optimizer=make(), epochs=1)
    assert p.value == 1.0


def test_divergence_in_float32(engine):
    x, p = fg.Input("x"), fg.Parameter(1.0, "p")
    graph = fg.Graph(fg.Mean((x * p) ** 4), dtype="float32")
    with pytest.raises(fg.DivergenceError):
        graph.fit({x: [1e10]}, optimizer=fg.SGD(1e-3), epochs=1)
    assert p.value == 1.0


def test_after_divergence_a_graph_trains_on(engine):
    graph = line()
    optimizer = fg.SGD(1e6)
    with pytest.raises(fg.DivergenceError):
        graph.fit(FEEDS, optimizer=optimizer, epochs=1000)
    for p in graph.parameters.values():
        assert np.isfinite(p.value).all()
        p.value = np.zeros(p.value.shape)
    history = graph.fit(FEEDS, optimizer=fg.SGD(0.05), epochs=100)
    assert history.loss[-1] < history.loss[0]


def test_no_floating_point_warning_reaches_the_user(engine):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x, p = fg.Input("x"), fg.Parameter(1.0)
        graph = fg.Graph(fg.Mean(fg.Log(x) * p / x + fg.Exp(x * 1000.0) + fg.Sqrt(x)))
        graph.forward({x: [-1.0, 0.0, 5.0]})
        graph.backward()
        with pytest.raises(fg.DivergenceError):
            graph.fit({x: [-1.0, 0.0, 5.0]}, optimizer=fg.SGD(0.1), epochs=1)
        with pytest.raises(fg.DivergenceError):
            line().fit(FEEDS, optimizer=fg.Adam(1e300), epochs=1000)


# --- layers -------------------------------------------------------------------------------------


def test_dense_is_composition(engine):
    x = fg.Input("x", shape=(3,))
    out = fg.Dense(x, 5, "relu", seed=4, name="layer")
    graph = fg.Graph(out)
    assert list(graph.parameters) == ["layer_W", "layer_b"]
    W = graph.parameters["layer_W"].value
    np.testing.assert_array_equal(W, fg.initializers.he_uniform((3, 5), seed=4))
    assert_close(graph.forward({x: X}), np.maximum(X @ W, 0), 1e-14)


def test_dense_without_bias_or_activation():
    out = fg.Dense(fg.Input("x", shape=(3,)), 2, bias=False)
    assert type(out) is fg.Linear
    assert len(fg.Graph(out).parameters) == 1


def test_dense_takes_any_activation():
    x = fg.Input("x", shape=(3,))
    assert type(fg.Dense(x, 2, fg.Exp)) is fg.Exp
    assert type(fg.Dense(x, 2, lambda node: node * node)) is fg.Multiply


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: fg.Dense(fg.Input("x"), 3), fg.ShapeError, "declare it on the input"),
        (lambda: fg.Dense(fg.Input("x", shape=()), 3), fg.ShapeError, "declare it on the input"),
        (
            lambda: fg.Dense(fg.Input("x", shape=3), 0),
            fg.SettingError,
            "units must be a whole number",
        ),
        (
            lambda: fg.Dense(fg.Input("x", shape=3), 2.5),
            fg.SettingError,
            "units must be a whole number",
        ),
        (
            lambda: fg.Dense(fg.Input("x", shape=3), 2, "rely"),
            fg.SettingError,
            "did you mean 'relu'?",
        ),
    ],
)
def test_dense_refuses(build, error, words):
    with pytest.raises(error, match=re.escape(words)):
        build()


INITIALIZERS = {  # the standard deviation each paper asks for, with fans of 300 and 200
    "glorot_uniform": np.sqrt(2 / 500),
    "glorot_normal": np.sqrt(2 / 500),
    "he_uniform": np.sqrt(2 / 300),
    "he_normal": np.sqrt(2 / 300),
}


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initializers_have_the_variance_of_their_paper(name):
    make = getattr(fg.initializers, name)
    drawn = make((300, 200), seed=1)
    assert drawn.shape == (300, 200)
    assert drawn.std() == pytest.approx(INITIALIZERS[name], rel=0.02)
    assert abs(drawn.mean()) < 4 * INITIALIZERS[name] / np.sqrt(60_000)
    np.testing.assert_array_equal(drawn, make((300, 200), seed=1))
    assert not np.array_equal(drawn, make((300, 200), seed=2))
    if name.endswith("uniform"):
        assert np.abs(drawn).max() <= np.sqrt(3) * INITIALIZERS[name]
    with pytest.raises(fg.ShapeError):
        make(())


def test_the_other_initializers():
    assert fg.initializers.zeros((2, 3)).tolist() == [[0] * 3] * 2
    assert fg.initializers.ones((2,)).tolist() == [1, 1]
    drawn = fg.initializers.uniform((10_000,), 2.0, 3.0, seed=0)
    assert 2 <= drawn.min() < 2.01 < 2.99 < drawn.max() < 3
    assert fg.initializers.normal((10_000,), 5.0, 0.1, seed=0).mean() == pytest.approx(5, abs=0.01)


# --- check_gradients ----------------------------------------------------------------------------


class WrongCube(fg.Node):
    def forward(self, x):
        return x**3

    def backward(self, gradient, x):
        return (3 * x**2 * gradient * np.where(np.arange(x.size) == 1, 1.01, 1.0),)


def test_a_wrong_gradient_is_found_by_node_and_index(engine):
    x = fg.Input("x")
    graph = fg.Graph(fg.Sum(WrongCube(x)))
    with pytest.raises(
        fg.GraphError, match=r"Input 'x' at \(1,\): backward says 12.12, central"
    ) as e:
        fg.check_gradients(graph, {x: [1.0, 2.0, 3.0]})
    assert "12.0000" in str(e.value) or "differences say 12" in str(e.value)
    report = fg.check_gradients(graph, {x: [1.0, 2.0, 3.0]}, tolerance=0.1)
    assert (report.node, report.index, report.elements) == (x, (1,), 3)
    assert report.error == pytest.approx(0.0099, rel=0.01)


def test_checking_changes_nothing(engine):
    graph = net("float32")
    before = flat(graph)
    data = X[:3].copy()
    report = fg.check_gradients(graph, {"x": data, "y": Y[:3]})
    assert report.error < 1e-6
    assert report.elements == 3 * 3 + 3 + graph.parameter_count
    assert flat(graph).tobytes() == before.tobytes()
    assert flat(graph).dtype == np.float32
    np.testing.assert_array_equal(data, X[:3])


def test_checking_refuses_senseless_settings():
    for settings in ({"epsilon": 0}, {"epsilon": -1.0}, {"tolerance": 0}, {"tolerance": np.nan}):
        with pytest.raises(fg.SettingError, match="must be above 0"):
            fg.check_gradients(net(), FEEDS, **settings)
    with pytest.raises(fg.GraphError, match="neither parameters nor inputs"):
        fg.check_gradients(fg.Graph(fg.Constant(1.0) * 2.0), {})
