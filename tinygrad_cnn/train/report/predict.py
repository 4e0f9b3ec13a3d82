"""A trained model on images from files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_cnn.autograd import no_grad
from tinygrad_cnn.data import CIFAR10, ImageDataset, Normalize, Shapes
from tinygrad_cnn.functions import from_numpy, zeros
from tinygrad_cnn.nn import Module
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.loop.metrics import probabilities
from tinygrad_cnn.train.loop.mirror import MirrorAverage
from tinygrad_cnn.train.report.results import load_weights
from tinygrad_cnn.train.run.config import Config
from tinygrad_cnn.train.run.folder import RunFolder
from tinygrad_cnn.train.run.model_files import build_model, check_output

_KINDS: dict[str, type[ImageDataset]] = {"shapes": Shapes, "cifar10": CIFAR10}
_SIZE = 32  # of the images of both


def read_image(path: Path, size: int = _SIZE) -> NDArray[np.uint8]:
    """The middle square of an image file, brought to ``size``: uint8 (3, size, size).

    Any format that Pillow reads; turned as the camera says, transparency on white.

    Raises
    ------
    TrainError
        There is no such file, or it is no image.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            image: Any = ImageOps.exif_transpose(file).convert("RGBA")
    except FileNotFoundError:
        raise TrainError(f"there is no file {path}") from None
    except UnidentifiedImageError:
        raise TrainError(f"{path} is not an image in a format that Pillow knows") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise TrainError(f"{path} cannot be read as an image ({error})") from error
    white = Image.new("RGBA", image.size, "white")
    square = ImageOps.fit(Image.alpha_composite(white, image).convert("RGB"), (size, size))
    return np.asarray(square).transpose(2, 0, 1)  # (3, h, w)


@dataclass
class Predictor:
    """The model of a run, and the data set whose classes and scale it knows."""

    model: Module
    kind: type[ImageDataset]

    @classmethod
    def of(cls, config: Config, folder: RunFolder) -> "Predictor":
        """The model that ``folder`` keeps.

        Raises
        ------
        TrainError
            Its code or its weights are missing or damaged, or do not fit together.
        """
        kind = _KINDS[config.data]
        model = build_model(config.model, len(kind.classes))
        load_weights(config, model, folder.read_model())
        images = zeros(2, 3, _SIZE, _SIZE)
        check_output(config.model, model, images, len(kind.classes), config.data)
        model.eval()
        return cls(MirrorAverage(model).eval() if config.flip_test else model, kind)

    @property
    def network(self) -> Module:
        """The model itself, without averaging."""
        inner = self.model.model if isinstance(self.model, MirrorAverage) else self.model
        return inner

    def normalized(self, images: NDArray[np.uint8]) -> Tensor:
        """Bytes (n, 3, h, w) as the model takes them."""
        return from_numpy(Normalize(self.kind.mean, self.kind.std)(images))

    def predict(self, paths: Sequence[Path], top: int = 5) -> list[list[tuple[str, float]]]:
        """The ``top`` classes of each image with their probabilities, the likeliest first."""
        images = np.stack([read_image(path) for path in paths])
        with no_grad():
            shares = probabilities(self.model(self.normalized(images)).numpy())  # (n, classes)
        orders = np.argsort(-shares, axis=1, kind="stable")[:, :top]
        return [
            [(self.kind.classes[i], float(row[i])) for i in order]
            for row, order in zip(shares, orders, strict=True)
        ]
