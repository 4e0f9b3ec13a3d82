"""LLVM, imported only here and where kernels are written: object code, and LLVM's own loader."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import sys
from collections.abc import Callable
from typing import Any

from tinygrad_cnn.kernels.jit.compile.prebuilt import NUMBA_SETTINGS

_engines: list[Any] = []  # which keep their code


def emit(module: Any, cpu: str | None = None, features: str | None = None, opt: int = 3) -> bytes:
    """Return object code of a module that both a linker and LLVM's loader take.

    It is for this processor unless another is named, here or in Numba's settings.
    """
    return bytes(_machine(cpu, features, opt).emit_object(module))


def emit_assembly(assembly: str) -> bytes:
    """Return object code of a module in LLVM's language, little optimised."""
    import llvmlite.binding as llvm

    machine = _machine()
    llvm.initialize_native_asmparser()
    module = llvm.parse_assembly(assembly)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return emit(module, opt=2)


def _machine(cpu: str | None = None, features: str | None = None, opt: int = 2) -> Any:
    import llvmlite.binding as llvm

    settings = [os.environ.get(name) for name in NUMBA_SETTINGS]
    if features is None:
        features = settings[1]
    if features is None:
        features = llvm.get_host_cpu_features().flatten()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=cpu if cpu is not None else settings[0] or llvm.get_host_cpu_name(),
        features=features,
        opt=opt,
        reloc="pic",  # or a library's code would be written to when it is loaded
        codemodel="jitdefault",  # LLVM's loader puts what belongs together anywhere
    )


@functools.cache
def _expect_executable_memory() -> None:
    """Raise OSError if the system allows no new executable memory, as under systemd's
    MemoryDenyWriteExecute. LLVM does not notice, and running the code would end the process.
    """
    if sys.platform == "linux":
        page = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        at = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(page)))
        size = ctypes.c_size_t(mmap.PAGESIZE)
        if ctypes.CDLL(None).mprotect(at, size, mmap.PROT_READ | mmap.PROT_EXEC):
            raise OSError("the system allows no new executable memory")


def load(code: bytes) -> Callable[[str], int]:
    """Put object code into memory, ready to run until the process ends.

    Returns the function that gives the address of a function, 0 if the code has none of that name.

    Raises
    ------
    RuntimeError: not object code of this machine.
    OSError: the system allows no new executable memory.
    """
    import llvmlite.binding as llvm

    _expect_executable_memory()
    # LLVM resolves distances from the global offset table for the first table of an engine only.
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
    _engines.append(engine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return lambda symbol: int(engine.get_function_address(symbol))
