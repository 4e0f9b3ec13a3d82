"""Normalising layers. Running statistics are held and updated here, not in the functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from tinygrad_cnn.autograd import no_grad
from tinygrad_cnn.autograd.devices import DeviceLike
from tinygrad_cnn.distributed.group import WORLD
from tinygrad_cnn.distributed.moments import moments_of_all
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.functions import ones, tensor, zeros
from tinygrad_cnn.kernels import tape
from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.nn import init
from tinygrad_cnn.nn.layers.checks import factory, integer, positive
from tinygrad_cnn.nn.layers.function_layer import UnaryLayer, calls
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.nn.module.parameter import Parameter
from tinygrad_cnn.nn.module.state import State
from tinygrad_cnn.ops.norm import channel_affine
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import DType, DTypeLike


def _register_affine(
    module: Module, shape: tuple[int, ...], scale: bool, shift: bool, dtype: DType
) -> None:
    module.register_parameter("weight", Parameter(ones(shape, dtype=dtype)) if scale else None)
    module.register_parameter("bias", Parameter(zeros(shape, dtype=dtype)) if shift else None)


def _reset_affine(module: Module) -> None:
    if module.weight is not None:
        init.ones_(module.weight)
    if module.bias is not None:
        init.zeros_(module.bias)


def _sizes(owner: str, shape: int | Sequence[int]) -> tuple[int, ...]:
    sizes = shape if isinstance(shape, Sequence) else (shape,)
    return tuple(integer(owner, "normalized_shape", n, least=0) for n in sizes)


class _RunningNorm(Module):
    """Affine map and running statistics; subclasses say which ranks they take."""

    _version = 2  # since num_batches_tracked
    ranks: ClassVar[tuple[int, ...]]
    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        me = type(self).__name__
        self.num_features = n = integer(me, "num_features", num_features, least=0)
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        kind = factory(me, device, dtype)
        _register_affine(self, (n,), affine, affine and bias, kind)
        track = track_running_stats
        self.register_buffer("running_mean", zeros(n, dtype=kind) if track else None)
        self.register_buffer("running_var", ones(n, dtype=kind) if track else None)
        self.register_buffer("num_batches_tracked", tensor(0) if track else None)

    def _load_from_state_dict(
        self, state_dict: State, prefix: str, local_metadata: State, *rest: Any
    ) -> None:
        # As in PyTorch, states that do not say that they are new may lack the count of batches.
        count, key = self.num_batches_tracked, f"{prefix}num_batches_tracked"
        if (local_metadata.get("version") or 1) < 2 and count is not None:
            state_dict.setdefault(key, count)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    def reset_running_stats(self) -> None:
        """Forget the batches seen: mean 0, variance 1."""
        if self.running_mean is not None and self.running_var is not None:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
        if self.num_batches_tracked is not None:
            init.zeros_(self.num_batches_tracked)

    def reset_parameters(self) -> None:
        """Forget the batches seen and make the affine map the identity."""
        self.reset_running_stats()
        _reset_affine(self)

    def _check_input(self, input: Tensor) -> None:
        if input.ndim not in self.ranks:
            raise ShapeError(
                f"{type(self).__name__}: `input` has shape {input.shape} but "
                f"{' or '.join(map(str, self.ranks))} axes are expected"
            )

    def extra_repr(self) -> str:
        """Return the arguments."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_RunningNorm):
    def forward(self, input: Tensor) -> Tensor:
        """Normalise; in training also move the running statistics towards the batch's."""
        self._check_input(input)
        positive(type(self).__name__, "eps", self.eps)
        mean, var, factor = self.running_mean, self.running_var, self.momentum
        from_batch = self.training or mean is None or var is None
        if self.training and self.track_running_stats:
            count = self.num_batches_tracked
            if count is not None:
                tape.count(count._written_by("BatchNorm.forward"))
                if factor is None:  # a plain average over all batches so far
                    factor = 1.0 / count.item()
        elif from_batch:
            mean = var = None  # statistics that are held but not tracked stay as they are
        return F.batch_norm(
            input,
            mean,
            var,
            self.weight,
            self.bias,
            from_batch,
            0.0 if factor is None else factor,
            self.eps,
        )


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (n, c) or (n, c, l) over all axes but c. See `BatchNorm2d`.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.BatchNorm1d(100)(tg.randn(20, 100)).shape
    Size([20, 100])
    """

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images: ``(x - mean) / sqrt(var + eps) * weight + bias``.

    Shapes: input and output (n, c, h, w) with c = ``num_features``; weight, bias, running_mean
    and running_var (c,). In training, mean and (biased) variance are the batch's, and the running
    ones move towards the batch's (variance unbiased) by the fraction ``momentum``; None makes them
    the plain average of all batches. In evaluation the running ones are used, if
    ``track_running_stats``. Source: Ioffe and Szegedy, "Batch normalization", 2015.

    Raises
    ------
    ValueError
        The input has another number of axes or, in training, one value per channel.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> bn = nn.BatchNorm2d(3)
    >>> bn(tg.randn(8, 3, 4, 4)).shape
    Size([8, 3, 4, 4])
    >>> list(bn.state_dict())
    ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked']
    """

    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of (n, c, d, h, w) over all axes but c. See `BatchNorm2d`.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.BatchNorm3d(3)(tg.randn(2, 3, 4, 4, 4)).shape
    Size([2, 3, 4, 4, 4])
    """

    ranks = (5,)


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation of (n, c, ...) over the batches of all ranks (`distributed`).

    In training, mean and variance are those of all ranks' images together, however many each has,
    and so are the gradients, of any order. With one process it is `BatchNorm2d`.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.BatchNorm2d(3)))
    Sequential(
      (0): SyncBatchNorm(3, eps=1e-05, momentum=0.1, affine=True, bias=True, \
track_running_stats=True)
    )
    """

    ranks = (2, 3, 4, 5)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: None = None,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias
        )
        self.process_group = process_group

    def forward(self, input: Tensor) -> Tensor:
        """Normalise; in training also move the running statistics towards those of all ranks."""
        if not (self.training and WORLD and WORLD[0].size > 1):
            return super().forward(input)
        self._check_input(input)
        positive(type(self).__name__, "eps", self.eps)
        count, mean, var = moments_of_all(input)
        if self.track_running_stats:
            self._track(count, mean.detach(), var.detach())
        scale = (var + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        shift = -mean * scale
        if self.bias is not None:
            shift = shift + self.bias
        out: Tensor = channel_affine(input, scale, shift)
        return out

    @no_grad()
    def _track(self, count: Tensor, mean: Tensor, var: Tensor) -> None:
        factor, batches = self.momentum, self.num_batches_tracked
        if batches is not None:
            tape.count(batches._written_by("BatchNorm.forward"))
            if factor is None:
                factor = 1.0 / batches.item()
        share = 0.0 if factor is None else factor
        unbiased = var * (count / (count - 1).clamp(min=1))
        for running, new in ((self.running_mean, mean), (self.running_var, unbiased)):
            if running is not None:
                running.mul_(1 - share).add_(new.to(running.dtype), alpha=share)

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: None = None) -> Module:
        """Return ``module`` with every batch normalisation in it replaced by one of this class.

        The new layers take over parameters and statistics.
        """
        if isinstance(module, _BatchNorm) and not isinstance(module, cls):
            new = cls(
                module.num_features,
                module.eps,
                module.momentum,
                module.affine,
                module.track_running_stats,
                process_group,
            )
            new._parameters, new._buffers = module._parameters, module._buffers
            new.training = module.training
            return new
        for name, child in module.named_children():
            module.register_module(name, cls.convert_sync_batchnorm(child, process_group))
        return module


class _InstanceNorm(_RunningNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias
        )

    def forward(self, input: Tensor) -> Tensor:
        """Normalise; in training also move the running statistics, if they are tracked."""
        self._check_input(input)
        lone = input.ndim == self.ranks[0]  # without the batch's axis
        x = input.unsqueeze(0) if lone else input
        if x.shape[1] != self.num_features and self.affine:
            raise ShapeError(
                f"{type(self).__name__}: `input` has shape {input.shape} but {self.num_features} "
                f"channels are expected"
            )
        out = F.instance_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        return out.squeeze(0) if lone else out


class InstanceNorm1d(_InstanceNorm):
    """`InstanceNorm2d` of (n, c, l) or (c, l).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.InstanceNorm1d(3)(tg.randn(2, 3, 8)).shape
    Size([2, 3, 8])
    """

    ranks = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Normalise each channel of each sample over its positions: `BatchNorm2d` for one sample.

    Shapes: input and output (n, c, h, w) or (c, h, w). Running statistics, if they are tracked, are
    means of the samples' and are used in evaluation. Source: Ulyanov et al., "Instance
    normalization", 2016.

    Raises
    ------
    ValueError
        The input has another number of axes or, in training, one value per channel.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.InstanceNorm2d(3, affine=True)(tg.randn(2, 3, 4, 4)).shape
    Size([2, 3, 4, 4])
    """

    ranks = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """`InstanceNorm2d` of (n, c, d, h, w) or (c, d, h, w).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.InstanceNorm3d(3)(tg.randn(2, 3, 4, 4, 4)).shape
    Size([2, 3, 4, 4, 4])
    """

    ranks = (4, 5)


@calls(F.local_response_norm, "{size}, alpha={alpha}, beta={beta}, k={k}")
class LocalResponseNorm(UnaryLayer):
    """Divide by a power of the mean square of ``size`` neighbouring channels.

    Shapes: input and output (n, c, ...). Source: Krizhevsky et al., "ImageNet classification with
    deep convolutional neural networks", 2012, 3.3.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.LocalResponseNorm(2)(tg.ones(1, 4, 2, 2)).shape
    Size([1, 4, 2, 2])
    """

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0


class CrossMapLRN2d(LocalResponseNorm):
    """`LocalResponseNorm` of images, under its older name.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.CrossMapLRN2d(2)(tg.ones(1, 4, 2, 2)).shape
    Size([1, 4, 2, 2])
    """


class LayerNorm(Module):
    """Normalise over the last axes, those of ``normalized_shape``.

    Shapes: input and output (..., *normalized_shape), weight and bias normalized_shape. Source: Ba
    et al., "Layer normalization", 2016. Errors are those of `F.layer_norm`.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.LayerNorm(10)(tg.randn(20, 5, 10)).shape
    Size([20, 5, 10])
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = shape = _sizes("LayerNorm", normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        kind = factory("LayerNorm", device, dtype)
        _register_affine(self, shape, elementwise_affine, elementwise_affine and bias, kind)

    def reset_parameters(self) -> None:
        """Make the affine map the identity."""
        _reset_affine(self)

    def forward(self, input: Tensor) -> Tensor:
        """Return a tensor of the input's shape."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """Divide by the root of the mean square over the last axes, those of ``normalized_shape``.

    Shapes: input and output (..., *normalized_shape), weight normalized_shape. ``eps`` is the
    dtype's unless given. Source: Zhang and Sennrich, "Root mean square layer normalization", 2019.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.RMSNorm(2, elementwise_affine=False)(tg.tensor([1.0, 7.0]))
    tensor([0.2000, 1.4000])
    """

    weight: Parameter | None
    bias: None = None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _sizes("RMSNorm", normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        kind = factory("RMSNorm", device, dtype)
        scale = Parameter(ones(self.normalized_shape, dtype=kind)) if elementwise_affine else None
        self.register_parameter("weight", scale)

    def reset_parameters(self) -> None:
        """Make the weight ones."""
        _reset_affine(self)

    def forward(self, input: Tensor) -> Tensor:
        """Return a tensor of the input's shape."""
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class GroupNorm(Module):
    """Normalise over groups of channels and all positions, each sample alone.

    Shapes: input and output (n, num_channels, ...), weight and bias (num_channels,). Source: Wu
    and He, "Group normalization", 2018.

    Raises
    ------
    ValueError
        ``num_groups`` does not divide ``num_channels``.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.GroupNorm(3, 6)(tg.randn(2, 6, 4, 4)).shape
    Size([2, 6, 4, 4])
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_groups = integer("GroupNorm", "num_groups", num_groups, least=1)
        self.num_channels = integer("GroupNorm", "num_channels", num_channels, least=1)
        if num_channels % num_groups:
            raise ShapeError(
                f"GroupNorm: `num_groups` is {num_groups} but must divide `num_channels` = "
                f"{num_channels}"
            )
        self.eps = eps
        self.affine = affine
        kind, n = factory("GroupNorm", device, dtype), self.num_channels
        _register_affine(self, (n,), affine, affine and bias, kind)

    def reset_parameters(self) -> None:
        """Make the affine map the identity."""
        _reset_affine(self)

    def forward(self, input: Tensor) -> Tensor:
        """Return a tensor of the input's shape."""
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )
