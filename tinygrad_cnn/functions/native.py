"""PyTorch's names for what its own functions call: `nn.functional` has the ones that people use.

Normalizations return what they subtracted and multiplied with, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError, AxisError, ShapeError
from tinygrad_cnn.functions.convert import own, to_tensor
from tinygrad_cnn.functions.elementwise import add, rsqrt
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.image import grid_sample
from tinygrad_cnn.functions.normalization import batch_norm, group_norm, layer_norm
from tinygrad_cnn.functions.reduction import mean, var
from tinygrad_cnn.functions.shaping import reshape
from tinygrad_cnn.kernels.tape import made
from tinygrad_cnn.types import TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

Normalized = tuple["Tensor", "Tensor", "Tensor"]
_MODES, _PADDINGS = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")


def _grid_sampler(
    name: str, n: int, input: TensorLike, grid: TensorLike, mode: int, padding: int, corners: bool
) -> Tensor:
    x = to_tensor(input)
    if x.ndim != n + 2:
        raise AxisError(f"{name}: `input` has shape {x.shape}, expected {n + 2} axes")
    for argument, number, names in (
        ("interpolation_mode", mode, _MODES),
        ("padding_mode", padding, _PADDINGS),
    ):
        if number not in range(len(names)):
            raise ArgumentError(f"{name}: `{argument}` is {number}, expected 0, 1 or 2: {names}")
    return grid_sample(x, to_tensor(grid), _MODES[mode], _PADDINGS[padding], corners)


@export(method=False)
def grid_sampler_2d(
    input: TensorLike,
    grid: TensorLike,
    interpolation_mode: int,
    padding_mode: int,
    align_corners: bool,
) -> Tensor:
    """`nn.functional.grid_sample` of images, with numbers for modes, in the order it names them."""
    given = input, grid, interpolation_mode, padding_mode, align_corners
    return _grid_sampler("grid_sampler_2d", 2, *given)


@export(method=False)
def grid_sampler_3d(
    input: TensorLike,
    grid: TensorLike,
    interpolation_mode: int,
    padding_mode: int,
    align_corners: bool,
) -> Tensor:
    """`nn.functional.grid_sample` of volumes, with numbers for modes as in `grid_sampler_2d`."""
    given = input, grid, interpolation_mode, padding_mode, align_corners
    return _grid_sampler("grid_sampler_3d", 3, *given)


def _statistics(
    x: Tensor, dims: tuple[int, ...], keepdim: bool, eps: float
) -> tuple[Tensor, Tensor]:
    """Mean and inverse standard deviation."""
    return mean(x, dims, keepdim), rsqrt(add(var(x, dims, correction=0, keepdim=keepdim), eps))


@export(method=False)
def native_layer_norm(
    input: TensorLike,
    normalized_shape: int | Sequence[int],
    weight: TensorLike | None,
    bias: TensorLike | None,
    eps: float,
) -> Normalized:
    """`layer_norm`; the means, and inverse standard deviations, which have no gradients.

    >>> import tinygrad_cnn as tg
    >>> tg.native_layer_norm(tg.tensor([[1.0, 3.0]]), [2], None, None, 0.0)
    (tensor([[-1.,  1.]]), tensor([[2.]]), tensor([[1.]]))
    """
    x = to_tensor(input)
    out = layer_norm(x, normalized_shape, weight, bias, eps)
    n = len(normalized_shape) if isinstance(normalized_shape, Sequence) else 1
    return out, *_statistics(x.detach(), tuple(range(x.ndim - n, x.ndim)), True, eps)


@export(method=False)
def native_group_norm(
    input: TensorLike,
    weight: TensorLike | None,
    bias: TensorLike | None,
    N: int,
    C: int,
    HxW: int,
    group: int,
    eps: float,
) -> Normalized:
    """`nn.functional.group_norm`; the means, and inverse standard deviations, each (N, group).

    ``input`` has ``N`` samples of ``C`` channels of ``HxW`` values.
    """
    x = to_tensor(input)
    if x.numel() != N * C * HxW or group < 1 or C % group:
        raise ShapeError(
            f"native_group_norm: `input` has shape {x.shape}, `N`, `C` and `HxW` are {N}, {C} and "
            f"{HxW}, and `group` is {group}, expected their product and a divisor of `C`"
        )
    rows = reshape(x, N, C, HxW)
    scale, shift = (None if v is None else to_tensor(v) for v in (weight, bias))
    out = own(reshape(group_norm(rows, group, scale, shift, eps), x.shape))
    return out, *_statistics(reshape(x, N, group, C // group * HxW), (2,), False, eps)


@export(method=False)
def native_batch_norm(
    input: TensorLike,
    weight: TensorLike | None,
    bias: TensorLike | None,
    running_mean: TensorLike | None,
    running_var: TensorLike | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Normalized:
    """`batch_norm`; in training the means, and inverse standard deviations, without gradients.

    Otherwise these are empty.
    """
    x = to_tensor(input)
    out = batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    if not training:
        return out, wrap(made(np.empty(0, x.dtype))), wrap(made(np.empty(0, x.dtype)))
    dims = tuple(d for d in range(x.ndim) if d != 1)
    return out, *_statistics(x.detach(), dims, False, eps)
