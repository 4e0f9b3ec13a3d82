"""Figures of values: norms, zeros, NaN and Inf."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array
from tinygrad_cnn.viz.graph.records import Node

_RECTIFIERS = {"relu", "clamp", "threshold"}


def compute(value: object) -> None:
    """See to it that the values of a tensor (or of several) are there now."""
    for t in value if isinstance(value, (tuple, list)) else (value,):
        if isinstance(t, Tensor):
            _ = t._array


def norm_of(array: Array) -> float:
    """The Euclidean norm, computed in float64."""
    with np.errstate(all="ignore"):
        return float(np.sqrt(np.square(array, dtype=np.float64).sum()))


def measure(node: Node, tensor: Tensor) -> None:
    """Write the figures of ``tensor``, the result of ``node``, into the node."""
    array = tensor._array
    if array.dtype.kind != "f":
        return
    node.norm = norm_of(array)
    zero = array == 0
    node.zeros = float(zero.mean()) if array.size else 0.0
    node.nan, node.inf = bool(np.isnan(array).any()), bool(np.isinf(array).any())
    if node.name in _RECTIFIERS and array.ndim >= 2 and array.size:
        rest = tuple(i for i in range(array.ndim) if i != 1)
        node.dead = float(zero.all(axis=rest).mean())  # of (c,)


def silent_share(args: tuple[object, ...]) -> float | None:
    """The fraction of channels that a large negative bias keeps from ever being positive.

    ``args`` are the input, the weight and the bias of a product. By Cauchy and
    Schwarz a sum of products is at most the product of both norms.
    """
    x, w, b = (a._array if isinstance(a, Tensor) else None for a in args[:3])
    if x is None or w is None or b is None or not x.size:
        return None
    axis = 1 if w.ndim > 2 else -1
    largest = float(np.sqrt(np.square(x, dtype=np.float64).sum(axis=axis).max()))
    largest *= math.sqrt(math.prod(w.shape[2:]))
    rows = np.sqrt(np.square(w, dtype=np.float64).reshape(len(w), -1).sum(axis=1))
    usual = 3 / math.sqrt(max(w[0].size, 1))  # layers begin with a third of it at most
    return float((b + np.maximum(rows * largest, usual) < 0).mean())


def constancy(tensor: Tensor) -> str:
    """What is constant in the input of a model; empty if nothing is."""
    array = tensor._array
    if array.size > 1 and (array == array.flat[0]).all():
        return f"every value is {array.flat[0]:g}"
    if array.ndim > 1 and len(array) > 1 and (array == array[:1]).all():
        return f"all {len(array)} samples are the same"
    return ""
