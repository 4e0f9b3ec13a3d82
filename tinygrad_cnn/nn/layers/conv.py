"""Convolutions. The arithmetic is in `tinygrad_cnn.functions`; here are weights and arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, cast

from tinygrad_cnn.autograd.devices import DeviceLike
from tinygrad_cnn.errors import ArgumentError, ShapeError
from tinygrad_cnn.functions import empty
from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.nn.layers import reset
from tinygrad_cnn.nn.layers.checks import choice, factory, integer, ntuple
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.nn.module.parameter import Parameter
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import DTypeLike

_Size = int | tuple[int, ...]
_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _Conv(Module):
    """What all convolutions share: checked arguments, weight and bias, the line in `repr`."""

    axes: ClassVar[int]
    function: ClassVar[Callable[..., Tensor]]
    transposed: ClassVar[bool] = False
    weight: Parameter
    bias: Parameter | None
    padding: str | tuple[int, ...]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _Size,
        stride: _Size,
        padding: _Size | str,
        output_padding: _Size,
        dilation: _Size,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: DeviceLike,
        dtype: DTypeLike,
    ) -> None:
        super().__init__()
        me, n = type(self).__name__, self.axes
        self.in_channels = integer(me, "in_channels", in_channels, least=1)
        self.out_channels = integer(me, "out_channels", out_channels, least=1)
        self.kernel_size = ntuple(me, "kernel_size", kernel_size, n, least=1)
        self.stride = ntuple(me, "stride", stride, n, least=1)
        self.dilation = ntuple(me, "dilation", dilation, n, least=1)
        self.output_padding = ntuple(me, "output_padding", output_padding, n, least=0)
        self.groups = integer(me, "groups", groups, least=1)
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                raise ArgumentError(
                    f"{me}: `groups` is {groups} but must divide `{name}` = {getattr(self, name)}"
                )
        self.padding_mode = choice(me, "padding_mode", padding_mode, _PADDING_MODES)
        if isinstance(padding, str):
            self.padding = choice(me, "padding", padding, ("valid", "same"))
            if padding == "same" and any(s != 1 for s in self.stride):
                raise ArgumentError(
                    f"{me}: `padding` is 'same' and `stride` is {self.stride} but 'same' needs "
                    f"stride 1"
                )
        else:
            self.padding = ntuple(me, "padding", padding, n, least=0)
        if self.transposed:
            shape = (self.in_channels, self.out_channels // self.groups, *self.kernel_size)
        else:
            shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        kind = factory(me, device, dtype)
        self.weight = Parameter(empty(*shape, dtype=kind))
        if bias:
            self.bias = Parameter(empty(self.out_channels, dtype=kind))
        else:
            self.register_parameter("bias", None)
        self._margins = self._find_margins()
        self.reset_parameters()

    def _find_margins(self) -> list[int]:
        """Sizes of explicit padding, last axis first, as `F.pad` takes them."""
        margins: list[int] = []
        for i in reversed(range(self.axes)):
            if self.padding == "same":
                total = self.dilation[i] * (self.kernel_size[i] - 1)
                margins += [total // 2, total - total // 2]
            else:
                margins += [0 if isinstance(self.padding, str) else self.padding[i]] * 2
        return margins

    def reset_parameters(self) -> None:
        """Draw the weight anew, set the bias to zero."""
        reset.he(self)

    def _reset_as_pytorch(self) -> None:
        reset.as_pytorch(self)

    def extra_repr(self) -> str:
        """Return the arguments that differ from their defaults."""
        n = self.axes
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        )
        if self.padding != (0,) * n:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * n:
            text += f", dilation={self.dilation}"
        if self.output_padding != (0,) * n:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class _Forward(_Conv):
    """Convolutions in the ordinary direction."""

    def __init__(
        self,
        in_channels: int,
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
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            0,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def forward(self, input: Tensor) -> Tensor:
        """Map (n, in_channels, ...) to (n, out_channels, ...)."""
        padding: _Size | str = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._margins, mode=self.padding_mode), 0
        return type(self).function(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )


class Conv1d(_Forward):
    """Cross-correlation along one axis.

    Shapes: input (n, in_channels, l) or (in_channels, l), weight (out_channels, in_channels /
    groups, k), bias (out_channels,). Arguments, initialisation and errors are those of `Conv2d`.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Conv1d(16, 33, 3, stride=2)(tg.ones(20, 16, 50)).shape
    Size([20, 33, 24])
    """

    axes = 1
    function = staticmethod(F.conv1d)


class Conv2d(_Forward):
    """Cross-correlation of images with learned filters.

    Shapes: input (n, in_channels, h, w) or (in_channels, h, w), output (n, out_channels, oh, ow)
    with ``oh = (h + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1``, weight
    (out_channels, in_channels / groups, kh, kw), bias (out_channels,).

    ``padding`` is a number of pixels per side, "valid" (none) or "same" (as much as keeps the
    size, stride 1 only); ``padding_mode`` says what they hold: "zeros", "reflect", "replicate" or
    "circular". The weight starts with He's normal initialisation (fan-in, relu) and the bias with
    zeros, where PyTorch draws both uniformly with a standard deviation √6 times smaller.

    Raises
    ------
    ValueError
        A size is too small, ``groups`` does not divide the channels, an option is unknown.
    TypeError
        A size is no int.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Conv2d(3, 8, 5, padding=2)(tg.ones(4, 3, 32, 32)).shape
    Size([4, 8, 32, 32])
    """

    axes = 2
    function = staticmethod(F.conv2d)


class Conv3d(_Forward):
    """Cross-correlation of volumes with learned filters.

    Shapes: input (n, in_channels, d, h, w) or (in_channels, d, h, w), weight (out_channels,
    in_channels / groups, kd, kh, kw), bias (out_channels,). Arguments, initialisation and errors
    are those of `Conv2d`.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Conv3d(2, 3, 3, padding=1)(tg.ones(1, 2, 4, 5, 6)).shape
    Size([1, 3, 4, 5, 6])
    """

    axes = 3
    function = staticmethod(F.conv3d)


class _Transposed(_Conv):
    """Convolutions backwards: the gradients of the others as layers."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
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
        me = type(self).__name__
        choice(me, "padding_mode", padding_mode, ("zeros",))
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            ntuple(me, "padding", padding, self.axes, least=0),
            output_padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def _extra(self, input: Tensor, output_size: _Size | None) -> tuple[int, ...]:
        """The output padding that gives ``output_size``."""
        if output_size is None:
            return self.output_padding
        me, n = type(self).__name__, self.axes
        wanted = output_size if isinstance(output_size, int) else tuple(output_size)[-n:]
        wanted = ntuple(me, "output_size", wanted, n, least=1)
        extra, padding = [], cast("tuple[int, ...]", self.padding)
        for i, size in enumerate(input.shape[-n:]):
            least = (
                (size - 1) * self.stride[i]
                - 2 * padding[i]
                + self.dilation[i] * (self.kernel_size[i] - 1)
                + 1
            )
            if not least <= wanted[i] < least + self.stride[i]:
                raise ShapeError(
                    f"{me}: `output_size` is {wanted} but along axis {i - n} "
                    f"{least} to {least + self.stride[i] - 1} is possible (input {input.shape})"
                )
            extra.append(wanted[i] - least)
        return tuple(extra)

    def forward(self, input: Tensor, output_size: _Size | None = None) -> Tensor:
        """Map (n, in_channels, ...) to (n, out_channels, ...).

        ``output_size`` chooses among the sizes that the stride leaves open, in place of
        ``output_padding``.
        """
        return type(self).function(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self._extra(input, output_size),
            self.groups,
            self.dilation,
        )


class ConvTranspose1d(_Transposed):
    """The gradient of `Conv1d` as a layer. Arguments and errors are those of `ConvTranspose2d`.

    Shapes: input (n, in_channels, l) or (in_channels, l), weight (in_channels, out_channels /
    groups, k), bias (out_channels,).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.ConvTranspose1d(8, 3, 4, stride=2, padding=1)(tg.ones(1, 8, 16)).shape
    Size([1, 3, 32])
    """

    axes = 1
    function = staticmethod(F.conv_transpose1d)


class ConvTranspose2d(_Transposed):
    """The gradient of `Conv2d` as a layer: spreads each pixel over a neighbourhood.

    Shapes: input (n, in_channels, h, w), output (n, out_channels, oh, ow) with ``oh = (h - 1) *
    stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1``, weight (in_channels,
    out_channels / groups, kh, kw), bias (out_channels,). Initialisation is that of `Conv2d`.

    Raises
    ------
    ValueError
        A size is too small, ``groups`` does not divide the channels, ``padding_mode`` is not
        "zeros".

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1)(tg.ones(1, 8, 16, 16)).shape
    Size([1, 3, 32, 32])
    """

    axes = 2
    function = staticmethod(F.conv_transpose2d)


class ConvTranspose3d(_Transposed):
    """The gradient of `Conv3d` as a layer. Arguments and errors are those of `ConvTranspose2d`.

    Shapes: input (n, in_channels, d, h, w), weight (in_channels, out_channels / groups, kd, kh,
    kw), bias (out_channels,).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.ConvTranspose3d(2, 3, 2, stride=2)(tg.ones(1, 2, 2, 3, 4)).shape
    Size([1, 3, 4, 6, 8])
    """

    axes = 3
    function = staticmethod(F.conv_transpose3d)
