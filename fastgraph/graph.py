"""Graph: what users hold. It sorts the nodes, binds what is fed, and hands both to an engine."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import engines, export, plot
from .callbacks import EarlyStopping, Every, Progress, as_callbacks
from .doctor import Diagnosis, diagnose, shape_finding
from .errors import (
    DataError,
    FastGraphError,
    GraphError,
    SettingError,
    ShapeError,
    require,
    unknown,
)
from .feeds import bind
from .microscope import microscope
from .microscope_page import escape
from .node import Constant, Input, Node, Parameter, Shape, aligned
from .ops.losses import Loss
from .optimizers import Optimizer, OptimizerState
from .program import Program, infer_shapes
from .regularization import regularization
from .schedules import Schedule, as_schedule
from .settings import flag, number, whole_number
from .solvers import Solver
from .sort import topological_sort
from .storage import read_graph, write_graph
from .training import History, RunSettings, interruptible, train

__all__ = ["Graph", "Summary", "load"]

_DTYPES = ("float64", "float32")


class Graph:
    """A computing graph: its nodes in topological order, ready to run forward, backward, and fit.

    Parameters:
        *outputs: the nodes to compute, as the loss; the graph is all that they need.
        dtype: ``"float64"`` (default) or ``"float32"``, of all values and gradients; parameters
            are cast to it.

    Attributes:
        nodes: tuple of all nodes, each after its inputs.
        outputs, inputs: tuples of nodes.
        parameters: ``{name: Parameter}`` of those that are trained, in sorted order.
        dtype: numpy dtype.

    Raises:
        CycleError, GraphError, ShapeError, SettingError: before anything runs.

    Example:
        >>> import numpy as np, fastgraph as fg
        >>> x, y = fg.Input("x"), fg.Input("y")
        >>> k, b = fg.Parameter(0.0, "k"), fg.Parameter(0.0, "b")
        >>> graph = fg.Graph(fg.MSE(y, k * x + b))
        >>> history = graph.fit({x: [0, 1, 2], y: [1, 3, 5]}, optimizer=fg.SGD(0.1), epochs=500)
        >>> round(float(k.value), 3), round(float(b.value), 3)
        (2.0, 1.0)
    """

    def __init__(self, *outputs: Node | Iterable[Node], dtype: Any = "float64"):
        if len(outputs) == 1 and not isinstance(outputs[0], Node):
            outputs = tuple(outputs[0]) if isinstance(outputs[0], Iterable) else outputs
        if not outputs:
            raise GraphError("Graph needs at least one output node, as Graph(loss)")
        self.nodes: tuple[Node, ...] = tuple(topological_sort(outputs))
        self.outputs: tuple[Node, ...] = tuple(outputs)
        self.dtype = _dtype(dtype)
        self.inputs: tuple[Input, ...] = tuple(n for n in self.nodes if isinstance(n, Input))
        self._members = frozenset(self.nodes)
        self._labels = _labels(self.nodes)
        self.parameters: dict[str, Parameter] = {
            self._labels[n]: n for n in self.nodes if isinstance(n, Parameter) and n.trained
        }
        self._executors: dict[tuple, Any] = {}
        self._programs: dict[tuple, Program] = {}
        self._inputs_by_target: dict[tuple, tuple[Input, ...]] = {}
        self._quick: dict[Node, tuple[str, tuple[Input, ...], Callable]] = {}  # for evaluate
        self._quick_of: dict[Node, Any] = {}  # the executor that each of these was made for
        self._twins: dict[Node, tuple[Graph, Input]] = {}  # by loss, with a sample weight
        self._features: dict[Input, tuple[int, ...]] = {}  # of one row, as last fed
        self._ran: Any = None  # the executor of the last forward, for backward
        self._flat: np.ndarray | None = None  # all parameters, once they were asked for together
        self._lock = threading.Lock()
        infer_shapes(self.nodes)  # what declared shapes can tell, they tell now
        self._cast()

    # Looking at it ---------------------------------------------------------------------------

    def label(self, node: Node) -> str:
        """The node's name, or the one the graph made up for it, as ``"linear_2"``."""
        self._check_member(node)
        return self._labels[node]

    def node(self, name: str) -> Node:
        """The node called ``name`` (its own name or its label)."""
        for node, label in self._labels.items():
            if label == name:
                return node
        raise GraphError(unknown("node", name, self._labels.values()))

    def __contains__(self, node: object) -> bool:
        return node in self._members

    def __len__(self) -> int:
        return len(self.nodes)

    def __repr__(self) -> str:
        outputs = ", ".join(self._labels[node] for node in self.outputs)
        return (
            f"<Graph {outputs}: {len(self.nodes)} nodes, {self.parameter_count} parameters, "
            f"{self.dtype}>"
        )

    @property
    def parameter_count(self) -> int:
        """The number of trained numbers."""
        return sum(node.value.size for node in self.parameters.values())

    def summary(self) -> Summary:
        """A table of the sorted nodes: name, kind, shape, parameters, and what runs each.

        It is a string: ``print(graph.summary())``; in a notebook it shows itself.
        """
        shapes = infer_shapes(self.nodes)
        for program in self._programs.values():
            for node, shape in program.shapes.items():
                shapes[node] = Shape("n", shape.features) if shape.batched else shape
        rows = []
        for node in self.nodes:
            shape = "?" if shapes[node] is None else str(shapes[node])
            count = f"{node.value.size:,}" if isinstance(node, Parameter) else ""
            if count and not node.trained:
                count = f"({count})"
            reads = ", ".join(self._labels[item] for item in node.inputs)
            rows.append((self._labels[node], node.kind, shape, count, reads, _runner(node)))
        return Summary(rows, f"{self!r}"[1:-1])

    def to_dot(self) -> str:
        """The graph in the DOT language, for Graphviz."""
        number = {node: f"n{i}" for i, node in enumerate(self.nodes)}
        lines = ["digraph fastgraph {", "  rankdir=LR;"]
        for node in self.nodes:
            label = self._labels[node].replace("\\", "\\\\").replace('"', '\\"')
            shape = "box" if node.inputs else "ellipse"
            lines.append(f'  {number[node]} [label="{label}\\n{node.kind}", shape={shape}];')
        lines += [
            f"  {number[item]} -> {number[node]};" for node in self.nodes for item in node.inputs
        ]
        return "\n".join([*lines, "}"])

    def _repr_svg_(self) -> str | None:
        """The drawing a notebook shows; None, and so the table, without the extra ``plot``."""
        try:
            figure = plot.graph(self).figure
        except SettingError:  # matplotlib is missing, or there are too many nodes for a picture
            return None
        text = io.StringIO()
        figure.savefig(text, format="svg", bbox_inches="tight")
        require("matplotlib.pyplot", "plot").close(figure)  # or it would be shown once more
        return text.getvalue()[text.getvalue().index("<svg") :]

    def _repr_html_(self) -> str:
        return self._repr_svg_() or self.summary()._repr_html_()

    def microscope(
        self,
        feeds: Mapping[Any, Any],
        *,
        steps: int = 20,
        path: str | os.PathLike = "microscope.html",
        **settings: Any,
    ) -> str:
        """Train for some steps and write them as one HTML page to look into, node by node.

        See `fastgraph.microscope.microscope` for the settings; the graph is left as it was.
        """
        return microscope(self, feeds, steps=steps, path=path, **settings)

    # Running it ------------------------------------------------------------------------------

    def forward(self, feeds: Mapping[Any, Any]) -> Any:
        """Run every node in order; each keeps its ``value``.

        Parameters:
            feeds: ``{input: array}``, the input itself or its name; rows first, the same number
                in all.

        Returns:
            The output's value; a tuple of them where the graph has several outputs.

        Raises:
            DataError, ShapeError: what is fed does not fit; nothing has run then.
        """
        with self._running():
            arrays = bind(self.inputs, feeds, self.dtype)
            executor = self._executor(self.outputs, arrays)
            self._clear()
            values = executor.forward(arrays)
            for node in self.nodes:
                if not isinstance(node, Parameter):
                    node.value = values[node]
            self._ran = executor
        found = tuple(node.value for node in self.outputs)
        return found[0] if len(found) == 1 else found

    def backward(self, gradient: Any = None, output: Node | None = None) -> None:
        """Run back from the output; each node keeps its ``gradient`` and ``gradients``.

        Parameters:
            gradient: of what is wanted with respect to the output, of the output's shape; left
                out it is 1 in every element, the gradient of the output's sum.
            output: which output to start from, where the graph has several.

        Raises:
            GraphError: ``forward`` has not run, or there are several outputs and none is named.
            ShapeError: ``gradient`` does not have the output's shape.
        """
        with self._running():
            if self._ran is None:
                raise GraphError("backward needs values: call graph.forward(feeds) first")
            output = self._one_output(output)
            shape = output.value.shape
            if gradient is None:
                gradient = np.ones(shape, self.dtype)
            else:
                gradient = np.asarray(gradient)
                if gradient.dtype.kind not in "fiub":
                    raise DataError(f"gradient: expected numbers, got dtype {gradient.dtype}")
                if gradient.shape != shape:
                    raise ShapeError(
                        f"gradient: {output} has shape {shape}, the gradient {gradient.shape}; "
                        "they must be equal"
                    )
            gradients, contributions = self._ran.backward(output, gradient)
            for node in self.nodes:
                node.gradient = gradients.get(node)
                node.gradients = contributions.get(node, {})

    def evaluate(self, node: Any, feeds: Mapping[Any, Any]) -> Any:
        """The value of ``node`` for what is fed, running only what it needs; nothing is kept.

        Parameters:
            node: a node of the graph or its name; or several, which gives a list.
            feeds: as in `forward`; inputs that the node does not need may be left out.
        """
        quick = self._quick.get(node) if isinstance(node, Node) else None
        if quick is not None and not self._lock.locked():
            engine, inputs, call = quick
            if engine == engines.engine() and len(feeds) == len(inputs):
                try:
                    arrays = [feeds[item] for item in inputs]
                except (KeyError, TypeError):
                    pass  # by name, or wrong: the long way tells
                else:
                    return call(*arrays)
        return self._evaluate(node, feeds)

    def _evaluate(self, node: Any, feeds: Mapping[Any, Any]) -> Any:
        several = isinstance(node, (list, tuple))
        nodes = tuple(self._resolve(item) for item in (node if several else (node,)))
        if not nodes:
            return []
        with self._running():
            inputs = self._inputs_of(nodes)
            arrays = bind(inputs, feeds, self.dtype, self.inputs)
            executor = self._executor(nodes, arrays)
            values = executor.evaluate(arrays)
            # A leaf's value is the user's array or the parameter's storage: neither is given away.
            values = [v if n.inputs else v.copy() for n, v in zip(nodes, values, strict=True)]
        if not several and nodes[0].inputs and self._quick_of.get(nodes[0]) is not executor:
            self._quick_of[nodes[0]] = executor  # an answer in many rows comes here each time
            predictor = _Predictor(self, nodes[0])
            self._quick[nodes[0]] = (engines.engine(), inputs, predictor.quick() or predictor)
        return values if several else values[0]

    def compile(self, node: Any) -> Callable[..., np.ndarray]:
        """A quick function of arrays that computes ``node``: for a trained net on a few rows.

        Parameters:
            node: a node of the graph or its name.

        Returns:
            ``predict(*arrays, out=None)``: one array for each input the node needs, in the order
            of ``graph.inputs``, rows first. It gives what `evaluate` gives and follows the
            parameters as they change. An array of the graph's dtype that is contiguous is read
            where it lies, and with ``out`` nothing is allocated.

        Example:
            >>> import numpy as np, fastgraph as fg
            >>> x = fg.Input("x", shape=(2,))
            >>> graph = fg.Graph(fg.Linear(x, [[1.0], [2.0]], 0.5))
            >>> predict = graph.compile(graph.outputs[0])
            >>> predict(np.array([[3.0, 4.0]]))
            array([[11.5]])
        """
        predictor = _Predictor(self, self._resolve(node))
        return predictor.quick() or predictor

    def fit(
        self,
        feeds: Mapping[Any, Any],
        *,
        optimizer: Optimizer,
        epochs: int,
        batch_size: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        output: Node | None = None,
        threads: int = 1,
        progress: bool = False,
        schedule: Schedule | Callable[[int], float] | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        l1: float | Mapping[Any, float] = 0.0,
        l2: float | Mapping[Any, float] = 0.0,
        sample_weight: Any = None,
        validation: Mapping[Any, Any] | None = None,
        early_stopping: EarlyStopping | None = None,
        callbacks: Callable[[Progress], Any] | Every | Iterable | None = None,
        checkpoint: str | os.PathLike | None = None,
        every: float = 1,
    ) -> History:
        """Train the parameters to make the output, a scalar loss, small.

        Parameters:
            feeds: as in `forward`, all rows to train on.
            optimizer: as ``SGD(1e-2)`` or ``Adam()``; it keeps its state between calls, so that
                two runs of 50 epochs are one of 100.
            epochs: passes over all rows, 1 or more.
            batch_size: rows a step, 1 or more; None is the full batch. A short last batch is
                used.
            shuffle: a new order of the rows every epoch, from ``seed`` and the epoch's number.
            seed: 0 or more; the same seed gives the same bits.
            output: which scalar to minimise, where the graph has several outputs.
            threads: 1 or more; the bits do not depend on it.
            progress: show a bar (needs tqdm, extra ``progress``).
            schedule: one of `fastgraph.schedules`, which changes the learning rate as the run goes
                on; or a function from an epoch's number, from 0, to a factor of it.
            clip_norm: the gradient of all parameters together is scaled to this norm at most.
            clip_value: each element of the gradient is kept within ± this, before ``clip_norm``.
            l1, l2: strength of the penalties ``l1·Σ|w|`` and ``½·l2·Σw²`` that are added to the
                loss: a number for all parameters with two axes or more (weight matrices), or
                ``{parameter or name: strength}``.
            sample_weight: (n,) array, 0 or more: how much each row counts in the loss, which must
                be a node such as `MSE`; as ``MSE(y, prediction, sample_weight=w)`` with w fed.
                In ``validation`` all rows count alike.
            validation: feeds as the first ones, of rows that are not trained on; their loss is
                taken after each epoch.
            early_stopping: as ``EarlyStopping(patience=10)``; needs ``validation``.
            callbacks: a function of a `Progress`, or several; called after each epoch, or as an
                `Every` says. One that returns True stops the run.
            checkpoint: a file to which the run is written now and then. If it is there, the run
                goes on from it, and comes to the same bits as one that was never stopped.
            every: epochs between checkpoints, above 0; a part of one, as 0.25, too.

        Returns:
            `History`, with ``history.loss`` of shape (epochs,).

        Raises:
            SettingError, DataError, ShapeError, GraphError: before any parameter changes.
            DivergenceError: a step met NaN or infinity; the parameters of the last finite step
                are kept.
            KeyboardInterrupt: Ctrl-C; the same holds.
        """
        if sample_weight is not None:
            return self._fit_weighted(
                feeds,
                sample_weight,
                output,
                validation,
                optimizer=optimizer,
                epochs=epochs,
                batch_size=batch_size,
                shuffle=shuffle,
                seed=seed,
                threads=threads,
                progress=progress,
                schedule=schedule,
                clip_norm=clip_norm,
                clip_value=clip_value,
                l1=l1,
                l2=l2,
                early_stopping=early_stopping,
                callbacks=callbacks,
                checkpoint=checkpoint,
                every=every,
            )
        with self._running():
            if not isinstance(optimizer, Optimizer):
                hint = "; make one, as SGD(1e-2)" if isinstance(optimizer, type) else ""
                raise SettingError(
                    f"optimizer: expected an Optimizer, got {optimizer!r}{hint}"
                )
            optimizer.check()
            if batch_size is not None:
                batch_size = whole_number("batch_size", batch_size, 1)
            loss = self._one_output(output)
            asked: dict[str, Any] = {
                "optimizer": optimizer,
                "epochs": whole_number("epochs", epochs, 1),
                "batch_size": batch_size,
                "shuffle": flag("shuffle", shuffle),
                "seed": whole_number("seed", seed, 0),
                "threads": whole_number("threads", threads, 1),
                "progress": flag("progress", progress),
                "schedule": as_schedule(schedule),
                "early_stopping": early_stopping,
                "callbacks": as_callbacks(callbacks),
                "checkpoint": None if checkpoint is None else os.fspath(checkpoint),
                "every": number("every", every, above=True),
            }
            _check_together(**asked, validation=validation)
            inputs = self._inputs_of((loss,))
            arrays = bind(inputs, feeds, self.dtype, self.inputs)
            program = self._trainable(loss, arrays)
            asked["regularization"] = regularization(
                program, self.parameters, clip_norm, clip_value, l1, l2
            )
            if isinstance(optimizer, Solver) and (clip_norm or clip_value or l1):
                raise SettingError(
                    f"{type(optimizer).__name__} takes no clip_norm, clip_value or l1: it needs "
                    "the gradient as it is, of a smooth loss; leave them out, or use Adam"
                )
            if validation is not None:
                asked["validation"] = self._validation(loss, inputs, validation, arrays)
            self._clear()
            return train(self, program, arrays, RunSettings(**asked))

    def _fit_weighted(
        self,
        feeds: Mapping[Any, Any],
        sample_weight: Any,
        output: Node | None,
        validation: Mapping[Any, Any] | None,
        **settings: Any,
    ) -> History:
        """`fit` on a twin of the graph: the same nodes, the loss with a sample weight."""
        with self._running():
            loss = self._one_output(output)
            if not isinstance(loss, Loss):
                raise SettingError(
                    f"sample_weight weighs the rows of a loss node, as MSE(y, prediction); the "
                    f"output is {loss}"
                )
            if loss not in self._twins:
                free = "sample_weight" not in self._labels.values()
                weight = Input("sample_weight" if free else None)
                self._twins[loss] = Graph(loss.weighted(weight), dtype=self.dtype), weight
            twin, weight = self._twins[loss]
            if isinstance(feeds, Mapping):
                feeds = {**feeds, weight: sample_weight}
            if isinstance(validation, Mapping):
                rows = next((len(v) for v in map(np.asarray, validation.values()) if v.ndim), 1)
                validation = {**validation, weight: np.ones(rows)}
            self._clear()
            return twin.fit(feeds, validation=validation, **settings)

    @contextmanager
    def _trainer(
        self,
        loss: Node,
        feeds: Mapping[Any, Any],
        *,
        optimizer: Optimizer,
        state: OptimizerState | None,
        l2: float,
        batch_size: int,
        shuffle: bool,
        seed: int,
    ) -> Iterator[tuple[Any, Callable[[], bool]]]:
        """A `Trainer` and what its ``run`` asks whether to stop, for a loop that decides between
        stretches of epochs how to go on; Ctrl-C is raised at the end. The parameters are written
        by ``trainer.store()``, and the state is the caller's to keep."""
        with self._running(), interruptible() as interrupted:
            arrays = bind(self._inputs_of((loss,)), feeds, self.dtype, self.inputs)
            program = self._trainable(loss, arrays)
            fresh = optimizer.state_of(self, program.parameters, program.dtype)
            trainer = engines.current().Trainer(
                program,
                arrays,
                optimizer=optimizer,
                state=state or fresh,
                batch_size=batch_size,
                shuffle=shuffle,
                seed=seed,
                regularization=regularization(program, self.parameters, None, None, 0, l2),
            )
            self._clear()
            yield trainer, interrupted

    def value_and_gradient(
        self, vector: Any, feeds: Mapping[Any, Any] | None = None, output: Node | None = None
    ) -> tuple[float, np.ndarray]:
        """The loss over all rows and its gradient, as a function of all parameters in one vector.

        It is what ``scipy.optimize.minimize`` takes, with ``jac=True`` and ``args=(feeds,)``. The
        graph's own parameters are left as they are.

        Parameters:
            vector: (parameter_count,) numbers, in the order of `vector`.
            feeds: as in `forward`.
            output: which scalar, where the graph has several outputs.

        Returns:
            The loss, and its gradient as a float64 array of the vector's shape.

        Example:
            >>> import numpy as np, fastgraph as fg
            >>> x, k = fg.Input("x"), fg.Parameter(3.0, "k")
            >>> graph = fg.Graph(fg.Mean((x * k) ** 2))
            >>> loss, gradient = graph.value_and_gradient([1.0], {x: [1.0, 2.0]})
            >>> loss, gradient
            (2.5, array([5.]))
        """
        with self._running():
            loss = self._one_output(output)
            arrays = bind(self._inputs_of((loss,)), feeds or {}, self.dtype, self.inputs)
            program = self._trainable(loss, arrays)
            at = _numbers(vector, sum(node.value.size for node in program.parameters))
            return self._executor((loss,), arrays).value_and_gradient(arrays, at)

    def diagnose(
        self,
        feeds: Mapping[Any, Any],
        optimizer: Optimizer | None = None,
        output: Node | None = None,
    ) -> Diagnosis:
        """What is likely to keep this graph from learning from this data; nothing is changed.

        Looked for: inputs and targets that are not scaled, constant features, features that repeat
        one another or are the target (of shape (n,) or (n, 1)), ReLUs that are 0 for every row,
        sigmoids and tanhs at their bounds, shapes of target and prediction that differ, and a
        learning rate that is out of range here.

        Parameters:
            feeds: as in `fit`.
            optimizer: whose learning rate to judge.
            output: which loss, where the graph has several outputs.

        Returns:
            `Diagnosis`: a tuple of findings, each with the number that shows it and the remedy; it
            prints as a report.
        """
        with self._running():
            if optimizer is not None and not isinstance(optimizer, Optimizer):
                raise SettingError(f"optimizer: expected an Optimizer, got {optimizer!r}")
            loss = self._one_output(output)
            arrays = bind(self._inputs_of((loss,)), feeds, self.dtype, self.inputs)
            try:
                program = self._trainable(loss, arrays)
            except ShapeError as error:
                return Diagnosis([shape_finding(error)])
            if optimizer is not None:
                optimizer.check()
            executor = engines.current().Executor(program)
            return diagnose(
                program, arrays, executor.forward, executor.value_and_gradient, optimizer
            )

    # Its parameters --------------------------------------------------------------------------

    @property
    def vector(self) -> np.ndarray:
        """All parameters as one flat array, in the order of `parameters`; no copy.

        What is written into it is written into the parameters, and the other way round. The first
        use moves the parameters into one block of memory; if another graph that shares some of them
        asks for its own vector, they move there, and this one must be asked for again.

        Setting it writes numbers of the same length.
        """
        with self._running():
            return self._vector()

    @vector.setter
    def vector(self, numbers: Any) -> None:
        with self._running():
            self._vector()[...] = _numbers(numbers, self.parameter_count)

    def _vector(self) -> np.ndarray:
        nodes = list(self.parameters.values())
        flat = self._flat
        if flat is None or not all(node._lies_in(flat) for node in nodes):
            flat = self._flat = aligned(self.parameter_count, self.dtype)
            start = 0
            for node in nodes:
                node._move(flat[start : start + node.value.size])
                start += node.value.size
        return flat

    # Files -----------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike) -> None:
        """Write the graph and its parameters to a file, which `fastgraph.load` reads.

        The file holds the structure as JSON and the numbers as arrays, which ``numpy.load`` reads
        too. It is written whole or not at all.

        Raises:
            GraphError: a node of your own does not keep the settings of its constructor.
        """
        with self._running():
            write_graph(path, self.nodes, self.outputs, self.dtype, self._labels)

    # Taking it elsewhere -----------------------------------------------------------------------

    def export_c(
        self,
        prediction: Any,
        path: Any,
        *,
        training: bool = False,
        optimizer: Optimizer | None = None,
        batch_size: int = 1,
        output: Node | None = None,
        scaling: Mapping[Any, Any] | None = None,
        labels: Iterable[Any] | None = None,
        dtype: Any = None,
        name: str | None = None,
    ) -> export.CExport:
        """Write the trained model as one C99 file and its header, for any machine with a compiler.

        The C allocates nothing and needs nothing but ``<math.h>``. Its names begin with the
        file's: ``model_predict(in_x, out)`` in ``model.c`` computes one row.

        Parameters:
            prediction: the node to compute, or its name; one row must not depend on others.
            path: of the file, ending in ``.c``; the header gets the same name with ``.h``.
            training: also write ``model_train_step(in_x, in_y)``, one step of ``optimizer`` on
                ``batch_size`` rows, and ``model_parameters()`` to save what was learned. The
                optimizer goes on from its state for this graph.
            optimizer: SGD, RMSprop, Adam or AdamW, where ``training``.
            batch_size: rows of a training step, 1 or more; scratch memory grows with it.
            output: which scalar to minimise, where the graph has several outputs.
            scaling: ``{input or prediction: (mean, scale)}``, numbers or arrays of one row's
                shape, so that the C takes and gives raw numbers: an input enters as
                ``(raw - mean) / scale``, the prediction leaves as ``value * scale + mean``. With
                ``training`` the targets need theirs as well.
            labels: names of the classes, in the order of the prediction's outputs; two for one
                output, of which the second is where a sigmoid is above 0.5, or any other output
                above 0. They add ``model_classify(in_x)`` and ``model_labels``.
            dtype: ``"float64"`` (double) or ``"float32"`` (float); the graph's, left out.
            name: instead of the file's, for the names in C.

        Returns:
            `CExport`: the files written and their sizes in bytes; print it.

        Raises:
            GraphError: an operation of your own, or one that mixes rows.
            ShapeError: an input's shape is not known; declare it, or run the graph once.
            SettingError, DataError: a setting that is wrong, a number that does not fit in dtype.

        Example:
            >>> import fastgraph as fg
            >>> x = fg.Input("x", shape=(2,))
            >>> price = fg.Linear(x, fg.Parameter([[1.0], [2.0]], "W"), 0.5, name="price")
            >>> print(fg.Graph(price).export_c(price, "model.c"))  # doctest: +ELLIPSIS
            model.c and model.h (double): parameters 16 bytes, constants 8, training 0, ...
        """
        if not isinstance(training, (bool, np.bool_)):
            raise SettingError(f"training must be True or False, got {training!r}")
        node = self._resolve(prediction)
        loss, rows = None, whole_number("batch_size", batch_size, 1)
        if training:
            if not isinstance(optimizer, Optimizer):
                raise SettingError(
                    f"export_c: training needs an optimizer, as SGD(1e-2), got {optimizer!r}"
                )
            optimizer.check()
            loss = self._one_output(output)
        elif optimizer is not None or output is not None or rows != 1:
            raise SettingError(
                "export_c: optimizer, output and batch_size are for training; add training=True"
            )
        with self._running():
            program = self._exported(node, 1)
            _check_rows_apart(program)
            losses = None
            if loss is not None:
                losses = self._exported(loss, rows)
                if losses.shapes[loss].axes != ():
                    raise ShapeError(
                        f"{loss}: training minimises a scalar, got shape {losses.shapes[loss]}"
                    )
                if not losses.parameters:
                    raise GraphError(f"{loss}: nothing to train, the graph has no Parameter")
            state = None
            if losses is not None and optimizer is not None:
                state = optimizer.state_of(self, losses.parameters, self.dtype)
            return export.write_c(
                path,
                program,
                titles=self._labels,
                dtype=self.dtype if dtype is None else _dtype(dtype),
                scaling=self._scaling(scaling, program),
                name=name,
                labels=labels,
                loss=losses,
                optimizer=optimizer,
                state=state,
            )

    def export_onnx(
        self,
        prediction: Any,
        path: Any,
        *,
        scaling: Mapping[Any, Any] | None = None,
        dtype: Any = None,
    ) -> None:
        """Write the trained model as an ONNX file (needs onnx, extra ``onnx``).

        Inputs and output carry the names of their nodes; the batch axis is free.

        Parameters:
            prediction: the node to compute, or its name.
            path: of the file, ending in ``.onnx``.
            scaling, dtype: as in `export_c`.

        Raises:
            GraphError: an operation of your own, or one that ONNX has not.
            ShapeError: an input's shape is not known; declare it, or run the graph once.
            SettingError, DataError: a setting that is wrong, a number that does not fit in dtype.
        """
        node = self._resolve(prediction)
        with self._running():
            program = self._exported(node, 1)
            export.write_onnx(
                path,
                program,
                titles=self._labels,
                dtype=self.dtype if dtype is None else _dtype(dtype),
                scaling=self._scaling(scaling, program),
            )

    def _exported(self, node: Node, rows: int) -> Program:
        """The program that computes ``node`` for ``rows`` rows, to be written down."""
        if not node.inputs:
            raise GraphError(f"{node} is not computed from anything; export a prediction")
        for item in topological_sort(node):
            if item.inputs and item.kernel is None:
                raise GraphError(
                    f"{item} is an operation of your own, in Python; only fastgraph's can be "
                    "exported"
                )
        arrays = {}
        for item in self._inputs_of((node,)):
            features = self._known_features(item)
            if features is None:
                raise ShapeError(
                    f"{item}: the shape of a row is not known; declare it, as "
                    "Input('x', shape=(13,)), or run the graph once"
                )
            arrays[item] = np.zeros((rows, *features), self.dtype)
        return Program.build(self.nodes, (node,), self.dtype, arrays)

    def _known_features(self, item: Input) -> tuple[int, ...] | None:
        """The shape of one row of an input, as last fed or as declared."""
        return self._features.get(item, item.sample_shape)

    def _scaling(self, given: Mapping[Any, Any] | None, prediction: Program) -> Any:
        """Scaling for the prediction and any input of the graph, whether it is exported or not."""
        rows: dict[Node, tuple[int, ...] | None] = {
            item: self._known_features(item) for item in self.inputs
        }
        rows |= {node: prediction.shapes[node].features for node in prediction.outputs}
        return export.resolve_scaling(given, rows, self._labels)

    # Inside ----------------------------------------------------------------------------------

    @contextmanager
    def _running(self) -> Iterator[None]:
        if not self._lock.acquire(blocking=False):
            raise GraphError(
                "this graph is running already (in another thread, or further up this one, in a "
                "node of your own); one graph runs one thing at a time"
            )
        try:
            self._cast()
            yield
        finally:
            self._lock.release()

    def _cast(self) -> None:
        for node in self.nodes:
            if isinstance(node, Parameter):
                node._cast(self.dtype)

    def _clear(self) -> None:
        """Forget values and gradients of an earlier run, so that nothing stale can be read."""
        self._ran = None
        for node in self.nodes:
            if not isinstance(node, Parameter):
                node.value = None
            node.gradient = None
            node.gradients = {}

    @contextmanager
    def _paused(self) -> Iterator[None]:
        """Let a callback use the graph in the middle of a run."""
        self._lock.release()
        try:
            yield
        finally:
            self._lock.acquire()
            self._cast()

    def _trainable(self, loss: Node, arrays: dict) -> Program:
        """The program of a loss that can be minimised, or an error that says why not."""
        program = self._program((loss,), arrays)
        if program.shapes[loss].axes != ():
            raise ShapeError(
                f"{loss}: fit minimises a scalar, got shape {program.shapes[loss]}; "
                "end the graph in a loss, as MSE(y, prediction), or in Mean or Sum"
            )
        if not program.parameters:
            raise GraphError(f"{loss}: nothing to train, the graph has no Parameter")
        return program

    def _validation(
        self, loss: Node, inputs: tuple[Input, ...], feeds: Mapping[Any, Any], trained: dict
    ) -> dict[Input, np.ndarray]:
        """The validation data, bound: of any number of rows, each like those of training."""
        try:
            arrays = bind(inputs, feeds, self.dtype, self.inputs)
        except (DataError, ShapeError) as error:
            raise type(error)(f"validation: {error}") from None
        for node, array in arrays.items():
            if array.shape[1:] != trained[node].shape[1:]:
                raise ShapeError(
                    f"validation: {node} has rows of shape {array.shape[1:]}, in training "
                    f"{trained[node].shape[1:]}; they must be equal"
                )
        self._program((loss,), arrays)
        return arrays

    def _check_member(self, node: Any) -> None:
        if not isinstance(node, Node):
            raise GraphError(f"expected a node or its name, got {type(node).__name__} ({node!r})")
        if node not in self._members:
            raise GraphError(f"{node} is not in this graph; its outputs do not need it")

    def _resolve(self, node: Any) -> Node:
        if isinstance(node, str):
            return self.node(node)
        self._check_member(node)
        return node

    def _one_output(self, output: Node | None) -> Node:
        if output is not None:
            output = self._resolve(output)
            if output not in self.outputs:
                raise GraphError(f"{output} is not an output of this graph")
            return output
        if len(self.outputs) > 1:
            names = ", ".join(self._labels[node] for node in self.outputs)
            raise GraphError(
                f"the graph has several outputs ({names}); name one with output=, or add the "
                "losses to one node"
            )
        return self.outputs[0]

    def _inputs_of(self, nodes: tuple[Node, ...]) -> tuple[Input, ...]:
        if nodes == self.outputs:
            return self.inputs
        if nodes not in self._inputs_by_target:
            needed = set(topological_sort(nodes))
            found = tuple(node for node in self.inputs if node in needed)
            self._inputs_by_target[nodes] = found
        return self._inputs_by_target[nodes]

    def _program(self, outputs: tuple[Node, ...], arrays: dict) -> Program:
        for node, array in arrays.items():
            if array.ndim:
                self._features[node] = array.shape[1:]
        key = (outputs, tuple(a.shape[1:] if a.ndim else None for a in arrays.values()))
        if key not in self._programs:
            self._programs[key] = Program.build(self.nodes, outputs, self.dtype, arrays)
        self._programs[key].check(arrays)
        return self._programs[key]

    def _executor(self, outputs: tuple[Node, ...], arrays: dict) -> Any:
        program = self._program(outputs, arrays)
        key = (engines.engine(), program)
        if key not in self._executors:
            self._executors[key] = engines.current().Executor(program)
        return self._executors[key]


def load(path: str | os.PathLike, nodes: Iterable[type[Node]] = ()) -> Graph:
    """The graph that ``graph.save(path)`` wrote, with its parameters.

    Nothing in the file is run, and no size in it is believed unchecked: a file from anywhere can
    be tried.

    Parameters:
        path: of the file.
        nodes: your own classes of nodes that it needs, as ``[Cube]``.

    Raises:
        DataError: the file is damaged, from a later version, or needs a class that is not given.
        FileNotFoundError: nothing is there.

    Example:
        >>> import fastgraph as fg
        >>> x = fg.Input("x", shape=(2,))
        >>> fg.Graph(fg.Linear(x, fg.Parameter([[1.0], [2.0]], "W"), 0.5, name="out")).save("m.npz")
        >>> graph = fg.load("m.npz")
        >>> graph.evaluate("out", {"x": [[3.0, 4.0]]})
        array([[11.5]])
    """
    outputs, dtype = read_graph(path, nodes)
    try:
        return Graph(outputs, dtype=dtype)
    except FastGraphError as error:
        raise DataError(f"{path}: not a whole fastgraph file ({error})") from error


class _Predictor:
    """What `Graph.compile` gives while the shapes of the inputs are not known: the first call
    tells them."""

    def __init__(self, graph: Graph, node: Node):
        self.graph = graph
        self.node = node
        self.inputs = graph._inputs_of((node,))
        self._call: Callable | None = None

    def quick(self) -> Callable | None:
        """The engine's own call, where the shapes are known."""
        graph, known = self.graph, self.graph._features
        features = [known.get(item, item.sample_shape) for item in self.inputs]
        custom = any(n.inputs and n.kernel is None for n in topological_sort(self.node))
        if None in features or custom or not features:
            return None
        arrays = {
            item: np.zeros((1, *shape), graph.dtype)
            for item, shape in zip(self.inputs, features, strict=True)
        }
        if not self.node.inputs or graph._program((self.node,), arrays).domains:
            return None  # what is fed must be looked at
        return graph._executor((self.node,), arrays).predictor(self.inputs, self.slow)

    def slow(self, arrays: tuple, out: np.ndarray | None = None) -> np.ndarray:
        """The answer for arrays that must be converted or refused, or are large."""
        node, graph = self.node, self.graph
        if len(arrays) != len(self.inputs):
            names = ", ".join(graph.label(item) for item in self.inputs) or "none"
            raise DataError(
                f"{node}: expected {len(self.inputs)} arrays ({names}), got {len(arrays)}"
            )
        result = graph._evaluate(node, dict(zip(self.inputs, arrays, strict=True)))
        if out is None:
            return result
        if not isinstance(out, np.ndarray) or out.shape != result.shape or out.dtype != graph.dtype:
            raise ShapeError(
                f"{node}: out must be an array of {graph.dtype} of shape {result.shape}, got "
                f"{getattr(out, 'dtype', type(out).__name__)} of shape {np.shape(out)}"
            )
        out[...] = result
        return out

    def __call__(self, *arrays: Any, out: np.ndarray | None = None) -> np.ndarray:
        if self._call is not None:
            return self._call(*arrays, out=out)
        result = self.slow(arrays, out)
        self._call = self.quick() or (lambda *given, out=None: self.slow(given, out))
        return result


class Summary(str):
    """The table ``graph.summary()`` gives: a string that prints and shows itself as a table."""

    _HEAD = ("node", "kind", "shape", "parameters", "reads", "runs")

    def __new__(cls, rows: list[tuple[str, ...]], title: str) -> Summary:
        table = [cls._HEAD, *rows]
        widths = [max(len(row[i]) for row in table) for i in range(len(cls._HEAD))]
        lines = [
            "  ".join(
                cell.rjust(width) if i == 3 else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in table
        ]
        lines.insert(1, "  ".join("-" * width for width in widths))
        text = super().__new__(cls, "\n".join([title, *lines]))
        text._rows, text._title = rows, title
        return text

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        def line(tag: str, row: tuple[str, ...]) -> str:
            return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) + "</tr>"

        body = "".join(line("td", row) for row in self._rows)
        head = line("th", self._HEAD)
        return f"<table><caption>{escape(self._title)}</caption>{head}{body}</table>"


def _check_rows_apart(program: Program) -> None:
    """Refuse a prediction in which one row depends on the others of its batch."""
    for node in program.nodes:
        mixes = not program.shapes[node].batched
        if mixes and any(program.shapes[item].batched for item in node.inputs):
            raise GraphError(
                f"{node} makes one value of the whole batch, and the C function sees one row; "
                "export the prediction, not the loss"
            )


def _runner(node: Node) -> str:
    if not node.inputs and isinstance(node, (Input, Parameter, Constant)):
        return "data"
    if node.kernel is None:
        return "python"
    return engines.engine()


def _check_together(
    optimizer: Optimizer,
    batch_size: int | None,
    schedule: Schedule | None,
    validation: Any,
    early_stopping: Any,
    checkpoint: str | None,
    every: float,
    **others: Any,
) -> None:
    """Raise a `SettingError` where settings of ``fit`` do not go together."""
    if early_stopping is not None:
        if not isinstance(early_stopping, EarlyStopping):
            raise SettingError(
                "early_stopping: expected an EarlyStopping, as EarlyStopping(patience=10), got "
                f"{early_stopping!r}"
            )
        if early_stopping.monitor == "validation_loss" and validation is None:
            raise SettingError(
                "early_stopping: it watches the validation loss and there is no validation; feed "
                "some, as validation={x: X_val, y: y_val}, or watch the training loss, with "
                "EarlyStopping(…, monitor='loss')"
            )
    if checkpoint is None and every != 1:
        raise SettingError(
            "every: it counts epochs between checkpoints; name a file, as checkpoint='run.npz'"
        )
    directory = os.path.dirname(checkpoint or "")
    if directory and not os.path.isdir(directory):
        raise SettingError(f"checkpoint: there is no directory {directory!r}")
    if isinstance(optimizer, Solver):
        name = type(optimizer).__name__
        given = {"batch_size": batch_size, "schedule": schedule, "checkpoint": checkpoint}
        for setting, value in given.items():
            if value is not None:
                raise SettingError(
                    f"{name} takes no {setting}: it looks at all rows at once and runs a loop of "
                    "its own; leave it out, or use Adam"
                )


def _numbers(vector: Any, size: int) -> np.ndarray:
    """A flat vector of so many finite numbers, or a `DataError`."""
    try:
        array = np.asarray(vector)
    except (ValueError, TypeError) as error:
        raise DataError(f"vector: expected numbers ({error})") from None
    if array.dtype.kind not in "fiub":
        raise DataError(f"vector: expected numbers, got dtype {array.dtype}")
    if array.shape != (size,):
        raise ShapeError(
            f"vector: expected shape ({size},), one number a parameter, got {array.shape}"
        )
    if not np.isfinite(array).all():
        raise DataError("vector: it has NaN or infinite elements")
    return array


def _dtype(dtype: Any) -> np.dtype:
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or found.name not in _DTYPES:
        raise SettingError(unknown("dtype", dtype, _DTYPES))
    return np.dtype(found.name)


def _labels(nodes: tuple[Node, ...]) -> dict[Node, str]:
    """A label for every node, unique: its own name, or its kind and a number."""
    taken: dict[str, Node] = {}
    for node in nodes:
        if node.name is None:
            continue
        other = taken.setdefault(node.name, node)
        if other is not node:
            raise GraphError(
                f"two nodes are called {node.name!r}: {other.kind} and {node.kind}; "
                "give each its own name"
            )
    labels: dict[Node, str] = {}
    counts: dict[str, int] = {}
    for node in nodes:
        label = node.name
        while label is None or (node.name is None and label in taken):
            kind = node.kind.lower()
            counts[kind] = counts.get(kind, 0) + 1
            label = f"{kind}_{counts[kind]}"
        labels[node] = label
    return labels
