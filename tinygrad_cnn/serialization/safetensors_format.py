"""Arrays by name in the safetensors format: a header in JSON, and behind it the numbers.

Source: https://huggingface.co/docs/safetensors, "Format". Written here so that nothing is copied on
the way: to a file from where arrays lie, and into arrays on a file that is mapped into memory.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.functions.convert import dtype_of
from tinygrad_cnn.serialization.files import Buffers
from tinygrad_cnn.serialization.source import SerializationError, Source
from tinygrad_cnn.types import Array

Arrays: TypeAlias = dict[str, Array]

DTYPES = {
    "BOOL": "bool", "BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64",
    "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64",
    "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64", "C64": "complex64",
}  # fmt: skip
"""Dtypes by the names that safetensors gives them."""

MALFORMED = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What reading a file raises that is not as it should be."""

_METADATA = "__metadata__"
_LARGEST = 100_000_000  # bytes of a header, as the format says
_WORDS = 200  # letters of an error that are shown


def to_buffers(arrays: Arrays, metadata: Mapping[str, str]) -> Buffers:
    """The bytes of a file with these arrays, which lie row by row."""
    names = {dtype: name for name, dtype in DTYPES.items()}
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    end = 0
    for name in order:
        array = arrays[name]
        start, end = end, end + array.nbytes
        header[name] = {
            "dtype": names[array.dtype.name], "shape": array.shape, "data_offsets": [start, end],
        }  # fmt: skip
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )
    text += b" " * (-len(text) % 8)  # so that all numbers are aligned: the largest come first
    return [
        len(text).to_bytes(8, "little") + text,
        *(arrays[name].reshape(-1).view(np.uint8).data for name in order),
    ]


def read_arrays(source: Source) -> tuple[Arrays, dict[str, str]]:
    """The arrays of a file by name, in the order in which they lie, and its metadata.

    Raises
    ------
    SerializationError
        It is damaged, no such file, or has numbers of a dtype that tensors cannot have.
    """
    try:
        start, header = _header(source)
        metadata = header.pop(_METADATA, None) or {}
        if not all(isinstance(v, str) for v in metadata.values()):
            raise ArgumentError("its metadata is not text")
        entries = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
        size = source.size - start
        arrays, end = {}, 0
        for name, entry in entries:
            first, last = entry["data_offsets"]
            if type(first) is not int or type(last) is not int or not end == first <= last <= size:
                raise ArgumentError(f"{name!r} does not begin where the one before it ends")
            arrays[name], end = _array(source, start, entry), last
        if end != size:
            raise ArgumentError(f"{size - end} bytes are of no tensor")
    except SerializationError:
        raise
    except MALFORMED as error:
        raise SerializationError(
            f"load: {source.name} is damaged or not a safetensors file ({said(error)})"
        ) from error
    return arrays, metadata


def _header(source: Source) -> tuple[int, dict[str, Any]]:
    """Where the numbers begin, and what is there."""
    size = int.from_bytes(source.read(0, 8), "little")
    text = source.read(8, size) if size <= min(_LARGEST, source.size - 8) else b""
    if not text:
        raise ArgumentError("it has no header")
    header = json.loads(text.decode(), object_pairs_hook=_once)
    return 8 + size, header


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object in which no name comes twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ArgumentError("a name comes twice")
    return found


def _array(source: Source, start: int, entry: dict[str, Any]) -> Array:
    name, shape, (first, last) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if name not in DTYPES:
        raise SerializationError(
            f"load: {source.name} has tensors of dtype {name!r:.40}, which tensors here cannot have"
        )
    if type(shape) is not list or not all(type(n) is int and n >= 0 for n in shape):
        raise ArgumentError("a shape that is not of integers")
    dtype = dtype_of(DTYPES[name])
    if len(entry) != 3 or math.prod(shape) * dtype.itemsize != last - first:
        raise ArgumentError(f"{last - first} bytes of shape {shape}")
    values = source.array(start + first, last - first, dtype.itemsize)
    if name == "BOOL" and values.max(initial=0) > 1:  # any byte but 0 is True, and NumPy's is 1
        np.minimum(values, 1, out=values)
    return values.view(dtype).reshape(shape)


def said(error: Exception) -> str:
    """An error in a few words: it may quote the file."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _WORDS else f"{text[:_WORDS]} …"
