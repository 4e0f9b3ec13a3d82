"""Streams of random numbers, as machine code draws from them: NumPy's own bit generators.

NumPy hands out the address of what its C code draws with (``bitgen_t`` in its header
``numpy/random/bitgen.h``, which every bit generator has in a capsule): a state, and functions that
move it on. Numbers drawn through it are those that NumPy would have drawn next.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

_bits_at: Any = ctypes.pythonapi.PyCapsule_GetPointer
_bits_at.restype, _bits_at.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


class Stream:
    """What a generator of NumPy's will draw, whichever ``generator()`` returns at the time.

    Also `tape.Prepared`: a launch draws, once the stream is ready, while its lock is held.

    Attributes
    ----------
    place
        The address of the bit generator's functions, in an array (1,).

    >>> numpy = np.random.default_rng(0)
    >>> stream = Stream(lambda: numpy)
    >>> stream.ready(), stream.place.shape
    (True, (1,))
    """

    launches, misses = 1, 0

    def __init__(self, generator: Callable[[], np.random.Generator]) -> None:
        self.generator = generator
        self.bits: Any = None
        self.place = np.zeros(1, np.int64)
        self.memory = [self.place]

    @property
    def numpy(self) -> np.random.Generator:
        """The generator."""
        return self.generator()

    @property
    def lock(self) -> Any:
        """What whoever draws holds meanwhile, once it is ready."""
        return self.bits.lock

    def ready(self) -> bool:
        """Write where the numbers come from now."""
        bits = self.generator().bit_generator
        if bits is not self.bits:
            self.place[0] = _bits_at(bits.capsule, b"BitGenerator")
            self.bits = bits  # alive as long as it may be drawn from
        return True
