"""From Python's arguments to a block of words, and to machine code for their types.

An array's word is the address of its Python object: the machine code reads from there where the
numbers are and how many. It also sees whether the object is an array of the kind that it was
compiled for, which costs less than to ask in Python; only if not, the right code is looked for.
"""

from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tinygrad_cnn.kernels import threads
from tinygrad_cnn.kernels.choice import NoCompiler
from tinygrad_cnn.kernels.forks import free_in_child
from tinygrad_cnn.kernels.jit.compile.build import Kernel, machine_code
from tinygrad_cnn.kernels.jit.compile.signature import Kind, Kinds, code_of, compile_for, kind_of
from tinygrad_cnn.kernels.jit.threads import pool
from tinygrad_cnn.kernels.jit.threads.pool_words import (
    ARGUMENTS,
    CHECKED_FLAGS,
    DESCRIPTION,
    HEAD,
    OTHER_TYPES,
)
from tinygrad_cnn.kernels.tape import taping
from tinygrad_cnn.types import Array

_lock = free_in_child(threading.RLock())


def _word(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


def _row(array: Array) -> tuple[int, int, int]:
    """Return by what machine code recognises arrays like this one (`pool_words`)."""
    at = id(array)
    flags = ctypes.c_int32.from_address(at + HEAD + 48).value & CHECKED_FLAGS
    axes = ctypes.c_int32.from_address(at + HEAD + 8).value
    return (
        _word(at + HEAD - 8),
        _word(_word(at + HEAD + 40) + HEAD + 8) & DESCRIPTION,
        (axes | flags << 32),
    )


def _check_layout() -> None:
    """Raise RuntimeError if this NumPy's array objects do not look as they do everywhere."""
    array = np.empty((2, 3), np.float32).T
    at, dtype = id(array), np.dtype(np.float32)
    sizes = [_word(_word(at + HEAD + 16 + 8 * k) + 8 * axis) for k in (0, 1) for axis in (0, 1)]
    kind = _word(_word(at + HEAD + 40) + HEAD + 8)
    fits = (
        _word(at + HEAD) == array.ctypes.data
        and sizes == [*array.shape, *array.strides]
        and kind & 0xFFFF == ord(dtype.kind) | ord(dtype.char) << 8
        and kind >> 32 == dtype.num
        and _row(array) == (id(np.ndarray), kind & DESCRIPTION, 2 | 0x100 << 32)
    )
    if not fits:
        raise RuntimeError("NumPy's arrays have another layout in memory than expected")


_check_layout()


Rows = tuple[Any, ...]  # for each argument `_row`, of a tuple those of its parts, or None


def _rows(value: object) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_rows, value))
    return _row(value) if isinstance(value, np.ndarray) else None


def _plain(value: Any) -> Any:
    """Return arrays of other classes as NumPy's own, in tuples too."""
    if isinstance(value, np.ndarray):
        return value if type(value) is np.ndarray else value.view(np.ndarray)
    if isinstance(value, tuple) and any(isinstance(part, np.ndarray) for part in value):
        return type(value)(*map(_plain, value))  # a NamedTuple
    return value


def _launcher(address: int, kinds: Kinds, rows: Rows) -> Callable[..., int]:
    """Return ``launch(parts, *args)``, which packs a block and runs the entry at `address`.

    It returns what `pool.launch` does, or `OTHER_TYPES` if it gets other things than arrays where
    they do not belong. Arrays may be fields of a NamedTuple, and this one in another.
    """
    checked: list[int] = []
    words: list[str] = []
    formats = [f"{ARGUMENTS}q"]
    place = ARGUMENTS

    def add(name: str, kind: Kind, row: Any) -> None:
        nonlocal place
        count = 1
        if kind[0] == "array":
            checked.extend([8 * place, *row])
            words.append(f"id({name})")
        elif kind[0] != "tuple":
            words.append(name)
        elif set(kind[2:]) <= {("int",)}:
            count = len(kind) - 2
            words.append(f"*{name}")
        else:
            for field, *part in zip(kind[1]._fields, kind[2:], row, strict=True):
                add(f"{name}.{field}", *part)
            return
        formats.append("d" if kind[0] == "float" else f"{count}q")
        place += count

    for index, (kind, row) in enumerate(zip(kinds, rows, strict=True)):
        add(f"a{index}", kind, row)
    table = np.array([address, len(checked) // 4, *checked], np.int64)
    names = ", ".join(f"a{index}" for index in range(len(kinds)))
    space: dict[str, Any] = {
        "call": pool.launch,
        "pack": struct.Struct("=" + "".join(formats)).pack,
        "state": pool.STATE,
        "table": table.ctypes.data,
        "keep": table,
        "Unfit": (struct.error, TypeError, AttributeError),
    }
    exec(  # nosec B102  # source that is made here
        "def make(call, pack, state, table, keep, Unfit):\n"
        f"    def block_of(parts, {names}):\n"
        f"        return pack(state, table, parts, {', '.join(words)})\n"
        f"    def launch(parts, {names}):\n"
        "        try:\n"
        f"            block = pack(state, table, parts, {', '.join(words)})\n"
        "        except Unfit as error:\n"
        "            if error.__traceback__.tb_next is not None:\n"
        "                raise  # a signal handler's\n"
        f"            return {OTHER_TYPES}\n"
        "        return call(block)\n"
        "    launch.keep, launch.block_of = keep, block_of\n"
        "    return launch\n"
        "launch = make(call, pack, state, table, keep, Unfit)\n",
        space,
    )
    made: Callable[..., int] = space["launch"]
    return made


def _add(kernel: Kernel, kinds: Kinds, rows: Rows) -> None:
    """Add a launcher for arguments of these types, whose machine code is found or made.

    Called by `threads.run_in_fresh_thread`, so that it comes to its end whatever a signal handler
    raises.
    """
    code = code_of(kernel, kinds)
    with _lock:
        if (kinds, rows) in kernel.made:
            return
        if code in kernel.missing:
            raise NoCompiler(f"{kernel.__name__} is not compiled, and Numba is missing")
        try:
            (address,) = machine_code(code, partial(compile_for, kernel, kinds))
        except NoCompiler:
            kernel.missing.add(code)
            raise
        kernel.launches.append(_launcher(address, kinds, rows))
        kernel.made.add((kinds, rows))


def _other_types(kernel: Kernel, parts: int, args: tuple[object, ...]) -> None:
    """Launch with arguments that are not of the types of the last launch."""
    args = tuple(map(_plain, args))
    for attempt in range(2):
        if attempt:
            kinds, rows = tuple(map(kind_of, args)), tuple(map(_rows, args))
            threads.run_in_fresh_thread(
                partial(_add, kernel, kinds, rows)
            )  # which does not know the arrays
        for launch in tuple(kernel.launches):
            if launch(parts, *args) != OTHER_TYPES:
                kernel.launch = launch
                return
    raise TypeError(f"{kernel.__name__}: arguments of unknown types")


def run(kernel: Any, parts: int, *args: object) -> None:
    """Call ``kernel(part, parts, *args)`` for every part, on as many threads.

    Raises
    ------
    KernelError: there is no machine code for such arguments on this machine.
    """
    if parts > pool.ready_for:
        pool.ready(parts)
    if kernel.launch(parts, *args) == OTHER_TYPES:
        _other_types(kernel, parts, args)
    if taping:
        taping[0].launched(kernel, parts, args)
