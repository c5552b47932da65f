"""An ensemble: several trained models that predict together, and say how sure they are.

Training is not here: the models come from `fit_many`, `cross_validate`, or one by one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .errors import DataError, GraphError, SettingError, ShapeError
from .graph import Graph
from .many import Trained

__all__ = ["Ensemble"]


class Ensemble:
    """Models that differ by seed, fold or shape; their mean, and an interval around it.

    Parameters:
        models: trained graphs, or the `Trained` of `fit_many`, 2 or more. Those that did not come
            to their end, as by a divergence, are left out.
        prediction: the name of the node to predict, the same in each.

    Attributes:
        graphs: the graphs that take part.

    Source: B. Lakshminarayanan, A. Pritzel and C. Blundell, "Simple and scalable predictive
    uncertainty estimation using deep ensembles" (2017).

    Example:
        >>> import numpy as np, fastgraph as fg
        >>> def line(k):
        ...     return fg.Graph(fg.Multiply(fg.Parameter(k, "k"), fg.Input("x"), name="price"))
        >>> ensemble = fg.Ensemble([line(1.0), line(3.0)], "price")
        >>> ensemble.predict([1.0, 2.0])
        array([2., 4.])
    """

    def __init__(self, models: Iterable[Graph | Trained], prediction: str):
        given = list(models)
        for number, model in enumerate(given):
            if not isinstance(model, (Graph, Trained)):
                raise GraphError(f"Ensemble: model {number}: expected a Graph, got {model!r}")
        whole = [m for m in given if isinstance(m, Graph) or m.history is not None]
        self.graphs = [m if isinstance(m, Graph) else m.graph for m in whole]
        if len(self.graphs) < 2:
            left_out = len(given) - len(whole)
            raise SettingError(
                f"Ensemble: expected 2 models or more, got {len(self.graphs)}"
                + (f" and {left_out} that did not come to their end" if left_out else "")
            )
        self._nodes = []
        for number, graph in enumerate(self.graphs):
            try:
                self._nodes.append(graph.node(prediction))
            except GraphError as error:
                raise GraphError(f"Ensemble: model {number}: {error}") from None
        self._name = prediction
        self._noise = 0.0
        self._scores: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.graphs)

    def __repr__(self) -> str:
        said = "" if self._scores is None else f", calibrated on {len(self._scores)} rows"
        return f"<Ensemble of {len(self)} models for {self._name!r}{said}>"

    def members(self, X: Any) -> np.ndarray:
        """The prediction of each model, shape (models, n, …)."""
        found = [
            graph.evaluate(node, self._feeds(graph, node, X))
            for graph, node in zip(self.graphs, self._nodes, strict=True)
        ]
        shapes = {array.shape for array in found}
        if len(shapes) > 1:
            raise ShapeError(f"Ensemble: the models predict different shapes: {sorted(shapes)}")
        return np.stack(found)

    def predict(self, X: Any) -> np.ndarray:
        """The mean of the models' predictions, ``Σ fᵢ(X) / models``.

        Parameters:
            X: (n, …) array for the one input the prediction needs; or feeds, keys by name.

        Returns:
            (n, …) array.
        """
        return self.members(X).mean(axis=0)

    def interval(self, X: Any, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Two arrays around `predict`, the lower and the upper end.

        Before `calibrate` it is ``mean ± z·s``, with s the standard deviation of the models: where
        a further model would predict. The noise in the data is not in it. After `calibrate` it is
        where a new target lies, with a chance of ``level`` or more.

        Parameters:
            X: as in `predict`.
            level: in (0, 1).
        """
        if not isinstance(level, (int, float, np.floating)) or not 0 < level < 1:
            raise SettingError(f"interval: level must be a number in (0, 1), got {level!r}")
        mean, deviation = self._mean_and_deviation(X)
        if self._scores is None:
            width = _normal_quantile((1 + level) / 2) * deviation
        else:
            width = self._score_at(level) * deviation
        return mean - width, mean + width

    def calibrate(self, X: Any, y: Any) -> Ensemble:
        """Learn from rows that no model has seen how far targets lie from the prediction.

        Errors are measured in units of ``√(s² + r²)``, s the models' deviation there and r the
        root mean square of all errors; `interval` takes the quantile of these (split conformal
        prediction), which holds for any model and any noise if new rows are like these.

        Parameters:
            X: (n, …) as in `predict`.
            y: the targets, of the prediction's shape.

        Returns:
            The ensemble itself.

        Source: J. Lei, M. G'Sell, A. Rinaldo, R. Tibshirani and L. Wasserman, "Distribution-free
        predictive inference for regression" (2018).
        """
        members = self.members(X)
        mean = members.mean(axis=0)
        y = np.asarray(y)
        if y.dtype.kind not in "fiub" or not np.isfinite(y).all():
            raise DataError("calibrate: the targets must be finite numbers")
        if y.shape != mean.shape:
            raise ShapeError(
                f"calibrate: y has shape {y.shape}, the prediction {mean.shape}; they must be equal"
            )
        errors = np.abs(y - mean)
        self._noise = float(np.mean(errors**2)) or np.finfo(mean.dtype).tiny
        deviation = np.sqrt(members.var(axis=0, ddof=1) + self._noise)
        self._scores = np.sort((errors / deviation).ravel())
        return self

    def _mean_and_deviation(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        members = self.members(X)
        return members.mean(axis=0), np.sqrt(members.var(axis=0, ddof=1) + self._noise)

    def _score_at(self, level: float) -> float:
        scores = self._scores
        assert scores is not None
        rounding = 1e-9
        rank = math.ceil((len(scores) + 1) * level - rounding)
        if rank > len(scores):
            needed = math.ceil(level / (1 - level) - rounding)
            raise SettingError(
                f"interval: level {level} needs {needed} rows to calibrate on, there were "
                f"{len(scores)}"
            )
        return float(scores[rank - 1])

    def _feeds(self, graph: Graph, node: Any, X: Any) -> Mapping[Any, Any]:
        if isinstance(X, Mapping):
            return X
        needed = graph._inputs_of((node,))
        if len(needed) != 1:
            names = ", ".join(map(str, needed)) or "none"
            raise DataError(
                f"Ensemble: {self._name!r} needs {len(needed)} inputs ({names}); give them as a "
                "dict"
            )
        return {needed[0]: X}


def _normal_quantile(chance: float) -> float:
    """Where the standard normal distribution function reaches ``chance``, by bisection."""
    low, high = -40.0, 40.0
    while (middle := (low + high) / 2) not in (low, high):
        if (1 + math.erf(middle / math.sqrt(2))) / 2 < chance:
            low = middle
        else:
            high = middle
    return middle
