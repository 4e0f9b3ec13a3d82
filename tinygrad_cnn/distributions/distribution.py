"""`Distribution`: what all distributions can; `Independent`."""

from __future__ import annotations

import contextlib
import copy
import numbers
from typing import Any, ClassVar, Self

import numpy as np

from tinygrad_cnn.autograd import no_grad
from tinygrad_cnn.autograd.promotion import get_default_dtype
from tinygrad_cnn.distributions.constraints import Constraint, independent
from tinygrad_cnn.errors import ArgumentError, ShapeError
from tinygrad_cnn.functions import broadcast_tensors
from tinygrad_cnn.functions.convert import to_tensor
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import DType, Size


class Distribution:
    """Base class: a batch of distributions, each over values of shape ``event_shape``.

    Subclasses define `rsample` or `sample`, `log_prob` and, where they are known, `mean`, `mode`,
    `variance`, `entropy`, `cdf`, `icdf` and `support`; their parameters stand in `arg_constraints`
    and are set before this constructor is called.

    Parameters
    ----------
    validate_args
        Check the parameters, and values given to `log_prob`; on by default.
    """

    has_rsample: ClassVar[bool] = False
    """Whether samples are differentiable functions of the parameters."""
    has_enumerate_support: ClassVar[bool] = False
    """Whether `enumerate_support` lists all values."""
    arg_constraints: ClassVar[dict[str, Constraint]] = {}
    """What each parameter must be, by its name."""
    _validate_by_default: ClassVar[bool] = True

    def __init__(
        self,
        batch_shape: tuple[int, ...] = (),
        event_shape: tuple[int, ...] = (),
        validate_args: bool | None = None,
    ) -> None:
        self.batch_shape, self.event_shape = Size(batch_shape), Size(event_shape)
        default = Distribution._validate_by_default
        self._validate_args = default if validate_args is None else bool(validate_args)
        self._check()

    def _check(self) -> None:
        """Refuse parameters that do not fulfil their constraints."""
        for name, param in self._given().items():
            self._require(name, param, self.arg_constraints[name])

    def _given(self) -> dict[str, Tensor]:
        """The parameters that were given, as tensors."""
        return {n: self.__dict__[n] for n in self.arg_constraints if n in self.__dict__}

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Check parameters and values, or with False do not, where ``validate_args`` is None.

        Raises
        ------
        ValueError
            ``value`` is neither True nor False.
        """
        if value not in (True, False):
            raise ArgumentError(f"set_default_validate_args: `value` is {value!r}, expected a bool")
        Distribution._validate_by_default = bool(value)

    @property
    def support(self) -> Constraint:
        """What values can be."""
        raise NotImplementedError(f"{type(self).__name__}: its support is not known")

    @property
    def mode(self) -> Tensor:
        """The likeliest value."""
        raise NotImplementedError(f"{type(self).__name__}: its mode is not known")

    @property
    def mean(self) -> Tensor:
        """The mean."""
        raise NotImplementedError(f"{type(self).__name__}: its mean is not known")

    @property
    def variance(self) -> Tensor:
        """The variance."""
        raise NotImplementedError(f"{type(self).__name__}: its variance is not known")

    @property
    def stddev(self) -> Tensor:
        """The standard deviation."""
        return self.variance.sqrt()

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Samples of shape ``sample_shape + batch_shape + event_shape``, without gradients."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Samples as differentiable functions of the parameters."""
        raise NotImplementedError(f"{type(self).__name__}: samples have no gradients; use `sample`")

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density, or of the probability, at ``value``."""
        raise NotImplementedError(f"{type(self).__name__}: its log_prob is not known")

    def entropy(self) -> Tensor:
        """The entropy, in nats."""
        raise NotImplementedError(f"{type(self).__name__}: its entropy is not known")

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of at most ``value``."""
        raise NotImplementedError(f"{type(self).__name__}: its cdf is not known")

    def icdf(self, value: Tensor) -> Tensor:
        """The inverse of `cdf`."""
        raise NotImplementedError(f"{type(self).__name__}: its icdf is not known")

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values, along a first dimension; without ``expand`` the batch has sizes 1."""
        raise NotImplementedError(f"{type(self).__name__}: its values cannot be listed")

    def perplexity(self) -> Tensor:
        """``exp(entropy)``."""
        return self.entropy().exp()

    def expand(self, batch_shape: tuple[int, ...]) -> Self:
        """The same distributions, stretched to a batch of this shape; memory is shared.

        >>> import tinygrad_cnn as tg
        >>> tg.distributions.Normal(tg.zeros(2), 1.0).expand((3, 2)).sample().shape
        Size([3, 2])
        """
        wide, own = copy.copy(self), len(self.batch_shape)
        for name in self.arg_constraints:
            if name in self.__dict__:
                param = self.__dict__[name]
                wide.__dict__[name] = param.expand(*batch_shape, *param.shape[own:])
        wide.batch_shape = Size(batch_shape)
        return wide

    def _extended(self, sample_shape: tuple[int, ...] = ()) -> tuple[int, ...]:
        return (*sample_shape, *self.batch_shape, *self.event_shape)

    def _require(self, name: str, value: Tensor, constraint: Constraint) -> None:
        """Raise ValueError unless all that ``value`` holds fulfils ``constraint``."""
        if self._validate_args and not bool(constraint.check(value.detach()).all()):
            raise ArgumentError(
                f"{type(self).__name__}: `{name}` is {value.detach()!r}, expected "
                f"{constraint.expected}"
            )

    def _value(self, value: Any) -> Tensor:
        """A value whose probability is asked for, as a tensor."""
        if not isinstance(value, Tensor | np.ndarray | numbers.Number):
            raise ArgumentError(
                f"{type(self).__name__}: `value` is {value!r} ({type(value).__name__}), expected a "
                f"Tensor"
            )
        found = to_tensor(value)
        if not self._validate_args:
            return found
        shape, n = found.shape, len(self.event_shape)
        pairs = zip(reversed(shape), reversed(self._extended()), strict=False)
        if shape[len(shape) - n :] != self.event_shape or any(
            a != b and 1 not in (a, b) for a, b in pairs
        ):
            raise ShapeError(
                f"{type(self).__name__}: `value` has shape {shape}, expected one that goes with "
                f"{self._extended()}"
            )
        with contextlib.suppress(NotImplementedError):
            self._require("value", found, self.support)
        return found

    def __repr__(self) -> str:
        text = [f"{n}: {p if p.numel() == 1 else repr(p.shape)}" for n, p in self._given().items()]
        return f"{type(self).__name__}({', '.join(text)})"


class Independent(Distribution):
    """Another distribution, of whose batch the last dimensions are taken as parts of one event.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> rows = Independent(tg.distributions.Normal(tg.zeros(3, 2), 1.0), 1)
    >>> rows.batch_shape, rows.event_shape, rows.log_prob(tg.zeros(3, 2)).shape
    (Size([3]), Size([2]), Size([3]))
    """

    def __init__(
        self,
        base_distribution: Distribution,
        reinterpreted_batch_ndims: int,
        validate_args: bool | None = None,
    ) -> None:
        shape, n = base_distribution.batch_shape, reinterpreted_batch_ndims
        if not 0 <= n <= len(shape):
            raise ArgumentError(
                f"Independent: `reinterpreted_batch_ndims` is {n}, expected 0 to {len(shape)}, the "
                f"dimensions of the batch"
            )
        keep = len(shape) - n
        self.base_dist, self.reinterpreted_batch_ndims = base_distribution, n
        event = (*shape[keep:], *base_distribution.event_shape)
        super().__init__(shape[:keep], event, validate_args)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether the other one's samples are differentiable."""
        return self.base_dist.has_rsample

    @property
    def mean(self) -> Tensor:
        """The other one's mean."""
        return self.base_dist.mean

    @property
    def variance(self) -> Tensor:
        """The other one's variance."""
        return self.base_dist.variance

    @property
    def mode(self) -> Tensor:
        """The other one's mode."""
        return self.base_dist.mode

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]
        """Whether the other one's values can be listed, if they are events as they are."""
        return not self.reinterpreted_batch_ndims and self.base_dist.has_enumerate_support

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values, unless an event has several of the other one's."""
        if self.reinterpreted_batch_ndims:
            raise NotImplementedError("Independent: values of several numbers cannot be listed")
        return self.base_dist.enumerate_support(expand)

    @property
    def support(self) -> Constraint:
        """The other one's, for each part of the event."""
        return independent(self.base_dist.support, self.reinterpreted_batch_ndims)

    def expand(self, batch_shape: tuple[int, ...]) -> Self:
        """The same, of another one with a larger batch."""
        keep = len(self.event_shape) - len(self.base_dist.event_shape)
        wide = copy.copy(self)
        wide.base_dist = self.base_dist.expand((*batch_shape, *self.event_shape[:keep]))
        wide.batch_shape = Size(batch_shape)
        return wide

    def __repr__(self) -> str:
        return f"Independent({self.base_dist}, {self.reinterpreted_batch_ndims})"

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """The other one's samples."""
        return self.base_dist.sample(sample_shape)

    def rsample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """The other one's samples, differentiable."""
        return self.base_dist.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """The sum over the event."""
        return self.summed(self.base_dist.log_prob(value))

    def entropy(self) -> Tensor:
        """The sum over the event."""
        return self.summed(self.base_dist.entropy())

    def summed(self, x: Tensor) -> Tensor:
        """The sum over the dimensions that became the event's."""
        n = self.reinterpreted_batch_ndims
        return x.sum(tuple(range(-n, 0))) if n else x


def together(*values: Any) -> tuple[Tensor, ...]:
    """Parameters, tensors or numbers, as floating tensors of one shape and dtype."""
    floats = [v.dtype for v in values if isinstance(v, Tensor) and v.is_floating_point()]
    dtype = floats[0] if floats else get_default_dtype()
    given = [_floating(v, dtype) for v in values]
    return tuple(broadcast_tensors(*given))


def _floating(value: Any, dtype: DType) -> Tensor:
    if not isinstance(value, Tensor):
        return to_tensor(value, dtype)
    return value if value.is_floating_point() else value.to(dtype)
