"""Sums over events, and the table that shows them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.instrument.tables import TextTable, aligned, html_table
from tinygrad_cnn.profiler.events import Event

NAME_WIDTH = 48  # characters; a longer name loses its beginning, as its end says more
_TORCH_NAMES = {  # sort_by as in torch.profiler
    "cpu_time_total": "time",
    "self_cpu_time_total": "time",
    "count": "calls",
    "cpu_memory_usage": "allocated",
    "self_cpu_memory_usage": "allocated",
}


@dataclass(slots=True)
class Row:
    """What belongs to one name: calls, seconds by phase, bytes (see `Event`), FLOPs.

    ``calls`` counts forward passes and optimiser steps, or backward passes if there are no others.
    """

    name: str
    calls: int = 0
    forward: float = 0.0
    backward: float = 0.0
    optimizer: float = 0.0
    allocated: int = 0
    kept: int = 0
    flops: int = 0

    @property
    def time(self) -> float:
        """Seconds in all phases together."""
        return self.forward + self.backward + self.optimizer

    @property
    def mean(self) -> float:
        """Seconds per call."""
        return self.time / self.calls if self.calls else 0.0


_SORTS = ("time", "forward", "backward", "calls", "mean", "allocated", "kept", "flops", "name")


class Averages(list[Row]):
    """Rows, the slowest first; ``total`` is the seconds of the whole profile.

    ``rest`` is the part of it that no row has: Python between the operations, data, NumPy. ``str``
    gives the table.
    """

    def __init__(self, rows: Iterable[Row], by: str, total: float) -> None:
        super().__init__(sorted(rows, key=lambda row: -row.time))
        self.by = by
        self.total = total

    @property
    def rest(self) -> float:
        """Seconds outside of all operations."""
        return max(0.0, self.total - sum(row.time for row in self))

    def table(self, sort_by: str = "time", row_limit: int | None = None) -> TextTable:
        """Return the rows as text, sorted by a column, largest first, at most ``row_limit``.

        A notebook shows it as a table.

        Columns to sort by: time, forward, backward, calls, mean, allocated, kept, flops, name.

        Raises
        ------
        ValueError
            There is no such column.
        """
        key = _TORCH_NAMES.get(sort_by, sort_by)
        if key not in _SORTS:
            raise ArgumentError(
                f"table: `sort_by` is {sort_by!r}, expected one of {', '.join(_SORTS)}"
            )
        if not self:
            found = TextTable(f"profile: no operation was recorded in {self.total * 1e3:.3f} ms")
            found.html = found
            return found
        rows = sorted(self, key=lambda row: getattr(row, key), reverse=key != "name")
        shown = rows if row_limit is None else rows[: max(row_limit, 0)]
        return render(self, shown, rows[len(shown) :])

    def __str__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table().html


def averages_of(events: Sequence[Event], depth: int, total: float, by: str) -> Averages:
    """Sum up the events that ran inside of ``depth`` operations."""
    if by not in ("op", "module", "line"):
        raise ArgumentError(f"key_averages: `by` is {by!r}, expected 'op', 'module' or 'line'")
    rows: dict[str, Row] = {}
    backward_calls: dict[str, int] = {}
    for event in events:
        if event.depth != depth or event.kind in ("module", "closure"):
            continue
        if event.kind == "range" and by != "op":
            continue
        name = _name(event, by)
        row = rows.setdefault(name, Row(name))
        if event.phase == "backward":
            row.backward += event.own
            backward_calls[name] = backward_calls.get(name, 0) + 1
        elif event.phase == "optimizer":
            row.optimizer += event.own
        else:
            row.forward += event.own
        row.calls += event.phase != "backward"
        row.allocated += event.allocated
        row.kept += event.kept
        row.flops += event.flops or 0
    for name, count in backward_calls.items():
        rows[name].calls = rows[name].calls or count
    return Averages(rows.values(), by, total)


def _name(event: Event, by: str) -> str:
    if event.kind in ("walk", "load"):
        return f"({event.name})"
    if event.kind == "optimizer":
        return event.name
    if by == "op":
        return event.name
    if by == "module":
        return event.module or "(outside of modules)"
    if not event.lines:
        return "(unknown line)"
    line = event.lines[0]
    return f"{os.path.basename(line.file)}:{line.line} {line.function}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3f}" if seconds else ""


def _mb(nbytes: int) -> str:
    return f"{nbytes / 1e6:.2f}" if nbytes else ""


def render(averages: Averages, rows: Sequence[Row], others: Sequence[Row]) -> TextTable:
    """The table: ``rows``, one line for all ``others``, the rest and the total."""
    total = averages.total or 1.0
    with_flops = any(row.flops for row in averages)
    with_steps = any(row.optimizer for row in averages)
    head = [{"op": "operation"}.get(averages.by, averages.by), "calls", "forward ms", "backward ms"]
    head += ["optimiser ms"] * with_steps + ["total ms", "share", "mean ms", "new MB", "kept MB"]
    head += ["GFLOP/s"] * with_flops

    def cells(row: Row, count: int | str, time: float) -> list[str]:
        name = row.name
        name = name if len(name) <= NAME_WIDTH else "…" + name[1 - NAME_WIDTH :]
        rate = f"{row.flops / row.time * 1e-9:.1f}" if row.flops and row.time else ""
        return [
            *(name, str(count), _ms(row.forward), _ms(row.backward)),
            *[_ms(row.optimizer)] * with_steps,
            *(_ms(time), f"{time / total:.1%}", _ms(row.mean), _mb(row.allocated)),
            *(_mb(row.kept), *[rate] * with_flops),
        ]

    body = [cells(row, row.calls, row.time) for row in rows]
    if others:
        rest = _sum(f"({len(others)} more)", others)
        body.append(cells(rest, rest.calls, rest.time))
    body.append(cells(Row("(outside of operations)"), "", averages.rest))
    everything = _sum("total", averages)
    everything.calls = 0  # a mean over different things says nothing
    last = cells(everything, "", averages.total)
    parts = [name.partition(" ") for name in head]
    units = [[first for first, _, _ in parts], [unit for _, _, unit in parts]]
    lines = aligned([*units, *body, last], 1)
    rule = "─" * max(map(len, lines))
    found = TextTable("\n".join([*lines[:2], rule, *lines[2:-1], rule, lines[-1]]))
    found.html = html_table(head, body, 1, totals=[last])
    return found


def _sum(name: str, rows: Iterable[Row]) -> Row:
    out = Row(name)
    for row in rows:
        for field in ("calls", "forward", "backward", "optimizer", "allocated", "kept", "flops"):
            setattr(out, field, getattr(out, field) + getattr(row, field))
    return out
