"""Images in files: `read_image`, and `ImageFolder` with one folder for each class."""

from __future__ import annotations

import contextlib
import io
import math
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_cnn.data.dataset import Dataset
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.kernels.forks import free_in_child

if TYPE_CHECKING:
    from PIL.Image import Image

IMG_EXTENSIONS: Final = (
    ".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif",
)  # fmt: skip
# What Pillow decodes itself. Others start programs (EPS: Ghostscript) or are read by few people.
_FORMATS: Final = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
_LARGE: Final = 1 << 24  # pixels from which on images are decoded one at a time
_ONE_AT_A_TIME: Final = free_in_child(threading.Lock())
_ROWS: Final = 256
_OPENING: Final = free_in_child(threading.Lock())  # warnings' filters are those of all threads

Files = str | os.PathLike[str]


def read_image(path: Files) -> Image:
    """An image file as an RGB image of Pillow, 8 bits a channel.

    Turned as the camera says, transparency on white. Formats: BMP, GIF (its first picture), JPEG,
    JPEG 2000, PNG, PPM, TIFF and WebP. Grayscale of more than 8 bits is scaled by the range of the
    file: 16 bits from 0 to 65535; floats as they are if they are in [0, 1], and otherwise, as
    integers of 32 bits, from the image's own smallest to its largest value.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is no image in one of these formats, damaged, or larger than ``PIL.Image``'s
        ``MAX_IMAGE_PIXELS``, beyond which a small file could fill the memory.

    Examples
    --------
    >>> read_image("no-such.png")
    Traceback (most recent call last):
    FileNotFoundError: there is no file no-such.png
    """
    from PIL import ImageOps  # here, to keep the import light

    with _opened(path) as file:
        turn = _ONE_AT_A_TIME if math.prod(file.size) > _LARGE else contextlib.nullcontext()
        with turn:
            return _rgb(ImageOps.exif_transpose(file), png=file.format == "PNG")


def image_size(path: Files) -> tuple[int, int]:
    """Height and width that an image file says it has; errors are those of `read_image`."""
    with _opened(path) as file:
        return file.size[1], file.size[0]


@contextlib.contextmanager
def _opened(path: Files) -> Iterator[Image]:
    """An image file that has been looked at, but not decoded."""
    from PIL import Image, UnidentifiedImageError

    bombs = Image.DecompressionBombWarning, Image.DecompressionBombError
    if os.path.lexists(path) and not os.path.isfile(path):  # nobody may write to a pipe, ever
        raise ArgumentError(f"{path} is no file")
    try:
        with _OPENING, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # From memory: a number in a file may ask for gigabytes of it, of a file one gets them.
            file = Image.open(io.BytesIO(Path(path).read_bytes()), formats=_FORMATS)
        with file:
            yield file
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}") from None
    except UnidentifiedImageError:
        known = ", ".join(_FORMATS)
        raise ArgumentError(f"{path} is not an image in one of the formats {known}") from None
    except bombs:
        raise ArgumentError(
            f"{path} is an image of more than {Image.MAX_IMAGE_PIXELS:,} pixels, the limit against "
            "files that fill the memory (PIL.Image.MAX_IMAGE_PIXELS)"
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # malformed files raise nearly anything in Pillow
        text = " ".join(str(error).split()) or type(error).__name__
        raise ArgumentError(f"{path} cannot be read as an image ({text})") from error


def _rgb(image: Image, png: bool) -> Image:
    """An image of any mode in three channels of bytes."""
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_bytes_of(image, png)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        out = Image.new("RGB", image.size)
        for top in range(0, image.height, _ROWS):  # few rows at a time: it takes many copies
            box = 0, top, image.width, min(top + _ROWS, image.height)
            layer = image.crop(box).convert("RGBA")
            white = Image.new("RGBA", layer.size, "white")
            out.paste(Image.alpha_composite(white, layer).convert("RGB"), box[:2])
        return out
    return image if image.mode == "RGB" else image.convert("RGB")


def _bytes_of(image: Image, png: bool) -> NDArray[np.uint8]:
    """Grayscale of more than 8 bits as bytes, some rows at a time."""
    values = np.asarray(image)  # (h, w)
    low, high = float(values.min()), float(values.max())
    if not math.isfinite(low + high):  # NaN is the smallest and the largest
        raise ArgumentError("its values are not finite")
    if image.mode.startswith("I;16") or (image.mode == "I" and png):
        low, high = 0.0, 65535.0
    elif image.mode == "F" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    out = np.empty(values.shape, np.uint8)
    for top in range(0, len(values), _ROWS):
        rows = values[top : top + _ROWS].astype(np.float64)
        out[top : top + _ROWS] = np.rint((rows - low) / ((high - low) or 1.0) * 255)
    return out


class ImageFolder(Dataset[tuple[object, object]]):
    """Labelled images in files, in one folder for each class, with torchvision's names.

    ``root/cat/1.png`` is of class ``cat``, as are images in folders below ``root/cat``. A file is
    read each time its sample is asked for. Training on such a folder, with images kept in memory:
    ``tinygrad-cnn train MODEL --data FOLDER``.

    Parameters
    ----------
    root
        the folder that holds the classes' folders.
    transform
        for each image, such as ``Compose([Resize(36), RandomCrop(32), ToTensor()])``. Without
        one, samples have PIL images, of which a `DataLoader` makes no batches.
    target_transform
        for each class number.
    loader
        from a path to an image; by default `read_image`.
    is_valid_file
        from a path to whether it is a sample; by default by the name's ending.
    allow_empty
        whether a class may have no files.

    Attributes
    ----------
    classes
        names of the classes in order of their numbers, sorted.
    class_to_idx
        the number of each.
    samples, imgs
        path and class number of each sample.
    targets
        the class numbers.

    Raises
    ------
    FileNotFoundError
        There is no such folder, it has no folders in it, or a class has no images.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> with TemporaryDirectory() as root:
    ...     for name in ("cat", "dog"):
    ...         os.mkdir(f"{root}/{name}")
    ...         Image.new("RGB", (8, 6)).save(f"{root}/{name}/1.png")
    ...     pets = ImageFolder(root, lambda image: image.size)
    ...     print(pets.class_to_idx, pets[1])
    {'cat': 0, 'dog': 1} ((8, 6), 1)
    """

    def __init__(
        self,
        root: Files,
        transform: Callable[..., object] | None = None,
        target_transform: Callable[[int], object] | None = None,
        loader: Callable[[str], object] = read_image,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> None:
        given = {"transform": transform, "target_transform": target_transform, "loader": loader}
        for name, value in given.items():
            if value is not None and not callable(value):
                kind = type(value).__name__
                raise DtypeError(f"ImageFolder: `{name}` is a {kind}, not callable")
        self.root, self.loader = root, loader
        self.transform, self.target_transform = transform, target_transform
        self.extensions = IMG_EXTENSIONS if is_valid_file is None else None
        self.classes = class_folders(root)
        self.class_to_idx = {name: i for i, name in enumerate(self.classes)}
        valid = is_valid_file or (lambda path: path.lower().endswith(IMG_EXTENSIONS))
        self.samples = [
            (path, number)
            for name, number in self.class_to_idx.items()
            for path in _files_below(Path(root) / name)
            if valid(path)
        ]
        self.imgs, self.targets = self.samples, [number for _, number in self.samples]
        empty = [name for i, name in enumerate(self.classes) if i not in set(self.targets)]
        if empty and not allow_empty:
            known = (
                "" if is_valid_file else f"; expected files that end in {' '.join(IMG_EXTENSIONS)}"
            )
            raise FileNotFoundError(
                f"ImageFolder: there are no images in {root} of class {', '.join(empty)}{known}"
            )

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[object, object]:
        path, target = self.samples[index]
        image = self.loader(path)
        if self.transform is not None:
            image = self.transform(image)
        return image, target if self.target_transform is None else self.target_transform(target)

    def __repr__(self) -> str:
        count = f"{len(self)} images of {len(self.classes)} classes"
        return f"ImageFolder({os.fspath(self.root)!r}, {count})"


def class_folders(root: Files) -> list[str]:
    """The names of the folders in ``root``, sorted; those that begin with a dot are none.

    Raises
    ------
    FileNotFoundError
        There are none.
    """
    try:
        found = sorted(e.name for e in os.scandir(root) if e.is_dir() and e.name[0] != ".")
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"ImageFolder: there is no folder {root}") from None
    if not found:
        raise FileNotFoundError(
            f"ImageFolder: {root} has no folders in it, expected one for each class"
        )
    return found


def _files_below(folder: Path) -> Sequence[str]:
    """All files in ``folder`` and below it, in an order that does not depend on the system."""
    return [
        os.path.join(place, name)
        for place, _, names in sorted(os.walk(folder, followlinks=True))
        for name in sorted(names)
    ]
