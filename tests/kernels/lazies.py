"""Expressions that compiled kernels take, and what they stand for, computed by definition."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.kernels.lazy import Lazy, load

Array = np.ndarray[Any, Any]


def lazy(x: Any) -> Lazy:
    return x if isinstance(x, Lazy) else load(x)


def affine(x: Array, scale: Array, shift: Array, relu: bool) -> Lazy:
    """A normalisation, and its ReLU."""
    moved = Lazy(("scale_shift", lazy(x), scale, shift), x)
    return Lazy(("relu", moved), x) if relu else moved


def unpooled(g: Any, index: Array, extent: Any, kernel_size: Any) -> Lazy:
    """The gradient of a pooling whose windows tile the image."""
    found = Lazy(("unpool", lazy(g), index, tuple(extent), tuple(kernel_size)), g)
    found.shape = (*g.shape[:2], *extent)
    found.size = int(np.prod(found.shape))
    return found


def select(g: Any, y: Any) -> Lazy:
    """The gradient of a ReLU with the output y."""
    return Lazy(("select", lazy(g), lazy(y)), y)


def total(a: Any, b: Any) -> Lazy:
    return Lazy(("add", lazy(a), lazy(b)), a)


def norm_gradient(g: Any, x: Array, scale: Array, slope: Array, shift: Array) -> Lazy:
    """The gradient of a normalisation: ``g*scale + x*slope + shift``."""
    left = Lazy(("scale_shift", lazy(g), scale, None), g)
    return total(left, Lazy(("scale_shift", lazy(x), slope, shift), x))


def true(x: Any) -> Any:
    """What x stands for, in float64."""
    if not isinstance(x, Lazy):
        return x.astype(np.float64)
    kind, *operands = x.expr
    if kind == "load":
        return true(operands[0])
    if kind == "scale_shift":
        inner, scale, shift = operands
        v = (-1, 1, 1)
        moved = true(inner) * true(scale).reshape(v)
        return moved if shift is None else moved + true(shift).reshape(v)
    if kind == "relu":
        return np.maximum(true(operands[0]), 0)
    if kind == "select":
        g, y = map(true, operands)
        return np.where(y <= 0, 0, g)
    if kind == "add":
        return true(operands[0]) + true(operands[1])
    g, index, _, (kh, kw) = operands
    out = np.zeros(x.shape)
    for (n, c, i, j), place in np.ndenumerate(index):
        out[n, c, i * kh + place // kw, j * kw + place % kw] = true(g)[n, c, i, j]
    return out
