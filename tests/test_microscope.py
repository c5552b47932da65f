"""The microscope's file: its numbers against formulas, its text escaped, its page in a browser.

The browser is Chromium without a window, where it is installed: a script put into a copy of the
page clicks and types as a reader would and writes down what it then reads there.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import fastgraph as fg
from fastgraph.microscope import microscope

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=7), RNG.normal(size=7) + 3
BEGIN = {"k1": 1.3, "b1": -0.4, "k2": 2.0, "b2": 0.7}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)


def curve(activation=fg.Sigmoid, names=None):
    """k2 * sigmoid(k1 * x + b1) + b2 and its loss."""
    names = names or {}
    x, y = fg.Input("x"), fg.Input("y")
    k1, b1, k2, b2 = (fg.Parameter(value, name) for name, value in BEGIN.items())
    hidden = activation(fg.Linear(x, k1, b1, name="line"), name=names.get("s", "s"))
    guess = fg.Linear(hidden, k2, b2, name="guess")
    return fg.Graph(fg.MSE(y, guess, name=names.get("loss", "loss")))


def by_hand(k1, b1, k2, b2, x=X, y=Y):
    """The loss and the four gradients, by the chain rule."""
    s = 1 / (1 + np.exp(-(k1 * x + b1)))
    error = 2 * (k2 * s + b2 - y) / len(x)
    to_u = error * k2 * s * (1 - s)
    gradients = {"k1": to_u @ x, "b1": to_u.sum(), "k2": error @ s, "b2": error.sum()}
    return np.mean((k2 * s + b2 - y) ** 2), gradients


def data_of(path):
    text = Path(path).read_text(encoding="utf-8")
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(found)


def node_of(data, label):
    return next(i for i, node in enumerate(data["nodes"]) if node["label"] == label)


def test_every_step_holds_the_numbers_of_gradient_descent(tmp_path, engine):
    path = microscope(
        curve(), {"x": X, "y": Y}, steps=4, optimizer=fg.SGD(0.3), rows=3, path=tmp_path / "m.html"
    )
    data = data_of(path)
    assert len(data["steps"]) == 5
    parameters = dict(BEGIN)
    for step in data["steps"]:
        loss, gradients = by_hand(**parameters)
        assert step["values"][node_of(data, "loss")]["d"][0] == pytest.approx(loss, rel=1e-10)
        for name, gradient in gradients.items():
            i = node_of(data, name)
            assert step["values"][i]["d"] == pytest.approx([parameters[name]], rel=1e-10)
            assert step["gradients"][i]["d"] == pytest.approx([gradient], rel=1e-10)
            parameters[name] -= 0.3 * gradient


def test_local_derivatives_are_those_of_each_row(tmp_path):
    data = data_of(microscope(curve(), {"x": X, "y": Y}, steps=0, rows=3, path=tmp_path / "m"))
    (step,) = data["steps"]
    k1, b1, k2, b2 = BEGIN.values()
    s = 1 / (1 + np.exp(-(k1 * X + b1)))
    expected = {
        ("x", "line"): np.full(7, k1), ("k1", "line"): X, ("b1", "line"): np.ones(7),
        ("line", "s"): s * (1 - s), ("s", "guess"): np.full(7, k2), ("k2", "guess"): s,
        ("b2", "guess"): np.ones(7), ("guess", "loss"): 2 * (k2 * s + b2 - Y) / 7,
        ("y", "loss"): -2 * (k2 * s + b2 - Y) / 7,
    }  # fmt: skip
    assert len(data["edges"]) == len(expected)
    for (i, j), found in zip(data["edges"], step["locals"], strict=True):
        names = data["nodes"][i]["label"], data["nodes"][j]["label"]
        assert found == pytest.approx(expected[names][:3], rel=1e-12), names


def test_a_node_used_twice_has_one_edge_with_both_derivatives(tmp_path):
    x = fg.Input("x")
    graph = fg.Graph(fg.Sum(x * x))
    data = data_of(microscope(graph, {"x": [3.0, 5.0]}, steps=0, path=tmp_path / "m"))
    edge = data["edges"].index([node_of(data, "x"), node_of(data, "multiply_1")])
    assert data["steps"][0]["locals"][edge] == [6.0, 10.0]
    assert data["steps"][0]["parts"][edge]["d"] == [6.0, 10.0]


def test_the_graph_and_the_optimizer_are_left_as_they_were(tmp_path):
    graph, optimizer = curve(), fg.Adam(0.1)
    microscope(graph, {"x": X, "y": Y}, steps=3, optimizer=optimizer, path=tmp_path / "m")
    assert {name: float(one.value) for name, one in graph.parameters.items()} == BEGIN
    loss, gradients = by_hand(**BEGIN)
    assert float(graph.outputs[0].value) == pytest.approx(loss)
    assert float(graph.parameters["k1"].gradient) == pytest.approx(gradients["k1"])
    fresh = curve()
    first = fresh.fit({"x": X, "y": Y}, optimizer=fg.Adam(0.1), epochs=3)
    after = graph.fit({"x": X, "y": Y}, optimizer=optimizer, epochs=3)
    np.testing.assert_array_equal(after.loss, first.loss)


def test_training_that_diverges_ends_the_record_and_is_told(tmp_path):
    data = data_of(
        microscope(
            curve(fg.ReLU), {"x": X * 1e3, "y": Y}, steps=500, optimizer=fg.SGD(10.0),
            path=tmp_path / "m",
        )
    )  # fmt: skip
    assert 1 < len(data["steps"]) < 501
    assert "learning rate" in data["stopped"]


def test_long_arrays_are_cut_and_their_norm_is_of_the_whole(tmp_path):
    x = fg.Input("x", shape=(40,))
    graph = fg.Graph(fg.Mean(fg.Dense(x, 20, "tanh", seed=1, name="layer"), name="mean"))
    graph.forward({x: np.ones((6, 40))})
    weights = graph.parameters["layer_W"].value
    data = data_of(microscope(graph, {x: np.ones((6, 40))}, steps=0, rows=2, path=tmp_path / "m"))
    (step,) = data["steps"]
    found = step["values"][node_of(data, "layer_W")]
    assert found["s"] == [40, 20]
    assert found["d"] == weights.ravel()[:256].tolist()
    assert found["n"] == pytest.approx(np.sqrt((weights**2).sum()))
    assert len(step["values"][node_of(data, "layer")]["d"]) == 2 * 20  # two rows of six are shown


class Double(fg.Node):
    """An operation the page cannot know."""

    def forward(self, x):
        return 2 * x

    def backward(self, gradient, x):
        return (2 * gradient,)


def test_numbers_can_be_edited_only_where_the_page_knows_every_operation(tmp_path):
    feeds = {"x": X, "y": Y}
    data = data_of(microscope(curve(), feeds, steps=0, path=tmp_path / "m"))
    assert data["live"][str(node_of(data, "x"))] == {"s": [7], "d": X.tolist()}
    data = data_of(microscope(curve(Double), feeds, steps=0, path=tmp_path / "m"))
    assert data["live"] is None
    assert "Double" in data["why"]
    many = {"x": np.ones(15_000), "y": np.ones(15_000)}
    data = data_of(microscope(curve(), many, steps=0, path=tmp_path / "m"))
    assert data["live"] is None
    assert "30,000" in data["why"]


NASTY = "</script><img src=x onerror=alert(1)>&amp;\u2028"


def test_names_are_text_never_markup(tmp_path):
    path = microscope(
        curve(names={"loss": NASTY}), {"x": X, "y": Y}, steps=0, path=tmp_path / "m",
        title=f"{NASTY} title",
    )  # fmt: skip
    text = Path(path).read_text(encoding="utf-8")
    assert "<img" not in text
    assert text.count("</script>") == 2
    data = data_of(path)
    assert data["nodes"][-1]["label"] == NASTY
    assert data["title"] == f"{NASTY} title"
    for markup in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert markup not in text


def test_the_page_asks_for_nothing_from_outside(tmp_path):
    path = microscope(curve(), {"x": X, "y": Y}, path=tmp_path / "m")
    text = Path(path).read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert set(re.findall(r"https?://[^\s\"'<>]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\b(src|href)\s*=|@import|fetch\(|XMLHttpRequest|\burl\(", text)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": -1}, "steps"),
        ({"steps": 1.5}, "steps"),
        ({"rows": 0}, "rows"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words, tmp_path):
    with pytest.raises(fg.SettingError, match=words):
        microscope(curve(), {"x": X, "y": Y}, path=tmp_path / "m", **settings)
    assert not (tmp_path / "m").exists()


def test_graphs_it_cannot_show_are_refused(tmp_path):
    x = fg.Input("x")
    with pytest.raises(fg.ShapeError, match="scalar"):
        microscope(fg.Graph(x * 2.0), {x: [1.0, 2.0]}, path=tmp_path / "m")
    with pytest.raises(fg.GraphError, match="one output"):
        microscope(fg.Graph(fg.Sum(x), fg.Mean(x)), {x: [1.0]}, path=tmp_path / "m")
    node = x
    for _ in range(61):
        node = fg.Tanh(node)
    with pytest.raises(fg.SettingError, match="63 nodes"):
        microscope(fg.Graph(fg.Sum(node)), {x: [1.0]}, path=tmp_path / "m")


# ---------------------------------------------------------------- the page, in a browser

PLAY = """
const wrote = {}, all = (query) => [...document.querySelectorAll(query)];
const press = (key, target = document.body) =>
  target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
const node = (label) =>
  all(".node").find((one) => one.getAttribute("aria-label").startsWith(`${label},`));
const click = (label) => node(label).dispatchEvent(new MouseEvent("click", { bubbles: true }));
const numbers = (what) =>
  all(`table[data-what=${what}] td`).map((cell) => +cell.dataset.number);
const slide = (id, value) => {
  const input = document.getElementById(id);
  input.value = value; input.dispatchEvent(new Event("input"));
};
const type = (number) => {
  const input = document.querySelector("#detail input");
  input.value = number; input.dispatchEvent(new Event("change"));
};
const said = () => document.getElementById("detail").innerText;
try {
  SCRIPT
} catch (error) { wrote.error = String(error.stack); }
const report = document.createElement("pre");
report.id = "report";
report.textContent = JSON.stringify(wrote);
document.body.append(report);
"""


def in_browser(path, script):
    """What the script wrote into `wrote`, run in the page by Chromium without a window."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    path = Path(path)
    copy = path.with_suffix(".test.html")
    text = Path(path).read_text(encoding="utf-8")
    played = f"<script>{PLAY.replace('SCRIPT', script)}</script></body>"
    copy.write_text(text.replace("</body>", played), encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         f"--user-data-dir={path.parent / 'profile'}", "--dump-dom", copy.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    found = re.search(r'<pre id="report">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stderr[-2000:]
    plain = found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    wrote = json.loads(plain)
    assert "error" not in wrote, wrote["error"]
    return wrote


def test_a_reader_clicks_through_and_edits(tmp_path):
    path = microscope(
        curve(), {"x": X, "y": Y}, steps=4, optimizer=fg.SGD(0.3), rows=3, path=tmp_path / "m.html"
    )
    wrote = in_browser(path, """
      click("k1");
      wrote.start = { value: numbers("value"), gradient: numbers("gradient") };
      wrote.chain = document.querySelector("[data-chain]").innerText;
      wrote.product = +document.querySelector("[data-chain]").dataset.product;
      press("r");
      wrote.productOfNextRow = +document.querySelector("[data-chain]").dataset.product;
      press("r"); press("r");
      press("]"); press("]"); slide("step", 3);
      wrote.later = { value: numbers("value"), gradient: numbers("gradient") };
      press("Home");
      wrote.before = all("#graph .number").map((one) => one.textContent).join("");
      press("ArrowRight"); press("ArrowRight");
      wrote.at = document.getElementById("at-now").textContent;
      press("End");
      press("Enter", node("b2"));
      wrote.chosen = document.querySelector("#detail h2").textContent;
      press("["); press("["); press("[");
      click("k1"); type("2.5");
      click("loss"); wrote.editedLoss = numbers("value");
      click("b1"); wrote.editedGradient = numbers("gradient");
      click("x"); type("-1.25");
      click("k2"); wrote.editedTwice = numbers("gradient");
      wrote.status = document.getElementById("status").textContent;
      document.getElementById("undo").click();
      click("loss"); wrote.undone = numbers("value");
    """)  # fmt: skip
    loss, gradients = by_hand(**BEGIN)
    assert wrote["start"]["value"] == pytest.approx([1.3])
    assert wrote["start"]["gradient"] == pytest.approx([gradients["k1"]], rel=1e-9)
    s = 1 / (1 + np.exp(-(1.3 * X - 0.4)))
    shares = 2 * (2 * s + 0.7 - Y) / 7 * 2 * s * (1 - s) * X
    assert wrote["product"] == pytest.approx(shares[0], rel=1e-9)
    assert wrote["productOfNextRow"] == pytest.approx(shares[1], rel=1e-9)
    assert "∂loss/∂line · ∂line/∂k1" in wrote["chain"]
    assert "all 7 rows add up" in wrote["chain"]
    parameters = dict(BEGIN)
    for _ in range(3):
        slopes = by_hand(**parameters)[1]
        parameters = {name: value - 0.3 * slopes[name] for name, value in parameters.items()}
    assert wrote["later"]["value"] == pytest.approx([parameters["k1"]], rel=1e-9)
    slope = by_hand(**parameters)[1]["k1"]
    assert wrote["later"]["gradient"] == pytest.approx([slope], rel=1e-9)
    assert wrote["before"] == ""
    assert wrote["at"].startswith("forward: ")
    assert wrote["chosen"] == "b2"
    moved, slopes = by_hand(**{**BEGIN, "k1": 2.5})
    assert wrote["editedLoss"] == pytest.approx([moved], rel=1e-9)
    assert wrote["editedGradient"] == pytest.approx([slopes["b1"]], rel=1e-9)
    other = np.array([-1.25, *X[1:]])
    slopes = by_hand(**{**BEGIN, "k1": 2.5}, x=other)[1]
    assert wrote["editedTwice"] == pytest.approx([slopes["k2"]], rel=1e-9)
    assert "edited" in wrote["status"]
    assert wrote["undone"] == pytest.approx([loss], rel=1e-9)


def test_the_page_computes_every_operation_as_numpy_does(tmp_path):
    """All of them in one graph, one number nudged: the page's numbers against the engine's."""
    x, y = fg.Input("x", shape=(3,)), fg.Input("y", shape=(2,))
    W, b = fg.Parameter(RNG.normal(size=(3, 2)), "W"), fg.Parameter(RNG.normal(size=2), "b")
    c, row = fg.Parameter(0.3, "c"), fg.Parameter(RNG.normal(size=(1, 2)), "row")
    u = fg.Linear(x, W, b)
    smooth = fg.Sigmoid(u) * fg.Tanh(u) - fg.ReLU(u) / (1.5 + fg.Exp(-(u * u)))
    rough = fg.Sqrt(abs(u) + 0.5) + fg.Log(1.0 + row * row + u * u) * c
    loss = fg.MSE(y, smooth + rough) + fg.MAE(y, smooth) + fg.Mean(rough) * 0.1 + fg.Sum(u) * 0.01
    graph = fg.Graph(loss)
    feeds = {x: RNG.normal(size=(5, 3)), y: RNG.normal(size=(5, 2))}
    path = microscope(graph, feeds, steps=1, path=tmp_path / "m.html")
    assert data_of(path)["why"] is None
    wrote = in_browser(path, """
      click("c"); type("0.7");
      wrote.values = {}; wrote.gradients = {};
      for (const label of ["W", "b", "c", "row", "x", "y", "LOSS"]) {
        click(label); wrote.values[label] = numbers("value");
        wrote.gradients[label] = numbers("gradient");
      }
    """.replace("LOSS", graph.label(loss)))  # fmt: skip
    c.value = 0.7
    graph.forward(feeds)
    graph.backward()
    assert wrote["values"][graph.label(loss)] == pytest.approx([float(loss.value)], rel=1e-9)
    for node in (W, b, c, row):
        np.testing.assert_allclose(wrote["gradients"][node.name], node.gradient.ravel(), rtol=1e-9)
    for node in (x, y):  # row 0 is shown
        np.testing.assert_allclose(wrote["gradients"][node.name], node.gradient[0], rtol=1e-9)


def test_nasty_names_are_shown_as_they_are_and_run_nothing(tmp_path):
    path = microscope(
        curve(names={"loss": NASTY}), {"x": X, "y": Y}, steps=1, path=tmp_path / "m.html"
    )
    wrote = in_browser(path, """
      wrote.images = all("img").length;
      all(".node").at(-1).dispatchEvent(new MouseEvent("click", { bubbles: true }));
      wrote.heading = document.querySelector("#detail h2").textContent;
      wrote.value = numbers("value");
    """)  # fmt: skip
    assert wrote["images"] == 0
    assert wrote["heading"] == NASTY
    assert wrote["value"] == pytest.approx([by_hand(**BEGIN)[0]], rel=1e-9)
