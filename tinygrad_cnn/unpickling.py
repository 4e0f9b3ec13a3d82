"""Read pickles without trusting them.

Python's own unpickler imports, calls, and takes what a few bytes ask of memory and time: a memo of
four billion entries, a tuple that holds itself 2^40 times. Here `pickletools` only splits the file
into opcodes, and a small machine knows those that data need. What it makes is not larger than the
file, and it calls a few functions that its user names, each bound to one of our own.
"""

from __future__ import annotations

import math
import pickletools
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

_LARGEST: Final = 512  # bits of an integer
_LARGEST_KEY: Final = 64  # bits of one that is a key: larger ones can be made to collide

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
_PLAIN: Final = (*_KEYS, bool, complex, bytearray)
_CONTAINERS: Final = (list, tuple, set, dict)

MALFORMED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, Warning)
"""What `Machine.run` raises of a pickle that is not one, or has what it refuses; a warning, of text
that is no text, where warnings are errors."""

Known: TypeAlias = Mapping[tuple[str, str], object]
"""What stands for a name, by module and name: a `Call`, or a value."""

Builds: TypeAlias = Mapping[type, Callable[[Any, Any], object]]
"""By type, what gives an object its state; it returns the object that stands there from then on."""


@dataclass(frozen=True)
class Call:
    """A function that a pickle may call."""

    function: Callable[..., object]


class Budget:
    """How many bytes may still be made of those of a file."""

    def __init__(self, size: int) -> None:
        self.left = size

    def take(self, count: int) -> None:
        """Have ``count`` bytes less left."""
        self.left -= count
        if self.left < 0:
            raise ValueError("refused bytes that are more than those of the file")


class Machine:
    """A stack, its marks and the memo of one pickle.

    ``persistent`` is called with the ids of what lies outside the pickle.
    """

    def __init__(
        self,
        known: Known,
        builds: Builds,
        persistent: Callable[[Any], object] | None = None,
    ) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.known, self.builds, self.persistent = known, builds, persistent
        self.kept: dict[int, list[int]] = {}  # of what takes a state, by id: its keys in the memo

    def run(self, data: bytes | BytesIO) -> Any:
        """What the pickle says, or an error of `MALFORMED`; a file is read up to the pickle's end.

        There may be stand-ins in it: see `check_plain`.
        """
        push = self.stack.append
        opcodes: Iterator[tuple[pickletools.OpcodeInfo, Any, Any]] = pickletools.genops(data)
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
                self.put(argument)
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

    def put(self, key: int) -> None:
        """Keep what is on top in the memo."""
        top = self.memo[key] = self.stack[-1]
        if type(top) in self.builds:
            self.kept.setdefault(id(top), []).append(key)

    def extend(self, items: list[Any]) -> None:
        """Items for the list on top."""
        if type(self.stack[-1]) is not list:
            raise ValueError(f"items for a {kind(self.stack[-1])}")
        self.stack[-1].extend(items)

    def update(self, items: list[Any]) -> None:
        """Keys and values, in turn, for the dictionary on top."""
        if not isinstance(self.stack[-1], dict):
            raise ValueError(f"entries for a {kind(self.stack[-1])}")
        for key in items[::2]:
            check_key(key)
        self.stack[-1].update(dict(zip(items[::2], items[1::2], strict=True)))

    def entries(self, items: list[Any]) -> None:
        """A dictionary of keys and values, in turn."""
        self.stack.append({})
        self.update(items)

    def find(self, module: object, name: object) -> None:
        """What stands for one of the known names; nothing is imported."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name that is no text")
        try:
            found = self.known[module, name]
        except KeyError:
            full = " ".join(f"{module[:80]}.{name[:80]}".split())
            raise ValueError(f"refused `{full}`") from None
        self.stack.append(found)

    def call(self) -> None:
        """Call one of them."""
        function, arguments = self.popped(len(self.stack) - 2)
        if not isinstance(function, Call):
            raise ValueError(f"refused to call a {kind(function)}")
        if type(arguments) is not tuple:
            raise ValueError(f"arguments in a {kind(arguments)}")
        self.stack.append(function.function(*arguments))

    def build(self) -> None:
        """Give an object its state."""
        state = self.stack.pop()
        before = self.stack[-1]
        if type(before) not in self.builds:
            raise ValueError(f"a state for a {kind(before)}")
        new = self.stack[-1] = self.builds[type(before)](before, state)
        for key in self.kept.pop(id(before), ()) if new is not before else ():
            self.memo[key] = new

    def outside(self) -> None:
        """What an id stands for."""
        if self.persistent is None:
            raise ValueError("refused the opcode BINPERSID")
        self.stack.append(self.persistent(self.stack.pop()))


_OTHERS: Final[dict[str, Callable[[Machine, Any], object]]] = {
    "PROTO": lambda m, _: None,
    "FRAME": lambda m, _: None,
    "STOP": lambda m, _: None,
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "POP": lambda m, _: m.popped(len(m.stack) - 1),
    "POP_MARK": lambda m, _: m.marked(),
    "MEMOIZE": lambda m, _: m.put(len(m.memo)),
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
    "NEWOBJ": lambda m, _: m.call(),
    "BUILD": lambda m, _: m.build(),
    "BINPERSID": lambda m, _: m.outside(),
}


def check_key(key: object) -> None:
    """Raise ValueError unless ``key`` may be one of a dictionary or set."""
    if not isinstance(key, _KEYS):
        raise ValueError(f"refused a {kind(key)} as key")
    if isinstance(key, int) and key.bit_length() > _LARGEST_KEY:
        raise ValueError(f"refused an integer of {key.bit_length()} bits as key")


def check_plain(value: object, *plain: type) -> None:
    """Raise ValueError unless ``value`` has nothing but data and objects of the classes ``plain``.

    Examples
    --------
    >>> check_plain({"a": [1, (2.0, None)]})
    >>> check_plain([Call(print)])
    Traceback (most recent call last):
    ValueError: refused a Call as value
    """
    seen: set[int] = set()
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, _CONTAINERS):
            if id(item) not in seen:
                seen.add(id(item))
                left.extend(item.values() if isinstance(item, dict) else item)
        elif not isinstance(item, (*_PLAIN, *plain)):
            raise ValueError(f"refused a {kind(item)} as value")


def short(value: object) -> str:
    """A value for a message; of what holds others only the type, they may be without end."""
    return repr(value[:40]) if isinstance(value, str | bytes) else f"of type {kind(value)}"


def kind(value: object) -> str:
    """The name of its type."""
    return type(value).__name__


# ---- names of Python's ------------------------------------------------------------------------


def python_names(budget: Budget) -> Known:
    """What pickles of Python's own values name."""

    def encode(text: object, encoding: object) -> bytes:
        """Python 3 writes bytes at protocol 2 as ``_codecs.encode(text, 'latin1')``."""
        if encoding != "latin1" or not isinstance(text, str):
            raise ValueError(f"refused encoding {short(encoding)} (only latin1)")
        budget.take(len(text))
        return text.encode("latin1")

    def no_bytes() -> bytes:
        return b""

    def array(value: object = b"", encoding: object = "latin-1") -> bytearray:
        raw = encode(value, str(encoding).replace("-", "")) if isinstance(value, str) else value
        if not isinstance(raw, bytes):
            raise ValueError("refused a bytearray that is not made of bytes")
        budget.take(len(raw))
        return bytearray(raw)

    def items(*value: Any) -> set[Any]:
        for key in value[0] if value else ():
            check_key(key)
        budget.take(len(value[0]) if value else 0)
        return set(*value)

    def numbers(*value: Any) -> Counter[Any]:
        if not all(type(v) is dict for v in value):
            raise ValueError("refused a Counter that is not made of a dict")
        budget.take(len(value[0]) if value else 0)
        return Counter(*value)

    def ordered() -> OrderedDict[Any, Any]:
        return OrderedDict()

    def number(real: float, imaginary: float) -> complex:
        return complex(float(real), float(imaginary))

    found: dict[tuple[str, str], object] = {
        ("_codecs", "encode"): Call(encode),
        ("collections", "OrderedDict"): Call(ordered),
        ("collections", "Counter"): Call(numbers),
    }
    functions: dict[str, Callable[..., object]] = {
        "bytearray": array, "bytes": no_bytes, "complex": number, "set": items,
    }  # fmt: skip
    for module in ("builtins", "__builtin__"):
        found |= {(module, name): Call(function) for name, function in functions.items()}
    return found


# ---- NumPy's names ------------------------------------------------------------------------------


class _NDArray:
    """Stands in for ``numpy.ndarray`` until its state says what is in it."""


class _DType:
    """Stands in for a ``numpy.dtype`` until its state says in which order its bytes are."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype


_CODES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")


class NumPy:
    """Arrays of numbers in pickles: what stands for the names, and what gives them their state."""

    def __init__(self, budget: Budget, codes: tuple[str, ...] = _CODES) -> None:
        self.budget, self.codes = budget, codes
        self.known: dict[tuple[str, str], object] = {
            ("numpy", "dtype"): Call(self.dtype),
            ("numpy", "ndarray"): _NDArray,
        }
        for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            self.known[module, "_reconstruct"] = Call(self.reconstruct)
            if len(codes) > 1:
                self.known[module, "scalar"] = Call(self.scalar)
        self.builds: Builds = {_NDArray: self.filled, _DType: self.ordered}

    def dtype(self, code: object, *flags: object) -> _DType:
        """What calling ``numpy.dtype`` gives."""
        text = code.decode("latin1") if isinstance(code, bytes) else code
        if text not in self.codes:
            which = self.codes[0] if len(self.codes) == 1 else "numbers"
            raise ValueError(f"refused an array of dtype {short(code)} (only {which})")
        return _DType(np.dtype(text))

    def ordered(self, dtype: _DType, state: Any) -> np.dtype[Any]:
        """Its state is version, byte order and what only other dtypes have."""
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise ValueError(f"refused byte order {short(order)}")
        ordered = np.dtype(f"{order}{dtype.dtype.str[1:]}")
        return dtype.dtype if ordered.isnative else ordered

    def reconstruct(self, kind: object, shape: object, code: object) -> _NDArray:
        """An empty array."""
        if kind is not _NDArray:
            raise ValueError("refused an array that is not a numpy.ndarray")
        return _NDArray()

    def filled(self, _array: _NDArray, state: Any) -> NDArray[Any]:
        """The array of the state that NumPy pickles."""
        _, shape, dtype, fortran, raw = state
        plain = isinstance(shape, tuple) and len(shape) <= 32
        if not plain or not all(type(n) is int and 0 <= n < 2**40 for n in shape):
            raise ValueError("refused an array whose shape is not a few integers")
        values = self.numbers(dtype, raw, math.prod(shape), f"an array of shape {shape}")
        return values.reshape(shape, order="F" if fortran else "C")

    def scalar(self, dtype: object, raw: object) -> Any:
        """A number that is NumPy's."""
        return self.numbers(dtype, raw, 1, "a number")[0]

    def numbers(self, dtype: object, raw: object, count: int, what: str) -> NDArray[Any]:
        """``count`` numbers, in native byte order."""
        if isinstance(dtype, _DType):
            dtype = dtype.dtype
        if not isinstance(dtype, np.dtype) or type(raw) is not bytes:
            raise ValueError(f"{what} has no bytes")
        if len(raw) != count * dtype.itemsize:
            raise ValueError(f"{what} has {len(raw)} bytes")
        self.budget.take(len(raw))
        return np.frombuffer(raw, dtype).astype(dtype.newbyteorder("="))
