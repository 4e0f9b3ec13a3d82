"""Matrix products that leave BLAS's threads asleep unless they are worth waking."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tinygrad_cnn.kernels import threads
from tinygrad_cnn.kernels.memory import empty
from tinygrad_cnn.kernels.reference.sums import sum
from tinygrad_cnn.types import Array

WORTH_WAKING = (
    1 << 27
)  # multiplications: about 2 ms on one thread; the spinning afterwards costs some 25
WORTH_A_CALL = 1 << 15  # multiplications of one of many products
LONG = 1 << 16  # numbers of a sum; BLAS adds the products of some hundred, then these sums


def matmul(a: Array, b: Array) -> Array:
    """Return ``numpy.matmul(a, b)``, on one thread if the product is small.

    In a training step, the layers' own small products would otherwise wake OpenBLAS's threads,
    whose spinning then takes a processor from the kernels that follow (see `threads`).

    The products of `LONG` numbers are added by BLAS in their own precision, then in float64; of
    float16 numbers in float32.

    >>> matmul(np.ones((2, 3)), np.ones(3))
    array([3., 3.])
    """
    if a.dtype == b.dtype == np.float16:
        return matmul(a.astype(np.float32), b.astype(np.float32)).astype(np.float16)
    if a.ndim and a.shape[-1] > LONG and a.dtype == b.dtype == np.float32:
        return in_pieces(matmul, a, b)
    if a.ndim == b.ndim == 2 and a.shape[1] == b.shape[0] == 1:  # for which BLAS is slow
        return np.multiply(a, b)
    columns = b.shape[-1] if b.ndim > 1 else 1
    rows = a.shape[-2] if a.ndim > 1 else 1
    if max(a.size * columns, b.size * rows) >= WORTH_WAKING:
        if a.ndim == b.ndim > 2 and a.shape[:-2] == b.shape[:-2] and a.dtype == b.dtype:
            return _one_by_one(a, b)
        return np.asarray(np.matmul(a, b))
    return threads.one_blas_thread(lambda: np.asarray(np.matmul(a, b)))


def _one_by_one(a: Array, b: Array) -> Array:
    """Return the products of many matrices, whole ones on each thread: within one of them BLAS's
    threads would mostly wait for each other.
    """
    *lead, rows, depth = a.shape
    columns = b.shape[-1]
    if rows * depth * columns < WORTH_A_CALL or depth != b.shape[-2]:
        return np.asarray(np.matmul(a, b))
    out = empty((*lead, rows, columns), a.dtype)

    def multiply(places: Sequence[tuple[int, ...]]) -> None:
        for at in places:
            np.matmul(a[at], b[at], out=out[at])

    threads.split(list(np.ndindex(*lead)), multiply, a.nbytes + b.nbytes + out.nbytes)
    return out


def in_pieces(product: Callable[[Array, Array], Array], a: Array, b: Array) -> Array:
    """Return the float32 product of a and b, taken over `LONG` numbers at a time."""
    total: Array | float = 0.0
    for first in range(0, a.shape[-1], LONG):
        piece = slice(first, first + LONG)
        right = b[piece] if b.ndim == 1 else b[..., piece, :]
        total = total + product(a[..., piece], right).astype(np.float64)
    return np.asarray(total, np.float32)


def linear(x: Array, w: Array, bias: Array | None = None) -> Array:
    """Return x (n, k) times w (m, k) transposed, plus bias (m,): (n, m).

    >>> linear(np.ones((2, 3)), np.ones((1, 3)), np.ones(1))
    array([[4.],
           [4.]])
    """
    out = matmul(x, w.T)
    if bias is not None:
        out += bias
    return out


def linear_backward(
    g: Array, x: Array | None, w: Array | None, needs: tuple[bool, bool, bool]
) -> tuple[Array | None, Array | None, Array | None]:
    """Return the gradients of `linear` in x, w and bias that it `needs`, None for the others.

    g is (n, m); x may be None where w needs none, and w where x does not.

    >>> linear_backward(np.ones((2, 1)), np.ones((2, 3)), None, (False, True, False))[1]
    array([[2., 2., 2.]])
    """
    gx = matmul(g, w) if needs[0] and w is not None else None
    gw = matmul(g.T, x) if needs[1] and x is not None else None
    return gx, gw, sum(g, (0,)) if needs[2] else None
