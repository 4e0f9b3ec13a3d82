"""Transforms of images, one at a time or a whole batch: one name, one meaning.

Every transform takes, and gives back,

* in a `DataLoader`, a batch: an array (n, c, h, w) and ``rng``, without a loop over images;
* in the ``transform`` of a data set such as `ImageFolder`, as torchvision's of the same name, one
  image: a PIL image, or a `Tensor` (c, h, w). Tensors (n, c, h, w) are taken too.

``rng`` is a `numpy.random.Generator` or, in a `DataLoader`, a `SampleRandom`, whose numbers belong
to the samples rather than to the order of drawing. Single images draw from the same: within a
`DataLoader` from the sample's stream, with any number of workers the same; elsewhere from the
library's generator (`manual_seed`).

Batches are bytes or floats and keep their dtype, except in `Normalize` and `ToFloat`, which return
the default dtype, float32 unless `set_default_dtype` was called.
None changes its input; results are NCHW arrays in channels-last memory, which convolution likes.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeGuard, TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tinygrad_cnn.autograd.promotion import get_default_dtype
from tinygrad_cnn.data.keyed import Random, sample_random
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.functions import from_numpy
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "Compose",
    "Normalize",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomShift",
    "ToFloat",
    "Transform",
    "apply",
    "pad",
]

Images: TypeAlias = Array
Transform: TypeAlias = Callable[..., Any]
"""``(images, rng) -> images``, or, with the attribute ``changes_labels = True``,
``(images, rng, labels) -> (images, labels)``."""

Picture: TypeAlias = "Image | Tensor"
_Call = TypeVar("_Call", bound=Callable[..., Any])

_PADDING_MODES: Final = ("constant", "edge", "reflect", "symmetric")


def __getattr__(name: str) -> Any:
    if name == "v2":  # imported when it is first used
        return importlib.import_module("tinygrad_cnn.data.transforms.v2")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def is_pil(image: object) -> TypeGuard[Image]:
    """Whether ``image`` is a PIL image; Pillow is not imported to find out."""
    return any(kind.__module__ == "PIL.Image" for kind in type(image).__mro__)


def pixels_of(name: str, image: Image) -> Images:
    """A PIL image of bytes as an array (h, w, c)."""
    if image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB"):
        raise ArgumentError(
            f"{name}: `image` has mode {image.mode!r}, expected one with a byte for each channel, "
            "such as 'L' or 'RGB' (`image.convert`)"
        )
    array = np.array(image)
    return array if array.ndim == 3 else array[:, :, None]


def pil_of(pixels: Images, mode: str) -> Image:
    """Bytes (h, w, c) as a PIL image of ``mode``."""
    from PIL import Image  # here, to keep the package's import light

    array = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    return Image.frombytes(mode, (array.shape[1], array.shape[0]), array.tobytes())


def one_or_many(call: _Call) -> _Call:
    """``__call__(images (n, c, h, w), rng)`` that takes single images too, without ``rng``."""

    @functools.wraps(call)
    def wrapped(self: object, images: object, rng: Random | None = None, *labels: object) -> object:
        if isinstance(images, np.ndarray):
            return call(self, images, sample_random() if rng is None else rng, *labels)
        rng = sample_random() if rng is None else rng
        name = type(self).__name__
        if is_pil(images):
            batch = pixels_of(name, images).transpose(2, 0, 1)[None]  # (1, c, h, w)
            return pil_of(call(self, batch, rng)[0].transpose(1, 2, 0), images.mode)
        if not isinstance(images, Tensor):
            raise DtypeError(
                f"{name}: `images` is a {type(images).__name__}, expected a PIL image, a Tensor "
                "(c, h, w) or an array (n, c, h, w)"
            )
        single = images.ndim == 3
        out = call(self, images._array[None] if single else images._array, rng)
        return from_numpy(np.ascontiguousarray(out[0] if single else out))

    return wrapped  # type: ignore[return-value]


def _floats(call: _Call) -> _Call:
    """`one_or_many` for what gives floats, which a PIL image cannot hold."""
    taken = one_or_many(call)

    @functools.wraps(call)
    def wrapped(self: object, images: object, rng: Random | None = None) -> object:
        if is_pil(images):
            name = type(self).__name__
            raise DtypeError(
                f"{name}: `images` is a PIL image, expected a Tensor: ToTensor() first"
            )
        return taken(self, images, rng)

    return wrapped  # type: ignore[return-value]


def channels_last(images: Images) -> Images:
    """Return ``images`` (n, c, h, w) as (n, h, w, c), contiguous; a view where it can be."""
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1))


def check_images(name: str, images: Images) -> None:
    if images.ndim != 4:
        raise ArgumentError(f"{name}: `images` must be (n, c, h, w), got shape {images.shape}")
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise DtypeError(f"{name}: `images` must be uint8 or floating, got {images.dtype}")


def size_of(name: str, size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width of one number or a pair."""
    pair = (size, size) if isinstance(size, int | np.integer) else tuple(size)
    if len(pair) == 1:
        pair = pair * 2
    if len(pair) != 2 or isinstance(size, bool) or min(pair) < 1:
        raise ArgumentError(f"{name}: `size` must be a positive integer or a pair, got {size}")
    return int(pair[0]), int(pair[1])


def check_mode(name: str, mode: str) -> str:
    if mode not in _PADDING_MODES:
        known = ", ".join(_PADDING_MODES)
        raise ArgumentError(f"{name}: `padding_mode` {mode!r} is not one of {known}")
    return mode


def sides_of(name: str, padding: int | Sequence[int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a padding: one number, two (left, top), or all four."""
    given = (padding,) if isinstance(padding, int | np.integer) else tuple(padding)
    if len(given) not in (1, 2, 4) or min(given) < 0:
        raise ArgumentError(
            f"{name}: `padding` must be 1, 2 or 4 numbers that are not negative, got {padding}"
        )
    left, top, right, bottom = (given * 4)[:4]
    return left, top, right, bottom


def pad(
    images: Images, sides: Sequence[int], mode: str, fill: float | Sequence[float] = 0
) -> Images:
    """Pad (n, h, w, c) by ``sides`` (left, top, right, bottom)."""
    left, top, right, bottom = sides
    if not any(sides):
        return images
    if mode != "constant":
        widths = ((0, 0), (top, bottom), (left, right), (0, 0))
        return np.pad(images, widths, mode=mode)  # type: ignore[call-overload,no-any-return]
    n, h, w, c = images.shape
    out = np.empty((n, h + top + bottom, w + left + right, c), images.dtype)
    out[...] = np.asarray(fill, images.dtype)
    out[:, top : top + h, left : left + w] = images
    return out


def _windows(images: Images, rows: Images, columns: Images, height: int, width: int) -> Images:
    """Cut one window per image out of (n, h, w, c), its corner at (rows[i], columns[i])."""
    views = sliding_window_view(images, (height, width), axis=(1, 2))  # (n, oh, ow, c, h, w)
    views = views.transpose(0, 1, 2, 4, 5, 3)  # (n, oh, ow, h, w, c)
    cut: Images = views[np.arange(len(images)), rows, columns]  # (n, h, w, c)
    return cut.transpose(0, 3, 1, 2)


def apply(transform: Transform, images: Images, rng: Random, labels: Any) -> tuple[Images, Any]:
    """Return images and labels after ``transform``, which may leave the labels alone."""
    if getattr(transform, "changes_labels", False):
        both: tuple[Images, Any] = transform(images, rng, labels)
        return both
    return transform(images, rng), labels


class Compose:
    """Apply transforms one after another: with ``rng`` to a batch, without to one image.

    Examples
    --------
    >>> augment = Compose([RandomHorizontalFlip(), RandomCrop(32, padding=4)])
    >>> augment(np.zeros((8, 3, 32, 32), np.uint8), np.random.default_rng(0)).shape
    (8, 3, 32, 32)
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = list(transforms)
        for position, transform in enumerate(self.transforms):
            if not callable(transform):
                kind = type(transform).__name__
                raise DtypeError(f"Compose: `transforms[{position}]` is a {kind}, not callable")

    @property
    def changes_labels(self) -> bool:
        """Whether one of the transforms changes the labels too."""
        return any(getattr(t, "changes_labels", False) for t in self.transforms)

    def __call__(self, images: Any, rng: Random | None = None, labels: Images | None = None) -> Any:
        """Return ``images`` (n, c, h, w) passed through every transform; or one image.

        With a transform such as `Mixup` among them it takes ``labels`` too, and returns both.
        """
        if rng is None:
            for transform in self.transforms:
                images = transform(images)
            return images
        if not self.changes_labels:
            for transform in self.transforms:
                images = transform(images, rng)
            return images
        if labels is None:
            raise DtypeError("Compose: a transform changes the labels too, but none are given")
        for transform in self.transforms:
            images, labels = apply(transform, images, rng, labels)
        return images, labels

    def __repr__(self) -> str:
        return f"Compose([{', '.join(map(repr, self.transforms))}])"


class RandomHorizontalFlip:
    """Mirror each image left to right with probability ``p``.

    Examples
    --------
    >>> image = np.arange(3.0).reshape(1, 1, 1, 3)
    >>> RandomHorizontalFlip(1.0)(image, np.random.default_rng(0))
    array([[[[2., 1., 0.]]]])
    """

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ArgumentError(f"RandomHorizontalFlip: `p` must be between 0 and 1, got {p}")
        self.p = p

    @one_or_many
    def __call__(self, images: Images, rng: Random) -> Images:
        """Return ``images`` (n, c, h, w), some of them mirrored."""
        check_images("RandomHorizontalFlip", images)
        chosen = np.flatnonzero(rng.random(len(images)) < self.p)
        out = images.transpose(0, 2, 3, 1).copy(order="C")  # (n, h, w, c)
        n, h, w, c = out.shape
        if out.size:
            # One item per pixel: a reversed copy then moves whole pixels instead of channels.
            pixels = out.reshape(n, h, w * c).view(f"V{c * out.itemsize}")  # (n, h, w)
            pixels[chosen] = pixels[chosen, :, ::-1]
        return out.transpose(0, 3, 1, 2)

    def __repr__(self) -> str:
        return f"RandomHorizontalFlip(p={self.p})"


class RandomShift:
    """Move each image by whole pixels, up to ``fraction`` of its height and width either way.

    What comes in at the border is filled as by ``numpy.pad(mode=padding_mode)``.

    Examples
    --------
    >>> RandomShift(0.1)(np.ones((2, 3, 20, 20), np.uint8), np.random.default_rng(0)).shape
    (2, 3, 20, 20)
    """

    def __init__(self, fraction: float = 0.125, padding_mode: str = "reflect") -> None:
        if not 0 <= fraction < 1:
            raise ArgumentError(f"RandomShift: `fraction` must be in [0, 1), got {fraction}")
        self.fraction = fraction
        self.padding_mode = check_mode("RandomShift", padding_mode)

    @one_or_many
    def __call__(self, images: Images, rng: Random) -> Images:
        """Return ``images`` (n, c, h, w), each shifted."""
        check_images("RandomShift", images)
        n, _, h, w = images.shape
        top, left = int(self.fraction * h), int(self.fraction * w)
        rows = rng.integers(0, 2 * top + 1, (n,))
        columns = rng.integers(0, 2 * left + 1, (n,))
        padded = pad(channels_last(images), (left, top, left, top), self.padding_mode)
        return _windows(padded, rows, columns, h, w)

    def __repr__(self) -> str:
        return f"RandomShift(fraction={self.fraction}, padding_mode={self.padding_mode!r})"


class RandomCrop:
    """Cut a random window out of each image, after padding it.

    Parameters
    ----------
    size
        height and width; one number for both.
    padding
        pixels on every side, or two numbers (left and right, top and bottom), or all four.
    pad_if_needed
        widen images that are smaller than the window.
    fill
        a number for padding with ``constant``, or one per channel.
    padding_mode
        ``constant``, or ``numpy.pad``'s ``edge``, ``reflect`` and ``symmetric``.

    Examples
    --------
    >>> RandomCrop(32, padding=4)(np.ones((2, 3, 32, 32), np.uint8), np.random.default_rng(0)).shape
    (2, 3, 32, 32)
    """

    def __init__(
        self,
        size: int | Sequence[int],
        padding: int | Sequence[int] | None = None,
        pad_if_needed: bool = False,
        fill: float | Sequence[float] = 0,
        padding_mode: str = "constant",
    ) -> None:
        if not isinstance(pad_if_needed, bool):
            raise DtypeError(f"RandomCrop: `pad_if_needed` is {pad_if_needed!r}, expected a bool")
        self.size = size_of("RandomCrop", size)
        self.padding = 0 if padding is None else padding
        self._sides = sides_of("RandomCrop", self.padding)
        self.pad_if_needed, self.fill = pad_if_needed, fill
        self.padding_mode = check_mode("RandomCrop", padding_mode)

    @one_or_many
    def __call__(self, images: Images, rng: Random) -> Images:
        """Return one window (n, c, *size) of each of ``images`` (n, c, h, w)."""
        check_images("RandomCrop", images)
        height, width = self.size
        padded = pad(channels_last(images), self._sides, self.padding_mode, self.fill)
        n, h, w, _ = padded.shape
        if self.pad_if_needed:
            more_w, more_h = max(width - w, 0), max(height - h, 0)
            padded = pad(padded, (more_w, more_h) * 2, self.padding_mode, self.fill)
            n, h, w, _ = padded.shape
        if h < height or w < width:
            raise ArgumentError(
                f"RandomCrop: `size` {self.size} is larger than images of "
                f"{images.shape[2]}x{images.shape[3]} with padding {self.padding}; "
                "enlarge `padding`"
            )
        rows = rng.integers(0, h - height + 1, (n,))
        columns = rng.integers(0, w - width + 1, (n,))
        return _windows(padded, rows, columns, height, width)

    def __repr__(self) -> str:
        size = self.size[0] if self.size[0] == self.size[1] else self.size
        return f"RandomCrop({size}, padding={self.padding}, padding_mode={self.padding_mode!r})"


class ToFloat:
    """Convert to the default dtype (float32), bytes to [0, 1].

    Examples
    --------
    >>> ToFloat()(np.full((1, 1, 1, 1), 51, np.uint8)).item()
    0.20000000298023224
    """

    @_floats
    def __call__(self, images: Images, rng: Random | None = None) -> Images:
        """Return ``images`` (n, c, h, w) as floats."""
        check_images("ToFloat", images)
        out = channels_last(images).astype(get_default_dtype())  # (n, h, w, c)
        if images.dtype == np.uint8:
            out /= 255
        return out.transpose(0, 3, 1, 2)

    def __repr__(self) -> str:
        return "ToFloat()"


class Normalize:
    """Return ``(x - mean) / std`` by channel, in the default dtype (float32).

    Bytes are brought to [0, 1] first. A PIL image is none of floats: `ToTensor` goes before.

    Examples
    --------
    >>> Normalize([0.2], [0.1])(np.full((1, 1, 1, 1), 51, np.uint8)).item()
    0.0
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))
        if len(self.mean) != len(self.std):
            raise ArgumentError(
                f"Normalize: `mean` has {len(self.mean)} channels but `std` has {len(self.std)}"
            )
        if not self.mean or not all(s > 0 and math.isfinite(s) for s in self.std):
            raise ArgumentError(f"Normalize: `std` must be finite and positive, got {self.std}")

    @_floats
    def __call__(self, images: Images, rng: Random | None = None) -> Images:
        """Return ``images`` (n, c, h, w) normalised."""
        check_images("Normalize", images)
        n, c, h, w = images.shape
        if c != len(self.mean):
            raise ArgumentError(
                f"Normalize: `mean` has {len(self.mean)} channels but images have {c} "
                f"(images {images.shape})"
            )
        mean, std = np.asarray(self.mean), np.asarray(self.std)
        if images.dtype == np.uint8:
            mean, std = mean * 255, std * 255
        dtype = get_default_dtype()
        out = channels_last(images).astype(dtype).reshape(n * h, w * c)
        # Per row of pixels, not per pixel: NumPy is fast only where its inner loop is long.
        out -= np.tile(mean.astype(dtype), w)
        out *= np.tile((1 / std).astype(dtype), w)
        return out.reshape(n, h, w, c).transpose(0, 3, 1, 2)

    def __repr__(self) -> str:
        return f"Normalize(mean={self.mean}, std={self.std})"
