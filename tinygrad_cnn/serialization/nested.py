"""Nested states in one safetensors file: tensors as tensors, everything else as JSON beside them.

The file is an ordinary safetensors file. Its metadata has the entry ``tinygrad_cnn``, a JSON object
with the nesting (``tree``), the format's version and a checksum of all tensors and the tree. The
tensors of a flat ``state_dict`` keep their names, so other programs read them as they are.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.variable import Storage
from tinygrad_cnn.functions.convert import dtype_of
from tinygrad_cnn.functions.copying import leaf
from tinygrad_cnn.serialization import sharing
from tinygrad_cnn.serialization.files import Buffers
from tinygrad_cnn.serialization.safetensors_format import (
    DTYPES,
    MALFORMED,
    Arrays,
    read_arrays,
    said,
    to_buffers,
)
from tinygrad_cnn.serialization.source import SerializationError, Source
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array

KEY = "tinygrad_cnn"  # of our note in a file's metadata
_VERSION = 2  # 1 without tensors that share memory, and still written where there are none


def nested_buffers(obj: object, metadata: Mapping[str, str]) -> Buffers:
    """The bytes of a file with ``obj``."""
    wrong = [k for k, v in metadata.items() if not isinstance(k, str) or not isinstance(v, str)]
    if wrong or KEY in metadata:
        raise SerializationError(
            f"save: `metadata` has {(wrong or [KEY])[0]!r}, expected texts by names other than "
            f"{KEY!r}"
        )
    out = _Encoding()
    try:
        encoded = out.encode(obj, ())
        version = _VERSION if sharing.mark(out.tensors) else 1
        tree = json.dumps(encoded, separators=(",", ":"))
    except RecursionError:
        raise SerializationError("save: `obj` is nested too deeply, or holds itself") from None
    note = {"version": version, "checksum": checksum(out.arrays, tree), "tree": tree}
    return to_buffers(out.arrays, {**metadata, KEY: json.dumps(note)})


def read_nested(source: Source) -> Any:
    """The object of `nested_buffers`; of any other safetensors file a dict of its tensors."""
    arrays, note = read_noted(source)
    if note is None:
        return {name: _tensor(array) for name, array in arrays.items()}
    if not source.is_mapped and checksum(arrays, note["tree"]) != note["checksum"]:
        raise SerializationError(f"load: {source.name} is damaged (its checksum does not match)")
    try:
        return _Decoding(arrays).decode(json.loads(note["tree"]))
    except MALFORMED as error:
        raise SerializationError(f"load: {source.name} is damaged ({said(error)})") from error


def read_noted(source: Source) -> tuple[Arrays, dict[str, Any] | None]:
    """The arrays of a safetensors file and our note in its metadata, None if there is none."""
    arrays, metadata = read_arrays(source)
    text = metadata.get(KEY)
    if text is None:
        return arrays, None
    try:
        note = dict(json.loads(text))
        version, _, tree = note["version"], note["checksum"], note["tree"]
        tree.encode()
    except MALFORMED as error:
        raise SerializationError(
            f"load: {source.name} is damaged (its metadata is not ours)"
        ) from error
    if version not in range(1, _VERSION + 1):
        raise SerializationError(
            f"load: {source.name} has format version {version}, this program reads 1 to {_VERSION}"
        )
    return arrays, note


def checksum(arrays: Arrays, tree: str) -> int:
    """CRC-32 over the tree and every array's name, dtype, shape and bytes."""
    total = zlib.crc32(tree.encode())
    for name in sorted(arrays):
        array = arrays[name]
        total = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), total)
        total = zlib.crc32(array.reshape(-1).view(np.uint8).data, total)
    return total


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
                    raise SerializationError(f"save: key {key!r} {where(path)} is a {name_of(key)}")
            return {"dict": [[k, self.encode(v, (*path, str(k)))] for k, v in obj.items()]}
        raise refused(obj, path, "dicts, lists, tuples, tensors, arrays, numbers, strings or None")


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
            return _tensor(self.arrays.pop(value))
        if kind == "array":
            return self.arrays.pop(value)
        if kind == "tuple":
            return tuple(self.decode(item) for item in value)
        return {key: self.decode(item) for key, item in value}


def _tensor(array: Array) -> Tensor:
    """The tensor of an array that nobody else has."""
    made: Tensor = leaf(Tensor, array, Storage(), False)
    return made


def _put(array: Array, path: tuple[str, ...], arrays: Arrays) -> str:
    if array.dtype.name not in DTYPES.values():
        raise SerializationError(f"save: dtype {array.dtype} {where(path)} cannot be stored")
    stem = name = ".".join(path) or "tensor"
    count = 1
    while name in arrays or name == "__metadata__":  # "a.b" beside {"a": {"b": …}}
        count += 1
        name = f"{stem}#{count}"
    # Safetensors stores the bytes as they lie: row-major (channels-last activations are not).
    arrays[name] = np.asarray(array, dtype=dtype_of(array.dtype), order="C")
    return name


def refused(obj: object, path: tuple[str, ...], expected: str) -> SerializationError:
    """The error of an object that cannot be saved."""
    hint = "; save its state_dict()" if callable(getattr(obj, "state_dict", None)) else ""
    return SerializationError(f"save: {name_of(obj)} {where(path)}{hint}; expected {expected}")


def where(path: tuple[str, ...]) -> str:
    """A place in a nested object, in words."""
    return f"at `{'.'.join(path)}`" if path else "at the top"


def name_of(obj: object) -> str:
    """The full name of an object's class."""
    return f"{type(obj).__module__}.{type(obj).__qualname__}".removeprefix("builtins.")
