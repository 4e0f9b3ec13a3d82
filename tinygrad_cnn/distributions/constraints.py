"""What parameters and values of distributions must be: ``constraint.check(tensor)`` says where.

>>> import tinygrad_cnn as tg
>>> from tinygrad_cnn.distributions import constraints
>>> constraints.positive, constraints.positive.check(tg.tensor([2.0, 0.0]))
(GreaterThan(lower_bound=0.0), tensor([ True, False]))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_cnn.autograd.rounding import limits_of
from tinygrad_cnn.tensor import Tensor

__all__ = [
    "Constraint",
    "boolean",
    "dependent",
    "greater_than",
    "greater_than_eq",
    "independent",
    "integer_interval",
    "interval",
    "nonnegative",
    "positive",
    "real",
    "real_vector",
    "simplex",
    "unit_interval",
]


class Constraint:
    """A set of values, of which each takes ``event_dim`` dimensions."""

    def __init__(
        self,
        name: str,
        expected: str,
        test: Callable[[Any], Any],
        *,
        is_discrete: bool = False,
        event_dim: int = 0,
    ) -> None:
        self.name, self.expected, self.test = name, expected, test
        self.is_discrete, self.event_dim = is_discrete, event_dim

    def check(self, value: Tensor) -> Tensor:
        """Whether each value is one of the set; False for NaN."""
        found: Tensor = self.test(value)
        return found

    def __repr__(self) -> str:
        return self.name


def _between(low: Any, high: Any) -> str:
    return f"(lower_bound={low}, upper_bound={high})"


def _said(bound: Any, name: str) -> Any:
    """A bound in words: a number, or the name of many."""
    return bound if not isinstance(bound, Tensor) or bound.numel() == 1 else f"`{name}`"


def greater_than(low: Any) -> Constraint:
    """Numbers above ``low``."""
    text = f"numbers above {low}" if low else "positive numbers"
    return Constraint(f"GreaterThan(lower_bound={low})", text, lambda x: x > low)


def greater_than_eq(low: Any) -> Constraint:
    """Numbers of at least ``low``."""
    name = f"GreaterThanEq(lower_bound={low})"
    return Constraint(name, f"numbers of at least {low}", lambda x: x >= low)


def interval(low: Any, high: Any) -> Constraint:
    """Numbers from ``low`` to ``high``, both included."""
    text = f"numbers from {_said(low, 'low')} to {_said(high, 'high')}"
    return Constraint(f"Interval{_between(low, high)}", text, lambda x: (x >= low) & (x <= high))


def integer_interval(low: int, high: int) -> Constraint:
    """Whole numbers from ``low`` to ``high``, both included."""
    return Constraint(
        f"IntegerInterval{_between(low, high)}",
        f"whole numbers from {low} to {high}",
        lambda x: (x % 1 == 0) & (x >= low) & (x <= high),
        is_discrete=True,
    )


def independent(base: Constraint, n: int) -> Constraint:
    """Values of which each has ``n`` dimensions more, and all numbers in it are of ``base``."""

    def test(value: Tensor) -> Tensor:
        found = base.check(value)
        return found.flatten(-n).all(-1) if n else found

    options = {"is_discrete": base.is_discrete, "event_dim": base.event_dim + n}
    return Constraint(f"IndependentConstraint({base}, {n})", base.expected, test, **options)  # type: ignore[arg-type]


real = Constraint("Real()", "numbers", lambda x: x == x)  # NaN is none
real_vector = independent(real, 1)
boolean = Constraint("Boolean()", "0 or 1", lambda x: (x == 0) | (x == 1), is_discrete=True)
positive = greater_than(0.0)
nonnegative = greater_than_eq(0.0)
unit_interval = interval(0.0, 1.0)
dependent = Constraint("Dependent()", "what others allow", lambda x: x == x)


def _sums_to_one(x: Any) -> Any:
    rounding = max(1e-6, x.shape[-1] * limits_of(x.dtype).eps)
    return (x >= 0).all(-1) & ((x.sum(-1) - 1).abs() < rounding)


simplex = Constraint("Simplex()", "numbers of at least 0 whose sum is 1", _sums_to_one, event_dim=1)
