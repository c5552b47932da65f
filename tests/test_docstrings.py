"""The examples in docstrings print what they say."""

import doctest
import importlib
import importlib.util
import pkgutil

import numpy as np
import pytest
from conftest import ENGINES, NATIVE

import fastgraph as fg

MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(fg.__path__, "fastgraph.")
    if "._" not in name
    and (NATIVE or not name.endswith("native"))
    and (name != "fastgraph.sklearn" or importlib.util.find_spec("sklearn"))
]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("engine_name", ENGINES)
@pytest.mark.parametrize("name", ["fastgraph", *MODULES])
def test_examples(name, engine_name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # examples may write files
    fg.set_engine(engine_name)
    with np.printoptions(precision=8, suppress=False):
        result = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)
    assert result.failed == 0


def test_there_are_examples_to_run():
    finder = doctest.DocTestFinder()
    found = sum(
        len(test.examples)
        for name in MODULES
        for test in finder.find(importlib.import_module(name))
    )
    assert found >= 10
