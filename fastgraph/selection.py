"""Choosing a model: `cross_validate` and `sweep`, built on many fits at once.

Every random choice here (folds, settings drawn) is counter-based, from a seed: see
``randomness.py``. How models are trained is in ``many.py``.
"""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .errors import DataError, DivergenceError, GraphError, SettingError, unknown
from .graph import Graph
from .many import Job, Trained, prepare, run
from .randomness import permutation, random_bits
from .settings import whole_number

__all__ = ["CrossValidation", "Range", "Sweep", "Trial", "cross_validate", "sweep"]

#: Streams of their own, far from those of epochs, which count from 0, and of dropout.
_FOLDS, _DRAWS = 1 << 61, 1 << 62


class CrossValidation:
    """What `cross_validate` found: one model a fold, and its losses.

    Attributes:
        train_losses: (folds,) float array, of the rows the model was trained on, after training.
        validation_losses: (folds,) float array, of the rows it has not seen.
        rows: for each fold the numbers of those rows, ascending.
        models: a `Trained` for each fold. A model that diverged has NaN for its losses.
    """

    def __init__(
        self,
        models: list[Trained],
        rows: list[np.ndarray],
        losses: np.ndarray,
        feeds: dict[Any, np.ndarray],
    ):
        self.models = models
        self.rows = rows
        self.train_losses, self.validation_losses = losses.T
        self._feeds = feeds

    @property
    def mean(self) -> float:
        """The mean of the validation losses, each fold as many times as it has rows."""
        sizes = [len(rows) for rows in self.rows]
        return float(np.average(self.validation_losses, weights=sizes))

    @property
    def std(self) -> float:
        """The standard deviation of the validation losses over the folds (n - 1)."""
        return float(np.std(self.validation_losses, ddof=1))

    def predictions(self, node: str) -> np.ndarray:
        """The value of the node called ``node`` for every row, by the model that has not seen it.

        Raises:
            DataError: the folds do not have every row.
            DivergenceError: a model did not come to its end.
        """
        count = _row_count(self._feeds)
        found: np.ndarray | None = None
        seen = np.zeros(count, bool)
        for model, rows in zip(self.models, self.rows, strict=True):
            if model.error is not None:
                raise model.error
            part = model.graph.evaluate(node, _take(self._feeds, rows))
            if np.shape(part)[:1] != (len(rows),):
                raise GraphError(f"predictions: {node!r} has no value of its own for each row")
            if found is None:
                found = np.empty((count, *part.shape[1:]), part.dtype)
            found[rows] = part
            seen[rows] = True
        if found is None or not seen.all():
            raise DataError(f"predictions: {count - int(seen.sum())} rows are in no fold")
        return found

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return (
            f"<CrossValidation: {len(self)} folds, validation loss {self.mean:.6g} "
            f"± {self.std:.3g}, train loss {self.train_losses.mean():.6g}>"
        )


def cross_validate(
    models: Callable[..., Graph] | Iterable[Graph],
    feeds: Mapping[Any, Any],
    *,
    folds: int | Iterable[Any] = 5,
    seed: int = 0,
    threads: int | None = None,
    progress: bool = False,
    **settings: Any,
) -> CrossValidation:
    """Train one model for each fold of the rows, on all the other rows, and look at that fold.

    Rows are dealt into folds by the project's own shuffle, so the same seed gives the same folds
    everywhere.

    Parameters:
        models: a function of settings that makes a graph, as for `fit_many`; or a graph a fold.
        feeds: all rows, keys best by name.
        folds: how many, 2 or more, as equal in size as can be; or the row numbers to hold out,
            an array for each fold.
        seed: 0 or more; of the folds and of every model.
        threads, progress: as in `fit_many`.
        **settings: of the models, as ``optimizer=fg.Adam(), epochs=100``. With
            ``early_stopping`` and no ``validation``, it watches the fold that is held out.

    Returns:
        `CrossValidation`, with the losses of each fold's model on both sides.

    Raises:
        As `fit_many`; SettingError, DataError: folds that do not fit the rows.

    Source: M. Stone, "Cross-validatory choice and assessment of statistical predictions" (1974).

    Example:
        >>> import numpy as np, fastgraph as fg
        >>> def line():
        ...     x, y = fg.Input("x"), fg.Input("y")
        ...     return fg.Graph(fg.MSE(y, fg.Parameter(0.0, "k") * x))
        >>> x = np.arange(6.0)
        >>> found = fg.cross_validate(line, {"x": x, "y": 2 * x}, folds=3,
        ...                           optimizer=fg.SGD(0.02), epochs=200)
        >>> len(found), bool(found.mean < 1e-6)
        (3, True)
    """
    data = _arrays(feeds)
    rows = _folds(folds, _row_count(data), seed)
    titles = [f"fold {number}" for number in range(len(rows))]
    jobs, losses = _jobs(models, _parts(data, rows), [{}], titles, {"seed": seed, **settings})
    return CrossValidation(run(jobs, threads=threads, progress=progress), rows, losses[0], data)


def _parts(data: dict[Any, np.ndarray], rows: list[np.ndarray]) -> list[tuple[dict, dict]]:
    """For each fold the feeds to train on, and those that are held out."""
    everything = np.arange(_row_count(data))
    return [(_take(data, np.setdiff1d(everything, fold)), _take(data, fold)) for fold in rows]


def _jobs(
    models: Any,
    parts: Sequence[tuple[Mapping, Mapping]],
    tries: list[dict[str, Any]],
    titles: list[str],
    common: Mapping[str, Any],
) -> tuple[list[Job], np.ndarray]:
    """A job for each of ``tries`` on each of ``parts``, and where its two losses will stand."""
    feeds, settings = [], []
    for own in tries:
        every = {**common, **own}
        watches = every.get("early_stopping") is not None and every.get("validation") is None
        for seen, held in parts:
            feeds.append(seen)
            settings.append({**own, "validation": held} if watches else own)
    jobs = prepare(models, feeds, settings, titles=titles, common=common)
    losses = np.full((len(tries), len(parts), 2), np.nan)
    for line, job, part in zip(losses.reshape(-1, 2), jobs, itertools.cycle(parts), strict=False):
        job.measure = _measure(line, part, job.arguments.get("output"))
    return jobs, losses


def _measure(
    line: np.ndarray, parts: Sequence[Mapping[Any, Any]], output: Any
) -> Callable[[Trained], None]:
    def measure(trained: Trained) -> None:
        loss = trained.graph.outputs[0] if output is None else output
        for i, part in enumerate(parts):
            line[i] = float(trained.graph.evaluate(loss, part))

    return measure


def _folds(folds: Any, count: int, seed: int) -> list[np.ndarray]:
    """For each fold the rows that are held out, ascending."""
    if isinstance(folds, (list, tuple, np.ndarray)):
        found = [np.asarray(rows) for rows in folds]
        for number, rows in enumerate(found):
            fine = rows.ndim == 1 and rows.size and rows.dtype.kind in "iu"
            fine = fine and rows.min() >= 0 and rows.max() < count
            if not fine or not len(np.unique(rows)) == len(rows) < count:
                raise SettingError(
                    f"folds: fold {number} must be different row numbers from 0 to {count - 1}, "
                    f"not all of them, got {rows!r}"
                )
        if len(found) < 2:
            raise SettingError(f"folds: expected 2 or more, got {len(found)}")
        return [np.sort(rows) for rows in found]
    folds = whole_number("folds", folds, 2)
    if folds > count:
        raise SettingError(f"folds: {folds} folds of {count} rows; take at most one a row")
    order = permutation(count, whole_number("seed", seed, 0), _FOLDS)
    return [np.sort(rows) for rows in np.array_split(order, folds)]


def _arrays(feeds: Any) -> dict[Any, np.ndarray]:
    if not isinstance(feeds, Mapping):
        raise DataError(f"feeds: expected a dict {{input: array}}, got {type(feeds).__name__}")
    return {key: np.asanyarray(value) for key, value in feeds.items()}


def _row_count(data: Mapping[Any, np.ndarray]) -> int:
    counts = {str(key): len(array) for key, array in data.items() if array.ndim}
    if len(set(counts.values())) != 1:
        said = ", ".join(f"{key} has {count}" for key, count in counts.items()) or "none is fed"
        raise DataError(f"feeds: the rows must be as many in all to be dealt into folds; {said}")
    return next(iter(counts.values()))


def _take(data: Mapping[Any, np.ndarray], rows: np.ndarray) -> dict[Any, np.ndarray]:
    return {key: array[rows] if array.ndim else array for key, array in data.items()}


# Sweeps ------------------------------------------------------------------------------------------


class Range:
    """Values from ``low`` to ``high`` for a random search.

    Parameters:
        low, high: the ends; two whole numbers give whole numbers, both ends included.
        log: evenly in the logarithm, as learning rates want; needs ``low`` above 0.

    Example:
        >>> Range(1e-4, 1e-1, log=True)
        Range(0.0001, 0.1, log=True)
    """

    def __init__(self, low: float, high: float, log: bool = False):
        numbers = (int, float, np.integer, np.floating)
        fine = all(isinstance(end, numbers) and math.isfinite(end) for end in (low, high))
        if not fine or not low < high or (log and low <= 0):
            ends = "0 < low < high" if log else "low < high"
            raise SettingError(f"Range: expected numbers {ends}, got {low!r} and {high!r}")
        self.low, self.high, self.log = low, high, log
        self.whole = all(isinstance(end, (int, np.integer)) for end in (low, high))

    def at(self, part: float) -> float | int:
        """The value at a part of the way, in [0, 1)."""
        low, high = (self.low, self.high + 1) if self.whole else (self.low, self.high)
        if self.log:
            value = math.exp(math.log(low) + part * (math.log(high) - math.log(low)))
        else:
            value = low + part * (high - low)
        return min(math.floor(value), int(self.high)) if self.whole else float(value)

    def __repr__(self) -> str:
        return f"Range({self.low!r}, {self.high!r}{', log=True' if self.log else ''})"


class Trial:
    """One line of a `Sweep`: settings, and what came of them.

    Attributes:
        number: in the order of trying, from 0.
        settings: those that were swept.
        train_loss, validation_loss: after training; the mean over the folds where there are
            several models; NaN where one of them diverged.
        spread: the standard deviation of the validation loss over the folds; NaN without folds.
        models: a `Trained` for each fold, or the only one.
    """

    def __init__(
        self, number: int, settings: dict[str, Any], losses: np.ndarray, models: list[Trained]
    ):
        self.number = number
        self.settings = settings
        self.train_loss, self.validation_loss = map(float, losses.mean(axis=0))
        self.spread = float(losses[:, 1].std(ddof=1)) if len(losses) > 1 else math.nan
        self.models = models

    @property
    def error(self) -> DivergenceError | None:
        """That of the first model that diverged; None where all came to their end."""
        return next((model.error for model in self.models if model.error is not None), None)

    def as_dict(self) -> dict[str, Any]:
        """The settings and the losses."""
        return {
            **self.settings,
            "train_loss": self.train_loss,
            "validation_loss": self.validation_loss,
            "spread": self.spread,
        }

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={_short(value)}" for name, value in self.settings.items())
        if self.error is not None:
            return f"<trial {self.number} ({said}): diverged>"
        return f"<trial {self.number} ({said}): validation loss {self.validation_loss:.6g}>"


class Sweep(Sequence):
    """The table `sweep` gives: a sequence of `Trial`, the best first; it prints as a table."""

    def __init__(self, trials: Iterable[Trial], swept: Sequence[str]):
        self._trials = list(trials)
        self._swept = list(swept)

    def __len__(self) -> int:
        return len(self._trials)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Sweep(self._trials[index], self._swept)
        return self._trials[index]

    @property
    def best(self) -> Trial:
        """The trial with the smallest validation loss.

        Raises:
            DivergenceError: none came to its end.
        """
        best = min(self._trials, key=lambda trial: _rank(trial.validation_loss))
        if math.isnan(best.validation_loss):
            raise DivergenceError(
                f"sweep: none of {len(self)} trials came to its end; the first: {best.error}"
            )
        return best

    def sort(self, by: str = "validation_loss", descending: bool = False) -> Sweep:
        """The same table in another order; trials that diverged come last.

        Parameters:
            by: a setting that was swept, or ``"train_loss"``, ``"validation_loss"``, ``"spread"``.
            descending: the largest first.
        """
        columns = self.columns
        if by not in columns:
            raise SettingError("sort: " + unknown("column", by, columns))
        there, missing = [], []
        for trial in self._trials:
            cell = trial.as_dict()[by]
            if isinstance(cell, float) and math.isnan(cell):
                missing.append(trial)
            else:
                there.append((cell, trial))
        try:
            there.sort(key=lambda pair: pair[0], reverse=descending)
        except TypeError:  # values that have no order, as functions and None
            there.sort(key=lambda pair: repr(pair[0]), reverse=descending)
        return Sweep([trial for _, trial in there] + missing, self._swept)

    def to_dicts(self) -> list[dict[str, Any]]:
        """A dict for each line, as ``pandas.DataFrame`` takes them."""
        return [trial.as_dict() for trial in self._trials]

    @property
    def columns(self) -> list[str]:
        """The names of the columns: the settings that were swept, then the losses."""
        return [*self._swept, "train_loss", "validation_loss", "spread"]

    def _cells(self) -> Iterator[list[str]]:
        for trial in self._trials:
            row = trial.as_dict()
            diverged = trial.error is not None
            yield [
                "diverged" if diverged and name == "validation_loss" else _short(row[name])
                for name in self.columns
            ]

    def __str__(self) -> str:
        table = [self.columns, *self._cells()]
        widths = [max(len(row[i]) for row in table) for i in range(len(self.columns))]
        lines = ["  ".join(c.rjust(w) for c, w in zip(r, widths, strict=True)) for r in table]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def line(tag: str, row: list[str]) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in row) + "</tr>"

        body = "".join(line("td", row) for row in self._cells())
        return f"<table>{line('th', self.columns)}{body}</table>"


def sweep(
    model: Callable[..., Graph],
    feeds: Mapping[Any, Any],
    grid: Mapping[str, Any],
    *,
    samples: int | None = None,
    validation: Mapping[Any, Any] | None = None,
    folds: int | Iterable[Any] | None = None,
    seed: int = 0,
    threads: int | None = None,
    progress: bool = False,
    **settings: Any,
) -> Sweep:
    """Try settings: every combination of a grid, or ``samples`` of them drawn at random.

    All models have the same seed, so that they differ by their settings and not by luck; to
    average over seeds, sweep ``seed`` too.

    Parameters:
        model: a function of settings that makes a graph, as for `fit_many`.
        feeds: the rows to train on, keys best by name.
        grid: the settings to try, ``{name: values}``; values are a list, or, with ``samples``, a
            `Range`. Names as in `fit_many`: of ``model``, of ``Graph.fit``, of the optimizer.
        samples: how many combinations to draw, each value by itself, 1 or more.
        validation: feeds of rows that are not trained on, whose loss is compared; or
        folds: as in `cross_validate`, which is then what each line stands for; 5 where neither
            is given.
        seed, threads, progress: as in `cross_validate`; the seed also draws the samples.
        **settings: of all models, as ``optimizer=fg.Adam(), epochs=100``.

    Returns:
        `Sweep`, a table with the best first.

    Raises:
        As `fit_many`; SettingError: an empty grid, a `Range` without ``samples``.

    Source: J. Bergstra and Y. Bengio, "Random search for hyper-parameter optimization" (2012).

    Example:
        >>> import numpy as np, fastgraph as fg
        >>> def line():
        ...     x, y = fg.Input("x"), fg.Input("y")
        ...     return fg.Graph(fg.MSE(y, fg.Parameter(0.0, "k") * x))
        >>> x = np.arange(6.0)
        >>> table = fg.sweep(line, {"x": x, "y": 2 * x}, {"learning_rate": [1e-6, 1e-2]},
        ...                  folds=2, optimizer=fg.SGD(0.1), epochs=20)
        >>> table.best.settings
        {'learning_rate': 0.01}
    """
    if not callable(model):
        raise SettingError(f"sweep: expected a function that makes a graph, got {model!r}")
    if validation is not None and folds is not None:
        raise SettingError("sweep: give validation or folds, not both")
    tries = _tries(grid, samples, seed)
    both = sorted(set(grid) & set(settings))
    if both:
        raise SettingError(f"sweep: {', '.join(both)} is in the grid and a setting of all models")
    data = _arrays(feeds)
    if validation is None:
        rows = _folds(5 if folds is None else folds, _row_count(data), seed)
        parts, ends = _parts(data, rows), [f", fold {number}" for number in range(len(rows))]
    else:
        parts, ends = [(data, dict(validation))], [""]
    titles = [
        "trial " + str(number) + " (" + ", ".join(f"{k}={_short(v)}" for k, v in own.items()) + ")"
        for number, own in enumerate(tries)
    ]
    jobs, losses = _jobs(
        model, parts, tries, [title + end for title in titles for end in ends],
        {"seed": seed, **settings},
    )  # fmt: skip
    models = run(jobs, threads=threads, progress=progress)
    each = len(parts)
    trials = [
        Trial(number, own, losses[number], models[number * each : (number + 1) * each])
        for number, own in enumerate(tries)
    ]
    return Sweep(trials, list(grid)).sort()


def _tries(grid: Any, samples: int | None, seed: int) -> list[dict[str, Any]]:
    """The combinations to try."""
    if not isinstance(grid, Mapping) or not grid:
        raise SettingError(
            f"sweep: expected settings to try, as {{'learning_rate': [1e-3, 1e-2]}}, got {grid!r}"
        )
    for name, values in grid.items():
        if isinstance(values, Range):
            if samples is None:
                raise SettingError(f"sweep: {name} is a Range; give samples=, how many to draw")
        elif isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
            raise SettingError(f"sweep: {name}: expected a list of values, got {values!r}")
    choices: dict[str, Any] = {
        name: values if isinstance(values, Range) else _plain(values)
        for name, values in grid.items()
    }
    empty = [name for name, values in choices.items() if isinstance(values, list) and not values]
    if empty:
        raise SettingError(f"sweep: {empty[0]} has no values to try")
    if samples is None:
        products = itertools.product(*choices.values())
        return [dict(zip(choices, values, strict=True)) for values in products]
    samples = whole_number("samples", samples, 1)
    seed = whole_number("seed", seed, 0)
    found: list[dict[str, Any]] = [{} for _ in range(samples)]
    for place, (name, values) in enumerate(choices.items()):
        bits = random_bits(seed, _DRAWS + place, np.arange(samples))
        for own, part in zip(found, ((bits >> np.uint64(11)) * 2.0**-53).tolist(), strict=True):
            ranged = isinstance(values, Range)
            own[name] = values.at(part) if ranged else values[int(part * len(values))]
    return found


def _plain(values: Iterable) -> list:
    """A list of the values; of an array, Python's own numbers, so that they print well."""
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def _rank(loss: float) -> float:
    return math.inf if math.isnan(loss) else loss


def _short(value: Any) -> str:
    """A value as it stands in a cell."""
    if isinstance(value, (float, np.floating)):
        return "" if math.isnan(value) else f"{value:.6g}"
    text = getattr(value, "__name__", None) or str(value)
    return text if len(text) <= 40 else text[:39] + "…"
