"""Training: from settings and feeds to a history, around either engine's `Trainer`.

A run goes on in stretches. Each is as long as nothing has to happen in Python: to the next
validation, callback or checkpoint, and without any of these to the end.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .callbacks import EarlyStopping, Every, Progress
from .doctor import remedy_for_divergence
from .engines import current
from .engines.outcome import Failure
from .errors import DataError, DivergenceError, SettingError, require
from .node import Input, Node, Parameter
from .optimizers import Optimizer, OptimizerState
from .program import Program
from .regularization import Regularization
from .schedules import ReduceOnPlateau, Schedule
from .solvers import Problem, Solver
from .storage import fingerprint, outline, read, write

__all__ = ["History", "RunSettings", "interruptible", "train"]

#: Learning rates that are computed beforehand, where there is a schedule; at least an epoch's.
RATES = 1 << 16


class History:
    """What a run of ``fit`` came to.

    Attributes:
        loss: (epochs,) float array, the mean loss over the rows of each epoch, as it was met on
            the way (each batch before its own step), penalties included.
        validation_loss: (epochs,) float array, the loss of the validation data after each epoch,
            without penalties; None without validation.
        learning_rate: (epochs,) float array, that of each epoch's last step; None where the
            optimizer has none.
        best_epoch: the epoch with the smallest loss that early stopping watched, counted from 1;
            None without early stopping.
        stopped_early: whether the run ended before its last epoch: by early stopping, by a
            callback, or because the optimizer found nothing to improve.
        steps: steps taken.
        seconds: time they took.
    """

    def __init__(
        self,
        loss: np.ndarray,
        steps: int,
        seconds: float,
        validation_loss: np.ndarray | None = None,
        learning_rate: np.ndarray | None = None,
        best_epoch: int | None = None,
        stopped_early: bool = False,
    ):
        self.loss = loss
        self.steps = steps
        self.seconds = seconds
        self.validation_loss = validation_loss
        self.learning_rate = learning_rate
        self.best_epoch = best_epoch
        self.stopped_early = stopped_early

    @property
    def epochs(self) -> int:
        """Finished epochs."""
        return len(self.loss)

    def __repr__(self) -> str:
        ends = f"loss {self.loss[0]:.6g} → {self.loss[-1]:.6g}" if len(self.loss) else "no epoch"
        if self.validation_loss is not None and len(self.validation_loss):
            ends += f", validation loss {self.validation_loss[-1]:.6g}"
        if self.best_epoch is not None:
            ends += f", best in epoch {self.best_epoch}"
        if self.stopped_early:
            ends += ", stopped early"
        return f"<History: {self.epochs} epochs, {self.steps} steps, {self.seconds:.3g} s, {ends}>"


@dataclass(eq=False, repr=False)
class RunSettings:
    """What ``Graph.fit`` was asked for, checked there; see it for the meaning."""

    optimizer: Optimizer
    epochs: int
    batch_size: int | None = None
    shuffle: bool = True
    seed: int = 0
    threads: int = 1
    progress: bool = False
    schedule: Schedule | None = None
    regularization: Regularization | None = None
    validation: dict[Input, np.ndarray] | None = None
    early_stopping: EarlyStopping | None = None
    callbacks: list[Every] = field(default_factory=list)
    checkpoint: str | None = None
    every: float = 1.0


def train(
    graph: Any, program: Program, arrays: dict[Input, np.ndarray], settings: RunSettings
) -> History:
    """Run the epochs that are asked for."""
    run = _Run(graph, program, arrays, settings)
    if settings.checkpoint is not None:
        run.resume()
    failure = None
    with _Interrupts() as interrupts, _bar(settings, run.epoch) as run.advance:
        if not run.stopped and run.epoch < settings.epochs:
            solver = isinstance(settings.optimizer, Solver)
            failure = (_solve if solver else _step)(run, interrupts)
    if failure is not None:
        raise _divergence(run, failure)
    return run.finish()


def _step(run: _Run, interrupts: _Interrupts) -> Failure | None:
    """Train with an optimizer that takes steps; what failed, if a step did."""
    settings, failure = run.settings, None
    trainer = current().Trainer(
        run.program,
        run.arrays,
        optimizer=settings.optimizer,
        state=run.state,
        batch_size=settings.batch_size,
        shuffle=settings.shuffle,
        seed=settings.seed % (1 << 64),  # the generator takes 64 bits
        threads=settings.threads,
        regularization=settings.regularization,
    )
    run.trainer = trainer
    state = run.state
    try:
        while run.going() and failure is None and not interrupts.pending():
            epochs, steps = run.stretch()
            rates = run.rates(state, epochs, steps)
            outcome = trainer.run(epochs, interrupts.pending, steps, rates)
            failure = outcome.failure
            first, state = state, trainer.state()
            state.plateau = first.plateau
            run.note(outcome.losses, outcome.steps, run.rates_of_epochs(first, rates, outcome))
            state.plateau = run.watch_plateau(state.plateau, outcome.losses)
            run.state = state
            if failure is None:
                run.after(len(outcome.losses), outcome.steps)
        if interrupts.pending() and failure is None and settings.checkpoint is not None:
            run.save()
    finally:
        trainer.store()
        state = trainer.state()
        state.step, state.total, state.plateau = 0, 0.0, run.state.plateau
        settings.optimizer.keep(run.graph, run.program.parameters, state)
    return failure


def _solve(run: _Run, interrupts: _Interrupts) -> Failure | None:
    """Train with a method that looks at all rows at once and runs its own loop."""
    settings = run.settings
    optimizer: Any = settings.optimizer
    problem = Problem(
        run.graph, run.program, run.arrays, settings.regularization, interrupts.pending,
        settings.threads,
    )  # fmt: skip
    run.trainer = trainer = _Iterate(run.program)
    if not np.isfinite(problem.value_and_gradient(trainer.vector())[0]):
        return Failure(0, 0, np.arange(run.rows))

    def after(vector: np.ndarray, loss: float) -> bool:
        trainer.take(vector)
        run.state.steps += 1
        run.state.epochs += 1
        run.note(np.array([loss]), 1, None)
        run.after(1, 1)
        return not run.going() or interrupts.pending()

    try:
        optimizer.solve(problem, trainer.vector(), settings.epochs, after, run.state)
        run.stopped = run.stopped or (run.going() and not interrupts.pending())
    finally:
        trainer.store()
        optimizer.keep(run.graph, run.program.parameters, run.state)
    return None


class _Iterate:
    """Where a solver stands: what an engine's `Trainer` is for optimizers that take steps."""

    def __init__(self, program: Program):
        self.program = program
        self.load()

    def take(self, vector: np.ndarray) -> None:
        self._vector = vector.astype(self.program.dtype)

    def vector(self) -> np.ndarray:
        return self._vector

    def load(self) -> None:
        self.take(np.concatenate([node.value.ravel() for node in self.program.parameters]))

    def store(self) -> None:
        start = 0
        for node in self.program.parameters:
            stop = start + node.value.size
            node.value[...] = self._vector[start:stop].reshape(node.value.shape)
            start = stop


class _Series:
    """Numbers that come in pieces, as the losses of stretches."""

    def __init__(self) -> None:
        self._pieces = [np.empty(0)]
        self._count = 0
        self.last = float("nan")

    def __len__(self) -> int:
        return self._count

    def extend(self, numbers: np.ndarray) -> None:
        if len(numbers):
            self._pieces.append(numbers)
            self._count += len(numbers)
            self.last = float(numbers[-1])

    def array(self) -> np.ndarray:
        self._pieces = [np.concatenate(self._pieces)]
        return self._pieces[0].copy()


class _Run:
    """A call of ``fit`` under way: how far it is, and what is to happen between stretches."""

    def __init__(
        self, graph: Any, program: Program, arrays: dict[Input, np.ndarray], settings: RunSettings
    ):
        self.graph = graph
        self.program = program
        self.arrays = arrays
        self.settings = settings
        self.state: OptimizerState = settings.optimizer.state_of(
            graph, program.parameters, program.dtype
        )
        self.rows = next((a.shape[0] for a in arrays.values() if a.ndim), 1)
        self.steps_per_epoch = -(-self.rows // min(settings.batch_size or self.rows, self.rows))
        self.taken = 0
        self.losses, self.validation_losses, self.learning_rates = _Series(), _Series(), _Series()
        self.best = np.inf
        self.best_epoch: int | None = None
        self.best_values: np.ndarray | None = None
        self.stopped = False
        self.trainer: Any = None
        self.advance: Callable | None = None
        self.started = time.perf_counter()
        self._pace = 1  # epochs between looks at the progress bar
        self._ticked = self.started
        every = round(settings.every * self.steps_per_epoch)
        self._save_steps = max(every, 1) if settings.checkpoint is not None else None
        self._watches = (
            settings.validation is not None
            or settings.early_stopping is not None
            or isinstance(settings.schedule, ReduceOnPlateau)
        )
        self._step_hooks = [item.steps for item in settings.callbacks if item.steps]
        if self._save_steps:
            self._step_hooks.append(self._save_steps)
        self._epoch_hooks = [item.epochs for item in settings.callbacks if item.epochs]

    @property
    def epoch(self) -> int:
        return len(self.losses)

    def going(self) -> bool:
        return not self.stopped and self.epoch < self.settings.epochs

    # Stretches -------------------------------------------------------------------------------

    def stretch(self) -> tuple[int, int | None]:
        """How many epochs, and how many steps at most, may run without a look."""
        epochs = self.settings.epochs - self.epoch
        if self._watches:
            epochs = 1
        for every in self._epoch_hooks:
            epochs = min(epochs, every - self.epoch % every)
        if self.advance is not None:
            epochs = min(epochs, self._pace)
        if self.settings.schedule is not None:
            epochs = min(epochs, max(RATES // self.steps_per_epoch, 1))
        steps = [every - self.taken % every for every in self._step_hooks]
        return epochs, min(steps) if steps else None

    def rates(self, state: OptimizerState, epochs: int, steps: int | None) -> np.ndarray | None:
        """The learning rate of each step of a stretch; None where it is the optimizer's."""
        schedule = self.settings.schedule
        if schedule is None:
            return None
        count = epochs * self.steps_per_epoch - state.step
        count = count if steps is None else min(count, steps)
        passed = state.epochs + (state.step + np.arange(count)) / self.steps_per_epoch
        factors = np.asarray(schedule.factors(passed), np.float64)
        if factors.shape != (count,) or not (np.isfinite(factors) & (factors >= 0)).all():
            raise SettingError(
                f"schedule: {schedule!r} gave factors of shape {factors.shape} for {count} steps, "
                "or some that are not finite or below 0"
            )
        if isinstance(schedule, ReduceOnPlateau) and state.plateau is not None:
            factors = factors * state.plateau[0]
        return np.ascontiguousarray(factors * self.settings.optimizer.learning_rate)

    def rates_of_epochs(
        self, state: OptimizerState, rates: np.ndarray | None, outcome: Any
    ) -> np.ndarray:
        """The rate of the last step of each epoch that was finished; ``state``: that before."""
        done = len(outcome.losses)
        if rates is None:
            return np.full(done, self.settings.optimizer.learning_rate)
        last = np.arange(1, done + 1) * self.steps_per_epoch - state.step - 1
        return rates[last]

    def watch_plateau(self, known: Any, losses: np.ndarray) -> Any:
        schedule = self.settings.schedule
        if not isinstance(schedule, ReduceOnPlateau) or not len(losses):
            return known
        seen = losses if self.settings.validation is None else self.validate()
        return schedule.watch(known, float(np.ravel(seen)[-1]))

    # After a stretch -------------------------------------------------------------------------

    def note(self, losses: np.ndarray, steps: int, rates: np.ndarray | None) -> None:
        self.losses.extend(losses)
        self.taken += steps
        if rates is not None:
            self.learning_rates.extend(rates)

    def validate(self) -> float | None:
        """The loss of the validation data after the last epoch; computed once."""
        if self.settings.validation is None:
            return None
        if len(self.validation_losses) < self.epoch:
            self.trainer.store()
            arrays = self.settings.validation
            (value,) = self.graph._executor(self.program.outputs, arrays).evaluate(arrays)
            self.validation_losses.extend(np.array([float(value)]))
        return self.validation_losses.last

    def after(self, epochs: int, steps: int) -> None:
        """What is due after a stretch of so many finished epochs and steps."""
        settings = self.settings
        if epochs:
            self.validate()
            if settings.early_stopping is not None:
                self._watch(settings.early_stopping)
            self._show(epochs)
        for item in settings.callbacks:
            by_epoch = epochs and item.epochs and self.epoch % item.epochs == 0
            if by_epoch or (steps and item.steps and self.taken % item.steps == 0):
                self._call(item)
        if self._save_steps and steps and (self.taken % self._save_steps == 0 or not self.going()):
            self.save()

    def _watch(self, stopping: EarlyStopping) -> None:
        seen = (self.losses if stopping.monitor == "loss" else self.validation_losses).last
        if seen < self.best - stopping.min_delta or self.best_epoch is None:
            self.best, self.best_epoch = (np.inf if np.isnan(seen) else seen), self.epoch
            if stopping.restore_best:
                self.trainer.store()
                self.best_values = _values(self.program)
        elif self.epoch - self.best_epoch >= stopping.patience:
            self.stopped = True

    def _call(self, item: Every) -> None:
        self.trainer.store()
        progress = Progress(
            epoch=self.epoch,
            epochs=self.settings.epochs,
            step=self.taken,
            loss=self.losses.last,
            validation_loss=self.validation_losses.last if len(self.validation_losses) else None,
            learning_rate=self.learning_rates.last
            if len(self.learning_rates)
            else getattr(self.settings.optimizer, "learning_rate", float("nan")),
            seconds=time.perf_counter() - self.started,
            graph=self.graph,
        )
        with self.graph._paused():
            answer = item.function(progress)
        self.trainer.load()
        if answer is True or answer is np.True_:
            self.stopped = True

    def _show(self, epochs: int) -> None:
        if self.advance is None:
            return
        validated = self.validation_losses.last if len(self.validation_losses) else None
        self.advance(epochs, self.losses.last, validated)
        now = time.perf_counter()
        if now - self._ticked < 0.05:
            self._pace *= 2
        self._ticked = now

    # The end ---------------------------------------------------------------------------------

    def finish(self) -> History:
        if self.best_values is not None:
            _write(self.program, self.best_values)
        validated = self.settings.validation is not None
        stepped = not isinstance(self.settings.optimizer, Solver)
        return History(
            self.losses.array(),
            self.taken,
            time.perf_counter() - self.started,
            self.validation_losses.array() if validated else None,
            self.learning_rates.array() if stepped else None,
            self.best_epoch,
            self.stopped and self.epoch < self.settings.epochs,
        )

    # Checkpoints -----------------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a run to go on."""
        settings = self.settings
        shaping, validation = settings.regularization, settings.validation
        strengths = [] if shaping is None else [shaping.l1, shaping.l2]
        bounds = [0.0, 0.0] if shaping is None else [shaping.clip_norm, shaping.clip_value]
        return {
            "graph": outline(self.program.nodes),
            "dtype": self.program.dtype.name,
            "data": fingerprint(self.arrays.values()),
            "rows": self.rows,
            "optimizer": repr(settings.optimizer),
            "batch_size": settings.batch_size,
            "shuffle": settings.shuffle,
            "seed": settings.seed,
            "schedule": repr(settings.schedule),
            "clipping": bounds,
            "penalties": fingerprint(a for a in strengths if a is not None),
            "validation": None if validation is None else fingerprint(validation.values()),
            "early_stopping": repr(settings.early_stopping),
        }

    def save(self) -> None:
        """Write all that the rest of the run depends on."""
        self.trainer.store()
        state = self.trainer.state()
        plateau = self.state.plateau or (np.nan, np.nan, 0)
        arrays = {
            "values": _values(self.program),
            "powers": state.powers,
            "loss": self.losses.array(),
            "validation_loss": self.validation_losses.array(),
            "learning_rate": self.learning_rates.array(),
            "best_values": np.empty(0) if self.best_values is None else self.best_values,
            "numbers": np.array([state.total, self.best, *plateau], np.float64),
            **{f"slot_{i}": slot for i, slot in enumerate(state.slots)},
        }
        document = {
            "identity": self._identity_once(),
            "steps": state.steps,
            "epochs": state.epochs,
            "step": state.step,
            "taken": self.taken,
            "best_epoch": self.best_epoch,
            "stopped": self.stopped,
        }
        write(self.settings.checkpoint, "run", document, arrays)

    def _identity_once(self) -> dict[str, Any]:
        if not hasattr(self, "_known_identity"):
            self._known_identity = self._identity()
        return self._known_identity

    def resume(self) -> None:
        """Go on from the checkpoint, where there is one.

        Raises:
            DataError: the file is damaged.
            SettingError: it belongs to another run.
        """
        path = self.settings.checkpoint
        try:
            document, arrays = read(path, "run")
        except FileNotFoundError:
            self._identity_once()
            return
        own, other = self._identity_once(), document.get("identity")
        if not isinstance(other, dict):
            raise DataError(f"{path}: not a whole checkpoint: it does not say of which run it is")
        for key, value in own.items():
            if other.get(key) != value:
                checksums = ("graph", "data", "penalties", "validation")
                said = "" if key in checksums else f": there {other.get(key)}, here {value}"
                raise SettingError(
                    f"checkpoint: {path} belongs to another run, {key} is not the same{said}; "
                    "delete the file to start over, or name another one"
                )
        try:
            self._take(document, arrays)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DataError(f"{path}: not a whole checkpoint ({error})") from error

    def _take(self, document: dict, arrays: dict[str, np.ndarray]) -> None:
        size = sum(node.value.size for node in self.program.parameters)
        whole = sum(node.value.size for node in _stored(self.program))

        def vector(key: str, size: int) -> np.ndarray:
            array = arrays[key]
            if array.shape != (size,) or array.dtype != self.program.dtype:
                raise ValueError(f"{key} has shape {array.shape} and dtype {array.dtype}")
            return array

        counts = [document[key] for key in ("steps", "epochs", "step", "taken")]
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError(f"the counts are {counts}")
        steps, epochs, step, taken = counts
        total, best, factor, plateau_best, waited = _series(arrays["numbers"]).array().tolist()
        losses, validated, rates = (
            _series(arrays[key]) for key in ("loss", "validation_loss", "learning_rate")
        )
        if len(rates) != len(losses) or len(validated) not in (0, len(losses)):
            raise ValueError("the histories differ in length")
        if taken != len(losses) * self.steps_per_epoch + step or step >= self.steps_per_epoch:
            raise ValueError(f"{taken} steps are not {len(losses)} epochs and {step}")
        slots = [vector(f"slot_{i}", size) for i in range(self.settings.optimizer.slots)]
        powers = arrays["powers"]
        if powers.shape != (2,) or powers.dtype != np.float64:
            raise ValueError("the powers do not fit")
        values = vector("values", whole)
        best_values = vector("best_values", whole) if arrays["best_values"].size else None
        best_epoch = document["best_epoch"]
        if best_epoch is not None and type(best_epoch) is not int:
            raise ValueError(f"the best epoch is {best_epoch}")
        plateau = None if np.isnan(factor) else (factor, plateau_best, int(waited))
        self.state = OptimizerState(slots, powers, steps, epochs, step, total, plateau)
        self.losses, self.validation_losses, self.learning_rates = losses, validated, rates
        self.taken = taken
        self.best, self.best_epoch, self.best_values = best, best_epoch, best_values
        self.stopped = document["stopped"] is True
        _write(self.program, values)
        kept = OptimizerState(slots, powers, steps, epochs, plateau=plateau)
        self.settings.optimizer.keep(self.graph, self.program.parameters, kept)


def _series(array: np.ndarray) -> _Series:
    if array.ndim != 1 or array.dtype != np.float64:
        raise ValueError(f"a history has shape {array.shape} and dtype {array.dtype}")
    series = _Series()
    series.extend(array)
    return series


def _stored(program: Program) -> list[Parameter]:
    """All parameters, also those that no optimizer changes."""
    return [node for node in program.nodes if isinstance(node, Parameter)]


def _values(program: Program) -> np.ndarray:
    """A copy of the values of all parameters, one after another."""
    return np.concatenate([node.value.ravel() for node in _stored(program)])


def _write(program: Program, values: np.ndarray) -> None:
    start = 0
    for node in _stored(program):
        stop = start + node.value.size
        node.value[...] = values[start:stop].reshape(node.value.shape)
        start = stop


#: Of a thread: what tells its runs to stop, beside Ctrl-C.
_orders = threading.local()


@contextmanager
def told_to_stop(when: Callable[[], bool]) -> Iterator[None]:
    """Runs in this thread end after a step, as by Ctrl-C, once ``when()`` is true."""
    before = getattr(_orders, "stop", None)
    _orders.stop = when
    try:
        yield
    finally:
        _orders.stop = before


class _Interrupts:
    """Lets Ctrl-C end a run between two steps, and only there.

    While a run is on, the first Ctrl-C is noted and the engine asks for it after each step (the
    native one every few milliseconds); a second one raises at once, as Python does. On leaving,
    a Ctrl-C that was noted is raised. Handlers of the user's own are left in place.
    """

    def __init__(self) -> None:
        self._noted = False
        self._previous: Any = None
        self._told = getattr(_orders, "stop", None)

    def pending(self) -> bool:
        return self._noted or (self._told is not None and self._told())

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
        if error[0] is None and self.pending():
            raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Tells within whether Ctrl-C was pressed, which ends it only between two steps."""
    with _Interrupts() as interrupts:
        yield interrupts.pending


class _bar:
    """A tqdm bar over the epochs; entering gives a function to advance it, None without one."""

    def __init__(self, settings: RunSettings, done: int):
        self._bar = None
        if settings.progress:
            tqdm = require("tqdm.auto", "progress").tqdm
            self._bar = tqdm(total=settings.epochs, initial=done, unit="epoch")

    def __enter__(self) -> Callable[[int, float, float | None], None] | None:
        return None if self._bar is None else self._advance

    def _advance(self, epochs: int, loss: float, validation_loss: float | None) -> None:
        shown = {"loss": f"{loss:.6g}"}
        if validation_loss is not None:
            shown["validation_loss"] = f"{validation_loss:.6g}"
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(epochs)

    def __exit__(self, *error: Any) -> None:
        if self._bar is not None:
            self._bar.close()


def _divergence(run: _Run, failure: Failure) -> DivergenceError:
    """The error for a step that was not finite: where, what went bad first, and the remedy.

    The parameters are those the step began with, so the reference engine meets the same numbers.
    """
    epoch, step, steps = run.epoch + 1, failure.step + 1, run.steps_per_epoch
    batch = {node: a[failure.rows] if a.ndim else a for node, a in run.arrays.items()}
    node, what = _first_bad(run.program, batch)
    rate = getattr(run.settings.optimizer, "learning_rate", None)
    if rate is None:
        said, rate = "", 1.0
    else:
        said = f"learning rate {rate:.3g}; "
    scale, remedy = remedy_for_divergence(batch, rate)
    return DivergenceError(
        f"training left the finite numbers in epoch {epoch}, step {step} of {steps}: {what}; "
        f"{said}inputs: {scale}; the parameters of the last finite step are kept; {remedy}",
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
