"""Continuous distributions: `Normal`, `Laplace`, `Uniform`, `Exponential`."""

from __future__ import annotations

import math
from typing import Any

from tinygrad_cnn.distributions.distribution import Distribution, together
from tinygrad_cnn.functions import erf, erfinv, log, rand, randn, where
from tinygrad_cnn.tensor import Tensor


class _Symmetric(Distribution):
    has_rsample = True

    def __init__(
        self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None
    ) -> None:
        self.loc, self.scale = together(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)
        self._require("scale", self.scale, self.scale > 0, "positive numbers")

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
        squared = (value - self.loc) ** 2 / (2 * self.variance)
        out: Tensor = -squared - self.scale.log() - math.log(math.sqrt(2 * math.pi))
        return out

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of less than ``value``."""
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
        out: Tensor = -(2 * self.scale).log() - (value - self.loc).abs() / self.scale
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

    def __init__(
        self, low: Tensor | float, high: Tensor | float, validate_args: bool | None = None
    ) -> None:
        self.low, self.high = together(low, high)
        super().__init__(self.low.shape, validate_args=validate_args)
        self._require("low", self.low, self.low < self.high, "numbers below those of `high`")

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
        inside: Any = (self.low <= value) & (value < self.high)
        out: Tensor = log(inside.to(self.low.dtype)) - (self.high - self.low).log()
        return out

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of less than ``value``."""
        out: Tensor = ((value - self.low) / (self.high - self.low)).clamp(0, 1)
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

    def __init__(self, rate: Tensor | float, validate_args: bool | None = None) -> None:
        (self.rate,) = together(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)
        self._require("rate", self.rate, self.rate > 0, "positive numbers")

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
        density = self.rate.log() - self.rate * value
        out: Tensor = where(value >= 0, density, -math.inf)
        return out

    def entropy(self) -> Tensor:
        """``1 - log(rate)``."""
        out: Tensor = 1 - self.rate.log()
        return out
