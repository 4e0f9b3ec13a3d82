"""`Distribution`: what all distributions can; `Independent`."""

from __future__ import annotations

from typing import Any, ClassVar

from tinygrad_cnn.autograd import no_grad
from tinygrad_cnn.autograd.promotion import get_default_dtype
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.functions import broadcast_tensors
from tinygrad_cnn.functions.convert import to_tensor
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Size


class Distribution:
    """Base class: a batch of distributions, each over values of shape ``event_shape``.

    Subclasses define `rsample` or `sample`, `log_prob` and, where they are known, `mean`,
    `variance` and `entropy`.

    Parameters
    ----------
    validate_args
        Check the parameters, and values given to `log_prob`; on by default.
    """

    has_rsample: ClassVar[bool] = False
    """Whether samples are differentiable functions of the parameters."""

    def __init__(
        self,
        batch_shape: tuple[int, ...] = (),
        event_shape: tuple[int, ...] = (),
        validate_args: bool | None = None,
    ) -> None:
        self.batch_shape, self.event_shape = Size(batch_shape), Size(event_shape)
        self._validate_args = validate_args is not False

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

    def perplexity(self) -> Tensor:
        """``exp(entropy)``."""
        return self.entropy().exp()

    def _extended(self, sample_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*sample_shape, *self.batch_shape, *self.event_shape)

    def _require(self, name: str, value: Tensor, fits: Tensor, expected: str) -> None:
        """Raise ValueError unless ``fits`` is true everywhere."""
        if self._validate_args and not bool(fits.all()):
            raise ArgumentError(
                f"{type(self).__name__}: `{name}` is {value.detach()!r}, expected {expected}"
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(batch_shape={self.batch_shape})"


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
    tensors = [v for v in values if isinstance(v, Tensor)]
    dtype = tensors[0].dtype if tensors else get_default_dtype()
    given = [v if isinstance(v, Tensor) else to_tensor(v, dtype) for v in values]
    return tuple(broadcast_tensors(*given))
