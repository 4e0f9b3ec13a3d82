"""A loader of object code for Linux on x86-64, so that running kernels does not need LLVM.

LLVM's own loader is in llvmlite, some forty megabytes of memory in each process. Kernels need
little of it: one file has one kernel, with everything that it calls but `C_LIBRARY`. Its sections
go one behind the other into memory of their own, addresses in them are completed, then the memory
becomes executable and can no longer be written.

The file's format: Tool Interface Standard, Executable and Linking Format (ELF) 1.2, with 64-bit
fields as in the System V ABI, chapter 4. Relocations and ``SHF_X86_64_LARGE``: System V ABI, AMD64
Architecture Processor Supplement, chapter 4. Only what LLVM writes for kernels is understood; all
else is refused, before anything of it is executable. No kernel raises, so tables for unwinding are
left out.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import platform
import struct
import sys
from typing import Any, NamedTuple

# Functions that kernels may call.
C_LIBRARY = frozenset({"memcpy", "memmove", "memset"}) | {
    name + kind for name in ("exp", "log", "tanh", "sqrt", "pow", "fma") for kind in ("", "f")
}
MOST = 1 << 24  # bytes of a kernel: it has some ten thousand

# e_ident to EI_ABIVERSION: 64 bits, little-endian, version 1, no system's extensions.
MAGIC = b"\x7fELF\x02\x01\x01\x00\x00"
HEADER = struct.Struct("<16xHHIQQQIHHHHHH")
SECTION = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
RELOCATION = struct.Struct("<QQq")

RELOCATABLE, X86_64 = 1, 62  # e_type, e_machine
PROGBITS, SYMTAB, STRTAB, RELA, UNWIND = 1, 2, 3, 4, 0x70000001  # sh_type; UNWIND: .eh_frame
ALLOC, CODE = 0x2, 0x4  # sh_flags
# Write-protected sections, with code or numbers, of which the linker may merge equal ones
# (SHF_MERGE, SHF_STRINGS) or which may be far from others (SHF_X86_64_LARGE).
KNOWN_FLAGS = ALLOC | CODE | 0x10 | 0x20 | 0x10000000
GLOBAL_FUNCTION = 1 << 4 | 2  # st_info: STB_GLOBAL, STT_FUNC
UNDEFINED, FIRST_RESERVED = 0, 0xFF00  # st_shndx
ABSOLUTE_64, RELATIVE_64, GOT_DISTANCE_64, GOT_RELATIVE_64 = 1, 24, 25, 29


class NotLoadable(Exception):
    """Object code that this loader does not understand."""


class Section(NamedTuple):
    """A section's header, an ``Elf64_Shdr``."""

    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int


class Symbol(NamedTuple):
    """An ``Elf64_Sym``."""

    name: int
    info: int
    other: int
    section: int
    value: int
    size: int


def _expect(condition: Any, what: str) -> None:
    if not condition:
        raise NotLoadable(what)


class _Object:
    """What a file has, with all places in it checked.

    It stands in `image` as it will in memory, but for the relocations.
    """

    def __init__(self, code: bytes) -> None:
        self.code = code
        _expect(code.startswith(MAGIC) and len(code) >= HEADER.size, "not 64-bit ELF")
        kind, machine, version, _, _, table, _, _, _, _, size, count, _ = HEADER.unpack_from(code)
        _expect((kind, machine, version) == (RELOCATABLE, X86_64, 1), "not for this machine")
        _expect(size == SECTION.size and table + size * count <= len(code), "section headers")
        self.sections = [
            Section(*fields)
            for fields in SECTION.iter_unpack(code[table : table + size * count])
        ]  # fmt: skip
        self.places: dict[int, int] = {}  # by number of section: where it begins in the image
        self.image = bytearray()
        for number, section in enumerate(self.sections):
            if section.flags & ALLOC and section.kind != UNWIND and section.size:
                self.place(number, section)
        self.image += bytes(-len(self.image) % mmap.PAGESIZE)
        tables = [section for section in self.sections if section.kind == SYMTAB]
        _expect(len(tables) == 1 and self.image, "one table of symbols, and some code")
        self.symbols = [Symbol(*fields) for fields in self.entries(tables[0], SYMBOL)]
        _expect(tables[0].link < len(self.sections), "names of symbols")
        self.names = self.content(self.sections[tables[0].link])

    def content(self, section: Section) -> bytes:
        end = section.offset + section.size
        _expect(section.kind in (PROGBITS, SYMTAB, STRTAB, RELA), f"section {section.kind:#x}")
        _expect(end <= len(self.code), "a section beyond the end")
        return self.code[section.offset : end]

    def entries(self, section: Section, entry: struct.Struct) -> Any:
        """Return the tuples of a table."""
        content = self.content(section)
        _expect(section.entry_size == entry.size and len(content) % entry.size == 0, "a table")
        return entry.iter_unpack(content)

    def place(self, number: int, section: Section) -> None:
        """Append a section to the image."""
        alignment = section.alignment or 1
        _expect(section.kind == PROGBITS, f"section {section.kind:#x}")
        _expect(not section.flags & ~KNOWN_FLAGS, f"flags {section.flags:#x}")
        _expect(alignment & (alignment - 1) == 0 and alignment <= mmap.PAGESIZE, "alignment")
        self.image += bytes(-len(self.image) % alignment)
        self.places[number] = len(self.image)
        self.image += self.content(section)
        _expect(len(self.image) <= MOST, "too large")

    def name(self, symbol: Symbol) -> str:
        end = self.names.find(b"\0", symbol.name)
        _expect(end >= 0, "a name beyond the end")
        return self.names[symbol.name : end].decode("ascii", "replace")

    def address(self, symbol: Symbol, base: int) -> int:
        """Return where a symbol is if the image is at `base`."""
        if symbol.section == UNDEFINED:
            return _external(self.name(symbol))
        # Neither of the reserved numbers (absolute, common) is there.
        _expect(symbol.section in self.places, f"a symbol in section {symbol.section:#x}")
        _expect(symbol.value <= self.sections[symbol.section].size, "a symbol beyond the end")
        return base + self.places[symbol.section] + symbol.value

    def relocate(self, base: int) -> None:
        """Complete the addresses in the image, which will be at `base`.

        The global offset table has no entries: distances from it are distances from the base.
        """
        for section in self.sections:
            if section.kind == RELA and section.info in self.places:
                for offset, info, addend in self.entries(section, RELOCATION):
                    _expect(offset + 8 <= self.sections[section.info].size, "a relocation outside")
                    _expect(info >> 32 < len(self.symbols), "a relocation without its symbol")
                    place = self.places[section.info] + offset
                    symbol = self.symbols[info >> 32]
                    value = self.completed(info & 0xFFFFFFFF, symbol, base, place) + addend
                    struct.pack_into("<Q", self.image, place, value & (1 << 64) - 1)
            else:  # others (SHT_REL) that would change the image
                other = section.kind == 9 and section.info in self.places
                _expect(not other, "relocations of another kind")

    def completed(self, kind: int, symbol: Symbol, base: int, place: int) -> int:
        if kind == ABSOLUTE_64:
            return self.address(symbol, base)
        if kind == RELATIVE_64:
            return self.address(symbol, base) - (base + place)
        if kind == GOT_DISTANCE_64:
            return self.address(symbol, base) - base
        if kind == GOT_RELATIVE_64:
            return -place
        raise NotLoadable(f"relocation {kind}")

    def functions(self, base: int) -> dict[str, int]:
        """Return the addresses of the functions that others may call."""
        return {
            self.name(symbol): self.address(symbol, base)
            for symbol in self.symbols
            if symbol.info == GLOBAL_FUNCTION
            and symbol.section in self.places
            and self.sections[symbol.section].flags & CODE
        }


@functools.cache
def _c() -> Any:
    """Return this process's own library, with the types of what is called here."""
    library = ctypes.CDLL(None, use_errno=True)
    word, number = ctypes.c_void_p, ctypes.c_int
    library.mmap.restype = word
    library.mmap.argtypes = [word, ctypes.c_size_t, number, number, number, ctypes.c_long]
    library.mprotect.argtypes = [word, ctypes.c_size_t, number]
    library.munmap.argtypes = [word, ctypes.c_size_t]
    return library


@functools.cache
def _external(name: str) -> int:
    _expect(name in C_LIBRARY, f"calls {name!r}")
    try:
        return ctypes.cast(getattr(_c(), name), ctypes.c_void_p).value or 0
    except AttributeError:
        raise NotLoadable(f"calls {name!r}") from None


def load(code: bytes) -> dict[str, int]:
    """Put object code into memory, ready to run until the process ends.

    Returns the addresses of its functions by their names.

    Raises
    ------
    NotLoadable: it is not what this loader knows.
    OSError: the system allows no new executable memory (LLVM's loader would not notice it, and
        running the code would end the process).
    MemoryError: there is none. Whatever is raised, nothing of it remains in memory.

    >>> load(b"something else")
    Traceback (most recent call last):
    tinygrad_cnn.kernels.jit.compile.elf.NotLoadable: not 64-bit ELF
    """
    found = _Object(code)
    if sys.platform != "linux" or platform.machine() != "x86_64" or sys.maxsize < 1 << 32:
        raise NotLoadable("not for this system")
    size = len(found.image)
    base = _c().mmap(
        None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0
    )
    if base in (None, ctypes.c_void_p(-1).value):
        raise MemoryError(f"no {size} bytes of memory for machine code")
    try:
        functions = found.functions(base)
        found.relocate(base)
        ctypes.memmove(base, (ctypes.c_char * size).from_buffer(found.image), size)
        if _c().mprotect(base, size, mmap.PROT_READ | mmap.PROT_EXEC):
            raise OSError(ctypes.get_errno(), "the system allows no new executable memory")
    except BaseException:
        _c().munmap(base, size)
        raise
    return functions
