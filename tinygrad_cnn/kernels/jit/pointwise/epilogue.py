"""What a convolution may do to its outputs while they are in the nearest cache.

In a residual network its outputs are normalised, the block's input is added, and what is negative
becomes 0. A compiled function, which knows all of that before, has the convolution's launch do it
(`programs.epilogues`); else it is a launch of its own, with the same arithmetic.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, Emitter, Value, instruction
from tinygrad_cnn.kernels.jit.load.rows import constant
from tinygrad_cnn.types import Array


class Epilogue(NamedTuple):
    """``x*scale + shift``, and 0 where that is negative if `inner`; plus `other`; and 0 where that
    is negative if `relu`. Of x (pixels, c) to `out`, if it is `wanted`.
    """

    wanted: int
    inner: int
    relu: int
    scale: Array  # (c,)
    shift: Array
    other: Array  # (pixels*c,), as `out`
    out: Array


_ROW = constant(0, 1)
NONE = Epilogue(0, 0, 0, _ROW, _ROW, _ROW, _ROW)


@instruction
def sum_row(
    e: Emitter, target: Value, x: Value, scale: Value, shift: Value, other: Value, count: Value,
    inner: Value, relu: Value,
) -> None:  # fmt: skip
    """Write what `Epilogue` says of `count` numbers, all of them side by side."""
    b = e.builder
    never = e.constant(-math.inf)
    limits = [b.select(e.more(flag, 0), e.zero, never) for flag in (inner, relu)]

    def block(along: Value, mask: Value) -> None:
        numbers, factor, addend, beside = (
            e.load(b.add(at, along), mask) for at in (x, scale, shift, other)
        )
        value = e.fma(numbers, factor, addend)  # NaN stays NaN
        value = b.select(b.fcmp_ordered("<", value, limits[0]), limits[0], value)
        value = b.fadd(value, beside)
        value = b.select(b.fcmp_ordered("<=", value, limits[1]), limits[1], value)
        e.store(value, b.add(target, along), mask)

    e.channel_blocks(count, block)


@kernel()
def conclude(
    epilogue: Epilogue, out: Array, at: int, pixels: int, low: int, high: int
) -> None:  # fmt: skip
    """Do it to channels [low, high) of pixels of `out`, of which the first one's are at `at`."""
    c = epilogue.scale.size
    step, start, numbers = c * BYTES, at - out.ctypes.data, high - low
    target, other = epilogue.out.ctypes.data + start, epilogue.other.ctypes.data + start
    scale = epilogue.scale.ctypes.data + low * BYTES
    shift = epilogue.shift.ctypes.data + low * BYTES
    for _ in range(pixels):
        sum_row(target, at, scale, shift, other, numbers, epilogue.inner, epilogue.relu)
        target, at, other = target + step, at + step, other + step
