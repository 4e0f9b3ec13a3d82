"""VGG-11 and VGG-16 with batch normalisation: K. Simonyan and A. Zisserman, "Very Deep
Convolutional Networks for Large-Scale Image Recognition", 2014, arXiv:1409.1556, table 1, columns A
and D.

The layers carry the names of torchvision's `vgg11_bn` and `vgg16_bn`, whose weights can be loaded.
The normalisation after every convolution (Ioffe and Szegedy, 2015, arXiv:1502.03167) is newer than
the paper, and so is the pooling to 7 × 7 maps, which lets images be of any size from 32 × 32.
132,868,840 and 138,365,992 parameters for 1,000 classes, most of them in the first linear layer;
for images of 32 × 32 see `minivgg.py`.
"""

from tinygrad_cnn import Tensor, nn

__all__ = ["VGG11", "VGG16"]

POOL = 0
A = (1, POOL, 2, POOL, 4, 4, POOL, 8, 8, POOL, 8, 8, POOL)
D = (1, 1, POOL, 2, 2, POOL, 4, 4, 4, POOL, 8, 8, 8, POOL, 8, 8, 8, POOL)
"""Convolutions by how many times `width` channels they have."""


class VGG(nn.Module):
    """Convolutions of 3 × 3, three linear layers: images (n, 3, h, w) to (n, num_classes)."""

    def __init__(
        self, plan: tuple[int, ...], num_classes: int, dropout: float, width: int, hidden: int
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for times in plan:
            if times == POOL:
                layers.append(nn.MaxPool2d(2))
                continue
            conv = nn.Conv2d(channels, times * width, 3, padding=1)
            layers += [conv, nn.BatchNorm2d(times * width), nn.ReLU()]
            channels = times * width
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(
            nn.Linear(channels * 7 * 7, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):  # section 3.1 of the paper
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))  # (n, 8 width, 7, 7)
        return self.classifier(self.flatten(x))  # (n, num_classes)


class VGG11(VGG):
    """Eight convolutions and three linear layers."""

    def __init__(
        self, num_classes: int = 1000, dropout: float = 0.5, width: int = 64, hidden: int = 4096
    ) -> None:
        super().__init__(A, num_classes, dropout, width, hidden)


class VGG16(VGG):
    """Thirteen convolutions and three linear layers."""

    def __init__(
        self, num_classes: int = 1000, dropout: float = 0.5, width: int = 64, hidden: int = 4096
    ) -> None:
        super().__init__(D, num_classes, dropout, width, hidden)
