"""ResNet-18, -34 and -50: K. He, X. Zhang, S. Ren and J. Sun, "Deep Residual Learning for Image
Recognition", CVPR 2016, arXiv:1512.03385, table 1, for images of about 224 × 224.

The layers carry the names of torchvision's `resnet18`, `resnet34` and `resnet50`, whose weights can
be loaded. As there, a block that halves its maps does so in its 3 × 3 convolution, in ResNet-50 the
second. 11,689,512, 21,797,672 and 25,557,032 parameters for 1,000 classes. For images of 32 × 32
see `resnet18.py` and `resnet20.py`.
"""

from tinygrad_cnn import Tensor, nn

__all__ = ["ResNet18", "ResNet34", "ResNet50"]


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions beside a shortcut: (n, i, h, w) to (n, f, h / stride, w / stride)."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + self.downsample(x))


class Bottleneck(nn.Module):
    """1 × 1, 3 × 3 and 1 × 1: (n, i, h, w) to (n, 4 width, h / stride, w / stride)."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU()
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + self.downsample(x))


def stage(
    block: type[BasicBlock | Bottleneck], in_channels: int, width: int, depth: int, stride: int
) -> nn.Sequential:
    """Blocks, of which the first changes the shape."""
    out, blocks = block.expansion * width, []
    for _ in range(depth):
        shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out:
            conv = nn.Conv2d(in_channels, out, 1, stride, bias=False)
            shortcut = nn.Sequential(conv, nn.BatchNorm2d(out))
        blocks.append(block(in_channels, width, stride, shortcut))
        in_channels, stride = out, 1
    return nn.Sequential(*blocks)


class ResNet(nn.Module):
    """A convolution, four stages and a linear layer: images (n, 3, h, w) to (n, num_classes)."""

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        depths: tuple[int, int, int, int],
        num_classes: int,
        width: int,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        e = block.expansion
        self.layer1 = stage(block, width, width, depths[0], 1)
        self.layer2 = stage(block, e * width, 2 * width, depths[1], 2)
        self.layer3 = stage(block, 2 * e * width, 4 * width, depths[2], 2)
        self.layer4 = stage(block, 4 * e * width, 8 * width, depths[3], 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(8 * e * width, num_classes)
        for module in self.modules():  # as the paper draws them, from its reference [13]
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))  # (n, width, h/4, w/4)
        x = self.layer2(self.layer1(x))  # (n, 2 e width, h/8, w/8)
        x = self.layer4(self.layer3(x))  # (n, 8 e width, h/32, w/32)
        return self.fc(self.flatten(self.avgpool(x)))  # (n, num_classes)


class ResNet18(ResNet):
    """Two blocks of two convolutions in each stage."""

    def __init__(self, num_classes: int = 1000, width: int = 64) -> None:
        super().__init__(BasicBlock, (2, 2, 2, 2), num_classes, width)


class ResNet34(ResNet):
    """Three to six blocks of two convolutions in each stage."""

    def __init__(self, num_classes: int = 1000, width: int = 64) -> None:
        super().__init__(BasicBlock, (3, 4, 6, 3), num_classes, width)


class ResNet50(ResNet):
    """Three to six blocks of three convolutions in each stage."""

    def __init__(self, num_classes: int = 1000, width: int = 64) -> None:
        super().__init__(Bottleneck, (3, 4, 6, 3), num_classes, width)
