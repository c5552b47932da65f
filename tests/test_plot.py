"""Pictures: what they draw, where, in what words and numbers; none of them needs a display."""

import sys

import numpy as np
import pytest

import fastgraph as fg
from fastgraph import plot

matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("networkx")

from matplotlib.figure import Figure  # noqa: E402

LESSON = {
    "x": ["linear"], "k1": ["linear"], "b1": ["linear"], "linear": ["sigmoid"],
    "sigmoid": ["linear2"], "k2": ["linear2"], "b2": ["linear2"], "linear2": ["loss"],
    "y": ["loss"],
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_window(monkeypatch):
    """Nothing may be shown, and no figure may be left open for the next test."""
    import matplotlib.pyplot as plt

    def show(*args, **kwargs):
        raise AssertionError("a plot function called show()")

    monkeypatch.setattr(plt, "show", show)
    monkeypatch.setattr(Figure, "show", show)
    yield
    plt.close("all")


def new_axes(width=6, height=4):
    return Figure(figsize=(width, height)).subplots()


def words(ax):
    return [text.get_text() for text in ax.texts]


def where(ax, label):
    """The place of a box, by the word in it."""
    found = [text.get_position() for text in ax.texts if text.get_text() == label]
    assert len(found) == 1, (label, words(ax))
    return found[0]


def line_graph(rows=5):
    """k * x + b with k = 2, b = -1 against y = x^2, run forward and back."""
    x, y = fg.Input("x"), fg.Input("y")
    k, b = fg.Parameter(2.0, "k"), fg.Parameter(-1.0, "b")
    graph = fg.Graph(fg.MSE(y, k * x + b, name="loss"))
    data = np.arange(float(rows))
    graph.forward({x: data, y: data**2})
    graph.backward()
    return graph, k, b


def deep_graph(layers):
    x, y = fg.Input("x"), fg.Input("y")
    node = x
    for i in range(layers):
        W, b = fg.Parameter(np.ones((3, 3)), f"W{i}"), fg.Parameter(np.zeros(3), f"b{i}")
        node = fg.Sigmoid(fg.Linear(node, W, b))
    return fg.Graph(fg.MSE(y, node, name="loss"))


# graph ----------------------------------------------------------------------------------------


def test_a_mapping_is_drawn_with_every_name_and_every_edge():
    ax = plot.graph(LESSON)
    for name in {*LESSON, "loss"}:
        where(ax, name)
    arrows = [p for p in ax.patches if isinstance(p, matplotlib.patches.FancyArrowPatch)]
    assert len(arrows) == sum(map(len, LESSON.values())) == 9


def test_edges_lead_to_later_layers_and_weights_stand_beside_their_operation():
    ax = plot.graph(LESSON)
    for source, targets in LESSON.items():
        for target in targets:
            assert where(ax, source)[0] < where(ax, target)[0]
    assert where(ax, "k2")[0] == pytest.approx(where(ax, "sigmoid")[0])
    assert where(ax, "y")[0] == pytest.approx(where(ax, "linear2")[0])


def test_the_mapping_is_not_changed():
    before = {name: list(targets) for name, targets in LESSON.items()}
    plot.graph(LESSON)
    plot.steps(LESSON)
    assert before == LESSON


def test_a_graph_shows_names_kinds_and_shapes():
    graph, _, _ = line_graph(rows=7)
    shown = words(plot.graph(graph, title="a line"))
    for word in ("x", "y", "k", "b", "loss", "MSE", "multiply_1", "add_1", "scalar", "7"):
        assert word in shown, (word, shown)
    for kind in ("input", "parameter", "operation", "output"):
        assert shown.count(kind) == 1
    assert "constant" not in shown


def test_a_constant_shows_its_value():
    x = fg.Input("x")
    assert "2.5" in words(plot.graph(fg.Graph(fg.Sum(x * 2.5))))


def test_shapes_are_written_as_products():
    graph = deep_graph(1)
    graph.forward({"x": np.ones((5, 3)), "y": np.ones((5, 3))})
    shown = words(plot.graph(graph))
    assert "5×3" in shown and "3×3" in shown


def test_kinds_differ_in_outline_too():
    from matplotlib.patches import FancyBboxPatch, Polygon, Rectangle

    graph, _, _ = line_graph()
    ax = plot.graph(graph)
    outlines = [type(patch) for patch in ax.patches]
    # Boxes and one legend sample each: 2 inputs, 2 parameters, 2 operations, 1 double output.
    assert outlines.count(FancyBboxPatch) == 2 + 1
    assert outlines.count(Polygon) == 2 + 1
    assert outlines.count(Rectangle) == (2 + 1) + 2 * (1 + 1)


def test_a_node_used_twice_has_two_edges():
    x = fg.Input("x")
    ax = plot.graph(fg.Graph(fg.Sum(x * x)))
    arrows = [p for p in ax.patches if isinstance(p, matplotlib.patches.FancyArrowPatch)]
    assert len(arrows) == 3
    ax.figure.canvas.draw()
    covered = {tuple(np.round(arrow.get_window_extent().bounds, 1)) for arrow in arrows}
    assert len(covered) == 3  # each to a port of its own


@pytest.mark.parametrize("layers", [1, 3, 9, 13])
def test_boxes_and_their_words_do_not_overlap(layers):
    ax = plot.graph(deep_graph(layers))
    figure = ax.figure
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    boxes = [
        patch.get_window_extent(renderer)
        for patch in ax.patches
        if not isinstance(patch, matplotlib.patches.FancyArrowPatch)
    ]
    boxes = [box for box in boxes if box.width > 50]  # not the samples of the legend
    names = [text for text in ax.texts if text.get_fontweight() == "bold"]
    assert len(names) == 4 * layers + 3
    for text in names:
        assert text.get_fontsize() >= 6
        extent = text.get_window_extent(renderer)
        assert any(box.x0 <= extent.x0 and extent.x1 <= box.x1 for box in boxes), text
    centres = [text.get_position() for text in names]
    for i, (x0, y0) in enumerate(centres):
        for x1, y1 in centres[:i]:
            assert abs(x0 - x1) > 0.9 or abs(y0 - y1) > 0.5


def test_deep_graphs_run_down_the_page():
    ax = plot.graph(deep_graph(7))
    assert where(ax, "W0")[1] > where(ax, "W6")[1]
    width, height = ax.figure.get_size_inches()
    assert height > width


def test_long_names_are_shortened():
    long = "a_very_long_name_of_a_hidden_layer"
    shown = words(plot.graph({"x": [long]}))
    assert long not in shown and "a_very_lon…n_layer" in shown


def test_one_node_alone():
    assert "x" in words(plot.graph({"x": []}))


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(fg.CycleError):
        plot.graph({"a": ["b"], "b": ["a"]})
    with pytest.raises(fg.SettingError, match="no nodes"):
        plot.graph({})
    with pytest.raises(fg.SettingError, match="expected a Graph or a mapping"):
        plot.graph([1, 2])
    with pytest.raises(fg.SettingError, match="500 nodes cannot be read"):
        plot.graph({i: [i + 1] for i in range(499)})


def test_axes_given_are_the_axes_used():
    graph, k, b = line_graph()
    for draw in (
        lambda ax: plot.steps(graph, ax=ax),
        lambda ax: plot.distributions(graph, ax=ax),
        lambda ax: plot.graph(graph, ax=ax),
        lambda ax: plot.fit([1, 2], [3, 4], ax=ax),
        lambda ax: plot.history([3, 2, 1], ax=ax),
        lambda ax: plot.loss_surface(graph, k, b, points=5, ax=ax),
        lambda ax: plot.speed({"line": {"native": 1.0}}, ax=ax),
    ):
        ax = new_axes()
        assert draw(ax) is ax


# steps and animate ----------------------------------------------------------------------------


def panels(ax):
    return ax.child_axes


def test_steps_visits_the_nodes_in_topological_order_and_back():
    order = fg.topological_sort(LESSON)
    forward = [ax.get_title(loc="left") for ax in panels(plot.steps(LESSON))]
    assert forward == [f"forward {i}: {name}" for i, name in enumerate(order, start=1)]
    backward = [ax.get_title(loc="left") for ax in panels(plot.steps(LESSON, "backward"))]
    assert backward == [f"backward {i}: {name}" for i, name in enumerate(order[::-1], start=1)]


def test_steps_marks_reached_nodes_by_colour_and_by_number():
    from matplotlib.colors import to_hex

    for direction, colour in (("forward", "#d55e00"), ("backward", "#222222")):
        drawn = panels(plot.steps({"x": ["m"], "m": ["loss"]}, direction))
        for i, ax in enumerate(drawn, start=1):
            numbers = [word for word in words(ax) if word.isdigit()]
            assert sorted(numbers) == [str(n) for n in range(1, i + 1)]
            fills = [to_hex(p.get_facecolor()) for p in ax.patches]
            # The output's outline is double: its second patch has no fill of its own.
            assert fills.count(colour) == i
            assert fills.count("#cdebdf") == 3 - i


def test_steps_of_a_graph_show_values_gradients_and_local_derivatives():
    # One row, by hand: x = 3, k = 2, b = -1, p = 5, y = 9, loss = (p - y)^2 = 16.
    x, y = fg.Input("x"), fg.Input("y")
    k, b = fg.Parameter(2.0, "k"), fg.Parameter(-1.0, "b")
    graph = fg.Graph(fg.MSE(y, k * x + b, name="loss"))
    graph.forward({x: [3.0], y: [9.0]})
    graph.backward()
    last = words(panels(plot.steps(graph))[-1])
    for value in ("3", "2", "-1", "6", "5", "9", "16"):
        assert value in last, value
    last = words(panels(plot.steps(graph, "backward"))[-1])
    for gradient in ("∂ 1", "∂ -8", "∂ 8", "∂ -24", "∂ -16"):
        assert gradient in last, gradient
    for local in ("-8", "8", "1", "3", "2"):  # dloss/dp, dloss/dy, dp/db, dm/dk, dm/dx
        assert local in last, local


def test_steps_of_arrays_show_means_and_norms():
    graph, _, _ = line_graph(rows=5)
    assert "mean 2" in words(panels(plot.steps(graph))[-1])  # x = 0, 1, 2, 3, 4
    shown = words(panels(plot.steps(graph, "backward"))[-1])
    error = 2 * np.arange(5) - 1 - np.arange(5) ** 2
    assert f"norm {np.linalg.norm(2 * error / 5):.3g}" in shown


def test_steps_draws_only_the_steps_asked_for():
    drawn = [ax.get_title(loc="left") for ax in panels(plot.steps(LESSON, only=[0, -1]))]
    assert drawn == ["forward 1: x", "forward 10: loss"]
    for only in ([10], [-11], []):
        with pytest.raises(fg.SettingError, match="10 steps"):
            plot.steps(LESSON, only=only)


def test_steps_columns_and_wrong_direction():
    grid = plot.steps(LESSON, columns=5)
    grid.figure.canvas.draw()
    places = [ax.get_window_extent().bounds[:2] for ax in panels(grid)]
    assert len({round(left) for left, _ in places}) == 5
    assert len({round(bottom) for _, bottom in places}) == 2
    for direction in ("both", "sideways"):
        with pytest.raises(fg.SettingError, match="forward"):
            plot.steps(LESSON, direction)


def test_animate_writes_a_gif_with_a_frame_a_step(tmp_path):
    from PIL import Image

    path = tmp_path / "pass.gif"
    graph = {"x": ["m", "m"], "m": ["loss"]}
    plot.animate(graph, path=path, interval=200)
    with Image.open(path) as gif:
        assert gif.n_frames == 2 * 3
        assert gif.info["duration"] == 200
    with pytest.raises(fg.SettingError, match="milliseconds"):
        plot.animate(graph, interval=0)


# fit and history ------------------------------------------------------------------------------


def test_fit_draws_the_data_and_a_line_a_curve():
    x, y = np.array([3.0, 1.0, 2.0]), np.array([7.0, 3.0, 5.0])
    ax = plot.fit(
        x, y, {"line": lambda t: 2 * t + 1, "predictions": y[:, None]},
        xlabel="rooms", ylabel="price (thousands of dollars)", title="t",
    )  # fmt: skip
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), np.column_stack([x, y]))
    line, predictions = ax.lines
    np.testing.assert_allclose(line.get_ydata(), 2 * line.get_xdata() + 1)
    assert (line.get_xdata().min(), line.get_xdata().max()) == (1, 3)
    np.testing.assert_array_equal(predictions.get_xdata(), [1, 2, 3])  # sorted for drawing
    np.testing.assert_array_equal(predictions.get_ydata(), [3, 5, 7])
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["data (3)", "line", "predictions"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("rooms", "price (thousands of dollars)")
    assert line.get_linestyle() != predictions.get_linestyle()


def test_fit_refuses_what_does_not_fit():
    with pytest.raises(fg.ShapeError, match="x has 3 rows, y has 2"):
        plot.fit([1, 2, 3], [1, 2])
    with pytest.raises(fg.ShapeError, match=r"x must have shape .*\(2, 2\)"):
        plot.fit(np.ones((2, 2)), [1, 2])
    with pytest.raises(fg.ShapeError, match="'c' has 3 rows, x has 2"):
        plot.fit([1, 2], [1, 2], {"c": [1, 2, 3]})
    with pytest.raises(fg.DataError, match="no number"):
        plot.fit(["a", "b"], [1, 2])


def test_history_of_a_fit_on_a_log_axis():
    x, y = fg.Input("x"), fg.Input("y")
    graph = fg.Graph(fg.MSE(y, fg.Parameter(0.0, "k") * x))
    history = graph.fit({x: [1, 2], y: [1, 2]}, optimizer=fg.SGD(0.05), epochs=7)
    ax = plot.history(history)
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), np.arange(1, 8))
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), history.loss)
    assert ax.get_yscale() == "log"


def test_history_marks_the_best_validation_epoch():
    ax = plot.history([5, 4, 3, 2], validation=[6, 4.5, 3.25, 7])
    training, validation, best = ax.lines
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (3, 3.25)
    assert best.get_label() == "best: 3.25 at epoch 3"
    assert training.get_linestyle() != validation.get_linestyle()


def test_history_compares_runs_and_reaches_zero():
    ax = plot.history({"SGD": [3, 2], "Adam": [3, 0]})
    assert [line.get_label() for line in ax.lines] == ["SGD", "Adam"]
    assert ax.get_yscale() == "linear"
    assert plot.history([2, 1], log=False).get_yscale() == "linear"
    with pytest.raises(fg.SettingError, match="run of their own"):
        plot.history({"a": [1]}, validation=[1])
    with pytest.raises(fg.ShapeError, match="training"):
        plot.history([])


# loss_surface and distributions ---------------------------------------------------------------


def test_loss_surface_computes_the_losses_and_puts_the_parameters_back():
    graph, k, b = line_graph()
    loss = graph.outputs[0].value.copy()
    data = np.arange(5.0)
    feeds = {node: node.value for node in graph.inputs}
    ks, bs = np.array([1.0, 4.0]), np.array([-2.0, 0.0, 3.0])
    expected = [[np.mean((i * data + j - data**2) ** 2) for i in ks] for j in bs]
    np.testing.assert_allclose(plot._losses(graph, feeds, k, b, ks, bs), expected)
    assert (k.value, b.value) == (2, -1)
    np.testing.assert_array_equal(graph.outputs[0].value, loss)


def test_loss_surface_draws_path_and_mark():
    graph, k, b = line_graph()
    path = np.array([[2, -1], [3, -1.5], [4, -2]])
    ax = plot.loss_surface(graph, k, b, path=path, marks={"least squares": (4, -2)}, points=9)
    drawn = {line.get_label(): line for line in ax.lines}
    np.testing.assert_array_equal(drawn["path"].get_xydata(), path)
    np.testing.assert_array_equal(drawn["least squares"].get_xydata(), [[4, -2]])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("k", "b")
    assert ax.get_xlim() == (1.5, 4.5)  # the path and a quarter more


def test_loss_surface_restores_after_an_error():
    graph, k, b = line_graph()
    with pytest.raises(ValueError, match=r"NaN|infinite"):
        plot.loss_surface(graph, k, b, k_range=(0, np.nan), points=3)
    assert (k.value, b.value) == (2, -1)


def test_loss_surface_refuses_what_it_cannot_draw():
    graph, k, b = line_graph()
    x = graph.inputs[0]
    with pytest.raises(fg.SettingError, match="Parameters of one element"):
        plot.loss_surface(graph, k, x)
    with pytest.raises(fg.ShapeError, match=r"\(n, 2\)"):
        plot.loss_surface(graph, k, b, path=[1, 2, 3])
    with pytest.raises(fg.SettingError, match="points"):
        plot.loss_surface(graph, k, b, points=1)


def test_distributions_draws_a_median_for_each_node():
    graph, k, _ = line_graph()
    values, gradients = panels(plot.distributions(graph))
    labels = [tick.get_text() for tick in values.get_yticklabels()]
    assert labels == [graph.label(node) for node in graph.nodes]
    medians = {
        labels[int(line.get_ydata()[0])]: line.get_xdata()[0]
        for line in values.lines
        if line.get_marker() == "o"
    }
    assert medians["k"] == 2 and medians["x"] == 2 and medians["y"] == 4
    sizes = {
        labels[int(line.get_ydata()[0])]: line.get_xdata()[0]
        for line in gradients.lines
        if line.get_marker() == "o"
    }
    assert sizes["k"] == pytest.approx(abs(float(k.gradient)))
    assert gradients.get_xscale() == "log"


def test_distributions_tells_dead_units():
    x = fg.Input("x")
    graph = fg.Graph(fg.Sum(fg.ReLU(x * fg.Parameter(1.0, "k"))))
    graph.forward({x: [-1.0, -2.0, -3.0, 4.0]})
    graph.backward()
    assert "75% zero" in words(panels(plot.distributions(graph))[1])


def test_distributions_before_the_backward_pass_shows_values_alone():
    graph, _, _ = line_graph()
    graph.forward({node: node.value for node in graph.inputs})
    values, gradients = panels(plot.distributions(graph))
    assert values.lines and not gradients.lines


def test_distributions_needs_values():
    with pytest.raises(fg.SettingError, match="forward"):
        plot.distributions(deep_graph(1))


# speed, and what is missing -------------------------------------------------------------------


def test_speed_has_a_bar_and_a_number_for_each_rate():
    rates = {"line": {"native": 2_000_000, "NumPy": 4_000}, "net": {"native": 500}}
    ax = plot.speed(rates)
    assert [bar.get_width() for bar in ax.patches] == [2_000_000, 4_000, 500]
    assert words(ax) == ["2 M", "4 k", "500"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["native", "NumPy"]
    assert ax.get_xscale() == "log"
    with pytest.raises(fg.DataError, match="above 0"):
        plot.speed({"line": {"native": 0}})


@pytest.mark.parametrize("missing", ["matplotlib", "networkx"])
def test_without_the_extra_the_error_names_it(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(fg.SettingError, match=rf"{missing}.*fastgraph-nn\[plot\]"):
        plot.graph(LESSON)


def test_the_users_style_is_left_alone():
    before = dict(matplotlib.rcParams)
    plot.history([2, 1])
    assert dict(matplotlib.rcParams) == before
