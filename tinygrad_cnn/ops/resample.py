"""Sums of weighted places along one axis: windows, averages and interpolation are such sums.

What is done to several axes is done to one after the other; only where each place of the result is
one place (borders, the nearest pixels), `take_mesh` does it at once.
"""

# A rule names operations that stand below it, whose types mypy does not know yet at that place.
# mypy: disable-error-code="has-type"

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, ErrorSample, Sample
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.ops import forms
from tinygrad_cnn.types import Array, Shapes

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


def _transposed(index: Array, weight: Array, size: int) -> tuple[Array, Array]:
    """The table of the adjoint: for each of ``size`` places who reads it, and with which weight."""
    used = weight != 0
    places, rows = index[used], np.nonzero(used)[0]
    order = np.argsort(places, kind="stable")
    places, rows = places[order], rows[order]
    counts = np.bincount(places, minlength=size)
    nth = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
    readers = np.zeros((size, max(1, counts.max(initial=0))), np.int64)
    weights = np.zeros(readers.shape)
    readers[places, nth], weights[places, nth] = rows, weight[used][order]
    return readers, weights


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
    onnx=forms.resample,
)
def resample(x: Array, *, index: Array, weight: Array, dim: int) -> Array:
    """``out[i] = sum_k weight[i, k] * x[index[i, k]]`` along ``dim``; weights of 0 read nothing."""
    if index.size and not 0 <= index.min() <= index.max() < x.shape[dim]:
        raise ShapeError(
            f"resample: `index` holds {index.min()} to {index.max()}, but axis {dim} of "
            f"{x.shape} has {x.shape[dim]} places"
        )
    return kernels.resample(x, index, weight, dim)


def _spread_samples(draw: Draw) -> Sample:
    shape, dim, index, weight = _terms(draw)
    params = {"index": index, "weight": weight, "dim": dim, "size": shape[dim]}
    return Sample((draw.array((*shape[:dim], len(index), *shape[dim + 1 :])),), params)


@op(
    vjp=lambda g, index, weight, dim: resample(g, index=index, weight=weight, dim=dim),
    ignore_fp_errors=True,
    samples=_spread_samples,
    onnx=forms.spread,
)
def spread(x: Array, *, index: Array, weight: Array, dim: int, size: int) -> Array:
    """The adjoint of `resample`: ``out[index[i, k]] += weight[i, k] * x[i]``, ``size`` places."""
    return kernels.resample(x, *_transposed(index, weight, size), dim)


# ---- where places on several axes cross ----------------------------------------------------


def _mesh_samples(draw: Draw) -> Sample:
    shape = draw.shape(min_dims=1, min_side=1)
    axes = shape[draw.integer(0, len(shape) - 1) :]
    counts = [draw.integer(1, 4) for _ in axes]
    places = tuple(
        np.array([draw.integer(0, n - 1) for _ in range(count)])
        for n, count in zip(axes, counts, strict=True)
    )
    return Sample((draw.array(shape),), {"places": places})


def _add_mesh_samples(draw: Draw) -> Sample:
    sample = _mesh_samples(draw)
    (x,), places = sample.args, sample.params["places"]
    lead = x.ndim - len(places)
    g = draw.array((*x.shape[:lead], *map(len, places)))
    return Sample((g,), {"places": places, "size": x.shape[lead:]})


def _take_mesh_rule(g: Tensor, places: Sequence[Array], shapes: Shapes) -> Tensor:
    return add_mesh(g, places=places, size=shapes[0][len(shapes[0]) - len(places) :])


@op(
    complex="parts",
    vjp=_take_mesh_rule,
    samples=_mesh_samples,
    errors=(
        ErrorSample((np.zeros(3),), {"places": (np.full(1, 3),)}, ValueError, "take_mesh: `plac"),
    ),
    onnx=forms.take_mesh,
)
def take_mesh(x: Array, *, places: Sequence[Array]) -> Array:
    """``x[..., i, j]`` for all i and j of ``places``, which has an array for each last axis."""
    for axis, index in enumerate(places, start=x.ndim - len(places)):
        if index.size and not 0 <= index.min() <= index.max() < x.shape[axis]:
            raise ShapeError(
                f"take_mesh: `places` holds {index.min()} to {index.max()}, but axis {axis} of "
                f"{x.shape} has {x.shape[axis]} places"
            )
    return kernels.take_mesh(x, places)


@op(
    complex="parts",
    vjp=lambda g, places: take_mesh(g, places=places),
    ignore_fp_errors=True,
    samples=_add_mesh_samples,
)
def add_mesh(x: Array, *, places: Sequence[Array], size: Sequence[int]) -> Array:
    """The adjoint of `take_mesh`: ``out[..., i, j] += x``, with last axes of ``size``."""
    return kernels.add_mesh(x, places, size)


# ---- a few places for each point -----------------------------------------------------------


def _taps_samples(kind: str) -> Callable[[Draw], Sample]:
    def samples(draw: Draw) -> Sample:
        n, c, m, t, p = (draw.integer(1, 3) for _ in range(5))
        index = np.array([draw.integer(-1, m - 1) for _ in range(n * t * p)]).reshape(n, t, p)
        x, g, weight = draw.array((n, c, m)), draw.array((n, c, p)), draw.array((n, t, p))
        if kind == "sample":
            return Sample((x, index, weight))
        return (
            Sample((g, index, weight), {"size": m}) if kind == "spread" else Sample((g, x, index))
        )

    return samples


@op(
    vjp=(
        lambda g, index, weight, shapes: spread_taps(g, index, weight, size=shapes[0][2]),
        None,
        lambda g, x, index: weigh_taps(g, x, index),
    ),
    ignore_fp_errors=True,
    samples=_taps_samples("sample"),
)
def sample_taps(x: Array, index: Array, weight: Array) -> Array:
    """``out[n, c, p] = sum_t weight[n, t, p] * x[n, c, index[n, t, p]]``; -1 reads nothing."""
    return kernels.sample_taps(x, index, weight)


@op(
    vjp=(
        lambda g, index, weight: sample_taps(g, index, weight),
        None,
        lambda g, x, index: weigh_taps(x, g, index),
    ),
    ignore_fp_errors=True,
    samples=_taps_samples("spread"),
)
def spread_taps(x: Array, index: Array, weight: Array, *, size: int) -> Array:
    """The adjoint of `sample_taps` in ``x``: ``out[n, c, index[n, t, p]] += weight * x``."""
    return kernels.spread_taps(x, index, weight, size)


@op(
    vjp=(
        lambda g, source, index: sample_taps(source, index, g),
        lambda g, x, index, shapes: spread_taps(x, index, g, size=shapes[1][2]),
        None,
    ),
    ignore_fp_errors=True,
    samples=_taps_samples("weigh"),
)
def weigh_taps(x: Array, source: Array, index: Array) -> Array:
    """The adjoint of `sample_taps` in ``weight``: ``sum_c x * source[index]``, x (n, c, p)."""
    return kernels.weigh_taps(x, source, index)
