"""The gradient of batch normalisation in one pass over memory, and what is left of it lazy.

The pass adds ``g`` and ``g*(x - mean)`` over each channel, with the rectifier's mask taken from x
where g is behind that. The gradient itself, ``g*scale + x*slope + shift``, is one multiply-add more
for whoever reads it: a convolution's adjoints do (`load.fill`), others have it written out.
"""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.kernels.checks import Pair
from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, TILE
from tinygrad_cnn.kernels.jit.load.fill import fill_pixels, fill_row
from tinygrad_cnn.kernels.jit.load.images import (
    FLOAT32,
    GRADIENT,
    Pixels,
    Source,
    gradient_images,
    gradient_source,
    images_like,
    nchw,
    parameter,
    scattered_planes,
    with_table,
)
from tinygrad_cnn.kernels.jit.load.rows import constant, row_of, table_of
from tinygrad_cnn.kernels.jit.norm import batch_norm as norm
from tinygrad_cnn.kernels.jit.norm.group_norm import batch_norm_planes_backward
from tinygrad_cnn.kernels.jit.norm.moments import CHUNK_BYTES, add_gated, add_pixels, plain_table
from tinygrad_cnn.kernels.jit.norm.planar import add_up_planes
from tinygrad_cnn.kernels.lazy import (
    Gradient,
    Lazy,
    load,
    lower_normalised,
    normalised,
    realize,
    scale_shift,
    summands,
    unpool,
)
from tinygrad_cnn.kernels.memory import empty, scratch
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array

Parameters = Array | None


@kernel(entry=True)
def _sums_share(
    part: int, parts: int, source: Pixels, plain: Array, mean: Array, size: Pair, space: Array,
    exact: Array, single: Array,
) -> None:  # fmt: skip
    g, x, table, mode = source.x, source.other, source.table, source.mode
    unchanged = Pixels(g, x, plain, mode)
    c = mean.size
    exact[part] = 0
    single[part] = 0
    step = c * BYTES
    pixels, chunk = x.size // c, max(16, CHUNK_BYTES // step)
    h, w = size
    if mode[1] > 0:  # scattered: row by row of the images
        pixels, chunk = pixels // w, 1
    low, high = pixels * part // parts, pixels * (part + 1) // parts
    line = table.shape[1] * BYTES
    for first in range(low, high, chunk):
        count = min(chunk, high - first)
        at = first * step
        grad = g.ctypes.data + at
        if mode[1] > 0:
            at, count, grad = at * w, w, space[part].ctypes.data
            fill_row(grad, step, first % h, 0, w, first // h, h, w, c, 0, c, unchanged)
        add_pixels(
            grad, x.ctypes.data + at, step, count, table.ctypes.data, line, mean.ctypes.data,
            exact[part], single[part],
        )  # fmt: skip


@kernel(entry=True)
def _numbers_share(
    part: int, parts: int, exact: Array, pilot: Array, count: int, weight: Array, mean: Array,
    invstd: Array, e: Array, f: Array, found: Array, gweight: Array, gbias: Array,
) -> None:  # fmt: skip
    """Write scale, slope and shift to found (5, c), e and f (c,) or (1,) after them, and the
    gradients of weight and bias.

    exact (shares, 2, c) are sums of g and of ``g*(x - pilot)``.
    """
    for k in range(mean.size):
        total, products = 0.0, 0.0
        for share in range(exact.shape[0]):
            total += exact[share, 0, k]
            products += exact[share, 1, k]
        if pilot[k] != mean[k]:
            products += (np.float64(pilot[k]) - mean[k]) * total
        factor = np.float64(invstd[k]) * weight[k]
        inner = products * invstd[k]
        slope = -factor * invstd[k] * inner / count
        found[0, k], found[1, k] = factor, slope
        found[2, k] = -factor * total / count - slope * mean[k]
        found[3, k], found[4, k] = e[k % e.size], f[k % f.size]
        gweight[k], gbias[k] = inner, total


@kernel(entry=True)
def _written_share(part: int, parts: int, source: Pixels, size: Pair, c: int, out: Array) -> None:
    if source.mode[1] > 0:  # scattered: row by row of the images
        h, w = size
        lines = out.size // (w * c)
        for line in range(lines * part // parts, lines * (part + 1) // parts):
            fill_row(
                out.ctypes.data + line * w * c * BYTES, c * BYTES, line % h, 0, w, line // h,
                h, w, c, 0, c, source,
            )  # fmt: skip
        return
    pixels, step = out.size // c, c * BYTES
    chunk = max(16, CHUNK_BYTES // step)
    table = source.table
    low, high = pixels * part // parts, pixels * (part + 1) // parts
    for back in range((high - low + chunk - 1) // chunk):  # the end is still in cache
        stop = high - back * chunk
        first = max(low, stop - chunk)
        at = first * step
        fill_pixels(
            out.ctypes.data + at, step, source.x.ctypes.data + at, source.other.ctypes.data + at,
            step, stop - first, c, table.ctypes.data, table.shape[1] * BYTES, source.mode[0],
        )  # fmt: skip


def _written(source: Source) -> Array:
    """Return what a source stands for as (n, c, h, w), channels last in memory."""
    out = empty(source.other.shape, FLOAT32)
    parts = shares(out.nbytes * (3 if source.mode[0] == GRADIENT else 2))
    run(_written_share, parts, source.pixels, out.shape[1:3], out.shape[-1], out.reshape(-1))
    return nchw(out)


def _four(x: Array) -> Array:
    return x[:, :, None, None] if x.ndim == 2 else x


def _add_up(source: Source, centre: Array, exact: Array) -> None:
    """Read g and x once, and write the sums of shares to `exact` (parts, 2, c)."""
    parts, _, c = exact.shape
    with scratch() as take:
        h, w = source.other.shape[1:3]
        space = take((parts, w * c if source.places is not None else 0), np.float32)
        run(
            _sums_share, parts, source.pixels, plain_table(c), centre, (h, w), space, exact,
            take(exact.shape, np.float32),
        )  # fmt: skip


def _select_and_add_up(g: Lazy, x: Array, centre: Array, exact: Array) -> Array:
    """Compute g, a ``select`` of what is there, and its sums with x to `exact` (parts, 2, c)."""
    _, inner, y = g.expr
    image, outputs = images_like(x), images_like(y.realize())
    grads = [images_like(a).reshape(-1) for a in summands(inner)]
    c, out = x.shape[1], empty(image.shape, FLOAT32)
    with scratch() as take:
        run(
            add_gated, len(exact), grads[0], grads[-1], int(len(grads) == 2), outputs.reshape(-1),
            image.reshape(-1), plain_table(c), centre, out.reshape(-1),
            exact, take(exact.shape, np.float32),
        )  # fmt: skip
    g.settle(nchw(out))
    return g.realize()


def _sums_before(g: Lazy) -> tuple[Array, Array] | None:
    """Return the sums (shares, 2, c) of a ``select`` that were taken when its gradient was made,
    and what was taken off x.
    """
    match g.expr:
        case ("select", Lazy(expr=("load", _), stats={"relu_sums": (mask, exact, pilot)}), y):
            if mask is y:
                return exact, pilot
    return None


def norm_gradient(
    g: Array | Lazy, x: Array | Lazy, weight: Parameters, mean: Array, invstd: Array
) -> tuple[Lazy, Array, Array] | None:
    """Return (gx, gweight, gbias) as `reference.batch_norm_backward`, but gx lazy.

    For float32 x (n, c, h, w); g may be the gradient of the ReLU behind the normalisation. Costs a
    read of both, if g does not come with its sums.
    """
    if x.ndim != 4 or x.dtype != FLOAT32 or x.size == 0 or g.dtype != FLOAT32:
        return None
    if g.shape != x.shape:
        return None
    c = x.shape[1]
    scale, centre, factor = (
        parameter(weight, 1, (c,)),
        parameter(mean, 1, (c,)),
        parameter(invstd, 1, (c,)),
    )
    if scale is None or centre is None or factor is None:
        return None
    inputs: Array = realize(x)
    one = constant(1, c)
    parts, exact, pilot = shares(2 * x.nbytes), None, centre
    g = g if isinstance(g, Lazy) else load(g)
    if g.expr[0] == "select" and g.expr[2].is_realized and c >= TILE.lanes:
        exact = np.empty((parts, 2, c))
        _select_and_add_up(g, inputs, centre, exact)
    form = lower_normalised(g, inputs, one, one, one)
    if form is None:
        g.realize()
        form = lower_normalised(g, inputs, one, one, one)
        assert form is not None
    planes = scattered_planes(form) if c < TILE.lanes else None
    found = np.empty((5, c), np.float32)
    gweight, gbias = np.empty(c, np.float32), np.empty(c, np.float32)
    source = None
    if planes is not None:
        exact = add_up_planes(planes, inputs, centre)
    else:
        source = gradient_images(form)
        if source is None:
            return None
        if exact is None and (known := _sums_before(g)) is not None:
            exact, pilot = known
        elif exact is None:
            exact = np.empty((parts, 2, c))
            _add_up(with_table(source, table_of(c, *form[2:7])), centre, exact)
    run(
        _numbers_share, 1, exact, pilot, x.size // c, scale, centre, factor, row_of(form.e),
        row_of(form.f), found, gweight, gbias,
    )  # fmt: skip
    a, b, d = found[0], found[1], found[2]
    table = (a, b, d, form.e, form.f), found  # for those who read it next
    if source is None:
        gx = normalised(g, load(inputs), a, b, d)
        gx.table = table
        return gx, gweight, gbias
    # In the order in which they have been read: not copied again by those who read them next.
    image = load(nchw(source.other))
    grad = load(nchw(source.x))
    if source.places is not None:
        grad = unpool(grad, nchw(source.places), image.shape[2:], form.kernel_size)
    if isinstance(form.e, np.ndarray) and isinstance(form.f, np.ndarray):
        positive = Lazy(("relu", scale_shift(image, form.e, form.f)), image)
        grad = Lazy(("select", grad, positive), image)
    gx = normalised(grad, image, a, b, d)
    gx.table = table
    return gx, gweight, gbias


def channel_gradient(
    g: Array,
    x: Array,
    a: Array | float,
    b: Array | float,
    d: Array | float,
    e: Array | float,
    f: Array | float,
    places: Array | None = None,
    kernel_size: Pair = (0, 0),
) -> Array | None:
    """As `reference.channel_gradient`, for float32; what is not channels last is copied."""
    form = Gradient(g, x, a, b, d, e, f, places, kernel_size)
    arrays = [v for v in form[:7] if isinstance(v, np.ndarray)]
    if form.x.ndim != 4 or form.x.size == 0 or any(v.dtype != FLOAT32 for v in arrays):
        return None
    source = gradient_source(form)
    return None if source is None else _written(source)


def batch_norm_backward(
    g: Array | Lazy,
    x: Array | Lazy,
    weight: Parameters,
    mean: Array,
    invstd: Array,
) -> tuple[Array | Lazy, Array, Array] | None:
    """As `reference.batch_norm_backward`; g and x are copied if their channels are not last.

    Where x may be waited for, what has to be done to every number of gx is left to who reads it.
    """
    if isinstance(x, Lazy) and x.ndim == 4:
        return norm_gradient(g, x, weight, mean, invstd)
    if x.ndim == 4 and type(g) is Lazy and not g.is_realized:
        found = norm_gradient(g, x, weight, mean, invstd)
        return found if found is None else (realize(found[0]), *found[1:])
    grad: Array = realize(g)
    inputs: Array = realize(x)
    if g.shape == x.shape and x.ndim in (3, 5) and x.size:
        if norm.lie_by_planes(inputs):
            return batch_norm_planes_backward(grad, inputs, weight, mean, invstd)
        pair = norm.as_images(grad), norm.as_images(inputs)
        moved = batch_norm_backward(*pair, weight, mean, invstd)
        return None if moved is None else (realize(moved[0]).reshape(x.shape), *moved[1:])
    if x.ndim > 1 and x.shape[1] < TILE.lanes:  # whole vectors of few channels
        return norm.batch_norm_backward(grad, inputs, weight, mean, invstd)
    if x.ndim not in (2, 4) or g.ndim != x.ndim:
        return None
    found = norm_gradient(_four(grad), _four(inputs), weight, mean, invstd)
    if found is None:
        return None
    gx: Array = realize(found[0])
    return gx.reshape(x.shape) if x.ndim == 2 else gx, found[1], found[2]
