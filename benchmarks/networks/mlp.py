"""A multilayer perceptron on CIFAR images, only for measurements: linear layers and nothing else.

1,707,274 parameters for 10 classes.
"""

from tinygrad_cnn import Tensor, nn


class MLP(nn.Module):
    """Three linear layers: images (n, 3, 32, 32) to scores (n, num_classes)."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(3 * 32 * 32, 512),
            nn.ReLU(),
            nn.Linear(512, 256),
            nn.ReLU(),
            nn.Linear(256, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
