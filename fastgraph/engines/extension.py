"""Finds the build of the native engine that suits this processor and the wanted dtype.

The engine is compiled once per instruction set and dtype, as `fastgraph._native_<isa>_<dtype>`.
Only the tiny `fastgraph._cpu` is loaded when this is imported; a build of the engine is loaded
when a graph first needs it, and never one that this processor cannot run. Nothing here knows what
an engine does. `engines/native.py` loads the engine through it; others only ask what is available.
"""

from __future__ import annotations

import importlib
import os
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import SettingError, unknown

__all__ = [
    "NATIVE_AVAILABLE",
    "UNAVAILABLE_REASON",
    "available_isas",
    "build_info",
    "choose_isa",
    "load_extension",
]

_PACKAGE = __name__.partition(".")[0]
_DTYPES = ("float32", "float64")
_VARIABLE = "FASTGRAPH_ISA"

_cpu: ModuleType | None
try:
    # Not `from .. import _cpu`: where it is absent, that speaks of a circular import.
    _cpu = importlib.import_module(f"{_PACKAGE}._cpu")
except ImportError as _error:
    _cpu = None
    _cpu_error = str(_error)


def _module_name(isa: str, dtype: str) -> str:
    return f"{_PACKAGE}._native_{isa}_{dtype}"


@cache
def available_isas() -> tuple[str, ...]:
    """The instruction sets that are built and that this processor runs, best last.

    Returns:
        A part of ``("baseline", "avx2", "avx512")``; empty where the engine is not built.

    Example:
        >>> available_isas()[:1] in [(), ("baseline",)]
        True
    """
    if _cpu is None:
        return ()
    return tuple(
        isa
        for isa in _cpu.supported_isas()
        if all(find_spec(_module_name(isa, dtype)) for dtype in _DTYPES)
    )


def choose_isa() -> str:
    """The instruction set to run: the one named by ``FASTGRAPH_ISA``, else the best available.

    Raises:
        SettingError: the engine is not built, or ``FASTGRAPH_ISA`` names an instruction set that
            is unknown, not built, or not run by this processor.
    """
    candidates = available_isas()
    if not candidates:
        raise SettingError(UNAVAILABLE_REASON)
    wanted = os.environ.get(_VARIABLE, "").strip()
    if not wanted:
        return candidates[-1]
    if wanted not in candidates:
        raise SettingError(f"{_VARIABLE}: {unknown('instruction set', wanted, candidates)}")
    return wanted


@cache
def _load(isa: str, dtype: str) -> ModuleType:
    return importlib.import_module(_module_name(isa, dtype))


def load_extension(isa: str, dtype: object) -> ModuleType:
    """The native engine's module for one instruction set and dtype, loaded at first use.

    Parameters:
        isa: one of `available_isas`.
        dtype: float32 or float64, as a name, a type or a NumPy dtype.

    Raises:
        SettingError: the instruction set is not available, or the dtype is another one.
    """
    if isa not in available_isas():
        raise SettingError(unknown("instruction set", isa, available_isas()))
    name = np.dtype(dtype).name  # type: ignore[call-overload]
    if name not in _DTYPES:
        raise SettingError(unknown("dtype", name, _DTYPES))
    return _load(isa, name)


def build_info() -> dict[str, Any]:
    """How the native engine was built.

    Returns:
        ``compiler`` and ``flags`` (text), ``tiers`` (instruction set to its flags), ``cython`` and
        ``numpy`` (versions built against), ``debug`` and ``sanitize`` (bool); empty where the
        engine is not built.
    """
    return {} if _cpu is None else _cpu.build_info()


NATIVE_AVAILABLE: bool = bool(available_isas())
"""Whether at least one build of the native engine can run here."""

if NATIVE_AVAILABLE:
    UNAVAILABLE_REASON = ""
elif _cpu is None:
    UNAVAILABLE_REASON = (
        f"the native engine is not built ({_cpu_error}); install a C compiler and reinstall with "
        "FASTGRAPH_REQUIRE_NATIVE=1 to see why it does not compile"
    )
else:
    UNAVAILABLE_REASON = (
        "the native engine is not built for this processor (it runs "
        f"{', '.join(_cpu.supported_isas())}); reinstall with FASTGRAPH_REQUIRE_NATIVE=1 to see "
        "why it does not compile"
    )
"""Why `NATIVE_AVAILABLE` is false and what to do; empty when it is true."""
