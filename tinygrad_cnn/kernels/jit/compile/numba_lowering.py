"""Object code of kernels, made by Numba: imported only when some is not on disk yet.

A kernel's Python function is built again with names that Numba understands: for a kernel its
dispatcher, for an `Instruction` Numba's intrinsic. Around an entry a function is written that reads
its arguments from a block of 64-bit words (`entry` has the layout). Its object code is taken
before Numba's own wrappers for Python would come, and stands alone: what it calls is in it, but for
a few functions of the C library.
"""

from __future__ import annotations

import functools
import types as python_types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, registry
from numba.core.codegen import JITCodeLibrary, JITCPUCodegen
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from tinygrad_cnn.kernels.jit.compile.arithmetic import Arithmetic
from tinygrad_cnn.kernels.jit.compile.build import Kernel
from tinygrad_cnn.kernels.jit.compile.emitter import Emitter
from tinygrad_cnn.kernels.jit.compile.engine import emit
from tinygrad_cnn.kernels.jit.compile.vector import TILE, Instruction, Value

# Functions that kernels may call.
C_LIBRARY = frozenset({"memcpy", "memmove", "memset"}) | {
    name + kind for name in ("exp", "log", "tanh", "sqrt", "pow", "fma") for kind in ("", "f")
}
HEAD = object.__basicsize__  # bytes before an object's own fields
# Where NumPy's array objects (struct PyArrayObject_fields, part of its stable interface) have
# their fields.
DATA, DIMENSIONS, STRIDES = HEAD, HEAD + 16, HEAD + 24

_WORD = ir.IntType(64)
_made: dict[int, tuple[Any, Any]] = {}  # by identity: (what it was made of, what was made)


def _intrinsic(instruction: Instruction) -> Any:
    """Return Numba's word for an instruction."""
    write = instruction.write

    def typed(context: object, *arguments: object) -> Any:
        if instruction.numbers:
            signature = types.float32(*[types.float32] * len(arguments))
        else:
            signature = types.void(*[types.int64] * len(arguments))

        def generate(context: Any, builder: Any, signature: object, values: list[Value]) -> Any:
            if instruction.numbers:
                return write(Arithmetic(builder), *values)
            write(Emitter(builder, TILE.lanes), *values)
            return context.get_dummy_value()

        return signature, generate

    typed.__name__, typed.__doc__ = write.__name__, write.__doc__
    typed.__wrapped__ = write  # type: ignore[attr-defined] # inspect.signature follows it
    return intrinsic(typed)


def _options(kernel: Kernel) -> dict[str, Any]:
    return {
        "error_model": "numpy", "boundscheck": False, "_nrt": False, "no_cpython_wrapper": True,
        "no_cfunc_wrapper": True, **kernel.options,
    }  # fmt: skip


def _for_numba(thing: Any) -> Any:
    """Return what Numba shall find under a name of a kernel's module."""
    if not isinstance(thing, Kernel | Instruction):
        return thing
    if id(thing) not in _made:
        if isinstance(thing, Instruction):
            made = _intrinsic(thing)
        else:
            made = numba.njit(**_options(thing))(_rebuilt(thing.function))
        _made[id(thing)] = thing, made
    return _made[id(thing)][1]


def _rebuilt(function: Any) -> Any:
    """Return the function with its module's kernels and instructions replaced."""
    code = function.__code__
    names = {
        name: _for_numba(function.__globals__[name])
        for name in code.co_names
        if name in function.__globals__
    }
    closure = function.__closure__ and tuple(
        python_types.CellType(_for_numba(cell.cell_contents)) for cell in function.__closure__
    )
    space = {**function.__globals__, **names}
    return python_types.FunctionType(code, space, function.__name__, function.__defaults__, closure)


def _load(builder: Any, address: Value, kind: Any) -> Value:
    return builder.load(builder.inttoptr(address, kind.as_pointer()))


def _reader(kind: Any, machine: Any) -> Any:
    """Return the intrinsic that reads one word as a number."""

    def read(context: object, address: object) -> Any:
        def generate(
            context: object, builder: Any, signature: object, values: list[Value]
        ) -> Value:
            return _load(builder, values[0], machine)

        return kind(types.int64), generate

    return intrinsic(read)


def _array_reader(dtype: str, ndim: int, layout: str, aligned: bool) -> Any:
    """Return the intrinsic that makes Numba's array of the array object at an address."""
    kind = types.Array(numba.from_dtype(np.dtype(dtype)), ndim, layout, aligned=aligned)
    itemsize = np.dtype(dtype).itemsize

    def read(context: object, address: object) -> Any:
        def generate(context: Any, builder: Any, signature: object, values: list[Value]) -> Value:
            def field(distance: int) -> Value:
                return _load(builder, builder.add(values[0], _WORD(distance)), _WORD)

            def entries(table: Value) -> list[Value]:
                places = [builder.add(table, _WORD(8 * axis)) for axis in range(ndim)]
                return [_load(builder, place, _WORD) for place in places]

            shape = entries(field(DIMENSIONS))
            if layout == "C":
                strides = [_WORD(itemsize)]
                for length in shape[:0:-1]:
                    strides.insert(0, builder.mul(strides[0], length))
            else:
                strides = entries(field(STRIDES))
            array = context.make_array(kind)(context, builder)
            populate_array(
                array,
                data=builder.inttoptr(field(DATA), array.data.type),
                shape=cgutils.pack_array(builder, shape, _WORD),
                strides=cgutils.pack_array(builder, strides[:ndim], _WORD),
                itemsize=context.get_constant(types.intp, itemsize),
                meminfo=None,
            )
            return array._getvalue()

        return kind(types.int64), generate

    return intrinsic(read)


def _wrapper(kernel: Kernel, kinds: Sequence[tuple[Any, ...]], first: int) -> Any:
    """Return ``entry(block, part, parts)``, which reads the arguments from word `first` on."""
    names: dict[str, Any] = {
        "function": _for_numba(kernel),
        "word": _reader(types.int64, _WORD),
        "real": _reader(types.float64, ir.DoubleType()),
    }
    place = 8 * first

    def value(kind: str, *rest: Any) -> str:
        """Return source that reads an argument from the next words."""
        nonlocal place
        name = f"kind{place}_{len(names)}"
        if kind == "tuple":
            cls, *parts = rest
            names[name] = cls
            return (
                f"{'' if cls is tuple else name}({''.join(value(*part) + ', ' for part in parts)})"
            )
        word = f"(block + {place})"
        place += 8
        if kind == "array":
            names[name] = _array_reader(*rest)
            return f"{name}(word{word})"
        return f"{'word' if kind == 'int' else 'real'}{word}"

    call = f"function(part, parts, {', '.join(value(*kind) for kind in kinds)})"
    # source that is made here
    exec(f"def entry(block, part, parts):\n    {call}\n", names)  # nosec B102
    return names["entry"]


class _Library(JITCodeLibrary):  # type: ignore[misc]
    """What a function is lowered to, left as it is: nothing of it runs in this process.

    Numba would optimise every function that an entry calls, make machine code of it that nobody
    runs, and do both again for the entry, into which it is inlined.
    """

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Link what it calls."""
        self._ensure_finalized()
        return 0


class _Codegen(JITCPUCodegen):  # type: ignore[misc]
    _library_class = _Library

    def set_env(self, name: str, env: object) -> None:
        """Do nothing: kernels need no environment."""


@functools.cache
def _codegen() -> Any:
    return _Codegen("tinygrad_cnn")


@contextmanager
def _lowering_only() -> Iterator[None]:
    """Let Numba lower functions and not make machine code of them, on this thread."""
    with global_compiler_lock:
        context = registry.cpu_target.target_context
        former, context._internal_codegen = context._internal_codegen, _codegen()
        try:
            yield
        finally:
            context._internal_codegen = former


def _optimize(module: Any) -> None:
    manager, builder = _codegen()._module_pass_manager()
    manager.run(module, builder)


def compile_entry(
    kernel: Kernel, kinds: Sequence[tuple[Any, ...]], first: int, symbol: str
) -> bytes:
    """Return object code that defines `symbol`, the entry for arguments of such kinds.

    The function is ``int32 (void *result, void *error, int64 block, int64 part, int64 parts)``:
    Numba's own convention, of which only the last three matter.

    Raises
    ------
    RuntimeError: the code needs functions that another process may not have.
    """
    dispatcher = numba.njit(**_options(kernel))(_wrapper(kernel, kinds, first))
    with _lowering_only():
        dispatcher.compile((types.int64,) * 3)
    (compiled,) = dispatcher.overloads.values()
    module, codegen = attrgetter("library._final_module", "library._codegen")(compiled)
    name = compiled.fndesc.llvm_func_name
    for number, function in enumerate(list(module.functions)):
        if function.is_declaration:
            if not function.name.startswith("llvm.") and function.name not in C_LIBRARY:
                raise RuntimeError(f"{kernel.__name__}: machine code calls {function.name!r}")
        elif function.name != name:
            function.linkage = "internal"
            function.name = f"{symbol}.{number}"  # Numba's differ from process to process
    module.get_function(name).name = symbol
    for variable in module.global_variables:
        if variable.linkage.name == "common":
            variable.linkage = "internal"  # words for Numba's wrappers
    _optimize(module)
    return emit(module, codegen._get_host_cpu_name(), codegen._tm_features)
