"""Transforms of size, content and type, with torchvision's names and meanings.

Like those of `data.transforms` they take a PIL image, a `Tensor` (…, c, h, w), or, from a
`DataLoader` or a `Compose` of batches, an array (n, c, h, w); all but `ToTensor` and `PILToTensor`,
which make tensors of PIL images and of arrays (h, w, c).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinygrad_cnn.autograd.promotion import get_default_dtype
from tinygrad_cnn.data.keyed import Random
from tinygrad_cnn.data.transforms import (
    Images,
    Picture,
    channels_last,
    check_images,
    check_mode,
    is_pil,
    one_or_many,
    pad,
    pil_of,
    pixels_of,
    sides_of,
    size_of,
)
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.functions import from_numpy
from tinygrad_cnn.tensor import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

_FILTERS: Final = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
_LUMA: Final = np.array([0.299, 0.587, 0.114])  # of red, green and blue (ITU-R BT.601)


def _planes(name: str, image: object) -> NDArray[np.generic]:
    """A PIL image or an array (h, w) or (h, w, c) as an array (c, h, w)."""
    if is_pil(image):
        array = np.array(image)
    elif isinstance(image, np.ndarray) and image.ndim in (2, 3):
        array = image
    else:
        given = f"an array {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise DtypeError(f"{name}: `image` is {given}, expected a PIL image or an array (h, w, c)")
    array = array[:, :, None] if array.ndim == 2 else array
    return np.ascontiguousarray(array.transpose(2, 0, 1))


class ToTensor:
    """Make a PIL image or an array (h, w, c) a Tensor (c, h, w): bytes become floats in [0, 1].

    Other types keep their values and, but for ``bool``, their type, as in torchvision: grayscale of
    16 bits is not scaled (`read_image` scales it).

    Examples
    --------
    >>> ToTensor()(np.full((4, 6, 3), 51, np.uint8)).shape
    Size([3, 4, 6])
    """

    def __call__(self, image: Picture | NDArray[np.generic]) -> Tensor:
        """Return ``image`` as a Tensor (c, h, w)."""
        planes = _planes("ToTensor", image)
        if planes.dtype == np.uint16:  # no dtype of tensors
            planes = planes.astype(np.int32)
        if planes.dtype == np.uint8:
            return from_numpy(planes.astype(get_default_dtype()) / 255)
        return from_numpy(planes.astype(get_default_dtype()) if planes.dtype == bool else planes)

    def __repr__(self) -> str:
        return "ToTensor()"


class PILToTensor:
    """Make a PIL image a Tensor (c, h, w) of the same values, bytes as bytes.

    Examples
    --------
    >>> PILToTensor()(np.zeros((4, 6, 3), np.uint8)).dtype
    dtype('uint8')
    """

    def __call__(self, image: Picture | NDArray[np.generic]) -> Tensor:
        """Return ``image`` as a Tensor (c, h, w)."""
        planes = _planes("PILToTensor", image)
        return from_numpy(planes.astype(np.int32) if planes.dtype == np.uint16 else planes)

    def __repr__(self) -> str:
        return "PILToTensor()"


class ConvertImageDtype:
    """Convert a Tensor to ``dtype``, scaling from the range of one type to that of the other.

    Floats are in [0, 1], integers from 0 to the largest of their type.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> ConvertImageDtype(tg.float32)(tg.tensor([[[255, 51]]], dtype=tg.uint8))
    tensor([[[1.0000, 0.2000]]])
    """

    def __init__(self, dtype: DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        if self.dtype.kind not in "fiu":
            raise DtypeError(f"ConvertImageDtype: `dtype` is {self.dtype}, expected a number's")

    def __call__(self, image: Tensor) -> Tensor:
        """Return ``image`` with the dtype."""
        if not isinstance(image, Tensor):
            kind = type(image).__name__
            raise DtypeError(f"ConvertImageDtype: `image` is a {kind}, expected a Tensor")
        array, target = image._array, self.dtype
        if array.dtype.kind == "f" and target.kind == "f":
            return from_numpy(array.astype(target))
        if target.kind == "f":
            return from_numpy((array / np.iinfo(array.dtype).max).astype(target))
        top = np.iinfo(target).max
        if array.dtype.kind == "f":  # evenly: the largest integer gets as much of [0, 1] as others
            return from_numpy((array.astype(np.float64) * (top + 1 - 1e-3)).astype(target))
        shift = np.iinfo(array.dtype).bits - (array.dtype.kind == "i")
        shift -= np.iinfo(target).bits - (target.kind == "i")
        wide = array.astype(np.int64)
        return from_numpy((wide >> shift if shift > 0 else wide << -shift).astype(target))

    def __repr__(self) -> str:
        return f"ConvertImageDtype({self.dtype})"


class Lambda:
    """Apply a function.

    Examples
    --------
    >>> Lambda(lambda image: image[:, ::2])(np.zeros((3, 4, 4))).shape
    (3, 2, 4)
    """

    def __init__(self, lambd: Callable[..., object]) -> None:
        if not callable(lambd):
            raise DtypeError(f"Lambda: `lambd` is a {type(lambd).__name__}, not callable")
        self.lambd = lambd

    def __call__(self, image: object, rng: Random | None = None) -> object:
        """Return ``lambd(image)``."""
        return self.lambd(image)

    def __repr__(self) -> str:
        return "Lambda()"


class Resize:
    """Bring images to a size; one number is that of the shorter side, which keeps the proportions.

    Reduced images are smoothed first (antialiasing), tensors too, as in torchvision.

    Parameters
    ----------
    size
        the shorter side, or height and width.
    interpolation
        ``nearest``, ``bilinear``, ``bicubic``, ``lanczos``, ``box`` or ``hamming``.
    max_size
        the longer side's largest, where ``size`` is one number.

    Examples
    --------
    >>> Resize(16)(np.zeros((1, 3, 32, 48), np.uint8)).shape
    (1, 3, 16, 24)
    """

    def __init__(
        self,
        size: int | Sequence[int],
        interpolation: object = "bilinear",
        max_size: int | None = None,
        antialias: bool = True,
    ) -> None:
        pair = size_of("Resize", size)
        self.size = pair[0] if isinstance(size, int | np.integer) or len(size) == 1 else pair
        name = getattr(interpolation, "value", interpolation)  # torchvision's are an enumeration
        self.interpolation = str(name).lower()
        if self.interpolation not in _FILTERS:
            raise ArgumentError(
                f"Resize: `interpolation` is {interpolation!r}, expected {', '.join(_FILTERS)}"
            )
        if not antialias:
            raise ArgumentError(
                "Resize: `antialias` is False, expected True: reducing always smooths"
            )
        if max_size is not None and (not isinstance(self.size, int) or max_size <= self.size):
            raise ArgumentError(
                f"Resize: `max_size` is {max_size}, expected more than a `size` of one number, "
                f"which is {size}"
            )
        self.max_size = max_size

    def __call__(self, images: Picture | Images, rng: Random | None = None) -> Picture | Images:
        """Return ``images`` in the new size."""
        if isinstance(images, Tensor):
            return from_numpy(self._planes(images._array))
        return self._planes(images) if isinstance(images, np.ndarray) else self._resized(images)

    def _planes(self, images: Images) -> Images:
        """Images (…, c, h, w), plane by plane."""
        from PIL import Image  # here, to keep the package's import light

        check_images("Resize", images[None] if images.ndim == 3 else images)
        work = np.uint8 if images.dtype == np.uint8 else np.float32
        planes = images.reshape(-1, *images.shape[-2:]).astype(work, copy=False)
        size = self._target(images.shape[-2], images.shape[-1])
        out = np.empty((len(planes), *size), work)
        for i, plane in enumerate(planes):
            out[i] = np.asarray(self._resized(Image.fromarray(plane)))
        return out.astype(images.dtype, copy=False).reshape(*images.shape[:-2], *size)

    def _target(self, h: int, w: int) -> tuple[int, int]:
        if not isinstance(self.size, int):
            return self.size
        short, long = min(h, w), max(h, w)
        new_short, new_long = self.size, max(int(self.size * long / short), 1)
        if self.max_size is not None and new_long > self.max_size:
            new_short, new_long = int(self.max_size * new_short / new_long), self.max_size
        return (new_short, new_long) if h <= w else (new_long, new_short)

    def _resized(self, image: Image) -> Image:
        from PIL import Image

        width, height = image.size
        h, w = self._target(height, width)
        return image.resize((w, h), Image.Resampling[self.interpolation.upper()])

    def __repr__(self) -> str:
        return f"Resize(size={self.size}, interpolation={self.interpolation!r})"


class CenterCrop:
    """Cut the middle out of images; smaller ones are padded with zeros.

    Examples
    --------
    >>> CenterCrop(2)(np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)).tolist()
    [[[[5, 6], [9, 10]]]]
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = size_of("CenterCrop", size)

    @one_or_many
    def __call__(self, images: Images, rng: Random | None = None) -> Images:
        """Return the middles (n, c, *size) of ``images`` (n, c, h, w)."""
        check_images("CenterCrop", images)
        height, width = self.size
        more_h, more_w = max(height - images.shape[2], 0), max(width - images.shape[3], 0)
        sides = more_w // 2, more_h // 2, (more_w + 1) // 2, (more_h + 1) // 2
        padded = pad(channels_last(images), sides, "constant")
        top = round((padded.shape[1] - height) / 2)
        left = round((padded.shape[2] - width) / 2)
        cut = padded[:, top : top + height, left : left + width].copy()
        return cut.transpose(0, 3, 1, 2)

    def __repr__(self) -> str:
        return f"CenterCrop(size={self.size})"


class Pad:
    """Add pixels at the sides.

    Parameters
    ----------
    padding
        on every side, or two numbers (left and right, top and bottom), or all four (left, top,
        right, bottom).
    fill
        a number, or one per channel, for ``constant``.
    padding_mode
        ``constant``, ``edge``, ``reflect`` or ``symmetric``.

    Examples
    --------
    >>> Pad((1, 2))(np.zeros((1, 3, 4, 4), np.uint8)).shape
    (1, 3, 8, 6)
    """

    def __init__(
        self,
        padding: int | Sequence[int],
        fill: float | Sequence[float] = 0,
        padding_mode: str = "constant",
    ) -> None:
        self.padding, self.fill = padding, fill
        self._sides = sides_of("Pad", padding)
        self.padding_mode = check_mode("Pad", padding_mode)

    @one_or_many
    def __call__(self, images: Images, rng: Random | None = None) -> Images:
        """Return ``images`` (n, c, h, w), wider and higher."""
        check_images("Pad", images)
        padded = pad(channels_last(images), self._sides, self.padding_mode, self.fill)
        return padded.transpose(0, 3, 1, 2)

    def __repr__(self) -> str:
        return f"Pad(padding={self.padding}, fill={self.fill}, padding_mode={self.padding_mode!r})"


class Grayscale:
    """Take the colours away: luma in one channel, or in three equal ones.

    Examples
    --------
    >>> Grayscale()(np.full((1, 3, 1, 1), 100, np.uint8)).tolist()
    [[[[100]]]]
    """

    def __init__(self, num_output_channels: int = 1) -> None:
        if num_output_channels not in (1, 3):
            raise ArgumentError(
                f"Grayscale: `num_output_channels` is {num_output_channels}, expected 1 or 3"
            )
        self.num_output_channels = num_output_channels

    def __call__(self, images: Picture | Images, rng: Random | None = None) -> Picture | Images:
        """Return ``images`` in grey."""
        if isinstance(images, Tensor | np.ndarray):
            return self._greyed(images, rng)
        grey = pixels_of("Grayscale", images.convert("L"))
        if self.num_output_channels == 1:
            return pil_of(grey, "L")
        return pil_of(np.repeat(grey, 3, axis=2), "RGB")

    @one_or_many
    def _greyed(self, images: Any, rng: Random | None = None) -> Images:
        check_images("Grayscale", images)
        c = images.shape[1]
        if c not in (1, 3):
            raise ArgumentError(
                f"Grayscale: images {images.shape} have {c} channels, expected 1 or 3"
            )
        grey = channels_last(images)  # (n, h, w, c)
        if c == 3:
            grey = (grey @ _LUMA)[..., None]  # (n, h, w, 1)
            grey = (np.rint(grey) if images.dtype == np.uint8 else grey).astype(images.dtype)
        return np.repeat(grey, self.num_output_channels, axis=3).transpose(0, 3, 1, 2)

    def __repr__(self) -> str:
        return f"Grayscale(num_output_channels={self.num_output_channels})"
