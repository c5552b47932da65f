"""Models written as ONNX and run by onnxruntime: what it computes is what the graph computes."""

import re

import numpy as np
import pytest
from cases import OPERATIONS, Case
from numerics import assert_close

import fastgraph as fg
from fastgraph.export import onnx as exporter

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}


def run(path, feeds, dtype):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (out,) = session.run(None, {name: np.asarray(a, dtype) for name, a in feeds.items()})
    return out


@pytest.mark.parametrize("row", OPERATIONS, ids=lambda row: row.name)
def test_an_operation_computes_what_the_graph_does(row, dtype, tmp_path):
    if (row.name, dtype) == ("GELU", "float64"):
        pytest.skip("onnxruntime has no Erf for double")
    fg.set_engine("numpy")
    for variant in row.variants:
        case = Case(row, variant)
        operands, feeds = case.nodes(case.arrays())
        node = case.build(*operands)
        graph = fg.Graph(node, dtype=dtype)
        graph.export_onnx(node, tmp_path / "m.onnx")
        got = run(tmp_path / "m.onnx", {item.name: a for item, a in feeds.items()}, dtype)
        assert got.dtype == dtype
        assert_close(got, graph.forward(feeds), TOLERANCE[dtype], str(case), floor=1)


def test_every_operation_has_its_row():
    kernels = {name: getattr(fg.ops, name).kernel for name in fg.ops.__all__}
    missing = [name for name, kernel in kernels.items() if kernel not in exporter.OPERATIONS]
    assert not missing


def net(dtype="float64"):
    x, y = fg.Input("x", shape=(3,)), fg.Input("y", shape=(2,))
    hidden = fg.Dense(x, 5, "sigmoid", seed=1, name="hidden")
    prediction = fg.Dense(hidden, 2, seed=2, name="the price")
    return fg.Graph(fg.MSE(y, prediction), dtype=dtype), prediction


def test_the_batch_axis_is_free(tmp_path):
    graph, prediction = net()
    graph.export_onnx(prediction, tmp_path / "m.onnx")
    random = np.random.default_rng(0)
    for rows in (1, 7, 1000):
        X = random.normal(size=(rows, 3))
        got = run(tmp_path / "m.onnx", {"x": X}, "float64")
        assert_close(got, graph.evaluate(prediction, {"x": X}), 1e-12)


def test_names_and_shapes_are_those_of_the_graph(tmp_path):
    graph, _ = net("float32")
    graph.export_onnx("the price", tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    (given,), (out,) = model.graph.input, model.graph.output
    axes = [axis.dim_param or axis.dim_value for axis in given.type.tensor_type.shape.dim]
    assert (given.name, axes) == ("x", ["n", 3])
    axes = [axis.dim_param or axis.dim_value for axis in out.type.tensor_type.shape.dim]
    assert (out.name, axes) == ("the price", ["n", 2])
    assert given.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    stored = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    for name, node in graph.parameters.items():
        np.testing.assert_array_equal(stored[name], node.value)


@pytest.mark.parametrize("names", [("Sub", "Div", "Sub_2"), ("constant", "Add", "Mul")])
def test_names_may_be_those_of_operators(names, tmp_path):
    a, b = fg.Input(names[0], shape=(2,)), fg.Input(names[1], shape=(2,))
    result = fg.Sum(fg.MAE(a, b) * (a - b / 3.0), axis=1, name=names[2])
    graph = fg.Graph(result)
    graph.export_onnx(result, tmp_path / "m.onnx", scaling={a: (1.0, 2.0)})
    random = np.random.default_rng(0)
    A, B = random.normal(size=(2, 5, 2))
    got = run(tmp_path / "m.onnx", {names[0]: A, names[1]: B}, "float64")
    assert_close(got, graph.evaluate(result, {a: (A - 1) / 2, b: B}), 1e-12)


def test_scaling_goes_along(tmp_path):
    graph, prediction = net()
    mean, scale = np.array([5.0, -3.0, 100.0]), np.array([2.0, 0.1, 30.0])
    scaling = {"x": (mean, scale), prediction: ([22.5, 0.0], 9.0)}
    graph.export_onnx(prediction, tmp_path / "m.onnx", scaling=scaling, dtype="float32")
    X = np.random.default_rng(0).normal(size=(7, 3))
    got = run(tmp_path / "m.onnx", {"x": X * scale + mean}, "float32")
    assert_close(got, graph.evaluate(prediction, {"x": X}) * 9 + [22.5, 0.0], 1e-5)


class Cube(fg.Node):
    """A user's own operation."""

    def forward(self, x):
        return x**3


def test_what_cannot_be_written_is_refused_by_name(tmp_path, monkeypatch):
    graph, prediction = net()
    with pytest.raises(fg.SettingError, match=r"must end in \.onnx"):
        graph.export_onnx(prediction, tmp_path / "m.pb")
    with pytest.raises(fg.GraphError, match=re.escape("unknown input or prediction 'z'")):
        graph.export_onnx(prediction, tmp_path / "m.onnx", scaling={"z": (0, 1)})
    cube = Cube(fg.Input("x", shape=(2,)), name="mine")
    with pytest.raises(fg.GraphError, match="Cube 'mine' is an operation of your own"):
        fg.Graph(cube).export_onnx(cube, tmp_path / "m.onnx")
    monkeypatch.delitem(exporter.OPERATIONS, "sigmoid")
    with pytest.raises(fg.GraphError, match="Sigmoid 'hidden': export_onnx has no operator for"):
        graph.export_onnx(prediction, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
