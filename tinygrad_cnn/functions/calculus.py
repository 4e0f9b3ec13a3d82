"""Integrals and derivatives of sampled functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.errors import ArgumentError, DtypeError, ShapeError
from tinygrad_cnn.functions.convert import axes, axis, numpy_names, to_tensor
from tinygrad_cnn.functions.elementwise import add, div, mul, sub
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.joining import cat, narrow
from tinygrad_cnn.functions.reduction import cumsum, diff, sum
from tinygrad_cnn.functions.shaping import reshape
from tinygrad_cnn.types import INEXACT, Dims, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


def _areas(name: str, y: TensorLike, x: TensorLike | None, dx: float, dim: int) -> Tensor:
    """Twice the areas under the lines between neighbours along ``dim``."""
    y = to_tensor(y)
    if y.dtype.kind == "b" or (x is not None and to_tensor(x).dtype.kind == "b"):
        raise DtypeError(f"{name}: `y` or `x` is bool, expected numbers")
    d = axis(name, dim, y.ndim)
    if not y.ndim:
        raise ShapeError(f"{name}: `y` has no dimensions, so there is nothing to integrate over")
    n = y.shape[d]
    width: Any = 1.0 * dx
    if x is not None:
        x = to_tensor(x)
        if x.ndim == 1 and x.shape[0] != n:
            raise ShapeError(
                f"{name}: `x` has shape {x.shape}, expected {n} places, as `y` {y.shape} has along "
                f"axis {d}"
            )
        if x.ndim == 1:
            x = reshape(x, (1,) * d + (n,) + (1,) * (y.ndim - d - 1))
        elif x.ndim < y.ndim:
            x = reshape(x, (1,) * (y.ndim - x.ndim) + x.shape)
        width = diff(x, dim=d + x.ndim - y.ndim)
    most = max(n - 1, 0)
    pairs = add(narrow(y, d, 0, most), narrow(y, d, n - most, most))
    return mul(pairs, width)


@export(method=False)
@numpy_names
def cumulative_trapezoid(
    y: TensorLike, x: TensorLike | None = None, *, dx: float = 1, dim: int = -1
) -> Tensor:
    """The integrals of `trapezoid` up to each sample but the first."""
    areas = _areas("cumulative_trapezoid", y, x, dx, dim)
    d = axis("cumulative_trapezoid", dim, to_tensor(y).ndim) - to_tensor(y).ndim
    return div(cumsum(areas, d), 2)


@export("trapz", method=False)
@numpy_names
def trapezoid(
    y: TensorLike, x: TensorLike | None = None, *, dx: float = 1, dim: int = -1
) -> Tensor:
    """The integral of samples ``y`` along ``dim``, by the trapezoidal rule.

    Parameters
    ----------
    y
        The samples.
    x
        Their places: a vector, or what broadcasts with ``y``.
    dx
        The distance of samples where there is no ``x``.
    dim
        The axis to integrate along.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.trapezoid(tg.tensor([1.0, 2.0, 3.0])), tg.trapezoid([1.0, 3.0], [0.0, 4.0])
    (tensor(4.), tensor(8.))
    """
    areas = _areas("trapezoid", y, x, dx, dim)
    return div(sum(areas, axis("trapezoid", dim, to_tensor(y).ndim) - to_tensor(y).ndim), 2)


@export(method=False)
@numpy_names
def gradient(
    input: TensorLike, *, spacing: Any = None, dim: Dims = None, edge_order: int = 1
) -> tuple[Tensor, ...]:
    """Derivatives of a sampled function along each of ``dim``, by central differences.

    Parameters
    ----------
    input
        The samples.
    spacing
        Their distance (1), or one for each axis, or for each axis a vector of their places.
    dim
        The axes; by default all.
    edge_order
        1 or 2: how exact the derivatives are at both ends.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.gradient(tg.tensor([1.0, 4.0, 9.0, 16.0]))[0]
    tensor([3., 4., 6., 7.])
    """
    x = to_tensor(input)
    # In the order that is asked for, which `axes` sorts.
    dims = dim if isinstance(dim, (list, tuple)) and dim else axes("gradient", dim, x.ndim)
    axes("gradient", tuple(dims), x.ndim)  # raises where one is named twice
    several = isinstance(spacing, (list, tuple))
    if edge_order not in (1, 2) or (several and len(spacing) != len(dims)):
        raise ArgumentError(
            f"gradient: `edge_order` is {edge_order} and `spacing` {spacing!r}, expected 1 or 2 "
            f"and one distance or {len(dims)} of them"
        )
    gaps: Sequence[Any] = spacing if several else [1 if spacing is None else spacing] * len(dims)
    return tuple(
        _slope(x, axis("gradient", d, x.ndim), gap, edge_order)
        for d, gap in zip(dims, gaps, strict=True)
    )


def _slope(x: Tensor, d: int, gap: Any, order: int) -> Tensor:
    n = x.shape[d]
    if n <= order:
        raise ShapeError(
            f"gradient: `input` has shape {x.shape}, expected more than {order} samples along axis "
            f"{d}"
        )
    places = to_tensor(gap, np.float64)
    h = np.diff(places._array) if places.ndim else np.full(n - 1, places.item())
    if h.shape != (n - 1,):
        raise ShapeError(
            f"gradient: `spacing` has shape {places.shape} for the {n} samples along axis {d}"
        )
    h = np.asarray(h, x.dtype if x.dtype.kind in INEXACT else np.float32)

    def along(values: Any) -> TensorLike:
        return np.asarray(values, h.dtype).reshape((-1,) + (1,) * (x.ndim - d - 1))

    def weighed(start: int, length: int, *weights: Any) -> Tensor:
        """The sum of as many parts of the samples, one after another, times the weights."""
        parts = [mul(narrow(x, d, start + i, length), along(w)) for i, w in enumerate(weights)]
        out = parts[0]
        for part in parts[1:]:
            out = add(out, part)
        return out

    left, right = h[:-1], h[1:]
    if (h == h[0]).all():
        inside = div(sub(narrow(x, d, 2, n - 2), narrow(x, d, 0, n - 2)), float(2 * h[0]))
    else:
        total = left + right
        inside = weighed(
            0, n - 2, -right / (left * total), (right - left) / (left * right),
            left / (right * total),
        )  # fmt: skip
    if order == 1:
        first = weighed(0, 1, -1 / h[0], 1 / h[0])
        last = weighed(n - 2, 1, -1 / h[-1], 1 / h[-1])
    else:
        a, b = h[0], h[1]
        first = weighed(0, 1, -(2 * a + b) / (a * (a + b)), (a + b) / (a * b), -a / (b * (a + b)))
        a, b = h[-2], h[-1]
        last = weighed(n - 3, 1, b / (a * (a + b)), -(a + b) / (a * b), (2 * b + a) / (b * (a + b)))
    return cat([first, inside, last], d)
