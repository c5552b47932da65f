"""Checks of settings: a value in its range, or a `SettingError` that names it."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from .errors import SettingError

__all__ = ["flag", "fraction", "number", "whole_number"]


def whole_number(name: str, value: Any, low: int) -> int:
    """``value`` as an int of at least ``low``."""
    try:
        found = operator.index(value)
    except TypeError:
        found = None
    if found is None or isinstance(value, bool) or found < low:
        raise SettingError(f"{name} must be a whole number, {low} or more, got {value!r}")
    return found


def number(name: str, value: Any, *, above: bool = False) -> float:
    """``value`` as a finite float of at least 0; with ``above``, of more than 0."""
    fine = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not fine or not math.isfinite(value) or value < 0 or (above and value == 0):
        raise SettingError(
            f"{name} must be a number {'above 0' if above else 'of 0 or more'}, got {value!r}"
        )
    return float(value)


def fraction(name: str, value: Any) -> float:
    """``value`` as a float in (0, 1]."""
    found = number(name, value, above=True)
    if found > 1:
        raise SettingError(f"{name} must be a number in (0, 1], got {value!r}")
    return found


def flag(name: str, value: Any) -> bool:
    """``value`` as a bool; numbers and words are refused."""
    if not isinstance(value, (bool, np.bool_)):
        raise SettingError(f"{name} must be True or False, got {value!r}")
    return bool(value)
