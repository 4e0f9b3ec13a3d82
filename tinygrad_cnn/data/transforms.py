"""Batch transforms: callables ``(images (n, c, h, w), rng) -> images`` without a loop over images.

``rng`` is a `numpy.random.Generator` or, in a `DataLoader`, a `SampleRandom`, whose numbers belong
to the samples rather than to the order of drawing.

All take bytes or floats and keep the dtype, except `Normalize` and `ToFloat`, which return the
default dtype, float32 unless `set_default_dtype` was called.
None changes its input; results are NCHW arrays in channels-last memory, which convolution likes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from tinygrad_cnn.autograd.promotion import get_default_dtype
from tinygrad_cnn.data.keyed import Random

Images: TypeAlias = NDArray[Any]
Transform: TypeAlias = Callable[..., Any]
"""``(images, rng) -> images``, or, with the attribute ``changes_labels = True``,
``(images, rng, labels) -> (images, labels)``."""

_PADDING_MODES: Final = ("constant", "edge", "reflect", "symmetric")


def channels_last(images: Images) -> Images:
    """Return ``images`` (n, c, h, w) as (n, h, w, c), contiguous; a view where it can be."""
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1))


def check_images(name: str, images: Images) -> None:
    if images.ndim != 4:
        raise ValueError(f"{name}: `images` must be (n, c, h, w), got shape {images.shape}")
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise TypeError(f"{name}: `images` must be uint8 or floating, got {images.dtype}")


def _check_mode(name: str, mode: str) -> str:
    if mode not in _PADDING_MODES:
        known = ", ".join(_PADDING_MODES)
        raise ValueError(f"{name}: `padding_mode` {mode!r} is not one of {known}")
    return mode


def _pad(images: Images, top: int, left: int, mode: str) -> Images:
    """Pad (n, h, w, c) by ``top`` rows and ``left`` columns on either side."""
    if top == left == 0:
        return images
    widths = ((0, 0), (top, top), (left, left), (0, 0))
    return np.pad(images, widths, mode=mode)  # type: ignore[call-overload,no-any-return]


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
    """Apply transforms one after another.

    >>> augment = Compose([RandomHorizontalFlip(), RandomCrop(32, padding=4)])
    >>> augment(np.zeros((8, 3, 32, 32), np.uint8), np.random.default_rng(0)).shape
    (8, 3, 32, 32)
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = list(transforms)
        for position, transform in enumerate(self.transforms):
            if not callable(transform):
                kind = type(transform).__name__
                raise TypeError(f"Compose: `transforms[{position}]` is a {kind}, not callable")

    @property
    def changes_labels(self) -> bool:
        """Whether one of the transforms changes the labels too."""
        return any(getattr(t, "changes_labels", False) for t in self.transforms)

    def __call__(self, images: Images, rng: Random, labels: Images | None = None) -> Any:
        """Return ``images`` (n, c, h, w) passed through every transform.

        With a transform such as `Mixup` among them it takes ``labels`` too, and returns both.
        """
        if not self.changes_labels:
            for transform in self.transforms:
                images = transform(images, rng)
            return images
        if labels is None:
            raise TypeError("Compose: a transform changes the labels too, but none are given")
        for transform in self.transforms:
            images, labels = apply(transform, images, rng, labels)
        return images, labels

    def __repr__(self) -> str:
        return f"Compose([{', '.join(map(repr, self.transforms))}])"


class RandomHorizontalFlip:
    """Mirror each image left to right with probability ``p``.

    >>> image = np.arange(3.0).reshape(1, 1, 1, 3)
    >>> RandomHorizontalFlip(1.0)(image, np.random.default_rng(0))
    array([[[[2., 1., 0.]]]])
    """

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"RandomHorizontalFlip: `p` must be between 0 and 1, got {p}")
        self.p = p

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

    >>> RandomShift(0.1)(np.ones((2, 3, 20, 20), np.uint8), np.random.default_rng(0)).shape
    (2, 3, 20, 20)
    """

    def __init__(self, fraction: float = 0.125, padding_mode: str = "reflect") -> None:
        if not 0 <= fraction < 1:
            raise ValueError(f"RandomShift: `fraction` must be in [0, 1), got {fraction}")
        self.fraction = fraction
        self.padding_mode = _check_mode("RandomShift", padding_mode)

    def __call__(self, images: Images, rng: Random) -> Images:
        """Return ``images`` (n, c, h, w), each shifted."""
        check_images("RandomShift", images)
        n, _, h, w = images.shape
        top, left = int(self.fraction * h), int(self.fraction * w)
        rows = rng.integers(0, 2 * top + 1, (n,))
        columns = rng.integers(0, 2 * left + 1, (n,))
        padded = _pad(channels_last(images), top, left, self.padding_mode)
        return _windows(padded, rows, columns, h, w)

    def __repr__(self) -> str:
        return f"RandomShift(fraction={self.fraction}, padding_mode={self.padding_mode!r})"


class RandomCrop:
    """Cut a random window out of each image, after padding it on all four sides.

    ``padding_mode`` is one of ``numpy.pad``'s ``constant`` (zeros), ``edge``, ``reflect`` and
    ``symmetric``.

    >>> RandomCrop(32, padding=4)(np.ones((2, 3, 32, 32), np.uint8), np.random.default_rng(0)).shape
    (2, 3, 32, 32)
    """

    def __init__(
        self, size: int | tuple[int, int], padding: int = 0, padding_mode: str = "constant"
    ) -> None:
        self.size = (size, size) if isinstance(size, int | np.integer) else tuple(size)
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"RandomCrop: `size` must be a positive integer or a pair, got {size}")
        if padding < 0:
            raise ValueError(f"RandomCrop: `padding` must not be negative, got {padding}")
        self.padding = padding
        self.padding_mode = _check_mode("RandomCrop", padding_mode)

    def __call__(self, images: Images, rng: Random) -> Images:
        """Return one window (n, c, *size) of each of ``images`` (n, c, h, w)."""
        check_images("RandomCrop", images)
        n, _, h, w = images.shape
        height, width = self.size
        spare_h, spare_w = h + 2 * self.padding - height, w + 2 * self.padding - width
        if min(spare_h, spare_w) < 0:
            raise ValueError(
                f"RandomCrop: `size` {self.size} is larger than images of {h}x{w} with "
                f"padding {self.padding}; enlarge `padding`"
            )
        rows = rng.integers(0, spare_h + 1, (n,))
        columns = rng.integers(0, spare_w + 1, (n,))
        padded = _pad(channels_last(images), self.padding, self.padding, self.padding_mode)
        return _windows(padded, rows, columns, height, width)

    def __repr__(self) -> str:
        size = self.size[0] if self.size[0] == self.size[1] else self.size
        return f"RandomCrop({size}, padding={self.padding}, padding_mode={self.padding_mode!r})"


class ToFloat:
    """Convert to the default dtype (float32), bytes to [0, 1].

    >>> ToFloat()(np.full((1, 1, 1, 1), 51, np.uint8)).item()
    0.20000000298023224
    """

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

    Bytes are brought to [0, 1] first.

    >>> Normalize([0.2], [0.1])(np.full((1, 1, 1, 1), 51, np.uint8)).item()
    0.0
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))
        if len(self.mean) != len(self.std):
            raise ValueError(
                f"Normalize: `mean` has {len(self.mean)} channels but `std` has {len(self.std)}"
            )
        if not self.mean or not all(s > 0 and math.isfinite(s) for s in self.std):
            raise ValueError(f"Normalize: `std` must be finite and positive, got {self.std}")

    def __call__(self, images: Images, rng: Random | None = None) -> Images:
        """Return ``images`` (n, c, h, w) normalised."""
        check_images("Normalize", images)
        n, c, h, w = images.shape
        if c != len(self.mean):
            raise ValueError(
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
