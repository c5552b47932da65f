"""Penalties and clipping: each step against the rule written out apart, in every build."""

import re

import numpy as np
import pytest
from numerics import assert_close
from test_training import FEEDS, ROWS, X, Y, flat, line, line_gradient, net

import fastgraph as fg

START = np.array([0.5, 0.25, -0.5, 0.1])
CASES = {
    "norm": {"clip_norm": 0.7},
    "norm never reached": {"clip_norm": 1e6},
    "value": {"clip_value": 0.3},
    "both": {"clip_value": 0.5, "clip_norm": 0.6},
    "l1": {"l1": {"W": 0.2}},
    "l2": {"l2": {"W": 0.3, "b": 0.1}},
    "all": {"l1": {"b": 0.2}, "l2": {"W": 0.3}, "clip_value": 0.5, "clip_norm": 0.6},
}


def strengths(given):
    given = given or {}
    return np.append(np.full(3, given.get("W", 0.0)), given.get("b", 0.0))


def rule(p, x, y, case):
    """The loss with its penalties, and the clipped gradient."""
    loss, g = line_gradient(p, x, y)
    l1, l2 = strengths(case.get("l1")), strengths(case.get("l2"))
    loss += (l1 * abs(p)).sum() + 0.5 * (l2 * p * p).sum()
    g = g + l1 * np.sign(p) + l2 * p
    if "clip_value" in case:
        g = np.clip(g, -case["clip_value"], case["clip_value"])
    if "clip_norm" in case:
        g = g * min(1, case["clip_norm"] / np.linalg.norm(g))
    return loss, g


@pytest.mark.parametrize("name", CASES)
def test_each_step_follows_the_rule(name, runner, dtype):
    graph, p = line(dtype), START.copy()
    history = graph.fit(
        FEEDS, optimizer=fg.SGD(0.05), epochs=5, batch_size=9, shuffle=False, **CASES[name]
    )
    tolerance = {"float64": 1e-11, "float32": 1e-4}[dtype]
    for mean in history.loss:
        total = 0.0
        for start in range(0, ROWS, 9):
            x, y = X[start : start + 9], Y[start : start + 9]
            loss, gradient = rule(p, x, y, CASES[name])
            total += loss * len(y)
            p = p - 0.05 * gradient
        assert mean == pytest.approx(total / ROWS, rel=tolerance)
    assert_close(flat(graph), p, tolerance)


def test_the_cases_differ():
    found = set()
    for case in CASES.values():
        graph = line()
        graph.fit(FEEDS, optimizer=fg.SGD(0.05), epochs=5, batch_size=9, shuffle=False, **case)
        found.add(flat(graph).tobytes())
    assert len(found) == len(CASES)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 16, 101])
def test_the_norm_is_of_every_element(size, runner, dtype):
    """The gradient of Σp²/2 is p: a step of rate 1 leaves p·(1 - norm/|p|)."""
    start = np.linspace(-3, 5, size) if size > 1 else np.array([5.0])
    p = fg.Parameter(start)
    graph = fg.Graph(fg.Sum(p * p) * 0.5, dtype=dtype)
    graph.fit({}, optimizer=fg.SGD(1.0), epochs=1, clip_norm=0.25)
    want = start * (1 - 0.25 / np.linalg.norm(start))
    assert_close(p.value, want, {"float64": 1e-13, "float32": 1e-5}[dtype])


def test_a_norm_beyond_float32_is_still_a_norm(engine):
    x, p = fg.Input("x"), fg.Parameter([1.0, 1.0], "p")
    graph = fg.Graph(fg.Mean(x * p), dtype="float32")
    graph.fit({x: [[3e30, 4e30]]}, optimizer=fg.SGD(0.5), epochs=1, clip_norm=1.0)
    assert_close(p.value, [1 - 0.3, 1 - 0.4], 1e-6)


def test_a_number_is_for_weight_matrices(engine):
    """They have two axes; biases are spared."""
    graph, spelled = net(), net()
    names = [name for name, p in graph.parameters.items() if p.value.ndim == 2]
    assert 0 < len(names) < len(graph.parameters)
    graph.fit(FEEDS, optimizer=fg.SGD(0.05), epochs=3, l1=0.01, l2=0.02)
    spelled.fit(FEEDS, optimizer=fg.SGD(0.05), epochs=3, l1=dict.fromkeys(names, 0.01),
                l2={spelled.parameters[name]: 0.02 for name in names})  # fmt: skip
    assert flat(graph).tobytes() == flat(spelled).tobytes()


def test_a_penalty_is_the_one_written_as_nodes(engine):
    x, y = fg.Input("x", shape=(3,)), fg.Input("y")
    W, b = fg.Parameter(np.full((3, 1), 0.5), "W"), fg.Parameter([0.0], "b")
    data = {"x": X, "y": Y[:, None]}
    by_setting = fg.Graph(fg.MSE(y, fg.Linear(x, W, b)))
    one = by_setting.fit(data, optimizer=fg.SGD(0.05), epochs=9, l1=0.3, l2=0.2)
    kept = flat(by_setting)
    W.value, b.value = np.full((3, 1), 0.5), [0.0]
    penalty = 0.3 * fg.Sum(abs(W)) + 0.1 * fg.Sum(W * W)
    by_node = fg.Graph(fg.MSE(y, fg.Linear(x, W, b)) + penalty)
    two = by_node.fit(data, optimizer=fg.SGD(0.05), epochs=9)
    assert_close(flat(by_node), kept, 1e-12)
    assert_close(two.loss, one.loss, 1e-12)


def test_validation_is_without_penalties(engine):
    graph = line()
    history = graph.fit(FEEDS, optimizer=fg.SGD(1e-9), epochs=1, l2={"W": 5.0}, validation=FEEDS)
    assert history.validation_loss[0] == pytest.approx(line_gradient(START, X, Y)[0], rel=1e-6)
    assert history.loss[0] > history.validation_loss[0] + 1


def test_the_bits_do_not_depend_on_threads_and_blocks(engine):
    found = set()
    for threads in (1, 2):
        graph = net()
        graph.fit(FEEDS, optimizer=fg.Adam(), epochs=3, threads=threads, clip_norm=0.1, l2=0.1)
        found.add(flat(graph).tobytes())
    assert len(found) == 1


BAD = {
    "clip_norm must be a number above 0, got 0": {"clip_norm": 0},
    "clip_norm must be a number above 0, got -1": {"clip_norm": -1},
    "clip_norm must be a number above 0, got 'big'": {"clip_norm": "big"},
    "clip_value must be a number above 0, got nan": {"clip_value": float("nan")},
    "l1 must be a number of 0 or more, got -0.1": {"l1": -0.1},
    "l2 must be a number of 0 or more, got None": {"l2": None},
    "no parameter has two axes; name those that are meant, as l2={'W': 0.1}": {"l2": 0.1},
    "l2: unknown parameter 'ww'": {"l2": {"ww": 0.1}},
    "l1 of Parameter 'W' must be a number of 0 or more": {"l1": {"W": -1}},
}


@pytest.mark.parametrize("words", BAD)
def test_settings_out_of_range_are_refused(words, engine):
    graph = line()
    with pytest.raises(fg.SettingError, match=re.escape(words)):
        graph.fit(FEEDS, optimizer=fg.SGD(0.1), epochs=1, **BAD[words])
    assert flat(graph).tobytes() == START.tobytes()


def test_a_parameter_of_another_graph_is_refused():
    with pytest.raises(fg.GraphError, match="is no parameter that this loss trains"):
        line().fit(FEEDS, optimizer=fg.SGD(0.1), epochs=1, l2={fg.Parameter(1.0): 0.1})
