"""What may happen while a run goes on: a function called now and then, and early stopping.

Without these nothing leaves the native loop. Nothing here runs anything; `training.py` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from .errors import SettingError, unknown
from .settings import flag, number, whole_number

__all__ = ["EarlyStopping", "Every", "Progress"]


class Progress(NamedTuple):
    """Where a run of ``fit`` stands, as its callbacks are told.

    Attributes:
        epoch: finished epochs of this run.
        epochs: how many it was asked for.
        step: finished steps of this run.
        loss: the mean loss of the last finished epoch (NaN before one is).
        validation_loss: after that epoch; None without validation.
        learning_rate: of the last step.
        seconds: since the run began.
        graph: its parameters are those of the last finished step; it may be evaluated, and what is
            written into a parameter is taken over.
    """

    epoch: int
    epochs: int
    step: int
    loss: float
    validation_loss: float | None
    learning_rate: float
    seconds: float
    graph: Any


class Every:
    """A callback that is called every so many steps or epochs.

    Parameters:
        function: called with a `Progress`; the run stops after it returns True.
        epochs: finished epochs between calls, 1 or more; or
        steps: finished steps between calls, 1 or more.

    Example:
        >>> import numpy as np, fastgraph as fg
        >>> x, k = fg.Input("x"), fg.Parameter(3.0, "k")
        >>> graph = fg.Graph(fg.Mean((x * k) ** 2))
        >>> def show(progress):
        ...     print(progress.step, round(float(k.value), 3))
        >>> history = graph.fit({x: [1.0]}, optimizer=fg.SGD(0.25), epochs=4,
        ...                     callbacks=fg.Every(show, steps=2))
        2 0.75
        4 0.188
    """

    def __init__(
        self,
        function: Callable[[Progress], Any],
        *,
        epochs: int | None = None,
        steps: int | None = None,
    ):
        if not callable(function) or isinstance(function, type):
            raise SettingError(f"callbacks: expected a function of a Progress, got {function!r}")
        if epochs is not None and steps is not None:
            raise SettingError("Every: give epochs or steps, not both")
        self.function = function
        self.steps = None if steps is None else whole_number("Every: steps", steps, 1)
        self.epochs = None
        if steps is None:
            self.epochs = whole_number("Every: epochs", 1 if epochs is None else epochs, 1)


class EarlyStopping:
    """Stop when a loss has not improved for ``patience`` epochs.

    Parameters:
        patience: epochs without an improvement before the run stops, 1 or more.
        restore_best: leave the parameters of the best epoch, also where the run comes to its end;
            the optimizer's state stays that of the last step.
        min_delta: an improvement must be more than this, 0 or more.
        monitor: ``"validation_loss"``, or ``"loss"`` for the training loss.

    Source: L. Prechelt, "Early stopping, but when?" (1998).
    """

    MONITORS = ("validation_loss", "loss")

    def __init__(
        self,
        patience: int,
        restore_best: bool = True,
        min_delta: float = 0.0,
        monitor: str = "validation_loss",
    ):
        self.patience = whole_number("EarlyStopping: patience", patience, 1)
        self.restore_best = flag("EarlyStopping: restore_best", restore_best)
        self.min_delta = number("EarlyStopping: min_delta", min_delta)
        if monitor not in self.MONITORS:
            raise SettingError("EarlyStopping: " + unknown("monitor", monitor, self.MONITORS))
        self.monitor = monitor

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={v!r}" for k, v in vars(self).items())
        return f"EarlyStopping({shown})"


def as_callbacks(value: Any) -> list[Every]:
    """What ``fit`` was given, as a list of `Every`; a plain function is called every epoch."""
    if value is None:
        return []
    if callable(value) or isinstance(value, Every):
        value = [value]
    if isinstance(value, EarlyStopping):
        raise SettingError("callbacks: EarlyStopping is given as early_stopping=")
    if not isinstance(value, Iterable):
        raise SettingError(f"callbacks: expected a function or a list of them, got {value!r}")
    return [item if isinstance(item, Every) else Every(item) for item in value]
