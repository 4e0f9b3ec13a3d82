"""Padding layers: each mode once, for the last 1, 2 or 3 axes.

``padding`` is an int for all sides or two for each axis, the last axis first: (left, right, top,
bottom, ...). Negative ones crop. Errors are those of `F.pad`.
"""

from __future__ import annotations

from typing import ClassVar

from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.nn.layers.checks import filled
from tinygrad_cnn.nn.layers.function_layer import FunctionLayer, calls
from tinygrad_cnn.tensor import Tensor

Margins = int | tuple[int, ...]


@calls(shown="{padding}")
class _Pad(FunctionLayer):
    axes: ClassVar[int]
    mode: ClassVar[str]
    padding: Margins

    def __post_init__(self) -> None:
        self.padding = filled(self.padding, 2 * self.axes)

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.pad`."""
        return F.pad(input, filled(self.padding, 2 * self.axes), self.mode)


@calls(shown="padding={padding}, value={value}")
class _ConstantPad(_Pad):
    value: float

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.pad`."""
        return F.pad(input, filled(self.padding, 2 * self.axes), "constant", self.value)


class _ReflectionPad(_Pad):
    mode = "reflect"


class _ReplicationPad(_Pad):
    mode = "replicate"


class _CircularPad(_Pad):
    mode = "circular"

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.pad` to inputs with or without an axis of batches."""
        if input.ndim - self.axes not in (1, 2):
            raise ShapeError(
                f"{type(self).__name__}: `input` has shape {input.shape}, expected "
                f"{self.axes + 1} or {self.axes + 2} axes"
            )
        return super().forward(input)


class _ZeroPad(_Pad):
    mode = "constant"
    value: ClassVar[float] = 0.0


class ConstantPad1d(_ConstantPad):
    """``value`` around the last axis.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> x = tg.tensor([1.0, 2.0]).reshape(1, 1, 2)
    >>> nn.ConstantPad1d(1, 0.5)(x)
    tensor([[[0.5000, 1.0000, 2.0000, 0.5000]]])
    """

    axes = 1


class ConstantPad2d(_ConstantPad):
    """``value`` around the last 2 axes.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.ConstantPad2d(1, 0.5)(tg.ones(1, 3, 3)).shape
    Size([1, 5, 5])
    """

    axes = 2


class ConstantPad3d(_ConstantPad):
    """``value`` around the last 3 axes.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.ConstantPad3d(1, 0.5)(tg.ones(1, 3, 3, 3)).shape
    Size([1, 5, 5, 5])
    """

    axes = 3


class ZeroPad1d(_ZeroPad):
    """Zeros around the last axis.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> x = tg.tensor([1.0, 2.0]).reshape(1, 1, 2)
    >>> nn.ZeroPad1d(1)(x)
    tensor([[[0., 1., 2., 0.]]])
    """

    axes = 1


class ZeroPad2d(_ZeroPad):
    """Zeros around the last 2 axes.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.ZeroPad2d(1)(tg.ones(1, 3, 3)).shape
    Size([1, 5, 5])
    """

    axes = 2


class ZeroPad3d(_ZeroPad):
    """Zeros around the last 3 axes.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.ZeroPad3d(1)(tg.ones(1, 3, 3, 3)).shape
    Size([1, 5, 5, 5])
    """

    axes = 3


class ReflectionPad1d(_ReflectionPad):
    """The last axis, reflected at the border, which is not repeated.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> x = tg.tensor([1.0, 2.0]).reshape(1, 1, 2)
    >>> nn.ReflectionPad1d(1)(x)
    tensor([[[2., 1., 2., 1.]]])
    """

    axes = 1


class ReflectionPad2d(_ReflectionPad):
    """The last 2 axes, reflected at the border, which is not repeated.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.ReflectionPad2d(1)(tg.ones(1, 3, 3)).shape
    Size([1, 5, 5])
    """

    axes = 2


class ReflectionPad3d(_ReflectionPad):
    """The last 3 axes, reflected at the border, which is not repeated.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.ReflectionPad3d(1)(tg.ones(1, 3, 3, 3)).shape
    Size([1, 5, 5, 5])
    """

    axes = 3


class ReplicationPad1d(_ReplicationPad):
    """The last axis, the border repeated.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> x = tg.tensor([1.0, 2.0]).reshape(1, 1, 2)
    >>> nn.ReplicationPad1d(1)(x)
    tensor([[[1., 1., 2., 2.]]])
    """

    axes = 1


class ReplicationPad2d(_ReplicationPad):
    """The last 2 axes, the border repeated.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.ReplicationPad2d(1)(tg.ones(1, 3, 3)).shape
    Size([1, 5, 5])
    """

    axes = 2


class ReplicationPad3d(_ReplicationPad):
    """The last 3 axes, the border repeated.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.ReplicationPad3d(1)(tg.ones(1, 3, 3, 3)).shape
    Size([1, 5, 5, 5])
    """

    axes = 3


class CircularPad1d(_CircularPad):
    """The last axis, gone on with from the other side.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> x = tg.tensor([1.0, 2.0]).reshape(1, 1, 2)
    >>> nn.CircularPad1d(1)(x)
    tensor([[[2., 1., 2., 1.]]])
    """

    axes = 1


class CircularPad2d(_CircularPad):
    """The last 2 axes, gone on with from the other side.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.CircularPad2d(1)(tg.ones(1, 3, 3)).shape
    Size([1, 5, 5])
    """

    axes = 2


class CircularPad3d(_CircularPad):
    """The last 3 axes, gone on with from the other side.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.CircularPad3d(1)(tg.ones(1, 3, 3, 3)).shape
    Size([1, 5, 5, 5])
    """

    axes = 3
