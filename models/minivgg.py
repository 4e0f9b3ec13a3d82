"""MiniVGG: the recipe of K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for
Large-Scale Image Recognition", 2014, arXiv:1409.1556, section 2.1, at the size of CIFAR images.

From the paper: nothing but 3 × 3 convolutions with padding 1 in stacks, 2 × 2 max pooling between
the stacks, twice the channels after each pooling, dropout 0.5 between the linear layers. Batch
normalisation after every convolution is newer (Ioffe and Szegedy, 2015, arXiv:1502.03167).
815,018 parameters for 10 classes.
"""

from tinygrad_cnn import Tensor, nn

__all__ = ["MiniVGG"]


def conv3x3(in_channels: int, out_channels: int) -> nn.Sequential:
    """3 × 3 convolution, normalisation, ReLU: (n, in_channels, h, w) to (n, out_channels, h, w)."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


class MiniVGG(nn.Module):
    """Six convolutions and two linear layers: images (n, 3, 32, 32) to scores (n, num_classes)."""

    def __init__(self, num_classes: int = 10, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv3x3(3, 32),
            conv3x3(32, 32),
            nn.MaxPool2d(2),  # (n, 32, 16, 16)
            conv3x3(32, 64),
            conv3x3(64, 64),
            nn.MaxPool2d(2),  # (n, 64, 8, 8)
            conv3x3(64, 128),
            conv3x3(128, 128),
            nn.MaxPool2d(2),  # (n, 128, 4, 4)
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(128 * 4 * 4, 256),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(256, num_classes),
        )
        # Scores near 0 to begin with, as the paper draws all its weights (section 3.1): a large
        # first loss would cost the first epoch.
        nn.init.normal_(self.classifier[-1].weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))
