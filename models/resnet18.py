"""ResNet-18: K. He, X. Zhang, S. Ren and J. Sun, "Deep Residual Learning for Image Recognition",
CVPR 2016, arXiv:1512.03385, table 1 and figure 3, for CIFAR images.

The layers carry the names under which PyTorch's library knows them. The paper's first layers, a
7 × 7 convolution with stride 2 and a pooling, are meant for images of 224 × 224; for those of
32 × 32 a 3 × 3 convolution takes their place, as in the paper's section 4.2. Shortcuts that
change the shape are 1 × 1 convolutions (option B). 11,173,962 parameters for 10 classes.
"""

from tinygrad_cnn import Tensor, nn

__all__ = ["ResNet18"]


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions beside a shortcut: (n, i, h, w) to (n, f, h / stride, w / stride)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + self.downsample(x))


class ResNet18(nn.Module):
    """Seventeen convolutions and a linear layer: images (n, 3, 32, 32) to (n, num_classes)."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.layer1 = nn.Sequential(BasicBlock(64, 64), BasicBlock(64, 64))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, stride=2), BasicBlock(128, 128))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, stride=2), BasicBlock(256, 256))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, stride=2), BasicBlock(512, 512))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))  # (n, 64, 32, 32)
        x = self.layer2(self.layer1(x))  # (n, 128, 16, 16)
        x = self.layer4(self.layer3(x))  # (n, 512, 4, 4)
        return self.fc(self.flatten(self.avgpool(x)))  # (n, num_classes)
