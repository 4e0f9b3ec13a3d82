"""The gradient of batch normalisation in one pass over memory, and what is left of it pending.

The pass adds ``g`` and ``g*(x - mean)`` over each channel, with the rectifier's mask taken from x
where g is `Masked`. The gradient itself, ``g*scale + x*slope + shift``, is one multiply-add more
for whoever reads it: a convolution's adjoints do (`pixels`), others have it written out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..checks import Pair
from ..memory import empty, scratch
from ..pending import Affine, Masked, NormGradient, Scattered
from ..reference.layout import Array
from . import norm
from .build import kernel
from .launch import FLOAT32, nchw, run, shares
from .norm_planes import add_up_planes
from .pixels import GRADIENT, Mode, Source, arguments, fill_pixels, fill_row, source_of
from .planes import scattered_planes
from .vector import BYTES, TILE, Emit, Emitter, Value, instruction

__all__ = ["batch_norm_backward", "gradient_sums", "norm_gradient", "written"]

CHAINS = 2  # pixels whose sums run side by side
CHUNK_BYTES = 1 << 14  # of each array whose sums are float32: stays in the nearest cache
Parameters = Array | None
_PLAIN = np.array([[1], [0], [0], [0], [1]], np.float32)  # rows of a table that leaves g as it is


@instruction
def gradient_sums(
    _: Value,
    g: Value,
    x: Value,
    step: Value,
    pixels: Value,
    channels: Value,
    table: Value,
    line: Value,
    centre: Value,
    sums: Value,
    width: Value,
) -> Emit:
    """Add to `sums` those of g, and `width` on those of ``g*(x - centre)``, over some pixels.

    Where ``x*e + f`` is positive, e and f being rows 3 and 4 of `table`, which are `line` apart.
    """

    def emit(e: Emitter, values: list[Value]) -> None:
        g, x, step, pixels, channels, table, line, centre, sums, width = values
        b = e.builder
        whole = b.udiv(pixels, e.whole(CHAINS))
        rest = b.sub(pixels, b.mul(whole, e.whole(CHAINS)))

        def block(along: Value, mask: Value) -> None:
            mean = e.load(b.add(centre, along), mask)
            rows = e.steps(b.add(table, along), line, 5)
            a, d = e.load(rows[3], mask), e.load(rows[4], mask)

            def turn(places: list[Value], totals: list[Value], chains: int) -> list[Value]:
                found = []
                grads, inputs = (e.steps(place, step, chains) for place in places)
                for k in range(chains):
                    grad, value = e.load(grads[k], mask), e.load(inputs[k], mask)
                    off = b.fcmp_ordered("<=", e.fma(value, a, d), e.zero)
                    grad = b.select(off, e.zero, grad)
                    found.append(b.fadd(totals[2 * k], grad))
                    found.append(e.fma(grad, b.fsub(value, mean), totals[2 * k + 1]))
                return found

            places, joined = [b.add(g, along), b.add(x, along)], [e.zero, e.zero]
            if mask is None:
                with e.loop(whole, [*places, *[e.zero] * (2 * CHAINS)]) as group:
                    places, totals = group.values[:2], group.values[2:]
                    after = [b.add(place, b.mul(step, e.whole(CHAINS))) for place in places]
                    group.next = [*after, *turn(places, totals, CHAINS)]
                places, totals = group.results[:2], group.results[2:]
                joined = [b.fadd(totals[k], totals[2 + k]) for k in (0, 1)]
            with e.loop(rest if mask is None else pixels, [*places, *joined]) as pixel:
                places, totals = pixel.values[:2], pixel.values[2:]
                after = [b.add(place, step) for place in places]
                pixel.next = [*after, *turn(places, totals, 1)]
            for k, total in enumerate(pixel.results[2:]):
                to = b.add(b.add(sums, along), b.mul(width, e.whole(k)))
                e.store(b.fadd(e.load(to, mask), total), to, mask)

        e.channel_blocks(channels, block)

    return emit


@kernel(entry=True)
def _sums_share(
    part: int,
    parts: int,
    g: Array,
    x: Array,
    table: Array,
    mean: Array,
    mode: Mode,
    size: Pair,
    space: Array,
    exact: Array,
    single: Array,
) -> None:
    c = mean.size
    exact[part] = 0
    single[part] = 0
    step = c * BYTES
    pixels, chunk = x.size // c, max(16, CHUNK_BYTES // step)
    h, w = size
    if mode[1] > 0:  # scattered: row by row of the images
        pixels, chunk = pixels // w, 1
    low, high = pixels * part // parts, pixels * (part + 1) // parts
    centre, sums, line = mean.ctypes.data, single[part].ctypes.data, table.shape[1] * BYTES
    for first in range(low, high, chunk):
        count = min(chunk, high - first)
        at = first * step
        grad = g.ctypes.data + at
        if mode[1] > 0:
            at, count, grad = at * w, w, space[part].ctypes.data
            fill_row(grad, step, first % h, 0, w, first // h, h, w, c, 0, c, g, x, table[5:], mode)
        gradient_sums(
            grad, x.ctypes.data + at, step, count, c, table.ctypes.data, line,
            centre, sums, step,
        )  # fmt: skip
        for row in range(2):
            for k in range(c):
                exact[part, row, k] += single[part, row, k]
                single[part, row, k] = 0


@kernel(entry=True)
def _numbers_share(
    part: int,
    parts: int,
    exact: Array,
    count: int,
    weight: Array,
    mean: Array,
    invstd: Array,
    found: Array,
) -> None:
    """Write scale, slope, shift, gradient of weight and of bias: found (5, c)."""
    for k in range(mean.size):
        total, products = 0.0, 0.0
        for share in range(exact.shape[0]):
            total += exact[share, 0, k]
            products += exact[share, 1, k]
        factor = np.float64(invstd[k]) * weight[k]
        inner = products * invstd[k]
        slope = -factor * invstd[k] * inner / count
        found[0, k], found[1, k] = factor, slope
        found[2, k] = -factor * total / count - slope * mean[k]
        found[3, k], found[4, k] = inner, total


@kernel(entry=True)
def _written_share(
    part: int,
    parts: int,
    x: Array,
    other: Array,
    table: Array,
    mode: Mode,
    size: Pair,
    c: int,
    out: Array,
) -> None:
    if mode[1] > 0:  # scattered: row by row of the images
        h, w = size
        lines = out.size // (w * c)
        for line in range(lines * part // parts, lines * (part + 1) // parts):
            fill_row(
                out.ctypes.data + line * w * c * BYTES, c * BYTES, line % h, 0, w, line // h,
                h, w, c, 0, c, x, other, table, mode,
            )  # fmt: skip
        return
    pixels, step = out.size // c, c * BYTES
    chunk = max(16, CHUNK_BYTES // step)
    low, high = pixels * part // parts, pixels * (part + 1) // parts
    for back in range((high - low + chunk - 1) // chunk):  # the end is still in cache
        stop = high - back * chunk
        first = max(low, stop - chunk)
        at = first * step
        fill_pixels(
            out.ctypes.data + at, step, x.ctypes.data + at, other.ctypes.data + at, step,
            stop - first, c, table.ctypes.data, table.shape[1] * BYTES, mode[0],
        )  # fmt: skip


def written(source: Source) -> Array:
    """Return what a source stands for as (n, c, h, w), channels last in memory."""
    out = empty(source.other.shape, FLOAT32)
    parts = shares(out.nbytes * (3 if source.mode[0] == GRADIENT else 2))
    run(_written_share, parts, *arguments(source), out.shape[1:3], out.shape[-1], out.reshape(-1))
    return nchw(out)


def _channels(value: Parameters, c: int) -> Parameters:
    """Return a number per channel as kernels want it, 1 for None, or None if it does not fit."""
    if value is None:
        return np.ones(c, np.float32)
    if value.shape != (c,) or value.dtype != FLOAT32:
        return None
    return np.ascontiguousarray(value)


def _four(x: Array) -> Array:
    return x[:, :, None, None] if x.ndim == 2 else x


def _add_up(
    source: Source, centre: Array, scale: Array, factor: Array, found: Array, parts: int
) -> None:
    """Read g and x once, and write to `found` what `_numbers` makes of their sums."""
    c = centre.size
    with scratch() as take:
        exact, single = take((parts, 2, c), np.float64), take((parts, 2, c), np.float32)
        h, w = source.other.shape[1:3]
        space = take((parts, w * c if source.places is not None else 0), np.float32)
        table = np.concatenate([source.table, _PLAIN.repeat(c, 1)])
        grads, inputs = source.x.reshape(-1), source.other.reshape(-1)
        run(
            _sums_share, parts, grads, inputs, table, centre, source.mode, (h, w), space,
            exact, single,
        )  # fmt: skip
        run(_numbers_share, 1, exact, inputs.size // c, scale, centre, factor, found)


def norm_gradient(
    g: Array | Scattered | Masked, x: Array, weight: Parameters, mean: Array, invstd: Array
) -> Any:
    """Return (gx, gweight, gbias) as `reference.batch_norm_backward`, but gx pending.

    For float32 x (n, c, h, w); g may be masked by an affine function of x. Costs a read of both,
    if g does not come with its sums.
    """
    if x.ndim != 4 or x.dtype != FLOAT32 or x.size == 0 or g.dtype != FLOAT32:
        return NotImplemented
    if g.shape != x.shape:
        return NotImplemented
    c = x.shape[1]
    scale, centre, factor = _channels(weight, c), _channels(mean, c), _channels(invstd, c)
    if scale is None or centre is None or factor is None:
        return NotImplemented
    one = np.ones(c, np.float32)
    found = np.empty((5, c), np.float32)
    planes = scattered_planes(NormGradient(g, x, one, one, one)) if c < TILE.lanes else None
    if planes is not None:
        exact = add_up_planes(planes, x, centre)
        run(_numbers_share, 1, exact, x.size // c, scale, centre, factor, found)
        return NormGradient(g, x, *found[:3]), found[3], found[4]
    source = source_of(NormGradient(g, x, one, one, one))
    if source is None:
        return NotImplemented
    parts = shares(2 * source.other.nbytes)
    if isinstance(g, Masked) and g.sums is not None:
        total, products, pilot = g.sums
        products = products + (pilot.astype(np.float64) - centre) * total
        exact = np.stack([total, products])[None]  # (1, 2, c)
        run(_numbers_share, 1, exact, x.size // c, scale, centre, factor, found)
    else:
        _add_up(source, centre, scale, factor, found, parts)
    image = nchw(source.other)
    inner = g.g if isinstance(g, Masked) else g
    grad: Array | Scattered = nchw(source.x)  # not copied again by those who read it
    if isinstance(inner, Scattered):
        places = inner.index if source.places is None else nchw(source.places)
        grad = Scattered(nchw(source.x), places, inner.extent, inner.kernel_size)
    pending: Array | Scattered | Masked = grad
    if isinstance(g, Masked):
        pending = Masked(grad, Affine(image, g.by.scale, g.by.shift, True))
    return NormGradient(pending, image, *found[:3]), found[3], found[4]


def batch_norm_backward(
    g: Array | Scattered | Masked,
    x: Array,
    weight: Parameters,
    mean: Array,
    invstd: Array,
    *,
    pending: bool = False,
) -> Any:
    """As `reference.batch_norm_backward`; g and x are copied if their channels are not last.

    g may be `Masked` by an affine function of x.
    """
    if pending and x.ndim == 4:
        return norm_gradient(g, x, weight, mean, invstd)
    if isinstance(g, np.ndarray) and x.ndim > 1 and x.shape[1] < TILE.lanes:
        return norm.batch_norm_backward(g, x, weight, mean, invstd)  # whole vectors of few channels
    if (
        x.ndim not in (2, 4)
        or g.ndim != x.ndim
        or (x.ndim == 2 and isinstance(g, Masked | Scattered))
    ):
        return NotImplemented
    wide = g if isinstance(g, Masked | Scattered) else _four(g)
    found = norm_gradient(wide, _four(x), weight, mean, invstd)
    if found is NotImplemented:
        return NotImplemented
    source = source_of(found[0])
    if source is None:
        return NotImplemented
    gx = written(source)
    return gx.reshape(x.shape) if x.ndim == 2 else gx, found[1], found[2]
