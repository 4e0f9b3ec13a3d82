"""Values between processes: arrays go through shared memory, all else as a pickle.

The memory is a file without a name, whose descriptor is sent: whoever dies, and however, the system
frees it with the last process that has it. Where descriptors cannot be sent (Windows), arrays go
through the pipe, as do those that are smaller than what a mapping costs.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import reduction
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tinygrad_cnn.errors import DtypeError
from tinygrad_cnn.functions import as_tensor, copying
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_LEAST: Final = 1 << 16  # bytes for which memory is shared
_MOST: Final = 256  # mappings at a time: each has a descriptor, of which a process may have 1024
_ALIGNED: Final = 64  # bytes, a line of the cache
_SHARES: Final = os.name == "posix"

_mappings: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


class _Packer(pickle.Pickler):
    """Pickles with the numbers of arrays apart, and arrays as they lie in memory."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is np.ndarray and value.nbytes and not value.dtype.hasobject:
            order = sorted(range(value.ndim), key=lambda d: -abs(value.strides[d]))
            dense = np.ascontiguousarray(value.transpose(order))
            flat = dense.reshape(-1).view(np.uint8)
            return _array, (value.dtype, value.shape, order, pickle.PickleBuffer(flat.data))
        if type(value) is Tensor:
            if not value.is_leaf:
                raise RuntimeError(
                    "DataLoader: a batch has a Tensor with a graph, which cannot leave a worker "
                    "process: detach() it, or let threads work (`multiprocessing_context` None)"
                )
            # Not the memory around it, which may be that of the whole data set.
            return _tensor, (value._array, value.requires_grad), copying.attributes(value)
        return NotImplemented


def _array(dtype: Any, shape: tuple[int, ...], order: Sequence[int], raw: Any) -> Array:
    dense: Array = np.frombuffer(raw, np.uint8).view(dtype).reshape([shape[d] for d in order])
    return dense.transpose(np.argsort(order)) if order else dense.reshape(())


def _tensor(array: Array, wanted: bool) -> Tensor:
    out = as_tensor(array)
    return out.requires_grad_() if wanted else out


@dataclass(frozen=True)
class Packed:
    """A value, ready to be sent once."""

    data: memoryview
    sizes: list[int]
    parts: list[memoryview]
    memory: int | None  # the descriptor of the file that has the parts


def pack(value: object) -> Packed:
    """Pickle ``value``, and put its arrays into shared memory if they are large.

    Raises
    ------
    TypeError
        it cannot be pickled.
    RuntimeError
        a Tensor has a graph.
    OSError
        there is no memory.
    """
    file = io.BytesIO()
    buffers: list[pickle.PickleBuffer] = []
    try:
        _Packer(file, 5, buffer_callback=buffers.append).dump(value)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise DtypeError(
            f"DataLoader: a batch cannot leave a worker process, as it cannot be pickled: {error}"
        ) from error
    parts = [buffer.raw() for buffer in buffers]
    sizes = [part.nbytes for part in parts]
    if not _SHARES or sum(sizes) < _LEAST:
        return Packed(file.getbuffer(), sizes, parts, None)
    memory = _file()
    try:
        *starts, end = _starts(sizes)
        for part, start in zip(parts, starts, strict=True):
            while part.nbytes:
                written = os.pwrite(memory, part, start)  # at most 2 GiB
                part, start = part[written:], start + written
        os.truncate(memory, end)
    except BaseException:
        os.close(memory)
        raise
    return Packed(file.getbuffer(), sizes, [], memory)


def send(to: Connection, tag: object, packed: Packed) -> None:
    """Send a small ``tag`` and what was packed.

    Raises
    ------
    OSError
        nobody reads it.
    """
    try:
        to.send((tag, packed.sizes, packed.memory is not None))
        to.send_bytes(packed.data)
        for part in packed.parts:
            to.send_bytes(part)
        if packed.memory is not None:
            reduction.send_handle(to, packed.memory, None)  # where it is not Windows
    finally:
        if packed.memory is not None:
            os.close(packed.memory)


def receive(source: Connection) -> tuple[Any, Any, list[Any]]:
    """A tag, and what `unpack` makes the value of.

    Raises
    ------
    EOFError, OSError
        the sender has closed its end, or died.
    """
    tag, sizes, shared = source.recv()
    data = source.recv_bytes()
    if not shared:
        return tag, data, [bytearray(source.recv_bytes()) for _ in sizes]
    memory = reduction.recv_handle(source)
    try:
        whole = _mapped(memory, _starts(sizes)[-1])
    finally:
        os.close(memory)
    return tag, data, [whole[at : at + n] for at, n in zip(_starts(sizes), sizes, strict=False)]


def unpack(data: Any, buffers: list[Any]) -> Any:
    """The value, its arrays on the memory that was sent."""
    # what this library packed, between its own processes
    return pickle.loads(data, buffers=buffers)  # nosec B301


def _starts(sizes: Sequence[int]) -> list[int]:
    """Where parts of these sizes begin in the memory, and where it ends."""
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + -(-size // _ALIGNED) * _ALIGNED)
    return starts


def _file() -> int:
    """The descriptor of a new file without a name, in memory where the system can."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("tinygrad_cnn-batch")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _mapped(memory: int, size: int) -> memoryview:
    """The memory; a copy of it where many are held already."""
    if len(_mappings) >= _MOST:
        held = memoryview(bytearray(size))
        with open(memory, "rb", buffering=0, closefd=False) as file:
            file.seek(0)
            read = 0
            while read < size:
                read += file.readinto(held[read:])
        return held
    # All pages at once, rather than one fault for each.
    flags = getattr(mmap, "MAP_SHARED", 0) | getattr(mmap, "MAP_POPULATE", 0)
    mapping = mmap.mmap(memory, size, flags=flags)  # type: ignore[call-arg,unused-ignore]
    _mappings.add(mapping)
    return memoryview(mapping)
