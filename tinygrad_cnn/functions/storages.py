"""The memory under a tensor: its size, the place of a tensor in it, and other memory for one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from tinygrad_cnn.autograd.layout import (
    bytes_of,
    has_gaps,
    layout_of,
    memory_format,
    memory_of,
    move_to,
    view_on,
)
from tinygrad_cnn.autograd.modes import is_recording
from tinygrad_cnn.autograd.node import Leaf
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.functions import arranging, creation
from tinygrad_cnn.functions.convert import size_of
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.inplace import become
from tinygrad_cnn.types import Array, Sizes

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


class UntypedStorage:
    """The bytes that a tensor shares with its views: what `Tensor.untyped_storage` returns.

    >>> import tinygrad_cnn as tg
    >>> storage = tg.arange(6)[2:].untyped_storage()
    >>> storage.nbytes(), storage.tolist()[16]
    (48, 2)
    """

    def __init__(self, tensor: Variable) -> None:
        self._tensor: Any = wrap(tensor._array, storage=tensor.storage)
        tensor.storage.shared_by(tensor, self._tensor)

    def nbytes(self) -> int:
        """How many bytes there are."""
        found: int = self._tensor.bytes_in_storage()
        return found

    size = __len__ = nbytes

    def data_ptr(self) -> int:
        """The address of the first byte."""
        _ = self._tensor.array  # who knows the address may write there
        return byte_bounds(self._tensor.whole())[0] if self.nbytes() else 0

    def tolist(self) -> list[int]:
        """The bytes as integers."""
        self._tensor.in_rows()
        listed: list[int] = _bytes_under(self._tensor).tolist()
        return listed

    def __repr__(self) -> str:
        return f"UntypedStorage({self.nbytes()} bytes)"


def _bytes_under(x: Variable) -> Array:
    whole = x.whole()
    root = memory_of(whole)
    if has_gaps(root):
        raise ArgumentError("untyped_storage: it is another library's memory, which has gaps")
    low, high = byte_bounds(whole)
    return bytes_of(root)[low - byte_bounds(root)[0] :][: high - low if whole.size else 0]


def _rows(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(max(n, 1) for n in shape[d + 1 :]) for d in range(len(shape)))


def resize_(self: Tensor, *sizes: Sizes, memory_format: memory_format | None = None) -> Tensor:
    """Have another shape, row by row from where the tensor begins in its memory.

    Memory that is too small grows, for all tensors that share it; what is new is 0, where PyTorch
    has any number. ``memory_format`` changes nothing.

    Raises
    ------
    RuntimeError
        The tensor requires gradients.

    >>> import tinygrad_cnn as tg
    >>> tg.tensor([1, 2, 3]).resize_(2, 2)
    tensor([[1, 2],
            [3, 0]])
    """
    shape = size_of("resize_", sizes)
    if self.current_node() is not None:
        raise RuntimeError("resize_: this tensor requires gradients; use reshape()")
    offset = self.offset_in_storage()
    wanted = (offset + math.prod(shape)) * self._value.dtype.itemsize
    if 0 not in shape and wanted > self.bytes_in_storage():
        _grow(self, wanted)
    if shape == self._value.shape:
        self.storage.written("resize_")
    else:
        become(self, arranging.as_strided(self, shape, _rows(shape), offset), "resize_")
    return self


def _grow(x: Variable, nbytes: int) -> None:
    """Have larger memory, for all tensors that share it."""
    x.storage.settle()
    x.storage.shared_by(x, x)
    base = x if x.view_of is None else x.view_of.base
    tensors = {id(t): t for t in (base, x, *x.storage.tensors())}.values()
    before, new = _bytes_under(x), np.zeros(nbytes, np.uint8)
    new[: before.size] = before
    whole = x.whole()
    move_to(x, new, [(t, view_on(new, layout_of(t._array, whole))) for t in tensors])


@export()
def resize_as_(
    input: Tensor, the_template: Variable, *, memory_format: memory_format | None = None
) -> Tensor:
    """`resize_` to the shape of another tensor."""
    return resize_(input, the_template.shape)


def set_(
    self: Tensor,
    source: Variable | UntypedStorage | None = None,
    storage_offset: int = 0,
    size: Sizes | None = None,
    stride: Sizes | None = None,
) -> Tensor:
    """Be a tensor in the memory of ``source``, which is a tensor, a storage, or nothing.

    Parameters
    ----------
    storage_offset, size, stride
        Where, in elements of the storage. Default: where the tensor ``source`` lies, or all of a
        storage.

    Raises
    ------
    TypeError
        ``source`` is a tensor of another dtype.
    RuntimeError
        One of both requires gradients while operations are recorded: there is no derivative.
    """
    self.check_changeable("set_", False)
    kind = self._value.dtype
    if isinstance(source, UntypedStorage):
        flat = _bytes_under(source._tensor)
        flat = flat[: flat.size // kind.itemsize * kind.itemsize]
        given: Any = wrap(flat.view(kind), storage=source._tensor.storage)
    else:
        given = creation.empty(0, dtype=kind) if source is None else source
    if given._value.dtype != kind:
        raise DtypeError(f"set_: `source` is {given.dtype}, expected {kind}")
    if is_recording() and (self.current_node() or given.current_node()) is not None:
        raise RuntimeError("set_: there is no derivative; use it under no_grad()")
    if size is not None:
        shape = size_of("set_", (size,))
        steps = _rows(shape) if stride is None else size_of("set_", (stride,))
        given = arranging.as_strided(given.detach(), shape, steps, storage_offset)
    if views := self.views():  # which stay where they are
        before = wrap(self._array, self.node, self.storage)
        for view in views:
            view.base = before
    self.view_of = None
    self._set_data(given)
    self._saved = None
    self.storage.written("set_")
    if type(self.node) is Leaf:
        self.node.shape = self._value.shape
    return self


def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether both are the same place in the same memory, seen in the same way."""

    def place(x: Tensor) -> Any:
        at = (byte_bounds(x.whole())[0], x.offset_in_storage()) if x._value.size else None
        return at, x._array.shape, x._array.strides

    return bool(place(self) == place(tensor))
