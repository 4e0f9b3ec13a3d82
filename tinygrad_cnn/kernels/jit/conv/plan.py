"""Where the windows of a convolution lie in memory: jobs, tables of distances, zeros around images.

A job is a band of output rows of one image, or several small images, of some 256 outputs. If its
windows reach into the padding, its area is first copied to scratch memory with zeros around it,
which costs one pass over the input in cache.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tinygrad_cnn.kernels.checks import Pair
from tinygrad_cnn.kernels.conv_spec import Windows
from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, TILE
from tinygrad_cnn.kernels.jit.linear.products import clear_bytes
from tinygrad_cnn.kernels.jit.load.fill import fill_row
from tinygrad_cnn.kernels.jit.load.images import COPY, PLANAR, Pixels
from tinygrad_cnn.kernels.jit.load.transpose import transpose_pixels
from tinygrad_cnn.kernels.tape import fixed
from tinygrad_cnn.types import Array

PIECE = 1024  # pixels whose products are added in registers
JOB_PIXELS = 256  # outputs of one job: enough to read a packed filter often
JOB_BYTES = 1 << 18  # of the input area of one job: stays in a second-level cache
LANES = TILE.lanes
MOST_ROWS = 16  # of any micro-kernel: by how much tables are longer


class Geometry(NamedTuple):
    """The numbers of a convolution that kernels need, in pixels and floats."""

    n: int
    h: int
    w: int
    c: int
    oh: int
    ow: int
    top: int  # of the first window in the image: negative in the padding
    left: int
    stride: int  # between rows of windows
    reach: int  # rows that a window spans
    width: int  # columns of the area under all windows
    images: int  # of a job
    rows: int  # of outputs of a job
    bands: int  # jobs of an image
    jobs: int
    copied: int  # whether areas are copied to scratch memory
    groups: int
    tap_count: int  # in the table
    depth: int  # floats that lie together at a tap
    split: int  # whether the threads share the filters, each with all jobs, and not the jobs


class Tables(NamedTuple):
    """Distances in bytes of the windows and the outputs of a job, and of the taps of a window."""

    sources: Array
    targets: Array
    taps: Array


class Plan(NamedTuple):
    """A geometry, its tables, and what a thread has to do."""

    geometry: Geometry
    tables: Tables
    floats: int  # of scratch memory for an area
    job_pixels: int  # outputs of a job, at most
    pieces: int  # of pixels, of all jobs of a share, at most


def job_size(n: int, oh: int, ow: int, row_bytes: int, parts: int) -> Pair:
    """Return how many images, and how many rows of outputs, are one job."""
    if n >= parts and oh * ow * 2 <= JOB_PIXELS and oh * row_bytes * 2 <= JOB_BYTES:
        images = min(JOB_PIXELS // (oh * ow), JOB_BYTES // max(1, oh * row_bytes))
        return max(1, min(images, -(-n // parts))), oh
    rows = max(1, min(oh, JOB_PIXELS // ow, JOB_BYTES // max(1, row_bytes)))
    if n < parts:
        rows = min(rows, -(-oh * n // parts))
    bands = -(-oh // rows)
    return 1, -(-oh // bands)


@lru_cache(maxsize=512)
def plan_of(
    shape: tuple[int, int, int, int],
    windows: Windows,
    out: tuple[int, ...],
    parts: int,
    rest: int,
    merge: bool,
    lazy: bool = False,
    split: bool = False,
) -> Plan:
    """Plan the windows over images of `shape` (n, h, w, c) for `parts` threads.

    `out` are the strides in bytes of an output image, of a row and of a pixel. `rest` tells by how
    many floats a kernel may read beyond a window's taps. Taps that lie together are merged into one
    if `merge`. Areas are always copied if something is `lazy` in them. If `split`, each thread has
    all jobs for its share of the filters.
    """
    n, h, w, c = shape
    (kh, kw), (oh, ow), (sh, sw), (dh, dw) = (
        windows.kernel, windows.size, windows.stride, windows.dilation,
    )  # fmt: skip
    top, left = windows.origin
    reach, width = (kh - 1) * dh + 1, (ow - 1) * sw + (kw - 1) * dw + 1
    images, rows = job_size(n, oh, ow, sh * width * c * BYTES, 1 if split else parts)
    fits = top >= 0 and left >= 0 and left + width <= w and top + (oh - 1) * sh + reach <= h
    copied = not fits or rest > 0 or lazy
    height = (rows - 1) * sh + reach
    tall, wide = (height, width) if copied else (h, w)
    image, row, column = np.ogrid[:images, :rows, :ow]
    sources = ((image * tall + row * sh) * wide + column * sw) * c * BYTES
    targets = image * out[0] + row * out[1] + column * out[2]
    together = merge and windows.groups == 1 and (dw == 1 or kw == 1)
    i, j = np.ogrid[:kh, : 1 if together else kw]
    taps = (i * dh * wide + j * dw) * c * BYTES
    bands = -(-oh // rows)
    geometry = Geometry(
        n, h, w, c, oh, ow, top, left, sh, reach, width, images, rows, bands,
        -(-n // images) * bands, int(copied), windows.groups, taps.size,
        kw * c if together else c // windows.groups, int(split),
    )  # fmt: skip
    floats = images * height * width * c + rest + LANES if copied else 0
    tables = Tables(_table(sources), _table(targets), _table(taps))
    pixels = images * rows * ow
    pieces = -(-geometry.jobs // (1 if split else parts)) * -(-pixels // PIECE)
    return Plan(geometry, tables, floats + -floats % LANES, pixels, pieces)


def _table(distances: Array) -> Array:
    """Return distances as a table that repeats the last one, for tiles that reach over the end."""
    flat = np.ascontiguousarray(distances, np.int64).ravel()
    return fixed(np.concatenate([flat, np.repeat(flat[-1:], MOST_ROWS)]))


@kernel()
def _transposed_area(image: int, y0: int, height: int, g: Geometry, x: Pixels, target: int) -> None:
    """Write `height` rows of an image that lies plane by plane, from y0 on, with zeros around it.

    For areas as wide as the image, whose rows follow each other in a plane: vectors are full
    however short they are.
    """
    pixel = g.c * BYTES
    line, right = g.width * pixel, g.width + g.left - g.w
    first, last = min(max(y0, 0), g.h), min(max(y0 + height, 0), g.h)
    if last <= first:
        clear_bytes(target, height * line)
        return
    clear_bytes(target, (first - y0) * line - g.left * pixel)
    target += (first - y0) * line - g.left * pixel
    transpose_pixels(
        target, pixel, line - g.w * pixel,
        x.x.ctypes.data + image * x.mode[2] + first * g.w * BYTES, x.mode[3],
        (last - first) * g.w, g.w, g.c,
    )  # fmt: skip
    target += g.w * pixel
    beside = (right - g.left) * pixel  # right of a row, and left of the next
    if beside > 0:
        for _ in range(first, last - 1):
            clear_bytes(target, beside)
            target += line
    else:
        target += (last - 1 - first) * line
    clear_bytes(target, right * pixel + (y0 + height - last) * line)


@kernel()
def area(job: int, g: Geometry, x: Pixels, space: Array) -> tuple[int, int, int]:
    """Return (address, images, rows): where a job's windows over x (n, h, w, c) lie, copied to
    `space` if need be.
    """
    image = job // g.bands * g.images
    row = job % g.bands * g.rows
    images, rows = min(g.images, g.n - image), min(g.rows, g.oh - row)
    y0 = g.top + row * g.stride
    if g.copied == 0:
        return x.x.ctypes.data + ((image * g.h + y0) * g.w + g.left) * g.c * BYTES, images, rows
    height, tall = (rows - 1) * g.stride + g.reach, (g.rows - 1) * g.stride + g.reach
    pixel = g.c * BYTES
    whole = g.left <= 0 and g.left + g.width >= g.w
    for k in range(images):
        if x.mode[0] == PLANAR and whole:
            at = space.ctypes.data + k * tall * g.width * pixel
            _transposed_area(image + k, y0, height, g, x, at)
            continue
        for i in range(height):
            fill_row(
                space.ctypes.data + (k * tall + i) * g.width * pixel, pixel, y0 + i, g.left,
                g.width, image + k, g.h, g.w, g.c, 0, g.c, x,
            )  # fmt: skip
    return space.ctypes.data, images, rows


@kernel()
def gradients(job: int, g: Geometry, pixels: int, f: int, grad: Pixels, space: Array) -> int:
    """Return where a job's gradients (pixels, f) of grad (n, oh, ow, f) lie, copied to `space` if
    more is to be done.
    """
    mode = grad.mode
    image, row = job // g.bands * g.images, job % g.bands * g.rows
    if mode[0] == COPY:
        return grad.x.ctypes.data + (image * g.oh + row) * g.ow * f * BYTES
    if mode[0] == PLANAR:
        count = min(pixels, g.oh * g.ow)  # of an image
        for k in range(pixels // count):
            first = grad.x.ctypes.data + (image + k) * mode[2] + row * g.ow * BYTES
            transpose_pixels(
                space.ctypes.data + k * count * f * BYTES, f * BYTES, 0,
                first, mode[3], count, count, f,
            )  # fmt: skip
        return space.ctypes.data
    for line in range(pixels // g.ow):
        k, i = divmod(line, g.rows)
        fill_row(
            space.ctypes.data + line * g.ow * f * BYTES, f * BYTES, row + i, 0, g.ow, image + k,
            g.oh, g.ow, f, 0, f, grad,
        )  # fmt: skip
    return space.ctypes.data
