"""The notebooks are what the scripts make, hold no output, and run from clean."""

import json
import os
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
SOURCE = runpy.run_path(str(EXAMPLES / "notebooks.py"))
LANGUAGES = sorted(SOURCE["TITLES"])


def stored(language):
    text = (EXAMPLES / SOURCE["TITLES"][language]).read_text(encoding="utf-8")
    return text, json.loads(text)


def code_of(notebook):
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]


def prose_of(notebook):
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_notebook_is_what_the_scripts_make_and_holds_no_output(language):
    text, notebook = stored(language)
    assert text == SOURCE["written"](language), "run python examples/notebooks.py"
    for cell in notebook["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_notebook_holds_the_code_of_every_script(language):
    everything = "\n".join(code_of(stored(language)[1]))
    scripts = SOURCE["scripts"]()
    assert len(scripts) >= 14
    for script in scripts:
        for chunk in re.split(r"^# %%.*\n", script.read_text(encoding="utf-8"), flags=re.M)[1:]:
            lines = [line for line in chunk.strip().splitlines() if not line.startswith("#")]
            if lines:
                assert "\n".join(lines) in everything or chunk.strip() in everything, script.name


def test_both_notebooks_have_the_same_code_and_each_its_own_prose():
    english, chinese = stored("en")[1], stored("zh")[1]
    assert code_of(english) == code_of(chinese)
    assert len(prose_of(english)) == len(prose_of(chinese))
    for ours, theirs in zip(prose_of(english), prose_of(chinese), strict=True):
        assert not re.search("[一-鿿]", ours)
        assert len(re.findall("[一-鿿]", theirs)) >= 10, theirs
        headings = [re.findall(r"^#+ (?:\d+\w?\.)?", text, re.MULTILINE) for text in (ours, theirs)]
        assert headings[0] == headings[1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_notebook_runs_from_clean(language, tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    for module in ("matplotlib", "networkx"):
        pytest.importorskip(module)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.reads(stored(language)[0], as_version=4)
    nbformat.validate(notebook)
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert not [output for output in outputs if output.get("name") == "stderr"]
    pictures = [set(output.data) for output in outputs if output.output_type == "display_data"]
    shown = sum(code.count("show(") for code in code_of(stored(language)[1])) - 1  # less its def
    assert sum("image/png" in kinds for kinds in pictures) == shown - 1
    assert sum("image/gif" in kinds for kinds in pictures) == 1
    # The numbers of the lesson, worked out in test_examples.py.
    for words in (
        "correlation 0.695",
        "= 13/3 = 4.3333",
        "least squares: price = 9.10 * RM + -34.67, loss 43.60",
        "the best line: 5.000 x + 18.600, loss 147.92",
        "loss 120.85 -> 35.75; the best line has 43.60",
        "order:     x k1 b1 k2 b2 y linear sigmoid linear_2 loss",
        "k1        gradient  -15.8197",
    ):
        assert words in printed, words
    assert list(tmp_path.glob("*.*")) == []  # nothing is left in the reader's folder
