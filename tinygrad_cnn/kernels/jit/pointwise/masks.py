"""Masks of random numbers, drawn from NumPy's bit generators by machine code."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from tinygrad_cnn.kernels import reference
from tinygrad_cnn.kernels.choice import KernelError
from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import Emitter, Value, instruction
from tinygrad_cnn.kernels.memory import empty
from tinygrad_cnn.kernels.streams import Stream
from tinygrad_cnn.kernels.threads import run_in_fresh_thread
from tinygrad_cnn.types import Array


@instruction
def _draw(e: Emitter, bits: Value, numbers: Value, out: Value, count: Value) -> None:
    """Write `count` numbers of a mask: 0 where a number of [0, 1) is below the first, else the
    second one.
    """
    e.random_choices(bits, numbers, out, count)


@kernel(entry=True)
def _mask_share(part: int, parts: int, place: Array, numbers: Array, out: Array) -> None:
    """Write a mask (count,); `place` is that of a `Stream`. All in one part: one after the other,
    which is what the time goes into. Costs one write.
    """
    _draw(place[0], numbers.ctypes.data, out.ctypes.data, out.size)


_tried = False


def draw_mask(numbers: Array, shape: tuple[int, ...], stream: Stream) -> Array | None:
    """Do as `reference.draw_mask`."""
    global _tried
    if not _tried:
        run_in_fresh_thread(_expect_numpys_numbers)  # of which no recording is told
        _tried = True
    out = empty((math.prod(shape),), np.float32)
    stream.ready()
    with stream.lock:
        run(_mask_share, 1, stream.place, numbers, out)
    return out.reshape(shape)


def _expect_numpys_numbers() -> None:
    """Raise KernelError if this NumPy makes float32 numbers in another way than the kernel."""
    numbers, mask = np.array([0.3, 2.0], np.float32), np.zeros(65, np.float32)
    one, other = (Stream(partial(np.random.Generator, np.random.PCG64(0))) for _ in range(2))
    one.ready()
    run(_mask_share, 1, one.place, numbers, mask)
    same = np.array_equal(mask, reference.draw_mask(numbers, (65,), other))
    if not (same and one.numpy.random() == other.numpy.random()):
        raise KernelError("NumPy draws float32 numbers in another way")
