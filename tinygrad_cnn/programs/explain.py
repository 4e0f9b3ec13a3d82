"""What a compiled function does, for people."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tinygrad_cnn.amounts import byte_size

if TYPE_CHECKING:
    from tinygrad_cnn.programs.compiled import CompiledFunction, Recording
    from tinygrad_cnn.programs.replayed import Pair


def explain(function: CompiledFunction) -> str:
    """What was recorded, what still runs in Python, memory and guards, in lines of text."""
    recorded = [found for found in function.programs.values() if isinstance(found, list)]
    replays = sum(recording.replays for found in recorded for recording in found)
    lines = [
        f"compiled {function.name()}: {function.calls} calls, {function.recordings} recorded, "
        f"{replays} replayed"
    ]
    for state in list(function.latest.values())[-1:]:
        lines.append(
            f"guards: {len(state.tensors)} tensors, {len(state.names)} names, "
            f"{len(state.containers)} containers; attributes of modules by one count"
        )
    for number, found in enumerate(function.programs.values(), start=1):
        if isinstance(found, str):
            lines.append(f"signature {number} runs as usual: {found}")
            continue
        if not isinstance(found, list):
            lines.append(f"signature {number} is cut, as {found.why}; its parts:")
            lines += [f"  {line}" for part in found.parts for line in explain(part).splitlines()]
            continue
        for recording in found:
            lines += _program(number, recording)
            lines += recording.remarks()
    for key, waiting in tuple(function.waiting.items()):
        if key not in function.programs:
            why = waiting.why or "no backward pass has come to its result"
            lines.append(f"a call was recorded and runs as usual: {why}")
    return "\n".join(lines)


def _program(number: int, recording: Recording | Pair) -> list[str]:
    program = recording.program
    inputs = program.inputs[: program.given]
    shapes = ", ".join(f"{ref.dtype}{list(ref.shape)}" for ref in inputs) or "nothing"
    native = [u for u in program.units if not u.is_python]
    steps = sum(len(u.code) for u in native)
    early = sum(len(u.early.steps) for u in program.early if u.early is not None)
    lines = [
        f"signature {number}, of {shapes}: {recording.replays} replays",
        f"  machine code: {steps - early} instructions of {len(native)} operations, in "
        f"{_segments(recording)} parts"
        + (f"; {early} more when parameters were changed" if early else ""),
        f"  memory: {byte_size(program.arena_bytes)} "
        f"({byte_size(program.kept_bytes)} of it gradients), "
        f"where the call as usual had {byte_size(program.usual_bytes)} at a time",
    ]
    seconds = recording.seconds()
    python = [u.name for u in program.units if u.is_python]
    for name, count in Counter(python).most_common():
        spent = sum(s for u, s in seconds.items() if u.name == name)
        lines.append(f"  in Python: {count} x {name}, {spent * 1e6:.0f} µs in the second replay")
    return lines


def _segments(recording: Recording | Pair) -> int:
    instance = recording.instance()
    return 0 if instance is None else sum(end > at for _, at, end in instance.steps)
