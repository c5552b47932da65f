"""Many models at once: `fit_many` trains independent graphs over all cores.

A model is a job: a graph, its feeds, its settings. Jobs share nothing, and each is trained by
``Graph.fit`` alone, on one thread, so the number of threads cannot change a bit. Plans are built
under the GIL, which the runs themselves do not need. What is done with many trained models is not
here: see ``selection.py`` and ``ensemble.py``.
"""

from __future__ import annotations

import copy
import inspect
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from .errors import (
    DataError,
    DivergenceError,
    FastGraphError,
    GraphError,
    SettingError,
    require,
    unknown,
)
from .graph import Graph
from .node import Parameter
from .optimizers import Optimizer
from .settings import flag, whole_number
from .training import History, _Interrupts, told_to_stop

__all__ = ["Trained", "fit_many"]

#: What ``fit_many`` decides for all of its models.
_OURS = ("threads", "progress")
#: The settings of ``Graph.fit`` that a model may have.
_FIT = tuple(
    name
    for name in inspect.signature(Graph.fit).parameters
    if name not in ("self", "feeds", *_OURS)
)
#: Seconds between looks at a Ctrl-C where waiting for a lock cannot be interrupted (Windows).
_LOOK = 0.2


class Trained:
    """One of many models, as `fit_many` leaves it.

    Attributes:
        number: its place, from 0.
        graph: with the trained parameters; after a divergence, or an interrupt, those of the last
            finished step. None where an interrupt came before it was made.
        title: its name in messages, as ``"model 3 (learning_rate=0.1)"``.
        settings: what it was made and trained with, the seed included, and its copy of the
            optimizer: ``Graph.fit`` with the same gives the same bits.
        history: of ``Graph.fit``; None where it did not come to its end.
        error: the `DivergenceError` that ended it, or None.
    """

    def __init__(self, number: int, title: str, settings: dict[str, Any]):
        self.number = number
        self.title = title
        self.graph: Any = None
        self.settings = settings
        self.history: History | None = None
        self.error: DivergenceError | None = None

    @property
    def loss(self) -> float:
        """The training loss of the last epoch; NaN where training did not come to its end."""
        return float("nan") if self.history is None else float(self.history.loss[-1])

    def __repr__(self) -> str:
        if self.error is not None:
            end = f"diverged in epoch {self.error.epoch}"
        else:
            end = "not finished" if self.history is None else f"loss {self.loss:.6g}"
        return f"<{self.title}: {end}>"


def fit_many(
    models: Iterable[Graph] | Callable[..., Graph],
    feeds: Mapping[Any, Any] | Sequence[Mapping[Any, Any]],
    settings: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    *,
    count: int | None = None,
    seed: int = 0,
    threads: int | None = None,
    progress: bool = False,
    **common: Any,
) -> list[Trained]:
    """Train many models at once, each by `Graph.fit` on a thread of its own.

    A setting goes to whoever knows its name: the function that makes the graph, ``Graph.fit``, or
    the optimizer, of which each model has a copy. ``seed`` goes to the first two.

    Parameters:
        models: graphs that share no parameter; or a function of settings, as
            ``def model(width, seed)``, that makes one. It is called in order, one model at a
            time, from the threads that train.
        feeds: as in ``Graph.fit``, keys best by name; one for all, or one for each model.
        settings: of all models, or a list with those of each.
        count: how many models a function makes, where neither feeds nor settings are a list.
        seed: 0 or more; model i has the seed ``seed + i``, a random stream of its own, unless
            its settings name one.
        threads: models that train at the same time; all cores where left out. No bit depends
            on it.
        progress: show one bar for all models (needs tqdm, extra ``progress``).
        **common: more settings of all models, as ``optimizer=fg.Adam(), epochs=100``. Callbacks
            are called in the thread of their model.

    Returns:
        A `Trained` for each model, in order. One that left the finite numbers has the
        `DivergenceError` as its ``error``; the others are not touched by it.

    Raises:
        SettingError, DataError, ShapeError, GraphError: the message begins with the model.
        KeyboardInterrupt: Ctrl-C; every model keeps the parameters of its last finished step, and
            the exception has what there is as ``results``.

    Example:
        >>> import numpy as np, fastgraph as fg
        >>> def line(start):
        ...     x, y = fg.Input("x"), fg.Input("y")
        ...     return fg.Graph(fg.MSE(y, fg.Parameter(start, "k") * x))
        >>> feeds = {"x": [1.0, 2.0, 3.0], "y": [2.0, 4.0, 6.0]}
        >>> trained = fg.fit_many(line, feeds, [{"start": 0.0}, {"start": 9.0}],
        ...                       optimizer=fg.SGD(0.1), epochs=50)
        >>> [round(float(model.graph.parameters["k"].value), 6) for model in trained]
        [2.0, 2.0]
    """
    jobs = prepare(models, feeds, settings, count=count, seed=seed, common=common)
    return run(jobs, threads=threads, progress=progress)


class Job:
    """A model to make and to train, and what is measured then."""

    def __init__(
        self,
        trained: Trained,
        make: Callable[[], Any],
        feeds: Mapping[Any, Any],
        arguments: dict[str, Any],
    ):
        self.trained = trained
        self.make = make
        self.feeds = feeds
        self.arguments = arguments  # of Graph.fit
        #: Called in the model's thread after a run that came to its end.
        self.measure: Callable[[Trained], None] | None = None
        #: What ended it, other than a divergence; the message names the model.
        self.failure: BaseException | None = None

    def build(self, owners: dict[Any, Trained]) -> None:
        """Make the graph, where there is none yet; ``owners`` tells whose each parameter is."""
        trained = self.trained
        if trained.graph is not None:
            return
        try:
            graph = self.make()
            if not isinstance(graph, Graph):
                raise GraphError(f"expected a Graph, got {graph!r}")
        except Exception as error:
            self.failure = _named(error, trained.title)
            return
        for node in graph.nodes:
            if isinstance(node, Parameter):
                self.claim(owners, node, str(node))
        trained.graph = graph

    def claim(self, owners: dict[Any, Trained], thing: Any, name: str) -> None:
        """Note what this model writes to; two threads must not."""
        other = owners.setdefault(thing, self.trained)
        if other is not self.trained:
            self.failure = GraphError(
                f"{other.title} and {self.trained.title} share {name}; give each its own"
            )

    def run(self) -> None:
        """Train and measure; a divergence is kept with the model."""
        trained = self.trained
        try:
            if self.failure is None:
                trained.history = trained.graph.fit(self.feeds, **self.arguments)
                if self.measure is not None:
                    self.measure(trained)
        except DivergenceError as error:
            trained.error = _named(error, trained.title)
        except BaseException as error:
            self.failure = _named(error, trained.title)


def prepare(
    models: Iterable[Graph] | Callable[..., Graph],
    feeds: Mapping[Any, Any] | Sequence[Mapping[Any, Any]],
    settings: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
    *,
    count: int | None = None,
    seed: int = 0,
    titles: Sequence[str] | None = None,
    common: Mapping[str, Any],
) -> list[Job]:
    """The jobs; every name of a setting is known, and the optimizers are checked, before any
    graph is made or trained."""
    seed = whole_number("seed", seed, 0)
    if isinstance(models, Graph):
        raise GraphError("fit_many: expected graphs or a function that makes one, got one Graph")
    graphs: list[Any] | None = None
    takes: _Takes = ([], [], False)
    function: Any = models
    if callable(models):
        takes = _parameters_of(models)
    else:
        graphs = list(models) if isinstance(models, Iterable) else [models]
    each = not isinstance(settings, Mapping | None)
    number_of_models = _how_many(graphs, feeds, settings, count)
    jobs = []
    owners: dict[Any, Trained] = {}
    for number in range(number_of_models):
        own: Any = settings[number] if each else settings  # type: ignore[index]
        if not isinstance(own, Mapping | None):
            raise SettingError(
                f"fit_many: model {number}: expected settings as a dict, got {own!r}"
            )
        told = _told(own or {}) if each else ""
        title = titles[number] if titles else f"model {number}" + (f" ({told})" if told else "")
        try:
            asked = {"seed": seed + number, **common, **(own or {})}
            arguments, of_model = _dealt(asked, takes, models)
            fed = feeds if isinstance(feeds, Mapping) else feeds[number]
            if not isinstance(fed, Mapping):
                raise DataError(
                    f"feeds: expected a dict {{input: array}}, got {type(fed).__name__}"
                )
        except Exception as error:
            raise _named(error, title) from None
        trained = Trained(number, title, asked | {"optimizer": arguments["optimizer"]})
        make = partial(_given, graphs[number]) if graphs else partial(function, **of_model)
        job = Job(trained, make, fed, arguments)
        if graphs is not None:
            job.build(owners)
        if arguments.get("checkpoint") is not None:
            path = os.path.abspath(arguments["checkpoint"])
            job.claim(owners, path, f"the checkpoint {path}")
        if job.failure is not None:
            raise job.failure
        jobs.append(job)
    return jobs


#: The names a function needs, all it takes, and whether it takes any other, too.
_Takes = tuple[list[str], list[str], bool]


def _dealt(settings: dict, takes: _Takes, models: Any) -> tuple[dict, dict]:
    """The settings for ``Graph.fit``, the optimizer's in its own copy, and those for the function
    that makes the graph."""
    if not isinstance(settings.get("optimizer"), Optimizer):
        raise SettingError(
            "optimizer: expected an Optimizer, as optimizer=SGD(1e-2), got "
            f"{settings.get('optimizer')!r}"
        )
    if "epochs" not in settings:
        raise SettingError("epochs: how many? give epochs=, a whole number")
    optimizer = copy.copy(settings["optimizer"])  # without state; none is kept in the user's
    tunable = [name for name in vars(optimizer) if not name.startswith("_")]
    needed, taken, anything = takes
    of_model, of_fit = {}, {}
    for name, value in settings.items():
        if name in _OURS:
            raise SettingError(f"{name} is for all models together, not for one of them")
        known = name in _FIT or name in tunable
        if name in taken or (anything and not known):
            of_model[name] = value
        elif not known:
            raise SettingError(
                unknown("setting", name, dict.fromkeys([*taken, *tunable, *_FIT]))
            )
        if name in _FIT:
            of_fit[name] = value
        elif name in tunable:
            setattr(optimizer, name, value)
    optimizer.check()
    missing = [name for name in needed if name not in of_model]
    if missing:
        raise SettingError(
            f"{getattr(models, '__name__', 'the function')} needs "
            f"{', '.join(map(repr, missing))}: no setting has this name"
        )
    return of_fit | {"optimizer": optimizer}, of_model


def _how_many(graphs: list | None, feeds: Any, settings: Any, count: Any) -> int:
    """The number of models, which all that is a list must agree on."""
    lengths = {}
    if graphs is not None:
        if not graphs:
            raise SettingError("fit_many: no models; give one graph or more")
        lengths["graphs"] = len(graphs)
    for name, items in (("feeds", feeds), ("settings", settings)):
        if isinstance(items, Mapping) or (items is None and name == "settings"):
            continue
        if isinstance(items, str) or not isinstance(items, Sequence) or not items:
            what = "an empty " if isinstance(items, Sequence) and not items else ""
            raise SettingError(
                f"{name}: expected a dict, or a list of one for each model, got "
                f"{what}{type(items).__name__}"
            )
        lengths[name] = len(items)
    if count is not None:
        lengths["count"] = whole_number("count", count, 1)
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise SettingError(f"fit_many: how many models? {said}; the numbers must be equal")
    if not lengths:
        raise SettingError(
            "fit_many: how many models? give count=, or a list of settings or of feeds"
        )
    return next(iter(lengths.values()))


def _given(graph: Any) -> Any:
    return graph


def run(jobs: list[Job], *, threads: int | None, progress: bool) -> list[Trained]:
    """Run the jobs in so many threads and hand back their models, in order."""
    threads = cores() if threads is None else whole_number("threads", threads, 1)
    progress = flag("progress", progress)
    bar = require("tqdm.auto", "progress").tqdm(total=len(jobs), unit="model") if progress else None
    results = [job.trained for job in jobs]
    try:
        with _Interrupts() as interrupts:
            _Crew(jobs, interrupts.pending).work(min(threads, len(jobs)), bar)
    except KeyboardInterrupt as stop:
        stop.results = results  # type: ignore[attr-defined]
        raise
    finally:
        if bar is not None:
            bar.close()
    return results


class _Crew:
    """Threads that take one job after another, and the one that waits for them."""

    def __init__(self, jobs: list[Job], interrupted: Callable[[], bool]):
        self._waiting = deque(jobs)
        self._making = threading.Lock()
        self._owners: dict[Any, Trained] = {}
        self._left = len(jobs)
        self._failures: dict[int, BaseException] = {}
        self._diverged = 0
        self._changed = threading.Condition()
        self._interrupted = interrupted
        self._halted = False

    def _stop(self) -> bool:
        return self._halted or self._interrupted()

    def work(self, threads: int, bar: Any) -> None:
        """Start the threads and wait until all is done, a job has failed, or Ctrl-C."""
        workers = [threading.Thread(target=self._serve, daemon=True) for _ in range(threads)]
        shown = self._left
        try:
            for worker in workers:
                worker.start()
            with self._changed:
                while shown and not self._stop():
                    if self._left == shown:
                        self._changed.wait(_LOOK)
                    if bar is not None and self._left != shown:
                        if self._diverged:
                            bar.set_postfix(diverged=self._diverged, refresh=False)
                        bar.update(shown - self._left)
                    shown = self._left
        finally:
            self._halted = True
            for worker in workers:
                if worker.ident is not None:
                    worker.join()
        if self._failures:
            raise self._failures[min(self._failures)]

    def _serve(self) -> None:
        with told_to_stop(self._stop):
            while not self._stop():
                # Graphs are made in order and one at a time: a function that draws random numbers
                # of its own gives the same models at any number of threads.
                with self._making:
                    if not self._waiting:
                        return
                    job = self._waiting.popleft()
                    job.build(self._owners)
                job.run()
                if isinstance(job.failure, KeyboardInterrupt) and self._stop():
                    return
                with self._changed:
                    self._left -= 1
                    self._diverged += job.trained.error is not None
                    if job.failure is not None:
                        self._failures[job.trained.number] = job.failure
                        self._halted = True
                    self._changed.notify()


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _parameters_of(function: Callable) -> _Takes:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C, without a signature
        return [], [], False
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    needed = [p.name for p in named if p.default is p.empty]
    return needed, [p.name for p in named], any(p.kind is p.VAR_KEYWORD for p in parameters)


def _told(own: Mapping[str, Any]) -> str:
    """The settings of one model that say something in a line: no arrays, no data."""
    short = {name: value for name, value in own.items() if len(repr(value)) <= 40}
    return ", ".join(
        f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value!r}"
        for name, value in short.items()
    )


def _named(error: Any, title: str) -> Any:
    """The error with the model's name before its message; of foreign ones, in a note."""
    if isinstance(error, FastGraphError) and error.args and isinstance(error.args[0], str):
        error.args = (f"{title}: {error.args[0]}", *error.args[1:])
    else:
        error.add_note(f"fastgraph: in {title}")
    return error

