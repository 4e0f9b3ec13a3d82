"""The images of a run: training, validation and test."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tinygrad_cnn.data import CIFAR10, DataLoader, Dataset, Shapes, Subset
from tinygrad_cnn.data.images import Bytes, ImageDataset
from tinygrad_cnn.ops.random import Generator
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.run.augmentations import make_augmentation
from tinygrad_cnn.train.run.config import DATA, Config
from tinygrad_cnn.train.run.folder import RunFolder
from tinygrad_cnn.train.run.folder_data import DataInfo, FolderImages, FolderSplit, labelled_below
from tinygrad_cnn.train.run.model_files import describe

SHAPES_TRAIN, SHAPES_TEST = 10_000, 2_000
Images = Dataset[tuple[Bytes, int]]
_LOOK = 500  # images in a batch that is only looked at


@dataclass(frozen=True)
class Splits:
    """Three data sets, their class names, and loaders for them."""

    train: Images
    validation: Images | None
    test: Images
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
    def plain_loader(data: Images, config: Config) -> DataLoader:
        """Batches of ``data`` in order, as they are; no random number of the run is spent."""
        return DataLoader(
            data, batch_size=_LOOK, num_workers=config.workers, generator=Generator(0)
        )


_KINDS: dict[str, type[ImageDataset]] = {"shapes": Shapes, "cifar10": CIFAR10}


def data_info(config: Config, folder: RunFolder) -> DataInfo:
    """Classes, scale and size of the images of a run.

    Raises
    ------
    TrainError
        It was trained on a folder of images and does not say which.
    """
    if config.data in DATA:
        kind = _KINDS[config.data]
        return DataInfo(kind.classes, kind.mean, kind.std, 32)
    split = FolderSplit.read(folder.split)
    return DataInfo(split.classes, split.mean, split.std, split.size)


def load_test(config: Config, folder: RunFolder, data: str, *, download: bool = False) -> Splits:
    """The test images of a run or, with other ``data``, theirs; there are no others."""
    if data in DATA:
        other = replace(config, data=data, size=None, val_fraction=0.0)
        return load_splits(other, download=download)
    split = None if config.data in DATA else FolderSplit.read(folder.split)
    if data == config.data and not Path(data).is_dir():
        raise TrainError(f"there is no folder {data}; --data names it if it has moved")
    if split is not None and all((Path(data) / path).is_file() for path, _ in split.test):
        split = replace(split, root=data)  # the same folder, which may have moved
    else:
        split = labelled_below(data, data_info(config, folder))
    test = FolderImages(split, "test")
    return Splits(Subset(test, []), None, test, split.classes)


def load_splits(
    config: Config, folder: RunFolder | None = None, *, download: bool = False
) -> Splits:
    """The images that ``config`` asks for; which are for validation depends on its seed only.

    How a folder of images was split is kept in ``folder``, and read from there the next time.
    ``config.limit`` counts training and validation images together; the test images are always all.

    Raises
    ------
    TrainError
        The images are missing or damaged, or there are too few of them.
    """
    validation: Images | None = None
    try:
        if config.data in DATA:
            train, test = _open(config, download)
        else:
            train, validation, test = _open_folder(config, folder)
    except FileNotFoundError:
        raise TrainError(
            f"there are no {config.data} files in {config.root}; --download fetches them, "
            "or --root names their folder"
        ) from None
    except (OSError, RuntimeError, ValueError) as error:
        raise TrainError(describe(error).partition(": ")[2] or describe(error)) from error
    count = len(train) if config.limit is None else min(config.limit, len(train))
    held = 0 if validation is not None else round(count * config.val_fraction)
    if count - held < 1 or (held < 1 and config.val_fraction > 0 and validation is None):
        raise TrainError(
            f"{count} training images with a validation fraction of {config.val_fraction:g} leave "
            f"{count - held} to train and {held} to validate"
        )
    order = Generator(config.seed).numpy.permutation(len(train))[:count]
    parts = np.split(order, [held])
    if held:
        validation = Subset(train, parts[0].tolist())
    return Splits(Subset(train, parts[1].tolist()), validation, test, tuple(train.classes))


def _open_folder(
    config: Config, folder: RunFolder | None
) -> tuple[FolderImages, FolderImages | None, FolderImages]:
    """Training images, those for validation if there are such, and test images."""
    kept = folder is not None and folder.split.exists()
    if folder is not None and kept:
        split = replace(FolderSplit.read(folder.split), root=config.data)
    else:
        split = FolderSplit.of(config.data, size=config.size, seed=config.seed)
    train = FolderImages(split, "train")
    if not kept:
        mean, std = train.statistics()
        split = replace(split, mean=mean, std=std)
        train.normalize_by(split)
        if folder is not None:
            split.write(folder.split)
    validation = FolderImages(split, "validation") if split.validation else None
    return train, validation, FolderImages(split, "test")


def _open(config: Config, download: bool) -> tuple[ImageDataset, ImageDataset]:
    """The whole training set and the test set."""
    if config.data == "shapes":
        count = min(config.limit or SHAPES_TRAIN, SHAPES_TRAIN)
        return Shapes(count, train=True), Shapes(SHAPES_TEST, train=False)
    root = Path(config.root)
    return CIFAR10(root, train=True, download=download), CIFAR10(root, train=False)
