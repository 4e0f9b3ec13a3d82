"""Norms, distances and angles between vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.shaping import broadcast_tensors

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


@export(top=False, method=False, nn=True)
def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """Divide by the p-norm along ``dim``, which is taken to be at least ``eps``.

    >>> import tinygrad_cnn as tg
    >>> normalize(tg.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """
    out: Tensor = input / input.norm(p, dim, keepdim=True).clamp(min=eps)
    return out


@export(top=False, method=False, nn=True)
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Cosine of the angle between vectors along ``dim``; norms are taken to be at least ``eps``.

    >>> import tinygrad_cnn as tg
    >>> cosine_similarity(tg.tensor([[1.0, 0.0]]), tg.tensor([[3.0, 4.0]]))
    tensor([0.6000])
    """
    x1, x2 = broadcast_tensors(x1, x2)
    first = x1 / x1.norm(2, dim, keepdim=True).clamp(min=eps)
    second = x2 / x2.norm(2, dim, keepdim=True).clamp(min=eps)
    out: Tensor = (first * second).sum(dim)
    return out


@export(top=False, method=False, nn=True)
def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """p-norm of ``x1 - x2 + eps`` along the last axis.

    >>> import tinygrad_cnn as tg
    >>> pairwise_distance(tg.zeros(1, 2), tg.tensor([[3.0, 4.0]]))
    tensor([5.0000])
    """
    out: Tensor = (x1 - x2 + eps).norm(p, -1, keepdim=keepdim)
    return out
