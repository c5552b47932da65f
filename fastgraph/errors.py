"""Every error fastgraph raises: one small tree.

Each class also derives from the built-in exception a user would catch. Messages say where (node
name and kind), what was expected, what came, and what to do. Nothing here knows about nodes.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType

__all__ = [
    "CycleError",
    "DataError",
    "DivergenceError",
    "FastGraphError",
    "GraphError",
    "SettingError",
    "ShapeError",
]


class FastGraphError(Exception):
    """The root of all errors raised by fastgraph."""


class GraphError(FastGraphError, ValueError):
    """The graph itself is wrong: a node missing, a name twice, a misuse of the graph."""


class CycleError(GraphError):
    """The graph has a cycle, so no order lets every node follow its inputs.

    Attributes:
        cycle: the nodes or names along the cycle; the first one is fed by the last one.
    """

    def __init__(self, message: str, cycle: Iterable = ()):
        super().__init__(message)
        self.cycle = list(cycle)


class ShapeError(FastGraphError, ValueError):
    """Shapes do not fit together."""


class DataError(FastGraphError, ValueError, TypeError):
    """What was fed cannot be used: missing, not numeric, not finite, or of the wrong length."""


class SettingError(FastGraphError, ValueError):
    """A setting is unknown or out of its range."""


class DivergenceError(FastGraphError, ArithmeticError):
    """Training left the finite numbers; the parameters of the last finite step are kept.

    Attributes:
        epoch: the epoch in which it happened, counted from 1 within this call of ``fit``.
        step: the step within that epoch, counted from 1.
        node: the first node, in topological order, whose value or gradient is not finite
            (None where it could not be found).
    """

    def __init__(self, message: str, *, epoch: int = 0, step: int = 0, node: object = None):
        super().__init__(message)
        self.epoch = epoch
        self.step = step
        self.node = node


def require(module: str, extra: str) -> ModuleType:
    """Import an optional module, or raise a `SettingError` that names the extra to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SettingError(
            f"this needs {module.partition('.')[0]}, which is not installed; "
            f"install it with: pip install 'fastgraph-nn[{extra}]'"
        ) from error


def unknown(what: str, got: object, candidates: Iterable[str]) -> str:
    """The message for an unknown name: what came, the nearest candidate, and all of them."""
    names = [str(name) for name in candidates]
    near = difflib.get_close_matches(str(got), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {got!r}{hint} (candidates: {', '.join(map(repr, names)) or 'none'})"
