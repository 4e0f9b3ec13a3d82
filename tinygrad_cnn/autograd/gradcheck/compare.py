"""Gradients held against numerical ones that bound their error.

The verdict is pass, fail or "cannot decide" (at a kink, or where the numerical derivative is too
inaccurate to tell), never a guess hidden in a tolerance.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.backward import grad
from tinygrad_cnn.autograd.gradcheck.numerical import (
    Along,
    Slope,
    complex_slope,
    inner_terms,
    normal,
    slope,
    steady,
)
from tinygrad_cnn.autograd.modes import enable_grad, no_grad
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.types import AnyFunction, Args, Array

PASS, FAIL, CANNOT_DECIDE = "pass", "fail", "cannot decide"

_OWN_ROUNDING = 512.0  # units of rounding granted to the gradient itself, per unit of its terms
_USELESS = 1e-4  # a bound this large, compared with the slope's terms, decides nothing
_ELEMENTS = 400  # of one input, looked at one by one after a failure


class GradientError(AssertionError, RuntimeError):
    """A gradient is wrong; the message says where, by how much, and how to reproduce it."""


class UndecidedError(GradientError):
    """A gradient cannot be judged numerically here: at a kink, or too inaccurate."""


@dataclass(frozen=True)
class Finding:
    """What a check found: ``verdict`` (`PASS`, `FAIL` or `CANNOT_DECIDE`) and the reason."""

    verdict: str
    reason: str = ""

    def raise_unless_passed(self, reproduction: str = "") -> Finding:
        """Raise `GradientError` or `UndecidedError` with the reason and how to reproduce it."""
        if self.verdict == PASS:
            return self
        error = GradientError if self.verdict == FAIL else UndecidedError
        raise error("\n".join(filter(None, (self.reason, reproduction))))


def judge(
    function: AnyFunction,
    xs: Sequence[Array],
    rng: np.random.Generator,
    *,
    name: str = "function",
    labels: Sequence[str] | None = None,
    on_arrays: AnyFunction | None = None,
    step: float | None = None,
    rtol: float = 0.0,
    atol: float = 0.0,
    locate: bool = True,
) -> Finding:
    """Compare the gradients of ``function`` at ``xs``, for random cotangents, with numerical ones.

    They are computed with recording of the walk off (as in training) and on, and both must agree.
    They are compared along one random direction, in which any wrong element shows. If they differ
    there, every element is looked at alone.

    Parameters
    ----------
    function
        Takes tensors, returns one or a tuple of them.
    labels
        What the inputs are called in messages; default "input 0", "input 1" …
    on_arrays
        The same function on arrays, complex ones too: lets the complex step be tried.
    step, rtol, atol
        The first step of the differences; what is allowed beyond the error bound.
    locate
        If false, a failure along the random direction is returned as it is.
    """
    labels = [f"input {i}" for i in range(len(xs))] if labels is None else labels
    leaves = [wrap(x.copy()) for x in xs]
    for t in leaves:
        t.want_gradient(True)
    with enable_grad():
        outputs = as_tuple(function(*leaves))
    us = [normal(rng, y._value.shape, y._value.dtype) for y in outputs]
    if any(np.iscomplexobj(a) for a in (*xs, *us)):
        on_arrays = None  # the complex step is for functions of real numbers
    live = [(y, u) for y, u in zip(outputs, us, strict=True) if y.current_node() is not None]
    plain = recorded = [wrap(np.zeros_like(x)) for x in xs]
    if live:
        ys, cotangents = [y for y, _ in live], [wrap(u) for _, u in live]
        every: Any = {"materialize_grads": True}
        plain = list(grad(ys, leaves, cotangents, retain_graph=True, **every))
        recorded = list(grad(ys, leaves, cotangents, create_graph=True, **every))
    gradients = [g._array for g in plain]
    for label, x, g, r in zip(labels, xs, gradients, recorded, strict=True):
        if g.shape != x.shape or g.dtype != x.dtype:
            return Finding(
                FAIL,
                f"{name}: the gradient of {label} (shape {x.shape}, {x.dtype}) has shape {g.shape} "
                f"and dtype {g.dtype}",
            )
        again = r._array
        eps = float(np.finfo(x.dtype).eps)
        if not np.allclose(g, again, rtol=1e7 * eps, atol=1e6 * eps, equal_nan=True):
            at = _worst(g - again)
            return Finding(
                FAIL,
                f"{name}: the gradient of {label} at {list(at)} is {g[at]:.9g}, but "
                f"{again[at]:.9g} with create_graph=True",
            )

    def values(*arrays: Array) -> list[Array]:
        with no_grad():
            return [y._array for y in as_tuple(function(*[wrap(a) for a in arrays]))]

    def complex_values(*arrays: Array) -> list[Array]:
        assert on_arrays is not None
        return [np.asarray(y) for y in as_tuple(on_arrays(*arrays))]

    def compare(direction: list[Array]) -> tuple[str, float, Slope, float]:
        with np.errstate(all="ignore"):
            at = Along(values, xs, direction, us)
            found = slope(at, step)
            if on_arrays is not None:
                found = complex_slope(Along(complex_values, xs, direction, us), found)
            terms = [inner_terms(v, g) for v, g in zip(direction, gradients, strict=True)]
            got = float(sum(t.sum() for t in terms))
            size = float(sum(np.abs(t).sum() for t in terms))
        unit = max((float(np.finfo(x.dtype).eps) for x in xs), default=0.0)
        # where terms inside the rule cancel, what is left shows nothing of their rounding
        hidden = 0.1 * sum(float(np.abs(u).sum()) for u in us)
        bound = found.bound + _OWN_ROUNDING * unit * max(size, abs(found.value), hidden)
        bound += atol + rtol * abs(found.value)
        if found.doubt:
            return CANNOT_DECIDE, got, found, bound
        if not abs(got - found.value) <= bound:
            with np.errstate(all="ignore"):
                if steady(at, found):
                    return FAIL, got, found, bound
            found = replace(found, doubt="the numerical slope changes with the length of the step")
            return CANNOT_DECIDE, got, found, bound
        # what a wrong gradient would be wrong by is not known: about its own size, at least
        useless = found.bound > _USELESS * max(size, abs(found.value), 1e-4)
        return (CANNOT_DECIDE if useless else PASS), got, found, bound

    whole = [normal(rng, x.shape, x.dtype) for x in xs]
    verdict, got, found, bound = compare(whole)
    if verdict == PASS:
        return Finding(PASS)
    overall = Finding(
        verdict,
        f"{name}: the slope along a random direction is {got:.12g} by the gradients but "
        f"{found.value:.12g} (± {bound:.2g}) by {found.method}"
        + (f": {found.doubt}" if found.doubt else ""),
    )
    if verdict == FAIL and not locate:
        return overall
    return _element_by_element(name, labels, xs, compare, rng) or overall


def _element_by_element(
    name: str,
    labels: Sequence[str],
    xs: Sequence[Array],
    compare: Callable[[list[Array]], tuple[str, float, Slope, float]],
    rng: np.random.Generator,
) -> Finding | None:
    """The worst wrong element, else one that cannot be judged, else None."""
    worst: tuple[float, str] | None = None
    doubtful = ""
    for i, x in enumerate(xs):
        numbers = np.arange(x.size)
        if x.size > _ELEMENTS:
            numbers = np.sort(rng.choice(x.size, _ELEMENTS, replace=False))
        units = (1.0, 1j) if np.iscomplexobj(x) else (1.0,)
        for n, unit in itertools.product(numbers, units):
            at = tuple(int(k) for k in np.unravel_index(n, x.shape))
            one = [np.zeros_like(z) for z in xs]
            one[i][at] = unit
            verdict, got, found, bound = compare(one)
            where = f"{name}: the gradient of {labels[i]} (shape {x.shape}) at {list(at)}"
            where += " (imaginary part)" if unit == 1j else ""
            if verdict == FAIL:
                off = abs(got - found.value)
                if worst is None or not off <= worst[0]:
                    worst = (
                        off,
                        (
                            f"{where} is {got:.12g}, but by {found.method} {found.value:.12g} "
                            f"(± {bound:.2g})"
                        ),
                    )
            elif verdict == CANNOT_DECIDE and not doubtful:
                doubtful = (
                    f"{where} is {got:.12g} and cannot be judged: "
                    f"{found.doubt or f'the numerical one is {found.value:.6g} ± {bound:.2g}'}"
                )
    if worst is not None:
        return Finding(FAIL, worst[1])
    return Finding(CANNOT_DECIDE, doubtful) if doubtful else None


def second_order(function: AnyFunction, count: int, rng: np.random.Generator) -> AnyFunction:
    """The slope of ``function`` along a random direction, as a function of inputs and cotangent.

    It takes ``count`` inputs and then one cotangent for each output, and returns one number. Its
    gradients are the second derivatives of ``function`` and, in the cotangent, the first.
    """
    direction: list[Array] = []

    def directional(*tensors: Any) -> Any:
        """``Σ <gradient of the inputs for the cotangents, direction>``."""
        # recorded even where the caller only wants a value: it is a derivative itself
        with enable_grad():
            inner, cotangents = [], tensors[count:]
            for t in tensors[:count]:
                fresh = t
                if t.current_node() is None:
                    fresh = wrap(t._array)
                    fresh.want_gradient(True)
                inner.append(fresh)
            if not direction:
                direction.extend(normal(rng, t._value.shape, t._value.dtype) for t in inner)
            outputs = as_tuple(function(*inner))
            pairs = [
                (y, u)
                for y, u in zip(outputs, cotangents, strict=True)
                if y.current_node() is not None
            ]
            total = sum((u.sum().abs() for u in cotangents), start=wrap(np.zeros(()))) * 0.0
            if not pairs:
                return total
            gradients = grad(
                [y for y, _ in pairs],
                inner,
                [u for _, u in pairs],
                create_graph=True,
                materialize_grads=True,
            )
            for g, v in zip(gradients, direction, strict=True):
                term = (g * wrap(np.conj(v))).sum()
                total = total + (term.real if np.iscomplexobj(v) else term)
            return total

    return directional


def as_tuple(value: object) -> Args:
    """One value, or several, as a tuple."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _worst(difference: Array) -> tuple[int, ...]:
    sizes = np.where(np.isnan(difference), np.inf, np.abs(difference))
    return tuple(int(k) for k in np.unravel_index(int(np.argmax(sizes)), sizes.shape))
