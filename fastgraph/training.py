"""Training: from settings and feeds to a history, around either engine's `Trainer`."""

from __future__ import annotations

import operator
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .engines import current
from .errors import DivergenceError, SettingError, require
from .node import Input, Node
from .optimizers import Optimizer
from .program import Program

__all__ = ["History", "train"]


class History:
    """What a run of ``fit`` came to.

    Attributes:
        loss: (epochs,) float array, the mean loss over the rows of each epoch, as it was met on
            the way (each batch before its own step).
        steps: steps taken.
        seconds: time they took.
    """

    def __init__(self, loss: np.ndarray, steps: int, seconds: float):
        self.loss = loss
        self.steps = steps
        self.seconds = seconds

    @property
    def epochs(self) -> int:
        """Finished epochs."""
        return len(self.loss)

    def __repr__(self) -> str:
        ends = f"loss {self.loss[0]:.6g} → {self.loss[-1]:.6g}" if len(self.loss) else "no epoch"
        return f"<History: {self.epochs} epochs, {self.steps} steps, {self.seconds:.3g} s, {ends}>"


def whole_number(name: str, value: Any, low: int) -> int:
    """``value`` as an int of at least ``low``, or a `SettingError` that names it."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < low:
        raise SettingError(f"{name} must be a whole number, {low} or more, got {value!r}")
    return number


def train(
    graph: Any,
    program: Program,
    arrays: dict[Input, np.ndarray],
    *,
    optimizer: Optimizer,
    epochs: int,
    batch_size: int | None,
    shuffle: bool,
    seed: int,
    threads: int,
    progress: bool,
) -> History:
    """Run ``epochs`` epochs; see ``Graph.fit``, which checks what is given here."""
    state = optimizer.state_of(graph, program.parameters, program.dtype)
    before = state.steps
    rows = next((a.shape[0] for a in arrays.values() if a.ndim), 1)
    trainer = current().Trainer(
        program,
        arrays,
        optimizer=optimizer,
        state=state,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed % (1 << 64),  # the generator takes 64 bits
        threads=threads,
    )
    steps_per_epoch = -(-rows // min(batch_size or rows, rows))
    losses: list[np.ndarray] = []
    failure = None
    started = time.perf_counter()
    with _Interrupts() as interrupts, _bar(epochs, progress) as advance:
        try:
            left, stretch = epochs, epochs if advance is None else 1
            while left and failure is None and not interrupts.pending():
                tick = time.perf_counter()
                outcome = trainer.run(min(stretch, left), interrupts.pending)
                losses.append(outcome.losses)
                left -= len(outcome.losses)
                failure = outcome.failure
                if advance is not None:
                    advance(len(outcome.losses), outcome.losses)
                    if time.perf_counter() - tick < 0.05:
                        stretch *= 2
        finally:
            state = trainer.finish()
            optimizer.keep(graph, program.parameters, state)
    loss = np.concatenate(losses) if losses else np.empty(0)
    if failure is not None:
        at = (len(loss) + 1, failure.step + 1, steps_per_epoch)
        raise _divergence(program, arrays, failure.rows, at, optimizer)
    return History(loss, state.steps - before, time.perf_counter() - started)


class _Interrupts:
    """Lets Ctrl-C end a run between two steps, and only there.

    While a run is on, the first Ctrl-C is noted and the engine asks for it after each step (the
    native one every few milliseconds); a second one raises at once, as Python does. On leaving,
    a Ctrl-C that was noted is raised. Handlers of the user's own are left in place.
    """

    def __init__(self) -> None:
        self._noted = False
        self._previous: Any = None

    def pending(self) -> bool:
        return self._noted

    def _note(self, number: int, frame: Any) -> None:
        if self._noted:
            raise KeyboardInterrupt
        self._noted = True

    def __enter__(self) -> _Interrupts:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            self._previous = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *error: Any) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
        if self._noted and error[0] is None:
            raise KeyboardInterrupt


class _bar:
    """A tqdm bar over the epochs; entering gives a function to advance it, None without one."""

    def __init__(self, epochs: int, shown: bool):
        self._bar = require("tqdm.auto", "progress").tqdm(total=epochs, unit="epoch") if shown else None

    def __enter__(self) -> Callable[[int, np.ndarray], None] | None:
        return None if self._bar is None else self._advance

    def _advance(self, epochs: int, losses: np.ndarray) -> None:
        if len(losses):
            self._bar.set_postfix(loss=f"{losses[-1]:.6g}", refresh=False)
        self._bar.update(epochs)

    def __exit__(self, *error: Any) -> None:
        if self._bar is not None:
            self._bar.close()


def _divergence(
    program: Program,
    arrays: dict[Input, np.ndarray],
    rows: np.ndarray,
    at: tuple[int, int, int],
    optimizer: Optimizer,
) -> DivergenceError:
    """The error for a step that was not finite: where, what went bad first, and the remedy.

    The parameters are those the step began with, so the reference engine meets the same numbers.
    """
    epoch, step, steps = at
    batch = {node: a[rows] if a.ndim else a for node, a in arrays.items()}
    node, what = _first_bad(program, batch)
    scales = {item: float(np.abs(a).max()) for item, a in batch.items()}
    scale = ", ".join(f"{item} up to {size:.3g}" for item, size in scales.items())
    if max(scales.values(), default=0) > 10:
        remedy = "standardize the inputs and targets (subtract the mean, divide by the standard deviation)"
    else:
        remedy = f"lower the learning rate, as to {optimizer.learning_rate / 10:.3g}"
    return DivergenceError(
        f"training left the finite numbers in epoch {epoch}, step {step} of {steps}: {what}; "
        f"learning rate {optimizer.learning_rate:.3g}; inputs: {scale or 'none'}; the parameters "
        f"of the last finite step are kept; {remedy}, and fit again",
        epoch=epoch,
        step=step,
        node=node,
    )


def _first_bad(program: Program, batch: dict) -> tuple[Node | None, str]:
    executor = current("numpy").Executor(program)
    values = executor.forward(batch)
    for node in program.nodes:
        value = values[node]
        if not np.isfinite(value).all():
            return node, f"{node} became {value[~np.isfinite(value)].flat[0]}"
    (output,) = program.outputs
    gradients, _ = executor.backward(output, np.ones(values[output].shape, program.dtype))
    for node in reversed(program.nodes):
        if node in gradients and not np.isfinite(gradients[node]).all():
            return node, f"the gradient of {node} is not finite, though its value is"
    return None, "the step is too large for the numbers, though its gradient is finite"
