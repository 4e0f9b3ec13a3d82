"""Mean and variance over the batches of all ranks, as differentiable as any operation."""

from __future__ import annotations

from typing import Any

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.function import Function
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.distributed.collectives import all_gather_into_tensor, reduce_scatter_tensor
from tinygrad_cnn.distributed.group import world
from tinygrad_cnn.functions import cat, empty, full
from tinygrad_cnn.kernels.tape import do
from tinygrad_cnn.ops.norm import channel_affine
from tinygrad_cnn.tensor import Tensor


class GatherRows(Function):
    """``x`` (k,) of each rank → (ranks, k) on all.

    What every rank computes from a row is added up in its gradient: it is that of the sum of all
    ranks' losses.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Gather."""
        rows = empty(world("SyncBatchNorm").size, len(x), dtype=x.dtype)
        all_gather_into_tensor(rows, x)
        return rows

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        """The sum over ranks of the gradients of this rank's row."""
        row: Tensor = SumOfRows.apply(g)
        return row


class SumOfRows(Function):
    """``g`` (ranks, k) of each rank → the sum over ranks of row r (k,) on rank r."""

    @staticmethod
    def forward(ctx: Any, g: Tensor) -> Tensor:
        """Reduce and scatter."""
        row = empty(g.shape[1], dtype=g.dtype)
        reduce_scatter_tensor(row, g.contiguous())
        return row

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> Tensor:
        """Every rank's row has the gradient of its sum."""
        rows: Tensor = GatherRows.apply(u)
        return rows


class ChannelMoments(Function):
    """``x`` (n, c, …) → mean and biased variance (c,) of each channel, in one read of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute both."""
        mean, var = map(wrap, do(kernels.channel_moments, x._given))
        ctx.save_for_backward(x, mean)
        return mean, var

    @staticmethod
    def backward(ctx: Any, g_mean: Tensor, g_var: Tensor) -> Tensor:
        """``g_mean / m + g_var * 2 * (x - mean) / m`` for m numbers in a channel."""
        x, mean = ctx.saved_tensors
        m = x.numel() // x.shape[1]
        slope = g_var * (2 / m)
        gx: Tensor = channel_affine(x, slope, g_mean / m - mean * slope)
        return gx


def moments_of_all(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How many numbers per channel x (n, c, …) has on all ranks (), their mean and variance (c,).

    The variance is the biased one. A rank may have n = 0. Source: Chan, Golub and LeVeque,
    "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    """
    c = x.shape[1]
    axes = (0, *range(2, x.ndim))
    n = x.numel() // c if c else 0
    if n:
        own_mean, own_var = ChannelMoments.apply(x)  # (c,)
    else:
        own_mean = own_var = x.sum(axes)  # zeros, with x's graph
    mine = cat([full((1,), float(n), dtype=x.dtype), own_mean, own_var])  # (1 + 2c,)
    rows = GatherRows.apply(mine)  # (ranks, 1 + 2c)
    counts = rows[:, :1].detach()  # (ranks, 1)
    means, variances = rows[:, 1 : 1 + c], rows[:, 1 + c :]  # (ranks, c)
    count = counts.sum()
    share = counts / count  # (ranks, 1)
    mean = (share * means).sum(0)  # (c,)
    var = (share * (variances + (means - mean) ** 2)).sum(0)  # (c,)
    return count, mean, var
