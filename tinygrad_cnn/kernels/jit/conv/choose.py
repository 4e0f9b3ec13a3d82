"""Which algorithm suits which convolution, and how it reads its images: matters of time alone."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tinygrad_cnn.kernels.algorithm import conv_algorithm
from tinygrad_cnn.kernels.jit.compile.vector import BYTES
from tinygrad_cnn.kernels.jit.conv import direct as conv_direct
from tinygrad_cnn.kernels.jit.conv import narrow as conv_few
from tinygrad_cnn.kernels.jit.conv.plan import rereads
from tinygrad_cnn.kernels.jit.load.pixels import PLANAR, Source, source_of, table_of
from tinygrad_cnn.kernels.lazy import Lazy
from tinygrad_cnn.kernels.reference.conv import supports_winograd
from tinygrad_cnn.kernels.reference.correlate import Windows
from tinygrad_cnn.kernels.reference.layout import Array

Images = Array | Lazy

# As long as this many multiply-adds of direct convolution, per pair of channels, take, measured,
PER_TILE = 54  # the products for a tile of 16 outputs, and its transforms
PER_FILTER = 1000  # the transforms of a filter
MOST_REREADS = 1.5  # of images whose pixels change their order on the way: else they do it once


def winograd_pays(windows: Windows, n: int, c: int, f: int) -> bool:
    """Return whether to use Winograd's algorithm, for n images with c channels in and f out.

    For few pixels the transforms of the filters take longer than the products.

    >>> windows = Windows((3, 3), (8, 8), (-1, -1), (1, 1), (1, 1), 1)
    >>> winograd_pays(windows, 1, 128, 128), winograd_pays(windows, 64, 128, 128)
    (False, True)
    """
    return _winograd_pays(windows, n, c, f, conv_algorithm())


@lru_cache(maxsize=512)
def _winograd_pays(windows: Windows, n: int, c: int, f: int, wanted: str) -> bool:
    if not supports_winograd(windows, c, f):
        return False
    oh, ow = windows.size
    tiles = -(-oh // 4) * -(-ow // 4)
    there = n * tiles * PER_TILE + PER_FILTER + c * f // 50  # large ones leave the caches
    return wanted == "winograd" or there < n * oh * ow * 9


def planar_source(x: Images) -> Source:
    """Return x as `source_of`, but an array whose planes are dense as it is, without a copy."""
    if type(x) is Lazy and x.is_realized:
        x = x.realize()
    if not isinstance(x, np.ndarray) or not x.flags.aligned:
        return source_of(x)
    image = x.transpose(0, 2, 3, 1)  # (n, h, w, c)
    h, w = x.shape[2:]
    dense = (w == 1 or x.strides[3] == BYTES) and (h == 1 or x.strides[2] == w * BYTES)
    if not dense or image.flags.c_contiguous:
        return source_of(x)
    return Source(image, image, table_of(x.shape[1]), (PLANAR, 0, x.strides[0], x.strides[1]))


def image_source(x: Images, windows: Windows, parts: int) -> Source:
    """Return x as `source_of`; as it is if it lies plane by plane and few rows are read again."""
    n, c, h, w = x.shape
    if rereads((n, h, w, c), windows, parts) <= MOST_REREADS:
        return planar_source(x)
    return source_of(x)


def few(f: int, depth: int) -> bool:
    """Return whether vectors along windows of `depth` are fuller than along f filters."""
    lanes, block = conv_few.LANES, conv_few.FEW_FILTERS
    along = (f + -f % block) * (depth + -depth % lanes)
    rows = conv_direct.ROWS
    return along < (depth + -depth % rows) * (f + -f % lanes)
