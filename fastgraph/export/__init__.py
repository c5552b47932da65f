"""Models that leave home: a trained graph as C99 source, or as an ONNX file.

Both take a `Program` (sorted nodes with their shapes), so nothing here runs a graph, binds data
or knows of engines. Each is a table, one row per operation by the name of its kernel.
"""

from .c import CExport, write_c
from .onnx import write_onnx
from .scaling import resolve_scaling

__all__ = ["CExport", "resolve_scaling", "write_c", "write_onnx"]
