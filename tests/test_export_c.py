"""Models written in C, compiled with every warning an error, and compared with the graph.

The table of cases runs here too, an operation a time: one compilation holds all its variants, as
predictions row by row and as one training step. What is expected comes from the NumPy engine.
"""

import ctypes
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import OPERATIONS, Case
from numerics import assert_close

import fastgraph as fg
from fastgraph.export import c_operations
from fastgraph.program import infer_shapes

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
FLAGS = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-Wconversion",
         "-Wdouble-promotion", "-Wshadow", "-O0", "-fPIC"]  # fmt: skip
TOLERANCE = {"float64": 1e-12, "float32": 2e-5}

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler")


def compiled(folder, *sources, flags=(), out="models.so"):
    """The library made of C files; its compiler's complaint is the failure."""
    kind = ["-shared"] if out.endswith(".so") else []
    command = [COMPILER, *FLAGS, *flags, *kind, "-o", out, *sources, "-lm"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(folder / out)) if kind else folder / out


class Model:
    """The functions of one exported model, on NumPy arrays."""

    def __init__(self, library, name, dtype):
        self.library, self.name, self.dtype = library, name, np.dtype(dtype)
        self.real = ctypes.c_float if dtype == "float32" else ctypes.c_double

    def call(self, function, *arrays, result=None):
        found = getattr(self.library, f"{self.name}_{function}")
        found.restype = result
        return found(*(array.ctypes.data_as(ctypes.c_void_p) for array in arrays))

    def array(self, values):
        return np.ascontiguousarray(values, self.dtype)

    def predict(self, inputs, shape):
        """Row by row; ``shape`` is the whole result's."""
        out = np.full(shape, np.nan, self.dtype)
        given = [self.array(values) for values in inputs]
        for row in range(shape[0]):
            one = out[row : row + 1]
            self.call("predict", *(values[row : row + 1] for values in given), one)
        return out

    def classify(self, *inputs):
        return self.call("classify", *map(self.array, inputs), result=ctypes.c_int)

    def train_step(self, *inputs):
        return self.call("train_step", *map(self.array, inputs), result=self.real)

    def parameters(self, size):
        """A view of the model's own numbers."""
        pointer = self.call("parameters", result=ctypes.POINTER(self.real))
        return np.ctypeslib.as_array(pointer, (size,))

    def labels(self, count):
        return list((ctypes.c_char_p * count).in_dll(self.library, f"{self.name}_labels"))


def flat(graph):
    return np.concatenate([node.value.ravel() for node in graph.parameters.values()])


# Every operation -----------------------------------------------------------------------------


def case_graph(case, dtype):
    """A graph around one operation, its node, and feeds.

    Every operand depends on a parameter, and the gradient from above is not the same everywhere.
    """
    arrays = case.arrays()
    random = np.random.default_rng(3)
    operands, feeds = case.nodes(arrays)
    scaled = []
    for node, operand in zip(operands, case.variant.operands, strict=True):
        if operand.batched and not getattr(operand, "count", 0):  # labels are data
            slope = random.uniform(0.9, 1.1, operand.shape)
            node = node * fg.Parameter(slope, f"slope_{node.name}")
        scaled.append(node)
    node = case.build(*scaled)
    value = np.asarray(case.formula(*arrays))
    weight = random.uniform(0.5, 1.5, value.shape)
    if node_is_batched(node):
        w = fg.Input("w", shape=value.shape[1:])
        feeds[w] = weight
        loss = fg.Sum(node * w)
    else:
        loss = fg.Sum(node * weight)
    return fg.Graph(loss, dtype=dtype), node, feeds


def node_is_batched(node):
    return infer_shapes(fg.topological_sort(node))[node].batched


def exported_case(case, dtype, folder, name):
    """One variant written as C, and what belongs to it."""
    graph, node, feeds = case_graph(case, dtype)
    # A value of the whole batch is no prediction of a row; what it is made of is.
    mixes = not node_is_batched(node)
    batched = [item for item in node.inputs if item.inputs and node_is_batched(item)]
    prediction = batched[0] if mixes and batched else node
    learning = {"training": True, "optimizer": fg.SGD(1.0), "batch_size": case.variant.n}
    learns = c_operations.OPERATIONS[node.kernel].learns
    graph.export_c(prediction, folder / f"{name}.c", **(learning if learns else {}))
    return case, graph, prediction, feeds, name, learns


@needs_compiler
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("row", OPERATIONS, ids=lambda row: row.name)
def test_an_operation_in_c_computes_and_learns_what_the_graph_does(row, dtype, tmp_path):
    fg.set_engine("numpy")
    made = [
        exported_case(Case(row, variant), dtype, tmp_path, f"c{number}")
        for number, variant in enumerate(row.variants)
    ]
    # Models in one unit: none of their names may meet.
    unit = "".join(f'#include "c{number}.c"\n' for number in range(len(made)))
    (tmp_path / "all.c").write_text(unit)
    library = compiled(tmp_path, "all.c")
    moved = []
    for case, graph, prediction, feeds, name, learns in made:
        model = Model(library, name, dtype)
        used = [node for node in graph.inputs if node in fg.topological_sort(prediction)]
        want = graph.evaluate(prediction, feeds)
        shape = want.shape if node_is_batched(prediction) else (1, *want.shape)
        got = model.predict([feeds[node] for node in used], shape)
        assert_close(got.reshape(want.shape), want, TOLERANCE[dtype], str(case), floor=0.1)
        if not learns:
            continue
        before = flat(graph)
        view = model.parameters(before.size)
        np.testing.assert_array_equal(view, before)
        ordered = used + [node for node in graph.inputs if node not in used]
        loss = model.train_step(*(feeds[node] for node in ordered))
        history = graph.fit(feeds, optimizer=fg.SGD(1.0), epochs=1, shuffle=False)
        assert_close(loss, history.loss[0], 5 * TOLERANCE[dtype], f"{case}: loss", floor=1)
        assert_close(view, flat(graph), 5 * TOLERANCE[dtype], f"{case}: after a step", floor=1)
        moved.append(np.abs(flat(graph) - before).max() > 1e-6)
    # The softmax of one class alone is always 1, and has no gradient.
    assert sum(moved) >= 0.8 * len(moved), "the steps moved nothing"


def test_every_operation_has_its_row():
    kernels = {name: getattr(fg.ops, name).kernel for name in fg.ops.__all__}
    missing = [name for name, kernel in kernels.items() if kernel not in c_operations.OPERATIONS]
    assert not missing


# A whole model -------------------------------------------------------------------------------


def net(dtype="float64", outputs=1, seed=0):
    """3-5-outputs, its graph and feeds of 11 rows."""
    x, y = fg.Input("x", shape=(3,)), fg.Input("y", shape=(outputs,))
    hidden = fg.Dense(x, 5, "tanh", seed=seed, name="hidden")
    prediction = fg.Dense(hidden, outputs, seed=seed + 1, name="prediction")
    random = np.random.default_rng(seed)
    feeds = {x: random.normal(size=(11, 3)), y: random.normal(size=(11, outputs))}
    return fg.Graph(fg.MSE(y, prediction), dtype=dtype), prediction, feeds


OPTIMIZERS = [
    fg.SGD(0.05),
    fg.SGD(0.05, momentum=0.9),
    fg.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.1),
    fg.SGD(0.05, weight_decay=0.1),
    fg.RMSprop(0.01),
    fg.Adam(0.01),
    fg.AdamW(0.01, weight_decay=0.1),
    *([fg.Adagrad(0.05)] if hasattr(fg, "Adagrad") else []),
]


@needs_compiler
def test_learning_goes_on_in_c_where_it_stopped_in_the_graph(tmp_path, dtype):
    """Seven steps in the graph, then the same data on both sides."""
    fg.set_engine("numpy")
    made = []
    for number, optimizer in enumerate(OPTIMIZERS):
        graph, prediction, feeds = net(dtype)
        graph.fit(feeds, optimizer=optimizer, epochs=7, shuffle=False)
        graph.export_c(
            prediction, tmp_path / f"m{number}.c", training=True, optimizer=optimizer, batch_size=11
        )
        made.append((graph, feeds, optimizer))
    library = compiled(tmp_path, *(f"m{number}.c" for number in range(len(made))))
    for number, (graph, feeds, optimizer) in enumerate(made):
        model = Model(library, f"m{number}", dtype)
        view = model.parameters(graph.parameter_count)
        for _ in range(23):
            model.train_step(*feeds.values())
        history = graph.fit(feeds, optimizer=optimizer, epochs=23, shuffle=False)
        tolerance = {"float64": 1e-11, "float32": 1e-4}[dtype]
        assert_close(view, flat(graph), tolerance, repr(optimizer))
        assert history.loss[-1] < history.loss[0]


@needs_compiler
def test_a_double_model_is_exported_as_float_too(tmp_path):
    graph, prediction, feeds = net()
    assert graph.export_c(prediction, tmp_path / "m.c", dtype="float32").dtype == "float32"
    model = Model(compiled(tmp_path, "m.c"), "m", "float32")
    want = graph.evaluate(prediction, feeds)
    assert_close(model.predict([feeds[graph.node("x")]], (11, 1)), want, 1e-6)
    assert "double" not in (tmp_path / "m.c").read_text() + (tmp_path / "m.h").read_text()


@needs_compiler
def test_scaling_goes_along(tmp_path):
    """Raw numbers in and out: predictions, and learning in the graph's own units."""
    fg.set_engine("numpy")
    graph, prediction, feeds = net()
    x, y = graph.node("x"), graph.node("y")
    mean, scale = np.array([5.0, -3.0, 100.0]), np.array([2.0, 0.1, 30.0])
    graph.export_c(
        prediction, tmp_path / "m.c", training=True, optimizer=fg.SGD(0.1), batch_size=11,
        scaling={x: (mean, scale), "y": (22.5, 9.0), "prediction": (22.5, [9.0])},
    )  # fmt: skip
    model = Model(compiled(tmp_path, "m.c"), "m", "float64")
    raw_x, raw_y = feeds[x] * scale + mean, feeds[y] * 9 + 22.5
    want = graph.evaluate(prediction, feeds) * 9 + 22.5
    assert_close(model.predict([raw_x], (11, 1)), want, 1e-12)
    loss = model.train_step(raw_x, raw_y)
    history = graph.fit(feeds, optimizer=fg.SGD(0.1), epochs=1, shuffle=False)
    assert loss == pytest.approx(history.loss[0], rel=1e-10)
    assert_close(model.parameters(graph.parameter_count), flat(graph), 1e-12)


LABELS = ['quote " and \\', "??/ trigraph", "Ünïcödé 日本\n", "*/ end", "%s %n", "", "\x01\x7f1"]


@needs_compiler
def test_labels_are_the_bytes_given_and_the_class_is_the_largest_output(tmp_path):
    graph, prediction, feeds = net(outputs=len(LABELS))
    graph.export_c(prediction, tmp_path / "m.c", labels=LABELS)
    model = Model(compiled(tmp_path, "m.c"), "m", "float64")
    assert model.labels(len(LABELS)) == [label.encode() for label in LABELS]
    x = graph.node("x")
    classes = [model.classify(row) for row in feeds[x]]
    assert classes == list(graph.evaluate(prediction, feeds).argmax(axis=1))
    assert len(set(classes)) > 1


@needs_compiler
def test_two_labels_share_one_output(tmp_path):
    graph, prediction, feeds = net()
    sigmoid = fg.Sigmoid(prediction)
    both = fg.Graph(sigmoid)
    graph.export_c(prediction, tmp_path / "logit.c", labels=["no", "yes"])
    both.export_c(sigmoid, tmp_path / "sigmoid.c", labels=[0, 1])
    library = compiled(tmp_path, "logit.c", "sigmoid.c")
    x = graph.node("x")
    want = (graph.evaluate(prediction, feeds)[:, 0] > 0).astype(int).tolist()
    assert set(want) == {0, 1}
    for name in ("logit", "sigmoid"):
        model = Model(library, name, "float64")
        assert [model.classify(row) for row in feeds[x]] == want
    assert Model(library, "sigmoid", "float64").labels(2) == [b"0", b"1"]


HOSTILE = ["*/ int main(void) { return 1; } /*", 'a"b', "a b", "a_b", "a?b", "int", "__LINE__",
           "日本", "??/", "line\nbreak\\", "9 lives", " ", "x" * 500, "x" * 501, "in_x", "out",
           "sum", "NAN", "%:define a", "\\u0041"]  # fmt: skip


@needs_compiler
def test_names_of_any_kind_become_harmless(tmp_path):
    inputs = [fg.Input(name, shape=(2,)) for name in HOSTILE]
    total = sum(
        fg.Sigmoid(item * fg.Parameter(i + 1.0, f"{item.name} *")) for i, item in enumerate(inputs)
    )
    result = fg.Sum(total, axis=1, name="the */ result\\")
    graph = fg.Graph(result)
    graph.export_c(result, tmp_path / "9 odd-name.c", dtype="float64")
    library = compiled(tmp_path, "9 odd-name.c")
    random = np.random.default_rng(0)
    feeds = {item: random.normal(size=(5, 2)) for item in inputs}
    got = Model(library, "model_9_odd_name", "float64").predict(
        [feeds[item] for item in graph.inputs], (5,)
    )
    assert_close(got, graph.evaluate(result, feeds), 1e-12)


def same_bits(a, b):
    return a.dtype == b.dtype and a.tobytes() == b.tobytes()


@needs_compiler
def test_numbers_keep_every_bit(tmp_path, dtype):
    limits = np.finfo(dtype)
    random = np.random.default_rng(1)
    whole = "u8" if dtype == "float64" else "u4"
    bits = random.integers(0, np.iinfo(whole).max, 300, dtype=whole).view(dtype)
    special = [0.0, -0.0, 1 / 3, limits.max, -limits.max, limits.tiny, limits.smallest_subnormal,
               1e22, 16777217.0, 0.1]  # fmt: skip
    values = np.concatenate([np.array(special, dtype), bits[np.isfinite(bits)]])
    assert len(values) > 100
    x = fg.Input("x", shape=(len(values),))
    w = fg.Parameter(values, "w")
    prediction = x * w
    graph = fg.Graph(fg.Mean(prediction), dtype=dtype)
    graph.export_c(prediction, tmp_path / "m.c", training=True, optimizer=fg.SGD(1e-3))
    view = Model(compiled(tmp_path, "m.c"), "m", dtype).parameters(len(values))
    assert same_bits(np.array(view), w.value)


@needs_compiler
def test_a_step_that_is_not_finite_changes_nothing(tmp_path):
    graph, prediction, feeds = net()
    graph.export_c(prediction, tmp_path / "m.c", training=True, optimizer=fg.Adam())
    model = Model(compiled(tmp_path, "m.c"), "m", "float64")
    before = model.parameters(graph.parameter_count).copy()
    x, y = (values[:1].copy() for values in feeds.values())
    assert not np.isfinite(model.train_step(x, y * np.inf))
    assert not np.isfinite(model.train_step(x * np.nan, y))
    assert same_bits(model.parameters(graph.parameter_count).copy(), before)
    assert np.isfinite(model.train_step(x, y))
    assert not same_bits(model.parameters(graph.parameter_count).copy(), before)


@needs_compiler
@pytest.mark.skipif(not hasattr(fg, "Embedding"), reason="this build has no Embedding")
def test_a_category_that_is_none_reads_and_writes_within_its_table(tmp_path):
    """As many rows as categories, two of them one and the same; then labels out of range."""
    x, w = fg.Input("x", shape=()), fg.Input("w", shape=(2,))
    table = fg.Parameter(np.arange(10.0).reshape(5, 2), "table")
    found = fg.Embedding(x, table, name="found")
    graph = fg.Graph(fg.Sum(found * w))
    learning = {"training": True, "optimizer": fg.SGD(1.0), "batch_size": 5}
    graph.export_c(found, tmp_path / "m.c", **learning)
    model = Model(compiled(tmp_path, "m.c"), "m", "float64")
    rows, weights = np.array([3, 0, 3, 1, 4.0]), np.arange(1.0, 11).reshape(5, 2)
    want = table.value.copy()
    np.subtract.at(want, rows.astype(int), weights)
    model.train_step(rows, weights)
    np.testing.assert_array_equal(model.parameters(10).reshape(5, 2), want)
    for label, row in ((-1, 0), (5, 4), (1e30, 4), (np.nan, 0), (np.inf, 4)):
        np.testing.assert_array_equal(model.predict([[label]], (1, 2))[0], want[row])


MAIN = """
#include "m.h"
#include <stdio.h>
int main(void)
{
    static double x[M_BATCH_SIZE * 3], y[M_BATCH_SIZE];
    double out[M_OUTPUTS], loss = 0;
    for (int i = 0; i < M_BATCH_SIZE; i++) {
        x[i * 3] = y[i] = (double)i / M_BATCH_SIZE;
    }
    for (int step = 0; step < 200; step++) {
        loss = m_train_step(x, y);
    }
    m_predict(x, out);
    printf("%.17g %.17g %d", loss, out[0], m_parameters()[0] != 0);
    return 0;
}
"""


@needs_compiler
def test_a_program_in_c_runs_clean_under_sanitizers(tmp_path):
    """Every array is reached within its bounds, alone in a program without Python."""
    fg.set_engine("numpy")
    graph, prediction, _ = net()
    graph.export_c(
        prediction, tmp_path / "m.c", training=True, optimizer=fg.Adam(), batch_size=7
    )
    (tmp_path / "main.c").write_text(MAIN)
    (tmp_path / "probe.c").write_text("int main(void)\n{\n    return 0;\n}\n")
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    probe = [COMPILER, *sanitizers, "-o", "probe", "probe.c"]
    if subprocess.run(probe, cwd=tmp_path, capture_output=True).returncode:
        sanitizers = []
    program = compiled(tmp_path, "m.c", "main.c", flags=sanitizers, out="program")
    done = subprocess.run([program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    loss, first, moved = map(float, done.stdout.split())
    x = np.zeros((7, 3))
    x[:, 0] = y = np.arange(7) / 7
    history = graph.fit(
        {"x": x, "y": y[:, None]}, optimizer=fg.Adam(), epochs=200, shuffle=False
    )
    assert loss == pytest.approx(history.loss[-1], rel=1e-8)
    assert first == pytest.approx(float(graph.evaluate(prediction, {"x": x})[0, 0]), rel=1e-8)
    assert moved == 1


# Memory and text -----------------------------------------------------------------------------


def test_values_that_never_live_together_share_memory(tmp_path):
    """A chain needs its widest pair of neighbours, however long it is."""
    node = fg.Input("x", shape=(8,))
    for _ in range(20):
        node = fg.Tanh(fg.Negate(node))
    result = fg.Sum(node, axis=1)
    made = fg.Graph(result).export_c(result, tmp_path / "m.c")
    assert made.scratch_bytes == 2 * 8 * 8


def test_sizes_are_told(tmp_path):
    graph, prediction, _ = net()
    made = graph.export_c(prediction, tmp_path / "m.c", scaling={"x": (0.5, 2.0)}, dtype="float32")
    assert made.parameter_bytes == 4 * graph.parameter_count
    assert made.constant_bytes == 4 * 6
    assert made.training_bytes == 0
    assert made.source_bytes == (tmp_path / "m.c").stat().st_size
    assert f"parameters {made.parameter_bytes:,} bytes" in str(made)
    learning = graph.export_c(prediction, tmp_path / "l.c", training=True, optimizer=fg.Adam())
    assert learning.training_bytes == 8 * (3 * graph.parameter_count + 2)
    assert learning.scratch_bytes >= 8 * (5 + 1)
    assert "static const double m_parameters_" not in (tmp_path / "l.c").read_text()


def test_nothing_but_math_is_needed(tmp_path):
    graph, prediction, _ = net()
    graph.export_c(prediction, tmp_path / "m.c", training=True, optimizer=fg.Adam())
    text = (tmp_path / "m.c").read_text() + (tmp_path / "m.h").read_text()
    assert set(re.findall(r"#include (.+)", text)) == {'"m.h"', "<math.h>"}
    assert not re.search(r"\b(malloc|calloc|alloca|free)\b", text)


# What is refused -----------------------------------------------------------------------------


class Cube(fg.Node):
    """A user's own operation."""

    def forward(self, x):
        return x**3

    def backward(self, gradient, x):
        return (3 * x**2 * gradient,)


@pytest.mark.parametrize(
    ("error", "words", "settings"),
    [
        (fg.SettingError, "training needs an optimizer, as SGD(1e-2)", {"training": True}),
        (fg.SettingError, "add training=True", {"optimizer": fg.SGD(0.1)}),
        (fg.SettingError, "training must be True or False", {"training": 1}),
        (fg.SettingError, "batch_size must be a whole number",
         {"training": True, "optimizer": fg.SGD(0.1), "batch_size": 0}),
        (fg.SettingError, "unknown dtype 'float16'", {"dtype": "float16"}),
        (fg.SettingError, "takes 2 labels, got 3", {"labels": ["a", "b", "c"]}),
        (fg.SettingError, "expected a list of names, got str", {"labels": "ab"}),
        (fg.SettingError, "is no C string", {"labels": ["a", "b\0c"]}),
        (fg.SettingError, "is no C string", {"labels": ["a", "b" * 5000]}),
        (fg.SettingError, "is not valid Unicode", {"labels": ["a", "\ud800"]}),
        (fg.SettingError, "it is no score of classes",
         {"labels": ["a", "b"], "scaling": {"prediction": (1, 2)}}),
        (fg.SettingError, "name must be letters", {"name": "a-b"}),
        (fg.GraphError, "did you mean 'x'?", {"scaling": {"xx": (0, 1)}}),
        (fg.GraphError, "unknown input or prediction 'hidden'", {"scaling": {"hidden": (0, 1)}}),
        (fg.SettingError, "needs a pair (mean, scale)", {"scaling": {"x": 1.0}}),
        (fg.SettingError, "expected a dict", {"scaling": [1, 2]}),
        (fg.SettingError, "the scale of Input 'x' is 0 at (1,)",
         {"scaling": {"x": (0, [1, 0, 1])}}),
        (fg.ShapeError, "has shape (2,), one row has (3,)", {"scaling": {"x": ([0, 1], 1)}}),
        (fg.DataError, "NaN or infinite", {"scaling": {"x": (np.nan, 1)}}),
        (fg.DataError, "cannot be exported as float32",
         {"scaling": {"x": (1e300, 1)}, "dtype": "float32"}),
        (fg.SettingError, "compare the two in different units",
         {"training": True, "optimizer": fg.SGD(0.1), "scaling": {"prediction": (1, 2)}}),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_refused_and_nothing_is_written(error, words, settings, tmp_path):
    graph, prediction, _ = net()
    with pytest.raises(error, match=re.escape(words)):
        graph.export_c(prediction, tmp_path / "m.c", **settings)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["m.txt", "m", 'm".c', "m\n.c", "日.c", 3])
def test_a_file_that_c_could_not_include_is_refused(path, tmp_path):
    graph, prediction, _ = net()
    with pytest.raises(fg.SettingError, match="export_c"):
        graph.export_c(prediction, path if isinstance(path, int) else tmp_path / path)
    assert not list(tmp_path.iterdir())


def test_an_operation_of_your_own_is_named(tmp_path):
    x = fg.Input("x", shape=(2,))
    cube = Cube(x, name="mine")
    with pytest.raises(fg.GraphError, match="Cube 'mine' is an operation of your own"):
        fg.Graph(cube).export_c(cube, tmp_path / "m.c")


def test_an_operation_without_a_row_is_named(tmp_path, monkeypatch):
    graph, prediction, _ = net()
    monkeypatch.delitem(c_operations.OPERATIONS, "tanh")
    with pytest.raises(fg.GraphError, match=r"Tanh 'hidden': export_c has no C for Tanh"):
        graph.export_c(prediction, tmp_path / "m.c")
    assert not list(tmp_path.iterdir())


def test_an_optimizer_without_a_row_is_named(tmp_path, monkeypatch):
    graph, prediction, _ = net()
    monkeypatch.delitem(c_operations.OPTIMIZERS, "rmsprop")
    with pytest.raises(fg.SettingError, match="export_c: unknown optimizer 'rmsprop'"):
        graph.export_c(prediction, tmp_path / "m.c", training=True, optimizer=fg.RMSprop())
    assert not list(tmp_path.iterdir())


def test_what_is_otherwise_in_training_is_exported_without_it(tmp_path, monkeypatch):
    graph, prediction, _ = net()
    row = c_operations.OPERATIONS["tanh"]
    monkeypatch.setitem(c_operations.OPERATIONS, "tanh", row.predicting())
    graph.export_c(prediction, tmp_path / "m.c")
    (tmp_path / "m.c").unlink()
    with pytest.raises(fg.GraphError, match="Tanh 'hidden': Tanh does something else in training"):
        graph.export_c(prediction, tmp_path / "m.c", training=True, optimizer=fg.SGD(0.1))
    assert not (tmp_path / "m.c").exists()


def test_a_loss_is_no_prediction(tmp_path):
    graph, _, _ = net()
    with pytest.raises(fg.GraphError, match="makes one value of the whole batch"):
        graph.export_c(graph.outputs[0], tmp_path / "m.c")
    with pytest.raises(fg.GraphError, match="is not computed from anything"):
        graph.export_c("x", tmp_path / "m.c")


def test_a_shape_is_declared_or_known_from_a_run(tmp_path):
    x = fg.Input("x")
    result = fg.Negate(x)
    graph = fg.Graph(result)
    with pytest.raises(fg.ShapeError, match="Input 'x': the shape of a row is not known"):
        graph.export_c(result, tmp_path / "m.c")
    graph.forward({x: np.ones((2, 3))})
    graph.export_c(result, tmp_path / "m.c")
    assert "in_x[3]" in (tmp_path / "m.h").read_text()


def test_a_parameter_that_does_not_fit_in_float_is_named(tmp_path):
    x = fg.Input("x", shape=(2,))
    result = x * fg.Parameter(1e300, "huge")
    with pytest.raises(fg.DataError, match=r"Parameter 'huge': 1e\+300 cannot be exported"):
        fg.Graph(result).export_c(result, tmp_path / "m.c", dtype="float32")
    assert not list(tmp_path.iterdir())


@needs_compiler
def test_the_example_learns_on_in_c(tmp_path, monkeypatch, capsys):
    """On the Boston prices: C agrees with the graph, and the error falls on."""
    script = Path(__file__).parent.parent / "examples" / "25_export_c.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--out", str(tmp_path)])
    names = runpy.run_path(str(script), run_name="__main__")
    assert names["difference"] < 1e-4
    before, after = names["arrives"], names["leaves"]
    assert after[0] < before[0]
    assert len(set(names["by_c"])) > 400
    assert "boston.c and boston.h (float): parameters 604 bytes" in capsys.readouterr().out
