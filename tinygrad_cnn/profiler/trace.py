"""Events as a Chrome trace: a file that browsers show as slices on a time axis.

Format: "Trace Event Format", https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from tinygrad_cnn.profiler.events import Event

Record = dict[str, object]
_TRACKS = {"forward": 1, "backward": 2, "optimizer": 3}
_PROCESS = 1


def write_chrome_trace(path: str | os.PathLike[str], events: Sequence[Event], zero: float) -> None:
    """Write ``events`` to the file ``path``; times count from ``zero``."""
    trace = {"traceEvents": chrome_trace(events, zero), "displayTimeUnit": "ms"}
    Path(path).write_text(json.dumps(trace), encoding="utf-8")


def chrome_trace(events: Sequence[Event], zero: float) -> list[Record]:
    """Return the records of the file, times in microseconds."""
    out: list[Record] = [_named("process_name", 0, "tinygrad_cnn")]
    out += [_named("thread_name", tid, phase) for phase, tid in _TRACKS.items()]
    began: dict[int, Event] = {}
    for event in events:
        out.append(
            _slice(event.name, event.kind, event.phase, event.start, event.duration, zero)
            | {"args": _details(event)}
        )
        if event.kind == "module":
            out[-1]["name"] = event.module
        if event.sequence and event.phase == "forward":
            began[event.sequence] = event
        elif event.sequence and event.sequence in began:
            out += _arrow(began[event.sequence], event, zero)
        out.append(
            {
                "ph": "C",
                "name": "memory_allocated",
                "pid": _PROCESS,
                "ts": (event.start + event.duration - zero) * 1e6,
                "args": {"bytes": event.in_use},
            }
        )
    return out + _backward_modules(events, zero)


def _named(what: str, tid: int, name: str) -> Record:
    return {"ph": "M", "name": what, "pid": _PROCESS, "tid": tid, "args": {"name": name}}


def _slice(
    name: str, category: str, phase: str, start: float, duration: float, zero: float
) -> Record:
    return {
        "ph": "X",
        "name": name,
        "cat": category,
        "pid": _PROCESS,
        "tid": _TRACKS[phase],
        "ts": (start - zero) * 1e6,
        "dur": duration * 1e6,
    }


def _details(event: Event) -> Record:
    details: Record = {
        "module": event.module,
        "input_shapes": [list(s) for s in event.input_shapes],
        "allocated": event.allocated,
        "kept": event.kept,
        "flops": event.flops,
    }
    if event.lines:
        details["lines"] = [f"{line.file}:{line.line} {line.function}" for line in event.lines]
    return details


def _arrow(forward: Event, backward: Event, zero: float) -> Iterable[Record]:
    common = {"name": "backward of", "cat": "gradient", "id": forward.sequence, "pid": _PROCESS}
    for event, kind in ((forward, "s"), (backward, "f")):
        where = {"ph": kind, "tid": _TRACKS[event.phase], "ts": (event.start - zero) * 1e6}
        yield common | where | ({"bp": "e"} if kind == "f" else {})


def _backward_modules(events: Sequence[Event], zero: float) -> list[Record]:
    """Slices for modules around the rules of their operations.

    In the backward pass no module is called: a slice goes from the first to the last of a run of
    rules with the same modules.
    """
    out: list[Record] = []
    running: list[tuple[str, float]] = []  # label, start
    end = 0.0

    def close(keep: int) -> None:
        while len(running) > keep:
            label, start = running.pop()
            out.append(_slice(label, "module", "backward", start, end - start, zero))

    walk = None
    for event in events:
        if event.phase != "backward":
            continue
        if event.kind == "walk" and event.depth == 0:
            close(0)
            walk = event
        elif event.kind == "operation" and event.depth == 0 and walk is not None:
            if not event.sequence:  # a sum of two gradients belongs to nobody
                continue
            same = 0
            while (
                same < min(len(running), len(event.modules))
                and running[same][0] == event.modules[same]
            ):
                same += 1
            close(same)
            running += [(label, event.start) for label in event.modules[same:]]
            end = event.start + event.duration
    close(0)
    return out
