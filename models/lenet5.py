"""LeNet-5: Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-Based Learning Applied to
Document Recognition", Proceedings of the IEEE 86 (11), 1998, section II.B and figure 2.

The layers carry the paper's names. Three things are as people build it today: 3 colour channels,
max pooling where the paper has trainable averages, and batch normalisation (Ioffe and Szegedy,
2015, arXiv:1502.03167) with ReLU where the paper has a scaled tanh. 62,050 parameters for 10
classes.
"""

from tinygrad_cnn import Tensor, nn

__all__ = ["LeNet5"]


class LeNet5(nn.Module):
    """Two convolutions, three linear layers: images (n, 3, 32, 32) to scores (n, num_classes)."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(3, 6, kernel_size=5)
        self.n1 = nn.BatchNorm2d(6)
        self.s2 = nn.MaxPool2d(2)
        self.c3 = nn.Conv2d(6, 16, kernel_size=5)
        self.n3 = nn.BatchNorm2d(16)
        self.s4 = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.c5 = nn.Linear(16 * 5 * 5, 120)  # in the paper a convolution over the whole 5 × 5 map
        self.f6 = nn.Linear(120, 84)
        self.output = nn.Linear(84, num_classes)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.s2(self.relu(self.n1(self.c1(x))))  # (n, 6, 14, 14)
        x = self.s4(self.relu(self.n3(self.c3(x))))  # (n, 16, 5, 5)
        x = self.relu(self.c5(self.flatten(x)))  # (n, 120)
        x = self.relu(self.f6(x))  # (n, 84)
        return self.output(x)  # (n, num_classes)
