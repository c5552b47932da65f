"""Files: what is saved comes back; a broken one, however broken, raises a DataError and no more."""

import contextlib
import io
import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from cases import CASES
from conftest import ENGINES
from test_training import FEEDS, X, Y, flat, line, net

import fastgraph as fg
from fastgraph import storage


class Cube(fg.Node):
    def shape(self, x):
        return x

    def forward(self, x):
        return x**3

    def backward(self, gradient, x):
        return (3 * x**2 * gradient,)


class Scaled(fg.Node):
    """Keeps its setting under the argument's name."""

    def __init__(self, x, factor=2.0, name=None):
        super().__init__(x, name=name)
        self.factor = factor

    def shape(self, x):
        return x

    def forward(self, x):
        return x * self.factor

    def backward(self, gradient, x):
        return (gradient * self.factor,)


def everything():
    """A graph of every kind of operation that fits on one pair of inputs."""
    x, y = fg.Input("x", shape=(3,)), fg.Input("y")
    W, b = fg.Parameter(np.linspace(-1, 1, 12).reshape(3, 4), "W"), fg.Parameter(np.arange(4.0))
    hidden = fg.ReLU(fg.Linear(x, W, b, name="a layer/with a name é"))
    scaled = fg.Sum(hidden / (2.0 + fg.Exp(-hidden)), axis=1, keepdims=True) ** 2
    mean = fg.Mean(fg.MatMul(x, W) * fg.Constant([1.0, 2.0, 3.0, 4.0], "weights"), axis=(1,))
    out = fg.Add(fg.Sqrt(fg.Abs(mean)), fg.Sum(scaled, axis=-1), name="out")
    return fg.Graph(fg.MSE(y, fg.Tanh(out) + fg.Log(fg.Parameter(2.0, "p")), name="loss"), out)


@pytest.mark.parametrize("make", [everything, net, line, lambda: net("float32")])
def test_what_is_saved_comes_back(make, engine, tmp_path):
    graph = make()
    graph.fit(FEEDS, optimizer=fg.SGD(1e-3), epochs=1, output=graph.outputs[0])
    graph.save(tmp_path / "m.npz")
    loaded = fg.load(tmp_path / "m.npz")
    assert loaded is not graph
    assert loaded.dtype == graph.dtype
    assert [loaded.label(n) for n in loaded.nodes] == [graph.label(n) for n in graph.nodes]
    assert [n.kind for n in loaded.nodes] == [n.kind for n in graph.nodes]
    assert [loaded.label(n) for n in loaded.outputs] == [graph.label(n) for n in graph.outputs]
    assert flat(loaded).tobytes() == flat(graph).tobytes()
    for one, two in zip(graph.outputs, loaded.outputs, strict=True):
        before, after = graph.evaluate(one, FEEDS), loaded.evaluate(two, FEEDS)
        assert before.tobytes() == after.tobytes()
    assert loaded.inputs[0].sample_shape == graph.inputs[0].sample_shape


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_operation_comes_back(case, tmp_path):
    nodes, feeds = case.nodes(case.arrays())
    built = case.build(*nodes)
    graph = fg.Graph(built)
    graph.save(tmp_path / "m.npz")
    loaded = fg.load(tmp_path / "m.npz")
    assert [n.kind for n in loaded.nodes] == [n.kind for n in graph.nodes]
    by_name = {graph.label(node): array for node, array in feeds.items()}
    before, after = graph.evaluate(built, feeds), loaded.evaluate(loaded.outputs[0], by_name)
    np.testing.assert_array_equal(before, after)
    assert [getattr(n, "trained", None) for n in loaded.nodes] == [
        getattr(n, "trained", None) for n in graph.nodes
    ]


def test_a_loaded_graph_trains_as_the_one_it_was(engine, tmp_path):
    graph = net()
    graph.save(tmp_path / "m.npz")
    loaded = fg.load(str(tmp_path / "m.npz"))
    for g in (graph, loaded):
        g.fit(FEEDS, optimizer=fg.Adam(0.01), epochs=3, batch_size=5)
    assert flat(loaded).tobytes() == flat(graph).tobytes()


def test_numpy_reads_the_arrays(tmp_path):
    graph = line()
    graph.save(tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["parameters/W"], graph.parameters["W"].value)
        document = json.loads(archive["graph.json"])
    told = (document["format"], document["version"], document["dtype"])
    assert told == ("fastgraph", 1, "float64")


def test_saving_twice_gives_the_same_bytes_of_content(tmp_path):
    for name in ("a.npz", "b.npz"):
        everything().save(tmp_path / name)
    contents = []
    for name in ("a.npz", "b.npz"):
        with zipfile.ZipFile(tmp_path / name) as archive:
            contents.append({entry: archive.read(entry) for entry in archive.namelist()})
    assert contents[0] == contents[1]


def test_nodes_of_ones_own_are_passed_in(engine, tmp_path):
    x = fg.Input("x")
    graph = fg.Graph(fg.Mean(Scaled(Cube(x), factor=3.5, name="s") * fg.Parameter(2.0)))
    graph.save(tmp_path / "m.npz")
    loaded = fg.load(tmp_path / "m.npz", nodes=[Cube, Scaled])
    assert loaded.node("s").factor == 3.5
    assert loaded.evaluate(loaded.outputs[0], {"x": [1.0, 2.0]}) == 3.5 * 2 * (1 + 8) / 2
    with pytest.raises(fg.DataError, match=r"kind of node 'Cube'.*load\(path, nodes=\[Cube\]\)"):
        fg.load(tmp_path / "m.npz")
    with pytest.raises(fg.GraphError, match="expected classes of nodes"):
        fg.load(tmp_path / "m.npz", nodes=["Cube"])


class Hidden(Scaled):
    """Forgets what it was made with."""

    def __init__(self, x, power=2.0):
        super().__init__(x, power)


class Secret(Scaled):
    def __init__(self, x, factor=None, name=None):
        super().__init__(x, np.zeros(3), name)


@pytest.mark.parametrize(
    ("node", "words"),
    [(Hidden, "Hidden: cannot be saved: it does not keep power"), (Secret, "its setting factor")],
)
def test_a_node_that_cannot_be_made_again_is_not_saved(node, words, tmp_path):
    x = fg.Input("x")
    with pytest.raises(fg.GraphError, match=words):
        fg.Graph(node(x)).save(tmp_path / "m.npz")
    assert not list(tmp_path.iterdir())


# --- writing is whole or not at all --------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    graph = line()
    graph.save(tmp_path / "m.npz")
    before = (tmp_path / "m.npz").read_bytes()
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        net().save(tmp_path / "m.npz")
    assert (tmp_path / "m.npz").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.npz"]


def test_the_file_may_be_read_as_any_other(tmp_path):
    (tmp_path / "plain").write_text("")
    line().save(tmp_path / "m.npz")
    assert (tmp_path / "m.npz").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_place_that_is_not_there_is_an_error_of_its_own(tmp_path):
    with pytest.raises(FileNotFoundError):
        line().save(tmp_path / "no" / "m.npz")
    with pytest.raises(FileNotFoundError):
        fg.load(tmp_path / "m.npz")


# --- files that are not whole --------------------------------------------------------------------


def tiny():
    x = fg.Input("x")
    return fg.Graph(fg.Mean(fg.Sum(x * fg.Parameter([1.5, -2.5], "p"), axis=1)))


def load_bytes(data, tmp_path):
    path = tmp_path / "m.npz"
    path.write_bytes(data)
    return fg.load(path)


@pytest.fixture
def saved(tmp_path):
    tiny().save(tmp_path / "m.npz")
    return (tmp_path / "m.npz").read_bytes()


def test_every_byte_flipped_is_an_error_or_the_same_graph(saved, tmp_path):
    """What is not covered by a checksum (dates, attributes) does not change what is loaded."""
    refused = 0
    for position in range(len(saved)):
        for flip in (0xFF, 0x01, 0x80):
            data = bytearray(saved)
            data[position] ^= flip
            try:
                graph = load_bytes(bytes(data), tmp_path)
            except fg.DataError:
                refused += 1
            else:
                assert flat(graph).tolist() == [1.5, -2.5], position
                assert [n.kind for n in graph.nodes] == [n.kind for n in tiny().nodes], position
    assert refused > len(saved)


def test_every_length_cut_is_an_error(saved, tmp_path):
    for length in range(len(saved)):
        with pytest.raises(fg.DataError):
            load_bytes(saved[:length], tmp_path)


def test_noise_is_an_error(tmp_path):
    draw = np.random.default_rng(0)
    for length in (0, 1, 100, 10_000):
        with pytest.raises(fg.DataError, match="not a whole fastgraph file"):
            load_bytes(draw.bytes(length), tmp_path)


def archive(entries, **options):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", **options) as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return target.getvalue()


def parts(saved):
    with zipfile.ZipFile(io.BytesIO(saved)) as file:
        return {name: file.read(name) for name in file.namelist()}


def changed(saved, change):
    """The file with its document changed and all checksums right."""
    entries = parts(saved)
    document = json.loads(entries["graph.json"])
    change(document)
    entries["graph.json"] = json.dumps(document).encode()
    return archive(entries)


def op(document, kind):
    return next(node for node in document["nodes"] if node["kind"] == kind)


HOSTILE = {
    "a later version": lambda d: d.update(version=2),
    "no version": lambda d: d.pop("version"),
    "version true": lambda d: d.update(version=True),
    "version text": lambda d: d.update(version="1"),
    "another format": lambda d: d.update(format="other"),
    "another kind": lambda d: d.update(kind="run"),
    "a kind that is no node": lambda d: op(d, "Sum").update(kind="os.system"),
    "a kind that is a private class": lambda d: op(d, "Sum").update(kind="Node"),
    "a kind that is a list": lambda d: op(d, "Sum").update(kind=["Sum"]),
    "an unknown dtype": lambda d: d.update(dtype="object"),
    "no nodes": lambda d: d.update(nodes=[]),
    "nodes that are none": lambda d: d.update(nodes=None),
    "nodes that are numbers": lambda d: d.update(nodes=[1, 2]),
    "no outputs": lambda d: d.update(outputs=[]),
    "an output beyond": lambda d: d.update(outputs=[99]),
    "an output before": lambda d: d.update(outputs=[-1]),
    "a node that reads itself": lambda d: op(d, "Mean").update(inputs=[len(d["nodes"]) - 1]),
    "a node that reads beyond": lambda d: op(d, "Sum").update(inputs=[99]),
    "a node that reads from the end": lambda d: op(d, "Sum").update(inputs=[-1]),
    "a node that reads a word": lambda d: op(d, "Sum").update(inputs=["x"]),
    "a node that reads true": lambda d: op(d, "Sum").update(inputs=[True]),
    "too few inputs": lambda d: op(d, "Multiply").update(inputs=[0]),
    "too many inputs": lambda d: op(d, "Sum").update(inputs=[0, 0, 0, 0]),
    "a setting it does not take": lambda d: op(d, "Sum")["settings"].update(hack=1),
    "a setting that is the object itself": lambda d: op(d, "Sum")["settings"].update(self=1),
    "a setting out of range": lambda d: (
        op(d, "Sum")["settings"].update(axis=[10**30]), op(d, "Input").update(shape=[2]),
    ),
    "a setting of another kind": lambda d: op(d, "Sum")["settings"].update(axis={"a": 1}),
    "settings that are a list": lambda d: op(d, "Sum").update(settings=[1]),
    "a name that is a number": lambda d: op(d, "Sum").update(name=3),
    "two nodes of a name": lambda d: [node.update(name="x") for node in d["nodes"]],
    "a value that is not there": lambda d: op(d, "Parameter").update(array="other"),
    "a value that is a list": lambda d: op(d, "Parameter").update(array=["p"]),
    "a shape below 0": lambda d: op(d, "Input").update(shape=[-3]),
    "a shape of words": lambda d: op(d, "Input").update(shape=["3"]),
    "a shape that does not fit": lambda d: op(d, "Input").update(shape=[10**18]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_document_that_lies_is_an_error(name, saved, tmp_path):
    with pytest.raises(fg.DataError):
        load_bytes(changed(saved, HOSTILE[name]), tmp_path)


def test_the_document_as_it_is_loads(saved, tmp_path):
    assert flat(load_bytes(changed(saved, lambda d: None), tmp_path)).tolist() == [1.5, -2.5]


def test_a_later_version_names_the_remedy(saved, tmp_path):
    with pytest.raises(fg.DataError, match=r"later fastgraph \(format 7; .*\); upgrade with: pip"):
        load_bytes(changed(saved, lambda d: d.update(version=7)), tmp_path)


def head(descr="<f8", shape="(2,)", order="False"):
    text = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}"
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


ARRAYS = {
    "objects": head("|O") + bytes(16),
    "an object by pickle": head("|O", "(1,)") + b"cos\nsystem\n(S'echo'\ntR.",
    "a huge claim": head(shape="(1000000000000, 1000000)") + bytes(16),
    "a claim that overflows": head(shape="(4294967296, 4294967296)") + bytes(16),
    "a claim below the content": head(shape="(1,)") + bytes(16),
    "a negative claim": head(shape="(-2,)") + bytes(16),
    "Fortran's order": head(order="True") + bytes(16),
    "a head that is code": head(shape="(__import__('os').abort(),)") + bytes(16),
    "a head without an end": head(shape="(" + "1" * 60000) + bytes(16),
    "many digits": head(shape="(" + "1, " * 20000) + bytes(16),
    "NaN": head() + np.array([np.nan, 1.0]).tobytes(),
    "another shape": head(shape="(1, 2)") + np.array([1.0, 2.0]).tobytes(),
    "another dtype": head("<c8") + bytes(16),
    "no head": b"",
    "half a head": head()[:40],
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_that_lies_is_an_error(name, saved, tmp_path):
    entries = parts(saved) | {"parameters/p.npy": ARRAYS[name]}
    if name == "another shape":  # it fits in itself: it is the parameter's shape then
        assert flat(load_bytes(archive(entries), tmp_path)).tolist() == [1.0, 2.0]
        return
    with pytest.raises(fg.DataError):
        load_bytes(archive(entries), tmp_path)


def test_memory_is_bounded_by_the_file(saved, tmp_path):
    """Of a file of some KB that claims gigabytes: compressed zeros, huge shapes, deep lists."""
    bomb = archive({**parts(saved), "z.npy": head(shape="(25000000,)") + bytes(200_000_000)},
                   compression=zipfile.ZIP_DEFLATED)  # fmt: skip
    claims = archive(parts(saved) | {"parameters/p.npy": head(shape="(9999999999999,)")})
    deep = archive(parts(saved) | {"graph.json": b"[" * 100_000})
    digits = archive(parts(saved) | {"graph.json": b"1" * 100_000})
    size = saved.find(b"PK\x01\x02")
    lying = bytearray(saved)  # the directory claims more than the file has
    lying[size + 20 : size + 28] = (0x7FFFFFFF).to_bytes(4, "little") * 2
    for data in (bomb, claims, deep, digits, bytes(lying)):
        (tmp_path / "m.npz").write_bytes(data)
        tracemalloc.start()
        try:
            with pytest.raises(fg.DataError):
                fg.load(tmp_path / "m.npz")
            assert tracemalloc.get_traced_memory()[1] < 10_000_000
        finally:
            tracemalloc.stop()


def test_other_archives_are_told_apart(tmp_path):
    np.savez(tmp_path / "m.npz", a=np.zeros(3))
    with pytest.raises(fg.DataError, match=r"there is no graph.json in it: it is another kind"):
        fg.load(tmp_path / "m.npz")
    line().fit(FEEDS, optimizer=fg.SGD(0.1), epochs=1, checkpoint=tmp_path / "run.npz")
    with pytest.raises(fg.DataError, match=r"there is no graph.json in it: it has run.json"):
        fg.load(tmp_path / "run.npz")


# --- checkpoints --------------------------------------------------------------------------------

SETTINGS = {
    "full batch": {},
    "batches": {"batch_size": 5},
    "everything": {
        "batch_size": 5,
        "validation": {"x": X + 0.1, "y": Y},
        "early_stopping": fg.EarlyStopping(6),
        "schedule": fg.schedules.ReduceOnPlateau(0.5, patience=1),
        "clip_norm": 0.5,
        "l2": 0.01,
    },
}


class Killed(BaseException):
    pass


def killing(step):
    """A callback that ends the run in a way nothing catches, after a step."""

    def stop(progress):
        if progress.step >= step:
            raise Killed

    return fg.Every(stop, steps=1)


def histories(history):
    found = [history.loss, history.learning_rate]
    return [h.tobytes() for h in [*found, history.validation_loss] if h is not None]


@pytest.mark.parametrize("every", [1, 3, 0.4, 100])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_run_goes_on_to_the_same_bits(name, every, engine, tmp_path):
    """Killed after some step and started again, several times over."""
    make = lambda: fg.SGD(0.1, momentum=0.9) if name == "everything" else fg.Adam(0.02)  # noqa: E731
    whole = net()
    once = whole.fit(FEEDS, optimizer=make(), epochs=12, **SETTINGS[name])
    settings = {**SETTINGS[name], "checkpoint": tmp_path / "run.npz", "every": every}
    for step in (2, 7, 11, 23, 24, 36):
        graph = net(seed=99)  # other parameters: those of the checkpoint are taken
        if not (tmp_path / "run.npz").exists():
            graph = net()
        with contextlib.suppress(Killed):
            graph.fit(FEEDS, optimizer=make(), epochs=12, callbacks=killing(step), **settings)
    graph = net(seed=99) if (tmp_path / "run.npz").exists() else net()
    history = graph.fit(FEEDS, optimizer=make(), epochs=12, **settings)
    assert flat(graph).tobytes() == flat(whole).tobytes()
    assert histories(history) == histories(once)
    assert (history.steps, history.best_epoch, history.stopped_early) == (
        once.steps, once.best_epoch, once.stopped_early,
    )  # fmt: skip


def noisy(seed=0):
    """3-7-1 with batch normalisation, whose statistics are no trained parameters, and dropout."""
    x, y = fg.Input("x", shape=(3,)), fg.Input("y")
    hidden = fg.Dense(x, 7, "tanh", seed=seed, name="one")
    gamma, beta = fg.Parameter(np.ones(7), "gamma"), fg.Parameter(np.zeros(7), "beta")
    normal = fg.Dropout(fg.BatchNorm(hidden, gamma, beta, name="norm"), 0.3)
    W = fg.Parameter(fg.initializers.normal((7,), std=0.5, seed=seed), "W")
    return fg.Graph(fg.MSE(y, fg.Linear(normal, W, fg.Parameter(0.0, "b"))))


def every_value(graph):
    return b"".join(n.value.tobytes() for n in graph.nodes if isinstance(n, fg.Parameter))


def test_statistics_and_dropout_go_on_with_a_run(engine, tmp_path):
    settings = {"epochs": 6, "batch_size": 5, "validation": FEEDS, "seed": 2,
                "early_stopping": fg.EarlyStopping(50)}  # fmt: skip
    whole = noisy()
    once = whole.fit(FEEDS, optimizer=fg.Adam(0.05), **settings)
    settings |= {"checkpoint": tmp_path / "run.npz", "every": 0.6}
    for step in (4, 11, 12, 26):
        with contextlib.suppress(Killed):
            noisy(0 if step == 4 else 9).fit(
                FEEDS, optimizer=fg.Adam(0.05), callbacks=killing(step), **settings
            )
    graph = noisy(9)
    history = graph.fit(FEEDS, optimizer=fg.Adam(0.05), **settings)
    assert every_value(graph) == every_value(whole)
    assert histories(history) == histories(once)
    assert once.best_epoch is not None


def test_the_best_epoch_is_that_of_the_statistics_too(engine):
    """What is restored has the validation loss that the best epoch had."""
    graph = noisy()
    history = graph.fit(FEEDS, optimizer=fg.Adam(0.3), epochs=25, batch_size=5, seed=4,
                        validation=FEEDS, early_stopping=fg.EarlyStopping(5))  # fmt: skip
    assert history.best_epoch < history.epochs
    again = float(graph.evaluate(graph.outputs[0], FEEDS))
    assert again == history.validation_loss[history.best_epoch - 1]


def test_a_finished_run_is_read_and_not_run(engine, tmp_path):
    settings = {"epochs": 5, "batch_size": 5, "checkpoint": tmp_path / "run.npz"}
    graph, again, seen = net(), net(seed=3), []
    once = graph.fit(FEEDS, optimizer=fg.Adam(), **settings)
    optimizer = fg.Adam()
    twice = again.fit(FEEDS, optimizer=optimizer, callbacks=seen.append, **settings)
    assert histories(once) == histories(twice)
    assert flat(graph).tobytes() == flat(again).tobytes()
    assert not seen
    more = again.fit(FEEDS, optimizer=fg.Adam(), **settings | {"epochs": 8})
    whole = net()
    want = whole.fit(FEEDS, optimizer=fg.Adam(), epochs=8, batch_size=5)
    assert histories(more) == histories(want)
    assert flat(again).tobytes() == flat(whole).tobytes()


def test_a_continued_run_may_have_checkpoints(engine, tmp_path):
    """The optimizer's earlier epochs count for order and schedule, not for this history."""
    whole, parts = net(), net()
    optimizer = fg.Adam()
    parts.fit(FEEDS, optimizer=optimizer, epochs=4, batch_size=5)
    path = tmp_path / "r.npz"
    history = parts.fit(FEEDS, optimizer=optimizer, epochs=3, batch_size=5, checkpoint=path)
    once = whole.fit(FEEDS, optimizer=fg.Adam(), epochs=7, batch_size=5)
    assert history.loss.tolist() == once.loss[4:].tolist()
    again = net(seed=5)
    again.fit(FEEDS, optimizer=fg.Adam(), epochs=3, batch_size=5, checkpoint=tmp_path / "r.npz")
    assert flat(again).tobytes() == flat(whole).tobytes()


OTHERS = {
    "seed": {"seed": 1},
    "batch_size": {"batch_size": 6},
    "shuffle": {"shuffle": False},
    "optimizer": {"optimizer": fg.SGD(0.1)},
    "schedule": {"schedule": fg.schedules.Cosine(5)},
    "clipping": {"clip_norm": 0.5},
    "penalties": {"l2": 0.5},
    "validation": {"validation": FEEDS},
    "early_stopping": {"early_stopping": fg.EarlyStopping(3, monitor="loss")},
}


@pytest.mark.parametrize("key", OTHERS)
def test_another_runs_checkpoint_is_refused(key, engine, tmp_path):
    path = tmp_path / "r.npz"
    settings = {"optimizer": fg.Adam(), "epochs": 2, "batch_size": 5, "checkpoint": path}
    net().fit(FEEDS, **settings)
    graph = net(seed=4)
    before = flat(graph)
    with pytest.raises(fg.SettingError, match=f"belongs to another run, {key} is not the same"):
        graph.fit(FEEDS, **settings | OTHERS[key])
    assert flat(graph).tobytes() == before.tobytes()


@pytest.mark.parametrize(
    ("graph", "feeds", "key"),
    [
        (line, FEEDS, "graph"),
        (lambda: net("float32"), FEEDS, "dtype"),
        (net, {"x": X + 1e-9, "y": Y}, "data"),
    ],
)
def test_another_graph_or_data_is_refused(graph, feeds, key, engine, tmp_path):
    settings = {"optimizer": fg.Adam(), "epochs": 2, "checkpoint": tmp_path / "r.npz"}
    net().fit(FEEDS, **settings)
    with pytest.raises(fg.SettingError, match=f"belongs to another run, {key} is not the same"):
        graph().fit(feeds, **settings)


def test_a_damaged_checkpoint_changes_nothing(tmp_path):
    path = tmp_path / "r.npz"
    settings = {"optimizer": fg.Adam(), "epochs": 2, "batch_size": 9, "checkpoint": path}
    line().fit(FEEDS, **settings)
    data = path.read_bytes()
    graph = line()
    before = flat(graph)
    for i in range(0, len(data), 7):
        for broken in (data[:i], data[:i] + bytes([data[i] ^ 0xFF]) + data[i + 1 :]):
            path.write_bytes(broken)
            try:
                graph.fit(FEEDS, **settings)
            except fg.DataError:
                assert flat(graph).tobytes() == before.tobytes()
            else:  # a date or an attribute
                assert len(broken) == len(data)
                graph.vector = before


CHANGES = {
    "no identity": lambda d: d.pop("identity"),
    "counts that do not fit": lambda d: d.update(taken=5),
    "a count below 0": lambda d: d.update(step=-1),
    "a count that is true": lambda d: d.update(steps=True),
    "an epoch that is a word": lambda d: d.update(best_epoch="first"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_checkpoint_that_lies_is_an_error(name, tmp_path):
    path = tmp_path / "r.npz"
    settings = {"optimizer": fg.Adam(), "epochs": 2, "batch_size": 9, "checkpoint": path}
    line().fit(FEEDS, **settings)
    document, arrays = storage.read(path, "run")
    CHANGES[name](document)
    storage.write(path, "run", document, arrays)
    graph = line()
    before = flat(graph)
    with pytest.raises(fg.DataError, match="not a whole checkpoint"):
        graph.fit(FEEDS, **settings)
    assert flat(graph).tobytes() == before.tobytes()


@pytest.mark.parametrize("key", ["values", "slot_1", "powers", "loss", "numbers"])
def test_a_checkpoint_with_arrays_that_do_not_fit_is_an_error(key, tmp_path):
    path = tmp_path / "r.npz"
    settings = {"optimizer": fg.Adam(), "epochs": 2, "batch_size": 9, "checkpoint": path}
    line().fit(FEEDS, **settings)
    document, arrays = storage.read(path, "run")
    for wrong in (arrays[key][:-1], arrays[key].astype(np.float32), arrays[key][None], None):
        broken = {k: v for k, v in arrays.items() if k != key}
        if wrong is not None:
            broken[key] = wrong
        storage.write(path, "run", document, broken)
        with pytest.raises(fg.DataError, match="not a whole checkpoint"):
            line().fit(FEEDS, **settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"every": 2}, "every: it counts epochs between checkpoints; name a file"),
        ({"checkpoint": "no/such/place/r.npz"}, "there is no directory 'no/such/place'"),
        ({"checkpoint": "r.npz", "every": 0}, "every must be a number above 0, got 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, words):
    with pytest.raises(fg.SettingError, match=words):
        line().fit(FEEDS, optimizer=fg.SGD(0.1), epochs=2, **settings)


SCRIPT = """
import sys
import numpy as np, fastgraph as fg
draw = np.random.default_rng(0)
X = draw.normal(size=(64, 3)); Y = np.sin(X.sum(1))
x, y = fg.Input("x", shape=(3,)), fg.Input("y")
hidden = fg.Dense(x, 16, "tanh", seed=0, name="one")
W = fg.Parameter(fg.initializers.normal((16,), seed=1), "W")
graph = fg.Graph(fg.MSE(y, fg.Linear(hidden, W, 0.0)))
print("ready", flush=True)
history = graph.fit({x: X, y: Y}, optimizer=fg.Adam(), epochs=int(sys.argv[1]), batch_size=5,
                    checkpoint=sys.argv[2] or None, every=float(sys.argv[3]))
print(graph.vector.tobytes().hex(), history.loss.tobytes().hex())
"""


@pytest.mark.parametrize("engine_name", ENGINES)
def test_a_killed_process_loses_nothing(engine_name, tmp_path):
    """SIGKILL, while it may be writing: started again, it comes to the bits of a quiet run."""
    epochs = {"native": "1000", "numpy": "60"}[engine_name]
    home = str(Path(fg.__file__).parents[1])
    env = os.environ | {"FASTGRAPH_ENGINE": engine_name, "PYTHONPATH": home}
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    path, every = str(tmp_path / "run.npz"), "0.7"

    def start(where):
        return subprocess.Popen(
            [sys.executable, str(script), epochs, where, every if where else "1"],
            env=env, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    quiet, _ = start("").communicate(timeout=120)
    for pause in (0.02, 0.1, 0.25):
        process = start(path)
        assert process.stdout.readline() == "ready\n"
        try:
            process.wait(pause)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate(timeout=60)
    resumed, _ = start(path).communicate(timeout=120)
    assert resumed == quiet
    assert len(quiet) > 1000
