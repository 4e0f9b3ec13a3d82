"""Object code into this process's memory, and addresses of what is in it.

On Linux the package's own loader does it (`elf`), where it can; else LLVM.
"""

from __future__ import annotations

import functools
import os
import threading
from contextlib import suppress
from typing import Any

from tinygrad_cnn.kernels.jit.compile import elf

_lock = threading.Lock()
_addresses: dict[str, int] = {}  # of functions that LLVM has not loaded


def _machine(**options: Any) -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), **options
    )


@functools.cache
def _engine() -> Any:
    """Return LLVM's one engine, which keeps all code until the process ends."""
    import llvmlite.binding as llvm

    machine = _machine(opt=0)  # it compiles nothing itself
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)


def load(code: bytes) -> None:
    """Put object code into memory, ready to run.

    Raises
    ------
    RuntimeError: not object code of this machine.
    OSError: the system allows no new executable memory.
    """
    with _lock:
        with suppress(elf.NotLoadable):
            _addresses.update(elf.load(code))
            return
        import llvmlite.binding as llvm

        engine = _engine()
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()


def address_of(symbol: str) -> int:
    """Return where the code of a function is.

    Raises
    ------
    RuntimeError: no object code that was loaded has it.
    """
    with _lock:
        address = _addresses.get(symbol)
        if address is None and _engine.cache_info().currsize:
            address = int(_engine().get_function_address(symbol))
    if not address:
        raise RuntimeError(f"machine code has no function {symbol!r}")
    return address


def emit(assembly: str) -> bytes:
    """Return object code of a module in LLVM's language, little optimised."""
    import llvmlite.binding as llvm

    llvm.initialize_native_asmparser()
    module = llvm.parse_assembly(assembly)
    module.verify()
    machine = _machine(opt=2, reloc="pic", codemodel="jitdefault")
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    llvm.create_pass_builder(machine, options).getModulePassManager().run(
        module, llvm.create_pass_builder(machine, options)
    )
    return bytes(machine.emit_object(module))


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
