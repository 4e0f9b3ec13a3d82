"""Sums of weighted places along an axis, as products with a sparse matrix."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_array

LONG = 64  # terms: longer sums are added in float64


def _matrix(index: Array, weight: Array, size: int) -> csr_array:
    """Return the matrix (rows, size) with `weight` (rows, terms) at the columns `index`."""
    from scipy import sparse

    used = weight != 0
    indptr = np.concatenate(([0], np.cumsum(used.sum(1))))
    return sparse.csr_array((weight[used], index[used], indptr), (len(index), size))


def resample(x: Array, index: Array, weight: Array, dim: int) -> Array:
    """Return ``out[i] = sum_k weight[i, k] * x[index[i, k]]`` along `dim`; weights of 0 read
    nothing.

    >>> resample(np.array([1.0, 3.0]), np.array([[0, 1]]), np.array([[0.5, 0.5]]), 0)
    array([2.])
    """
    from scipy import sparse

    rows, n = len(index), x.shape[dim]
    shape = (*x.shape[:dim], rows, *x.shape[dim + 1 :])
    lead, tail = math.prod(x.shape[:dim]), math.prod(x.shape[dim + 1 :])
    if not lead * tail:
        return np.zeros(shape, x.dtype)
    matrix = _matrix(index, weight, n)
    terms = int(np.diff(matrix.indptr).max(initial=0))
    wide = np.result_type(x.dtype, np.float64 if terms > LONG else np.float32)
    if x.dtype.kind in "biu":
        wide = x.dtype
    matrix = matrix.astype(wide)
    if lead > 1 and tail < 8:  # long columns: the axis goes to the front
        front = np.moveaxis(x, dim, 0)
        out = matrix @ front.reshape(n, lead * tail).astype(wide, copy=False)
        out = np.moveaxis(out.reshape(rows, *front.shape[1:]), 0, dim)
    else:
        if lead > 1:  # one block for each index of the axes before
            blocks = np.arange(lead)[:, None]
            indices = (matrix.indices + blocks * n).ravel()
            counts = np.tile(np.diff(matrix.indptr), lead)
            indptr = np.concatenate(([0], np.cumsum(counts)))
            data = np.tile(matrix.data, lead)
            matrix = sparse.csr_array((data, indices, indptr), (lead * rows, lead * n))
        out = matrix @ x.reshape(lead * n, tail).astype(wide, copy=False)
    return np.ascontiguousarray(out.reshape(shape), x.dtype)
