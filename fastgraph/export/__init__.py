"""Models that leave home: a trained graph as C99 source, or as an ONNX file.

Both take a `Program` (sorted nodes with their shapes), so nothing here runs a graph, binds data
or knows of engines. Each is a table, one row per operation by the name of its kernel.

The rooms are loaded when they are first asked for: most programs never export, and importing
fastgraph should not wait for the tables.
"""

import importlib
from typing import Any

_ROOM_OF = {
    "CExport": "c",
    "write_c": "c",
    "write_onnx": "onnx",
    "resolve_scaling": "scaling",
}

__all__ = ["CExport", "resolve_scaling", "write_c", "write_onnx"]


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_ROOM_OF[name]}", __name__), name)
