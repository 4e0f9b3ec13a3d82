"""Normalisation and dropout."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.modes import is_recording
from tinygrad_cnn.autograd.rounding import limits_of
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError, ShapeError
from tinygrad_cnn.functions.convert import floating, to_tensor
from tinygrad_cnn.functions.elementwise import add, clone, div, mul, pow, rsqrt, square, to
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.inplace import assign
from tinygrad_cnn.functions.reduction import mean
from tinygrad_cnn.functions.shaping import integers
from tinygrad_cnn.kernels import draw_mask
from tinygrad_cnn.kernels.fp_errors import ignoring_fp_errors
from tinygrad_cnn.kernels.tape import do, fixed, made
from tinygrad_cnn.ops import norm as ops
from tinygrad_cnn.ops.random import Generator, numpy_generator, stream_of
from tinygrad_cnn.ops.resample import resample
from tinygrad_cnn.types import Array, DType, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


def _channels(name: str, argument: str, value: TensorLike | None, c: int) -> Any:
    if value is None:
        return None
    t = to_tensor(value)
    if t._value.shape != (c,):
        raise ShapeError(f"{name}: `{argument}` has shape {t.shape}, but `input` has {c} channels")
    return t


@export(method=False, nn=True)
def batch_norm(
    input: TensorLike,
    running_mean: TensorLike | None = None,
    running_var: TensorLike | None = None,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``input`` (n, c, ...) normalised in each channel, times ``weight`` plus ``bias``, each (c,).

    In training by the batch's own mean and (biased) variance, which also move ``running_mean`` and
    ``running_var`` (the unbiased one) by the share ``momentum``; otherwise by the running ones.
    Ioffe & Szegedy, 2015.

    Raises
    ------
    ValueError
        Wrong shapes, missing running statistics, or a batch of one value for each channel.
    """
    x = floating("batch_norm", to_tensor(input))
    shape = x._value.shape
    if shape == (0,):  # as PyTorch
        return clone(x)
    if len(shape) < 2:
        raise ShapeError(f"batch_norm: `input` has shape {shape}, expected (n, c, ...)")
    c = shape[1]
    mean = _channels("batch_norm", "running_mean", running_mean, c)
    var = _channels("batch_norm", "running_var", running_var, c)
    weight = _channels("batch_norm", "weight", weight, c)
    bias = _channels("batch_norm", "bias", bias, c)
    if not training:
        if mean is None or var is None:
            raise ArgumentError(
                "batch_norm: `running_mean` and `running_var` are needed to evaluate"
            )
        if not is_recording():
            known = [None if v is None else to_tensor(v)._given for v in (mean, var, weight, bias)]
            dtypes = {v.dtype for v in known if v is not None}
            if dtypes == {x._value.dtype}:
                arrays = (*known, eps, x._value.size // max(c, 1))
                numbers = do(ignoring_fp_errors, kernels.channel_numbers, arrays, {})
                return ops.channel_affine(x, *numbers[1:3], owned=True)
        scale = rsqrt(var + eps)
        if weight is not None:
            scale = scale * weight
        shift = -mean * scale if bias is None else bias - mean * scale
        return ops.channel_affine(x, scale, shift)
    n = x._value.size // c if c else 0
    if n == 1:
        raise ShapeError(
            f"batch_norm: `input` of shape {shape} has one value for each channel, expected more "
            f"in training"
        )
    statistics: list[Array] = []
    y = ops.batch_norm(x, weight, bias, eps=eps, statistics=statistics)
    if n:
        running = [None if v is None else v._written_by("batch_norm") for v in (mean, var)]
        written = tuple([v for v in running if v is not None])
        do(kernels.move_statistics, *running, *statistics, momentum, n, writes=written)
    return y


def _last_axes(name: str, x: Tensor, normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    """``normalized_shape`` as a tuple, which must be the shape of the last axes of ``x``."""
    part = integers(name, (normalized_shape,))
    if not part or x._value.shape[x._value.ndim - len(part) :] != part or len(part) > x._value.ndim:
        raise ShapeError(f"{name}: `normalized_shape` is {part}, but `input` has shape {x.shape}")
    return part


@export(method=False, nn=True)
def layer_norm(
    input: TensorLike,
    normalized_shape: int | Sequence[int],
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """``input`` normalised over its last axes, of ``normalized_shape``; weight and bias alike.

    Ba, Kiros & Hinton, 2016.
    """
    x = floating("layer_norm", to_tensor(input))
    part = _last_axes("layer_norm", x, normalized_shape)
    given = {"weight": weight, "bias": bias}
    tensors = {k: None if v is None else to_tensor(v) for k, v in given.items()}
    for argument, t in tensors.items():
        if t is not None and t._value.shape != part:
            raise ShapeError(f"layer_norm: `{argument}` has shape {t.shape}, expected {part}")
    return ops.layer_norm(x, tensors["weight"], tensors["bias"], ndim=len(part), eps=eps)


@export(method=False, nn=True)
def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """``input`` (n, c, ...) normalised in each sample over groups of channels and all positions.

    Wu & He, 2018. ``weight`` and ``bias`` are (c,).

    Raises
    ------
    ValueError
        Shapes that do not fit, ``num_groups`` does not divide c, or one value for each group.

    >>> import tinygrad_cnn as tg
    >>> group_norm(tg.tensor([[1.0, 3.0, 10.0, 30.0]]), 2)
    tensor([[-1.0000, 1.0000, -1.0000, 1.0000]])
    """
    x = floating("group_norm", to_tensor(input))
    if x.ndim < 2:
        raise ShapeError(f"group_norm: `input` has shape {x.shape} but (n, c, ...) is expected")
    n, c, *rest = x.shape
    if num_groups < 1 or c % num_groups:
        raise ShapeError(
            f"group_norm: `num_groups` is {num_groups} but a divisor of the {c} channels is "
            f"expected (input {x.shape})"
        )
    size = c // num_groups * math.prod(rest)
    if n * size == 1:
        raise ShapeError(
            f"group_norm: `input` of shape {x.shape} has one value for each of {num_groups} "
            f"groups, expected more"
        )
    weight = _channels("group_norm", "weight", weight, c)
    bias = _channels("group_norm", "bias", bias, c)
    return ops.group_norm(x, weight, bias, groups=num_groups, eps=eps) if size else clone(x)


def _move_by_mean(
    mean: Array | None,
    var: Array | None,
    seen_mean: Array,
    seen_var: Array,
    momentum: float,
    size: int,
) -> None:
    """Move running statistics (c,) towards the mean of those of each image (n, c)."""
    kernels.move_statistics(mean, var, seen_mean.mean(0), seen_var.mean(0), momentum, size)


@export(method=False, nn=True)
def instance_norm(
    input: TensorLike,
    running_mean: TensorLike | None = None,
    running_var: TensorLike | None = None,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``input`` (n, c, ...) normalised in each sample and channel, over all positions.

    With ``use_input_stats`` by their own mean and variance, whose means over the batch move the
    running ones, if given; otherwise by the running ones. Ulyanov et al., 2016.

    >>> import tinygrad_cnn as tg
    >>> tg.nn.functional.instance_norm(tg.tensor([[[1.0, 3.0]]]))
    tensor([[[-1.0000, 1.0000]]])
    """
    x = floating("instance_norm", to_tensor(input))
    if x.ndim < 3:
        raise ShapeError(f"instance_norm: `input` has shape {x.shape}, expected (n, c, ...)")
    if not use_input_stats:
        return batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    n, c, *rest = x.shape
    if math.prod(rest) == 1:
        raise ShapeError(
            f"instance_norm: `input` of shape {x.shape} has one value for each channel, expected "
            f"more"
        )
    running = [
        _channels("instance_norm", "running_mean", running_mean, c),
        _channels("instance_norm", "running_var", running_var, c),
    ]
    weight = _channels("instance_norm", "weight", weight, c)
    bias = _channels("instance_norm", "bias", bias, c)
    size = math.prod(rest)
    if not n * c * size:
        return clone(x)
    statistics: list[Array] = []  # (n, c)
    y = ops.group_norm(x, weight, bias, groups=c, eps=eps, statistics=statistics)
    held = [None if r is None else r._written_by("instance_norm") for r in running]
    written = tuple([v for v in held if v is not None])
    do(_move_by_mean, *held, *statistics, momentum, size, writes=written)
    return y


@export(method=False, nn=True)
def rms_norm(
    input: TensorLike,
    normalized_shape: int | Sequence[int],
    weight: TensorLike | None = None,
    eps: float | None = None,
) -> Tensor:
    """``input`` by the root of the mean of its squares over the last axes, times ``weight``.

    ``eps`` is added to the mean; by default it is that of the dtype. Zhang & Sennrich, 2019.

    >>> import tinygrad_cnn as tg
    >>> tg.nn.functional.rms_norm(tg.tensor([3.0, 4.0]), 2)
    tensor([0.8485, 1.1314])
    """
    x = floating("rms_norm", to_tensor(input))
    part = _last_axes("rms_norm", x, normalized_shape)
    if weight is not None and to_tensor(weight).shape != part:
        raise ShapeError(f"rms_norm: `weight` has shape {np.shape(weight)}, expected {part}")
    wide = to(x, np.float32) if x.dtype == np.float16 else x  # in float16 squares overflow
    eps = float(limits_of(wide.dtype).eps) if eps is None else eps
    squares = mean(square(wide), tuple(range(x.ndim - len(part), x.ndim)), keepdim=True)
    y = mul(wide, rsqrt(squares + eps))
    return to(y if weight is None else mul(y, weight), x.dtype)


@export(top=False, method=False, nn=True)
def local_response_norm(
    input: TensorLike, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """``input / (k + alpha * mean) ** beta``, the mean of squares over ``size`` channels around.

    Channels beyond the first and last count as 0. Krizhevsky et al., 2012, section 3.3.

    >>> import tinygrad_cnn as tg
    >>> tg.nn.functional.local_response_norm(tg.ones(1, 1, 1), 2, alpha=6.0, beta=1.0)
    tensor([[[0.2500]]])
    """
    x = floating("local_response_norm", to_tensor(input))
    if x.ndim < 3 or size < 1:
        raise ShapeError(
            f"local_response_norm: `input` has shape {x.shape} and `size` is {size}, expected "
            f"(n, c, ...) and at least 1"
        )
    if not x.numel():
        return x
    c = x.shape[1]
    places = np.arange(c)[:, None] + np.arange(size) - size // 2
    there = (places >= 0) & (places < c)
    index, weight = made(np.where(there, places, 0)), made(there / size)
    near = resample(square(x), index=index, weight=weight, dim=1)
    return div(x, pow(near * alpha + k, beta))


# ---- dropout -------------------------------------------------------------------------------


def _probability(name: str, p: float) -> float:
    if not isinstance(p, (int, float, np.number)) or not 0 <= p <= 1:
        raise ArgumentError(f"{name}: `p` is {p!r}, expected a probability from 0 to 1")
    return float(p)


def _drop(
    name: str,
    x: Tensor,
    mask_shape: tuple[int, ...],
    p: float,
    inplace: bool,
    generator: Generator | None,
) -> Tensor:
    dtype = floating(name, x)._value.dtype
    y = mul(x, wrap(do(_mask, mask_shape, dtype, p, generator)))
    return assign(x, y, f"{name}_") if inplace else y


def _mask(shape: tuple[int, ...], dtype: DType, p: float, generator: Generator | None) -> Array:
    """0 with probability p, else 1 / (1 - p)."""
    if p == 1:
        return np.zeros(shape, dtype)
    if dtype == np.float32:
        return draw_mask(fixed(np.array([p, 1 / (1 - p)], dtype)), shape, stream_of(generator))
    draws = numpy_generator(generator).random(shape, dtype=np.float32)
    mask: Array = (draws >= p) * dtype.type(1 / (1 - p))
    return mask


@export(method=False, nn=True)
def dropout(
    input: TensorLike,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """``input`` with each value set to 0 with probability ``p``, the others divided by ``1 - p``.

    Only in training. Srivastava et al., 2014 (inverted: evaluation needs no scaling).
    """
    x, p = to_tensor(input), _probability("dropout", p)
    if not training or p == 0:
        return x
    return _drop("dropout", x, x._value.shape, p, inplace, generator)


@export(method=False, nn=True)
def dropout2d(
    input: TensorLike,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """``input`` (n, c, h, w) with whole channels set to 0 with probability ``p``.

    Any other number of axes from 2 on is taken for (n, c, ...) too, with a warning. Tompson et
    al., 2014.
    """
    return _channel_dropout("dropout2d", input, 2, p, training, inplace, generator)


@export(method=False, nn=True)
def dropout1d(
    input: TensorLike,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """``input`` (n, c, l) or (c, l) with whole channels set to 0 with probability ``p``."""
    return _channel_dropout("dropout1d", input, 1, p, training, inplace, generator)


@export(method=False, nn=True)
def dropout3d(
    input: TensorLike,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """`dropout2d` of volumes (n, c, d, h, w) or (c, d, h, w)."""
    return _channel_dropout("dropout3d", input, 3, p, training, inplace, generator)


# What selu makes of minus infinity (Klambauer et al., 2017, eq. 14)
_SELU_FLOOR = -1.7580993408473766


def _alpha_drop(
    name: str,
    x: Tensor,
    mask_shape: tuple[int, ...],
    p: float,
    inplace: bool,
    generator: Generator | None,
) -> Tensor:
    """Dropped values become selu's least one; scaled so that mean and variance stay."""
    dtype = floating(name, x)._value.dtype
    if p == 1:
        y = mul(x, 0.0)
        return assign(x, y, f"{name}_") if inplace else y
    draws = numpy_generator(generator).random(mask_shape, dtype=np.float32)
    scale = ((1 - p) * (1 + p * _SELU_FLOOR**2)) ** -0.5
    kept = draws >= p
    shift = scale * _SELU_FLOOR * (~kept - p)
    y = add(mul(x, wrap((kept * scale).astype(dtype))), wrap(shift.astype(dtype)))
    return assign(x, y, f"{name}_") if inplace else y


@export(method=False, nn=True)
def alpha_dropout(
    input: TensorLike,
    p: float = 0.5,
    training: bool = False,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Dropout that keeps the mean 0 and variance 1 that `selu` gives (Klambauer et al., 2017)."""
    x, p = to_tensor(input), _probability("alpha_dropout", p)
    if not training or p == 0:
        return x
    return _alpha_drop("alpha_dropout", x, x.shape, p, inplace, generator)


@export(method=False, nn=True)
def feature_alpha_dropout(
    input: TensorLike,
    p: float = 0.5,
    training: bool = False,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """`alpha_dropout` of whole channels of ``input`` (n, c, ...)."""
    x, p = to_tensor(input), _probability("feature_alpha_dropout", p)
    if not training or p == 0:
        return x
    if x.ndim < 2:
        raise ShapeError(f"feature_alpha_dropout: `input` is {x.shape}, expected (n, c, ...)")
    shape = (*x.shape[:2], *(1,) * (x.ndim - 2))
    return _alpha_drop("feature_alpha_dropout", x, shape, p, inplace, generator)


def _channel_dropout(
    name: str,
    x: TensorLike,
    spatial: int,
    p: float,
    training: bool,
    inplace: bool,
    generator: Generator | None,
) -> Tensor:
    """Dropout of channels, which PyTorch finds in other axes than expected by several rules."""
    x, p = to_tensor(x), _probability(name, p)
    ndim, least = x._value.ndim, (2, 2, 1)[spatial - 1]
    if ndim < least or (spatial == 1 and ndim > 3):
        raise ShapeError(
            f"{name}: `input` has shape {x.shape}, expected {spatial + 1} or {spatial + 2} axes"
        )
    lead = 2 if spatial == 2 or ndim == spatial + 2 else 1  # these axes are drawn for
    usual = (4,) if spatial == 2 else (spatial + 1, spatial + 2)
    if ndim not in usual:
        warnings.warn(
            f"{name}: `input` has shape {x.shape}, expected {usual[-1]} axes; it is taken for "
            f"{'(n, c, ...)' if lead == 2 else '(c, ...)'}",
            stacklevel=3,
        )
    if not training or p == 0:
        return x
    return _drop(name, x, x._value.shape[:lead] + (1,) * (ndim - lead), p, inplace, generator)
