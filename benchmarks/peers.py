"""The other frameworks on the same workloads, each written the way that is fastest for it.

A peer is a `Contender`, and `module` is what must be installed for it. It imports that when it is
made, so that a missing one costs nothing; `installed` decides who takes part. `PREDICTORS` holds
the ways to predict one row.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from importlib import util
from typing import Any, ClassVar

import numpy as np

from fastgraph.bench import BETA1, BETA2, EPSILON, LEARNING_RATE, Contender, Workload


class _Peer(Contender):
    """What the peers share: the data, the parameters to start from, and where a batch lies."""

    module: ClassVar[str]

    def __init__(self, workload: Workload) -> None:
        super().__init__(workload)
        self.x, self.y = workload.data()
        self._parameters: list[Any] = workload.initial_parameters()

    def parameters(self) -> list[np.ndarray]:
        return [np.array(p) for p in self._parameters]

    def _batches(self, steps: int) -> Iterable[tuple[Any, Any]]:
        batch, batches = self.workload.batch, self.workload.batches
        if batches == 1:
            for _ in range(steps):
                yield self.x, self.y
            return
        for step in range(steps):
            start = step % batches * batch
            yield self.x[start : start + batch], self.y[start : start + batch]


class PyTorch(_Peer):
    """Eager PyTorch with its own optimizers: Adam fused; fused SGD is slower on small nets."""

    name = "PyTorch"
    module = "torch"

    def __init__(self, workload: Workload) -> None:
        import torch

        super().__init__(workload)
        torch.set_num_threads(1)
        self._torch = torch
        self.x, self.y = torch.from_numpy(self.x), torch.from_numpy(self.y)
        self._parameters = [torch.tensor(p, requires_grad=True) for p in self._parameters]
        self._activate = getattr(torch, workload.activation)
        if workload.optimizer == "adam":
            self._optimizer = torch.optim.Adam(
                self._parameters, LEARNING_RATE, (BETA1, BETA2), EPSILON, fused=True
            )
        else:
            self._optimizer = torch.optim.SGD(self._parameters, LEARNING_RATE)

    def run(self, steps: int) -> None:
        for x, y in self._batches(steps):
            self._optimizer.zero_grad()
            self._loss(self._parameters, x, y).backward()
            self._optimizer.step()

    def parameters(self) -> list[np.ndarray]:
        return [p.detach().numpy().copy() for p in self._parameters]

    def _loss(self, parameters: list[Any], x: Any, y: Any) -> Any:
        for i in range(0, len(parameters), 2):
            weight, bias = parameters[i : i + 2]
            if i:
                x = self._activate(x)
            x = weight * x + bias if self.workload.scalar else self._torch.addmm(bias, x, weight)
        return self._torch.nn.functional.mse_loss(x, y)


class PyTorchCompiled(PyTorch):
    """torch.compile of the whole step: loss, gradient and optimizer are one compiled function."""

    name = "torch.compile"

    def __init__(self, workload: Workload) -> None:
        super().__init__(workload)
        torch = self._torch
        adam = workload.optimizer == "adam"
        differentiate = torch.func.grad(self._loss)

        def step(parameters: list, means: list, squares: list, count: Any, x: Any, y: Any) -> None:
            gradients = differentiate(parameters, x, y)
            if not adam:
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.sub_(gradient, alpha=LEARNING_RATE)
                return
            count.add_(1)
            rows = zip(parameters, gradients, means, squares, strict=True)
            for parameter, gradient, mean, square in rows:
                mean.lerp_(gradient, 1 - BETA1)
                square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
                root = (square / (1 - BETA2**count)).sqrt() + EPSILON
                parameter.sub_(LEARNING_RATE / (1 - BETA1**count) * mean / root)

        torch._dynamo.reset()  # each workload is a program of its own
        self._step = torch.compile(step, fullgraph=True, dynamic=False)
        # As vectors of one: writing to a scalar in place gets lost in compiled code (PyTorch 2.13).
        self._parameters = [torch.atleast_1d(p.detach().clone()) for p in self._parameters]
        self._means = [torch.zeros_like(p) for p in self._parameters]
        self._squares = [torch.zeros_like(p) for p in self._parameters]
        self._count = torch.zeros(1, dtype=torch.float64)

    def run(self, steps: int) -> None:
        with self._torch.no_grad():
            for x, y in self._batches(steps):
                self._step(self._parameters, self._means, self._squares, self._count, x, y)

    def parameters(self) -> list[np.ndarray]:
        arrays = [p.numpy().copy() for p in self._parameters]
        return [p.reshape(()) for p in arrays] if self.workload.scalar else arrays


class JAX(_Peer):
    """JAX with the whole run, loop and all, in one compiled function."""

    name = "JAX"
    module = "jax"

    def __init__(self, workload: Workload) -> None:
        import jax
        import jax.numpy as jnp

        super().__init__(workload)
        jax.config.update("jax_enable_x64", True)
        jax.config.update("jax_platforms", "cpu")
        self._jax = jax
        adam, batches, scalar = workload.optimizer == "adam", workload.batches, workload.scalar
        activate = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu}[
            workload.activation
        ]

        def loss(parameters: list, x: Any, y: Any) -> Any:
            for i in range(0, len(parameters), 2):
                weight, bias = parameters[i : i + 2]
                if i:
                    x = activate(x)
                x = (weight * x if scalar else x @ weight) + bias
            return jnp.mean((x - y) ** 2)

        def run(state: tuple, x: Any, y: Any, steps: Any) -> tuple:
            def step(i: Any, state: tuple) -> tuple:
                parameters, means, squares, count = state
                xb, yb = (x[0], y[0]) if batches == 1 else (x[i % batches], y[i % batches])
                gradients = jax.grad(loss)(parameters, xb, yb)
                if not adam:
                    updated = [
                        p - LEARNING_RATE * g for p, g in zip(parameters, gradients, strict=True)
                    ]
                    return updated, means, squares, count
                count = count + 1
                time = count.astype(workload.dtype)
                means = [m + (1 - BETA1) * (g - m) for m, g in zip(means, gradients, strict=True)]
                squares = [
                    s + (1 - BETA2) * (g * g - s) for s, g in zip(squares, gradients, strict=True)
                ]
                rate, scale = LEARNING_RATE / (1 - BETA1**time), 1 / (1 - BETA2**time)
                updated = [
                    p - rate * m / (jnp.sqrt(s * scale) + EPSILON)
                    for p, m, s in zip(parameters, means, squares, strict=True)
                ]
                return updated, means, squares, count

            return jax.lax.fori_loop(0, steps, step, state)

        self._run = jax.jit(run, donate_argnums=0)
        shape = (batches, workload.batch)
        self.x = jnp.asarray(self.x.reshape(shape + self.x.shape[1:]))
        self.y = jnp.asarray(self.y.reshape(shape + self.y.shape[1:]))
        parameters = [jnp.asarray(p) for p in self._parameters]
        moments = ([jnp.zeros_like(p) for p in parameters] if adam else [] for _ in range(2))
        self._state = (parameters, *moments, jnp.int32(0))

    def run(self, steps: int) -> None:
        self._state = self._run(self._state, self.x, self.y, np.int32(steps))
        self._jax.block_until_ready(self._state)

    def parameters(self) -> list[np.ndarray]:
        return [np.array(p) for p in self._state[0]]


class ScikitLearn(_Peer):
    """MLPRegressor.fit. Its loss is half the squared error, summed over the outputs.

    So the learning rate and Adam's epsilon are scaled to take the same steps.
    """

    name = "scikit-learn"
    module = "sklearn"
    # Its Adam adds epsilon before the correction of the bias, not after.
    tolerance = 1e-3

    @classmethod
    def can_run(cls, workload: Workload) -> bool:
        """Nets without a hidden layer are not to be had."""
        return len(workload.sizes) > 2

    def __init__(self, workload: Workload) -> None:
        super().__init__(workload)
        # The loss without a factor of a half is 2 / outputs times scikit-learn's.
        outputs = workload.sizes[-1]
        adam = workload.optimizer == "adam"
        if workload.scalar:
            self.x = self.x.reshape(-1, 1)
            self._parameters = [
                p.reshape((1,) if i % 2 else (1, 1)) for i, p in enumerate(self._parameters)
            ]
        if outputs == 1:
            self.y = self.y.ravel()
        self._settings = {
            "hidden_layer_sizes": workload.sizes[1:-1],
            "activation": {"sigmoid": "logistic"}.get(workload.activation, workload.activation),
            "solver": workload.optimizer,
            "alpha": 0.0,
            "batch_size": workload.batch,
            "learning_rate_init": LEARNING_RATE if adam else LEARNING_RATE * 2 / outputs,
            "momentum": 0.0,
            "nesterovs_momentum": False,
            "shuffle": False,
            "tol": 0.0,
            "beta_1": BETA1,
            "beta_2": BETA2,
            "epsilon": EPSILON * outputs / 2,
            "warm_start": True,
        }
        from sklearn.neural_network import MLPRegressor

        self.model = MLPRegressor(**self._settings)
        # One call sets up everything that fit does; then our own parameters go in.
        self.run(workload.batches)
        self.model.coefs_ = [p.copy() for p in self._parameters[::2]]
        self.model.intercepts_ = [p.copy() for p in self._parameters[1::2]]

    def run(self, steps: int) -> None:
        epochs = steps // self.workload.batches
        self.model.set_params(max_iter=epochs, n_iter_no_change=epochs + 1)
        if hasattr(self.model, "best_loss_"):
            # A warm start would otherwise count "no improvement" since an earlier call.
            self.model._no_improvement_count, self.model.best_loss_ = 0, np.inf
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged
            self.model.fit(self.x, self.y)

    def parameters(self) -> list[np.ndarray]:
        pairs = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        flat = [np.array(p) for pair in pairs for p in pair]
        return [p.reshape(()) for p in flat] if self.workload.scalar else flat


class Autograd(_Peer):
    """HIPS autograd: NumPy traced at every step."""

    name = "autograd"
    module = "autograd"

    def __init__(self, workload: Workload) -> None:
        import autograd
        import autograd.numpy as anp

        super().__init__(workload)
        activate = {
            "sigmoid": lambda z: 1 / (1 + anp.exp(-z)),
            "tanh": anp.tanh,
            "relu": lambda z: anp.maximum(z, 0),
        }[workload.activation]

        def loss(parameters: list, x: np.ndarray, y: np.ndarray) -> Any:
            for i in range(0, len(parameters), 2):
                weight, bias = parameters[i], parameters[i + 1]
                if i:
                    x = activate(x)
                x = (weight * x if workload.scalar else anp.dot(x, weight)) + bias
            return anp.mean((x - y) ** 2)

        self._differentiate = autograd.grad(loss)
        self._update = _NumPyOptimizer(workload, self._parameters)

    def run(self, steps: int) -> None:
        for x, y in self._batches(steps):
            self._update(self._parameters, self._differentiate(self._parameters, x, y))


class MyGrad(_Peer):
    """MyGrad: tensors that record, as in PyTorch, over NumPy."""

    name = "MyGrad"
    module = "mygrad"

    def __init__(self, workload: Workload) -> None:
        import mygrad

        super().__init__(workload)
        self._mygrad = mygrad
        # Its own check that nobody writes to recorded arrays costs time that the others do not pay.
        mygrad.turn_memory_guarding_off()
        self._activate = {
            "sigmoid": lambda z: 1 / (1 + mygrad.exp(-z)),
            "tanh": mygrad.tanh,
            "relu": lambda z: mygrad.maximum(z, 0),
        }[workload.activation]
        self._update = _NumPyOptimizer(workload, self._parameters)

    def run(self, steps: int) -> None:
        tensor, scalar = self._mygrad.tensor, self.workload.scalar
        for x, y in self._batches(steps):
            parameters = [tensor(p, copy=False) for p in self._parameters]
            value: Any = x
            for i in range(0, len(parameters), 2):
                weight, bias = parameters[i], parameters[i + 1]
                if i:
                    value = self._activate(value)
                value = (weight * value if scalar else self._mygrad.matmul(value, weight)) + bias
            self._mygrad.mean((value - y) ** 2).backward()
            self._update(self._parameters, [p.grad for p in parameters])


class _NumPyOptimizer:
    """SGD or Adam on lists of arrays, in place, for frameworks that have no optimizer."""

    def __init__(self, workload: Workload, parameters: list[np.ndarray]) -> None:
        self._adam = workload.optimizer == "adam"
        self._means = [np.zeros_like(p) for p in parameters]
        self._squares = [np.zeros_like(p) for p in parameters]
        self._steps = 0

    def __call__(self, parameters: list[np.ndarray], gradients: list[np.ndarray]) -> None:
        if not self._adam:
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= LEARNING_RATE * gradient
            return
        self._steps += 1
        rate = LEARNING_RATE / (1 - BETA1**self._steps)
        scale = 1 / (1 - BETA2**self._steps)
        for parameter, gradient, mean, square in zip(
            parameters, gradients, self._means, self._squares, strict=True
        ):
            mean += (1 - BETA1) * (gradient - mean)
            square += (1 - BETA2) * (gradient * gradient - square)
            parameter -= rate * mean / (np.sqrt(square * scale) + EPSILON)


def installed(peers: Iterable[type[_Peer]]) -> tuple[list[type[_Peer]], list[type[_Peer]]]:
    """Split peers into those whose framework is installed and those to skip."""
    here: list[type[_Peer]] = []
    missing: list[type[_Peer]] = []
    for peer in peers:
        (here if util.find_spec(peer.module) else missing).append(peer)
    return here, missing


PEERS = (JAX, PyTorch, PyTorchCompiled, ScikitLearn, Autograd, MyGrad)


# --------------------------------------------------------------------------------- predicting

Predict = Callable[[np.ndarray], Any]


def numpy_predict(workload: Workload) -> Predict:
    """NumPy by hand."""
    w1, b1, w2, b2 = workload.initial_parameters()

    def predict(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-(x @ w1 + b1))) @ w2 + b2

    return predict


def scikit_learn_predict(workload: Workload) -> Predict:
    """MLPRegressor.predict."""
    return ScikitLearn(workload).model.predict


def jax_predict(workload: Workload) -> Predict:
    """A compiled function, waited for."""
    import jax

    jax.config.update("jax_enable_x64", True)
    w1, b1, w2, b2 = map(jax.numpy.asarray, workload.initial_parameters())
    compiled = jax.jit(lambda x: jax.nn.sigmoid(x @ w1 + b1) @ w2 + b2)
    return lambda x: compiled(x).block_until_ready()


def pytorch_predict(workload: Workload) -> Predict:
    """Eager, in inference mode, from and to NumPy."""
    import torch

    torch.set_num_threads(1)
    w1, b1, w2, b2 = map(torch.tensor, workload.initial_parameters())

    def predict(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            hidden = torch.sigmoid(torch.addmm(b1, torch.from_numpy(x), w1))
            return torch.addmm(b2, hidden, w2).numpy()

    return predict


def onnx_runtime_predict(workload: Workload) -> Predict:
    """ONNX Runtime, one thread. It has no sigmoid in float64, so it computes in float32."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    names = ("w1", "b1", "w2", "b2")
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Gemm", ["x", "w1", "b1"], ["z"]),
                helper.make_node("Sigmoid", ["z"], ["h"]),
                helper.make_node("Gemm", ["h", "w2", "b2"], ["p"]),
            ],
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, workload.sizes[0]])],
            [helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, workload.sizes[-1]])],
            [
                numpy_helper.from_array(p.astype(np.float32), name)
                for p, name in zip(workload.initial_parameters(), names, strict=True)
            ],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    model.ir_version = 8
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda x: session.run(None, {"x": x})[0]


# name: (module that must be installed, maker, dtype of its input)
PREDICTORS: dict[str, tuple[str, Callable[[Workload], Predict], str]] = {
    "NumPy": ("numpy", numpy_predict, "float64"),
    "ONNX Runtime (f32)": ("onnxruntime", onnx_runtime_predict, "float32"),
    "JAX": ("jax", jax_predict, "float64"),
    "PyTorch": ("torch", pytorch_predict, "float64"),
    "scikit-learn": ("sklearn", scikit_learn_predict, "float64"),
}
