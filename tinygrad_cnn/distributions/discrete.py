"""Discrete distributions: `Categorical`, `Bernoulli`."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from tinygrad_cnn.autograd.rounding import limits_of
from tinygrad_cnn.distributions.constraints import (
    Constraint,
    boolean,
    integer_interval,
    nonnegative,
    real,
    real_vector,
    simplex,
    unit_interval,
)
from tinygrad_cnn.distributions.distribution import Distribution, together
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.functions import (
    arange,
    bernoulli,
    binary_cross_entropy_with_logits,
    broadcast_tensors,
    full,
    multinomial,
    sigmoid,
    softmax,
    where,
)
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import DTypeLike


class _Discrete(Distribution):
    """Given by probabilities or by their logits, of which the others are computed."""

    has_enumerate_support = True
    logits: Tensor
    probs: Tensor

    def _take(self, probs: Any, logits: Any) -> Tensor:
        if (probs is None) == (logits is None):
            raise ArgumentError(
                f"{type(self).__name__}: `probs` is {probs!r} and `logits` {logits!r}, expected "
                f"one of them"
            )
        (given,) = together(logits if probs is None else probs)
        self._given_logits = probs is None
        return given

    def _given(self) -> dict[str, Tensor]:
        name = "logits" if self._given_logits else "probs"
        return {name: self.__dict__[name]} if name in self.__dict__ else {}

    @property
    def param_shape(self) -> tuple[int, ...]:
        """The shape of the parameters."""
        out: tuple[int, ...] = self.logits.shape
        return out

    def _listed(self, count: int, expand: bool, dtype: DTypeLike = None) -> Tensor:
        """The numbers below ``count``, each for the whole batch."""
        values = arange(count, dtype=dtype).reshape(-1, *(1,) * len(self.batch_shape))
        return values.expand(-1, *self.batch_shape) if expand else values


class Categorical(_Discrete):
    """One of ``n`` classes, by probabilities or by logits of shape ``(..., n)``.

    Parameters
    ----------
    probs
        Numbers of at least 0, which are divided by their sum.
    logits
        Their logarithms, up to a constant.

    Raises
    ------
    ValueError
        Both are given or none, a probability is negative, or there are no dimensions.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> logits = tg.zeros(2, requires_grad=True)
    >>> policy = Categorical(logits=logits)
    >>> (-policy.log_prob(tg.tensor(1))).backward()
    >>> logits.grad
    tensor([ 0.5000, -0.5000])
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {"probs": simplex, "logits": real_vector}

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        given = self._take(probs, logits)
        if not given.ndim:
            raise ArgumentError("Categorical: the parameters have no dimensions, expected classes")
        super().__init__(given.shape[:-1], validate_args=validate_args)
        if self._given_logits:
            self.logits = given - given.logsumexp(-1, keepdim=True)
            self.probs = softmax(self.logits, -1)
        else:
            self._require("probs", given, nonnegative)
            self.probs = given / given.sum(-1, keepdim=True)
            least = limits_of(given.dtype).eps
            self.logits = self.probs.clamp(least, 1 - least).log()
        self._check()

    @property
    def support(self) -> Constraint:
        """The numbers of the classes."""
        return integer_interval(0, self.logits.shape[-1] - 1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All classes, along a first dimension; without ``expand`` the batch has sizes 1."""
        return self._listed(self.logits.shape[-1], expand)

    @property
    def mean(self) -> Tensor:
        """NaN: classes have none."""
        return full(self._extended(), math.nan, dtype=self.logits.dtype)

    @property
    def variance(self) -> Tensor:
        """NaN: classes have none."""
        return self.mean

    @property
    def mode(self) -> Tensor:
        """The likeliest class."""
        return self.probs.argmax(-1)

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Classes, int64."""
        shape = self._extended(sample_shape)
        count = 1
        for n in sample_shape:
            count *= n
        rows = self.probs.detach().reshape(-1, self.probs.shape[-1])
        return multinomial(rows, count, True).T.reshape(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the probability of the class ``value``."""
        n, value = self.logits.shape[-1], self._value(value)
        index, _ = broadcast_tensors(value.long().unsqueeze(-1), self.logits[..., :1])
        logits = self.logits.expand(*index.shape[:-1], n)
        out: Tensor = logits.gather(-1, index).squeeze(-1)
        return out

    def entropy(self) -> Tensor:
        """The entropy; a class of probability 0 adds nothing."""
        least = limits_of(self.logits.dtype).min
        out: Tensor = -(self.logits.clamp(min=least) * self.probs).sum(-1)
        return out


class Bernoulli(_Discrete):
    """1 with probability ``probs``, or ``sigmoid(logits)``, else 0.

    Raises
    ------
    ValueError
        Both are given or none, or a probability is outside [0, 1].
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {"probs": unit_interval, "logits": real}
    support = boolean

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        given = self._take(probs, logits)
        super().__init__(given.shape, validate_args=validate_args)
        if self._given_logits:
            self.logits, self.probs = given, sigmoid(given)
        else:
            least = limits_of(given.dtype).eps
            inner = given.clamp(least, 1 - least)
            self.probs, self.logits = given, inner.log() - (-inner).log1p()
        self._check()

    @property
    def mode(self) -> Tensor:
        """0 or 1; NaN where both are as likely."""
        likelier = (self.probs >= 0.5).to(self.probs.dtype)
        out: Tensor = where(self.probs == 0.5, math.nan, likelier)
        return out

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """0 and 1, along a first dimension; without ``expand`` the batch has sizes 1."""
        return self._listed(2, expand, self.probs.dtype)

    @property
    def mean(self) -> Tensor:
        """``probs``."""
        return self.probs

    @property
    def variance(self) -> Tensor:
        """``probs * (1 - probs)``."""
        out: Tensor = self.probs * (1 - self.probs)
        return out

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Zeros and ones, floating."""
        return bernoulli(self.probs.detach().expand(*self._extended(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the probability of ``value``, 0 or 1."""
        logits, target = broadcast_tensors(self.logits, self._value(value))
        return -binary_cross_entropy_with_logits(logits, target, reduction="none")

    def entropy(self) -> Tensor:
        """The entropy."""
        return binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")
