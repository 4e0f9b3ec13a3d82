"""Which algorithm suits which convolution, and how it reads its images: matters of time alone."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

from tinygrad_cnn.kernels.choice import ConvAlgorithm
from tinygrad_cnn.kernels.conv_spec import Windows
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, TILE
from tinygrad_cnn.kernels.jit.conv.narrow import FEW_FILTERS
from tinygrad_cnn.kernels.jit.conv.plan import job_size
from tinygrad_cnn.kernels.jit.conv.planar import geometry_of
from tinygrad_cnn.kernels.jit.conv.planar_products import FEW, MANY, VECTORS
from tinygrad_cnn.kernels.reference.conv import supports_winograd

LANES = TILE.lanes
Direction = Literal["forward", "input", "weight"]
Algorithm = Literal["planar", "winograd", "depthwise", "several", "narrow", "direct"]

# As long as this many multiply-adds of direct convolution, per pair of channels, take, measured,
PER_TILE = 54  # the products for a tile of 16 outputs, and its transforms
PER_FILTER = 1000  # the transforms of a filter
# Where filters are transformed already: for rows of tiles in registers, of 4x4 or 2x2 outputs each
PER_TILE_OF = {4: 80, 2: 25}
PER_LAUNCH, MOST_PER_LAUNCH = 700_000, 700  # for all pairs of channels together; at most for each
BETTER_KEPT = 0.96  # of direct convolution's time

# Plane by plane: `planar`
MOST_FLOATS = 1 << 18  # of an image's area and results: they stay in a second-level cache
BETTER = 0.6  # vectors there that cost as much as one along the filters
BETTER_WEIGHT = 0.75  # of the gradient of the weights
PER_PLANE = 16 * LANES  # pixels whose products take as long as fetching a block's sums

MOST_TIMES = 4  # filters per channel that are done one after the other
NARROW = 0.8  # of the vectors that outputs one by one take
MOST_REREADS = 1.5  # of images whose pixels change their order on the way: else they do it once


class Choice(NamedTuple):
    """An algorithm, why it was taken, and what it depends on."""

    algorithm: Algorithm
    reason: str
    block: int  # outputs side by side that `narrow` and `winograd` compute together
    as_it_lies: bool  # whether images that lie plane by plane are read so: few rows twice


@lru_cache(maxsize=1024)
def choose(
    direction: Direction,
    shape: tuple[int, ...],
    f: int,
    windows: Windows,
    parts: int,
    wanted: ConvAlgorithm,
    dense: bool = True,
    whole: bool = True,
    planes: bool = False,
    kept: bool = False,
    scattered: bool = False,
) -> Choice:
    """Return how to correlate images of `shape` (n, c, h, w) with f filters on `parts` threads.

    For the gradient of the input the images are the gradients, the windows those of a phase. For
    that of the weights, `shape` and `windows` are as forward.

    Parameters
    ----------
    dense: the outputs lie together, not as every second pixel of an image.
    whole: the windows have all of the kernel's taps.
    planes: images and gradients lie plane by plane in memory (asked for the weights only).
    kept: the filters are transformed already (forward).
    scattered: the images are `planes.SCATTERED`, the gradient behind pooling.

    >>> def which(c: int, f: int, n: int = 64, size: int = 32, groups: int = 1) -> str:
    ...     windows = Windows((3, 3), (size, size), (-1, -1), (1, 1), (1, 1), groups)
    ...     return choose("forward", (n, c, size, size), f, windows, 1, "auto").algorithm
    >>> which(128, 128), which(128, 128, n=1, size=8), which(32, 32, groups=32)
    ('winograd', 'direct', 'depthwise')
    """
    n, c = shape[:2]
    depth, groups, weight = windows.kernel[1] * c, windows.groups, direction == "weight"
    as_it_lies = _rereads(shape, windows, parts) <= MOST_REREADS

    def choice(algorithm: Algorithm, reason: str, block: int = 1) -> Choice:
        return Choice(algorithm, reason, block, as_it_lies)

    tile = _tile(n, c, f, windows, wanted, kept) if whole else 0
    if tile:
        products = f"{(tile + 2) ** 2} products for {tile * tile} outputs"
        return choice("winograd", f"{products}, between {c} and {f} channels", tile)
    if dense and groups == 1 and windows.stride == (1, 1):
        idle = max(1.0, parts / n)  # times as long as with an image for each thread
        reason = _planar_pays(shape, f, windows, weight and planes, scattered, idle)
        if reason:
            return choice("planar", reason)
    if c == f == groups:
        return choice("depthwise", "a filter for each channel: no product of matrices")
    if weight and c == groups > 1 and f <= MOST_TIMES * groups:
        return choice("several", f"{f // groups} filters for each channel: so many times depthwise")
    if groups == 1 and weight and _few(f, depth):
        return choice("narrow", f"{depth} numbers of a window fill vectors better than {f} filters")
    if groups == 1 and dense and not weight:
        block = neighbours(windows, f)
        if block > 1:
            return choice("narrow", f"vectors hold {block} outputs with {f} filters", block)
    return choice("direct", "any geometry, and no other way is faster")


def _tile(n: int, c: int, f: int, windows: Windows, wanted: ConvAlgorithm, kept: bool) -> int:
    """Return the outputs along the side of Winograd's tiles; 0 where he does not pay."""
    if not supports_winograd(windows, c, f, wanted):
        return 0
    if wanted == "winograd":
        return 4
    oh, ow = windows.size
    direct = n * oh * ow * 9

    def tiles(side: int) -> int:
        return n * -(-oh // side) * -(-ow // side)

    if kept:
        launch = min(MOST_PER_LAUNCH, PER_LAUNCH // (c * f))
        times = {
            side: tile * (tiles(side) + -tiles(side) % TILE.rows) + launch
            for side, tile in PER_TILE_OF.items()
        }
        best = min(times, key=times.__getitem__)
        return best if times[best] < BETTER_KEPT * direct else 0
    # For few pixels the transforms of the filters take longer than the products.
    there = tiles(4) * PER_TILE + PER_FILTER + c * f // 50  # large ones leave the caches
    return 4 if there < direct else 0


def _planar_pays(
    shape: tuple[int, ...], f: int, windows: Windows, planes: bool, scattered: bool, idle: float
) -> str:
    """Why f filters are faster plane by plane, or "" if they are not.

    For the gradient of any number of filters, if all lies so: `planes`. Of scattered images an
    area must hold all pixels. With fewer images than threads it takes `idle` times as long.
    """
    g, _, area = geometry_of(shape, f, windows)
    held = g.top <= 0 and g.left <= 0 and g.top + g.height >= g.h and g.left + g.width >= g.w
    blocks = MANY * g.many + FEW * g.few
    if area + blocks * g.line > MOST_FLOATS or (scattered and not held):
        return ""
    if f < LANES and idle * g.line * blocks < BETTER * LANES * g.oh * g.ow:
        return f"vectors of pixels are fuller than those of {f} filters"
    (kh, kw), c = windows.kernel, shape[1]
    here = (g.taps + -g.taps % VECTORS) * blocks * (g.line + PER_PLANE)
    there = kh * (kw * c + -(kw * c) % TILE.rows) * (f + -f % LANES) * g.oh * g.ow
    if planes and idle * here < BETTER_WEIGHT * there:
        return f"all lies plane by plane, and vectors of {kw * c} numbers of a window are less full"
    return ""


def _few(f: int, depth: int) -> bool:
    """Return whether vectors along windows of `depth` are fuller than along f filters."""
    along = (f + -f % FEW_FILTERS) * (depth + -depth % LANES)
    return along < (depth + -depth % TILE.rows) * (f + -f % LANES)


def neighbours(windows: Windows, f: int) -> int:
    """Return how many outputs side by side to compute as one of so many times the f filters.

    >>> neighbours(Windows((5, 5), (28, 28), (0, 0), (1, 1), (1, 1), 1), 2 * TILE.lanes)
    1
    """
    kw, sw = windows.kernel[1], windows.stride[1]
    if windows.dilation[1] != 1 or kw == 1:
        return 1

    def cost(block: int) -> float:  # multiply-adds of vectors for an output
        return (kw + (block - 1) * sw) * -(-block * f // LANES) / block

    blocks = range(1, min(windows.size[1], TILE.columns // f) + 1)
    best = min(blocks, key=cost, default=1)
    return best if cost(best) < NARROW * cost(1) else 1


def _rereads(shape: tuple[int, ...], windows: Windows, parts: int) -> float:
    """Return how often jobs copy a row of images of `shape` (n, c, h, w), on the average.

    >>> _rereads((64, 64, 32, 32), Windows((3, 3), (32, 32), (-1, -1), (1, 1), (1, 1), 1), 1)
    1.25
    """
    n, c, h, _ = shape
    (kh, kw), (oh, ow), (sh, sw) = windows.kernel, windows.size, windows.stride
    reach, width = ((k - 1) * d + 1 for k, d in zip((kh, kw), windows.dilation, strict=True))
    width += (ow - 1) * sw
    _, rows = job_size(n, oh, ow, sh * width * c * BYTES, parts)
    return -(-oh // rows) * ((rows - 1) * sh + reach) / h
