"""The line profiler: a model's source with the time that each line takes, forward and backward."""

from __future__ import annotations

import inspect
import linecache
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np

from tinygrad_cnn.autograd import Leaf, grad
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.instrument.places import Line
from tinygrad_cnn.instrument.running import reachable, tensors_in, unchanged
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.profiler.events import Event
from tinygrad_cnn.profiler.recording import profile
from tinygrad_cnn.tensor import Tensor

_LEAST_SHARE = 0.01  # of a line, for a part of it to be listed


@dataclass(slots=True)
class Cost:
    """Seconds forward and backward; ``parts`` says in which layers or operations."""

    forward: float = 0.0
    backward: float = 0.0
    parts: dict[str, Cost] = field(default_factory=dict)

    @property
    def time(self) -> float:
        """Both together."""
        return self.forward + self.backward

    def add(self, event: Event, share: float) -> None:
        """Add the event's time, multiplied by ``share``."""
        if event.phase == "backward":
            self.backward += event.own * share
        else:
            self.forward += event.own * share

    def part(self, name: str) -> Cost:
        """The part of that name."""
        return self.parts.setdefault(name, Cost())


class LineProfile:
    """What `profile_lines` found; ``str`` shows it.

    Attributes
    ----------
    lines
        `Cost` of one run by ``(file, line number)``. A line that calls functions of the user's
        includes what they do, so that only lines of one function add up.
    layers
        `Cost` by layer; an operation that stands in the user's own source is one, too.
    total
        `Cost` of everything.
    runs
        How many runs were averaged.
    """

    def __init__(self, events: Sequence[Event], runs: int) -> None:
        self.runs = runs
        self.total = Cost()
        self.lines: dict[tuple[str, int], Cost] = {}
        self.layers: dict[str, Cost] = {}
        self._functions: dict[tuple[str, int, str], Cost] = {}
        self._innermost: dict[str, Line] = {}
        self._modules: set[str] = set()  # which of the layers are modules
        self._sourceless = Cost()
        for event in events:
            if event.kind == "operation" and event.depth == 0:
                self._add(event)

    def _add(self, event: Event) -> None:
        share = 1 / self.runs
        self.total.add(event, share)
        layer = _layer(event)
        self.layers.setdefault(layer, Cost()).add(event, share)
        if layer == event.module:
            self._modules.add(layer)
        if event.lines:
            self._innermost.setdefault(layer, event.lines[0])
        else:
            self._sourceless.add(event, share)
            self._sourceless.part(layer).add(event, share)
        seen: set[tuple[object, ...]] = set()  # a function that calls itself is not counted twice
        for line in event.lines:
            place, function = (line.file, line.line), (line.file, line.first, line.function)
            if place not in seen:
                seen.add(place)
                cost = self.lines.setdefault(place, Cost())
                cost.add(event, share)
                cost.part(event.name if line.direct else event.module).add(event, share)
            if function not in seen:
                seen.add(function)
                self._functions.setdefault(function, Cost()).add(event, share)

    def slowest(self) -> str:
        """Return one sentence that names the slow layer.

        It is the last sentence of the text.
        """
        if not self.total.time:
            return "No operation ran."
        name = max(self.layers, key=lambda n: self.layers[n].time)
        layer = name in self._modules
        cost, line = self.layers[name], self._innermost.get(name) if layer else None
        where = f"; line {line.line} of {os.path.basename(line.file)} runs it" if line else ""
        return (
            f"The slowest {'layer' if layer else 'operation'} is {name}: "
            f"{_ms(cost.time)} of {_ms(self.total.time)} ms ({cost.time / self.total.time:.0%}), "
            f"forward {_ms(cost.forward)} ms, backward {_ms(cost.backward)} ms{where}."
        )

    def __str__(self) -> str:
        order = sorted(self._functions, key=lambda f: -self._functions[f].time)
        blocks = [self._listing(*function) for function in order]
        if self._sourceless.time:
            head = [*self._head("outside of the user's source"), *self._parts(self._sourceless, "")]
            blocks.append("\n".join(head))
        return "\n\n".join([*blocks, self.slowest()])

    def __repr__(self) -> str:
        return str(self)

    def _head(self, title: str) -> list[str]:
        runs = "" if self.runs == 1 else f", mean of {self.runs} runs"
        columns = f"{'line':>5} {'forward':>9} {'backward':>9} {'share':>6}  source"
        return [f"{title}, milliseconds{runs}", columns]

    def _listing(self, file: str, first: int, function: str) -> str:
        """The source of one function, with its costs."""
        out = self._head(f"{function} ({os.path.basename(file)}:{first})")
        for number, text in _source(file, first, function, self.lines):
            cost = self.lines.get((file, number))
            if cost is None:
                out.append(f"{number:>5} {'':26}  {text}".rstrip())
                continue
            out.append(f"{number:>5} {self._numbers(cost)}  {text}")
            if len(cost.parts) > 1:
                out += self._parts(cost, " " * (len(text) - len(text.lstrip()) + 4))
        return "\n".join(out)

    def _parts(self, cost: Cost, indent: str) -> list[str]:
        parts = sorted(cost.parts.items(), key=lambda item: -item[1].time)
        return [
            f"{'':5} {self._numbers(part)}  {indent}· {name}"
            for name, part in parts
            if part.time >= _LEAST_SHARE * cost.time
        ]

    def _numbers(self, cost: Cost) -> str:
        share = cost.time / self.total.time if self.total.time else 0.0
        return f"{_ms(cost.forward):>9} {_ms(cost.backward):>9} {share:>6.1%}"


def profile_lines(
    function: Callable[..., object],
    *inputs: object,
    backward: bool = True,
    runs: int = 3,
    warmup: int = 1,
    **kwargs: object,
) -> LineProfile:
    """Run a model or function, and attribute forward and backward time to the lines of its source.

    The time of an operation belongs to the line that ran it, and so does, on the way back, that of
    its derivative rule. A line that runs several layers lists them. The gradient of the outputs is
    1 everywhere. No ``.grad``, buffer of a module or state of a random generator is changed.

    Parameters
    ----------
    function, *inputs, **kwargs
        A `Module` or any function of tensors, and what to call it with. Its outputs are a tensor or
        a tuple, list or dict of tensors.
    backward
        Walk back as well, if the outputs require gradients.
    runs, warmup
        How many runs are averaged, and how many go first (kernels are compiled there).

    Returns
    -------
    LineProfile
        Print it, or read the numbers from it.

    Raises
    ------
    ValueError
        ``runs`` is below 1 or ``warmup`` below 0.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> model = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 10))
    >>> def scores(x):
    ...     return model(x)
    >>> found = tg.profiler.profile_lines(scores, tg.ones(32, 64))
    >>> sorted(found.layers)
    ['Sequential.0 (Linear)', 'Sequential.1 (ReLU)', 'Sequential.2 (Linear)']
    """
    if runs < 1 or warmup < 0:
        raise ArgumentError(
            f"profile_lines: `runs` is {runs} and `warmup` {warmup}, expected ≥ 1 and ≥ 0"
        )
    with unchanged(function) if isinstance(function, Module) else nullcontext():
        for _ in range(warmup):
            _run(function, inputs, kwargs, backward)
        with profile(with_stack=True) as recorded:
            for _ in range(runs):
                _run(function, inputs, kwargs, backward)
    return LineProfile(recorded.events, runs)


def _run(
    function: Callable[..., object],
    inputs: tuple[object, ...],
    kwargs: dict[str, object],
    backward: bool,
) -> None:
    outputs = [t for t in tensors_in(function(*inputs, **kwargs)) if t.node is not None]
    leaves = _leaves(outputs) if backward else []
    if leaves:
        ones = [wrap(np.ones_like(t._array)) for t in outputs]
        grad(outputs, leaves, ones, allow_unused=True)


def _leaves(outputs: Sequence[Tensor]) -> list[Variable]:
    """The tensors that collect gradients from these."""
    starts = [node for t in outputs if (node := t.current_node()) is not None]
    nodes = reachable(starts, lambda node: [p for p in node.parents if p is not None])
    leaves = sorted((n for n in nodes if isinstance(n, Leaf)), key=lambda leaf: leaf.time)
    return [t for leaf in leaves if (t := leaf.tensor()) is not None]


def _layer(event: Event) -> str:
    """The innermost module; for an operation that stands in the user's own source, itself."""
    if event.lines and (event.lines[0].direct or not event.module):
        line = event.lines[0]
        where = f"{event.name} at {os.path.basename(line.file)}:{line.line}"
        return f"{where} in {event.module}" if event.module else where
    return event.module or event.name


def _source(
    file: str, first: int, function: str, known: dict[tuple[str, int], Cost]
) -> list[tuple[int, str]]:
    """The lines of a function without the blanks before all of them; those with costs alone if it
    is a module's body or has no source.
    """
    text = linecache.getlines(file)
    if not text or function == "<module>":
        numbers = sorted(n for f, n in known if f == file)
        return [(n, text[n - 1].strip() if n <= len(text) else "?") for n in numbers]
    block = inspect.getblock(text[first - 1 :])
    margin = min((len(line) - len(line.lstrip()) for line in block if line.strip()), default=0)
    return [(first + i, line[margin:].rstrip()) for i, line in enumerate(block)]


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3f}" if seconds < 0.1 else f"{seconds * 1e3:.1f}"
