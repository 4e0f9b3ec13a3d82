"""A small network of depthwise separable convolutions, after A. Howard et al., "MobileNets:
Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017, arXiv:1704.04861,
section 3.1: a 3 × 3 convolution of each channel by itself, then a 1 × 1 convolution over channels.

Only for measurements: the layer types of MobileNet at the size of CIFAR images, not its depth.
"""

from tinygrad_cnn import Tensor, nn


def separable(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """Depthwise 3 × 3, pointwise 1 × 1: (n, in_channels, h, w) to (n, out_channels, h/s, w/s)."""
    return nn.Sequential(
        nn.Conv2d(
            in_channels, in_channels, 3, stride=stride, padding=1, groups=in_channels, bias=False
        ),
        nn.BatchNorm2d(in_channels),
        nn.ReLU(),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


class DepthwiseNet(nn.Module):
    """Seven separable convolutions: images (n, 3, 32, 32) to scores (n, num_classes)."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()
        )
        self.blocks = nn.Sequential(
            separable(32, 64),
            separable(64, 128, stride=2),  # (n, 128, 16, 16)
            separable(128, 128),
            separable(128, 256, stride=2),  # (n, 256, 8, 8)
            separable(256, 256),
            separable(256, 512, stride=2),  # (n, 512, 4, 4)
            separable(512, 512),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.flatten(self.pool(self.blocks(self.stem(x)))))
