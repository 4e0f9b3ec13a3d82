"""Being told of what is done to arrays, so that the same can be done again without Python.

Who records (`tinygrad_cnn.programs`) puts a `Tape` into `taping`. The engine then hands it every
function that computes arrays from arrays (`do`), and kernels their launches. While nobody records,
each pays for one look at an empty list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from tinygrad_cnn.kernels.streams import Stream

R = TypeVar("R")


class Tape(Protocol):
    """What the engine and the kernels tell."""

    def unit(
        self,
        function: Callable[..., Any],
        arrays: Sequence[Any],
        params: Mapping[str, Any],
        writes: tuple[Array, ...],
    ) -> Any:
        """Return ``function(*arrays, **params)``."""

    def again(self, function: Callable[..., Any], args: Sequence[Any]) -> Any:
        """Call ``function(*args)``."""

    def launched(self, kernel: Any, parts: int, args: tuple[Any, ...]) -> None:
        """A compiled kernel has run."""

    def counted(self, array: Array) -> None:
        """One was added to an integer."""

    def placed(self, table: Array, rows: Sequence[tuple[Array, ...]]) -> None:
        """A launch will read addresses of arrays from a table."""

    def looked(self, array: Array) -> None:
        """What follows depends on the numbers in an array."""

    def made(self, array: Array) -> None:
        """An array is the same whenever it is made."""

    def drawn(self, source: Any, stream: Stream | None = None) -> None:
        """Random numbers are about to be drawn from a source: of a stream, if launches alone do."""

    def left_out(self, what: str) -> None:
        """Something is done that no replay would do."""

    def walked(self, roots: Any, useful: Any) -> None:
        """A reverse walk begins at nodes ``roots``, and goes through what is ``useful``, or all."""

    def dropped(self, tensor: Any) -> None:
        """A tensor's gradient is about to be replaced, whatever it is."""


taping: list[Tape] = []
"""The tape of whoever records, if anybody does."""


def do(
    function: Callable[..., R],
    *arrays: Any,
    writes: tuple[Array, ...] = (),
    **params: Any,
) -> R:
    """Return ``function(*arrays, **params)``, which depends on nothing else.

    It changes nothing but, perhaps, the arrays ``writes``.
    """
    if taping:
        result: R = taping[0].unit(function, arrays, params, writes)
        return result
    return function(*arrays, **params)


class Prepared(Protocol):
    """That launches do what a call did, once their numbers are written."""

    @property
    def launches(self) -> int:
        """How many there are."""

    @property
    def memory(self) -> Sequence[Array]:
        """What they read and write that lives longer than a recording."""

    @property
    def misses(self) -> int:
        """How many times in a row it was not ready."""

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """What is held while the launches are made."""

    def ready(self) -> bool:
        """Write the numbers of the next time, or return False: a call must be made.

        Whoever gets True makes the launches.
        """


def again(function: Callable[..., object], *args: Any) -> None:
    """Call ``function(*args)``, which is to be called whenever this is done again.

    It computes nothing that others compute with, but may change what lives longer: a model's
    parameters, an optimiser's state, a schedule. It returns None or, to somebody who records, a
    `Prepared`: it has done nothing but so many ``launches``, of kernels that read and write, beside
    what the recording knows, arrays ``memory``, which stay where they are.
    """
    if taping:
        taping[0].again(function, args)
    else:
        function(*args)


def placed(table: Array, rows: Sequence[tuple[Array, ...]]) -> None:
    """Tell that a launch will read addresses of arrays from a table of `memory.table_of`."""
    if taping:
        taping[0].placed(table, rows)


def looked(array: Array) -> Array:
    """Return ``array``, by whose numbers the caller decides how to go on."""
    if taping:
        taping[0].looked(array)
    return array


def left_out(what: str) -> None:
    """Tell who records of something that no replay would do."""
    if taping:
        taping[0].left_out(what)


def made(array: Array) -> Array:
    """Return ``array``, a new one that depends on no other array's numbers."""
    if taping:
        taping[0].made(array)
    return array


def fixed(array: Array) -> Array:
    """Return a new array, which nobody may write to: it depends on no other array's numbers."""
    array.setflags(write=False)
    return array


def count(array: Array) -> None:
    """Add one to an array (), int64."""
    if taping:
        taping[0].unit(add_one, (array,), {}, (array,))
    else:
        array += 1


def add_one(array: Array) -> None:
    """Add one to an array ()."""
    array += 1
    if taping:
        taping[0].counted(array)
