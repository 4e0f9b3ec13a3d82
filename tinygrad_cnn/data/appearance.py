"""Batch transforms of colours and content: `ColorJitter`, `Cutout`, and `Mixup` of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.promotion import get_default_dtype
from tinygrad_cnn.data.keyed import Random
from tinygrad_cnn.data.transforms import Images, channels_last, check_images, one_or_many
from tinygrad_cnn.errors import ArgumentError

_GREY: Final = np.array([0.299, 0.587, 0.114])  # luma of red, green and blue (ITU-R BT.601)


class ColorJitter:
    """Change brightness, contrast, saturation and hue of each image by random factors.

    The factors are drawn evenly from ``[1 - x, 1 + x]`` (never below 0), the hue's turn from
    ``[-hue, hue]`` of a full circle. They act in this order; colours are clipped once, at the end,
    to the range of bytes or, of floats, to [0, 1]. Contrast stretches about the image's mean grey,
    the hue is turned about the grey axis of the RGB cube. All four together are one linear map of
    colours per image.

    Parameters
    ----------
    brightness, contrast, saturation
        at least 0.
    hue
        0 to 0.5.

    Examples
    --------
    >>> jitter = ColorJitter(0.2, 0.2, 0.2, 0.05)
    >>> jitter(np.full((2, 3, 8, 8), 128, np.uint8), np.random.default_rng(0)).dtype
    dtype('uint8')
    """

    def __init__(
        self,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
    ) -> None:
        given = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
        for name, value in given.items():
            if not (math.isfinite(value) and value >= 0):
                raise ArgumentError(f"ColorJitter: `{name}` must be finite and >= 0, got {value}")
        if not 0 <= hue <= 0.5:
            raise ArgumentError(f"ColorJitter: `hue` must be between 0 and 0.5, got {hue}")
        self.brightness, self.contrast = brightness, contrast
        self.saturation, self.hue = saturation, hue

    @one_or_many
    def __call__(self, images: Images, rng: Random) -> Images:
        """Return ``images`` (n, c, h, w) with changed colours."""
        check_images("ColorJitter", images)
        n, c, h, w = images.shape
        if c != 3 and (self.saturation or self.hue):
            raise ArgumentError(
                f"ColorJitter: `saturation` and `hue` need images with 3 channels, got {c} "
                f"(images {images.shape})"
            )
        bright, contrast, saturation = (
            np.maximum(rng.uniform(1 - x, 1 + x, (n, 1, 1)), 0)
            for x in (self.brightness, self.contrast, self.saturation)
        )
        angle = 2 * np.pi * rng.uniform(-self.hue, self.hue, (n, 1, 1))
        work = np.float64 if images.dtype == np.float64 else np.float32
        pixels = channels_last(images).astype(work).reshape(n, h * w, c)
        weights = _GREY if c == 3 else np.full(c, 1 / c)
        means = kernels.sum(pixels, (1,), True, h * w) @ weights[:, None]  # (n, 1, 1): grey
        matrix = bright * contrast * np.eye(c)  # (n, c, c), for a column of colours
        if c == 3:
            to_grey = np.broadcast_to(weights, (3, 3))
            matrix = _turn(angle) @ (saturation * np.eye(3) + (1 - saturation) * to_grey) @ matrix
        out = pixels @ matrix.transpose(0, 2, 1).astype(work)  # (n, h·w, c)
        out += (bright * (1 - contrast) * means).astype(work)  # grey: the rest leaves it as it is
        top = 255 if images.dtype == np.uint8 else 1
        np.clip(out, 0, top, out=out)
        if images.dtype == np.uint8:
            np.rint(out, out=out)
        changed: Images = out.astype(images.dtype).reshape(n, h, w, c)
        return changed.transpose(0, 3, 1, 2)

    def __repr__(self) -> str:
        values = f"{self.brightness}, {self.contrast}, {self.saturation}, {self.hue}"
        return f"ColorJitter({values})"


def _turn(angle: Images) -> Images:
    """Rotations (n, 3, 3) about the axis (1, 1, 1) by ``angle`` (n, 1, 1) (Rodrigues' formula)."""
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    turned: Images = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    return turned


class Cutout:
    """Paint a square of ``size`` pixels over each image, its centre anywhere in the image.

    At the border a part of the square falls outside. ``fill`` is a grey or one number per channel
    in [0, 1], of bytes times 255; the default is near the mean of photographs. Source: DeVries and
    Taylor, "Improved regularization of convolutional neural networks with cutout", 2017.

    Examples
    --------
    >>> out = Cutout(2, fill=0.0)(np.ones((1, 1, 4, 4)), np.random.default_rng(1))
    >>> bool(0 < (out == 0).sum() <= 4)
    True
    """

    def __init__(self, size: int, fill: float | Sequence[float] = 0.5) -> None:
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
            raise ArgumentError(f"Cutout: `size` must be a positive integer, got {size}")
        self.size, self.fill = int(size), fill

    @one_or_many
    def __call__(self, images: Images, rng: Random) -> Images:
        """Return ``images`` (n, c, h, w), a square of each painted over."""
        check_images("Cutout", images)
        n, c, h, w = images.shape
        fill = np.asarray(self.fill, np.float64)
        if fill.shape not in ((), (c,)):
            raise ArgumentError(
                f"Cutout: `fill` has shape {fill.shape} but a number or {c} numbers, one per "
                f"channel, are expected (images {images.shape})"
            )
        if images.dtype == np.uint8:
            fill = np.rint(fill * 255)
        half = self.size // 2
        top = rng.integers(0, h, (n,))[:, None] - half  # (n, 1)
        left = rng.integers(0, w, (n,))[:, None] - half
        rows, columns = np.arange(h), np.arange(w)
        down = (rows >= top) & (rows < top + self.size)  # (n, h)
        across = (columns >= left) & (columns < left + self.size)  # (n, w)
        out = images.transpose(0, 2, 3, 1).copy(order="C")  # (n, h, w, c)
        out[down[:, :, None] & across[:, None, :]] = fill.astype(images.dtype)
        return out.transpose(0, 3, 1, 2)

    def __repr__(self) -> str:
        return f"Cutout({self.size}, fill={self.fill})"


class Mixup:
    """Blend each image and its label with another one of the batch.

    With ``x'`` another image and ``lam`` drawn from Beta(alpha, alpha), the result is
    ``lam x + (1 - lam) x'`` and, for the labels, the same of their one-hot rows, which
    `cross_entropy` takes as they are. Bytes are rounded. Source: Zhang et al., "mixup: beyond
    empirical risk minimization", 2018; there one ``lam`` serves a whole batch. Here each image has
    its own, not below 1/2: the other image is drawn for each, and no image should get lost.

    Examples
    --------
    >>> mix = Mixup(0.2, classes=10)
    >>> images, labels = np.zeros((4, 3, 8, 8), np.uint8), np.array([3, 1, 4, 1])
    >>> mixed, soft = mix(images, np.random.default_rng(0), labels)
    >>> soft.shape, bool(np.allclose(soft.sum(axis=1), 1))
    ((4, 10), True)
    """

    changes_labels = True

    def __init__(self, alpha: float, classes: int) -> None:
        if not (math.isfinite(alpha) and alpha > 0):
            raise ArgumentError(f"Mixup: `alpha` must be finite and positive, got {alpha}")
        if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
            raise ArgumentError(f"Mixup: `classes` must be a positive integer, got {classes}")
        self.alpha, self.classes = alpha, classes

    def __call__(self, images: Images, rng: Random, labels: Images) -> tuple[Images, Images]:
        """Return blends of ``images`` (n, c, h, w) and labels (n, classes), floats.

        ``labels`` are class numbers (n,), or rows of probabilities (n, classes) from another
        `Mixup`.
        """
        check_images("Mixup", images)
        n = len(images)
        soft = self.rows(labels)
        share = np.asarray(rng.beta(self.alpha, self.alpha, (n,)), soft.dtype)  # (n,)
        share = np.maximum(share, 1 - share)
        other = rng.integers(0, max(n, 1), (n,))
        work = np.float64 if images.dtype == np.float64 else np.float32
        first: Images = channels_last(images).astype(work)  # (n, h, w, c)
        weight: Images = share[:, None, None, None].astype(work)
        out: Images = first * weight
        out += first[other] * (1 - weight)
        if images.dtype == np.uint8:
            np.rint(out, out=out)
        mixed = soft * share[:, None] + soft[other] * (1 - share[:, None])
        return out.astype(images.dtype).transpose(0, 3, 1, 2), mixed

    def rows(self, labels: Images) -> Images:
        """Labels as rows of probabilities (n, classes)."""
        if labels.ndim == 2 and labels.shape[1] == self.classes:
            return labels.astype(get_default_dtype())
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise ArgumentError(
                f"Mixup: `labels` must be class numbers (n,), got {labels.dtype} of shape "
                f"{labels.shape}"
            )
        wrong = labels[(labels < 0) | (labels >= self.classes)]
        if len(wrong):
            raise ArgumentError(
                f"Mixup: `labels` has {wrong[0]}, expected 0 to {self.classes - 1} (`classes`)"
            )
        return np.eye(self.classes, dtype=get_default_dtype())[labels]

    def __repr__(self) -> str:
        return f"Mixup({self.alpha}, classes={self.classes})"
