"""Norms, distances and angles between vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn.autograd.arguments import checked
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError, ShapeError
from tinygrad_cnn.functions.convert import axis, to_tensor
from tinygrad_cnn.functions.elementwise import mul, sub, where
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.reduction import norm
from tinygrad_cnn.functions.shaping import broadcast_tensors
from tinygrad_cnn.kernels.tape import made
from tinygrad_cnn.types import TensorLike

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


@export(method=False, nn=True)
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


@export(method=False, nn=True)
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


@export(method=False, nn=True)
def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """p-norm of the difference of every two rows of ``input`` (n, d) → (n (n - 1) / 2,).

    >>> import tinygrad_cnn as tg
    >>> pdist(tg.tensor([[0.0], [1.0], [3.0]]))
    tensor([1., 3., 2.])
    """
    if input.ndim != 2:
        raise ShapeError(f"pdist: `input` has shape {input.shape}, expected (n, d)")
    first, second = map(made, np.triu_indices(len(input), 1))
    apart = input.index_select(0, wrap(first)) - input.index_select(0, wrap(second))
    return _length(apart, p)


def _length(apart: Tensor, p: float) -> Tensor:
    """The norms along the last axis; of nothing they are 0."""
    result: Tensor = apart.norm(p, -1) if apart.shape[-1] else apart.sum(-1)
    return result


@export(method=False)
def cdist(
    x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist"
) -> Tensor:
    """p-norm of the differences of all rows of ``x1`` (..., n, d) and ``x2`` (..., m, d).

    ``compute_mode`` is taken, but the differences are always computed, which loses no digits.

    >>> import tinygrad_cnn as tg
    >>> cdist(tg.zeros(1, 2), tg.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([[5., 1.]])
    """
    if x1.ndim < 2 or x2.ndim < 2 or x1.shape[-1] != x2.shape[-1]:
        raise ShapeError(
            f"cdist: `x1` has shape {x1.shape} and `x2` {x2.shape}, expected (..., n, d) and "
            f"(..., m, d)"
        )
    if p < 0:
        raise ArgumentError(f"cdist: `p` is {p}, expected a number of at least 0")
    return _length(x1.unsqueeze(-2) - x2.unsqueeze(-3), p)


@export(method=False, nn=True)
@checked
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input1 @ weight[f] @ input2`` for each f: (..., a), (..., b), (f, a, b) → (..., f).

    >>> import tinygrad_cnn as tg
    >>> bilinear(tg.ones(2), tg.ones(3), tg.ones(1, 2, 3))
    tensor([6.])
    """
    if weight.ndim != 3:
        raise ShapeError(f"bilinear: `weight` has shape {weight.shape}, expected (f, a, b)")
    lead, (f, a, b) = input1.shape[:-1], weight.shape
    if (*lead, a) != input1.shape or (*lead, b) != input2.shape:
        raise ShapeError(
            f"bilinear: inputs of shapes {input1.shape} and {input2.shape} do not fit `weight` "
            f"{weight.shape}"
        )
    products = input1 @ weight.permute(1, 0, 2).reshape(a, f * b)  # (..., f b)
    products = products.reshape(*lead, f, b) * input2.unsqueeze(-2)
    out = products.sum(-1, dtype=products.dtype)
    result: Tensor = out if bias is None else out + bias
    return result


@export()
def dist(input: TensorLike, other: TensorLike, p: float = 2.0) -> Tensor:
    """p-norm of ``input - other``, of all elements.

    >>> import tinygrad_cnn as tg
    >>> tg.dist(tg.zeros(2), tg.tensor([3.0, 4.0]))
    tensor(5.)
    """
    return norm(sub(input, other), p)


@export(inplace=True)
def renorm(input: TensorLike, p: float, dim: int, maxnorm: float) -> Tensor:
    """``input`` with those slices along ``dim`` scaled down whose p-norm is above ``maxnorm``.

    >>> import tinygrad_cnn as tg
    >>> tg.renorm(tg.tensor([[3.0, 4.0], [0.3, 0.4]]), 2, 0, 1.0)
    tensor([[0.6000, 0.8000],
            [0.3000, 0.4000]])
    """
    x = to_tensor(input)
    if x.ndim < 2 or p <= 0 or maxnorm < 0:
        raise ArgumentError(
            f"renorm: `input` has shape {x.shape}, `p` is {p} and `maxnorm` {maxnorm}, expected "
            f"at least 2 axes, a positive number and none that is negative"
        )
    d = axis("renorm", dim, x.ndim)
    size = norm(x, p, [i for i in range(x.ndim) if i != d], keepdim=True)
    return mul(x, where(size > maxnorm, maxnorm / (size + 1e-7), 1.0))
