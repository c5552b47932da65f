"""The README's code runs, in order, and prints what the README says it prints."""

import contextlib
import io
import re
import runpy
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples(text):
    """[(code, what it prints or None)]: a python block and the text block that follows it."""
    blocks = _BLOCK.findall(text)
    following = [*blocks[1:], ("", "")]
    return [
        (code, printed if kind == "text" else None)
        for (language, code), (kind, printed) in zip(blocks, following, strict=True)
        if language == "python"
    ]


def run(code, names):
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, str(README), "exec"), names)
    return output.getvalue()


def test_every_example_prints_what_it_says(engine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where its files go
    plt = pytest.importorskip("matplotlib.pyplot")
    pytest.importorskip("networkx")
    names = {"__name__": "readme"}
    found = examples(README.read_text(encoding="utf-8"))
    assert len(found) >= 4
    assert sum(printed is not None for _, printed in found) >= 3
    try:
        for code, printed in found:
            assert run(code, names) == (printed or ""), code
    finally:
        plt.close("all")


def test_the_first_example_is_short():
    code, printed = examples(README.read_text(encoding="utf-8"))[0]
    assert len(code.strip().splitlines()) <= 17
    assert printed


def test_pictures_and_files_named_are_there():
    text = README.read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    links = re.findall(r"(?<!!)\[[^\]]+\]\(([^)#]+)\)", text)
    assert pictures
    for name in [*pictures, *(link for link in links if "://" not in link)]:
        assert (README.parent / name).is_file(), name


def test_the_pictures_are_drawn_by_the_script(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    pytest.importorskip("networkx")
    script = README.parent / "docs" / "pictures.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--out", str(tmp_path)])
    runpy.run_path(str(script), run_name="__main__")
    drawn = {path.name for path in tmp_path.iterdir()}
    text = README.read_text(encoding="utf-8")
    assert set(re.findall(r"\(docs/img/([^)]+)\)", text)) <= drawn
    assert {path.name for path in script.parent.joinpath("img").iterdir()} == drawn


def test_the_blocks_are_found_as_written():
    text = "```python\nprint(1)\n```\n\nwords\n\n```text\n1\n```\n```python\nx = 2\n```\n"
    assert examples(text) == [("print(1)\n", "1\n"), ("x = 2\n", None)]
