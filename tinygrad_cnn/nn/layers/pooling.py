"""Pooling layers."""

from __future__ import annotations

from typing import Any

from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.tensor import Tensor

_Size = int | tuple[int, int]


class MaxPool2d(Module):
    """The largest value of each window.

    Shapes: input (n, c, h, w) or (c, h, w), output with ``oh = (h + 2 * padding - dilation *
    (kernel - 1) - 1) // stride + 1`` (rounded up with ``ceil_mode``). ``stride`` is
    ``kernel_size`` unless given. With ``return_indices`` the result is ``(output, indices)``,
    positions in the flattened (h, w). Errors are those of `F.max_pool2d`.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.MaxPool2d(3, stride=2, padding=1)(tg.ones(2, 3, 8, 8)).shape
    Size([2, 3, 4, 4])
    """

    def __init__(
        self,
        kernel_size: _Size,
        stride: _Size | None = None,
        padding: _Size = 0,
        dilation: _Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Any:
        """Map (n, c, h, w) to (n, c, oh, ow)."""
        return F.max_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            ceil_mode=self.ceil_mode,
            return_indices=self.return_indices,
        )

    def extra_repr(self) -> str:
        """Return the arguments."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(Module):
    """The mean of each window.

    Shapes: input (n, c, h, w) or (c, h, w), output with ``oh = (h + 2 * padding - kernel) //
    stride + 1`` (rounded up with ``ceil_mode``). ``stride`` is ``kernel_size`` unless given.
    ``count_include_pad`` counts padded zeros, ``divisor_override`` replaces the count. Errors are
    those of `F.avg_pool2d`.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.AvgPool2d(2)(tg.ones(2, 3, 8, 8)).shape
    Size([2, 3, 4, 4])
    """

    def __init__(
        self,
        kernel_size: _Size,
        stride: _Size | None = None,
        padding: _Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        """Map (n, c, h, w) to (n, c, oh, ow)."""
        return F.avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """Means over as many windows as give the size ``output_size``; None keeps an axis.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.AdaptiveAvgPool2d(1)(tg.ones(2, 3, 7, 9)).shape
    Size([2, 3, 1, 1])
    """

    def __init__(self, output_size: int | tuple[int | None, int | None] | None) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        """Map (n, c, h, w) to (n, c, oh, ow)."""
        return F.adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        """Return the argument."""
        return f"output_size={self.output_size}"
