"""The two engines and the choice between them.

`numpy` is the reference, `native` the compiled one; they are peers with the same classes
(`Executor`, `Trainer`) and never import each other.
"""

from __future__ import annotations

import importlib
import os
import warnings
from types import ModuleType

from ..errors import SettingError, unknown
from . import extension

__all__ = ["current", "engine", "set_engine"]

ENGINES = ("native", "numpy")

_chosen: str = "numpy"


def engine() -> str:
    """The engine in use: ``"native"`` or ``"numpy"``."""
    return _chosen


def set_engine(name: str) -> None:
    """Use the engine ``name``, ``"native"`` or ``"numpy"``, for everything that runs from now on.

    Raises:
        SettingError: the name is unknown, or the native engine is not built.
    """
    global _chosen
    if name not in ENGINES:
        raise SettingError(unknown("engine", name, ENGINES))
    if name == "native" and not extension.NATIVE_AVAILABLE:
        raise SettingError(
            f"the native engine is not available: {extension.UNAVAILABLE_REASON}; reinstall "
            "fastgraph-nn "
            "where there is a C compiler, or use the engine 'numpy'"
        )
    _chosen = name


def current(name: str | None = None) -> ModuleType:
    """The module of the engine in use, or of the one named."""
    return importlib.import_module(f".{name or _chosen}", __name__)


def choose_at_import() -> None:
    """Take the engine ``FASTGRAPH_ENGINE`` asks for, else the native one where it is built."""
    wanted = os.environ.get("FASTGRAPH_ENGINE")
    if wanted:
        set_engine(wanted)
    elif extension.NATIVE_AVAILABLE:
        set_engine("native")
    else:
        warnings.warn(
            "fastgraph runs on its NumPy engine, which is much slower: "
            f"{extension.UNAVAILABLE_REASON}. "
            "FASTGRAPH_ENGINE=numpy silences this notice.",
            stacklevel=3,
        )
