"""The look of all pictures: figures without a display or pyplot's global state, colours, grids.

Colours are from Okabe and Ito's palette ("Color Universal Design", 2008), which people with any
kind of colour vision can tell apart; curves also differ in their markers and dashes.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array

Look = dict[str, Any]
PALETTE: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
TRAIN: Final[Look] = {"color": PALETTE[0], "marker": "o", "linestyle": "-"}
VALIDATION: Final[Look] = {"color": PALETTE[1], "marker": "s", "linestyle": "--"}
QUIET: Final = "#666666"

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]
StrPath = str | os.PathLike[str]


class Picture(Figure):
    """A Matplotlib figure that notebooks show without pyplot."""

    def _repr_png_(self) -> bytes:
        out = io.BytesIO()
        self.savefig(out, format="png")
        return out.getvalue()


def new_figure(
    width: float, height: float, layout: Literal["constrained"] | None = "constrained"
) -> Figure:
    """An empty figure of so many inches."""
    figure = Picture(figsize=(width, height), dpi=130, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def grid_of(
    tiles: Sequence[Array],
    columns: int,
    *,
    titles: Sequence[str] = (),
    rows: Sequence[str] = (),
    heading: str = "",
    side: float = 1.2,
    cmap: str = "gray",
) -> Figure:
    """Images (h, w, c) or (h, w) in rows, below their ``titles`` and right of the rows' names.

    All are on one axes, whose units are inches: an axes for each, and finding room for all of
    them, takes many times as long as drawing them.

    Examples
    --------
    >>> figure = grid_of([np.zeros((4, 4))] * 3, 2, titles=["a", "b", "c"])
    >>> len(figure.axes[0].images), [text.get_text() for text in figure.axes[0].texts]
    (3, ['a', 'b', 'c'])
    """
    gap, line, size = 0.08, 0.14, 8.0
    count = max(math.ceil(len(tiles) / columns), 1)
    titled = math.ceil(len(titles) / columns)  # rows with room for titles above them
    above = line * max((t.count("\n") + 1 for t in titles), default=0)
    left, top = (0.3 if rows else gap), (0.25 + 0.16 * heading.count("\n") if heading else 0.0)
    width, height = left + columns * (side + gap), top + count * (side + gap) + titled * above + gap
    figure = new_figure(max(width, 2.5), height, None)

    def place(row: int) -> float:
        return top + row * (side + gap) + min(row + 1, titled) * above + gap

    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    for i, tile in enumerate(tiles):
        x, y = left + i % columns * (side + gap), place(i // columns)
        shown = tile[..., 0] if tile.shape[-1] == 1 and tile.ndim == 3 else tile
        axes.imshow(
            shown,
            cmap=cmap,
            vmin=0,
            vmax=1,
            interpolation="nearest",
            extent=(x, x + side, y + side, y),
            aspect="auto",
        )
        if i < len(titles):
            where: Look = {"ha": "center", "va": "bottom", "fontsize": size}
            axes.text(x + side / 2, y - 0.03, titles[i], **where)
    for row, name in enumerate(rows):
        y = place(row) + side / 2
        axes.text(left / 2, y, name, ha="center", va="center", rotation=90, fontsize=size)
    if heading:
        axes.text(max(width, 2.5) / 2, 0.06, heading, ha="center", va="top", fontsize=size + 1)
    axes.set_xlim(0, max(width, 2.5))
    axes.set_ylim(height, 0)
    return figure


def save(figure: Figure, path: StrPath | None) -> Figure:
    """Write ``figure`` to ``path``, if one is given, and return it."""
    if path is not None:
        figure.savefig(path)
    return figure


def plain_axes(axes: Axes, grid: str = "both") -> None:
    """Light grid lines behind the data, and no frame above and on the right."""
    axes.grid(axis=grid, color="#dddddd", linewidth=0.7)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def hide_ticks(axes: Axes) -> None:
    """No ticks and no frame: the axes hold an image."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def to_pixels(
    images: Tensor | Array,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> NDArray[np.float32]:
    """Images (n, c, h, w) or (c, h, w) as they are shown: (n, h, w, 3) or (n, h, w, 1) in [0, 1].

    Bytes are divided by 255; of floats, the normalisation by ``mean`` and ``std`` is undone.

    Raises
    ------
    ValueError
        The shape is another one, or there are neither 1 nor 3 channels.

    Examples
    --------
    >>> to_pixels(np.array([[[[-1.0, 1.0]]]]), mean=[0.5], std=[0.25]).ravel().tolist()
    [0.25, 0.75]
    """
    array = images._array if isinstance(images, Tensor) else np.asarray(images)
    array = array[None] if array.ndim == 3 else array
    if array.ndim != 4 or array.shape[1] not in (1, 3):
        raise ArgumentError(
            f"to_pixels: `images` has shape {array.shape}, expected (n, c, h, w) with 1 or 3 "
            "channels"
        )
    pixels = array.transpose(0, 2, 3, 1).astype(np.float32)  # (n, h, w, c)
    if array.dtype == np.uint8:
        return pixels / np.float32(255)
    if mean is not None and std is not None:
        pixels = pixels * np.asarray(std, np.float32) + np.asarray(mean, np.float32)
    return pixels.clip(0, 1)


def mosaic(tiles: Array, columns: int | None = None, gap: int = 1) -> Array:
    """Tiles (n, h, w) or (n, h, w, c) in one picture, row by row, with nan between them.

    Examples
    --------
    >>> mosaic(np.ones((3, 2, 2)), columns=2).shape
    (5, 5)
    """
    n, h, w = tiles.shape[:3]
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    size = rows * (h + gap) - gap, columns * (w + gap) - gap
    out = np.full((*size, *tiles.shape[3:]), np.nan, np.float32)
    for i, tile in enumerate(tiles):
        top, left = i // columns * (h + gap), i % columns * (w + gap)
        out[top : top + h, left : left + w] = tile
    return out
