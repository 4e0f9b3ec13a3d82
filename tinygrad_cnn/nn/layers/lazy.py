"""Layers that learn how many features come in from their first input."""

from __future__ import annotations

from typing import Any, ClassVar

from tinygrad_cnn.autograd.devices import DeviceLike
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.nn.layers.conv import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)
from tinygrad_cnn.nn.layers.linear import Linear
from tinygrad_cnn.nn.layers.normalization import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.nn.module.parameter import UninitializedBuffer, UninitializedParameter, is_lazy
from tinygrad_cnn.nn.module.state import State
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import DTypeLike

_Size = int | tuple[int, ...]


class LazyModuleMixin(Module):
    """What lazy layers share. A subclass defines ``initialize_parameters``, called before the first
    `forward` with the same arguments, and, as ``cls_to_become``, the class it is from then on.

    >>> from tinygrad_cnn import nn
    >>> issubclass(nn.LazyLinear, nn.LazyModuleMixin)
    True
    """

    cls_to_become: ClassVar[type[Module] | None] = None
    features: ClassVar[str]  # the attribute that says how many come in
    unknown: ClassVar[tuple[str, ...]] = ("weight", "bias")

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer has no shape yet."""
        return any(map(is_lazy, (*self._parameters.values(), *self._buffers.values())))

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Give parameters and buffers their shapes; subclasses define it."""
        raise NotImplementedError(
            f"{type(self).__name__}: no `initialize_parameters` is defined for this lazy module"
        )

    def __call__(self, *args: object, **kwargs: object) -> Any:
        """Find the shapes, become the ordinary layer, and run it."""
        self.initialize_parameters(*args, **kwargs)
        if self.has_uninitialized_params():
            raise RuntimeError(f"{type(self).__name__}: shapes are not known after the first input")
        if self.cls_to_become is not None:
            self.__class__ = self.cls_to_become  # type: ignore[assignment]  # that is the purpose
            return self(*args, **kwargs)
        return super().__call__(*args, **kwargs)

    def reset_parameters(self) -> None:
        """Draw the parameters anew, once their shapes are known."""
        if getattr(self, self.features) and not self.has_uninitialized_params():
            super().reset_parameters()  # type: ignore[misc]  # of the layer beside this class

    def _save_to_state_dict(self, destination: State, prefix: str, keep_vars: bool) -> None:
        held = {n: t for n, t in self._own_state().items() if is_lazy(t)}
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination.update({prefix + name: tensor for name, tensor in held.items()})

    def _load_from_state_dict(
        self, state_dict: State, prefix: str, local_metadata: State, *rest: Any
    ) -> None:
        unknown = set()  # in the state as here
        for name, tensor in self._own_state().items():
            value = state_dict.get(prefix + name)
            if is_lazy(value) and is_lazy(tensor):
                unknown.add(prefix + name)
                state_dict.pop(prefix + name)
            elif value is not None and is_lazy(tensor):
                tensor.materialize(value.shape)  # type: ignore[attr-defined]  # a lazy one
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)
        missing = rest[1]
        missing[:] = [key for key in missing if key not in unknown]


class _LazyFeatures(LazyModuleMixin):
    """Lazy layers of this library: the placeholder for the number of features is forgotten."""

    axes: ClassVar[int | None] = None  # behind the features'; None: they are last

    def _forget_features(self) -> None:
        for name in self.unknown:
            tensor = getattr(self, name)
            if tensor is not None:
                new = UninitializedParameter if name in self._parameters else UninitializedBuffer
                setattr(self, name, new(dtype=tensor.dtype))
        setattr(self, self.features, 0)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each parameter, once the number of features is known."""
        raise NotImplementedError

    def initialize_parameters(self, input: Tensor, *args: object, **kwargs: object) -> None:
        """Take the number of features from the first input."""
        if not self.has_uninitialized_params():
            if not getattr(self, self.features):  # the state was loaded
                known = next(t for name in self.unknown if (t := getattr(self, name)) is not None)
                setattr(self, self.features, self._features_of(known))
            return
        axis = -1 if self.axes is None else -1 - self.axes
        if input.ndim < -axis:
            raise ShapeError(
                f"{type(self).__name__}: `input` has shape {input.shape} but {-axis} axes or more "
                f"are expected"
            )
        setattr(self, self.features, input.shape[axis])
        for name, shape in self._shapes().items():
            tensor = getattr(self, name)
            if is_lazy(tensor):
                tensor.materialize(shape)
        self.reset_parameters()

    def _features_of(self, weight: Tensor) -> int:
        return weight.shape[-1]


class LazyLinear(_LazyFeatures, Linear):
    """`Linear` whose ``in_features`` is the size of the last axis of the first input.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> layer = nn.LazyLinear(3)
    >>> layer(tg.ones(2, 5)).shape, layer
    (Size([2, 3]), Linear(in_features=5, out_features=3, bias=True))
    """

    cls_to_become = Linear
    features = "in_features"

    def __init__(
        self,
        out_features: int,
        bias: bool = True,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ) -> None:
        super().__init__(0, out_features, bias, device, dtype)
        self._forget_features()

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.out_features, self.in_features), "bias": (self.out_features,)}


class _LazyConv(_LazyFeatures):
    features = "in_channels"
    in_channels: int
    out_channels: int
    groups: int
    kernel_size: tuple[int, ...]
    transposed: ClassVar[bool]

    def reset_parameters(self) -> None:
        """Draw the parameters anew, once their shapes are known."""
        if "_margins" in self.__dict__:  # not while the layer is being made
            super().reset_parameters()

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        if self.in_channels % self.groups:
            raise ShapeError(
                f"{type(self).__name__}: the input has {self.in_channels} channels but a multiple "
                f"of `groups` = {self.groups} is expected"
            )
        ends = (self.out_channels, self.in_channels)
        a, b = reversed(ends) if self.transposed else ends
        return {"weight": (a, b // self.groups, *self.kernel_size), "bias": (self.out_channels,)}

    def _features_of(self, weight: Tensor) -> int:
        return weight.shape[0] if self.transposed else weight.shape[1] * self.groups


class _LazyForward(_LazyConv):
    def __init__(
        self,
        out_channels: int,
        kernel_size: _Size,
        stride: _Size = 1,
        padding: _Size | str = 0,
        dilation: _Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ) -> None:
        rest = (dilation, groups, bias, padding_mode, device, dtype)
        super().__init__(groups, out_channels, kernel_size, stride, padding, *rest)
        self._forget_features()


class _LazyTransposed(_LazyConv):
    def __init__(
        self,
        out_channels: int,
        kernel_size: _Size,
        stride: _Size = 1,
        padding: _Size = 0,
        output_padding: _Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: _Size = 1,
        padding_mode: str = "zeros",
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ) -> None:
        rest = (output_padding, groups, bias, dilation, padding_mode, device, dtype)
        super().__init__(groups, out_channels, kernel_size, stride, padding, *rest)
        self._forget_features()


class _LazyNorm(_LazyFeatures):
    features = "num_features"
    unknown = ("running_mean", "running_var", "weight", "bias")
    num_features: int

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
        *,
        bias: bool = True,
    ) -> None:
        rest = (affine, track_running_stats, device, dtype)
        super().__init__(0, eps, momentum, *rest, bias=bias)
        self._forget_features()

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(self.unknown, (self.num_features,))

    def initialize_parameters(self, input: Tensor, *args: object, **kwargs: object) -> None:
        """Take the number of features from the first input."""
        if not any(getattr(self, name) is not None for name in self.unknown):
            self.num_features = input.shape[1]
        else:
            super().initialize_parameters(input)

    def _features_of(self, weight: Tensor) -> int:
        return weight.shape[0]


class LazyConv1d(_LazyForward, Conv1d):
    """`Conv1d` whose ``in_channels`` is the number of channels of the first input.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.LazyConv1d(3, 2)(tg.ones(2, 4, 5)).shape
    Size([2, 3, 4])
    """

    cls_to_become = Conv1d
    axes = 1


class LazyConv2d(_LazyForward, Conv2d):
    """`Conv2d` whose ``in_channels`` is the number of channels of the first input.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.LazyConv2d(3, 2)(tg.ones(2, 4, 5, 5)).shape
    Size([2, 3, 4, 4])
    """

    cls_to_become = Conv2d
    axes = 2


class LazyConv3d(_LazyForward, Conv3d):
    """`Conv3d` whose ``in_channels`` is the number of channels of the first input.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.LazyConv3d(3, 2)(tg.ones(2, 4, 5, 5, 5)).shape
    Size([2, 3, 4, 4, 4])
    """

    cls_to_become = Conv3d
    axes = 3


class LazyConvTranspose1d(_LazyTransposed, ConvTranspose1d):
    """`ConvTranspose1d` whose ``in_channels`` is the number of channels of the first input.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.LazyConvTranspose1d(3, 2)(tg.ones(2, 4, 5)).shape
    Size([2, 3, 6])
    """

    cls_to_become = ConvTranspose1d
    axes = 1


class LazyConvTranspose2d(_LazyTransposed, ConvTranspose2d):
    """`ConvTranspose2d` whose ``in_channels`` is the number of channels of the first input.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.LazyConvTranspose2d(3, 2)(tg.ones(2, 4, 5, 5)).shape
    Size([2, 3, 6, 6])
    """

    cls_to_become = ConvTranspose2d
    axes = 2


class LazyConvTranspose3d(_LazyTransposed, ConvTranspose3d):
    """`ConvTranspose3d` whose ``in_channels`` is the number of channels of the first input.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.LazyConvTranspose3d(3, 2)(tg.ones(2, 4, 5, 5, 5)).shape
    Size([2, 3, 6, 6, 6])
    """

    cls_to_become = ConvTranspose3d
    axes = 3


class LazyBatchNorm1d(_LazyNorm, BatchNorm1d):
    """`BatchNorm1d` whose ``num_features`` is the number of channels of the first input.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.LazyBatchNorm1d()(tg.ones(2, 4, 5)).shape
    Size([2, 4, 5])
    """

    cls_to_become = BatchNorm1d
    axes = 1


class LazyBatchNorm2d(_LazyNorm, BatchNorm2d):
    """`BatchNorm2d` whose ``num_features`` is the number of channels of the first input.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.LazyBatchNorm2d()(tg.ones(2, 4, 5, 5)).shape
    Size([2, 4, 5, 5])
    """

    cls_to_become = BatchNorm2d
    axes = 2


class LazyBatchNorm3d(_LazyNorm, BatchNorm3d):
    """`BatchNorm3d` whose ``num_features`` is the number of channels of the first input.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.LazyBatchNorm3d()(tg.ones(2, 4, 5, 5, 5)).shape
    Size([2, 4, 5, 5, 5])
    """

    cls_to_become = BatchNorm3d
    axes = 3


class LazyInstanceNorm1d(_LazyNorm, InstanceNorm1d):
    """`InstanceNorm1d` whose ``num_features`` is the number of channels of the first input.

    As in PyTorch it is ``affine`` and has running statistics unless told otherwise.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.LazyInstanceNorm1d()(tg.ones(2, 4, 5)).shape
    Size([2, 4, 5])
    """

    cls_to_become = InstanceNorm1d
    axes = 1


class LazyInstanceNorm2d(_LazyNorm, InstanceNorm2d):
    """`InstanceNorm2d` whose ``num_features`` is the number of channels of the first input.

    As in PyTorch it is ``affine`` and has running statistics unless told otherwise.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.LazyInstanceNorm2d()(tg.ones(2, 4, 5, 5)).shape
    Size([2, 4, 5, 5])
    """

    cls_to_become = InstanceNorm2d
    axes = 2


class LazyInstanceNorm3d(_LazyNorm, InstanceNorm3d):
    """`InstanceNorm3d` whose ``num_features`` is the number of channels of the first input.

    As in PyTorch it is ``affine`` and has running statistics unless told otherwise.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.LazyInstanceNorm3d()(tg.ones(2, 4, 5, 5, 5)).shape
    Size([2, 4, 5, 5, 5])
    """

    cls_to_become = InstanceNorm3d
    axes = 3
