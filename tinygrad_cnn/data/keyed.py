"""Random numbers that belong to samples: a function of keys, not of the order of drawing.

Whoever builds a batch, and whenever, the numbers for sample ``i`` of an epoch are the same.
Keys and words are those of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014), computed for all samples at once.
"""

from __future__ import annotations

import contextvars
import functools
import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.ops.random import numpy_generator
from tinygrad_cnn.types import Array

Words = NDArray[np.uint64]
Numbers: TypeAlias = "float | Array"
Size: TypeAlias = int | tuple[int, ...] | None

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(z: Words) -> Words:
    """Scramble 64-bit words: the finaliser of SplitMix64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def keys(seed: int, stream: int, index: Array) -> Words:
    """Return one 64-bit key for each ``index`` (n,); neighbours in any argument are unrelated."""
    key = _mix(np.asarray([seed % 2**64], np.uint64) + _GOLDEN)
    key = _mix(key + np.asarray([stream + 1], np.uint64) * _GOLDEN)
    return _mix(key + (index.astype(np.uint64) + np.uint64(1)) * _GOLDEN)


def words(key: Words, start: int, count: int) -> Words:
    """Return words ``start .. start + count`` of the SplitMix64 sequence of each key (n, count)."""
    steps = np.arange(start + 1, start + count + 1, dtype=np.uint64) * _GOLDEN
    return _mix(key[:, None] + steps)


class SampleRandom:
    """One stream of random numbers for each sample of a batch, drawn from together.

    Has the methods of `numpy.random.Generator` that batch transforms use. ``size`` is ``n``, the
    number of samples, or a shape that begins with it: row ``i`` comes from the stream of sample
    ``i`` alone. Without ``size`` one number is drawn for the whole batch.

    Parameters
    ----------
    key
        One 64-bit key per sample (n,), see `keys`.

    Examples
    --------
    >>> batch = SampleRandom(keys(0, 0, np.array([4, 7, 9])))
    >>> alone = SampleRandom(keys(0, 0, np.array([7])))
    >>> bool(batch.random(3)[1] == alone.random(1)[0])
    True
    """

    __slots__ = ("_all", "_key", "_position")

    def __init__(self, key: Words) -> None:
        self._key = key
        self._all = _mix(np.bitwise_xor.reduce(key, keepdims=True))  # (1,): for the whole batch
        self._position = 0

    def __len__(self) -> int:
        return len(self._key)

    def _uniforms(self, size: Size) -> Any:
        """Numbers in [0, 1) of shape ``size``, with 53 random bits each."""
        shape = (len(self),) if size is None else (size,) if isinstance(size, int) else tuple(size)
        if shape[:1] != (len(self),):
            raise ArgumentError(
                f"SampleRandom: `size` is {size} but a size that begins with the {len(self)} "
                "samples of the batch is expected"
            )
        count = 1 if size is None else math.prod(shape[1:])
        drawn = words(self._all if size is None else self._key, self._position, count)
        self._position += count
        numbers = (drawn >> np.uint64(11)).astype(np.float64) * 2.0**-53  # (n, count)
        return float(numbers[0, 0]) if size is None else numbers.reshape(shape)

    def part(self, chosen: Array) -> SampleRandom:
        """Streams of their own for some of the samples: their numbers, or a mask."""
        fresh = words(self._key, self._position, 1)[:, 0]
        self._position += 1
        return SampleRandom(_mix(fresh[chosen]))

    def random(self, size: Size = None) -> Any:
        """Numbers evenly spread over [0, 1)."""
        return self._uniforms(size)

    def uniform(self, low: Numbers = 0.0, high: Numbers = 1.0, size: Size = None) -> Any:
        """Numbers evenly spread over [low, high)."""
        return low + (high - low) * self._uniforms(size)

    def integers(self, low: int | Array, high: int | Array | None = None, size: Size = None) -> Any:
        """Integers from ``low`` up to, not including, ``high``; with one bound, from 0."""
        first, end = (0, low) if high is None else (low, high)
        numbers = np.floor(first + (end - first) * self._uniforms(size)).astype(np.int64)
        return int(numbers) if size is None else numbers

    def standard_normal(self, size: Size = None) -> Any:
        """Normally distributed numbers (Box and Muller, 1958)."""
        radius = np.sqrt(-2.0 * np.log1p(-self._uniforms(size)))
        return radius * np.cos(2.0 * np.pi * self._uniforms(size))

    def normal(self, loc: Numbers = 0.0, scale: Numbers = 1.0, size: Size = None) -> Any:
        """Normally distributed numbers of mean ``loc`` and deviation ``scale``."""
        return loc + scale * self.standard_normal(size)

    def beta(self, a: float, b: float, size: Size = None) -> Any:
        """Numbers with the density ``x**(a - 1) * (1 - x)**(b - 1)``, up to a factor."""
        from scipy.special import betaincinv  # here, to keep the package's import light

        return betaincinv(a, b, self._uniforms(size))


Random: TypeAlias = np.random.Generator | SampleRandom
"""What a transform draws from."""


SAMPLE_SEED: contextvars.ContextVar[tuple[int, int] | None] = contextvars.ContextVar(
    "seed and stream of the epoch that is being read", default=None
)


class _Sample:
    """The sample that is being read; many draw nothing, so its stream is made when one does."""

    def __init__(self, epoch: tuple[int, int], index: int) -> None:
        self._epoch, self._index = epoch, index

    @functools.cached_property
    def random(self) -> SampleRandom:
        return SampleRandom(keys(*self._epoch, np.asarray([self._index])))


_current: contextvars.ContextVar[_Sample | None] = contextvars.ContextVar(
    "the sample that is being read", default=None
)


def begin_sample(index: int | None) -> None:
    """From here on `sample_random` is the stream of this sample, where a loader reads it.

    One without a number has none.
    """
    epoch = SAMPLE_SEED.get()
    _current.set(None if epoch is None or index is None else _Sample(epoch, index))


def end_sample() -> None:
    """No sample is being read any more."""
    _current.set(None)


def sample_random() -> Random:
    """What a transform of a single image draws from: the sample's stream, or the library's."""
    current = _current.get()
    return numpy_generator(None) if current is None else current.random
