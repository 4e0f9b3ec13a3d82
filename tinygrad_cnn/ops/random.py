"""Where random numbers come from: generators that are passed, and one default that is seeded.

Nothing in the library draws from anywhere else.
"""

from __future__ import annotations

import weakref
from functools import partial
from operator import attrgetter
from typing import Any, Self

import numpy as np

from tinygrad_cnn.autograd.devices import CPU, DeviceLike, check_device, device
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.kernels.forks import in_child
from tinygrad_cnn.kernels.streams import Stream
from tinygrad_cnn.kernels.tape import do, left_out, taping
from tinygrad_cnn.types import Array, DType

_NUMPY = attrgetter("numpy")
_generators: weakref.WeakSet[Generator] = weakref.WeakSet()


class Generator:
    """A stream of random numbers with a seed and a state that can be kept.

    Attributes
    ----------
    numpy
        The `numpy.random.Generator` that does the drawing (PCG64).

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> g = tg.Generator(7)
    >>> state = g.get_state()
    >>> a = tg.rand(2, generator=g)
    >>> g.set_state(state)
    >>> bool((tg.rand(2, generator=g) == a).all())
    True
    """

    __slots__ = ("__weakref__", "_seed", "numpy")

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        made = super().__new__(cls)
        _generators.add(made)  # here, and so also where one is copied
        return made

    def __init__(self, seed: int | str | device | None = None, device: DeviceLike = None) -> None:
        if isinstance(seed, (str, type(CPU))):  # as PyTorch, which takes a device only
            seed, device = None, seed
        check_device(device, "Generator")
        self.numpy = np.random.default_rng()
        self._seed = 0
        if seed is None:
            self.seed()
        else:
            self.manual_seed(seed)  # type: ignore[arg-type]  # which says what it expects

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream that belongs to ``seed`` (an integer; negative ones count from 2⁶⁴)."""
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise DtypeError(f"manual_seed: `seed` is {seed!r}, expected an integer")
        self._seed = int(seed)
        self.numpy = np.random.Generator(np.random.PCG64(int(seed) % 2**64))
        return self

    def seed(self) -> int:
        """Start a stream with a seed from the operating system, and return it."""
        fresh = int(np.random.SeedSequence().generate_state(1, np.uint64)[0] >> np.uint64(1))
        self.manual_seed(fresh)
        return fresh

    def initial_seed(self) -> int:
        """The seed that the present stream started from."""
        return self._seed

    def get_state(self) -> dict[str, Any]:
        """The exact position in the stream, of plain numbers and strings (fit for JSON)."""
        return {"seed": self._seed, "bit_generator": self.numpy.bit_generator.state}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go to a position that `get_state` returned.

        Raises
        ------
        ValueError
            ``state`` is not such a position.
        """
        if taping and state != self.get_state():
            left_out("it sets a generator's state")
        try:
            self.numpy.bit_generator.state = state["bit_generator"]
            self._seed = int(state["seed"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArgumentError(f"set_state: `state` is not a generator's state: {error}") from None

    def __repr__(self) -> str:
        return f"Generator(seed={self._seed})"


def _free_locks() -> None:
    """In a forked process: nobody draws there whose generator's lock could be held."""
    for generator in tuple(_generators):
        if hasattr(generator, "numpy"):  # it is made
            generator.numpy.bit_generator.lock._at_fork_reinit()  # type: ignore[attr-defined]


in_child(_free_locks)

default_generator = Generator()
"""Used wherever no generator is given."""


def manual_seed(seed: int) -> Generator:
    """Seed the default generator; the same seed gives the same run."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seed the default generator from the operating system, and return the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The default generator's seed."""
    return default_generator.initial_seed()


def get_rng_state() -> dict[str, Any]:
    """The default generator's position."""
    return default_generator.get_state()


def set_rng_state(state: dict[str, Any]) -> None:
    """Put the default generator back to a position."""
    default_generator.set_state(state)


def source_of(generator: Generator | None) -> Generator:
    """``generator``, or the default one."""
    source = default_generator if generator is None else generator
    if not isinstance(source, Generator):
        raise DtypeError(
            f"`generator` is {source!r} ({type(source).__name__}), expected a Generator"
        )
    return source


def numpy_generator(generator: Generator | None) -> np.random.Generator:
    """The NumPy generator behind ``generator``, or behind the default one."""
    source = source_of(generator)
    if taping:
        taping[0].drawn(source)
    return source.numpy


def stream_of(generator: Generator | None) -> Stream:
    """What ``generator``, or the default one, will draw."""
    source = default_generator if generator is None else generator
    stream = Stream(partial(_NUMPY, source))
    if taping:
        taping[0].drawn(source, stream)
    return stream


def draw(generator: Generator | None, method: str, *args: Any, dtype: DType | None = None) -> Array:
    """What a method of NumPy's generator gives, in ``dtype``; drawn again whenever this is done."""
    return do(_drawn, generator, method, args, dtype)


def _drawn(
    generator: Generator | None, method: str, args: tuple[Any, ...], dtype: DType | None
) -> Array:
    found = np.asarray(getattr(numpy_generator(generator), method)(*args))
    return found if dtype is None else found.astype(dtype, copy=False)
