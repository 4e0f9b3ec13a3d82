"""Read the files of ``torch.save``: a pickle that names tensors, and their memory beside it.

The pickle is read by `tinygrad_cnn.unpickling`, so no code is run. There are two formats
(``torch/serialization.py`` and ``caffe2/serialize/inline_container.cc`` of PyTorch): since version
1.6 a zip archive in which memories lie uncompressed; before, a row of pickles and the memories.
"""

from __future__ import annotations

import struct
import sys
import zipfile
import zlib
from io import BytesIO
from typing import Any

import numpy as np

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.functions.copying import Memory
from tinygrad_cnn.serialization.source import SerializationError, Source
from tinygrad_cnn.serialization.torch_names import StorageType
from tinygrad_cnn.serialization.torch_values import Stored, Values
from tinygrad_cnn.types import Array
from tinygrad_cnn.unpickling import MALFORMED, Budget

_ZIP = b"PK\x03\x04"
_LEGACY = bytes.fromhex("8a0a6cfc9c46f9206aa850192e")  # the first number of the older format
_PROTOCOL = 1001  # its version
_HEADER = 30  # bytes of an entry in the archive, before its name
_WRONG = (
    *MALFORMED, EOFError, MemoryError, NotImplementedError, OSError, RecursionError, RuntimeError,
    struct.error, zipfile.BadZipFile,
)  # fmt: skip


def is_torch(source: Source) -> bool:
    """Whether ``torch.save`` wrote this, as far as one can tell."""
    start = source.read(0, 64)
    return start.startswith(_ZIP) or (start.startswith(b"\x80") and _LEGACY in start)


def read_torch(source: Source) -> Any:
    """What was saved.

    Raises
    ------
    SerializationError
        It is damaged, or has more in it than tensors and plain values.
    """
    try:
        return _Archive(source).value() if source.read(0, 4) == _ZIP else _Row(source).value()
    except SerializationError:
        raise
    except _WRONG as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        if said.startswith("refused `"):
            raise SerializationError(
                f"load: {source.name} has more than tensors and plain values in it: {said}, as "
                f"nothing in a file is run. In PyTorch, save the state_dict: "
                f"torch.save(model.state_dict(), …)"
            ) from error
        raise SerializationError(f"load: {source.name} is damaged ({said})") from error


class _Archive:
    """A zip archive with ``NAME/data.pkl`` and ``NAME/data/0``, ``NAME/data/1``, …"""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.left = Budget(source.size)
        self.memories: dict[str, Memory] = {}
        with zipfile.ZipFile(source.file) as archive:
            self.entries = {info.filename: info for info in archive.infolist()}
        found = [name for name in self.entries if name.count("/") == 1 and name[-9:] == "/data.pkl"]
        if not found:
            raise SerializationError(f"load: {source.name} is a zip archive, but not of torch.save")
        self.root = found[0].removesuffix("data.pkl")
        if any(name.startswith((f"{self.root}code/", f"{self.root}constants.pkl"))
               for name in self.entries):  # fmt: skip
            name = "model.pt" if source.path is None else source.path.name
            raise SerializationError(
                f"load: {source.name} is a TorchScript program. In PyTorch, write its state_dict, "
                f"and load that:\n  torch.save(torch.jit.load({name!r}).state_dict(), 'new.pt')"
            )
        order = "byteorder"
        self.order = bytes(self.bytes(order)).decode() if self.root + order in self.entries else ""

    def value(self) -> Any:
        """What was saved."""
        pickle = bytes(self.bytes("data.pkl"))
        return Values(self.source.size).read(pickle, self.stored)

    def stored(self, what: Any) -> Stored:
        """The memory of a persistent id."""
        tag, kind, key, _place, count = what
        if tag != "storage" or not isinstance(kind, StorageType) or not isinstance(key, str):
            raise ArgumentError("an id that is not one of a storage")
        if type(count) is not int:
            raise ArgumentError("a storage without a size")
        memory = self.memories.get(key)
        if memory is None:
            values = self.bytes(f"data/{key}", mapped=True)
            if self.order not in ("", sys.byteorder):
                values = _swapped(values, kind)
            memory = self.memories[key] = Memory(values)
        return Stored(memory, kind, 0, count * kind.dtype.itemsize)

    def bytes(self, name: str, mapped: bool = False) -> Array:
        """An entry of the archive, each once."""
        info = self.entries[self.root + name]
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise ArgumentError(f"{name} is compressed, which PyTorch's files are not")
        header = self.source.read(info.header_offset, _HEADER)
        if header[:4] != _ZIP:
            raise ArgumentError(f"{name} is not where it should be")
        start = info.header_offset + _HEADER + sum(struct.unpack_from("<HH", header, _HEADER - 4))
        self.left.take(info.file_size)
        values = self.source.array(start, info.file_size)
        checked = info.CRC and not (mapped and self.source.is_mapped)  # 0: it was not computed
        if checked and zlib.crc32(values.data) != info.CRC:
            raise ArgumentError(f"the checksum of {name} does not match")
        return values


class _Row:
    """Pickles: a number, a version, sizes of types, the value, the keys; and memories by key."""

    def __init__(self, source: Source) -> None:
        self.file = BytesIO(source.read(0, source.size))
        self.size, self.left = source.size, Budget(source.size)
        self.memories: dict[str, tuple[Memory, StorageType]] = {}

    def value(self) -> Any:
        """What was saved."""
        self.read()
        version, system = self.read(), self.read()
        if version != _PROTOCOL or system["little_endian"] is not (sys.byteorder == "little"):
            raise ArgumentError("another version, or of a machine with another order of bytes")
        start = self.file.tell()
        self.read(self.stored)
        self.fill(self.read())
        self.file.seek(start)
        return self.read(self.stored)  # again, now that it is known what is in memory

    def read(self, persistent: Any = None) -> Any:
        """The next value."""
        return Values(self.size).read(self.file, persistent)

    def fill(self, keys: Any) -> None:
        """Have the memories filled, which come in the order of ``keys``."""
        if sorted(keys) != sorted(self.memories):
            raise ArgumentError("the memories of other tensors")
        for key in keys:
            memory, kind = self.memories[key]
            size = int.from_bytes(self.file.read(8), "little", signed=True) * kind.dtype.itemsize
            if size != memory.flat.nbytes or self.file.readinto(memory.flat.data) != size:
                raise ArgumentError("a memory that ends too early")

    def stored(self, what: Any) -> Stored:
        """The memory of a persistent id, to be filled."""
        tag, kind, key, _place, count, part = what
        if tag != "storage" or not isinstance(kind, StorageType) or not isinstance(key, str):
            raise ArgumentError("an id that is not one of a storage")
        if type(count) is not int or count < 0:
            raise ArgumentError("a storage without a size")
        if key not in self.memories:
            size = count * kind.dtype.itemsize
            self.left.take(size)
            self.memories[key] = Memory(np.zeros(size, np.uint8)), kind
        memory, _ = self.memories[key]
        whole = Stored(memory, kind, 0, memory.flat.nbytes)
        if part is None:
            return whole
        _key, offset, count = part
        size = whole.dtype.itemsize
        return Stored(memory, kind, offset * size, count * size)


def _swapped(values: Array, kind: StorageType) -> Array:
    """Numbers of a machine with the other order of bytes."""
    if kind.name is None:
        raise ArgumentError("bytes of a machine with another order of them")
    return values.view(kind.dtype).byteswap().view(np.uint8)
