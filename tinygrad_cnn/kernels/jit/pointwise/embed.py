"""Images among zeros: padding, and the gradient of every second pixel."""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES
from tinygrad_cnn.kernels.jit.linear.products import clear_bytes, copy_bytes
from tinygrad_cnn.kernels.jit.load.images import FLOAT32, first_of, nchw
from tinygrad_cnn.kernels.memory import empty
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array


@kernel(entry=True)
def _embed_share(
    part: int, parts: int, x: Array, apart: tuple[int, int, int], size: tuple[int, int, int],
    start: tuple[int, int, int], step: tuple[int, int], out: Array,
) -> None:  # fmt: skip
    """Write zeros to out (n, h, w, c), and x among them.

    x begins with the number given and its images, rows and pixels lie `apart` bytes; `size` and
    `start` are those of its rows, columns and channels, `step` that of rows and columns. Costs one
    write of out, one of x and one read.
    """
    n, h, w, c = out.shape
    for line in range(n * h * part // parts, n * h * (part + 1) // parts):
        image, y = divmod(line, h)
        to = out.ctypes.data + line * w * c * BYTES
        clear_bytes(to, w * c * BYTES)
        row, between = divmod(y - start[0], step[0])
        if y < start[0] or between or row >= size[0]:
            continue
        source = x.ctypes.data + image * apart[0] + row * apart[1]
        for j in range(size[1]):
            at = (start[1] + j * step[1]) * c + start[2]
            copy_bytes(to + at * BYTES, source + j * apart[2], size[2] * BYTES)


def embed(
    x: Array, shape: tuple[int, ...], start: tuple[int, ...], step: tuple[int, ...]
) -> Array | None:
    """As `reference.embed`, for pixels (n, c, h, w) with their channels together and apart from one
    another; not among new images, nor every second channel.
    """
    fits = x.ndim == 4 and x.size > 0 and x.dtype == FLOAT32 and x.flags.aligned
    if not fits or x.shape[0] != shape[0] or (start[0], step[0], step[1]) != (0, 1, 1):
        return None
    c, (n, channel, row, column) = x.shape[1], x.strides
    if min(x.strides) < 0 or (c > 1 and channel != BYTES) or c < 2:
        return None
    out = empty((shape[0], shape[2], shape[3], shape[1]), np.float32)
    run(
        _embed_share, shares(out.nbytes), first_of(x), (n, row, column), (*x.shape[2:], c),
        (start[2], start[3], start[1]), step[2:], out,
    )  # fmt: skip
    return nchw(out)
