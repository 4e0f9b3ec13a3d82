"""Object code is loaded without LLVM, or refused; what is damaged never reaches executable memory.

Small files are made here from the specification's structures; their code is written by hand.
"""

from __future__ import annotations

import ctypes
import platform
import random
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_cnn.kernels.jit.compile import elf

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="the loader is for Linux on x86-64",
)
FORTY_TWO = b"\xb8\x2a\x00\x00\x00\xc3"  # mov eax, 42; ret
CODE = (1, 0x2 | 0x4)  # SHT_PROGBITS; SHF_ALLOC, SHF_EXECINSTR
NUMBERS = (1, 0x2)
LOCAL_SECTION, GLOBAL_FUNCTION, GLOBAL_NAME = 3, 0x12, 0x10  # st_info

Relocation = tuple[int, int, int, int]  # offset, kind, symbol, addend


def object_file(
    *,
    code: bytes = FORTY_TWO,
    kind: tuple[int, int] = CODE,
    numbers: bytes = bytes(range(40)),
    alignments: tuple[int, int] = (16, 64),
    relocations: tuple[Relocation, ...] = (),
    table: int = 4,
    others: tuple[tuple[str, int, int, int], ...] = (),
) -> bytes:
    """Return a file with sections 1 (code), 2 (numbers), 3 (relocations of the code), 4 and 5
    (symbols and their names), and the symbols 1 (``start``, a function at the code's beginning),
    2 (section 2), 3, ... (`others`: name, st_info, section, value).
    """
    names, symbols = b"\0", bytes(24)
    for name, info, section, value in (
        ("start", GLOBAL_FUNCTION, 1, 0), ("", LOCAL_SECTION, 2, 0), *others
    ):  # fmt: skip
        symbols += struct.pack("<IBBHQQ", len(names), info, 0, section, value, 0)
        names += name.encode() + b"\0"
    rows = b"".join(struct.pack("<QQq", at, s << 32 | k, add) for at, k, s, add in relocations)
    contents, headers = b"", bytes(64)
    for content, (section, flags), link, info, alignment, entry in (
        (code, kind, 0, 0, alignments[0], 0),
        (numbers, NUMBERS, 0, 0, alignments[1], 0),
        (rows, (table, 0), 4, 1, 8, 24),
        (symbols, (2, 0), 5, 1, 8, 24),
        (names, (3, 0), 0, 0, 1, 0),
    ):
        place = 64 + len(contents)
        headers += struct.pack(
            "<IIQQQQIIQQ", 0, section, flags, 0, place, len(content), link, info, alignment, entry
        )
        contents += content
    head = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 1, 62, 1, 0, 0, 64 + len(contents), 0, 64,
        0, 0, 64, 6, 5,
    )  # fmt: skip
    return head + contents + headers


def signed(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


def permissions(address: int) -> str:
    """Return how the process may use the memory at an address ("" if it is not mapped)."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(word, 16) for word in line.split()[0].split("-"))
        if start <= address < end:
            return line.split()[1]
    return ""


def test_code_runs_and_cannot_be_written() -> None:
    at = elf.load(object_file())["start"]
    assert ctypes.CFUNCTYPE(ctypes.c_int)(at)() == 42
    assert permissions(at) == "r-xp"


def test_sections_stand_where_their_alignment_wants_them() -> None:
    relocations = ((8, 1, 2, 0),)
    for alignment in (1, 8, 64, 4096):
        file = object_file(
            code=FORTY_TWO + bytes(20), alignments=(16, alignment), relocations=relocations
        )
        at = elf.load(file)["start"]
        numbers = signed(at + 8)
        assert at % 16 == 0
        assert numbers % alignment == 0
        assert ctypes.string_at(numbers, 40) == bytes(range(40))


def test_relocations_follow_the_specification() -> None:
    """S + A, S + A - P, S + A - GOT and GOT + A - P, where GOT is any one address."""
    at = elf.load(
        object_file(
            code=bytes(40),
            relocations=((0, 1, 2, 5), (8, 24, 2, -7), (16, 25, 2, 3), (24, 29, 3, -11)),
            others=(("_GLOBAL_OFFSET_TABLE_", GLOBAL_NAME, 0, 0),),
        )
    )["start"]
    numbers = signed(at) - 5
    assert ctypes.string_at(numbers, 40) == bytes(range(40))
    assert signed(at + 8) == numbers - 7 - (at + 8)
    table = signed(at + 24) + 11 + (at + 24)
    assert signed(at + 16) == numbers + 3 - table


def test_calls_go_to_the_c_library() -> None:
    """``start`` jumps to memset."""
    jump = b"\x48\xb8" + bytes(8) + b"\xff\xe0"  # mov rax, ...; jmp rax
    memset = (("memset", GLOBAL_NAME, 0, 0),)
    file = object_file(code=jump, relocations=((2, 1, 3, 0),), others=memset)
    room = (ctypes.c_char * 8)()
    kinds = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    ctypes.CFUNCTYPE(ctypes.c_void_p, *kinds)(elf.load(file)["start"])(room, 65, 3)
    assert room.raw == b"AAA" + bytes(5)


def patched(at: int, new: bytes) -> bytes:
    file = object_file()
    return file[:at] + new + file[at + len(new) :]


def header_of(section: int) -> int:
    """Return where a section's header begins."""
    return int(struct.unpack_from("<Q", object_file(), 40)[0]) + 64 * section


def call(name: str) -> bytes:
    return object_file(
        code=bytes(8), relocations=((0, 1, 3, 0),), others=((name, GLOBAL_NAME, 0, 0),)
    )


REFUSED = {
    "nothing": (b"", "not 64-bit ELF"),
    "another format": (b"\xcf\xfa\xed\xfe" + bytes(100), "not 64-bit ELF"),
    "32 bits": (patched(4, b"\1"), "not 64-bit ELF"),
    "big-endian": (patched(5, b"\2"), "not 64-bit ELF"),
    "only a beginning": (object_file()[:30], "not 64-bit ELF"),
    "a program": (patched(16, b"\2"), "not for this machine"),
    "AArch64": (patched(18, b"\xb7"), "not for this machine"),
    "headers far away": (patched(40, b"\xff" * 8), "section headers"),
    "too many sections": (patched(60, b"\xff\xff"), "section headers"),
    "no code": (object_file(code=b"", numbers=b""), "some code"),
    "a section beyond the end": (
        patched(header_of(1) + 24, b"\xff" * 8), "a section beyond the end"
    ),
    "a long section": (patched(header_of(1) + 32, b"\xff" * 8), "a section beyond the end"),
    "too large": (object_file(numbers=bytes(elf.MOST)), "too large"),
    "zeros that are not in the file": (patched(header_of(1) + 4, b"\x08"), "section 0x8"),
    "memory to write": (object_file(kind=(1, 0x7)), "flags 0x7"),
    "memory of each thread": (object_file(kind=(1, 0x402)), "flags 0x402"),
    "no power of two": (object_file(alignments=(12, 64)), "alignment"),
    "a large alignment": (object_file(alignments=(1 << 16, 64)), "alignment"),
    "an unknown relocation": (
        object_file(code=bytes(8), relocations=((0, 2, 2, 0),)), "relocation 2"
    ),
    "a relocation beyond the end": (
        object_file(code=bytes(8), relocations=((1, 1, 2, 0),)), "a relocation outside"
    ),
    "a symbol that is not there": (
        object_file(code=bytes(8), relocations=((0, 1, 3, 0),)), "without its symbol"
    ),
    "relocations of another kind": (object_file(table=9), "relocations of another kind"),
    "a common symbol": (
        object_file(
            code=bytes(8), relocations=((0, 1, 3, 0),), others=(("x", 0x11, 0xFFF2, 8),)
        ),
        "a symbol in section 0xfff2",
    ),
    "a symbol beyond its section": (
        object_file(code=bytes(8), relocations=((0, 1, 3, 0),), others=(("x", 0x12, 2, 41),)),
        "a symbol beyond the end",
    ),
    "any function of the C library": (call("system"), "calls 'system'"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_understood_is_refused(what: str) -> None:
    file, reason = REFUSED[what]
    with pytest.raises(elf.NotLoadable, match=reason):
        elf.load(file)


def never_more_than_refused(file: bytes) -> bool:
    """Complete a file for an address where nothing is; return whether it was understood."""
    try:
        found = elf._Object(file)
        size = len(found.image)
        functions = found.functions(1 << 40)
        found.relocate(1 << 40)
    except elf.NotLoadable:
        return False
    assert len(found.image) == size <= elf.MOST + 4096
    assert all(0 <= at - (1 << 40) <= size for at in functions.values())
    return True


def test_damage_anywhere_is_refused_or_harmless() -> None:
    file = object_file(
        code=bytes(40),
        relocations=((0, 1, 2, 5), (8, 24, 2, -7), (16, 25, 2, 3), (24, 29, 3, -11), (32, 1, 4, 0)),
        others=(("_GLOBAL_OFFSET_TABLE_", GLOBAL_NAME, 0, 0), ("memcpy", GLOBAL_NAME, 0, 0)),
    )
    assert never_more_than_refused(file)
    # Its headers are at the end: without them nothing is left to understand.
    assert not any(never_more_than_refused(file[:length]) for length in range(len(file)))
    source, understood = random.Random(0), 0
    for at in range(len(file)):
        for value in {0, 1, 0x7F, 0xFF, file[at] ^ 1 << source.randrange(8)} - {file[at]}:
            understood += never_more_than_refused(file[:at] + bytes([value]) + file[at + 1 :])
    assert understood > 0
    for _ in range(2000):
        damaged = bytearray(file)
        for _ in range(source.randrange(1, 6)):
            at = source.randrange(len(file))
            damaged[at : at + 8] = source.randbytes(min(8, len(file) - at))
        never_more_than_refused(bytes(damaged))


class Library:
    """The C library, one function of which refuses."""

    def __init__(self, name: str, answer: int) -> None:
        self.unmapped = 0
        self.true, self.refused = elf._c(), {name: answer}

    def __getattr__(self, name: str) -> Any:
        return (lambda *args: self.refused[name]) if name in self.refused else self.named(name)

    def named(self, name: str) -> Any:
        self.unmapped += name == "munmap"
        return getattr(self.true, name)


@pytest.mark.parametrize(
    ("function", "answer", "error", "unmapped"),
    [("mmap", 2**64 - 1, MemoryError, 0), ("mprotect", -1, OSError, 1)],
)
def test_memory_that_the_system_refuses(
    function: str,
    answer: int,
    error: type[Exception],
    unmapped: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = Library(function, answer)
    monkeypatch.setattr(elf, "_c", lambda: library)
    with pytest.raises(error, match="memory"):
        elf.load(object_file())
    assert library.unmapped == unmapped


def test_only_listed_functions_are_called() -> None:
    with pytest.raises(elf.NotLoadable, match="calls 'sinh'"):
        elf.load(call("sinh"))
    assert np.all([elf._external(name) for name in elf.C_LIBRARY])
