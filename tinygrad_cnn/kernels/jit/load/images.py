"""Images on their way to kernels: how they lie in memory, and what is still to be done to them.

Kernels take images channels last, (n, h, w, c), so that vectors run along the channels of a pixel.
A `Source` also says what its numbers stand for, in the few ways that training needs (`lazy.lower`):
kernels copy rows of it to memory that stays in the nearest caches (`fill`), and compute from there.

With fewer channels than a vector has lanes, vectors along the channels are mostly empty; those
along the pixels of a plane are full. Results with few channels are therefore (n, c, h, w) in
memory, and what reads them takes them so: `Planes`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from operator import is_
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES
from tinygrad_cnn.kernels.jit.load.rows import constant, kept_table, ordered, table_of
from tinygrad_cnn.kernels.jit.load.transpose import transpose_pixels
from tinygrad_cnn.kernels.lazy import Affine, Gradient, Lazy, lower, new_tuple, realize
from tinygrad_cnn.kernels.memory import empty
from tinygrad_cnn.kernels.tape import fixed, taping
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array

PIECE = 4096  # numbers that are put in another order at a time
FLOAT32 = np.dtype(np.float32)


def images(x: Array) -> Array | None:
    """Return x (n, c, h, w) as an (n, h, w, c) view, or None if it lies otherwise in memory or is
    not float32.
    """
    if x.ndim != 4 or x.dtype != FLOAT32 or x.size == 0:
        return None
    image = x.transpose(0, 2, 3, 1)
    flags = image.flags
    return image if flags.c_contiguous and flags.aligned else None


@kernel(entry=True)
def _to_channels_last(part: int, parts: int, x: Array, out: Array) -> None:
    """Write x (n, c, pixels) to out (n, pixels, c), in pieces that stay in the nearest cache."""
    n, pixels, c = out.shape
    step = max(64, PIECE // c // 64 * 64)
    pieces = (pixels + step - 1) // step
    for piece in range(n * pieces * part // parts, n * pieces * (part + 1) // parts):
        image, start = piece // pieces, piece % pieces * step
        count = min(step, pixels - start)
        transpose_pixels(
            out.ctypes.data + (image * pixels + start) * c * BYTES, c * BYTES, 0,
            x.ctypes.data + (image * c * pixels + start) * BYTES, pixels * BYTES, count, count, c,
        )  # fmt: skip


def exchanged(x: Array) -> Array:
    """Return dense float32 x (n, c, pixels) as (n, pixels, c)."""
    n, c, pixels = x.shape
    out = empty((n, pixels, c), FLOAT32)
    run(_to_channels_last, shares(2 * x.nbytes), x, out)
    return out


def images_like(g: Array, dtype: npt.DTypeLike = FLOAT32) -> Array:
    """Return g (n, c, h, w) as (n, h, w, c), copied if need be."""
    image = g.transpose(0, 2, 3, 1)
    flags = image.flags
    if flags.c_contiguous and flags.aligned and g.dtype == dtype:
        return image
    flags, (n, h, w, c) = g.flags, image.shape
    if g.dtype == dtype == FLOAT32 and g.size:
        if flags.c_contiguous and flags.aligned:
            return exchanged(g.reshape(n, c, h * w)).reshape(n, h, w, c)
        return ordered(image)
    out = empty((n, h, w, c), dtype)
    np.copyto(out, image, casting="unsafe")
    return out


def images_of(x: Array) -> Array | None:
    """Return x (n, c, h, w) as (n, h, w, c), copied if need be, or None if it is not float32 or
    has no numbers.
    """
    return images_like(x) if x.ndim == 4 and x.dtype == FLOAT32 and x.size else None


def in_rows(x: Array) -> Array | None:
    """As `reference.in_rows`, for dense images whose channels are last."""
    image = images(x)
    if image is None:
        return None
    n, h, w, c = image.shape
    return exchanged(image.reshape(n, h * w, c)).reshape(x.shape)


def nchw(image: Array) -> Array:
    """Return (n, h, w, c) as the caller sees it, (n, c, h, w)."""
    return image.transpose(0, 3, 1, 2)


def dense(x: Array) -> tuple[Array, Callable[[Array], Array]] | None:
    """Return a dense float32 x as (count,) numbers in the order of memory, and the function that
    gives such numbers x's shape; None if x is anything else.
    """
    flags = x.flags
    if x.dtype != FLOAT32 or x.size == 0 or not flags.aligned:
        return None
    shape = x.shape
    if flags.c_contiguous:
        return x.reshape(-1), lambda numbers: numbers.reshape(shape)
    image = images(x)
    if image is None:
        return None
    order = image.shape
    return image.reshape(-1), lambda numbers: numbers.reshape(order).transpose(0, 3, 1, 2)


def first_of(out: Array) -> Array:
    """Return an array (n, h, w, c) in a row, or its first number if that is no view: what kernels
    take as its address.
    """
    return out.reshape(-1) if out.flags.c_contiguous else out[:1, 0, 0, :1].reshape(-1)


def parameter(value: Array | None, default: float, shape: tuple[int, ...]) -> Array | None:
    """Return numbers of a shape, `default` where there are none, as kernels read them: in a row;
    None if they do not fit.
    """
    if value is None:
        return constant(default, math.prod(shape))
    if value.shape != shape or value.dtype != FLOAT32:
        return None
    flags = value.flags
    row = value if flags.c_contiguous and flags.aligned else ordered(value)
    return row if row.ndim == 1 else row.reshape(-1)


# ---- sources: what is made of the numbers as they are loaded ---------------------------------

# What a source stands for, with the numbers of a channel in the rows of its table:
COPY = 0  # x
AFFINE = 1  # max(x*a + b, d); d is 0 for a rectifier, else minus infinity; e and f are a and b
GRADIENT = 2  # (x where other*e + f > 0, else 0)*a + other*b + d
PLANAR = 3  # x, which lies plane by plane in memory; its mode has what is between images and planes


ZERO, LEAST = 0.0, -np.inf  # d of those with a rectifier, and of those without

# One of the above; kh and kw of the windows in which x is scattered, or 0; address of the index. Of
# what is planar: 0; bytes from one image to the next, and from one plane.
Mode = tuple[int, int, int, int]
Images = Array | Lazy
_COPY, _AFFINE, _GRADIENT = (COPY, 0, 0, 0), (AFFINE, 0, 0, 0), (GRADIENT, 0, 0, 0)


class Source(NamedTuple):
    """Images in memory and what is to be made of their numbers."""

    # (n, h, w, c), C-contiguous unless it is planar; where it is scattered, (n, h/kh, w/kw, c)
    x: Array
    other: Array  # (n, h, w, c), or x again where there is none
    table: Array  # (5, c): numbers per channel
    mode: Mode
    places: Array | None  # uint8 of x's shape: where in its window a number goes
    pixels: Pixels


class Pixels(NamedTuple):
    """A source as kernels take it: x and other as one row of floats each."""

    x: Array
    other: Array
    table: Array
    mode: Mode


def _source(x: Array, other: Array, table: Array, mode: Mode, places: Array | None) -> Source:
    numbers = x[0, :, :, 0].reshape(-1) if mode[0] == PLANAR else x.reshape(-1)  # the first plane
    beside = numbers if other is x else other.reshape(-1)
    pixels = new_tuple(Pixels, (numbers, beside, table, mode))
    return new_tuple(Source, (x, other, table, mode, places, pixels))


@lru_cache(maxsize=64)
def _no_table(c: int) -> Array:
    return fixed(np.array([[1], [-0.0], [-np.inf], [0], [0]], np.float32).repeat(c, 1))


def affine_table(x: Images | None, c: int, moved: Affine | None) -> Array:
    """Return the table of an `AFFINE` source x; of one that leaves every number as it is, -0 too,
    if there is none.
    """
    if moved is None:
        return _no_table(c)
    scale, shift = moved.scale, moved.shift
    return kept_table(x, c, scale, shift, ZERO if moved.relu else LEAST, scale, shift)


def source_of(x: Images) -> Source:
    """Return float32 x (n, c, h, w) as a source; what is not channels last is copied, and what
    cannot be computed on the way is realized.

    A `Lazy` keeps it for the next reader. Who records has each reader make its own.
    """
    found = lower(x)
    if type(x) is not Lazy or taping or found is None:
        return _made_source(x, found)
    parts = (found,) if isinstance(found, np.ndarray) else found
    known = x.source
    if known is None or len(known[0]) != len(parts) or not all(map(is_, known[0], parts)):
        known = x.source = parts, _made_source(x, found)
    source: Source = known[1]
    return source


def _made_source(x: Images, found: Array | Affine | Gradient | None) -> Source:
    if type(found) is Affine:
        image, c = images_like(found.x), found.x.shape[1]
        return _source(image, image, affine_table(x, c, found), _AFFINE, None)
    if type(found) is Gradient:
        source = gradient_source(found, x)
        if source is not None:
            return source
    return _unchanged(images_like(realize(x)))


def _unchanged(image: Array) -> Source:
    """Return images (n, h, w, c), channels last in memory, as a source."""
    return _source(image, image, _no_table(image.shape[3]), _COPY, None)


def planar_source(x: Images) -> Source:
    """Return x as `source_of`, but an array whose planes are dense as it is, without a copy."""
    array = x.expr[1] if type(x) is Lazy and x.expr[0] == "load" else x
    if not isinstance(array, np.ndarray) or not array.flags.aligned:
        return source_of(x)
    image = array.transpose(0, 2, 3, 1)  # (n, h, w, c)
    if image.flags.c_contiguous:
        return source_of(x)
    h, w = x.shape[2:]
    dense = (w == 1 or array.strides[3] == BYTES) and (h == 1 or array.strides[2] == w * BYTES)
    if not dense:
        return source_of(x)
    mode = (PLANAR, 0, array.strides[0], array.strides[1])
    return _source(image, image, _no_table(x.shape[1]), mode, None)


def gradient_source(found: Gradient, x: Images | None = None) -> Source | None:
    """Return a gradient, to which x was lowered, as a source; None if its windows do not tile the
    image.
    """
    held = gradient_images(found)
    return None if held is None else with_table(held, kept_table(x, held.c, *found[2:7]))


class GradientImages(NamedTuple):
    """What is to be loaded for a gradient: all of a `Source` but its table."""

    x: Array
    other: Array
    mode: Mode
    places: Array | None
    c: int


def with_table(held: GradientImages, table: Array) -> Source:
    """Return the source of these images."""
    return _source(held.x, held.other, table, held.mode, held.places)


def gradient_images(found: Gradient) -> GradientImages | None:
    """Return the images of a gradient; None if its windows do not tile the image."""
    image = images_like(found.x)
    h, w, c = image.shape[1:]
    g = found.g
    if found.places is None:
        return new_tuple(GradientImages, (images_like(g), image, _GRADIENT, None, c))
    kh, kw = found.kernel_size
    tiled = g.shape[2:] == (h // kh, w // kw) and h % kh == 0 and w % kw == 0
    if not tiled or found.places.dtype != np.uint8 or g.dtype != FLOAT32:
        return None
    places = images_like(found.places, np.uint8)
    mode = (GRADIENT, kh, kw, places.ctypes.data)
    return GradientImages(images_like(g), image, mode, places, c)


def some_images(source: Source, first: int, stop: int) -> Source:
    """Return images [first, stop) of a source."""
    x, other, table, mode, places, _ = source
    if places is not None:
        places = places[first:stop]
        mode = (*mode[:3], places.ctypes.data)
    some = x[first:stop]
    return _source(some, some if other is x else other[first:stop], table, mode, places)


# ---- planes -----------------------------------------------------------------------------------

# How the numbers lie:
PLANES = 0  # x (n, c, h, w), as they are
SCATTERED = 1  # `GRADIENT` of x (n, c, h/2, w/2), `other` (n, c, h, w), index like x
PIXELS = 2  # channels last, a `Source`

_NO_PLACES = fixed(np.zeros(1, np.uint8))
_NO_TABLE = fixed(np.zeros((5, 1), np.float32))


class Planes(NamedTuple):
    """Images as kernels take them: rows of numbers, and what they stand for."""

    x: Array
    other: Array
    places: Array
    table: Array  # (5, c)
    mode: Mode  # may point to the places
    kind: int


def are_planes(x: Array, dtype: object = FLOAT32) -> bool:
    """Return whether x (n, c, h, w) lies plane by plane in memory."""
    flags = x.flags
    return x.dtype == dtype and flags.c_contiguous and flags.aligned


def scattered_planes(x: Gradient) -> Planes | None:
    """Return the gradient behind pooling of 2 x 2 pixels, if all of it lies plane by plane."""
    g, index = x.g, x.places
    if index is None or x.kernel_size != (2, 2):
        return None
    h, w = x.x.shape[2:]
    fits = g.shape[2:] == (h // 2, w // 2) and h % 2 == w % 2 == 0 and are_planes(index, np.uint8)
    if not fits or not are_planes(g) or not are_planes(x.x):
        return None
    return Planes(
        g.reshape(-1), x.x.reshape(-1), index.reshape(-1), table_of(x.x.shape[1], *x[2:7]),
        (0, 0, 0, 0), SCATTERED,
    )  # fmt: skip


def planes_of(x: Array | Lazy) -> Planes:
    """Return float32 x (n, c, h, w) for kernels; what cannot be computed on the way is realized."""
    found = lower(x)
    if isinstance(found, np.ndarray) and are_planes(found):
        numbers = found.reshape(-1)
        return Planes(numbers, numbers, _NO_PLACES, _NO_TABLE, (0, 0, 0, 0), PLANES)
    if type(found) is Gradient:
        planes = scattered_planes(found)
        if planes is not None:
            return planes
    source = source_of(x)
    numbers, other, table, mode = source.pixels
    places = _NO_PLACES if source.places is None else source.places.reshape(-1)
    return Planes(numbers, other, places, table, mode, PIXELS)
