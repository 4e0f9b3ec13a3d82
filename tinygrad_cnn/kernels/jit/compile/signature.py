"""What a kernel is compiled for: the kinds of its arguments, as objects and as text.

The text, a signature, is what other processes and versions know a kernel by: ``direct:_pack [...]``
with the module's place in ``kernels/jit``, the function's name, and the kinds in JSON.
"""

from __future__ import annotations

import hashlib
import json
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_cnn.kernels.choice import NoCompiler
from tinygrad_cnn.kernels.jit.compile import build
from tinygrad_cnn.kernels.jit.compile.build import ENTRIES, Code, Kernel, beginning
from tinygrad_cnn.kernels.jit.threads.pool_words import ARGUMENTS

Kind = tuple[Any, ...]
Kinds = tuple[Kind, ...]

FOLDER = Path(__file__).parents[1]
PACKAGE = __name__.rpartition(".compile")[0] + "."  # in front of the names of kernels' modules
KERNELS = PACKAGE.removesuffix("jit.")  # and of those of their tuples


def kind_of(value: object) -> Kind:
    """Return what decides how machine code reads an argument.

    Raises
    ------
    TypeError: no kernel takes such a thing.
    """
    if isinstance(value, np.ndarray):
        flags = value.flags
        return ("array", value.dtype.str, value.ndim, "C" if flags.c_contiguous else "A",
                flags.aligned)  # fmt: skip
    if isinstance(value, float | np.floating):
        return ("float",)
    if isinstance(value, tuple):
        return ("tuple", type(value), *map(kind_of, value))
    if isinstance(value, int | np.integer | np.bool_):
        return ("int",)
    raise TypeError(f"a compiled kernel takes no {type(value).__name__}")


def _plain(part: Any) -> Any:
    if isinstance(part, type):
        return f"{part.__module__}:{part.__qualname__}"
    return list(map(_plain, part)) if isinstance(part, tuple) else part


def signature_of(kernel: Kernel, kinds: Kinds) -> str:
    """Return a kernel and the kinds of its arguments as text."""
    function = kernel.function
    place = f"{function.__module__.removeprefix(PACKAGE)}:{function.__qualname__}"
    return f"{place} {json.dumps(_plain(kinds), separators=(',', ':'))}"


def _kind(part: Any) -> Kind:
    kind, *rest = part
    if kind != "tuple":
        return (kind, *rest)
    module, _, name = rest[0].partition(":")
    if module == "builtins":
        cls: Any = tuple
    elif module.startswith(KERNELS):
        cls = getattr(import_module(module), name)
    else:
        raise LookupError(f"no tuple of kernels: {rest[0]}")
    if len(getattr(cls, "_fields", rest[1:])) != len(rest) - 1:
        raise LookupError(f"{rest[0]} has other fields by now")
    return ("tuple", cls, *map(_kind, rest[1:]))


def found(signature: str) -> tuple[Kernel, Kinds]:
    """Return the kernel and the kinds that `signature_of` has written.

    Raises
    ------
    LookupError: it is another version's: there is no such kernel any more.
    """
    place, _, text = signature.partition(" ")
    module = place.partition(":")[0]
    try:
        import_module(PACKAGE + module)
        kernel = ENTRIES[f"{PACKAGE}{place}"]
        kinds = tuple(map(_kind, json.loads(text)))
    except (ImportError, AttributeError, TypeError, ValueError, KeyError) as error:
        raise LookupError(f"no kernel {place}: {error}") from error
    if kernel.function.__code__.co_argcount != len(kinds) + 2:  # after part and parts
        raise LookupError(f"{place} has other arguments by now")
    return kernel, kinds


def _constants(kernel: Kernel, seen: set[str]) -> None:
    """Note the numbers of its module that a kernel, or one that it calls, is compiled with.

    They are the source's, unless somebody has set others in this process.
    """
    function = kernel.function
    names = {name: function.__globals__.get(name) for name in function.__code__.co_names}
    cells = function.__closure__ or ()  # in the order of `co_freevars`
    free = zip(function.__code__.co_freevars, (cell.cell_contents for cell in cells), strict=True)
    for name, value in [*names.items(), *free]:
        if isinstance(value, int | float):
            seen.add(f"{function.__module__}.{name}={value!r}")
        elif isinstance(value, Kernel) and value.__name__ not in seen:
            seen.add(value.__name__)
            _constants(value, seen)


def code_of(kernel: Kernel, kinds: Kinds) -> Code:
    """Return by what the machine code for arguments of these kinds is found."""
    function = kernel.function
    seen: set[str] = set()
    _constants(kernel, seen)
    details = str(sorted(seen))
    source = Path(function.__code__.co_filename)
    ours = FOLDER in source.parents
    if not ours:  # not in the folder's name
        details += hashlib.sha256(source.read_bytes()).hexdigest()
    name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
    return Code(name, signature_of(kernel, kinds), details, by_signature=ours)


def compile_for(kernel: Kernel, kinds: Kinds, symbol: str) -> bytes:
    """Return object code.

    Raises
    ------
    NoCompiler: Numba is missing.
    """
    try:
        from tinygrad_cnn.kernels.jit.compile.numba_lowering import compile_entry
    except ModuleNotFoundError as error:
        if error.name not in ("numba", "llvmlite"):
            raise
        raise NoCompiler(f"{kernel.__name__} is not compiled yet, and Numba is missing") from None
    return compile_entry(kernel, kinds, ARGUMENTS, symbol)


def beginning_of(signature: str) -> str:
    """Return how the names of files with its machine code begin."""
    module, _, name = signature.partition(" ")[0].partition(":")
    return beginning(f"{module.rpartition('.')[2]}.{name}", signature)


def prepare(signature: str) -> bool:
    """Have a kernel on disk by its signature; return whether this process did it.

    What cannot be compiled is left to whoever needs it, who then sees why.
    """
    try:
        kernel, kinds = found(signature)
        return build.prepare(code_of(kernel, kinds), partial(compile_for, kernel, kinds))
    except Exception:
        return False
