"""Write files that ``torch.load(weights_only=True)`` reads: the zip archive of ``torch.save``.

The pickle in it has only the opcodes and names that PyTorch's weights-only reader takes
(``torch/_weights_only_unpickler.py``). Equal objects give equal bytes.
"""

from __future__ import annotations

import struct
import sys
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from tinygrad_cnn.autograd.devices import device
from tinygrad_cnn.autograd.layout import bytes_of, has_gaps, memory_of
from tinygrad_cnn.nn.module.parameter import Parameter
from tinygrad_cnn.serialization.files import Buffers
from tinygrad_cnn.serialization.nested import name_of, refused, where
from tinygrad_cnn.serialization.sharing import spans
from tinygrad_cnn.serialization.source import SerializationError
from tinygrad_cnn.serialization.torch_names import DTYPES, STORAGES
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array, DType, Size

_ROOT = "archive"
_ALIGNMENT = 64  # bytes, of memories in the file
_LARGE = 2**31 / 1.05  # bytes of an entry from which on `zipfile` adds 20 to its header
_EXPECTED = (
    "dicts, lists, tuples, sets, tensors, numbers, text, bytes, dtypes or None: what PyTorch reads "
    "from such a file"
)
_CLASSES = {dtype: name for name, dtype in STORAGES.items()}

Path = tuple[str, ...]


def torch_buffers(obj: object) -> Buffers:
    """The bytes of a file with ``obj``.

    Raises
    ------
    SerializationError
        Something in it is of a type that the weights-only reader refuses; the message says where.
    """
    try:
        memories = _Memories({id(t): t for t in _tensors(obj)}.values())
        pickle = _Pickle(memories)
        pickle.put(obj, ())
    except RecursionError:
        raise SerializationError("save: `obj` is nested too deeply") from None
    entries: dict[str, bytes | memoryview] = {
        "data.pkl": b"\x80\x02" + bytes(pickle.out) + b".",
        "byteorder": sys.byteorder.encode(),
        **{f"data/{key}": content for key, content in enumerate(memories.contents)},
        "version": b"3\n",
    }
    return _archive(entries)


def _tensors(obj: object) -> Iterator[Tensor]:
    """All tensors in ``obj``, in the order in which they stand there."""
    seen: set[int] = set()
    left = [obj]
    while left:
        item = left.pop()
        if isinstance(item, Tensor):
            yield item
        elif isinstance(item, list | tuple | Mapping) and id(item) not in seen:
            seen.add(id(item))
            left.extend(reversed([*item.values()] if isinstance(item, Mapping) else item))


class _Place:
    """Where a tensor lies in the file: the number of its memory, and the rest in numbers."""

    def __init__(self, memory: int, array: Array, offset: int, mixed: bool, size: int) -> None:
        item = array.dtype.itemsize
        self.memory, self.shape, self.dtype = memory, array.shape, array.dtype
        self.offset, self.strides = offset // item, tuple(s // item for s in array.strides)
        self.mixed = mixed or array.dtype.name not in _CLASSES
        self.size = size if self.mixed else size // item


class _Memories:
    """The memories of tensors: those of tensors that overlap are one, and hold no more than these.

    A tensor that is alone in its memory, but has gaps in it, is stored without them.
    """

    def __init__(self, tensors: Any) -> None:
        self.contents: list[memoryview] = []
        self._places: dict[int, _Place] = {}
        kept = list(tensors)
        arrays = [tensor._array for tensor in kept]
        numbers: dict[int, tuple[int, int]] = {}  # the memory of an array, and where that begins
        for low, high, members in spans(arrays):
            group = [arrays[i] for i in members]
            content = _between(low, high, group)
            if content is None:
                continue
            mixed = len({array.dtype for array in group}) > 1
            for i in members:
                at = arrays[i].__array_interface__["data"][0] - low
                self._places[id(kept[i])] = _Place(min(members), arrays[i], at, mixed, high - low)
            numbers[min(members)] = (low, len(self.contents))
            self.contents.append(content)
        self._in_order(kept, arrays, numbers)

    def _in_order(self, kept: Any, arrays: Any, numbers: dict[int, tuple[int, int]]) -> None:
        """Number memories in the order in which tensors name them, not by their addresses."""
        found, self.contents = self.contents, []
        for i, tensor in enumerate(kept):
            place = self._places.get(id(tensor))
            if place is None:
                alone = arrays[i].copy(order="K")
                place = _Place(len(self.contents), alone, 0, False, alone.nbytes)
                self._places[id(tensor)] = place
                self.contents.append(_bytes(alone))
            elif place.memory == i:
                place.memory = len(self.contents)
                self.contents.append(found[numbers[i][1]])
            else:
                place.memory = self._places[id(kept[place.memory])].memory

    def place(self, tensor: Tensor) -> _Place:
        """Where a tensor lies."""
        return self._places[id(tensor)]


def _between(low: int, high: int, group: list[Array]) -> memoryview | None:
    """The bytes between two addresses; None if they are not to be stored as they lie."""
    root = memory_of(group[0])
    alone_with_gaps = len(group) == 1 and group[0].nbytes < high - low
    if alone_with_gaps or has_gaps(root) or any(memory_of(array) is not root for array in group):
        return None
    for array in group:
        item = array.dtype.itemsize
        steps = (array.__array_interface__["data"][0] - low, *array.strides)
        if any(s < 0 or s % item for s in steps) or (high - low) % item:
            return None  # PyTorch has no such strides
    start = byte_bounds(root)[0]
    return bytes_of(root)[low - start : high - start].data


def _bytes(array: Array) -> memoryview:
    """The bytes of an array without gaps, in the order in which they lie."""
    return bytes_of(array).data


class _Pickle:
    """A pickle of protocol 2. What comes twice, but for text, is written once."""

    def __init__(self, memories: _Memories) -> None:
        self.out = bytearray()
        self.memories = memories
        self.memo: dict[int, tuple[int, object]] = {}

    def put(self, obj: Any, path: Path) -> None:
        """Write ``obj``, which stands at ``path``."""
        if id(obj) in self.memo:
            self.out += b"j" + struct.pack("<I", self.memo[id(obj)][0])
        elif obj is None or obj is True or obj is False:
            self.out += {None: b"N", True: b"\x88", False: b"\x89"}[obj]
        elif isinstance(obj, np.generic):
            self.put(obj.item(), path)
        else:
            for kinds, write in _WRITERS:
                if isinstance(obj, kinds):
                    write(self, obj, path)
                    return
            raise refused(obj, path, _EXPECTED)

    def keep(self, obj: object) -> None:
        """Have what was written last in the memo."""
        self.memo[id(obj)] = len(self.memo), obj
        self.out += b"r" + struct.pack("<I", len(self.memo) - 1)

    def name(self, module: str, name: str) -> None:
        """A name of PyTorch's or Python's."""
        self.out += f"c{module}\n{name}\n".encode()

    def call(self, module: str, name: str, arguments: tuple[Any, ...], path: Path = ()) -> None:
        """What calling it gives."""
        self.name(module, name)
        self.items(arguments, path)
        self.out += b"R"

    def items(self, values: tuple[Any, ...], path: Path) -> None:
        """A tuple."""
        self.out += b"("
        for i, value in enumerate(values):
            self.put(value, (*path, str(i)))
        self.out += b"t"

    def integer(self, value: int, _path: Path) -> None:
        """Of any size."""
        if 0 <= value < 256:
            self.out += b"K" + value.to_bytes(1, "little")
        elif -(2**31) <= value < 2**31:
            self.out += b"J" + struct.pack("<i", value)
        else:
            raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            if len(raw) > 255:
                raise SerializationError(f"save: an integer of {value.bit_length()} bits")
            self.out += b"\x8a" + len(raw).to_bytes(1, "little") + raw

    def real(self, value: float, _path: Path) -> None:
        """Of float64."""
        self.out += b"G" + struct.pack(">d", value)

    def text(self, value: str, _path: Path) -> None:
        """In UTF-8."""
        raw = value.encode("utf-8", "surrogatepass")
        self.out += b"X" + struct.pack("<I", len(raw)) + raw

    def list(self, values: list[Any], path: Path) -> None:
        """May hold itself."""
        self.out += b"]"
        self.keep(values)
        self.out += b"("
        for i, value in enumerate(values):
            self.put(value, (*path, str(i)))
        self.out += b"e"

    def tuple(self, values: tuple[Any, ...], path: Path) -> None:
        """A named one is a plain one."""
        self.items(values, path)
        self.keep(values)

    def mapping(self, values: Mapping[Any, Any], path: Path) -> None:
        """A dict, or an OrderedDict with the versions of a ``state_dict``."""
        if isinstance(values, Counter):
            self.call("collections", "Counter", (dict(values),), path)
            self.keep(values)
            return
        ordered = isinstance(values, OrderedDict)
        if ordered:
            self.name("collections", "OrderedDict")
        self.out += b")R" if ordered else b"}"
        self.keep(values)
        self.out += b"("
        for key, value in values.items():
            if not isinstance(key, str | bytes | int | float | None):
                raise SerializationError(f"save: key {key!r} {where(path)} is a {name_of(key)}")
            self.put(key, path)
            self.put(value, (*path, str(key)))
        self.out += b"u"
        metadata = getattr(values, "_metadata", None)
        if ordered and isinstance(metadata, Mapping):
            self.put({"_metadata": metadata}, path)
            self.out += b"b"

    def tensor(self, value: Tensor, path: Path) -> None:
        """One whose memory is a part of the archive; a parameter is such a tensor in a call."""
        trained = value.requires_grad
        if isinstance(value, Parameter):
            self.name("torch._utils", "_rebuild_parameter")
            self.out += b"("
            self.rebuilt(value, False, path)
            self.put(trained, path)
            self.out += b"ccollections\nOrderedDict\n)RtR"
        else:
            self.rebuilt(value, trained, path)
        self.keep(value)

    def rebuilt(self, value: Tensor, trained: bool, path: Path) -> None:
        """A call that makes it."""
        place = self.memories.place(value)
        dtype = _dtype_name(place.dtype, path)
        self.name("torch._utils", f"_rebuild_tensor_v{3 if place.mixed else 2}")
        self.out += b"(("
        self.put("storage", path)
        module = "torch.storage" if place.mixed else "torch"
        self.name(module, "UntypedStorage" if place.mixed else _CLASSES[dtype])
        for part in (str(place.memory), "cpu", place.size):
            self.put(part, path)
        self.out += b"tQ"
        self.put(place.offset, path)
        self.items(place.shape, path)
        self.items(place.strides, path)
        self.put(trained, path)
        self.out += b"ccollections\nOrderedDict\n)R"
        if place.mixed:
            self.name("torch", dtype)
        self.out += b"tR"


def _dtype_name(dtype: DType, path: Path) -> str:
    if dtype.name not in DTYPES:
        raise SerializationError(f"save: dtype {dtype} {where(path)} cannot be stored")
    return dtype.name


def _array(_pickle: _Pickle, value: Array, path: Path) -> None:
    raise SerializationError(
        f"save: NumPy's array {where(path)}: PyTorch's weights-only reader refuses it; make it a "
        "tensor (from_numpy), or write a .safetensors file"
    )


def _sorted(values: Any) -> list[Any]:
    """The same order in every process."""
    return sorted(values, key=lambda v: (type(v).__name__, repr(v)))


_WRITERS: tuple[tuple[Any, Any], ...] = (
    (int, _Pickle.integer),
    (float, _Pickle.real),
    (str, _Pickle.text),
    (Tensor, _Pickle.tensor),
    (np.ndarray, _array),
    (Size, lambda p, v, path: p.call("torch", "Size", (tuple(v),), path)),
    (tuple, _Pickle.tuple),
    (list, _Pickle.list),
    (Mapping, _Pickle.mapping),
    (complex, lambda p, v, path: p.call("builtins", "complex", (v.real, v.imag))),
    (bytes, lambda p, v, path: p.call("_codecs", "encode", (v.decode("latin1"), "latin1"))),
    (bytearray, lambda p, v, path: p.call("builtins", "bytearray", (bytes(v),))),
    (set, lambda p, v, path: p.call("builtins", "set", (_sorted(v),), path)),
    (np.dtype, lambda p, v, path: p.name("torch", _dtype_name(v, path))),
    (device, lambda p, v, path: p.call("torch", "device", ("cpu",))),
)


class _Pieces:
    """A file to write to that keeps what it is given, not a copy of it."""

    def __init__(self) -> None:
        self.pieces: list[bytes | memoryview] = []
        self.size = 0

    def write(self, data: bytes | memoryview) -> int:
        """Behind the rest."""
        self.pieces.append(data)
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        """How much there is."""
        return self.size

    def flush(self) -> None:
        """Nothing waits."""


def _archive(entries: Mapping[str, bytes | memoryview]) -> Buffers:
    """A zip archive of these files, as they are, each at a multiple of 64 bytes."""
    file: Any = _Pieces()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(f"{_ROOT}/{name}")  # with a date of 1980
            info.create_system = 3
            before = file.tell() + 30 + len(info.filename) + 20 * (len(content) > _LARGE)
            padding = -(before + 4) % _ALIGNMENT
            info.extra = b"FB" + struct.pack("<H", padding) + bytes(padding)
            archive.writestr(info, content)
    pieces: Buffers = file.pieces
    return pieces
