"""The doctor: each illness alone is found, with the number that shows it; the healthy have none."""

import numpy as np
import pytest
from test_training import flat

import fastgraph as fg

DRAW = np.random.default_rng(5)
N = 211
X = DRAW.normal(size=(N, 4))
Y = np.tanh(X @ DRAW.normal(size=(4, 1))) + 0.3 * DRAW.normal(size=(N, 1))


def net(activation="tanh", loss=fg.MSE, dtype="float64", features=4):
    x, y = fg.Input("x", shape=(features,)), fg.Input("y")
    hidden = fg.Dense(x, 10, activation, seed=0, name="hidden")
    return fg.Graph(loss(y, fg.Dense(hidden, 1, seed=1, name="out")), dtype=dtype)


def found(diagnosis):
    return [finding.problem for finding in diagnosis]


def only(diagnosis, problem, where):
    assert found(diagnosis) == [problem], str(diagnosis)
    assert diagnosis[0].where == where
    assert diagnosis[0].remedy
    return diagnosis[0]


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu"])
@pytest.mark.parametrize("optimizer", [None, fg.SGD(0.1), fg.SGD(0.05, momentum=0.9), fg.Adam()])
def test_the_healthy_have_nothing(activation, optimizer, engine, dtype):
    diagnosis = net(activation, dtype=dtype).diagnose({"x": X, "y": Y}, optimizer)
    assert not diagnosis
    assert str(diagnosis) == "nothing found"
    assert "nothing found" in diagnosis._repr_html_()


def test_looking_changes_nothing(engine):
    graph = net()
    graph.forward({"x": X[:3], "y": Y[:3]})
    before, value = flat(graph), graph.outputs[0].value
    optimizer = fg.SGD(1e9)
    assert graph.diagnose({"x": X * 1e3, "y": Y}, optimizer)
    assert flat(graph).tobytes() == before.tobytes()
    assert graph.outputs[0].value is value
    graph.backward()
    assert len(optimizer._states) == 0


@pytest.mark.parametrize(("column", "mean", "deviation"), [(2, 0, 400), (0, 50, 1), (3, 0, 1e-5)])
def test_an_unscaled_column_is_named_with_its_scale(column, mean, deviation, engine):
    data = X.copy()
    data[:, column] = mean + deviation * (X[:, column] - X[:, column].mean()) / X[:, column].std()
    finding, *others = net("relu").diagnose({"x": data, "y": Y})
    assert (finding.problem, finding.where) == ("unscaled_input", "Input 'x'")
    assert {other.problem for other in others} <= {"dead_relu"}  # which it may well bring about
    assert finding.number == pytest.approx(max(mean, deviation), rel=1e-9)
    assert f"1 of 4 columns is not scaled: column {column} has mean" in finding.message
    assert f"standard deviation {deviation:.3g}" in finding.message
    assert "standardize" in finding.remedy


def test_an_unscaled_target_is_found(engine):
    finding = only(net().diagnose({"x": X, "y": Y * 1e4}), "unscaled_target", "Input 'y'")
    assert finding.number == pytest.approx(1e4 * Y.std(), rel=1e-9)


def test_a_target_is_known_where_the_loss_is_written_out(engine):
    x, y = fg.Input("x"), fg.Input("y")
    prediction = fg.MatMul(x, fg.Parameter(np.zeros((4, 1))))
    graph = fg.Graph(fg.Mean((y - prediction) ** 2))
    only(graph.diagnose({x: X, y: Y + 1000}), "unscaled_target", "Input 'y'")


def test_a_constant_feature_is_found(engine):
    data = X.copy()
    data[:, 1] = 0.1 + 0.2  # a mean that rounds
    finding = only(net().diagnose({"x": data, "y": Y}), "constant_feature", "Input 'x'")
    assert finding.number == 1
    assert "column 1 is 0.3 in every row" in finding.message


def test_a_constant_target_is_found(engine):
    only(net().diagnose({"x": X, "y": np.full((N, 1), 0.1)}), "constant_target", "Input 'y'")


@pytest.mark.parametrize("copy", [lambda c: c, lambda c: -0.5 * c + 0.25])
def test_features_that_repeat_are_found(copy, engine):
    data = np.column_stack([X, copy(X[:, 2])])
    finding = only(net(features=5).diagnose({"x": data, "y": Y}), "duplicate_features", "Input 'x'")
    assert finding.number == 1
    assert "column 2 and column 4 of Input 'x' are one up to scale" in finding.message


def test_features_that_are_much_alike_are_not_one(engine):
    data = np.column_stack([X, X[:, 2] + 0.01 * DRAW.normal(size=N)])
    assert not net(features=5).diagnose({"x": data, "y": Y})


@pytest.mark.parametrize("flat_target", [True, False])
def test_a_feature_that_is_the_target_is_found(flat_target, engine):
    """Also where one is of shape (n, 4) and the other of (n,) or (n, 1)."""
    data = X.copy()
    data[:, 3] = 2 * Y[:, 0] - 0.1
    x, y = fg.Input("x", shape=(4,)), fg.Input("y")
    target, size = (Y[:, 0], ()) if flat_target else (Y, (1,))
    out = fg.Linear(x, fg.Parameter(0.1 * np.ones((4, *size))), fg.Parameter(0.0))
    diagnosis = fg.Graph(fg.MSE(y, out)).diagnose({x: data, y: target})
    finding = only(diagnosis, "target_leakage", "Input 'x'")
    assert finding.number == pytest.approx(1, abs=1e-9)
    assert "column 3 is Input 'y' up to scale" in finding.message
    assert f"shapes (n, 4) and {'(n,)' if flat_target else '(n, 1)'}" in finding.message


def test_shapes_that_do_not_fit_are_a_finding(engine):
    finding = only(net().diagnose({"x": X, "y": Y[:, 0]}), "shape_mismatch", "the graph")
    assert "(211,)" in finding.message
    assert "(211, 1)" in finding.message


def test_dead_units_are_counted(engine):
    graph = net("relu")
    graph.parameters["hidden_b"].value[:3] = -100.0
    finding = only(graph.diagnose({"x": X, "y": Y}), "dead_relu", "ReLU 'hidden'")
    assert finding.number == pytest.approx(0.3)
    assert "3 of 10 units are 0 in every row" in finding.message


@pytest.mark.parametrize(("activation", "kind"), [("sigmoid", "Sigmoid"), ("tanh", "Tanh")])
def test_saturation_is_measured(activation, kind, engine):
    graph = net(activation)
    W = graph.parameters["hidden_W"].value * 100
    graph.parameters["hidden_W"].value = W
    finding = only(graph.diagnose({"x": X, "y": Y}), f"saturated_{activation}", f"{kind} 'hidden'")
    value = 1 / (1 + np.exp(-X @ W)) if activation == "sigmoid" else np.tanh(X @ W)
    low = 0.01 if activation == "sigmoid" else -0.99
    share = ((value < low) | (value > 0.99)).mean()
    assert finding.number == pytest.approx(share)
    assert 0.5 <= share < 1


def line(rows):
    """The loss mean((k x)²) has curvature 2 mean(x²) everywhere."""
    x, y, k = fg.Input("x"), fg.Input("y"), fg.Parameter(0.5, "k")
    noise = np.random.default_rng(0).normal(size=rows.shape)
    return fg.Graph(fg.MSE(y, k * x)), {x: rows, y: noise}


@pytest.mark.parametrize(
    ("times", "problem"), [(1.05, "learning_rate_too_large"), (1e-6, "learning_rate_too_small")]
)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_learning_rate_is_compared_with_the_curvature(times, problem, momentum, engine, dtype):
    """Gradient descent diverges above 2/curvature, with momentum m above 2(1 + m)/curvature."""
    rows = DRAW.normal(size=N)
    limit = 2 * (1 + momentum) / (2 * np.mean(rows**2))
    graph, feeds = line(rows)
    graph = fg.Graph(graph.outputs, dtype=dtype)
    finding = only(graph.diagnose(feeds, fg.SGD(times * limit, momentum)), problem, "SGD")
    assert finding.number == pytest.approx(times, rel={"float64": 1e-5, "float32": 0.02}[dtype])
    assert not graph.diagnose(feeds, fg.SGD(0.9 * limit, momentum))


def test_the_limit_is_where_training_diverges(engine):
    rows = DRAW.normal(size=N)
    limit = 1 / np.mean(rows**2)
    for times, grows in ((1.02, True), (0.98, False)):
        graph, feeds = line(rows)
        loss = graph.fit(feeds, optimizer=fg.SGD(times * limit), epochs=300).loss
        assert (loss[-1] > loss[0]) == grows


@pytest.mark.parametrize(
    ("rate", "problem"), [(5.0, "learning_rate_too_large"), (1e-9, "learning_rate_too_small")]
)
def test_an_adaptive_rate_is_compared_with_the_parameters(rate, problem, engine):
    finding = only(net().diagnose({"x": X, "y": Y}, fg.Adam(rate)), problem, "Adam")
    assert finding.number == pytest.approx(rate / max(np.sqrt(np.mean(flat(net()) ** 2)), 0.1))


def test_all_that_is_wrong_is_told_at_once(engine):
    data = np.column_stack([1e4 * X, 1e4 * X[:, 0], np.ones(N)])
    diagnosis = net("sigmoid", features=6).diagnose({"x": data, "y": Y}, fg.SGD(0.1))
    assert set(found(diagnosis)) == {
        "constant_feature", "unscaled_input", "duplicate_features", "saturated_sigmoid",
        "learning_rate_too_large",
    }  # fmt: skip
    report = str(diagnosis)
    assert report == repr(diagnosis)
    for finding in diagnosis:
        assert f"{finding.where}: {finding.message}\n    → {finding.remedy}" in report
    assert diagnosis._repr_html_().count("<tr>") == len(diagnosis) + 1
    assert "standardized inputs allow more" in report


def test_many_rows_and_columns_are_looked_at_in_part(engine, monkeypatch):
    monkeypatch.setattr("fastgraph.doctor.ROWS", 50)
    data = X.copy()
    data[:, 1] = -3 * data[:, 0]
    assert found(net().diagnose({"x": data, "y": Y}, fg.SGD(1e-2))) == ["duplicate_features"]


def test_wrong_arguments_are_refused(engine):
    with pytest.raises(fg.SettingError, match=r"optimizer: expected an Optimizer, got 0\.1"):
        net().diagnose({"x": X, "y": Y}, 0.1)
    with pytest.raises(fg.DataError, match="not fed"):
        net().diagnose({"x": X})


def test_divergence_points_to_the_doctor(engine):
    with pytest.raises(fg.DivergenceError, match=r"graph\.diagnose\(feeds, optimizer\) tells more"):
        net("relu").fit({"x": X, "y": Y}, optimizer=fg.SGD(1e6), epochs=100)
