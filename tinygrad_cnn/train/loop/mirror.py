"""Test-time augmentation: one model's scores of an image and of its mirror image together."""

from tinygrad_cnn.nn import Module
from tinygrad_cnn.tensor import Tensor


class MirrorAverage(Module):
    """The mean of the scores that ``model`` gives images (n, c, h, w) and their mirror images.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> MirrorAverage(nn.Identity())(tg.tensor([[[[1.0, 3.0]]]]))
    tensor([[[[2., 2.]]]])
    """

    def __init__(self, model: Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Scores (n, classes)."""
        scores: Tensor = self.model(images) + self.model(images.flip(3))
        mean: Tensor = scores / 2
        return mean
