"""Copies of tensors, by `copy` and `pickle`, that share memory with each other as the originals do.

Each tensor is taken apart into its memory, as a whole, and where it lies in it. One `Memory` stands
for all tensors of one memory, so that the memo of `copy.deepcopy` or of a pickler, which knows
objects it has seen, copies it once.
"""

from __future__ import annotations

import copyreg
import threading
import weakref
from typing import Any

from tinygrad_cnn.autograd.layout import Layout, bytes_of, has_gaps, layout_of, memory_of, view_on
from tinygrad_cnn.autograd.variable import Storage, Variable
from tinygrad_cnn.kernels.forks import free_in_child
from tinygrad_cnn.types import Array, Params

_known: weakref.WeakValueDictionary[int, Memory] = weakref.WeakValueDictionary()
"""The `Memory` of an array that owns its memory, by the array's id, while somebody holds it."""
_lock = free_in_child(threading.RLock())


class Memory:
    """The bytes of a memory, and the storage that tensors made on them share."""

    __slots__ = ("__weakref__", "flat", "root", "storage")

    def __init__(self, flat: Array) -> None:
        self.flat = flat if flat.flags.writeable else flat.copy()
        self.root = self.flat
        self.storage = Storage()

    @classmethod
    def of(cls, array: Array) -> tuple[Memory, Layout]:
        """The memory that ``array`` lies in, always the same object, and where it lies there."""
        root = memory_of(array)
        if has_gaps(root):
            root = array = array.copy(order="K")
        with _lock:  # of two threads that copy one model, each gets what the other made
            held = _known.get(id(root))
            if held is None or held.root is not root:
                held = object.__new__(cls)
                held.root, held.flat = root, bytes_of(root)
                _known[id(root)] = held
        return held, layout_of(array, root)

    def __deepcopy__(self, memo: dict[int, Any]) -> Memory:
        return Memory(self.flat.copy())

    def __reduce__(self) -> Any:
        return Memory, (self.flat,)


def rebuild(kind: Any, memory: Memory, layout: Layout, wanted: bool) -> Any:
    """A tensor of the class ``kind`` on ``memory``; ``wanted`` says whether it wants a gradient."""
    out = leaf(kind, view_on(memory.flat, layout), memory.storage, wanted)
    memory.storage.shared_by(out, out)
    memory.storage.moved_to(memory.flat)  # as a whole, also if this looks at a part of it
    return out


def leaf(kind: Any, array: Array, storage: Storage, wanted: bool) -> Any:
    """A tensor of the class ``kind`` around ``array``; no ``__init__`` runs."""
    out = kind.__new__(kind)
    out._value, out.storage = array, storage
    out.node = out.view_of = out._saved = out._grad = None
    if wanted:
        out.want_gradient(True)
    return out


def attributes(tensor: Any) -> tuple[Params, Params] | None:
    """What users hung on a tensor, in its ``__dict__`` and in slots of its class, as pickle's
    state; None if there is nothing.
    """
    names = copyreg._slotnames(type(tensor))  # type: ignore[attr-defined]  # as pickle's own
    mine = {n for c in Variable.__mro__ for n in getattr(c, "__slots__", ())}
    slots = {n: getattr(tensor, n) for n in names if n not in mine and hasattr(tensor, n)}
    return (tensor.__dict__, slots) if tensor.__dict__ or slots else None
