"""The images of a run: training, validation and test."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_cnn.data import CIFAR10, DataLoader, Shapes, Subset
from tinygrad_cnn.ops.random import Generator
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.run.augmentations import make_augmentation
from tinygrad_cnn.train.run.config import Config
from tinygrad_cnn.train.run.model_files import describe

SHAPES_TRAIN, SHAPES_TEST = 10_000, 2_000
_LOOK = 500  # images in a batch that is only looked at


@dataclass(frozen=True)
class Splits:
    """Three data sets, their class names, and loaders for them."""

    train: Any
    validation: Any | None
    test: Any
    classes: tuple[str, ...]

    def training_loader(self, config: Config) -> DataLoader:
        """Shuffled and augmented batches."""
        images, _ = self.train[0]
        return DataLoader(
            self.train,
            batch_size=config.batch_size,
            shuffle=True,
            num_workers=config.workers,
            generator=Generator(config.seed),
            transform=make_augmentation(
                config.augment, size=images.shape[-1], classes=len(self.classes)
            ),
        )

    def loader_of(self, indices: Sequence[int]) -> DataLoader:
        """The test images of these numbers, in one batch."""
        return DataLoader(
            Subset(self.test, indices), batch_size=max(len(indices), 1), generator=Generator(0)
        )

    @staticmethod
    def plain_loader(data: Any, config: Config) -> DataLoader:
        """Batches of ``data`` in order, as they are; no random number of the run is spent."""
        return DataLoader(
            data, batch_size=_LOOK, num_workers=config.workers, generator=Generator(0)
        )


def load_splits(config: Config, *, download: bool = False) -> Splits:
    """The images that ``config`` asks for; which are for validation depends on its seed only.

    ``config.limit`` counts training and validation images together; the test images are always all.

    Raises
    ------
    TrainError
        The images are missing or damaged, or there are too few of them.
    """
    try:
        train, test = _open(config, download)
    except FileNotFoundError:
        raise TrainError(
            f"there are no {config.data} files in {config.root}; --download fetches them, "
            "or --root names their folder"
        ) from None
    except (OSError, RuntimeError, ValueError) as error:
        raise TrainError(describe(error).partition(": ")[2] or describe(error)) from error
    count = len(train) if config.limit is None else min(config.limit, len(train))
    held = round(count * config.val_fraction)
    if count - held < 1 or (held < 1 and config.val_fraction > 0):
        raise TrainError(
            f"{count} training images with a validation fraction of {config.val_fraction:g} leave "
            f"{count - held} to train and {held} to validate"
        )
    order = Generator(config.seed).numpy.permutation(len(train))[:count]
    parts = np.split(order, [held])
    validation = Subset(train, parts[0].tolist()) if held else None
    return Splits(Subset(train, parts[1].tolist()), validation, test, tuple(train.classes))


def _open(config: Config, download: bool) -> tuple[Any, Any]:
    """The whole training set and the test set."""
    if config.data == "shapes":
        count = min(config.limit or SHAPES_TRAIN, SHAPES_TRAIN)
        return Shapes(count, train=True), Shapes(SHAPES_TEST, train=False)
    root = Path(config.root)
    return CIFAR10(root, train=True, download=download), CIFAR10(root, train=False)
