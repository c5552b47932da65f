"""What a stretch of training came to: the same words for both engines."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Failure", "Outcome"]


class Failure(NamedTuple):
    """A step whose loss or gradients were not finite; it changed nothing.

    Attributes:
        epoch: counted from 0 within this stretch.
        step: counted from 0 within the epoch.
        rows: the indices of its batch.
    """

    epoch: int
    step: int
    rows: np.ndarray


class Outcome(NamedTuple):
    """The mean loss of each finished epoch, and why the stretch ended early, if it did.

    Attributes:
        losses: one for each epoch that was finished, penalties included.
        steps: finished steps.
    """

    losses: np.ndarray
    steps: int
    failure: Failure | None = None
    interrupted: bool = False
