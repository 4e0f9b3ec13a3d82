"""What data sets of labelled pictures have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tinygrad_cnn.data.dataset import Dataset
from tinygrad_cnn.data.transforms import Normalize, ToFloat, Transform
from tinygrad_cnn.errors import DtypeError

Bytes = NDArray[np.uint8]


class ImageDataset(Dataset[tuple[Bytes, int]]):
    """Labelled images kept as bytes until a batch is built.

    A subclass defines ``pixels`` and ``labels``. A sample is ``(image, label)`` with the image as
    stored, uint8 (c, h, w). Batches from a `DataLoader` are float32 (n, c, h, w): augmented by
    ``transform``, then, where that has left bytes, normalised by ``mean`` and ``std`` (with
    ``normalize=False`` only scaled to [0, 1]).

    Examples
    --------
    >>> class Greys(ImageDataset):
    ...     classes, mean, std = ("dark", "light"), (0.5,), (0.25,)
    ...     pixels, labels = np.array([[[[0]]], [[[255]]]], np.uint8), np.array([0, 1])
    >>> from tinygrad_cnn.data import DataLoader
    >>> next(iter(DataLoader(Greys(), 2)))[0].flatten().tolist()
    [-2.0, 2.0]
    """

    transforms_batches = True
    classes: Sequence[str]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __init__(self, transform: Transform | None = None, normalize: bool = True) -> None:
        if transform is not None and not callable(transform):
            kind = type(transform).__name__
            raise DtypeError(f"{type(self).__name__}: `transform` is a {kind}, not callable")
        self.transform = transform
        self.finish = Normalize(self.mean, self.std) if normalize else ToFloat()

    @property
    def pixels(self) -> Bytes:
        """All images in memory order, uint8 (n, h, w, c)."""
        raise NotImplementedError(f"{type(self).__name__} does not define `pixels`")

    @property
    def labels(self) -> NDArray[np.int64]:
        """The number of each image's class, int64 (n,)."""
        raise NotImplementedError(f"{type(self).__name__} does not define `labels`")

    @property
    def images(self) -> Bytes:
        """All images, uint8 (n, c, h, w) (a view of ``pixels``)."""
        return self.pixels.transpose(0, 3, 1, 2)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Bytes, int]:
        return self.images[index], int(self.labels[index])

    def __getitems__(self, indices: Sequence[int]) -> tuple[Bytes, NDArray[np.int64]]:
        """Return images uint8 (n, c, h, w), in channels-last memory, and labels int64 (n,)."""
        rows = np.asarray(indices, np.int64)
        return self.pixels.take(rows, axis=0).transpose(0, 3, 1, 2), self.labels[rows]
