"""Layers that do the work of a batch normalisation that follows them, in evaluation."""

from __future__ import annotations

import copy
from typing import TypeVar

from tinygrad_cnn.autograd import no_grad
from tinygrad_cnn.autograd.arguments import checked
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.functions import ones_like, rsqrt, zeros_like
from tinygrad_cnn.nn.layers.conv import _Conv
from tinygrad_cnn.nn.layers.linear import Linear
from tinygrad_cnn.nn.layers.normalization import _BatchNorm
from tinygrad_cnn.nn.module.parameter import Parameter
from tinygrad_cnn.tensor import Tensor

L = TypeVar("L", _Conv, Linear)


def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """Return weight and bias that do a normalisation's work, too.

    Arguments are the weights of both layers and the running mean and variance.

    >>> import tinygrad_cnn as tg
    >>> w, b = fuse_conv_bn_weights(tg.ones(1, 1), None, tg.ones(1), tg.ones(1), 0.0, None, None)
    >>> w.item(), b.item()
    (1.0, -1.0)
    """
    with no_grad():
        bias = zeros_like(bn_rm) if conv_b is None else conv_b
        scale = rsqrt(bn_rv + bn_eps) * (ones_like(bn_rm) if bn_w is None else bn_w)
        shape = [1] * conv_w.ndim
        shape[1 if transpose else 0] = -1
        weight = conv_w * scale.reshape(shape)
        shift = (bias - bn_rm) * scale + (zeros_like(bn_rm) if bn_b is None else bn_b)
    return (
        Parameter(weight.to(conv_w.dtype), conv_w.requires_grad),
        Parameter(shift.to(conv_w.dtype), conv_w.requires_grad),
    )


def fuse_linear_bn_weights(
    linear_w: Tensor,
    linear_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
) -> tuple[Parameter, Parameter]:
    """Do the same as `fuse_conv_bn_weights` for a `Linear`.

    >>> import tinygrad_cnn as tg
    >>> w, b = fuse_linear_bn_weights(tg.ones(1, 1), None, tg.ones(1), tg.ones(1), 0.0, None, None)
    >>> w.item(), b.item()
    (1.0, -1.0)
    """
    return fuse_conv_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)


@checked
def fuse_conv_bn_eval(conv: _Conv, bn: _BatchNorm, transpose: bool = False) -> _Conv:
    """Return a convolution that does ``bn(conv(x))`` in evaluation.

    Raises
    ------
    ValueError
        A layer is in training, or ``bn`` has no running statistics.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> conv, bn, x = nn.Conv2d(3, 4, 3).eval(), nn.BatchNorm2d(4).eval(), tg.randn(1, 3, 5, 5)
    >>> bool(tg.allclose(fuse_conv_bn_eval(conv, bn)(x), bn(conv(x)), atol=1e-5))
    True
    """
    return _fused("fuse_conv_bn_eval", conv, bn, transpose or conv.transposed)


@checked
def fuse_linear_bn_eval(linear: Linear, bn: _BatchNorm) -> Linear:
    """Return a linear layer that does ``bn(linear(x))`` in evaluation.

    Raises
    ------
    ValueError
        A layer is in training, or ``bn`` has no running statistics.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> linear, bn, x = nn.Linear(3, 4).eval(), nn.BatchNorm1d(4).eval(), tg.randn(2, 3)
    >>> bool(tg.allclose(fuse_linear_bn_eval(linear, bn)(x), bn(linear(x)), atol=1e-5))
    True
    """
    return _fused("fuse_linear_bn_eval", linear, bn, False)


def _fused(name: str, layer: L, bn: _BatchNorm, transpose: bool) -> L:
    if layer.training or bn.training:
        raise ArgumentError(f"{name}: a layer is in training mode but eval() is expected")
    if bn.running_mean is None or bn.running_var is None:
        raise ArgumentError(f"{name}: `bn` has no running statistics")
    new = copy.deepcopy(layer)
    new.weight, new.bias = fuse_conv_bn_weights(
        new.weight,
        new.bias,
        bn.running_mean,
        bn.running_var,
        bn.eps,
        bn.weight,
        bn.bias,
        transpose,
    )
    return new
