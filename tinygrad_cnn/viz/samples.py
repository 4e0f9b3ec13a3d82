"""Images in rows: what a transform makes of them, and those that a model gets wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from tinygrad_cnn.data.keyed import SampleRandom, keys
from tinygrad_cnn.data.transforms import Transform, apply
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array
from tinygrad_cnn.viz.style import StrPath, grid_of, save, to_pixels


def show_augmentation(
    images: Tensor | Array,
    transform: Transform,
    path: StrPath | None = None,
    *,
    rows: int = 3,
    seed: int = 0,
    labels: Array | None = None,
) -> Figure:
    """Up to ten ``images`` (n, c, h, w), and below them ``rows`` of what ``transform`` makes.

    Images are bytes or floats in [0, 1]: draw them before they are normalised. ``labels`` (n,) are
    needed by a transform that changes them, such as `Mixup`.

    Examples
    --------
    >>> from tinygrad_cnn.data import RandomHorizontalFlip, Shapes
    >>> figure = show_augmentation(Shapes(4).images, RandomHorizontalFlip(), rows=2)
    >>> len(figure.axes[0].images)
    12
    """
    array = (images._array if isinstance(images, Tensor) else images)[:10]
    if labels is None:
        labels = np.zeros(len(array), np.int64)
    shown = [to_pixels(array)]
    for row in range(rows):
        rng = SampleRandom(keys(seed, row, np.arange(len(array))))
        shown.append(to_pixels(apply(transform, array, rng, labels[: len(array)])[0]))
    names = ["original", *["augmented"] * rows]
    tiles = [tile for row in shown for tile in row]
    figure = grid_of(tiles, max(len(array), 1), rows=names, heading=_named(transform), side=0.87)
    return save(figure, path)


def image_grid(
    images: Tensor | Array,
    titles: Sequence[str],
    path: StrPath | None = None,
    *,
    columns: int = 8,
    heading: str = "",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Figure:
    """Images (n, c, h, w) in rows, each below its title; ``mean`` and ``std`` undo normalisation.

    Examples
    --------
    >>> figure = image_grid(np.zeros((3, 1, 4, 4)), ["a", "b", "c"], columns=2)
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['a', 'b', 'c']
    """
    tiles = to_pixels(images, mean, std)
    columns = min(columns, max(len(tiles), 1))
    return save(grid_of(list(tiles), columns, titles=titles, heading=heading), path)


def _named(transform: Transform) -> str:
    """The transforms, a line each where they are long."""
    parts = [repr(t) for t in getattr(transform, "transforms", [transform])]
    lines = [""]
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part) > 110:
            lines.append("")
        lines[-1] += (", " if lines[-1] else "") + part
    return "\n".join(lines)
