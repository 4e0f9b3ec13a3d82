"""Continuous distributions: `Normal`, `Laplace`, `Uniform`, `Exponential`."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from tinygrad_cnn.distributions.constraints import (
    Constraint,
    dependent,
    interval,
    nonnegative,
    positive,
    real,
)
from tinygrad_cnn.distributions.distribution import Distribution, together
from tinygrad_cnn.functions import erf, erfinv, log, rand, randn, where, zeros_like
from tinygrad_cnn.tensor import Tensor


class _Symmetric(Distribution):
    has_rsample = True
    arg_constraints: ClassVar[dict[str, Constraint]] = {"loc": real, "scale": positive}
    support = real

    def __init__(
        self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None
    ) -> None:
        self.loc, self.scale = together(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """``loc``."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """``loc``."""
        return self.loc


class Normal(_Symmetric):
    """Normal distributions of mean ``loc`` and standard deviation ``scale``.

    Raises
    ------
    ValueError
        ``scale`` is not positive.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> mean = tg.tensor([0.0, 1.0], requires_grad=True)
    >>> normal = Normal(mean, 2.0)
    >>> normal.rsample((3,)).sum().backward()
    >>> mean.grad
    tensor([3., 3.])
    """

    @property
    def variance(self) -> Tensor:
        """``scale²``."""
        return self.scale.pow(2)

    @property
    def stddev(self) -> Tensor:
        """``scale``."""
        return self.scale

    def rsample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """``loc + scale * noise``."""
        noise = randn(self._extended(sample_shape), dtype=self.loc.dtype)
        out: Tensor = self.loc + noise * self.scale
        return out

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density."""
        value = self._value(value)
        squared = (value - self.loc) ** 2 / (2 * self.variance)
        out: Tensor = -squared - self.scale.log() - math.log(math.sqrt(2 * math.pi))
        return out

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of less than ``value``."""
        value = self._value(value)
        out: Tensor = 0.5 * (1 + erf((value - self.loc) / (self.scale * math.sqrt(2))))
        return out

    def icdf(self, value: Tensor) -> Tensor:
        """The inverse of `cdf`."""
        out: Tensor = self.loc + self.scale * erfinv(2 * value - 1) * math.sqrt(2)
        return out

    def entropy(self) -> Tensor:
        """``log(scale) + log(2 pi e) / 2``."""
        out: Tensor = 0.5 + 0.5 * math.log(2 * math.pi) + self.scale.log()
        return out


class Laplace(_Symmetric):
    """Laplace distributions, of density ``exp(-|x - loc| / scale) / (2 * scale)``.

    Raises
    ------
    ValueError
        ``scale`` is not positive.
    """

    @property
    def variance(self) -> Tensor:
        """``2 * scale²``."""
        out: Tensor = 2 * self.scale.pow(2)
        return out

    def rsample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """The inverse distribution function of uniform numbers."""
        u = rand(self._extended(sample_shape), dtype=self.loc.dtype) - 0.5
        out: Tensor = self.loc - self.scale * u.sign() * (-2 * u.abs()).log1p()
        return out

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density."""
        value = self._value(value)
        out: Tensor = -(2 * self.scale).log() - (value - self.loc).abs() / self.scale
        return out

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of less than ``value``."""
        away = self._value(value) - self.loc
        out: Tensor = 0.5 - 0.5 * away.sign() * (-away.abs() / self.scale).expm1()
        return out

    def icdf(self, value: Tensor) -> Tensor:
        """The inverse of `cdf`."""
        away = value - 0.5
        out: Tensor = self.loc - self.scale * away.sign() * (-2 * away.abs()).log1p()
        return out

    def entropy(self) -> Tensor:
        """``1 + log(2 * scale)``."""
        out: Tensor = 1 + (2 * self.scale).log()
        return out


class Uniform(Distribution):
    """Uniform distributions on ``[low, high)``.

    Raises
    ------
    ValueError
        ``low`` is not below ``high``.
    """

    has_rsample = True
    arg_constraints: ClassVar[dict[str, Constraint]] = {"low": dependent, "high": dependent}

    def __init__(
        self, low: Tensor | float, high: Tensor | float, validate_args: bool | None = None
    ) -> None:
        self.low, self.high = together(low, high)
        super().__init__(self.low.shape, validate_args=validate_args)
        below = Constraint("LessThan", "numbers below those of `high`", lambda x: x < self.high)
        self._require("low", self.low, below)

    @property
    def support(self) -> Constraint:
        """From ``low`` to ``high``."""
        return interval(self.low, self.high)

    @property
    def mode(self) -> Tensor:
        """NaN: all values are as likely."""
        out: Tensor = self.high * math.nan
        return out

    @property
    def mean(self) -> Tensor:
        """The middle."""
        out: Tensor = (self.low + self.high) / 2
        return out

    @property
    def variance(self) -> Tensor:
        """``(high - low)² / 12``."""
        out: Tensor = (self.high - self.low).pow(2) / 12
        return out

    def rsample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """``low + (high - low) * uniform``."""
        u = rand(self._extended(sample_shape), dtype=self.low.dtype)
        out: Tensor = self.low + u * (self.high - self.low)
        return out

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density: -inf outside."""
        value = self._value(value)
        inside: Any = (self.low <= value) & (value < self.high)
        out: Tensor = log(inside.to(self.low.dtype)) - (self.high - self.low).log()
        return out

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of less than ``value``."""
        value = self._value(value)
        out: Tensor = ((value - self.low) / (self.high - self.low)).clamp(0, 1)
        return out

    def icdf(self, value: Tensor) -> Tensor:
        """The inverse of `cdf`."""
        out: Tensor = value * (self.high - self.low) + self.low
        return out

    def entropy(self) -> Tensor:
        """``log(high - low)``."""
        out: Tensor = (self.high - self.low).log()
        return out


class Exponential(Distribution):
    """Exponential distributions, of density ``rate * exp(-rate * x)`` at ``x >= 0``.

    Raises
    ------
    ValueError
        ``rate`` is not positive.
    """

    has_rsample = True
    arg_constraints: ClassVar[dict[str, Constraint]] = {"rate": positive}
    support = nonnegative

    def __init__(self, rate: Tensor | float, validate_args: bool | None = None) -> None:
        (self.rate,) = together(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """``1 / rate``."""
        return self.rate.reciprocal()

    @property
    def variance(self) -> Tensor:
        """``1 / rate²``."""
        return self.rate.pow(-2)

    def rsample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """The inverse distribution function of uniform numbers."""
        u = rand(self._extended(sample_shape), dtype=self.rate.dtype)
        out: Tensor = -(-u).log1p() / self.rate
        return out

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density: -inf below 0."""
        value = self._value(value)
        density = self.rate.log() - self.rate * value
        out: Tensor = where(value >= 0, density, -math.inf)
        return out

    @property
    def mode(self) -> Tensor:
        """0."""
        return zeros_like(self.rate)

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of less than ``value``."""
        out: Tensor = -(-self.rate * self._value(value)).expm1()
        return out

    def icdf(self, value: Tensor) -> Tensor:
        """The inverse of `cdf`."""
        out: Tensor = -(-value).log1p() / self.rate
        return out

    def entropy(self) -> Tensor:
        """``1 - log(rate)``."""
        out: Tensor = 1 - self.rate.log()
        return out
