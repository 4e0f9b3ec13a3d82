"""How tensors lie in memory: row by row, or, between kernels, as images channels last."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Literal

import numpy as np

from tinygrad_cnn.autograd.node import Node, SavedValue
from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from tinygrad_cnn.autograd.variable import Variable


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
    known = tensor.storage.tensors()  # the one that others were made from comes first
    first = [] if base is tensor and known else [base]
    tensors = {id(t): t for t in (*first, *known, tensor)}.values()
    arrays = [t._value for t in tensors if type(t._value) is np.ndarray]
    plain = [a for a in arrays if 0 not in a.strides or a.flags.c_contiguous]
    whole = max(plain, key=lambda a: a.nbytes, default=None)
    if whole is None or len(arrays) < len(tensors):
        return
    if not channels_last(whole) or whole.flags.c_contiguous:
        return
    new = np.ascontiguousarray(whole)
    changes = []
    for t, array in zip(tensors, arrays, strict=True):
        values = new if array is whole else _moved(array, whole, new)
        if values is None:  # it looks into this memory in a way that the new order has not
            return
        changes.append((t, values))
    for t, values in changes:
        t._value = values
        if t._saved is not None:
            t._saved._value = values
        made = t.node.saved if type(t.node) is Node else None
        if made and type(made.get("y")) is SavedValue and made["y"].storage is t.storage:
            made["y"]._value = values


def _moved(view: Array, old: Array, new: Array) -> Array | None:
    """The part of ``new`` that ``view`` is of ``old``, the same images but channels last in memory;
    None if no strides give it.
    """
    item = old.itemsize
    start, rest = divmod(_address(view) - _address(old), item)
    if view.dtype != old.dtype or rest or not view.size:
        return None
    where = np.moveaxis(np.arange(old.size).reshape(old.shape), 1, -1).ravel()
    places = where[_line(view.shape, start, [s // item for s in view.strides])]
    first = int(places.flat[0])
    steps = [int(np.moveaxis(places, d, 0)[1:2].flat[0] - first) if n > 1 else 0
             for d, n in enumerate(view.shape)]  # fmt: skip
    if not np.array_equal(_line(view.shape, first, steps), places):
        return None
    strides = [s * item for s in steps]
    out: Array = np.ndarray(view.shape, view.dtype, new, first * item, strides)
    out.flags.writeable = view.flags.writeable
    return out


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _line(shape: tuple[int, ...], start: int, steps: list[int]) -> Array:
    """``start + i*steps[0] + j*steps[1] + ...`` at all places (i, j, ...) of ``shape``."""
    out = np.full((), start)
    for n, step in zip(shape, steps, strict=True):
        out = out[..., None] + np.arange(n) * step
    return out


def order_of(memory_format: memory_format | None) -> Literal["C", "K"]:
    """NumPy's word for how a copy lies in memory: in row-major order, or as what is copied."""
    return "C" if memory_format is not None and memory_format.name == "contiguous_format" else "K"
