"""Special functions by their series and integrals, on numbers."""

from __future__ import annotations

import math
from collections.abc import Callable


def polygamma(x: float, n: int) -> float:
    """The recurrence up to a large argument, then the asymptotic series (A. & S., 6.4.11)."""
    total = 0.0
    while x < 20:
        total += (-1) ** (n + 1) * math.factorial(n) * x ** (-n - 1)
        x += 1
    bernoulli = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66)
    series = math.factorial(n - 1) / x**n + math.factorial(n) / (2 * x ** (n + 1))
    for k, b in enumerate(bernoulli, 1):
        series += b * math.factorial(2 * k + n - 1) / (math.factorial(2 * k) * x ** (2 * k + n))
    result: float = total + (-1) ** (n + 1) * series
    return result


def digamma(x: float) -> float:
    """The recurrence up to a large argument, then the asymptotic series (A. & S., 6.3.18)."""
    total = 0.0
    while x < 20:
        total -= 1 / x
        x += 1
    terms = (-1 / 12, 1 / 120, -1 / 252, 1 / 240, -1 / 132)
    series = math.fsum(t / x ** (2 * k) for k, t in enumerate(terms, 1))
    return total + math.log(x) - 1 / (2 * x) + series


def inverse(function: Callable[[float], float], low: float, high: float) -> Callable[..., float]:
    """The inverse of an increasing function, by bisection."""

    def call(y: float) -> float:
        a, b = low, high
        for _ in range(200):
            middle = (a + b) / 2
            a, b = (middle, b) if function(middle) < y else (a, middle)
        return (a + b) / 2

    return call


def bessel_i(order: int, scaled: bool) -> Callable[[float], float]:
    """The power series (A. & S., 9.6.10)."""

    def call(x: float) -> float:
        terms = (
            (x / 2) ** (2 * k + order) / (math.factorial(k) * math.factorial(k + order))
            for k in range(40)
        )
        return math.fsum(terms) * (math.exp(-abs(x)) if scaled else 1)

    return call


def upper_gamma(a: float, b: float) -> float:
    """The share of the gamma function above b: 1 minus the power series (A. & S., 6.5.29)."""
    terms = (b ** (a + k) * math.exp(-b) / math.gamma(a + k + 1) for k in range(80))
    return 1 - math.fsum(terms)


SPECIAL_ORACLES: dict[str, Callable[..., float]] = {
    "erfinv": inverse(math.erf, -6, 6),
    "ndtri": inverse(lambda x: math.erfc(-x * math.sqrt(0.5)) / 2, -9, 9),
    "digamma": digamma,
    "polygamma": polygamma,
    "igamma": lambda a, b: 1 - upper_gamma(a, b),
    "igammac": upper_gamma,
    "i0": bessel_i(0, scaled=False),
    "i1": bessel_i(1, scaled=False),
    "i0e": bessel_i(0, scaled=True),
    "i1e": bessel_i(1, scaled=True),
}
"""By name: the result for numbers."""
