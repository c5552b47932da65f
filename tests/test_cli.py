"""The commands: what they print and write, what they return, and what they do without extras."""

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest

import fastgraph as fg
from fastgraph import bench, cli, demo
from fastgraph.engines import extension

PICTURES = {"fit.png", "loss.png", "graph.png", "speed.png"}


class Screen(io.StringIO):
    """A standard error that somebody looks at."""

    def isatty(self):
        return True


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory):
    """One run of the demo: exit code, standard output, standard error, folder."""
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("demo") / "made" / "by it"
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = cli.main(["demo", "--out", str(folder)])
    return code, out.getvalue(), err.getvalue(), folder


def test_demo_prints_the_answers_everybody_knows(demonstration):
    code, printed, _, _ = demonstration
    assert code == 0
    lines = [line.split() for line in printed.splitlines()]
    # Trained value and closed form, from least squares on the published data.
    for name, value in (("k,", "9.1021"), ("b,", "-34.6706"), ("MSE", "43.6006")):
        (row,) = [line for line in lines if line[:1] == [name]]
        assert row[-2:] == [value, value]
    (row,) = [line for line in lines if line[:1] == ["MAE"]]
    assert row[-2:] == ["6.5308", "6.5308"]


def test_demo_has_a_row_for_each_model_and_engine(demonstration):
    _, printed, _, _ = demonstration
    engines = ["NumPy", "Python loops"]
    if extension.NATIVE_AVAILABLE:
        engines.insert(0, "native")
    rows = [line for line in printed.splitlines() if line.endswith("x")]
    assert len(rows) == 3 * len(engines)
    for i, row in enumerate(rows):
        assert row.strip().startswith(engines[i % len(engines)])
        before, after, steps, seconds, rate, _ = row.replace(",", "").split()[-6:]
        assert float(after) < 45 < 560 < float(before)
        assert float(rate) == pytest.approx(int(steps) / float(seconds), rel=0.1)
    assert "slower ones run fewer steps" in printed


def test_demo_writes_the_four_pictures(demonstration):
    from PIL import Image

    _, printed, _, folder = demonstration
    assert {path.name for path in folder.iterdir()} == PICTURES
    for name in PICTURES:
        assert f"wrote {folder / name}" in printed
        with Image.open(folder / name) as picture:
            assert picture.width > 600 and picture.height > 300
            assert np.asarray(picture.convert("L")).std() > 10  # something is drawn


def test_demo_shows_no_bar_where_nobody_looks(demonstration):
    assert demonstration[2] == ""


def test_training_leaves_the_engine_as_it_was(engine):
    for by in ("numpy", "python"):
        demo._train(demo._MODELS[0], by, 1, fg.datasets.load_boston())
        assert fg.engine() == engine
    with pytest.raises(fg.SettingError):
        demo._train(demo._MODELS[0], "abacus", 1, fg.datasets.load_boston())
    assert fg.engine() == engine


@pytest.mark.parametrize("model", demo._MODELS, ids=lambda model: model.name)
def test_plain_loops_are_the_same_gradient_descent(model, engine):
    boston = fg.datasets.load_boston()
    loops = demo._train(model, "python", 3, boston)
    graph = demo._train(model, engine, 3, boston)
    assert loops.steps == graph.steps
    assert loops.before == pytest.approx(graph.before, rel=1e-12)
    assert loops.after == pytest.approx(graph.after, rel=1e-10)
    assert loops.after < loops.before
    for name, parameter in graph.built.graph.parameters.items():
        np.testing.assert_allclose(
            loops.built.graph.parameters[name].value, parameter.value, rtol=1e-9, atol=1e-12
        )


def test_the_13_10_1_net_goes_under_10(engine):
    model = demo._MODELS[-1]
    assert (model.batch_size, model.epochs["native"]) == (11, 1000)
    # Far fewer epochs than allowed are enough, which keeps the slower engine quick here.
    run = demo._train(model, engine, 60, fg.datasets.load_boston())
    assert run.steps == 60 * 46
    assert run.after < 10


def test_without_matplotlib_the_table_comes_and_the_extra_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for model in demo._MODELS:
        for name, few in (("native", 80), ("numpy", 80), ("python", 2)):
            monkeypatch.setitem(model.epochs, name, few)
    assert cli.main(["demo", "--out", str(tmp_path / "new")]) == 0
    printed = capsys.readouterr().out
    assert "43.6006" in printed
    assert "No pictures" in printed and "fastgraph-nn[plot]" in printed
    assert not (tmp_path / "new").exists()


def test_demo_says_when_it_cannot_write(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    taken = tmp_path / "file"
    taken.write_text("")
    assert cli.main(["demo", "--out", str(taken)]) == 1
    said = capsys.readouterr()
    assert said.err == f"fastgraph demo: {taken}: File exists\n"
    assert said.out == ""


def test_the_plain_bar_counts_and_cleans_up(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    screen = Screen()
    with redirect_stderr(screen), demo._progress(2) as advance:
        advance("first")
        advance("second")
    frames = screen.getvalue().split("\r")
    assert [frame.split()[-2:] for frame in frames[1:3]] == [["0/2", "first"], ["1/2", "second"]]
    assert not frames[-2].strip() and not frames[-1]


def test_the_bar_is_quiet_where_nobody_looks(monkeypatch):
    for tqdm in ("installed", None):
        if tqdm is None:
            monkeypatch.setitem(sys.modules, "tqdm", None)
        blind = io.StringIO()
        with redirect_stderr(blind), demo._progress(2) as advance:
            advance("first")
        assert blind.getvalue() == ""


def test_tqdm_shows_the_task():
    pytest.importorskip("tqdm")
    screen = Screen()
    with redirect_stderr(screen), demo._progress(3) as advance:
        advance("first")
        advance("second")
    assert "second" in screen.getvalue() and "1/3" in screen.getvalue()


def test_info_tells_what_runs(capsys):
    assert cli.main(["info"]) == 0
    facts = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert facts["fastgraph"] == fg.__version__
    assert facts["engine"] == fg.engine()
    assert facts["NumPy"] == np.__version__
    assert facts["Python"].startswith(".".join(map(str, sys.version_info[:3])))


def test_info_names_the_instruction_sets(capsys):
    printed = cli.info()
    if not extension.NATIVE_AVAILABLE:
        assert "not built" in printed
        return
    available = ", ".join(extension.available_isas())
    assert f"{extension.choose_isa()} (available: {available})" in printed
    assert extension.build_info()["compiler"] in printed
    assert extension.build_info()["flags"] in printed
    assert extension.build_info()["tiers"][extension.choose_isa()] in printed


def test_a_bad_instruction_set_is_an_error_not_a_traceback(monkeypatch, capsys):
    if not extension.NATIVE_AVAILABLE:
        pytest.skip("the native engine is not built")
    monkeypatch.setenv("FASTGRAPH_ISA", "mmx")
    assert cli.main(["info"]) == 1
    assert "FASTGRAPH_ISA" in capsys.readouterr().err


def test_bench_gets_its_own_arguments(monkeypatch):
    seen = []
    monkeypatch.setattr(bench, "main", lambda arguments: seen.append(arguments) or 7)
    assert cli.main(["bench", "--quick", "--output", "x"]) == 7
    assert seen == [["--quick", "--output", "x"]]


@pytest.mark.parametrize("arguments", [[], ["dem"], ["demo", "--nothing"], ["info", "more"]])
def test_wrong_arguments_end_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert "usage: fastgraph" in capsys.readouterr().err


def test_python_m_fastgraph_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "fastgraph", "--version"],
        capture_output=True, text=True, timeout=60, check=False, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, f"fastgraph {fg.__version__}")
