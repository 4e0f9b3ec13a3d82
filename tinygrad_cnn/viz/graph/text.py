"""Figures, shapes and parameters as short text."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from tinygrad_cnn.amounts import three_digits
from tinygrad_cnn.viz.graph.records import Shape

_LONGEST = 40
_NEUTRAL = {
    "stride": 1,
    "dilation": 1,
    "groups": 1,
    "padding": 0,
    "correction": 1,
    "eps": "1e-05",
    "count_include_pad": True,
}
"""What these parameters are when they change nothing."""
_AXES = {"dim", "dims"}
"""Numbers of axes, not sizes."""
_HIDDEN = {"statistics", "steps", "size", "by"}


def shape_text(shape: Shape | None) -> str:
    """``1×3×32×32``; ``scalar`` for a single number.

    >>> shape_text((1, 3, 32, 32)), shape_text(())
    ('1×3×32×32', 'scalar')
    """
    if shape is None:
        return "?"
    return "×".join(map(str, shape)) if shape else "scalar"


def seconds(value: float) -> str:
    """A time with three digits and a unit.

    >>> seconds(0.00213), seconds(0.000012)
    ('2.13 ms', '12 µs')
    """
    if value >= 1:
        return f"{three_digits(value)} s"
    return f"{three_digits(value * 1e3)} ms" if value >= 1e-3 else f"{three_digits(value * 1e6)} µs"


FIGURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "forward_seconds": ("forward time", seconds),
    "backward_seconds": ("backward time", seconds),
    "gradient_norm": ("norm of the gradient", lambda v: f"{v:.3g}"),
    "norm": ("norm", lambda v: f"{v:.3g}"),
    "zeros": ("zeros", lambda v: f"{v:.0%}"),
}
"""What is measured of a `Node`: its name for people, and how it is written."""


def plural(count: int, noun: str) -> str:
    """``1 operation``, ``2 operations``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def parameters_text(params: Mapping[str, object], defaults: Mapping[str, object]) -> dict[str, str]:
    """An operation's parameters as text, without those that change nothing.

    A parameter with named parts, as the geometry of a convolution, is shown as these.
    """
    out = {}
    for name, value in itertools.chain.from_iterable(map(_parts, params.items())):
        if name in _HIDDEN or value is None:
            continue
        if name in defaults and _same(value, defaults[name]):
            continue
        if name == "width" and isinstance(value, tuple):  # of a pad: pairs, an axis each
            name, text = "padding", _padding(value)
        else:
            text = _value(value)
        if name in _AXES and isinstance(value, (tuple, list)):
            text = ", ".join(map(_value, value))
        if name in _NEUTRAL and text == str(_NEUTRAL[name]):
            continue
        if value is False:
            continue
        out[name] = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return out


def _parts(item: tuple[str, object]) -> Iterable[tuple[str, object]]:
    parts = getattr(item[1], "_asdict", None)
    return [item] if parts is None else parts().items()


def _padding(width: Sequence[Sequence[int]]) -> str:
    """Where a pad puts how much: ``0 and 16 on axis 1``."""
    padded = {i: (a, b) for i, (a, b) in enumerate(width) if a or b}
    if len(set(padded.values())) == 1 and all(a == b for a, b in padded.values()):
        sides = f"{next(iter(padded.values()))[0]}"
        return f"{sides} on axes {', '.join(map(str, padded))}"
    return ", ".join(f"{a} and {b} on axis {i}" for i, (a, b) in padded.items())


def _same(a: object, b: object) -> bool:
    return type(a) is type(b) and isinstance(a, (bool, int, float, str, tuple)) and a == b


def _value(value: object) -> str:
    """``value`` as text that is the same in every run: no addresses, no contents of arrays."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (bool, int, str)):
        return str(value)
    if isinstance(value, np.dtype):
        return str(value)
    if isinstance(value, slice):
        ends = ["" if v is None else _value(v) for v in (value.start, value.stop)]
        step = "" if value.step is None else f":{_value(value.step)}"
        return f"{ends[0]}:{ends[1]}{step}"
    if value is Ellipsis:
        return "…"
    if value is None:
        return "None"
    if isinstance(value, np.generic):
        return f"{value.item()}"
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"[{shape_text(shape)}]"
    if isinstance(value, (tuple, list)):
        parts = [_value(v) for v in value]
        if len(parts) > 1 and len(set(parts)) == 1 and "×" not in parts[0]:
            if all(isinstance(v, (tuple, list)) for v in value):
                return parts[0]  # the same border on both axes
            if all(isinstance(v, int) for v in value) and len(parts) == 2:
                return parts[0]  # the same number for both axes
        separator = "×" if all(isinstance(v, int) for v in value) else ", "
        return separator.join(parts) if parts else "()"
    return type(value).__name__


def place(filename: str, number: int, function: str) -> str:
    """Where a line of code is, with the path as one would type it from here."""
    here = os.getcwd() + os.sep
    shown = filename.removeprefix(here) if filename.startswith(here) else os.path.basename(filename)
    function = function.rpartition(".")[2]
    return f"{shown}:{number} in {function}" if function != "<module>" else f"{shown}:{number}"
