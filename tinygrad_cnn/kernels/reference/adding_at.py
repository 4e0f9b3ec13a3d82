"""Numbers added at places that an index of arrays names, repeated places included.

`numpy.add.at` adds them one after the other in the precision of the result. Here that is done with
places that occur at most `SHORT` times; what is added to others is added in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.kernels.reference.sums import SHORT
from tinygrad_cnn.types import Array

NUMBERS = 1 << 14  # of a piece that is added in float64

_WIDE = np.dtype(np.float64)


def add_at(out: Array, index: Any, source: Array) -> None:
    """Do as ``numpy.add.at(out, index, source)``, for an index of arrays.

    The error of float32 and float16 sums does not grow with how often a place occurs.

    >>> out = np.zeros(2, np.float32)
    >>> add_at(out, np.zeros(1 << 16, np.int64), np.full(1 << 16, 0.1, np.float32))
    >>> out
    array([6553.6,    0. ], dtype=float32)
    """
    if out.dtype.char == "e":
        total = out.astype(np.float32)
        add_at(total, index, source.astype(np.float32))
        out[...] = total
        return
    parts = index if isinstance(index, tuple) else (index,)
    if out.dtype.char != "f" or source.size <= SHORT or not all(map(_is_simple, parts)):
        _plain(out, index, source, parts)
        return
    if out.ndim == 1 and out.size <= source.size:  # for which NumPy is fast
        _wide(out, index, source)
        return
    arrays = [(a, np.asarray(p)) for a, p in enumerate(parts) if not isinstance(p, slice)]
    size = np.broadcast_shapes(*(p.shape for _, p in arrays))
    count = int(np.prod(size))
    places = {a: _from_start(p.reshape(-1), out.shape[a]) for a, p in arrays}
    counts = {a: np.bincount(p, minlength=out.shape[a]) for a, p in places.items()}
    # A place occurs no more often than its number on any one axis.
    if any(int(counts[a].max()) * count <= SHORT * p.size for a, p in places.items()):
        np.add.at(out, index, source)
    elif len(arrays) == 1 and _is_whole(parts[:-1]):
        axis = len(parts) - 1
        shape = (*out.shape[:axis], count, *out.shape[axis + 1 :])
        rows = np.moveaxis(source.reshape(shape), axis, 0)
        _add_often(np.moveaxis(out, axis, 0), places[axis], rows, counts[axis])
    elif len(arrays) == out.ndim and out.flags.c_contiguous:
        wrapped = (places[a].reshape(p.shape) for a, p in arrays)
        flat = np.ravel_multi_index(tuple(np.broadcast_arrays(*wrapped)), out.shape).reshape(-1)
        every = np.bincount(flat, minlength=out.size)
        _add_often(out.reshape(-1), flat, source.reshape(-1), every)
    else:
        _wide(out, index, source)


def _is_simple(part: Any) -> bool:
    """Return whether a part of an index is a slice, or integers."""
    return isinstance(part, slice) or np.asarray(part).dtype.kind in "iu"


def _is_whole(parts: tuple[Any, ...]) -> bool:
    """Return whether parts of an index leave their axes as they are."""
    return all(isinstance(p, slice) and p == slice(None) for p in parts)


def _from_start(places: Array, n: int) -> Array:
    """Return places on an axis of length n, of which negative ones count from its end."""
    places = places.astype(np.intp, copy=False)
    return np.where(places < 0, places + n, places) if places.min() < 0 else places


def _plain(out: Array, index: Any, source: Array, parts: tuple[Any, ...]) -> None:
    """Do as `add_at` for few numbers, other dtypes, and indices with bools, None or an ellipsis."""
    kinds = {np.asarray(p).dtype.kind for p in parts if not (p is None or p is Ellipsis)}
    if out.dtype.char == "f" and source.size > SHORT and kinds & {"i", "u"}:
        _wide(out, index, source)
    else:  # of bools alone: no place occurs twice
        np.add.at(out, index, source)


def _wide(out: Array, index: Any, source: Array) -> None:
    total = out.astype(_WIDE)
    np.add.at(total, index, source.astype(_WIDE))
    out[...] = total


def _add_often(out: Array, places: Array, source: Array, counts: Array) -> None:
    """Add slices of source (k, ...) to those of out (n, ...) that places (k,) name, which occur
    `counts` (n,) times.
    """
    if not counts.max() > SHORT:
        np.add.at(out, places, source)
        return
    often = counts > SHORT
    rows, number = np.flatnonzero(often), np.cumsum(often) - 1
    chosen = often[places]
    if not chosen.all():
        np.add.at(out, places[~chosen], source[~chosen])
    which = np.flatnonzero(chosen)
    total = out[rows].astype(_WIDE)
    width = total.size // len(rows)
    step = max(NUMBERS // width, len(rows))
    for start in range(0, len(which), step):
        here = which[start : start + step]
        flat = (number[places[here]] * width)[:, None] + np.arange(width)
        found = np.bincount(flat.reshape(-1), source[here].reshape(-1), total.size)
        total += found.reshape(total.shape)
    out[rows] = total
