"""Where two runs of one program differ, and whether that is more than rounding.

No tolerance is chosen by hand. The numbers of a float32 run may be as far from those of the float64
run as a small multiple of the yardstick's own float32 run is, in the same tensor. What still looks
wrong is tried again: the yardstick runs on inputs that differ by some units in the last place, and
how its results move says how well the program determines them. What it does not determine (a ReLU
of something that is 0 but for rounding, a shape that hangs on a comparison of such numbers) is no
difference. NaN and infinities must be at the same places.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import tinygrad_cnn as tg

from .run import EPS, Event, Raised, run, torch

KERNELS = ("jit", "reference")
TIMES = (
    32  # the yardstick's own error: that of Winograd's convolution is ten times the direct one's
)
UNITS = 64  # of rounding beside it, relative to the largest number of the tensor
# PyTorch refuses these and we need not: an in-place change of what a derivative rule needs, a graph
# walked twice. What is not refused is right (tests/functions/test_inplace_parity.py).
REFUSALS = re.compile(
    "modified by an inplace operation|through the graph a second time"
    "|is a view and its base or another view of its base has been modified"
    "|A view was created in no_grad mode and (its base or another|is being modified inplace)"
    "|leaf variable has been moved into the graph interior"
    "|saved tensor that has been detached in-place"  # where we save none
    "|gradient_as_bucket_view"  # detach_() of what a module's backward hook made a view
    "|view size is not compatible"  # where our results lie row by row, and PyTorch's do not
    "|INTERNAL ASSERT FAILED"
    "|masked_fill_ only supports boolean masks"  # of x[mask] = number alone, where masks are uint8
)
# We refuse a second walk always (docs/certification.md), PyTorch where it misses what was freed;
# and it does not look at indices and axes where there is nothing to be done.
OUR_REFUSALS = re.compile(
    "graph was already walked|out of bounds for axis|roll: `dim` is|cat: `dim` is|is read-only"
    r"|batch_norm: `\w+` has shape|adaptive_avg_pool2d: `x` has"  # of nothing: it checks less
)
NUDGES = (1, -2, 5, -8)  # units in the last place


@dataclass(frozen=True)
class Difference:
    """The first event in which a run differs from the yardstick's.

    Attributes
    ----------
    kernels, dtype
        Of the run.
    against
        Whose run is right: "torch", or "tinygrad_cnn" with NumPy's kernels.
    label
        Of the event: a statement's number, or the name of a tensor, and what of it.
    """

    kernels: str
    dtype: str
    against: str
    label: str
    expected: Any
    found: Any

    @property
    def kind(self) -> str:
        """What stays the same while a program is made smaller."""
        words = self.label.split()
        what = f"log {words[-1]}" if "log" in words else words[-1]
        if isinstance(self.expected, Raised) and isinstance(self.found, Raised):
            what += f": {str(self.expected)[:40]}; {str(self.found)[:40]}"
        return f"{self.kernels} {self.dtype} against {self.against}: {what}"

    def __str__(self) -> str:
        where = f"{self.kernels} {self.dtype} against {self.against}: {self.label}"
        return f"{where}\n  expected {self.expected}\n  found    {self.found}"


class Yardstick:
    """What the runs of a program are compared with: PyTorch's, or our own with NumPy's kernels."""

    def __init__(self, statements: list[str], module: Any) -> None:
        self.statements, self.module = statements, module
        self._runs: dict[tuple[str, float], list[Event]] = {}
        self._largest: dict[str, float] = {}  # number that was seen

    def run(self, dtype: str, nudge: float = 0.0) -> list[Event]:
        """Its events."""
        if (dtype, nudge) not in self._runs:
            self._runs[dtype, nudge] = run(self.statements, self.module, dtype, nudge=nudge)
        return self._runs[dtype, nudge]

    def compare(self, kernels: str, dtype: str) -> Difference | None:
        """The first difference of our run from its own."""
        expected, exact = self.run(dtype), self.run("float64")
        found = run(self.statements, tg, dtype, kernels)
        who = kernels, dtype, self.module.__name__
        for i, (label, value) in enumerate(expected):
            other = found[i] if i < len(found) else ("nothing more", None)
            if _refuses(REFUSALS, value) or _refuses(OUR_REFUSALS, other[1]):
                return None
            if other[0] != label:
                difference = Difference(*who, label, label, other[0])
            elif not self._equal(value, other[1], _at(exact, i, label), dtype):
                difference = Difference(*who, label, value, other[1])
            else:
                continue
            if self._determines(i, dtype, difference):
                return difference
            if other[0] != label or not _same_form(value, other[1]):
                return None  # from here on the two are different programs
        if len(found) > len(expected):
            return Difference(
                *who, found[len(expected)][0], "nothing more", found[len(expected)][1]
            )
        return None

    def _equal(self, expected: Any, found: Any, exact: Any, dtype: str) -> bool:
        if not (_is_number(expected) and _same_form(expected, found)):
            return _same_form(expected, found)
        if not _same_places(expected, found):
            return False
        known = exact is not None and _same_form(expected, exact)
        best = _best(expected, exact) if known else expected
        error = _distance(expected, best) if known else 0.0
        return _distance(found, best) <= TIMES * error + self._unit(dtype, expected)

    def _unit(self, dtype: str, value: Any) -> float:
        """What rounding may do to a tensor; one that should be 0 was a difference of others."""
        if dtype not in self._largest:
            numbers = [v for _, v in self.run(dtype) if _is_number(v)]
            self._largest[dtype] = max(map(_largest, numbers), default=0.0)
        return UNITS * EPS[dtype] * max(_largest(value), self._largest[dtype] / 1024)

    def _determines(self, i: int, dtype: str, difference: Difference) -> bool:
        """Whether the yardstick's own event ``i`` is too steady to explain the difference."""
        expected, exact = self.run(dtype), self.run("float64")
        value = expected[i][1]
        errors = [0.0]
        for units in NUDGES:
            nudge = units * EPS[dtype]
            near, near_exact = self.run(dtype, nudge), self.run("float64", nudge)
            for other in (near, near_exact, exact):
                if any(a[0] != b[0] for a, b in zip(expected[: i + 1], other, strict=False)):
                    return False
                if len(other) <= i or not _same_form(value, other[i][1]):
                    return False
            if _is_number(value):
                errors.append(_distance(near[i][1], near_exact[i][1]))
                errors.append(_distance(near_exact[i][1], exact[i][1]))
                if not np.array_equal(np.isfinite(near[i][1]), np.isfinite(value)):
                    return False
        if not _is_number(value) or not _same_form(value, difference.found):
            return True
        if not _same_places(value, difference.found):
            return True
        bound = TIMES * max(errors) + self._unit(dtype, value)
        return _distance(difference.found, _best(value, exact[i][1])) > bound


def _refuses(texts: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, Raised) and bool(texts.search(value.error))


def _at(events: list[Event], i: int, label: str) -> Any:
    return events[i][1] if i < len(events) and events[i][0] == label else None


def _is_number(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _same_form(a: Any, b: Any) -> bool:
    """Whether only the numbers of floats differ, if anything does."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and (_is_number(a) or np.array_equal(a, b))
    return type(a) is type(b) and bool(a == b)


def _same_places(a: Any, b: Any) -> bool:
    """Whether NaN and infinities are where the other has them."""
    off = ~np.isfinite(a)
    return bool(np.array_equal(off, ~np.isfinite(b)) and np.array_equal(a[off], b[off], True))


def _largest(x: Any) -> float:
    return float(np.max(np.abs(x), initial=0.0, where=np.isfinite(x)))


def _distance(a: Any, b: Any) -> float:
    where = np.isfinite(a) & np.isfinite(b)
    with np.errstate(all="ignore"):
        gap = np.abs(np.subtract(a, b, dtype=np.float64))
    return float(np.max(gap, initial=0.0, where=where))


def _best(value: Any, exact: Any) -> Any:
    """The float64 numbers where they are finite."""
    return np.where(np.isfinite(value) & np.isfinite(exact), exact, value)


def differences(
    statements: list[str],
    kernels: Sequence[str] = KERNELS,
    dtypes: Sequence[str] = tuple(EPS),
    against: Sequence[Any] = (torch, tg),
) -> list[Difference]:
    """The first difference of each of our runs: from PyTorch's, and from ours by NumPy."""
    rules = [Yardstick(statements, module) for module in against if module is not None]
    found = []
    for dtype in dtypes:
        for name in kernels:
            for rule in rules:
                if rule.module is tg and name == "reference":
                    continue
                difference = rule.compare(name, dtype)
                if difference is not None:
                    found.append(difference)
                    break
    return found
