"""`record`: who holds memory, operation by operation and module by module, and when it was most."""

from __future__ import annotations

import os
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Self

from tinygrad_cnn.amounts import byte_size
from tinygrad_cnn.autograd.events import Call, unwatch, watch
from tinygrad_cnn.autograd.node import Leaf, Node
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.instrument.kept import kept_values, memories
from tinygrad_cnn.instrument.places import Labels
from tinygrad_cnn.instrument.tables import aligned
from tinygrad_cnn.kernels.memory import memory_stats
from tinygrad_cnn.nn import Module

Go = Callable[..., Any]
BARS = " ▁▂▃▄▅▆▇█"
MOST_ROWS = 15  # of a table
_latest: list[record] = []  # the last one that was opened


class Holder(NamedTuple):
    """What made an array: an operation, its module's label, and the phase of the step.

    ``operation`` is ``"parameters"`` (leaves of the graph) or ``"inputs"`` for what no operation
    made; ``module`` is then the first that uses it.
    """

    operation: str
    module: str
    phase: str


class Moment(NamedTuple):
    """Bytes that are alive after an operation, ``seconds`` after the beginning."""

    seconds: float
    nbytes: int
    holder: Holder


class record:
    """Record in a ``with`` block which arrays of tensors are alive, and what made them.

    Counted are whole arrays, to the byte, from the operation of this thread that makes them or
    first uses them until the last reference goes: results, gradients, what derivative rules keep,
    the state of optimisers, and the parameters and inputs that are used. Work space inside an
    operation is not. Results that wait to be computed have no memory until then.

    While a block is open, operations take some microseconds more, and compiled functions run as
    usual instead of being replayed.

    Attributes
    ----------
    allocated
        Bytes alive after the last operation.
    peak
        The most there has been.
    at_peak
        Bytes by `Holder` at that time.
    timeline
        A `Moment` for each operation that changed something.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> with tg.memory.record() as m:
    ...     x = tg.ones(1000, 250).exp()  # 1,000,000 bytes, as the ones
    ...     del x
    ...     y = tg.zeros(250).cos()
    >>> m.peak, m.at_peak[tg.memory.recording.Holder("exp", "", "forward")]
    (2000000, 1000000)
    """

    def __init__(self) -> None:
        self.allocated = self.peak = 0
        self.at_peak: dict[Holder, int] = {}
        self.timeline: list[Moment] = []
        self.kept_by_module: Counter[int] = Counter()
        """Bytes by a module's id that its calls left alive besides their results."""
        self._alive: dict[int, tuple[Any, int, Holder]] = {}
        self._gone: deque[Any] = deque()  # appended to at any time, as references end
        self._by_holder: Counter[Holder] = Counter()
        self._modules: list[Module] = []
        self._labels, self._label = Labels(), ""
        self._place: Holder | None = None
        self._phase = "forward"
        self._forward: weakref.WeakKeyDictionary[Node, str] = weakref.WeakKeyDictionary()
        self._start = time.perf_counter()

    def __enter__(self) -> Self:
        self._start = time.perf_counter()
        _latest[:] = [self]
        watch(self._observe)
        return self

    def __exit__(self, *error: object) -> None:
        unwatch(self._observe)
        self._settle(Holder("end", "", "forward"))

    # ---- what happens ----------------------------------------------------------------------

    def _observe(self, call: Call, go: Go) -> Any:
        former = self._place, self._phase, self._label
        if call.kind == "operation":
            return self._operation(call, go)
        try:
            match call.kind:
                case "rule":
                    return self._rule(call, go)
                case "module":
                    return self._module(call, go)
                case "walk":
                    self._phase = "backward"
                case "step":
                    return self._step(call, go)
                case "closure":
                    self._place, self._phase = None, "forward"
            return go()
        finally:
            self._place, self._phase, self._label = former

    def _operation(self, call: Call, go: Go) -> Any:
        for value in call.args:
            if isinstance(value, Variable):
                leaf = type(value.node) is Leaf
                self._hold([value], Holder("parameters" if leaf else "inputs", self._label, ""))
        result = go()
        outputs = result if isinstance(result, tuple) else (result,)
        holder = self._place or Holder(call.name, self._label, self._phase)
        self._hold(outputs, holder)
        for value in outputs:
            if isinstance(value, Variable) and type(value.node) is Node:
                self._forward[value.node] = self._label
                self._hold(kept_values(value.node), holder)
        self._settle(holder)
        return result

    def _rule(self, call: Call, go: Go) -> Any:
        node = call.args[0]
        self._place = Holder(call.name, self._forward.get(node, ""), "backward")
        gradients = go()
        found = gradients if isinstance(gradients, tuple | list) else (gradients,)
        self._hold(found, self._place)
        self._settle(self._place)
        return gradients

    def _module(self, call: Call, go: Go) -> Any:
        module: Module = call.run.__self__  # type: ignore[attr-defined]  # a bound method
        self._place = None  # also where a derivative rule has it run again
        self._modules.append(module)
        self._label = self._labels.of(self._modules)
        self._settle(Holder("", self._label, self._phase))
        before = self.allocated
        try:
            result = go()
        finally:
            self._modules.pop()
        self._settle(Holder("", self._label, self._phase))
        own = sum(m.nbytes for m in memories(result)) if isinstance(result, Variable) else 0
        self.kept_by_module[id(module)] += self.allocated - before - own
        return result

    def _step(self, call: Call, go: Go) -> Any:
        self._place = Holder(call.name, "", "optimizer")
        result = go()
        optimizer = call.args[0]
        for state in getattr(optimizer, "state", {}).values():
            self._hold(state.values() if isinstance(state, dict) else (), self._place)
        self._settle(self._place)
        return result

    # ---- counting --------------------------------------------------------------------------

    def _hold(self, values: Iterable[object], holder: Holder) -> None:
        """Count the memory of values that is not counted yet."""
        for value in values:
            for memory in memories(value):
                known = self._alive.get(id(memory))
                if known is not None and known[0]() is memory:
                    continue
                if known is not None:
                    self._release(id(memory))
                key = id(memory)
                end = weakref.ref(memory, lambda ref, key=key: self._gone.append((key, ref)))  # type: ignore[misc]
                self._alive[key] = end, memory.nbytes, holder
                self._by_holder[holder] += memory.nbytes
                self.allocated += memory.nbytes

    def _release(self, key: int) -> None:
        _, nbytes, holder = self._alive.pop(key)
        self.allocated -= nbytes
        self._by_holder[holder] -= nbytes

    def _settle(self, holder: Holder) -> None:
        """Take what has gone off the account, and note what is left."""
        while self._gone:
            key, ref = self._gone.popleft()
            known = self._alive.get(key)
            if known is not None and known[0] is ref:
                self._release(key)
        if not self.timeline or self.timeline[-1].nbytes != self.allocated:
            now = time.perf_counter() - self._start
            self.timeline.append(Moment(now, self.allocated, holder))
        if self.allocated > self.peak:
            self.peak = self.allocated
            self.at_peak = {h: n for h, n in self._by_holder.items() if n}

    # ---- what is told ----------------------------------------------------------------------

    def _sums(self, field: str) -> dict[str, int]:
        sums: Counter[str] = Counter()
        for holder, nbytes in self.at_peak.items():
            sums[getattr(holder, field) or "(outside)"] += nbytes
        return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))

    def by_operation(self) -> dict[str, int]:
        """Bytes at the peak by the operation that made them, most first; gradients with the name
        of the operation whose rule made them.
        """
        return self._sums("operation")

    def by_module(self) -> dict[str, int]:
        """Bytes at the peak by the module in which they were made, most first."""
        return self._sums("module")

    def report(self, width: int = 64) -> str:
        """What is alive at the peak by operation and by module, and the timeline, as text."""
        lines = [f"peak of tensors' memory: {byte_size(self.peak)}"]
        top = max(self.timeline, key=lambda moment: moment.nbytes, default=None)
        if top is not None:
            where = f"{top.holder.operation} in {top.holder.module}".removesuffix(" in ")
            lines[0] += f", {top.seconds:.3f} s after the beginning, at {where}"
        for name, sums in (("operation", self.by_operation()), ("module", self.by_module())):
            rows = [[f"by {name}", "at the peak", "share"]]
            for key, nbytes in list(sums.items())[:MOST_ROWS]:
                rows.append([key, byte_size(nbytes), f"{nbytes / max(self.peak, 1):.0%}"])
            if len(sums) > MOST_ROWS:
                rest = list(sums.values())[MOST_ROWS:]
                rows.append([f"({len(rest)} more)", byte_size(sum(rest)), ""])
            lines += ["", *aligned(rows, 1)]
        return "\n".join([*lines, "", *self._chart(width)])

    def _chart(self, width: int, height: int = 6) -> list[str]:
        """The timeline as bars; each column has the most of its time."""
        if not self.peak:
            return ["no tensor was made or used"]
        end, columns, level, place = self.timeline[-1].seconds, [], 0, 0
        for column in range(width):
            most = level
            until = end * (column + 1) / width
            while place < len(self.timeline) and (
                self.timeline[place].seconds <= until or column == width - 1
            ):
                level = self.timeline[place].nbytes
                most, place = max(most, level), place + 1
            columns.append(most)
        lines = []
        for row in range(height - 1, -1, -1):
            parts = [8 * height * nbytes / self.peak - 8 * row for nbytes in columns]
            bars = "".join(BARS[max(0, min(8, round(part)))] for part in parts)
            label = byte_size(self.peak) if row == height - 1 else "0" if not row else ""
            lines.append(f"{label:>10} │{bars}".rstrip())
        return [*lines, f"{'':>10} └{'─' * width} {end:.3f} s"]

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """The timeline as a picture; Matplotlib's figure, written to ``path`` if it is given."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 4), layout="constrained")
        axes = figure.add_subplot()
        seconds = [moment.seconds for moment in self.timeline]
        axes.step(seconds, [moment.nbytes / 1e6 for moment in self.timeline], where="post")
        axes.set(xlabel="seconds", ylabel="MB", title=f"memory of tensors, {byte_size(self.peak)}")
        axes.set_ylim(bottom=0)
        if path is not None:
            figure.savefig(path)
        return figure


def report() -> str:
    """The report of the last `record` that was opened, if any, and the counts of `stats`.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> print(tg.memory.report())  # doctest: +ELLIPSIS
    <BLANKLINE>
    ...allocated_bytes...
    """
    rows = [["kernels' memory", ""]]
    for name, number in memory_stats().items():
        rows.append([name, byte_size(number) if name.endswith("bytes") else f"{number:,}"])
    recorded = _latest[0].report() if _latest else ""
    return "\n".join([recorded, "", *aligned(rows, 1)])
