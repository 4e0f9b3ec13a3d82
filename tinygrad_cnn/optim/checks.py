"""Checks of optimiser options, with errors that say what was expected."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tinygrad_cnn.errors import ArgumentError, DtypeError

if TYPE_CHECKING:
    from tinygrad_cnn.optim.optimizer import Group


def at_least_zero(owner: str, group: Group, *names: str) -> None:
    """Raise unless the options are numbers of at least 0."""
    for name in names:
        value = group[name]
        # Asked, not tried: what a signal handler raises meanwhile must not be taken for an answer.
        if not hasattr(value, "__float__") or math.prod(getattr(value, "shape", ())) != 1:
            raise DtypeError(f"{owner}: `{name}` is {value!r} but a number is expected")
        if not float(value) >= 0:
            raise ArgumentError(f"{owner}: `{name}` is {value} but at least 0 is expected")


def below_one(owner: str, name: str, value: float) -> None:
    """Raise unless ``value`` is in [0, 1)."""
    if not 0 <= value < 1:
        raise ArgumentError(f"{owner}: `{name}` is {value} but a number in [0, 1) is expected")


def check_betas(owner: str, group: Group) -> None:
    """Raise unless ``betas`` are two numbers in [0, 1)."""
    betas = group["betas"]
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise ArgumentError(f"{owner}: `betas` is {betas!r} but two numbers are expected")
    for i, beta in enumerate(betas):
        below_one(owner, f"betas[{i}]", beta)
