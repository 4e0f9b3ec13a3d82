"""Training on a folder of images: which file is in which part, kept with the run; the pixels."""

import json
import math
import os
import re
import reprlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_cnn.data import ImageFolder, read_image
from tinygrad_cnn.data.folder import image_size
from tinygrad_cnn.data.images import ImageDataset
from tinygrad_cnn.notices import saying
from tinygrad_cnn.ops.random import Generator
from tinygrad_cnn.serialization import write_atomically
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.run.reading import read_object

TEST_SHARE = 0.2  # of the images of each class, where the folder does not say which are for testing
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LARGEST_SIZE = 1 << 14
LARGEST_SIDE = 64  # unless --size asks for more
_HELD = "test", "val", "valid", "validation"  # folders beside `train`, in this order

Sample = tuple[str, int]


@dataclass(frozen=True)
class FolderSplit:
    """The files of a folder of images by their use, and what a model must know of them.

    Paths are relative to ``root``. ``size`` is the side to which images are brought, ``mean`` and
    ``std`` are those of the training images by channel, in [0, 1].
    """

    root: str
    classes: tuple[str, ...]
    size: int
    train: list[Sample]
    test: list[Sample]
    validation: list[Sample] = field(default_factory=list)
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.25, 0.25, 0.25)

    @classmethod
    def of(cls, root: str, *, size: int | None, seed: int) -> "FolderSplit":
        """Divide the images in ``root``.

        Where there are ``root/train`` and ``root/test`` (or ``val``, ``valid``, ``validation``)
        these are used as they are; with ``test`` and ``val`` the latter is for validation.
        Otherwise a fifth of each class is for testing, chosen by ``seed``.

        Raises
        ------
        TrainError
            There are no images, or the parts have other classes.
        """
        place = Path(root)
        if not (place / "train").is_dir():
            found = _opened(place)
            train, test = _divided(found, place, seed)
            return cls._sized(root, tuple(found.classes), size, train, test, [])
        held = [name for name in _HELD if (place / name).is_dir()]
        if not held:
            raise TrainError(f"{root} has a folder train but no folder test or val")
        parts = {name: _opened(place / name) for name in ["train", *held]}
        classes = parts["train"].classes
        for name, part in parts.items():
            if part.classes != classes:
                raise TrainError(
                    f"{place / name} has the classes {', '.join(part.classes)}, expected those of "
                    f"{place / 'train'}: {', '.join(classes)}"
                )
        train, test, *more = (_relative(part, place) for part in parts.values())
        validation = more[0] if more and held[0] == "test" else []
        return cls._sized(root, tuple(classes), size, train, test, validation)

    @classmethod
    def _sized(
        cls,
        root: str,
        classes: tuple[str, ...],
        size: int | None,
        train: list[Sample],
        test: list[Sample],
        validation: list[Sample],
    ) -> "FolderSplit":
        if len(classes) < 2:
            raise TrainError(f"{root} has images of one class, {classes[0]}; expected two or more")
        for name in classes:
            if _CONTROLS.search(name):
                raise TrainError(f"{root} has a class with a control character: {name!r}")
        if size is None:
            size = min(_usual_side(Path(root), train), LARGEST_SIDE)
        return cls(root, classes, size, train, test, validation)

    def write(self, path: Path) -> None:
        """Keep the split in a file."""
        write_atomically(path, json.dumps(asdict(self)) + "\n")

    @classmethod
    def read(cls, path: Path) -> "FolderSplit":
        """Read what `write` wrote.

        Raises
        ------
        TrainError
            There is no such file, or it is damaged.
        """
        try:
            values = read_object(path)
            for name in ("train", "test", "validation"):
                values[name] = [(place, label) for place, label in values[name]]
            for name in ("classes", "mean", "std"):
                values[name] = tuple(values[name])
            split = cls(**values)
            wrong = split._wrong()
        except FileNotFoundError:
            raise TrainError(f"there is no {path}, which says how the images were split") from None
        except (KeyError, TypeError, ValueError) as error:
            raise TrainError(f"{path} is damaged: {error}") from error
        if wrong:
            raise TrainError(f"{path} is damaged: {wrong}")
        return split

    def _wrong(self) -> str:
        """The first field that is not what `write` writes, in words, or ""."""
        texts: list[object] = [self.root, *self.classes]
        if not self.classes or not all(isinstance(text, str) for text in texts):
            return "`root` and `classes` are not names"
        if any(map(_CONTROLS.search, self.classes)):
            return "`classes` have control characters, which a terminal obeys"
        if type(self.size) is not int or not 1 <= self.size <= _LARGEST_SIZE:
            return f"`size` is {reprlib.repr(self.size)}, expected 1 to {_LARGEST_SIZE}"
        for place, label in [*self.train, *self.test, *self.validation]:
            if not isinstance(place, str) or "\0" in place or type(label) is not int:
                return f"{reprlib.repr((place, label))} is not a file and its class"
            if not 0 <= label < len(self.classes):
                known = f"one of {len(self.classes)} classes"
                return f"{reprlib.repr(place)} is of class {label}, expected {known}"
        for name, floor in (("mean", -math.inf), ("std", 0.0)):
            numbers = getattr(self, name)
            finite = all(isinstance(n, int | float) and math.isfinite(n) for n in numbers)
            if len(numbers) != 3 or not finite or min(numbers) <= floor:
                return f"`{name}` is {reprlib.repr(numbers)}, expected three numbers"
        return ""


class DataInfo(NamedTuple):
    """What a model must know of the images it was trained on."""

    classes: Sequence[str]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int


class FolderImages(ImageDataset):
    """Images of a folder in memory: their middle squares, brought to the split's size."""

    def __init__(self, split: FolderSplit, part: str) -> None:
        self.classes, self.mean, self.std = split.classes, split.mean, split.std
        super().__init__()
        self.samples: list[Sample] = getattr(split, part)
        self._labels = np.array([label for _, label in self.samples], np.int64)
        if not os.path.isdir(split.root):
            raise TrainError(f"there is no folder {split.root}; --data names it if it has moved")
        paths = [Path(split.root) / path for path, _ in self.samples]
        with saying(f"reading {len(paths):,} images from {split.root}"):
            self._pixels = read_squares(paths, split.size)

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """All images in memory order, uint8 (n, size, size, 3)."""
        return self._pixels

    @property
    def labels(self) -> NDArray[np.int64]:
        """The number of each image's class, int64 (n,)."""
        return self._labels

    def normalize_by(self, split: FolderSplit) -> None:
        """Take the mean and deviation of ``split``."""
        self.mean, self.std = split.mean, split.std
        super().__init__()

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation by channel, in [0, 1]; a deviation is never 0."""
        planes = self._pixels.transpose(3, 0, 1, 2)  # (c, n, h, w)
        counts = np.stack([np.bincount(plane.ravel(), minlength=256) for plane in planes])
        shares = counts / counts.sum(axis=1, keepdims=True)  # (c, 256)
        values = np.arange(256) / 255
        mean = shares @ values
        std = np.sqrt(np.maximum(shares @ values**2 - mean**2, 0.0))
        return tuple(mean.round(4).tolist()), tuple(np.maximum(std, 1 / 255).round(4).tolist())


def read_square(path: Path, size: int) -> NDArray[np.uint8]:
    """The middle square of an image file, brought to ``size``: uint8 (size, size, 3).

    Raises
    ------
    TrainError
        There is no such file, or it is no image that `read_image` reads.
    """
    from PIL import ImageOps  # here, to keep the import light

    try:
        return np.asarray(ImageOps.fit(read_image(path), (size, size)))
    except (OSError, ValueError) as error:
        raise TrainError(str(error)) from error


def read_squares(paths: Sequence[Path], size: int) -> NDArray[np.uint8]:
    """`read_square` of many files: (n, size, size, 3)."""
    try:
        out = np.empty((len(paths), size, size, 3), np.uint8)
    except MemoryError:
        raise TrainError(
            f"{len(paths):,} images of {size}×{size} do not fit into memory; try a smaller --size"
        ) from None

    def fill(number: int) -> None:
        out[number] = read_square(paths[number], size)

    with ThreadPoolExecutor(thread_name_prefix="images") as pool:
        jobs = [pool.submit(fill, number) for number in range(len(paths))]
        try:
            for job in jobs:
                job.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return out


def labelled_below(root: str, known: "DataInfo") -> FolderSplit:
    """All images in ``root``, or in its folder ``test`` or ``val``, as test images for a model.

    Raises
    ------
    TrainError
        There are none, or a folder's name is none of its classes.
    """
    place, classes = Path(root), list(known.classes)
    held = [name for name in _HELD if (place / name).is_dir()]
    found = _opened(place / held[0] if held else place)
    unknown = [name for name in found.classes if name not in classes]
    if unknown:
        raise TrainError(
            f"{found.root} has the classes {', '.join(unknown)}, which the model does not know; "
            f"it knows {', '.join(classes)}"
        )
    test = [(path, classes.index(found.classes[i])) for path, i in _relative(found, place)]
    return FolderSplit(root, tuple(classes), known.size, [], test, mean=known.mean, std=known.std)


def _opened(place: Path) -> ImageFolder:
    try:
        return ImageFolder(place)
    except OSError as error:
        raise TrainError(str(error).removeprefix("ImageFolder: ")) from error


def _relative(found: ImageFolder, root: Path) -> list[Sample]:
    return [(Path(path).relative_to(root).as_posix(), label) for path, label in found.samples]


def _divided(found: ImageFolder, root: Path, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Training and test files; of each class at least one for training."""
    random, samples = Generator(seed).numpy, _relative(found, root)
    train: list[Sample] = []
    test: list[Sample] = []
    for number, name in enumerate(found.classes):
        own = [sample for sample in samples if sample[1] == number]
        if len(own) < 2:
            raise TrainError(f"{root / name} has one image, expected two or more")
        held = max(round(TEST_SHARE * len(own)), 1)
        order = random.permutation(len(own))
        test += [own[i] for i in sorted(order[:held])]
        train += [own[i] for i in sorted(order[held:])]
    return train, test


def _usual_side(root: Path, samples: Sequence[Sample]) -> int:
    """The most common shorter side of up to 500 images, evenly chosen."""
    chosen = samples[:: max(len(samples) // 500, 1)]
    try:
        sides = Counter(min(image_size(root / path)) for path, _ in chosen)
    except (OSError, ValueError) as error:
        raise TrainError(str(error)) from error
    return max(sides, key=lambda side: (sides[side], side))
