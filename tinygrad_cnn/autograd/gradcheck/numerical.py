"""Slopes of functions of one number, by differences, with a bound on their error. Arrays only."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_cnn.types import INEXACT, Array

_STEPS = (
    1.0,
    0.25,
    0.03,
    1e-3,
)  # tried in turn, as multiples of the best step for smooth functions
_GOOD = 1e-9  # a bound this small, compared with the slope's terms, needs no smaller step
_SAFETY = 4.0
_ROUNDING = 32.0  # units of rounding granted to one value of the function, per unit of its terms


@dataclass(frozen=True)
class Slope:
    """A numerical derivative.

    Attributes
    ----------
    value, bound
        The slope, and how far from the true one it may be.
    doubt
        Why it cannot be trusted (a kink, a jump, values that are not finite), else empty.
    method
        ``"Richardson"`` or ``"complex step"``.
    """

    value: float
    bound: float
    doubt: str = ""
    method: str = "Richardson"


def inner_terms(u: Array, y: Array) -> Array:
    """The terms of ``<u, y>``: for complex numbers the real parts of ``conj(u) * y``."""
    return (np.conj(u) * y).real if np.iscomplexobj(u) or np.iscomplexobj(y) else u * y


def normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Array:
    """Normal random numbers, of a complex ``dtype`` in both parts."""
    out = np.asarray(rng.standard_normal(shape))
    if np.dtype(dtype).kind == "c":
        out = out + 1j * np.asarray(rng.standard_normal(shape))
    return np.asarray(out, dtype)


class Along:
    """``t`` → ``<us, function(xs + t direction)>``, the sum of its terms' sizes, one rounding unit.

    ``function`` returns a sequence of arrays, one for each of ``us``. ``reach`` is the largest
    size among the values that are moved.
    """

    def __init__(
        self,
        function: Callable[..., Sequence[Array]],
        xs: Sequence[Array],
        direction: Sequence[Array],
        us: Sequence[Array],
    ) -> None:
        self.function, self.xs, self.direction, self.us = function, xs, direction, us
        moved = (np.abs(x[v != 0]) for x, v in zip(xs, direction, strict=True))
        self.reach = max((float(x.max()) for x in moved if x.size), default=0.0)

    def __call__(self, t: Any) -> tuple[Any, float, float]:
        """The value at ``t``; for an imaginary ``t`` the terms are the derivative's too."""
        real = isinstance(t, float)
        moved = [
            np.asarray(x + np.asarray(t * v, x.dtype if real else None))
            for x, v in zip(self.xs, self.direction, strict=True)
        ]
        total, size, unit = 0.0, 0.0, float(np.finfo(np.float64).eps)
        for u, y in zip(self.us, self.function(*moved), strict=True):
            terms = inner_terms(u, y) if real else u * y
            total += terms.sum()
            size += float(np.abs(terms.real).sum())
            if not real:
                size += float(np.abs(terms.imag).sum() / abs(t))
            if y.dtype.kind in INEXACT:
                unit = max(unit, float(np.finfo(y.dtype).eps))
        return total, size, unit


def slope(at: Along, step: float | None = None) -> Slope:
    """The derivative at 0 of ``at`` (see `Along`), by Richardson extrapolation.

    Three central differences cancel the errors of order h² and h⁴ (L. F. Richardson, 1911). How
    much the last cancellation changed the value bounds what is left, and the rounding of the
    function's values is added. One-sided differences are extrapolated in the same way: if they
    disagree by more than their own bounds, there is a kink. Smaller steps are tried until the
    bound is small and no kink is seen.

    Parameters
    ----------
    step
        The first step; default: the one that balances the two errors of a smooth function.

    Examples
    --------
    >>> import numpy as np
    >>> found = slope(Along(lambda x: [x**3], [np.array(2.0)], [np.array(1.0)], [np.array(1.0)]))
    >>> abs(found.value - 12) < found.bound < 1e-8
    True
    >>> slope(Along(lambda x: [abs(x)], [np.array(0.0)], [np.array(1.0)], [np.array(1.0)])).doubt
    'a kink: the slope is -1 on one side and 1 on the other'
    """
    middle, size, unit = at(0.0)
    if not math.isfinite(float(middle)):
        return Slope(math.nan, math.inf, "the function's value is not finite")
    first = unit ** (1 / 7) if step is None else step
    best = Slope(math.nan, math.inf, "the function's values near the point are not finite")
    for factor in _STEPS:
        found, terms = _richardson(at, float(middle), size, unit, first * factor)
        trusted = found.bound if not found.doubt else math.inf
        if trusted < best.bound or (best.doubt and math.isfinite(found.value)):
            best = found
        if trusted <= _GOOD * terms:
            break
    return best


def steady(at: Along, found: Slope) -> bool:
    """Whether longer and shorter steps give the same slope, each within its bound.

    They do not where rounding inside the function, which its values do not show, makes it a
    staircase.
    """
    middle, size, unit = at(0.0)
    for factor in (16.0, 1 / 16):
        other, _ = _richardson(at, float(middle), size, unit, unit ** (1 / 7) * factor)
        if not other.doubt and abs(other.value - found.value) > other.bound + found.bound:
            return False
    return True


def _richardson(
    at: Along,
    middle: float,
    size: float,
    unit: float,
    h: float,
) -> tuple[Slope, float]:
    right: list[float] = []
    left: list[float] = []
    for scale in (1.0, 0.5, 0.25):
        for side, values in ((h * scale, right), (-h * scale, left)):
            value, terms, _ = at(side)
            values.append(float(value))
            size = max(size, terms)
    if not all(map(math.isfinite, (*right, *left))):
        return Slope(math.nan, math.inf, "the function's values near the point are not finite"), 0.0
    d1, d2, d4 = (
        (r - s) / (2 * h * f) for r, s, f in zip(right, left, (1, 0.5, 0.25), strict=True)
    )
    coarse, fine = (4 * d2 - d1) / 3, (4 * d4 - d2) / 3
    value = (16 * fine - coarse) / 15
    noise = _ROUNDING * unit * (size + at.reach * abs(value)) / h
    bound = _SAFETY * abs(fine - coarse) + noise
    after, after_bound = _one_sided([(r - middle) / (h * f) for r, f in _pairs(right)], noise)
    before, before_bound = _one_sided([(middle - s) / (h * f) for s, f in _pairs(left)], noise)
    doubt = ""
    if abs(after - before) > after_bound + before_bound:
        doubt = f"a kink: the slope is {before:.6g} on one side and {after:.6g} on the other"
    return Slope(value, bound, doubt), max(size, abs(value))


def _pairs(values: list[float]) -> Iterator[tuple[float, float]]:
    return zip(values, (1.0, 0.5, 0.25), strict=True)


def _one_sided(d: list[float], noise: float) -> tuple[float, float]:
    coarse, fine = 2 * d[1] - d[0], 2 * d[2] - d[1]
    value = (4 * fine - coarse) / 3
    return value, _SAFETY * (abs(value - fine) + noise)


def complex_slope(at: Along, checked: Slope) -> Slope:
    """The derivative at 0 by a complex step, if the function is analytic; else ``checked``.

    For an analytic function the imaginary part of ``f(ih) / h`` is the derivative to rounding
    error, as nothing is subtracted (J. Lyness and C. Moler, 1967). Whether it is analytic is not
    asked but seen: the value is used only where it lies within the bound of ``checked``.
    """
    if checked.doubt:
        return checked
    h = 1e-30
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("error")  # a cast that drops the imaginary part warns
            value, size, unit = at(1j * h)
    except Exception:  # it does not take complex numbers, in whatever way it says so
        return checked
    exact = float(np.imag(value)) / h
    if not abs(exact - checked.value) <= checked.bound:
        return checked
    return Slope(exact, _ROUNDING * unit * size, method="complex step")
