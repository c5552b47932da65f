"""Each step of the lesson runs alone, and its numbers are right.

What is expected comes from formulas, closed solutions and differences, worked out here.
"""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastgraph as fg
from fastgraph.engines import extension

matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("networkx")

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(EXAMPLES.glob("[01][0-9]*_*.py"))
BOSTON = fg.datasets.load_boston()
ROOMS, PRICES = BOSTON["RM"], BOSTON["MEDV"]
Z = (ROOMS - ROOMS.mean()) / ROOMS.std()
#: The least squares line by the textbook: covariance over variance.
SLOPE = np.mean((ROOMS - ROOMS.mean()) * (PRICES - PRICES.mean())) / np.var(ROOMS)
OFFSET = PRICES.mean() - SLOPE * ROOMS.mean()


def line_loss(k, b):
    return float(np.mean((k * ROOMS + b - PRICES) ** 2))


LEAST = line_loss(SLOPE, OFFSET)


@pytest.fixture
def lesson(tmp_path, monkeypatch, capsys):
    """Run a step by its number: its names, what it printed under "printed", its files."""

    def run(number):
        (script,) = EXAMPLES.glob(f"{number}_*.py")
        monkeypatch.setattr(sys, "argv", [str(script), "--out", str(tmp_path)])
        monkeypatch.syspath_prepend(str(EXAMPLES))
        with matplotlib.rc_context():
            names = runpy.run_path(str(script), run_name="__main__")
        files = {path.name for path in tmp_path.iterdir() if path.stat().st_size > 1000}
        return {**names, "printed": capsys.readouterr().out, "files": files}

    return run


def test_there_are_fourteen_steps_each_under_a_hundred_lines_that_say_what_to_look_at():
    assert sorted({int(script.name[:2]) for script in SCRIPTS}) == list(range(1, 15))
    for script in SCRIPTS:
        text = script.read_text(encoding="utf-8")
        number = script.name.split("_")[0].lstrip("0")
        assert text.startswith(f'"""{number}. '), script.name
        assert "\nLook at: " in text, script.name
        assert "Next: " in text, script.name
        assert len(text.splitlines()) < 100, script.name


def test_a_step_runs_as_a_command_without_a_display(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    for name in ("DISPLAY", "MPLBACKEND"):
        environment.pop(name, None)
    out = tmp_path / "new" / "folder"
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "01_data.py"), "--out", str(out)],
        capture_output=True, text=True, timeout=120, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (out / "01_scatter.png").read_bytes().startswith(b"\x89PNG")
    assert f"wrote {out / '01_scatter.png'}" in done.stdout


def test_01_data(lesson):
    step = lesson("01")
    assert step["files"] == {"01_scatter.png"}
    assert step["correlation"] == pytest.approx(SLOPE * ROOMS.std() / PRICES.std(), rel=1e-12)
    near = PRICES[np.argsort(np.abs(ROOMS - 6.5), kind="stable")][:10]
    assert step["look_up"](6.5) == pytest.approx(near.sum() / 10)


def test_02_random_line(lesson):
    step = lesson("02")
    assert step["files"] == {"02_random_lines.png"}
    draws = np.vstack([step["draws"], [step["k"], step["b"]]])
    assert len(np.unique(draws)) == 14
    assert (np.abs(draws) <= 100).all()
    for (k, b), off in zip(step["draws"], step["off"], strict=True):
        each = [abs(k * r + b - p) for r, p in zip(ROOMS, PRICES, strict=True)]
        assert off == pytest.approx(sum(each) / 506)


def test_03_loss(lesson):
    step = lesson("03")
    assert step["files"] == {"03_losses.png"}
    y, first, second = step["y"], step["first"], step["second"]
    assert (step["l1"](y, first), step["l1"](y, second)) == (5, 4)
    assert step["l2"](y, first) == pytest.approx(13 / 3)
    assert step["l2"](y, second) == pytest.approx(16 / 3)
    assert step["mae"] == pytest.approx(4 / 3)  # fastgraph's, of the second guess
    assert step["mse"] == pytest.approx(16 / 3)
    for words in ("= 5\n", "= 13/3", "= 16/3", "says L1 = 4 for the first guess"):
        assert words in step["printed"]


def test_04_random_search(lesson):
    step = lesson("04")
    assert step["files"] == {"04_random_search.png", "04_best_line.png"}
    losses = [loss for *_, loss in step["improved"]]
    assert losses == sorted(losses, reverse=True)
    assert len(losses) == step["printed"].count("draw ")
    assert len(step["curve"]) == 5000
    assert step["best"] == min(step["curve"]) == line_loss(step["best_k"], step["best_b"])
    assert step["least"] == pytest.approx(LEAST, rel=1e-9)
    assert LEAST < step["best"] < 2 * LEAST


def test_05_direction_search(lesson):
    step = lesson("05")
    assert step["files"] == {"05_path.png"}
    path = np.array(step["path"])
    np.testing.assert_allclose(np.abs(np.diff(path, axis=0)), 0.3, rtol=1e-9)
    along = [line_loss(k, b) for k, b in path]
    assert along == sorted(along, reverse=True)
    assert len(step["curve"]) == 10_000
    k, b = path[-1]
    assert step["best"] == along[-1]
    for dk, db in ((1, 1), (1, -1), (-1, 1), (-1, -1)):  # stuck: no direction helps
        assert line_loss(k + 0.3 * dk, b + 0.3 * db) > step["best"]
    assert step["best"] > LEAST + 1


def test_06_gradient_descent(lesson):
    step = lesson("06")
    assert step["files"] == {"06_three_methods.png"}
    k, b = step["far"]
    assert -200 <= k <= -100 and -200 <= b <= -100
    small = 1e-3
    by_k = (line_loss(k + small, b) - line_loss(k - small, b)) / (2 * small)
    by_b = (line_loss(k, b + small) - line_loss(k, b - small)) / (2 * small)
    assert step["partial_k"](k, b) == pytest.approx(by_k, rel=1e-6)
    assert step["partial_b"](k, b) == pytest.approx(by_b, rel=1e-6)
    # The loss is a quadratic, so t steps shrink the error by (I - rate * H)^t: a closed form.
    second = 2 * np.array([[np.mean(ROOMS**2), ROOMS.mean()], [ROOMS.mean(), 1]])
    best = np.array([SLOPE, OFFSET])
    for steps in (1, 10_000, 50_000):
        shrink = np.linalg.matrix_power(np.eye(2) - 1e-3 * second, steps)
        np.testing.assert_allclose(step["path"][steps], best + shrink @ ([k, b] - best), rtol=1e-6)
    assert len(step["path"]) == 50_001
    np.testing.assert_allclose(step["exact"], [SLOPE, OFFSET], rtol=1e-9)
    for curve in step["curves"].values():
        assert len(curve) == 10_000
        assert (np.diff(curve) <= 0).all()


def test_06b_scaling(lesson):
    step = lesson("06b")
    assert step["files"] == {"06b_scaling.png"}
    mean, square = ROOMS.mean(), np.mean(ROOMS**2)
    root = np.sqrt((square + 1) ** 2 - 4 * (square - mean**2))
    np.testing.assert_allclose(
        step["curvatures"](ROOMS), [square + 1 - root, square + 1 + root], rtol=1e-9
    )
    np.testing.assert_allclose(step["curvatures"](Z), [2, 2], rtol=1e-12)
    needed = step["needed"]
    assert needed["standardized, rate 0.1"] < 100 < needed["rate 0.02, momentum 0.9"] < 1000
    assert 100_000 < needed["rate 0.001"] < 200_000
    # Standardized, the excess shrinks by (1 - 2 * rate)² a step.
    excess = line_loss(step["k"], step["b"]) - LEAST
    expected = np.log(0.01 * LEAST / excess) / (2 * np.log(0.8))
    assert needed["standardized, rate 0.1"] == np.ceil(expected)
    for slow, fast in step["from_start"].values():
        assert fast < 40 < 1000 < slow


def test_07_parabola(lesson):
    step = lesson("07")
    assert step["files"] == {"07_parabola.png"}
    xs, ys = step["xs"], step["ys"]
    # xs are symmetric, so the best line of 10 x² + 5 x + 5 is 5 x + 5 + 10 mean x².
    assert step["k"] == pytest.approx(5)
    assert step["b"] == pytest.approx(5 + 10 * np.mean(xs**2))
    assert step["line_loss"] == pytest.approx(100 * np.var(xs**2))
    np.testing.assert_allclose(step["line"], step["k"] * xs + step["b"])
    assert (step["a"], step["b2"], step["c"]) == pytest.approx((10, 5, 5))
    assert step["square_loss"] < 1e-20 < ys.var()


def test_08_nonlinearity(lesson):
    step = lesson("08")
    assert step["files"] == {"08_families.png", "08_bump.png"}
    straight = {"line", "line-line-line"}
    for name, bend in step["largest"].items():
        assert (bend < 1e-12) == (name in straight), name
    double, increment = (lambda x: 2 * x), (lambda x: x + 1)
    assert step["so_many_layers"](5, [double, increment]) == 11
    assert step["so_many_layers"](5, [increment, double]) == 12
    assert step["so_many_layers"](5, []) == 5
    assert step["rises"] == (True, True)
    assert step["bump"].max() == pytest.approx(4 * np.tanh(3), rel=1e-3)


def test_09_two_layers(lesson):
    step = lesson("09")
    assert step["files"] == {"09_curve.png"}

    def loss(parameters, x, y):
        k1, b1, k2, b2 = parameters
        return np.mean((k2 / (1 + np.exp(-k1 * x - b1)) + b2 - y) ** 2)

    begin = np.array(step["begin"])
    for i, (name, factors) in enumerate(step["one"].items()):
        small = 1e-5 * np.eye(4)[i]
        up, down = (loss(begin + sign * small, Z[0], PRICES[0]) for sign in (1, -1))
        assert np.prod(factors) == pytest.approx((up - down) / 2e-5, rel=1e-6), name
        assert len(factors) == {"k1": 4, "b1": 4, "k2": 2, "b2": 2}[name]
    assert step["curve_loss"] == pytest.approx(loss(step["parameters"], Z, PRICES))
    assert step["curve_loss"] < 35.8 < LEAST
    assert step["line_loss"] == pytest.approx(LEAST)
    x, y = fg.Input("x"), fg.Input("y")  # fastgraph's descent, the same steps
    one = [fg.Parameter(value) for value in begin]
    graph = fg.Graph(fg.MSE(y, one[2] * fg.Sigmoid(one[0] * x + one[1]) + one[3]))
    graph.fit({x: Z, y: PRICES}, optimizer=fg.SGD(0.02), epochs=10_000)
    np.testing.assert_allclose([p.value for p in one], step["parameters"], rtol=1e-6)


def test_10_graph_and_sort(lesson):
    step = lesson("10")
    assert step["files"] == {"10_graph.png"}
    order = step["order"]
    assert order == ["x", "k1", "b1", "k2", "b2", "y", "linear", "sigmoid", "linear_2", "loss"]
    for name, feeds in step["lesson"].items():
        assert all(order.index(name) < order.index(fed) for fed in feeds)
    shown = re.findall(r"^ready: (.+?) +remove (\w+)$", step["printed"], re.MULTILINE)
    assert [name for _, name in shown] == order
    done = set()
    for ready, name in shown:  # what is said to be ready waits for nothing
        for one in ready.split(", "):
            assert {a for a, feeds in step["lesson"].items() if one in feeds} <= done
        done.add(name)
    assert "cycle: egg → hen → egg" in step["message"]
    with pytest.raises(ValueError, match="cycle"):
        step["topological_sort"]({"egg": ["hen"], "hen": ["egg"]})


def test_11_forward_backward(lesson):
    step = lesson("11")
    grids = {f"11_{way}{what}.png" for way in ("forward", "backward") for what in ("", "_order")}
    assert step["files"] == {*grids, "11_passes.gif"}
    x, y = Z[0], PRICES[0]
    s = 1 / (1 + np.exp(-x))  # k1 = 1, b1 = 0
    error = 2 * (10 * s + 10 - y)
    expected = {"b2": error, "k2": error * s, "b1": error * 10 * s * (1 - s)}
    expected["k1"] = expected["b1"] * x
    for name, gradient in expected.items():
        assert step[name].gradient.item() == pytest.approx(gradient, rel=1e-12), name
    assert np.prod(step["path"]) == pytest.approx(expected["k1"], rel=1e-12)
    assert f"k1        gradient {expected['k1']:9.4f}" in step["printed"]
    assert f"loss      value {(error / 2) ** 2:9.4f}" in step["printed"]


def test_12_framework(lesson):
    step = lesson("12")
    assert step["files"] == {"12_graph.png"}
    assert step["loss"].value == pytest.approx(float(step["graph"].outputs[0].value), rel=1e-13)
    for name, node in step["theirs"].items():
        assert step["ours"][name].gradient == pytest.approx(float(node.gradient), rel=1e-12), name
        assert node.gradient != 0
    # A node that feeds several adds up what it is handed back, whichever of them comes last.
    Node, Linear, Sigmoid, MSE = (step[name] for name in ("Node", "Linear", "Sigmoid", "MSE"))

    def slope(build):
        x = Node(value=np.array([3.0]))
        step["run"](MSE(Node(value=np.array([0.0])), build(x)))
        return float(x.gradient.item())

    two, three, zero = (Node(value=value) for value in (2.0, 3.0, 0.0))
    s = 1 / (1 + np.exp(-3))
    assert slope(lambda x: Linear(x, x, x)) == pytest.approx(2 * 12 * 7)  # x² + x
    assert slope(lambda x: Linear(Linear(x, two, zero), three, x)) == pytest.approx(98 * 3)  # 7 x
    of_sigmoid = 2 * (2 * s + 3) * (2 * s * (1 - s) + 1)  # 2 sigmoid(x) + x
    assert slope(lambda x: Linear(Sigmoid(x), two, x)) == pytest.approx(of_sigmoid)


def test_13_at_work(lesson):
    step = lesson("13")
    assert step["files"] == {"13_net.png", "13_speed.png"}
    assert not set(step["held"]) & set(step["kept"])
    assert len(step["held"]) + len(step["kept"]) == 506
    assert step["losses"][-1] < 6 < 500 < step["losses"][0]
    assert step["held_out"][-1] > min(step["held_out"]) + 0.3  # it overfits
    assert step["held_out"][step["best_epoch"] - 1] == min(step["held_out"]) < 10
    W1, b1, W2, b2 = step["best"]  # the best net, computed by hand on the held-out rows
    hidden = 1 / (1 + np.exp(-(step["X"][step["held"]] @ W1 + b1)))
    squares = (hidden @ W2 + b2 - step["Y"][step["held"]]) ** 2
    assert min(step["held_out"]) == pytest.approx(squares.mean(), rel=1e-9)
    assert step["root"] == pytest.approx(np.sqrt(squares.mean()), rel=1e-9)
    engines = {"numpy", "native"} if extension.NATIVE_AVAILABLE else {"numpy"}
    assert set(step["rates"]) == engines
    assert len({round(loss, 8) for loss in step["final"].values()}) == 1


def test_14_gallery(lesson):
    step = lesson("14")
    assert step["files"] == {"14_sine.png", "14_moons.png", "14_own_node.png"}
    noise = np.mean((step["ys"] - np.sin(2 * step["xs"])) ** 2)
    for history, error in (("history", "sine_error"), ("own", "wave_error")):
        assert step[history].loss[-1] == pytest.approx(noise, rel=0.15)
        assert step[error] < 0.06
    score, moon = step["moons"].evaluate(step["u"], {"point": step["points"]}), step["moon"]
    assert step["right"] == np.mean((score > 0) == (moon == 1)) > 0.98
    chance = 1 / (1 + np.exp(-score))
    entropy = -np.mean(np.where(moon == 1, np.log(chance), np.log(1 - chance)))
    data = {"point": step["points"], "label": moon}
    assert step["moons"].evaluate("cross-entropy", data) == pytest.approx(entropy)
    assert step["report"].error < 1e-6
    assert step["waves"].parameter_count == 1 * 8 + 8 + 8 * 1 + 1


def test_20_sklearn(lesson):
    pytest.importorskip("sklearn")
    step = lesson("20")
    assert step["files"] == {"20_band.png"}
    ours, theirs = step["scores"]["fastgraph"], step["scores"]["scikit-learn"]
    assert abs(ours - theirs) < 0.03 and min(ours, theirs) > 0.93
    below, above = (step["bands"][q].predict(step["held"]) for q in (0.05, 0.95))
    assert step["inside"] == np.mean((below < step["y_held"]) & (step["y_held"] < above))
    assert 0.8 < step["inside"] < 0.98
    assert (step["low"] < step["middle"]).all() and (step["middle"] < step["high"]).all()
    assert step["high"][150] - step["low"][150] > step["high"][20] - step["low"][20]
