"""Images in rows: what a transform makes of them, and those that a model gets wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tinygrad_cnn.data.keyed import SampleRandom, keys
from tinygrad_cnn.data.transforms import Transform, apply
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.viz.style import StrPath, hide_ticks, new_figure, save, to_pixels


def show_augmentation(
    images: Tensor | NDArray[Any],
    transform: Transform,
    path: StrPath | None = None,
    *,
    rows: int = 3,
    seed: int = 0,
    labels: NDArray[Any] | None = None,
) -> Figure:
    """Up to ten ``images`` (n, c, h, w), and below them ``rows`` of what ``transform`` makes.

    Images are bytes or floats in [0, 1]: draw them before they are normalised. ``labels`` (n,) are
    needed by a transform that changes them, such as `Mixup`.

    Examples
    --------
    >>> from tinygrad_cnn.data import RandomHorizontalFlip, Shapes
    >>> figure = show_augmentation(Shapes(4).images, RandomHorizontalFlip(), rows=2)
    >>> len(figure.axes)
    12
    """
    array = (images._array if isinstance(images, Tensor) else images)[:10]
    if labels is None:
        labels = np.zeros(len(array), np.int64)
    shown = [to_pixels(array)]
    for row in range(rows):
        rng = SampleRandom(keys(seed, row, np.arange(len(array))))
        shown.append(to_pixels(apply(transform, array, rng, labels[: len(array)])[0]))
    count = len(array)
    figure = new_figure(0.95 * count + 0.6, 0.95 * (rows + 1) + 0.5)
    grid = figure.subplots(rows + 1, count, squeeze=False)
    for row, tiles in enumerate(shown):
        for axes, tile in zip(grid[row], tiles, strict=True):
            _show(axes, tile)
        grid[row, 0].set_ylabel("augmented" if row else "original", fontsize=8)
    figure.suptitle(_named(transform), fontsize=9)
    return save(figure, path)


def image_grid(
    images: Tensor | NDArray[Any],
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
    >>> [axes.get_title() for axes in figure.axes]
    ['a', 'b', 'c', '']
    """
    tiles = to_pixels(images, mean, std)
    columns = min(columns, max(len(tiles), 1))
    rows = max(math.ceil(len(tiles) / columns), 1)
    lines = max((title.count("\n") + 1 for title in titles), default=1)
    figure = new_figure(1.25 * columns, (1.15 + 0.15 * lines) * rows + 0.35 * bool(heading))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for i, axes in enumerate(grid):
        if i < len(tiles):
            _show(axes, tiles[i])
            axes.set_title(titles[i], fontsize=7.5)
        else:
            hide_ticks(axes)
    if heading:
        figure.suptitle(heading, fontsize=11)
    return save(figure, path)


def _show(axes: Any, tile: NDArray[Any]) -> None:
    shown = tile[..., 0] if tile.shape[-1] == 1 else tile
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    hide_ticks(axes)


def _named(transform: Transform) -> str:
    """The transforms, a line each where they are long."""
    parts = [repr(t) for t in getattr(transform, "transforms", [transform])]
    lines = [""]
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part) > 110:
            lines.append("")
        lines[-1] += (", " if lines[-1] else "") + part
    return "\n".join(lines)
