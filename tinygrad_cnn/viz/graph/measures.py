"""Figures of values: norms, zeros, NaN and Inf."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.viz.graph.records import Node

_RECTIFIERS = {"relu", "clamp", "threshold"}


def compute(value: Any) -> None:
    """See to it that the values of a tensor (or of several) are there now."""
    for t in value if isinstance(value, (tuple, list)) else (value,):
        if isinstance(t, Tensor):
            _ = t._array


def norm_of(array: np.ndarray[Any, Any]) -> float:
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
