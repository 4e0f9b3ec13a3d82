"""Sums of weighted places along one axis: windows, averages and interpolation are such sums.

What is done to several axes is done to one after the other.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, ErrorSample, Sample
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from tinygrad_cnn.tensor import Tensor

LONG = 64  # terms: longer sums are added in float64


def _apply(matrix: csr_array, x: Array, dim: int) -> Array:
    """``matrix`` (rows, n) times ``x``, whose axis ``dim`` has n elements."""
    from scipy import sparse

    rows, n = matrix.shape
    shape = (*x.shape[:dim], rows, *x.shape[dim + 1 :])
    lead, tail = math.prod(x.shape[:dim]), math.prod(x.shape[dim + 1 :])
    if not lead * tail:
        return np.zeros(shape, x.dtype)
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


def _matrix(index: Array, weight: Array, size: int) -> csr_array:
    """The matrix (rows, size) with ``weight`` (rows, terms) at the columns ``index``."""
    from scipy import sparse

    used = weight != 0
    indptr = np.concatenate(([0], np.cumsum(used.sum(1))))
    return sparse.csr_array((weight[used], index[used], indptr), (len(index), size))


def _terms(draw: Draw) -> tuple[tuple[int, ...], int, Array, Array]:
    shape = draw.shape(min_dims=1, min_side=1)
    dim = draw.integer(0, len(shape) - 1)
    rows, terms = draw.integer(1, 4), draw.integer(1, 3)
    places = [draw.integer(0, shape[dim] - 1) for _ in range(rows * terms)]
    return shape, dim, np.reshape(places, (rows, terms)), draw.array((rows, terms))


def _resample_samples(draw: Draw) -> Sample:
    shape, dim, index, weight = _terms(draw)
    return Sample((draw.array(shape),), {"index": index, "weight": weight, "dim": dim})


def _resample_rule(
    g: Tensor, index: Array, weight: Array, dim: int, shapes: tuple[tuple[int, ...], ...]
) -> Tensor:
    return spread(g, index=index, weight=weight, dim=dim, size=shapes[0][dim])


@op(
    vjp=_resample_rule,
    ignore_fp_errors=True,
    samples=_resample_samples,
    errors=(
        ErrorSample(
            (np.zeros(3),),
            {"index": np.full((1, 1), 3), "weight": np.ones((1, 1)), "dim": 0},
            ValueError,
            "resample: `index`",
        ),
    ),
)
def resample(x: Array, *, index: Array, weight: Array, dim: int) -> Array:
    """``out[i] = sum_k weight[i, k] * x[index[i, k]]`` along ``dim``; weights of 0 read nothing."""
    if index.size and not 0 <= index.min() <= index.max() < x.shape[dim]:
        raise ShapeError(
            f"resample: `index` holds {index.min()} to {index.max()}, but axis {dim} of "
            f"{x.shape} has {x.shape[dim]} places"
        )
    return _apply(_matrix(index, weight, x.shape[dim]), x, dim)


def _spread_samples(draw: Draw) -> Sample:
    shape, dim, index, weight = _terms(draw)
    params = {"index": index, "weight": weight, "dim": dim, "size": shape[dim]}
    return Sample((draw.array((*shape[:dim], len(index), *shape[dim + 1 :])),), params)


@op(
    vjp=lambda g, index, weight, dim: resample(g, index=index, weight=weight, dim=dim),
    ignore_fp_errors=True,
    samples=_spread_samples,
)
def spread(x: Array, *, index: Array, weight: Array, dim: int, size: int) -> Array:
    """The adjoint of `resample`: ``out[index[i, k]] += weight[i, k] * x[i]``, ``size`` places."""
    return _apply(_matrix(index, weight, size).T.tocsr(), x, dim)
