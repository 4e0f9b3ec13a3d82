"""Layers without weights that resample images or rearrange their pixels and channels."""

from __future__ import annotations

from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.nn.layers.function_layer import UnaryLayer, calls

Size = int | tuple[int, ...]
Factor = float | tuple[float, ...]


@calls(F.interpolate)
class Upsample(UnaryLayer):
    """Resize the axes after the channels, to ``size`` or by ``scale_factor``.

    ``mode`` and ``align_corners`` are those of `F.interpolate`, as are shapes and errors.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Upsample(scale_factor=2)(tg.ones(1, 3, 4, 5)).shape
    Size([1, 3, 8, 10])
    """

    size: Size | None = None
    scale_factor: Factor | None = None
    mode: str = "nearest"
    align_corners: bool | None = None
    recompute_scale_factor: bool | None = None

    def __post_init__(self) -> None:
        factor = self.scale_factor
        if isinstance(factor, tuple | list):
            self.scale_factor = tuple(float(f) for f in factor)
        elif factor:
            self.scale_factor = float(factor)

    def extra_repr(self) -> str:
        """Return the size or factor, and the mode."""
        if self.scale_factor is not None:
            return f"scale_factor={self.scale_factor!r}, mode={self.mode!r}"
        return f"size={self.size!r}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """`Upsample` of images by their nearest pixels.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.UpsamplingNearest2d(scale_factor=2)(tg.ones(1, 3, 4, 5)).shape
    Size([1, 3, 8, 10])
    """

    def __init__(self, size: Size | None = None, scale_factor: Factor | None = None) -> None:
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """`Upsample` of images, linear along both axes, corners aligned.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.UpsamplingBilinear2d(size=(7, 7))(tg.ones(1, 3, 4, 5)).shape
    Size([1, 3, 7, 7])
    """

    def __init__(self, size: Size | None = None, scale_factor: Factor | None = None) -> None:
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)


@calls(
    F.fold,
    "output_size={output_size}, kernel_size={kernel_size}, dilation={dilation}, "
    "padding={padding}, stride={stride}",
)
class Fold(UnaryLayer):
    """Sum windows, columns of (n, c * kh * kw, windows), into images (n, c, h, w); see `F.fold`.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Fold((4, 5), kernel_size=2)(tg.ones(1, 3 * 2 * 2, 12)).shape
    Size([1, 3, 4, 5])
    """

    output_size: Size
    kernel_size: Size
    dilation: Size = 1
    padding: Size = 0
    stride: Size = 1


@calls(
    F.unfold,
    "kernel_size={kernel_size}, dilation={dilation}, padding={padding}, stride={stride}",
)
class Unfold(UnaryLayer):
    """The windows of images (n, c, h, w) as columns of (n, c * kh * kw, windows); see `F.unfold`.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Unfold(2)(tg.ones(1, 3, 4, 5)).shape
    Size([1, 12, 12])
    """

    kernel_size: Size
    dilation: Size = 1
    padding: Size = 0
    stride: Size = 1


@calls(F.pixel_shuffle, "upscale_factor={upscale_factor}")
class PixelShuffle(UnaryLayer):
    """Move groups of r² channels to r × r pixels: (n, c * r², h, w) to (n, c, h * r, w * r).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.PixelShuffle(3)(tg.ones(1, 9, 4, 4)).shape
    Size([1, 1, 12, 12])
    """

    upscale_factor: int


@calls(F.pixel_unshuffle, "downscale_factor={downscale_factor}")
class PixelUnshuffle(UnaryLayer):
    """Undo `PixelShuffle`.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.PixelUnshuffle(3)(tg.ones(1, 1, 12, 12)).shape
    Size([1, 9, 4, 4])
    """

    downscale_factor: int


@calls(F.channel_shuffle, "groups={groups}")
class ChannelShuffle(UnaryLayer):
    """Take channels from ``groups`` groups in turn: (g, c / g) to (c / g, g) (Zhang et al., 2018).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.ChannelShuffle(2)(tg.arange(4.0).reshape(1, 4, 1, 1)).flatten()
    tensor([0., 2., 1., 3.])
    """

    groups: int
