"""Estimators for scikit-learn: its multilayer perceptrons, trained by fastgraph.

They take the place of ``sklearn.neural_network.MLPRegressor`` and ``MLPClassifier`` by a change of
the import: the same arguments, defaults, fitted attributes and warnings. What scikit-learn's lack
is added as keyword arguments that do nothing unless they are asked for.

What a fitted estimator keeps are arrays; its graph is built from them when it is needed, so it is
copied and pickled as any other estimator. The rules of the stopping, of the penalty and of the
learning rate are scikit-learn's; everything that computes is in the graph.
"""

from __future__ import annotations

import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np

from . import ops
from .engines.outcome import Outcome
from .errors import SettingError
from .graph import Graph
from .layers import ACTIVATIONS
from .node import Constant, Input, Node, Parameter
from .optimizers import SGD, Adam, Optimizer, OptimizerState
from .randomness import permutation
from .training import interruptible

try:
    import scipy.optimize
    from scipy.sparse import issparse
    from scipy.special import xlogy
    from sklearn.base import (
        BaseEstimator,
        ClassifierMixin,
        RegressorMixin,
        _fit_context,
        is_classifier,
    )
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import LabelBinarizer
    from sklearn.utils import check_random_state, column_or_1d, compute_sample_weight
    from sklearn.utils._param_validation import Interval, Options, StrOptions
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.multiclass import (
        _check_partial_fit_first_call,
        check_classification_targets,
        type_of_target,
        unique_labels,
    )
    from sklearn.utils.optimize import _check_optimize_result
    from sklearn.utils.sparsefuncs import mean_variance_axis
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
    from threadpoolctl import threadpool_limits
except ImportError as error:
    raise SettingError(
        "the estimators need scikit-learn 1.7 or later; "
        "install it with: pip install 'fastgraph-nn[sklearn]'"
    ) from error

__all__ = ["MLPClassifier", "MLPRegressor"]

#: None: the layer is linear.
_ACTIVATIONS: dict[str, type[Node] | None] = {
    "identity": None, "logistic": ops.Sigmoid, **ACTIVATIONS,
}  # fmt: skip
_LOSSES: dict[str, type[Node]] = {
    "squared_error": ops.MSE, "absolute_error": ops.MAE, "huber": ops.Huber,
    "poisson": ops.PoissonLoss,
}  # fmt: skip
#: Sparse data is made dense in pieces of at most so many bytes.
_DENSE_BYTES = 1 << 28


class _Network:
    """The graph of a multilayer perceptron, from arrays, and a loss to train it with.

    Parameters:
        coefs, intercepts: of each layer, (in, out) and (out,); copied.
        activations: of each hidden layer: what makes a node of a node, or None.
        output: the node class that makes predictions of the last layer, or None.
        loss: called as ``loss(y, last_layer)``, with a third node where rows are weighted.
        dropout: of each hidden layer.
        weighted: whether the rows are weighted in training.
        labels: whether the targets are numbers of classes; else one column for each output.
    """

    def __init__(
        self,
        coefs: list[np.ndarray],
        intercepts: list[np.ndarray],
        activations: list[Callable[[Node], Node] | None],
        output: type[Node] | None,
        loss: Callable[..., Node],
        dropout: list[float],
        weighted: bool,
        labels: bool,
    ):
        self.x = Input("x", shape=coefs[0].shape[:1])
        self.y = Input("y", shape=() if labels else coefs[-1].shape[1:])
        self.weight = Input("sample_weight", shape=()) if weighted else None
        self.coefs = [Parameter(array, f"coef_{i}") for i, array in enumerate(coefs)]
        self.intercepts = [Parameter(array, f"intercept_{i}") for i, array in enumerate(intercepts)]
        layer: Node = self.x
        last = len(coefs) - 1
        for i, (W, b) in enumerate(zip(self.coefs, self.intercepts, strict=True)):
            layer = ops.Linear(layer, W, b)
            if i < last:
                make = activations[i]
                layer = layer if make is None else make(layer)
                layer = ops.Dropout(layer, dropout[i]) if dropout[i] else layer
        self.prediction = layer if output is None else output(layer)
        self.loss = loss(self.y, layer, *([self.weight] if weighted else []))
        self.graph = Graph(self.loss, self.prediction, dtype=coefs[0].dtype)
        self._turn = threading.Lock()  # predictions may be asked for from several threads

    def arrays(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The coefficients and intercepts: the graph's own, not copies."""
        return [node.value for node in self.coefs], [node.value for node in self.intercepts]

    def holds(self, coefs: list[np.ndarray], intercepts: list[np.ndarray]) -> bool:
        """Whether the graph works on these very arrays."""
        nodes = self.coefs + self.intercepts
        given = [*coefs, *intercepts]
        return len(nodes) == len(given) and all(
            node.value is array for node, array in zip(nodes, given, strict=True)
        )

    def feeds(self, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> dict[Node, Any]:
        feeds: dict[Node, Any] = {self.x: X, self.y: y}
        return feeds if self.weight is None else {**feeds, self.weight: weight}

    def predict(self, X: np.ndarray) -> np.ndarray:
        with self._turn:
            return self.graph.evaluate(self.prediction, {self.x: X})


@dataclass(frozen=True)
class _Course:
    """A run under way: what trains, what it asks whether to stop, a context to look at the graph
    in, and the rows, targets and weights held out, if there are any."""

    trainer: Any
    interrupted: Callable[[], bool]
    paused: Callable[[], Any]
    network: _Network
    held_out: Any


class _Pieces:
    """A `Trainer` over sparse rows: an epoch goes in pieces, each made dense for its turn.

    The batches are those of an epoch over dense rows, and so are the numbers, to rounding.

    Parameters:
        scaled: what is done to dense rows before they are fed.
        settings: of `Graph._trainer`; the rest is as there.
    """

    def __init__(
        self,
        network: _Network,
        X: Any,
        y: np.ndarray,
        weight: np.ndarray | None,
        scaled: Callable[[np.ndarray], np.ndarray],
        settings: dict,
        state: OptimizerState | None,
        shuffle: bool,
        seed: int,
    ):
        self._network, self._X, self._y, self._weight = network, X, y, weight
        self._scaled, self._settings, self._state, self._seed = scaled, settings, state, seed
        batch = settings["batch_size"]
        self._size = max(_rows_of_a_piece(X) // batch, 1) * batch
        self._shuffle = shuffle and batch < len(y)
        self._epochs = 0 if state is None else state.epochs

    def run(
        self,
        epochs: int,
        interrupted: Callable[[], bool],
        steps: int | None = None,
        rates: np.ndarray | None = None,
    ) -> Outcome:
        losses: list[float] = []
        taken, rows = 0, len(self._y)
        for _ in range(epochs):
            order = np.arange(rows)
            if self._shuffle:
                order = permutation(rows, self._seed, self._epochs)
            total = 0.0
            for start in range(0, rows, self._size):
                some = order[start : start + self._size]
                outcome = self._run_piece(some, interrupted, rates, taken)
                taken += outcome.steps
                if outcome.failure is not None or interrupted():
                    failed = np.array(losses), taken, outcome.failure, outcome.interrupted
                    return Outcome(*failed)
                total += float(outcome.losses[0]) * len(some)
            losses.append(total / rows)
            self._epochs += 1
        return Outcome(np.array(losses), taken)

    def _run_piece(
        self,
        some: np.ndarray,
        interrupted: Callable[[], bool],
        rates: np.ndarray | None,
        taken: int,
    ) -> Outcome:
        network = self._network
        weight = None if self._weight is None else self._weight[some]
        feeds = network.feeds(self._scaled(self._X[some].toarray()), self._y[some], weight)
        steps = -(-len(some) // self._settings["batch_size"])
        with network.graph._trainer(
            network.loss, feeds, state=self._state, shuffle=False, seed=self._seed,
            **self._settings,
        ) as (trainer, _):  # fmt: skip
            own = None if rates is None else rates[taken : taken + steps]
            outcome = trainer.run(1, interrupted, None, own)
            trainer.store()
            self._state = replace(trainer.state(), step=0, total=0.0)
        return outcome

    def store(self) -> None:
        """The parameters are written after each piece."""

    def state(self) -> OptimizerState | None:
        return None if self._state is None else replace(self._state, epochs=self._epochs)

    def scale_slots(self, factor: float) -> None:
        if self._state is not None:
            self._state = replace(self._state, slots=[slot * factor for slot in self._state.slots])


class _MultilayerPerceptron(BaseEstimator, ABC):
    """What the regressor and the classifier share: everything but the targets."""

    _parameter_constraints: ClassVar[dict] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(_ACTIVATIONS)), callable, "array-like"],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {np.inf}),
        ],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "standardize": ["boolean", StrOptions({"auto"})],
    }

    # What the two define ---------------------------------------------------------------------

    @abstractmethod
    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple:
        """X and y checked, y as targets of shape (n, outputs), and weights of the rows or None."""

    @abstractmethod
    def _output(self) -> tuple[str, type[Node] | None]:
        """The name and the node class of the activation of the last layer."""

    @abstractmethod
    def _loss_of(self, n_outputs: int) -> Callable[..., Node]:
        """What makes the node that is minimised."""

    @abstractmethod
    def _score(self, y: np.ndarray, output: np.ndarray, weight: np.ndarray | None) -> float:
        """The score of outputs of the network for targets y."""

    # Settings --------------------------------------------------------------------------------

    def _hidden(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if isinstance(sizes, Iterable) else [sizes]
        if any(size <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return sizes

    def _per_layer(self, name: str, count: int) -> list:
        """A setting for each of the hidden layers."""
        value = getattr(self, name)
        if isinstance(value, str) or not isinstance(value, Iterable):
            return [value] * count
        values = list(value)
        if len(values) != count:
            raise SettingError(
                f"{name}: {len(values)} values for {count} hidden layers; give one for each, "
                "or one for all"
            )
        return values

    def _activations(self, count: int) -> list[Callable[[Node], Node] | None]:
        made = []
        for item in self._per_layer("activation", count):
            if isinstance(item, str) and item not in _ACTIVATIONS:
                known = ", ".join(map(repr, sorted(_ACTIVATIONS)))
                raise SettingError(f"activation: unknown name {item!r} (candidates: {known})")
            made.append(_ACTIVATIONS[item] if isinstance(item, str) else item)
        return made

    def _dropout(self, count: int) -> list[float]:
        rates = self._per_layer("dropout", count)
        for rate in rates:
            if not isinstance(rate, (int, float, np.number)) or not 0 <= rate < 1:
                raise SettingError(f"dropout: a rate must be in [0, 1), got {rate!r}")
        if self.solver == "lbfgs" and any(rates):
            raise SettingError("dropout needs solver='adam' or 'sgd': lbfgs minimises one function")
        return [float(rate) for rate in rates]

    # Fitting ---------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the network to X and y.

        Parameters:
            X: array, data frame or sparse matrix of shape (n_samples, n_features).
            y: array of shape (n_samples,) or (n_samples, n_outputs).
            sample_weight: (n_samples,) weights, 0 or more; None is 1 for each.

        Returns:
            The estimator.
        """
        return self._fit(X, y, sample_weight, incremental=False)

    def _fit(self, X: Any, y: Any, sample_weight: Any, incremental: bool) -> Any:
        hidden = self._hidden()
        self._activations(len(hidden))  # what is wrong is refused before anything changes
        self._dropout(len(hidden))
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        first = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        X, y, class_weight = self._validate_input(X, y, incremental, reset=first)
        weight = _weights(sample_weight, class_weight, X)
        if issparse(X) and X.shape[0] <= _rows_of_a_piece(X):
            X = X.toarray()
        if weight is not None and not weight.all():  # such rows count for nothing, in a batch too
            X, y, weight = X[weight > 0], y[weight > 0], weight[weight > 0]
        random = check_random_state(self.random_state)
        if first:
            self._initialize(X, y, weight, [X.shape[1], *hidden, y.shape[1]], random)
        X, y = X if issparse(X) else self._scaled(X), self._scaled_targets(y)
        network = self._network_for(weight is not None, afresh=True)
        try:
            if self.solver == "lbfgs":
                self._fit_lbfgs(network, X, y, weight)
            else:
                self._fit_stochastic(network, X, y, weight, random, incremental)
        finally:
            self.coefs_, self.intercepts_ = network.arrays()
        if not all(np.isfinite(array).all() for array in [*self.coefs_, *self.intercepts_]):
            raise ValueError(_NOT_FINITE)
        return self

    def _initialize(
        self,
        X: Any,
        y: np.ndarray,
        weight: np.ndarray | None,
        units: list[int],
        random: np.random.RandomState,
    ) -> None:
        """What a first fit starts from: Glorot and Bengio's uniform initial values (2010)."""
        self.n_iter_ = self.t_ = 0
        self.n_outputs_ = y.shape[1]
        self.n_layers_ = len(units)
        self.out_activation_ = self._output()[0]
        names = [*self._per_layer("activation", len(units) - 2), self.activation]
        self.coefs_, self.intercepts_ = [], []
        for i, (fan_in, fan_out) in enumerate(pairwise(units)):
            factor = 2.0 if names[i] in ("logistic", "sigmoid") else 6.0
            bound = np.sqrt(factor / (fan_in + fan_out))
            coef = random.uniform(-bound, bound, (fan_in, fan_out))
            intercept = random.uniform(-bound, bound, fan_out)
            self.coefs_.append(coef.astype(X.dtype, copy=False))
            self.intercepts_.append(intercept.astype(X.dtype, copy=False))
        self._network: _Network | None = None
        self._network_key: tuple = ()
        self._optimizer_state: OptimizerState | None = None
        self._x_scaling = _scaling(X, weight, self.standardize)
        regression = not is_classifier(self) and self._output()[1] is None
        self._y_scaling = _scaling(y, weight, self.standardize if regression else False)
        if self.solver != "lbfgs":
            self._start_record()

    def _start_record(self) -> None:
        self.loss_curve_: list[float] = []
        self._no_improvement_count = 0
        self.validation_scores_: Any = [] if self.early_stopping else None
        self.best_validation_score_: Any = -np.inf if self.early_stopping else None
        self.best_loss_: Any = None if self.early_stopping else np.inf

    def _network_for(self, weighted: bool = False, afresh: bool = False) -> _Network:
        """The graph that works on ``coefs_`` and ``intercepts_``; afresh: for the settings of now,
        which may not be those of the last fit."""
        known = getattr(self, "_network", None)
        if (
            known is not None
            and known.holds(self.coefs_, self.intercepts_)
            and (not afresh or self._network_key == self._key(weighted))
        ):
            return known
        count = len(self.coefs_) - 1
        network = _Network(
            self.coefs_,
            self.intercepts_,
            self._activations(count),
            self._output()[1],
            self._loss_of(self.n_outputs_),
            self._dropout(count),
            weighted,
            labels=self._targets_are_labels(),
        )
        self._network, self._network_key = network, self._key(weighted)
        self.coefs_, self.intercepts_ = network.arrays()
        return network

    def _key(self, weighted: bool) -> tuple:
        """What a graph depends on besides its arrays."""
        settings = (self.activation, self.dropout, self.loss, self.solver)
        return (weighted, *(repr(item) for item in settings))

    def _targets_are_labels(self) -> bool:
        return False

    def _penalty(self, rows: int, batch: int, weight: np.ndarray | None) -> float:
        """The L2 strength of a step: alpha over the rows, or weights, of a batch.

        Where batches differ it is the mean over the steps of an epoch.
        """
        full, rest = divmod(rows, batch)
        sizes = [batch] * full + ([rest] if rest else [])
        mean_weight = 1.0 if weight is None else float(weight.mean())
        return self.alpha * float(np.mean(1 / np.array(sizes))) / mean_weight

    def _fit_lbfgs(
        self, network: _Network, X: Any, y: np.ndarray, weight: np.ndarray | None
    ) -> None:
        graph = network.graph
        alpha = self._penalty(len(y), len(y), weight)
        strengths = np.concatenate([
            np.full(node.value.size, alpha if node.value.ndim == 2 else 0.0)
            for node in graph.parameters.values()
        ])  # fmt: skip

        def objective(vector: np.ndarray) -> tuple[float, np.ndarray]:
            penalty = strengths * vector
            total, slope = penalty @ vector / 2, penalty
            for share, feeds in parts():
                loss, gradient = graph.value_and_gradient(vector, feeds, network.loss)
                total, slope = total + share * loss, slope + share * gradient
            return total, slope

        def parts() -> Iterator[tuple[float, dict]]:
            """The feeds of all rows, and what they count for; in pieces where rows are sparse."""
            if not issparse(X):
                yield 1.0, network.feeds(X, self._fed(y), weight)
                return
            counts = np.ones(len(y)) if weight is None else weight
            size = _rows_of_a_piece(X)
            for start in range(0, len(y), size):
                some = slice(start, start + size)
                yield (
                    counts[some].sum() / counts.sum(),
                    network.feeds(
                        self._scaled(X[some].toarray()),
                        self._fed(y[some]),
                        None if weight is None else weight[some],
                    ),
                )

        # The vectors are short: BLAS threads would wait for one another longer than they work.
        with threadpool_limits(1, "blas"):
            found = scipy.optimize.minimize(
                objective,
                graph.vector.astype(np.float64),
                method="L-BFGS-B",
                jac=True,
                options={"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol},
            )
        self.n_iter_ = _check_optimize_result("lbfgs", found, self.max_iter)
        self.loss_ = self._reported(found.fun, y, weight)
        if self.verbose:
            print(f"L-BFGS: {self.n_iter_} iterations, loss = {self.loss_:.8f}")
        graph.vector = found.x

    def _fit_stochastic(
        self,
        network: _Network,
        X: Any,
        y: np.ndarray,
        weight: np.ndarray | None,
        random: np.random.RandomState,
        incremental: bool,
    ) -> None:
        held_out = None
        scored = getattr(self, "validation_scores_", None) is not None
        if not hasattr(self, "loss_curve_") or scored != self.early_stopping:
            self._start_record()  # a warm start with settings that watch something else
        if self.early_stopping:
            X, y, weight, held_out = self._hold_out(X, y, weight, random)
        rows = len(y)
        batch = min(200, rows) if self.batch_size == "auto" else self.batch_size
        if batch > rows:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be "
                "clipped",
                stacklevel=4,
            )
            batch = rows
        if not incremental or self._optimizer_state is None:
            self._learning_rate = float(self.learning_rate_init)
            self._optimizer_state = None
            self._seed = int(random.randint(np.iinfo(np.int32).max))
        self.n_iter_, best = 0, None
        try:
            with self._training(network, X, y, weight, batch) as (trainer, interrupted, paused):

                course = _Course(trainer, interrupted, paused, network, held_out)
                best = self._run(course, y, weight, batch, incremental)
                self._optimizer_state = trainer.state()
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        if best is not None:
            network.graph.vector = best

    @contextmanager
    def _training(
        self, network: _Network, X: Any, y: np.ndarray, weight: np.ndarray | None, batch: int
    ) -> Iterator[tuple[Any, Callable[[], bool], Callable[[], Any]]]:
        """What trains; what it asks whether to stop; and a context to look at the graph in."""
        settings: dict[str, Any] = {
            "optimizer": self._optimizer(),
            "l2": self._penalty(len(y), batch, weight),
            "batch_size": batch,
        }
        state, shuffle = self._optimizer_state, bool(self.shuffle)
        if issparse(X):
            with interruptible() as interrupted:
                yield (
                    _Pieces(
                        network, X, self._fed(y), weight, self._scaled, settings, state, shuffle,
                        self._seed,
                    ),
                    interrupted,
                    nullcontext,
                )  # fmt: skip
            return
        feeds = network.feeds(X, self._fed(y), weight)
        with network.graph._trainer(
            network.loss, feeds, state=state, shuffle=shuffle, seed=self._seed, **settings
        ) as (trainer, interrupted):
            yield trainer, interrupted, network.graph._paused

    def _run(
        self,
        course: _Course,
        y: np.ndarray,
        weight: np.ndarray | None,
        batch: int,
        incremental: bool,
    ) -> np.ndarray | None:
        """Train until scikit-learn's would stop; with held-out rows, the best parameters."""
        best, epochs = None, 1 if incremental else self.max_iter
        trainer, early = course.trainer, course.held_out is not None
        steps_per_epoch = -(-len(y) // batch)
        while self.n_iter_ < epochs:
            # Each epoch without improvement counts one, so that many may run before a look.
            patience = self.n_iter_no_change + 1 - self._no_improvement_count
            look = early or self.verbose or self._rate_follows_time()
            stretch = 1 if look else int(max(min(epochs - self.n_iter_, patience), 1))
            rates = None
            if self._learning_rate != self.learning_rate_init:
                rates = np.full(stretch * steps_per_epoch, self._learning_rate)
            outcome = trainer.run(stretch, course.interrupted, None, rates)
            for loss in outcome.losses:
                self.n_iter_ += 1
                self.t_ += len(y)
                self.loss_ = self._reported(float(loss), y, weight)
                self.loss_curve_.append(self.loss_)
                if self.verbose:
                    print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
                if not early:
                    self._watch_loss()
                elif self._watch_score(course):
                    with course.paused():
                        best = course.network.graph.vector.copy()
            if outcome.failure is not None:
                trainer.store()
                raise ValueError(_NOT_FINITE)
            if course.interrupted():
                break
            if self._rate_follows_time():
                rate = self.learning_rate_init / (self.t_ + 1) ** self.power_t
                self._change_rate(trainer, rate)
            if self._no_improvement_count > self.n_iter_no_change:
                if self._stops(trainer, early):
                    break
                self._no_improvement_count = 0
            if self.n_iter_ == self.max_iter and not incremental:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                    "optimization hasn't converged yet.",
                    ConvergenceWarning,
                    stacklevel=5,
                )
        trainer.store()
        return best

    def _rate_follows_time(self) -> bool:
        return self.solver == "sgd" and self.learning_rate == "invscaling"

    def _change_rate(self, trainer: Any, rate: float) -> None:
        # In scikit-learn the velocity has in it the rate of the steps that it comes from.
        trainer.scale_slots(self._learning_rate / rate)
        self._learning_rate = rate

    def _optimizer(self) -> Optimizer:
        if self.solver == "adam":
            return Adam(self.learning_rate_init, self.beta_1, self.beta_2, self.epsilon)
        momentum = min(self.momentum, np.nextafter(1.0, 0.0))
        nesterov = bool(self.nesterovs_momentum) and momentum > 0
        return SGD(self.learning_rate_init, momentum, nesterov)

    def _hold_out(
        self,
        X: Any,
        y: np.ndarray,
        weight: np.ndarray | None,
        random: np.random.RandomState,
    ) -> tuple:
        """The rows to train on, and those to score on after each epoch."""
        stratify = y if is_classifier(self) and self.n_outputs_ == 1 else None
        train, held = train_test_split(
            np.arange(len(y)),
            random_state=random,
            test_size=self.validation_fraction,
            stratify=stratify,
        )
        if len(held) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        of_train, of_held = (None, None) if weight is None else (weight[train], weight[held])
        return X[train], y[train], of_train, (X[held], y[held], of_held)

    def _watch_loss(self) -> None:
        if self.loss_ > self.best_loss_ - self.tol:
            self._no_improvement_count += 1
        else:
            self._no_improvement_count = 0
        self.best_loss_ = min(self.loss_, self.best_loss_)

    def _watch_score(self, course: _Course) -> bool:
        """Note the score of the held-out rows; whether it is the best so far."""
        X, y, weight = course.held_out
        course.trainer.store()
        with course.paused():
            output = self._forward(course.network, X)
        finite = np.isfinite(output).all()
        score = self._score(y, output, weight) if finite else np.nan
        self.validation_scores_.append(score)
        if self.verbose:
            print(f"Validation score: {score:f}")
        if score < self.best_validation_score_ + self.tol:
            self._no_improvement_count += 1
        else:
            self._no_improvement_count = 0
        if score > self.best_validation_score_:
            self.best_validation_score_ = score
            return True
        return False

    def _stops(self, trainer: Any, early: bool) -> bool:
        """Whether training ends where nothing improves: not before an adaptive rate is tiny."""
        what = "Validation score" if early else "Training loss"
        said = (
            f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} "
            "consecutive epochs."
        )
        adaptive = self.solver == "sgd" and self.learning_rate == "adaptive"
        if adaptive and self._learning_rate > 1e-6:
            self._change_rate(trainer, self._learning_rate / 5)
            if self.verbose:
                print(f"{said} Setting learning rate to {self._learning_rate:f}")
            return False
        if self.verbose:
            print(f"{said} {'Learning rate too small. ' if adaptive else ''}Stopping.")
        return True

    # Targets and scales ----------------------------------------------------------------------

    def _fed(self, y: np.ndarray) -> np.ndarray:
        """Targets as the graph takes them."""
        return y

    def _reported(self, loss: float, y: np.ndarray, weight: np.ndarray | None) -> float:
        """The loss as scikit-learn counts it, from the graph's."""
        return float(loss)

    def _scaled(self, X: np.ndarray) -> np.ndarray:
        if self._x_scaling is None:
            return X
        mean, scale = self._x_scaling
        return (X - mean) / scale

    def _scaled_targets(self, y: np.ndarray) -> np.ndarray:
        if self._y_scaling is None:
            return y
        mean, scale = self._y_scaling
        return (y - mean) / scale

    def _outputs(self, X: Any) -> np.ndarray:
        """What the last layer says of each row, after its activation: (n, outputs)."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=(np.float64, np.float32), reset=False)
        network = self._network_for()
        found = self._forward(network, X if issparse(X) else self._scaled(X))
        if self._y_scaling is not None:
            mean, scale = self._y_scaling
            found = found * scale + mean
        return found

    def _forward(self, network: _Network, X: Any) -> np.ndarray:
        """The predictions of the network for scaled rows, or for sparse ones as they are."""
        if not issparse(X):
            return network.predict(X)
        size = _rows_of_a_piece(X)
        return np.concatenate([
            network.predict(self._scaled(X[start : start + size].toarray()))
            for start in range(0, X.shape[0], size)
        ])  # fmt: skip

    # As an estimator -------------------------------------------------------------------------

    def _has_epochs(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
            )
        return True

    def __getstate__(self) -> dict:
        state = super().__getstate__()
        return {key: value for key, value in state.items() if not key.startswith("_network")}

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


_NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed (standardize=True does it); or lower learning_rate_init."
)


def _rows_of_a_piece(X: Any) -> int:
    """How many rows of sparse data are made dense together."""
    return max(_DENSE_BYTES // (X.shape[1] * X.dtype.itemsize), 1)


def _weights(sample_weight: Any, class_weight: np.ndarray | None, X: Any) -> np.ndarray | None:
    """The weights of the rows, 0 or more; None where all are 1."""
    if sample_weight is None:
        weight = class_weight
    else:
        weight = _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)
        weight = weight if class_weight is None else weight * class_weight
    if weight is not None and not weight.any():
        raise ValueError("sample_weight: all weights are zero, at least one must be above")
    return weight


def _scaling(
    values: Any, weight: np.ndarray | None, standardize: bool | str
) -> tuple[np.ndarray, np.ndarray] | None:
    """Mean and standard deviation of each column; None where they are not to be used.

    "auto" uses them where a column lies away from what initial values are made for: with a mean
    above 1 in size or a deviation out of [0.1, 3].
    """
    if not standardize:
        return None
    if issparse(values):
        mean, variance = mean_variance_axis(values, axis=0, weights=weight)
    else:
        mean = np.average(values, axis=0, weights=weight)
        variance = np.average((values - mean) ** 2, axis=0, weights=weight)
    deviation = np.sqrt(variance)
    varies = deviation > 10 * np.finfo(values.dtype).eps * np.abs(mean)
    scale = np.where(varies, deviation, 1)
    away = (np.abs(mean) > 1) | (scale < 0.1) | (scale > 3)
    if standardize == "auto" and not away.any():
        return None
    return mean.astype(values.dtype), scale.astype(values.dtype)


def _r2(y: np.ndarray, output: np.ndarray, weight: np.ndarray | None) -> float:
    """The coefficient of determination, a mean over the outputs: what ``r2_score`` gives, without
    its checks, which would take longer than an epoch."""
    w = np.ones(len(y)) if weight is None else weight
    left = w @ (y - output) ** 2
    apart = w @ (y - np.average(y, axis=0, weights=weight)) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.where(apart > 0, 1 - left / apart, np.where(left > 0, 0.0, 1.0))
    return float(scores.mean())


class MLPRegressor(RegressorMixin, _MultilayerPerceptron):
    """A multilayer perceptron for regression, in place of scikit-learn's of the same name.

    The arguments up to ``max_fun``, the attributes of a fitted estimator and the warnings are
    those of ``sklearn.neural_network.MLPRegressor``; see there. Further:

    Parameters:
        loss: also ``"absolute_error"``, ``"huber"``, or what makes a loss of nodes, called as
            ``loss(y_true, y_pred)``, with a third node where rows are weighted: ``fg.Huber``, or
            ``functools.partial(fg.QuantileLoss, quantile=0.9)``.
        activation: also any name that `fastgraph.Dense` knows, as ``"gelu"``, a node class or
            function of a node; or a list with one for each hidden layer.
        dropout: rate after each hidden layer, in [0, 1), or a list of them.
        standardize: True takes the mean off X and y and divides by the standard deviation before
            training, and undoes it in predictions; "auto" does so for X, and for y, where a column
            needs it. ``coefs_``, ``loss_`` and a loss's own settings are then in these units. A
            loss that works on a logarithm, as "poisson", leaves y as it is.

    With one batch an epoch, or unshuffled ones, the numbers are scikit-learn's to rounding (and
    to where Adam adds epsilon); shuffled, the order of the rows is fastgraph's own. Rows of weight
    0 are left out before anything else. Where the batches of an epoch differ in size or weight,
    the penalty of each step is that of the mean batch. Sparse data is made dense in pieces of at
    most 256 MB.

    Raises:
        ValueError: a setting is out of its range, or the data cannot be used.

    Example:
        >>> import numpy as np
        >>> from fastgraph.sklearn import MLPRegressor
        >>> X = np.linspace(-2, 2, 100).reshape(-1, 1)
        >>> model = MLPRegressor(activation="tanh", solver="lbfgs", max_iter=2000, random_state=0)
        >>> bool(model.fit(X, np.sin(2 * X[:, 0])).score(X, np.sin(2 * X[:, 0])) > 0.99)
        True
    """

    _parameter_constraints: ClassVar[dict] = {
        **_MultilayerPerceptron._parameter_constraints,
        "loss": [StrOptions(set(_LOSSES)), callable],
    }

    def __init__(
        self,
        loss="squared_error",
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        dropout=0.0,
        standardize=False,
    ):
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dropout = dropout
        self.standardize = standardize

    def predict(self, X):
        """The predictions for X.

        Parameters:
            X: array, data frame or sparse matrix of shape (n_samples, n_features).

        Returns:
            Array of shape (n_samples,), or (n_samples, n_outputs) for several outputs.
        """
        found = self._outputs(X)
        return found.ravel() if found.shape[1] == 1 else found

    @available_if(lambda estimator: estimator._has_epochs())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None):
        """Go on training with one pass over X and y; parameters as for `fit`."""
        return self._fit(X, y, sample_weight, incremental=True)

    def _validate_input(self, X, y, incremental, reset):
        X, y = validate_data(
            self, X, y, accept_sparse="csr", multi_output=True, y_numeric=True,
            dtype=(np.float64, np.float32), reset=reset,
        )  # fmt: skip
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y.reshape(len(y), -1).astype(X.dtype, copy=False), None

    def _output(self):
        return ("exp", ops.Exp) if self.loss == "poisson" else ("identity", None)

    def _loss_of(self, n_outputs):
        if callable(self.loss):
            return self.loss
        # scikit-learn adds up what the outputs lose; the operations take the mean.
        scale = {"squared_error": n_outputs / 2, "poisson": n_outputs}.get(self.loss, 1)
        return _scaled_loss(_LOSSES[self.loss], scale)

    def _reported(self, loss, y, weight):
        if self.loss == "squared_error":
            return loss / self.n_outputs_
        if self.loss == "poisson":  # what a perfect prediction would lose is not counted
            return loss + float(np.average(xlogy(y, y) - y, axis=0, weights=weight).sum())
        return loss

    def _score(self, y, output, weight):
        return _r2(y, output, weight)


class MLPClassifier(ClassifierMixin, _MultilayerPerceptron):
    """A multilayer perceptron for classification, in place of scikit-learn's of the same name.

    The arguments up to ``max_fun``, the attributes of a fitted estimator and the warnings are
    those of ``sklearn.neural_network.MLPClassifier``; see there. Further:

    Parameters:
        loss: ``"log_loss"``, or what makes a loss of nodes: called as ``loss(y_true, logits)``,
            with a third node where rows are weighted; y_true is a column of 0 and 1 for each
            output.
        activation, dropout: as for `MLPRegressor`.
        standardize: as for `MLPRegressor`; of X.
        class_weight: ``{class: weight}``, or "balanced" for weights that make all classes count
            the same; times ``sample_weight``.

    Raises:
        ValueError: a setting is out of its range, or the data cannot be used.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from fastgraph.sklearn import MLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> model = MLPClassifier((16,), solver="lbfgs", standardize=True, random_state=0)
        >>> bool(model.fit(X, y).score(X, y) > 0.95)
        True
    """

    _parameter_constraints: ClassVar[dict] = {
        **_MultilayerPerceptron._parameter_constraints,
        "loss": [StrOptions({"log_loss"}), callable],
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        loss="log_loss",
        dropout=0.0,
        standardize=False,
        class_weight=None,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.loss = loss
        self.dropout = dropout
        self.standardize = standardize
        self.class_weight = class_weight

    def predict(self, X):
        """The most probable class of each row of X.

        Parameters:
            X: array, data frame or sparse matrix of shape (n_samples, n_features).

        Returns:
            Array of shape (n_samples,); (n_samples, n_classes) of 0 and 1 for multilabel data.
        """
        found = self._outputs(X)
        if self._label_binarizer is not None:
            return self._label_binarizer.inverse_transform(found)
        if self.n_outputs_ > 1:
            return self.classes_[found.argmax(axis=1)]
        return self.classes_[np.where(found.ravel() > 0.5, len(self.classes_) - 1, 0)]

    def predict_proba(self, X):
        """The probability of each class, (n_samples, n_classes), in the order of ``classes_``."""
        found = self._outputs(X)
        return np.hstack([1 - found, found]) if self.n_outputs_ == 1 else found

    def predict_log_proba(self, X):
        """The logarithm of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    @available_if(lambda estimator: estimator._has_epochs())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None, classes=None):
        """Go on training with one pass over X and y.

        Parameters:
            X, y, sample_weight: as for `fit`.
            classes: all classes that may come, in the first call; later calls may leave it out.
        """
        if _check_partial_fit_first_call(self, classes):
            multilabel = type_of_target(y).startswith("multilabel")
            self._label_binarizer = LabelBinarizer().fit(y) if multilabel else None
        return self._fit(X, y, sample_weight, incremental=True)

    def _validate_input(self, X, y, incremental, reset):
        X, y = validate_data(
            self, X, y, accept_sparse="csr", multi_output=True,
            dtype=(np.float64, np.float32), reset=reset,
        )  # fmt: skip
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            check_classification_targets(y)
            self._label_binarizer = LabelBinarizer().fit(y) if y.ndim == 2 else None
            self.classes_ = np.unique(y) if y.ndim == 1 else np.arange(y.shape[1])
        elif (y.ndim == 2) != (self._label_binarizer is not None):
            raise ValueError("`y` is multilabel data now and was not before, or the reverse")
        else:
            self._check_classes(unique_labels(y) if y.ndim == 2 else np.unique(y))
        weight = None
        if self.class_weight is not None:
            if incremental and self.class_weight == "balanced":
                raise ValueError(
                    "class_weight='balanced' needs all rows at once; for partial_fit compute the "
                    "weights with sklearn.utils.compute_class_weight and give them as a dict"
                )
            weight = compute_sample_weight(self.class_weight, y).astype(X.dtype)
        return X, self._targets(y).astype(X.dtype), weight

    def _check_classes(self, seen):
        """Refuse classes that the first fit did not know of."""
        if self.warm_start and set(seen) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {self.classes_}, `y` has {seen}"
            )
        if not set(seen) <= set(self.classes_):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. "
                f"'y' has {seen}."
            )

    def _targets(self, y):
        """A column of 0 and 1 for each class; one column for two classes, 1 for the second."""
        if self._label_binarizer is not None:
            targets = self._label_binarizer.transform(y)
            return targets.toarray() if issparse(targets) else targets
        number = np.searchsorted(self.classes_, y)[:, np.newaxis]
        return number == (np.arange(len(self.classes_)) if len(self.classes_) > 2 else 1)

    def _output(self):
        if self._label_binarizer is None and len(self.classes_) > 2:
            return "softmax", ops.Softmax
        return "logistic", ops.Sigmoid

    def _targets_are_labels(self):
        return self.loss == "log_loss" and self.out_activation_ == "softmax"

    def _fed(self, y):
        return y.argmax(axis=1).astype(y.dtype) if self._targets_are_labels() else y

    def _loss_of(self, n_outputs):
        if callable(self.loss):
            return self.loss
        if self._targets_are_labels():
            return ops.SoftmaxCrossEntropy
        return _scaled_loss(ops.BinaryCrossEntropy, n_outputs)

    def _score(self, y, output, weight):
        if self.out_activation_ == "softmax":
            right = output.argmax(axis=1) == y.argmax(axis=1)
        else:
            right = ((output > 0.5) == y).all(axis=1)
        return float(np.average(right, weights=weight))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _scaled_loss(kind: type[Node], scale: float) -> Callable[..., Node]:
    """What makes ``scale`` times a loss of the kind."""

    def make(*inputs: Node) -> Node:
        loss = kind(*inputs)
        return loss if scale == 1 else loss * Constant(float(scale))

    return make
