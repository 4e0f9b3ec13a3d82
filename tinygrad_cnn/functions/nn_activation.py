"""Activation functions composed of simpler ones. At kinks and at NaN derivatives are PyTorch's.

Each piece of a piecewise function is chosen by a comparison that NaN fails, and what is not chosen
is a constant, so that no gradient and no ``inf - inf`` comes from it.

With ``inplace`` the result is written into ``input``, which is returned.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd.units import computed
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError, ShapeError
from tinygrad_cnn.functions.activation import elu, leaky_relu, relu, sigmoid, softmax, softplus
from tinygrad_cnn.functions.convert import axis, floating, one_dtype
from tinygrad_cnn.functions.elementwise import mul, tanh, where
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.inplace import assign, in_place
from tinygrad_cnn.ops import activation as ops
from tinygrad_cnn.ops.choice import pieces
from tinygrad_cnn.ops.random import draw
from tinygrad_cnn.types import Array, DTypeLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

# Klambauer et al., "Self-normalizing neural networks", 2017, eq. 14
_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


@export(top=False, method=False, nn=True)
def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """Limit to [min_val, max_val], with derivative 0 at both bounds.

    Raises
    ------
    ValueError
        ``min_val`` is above ``max_val``.

    >>> import tinygrad_cnn as tg
    >>> hardtanh(tg.tensor([-2.0, 0.5, 2.0]))
    tensor([-1.0000, 0.5000, 1.0000])
    """
    if min_val > max_val:
        raise ArgumentError(
            f"hardtanh: `min_val` is {min_val} and `max_val` is {max_val} but min_val <= max_val "
            f"is expected"
        )
    if input.dtype.kind in "iu":  # whole limits, as in PyTorch
        min_val, max_val = int(min_val), int(max_val)
    out = ops.hardtanh(input, low=min_val, high=max_val)
    return assign(input, out, "hardtanh_") if inplace else out


@export(top=False, method=False, nn=True)
def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """``min(max(x, 0), 6)``, with derivative 0 at 0 and 6.

    >>> import tinygrad_cnn as tg
    >>> relu6(tg.tensor([-1.0, 3.0, 9.0]))
    tensor([0., 3., 6.])
    """
    out = hardtanh(input, 0.0, 6.0)
    return assign(input, out, "relu6_") if inplace else out


@export(top=False, method=False, nn=True)
def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """``relu6(x + 3) / 6``.

    >>> import tinygrad_cnn as tg
    >>> hardsigmoid(tg.tensor([-4.0, 0.0, 4.0]))
    tensor([0.0000, 0.5000, 1.0000])
    """
    out = ops.hardsigmoid(floating("hardsigmoid", input))
    return assign(input, out, "hardsigmoid_") if inplace else out


@export(top=False, method=False, nn=True)
def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """``x * relu6(x + 3) / 6``.

    >>> import tinygrad_cnn as tg
    >>> hardswish(tg.tensor([-4.0, 1.5, 4.0]))
    tensor([-0.0000, 1.1250, 4.0000])
    """
    out = ops.hardswish(floating("hardswish", input))
    return assign(input, out, "hardswish_") if inplace else out


@export(top=False, method=False, nn=True)
def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """``x * tanh(softplus(x))``.

    >>> import tinygrad_cnn as tg
    >>> mish(tg.tensor([0.0, 1.0]))
    tensor([0.0000, 0.8651])
    """
    out = ops.mish(floating("mish", input))
    return assign(input, out, "mish_") if inplace else out


@export(method=False, nn=True)
def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """``scale * elu(x, alpha)`` with the constants that keep mean and variance.

    >>> import tinygrad_cnn as tg
    >>> selu(tg.tensor([-1.0, 1.0]))
    tensor([-1.1113, 1.0507])
    """
    out = ops.elu(floating("selu", input), alpha=_SELU_ALPHA, scale=_SELU_SCALE)
    return assign(input, out, "selu_") if inplace else out


@export(method=False, nn=True)
def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))``.

    Raises
    ------
    ValueError
        ``alpha`` is 0.

    >>> import tinygrad_cnn as tg
    >>> celu(tg.tensor([-1.0, 2.0]))
    tensor([-0.6321, 2.0000])
    """
    if alpha == 0:
        raise ArgumentError("celu: `alpha` is 0 but another number is expected")
    out = ops.elu(floating("celu", input), alpha=alpha, input_scale=1 / alpha)
    return assign(input, out, "celu_") if inplace else out


@export(top=False, method=False, nn=True)
def softsign(input: Tensor) -> Tensor:
    """``x / (1 + |x|)``.

    >>> import tinygrad_cnn as tg
    >>> softsign(tg.tensor([-1.0, 3.0]))
    tensor([-0.5000, 0.7500])
    """
    out: Tensor = input / (input.abs() + 1)
    return out


@export(top=False, method=False, nn=True)
def tanhshrink(input: Tensor) -> Tensor:
    """``x - tanh(x)``.

    >>> import tinygrad_cnn as tg
    >>> tanhshrink(tg.ones(1))
    tensor([0.2384])
    """
    out: Tensor = input - tanh(input)
    return out


@export(top=False, method=False, nn=True)
def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """Move towards 0 by ``lambd``, and not beyond.

    Raises
    ------
    ValueError
        ``lambd`` is negative or not finite.

    >>> import tinygrad_cnn as tg
    >>> softshrink(tg.tensor([-1.0, 0.2, 2.0]))
    tensor([-0.5000, 0.0000, 1.5000])
    """
    if not 0 <= lambd < math.inf:
        raise ArgumentError(f"softshrink: `lambd` is {lambd} but a finite number >= 0 is expected")
    x, constant = pieces(input), input.detach()
    out: Tensor = where(_between(x, lambd), constant * 0, x - constant.sign() * lambd)
    return out


@export(nn=True)
def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """``x`` where ``|x| > lambd`` and 0 elsewhere.

    >>> import tinygrad_cnn as tg
    >>> hardshrink(tg.tensor([-1.0, 0.2]))
    tensor([-1., 0.])
    """
    x = pieces(input)
    out: Tensor = where(_between(x, lambd), 0.0, x)
    return out


def _between(x: Tensor, lambd: float) -> Tensor:
    """Where ``|x| <= lambd``: not at NaN, which passes through with its gradient."""
    inside: Tensor = (x >= -lambd) & (x <= lambd)
    return inside


@export(method=False, nn=True)
def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """``x`` above ``threshold`` and ``value`` elsewhere.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn.nn import functional as F
    >>> F.threshold(tg.tensor([0.5, 2.0]), 1.0, 20.0)
    tensor([20., 2.])
    """
    out = pieces(input).masked_fill(input <= threshold, value)
    return assign(input, out, "threshold_") if inplace else out


@export(top=False, method=False, nn=True)
def logsigmoid(input: Tensor) -> Tensor:
    """``log(sigmoid(x))``, without overflow.

    >>> import tinygrad_cnn as tg
    >>> logsigmoid(tg.tensor([0.0]))
    tensor([-0.6931])
    """
    out: Tensor = -softplus(-input)
    return out


@export(top=False, method=False, nn=True)
def softmin(input: Tensor, dim: int | None = None, dtype: DTypeLike = None) -> Tensor:
    """Softmax of the negated input along ``dim``.

    >>> import tinygrad_cnn as tg
    >>> softmin(tg.zeros(2), dim=0)
    tensor([0.5000, 0.5000])
    """
    return softmax(-input, dim, dtype)


@export(top=False, method=False, nn=True)
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """Split along ``dim`` into halves a and b and return ``a * sigmoid(b)``.

    Raises
    ------
    ValueError
        The size along ``dim`` is odd.

    >>> import tinygrad_cnn as tg
    >>> glu(tg.tensor([2.0, 0.0]))
    tensor([1.])
    """
    if not input.ndim:
        raise ShapeError(f"glu: `input` has shape {input.shape}, expected axes to take apart")
    dim = axis("glu", dim, input.ndim)
    if input.shape[dim] % 2:
        raise ShapeError(
            f"glu: `input` has {input.shape[dim]} values along dim {dim} but an even number is "
            f"expected (input {input.shape})"
        )
    a, b = input.chunk(2, dim)
    out: Tensor = a * sigmoid(b)
    return out


@export(nn=True)
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """``x`` above 0 and ``weight * x`` elsewhere.

    Shapes: input (n, c, ...), weight (1,) or (c,).

    Raises
    ------
    TypeError
        ``weight`` has another dtype.
    ValueError
        ``weight`` has another size.

    >>> import tinygrad_cnn as tg
    >>> prelu(tg.tensor([[-4.0, -4.0]]), tg.tensor([0.5, 0.25]))
    tensor([[-2., -1.]])
    """
    one_dtype("prelu", input, weight=weight)
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.ndim > 1 or weight.numel() not in (1, channels):
        raise ShapeError(
            f"prelu: `weight` has shape {weight.shape} but (1,) or ({channels},) is expected "
            f"(input {input.shape})"
        )
    if weight.numel() != 1:
        weight = weight.reshape(channels, *(1,) * (input.ndim - 2))  # (c, 1, ...)
    elif input.ndim == 0:
        weight = weight.reshape(())
    x = pieces(input)
    out: Tensor = where(x > 0, x, weight * x)
    return out


@export(method=False, nn=True)
def rrelu(
    input: Tensor,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """``x`` above 0, else ``slope * x``, with random slopes in training.

    They come from [lower, upper]; otherwise the slope is the mean of the two. Xu et al., 2015.

    >>> import tinygrad_cnn as tg
    >>> rrelu(tg.tensor([-4.0, 2.0]), 0.25, 0.75)
    tensor([-2., 2.])
    """
    if not lower <= upper < math.inf:
        raise ArgumentError(f"rrelu: `lower` is {lower} and `upper` {upper}, expected in order")
    x = floating("rrelu", input)
    if training:
        slopes = draw(None, "uniform", lower, upper, x._value.shape, dtype=x.dtype)
        out = mul(x, computed(_below_zero, x, slopes))
    else:
        out = ops.leaky_relu(x, negative_slope=(lower + upper) / 2)
    return assign(input, out, "rrelu_") if inplace else out


@export(top=False, method=False, nn=True)
def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """Random probabilities, near 0 and 1 for a small ``tau``, of classes along ``dim``.

    With ``hard`` the result is one-hot, with the gradient of the soft one. Jang et al., 2016.
    ``eps`` is not used.

    >>> import tinygrad_cnn as tg
    >>> float(gumbel_softmax(tg.zeros(3), hard=True).sum())
    1.0
    """
    x = floating("gumbel_softmax", logits)
    noise = draw(None, "gumbel", 0.0, 1.0, x._value.shape, dtype=x.dtype)
    soft = softmax((x + wrap(noise)) / tau, dim)
    if not hard:
        return soft
    result: Tensor = computed(_largest, soft, dim) - soft.detach() + soft
    return result


def _below_zero(x: Array, slopes: Array) -> Array:
    """The slopes of negative numbers, 1 of others."""
    return np.where(x <= 0, slopes, x.dtype.type(1))


def _largest(values: Array, dim: int) -> Array:
    """1 for the first of the largest numbers along an axis, else 0."""
    first = np.argmax(values, dim, keepdims=True) if values.ndim else np.asarray(0)
    places = np.arange(values.shape[dim]) if values.ndim else np.asarray(0)
    shape = [1] * values.ndim
    if values.ndim:
        shape[dim] = -1
    chosen: Array = (places.reshape(shape) == first).astype(values.dtype)
    return chosen


def _in_place(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``NAME_``, of the same arguments, which writes the result into the first of them."""
    method, signature = in_place(function), inspect.signature(function)

    def call(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return method(input, *args, **kwargs)

    call.__name__, call.__doc__ = method.__name__, method.__doc__
    shown = [p for name, p in signature.parameters.items() if name != "inplace"]
    call.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
    return export(method=False, nn=True)(call)


celu_ = _in_place(celu)
elu_ = _in_place(elu)
hardtanh_ = _in_place(hardtanh)
leaky_relu_ = _in_place(leaky_relu)
relu_ = _in_place(relu)
rrelu_ = _in_place(rrelu)
selu_ = _in_place(selu)
threshold_ = _in_place(threshold)
