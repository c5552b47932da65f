"""Makes lesson.ipynb and lesson.zh.ipynb of the scripts: `python examples/notebooks.py`.

The scripts are the one source of the code and of the English text: their docstrings, what stands
in `# %% [markdown]` cells, and what follows `# %%` on its line. The Chinese text of the same
places, in the same order, is in lesson.zh.md. The notebooks hold no output.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
TITLES = {"en": "lesson.ipynb", "zh": "lesson.zh.ipynb"}

INTRODUCTION = """\
# From a random line to a framework

Fourteen steps, each with its picture. Run the cells in order, or start at any step: after the
first cell each step stands alone. The same steps are scripts beside this notebook.

It needs the package with its extra for pictures: `pip install '.[plot]'` in its folder.
"""

SET_UP = '''\
%matplotlib inline
%config InlineBackend.print_figure_kwargs = {{"bbox_inches": None}}
{imports}

plt.rcParams.update(plot.STYLE)


def show(picture, name):
    """A picture shows itself when its cell ends; an animation is shown as a GIF."""
    if hasattr(picture, "save"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{{name}}.gif"
            picture.save(path, writer="pillow", dpi=80)
            plt.close("all")
            display(Image(path.read_bytes(), format="gif"))
'''
FOR_SHOW = (
    "import tempfile",
    "from pathlib import Path",
    "from IPython.display import Image, display",
)


def scripts() -> list[Path]:
    """The steps in reading order."""
    return sorted(HERE.glob("[01][0-9]*_*.py"))


def cells_of(script: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """The imports of a script, and its cells: ("markdown" or "code", text)."""
    source = script.read_text(encoding="utf-8")
    head, *chunks = re.split(r"^# %%", source, flags=re.MULTILINE)
    imports = [line for line in head.splitlines() if re.match(r"(import|from) (?!_lesson)", line)]
    cells = [("markdown", _heading(ast.get_docstring(ast.parse(source))))]
    for chunk in chunks:
        title, _, body = chunk.partition("\n")
        if title.strip() == "[markdown]":
            cells.append(("markdown", re.sub(r"^# ?", "", body, flags=re.MULTILINE).strip()))
            continue
        if title.strip():
            cells.append(("markdown", title.strip()))
        cells.append(("code", body.strip()))
    return imports, cells


def _heading(docstring: str) -> str:
    """The first line as a heading, and the words that guide the reader in bold."""
    return re.sub(r"^(Look at|Next):", r"\n**\1:**", f"## {docstring}", flags=re.MULTILINE)


def chinese() -> dict[str, list[str]]:
    """{name of the script: its texts in order}; the introduction under "lesson"."""
    text = (HERE / "lesson.zh.md").read_text(encoding="utf-8")
    parts = re.split(r"^<!-- (\w+) -->$", text, flags=re.MULTILINE)[1:]
    return {
        name: [block.strip() for block in re.split(r"^---$", texts, flags=re.MULTILINE)]
        for name, texts in zip(parts[::2], parts[1::2], strict=True)
    }


def notebook(language: str) -> dict:
    """The notebook as nbformat 4.5 writes it."""
    texts = chinese() if language == "zh" else None
    imports, steps = list(FOR_SHOW), []
    for script in scripts():
        found, cells = cells_of(script)
        imports += [line for line in found if line not in imports]
        if texts is not None:
            translated = iter(texts[script.stem])
            cells = [
                (kind, next(translated) if kind == "markdown" else text) for kind, text in cells
            ]
            if next(translated, None) is not None:
                raise ValueError(f"lesson.zh.md has more texts for {script.stem} than the script")
        steps += [(f"{script.stem}-{i}", *cell) for i, cell in enumerate(cells)]
    everything = [
        ("introduction", "markdown", texts["lesson"][0] if texts else INTRODUCTION.strip()),
        ("set-up", "code", SET_UP.format(imports=_sorted(imports)).strip()),
        *steps,
    ]
    return {
        "cells": [_cell(*cell) for cell in everything],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _sorted(imports: list[str]) -> str:
    """Imports in the usual order: the standard library, other packages, this one."""

    def group(line: str) -> int:
        package = re.split(r"[ .]", line)[1]
        return 0 if package in sys.stdlib_module_names else 2 if package == "fastgraph" else 1

    groups = [[line for line in imports if group(line) == i] for i in range(3)]
    for lines in groups:
        lines.sort(key=lambda line: (line.startswith("from"), line))
    return "\n\n".join("\n".join(lines) for lines in groups)


def _cell(name: str, kind: str, text: str) -> dict:
    cell = {"cell_type": kind, "id": name.replace(".", "-"), "metadata": {}}
    if kind == "code":
        cell |= {"execution_count": None, "outputs": []}
    return cell | {"source": text.splitlines(keepends=True)}


def written(language: str) -> str:
    """The text of the notebook's file."""
    return json.dumps(notebook(language), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for language, name in TITLES.items():
        (HERE / name).write_text(written(language), encoding="utf-8")
        print(f"wrote {HERE / name}")
