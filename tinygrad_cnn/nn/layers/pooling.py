"""Pooling layers: each kind once, in (n, c, l), (n, c, h, w) and (n, c, d, h, w).

The first axis may be left out. Errors are those of the function of the same name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.nn.layers.checks import filled
from tinygrad_cnn.nn.layers.function_layer import FunctionLayer, UnaryLayer, calls
from tinygrad_cnn.tensor import Tensor

Size = int | tuple[int, ...]


@calls(shown="kernel_size={kernel_size}, stride={stride}, padding={padding}")
class _Windows(FunctionLayer):
    axes: ClassVar[int | None] = None  # how long the tuples are that arguments become
    kernel_size: Size
    stride: Size | None = None
    padding: Size = 0

    def __post_init__(self) -> None:
        if self.stride is None:
            self.stride = self.kernel_size
        if self.axes is not None:
            for name in ("kernel_size", "stride", "padding"):
                setattr(self, name, filled(getattr(self, name), self.axes))


@calls()
class _MaxPool(_Windows, UnaryLayer):
    shown = _Windows.shown + ", dilation={dilation}, ceil_mode={ceil_mode}"
    dilation: Size = 1
    return_indices: bool = False
    ceil_mode: bool = False


@calls(F.max_pool1d)
class MaxPool1d(_MaxPool):
    """`MaxPool2d` in (n, c, l).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.MaxPool1d(3, stride=2)(tg.ones(2, 3, 9)).shape
    Size([2, 3, 4])
    """


@calls(F.max_pool2d)
class MaxPool2d(_MaxPool):
    """The largest value of each window, in (n, c, h, w).

    Shapes: output (n, c, oh, ow) with ``oh = (h + 2 * padding - dilation * (kernel - 1) - 1) //
    stride + 1`` (rounded up with ``ceil_mode``). ``stride`` is ``kernel_size`` unless given. With
    ``return_indices`` the result is ``(output, indices)``, positions in the flattened (h, w).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.MaxPool2d(3, stride=2, padding=1)(tg.ones(2, 3, 8, 8)).shape
    Size([2, 3, 4, 4])
    """


@calls(F.max_pool3d)
class MaxPool3d(_MaxPool):
    """`MaxPool2d` in (n, c, d, h, w).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.MaxPool3d(2)(tg.ones(2, 3, 4, 4, 6)).shape
    Size([2, 3, 2, 2, 3])
    """


@calls()
class _MeanPool(_Windows, UnaryLayer):
    ceil_mode: bool = False
    count_include_pad: bool = True


@calls()
class _AvgPool(_MeanPool):
    divisor_override: int | None = None


@calls(F.avg_pool1d)
class AvgPool1d(_MeanPool):
    """`AvgPool2d` in (n, c, l).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.AvgPool1d(2)(tg.ones(2, 3, 8)).shape
    Size([2, 3, 4])
    """

    axes = 1


@calls(F.avg_pool2d)
class AvgPool2d(_AvgPool):
    """The mean of each window, in (n, c, h, w).

    Shapes: output (n, c, oh, ow) with ``oh = (h + 2 * padding - kernel) // stride + 1`` (rounded up
    with ``ceil_mode``). ``stride`` is ``kernel_size`` unless given. ``count_include_pad`` counts
    padded zeros, ``divisor_override`` replaces the count.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.AvgPool2d(2)(tg.ones(2, 3, 8, 8)).shape
    Size([2, 3, 4, 4])
    """


@calls(F.avg_pool3d)
class AvgPool3d(_AvgPool):
    """`AvgPool2d` in (n, c, d, h, w).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.AvgPool3d(2)(tg.ones(2, 3, 4, 4, 6)).shape
    Size([2, 3, 2, 2, 3])
    """


@calls(
    shown="norm_type={norm_type}, kernel_size={kernel_size}, stride={stride}, ceil_mode={ceil_mode}"
)
class _LPPool(UnaryLayer):
    norm_type: float
    kernel_size: Size
    stride: Size | None = None
    ceil_mode: bool = False


@calls(F.lp_pool1d)
class LPPool1d(_LPPool):
    """`LPPool2d` in (n, c, l).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.LPPool1d(2, 2)(tg.ones(1, 1, 4))
    tensor([[[1.4142, 1.4142]]])
    """


@calls(F.lp_pool2d)
class LPPool2d(_LPPool):
    """The norm of order ``norm_type`` of each window, in (n, c, h, w).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.LPPool2d(2, 2)(tg.ones(1, 1, 2, 2))
    tensor([[[[2.]]]])
    """


@calls(F.lp_pool3d)
class LPPool3d(_LPPool):
    """`LPPool2d` in (n, c, d, h, w).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.LPPool3d(2, 2)(tg.ones(1, 1, 4, 4, 2)).shape
    Size([1, 1, 2, 2, 1])
    """


@calls(shown="output_size={output_size}")
class _AdaptivePool(UnaryLayer):
    output_size: int | tuple[int | None, ...] | None


@calls()
class _AdaptiveMaxPool(_AdaptivePool):
    return_indices: bool = False


@calls(F.adaptive_avg_pool1d)
class AdaptiveAvgPool1d(_AdaptivePool):
    """`AdaptiveAvgPool2d` of the last axis.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.AdaptiveAvgPool1d(3)(tg.ones(2, 3, 7)).shape
    Size([2, 3, 3])
    """


@calls(F.adaptive_avg_pool2d)
class AdaptiveAvgPool2d(_AdaptivePool):
    """Means over as many windows as give the size ``output_size``; None keeps an axis.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.AdaptiveAvgPool2d(3)(tg.ones(2, 3, 7, 9)).shape
    Size([2, 3, 3, 3])
    """


@calls(F.adaptive_avg_pool3d)
class AdaptiveAvgPool3d(_AdaptivePool):
    """`AdaptiveAvgPool2d` of the last 3 axes.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.AdaptiveAvgPool3d(3)(tg.ones(2, 3, 7, 9, 5)).shape
    Size([2, 3, 3, 3, 3])
    """


@calls(F.adaptive_max_pool1d)
class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """`AdaptiveMaxPool2d` of the last axis.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.AdaptiveMaxPool1d(3)(tg.ones(2, 3, 7)).shape
    Size([2, 3, 3])
    """


@calls(F.adaptive_max_pool2d)
class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """As `AdaptiveAvgPool2d`, the largest values; with ``return_indices`` their positions, too.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.AdaptiveMaxPool2d(3)(tg.ones(2, 3, 7, 9)).shape
    Size([2, 3, 3, 3])
    """


@calls(F.adaptive_max_pool3d)
class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """`AdaptiveMaxPool2d` of the last 3 axes.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.AdaptiveMaxPool3d(3)(tg.ones(2, 3, 7, 9, 5)).shape
    Size([2, 3, 3, 3, 3])
    """


@calls()
class _FractionalMaxPool(UnaryLayer):
    axes: ClassVar[int]
    kernel_size: Size
    output_size: Size | None = None
    output_ratio: float | tuple[float, ...] | None = None
    return_indices: bool = False
    _random_samples: Tensor | None = None

    def __post_init__(self) -> None:
        me, n = type(self).__name__, self.axes
        samples = self.__dict__.pop("_random_samples")
        self.register_buffer("_random_samples", samples)
        self.kernel_size = filled(self.kernel_size, n)
        if self.output_size is not None:
            self.output_size = filled(self.output_size, n)
        if self.output_ratio is not None:
            self.output_ratio = filled(self.output_ratio, n)
            if not all(0 < ratio < 1 for ratio in self.output_ratio):
                raise ArgumentError(
                    f"{me}: `output_ratio` is {self.output_ratio} but numbers between 0 and 1 are "
                    f"expected"
                )
        if (self.output_size is None) == (self.output_ratio is None):
            raise ArgumentError(f"{me}: one of `output_size` and `output_ratio` is expected")


@calls(F.fractional_max_pool2d)
class FractionalMaxPool2d(_FractionalMaxPool):
    """The largest values of windows at drawn places (Graham, "Fractional max-pooling", 2014).

    One of ``output_size`` and ``output_ratio``, a share of the input's size, is given.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.FractionalMaxPool2d(2, output_ratio=0.5)(tg.ones(2, 3, 8, 6)).shape
    Size([2, 3, 4, 3])
    """

    axes = 2


@calls(F.fractional_max_pool3d)
class FractionalMaxPool3d(_FractionalMaxPool):
    """`FractionalMaxPool2d` in (n, c, d, h, w).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.FractionalMaxPool3d(2, output_size=3)(tg.ones(2, 3, 8, 6, 5)).shape
    Size([2, 3, 3, 3, 3])
    """

    axes = 3


class _MaxUnpool(_Windows):
    def forward(
        self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None
    ) -> Tensor:
        """Put the values back; ``output_size`` chooses among sizes that pooling maps to one."""
        out: Tensor = type(self).function(
            input, indices, output_size=output_size, **self._arguments()
        )
        return out


@calls(F.max_unpool1d)
class MaxUnpool1d(_MaxUnpool):
    """`MaxUnpool2d` of the last axis.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> y, where = nn.MaxPool1d(2, return_indices=True)(tg.ones(1, 1, 4))
    >>> nn.MaxUnpool1d(2)(y, where).shape
    Size([1, 1, 4])
    """

    axes = 1


@calls(F.max_unpool2d)
class MaxUnpool2d(_MaxUnpool):
    """The values that `MaxPool2d` kept, where they were, and zeros elsewhere.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> y, where = nn.MaxPool2d(2, return_indices=True)(tg.ones(1, 1, 4, 4))
    >>> nn.MaxUnpool2d(2)(y, where).shape
    Size([1, 1, 4, 4])
    """

    axes = 2


@calls(F.max_unpool3d)
class MaxUnpool3d(_MaxUnpool):
    """`MaxUnpool2d` of the last 3 axes.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> y, where = nn.MaxPool3d(2, return_indices=True)(tg.ones(1, 1, 4, 4, 4))
    >>> nn.MaxUnpool3d(2)(y, where).shape
    Size([1, 1, 4, 4, 4])
    """

    axes = 3
