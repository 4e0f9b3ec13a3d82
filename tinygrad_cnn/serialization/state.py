"""Nested states in one safetensors file: tensors as tensors, everything else as JSON beside them.

The file is an ordinary safetensors file; its metadata has one entry, ``tinygrad_cnn``, a JSON
object with the nesting (``tree``), the format's version and a checksum of all tensors and the tree.
The tensors of a flat ``state_dict`` keep their names, so other programs read them as they are.
"""

import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.devices import check_device
from tinygrad_cnn.functions import tensor
from tinygrad_cnn.functions.convert import dtype_of
from tinygrad_cnn.serialization import sharing
from tinygrad_cnn.serialization.files import write_atomically
from tinygrad_cnn.serialization.source import FileLike, SerializationError, Source, StrPath
from tinygrad_cnn.serialization.torch_reader import is_torch, read_torch
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array

_KEY = "tinygrad_cnn"  # one key only: safetensors writes several in a random order
_VERSION = 2  # 1 without tensors that share memory, and still written where there are none
_DTYPES = {
    "BOOL": "bool", "BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64",
    "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64",
    "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64",
}  # fmt: skip
"""Dtypes by the names that safetensors gives them."""

_WORDS = 200  # letters of an error that are shown
_MALFORMED = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What reading a file raises that is not as `save` writes it."""

Arrays = dict[str, Array]


def save(obj: object, path: StrPath) -> None:
    """Write nested dicts, lists and tuples of tensors, arrays, numbers, strings, None to ``path``.

    Models and optimisers go in by their ``state_dict()``. Nothing is pickled, so a file from a
    stranger is safe to load. The file appears whole or not at all. Tensors that share memory do so
    after loading too, and two that are the same are one.

    Raises
    ------
    SerializationError
        Something in ``obj`` is of another type; the message says where.

    Examples
    --------
    >>> import tempfile
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn.serialization import load, save
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save({"epoch": 3, "weights": [tg.tensor([1.0, 2.0])]}, f"{folder}/state.safetensors")
    ...     state = load(f"{folder}/state.safetensors")
    >>> state["epoch"], state["weights"][0].tolist()
    (3, [1.0, 2.0])
    """
    from safetensors.numpy import save as to_bytes

    out = _Encoding()
    encoded = out.encode(obj, ())
    version = _VERSION if sharing.mark(out.tensors) else 1
    tree = json.dumps(encoded, separators=(",", ":"))
    note = {"version": version, "checksum": _checksum(out.arrays, tree), "tree": tree}
    write_atomically(path, to_bytes(out.arrays, {_KEY: json.dumps(note)}))


def load(
    f: FileLike,
    map_location: Any = None,
    *,
    weights_only: bool = True,
    mmap: bool | None = None,
) -> Any:
    """Read what `save`, or PyTorch's ``torch.save``, wrote; no code in it is run.

    Any other safetensors file gives a dict of its tensors. Of a file of PyTorch everything comes
    back that ``torch.load(weights_only=True)`` takes, but sparse and quantized tensors, and NumPy's
    arrays of numbers too: tensors with their strides and the memory that they share, parameters,
    and the versions of modules (``_metadata``) of a ``state_dict``. PyTorch is not needed.

    Parameters
    ----------
    f
        A path, or a binary file, which is read from where it stands to its end.
    map_location
        Where tensors are to live: ``"cpu"``, whatever was saved elsewhere. A device, a dict of
        places and a function are taken as in PyTorch, and change nothing.
    weights_only
        Changes nothing: no code is run either way.
    mmap
        True: tensors lie in the file, mapped into memory, and are read when they are used. The
        file must stay as it is; writing to the tensors does not change it. Damage to numbers is
        not noticed. Otherwise tensors own their memory, and the file's checksums are compared.

    Raises
    ------
    ValueError
        ``map_location`` names another device than the CPU, or ``mmap`` is set but ``f`` is no path.
    FileNotFoundError
        There is no such file.
    SerializationError
        The file is damaged, in no known format, or written by a newer version, or it has objects
        in it that are not data, such as a whole module.
    """
    _check_location(map_location)
    with Source(f, mapped=bool(mmap)) as source:
        if is_torch(source):
            return read_torch(source)
        return _load_safetensors(source)


def _check_location(given: Any) -> None:
    """Refuse other devices than the CPU."""
    for place in given.values() if isinstance(given, Mapping) else (given,):
        if not callable(place):
            check_device(place, "load", "map_location")


def _load_safetensors(source: Source) -> Any:
    path = source.name
    arrays, note = _read(source)
    if note is None:
        return {name: tensor(array) for name, array in arrays.items()}
    if _checksum(arrays, note["tree"]) != note["checksum"]:
        raise SerializationError(f"load: {path} is damaged (its checksum does not match)")
    try:
        return _Decoding(arrays).decode(json.loads(note["tree"]))
    except _MALFORMED as error:
        raise SerializationError(f"load: {path} is damaged ({_said(error)})") from error


def save_state(state: Mapping[str, Tensor], path: StrPath) -> None:
    """Write a ``state_dict`` of names and tensors to ``path`` (safetensors), whole or not at all.

    Raises
    ------
    SerializationError
        An entry is not a tensor; use `save` for nested states such as an optimiser's.

    Examples
    --------
    >>> import tempfile
    >>> import tinygrad_cnn as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_state({"fc.bias": tg.zeros(2)}, f"{folder}/model.safetensors")
    ...     {name: t.shape for name, t in load_state(f"{folder}/model.safetensors").items()}
    {'fc.bias': Size([2])}
    """
    wrong = [str(name) for name, value in state.items() if not isinstance(value, Tensor)]
    if wrong:
        raise SerializationError(
            f"save_state: not tensors: {', '.join(wrong)}; use `save` for nested states"
        )
    save(dict(state), path)


def load_state(path: FileLike, *, mmap: bool | None = None) -> dict[str, Tensor]:
    """Read a ``state_dict`` of names and tensors, from a safetensors file or one of PyTorch.

    ``mmap`` is as for `load`.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    SerializationError
        The file is damaged, or holds something else than names and tensors.
    """
    state = load(path, mmap=mmap)
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise SerializationError(
            f"load_state: {path} holds a nested state, not names and tensors; use `load`"
        )
    return state


class _Encoding:
    """An object as JSON; tensors and arrays are moved to ``arrays`` and leave their name behind."""

    def __init__(self) -> None:
        self.arrays: Arrays = {}
        self.tensors: list[tuple[Array, dict[str, Any]]] = []

    def encode(self, obj: object, path: tuple[str, ...]) -> object:
        """``obj``, which stands at ``path``, as JSON."""
        if obj is None or isinstance(obj, (bool, int, float, str)):
            return obj
        if isinstance(obj, Tensor):
            entry = {"tensor": _put(obj._array, path, self.arrays)}
            self.tensors.append((obj._array, entry))
            return entry
        if isinstance(obj, np.ndarray):
            return {"array": _put(obj, path, self.arrays)}
        if isinstance(obj, np.generic):
            return self.encode(obj.item(), path)
        if isinstance(obj, (list, tuple)):
            items = [self.encode(value, (*path, str(i))) for i, value in enumerate(obj)]
            return items if isinstance(obj, list) else {"tuple": items}
        if isinstance(obj, Mapping):
            for key in obj:
                if not isinstance(key, (str, int, float)):
                    raise SerializationError(f"save: key {key!r} {_where(path)} is a {_name(key)}")
            return {"dict": [[k, self.encode(v, (*path, str(k)))] for k, v in obj.items()]}
        raise SerializationError(
            f"save: {_name(obj)} {_where(path)}; expected dicts, lists, tuples, tensors, arrays, "
            "numbers, strings or None"
        )


class _Decoding:
    """The inverse of `_Encoding`."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self.shared = sharing.Shared()

    def decode(self, tree: Any) -> Any:
        """The object that was encoded."""
        if isinstance(tree, list):
            return [self.decode(item) for item in tree]
        if not isinstance(tree, dict):
            return tree
        if "part" in tree:
            return self.shared.tensor(self.arrays.pop(tree["tensor"]), *tree["part"])
        ((kind, value),) = tree.items()
        if kind == "tensor":  # each is there once: a small file could ask for a thousand copies
            return tensor(self.arrays.pop(value))
        if kind == "array":
            return self.arrays.pop(value)
        if kind == "tuple":
            return tuple(self.decode(item) for item in value)
        return {key: self.decode(item) for key, item in value}


def _put(array: Array, path: tuple[str, ...], arrays: Arrays) -> str:
    if array.dtype.name not in _DTYPES.values():
        raise SerializationError(f"save: dtype {array.dtype} {_where(path)} cannot be stored")
    stem = name = ".".join(path) or "tensor"
    count = 1
    while name in arrays or name == "__metadata__":  # "a.b" beside {"a": {"b": …}}
        count += 1
        name = f"{stem}#{count}"
    # Safetensors stores the bytes as they lie: row-major (channels-last activations are not).
    arrays[name] = np.asarray(array, dtype=dtype_of(array.dtype), order="C")
    return name


def _read(source: Source) -> tuple[Arrays, dict[str, Any] | None]:
    """The arrays of a safetensors file and our note in its metadata, None if there is none."""
    from safetensors import SafetensorError, deserialize

    path, data = source.name, source.read(0, source.size)
    try:
        entries: Any = deserialize(data)  # type: ignore[no-untyped-call]  # it has no types
        arrays = {name: _array(entry) for name, entry in entries}
    except SafetensorError as error:
        raise SerializationError(
            f"load: {path} is damaged or not a safetensors file ({error})"
        ) from error
    except KeyError as error:  # a dtype that tensors cannot have
        raise SerializationError(f"load: {path} has tensors of dtype {error}") from error
    except _MALFORMED as error:  # shapes that no array has
        raise SerializationError(f"load: {path} is damaged ({_said(error)})") from error
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")].decode())
        text = (header.get("__metadata__") or {}).get(_KEY)
        if text is None:
            return arrays, None
        note = dict(json.loads(text))
        version, _, tree = note["version"], note["checksum"], note["tree"]
        tree.encode()
    except _MALFORMED as error:
        raise SerializationError(f"load: {path} is damaged (its metadata is not ours)") from error
    if version not in range(1, _VERSION + 1):
        raise SerializationError(
            f"load: {path} has format version {version}, this program reads 1 to {_VERSION}"
        )
    return arrays, note


def _array(entry: Any) -> Array:
    """What safetensors read of one tensor as an array."""
    name = entry["dtype"]
    if name == "BOOL":  # any byte but 0 is True
        truth: Array = np.frombuffer(entry["data"], np.uint8) != 0
        return truth.reshape(entry["shape"])
    return np.frombuffer(entry["data"], dtype_of(_DTYPES[name])).reshape(entry["shape"]).copy()


def _said(error: Exception) -> str:
    """An error in a few words: it may quote the file."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _WORDS else f"{text[:_WORDS]} …"


def _checksum(arrays: Arrays, tree: str) -> int:
    """CRC-32 over the tree and every array's name, dtype, shape and bytes."""
    total = zlib.crc32(tree.encode())
    for name in sorted(arrays):
        array = arrays[name]
        total = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), total)
        total = zlib.crc32(array.reshape(-1).view(np.uint8).data, total)
    return total


def _where(path: tuple[str, ...]) -> str:
    return f"at `{'.'.join(path)}`" if path else "at the top"


def _name(obj: object) -> str:
    return f"{type(obj).__module__}.{type(obj).__qualname__}".removeprefix("builtins.")
