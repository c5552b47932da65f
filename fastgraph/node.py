"""Nodes: what a graph is made of.

`Node` is the base of every operation, also of a user's own. This file knows nothing about graphs,
engines or particular operations; operators such as ``+`` find their operation by the name it
registers (see ``Node.__init_subclass__``), so imports keep running one way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .errors import DataError, GraphError, ShapeError

__all__ = ["Constant", "Domain", "Input", "Node", "Parameter", "Shape", "aligned", "as_node"]


class Shape(NamedTuple):
    """The shape of a node: its rows (the batch axis) and the shape of one row.

    ``rows`` is None for what has no batch axis (parameters, constants, a loss), a number where
    it is known, and ``"n"`` where it is not known yet.
    """

    rows: int | str | None
    features: tuple[int, ...]

    @property
    def batched(self) -> bool:
        return self.rows is not None

    @property
    def axes(self) -> tuple:
        """The whole shape as NumPy counts it: the rows first."""
        return self.features if self.rows is None else (self.rows, *self.features)

    def __str__(self) -> str:
        return "(" + ", ".join(map(str, self.axes)) + ("," if len(self.axes) == 1 else "") + ")"


class Domain(NamedTuple):
    """What an operation accepts from an input that is fed: ``low`` to ``high``, both included.

    ``what`` says what the numbers are, as ``"class labels"``. Whole numbers are labels: they are
    fed as they are, and no gradient flows to them.
    """

    what: str
    low: float
    high: float = math.inf
    whole: bool = False


class Node:
    """One operation of a graph: its inputs, its value, and how it passes gradients back.

    Subclass it for an operation of your own: `forward` computes the value from the values of the
    inputs, `backward` returns the gradient with respect to each of them. Both work on NumPy
    arrays, run in either engine, and `fastgraph.check_gradients` tells whether they agree.

    Parameters:
        *inputs: nodes, numbers or arrays (the latter two become `Constant`).
        name: shown in errors, summaries and pictures; left out, the graph makes one up.

    Attributes:
        inputs: tuple of nodes this one reads.
        value: the result of the last ``graph.forward`` (None before it).
        gradient: of the graph's output with respect to this node, after ``graph.backward``.
        gradients: ``{input: contribution of this node to that input's gradient}``.

    Example:
        >>> import numpy as np, fastgraph as fg
        >>> class Cube(fg.Node):
        ...     def forward(self, x):
        ...         return x**3
        ...     def backward(self, gradient, x):
        ...         return (3 * x**2 * gradient,)
        >>> x = fg.Input("x")
        >>> graph = fg.Graph(fg.Sum(Cube(x)))
        >>> float(graph.forward({x: [1.0, 2.0]}))
        9.0
    """

    #: Name of the pair of native kernels; None for operations that exist in Python alone.
    kernel: ClassVar[str | None] = None
    #: Which inputs' values (by position) the gradient of each input reads; None: all of them.
    gradient_reads: ClassVar[dict[int, tuple[int, ...]] | None] = None
    #: Settings of an operation that its native kernel takes, as a slope.
    numbers: tuple[float, ...] = ()
    #: Operation class by operator symbol, filled by the subclasses that name one.
    _operators: ClassVar[dict[str, type[Node]]] = {}

    # A NumPy array on the left of an operator leaves the operation to the node.
    __array_ufunc__ = None

    def __init_subclass__(cls, operator: str | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if operator is not None:
            Node._operators[operator] = cls
        # A subclass that computes something else is not what its base's kernels compute.
        if {"forward", "backward", "losses", "slopes"} & vars(cls).keys() and "kernel" not in vars(
            cls
        ):
            cls.kernel = None

    def __init__(self, *inputs: Any, name: str | None = None) -> None:
        if name is not None and not isinstance(name, str):
            raise GraphError(f"{self.kind}: a name is a string, got {type(name).__name__}")
        self.inputs: tuple[Node, ...] = tuple(
            item if isinstance(item, Node) else as_node(item, self.kind) for item in inputs
        )
        self.name = name
        self.value: np.ndarray | None = None
        self.gradient: np.ndarray | None = None
        self.gradients: dict[Node, np.ndarray] = {}

    # What an operation defines ---------------------------------------------------------------

    def forward(self, *values: np.ndarray) -> np.ndarray:
        """The node's value from the values of its inputs."""
        raise GraphError(f"{self.kind} defines no forward(self, *values)")

    def backward(self, gradient: np.ndarray, *values: np.ndarray) -> tuple:
        """The gradient with respect to each input, from the gradient of this node's value.

        Returns one array per input, of that input's shape; None where there is none.
        """
        raise GraphError(f"{self.kind} defines no backward(self, gradient, *values)")

    def shape(self, *shapes: Shape) -> Shape | None:
        """The shape of the value from the shapes of the inputs.

        None, as here: it is found by running `forward` once on the first two rows.
        """
        return None

    def domains(self, *shapes: Shape) -> dict[int, Domain]:
        """What may be fed to the inputs, by position, where not every number may."""
        return {}

    # What every node offers ------------------------------------------------------------------

    @property
    def kind(self) -> str:
        """The name of the operation, as in ``"Linear"``."""
        return type(self).__name__

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}" if self.name else self.kind

    def __repr__(self) -> str:
        return f"<{self}>"

    def _apply(self, symbol: str, *operands: Any) -> Node:
        return Node._operators[symbol](*operands)

    def __add__(self, other: Any) -> Node:
        return self._apply("+", self, other)

    def __radd__(self, other: Any) -> Node:
        return self._apply("+", other, self)

    def __sub__(self, other: Any) -> Node:
        return self._apply("-", self, other)

    def __rsub__(self, other: Any) -> Node:
        return self._apply("-", other, self)

    def __mul__(self, other: Any) -> Node:
        return self._apply("*", self, other)

    def __rmul__(self, other: Any) -> Node:
        return self._apply("*", other, self)

    def __truediv__(self, other: Any) -> Node:
        return self._apply("/", self, other)

    def __rtruediv__(self, other: Any) -> Node:
        return self._apply("/", other, self)

    def __pow__(self, other: Any) -> Node:
        return self._apply("**", self, other)

    def __rpow__(self, other: Any) -> Node:
        return self._apply("**", other, self)

    def __matmul__(self, other: Any) -> Node:
        return self._apply("@", self, other)

    def __rmatmul__(self, other: Any) -> Node:
        return self._apply("@", other, self)

    def __neg__(self) -> Node:
        return self._apply("negate", self)

    def __abs__(self) -> Node:
        return self._apply("abs", self)

    def __pos__(self) -> Node:
        return self

    def __bool__(self) -> bool:
        return True

    def __iter__(self):
        raise GraphError(f"{self} is a node, not a sequence; its value is in node.value")


class Input(Node):
    """Data fed at run time: an array whose first axis is the batch (the rows).

    Parameters:
        name: by which it can be fed as well, ``graph.forward({"x": X})``.
        shape: the shape of one sample, as ``(13,)`` or ``()``; left out, it is taken from what
            is fed. A single number fed is shared by all rows.
    """

    def __init__(self, name: str | None = None, shape: tuple[int, ...] | int | None = None):
        super().__init__(name=name)
        if isinstance(shape, (int, np.integer)):
            shape = (shape,)
        if shape is not None:
            sizes = tuple(shape) if isinstance(shape, Iterable) else (shape,)
            if not all(isinstance(n, (int, np.integer)) and n >= 0 for n in sizes):
                raise ShapeError(
                    f"{self}: shape is one sample's, a tuple of sizes as in (13,), got {shape}"
                )
            shape = tuple(int(n) for n in sizes)
        self.sample_shape: tuple[int, ...] | None = shape


def check_numeric(where: str, array: np.ndarray) -> None:
    """Raise a `DataError` where an array is not of real numbers."""
    if array.dtype.kind not in "fiub":
        raise DataError(
            f"{where}: expected numbers, got dtype {array.dtype}; convert it, as with "
            "np.asarray(values, dtype=float)"
        )


def _numeric(where: str, value: Any) -> np.ndarray:
    """A float array of ``value`` (float32 stays float32), or a `DataError` that says where."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{where}: expected numbers, got {type(value).__name__} ({error})"
        ) from None
    check_numeric(where, array)
    if not np.isfinite(array).all():
        raise DataError(f"{where}: the value has NaN or infinite elements")
    return array


def aligned(size: int, dtype: np.dtype) -> np.ndarray:
    """Zeros in native byte order, 64-byte aligned."""
    raw = np.zeros(size * dtype.itemsize + 128, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size * dtype.itemsize].view(dtype)


def _aligned(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A C-contiguous copy of ``array`` in ``dtype``, 64-byte aligned."""
    copy = aligned(array.size, dtype).reshape(array.shape)
    copy[...] = array
    return copy


class Parameter(Node):
    """A trained array: ``fit`` changes its value.

    Parameters:
        value: number or array of finite numbers; it is copied.
        name: by which ``graph.parameters`` finds it.
        trained: False for an array that no optimizer changes: frozen weights, running statistics.
            It is no item of ``graph.parameters``.

    The value keeps its shape for good; ``parameter.value = new`` and ``parameter.value[...] =
    new`` both write into it. A graph casts its parameters to its own dtype.
    """

    #: How often a value of any parameter has moved in memory; who holds addresses looks here.
    _moves: ClassVar[list[int]] = [0]

    def __init__(self, value: Any, name: str | None = None, trained: bool = True):
        self._storage: np.ndarray | None = None
        self._trained = bool(trained)
        super().__init__(name=name)
        array = _numeric(str(self), value)
        if array.size == 0:
            raise ShapeError(
                f"{self}: a parameter has at least one element, got shape {array.shape}"
            )
        self._storage = _aligned(array, np.dtype(np.float64))

    @property
    def trained(self) -> bool:
        """Whether an optimizer changes it."""
        return self._trained

    @property
    def value(self) -> np.ndarray:
        return self._storage

    @value.setter
    def value(self, new: Any) -> None:
        if self._storage is None:  # Node.__init__ assigns None before there is a value
            return
        array = _numeric(str(self), new)
        if array.shape != self._storage.shape:
            raise ShapeError(
                f"{self}: the value has shape {self._storage.shape}, the new one {array.shape}; "
                "a parameter keeps its shape"
            )
        self._storage[...] = array

    def _cast(self, dtype: np.dtype) -> None:
        """Keep the value in ``dtype`` from now on."""
        if self._storage.dtype != dtype:
            self._storage = _aligned(self._storage, dtype)
            Parameter._moves[0] += 1

    def _move(self, to: np.ndarray) -> None:
        """Keep the value in ``to`` from now on, a flat array of its size and dtype."""
        to[...] = self._storage.ravel()
        self._storage = to.reshape(self._storage.shape)
        Parameter._moves[0] += 1

    def _lies_in(self, flat: np.ndarray) -> bool:
        """Whether the value was moved into a part of ``flat`` and has stayed there."""
        return np.may_share_memory(self._storage, flat)


class Constant(Node):
    """A number or array that never changes; broadcasts over the batch as parameters do."""

    def __init__(self, value: Any, name: str | None = None):
        super().__init__(name=name)
        array = _numeric(str(self), value)
        self.constant = np.array(array, dtype=np.float64)
        self.constant.flags.writeable = False


def as_node(value: Any, where: str = "an operand") -> Node:
    """``value`` itself when it is a node, else a `Constant` of it."""
    if isinstance(value, Node):
        return value
    if isinstance(value, type) and issubclass(value, Node):
        raise GraphError(
            f"{where}: got the class {value.__name__}; pass a node, as {value.__name__}(…)"
        )
    return Constant(value)
