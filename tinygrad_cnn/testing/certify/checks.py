"""What is asked of an operation on every sample, as a table.

A check returns `PASS`, `CANNOT_DECIDE` or `NOT_APPLICABLE`, or raises `Wrong`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tinygrad_cnn.autograd.samples import Sample
from tinygrad_cnn.testing.certify.array_checks import (
    determinism,
    dtypes,
    each_alone,
    layouts,
    memory,
    no_aliasing,
    no_mutation,
)
from tinygrad_cnn.testing.certify.derivative_checks import (
    adjoint,
    broadcasting,
    first_order,
    forward,
    second_order,
)
from tinygrad_cnn.testing.certify.layouts import LAYOUTS
from tinygrad_cnn.testing.certify.subject import Subject


@dataclass(frozen=True)
class Check:
    """A check: its name, what it proves in one sentence, and the function that runs it."""

    name: str
    proves: str
    run: Callable[[Subject, Sample, int], str]


CHECKS: tuple[Check, ...] = (
    Check("forward", "the result is the oracle's", forward),
    Check(
        "first order",
        "gradients for random cotangents are the numerical ones, the walk recorded or not",
        first_order,
    ),
    Check("second order", "the same for the gradients' gradients", second_order),
    Check("adjoint", "where it is linear, <Ax, u> = <x, Aᵀu> to machine precision", adjoint),
    Check(
        "broadcasting",
        "inputs that broadcast have the gradients of inputs broadcast beforehand, summed back",
        broadcasting,
    ),
    Check("layouts", f"the same values and gradients from {', '.join(LAYOUTS)} arrays", layouts),
    Check("dtypes", "float32 in, float32 out and back, with float64's values", dtypes),
    Check(
        "no mutation",
        "no input and no gradient is changed; read-only ones do",
        no_mutation,
    ),
    Check(
        "no aliasing",
        "gradients share no memory, nor does the result of anything but a view",
        no_aliasing,
    ),
    Check("each alone", "each input's gradient is the same when only it wants one", each_alone),
    Check("determinism", "two runs are equal bit for bit", determinism),
    Check("memory", "what was saved is freed by the walk, and a second walk raises", memory),
)
