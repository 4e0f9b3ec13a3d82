"""MobileNetV2: M. Sandler, A. Howard, M. Zhu, A. Zhmoginov and L.-C. Chen, "MobileNetV2: Inverted
Residuals and Linear Bottlenecks", CVPR 2018, arXiv:1801.04381, tables 1 and 2.

The layers carry the names of torchvision's `mobilenet_v2`, whose weights can be loaded. A block
widens its input, convolves each channel by itself, and narrows it again, without a rectifier at the
end. 3,504,872 parameters for 1,000 classes.
"""

from tinygrad_cnn import Tensor, nn

__all__ = ["MobileNetV2"]

# How many times a block widens its input, its channels, how many there are, the first's stride.
BLOCKS = [
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
]  # fmt: skip


def channels(wanted: float) -> int:
    """A multiple of 8 near ``wanted``, and not less than nine tenths of it."""
    near = max(8, int(wanted + 4) // 8 * 8)
    return near + 8 if near < 0.9 * wanted else near


def conv(i: int, f: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, normalisation and ReLU6: (n, i, h, w) to (n, f, h / stride, w / stride)."""
    layer = nn.Conv2d(i, f, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(f), nn.ReLU6())


class InvertedResidual(nn.Module):
    """Widen, convolve, narrow: (n, i, h, w) to (n, f, h / stride, w / stride)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, times: int) -> None:
        super().__init__()
        wide = in_channels * times
        layers: list[nn.Module] = [conv(in_channels, wide)] if times != 1 else []
        layers.append(conv(wide, wide, kernel=3, stride=stride, groups=wide))
        layers.append(nn.Conv2d(wide, out_channels, 1, bias=False))
        layers.append(nn.BatchNorm2d(out_channels))
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    """52 convolutions and a linear layer: images (n, 3, h, w) to scores (n, num_classes)."""

    def __init__(
        self, num_classes: int = 1000, width_mult: float = 1.0, dropout: float = 0.2
    ) -> None:
        super().__init__()
        i, last = channels(32 * width_mult), channels(1280 * max(1.0, width_mult))
        layers: list[nn.Module] = [conv(3, i, kernel=3, stride=2)]
        for times, f, depth, stride in BLOCKS:
            f = channels(f * width_mult)
            for each in range(depth):
                layers.append(InvertedResidual(i, f, 1 if each else stride, times))
                i = f
        self.features = nn.Sequential(*layers, conv(i, last))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))  # (n, last, 1, 1)
        return self.classifier(self.flatten(x))  # (n, num_classes)
