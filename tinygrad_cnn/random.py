"""PyTorch's names for the library's stream of random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tinygrad_cnn.ops.random import (
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)

__all__ = [
    "default_generator",
    "fork_rng",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "seed",
    "set_rng_state",
]


@contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, **how: Any) -> Iterator[None]:
    """Have random numbers go on after the block as if it had drawn none.

    Parameters
    ----------
    enabled
        False: do nothing.
    devices, how
        PyTorch's, for other devices than the CPU; they change nothing.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> _ = tg.manual_seed(0)
    >>> with tg.random.fork_rng():
    ...     inside = tg.rand(1)
    >>> tg.equal(inside, tg.rand(1))
    True
    """
    state = get_rng_state()
    try:
        yield
    finally:
        if enabled:
            set_rng_state(state)
