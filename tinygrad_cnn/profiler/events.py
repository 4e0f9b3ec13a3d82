"""What is recorded: one `Event` for every operation, module call, reverse walk, optimiser step."""

from __future__ import annotations

from dataclasses import dataclass

from tinygrad_cnn.instrument.places import Line


@dataclass(slots=True, eq=False)
class Event:
    """One thing that happened, with its times in seconds.

    Attributes
    ----------
    name
        The operation's name (``conv2d``); that of a module's class, of an optimiser's step.
    kind
        ``"operation"``, ``"module"``, ``"walk"`` (a whole reverse walk), ``"optimizer"``,
        ``"closure"`` (what an optimiser calls to compute the loss again), ``"load"`` (the
        wait for a batch of a `DataLoader`) or ``"range"`` (what the user calls `record_function`).
    phase
        ``"forward"``, ``"backward"`` or ``"optimizer"``. The backward event of an operation is its
        derivative rule at work.
    modules
        Labels of the modules in which it ran, the outermost first. A backward event has those of
        the forward event.
    start, duration
        On a clock that stands still while the profiler does its own bookkeeping, and which is 0
        when the thread's outermost profile begins.
    depth
        How many operations it ran inside of: 1 for the operations that a derivative rule calls.
    elsewhere
        The part of ``duration`` that other events of the same depth account for.
    allocated
        Bytes of new results: of the output and of what is handed to the rules, or of gradients.
        Views count nothing.
    kept
        Bytes that were not kept for the backward pass before and are now.
    in_use
        `tinygrad_cnn.memory_allocated` when the event ended.
    input_shapes
        Of every array argument, ``()`` for numbers and what was left out.
    flops
        Floating-point operations, see `FLOPS`; None where that is not known.
    lines
        The user's lines that were running, the innermost first, if lines were asked for.
    sequence
        A number that an operation's forward and backward event have in common, 0 for others.
    """

    name: str
    kind: str
    phase: str
    modules: tuple[str, ...] = ()
    start: float = 0.0
    duration: float = 0.0
    depth: int = 0
    elsewhere: float = 0.0
    allocated: int = 0
    kept: int = 0
    in_use: int = 0
    input_shapes: tuple[tuple[int, ...], ...] = ()
    flops: int | None = None
    lines: tuple[Line, ...] = ()
    sequence: int = 0

    @property
    def module(self) -> str:
        """The label of the innermost module, ``""`` outside of modules."""
        return self.modules[-1] if self.modules else ""

    @property
    def own(self) -> float:
        """The seconds that no other event of the same depth accounts for."""
        return self.duration - self.elsewhere
