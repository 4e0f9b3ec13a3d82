"""What a convolution computes a second time, for numbers that its fast ways cannot take.

Some images, by direct convolution, whose numbers are too far apart for Winograd's transforms
(`winograd_range`). Everything, tap by tap (`reference.strict`), if filters are infinite or NaN and
have met the zeros around the images: a look at the first output of every filter tells, because it
was multiplied with all taps. Of the filters' gradient, a gradient that is lost has reached the
first tap of its filter, and an input some tap of the first filter of its group.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_cnn.kernels.conv_spec import Windows
from tinygrad_cnn.kernels.jit.conv import direct as conv_direct
from tinygrad_cnn.kernels.jit.load.launch import images_like
from tinygrad_cnn.kernels.jit.load.pixels import Images, Source, some_images
from tinygrad_cnn.kernels.lazy import realize
from tinygrad_cnn.kernels.reference.layout import Array, all_finite
from tinygrad_cnn.kernels.reference.strict import correlate_taps, correlate_weight_taps


def directly(
    which: Array, x: Source, w: Array, bias: Array | None, out: Array, windows: Windows, parts: int
) -> None:
    """Do as `conv_direct.correlate` for the images of a mask (n,)."""
    edges = np.flatnonzero(np.diff(which, prepend=False, append=False))
    for first, stop in edges.reshape(-1, 2).tolist():
        some = some_images(x, first, stop)
        conv_direct.correlate(some, w, bias, out[first:stop], windows, parts)


def look_lost(out: Array) -> bool:
    """Return whether filters may be infinite or NaN, by their first outputs out (n, oh, ow, f)."""
    first = out[0, 0, 0]
    return not math.isfinite(np.vdot(first, first))


def strictly(x: Images, w: Array, bias: Array | None, out: Array, windows: Windows) -> bool:
    """Correct out (n, oh, ow, f), the correlation of x with w (groups, kh, kw, c/groups, f/groups);
    return whether there was anything to correct.
    """
    if all_finite(w):
        return False
    correlate_taps(images_like(realize(x)), w, bias, out, windows)
    return True


def strictly_weight(g: Images, x: Images, gw: Array, windows: Windows) -> None:
    """Correct gw (f, c/groups, kh, kw), the gradient of the filters."""
    f, depth = gw.shape[:2]
    groups = windows.groups
    column, rows = gw[:, 0, 0, 0], gw[:: f // groups]
    finite = math.isfinite(np.vdot(column, column)) and math.isfinite(np.vdot(rows, rows))
    if finite or all_finite(gw):
        return
    found = correlate_weight_taps(images_like(realize(x)), images_like(realize(g)), windows)
    split = found.transpose(0, 4, 3, 1, 2)  # (groups, f/groups, c/groups, kh, kw)
    gw[...] = split.reshape(f, depth, *windows.kernel)
