"""Dropout: random zeros while training, drawn by counter, so that both engines draw the same."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import SettingError
from ..node import Shape
from ..randomness import chances
from .rowwise import Moment, Training

__all__ = ["Dropout"]


class Dropout(Training):
    """While `fit` trains: each element is 0 with probability ``rate``, else x / (1 - rate).

    Everything else (``evaluate``, ``compile``, ``forward``, ``backward``) passes x on as it is.
    What is drawn depends on the seed of `fit`, the number of the step, the row of the data and
    the element alone: engine, batches in parts, and threads cannot change it.

    Parameters:
        x: node of any shape.
        rate: in [0, 1).

    Gradient: g where x was kept, divided by 1 - rate.

    Source: N. Srivastava et al., "Dropout: a simple way to prevent neural networks from
    overfitting" (2014).
    """

    kernel = "dropout"

    def __init__(self, x: Any, rate: float = 0.5, name: str | None = None):
        super().__init__(x, name=name)
        number = isinstance(rate, (int, float, np.integer, np.floating))
        if not number or isinstance(rate, bool) or not 0 <= rate < 1:
            raise SettingError(f"{self}: rate must be a number in [0, 1), got {rate!r}")
        self.rate = float(rate)

    @property
    def numbers(self):
        return (self._dropped(), 1 / (1 - self.rate))

    def _dropped(self) -> float:
        """Of 2³² equal chances, how many drop."""
        return float(round(self.rate * 2**32))

    def shape(self, x: Shape) -> Shape:
        return x

    def sizes(self, x: Shape) -> tuple[int, ...]:
        return (math.prod(x.features),)

    def kept(self, x: Shape) -> int:
        return math.prod(x.features)  # 0 or 1 / (1 - rate) for each element

    def forward(self, x):
        return x

    def backward(self, gradient, x):
        return (gradient,)

    def _mask(self, moment: Moment, x: np.ndarray) -> np.ndarray:
        drawn = chances(
            moment.seed, moment.step, moment.place, moment.rows, x.size // len(moment.rows)
        )
        kept = np.where(drawn < self._dropped(), 0, 1 / (1 - self.rate))
        return kept.astype(x.dtype).reshape(x.shape)

    def train_forward(self, moment: Moment, x):
        return x * self._mask(moment, x)

    def train_backward(self, moment: Moment, gradient, x):
        return (gradient * self._mask(moment, x),)
