"""How tensors lie in memory: row by row, or, between kernels, as images channels last; and what
else lies in the same memory.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.lib.array_utils import byte_bounds

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.node import Node, SavedValue
from tinygrad_cnn.kernels.tape import do
from tinygrad_cnn.types import Array, DType

if TYPE_CHECKING:
    from tinygrad_cnn.autograd.variable import Variable


Sides: TypeAlias = Sequence[int]
Layout: TypeAlias = tuple[DType, tuple[int, ...], tuple[int, ...], int]
"""Dtype, shape, strides and offset (both in bytes) of an array in its memory."""


class memory_format(enum.Enum):  # PyTorch's name
    """How PyTorch is to lay out a tensor. Kernels choose that here, and nobody can tell."""

    contiguous_format = "contiguous_format"
    preserve_format = "preserve_format"
    channels_last = "channels_last"
    channels_last_3d = "channels_last_3d"


_CHANNELS_LAST = {3: (0, 2, 1), 4: (0, 2, 3, 1), 5: (0, 2, 3, 4, 1)}


def channels_last(array: Array) -> bool:
    """Whether these are images whose channels lie together in memory."""
    order = _CHANNELS_LAST.get(array.ndim)
    return order is not None and array.transpose(order).flags.c_contiguous


def lay_in_rows(tensor: Variable) -> None:
    """Have the memory of ``tensor`` row by row, as PyTorch's results lie.

    Kernels leave images channels last.
    All tensors that share it have it in common then as before, and so have rules that keep it.
    """
    base = tensor if tensor.view_of is None else tensor.view_of.base
    old = tensor._array if base is tensor else base._array
    if tensor.storage.is_exposed or (old.flags.c_contiguous and tensor._array.flags.c_contiguous):
        return
    known = tensor.storage.tensors()
    tensors = {id(t): t for t in (base, *known, tensor)}.values()
    arrays = [t._value for t in tensors if type(t._value) is np.ndarray]
    whole = tensor.whole()
    if len(arrays) < len(tensors) or not channels_last(whole) or whole.flags.c_contiguous:
        return
    new = do(kernels.in_rows, whole)
    changes = []
    for t, array in zip(tensors, arrays, strict=True):
        values = new if array is whole else moved(array, whole, new)
        if values is None:  # it looks into this memory in a way that the new order has not
            return
        changes.append((t, values))
    move_to(tensor, new, changes)


def move_to(tensor: Variable, whole: Array, changes: list[tuple[Variable, Array]]) -> None:
    """Have ``whole`` as the memory of ``tensor``, and the tensors that share it at their places."""
    tensor.storage.moved_to(whole)
    for t, values in changes:
        t._value = values
        if t._saved is not None:
            t._saved._value = values
        made = t.node.saved if type(t.node) is Node else None
        if made and type(made.get("y")) is SavedValue and made["y"].storage is t.storage:
            made["y"]._value = values


def moved(view: Array, old: Array, new: Array) -> Array | None:
    """The part of ``new`` that ``view`` is of ``old``, the same images but channels last in memory;
    None if no strides give it.
    """
    item = old.itemsize
    start, rest = divmod(_address(view) - _address(old), item)
    if view.dtype != old.dtype or rest or not view.size:
        return None
    where = np.moveaxis(np.arange(old.size).reshape(old.shape), 1, -1).ravel()
    places = where[places_of(start, view.shape, steps_of(view))]
    first = int(places.flat[0])
    steps = [int(np.moveaxis(places, d, 0)[1:2].flat[0] - first) if n > 1 else 0
             for d, n in enumerate(view.shape)]  # fmt: skip
    if not np.array_equal(places_of(first, view.shape, steps), places):
        return None
    strides = [s * item for s in steps]
    out: Array = np.ndarray(view.shape, view.dtype, new, first * item, strides)
    out.flags.writeable = view.flags.writeable
    return out


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


# ---- any place in a memory -----------------------------------------------------------------


def memory_of(array: Array) -> Array:
    """The first array of which ``array`` is a view (itself if it is none)."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def bytes_of(root: Array) -> Array:
    """The bytes of an array without gaps, in the order in which they lie."""
    order = sorted(range(root.ndim), key=lambda d: -root.strides[d])
    flat: Array = root.transpose(order).reshape(-1).view(np.uint8)
    return flat


def view_on(flat: Array, layout: Layout) -> Array:
    """The array that lies so in the bytes ``flat``."""
    dtype, shape, strides, offset = layout
    out: Array = np.ndarray(shape, dtype, flat, offset, strides)
    # One number that stands for many is no place to write to.
    once = all(s or n < 2 for s, n in zip(strides, shape, strict=True))
    out.flags.writeable = flat.flags.writeable and (once or not out.size)
    return out


def layout_of(array: Array, root: Array) -> Layout:
    """Where ``array`` lies in the memory of ``root``."""
    start = _address(array) - byte_bounds(root)[0]
    return array.dtype, array.shape, array.strides, start if array.size else 0


def has_gaps(root: Array) -> bool:
    """Whether not all bytes from the first to the last are the array's: it is not NumPy's then."""
    low, high = byte_bounds(root)
    return high - low != root.nbytes


def elements_at(x: Array, start: int, shape: Sides, steps: Sides) -> Array:
    """A view of the memory around ``x``: from ``start``, elements ``steps`` apart along each axis.

    All are counted in elements, ``start`` from the first one of ``x``. A copy of what ``x`` sees,
    if its memory has gaps.
    """
    root = memory_of(x)
    if has_gaps(root):
        root = x = x.copy()
    offset = _address(x) - byte_bounds(root)[0] + start * x.itemsize
    strides = tuple(s * x.itemsize for s in steps)
    if 0 in shape:  # NumPy checks where nothing is
        offset, strides = 0, (0,) * len(strides)
    return view_on(bytes_of(root), (x.dtype, tuple(shape), strides, offset))


def steps_of(x: Array) -> tuple[int, ...]:
    """How far apart, in elements, those of each axis lie: PyTorch's strides."""
    return tuple(s // x.itemsize for s in x.strides)


def places_of(start: int, shape: Sides, steps: Sides) -> Array:
    """``start + i*steps[0] + j*steps[1] + ...`` at all places (i, j, ...) of ``shape``."""
    out = np.full((), start)
    for n, step in zip(shape, steps, strict=True):
        out = out[..., None] + np.arange(n) * step
    return out


def extent_of(shape: Sides, steps: Sides) -> int:
    """How many elements lie between the first and the last, both included."""
    if 0 in shape:
        return 0
    return 1 + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))


def order_of(memory_format: memory_format | None) -> Literal["C", "K"]:
    """NumPy's word for how a copy lies in memory: in row-major order, or as what is copied."""
    return "C" if memory_format is not None and memory_format.name == "contiguous_format" else "K"
