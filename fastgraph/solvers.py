"""Solvers: optimizers that look at all rows at once and run a loop of their own.

They see the problem as functions of one vector of all parameters; the engine in use computes them.
An epoch of theirs is one iteration.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from .engines import current
from .errors import GraphError, SettingError, require
from .node import Input, Node, Parameter
from .ops import MSE
from .optimizers import Optimizer, OptimizerState
from .program import Program
from .regularization import Regularization
from .settings import number, whole_number
from .sort import topological_sort

__all__ = ["LBFGS", "LevenbergMarquardt", "Problem", "Solver"]

#: Called after an iteration with the new vector and the loss before it; True ends the run.
After = Callable[[np.ndarray, float], bool]

_BLOCK = 1 << 22  # numbers of the Jacobian that are held at a time


class Problem:
    """A loss over all rows as a function of the vector of all parameters."""

    def __init__(
        self,
        graph: Any,
        program: Program,
        arrays: dict[Input, np.ndarray],
        regularization: Regularization | None,
        interrupted: Callable[[], bool],
        threads: int,
    ):
        self.graph = graph
        self.program = program
        self.arrays = arrays
        self.regularization = regularization
        self.interrupted = interrupted
        self.threads = threads
        self._engine = current()
        self._executor = graph._executor(program.outputs, arrays)

    def value_and_gradient(self, vector: np.ndarray) -> tuple[float, np.ndarray]:
        """The loss and its gradient, penalties included; infinite where it is not a number."""
        loss, gradient = self._executor.value_and_gradient(
            self.arrays, vector, self.interrupted, self.threads
        )
        if self.interrupted():
            raise KeyboardInterrupt
        if self.regularization is not None:
            loss += self.regularization.penalty(vector)
            gradient = self.regularization.apply(gradient, vector)
        return loss, gradient

    def damped_step(
        self, hessian: np.ndarray, damping: float, gradient: np.ndarray
    ) -> np.ndarray | None:
        """x with ``(hessian + damping·I) x = gradient``; None where there is none."""
        return self._engine.damped_step(hessian, damping, gradient)

    def least_squares(self) -> Callable[[np.ndarray], tuple[float, np.ndarray, np.ndarray]]:
        """A function of the vector: the loss, its gradient, and Gauss and Newton's Hessian 2·JᵀJ/n.

        Raises:
            GraphError: the loss is no `MSE` of a prediction, row by row.
        """
        y_true, y_pred = self._residual()
        predicted, truth = self._arrays_of(y_pred), self._arrays_of(y_true)
        executor = self.graph._executor((y_pred,), predicted)
        (target,) = self.graph._executor((y_true,), truth).evaluate(truth)
        rows = next(a.shape[0] for a in predicted.values() if a.ndim)
        features = self.program.shapes[y_pred].features
        count = int(np.prod(features, dtype=int))
        target = np.broadcast_to(target, (rows, *features)).reshape(-1).astype(float)
        l2 = None if self.regularization is None else self.regularization.l2

        def normal(vector: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
            hessian = np.zeros((vector.size, vector.size))
            gradient, loss = np.zeros(vector.size), 0.0
            block = max(_BLOCK // (vector.size * count), 1)
            for start in range(0, rows, block):
                if self.interrupted():
                    raise KeyboardInterrupt
                stop = min(start + block, rows)
                values, slopes = executor.jacobian(predicted, vector, start, stop)
                slopes = slopes.astype(float, copy=False)
                error = values.astype(float) - target[start * count : stop * count]
                loss += float(error @ error) / (rows * count)
                gradient += slopes.T @ error * (2 / (rows * count))
                hessian += self._engine.gram(slopes) * (2 / (rows * count))
            if l2 is not None:
                loss += self.regularization.penalty(vector)
                gradient += l2 * vector
                hessian[np.diag_indices(vector.size)] += l2
            return loss, gradient, hessian

        return normal

    def _residual(self) -> tuple[Node, Node]:
        (loss,) = self.program.outputs
        if not isinstance(loss, MSE) or len(loss.inputs) != 2:
            raise GraphError(
                f"{loss}: LevenbergMarquardt minimises a mean of squares: end the graph in "
                "MSE(y, prediction), or use LBFGS or Adam"
            )
        y_true, y_pred = loss.inputs
        if any(isinstance(node, Parameter) for node in topological_sort(y_true)):
            y_true, y_pred = y_pred, y_true
        if any(isinstance(node, Parameter) for node in topological_sort(y_true)):
            raise GraphError(
                f"{loss}: LevenbergMarquardt needs a side without parameters, the target"
            )
        if not self.program.shapes[y_pred].batched:
            raise GraphError(f"{y_pred}: LevenbergMarquardt needs a prediction for each row")
        for node in topological_sort(y_pred):
            if self.program.shapes[node].batched and any(
                not self.program.shapes[item].batched and _reads_rows(item, self.program)
                for item in node.inputs
            ):
                raise GraphError(
                    f"{node}: LevenbergMarquardt needs rows that do not depend on one another; use "
                    "LBFGS or Adam"
                )
        return y_true, y_pred

    def _arrays_of(self, node: Node) -> dict[Input, np.ndarray]:
        needed = set(topological_sort(node))
        return {item: array for item, array in self.arrays.items() if item in needed}


def _reads_rows(node: Node, program: Program) -> bool:
    return any(program.shapes[item].batched for item in topological_sort(node))


class Solver(Optimizer):
    """Base of the optimizers that run their own loop, on all rows at once."""

    kernel = "none"

    def settings(self) -> tuple[float, ...]:
        return ()

    def update(self, vector, gradient, slots, powers):
        raise SettingError(f"{type(self).__name__} takes whole iterations, not single steps")

    @abstractmethod
    def solve(
        self,
        problem: Problem,
        vector: np.ndarray,
        iterations: int,
        after: After,
        state: OptimizerState,
    ) -> None:
        """Iterate from ``vector`` until ``after`` says to stop, or nothing improves."""


class LBFGS(Solver):
    """Limited-memory BFGS, SciPy's L-BFGS-B: a quasi-Newton method for small sets and smooth nets.

    All rows make one step, so ``batch_size`` is left out; an epoch is one iteration, which may look
    at the loss several times. The memory of past gradients starts anew with each call of ``fit``.
    It needs SciPy: extra ``lbfgs``.

    Parameters:
        memory: pairs of steps and gradients that are remembered, 1 or more.
        tolerance: it stops where no element of the gradient exceeds this, 0 or more.
        improvement: it stops where an iteration improves the loss by less than this part of it,
            0 or more.

    Source: R. Byrd, P. Lu, J. Nocedal, C. Zhu, "A limited memory algorithm for bound constrained
    optimization" (1995).
    """

    def __init__(self, memory: int = 10, tolerance: float = 1e-8, improvement: float = 1e-12):
        self.memory = memory
        self.tolerance = tolerance
        self.improvement = improvement
        super().__init__()

    def check(self) -> None:
        self.memory = whole_number("LBFGS: memory", self.memory, 1)
        self.tolerance = number("LBFGS: tolerance", self.tolerance)
        self.improvement = number("LBFGS: improvement", self.improvement)

    def solve(self, problem, vector, iterations, after, state):
        optimize = require("scipy.optimize", "lbfgs")
        loss_before: list[float] = []

        def function(at: np.ndarray) -> tuple[float, np.ndarray]:
            loss, gradient = problem.value_and_gradient(at)
            if not loss_before:
                loss_before.append(loss)
            return loss, gradient

        def iterated(intermediate_result: Any) -> None:
            before, loss_before[0] = loss_before[0], float(intermediate_result.fun)
            if after(intermediate_result.x.copy(), before):
                raise StopIteration

        optimize.minimize(
            function,
            vector.astype(float),
            jac=True,
            method="L-BFGS-B",
            callback=iterated,
            options={
                "maxiter": iterations,
                "maxfun": 20 * iterations + 100,
                "maxcor": self.memory,
                "gtol": self.tolerance,
                "ftol": self.improvement,
            },
        )


class LevenbergMarquardt(Solver):
    """Levenberg and Marquardt's: ``(2·JᵀJ/n + damping·I)·step = -gradient``, for nets under `MSE`.

    The best there is for regression with up to a few hundred parameters: J holds the derivative of
    every prediction by every parameter. A step that does not lower the loss is taken back and tried
    with more damping. An epoch is one accepted step; ``batch_size`` is left out. It stops by itself
    where no damping up to ``largest_damping`` improves the loss, or the gradient is below
    ``tolerance``.

    Parameters:
        damping: of the first step, above 0.
        increase: factor after a step that failed, above 1.
        decrease: factor after a step that was taken, in (0, 1).
        largest_damping: above 0.
        tolerance: largest element of the gradient at which it stops, 0 or more.

    Source: D. Marquardt, "An algorithm for least-squares estimation of nonlinear parameters"
    (1963); M. Hagan and M. Menhaj, "Training feedforward networks with the Marquardt algorithm"
    (1994).
    """

    #: Parameters from which JᵀJ would not fit.
    MOST = 10_000

    def __init__(
        self,
        damping: float = 1e-3,
        increase: float = 10.0,
        decrease: float = 0.1,
        largest_damping: float = 1e10,
        tolerance: float = 1e-10,
    ):
        self.damping = damping
        self.increase = increase
        self.decrease = decrease
        self.largest_damping = largest_damping
        self.tolerance = tolerance
        super().__init__()

    def check(self) -> None:
        self._number("damping", 0, open_low=True)
        self._number("increase", 1, open_low=True)
        self._number("decrease", 0, 1, open_low=True)
        self._number("largest_damping", 0, open_low=True)
        self._number("tolerance", 0)

    def solve(self, problem, vector, iterations, after, state):
        if vector.size > self.MOST:
            raise SettingError(
                f"LevenbergMarquardt is for small nets, of up to {self.MOST:,} parameters; this "
                f"one has {vector.size:,}; use LBFGS or Adam"
            )
        normal = problem.least_squares()
        vector = vector.astype(float)
        damping = float(state.slots[0][0]) if state.slots else self.damping
        for _ in range(iterations):
            loss, gradient, hessian = normal(vector)
            if np.abs(gradient).max() <= self.tolerance:
                return
            while True:
                step = problem.damped_step(hessian, damping, gradient)
                if step is not None:
                    trial = vector - step
                    if problem.value_and_gradient(trial)[0] < loss:
                        break
                damping *= self.increase
                if damping > self.largest_damping:
                    return
            vector, damping = trial, max(damping * self.decrease, 1e-20)
            state.slots = [np.array([damping])]
            if after(vector, loss):
                return
