"""Operations that change shape and order, not values. All are linear, in closed families."""

# A rule may name its own operation, whose type mypy does not know yet at that place.
# mypy: disable-error-code="has-type"

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, ErrorSample, Sample
from tinygrad_cnn.autograd.variable import in_order
from tinygrad_cnn.kernels.reference.layout import new_array
from tinygrad_cnn.ops import forms
from tinygrad_cnn.types import Array, Shapes

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


def _reshape_samples(draw: Draw) -> Sample:
    shape = draw.shape(min_dims=1)
    n = math.prod(shape)
    return Sample((draw.array(shape),), {"shape": draw.choice(((n,), (1, n), shape[::-1]))})


@op(
    complex="parts",
    vjp=lambda g, shapes: reshape(g, shape=shapes[0]),
    view=True,
    samples=_reshape_samples,
    errors=(ErrorSample((np.zeros((2, 3)),), {"shape": (4,)}, ValueError, "reshape"),),
    onnx=lambda o, x, shape: o.reshape(x, shape),
)
def reshape(x: Array, *, shape: tuple[int, ...]) -> Array:
    """``x`` with its elements, in row-major order, in another shape."""
    return x.reshape(shape)


def _permute_samples(draw: Draw) -> Sample:
    shape = draw.shape()
    dims = draw.choice(list(itertools.permutations(range(len(shape)))))
    return Sample((draw.array(shape),), {"dims": tuple(dims)})


def _inverse(dims: tuple[int, ...]) -> tuple[int, ...]:
    out = [0] * len(dims)
    for i, d in enumerate(dims):
        out[d] = i
    return tuple(out)


@op(
    complex="parts",
    vjp=lambda g, dims: permute(g, dims=_inverse(dims)),
    view=True,
    samples=_permute_samples,
    onnx=lambda o, x, dims: o.Transpose(x, perm=list(dims)) if dims else x,
)
def permute(x: Array, *, dims: tuple[int, ...]) -> Array:
    """``x`` with its axes in the order ``dims``."""
    return x.transpose(dims)


def _expand_samples(draw: Draw) -> Sample:
    small, other = draw.broadcast_shapes()
    shape = np.broadcast_shapes(small, other)
    return Sample((draw.array(small),), {"shape": shape})


@op(
    complex="parts",
    vjp=lambda g, shapes: sum_to(g, shape=shapes[0]),
    view=True,
    samples=_expand_samples,
    onnx=lambda o, x, shape: o.Expand(x, o.vector(shape)),
)
def expand(x: Array, *, shape: tuple[int, ...]) -> Array:
    """``x`` stretched to ``shape`` by NumPy's broadcasting; takes no memory."""
    lead = len(shape) - x.ndim
    if (1,) * lead + x.shape == shape:  # nothing is stretched: it may be written to
        return x[(None,) * lead + (...,)]
    return np.broadcast_to(x, shape)


def _sum_to_samples(draw: Draw) -> Sample:
    small, other = draw.broadcast_shapes()
    return Sample((draw.array(np.broadcast_shapes(small, other)),), {"shape": small})


@op(
    complex="parts",
    vjp=lambda g, shapes: expand(g, shape=shapes[0]),
    ignore_fp_errors=True,
    samples=_sum_to_samples,
    onnx=forms.sum_to,
)
def sum_to(x: Array, *, shape: tuple[int, ...]) -> Array:
    """``x`` summed over the axes that broadcasting ``shape`` to ``x.shape`` adds or stretches."""
    lead = x.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(
        i + lead for i, n in enumerate(shape) if n == 1 and x.shape[i + lead] != 1
    )
    return (kernels.sum(x, axes) if axes else x.copy()).reshape(shape)


def _dims_samples(draw: Draw) -> Sample:
    shape = draw.shape(min_dims=1)
    n = draw.integer(1, len(shape))
    return Sample((draw.array(shape),), {"dims": tuple(range(n))})


@op(
    complex="parts",
    vjp=lambda g, dims: flip(g, dims=dims),
    samples=_dims_samples,
    onnx=forms.flip,
)
def flip(x: Array, *, dims: tuple[int, ...]) -> Array:
    """``x`` reversed along ``dims``."""
    return np.flip(x, dims).copy()


def _roll_samples(draw: Draw) -> Sample:
    sample = _dims_samples(draw)
    shifts = tuple(draw.integer(-3, 3) for _ in sample.params["dims"])
    return Sample(sample.args, {"shifts": shifts, **sample.params})


@op(
    complex="parts",
    vjp=lambda g, shifts, dims: roll(g, shifts=tuple(-s for s in shifts), dims=dims),
    samples=_roll_samples,
    onnx=forms.roll,
)
def roll(x: Array, *, shifts: tuple[int, ...], dims: tuple[int, ...]) -> Array:
    """``x`` shifted along ``dims``; what leaves at one end enters at the other."""
    return np.roll(x, shifts, dims)


def _cat_rule(
    g: Tensor, shapes: Shapes, needs: tuple[bool, ...], dim: int
) -> tuple[Tensor | None, ...]:
    out: list[Any] = []
    start = 0
    for shape, need in zip(shapes, needs, strict=True):
        stop = start + shape[dim]
        out.append(g[(slice(None),) * dim + (slice(start, stop),)] if need else None)
        start = stop
    return tuple(out)


def _cat_samples(draw: Draw) -> Sample:
    shape = draw.shape(min_dims=1)
    dim = draw.integer(0, len(shape) - 1)
    parts = []
    for _ in range(draw.integer(1, 3)):
        parts.append(draw.array((*shape[:dim], draw.integer(0, 3), *shape[dim + 1 :])))
    return Sample(tuple(parts), {"dim": dim})


@op(
    complex="parts",
    vjp=_cat_rule,
    samples=_cat_samples,
    onnx=lambda o, xs, dim: o.Concat(*xs, axis=dim),
)
def cat(*xs: Array, dim: int) -> Array:
    """The arrays one after another along ``dim`` (not negative), all of one dtype."""
    out = in_order(np.concatenate(xs, dim))
    return out.copy() if len(xs) == 1 else out


def _pad_samples(draw: Draw) -> Sample:
    shape = draw.shape()
    width = tuple((draw.integer(0, 2), draw.integer(0, 2)) for _ in shape)
    return Sample((draw.array(shape),), {"width": width, "value": draw.choice((0.0, 1.5))})


def _pad_rule(g: Tensor, width: tuple[tuple[int, int], ...], shapes: Shapes) -> Tensor:
    return g[tuple(slice(b, b + n) for (b, _), n in zip(width, shapes[0], strict=True))]


@op(
    complex="parts",
    vjp=_pad_rule,
    samples=_pad_samples,
    onnx=forms.pad,
)
def pad(x: Array, *, width: tuple[tuple[int, int], ...], value: float = 0.0) -> Array:
    """``x`` with ``width[i] = (before, after)`` elements of ``value`` added along each axis."""
    shape = tuple(n + b + a for n, (b, a) in zip(x.shape, width, strict=True))
    if value == 0 and x.ndim:
        before = tuple(b for b, _ in width)
        return kernels.embed(x, shape, before, (1,) * x.ndim)
    out = new_array(shape, x)
    for axis, (n, (b, a)) in enumerate(zip(x.shape, width, strict=True)):
        outer: tuple[Any, ...] = (slice(None),) * axis
        if b:
            out[(*outer, slice(0, b))] = value
        if a:
            out[(*outer, slice(b + n, None))] = value
    out[tuple(slice(b, b + n) for n, (b, _) in zip(x.shape, width, strict=True))] = x
    return out


def _triangle_samples(draw: Draw) -> Sample:
    shape = draw.shape(min_dims=2)
    return Sample((draw.array(shape),), {"diagonal": draw.integer(-2, 2)})


@op(
    complex="parts",
    vjp=lambda g, diagonal: tril(g, diagonal=diagonal),
    samples=_triangle_samples,
    onnx=lambda o, x, diagonal: o.Trilu(x, np.array(diagonal), upper=0),
)
def tril(x: Array, *, diagonal: int = 0) -> Array:
    """The last two axes' lower triangle, up to ``diagonal``; zeros elsewhere."""
    return np.tril(x, diagonal)


@op(
    complex="parts",
    vjp=lambda g, diagonal: triu(g, diagonal=diagonal),
    samples=_triangle_samples,
    onnx=lambda o, x, diagonal: o.Trilu(x, np.array(diagonal), upper=1),
)
def triu(x: Array, *, diagonal: int = 0) -> Array:
    """The last two axes' upper triangle, from ``diagonal``; zeros elsewhere."""
    return np.triu(x, diagonal)
