"""Checks of values and derivatives: oracle, both orders, adjoint, broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.gradcheck.compare import FAIL, PASS
from tinygrad_cnn.autograd.gradcheck.numerical import normal
from tinygrad_cnn.autograd.modes import no_grad
from tinygrad_cnn.autograd.samples import Sample
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.testing.certify.running import (
    NOT_APPLICABLE,
    Wrong,
    cotangent,
    require_close,
    run,
)
from tinygrad_cnn.testing.certify.subject import Subject
from tinygrad_cnn.testing.gradients import adjoint_error, find_gradients
from tinygrad_cnn.testing.types import Arguments
from tinygrad_cnn.types import Array


def forward(subject: Subject, sample: Sample, seed: int) -> str:
    """The result is the oracle's."""
    if subject.oracle is None:
        return NOT_APPLICABLE
    with no_grad():
        y = subject(sample.args, sample.params)
    expected = np.asarray(subject.oracle(*sample.args, **sample.params))
    require_close("the result", y._array, expected, 1e-9, 1e-10)
    return PASS


def _gradients(subject: Subject, sample: Sample, seed: int, order: int) -> str:
    where = subject.differentiable(sample.args)
    if not where:
        return NOT_APPLICABLE

    def filled(values: Arguments) -> list[Any]:
        every = list(sample.args)
        for i, v in zip(where, values, strict=True):
            every[i] = v
        return every

    found = find_gradients(
        lambda *ts: subject(filled(ts), sample.params),
        [np.array(sample.args[i]) for i in where],
        (order,),
        seed,
        subject.name,
        {},
        lambda *arrays: subject.on_arrays(filled(arrays), sample.params),
        subject.locate,
    )
    if found.verdict == FAIL:
        raise Wrong(found.reason)
    return found.verdict


def first_order(subject: Subject, sample: Sample, seed: int) -> str:
    """Gradients against numerical ones, the walk unrecorded and recorded."""
    return _gradients(subject, sample, seed, 1)


def second_order(subject: Subject, sample: Sample, seed: int) -> str:
    """The same for the gradients' gradients."""
    return _gradients(subject, sample, seed, 2)


def adjoint(subject: Subject, sample: Sample, seed: int) -> str:
    """Where it is linear, <Ax, u> = <x, Aᵀu> to machine precision."""
    applied = False
    for i in subject.differentiable(sample.args):
        x = sample.args[i]

        def alone(t: Any, i: int = i) -> Tensor:
            every = list(sample.args)
            every[i] = t
            return subject(every, sample.params)

        offset = _offset_if_linear(alone, x, seed)
        if offset is None:
            continue
        applied = True
        constant = wrap(offset)

        def linear(t: Any, alone: Any = alone, constant: Any = constant) -> Any:
            return alone(t) - constant

        found = adjoint_error(linear, x, seed)
        if found:
            raise Wrong(f"it is linear in argument {i}, but {found}")
    return PASS if applied else NOT_APPLICABLE


def _offset_if_linear(alone: Callable[[Any], Tensor], x: Array, seed: int) -> Array | None:
    """The value at 0 if the function is linear but for it, else None."""
    rng = np.random.default_rng(seed + 1)

    def at(v: Array) -> Array:
        return alone(wrap(np.asarray(v, x.dtype)))._array

    try:
        with no_grad(), np.errstate(all="ignore"):
            zero, ahead = at(np.zeros_like(x)), at(x)
            for a, b in ((0.37, -1.73), (-2.41, 0.59), (1.3, 5.9)):
                v = normal(rng, x.shape, x.dtype)
                there = at(v)
                straight = a * (ahead - zero) + b * (there - zero) + zero
                size = np.max(np.abs(ahead) + np.abs(there) + np.abs(zero), initial=0.0)
                if not np.all(np.abs(at(a * x + b * v) - straight) <= 1e-13 * max(1.0, size)):
                    return None
    except (ValueError, ArithmeticError, AssertionError):
        return None
    return zero


def broadcasting(subject: Subject, sample: Sample, seed: int) -> str:
    """Gradients of inputs that broadcast are those of inputs broadcast beforehand, summed back."""
    if not subject.broadcasts:
        return NOT_APPLICABLE
    u = lambda y: cotangent(y, seed)
    y, gradients = run(subject, sample.args, sample.params, u)
    where = subject.differentiable(sample.args)
    for i, g in zip(where, gradients, strict=True):
        if g.shape != sample.args[i].shape:
            raise Wrong(f"gradient {i} has shape {g.shape}, its input {sample.args[i].shape}")
    _numbers(subject, sample, seed)
    expanded = _expanded(subject, sample, y._array)
    if expanded is None:
        return NOT_APPLICABLE
    try:
        _, wide = run(subject, expanded, sample.params, u)
    except (ValueError, RuntimeError):  # the same by chance, but not a valid way to broadcast
        return NOT_APPLICABLE
    for i, g, w in zip(where, gradients, wide, strict=True):
        shape = sample.args[i].shape
        lead = w.ndim - len(shape)
        stretched = [lead + k for k, n in enumerate(shape) if n == 1 and w.shape[lead + k] != 1]
        total = w.sum((*range(lead), *stretched)).reshape(shape)
        require_close(
            f"gradient {i}, against that of the broadcast input summed", g, total, 1e-11, 1e-12
        )
    return PASS


def _numbers(subject: Subject, sample: Sample, seed: int) -> None:
    """A Python number in place of one input must do as well as an array of it."""
    u = lambda y: cotangent(y, seed)
    where = subject.differentiable(sample.args)
    for i in where if len(where) > 1 else ():
        if not sample.args[i].size:
            continue
        number = sample.args[i].flat[0].item()
        args = list(sample.args)
        args[i] = number
        try:
            with no_grad():
                subject(args, sample.params)
        except (TypeError, ValueError, AttributeError):
            continue  # it takes arrays only
        y, gradients = run(subject, args, sample.params, u)
        args[i] = np.full((), number)
        z, expected = run(subject, args, sample.params, u)
        require_close(
            f"with the number {number:g} for argument {i}, the result", y._array, z._array, 1e-12, 0
        )
        rest = [g for k, g in zip(where, expected, strict=True) if k != i]
        for g, h in zip(gradients, rest, strict=True):
            require_close(
                f"with the number {number:g} for argument {i}, a gradient", g, h, 1e-12, 1e-13
            )


def _expanded(subject: Subject, sample: Sample, y: Array) -> list[Any] | None:
    """The arguments broadcast beforehand, whole or but for their last axes; None if neither fits.

    Matrix products broadcast all axes but the last two.
    """
    for kept in (0, 2):
        every = list(sample.args)
        lead = y.shape[: y.ndim - kept]
        try:
            for i, a in enumerate(every):
                if isinstance(a, np.ndarray):
                    every[i] = np.broadcast_to(a, (*lead, *a.shape[a.ndim - kept :])).copy()
            with no_grad():
                again = subject(every, sample.params)._array
            if again.shape == y.shape and np.allclose(again, y, 1e-12, 1e-13, equal_nan=True):
                return every
        except (ValueError, IndexError, TypeError):
            continue
    return None
