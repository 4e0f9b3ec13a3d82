"""Forms in ONNX (`autograd.forms`) of reading and writing by index."""

# Operators are found by name, so that what they give is Any to mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.forms import Graph, Symbol

Dims = Sequence[int]
_FIRST, _LAST = -(2**63), 2**63 - 1


def _parts(o: Graph, index: Any, ndim: int) -> list[Any]:
    """The parts of an index, without ... and with a slice for every axis."""
    parts = list(index) if isinstance(index, tuple) else [index]
    used = 0
    for p in parts:
        if isinstance(p, (bool, np.bool_)):
            o.refuse("an index that is a bool has no form in ONNX")
        is_array = isinstance(p, np.ndarray)
        used += p.ndim if is_array and p.dtype == bool else p is not None and p is not Ellipsis
    rest = [slice(None)] * (ndim - used)
    at = next((i for i, p in enumerate(parts) if p is Ellipsis), None)
    parts = parts + rest if at is None else parts[:at] + rest + parts[at + 1 :]
    out: list[Any] = []
    for p in parts:
        out += np.nonzero(p) if isinstance(p, np.ndarray) and p.dtype == bool else [p]
    return out


def _is_whole(part: Any) -> bool:
    return isinstance(part, slice) and part == slice(None)


def getitem(o: Graph, x: Symbol, y: Symbol, index: Any) -> Symbol:
    """New axes first, then slices, then what lists places."""
    parts = _parts(o, index, len(x.shape))
    shape = list(x.shape)
    if any(part is None for part in parts):
        for i, part in enumerate(parts):
            if part is None:
                shape.insert(i, 1)
        x = o.Unsqueeze(x, np.array([i for i, part in enumerate(parts) if part is None]))
        parts = [slice(None) if part is None else part for part in parts]
    if not all(isinstance(part, (int, slice)) for part in parts):  # integers are lists beside lists
        parts = [np.array(part) if isinstance(part, int) else part for part in parts]
    cuts: list[tuple[Any, ...]] = []  # start, stop, axis, step
    for axis, part in enumerate(parts):
        if isinstance(part, int):
            cuts.append((part, part + 1 if part != -1 else _LAST, axis, 1))
        elif isinstance(part, slice):
            step = 1 if part.step is None else part.step
            if part.start in (None, 0) and part.stop in (None, shape[axis]) and step == 1:
                continue
            first, last = (0, _LAST) if step > 0 else (_LAST, _FIRST)
            start = first if part.start is None else part.start
            cuts.append((start, last if part.stop is None else part.stop, axis, step))
    if cuts:
        starts, stops, axes, steps = zip(*cuts, strict=True)
        x = o.Slice(x, o.vector(starts), o.vector(stops), np.array(axes), np.array(steps))
    gone = [axis for axis, part in enumerate(parts) if isinstance(part, int)]
    if gone:
        x = o.Squeeze(x, np.array(gone))
    lists = [(a, p) for a, p in enumerate(parts) if not isinstance(p, (int, slice))]
    return _at_places(o, x, len(shape), lists) if lists else x


def _at_places(o: Graph, x: Symbol, ndim: int, lists: list[tuple[int, Any]]) -> Symbol:
    """What NumPy's lists of places pick: one list by Gather, several by GatherND."""
    if len(lists) == 1:
        ((axis, places),) = lists
        return o.Gather(x, places, axis=axis)
    if not all(isinstance(p, np.ndarray) for _, p in lists):
        o.refuse("several computed arrays in one index have no form in ONNX")
    axes = [axis for axis, _ in lists]
    places = np.stack(np.broadcast_arrays(*(p for _, p in lists)), -1).astype(np.int64)
    rest = [i for i in range(ndim) if i not in axes]
    x = o.Transpose(x, perm=axes + rest)
    picked: Symbol = o.GatherND(x, places)
    found = places.ndim - 1
    together = axes == list(range(axes[0], axes[0] + len(axes)))
    lead = axes[0] if together else 0  # NumPy puts what the lists made where they were, or first
    order = [*range(found, found + lead), *range(found), *range(found + lead, found + len(rest))]
    return picked if not lead else o.Transpose(picked, perm=order)


def put(o: Graph, x: Symbol, value: Any, index: Any) -> Symbol:
    """By places that are known: a table of all numbers says which of them are overwritten."""
    parts = _parts(o, index, len(x.shape)) if index is not Ellipsis else []
    if not parts or all(map(_is_whole, parts)):
        value = value if hasattr(value, "graph") else o.constant(value, x.dtype)
        return o.Expand(o.cast(value, x.dtype), o.vector(x.shape))
    if any(hasattr(p, "graph") for p in parts):
        o.refuse("writing to computed places has no form in ONNX")
    lead = 0  # axes, of whatever length, that are written whole
    while _is_whole(parts[lead]) and type(x.shape[lead]) is not int:
        lead += 1
    sides = x.shape[lead:]
    if any(type(n) is not int for n in sides):
        o.refuse("writing to a part of the batch has no form in ONNX")
    table = np.arange(math.prod(sides)).reshape(sides)
    written = table[tuple(parts[lead:])]
    if not written.size:
        return x
    mask = np.zeros(sides, bool)
    mask[tuple(parts[lead:])] = True
    value = o.cast(value, x.dtype) if hasattr(value, "graph") else o.constant(value, x.dtype)
    if value.shape != ():  # each number of x reads the one that is written to it, if any
        value = o.Expand(value, o.vector((*x.shape[:lead], *written.shape)))
        source = np.zeros(sides, np.int64)
        source[tuple(parts[lead:])] = np.arange(written.size).reshape(written.shape)
        flat = o.reshape(value, (*x.shape[:lead], written.size))
        value = o.Gather(flat, source, axis=lead)
    return o.Where(mask, value, x)


def windows(o: Graph, x: Symbol, y: Symbol, dim: int, size: int, step: int) -> Symbol:
    """All places of all windows, whose axis goes to the end."""
    places = np.arange(y.shape[dim])[:, None] * step + np.arange(size)
    n = len(x.shape)
    found = o.Gather(x, places, axis=dim)  # (..., windows, size, ...)
    order = [*range(dim + 1), *range(dim + 2, n + 1), dim + 1]
    return o.Transpose(found, perm=order)


def diagonal(o: Graph, x: Symbol, y: Symbol, offset: int) -> Symbol:
    """Places of the last two axes as one."""
    *lead, rows, columns = x.shape
    first = offset if offset >= 0 else -offset * columns
    places = first + np.arange(y.shape[-1]) * (columns + 1)
    return o.Gather(o.reshape(x, (*lead, rows * columns)), places, axis=len(lead))
