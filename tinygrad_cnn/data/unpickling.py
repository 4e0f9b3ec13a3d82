"""Read the pickles of CIFAR-10's python version without trusting them.

Python's own unpickler imports, calls, and takes what a few bytes ask of memory and time: a memo of
four billion entries, a tuple that holds itself 2^40 times. Here `pickletools` only splits the file
into opcodes, and a small machine knows those that these files need. What it makes is never larger
than the file, and it calls four functions of its own.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_LARGEST: Final = 512  # bits of an integer

_VALUES: Final[dict[str, object]] = {
    "NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (),
}  # fmt: skip
_NUMBERS: Final = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
}  # fmt: skip
_STRINGS: Final = {"STRING", "BINSTRING", "SHORT_BINSTRING"}  # of Python 2: bytes
_TEXTS: Final = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_BYTES: Final = {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
_PUT: Final = {"PUT", "BINPUT", "LONG_BINPUT"}
_GET: Final = {"GET", "BINGET", "LONG_BINGET"}
_TUPLES: Final = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_KEYS: Final = (str, bytes, int, float, type(None))  # a tuple's hash may take for ever


class _DType:
    """Stands in for the ``numpy.dtype`` of bytes: the only one these files contain."""


class _NDArray:
    """Stands in for ``numpy.ndarray``: takes its state as checked data, not as memory."""

    array: NDArray[np.uint8] | None = None

    def take(self, state: Any) -> None:
        """The state that NumPy pickles."""
        _, shape, dtype, fortran, raw = state
        plain = isinstance(shape, tuple) and len(shape) <= 32
        if not plain or not all(type(n) is int and 0 <= n < 2**40 for n in shape):
            raise ValueError("refused an array whose shape is not a few integers")
        if not isinstance(dtype, _DType) or type(raw) is not bytes or len(raw) != math.prod(shape):
            size = len(raw) if isinstance(raw, bytes) else "no"
            raise ValueError(f"an array of shape {shape} has {size} bytes")
        self.array = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")


def _dtype(code: object, *flags: object) -> _DType:
    if code not in (b"u1", "u1"):
        raise ValueError(f"refused an array of dtype {_short(code)} (only u1)")
    return _DType()


def _reconstruct(kind: object, shape: object, code: object) -> _NDArray:
    if kind is not _NDArray:
        raise ValueError("refused an array that is not a numpy.ndarray")
    return _NDArray()


class _Encode:
    """Python 3 writes bytes at protocol 2 as ``_codecs.encode(text, 'latin1')``."""

    def __init__(self, size: int) -> None:
        self.left = size  # bytes that texts of the file can come to, each once

    def __call__(self, text: object, encoding: object) -> bytes:
        if encoding != "latin1" or not isinstance(text, str):
            raise ValueError(f"refused encoding {_short(encoding)} (only latin1)")
        self.left -= len(text)
        if self.left < 0:
            raise ValueError("refused bytes that are more than those of the file")
        return text.encode("latin1")


def _short(value: object) -> str:
    """A value for a message; of what holds others only the type, they may be without end."""
    return repr(value[:40]) if isinstance(value, str | bytes) else f"of type {_kind(value)}"


def _kind(value: object) -> str:
    return type(value).__name__


class _Machine:
    """A stack, its marks and the memo of one pickle."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.known: dict[tuple[str, str], object] = {
            ("_codecs", "encode"): _Encode(len(data)),
            ("numpy", "dtype"): _dtype,
            ("numpy", "ndarray"): _NDArray,
            ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
            ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
        }

    def run(self) -> object:
        """What the pickle says, or any error."""
        push = self.stack.append
        opcodes: Iterator[tuple[pickletools.OpcodeInfo, Any, Any]] = pickletools.genops(self.data)
        for opcode, argument, _ in opcodes:
            name = opcode.name
            if name in _VALUES:
                push(_VALUES[name])
            elif name in _NUMBERS:
                if isinstance(argument, int) and argument.bit_length() > _LARGEST:
                    raise ValueError(f"refused an integer of {argument.bit_length()} bits")
                push(argument)
            elif name in _STRINGS:
                push(argument.encode("latin1"))
            elif name in _TEXTS or name in _BYTES:
                push(argument)
            elif name in _PUT:
                self.memo[argument] = self.stack[-1]
            elif name in _GET:
                push(self.memo[argument])
            elif name in _TUPLES:
                push(tuple(self.popped(len(self.stack) - _TUPLES[name])))
            elif name in _OTHERS:
                _OTHERS[name](self, argument)
            else:
                raise ValueError(f"refused the opcode {name}")
        return self.stack.pop()

    def popped(self, start: int) -> list[Any]:
        """Take all from ``start`` off the stack."""
        if start < 0:
            raise IndexError("the stack is empty")
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def marked(self) -> list[Any]:
        """Take all since the last mark off the stack."""
        return self.popped(self.marks.pop())

    def extend(self, items: list[Any]) -> None:
        """Items for the list on top."""
        if type(self.stack[-1]) is not list:
            raise ValueError(f"items for a {_kind(self.stack[-1])}")
        self.stack[-1].extend(items)

    def update(self, items: list[Any]) -> None:
        """Keys and values, in turn, for the dictionary on top."""
        if type(self.stack[-1]) is not dict:
            raise ValueError(f"entries for a {_kind(self.stack[-1])}")
        for key in items[::2]:
            if not isinstance(key, _KEYS):
                raise ValueError(f"refused a {_kind(key)} as key")
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def entries(self, items: list[Any]) -> None:
        """A dictionary of keys and values, in turn."""
        self.stack.append({})
        self.update(items)

    def find(self, module: object, name: object) -> None:
        """One of five names, each bound to a stand-in of this file; nothing is imported."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name that is no text")
        if (module, name) not in self.known:
            full = " ".join(f"{module[:80]}.{name[:80]}".split())
            raise ValueError(f"refused `{full}`")
        self.stack.append(self.known[module, name])

    def call(self) -> None:
        """Call one of them."""
        function, arguments = self.popped(len(self.stack) - 2)
        if function not in (_dtype, _reconstruct) and not isinstance(function, _Encode):
            raise ValueError(f"refused to call a {_kind(function)}")
        if type(arguments) is not tuple:
            raise ValueError(f"arguments in a {_kind(arguments)}")
        self.stack.append(function(*arguments))

    def build(self) -> None:
        """Give an array its state; that of a dtype, byte order and the like, means nothing."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], _NDArray):
            self.stack[-1].take(state)
        elif not isinstance(self.stack[-1], _DType):
            raise ValueError(f"a state for a {_kind(self.stack[-1])}")


_OTHERS: Final[dict[str, Callable[[_Machine, Any], object]]] = {
    "PROTO": lambda m, _: None,
    "FRAME": lambda m, _: None,
    "STOP": lambda m, _: None,
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "POP": lambda m, _: m.popped(len(m.stack) - 1),
    "POP_MARK": lambda m, _: m.marked(),
    "MEMOIZE": lambda m, _: m.memo.update({len(m.memo): m.stack[-1]}),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "EMPTY_DICT": lambda m, _: m.stack.append({}),
    "LIST": lambda m, _: m.stack.append(m.marked()),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.marked())),
    "DICT": lambda m, _: m.entries(m.marked()),
    "APPEND": lambda m, _: m.extend(m.popped(len(m.stack) - 1)),
    "APPENDS": lambda m, _: m.extend(m.marked()),
    "SETITEM": lambda m, _: m.update(m.popped(len(m.stack) - 2)),
    "SETITEMS": lambda m, _: m.update(m.marked()),
    "GLOBAL": lambda m, argument: m.find(*argument.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.find(*m.popped(len(m.stack) - 2)),
    "REDUCE": lambda m, _: m.call(),
    "BUILD": lambda m, _: m.build(),
}


def _plain(value: object) -> object:
    """Return ``value`` with stand-ins replaced by arrays and text keys by bytes keys."""
    if isinstance(value, dict):
        keys = [key.encode() if isinstance(key, str) else key for key in value]
        return dict(zip(keys, map(_plain_array, value.values()), strict=True))
    return value


def _plain_array(value: object) -> object:
    return value.array if isinstance(value, _NDArray) else value


def load_trusting_nothing(data: bytes) -> dict[bytes, object]:
    """Return the dictionary pickled in ``data``, by Python 2 or 3; its keys are bytes.

    Allowed are numbers, bytes, text, None, lists, tuples, dictionaries and uint8 arrays. Any class
    or function is refused by name before it is even looked up, and so is any other opcode.

    Raises
    ------
    ValueError
        something was refused, or the data are not such a pickle.

    Examples
    --------
    >>> import pickle
    >>> load_trusting_nothing(pickle.dumps({b"labels": [3, 1]}, protocol=2))
    {b'labels': [3, 1]}
    >>> load_trusting_nothing(pickle.dumps(print))
    Traceback (most recent call last):
    ValueError: refused `builtins.print`
    """
    try:
        value = _plain(_Machine(data).run())
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # it is malformed
        raise ValueError(str(error) or type(error).__name__) from error
    if not isinstance(value, dict):
        raise ValueError(f"holds a {type(value).__name__}, not a dictionary")
    return value
