"""Matrix products. Weights are ``(in, out)``; the rows of the batch are the rows of the product."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ShapeError
from ..node import Node, Shape
from .broadcasting import same_rows, sum_to

__all__ = ["Linear", "MatMul"]


def _matmul_gradients(gradient, a, b):
    """Gradients of ``a @ b`` for both; vectors are matrices with one row or column."""
    rows = a[None, :] if a.ndim == 1 else a
    columns = b[:, None] if b.ndim == 1 else b
    if a.ndim == 1:
        gradient = np.expand_dims(gradient, -1 if b.ndim == 1 else -2)
    if b.ndim == 1:
        gradient = np.expand_dims(gradient, -1)
    to_a = gradient @ np.swapaxes(columns, -1, -2)
    to_b = np.swapaxes(rows, -1, -2) @ gradient
    return sum_to(to_a, rows.shape).reshape(a.shape), sum_to(to_b, columns.shape).reshape(b.shape)


class MatMul(Node, operator="@"):
    """``a @ b``: the matrix product, as ``numpy.matmul``, one product a row of the batch.

    ``(n, k) @ (k, m)`` is (n, m); ``(n, k) @ (k,)`` is (n,); ``(n, p, k) @ (n, k, m)`` is
    (n, p, m); without a batch ``(p, k) @ (k, m)`` is (p, m). Gradient: g·bᵀ and aᵀ·g.

    Raises:
        ShapeError: the inner sizes differ, or the product would mix rows of the batch.
    """

    kernel = "matmul"
    gradient_reads = {0: (1,), 1: (0,)}

    def __init__(self, a: Any, b: Any, name: str | None = None):
        super().__init__(a, b, name=name)

    def shape(self, a: Shape, b: Shape) -> Shape:
        rows = same_rows(self, a, b)

        def refuse(why: str) -> ShapeError:
            return ShapeError(f"{self}: cannot multiply {a} by {b}: {why}")

        if not a.features or not b.features:
            raise refuse("a matrix product needs at least one axis beside the batch on each side")
        if a.batched and b.batched:
            if len(a.features) < 2 or len(a.features) != len(b.features):
                raise refuse("two batches multiply row by row, so each row must be a matrix")
            if a.features[:-2] != b.features[:-2]:
                raise refuse("the axes before the matrices differ")
        elif b.batched and len(b.features) < 2:
            raise refuse("the product would run over the batch axis; write x @ W, with x the batch")
        elif not b.batched and len(b.features) > 2:
            raise refuse("the right side has at most two axes")
        elif not a.batched and len(a.features) > 2:
            raise refuse("the left side has at most two axes")
        inner = b.features[0] if len(b.features) == 1 else b.features[-2]
        if a.features[-1] != inner:
            raise refuse(f"the inner sizes {a.features[-1]} and {inner} differ")
        before = b.features[:-2] if not a.batched else a.features[:-2]
        left = a.features[-2:-1] if len(a.features) > 1 else ()
        right = b.features[-1:] if len(b.features) > 1 else ()
        return Shape(rows, before + left + right)

    def forward(self, a, b):
        return np.matmul(a, b)

    def backward(self, gradient, a, b):
        return _matmul_gradients(gradient, a, b)


class Linear(Node):
    """``x @ W + b``: the affine map of a layer, or ``W * x + b`` for a scalar W.

    Parameters:
        x: node of shape (n, …, in).
        W: weights without a batch axis: (in, out); or (in,) for one output without an axis of its
            own; or () for the line ``k * x + b``, where x is (n,) or (n, …).
        b: bias without a batch axis: (out,) or (1, out), or one number; None for no bias.

    Gradient: g·Wᵀ to x, xᵀ·g to W, and g summed over the rows to b.

    Raises:
        ShapeError: the sizes do not fit, or W or b has a batch axis.
    """

    kernel = "linear"
    gradient_reads = {0: (1,), 1: (0,), 2: ()}

    def __init__(self, x: Any, W: Any, b: Any = None, name: str | None = None):
        super().__init__(x, W, *(() if b is None else (b,)), name=name)

    def shape(self, x: Shape, W: Shape, b: Shape | None = None) -> Shape:
        named = dict(zip(("x", "W", "b"), (x, W, b), strict=True))
        sizes = ", ".join(f"{key} has shape {shape}" for key, shape in named.items() if shape)
        if W.batched or (b is not None and b.batched):
            raise ShapeError(
                f"{self}: {sizes}; W and b have no batch axis: make them from parameters"
            )
        if not W.features:
            out = x
        elif len(W.features) > 2:
            raise ShapeError(f"{self}: {sizes}; W has at most two axes, (in, out)")
        elif not x.features or x.features[-1] != W.features[0]:
            got = x.features[-1] if x.features else "no feature axis"
            raise ShapeError(
                f"{self}: {sizes}; W expects {W.features[0]} features in the last axis of x, "
                f"got {got}"
            )
        else:
            out = Shape(x.rows, x.features[:-1] + W.features[1:])
        if b is not None:
            want = W.features[1:]
            ones = len(out.axes) - len(want)  # that a bias may have before, as (1, out) has
            alone = all(size == 1 for size in b.features)
            fits = b.features in [(1,) * count + want for count in range(ones + 1)]
            if not (fits or (alone and len(b.features) <= len(out.axes))):
                wanted = f"{Shape(None, want)} or ()" if want else "()"
                raise ShapeError(f"{self}: {sizes}; b must have shape {wanted}")
        return out

    def forward(self, x, W, b=None):
        product = W * x if W.ndim == 0 else x @ W
        return product if b is None else product + b

    def backward(self, gradient, x, W, b=None):
        if W.ndim == 0:
            to_x, to_W = gradient * W, np.sum(gradient * x)
        else:
            to_x, to_W = _matmul_gradients(gradient, x, W)
        return (to_x, to_W) if b is None else (to_x, to_W, sum_to(gradient, b.shape))
