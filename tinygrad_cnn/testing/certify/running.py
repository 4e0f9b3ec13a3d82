"""How checks run an operation, and how they say that something is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.backward import grad
from tinygrad_cnn.autograd.gradcheck.numerical import normal
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.testing.certify.subject import Subject
from tinygrad_cnn.testing.types import Arguments, Params
from tinygrad_cnn.types import Array

NOT_APPLICABLE = "–"


class Wrong(AssertionError):
    """A check found something wrong; the message says what."""


def leaves_of(subject: Subject, args: Arguments) -> tuple[list[Any], list[Tensor], list[int]]:
    """The arguments with leaves in place of arrays that can have gradients; these; their places."""
    where = subject.differentiable(args)
    every = list(args)
    for i in where:
        every[i] = wrap(args[i])
        every[i].want_gradient(True)
    return every, [every[i] for i in where], where


def cotangent(y: Tensor, seed: int) -> Array:
    """Normal random numbers: the gradient of the result ``y``."""
    return normal(np.random.default_rng(seed), y.shape, y.dtype)


def run(
    subject: Subject, args: Arguments, params: Params, u: Callable[[Tensor], Array]
) -> tuple[Tensor, list[Array]]:
    """The result and the gradients of all differentiable arguments, walk unrecorded."""
    every, leaves, _ = leaves_of(subject, args)
    y = subject(every, params)
    if not y.requires_grad:
        return y, [np.zeros_like(t._array) for t in leaves]
    found = grad(y, leaves, wrap(u(y)), materialize_grads=True)
    return y, [g._array for g in found]


def require_close(what: str, got: Array, expected: Array, rtol: float, atol: float) -> None:
    """Raise `Wrong`, naming the worst element, unless the arrays are close."""
    if got.shape != expected.shape:
        raise Wrong(f"{what} has shape {got.shape}, expected {expected.shape}")
    if not np.allclose(got, expected, rtol=rtol, atol=atol, equal_nan=True):
        off = np.abs(np.subtract(got, expected, dtype=np.result_type(got, expected, np.float64)))
        at = np.unravel_index(int(np.argmax(np.where(np.isnan(off), np.inf, off))), off.shape)
        place = [int(k) for k in at]
        raise Wrong(f"{what} at {place} is {got[at]:.12g}, expected {expected[at]:.12g}")
