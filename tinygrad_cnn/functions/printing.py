"""How a tensor is written out: PyTorch's format."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_cnn.autograd import promotion
from tinygrad_cnn.autograd.arguments import need
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.types import FLOATING, Array


@dataclass
class _Options:
    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_options = _Options()
_PROFILES = {
    "default": _Options(),
    "short": _Options(precision=2, edgeitems=2),
    "full": _Options(threshold=math.inf),
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Change how tensors are written out.

    Parameters
    ----------
    precision
        Digits after the point (4).
    threshold
        Number of elements above which only the edges are shown (1000).
    edgeitems
        How many elements at each edge then (3).
    linewidth
        Characters in a line (80).
    profile
        What the others are unless they are given: "default" (in brackets), "short" (2 digits, 2
        elements at each edge) or "full" (all elements).
    sci_mode
        Scientific notation always (True), never (False), or where it helps (None).

    Raises
    ------
    ValueError
        There is no such profile, or a number is negative.
    TypeError
        An argument is no number, or ``sci_mode`` neither True, False nor None.
    """
    if profile is not None and profile not in _PROFILES:
        known = ", ".join(map(repr, _PROFILES))
        raise ArgumentError(f"set_printoptions: `profile` is {profile!r}, expected one of {known}")
    given = {
        "precision": precision,
        "threshold": threshold,
        "edgeitems": edgeitems,
        "linewidth": linewidth,
    }
    for name, value in given.items():
        if value is None:
            continue
        need("set_printoptions", name, value, "float" if name == "threshold" else "int")
        if value < 0:
            raise ArgumentError(f"set_printoptions: `{name}` is {value}, expected at least 0")
    if sci_mode is not None:
        need("set_printoptions", "sci_mode", sci_mode, "bool")
    chosen = {} if profile is None else vars(_PROFILES[profile])
    for name, value in (chosen | {n: v for n, v in given.items() if v is not None}).items():
        setattr(_options, name, value)
    _options.sci_mode = sci_mode


class _Format:
    """One width and one notation for all values shown."""

    def __init__(self, values: Array) -> None:
        self.kind = "f" if values.dtype.kind in FLOATING else values.dtype.kind
        self.whole, self.scientific, self.width = True, False, 1
        if self.kind == "c":
            self.parts = _Format(values.real), _Format(values.imag)
            self.width = self.parts[0].width + self.parts[1].width + 2
            return
        if self.kind != "f":
            self.width = max((len(str(v)) for v in values.ravel().tolist()), default=1)
            return
        finite = values[np.isfinite(values) & (values != 0)].astype(np.float64)
        if not finite.size:
            return
        size = np.abs(finite)
        low, high = float(size.min()), float(size.max())
        self.whole = bool((finite == np.ceil(finite)).all())
        spread = high / low > 1000 or high > 1e8
        self.scientific = spread or (not self.whole and low < 1e-4)
        if _options.sci_mode is not None:
            self.scientific = _options.sci_mode
        # As in PyTorch, NaN and infinities take no part in the width.
        self.width = max((len(self(v)) for v in finite.tolist()), default=1)

    def __call__(self, value: Any) -> str:
        if self.kind == "c":
            real, imag = self.parts[0](value.real), self.parts[1](value.imag)
            sign = "" if imag.lstrip().startswith("-") else "+"
            return f"{real}{sign}{imag.lstrip()}j"
        elif self.kind != "f":
            text = str(value)
        elif not math.isfinite(value):
            text = str(value)
        elif self.scientific:
            text = f"{value:.{_options.precision}e}"
        elif self.whole:
            text = f"{value:.0f}."
        else:
            text = f"{value:.{_options.precision}f}"
        return text.rjust(self.width)


def _edges(values: Array) -> Array:
    """Only what will be shown of a large array."""
    for d, n in enumerate(values.shape):
        if n > 2 * _options.edgeitems:
            keep = [*range(_options.edgeitems), *range(n - _options.edgeitems, n)]
            values = np.take(values, keep, axis=d)
    return values


def _vector(values: Array, indent: int, short: bool, form: _Format) -> str:
    per_line = max(1, (_options.linewidth - indent) // (form.width + 2))
    n, edge = len(values), _options.edgeitems
    if short and n > 2 * edge:
        texts = [form(v) for v in values[:edge].tolist()]
        texts += [" ..."] + [form(v) for v in values[-edge:].tolist()]
    else:
        texts = [form(v) for v in values.tolist()]
    lines = [", ".join(texts[i : i + per_line]) for i in range(0, len(texts), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _nested(values: Array, indent: int, short: bool, form: _Format) -> str:
    if values.ndim == 0:
        return form(values.item())
    if values.ndim == 1:
        return _vector(values, indent, short, form)
    n, edge = len(values), _options.edgeitems
    if short and n > 2 * edge:
        parts = [_nested(v, indent + 1, short, form) for v in values[:edge]]
        parts += ["..."] + [_nested(v, indent + 1, short, form) for v in values[-edge:]]
    else:
        parts = [_nested(v, indent + 1, short, form) for v in values]
    between = "," + "\n" * (values.ndim - 1) + " " * (indent + 1)
    return "[" + between.join(parts) + "]"


def format_tensor(
    array: Array,
    requires_grad: bool,
    made_by: str | None,
    name: str = "tensor",
) -> str:
    """``array`` written as a tensor; ``made_by`` names the operation it is the result of."""
    notes = []
    if array.size == 0:
        body = "[]"
        if array.ndim != 1:
            notes.append(f"size={array.shape}")
    else:
        short = array.size > _options.threshold
        with np.errstate(all="ignore"):
            form = _Format(_edges(array) if short else array)
        body = _nested(array, len(name) + 1, short, form)
    default = promotion.get_default_dtype()
    usual = (default, np.dtype(np.int64), np.dtype(np.bool_), promotion.complex_dtype(default))
    if array.dtype not in usual or (array.size == 0 and array.dtype != usual[0]):
        notes.append(f"dtype={array.dtype}")
    if made_by is not None:
        notes.append(f"grad_fn=<{made_by}>")
    elif requires_grad:
        notes.append("requires_grad=True")
    text = f"{name}({body}"
    indent, room = len(name) + 1, _options.linewidth - 2  # for ", "
    used = len(text) - text.rfind("\n") + 1
    for note in notes:
        if used + len(note) > room:
            text += ",\n" + " " * indent + note
            used = indent + len(note)
        else:
            text += ", " + note
            used += len(note) + 2
    return text + ")"
