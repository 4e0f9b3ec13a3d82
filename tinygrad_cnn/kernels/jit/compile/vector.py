"""Vector instructions, written as LLVM's intermediate language from Python.

Compilers vectorise simple loops well, but not a product that must keep a block of results in
registers: the micro-kernels of this folder therefore say themselves what each vector holds. The
words are here, in `arithmetic` and in `emitter`; `products` and `winograd_transforms` speak with
them. Everything is written once, for vectors of any number of lanes, and LLVM makes the processor's
instructions of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinygrad_cnn.kernels.jit.compile.processor import features

if TYPE_CHECKING:
    from tinygrad_cnn.kernels.jit.compile.arithmetic import Arithmetic as Arithmetic
    from tinygrad_cnn.kernels.jit.compile.emitter import Emitter as Emitter
else:
    Arithmetic = Emitter = Any  # names in annotations: importing them would import LLVM

BYTES = 4  # of a float32
LANES_SETTING = "TINYGRAD_CNN_JIT_LANES"  # environment: 16, 8 or 4, instead of what the CPU offers


@dataclass(frozen=True)
class Tile:
    """Floats per vector, and the block of results that a matrix product keeps in registers.

    A step of the product loads `vectors` vectors and spreads `rows` single numbers for
    ``rows * vectors`` multiply-adds. There must be enough of them under way to hide their latency
    (two units of 4 cycles: at least 8) and registers for all of them and the operands.
    """

    lanes: int
    rows: int
    vectors: int

    @property
    def columns(self) -> int:
        """How many columns of a matrix one block covers."""
        return self.lanes * self.vectors


TILES = {
    16: Tile(lanes=16, rows=8, vectors=2),  # AVX-512: 16 results and 2 operands in 32 registers
    8: Tile(lanes=8, rows=6, vectors=2),  # AVX2: 12 results, 2 operands, 1 spread in 16 registers
    4: Tile(lanes=4, rows=8, vectors=2),  # NEON: 16 results in 32 registers; SSE spills some
}


def choose_tile() -> Tile:
    """Return the tile for this processor, or for the width in ``TINYGRAD_CNN_JIT_LANES``.

    Raises
    ------
    ValueError: the variable is set to something else than 16, 8 or 4.
    """
    wanted = os.environ.get(LANES_SETTING)
    if wanted:
        if wanted not in map(str, TILES):
            raise ValueError(f"{LANES_SETTING} is {wanted!r}, expected one of 16, 8, 4")
        return TILES[int(wanted)]
    found = features()
    if "avx512f" in found:
        return TILES[16]
    return TILES[8] if {"avx2", "fma"} <= found else TILES[4]


TILE = choose_tile()

Value = Any  # an llvmlite value; the package comes without types


class Instruction:
    """Stands for an instruction in kernels, until `numba_lowering` makes Numba's word for it."""

    def __init__(self, write: Callable[..., Any], numbers: bool = False) -> None:
        self.write, self.numbers = write, numbers
        self.__name__, self.__doc__ = write.__name__, write.__doc__


def instruction(write: Callable[..., None]) -> Any:
    """Make a function that kernels call like an instruction: all arguments are 64-bit integers.

    The decorated function writes the code, given an `Emitter` and the arguments' values. (Numba
    reads their number from its signature.)
    """
    return Instruction(write)


def number_instruction(write: Callable[..., Any]) -> Any:
    """Make a function of float32 numbers, and to one, that kernels call in their loops.

    The decorated function writes the code, given an `Arithmetic` and the arguments' values, and
    returns the result's: without branches, so that LLVM makes vectors of the loop around it.
    """
    return Instruction(write, numbers=True)
