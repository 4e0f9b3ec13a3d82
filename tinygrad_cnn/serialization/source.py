"""Where bytes are read from: a file by its path, as it is or mapped into memory; an open file."""

from __future__ import annotations

import mmap
import os
from io import BytesIO
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeAlias

import numpy as np

from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.types import Array

StrPath: TypeAlias = str | os.PathLike[str]
FileLike: TypeAlias = StrPath | IO[bytes]
"""What a user gives for a file: a path, or an open binary file."""


class SerializationError(ValueError):
    """An object that cannot be written, or a file that is damaged or not one of ours."""


class Source:
    """The bytes of a file; of an open one those from where it stands to its end.

    Attributes
    ----------
    file
        The bytes as a file that can be searched.
    size
        How many there are.
    name
        What messages call it.
    """

    def __init__(self, f: FileLike | BytesIO, mapped: bool = False) -> None:
        self._map: mmap.mmap | None = None
        self.file: BinaryIO
        self.path = Path(f) if isinstance(f, str | os.PathLike) else None
        if self.path is not None:
            self.name = str(self.path)
            self.file = open(self.path, "rb")  # closed by `__exit__`
            self.size = self.file.seek(0, os.SEEK_END)
            if mapped and self.size:
                self._map = mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_COPY)
            return
        if mapped:
            raise ArgumentError("load: `mmap` is True, but `f` is no path")
        if not callable(getattr(f, "read", None)):
            raise DtypeError(
                f"load: `f` is a {type(f).__name__}, expected a path or a file opened with 'rb'"
            )
        data: Any = f.read()  # type: ignore[union-attr]  # it is no path
        if not isinstance(data, bytes | bytearray | memoryview):
            raise DtypeError(
                f"load: `f` reads {type(data).__name__}, expected bytes (open it with 'rb')"
            )
        name = getattr(f, "name", None)
        self.name = name if isinstance(name, str) else f"the {type(f).__name__}"
        self.file, self.size = BytesIO(data), len(data)

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()  # what is mapped stays, as long as there are arrays of it

    def read(self, start: int, count: int) -> bytes:
        """At most ``count`` bytes."""
        self.file.seek(start)
        return self.file.read(min(count, self.size))

    def array(self, start: int, count: int, align: int = 16) -> Array:
        """``count`` bytes to write to: the file does not change, whether or not it is mapped.

        Where they do not begin at a multiple of ``align``, they are copied.
        """
        if self._map is not None and start % align == 0 and count:
            return np.frombuffer(self._map, np.uint8, count, start)
        out = np.empty(count, np.uint8)
        self.file.seek(start)
        if self.file.readinto(out) != count:  # type: ignore[attr-defined]  # both kinds have it
            raise SerializationError(f"load: {self.name} is damaged (it ends too early)")
        return out

    @property
    def is_mapped(self) -> bool:
        """Whether `array` reads nothing."""
        return self._map is not None
