"""Functions of batches that are recorded once it pays (`programs`), and otherwise run as usual."""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Any, Generic, TypeVar

from tinygrad_cnn.programs.compiled import CompiledFunction
from tinygrad_cnn.programs.memory import TooLate
from tinygrad_cnn.tensor import Tensor

R = TypeVar("R")
WORTH = 64
"""Fewer calls than these take less time than recording and replaying them."""
_MOST = 16  # recordings of which more than a quarter of all calls may not have been
_REFUSED = 3  # recordings that may fail
_KINDS = 1024  # of batches that are remembered


class _Quiet(CompiledFunction):
    """A compiled function that keeps its reasons to itself."""

    refusals = 0

    def _tell(self, why: str) -> None:
        self.told.add(why)
        self.refusals += 1


class Compiled(Generic[R]):
    """``function(*batch)``, recorded when a batch is of the same kind as an earlier one.

    The first batch of each kind (shapes, dtypes, other arguments) runs as usual: there may be no
    second one. If nothing is to be gained, since recordings fail or every batch needs another one,
    all the rest runs as usual.

    Parameters
    ----------
    roots
        every object that the function reads: modules, optimisers, functions.
    calls
        what will be called so often, or None where nobody knows; few calls run as usual.
    enabled
        whether to record at all.
    """

    def __init__(
        self,
        function: Callable[..., R],
        *roots: Any,
        calls: int | None = None,
        enabled: bool = True,
    ) -> None:
        self.function = function
        worth = enabled and (calls is None or calls >= WORTH)
        self.program = _Quiet(function, roots=roots) if worth else None
        self.recordings, self.why = 0, ""
        self._kinds: set[Any] = set()

    def __call__(self, *batch: Any, undo: Callable[[], None] | None = None) -> R:
        """What the function returns.

        ``undo`` brings back what a replay has changed that finds out that it cannot go on: when
        numbers are far from those of the recording, not finite for example.
        """
        program = self.program
        if program is None:
            return self.function(*batch)
        kind = tuple(map(_kind, batch))
        if kind not in self._kinds:
            if len(self._kinds) >= _KINDS:
                self._kinds.clear()
            self._kinds.add(kind)
            return self.function(*batch)
        refusals = program.refusals
        try:
            result: R = program(*batch)
        except TooLate:
            if undo is not None:
                undo()
            return self.function(*batch)
        if program.refusals > refusals:
            self.why = self.why or next(iter(program.told))
        if program.recordings > self.recordings:
            self.recordings = program.recordings
            self._give_up(program)
        return result

    def _give_up(self, program: _Quiet) -> None:
        """Record no more if it is of no use."""
        count = self.recordings
        if count > _MOST and 4 * count > program.calls:
            self.why = f"{count} of {program.calls} batches needed a recording of their own"
        elif not (self.why and count >= _REFUSED and not any(map(_replays, _found(program)))):
            return
        self.program = None


def _found(program: CompiledFunction) -> list[Any]:
    return list(program.programs.values())


def _replays(found: Any) -> bool:
    return not isinstance(found, str)


def _kind(part: Any) -> Any:
    if isinstance(part, Tensor):
        return part.shape, part.dtype
    return part if isinstance(part, bool | int) else type(part)


def calls_of(*counts: Any) -> int | None:
    """The product of numbers and lengths; None if something has no length."""
    product = 1
    for count in counts:
        if not isinstance(count, int | Sized):
            return None
        product *= count if isinstance(count, int) else len(count)
    return product
