"""Normalisation and dropout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd.modes import is_recording
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.errors import ArgumentError, ShapeError
from tinygrad_cnn.functions.convert import floating, to_tensor
from tinygrad_cnn.functions.elementwise import mul, rsqrt
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.inplace import assign
from tinygrad_cnn.functions.shaping import integers
from tinygrad_cnn.kernels.fp_errors import ignore_fp_errors
from tinygrad_cnn.ops import norm as ops
from tinygrad_cnn.ops.random import Generator, numpy_generator
from tinygrad_cnn.types import Array, TensorLike

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
            known = [None if v is None else to_tensor(v)._array for v in (mean, var, weight, bias)]
            if all(v is None or v.dtype == x.dtype for v in known):
                return ops.channel_affine(x, *_scale_and_shift(known, eps))
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
        batch_mean, batch_var = statistics
        _move(mean, batch_mean, momentum)
        _move(var, batch_var * (n / (n - 1)), momentum)
    return y


@ignore_fp_errors  # as every operation: 1/0 is inf
def _scale_and_shift(known: list[Any], eps: float) -> tuple[Any, Any]:
    """Scale and shift (c,) of a normalisation by known statistics, from arrays: mean, variance,
    weight, bias. For a network's inference, where a tensor for every step costs more than the step.
    """
    mean, var, weight, bias = known
    scale = 1 / np.sqrt(var + eps)
    if weight is not None:
        scale *= weight
    shift = mean * scale
    return scale, np.negative(shift, out=shift) if bias is None else bias - shift


def _move(running: Variable | None, seen: Array, momentum: float) -> None:
    """Move a running statistic by the share ``momentum`` towards what this batch has."""
    if running is not None:
        values = running._written_by("batch_norm")
        values *= 1 - momentum
        values += momentum * seen


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
    part = integers("layer_norm", (normalized_shape,))
    if not part or x._value.shape[x._value.ndim - len(part) :] != part or len(part) > x._value.ndim:
        raise ShapeError(
            f"layer_norm: `normalized_shape` is {part}, but `input` has shape {x.shape}"
        )
    given = {"weight": weight, "bias": bias}
    tensors = {k: None if v is None else to_tensor(v) for k, v in given.items()}
    for argument, t in tensors.items():
        if t is not None and t._value.shape != part:
            raise ShapeError(f"layer_norm: `{argument}` has shape {t.shape}, expected {part}")
    return ops.layer_norm(x, tensors["weight"], tensors["bias"], ndim=len(part), eps=eps)


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
    if p == 1:
        mask = np.zeros(mask_shape, dtype)
    else:
        draws = numpy_generator(generator).random(mask_shape, dtype=np.float32)
        mask = (draws >= p) * dtype.type(1 / (1 - p))
    y = mul(x, wrap(mask))
    return assign(x, y, f"{name}_") if inplace else y


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
    """``input`` (n, c, h, w) or (c, h, w) with whole channels set to 0 with probability ``p``.

    Tompson et al., 2014.
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


def _channel_dropout(
    name: str,
    x: TensorLike,
    spatial: int,
    p: float,
    training: bool,
    inplace: bool,
    generator: Generator | None,
) -> Tensor:
    x, p = to_tensor(x), _probability(name, p)
    if x._value.ndim not in (spatial + 1, spatial + 2):
        raise ShapeError(
            f"{name}: `input` has shape {x.shape}, expected {spatial + 1} or {spatial + 2} axes"
        )
    if not training or p == 0:
        return x
    lead = x._value.shape[: x._value.ndim - spatial]
    return _drop(name, x, lead + (1,) * spatial, p, inplace, generator)
