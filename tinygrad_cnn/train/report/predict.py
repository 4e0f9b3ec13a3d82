"""A trained model on images from files."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinygrad_cnn.autograd import no_grad
from tinygrad_cnn.data import Normalize
from tinygrad_cnn.functions import from_numpy, zeros
from tinygrad_cnn.nn import Module
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.train.loop.compiled import Compiled
from tinygrad_cnn.train.loop.mirror import MirrorAverage
from tinygrad_cnn.train.metrics.functions import probabilities
from tinygrad_cnn.train.report.results import load_weights
from tinygrad_cnn.train.run.config import Config
from tinygrad_cnn.train.run.folder import RunFolder
from tinygrad_cnn.train.run.folder_data import DataInfo, read_squares
from tinygrad_cnn.train.run.model_files import build_model, check_output
from tinygrad_cnn.train.run.splits import data_info


@dataclass
class Predictor:
    """The model of a run, and what it knows of its data set: classes, scale and size."""

    model: Module
    data: DataInfo
    scores: Compiled[Tensor] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.scores = Compiled(self.model, self.model)

    @classmethod
    def of(cls, config: Config, folder: RunFolder) -> "Predictor":
        """The model that ``folder`` keeps.

        Raises
        ------
        TrainError
            Its code or its weights are missing or damaged, or do not fit together.
        """
        data = data_info(config, folder)
        model = build_model(config.model, len(data.classes))
        load_weights(config, model, folder.read_model())
        images = zeros(2, 3, data.size, data.size)
        check_output(config.model, model, images, len(data.classes), config.data_name)
        model.eval()
        return cls(MirrorAverage(model).eval() if config.flip_test else model, data)

    @property
    def network(self) -> Module:
        """The model itself, without averaging."""
        inner = self.model.model if isinstance(self.model, MirrorAverage) else self.model
        return inner

    def read(self, paths: Sequence[Path]) -> NDArray[np.uint8]:
        """The middle squares of image files in the size of the training images (n, 3, h, w)."""
        return read_squares(paths, self.data.size).transpose(0, 3, 1, 2)

    def normalized(self, images: NDArray[np.uint8]) -> Tensor:
        """Bytes (n, 3, h, w) as the model takes them."""
        return from_numpy(Normalize(self.data.mean, self.data.std)(images))

    def predict(self, paths: Sequence[Path], top: int = 5) -> list[list[tuple[str, float]]]:
        """The ``top`` classes of each image with their probabilities, the likeliest first."""
        with no_grad():
            scores = self.scores(self.normalized(self.read(paths)))
            shares = probabilities(scores.numpy())  # (n, classes)
        orders = np.argsort(-shares, axis=1, kind="stable")[:, :top]
        return [
            [(self.data.classes[i], float(row[i])) for i in order]
            for row, order in zip(shares, orders, strict=True)
        ]
