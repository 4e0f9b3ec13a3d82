"""Activation functions."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn.autograd.events import observe, observed, watching
from tinygrad_cnn.autograd.modes import is_recording
from tinygrad_cnn.functions.convert import (
    axis,
    floating,
    inexact,
    numpy_names,
    own,
    to_tensor,
    unary,
)
from tinygrad_cnn.functions.elementwise import to
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.inplace import assign
from tinygrad_cnn.functions.shaping import reshape
from tinygrad_cnn.kernels.lazy import Lazy
from tinygrad_cnn.ops import activation as ops
from tinygrad_cnn.ops import reduce as reductions
from tinygrad_cnn.types import DTypeLike, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

sigmoid = unary(ops.sigmoid, inplace=True, nn=True)


@export(inplace=True, nn=True)
def relu(input: TensorLike, inplace: bool = False) -> Tensor:
    """``max(input, 0)``; the derivative at 0 is 0. ``inplace`` writes the result into ``input``.

    >>> import tinygrad_cnn as tg
    >>> tg.relu(tg.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    x = to_tensor(input)
    if not inplace:
        return ops.relu(x)
    with x.changing():
        if watching and observed(_relu_in_place):
            written: Tensor = observe("operation", "relu", _relu_in_place, (x,), {})
            return written
        return _relu_in_place(x)


def _relu_in_place(x: Tensor) -> Tensor:
    node = x.current_node()
    if type(x._value) is Lazy and not x._value.is_realized:  # nothing is there to write into yet
        x.storage.written("relu_")
        y = ops.relu(x)
        x._value, x._saved = y._value, None
        x.take_history(y)
        return x
    x.check_writable("relu_", node is not None)
    values = x._written_by("relu_")
    np.maximum(values, 0, out=values)
    live = node is not None and is_recording()
    # The rule needs the result only, which x now holds: nothing else is allocated or copied.
    y = ops.relu.record(values, (x,), (values,), (node,), {}) if live else x
    x.take_history(y)
    return x


@export(method=False, nn=True)
def leaky_relu(input: TensorLike, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """``input`` if positive, else ``negative_slope * input`` (Maas et al., 2013)."""
    x = floating("leaky_relu", to_tensor(input))
    y = ops.leaky_relu(x, negative_slope=negative_slope)
    return assign(x, y, "leaky_relu_") if inplace else y


@export(method=False, nn=True)
def elu(input: TensorLike, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``input`` if positive, else ``alpha * (exp(input) - 1)`` (Clevert et al., 2015)."""
    x = floating("elu", to_tensor(input))
    y = ops.elu(x, alpha=alpha)
    return assign(x, y, "elu_") if inplace else y


@export(method=False, nn=True)
def gelu(input: TensorLike, approximate: str = "none") -> Tensor:
    """``x * Φ(x)``, Φ the normal distribution's; ``approximate`` is ``"none"`` or ``"tanh"``."""
    return ops.gelu(floating("gelu", to_tensor(input)), approximate=approximate)


@export(method=False, nn=True)
def silu(input: TensorLike, inplace: bool = False) -> Tensor:
    """``input * sigmoid(input)``, also called swish."""
    x = inexact("silu", to_tensor(input))
    y = ops.silu(x)
    return assign(x, y, "silu_") if inplace else y


@export(method=False, nn=True)
def softplus(input: TensorLike, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """``log(1 + exp(beta * input)) / beta``; linear where ``beta * input > threshold``."""
    return ops.softplus(floating("softplus", to_tensor(input)), beta=beta, threshold=threshold)


@export(nn=True)
@numpy_names
def softmax(input: TensorLike, dim: int | None = None, dtype: DTypeLike = None) -> Tensor:
    """``exp(input) / sum(exp(input))`` along ``dim``.

    Without ``dim``, with a warning, that is 0 for 0, 1 or 3 axes, else 1: PyTorch's older rule.

    >>> import tinygrad_cnn as tg
    >>> tg.softmax(tg.tensor([[1.0, 1.0]]), dim=1)
    tensor([[0.5000, 0.5000]])
    """
    x = to_tensor(input) if dtype is None else to(input, dtype)
    d = _axis("softmax", x, dim)
    if not x._value.ndim:
        return own(reshape(softmax(reshape(x, 1), 0), ()))
    return reductions.softmax(x, dim=d)


@export(nn=True)
@numpy_names
def log_softmax(input: TensorLike, dim: int | None = None, dtype: DTypeLike = None) -> Tensor:
    """``log(softmax(input))`` along ``dim``, without overflow."""
    x = to_tensor(input) if dtype is None else to(input, dtype)
    d = _axis("log_softmax", x, dim)
    if not x._value.ndim:
        return own(reshape(log_softmax(reshape(x, 1), 0), ()))
    return reductions.log_softmax(x, dim=d)


def _axis(name: str, x: Tensor, dim: int | None) -> int:
    n = x._value.ndim
    if dim is None:
        dim = 0 if n in (0, 1, 3) else 1
        warnings.warn(
            f"{name}: `dim` is missing and taken to be {dim}, as PyTorch does; pass it",
            stacklevel=4,
        )
    return axis(name, dim, n)
