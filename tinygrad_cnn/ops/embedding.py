"""Sums of rows of a table, a bag at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, Sample
from tinygrad_cnn.autograd.units import computed
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.kernels.reference.bags import bag_of
from tinygrad_cnn.kernels.tape import made
from tinygrad_cnn.ops.index import index_add, index_select
from tinygrad_cnn.ops.shape import reshape
from tinygrad_cnn.types import Array, Gradients

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


def _reference(weight: Tensor, rows: Tensor, starts: Tensor, factors: Tensor | None) -> Tensor:
    found = index_select(weight, rows, dim=0)
    if factors is not None:
        found = found * reshape(factors, shape=(-1, 1))
    bags, d = starts._value.shape[0] - 1, weight._value.shape[1]
    out = wrap(made(np.zeros((bags, d), weight._value.dtype)))
    result: Tensor = index_add(out, computed(bag_of, starts), found, dim=0)
    return result


def _backward(
    g: Array,
    weight: Array,
    rows: Array,
    starts: Array,
    factors: Array | None,
    needs: tuple[bool, ...],
) -> Gradients:
    gw = gf = None
    if needs[0]:
        gw = kernels.bag_sum_backward(g, rows, starts, factors, len(weight))
    if factors is not None and needs[3]:
        gf = kernels.sum(g[bag_of(starts)] * weight[rows], (1,))
    return gw, None, None, gf


def _samples(draw: Draw) -> Sample:
    n, d, k = draw.integer(1, 4), draw.integer(1, 3), draw.integer(0, 5)
    rows = np.array([draw.integer(0, n - 1) for _ in range(k)], np.int64)
    inner = sorted(draw.integer(0, k) for _ in range(draw.integer(0, 3)))
    starts = np.array([0, *inner, k], np.int64)
    factors = draw.array((k,)) if draw.choice((False, True)) else None
    return Sample((draw.array((n, d)), rows, starts, factors))


@op(fused=_backward, reference=_reference, ignore_fp_errors=True, samples=_samples)
def bag_sum(weight: Array, rows: Array, starts: Array, factors: Array | None = None) -> Array:
    """Sums of the rows of ``weight`` (n, d) that ``rows`` (k,) names, times ``factors`` (k,).

    Bag b of the result (bags, d) has the entries from ``starts[b]`` to ``starts[b + 1]``, where
    ``starts`` (bags + 1,) begins with 0 and ends with k.
    """
    return kernels.bag_sum(weight, rows, starts, factors)
