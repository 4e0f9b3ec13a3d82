"""ResNet-20: K. He, X. Zhang, S. Ren and J. Sun, "Deep Residual Learning for Image Recognition",
2015, arXiv:1512.03385, section 4.2, the network for CIFAR images with n = 3.

From the paper: a 3 × 3 convolution, then three stages of three blocks with 16, 32 and 64 channels
on maps of 32, 16 and 8 pixels; two 3 × 3 convolutions in a block, each followed by batch
normalisation; stride 2 in the first convolution of a stage instead of pooling; the mean over the
last maps and one linear layer. Shortcuts are option A (section 3.3): the identity, where a stage
begins every second pixel of it with channels of zeros added, so that no shortcut has parameters.
269,722 parameters for 10 classes.
"""

from tinygrad_cnn import Tensor, nn

__all__ = ["ResNet20"]


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """3 × 3 convolution; the normalisation after it has the bias."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)


class Block(nn.Module):
    """Two convolutions and a shortcut: (n, in_channels, h, w) to (n, out_channels, h/s, w/s)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.stride = stride
        self.extra = out_channels - in_channels  # channels that the input does not have

    def shortcut(self, x: Tensor) -> Tensor:
        """The input itself, or as much of it as the output has room for."""
        if self.stride == 1 and self.extra == 0:
            return x
        x = x[:, :, :: self.stride, :: self.stride]  # (n, in_channels, h/s, w/s)
        return nn.functional.pad(x, (0, 0, 0, 0, 0, self.extra))  # (n, out_channels, h/s, w/s)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + self.shortcut(x))


def stage(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """Three blocks, of which the first changes the shape."""
    return nn.Sequential(
        Block(in_channels, out_channels, stride),
        Block(out_channels, out_channels),
        Block(out_channels, out_channels),
    )


class ResNet20(nn.Module):
    """19 convolutions and a linear layer: images (n, 3, 32, 32) to scores (n, num_classes)."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = conv3x3(3, 16)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.stage1 = stage(16, 16, stride=1)
        self.stage2 = stage(16, 32, stride=2)
        self.stage3 = stage(32, 64, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64, num_classes)
        for module in self.modules():  # as the paper draws them, from its reference [13]
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))  # (n, 16, 32, 32)
        x = self.stage3(self.stage2(self.stage1(x)))  # (n, 64, 8, 8)
        return self.fc(self.flatten(self.pool(x)))  # (n, num_classes)
