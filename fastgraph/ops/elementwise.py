"""What elementwise operations have in common: their shape rule and the number of operands."""

from __future__ import annotations

from typing import Any

from ..node import Node, Shape
from .broadcasting import broadcast

__all__ = ["Binary", "Elementwise", "Unary"]


class Elementwise(Node):
    """An operation on each element; operands broadcast together, the batch axis excepted."""

    def shape(self, *shapes: Shape) -> Shape:
        return broadcast(self, *shapes)


class Unary(Elementwise):
    """An elementwise operation on one operand."""

    def __init__(self, x: Any, name: str | None = None):
        super().__init__(x, name=name)


class Binary(Elementwise):
    """An elementwise operation on two operands."""

    def __init__(self, a: Any, b: Any, name: str | None = None):
        super().__init__(a, b, name=name)
