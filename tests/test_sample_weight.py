"""``fit(sample_weight=…)``: rows that count more, less, or not at all."""

import numpy as np
import pytest

import fastgraph as fg

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(31, 3)), RNG.normal(size=(31, 1))
WEIGHTS = RNG.integers(0, 4, 31).astype(float)


def model(loss=fg.MSE, **options):
    x, y = fg.Input("x"), fg.Input("y")
    W, b = fg.Parameter(np.full((3, 1), 0.5), "W"), fg.Parameter([0.1], "b")
    prediction = fg.Linear(fg.Tanh(x), W, b, name="prediction")
    return fg.Graph(loss(y, prediction, name="loss", **options))


def trained(graph, X, Y, **settings):
    graph.fit({"x": X, "y": Y}, optimizer=fg.SGD(0.1, momentum=0.5), epochs=20, **settings)
    return np.concatenate([node.value.ravel() for node in graph.parameters.values()])


@pytest.mark.parametrize("loss, options", [(fg.MSE, {}), (fg.MAE, {}), (fg.Huber, {"delta": 0.3})])
def test_a_whole_weight_is_a_repeated_row(loss, options, engine):
    weighted = trained(model(loss, **options), X, Y, sample_weight=WEIGHTS)
    often = WEIGHTS.astype(int)
    repeated = trained(model(loss, **options), X.repeat(often, 0), Y.repeat(often, 0))
    np.testing.assert_allclose(weighted, repeated, rtol=1e-10)


def test_it_is_the_loss_made_with_a_weight(engine):
    ours = trained(model(), X, Y, sample_weight=WEIGHTS, batch_size=7)
    graph = model(sample_weight=fg.Input("w"))
    graph.fit(
        {"x": X, "y": Y, "w": WEIGHTS}, optimizer=fg.SGD(0.1, momentum=0.5), epochs=20, batch_size=7
    )
    theirs = np.concatenate([node.value.ravel() for node in graph.parameters.values()])
    np.testing.assert_array_equal(ours, theirs)


def test_two_runs_are_one_and_the_graph_stays_its_own(engine):
    once, twice, optimizer = model(), model(), fg.Adam(0.05)
    feeds = {"x": X, "y": Y}
    once.fit(feeds, optimizer=fg.Adam(0.05), epochs=20, sample_weight=WEIGHTS, batch_size=8)
    for _ in range(2):
        twice.fit(feeds, optimizer=optimizer, epochs=10, sample_weight=WEIGHTS, batch_size=8)
    np.testing.assert_array_equal(once.vector, twice.vector)
    assert [node.name for node in once.inputs] == ["y", "x"]
    plain = once.forward(feeds)
    np.testing.assert_allclose(plain, np.mean((Y - once.evaluate("prediction", feeds)) ** 2))


def test_validation_rows_count_alike(engine):
    graph = model()
    history = graph.fit(
        {"x": X, "y": Y}, optimizer=fg.SGD(0.01), epochs=1, sample_weight=WEIGHTS,
        validation={"x": X[:5], "y": Y[:5]},
    )  # fmt: skip
    error = Y[:5] - graph.evaluate("prediction", {"x": X[:5]})
    np.testing.assert_allclose(history.validation_loss[-1], np.mean(error**2), rtol=1e-12)


@pytest.mark.parametrize(
    "weights, error, words",
    [
        (WEIGHTS[:30], fg.DataError, "'sample_weight' has 30"),
        (-WEIGHTS, fg.DataError, "sample weights"),
        (WEIGHTS * np.nan, fg.DataError, "'sample_weight': the data has nan"),
        (["a"] * 31, fg.DataError, "expected numbers"),
    ],
)
def test_weights_that_cannot_be_are_refused_by_name(weights, error, words, engine):
    graph = model()
    before = graph.vector.copy()
    with pytest.raises(error, match=words):
        trained(graph, X, Y, sample_weight=weights)
    np.testing.assert_array_equal(graph.vector, before)


def test_only_a_loss_without_weights_of_its_own_takes_them():
    graph = model(sample_weight=fg.Input("w"))
    with pytest.raises(fg.SettingError, match="a sample_weight of its own"):
        graph.fit({"x": X, "y": Y, "w": WEIGHTS}, optimizer=fg.SGD(0.1), epochs=1,
                  sample_weight=WEIGHTS)  # fmt: skip
    x, p = fg.Input("x"), fg.Parameter(1.0)
    mean = fg.Graph(fg.Mean((x * p) ** 2))
    with pytest.raises(fg.SettingError, match="weighs the rows of a loss node"):
        mean.fit({x: X}, optimizer=fg.SGD(0.1), epochs=1, sample_weight=WEIGHTS)
