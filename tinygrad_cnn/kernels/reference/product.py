"""Matrix products that leave BLAS's threads asleep unless they are worth waking."""

from __future__ import annotations

import numpy as np

from .. import threads
from .layout import Array

__all__ = ["matmul"]

WORTH_WAKING = (
    1 << 27
)  # multiplications: about 2 ms on one thread; the spinning afterwards costs some 25


def matmul(a: Array, b: Array) -> Array:
    """Return ``numpy.matmul(a, b)``, on one thread if the product is small.

    In a training step, the layers' own small products would otherwise wake OpenBLAS's threads,
    whose spinning then takes a processor from the kernels that follow (see `threads`).

    >>> matmul(np.ones((2, 3)), np.ones(3))
    array([3., 3.])
    """
    columns = b.shape[-1] if b.ndim > 1 else 1
    rows = a.shape[-2] if a.ndim > 1 else 1
    if max(a.size * columns, b.size * rows) >= WORTH_WAKING:
        return np.asarray(np.matmul(a, b))
    with threads.one_blas_thread():
        return np.asarray(np.matmul(a, b))
