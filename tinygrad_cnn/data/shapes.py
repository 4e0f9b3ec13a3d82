"""Shapes: ten kinds of figures drawn on the fly, so that training works without any download."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import platform
import threading
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_cnn.data import rendering
from tinygrad_cnn.data.images import Bytes, ImageDataset
from tinygrad_cnn.data.keyed import Words, keys
from tinygrad_cnn.data.rendering import Floats
from tinygrad_cnn.data.transforms import Transform
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.kernels.forks import free_in_child
from tinygrad_cnn.notices import saying

Numbers = Floats | np.float32
Corners = list[tuple[float, float]]
Figure = Callable[[Floats, Floats], Floats]  # signed distance of points, where the radius is 1

_TURN: Final = 2 * math.pi
_DRAWING: Final = free_in_child(threading.Lock())
_KEPT: Final = 1000  # sets of so many images and more are kept on disk
_PART: Final = 128  # images drawn together: their planes stay in the processor's cache


def _radial(radii: list[float]) -> Corners:
    """Return corners at equal angles about the origin, the first at the top."""
    angles = [_TURN * k / len(radii) - math.pi / 2 for k in range(len(radii))]
    return [(r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


def _quartered(corners: Corners) -> Corners:
    """Return ``corners`` followed by their quarter turns about the origin."""
    quarters = [(1, 0), (0, 1), (-1, 0), (0, -1)]  # cosine and sine
    return [(c * x + s * y, c * y - s * x) for c, s in quarters for x, y in corners]


_ARROW: Final = [(1.1, 0), (0.2, 0.85), (0.2, 0.3), (-1, 0.3)]  # its lower half
_HOURGLASS: Final = [(-0.8, -1), (0.8, -1), (0.14, 0), (0.8, 1), (-0.8, 1), (-0.14, 0)]
_FIGURES: Final[dict[str, Figure]] = {
    "circle": rendering.circle,
    "square": partial(rendering.polygon, corners=_quartered([(0.75, 0.75)])),
    "triangle": partial(rendering.polygon, corners=_radial([1.05] * 3)),
    "star": partial(rendering.polygon, corners=_radial([1.1, 0.46] * 5)),
    "cross": partial(rendering.polygon, corners=_quartered([(0.3, 1), (0.3, 0.3), (1, 0.3)])),
    "heart": rendering.heart,
    "crescent": rendering.crescent,
    "arrow": partial(rendering.polygon, corners=[*_ARROW, *[(x, -y) for x, y in _ARROW[:0:-1]]]),
    "hourglass": partial(rendering.polygon, corners=_HOURGLASS),
    "leaf": rendering.leaf,
}


class _Scene:
    """Draws a part of the images of one class: what is drawn in what order, and how it varies.

    Lengths are in 32nds of the image's side, brightness and opacity in [0, 1].
    """

    def __init__(self, key: Words, size: int) -> None:
        self.key, self.unit = key, np.float32(size / 32)
        self.numbers = iter(rendering.uniforms(key, 72).T)  # each (n,)
        grid = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / self.unit - np.float32(16)
        self.x, self.y = np.tile(grid, size)[None], np.repeat(grid, size)[None]  # (1, pixels)
        self.light = self.draw(0.15, 0.85)  # brightness of the background
        self.canvas = self.background()  # (n, 3, pixels)

    def draw(self, low: float, high: float) -> Floats:
        """Return one random number in [low, high) for each image (n,)."""
        out: Floats = np.float32(low) + np.float32(high - low) * next(self.numbers)
        return out

    def color(self, brightness: Floats) -> Floats:
        """Return colours (n, 3) of given brightness and random hue and saturation."""
        hue, chroma = self.draw(0, _TURN), self.draw(0.05, 0.4)
        thirds = np.asarray([0, _TURN / 3, 2 * _TURN / 3], np.float32)
        tint: Floats = chroma[:, None] * np.cos(hue[:, None] - thirds)
        return brightness[:, None] + tint

    def background(self) -> Floats:
        """Return a gradient between two colours of similar brightness (n, 3, pixels)."""
        first = self.color(self.light + self.draw(-0.12, 0.12))[:, :, None]
        last = self.color(self.light + self.draw(-0.12, 0.12))[:, :, None]
        along, _ = self.frame(np.float32(0), np.float32(0), self.draw(0, _TURN))
        return first + (last - first) * (along / np.float32(46) + np.float32(0.5))[:, None, :]

    def frame(
        self, cx: Floats | np.float32, cy: Floats | np.float32, angle: Floats
    ) -> tuple[Floats, Floats]:
        """Return the pixels' coordinates (n, pixels) in a frame at (cx, cy), turned."""
        dx, dy = self.x - np.reshape(cx, (-1, 1)), self.y - np.reshape(cy, (-1, 1))
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        return cos * dx + sin * dy, cos * dy - sin * dx

    def paint(self, distance: Floats, color: Floats, opacity: Floats) -> None:
        """Fill, in place, what lies inside of a signed distance (n, pixels)."""
        alpha = rendering.coverage(distance * self.unit)
        alpha *= opacity[:, None]
        rendering.blend(self.canvas, color, alpha)

    def clutter(self) -> None:
        """Scribble a short line or a dot."""
        x, y = self.frame(self.draw(-16, 16), self.draw(-16, 16), self.draw(0, math.pi))
        half_length, radius = np.maximum(self.draw(-2, 7), 0), self.draw(0.5, 1.3)
        color = self.color(self.light + self.draw(-0.45, 0.45))
        distance = rendering.capsule(x, y, half_length[:, None], radius[:, None])
        self.paint(distance, color, self.draw(0.3, 0.9))

    def figure(self, figure: Figure) -> None:
        """Draw the figure, filled or in outline, clearly brighter or darker than its ground."""
        step, brighter = self.draw(0.3, 0.6), self.light + self.draw(-0.25, 0.25) < 0.5
        color = self.color(np.where(brighter, self.light + step, self.light - step))
        radius, stretch = self.draw(9, 13), np.exp(self.draw(-0.12, 0.12))
        room = 16 - np.float32(0.95) * radius
        x, y = self.frame(self.draw(-1, 1) * room, self.draw(-1, 1) * room, self.draw(0, _TURN))
        across, down = (radius * stretch)[:, None], (radius / stretch)[:, None]
        distance = figure(np.divide(x, across), np.divide(y, down))
        distance *= radius[:, None]
        outlined, pen = self.draw(0, 1) < 0.5, self.draw(0.9, 1.5)[:, None]
        distance = np.where(outlined[:, None], np.abs(distance + pen) - pen, distance)
        self.paint(distance, color, self.draw(0.75, 1))

    def developed(self) -> Bytes:
        """Return the canvas with noise as bytes (n, 3, pixels)."""
        n, pixels = len(self.key), self.canvas.shape[2]
        noise = rendering.noise_bytes(self.key, 3 * pixels).astype(np.float32)
        noise -= np.float32(127.5)
        noise *= self.draw(0.02, 0.18)[:, None]
        self.canvas *= 255
        self.canvas += noise.reshape(n, 3, pixels)
        return np.clip(self.canvas, 0, 255, out=self.canvas).astype(np.uint8)


def render_shapes(
    indices: NDArray[np.int64], *, train: bool = True, seed: int = 0, size: int = 32
) -> Bytes:
    """Draw images of the given numbers (n,) as uint8 (n, size, size, 3).

    Each depends on ``(seed, train, number)`` and nothing else; number ``i`` is of class ``i % 10``.

    Examples
    --------
    >>> some = render_shapes(np.array([7, 3]))
    >>> np.array_equal(some[1], render_shapes(np.arange(10))[3])
    True
    """
    out = np.empty((len(indices), size, size, 3), np.uint8)
    key = keys(seed, 0 if train else 1, indices)
    for label, figure in enumerate(_FIGURES.values()):
        mine = np.flatnonzero(indices % len(_FIGURES) == label)
        for start in range(0, len(mine), _PART):
            chosen = mine[start : start + _PART]
            scene = _Scene(key[chosen], size)
            for _ in range(4):
                scene.clutter()
            scene.figure(figure)
            scene.clutter()  # one in front
            drawn = scene.developed().reshape(-1, 3, size, size)
            out[chosen] = drawn.transpose(0, 2, 3, 1)  # (n, size, size, 3)
    return out


@cache
def _sources() -> str:
    """What the bytes of images depend on, besides what they are images of."""
    parts = [np.__version__, platform.machine(), *np.__config__.CONFIG.get("SIMD Extensions", ())]
    for name in ("shapes", "rendering", "keyed"):
        parts.append(Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:20]


def _kept_or_drawn(n: int, train: bool, seed: int, size: int) -> Bytes:
    """All images of a set, from the user's cache folder or drawn; many are put there."""
    numbers, shape = np.arange(n), (n, size, size, 3)
    if n < _KEPT:
        return render_shapes(numbers, train=train, seed=seed, size=size)
    import tempfile  # with shutil and platformdirs they are loaded only where a file is kept

    import platformdirs

    folder = platformdirs.user_cache_path("tinygrad_cnn", appauthor=False, opinion=False) / "shapes"
    name = f"{_sources()}-{'train' if train else 'test'}-{n}-{seed}-{size}.npy"
    with contextlib.suppress(OSError, ValueError, EOFError):  # not there, or damaged
        if not (folder / name).is_file():  # a pipe would be waited for
            raise FileNotFoundError
        kept = np.load(folder / name, mmap_mode="c", allow_pickle=False)
        if kept.shape == shape and kept.dtype == np.uint8:
            return np.asarray(kept)
    with saying(f"drawing {n:,} images of shapes, once"):
        drawn = render_shapes(numbers, train=train, seed=seed, size=size)
    with contextlib.suppress(OSError):  # they are drawn again the next time
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".tmp", delete=False) as file:
            np.save(file, drawn)
            file.flush()
            os.fsync(file.fileno())  # a power cut must not leave zeros under the name
        os.replace(file.name, folder / name)
    return drawn


class Shapes(ImageDataset):
    """Ten kinds of figures, drawn rather than downloaded: a first data set for image classifiers.

    Filled or outlined figures in random colour, place, size, stretch and rotation, on a gradient
    with clutter and noise. Image ``i`` is of class ``i % 10`` and depends on ``(seed, train, i)``
    only. All are drawn when the first is asked for (some seconds for 10,000), then kept as bytes;
    sets of 1,000 and more also on disk, among the user's caches (``tinygrad_cnn/shapes``).

    Parameters
    ----------
    n
        how many; by default 10,000 to train on and 2,000 to test with.
    train
        training or test images, which are different ones.
    seed
        another seed gives another set.
    size
        height and width in pixels.
    transform
        a batch transform that `DataLoader` applies.
    normalize
        whether batches are normalised by ``Shapes.mean`` and ``Shapes.std``.

    Examples
    --------
    >>> image, label = Shapes(20)[13]
    >>> image.shape, Shapes.classes[label]
    ((3, 32, 32), 'star')
    """

    classes: Sequence[str] = tuple(_FIGURES)
    mean: tuple[float, ...] = (0.4978, 0.4969, 0.4973)
    std: tuple[float, ...] = (0.2531, 0.2518, 0.2537)

    def __init__(
        self,
        n: int | None = None,
        *,
        train: bool = True,
        seed: int = 0,
        size: int = 32,
        transform: Transform | None = None,
        normalize: bool = True,
    ) -> None:
        super().__init__(transform, normalize)
        n = (10_000 if train else 2_000) if n is None else n
        if n < 0:
            raise ArgumentError(f"Shapes: `n` must not be negative, got {n}")
        if size < 8:
            raise ArgumentError(f"Shapes: `size` must be at least 8 pixels, got {size}")
        self.train, self.seed, self.size = train, seed, size
        self._labels = np.arange(n) % len(_FIGURES)
        self._pixels: Bytes | None = None

    @property
    def pixels(self) -> Bytes:
        """All images in memory order, uint8 (n, size, size, 3)."""
        with _DRAWING:  # of several worker threads, one draws and the others wait
            if self._pixels is None:
                self._pixels = _kept_or_drawn(len(self), self.train, self.seed, self.size)
            return self._pixels

    @property
    def labels(self) -> NDArray[np.int64]:
        """The number of each image's class, int64 (n,)."""
        return self._labels

    def __repr__(self) -> str:
        part = "train" if self.train else "test"
        return f"Shapes({part}: {len(self)} images of {self.size}x{self.size}, seed {self.seed})"
