"""Transforms of whole batches that mix images and their labels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_cnn.data.appearance import Mixup
from tinygrad_cnn.data.keyed import Random, sample_random
from tinygrad_cnn.data.transforms import Images, channels_last, check_images
from tinygrad_cnn.data.transforms.v2.base import is_batch
from tinygrad_cnn.errors import ArgumentError, DtypeError, ShapeError
from tinygrad_cnn.functions import from_numpy
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array


class MixUp:
    """Each image of a batch blended with the one before it, and so their labels.

    Images are ``share * x + (1 - share) * x'``, with one share for the batch, drawn from
    Beta(alpha, alpha); labels become rows of probabilities, which `cross_entropy` takes. It is
    called with images (n, c, h, w) and labels (n,), or rows of them (n, num_classes): after
    `default_collate`, or as the ``transform`` of a `DataLoader`. Source: Zhang et al., "mixup:
    beyond empirical risk minimization", 2018.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> mixup = MixUp(num_classes=3)
    >>> images, labels = mixup(tg.rand(2, 3, 8, 8), tg.tensor([0, 2]))
    >>> images.shape, labels.shape
    (Size([2, 3, 8, 8]), Size([2, 3]))
    """

    changes_labels = True

    def __init__(self, *, alpha: float = 1.0, num_classes: int | None = None) -> None:
        name = type(self).__name__
        if not (math.isfinite(alpha) and alpha > 0):
            raise ArgumentError(f"{name}: `alpha` is {alpha}, expected a positive number")
        if num_classes is not None and (not isinstance(num_classes, int) or num_classes < 1):
            raise ArgumentError(f"{name}: `num_classes` is {num_classes!r}, expected at least 1")
        self.alpha, self.num_classes = float(alpha), num_classes

    def __call__(self, *inputs: Any) -> Any:
        """Return images and labels mixed."""
        name = type(self).__name__
        rng: Random
        if is_batch(inputs) and len(inputs) == 3:
            images, rng, labels = inputs
            return self._mixed(images, labels, rng)
        if len(inputs) == 1 and isinstance(inputs[0], tuple | list):
            inputs = tuple(inputs[0])
        if len(inputs) != 2 or not all(isinstance(x, Tensor) for x in inputs):
            kinds = ", ".join(type(x).__name__ for x in inputs)
            raise DtypeError(f"{name}: expected two Tensors, images and labels, got {kinds}")
        images, labels = self._mixed(inputs[0]._array, inputs[1]._array, sample_random())
        return from_numpy(np.ascontiguousarray(images)), from_numpy(labels)

    def _mixed(self, images: Images, labels: Array, rng: Random) -> tuple[Images, Array]:
        check_images(type(self).__name__, images)
        if labels.ndim == 1 and self.num_classes is None:
            raise ArgumentError(
                f"{type(self).__name__}: `num_classes` is None, expected a number, as labels are "
                "numbers of classes"
            )
        if len(labels) != len(images):
            raise ShapeError(
                f"{type(self).__name__}: {len(images)} images have {len(labels)} labels"
            )
        if labels.ndim == 1 or self.num_classes is not None:
            assert self.num_classes is not None
            soft = Mixup(self.alpha, self.num_classes).rows(labels)
        else:
            soft = labels
        share = float(rng.beta(self.alpha, self.alpha))
        mixed, share = self._mix(images, share, rng)
        return mixed, np.asarray(share * soft + (1 - share) * np.roll(soft, 1, 0), soft.dtype)

    def _mix(self, images: Images, share: float, rng: Random) -> tuple[Images, float]:
        work = np.float64 if images.dtype == np.float64 else np.float32
        first: Images = channels_last(images).astype(work)  # (n, h, w, c)
        out: Images = first * share
        out += np.roll(first, 1, 0) * (1 - share)
        if images.dtype == np.uint8:
            np.rint(out, out=out)
        return out.astype(images.dtype).transpose(0, 3, 1, 2), share

    def __repr__(self) -> str:
        return f"{type(self).__name__}(alpha={self.alpha}, num_classes={self.num_classes})"


class CutMix(MixUp):
    """A rectangle of each image of a batch taken from the one before it, and labels mixed by area.

    It is called as `MixUp`. Source: Yun et al., "CutMix: regularization strategy to train strong
    classifiers with localizable features", 2019.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> images, labels = CutMix(num_classes=2)(tg.rand(2, 3, 8, 8), tg.tensor([0, 1]))
    >>> labels.sum(1)
    tensor([1., 1.])
    """

    def _mix(self, images: Images, share: float, rng: Random) -> tuple[Images, float]:
        h, w = images.shape[2:]
        row, column = (int(rng.random() * side) for side in (h, w))
        half = 0.5 * math.sqrt(1 - share)
        tall, wide = int(half * h), int(half * w)
        top, bottom = max(row - tall, 0), min(row + tall, h)
        left, right = max(column - wide, 0), min(column + wide, w)
        out = images.copy(order="K")
        out[:, :, top:bottom, left:right] = np.roll(images, 1, 0)[:, :, top:bottom, left:right]
        return out, 1 - (bottom - top) * (right - left) / (h * w)
