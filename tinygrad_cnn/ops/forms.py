"""Forms in ONNX (`autograd.forms`) that take more than the line they would have in a record."""

# Operators are found by name, so that what they give is Any to mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.forms import Graph, Symbol
from tinygrad_cnn.types import Array

Dims = Sequence[int]
_FIRST, _LAST = -(2**63), 2**63 - 1

# ---- elementwise ---------------------------------------------------------------------------


def sign(o: Graph, x: Symbol) -> Symbol:
    """0 of NaN, as `sign` has it."""
    found: Symbol = o.Sign(x)
    return o.Where(o.IsNaN(x), 0, found) if x.dtype.kind == "f" else found


def step(o: Graph, x: Symbol, kind: str) -> Symbol:
    """Integers are whole as they are."""
    if x.dtype.kind != "f":
        return x
    if kind == "trunc":
        return o.Sign(x) * o.Floor(o.Abs(x))
    return o.Floor(x) if kind == "floor" else o.Ceil(x)


def round(o: Graph, x: Symbol, decimals: int) -> Symbol:
    """Half to even, as ONNX's."""
    if x.dtype.kind != "f":
        return x if decimals >= 0 else o.refuse("integers are rounded to powers of ten")
    unit = 10.0**decimals
    return o.Round(x * unit) / unit if decimals else o.Round(x)


def clamp(o: Graph, x: Symbol, min: float | None, max: float | None) -> Symbol:
    """Bounds in the dtype of ``x``."""
    low, high = (None if v is None else o.constant(v, x.dtype) for v in (min, max))
    return o.Clip(x, low, high)


def floor_divide(o: Graph, a: Symbol, b: Symbol) -> Symbol:
    """Of integers ONNX's division goes towards 0."""
    if a.dtype.kind == "f":
        return o.Floor(o.Div(a, b))
    return o.Div(o.Sub(a, o.Mod(a, b)), b)


def remainder(o: Graph, a: Symbol, b: Symbol) -> Symbol:
    """With the sign of ``b``."""
    if a.dtype.kind != "f":
        return o.Mod(a, b)
    return o.Sub(a, o.Mul(o.Floor(o.Div(a, b)), b))


def pow_scalar(o: Graph, x: Symbol, exponent: float) -> Symbol:
    """Roots, squares and inverses by their own operators."""
    if exponent == 0.5:
        return o.Sqrt(x)
    if exponent == -1:
        return o.Reciprocal(x)
    return x * x if exponent == 2 else o.Pow(x, exponent)


def logaddexp(o: Graph, a: Symbol, b: Symbol) -> Symbol:
    """Around the larger one."""
    return o.Max(a, b) + o.Log(o.Exp(-o.Abs(o.Sub(a, b))) + 1)


def sinc(o: Graph, x: Symbol) -> Symbol:
    """1 at 0."""
    zero, angle = o.Equal(x, 0), x * math.pi
    return o.Where(zero, 1, o.Div(o.Sin(angle), o.Where(zero, 1, angle)))


def elu(o: Graph, x: Symbol, alpha: float, scale: float, input_scale: float) -> Symbol:
    """Elu, Selu and Celu are of this kind."""
    if input_scale == 1:
        if scale == 1:
            return o.Elu(x, alpha=float(alpha))
        return o.Selu(x, alpha=float(alpha), gamma=float(scale))
    below = (o.Exp(o.Min(x, 0) * input_scale) - 1) * alpha
    return o.Where(o.Greater(x, 0), x, below) * scale


def gelu(o: Graph, x: Symbol, approximate: str) -> Symbol:
    """An operator of its own from version 20 on."""
    if o.opset >= 20:
        return o.Gelu(x, approximate=approximate)
    if approximate == "tanh":
        inner = (x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)
        return x * 0.5 * (o.Tanh(inner) + 1)
    return x * 0.5 * (o.Erf(x / math.sqrt(2)) + 1)


def softplus(o: Graph, x: Symbol, beta: float) -> Symbol:
    """Above the threshold ``x`` to within rounding."""
    return o.Softplus(x) if beta == 1 else o.Softplus(x * beta) / beta


# ---- shapes and reductions -----------------------------------------------------------------


def sum_to(o: Graph, x: Symbol, shape: Dims) -> Symbol:
    """Sums over the axes that are stretched."""
    lead = len(x.shape) - len(shape)
    axes = [*range(lead), *(i + lead for i, n in enumerate(shape) if n != x.shape[i + lead])]
    return o.reshape(o.reduce("ReduceSum", x, axes, True), shape)


def flip(o: Graph, x: Symbol, dims: Dims) -> Symbol:
    """A slice with steps of -1."""
    ends = [np.full(len(dims), n) for n in (_LAST, _FIRST)]
    return o.Slice(x, *ends, np.array(dims), np.full(len(dims), -1)) if dims else x


def roll(o: Graph, x: Symbol, shifts: Dims, dims: Dims) -> Symbol:
    """The last ``shift`` before all others."""
    for shift, dim in zip(shifts, dims, strict=True):
        n = x.shape[dim] if x.shape else 0
        if type(n) is not int:
            o.refuse("it rolls along the batch")
        if n and shift % n:
            at = np.array([n - shift % n])
            end, axis = np.array([_LAST]), np.array([dim])
            parts = o.Slice(x, at, end, axis), o.Slice(x, np.array([0]), at, axis)
            shape = x.shape
            x = o.Concat(*parts, axis=dim)
            x.shape = shape
    return x


def pad(o: Graph, x: Symbol, width: Sequence[tuple[int, int]], value: float) -> Symbol:
    """All that comes before, then all that comes after."""
    ends = np.array([[b for b, _ in width], [a for _, a in width]], np.int64).reshape(-1)
    return o.Pad(x, ends, o.constant(value, x.dtype), mode="constant") if x.shape else x


def sum(o: Graph, x: Symbol, y: Symbol, dim: Dims, keepdim: bool) -> Symbol:
    """In the dtype of the result."""
    return o.reduce("ReduceSum", o.cast(x, y.dtype), dim, keepdim)


def prod(o: Graph, x: Symbol, y: Symbol, dim: Dims, keepdim: bool) -> Symbol:
    """In the dtype of the result."""
    return o.reduce("ReduceProd", o.cast(x, y.dtype), dim, keepdim)


def var(o: Graph, x: Symbol, dim: Dims, correction: float, keepdim: bool) -> Symbol:
    """The mean of the squares, then Bessel's correction."""
    away = x - o.reduce("ReduceMean", x, dim, True)
    total = o.reduce("ReduceSum", away * away, dim, keepdim)
    n = o.count(x.shape, dim)
    if type(n) is int:
        return total / (max(n - correction, 0) or math.nan)
    return total / (o.number(n, x) - correction)


def logsumexp(o: Graph, x: Symbol, dim: Dims, keepdim: bool) -> Symbol:
    """Without overflow."""
    return o.reduce("ReduceLogSumExp", x, dim, keepdim) if dim else x


# ---- products and convolutions -------------------------------------------------------------


def linear(o: Graph, x: Symbol, w: Symbol, bias: Symbol | None) -> Symbol:
    """A product with the transposed weight."""
    return o.Gemm(x, w, bias, transB=1)


def _pads(padding: Sequence[tuple[int, int]]) -> list[int]:
    return [before for before, _ in padding] + [after for _, after in padding]


def conv2d(o: Graph, x: Symbol, w: Symbol, bias: Symbol | None, spec: Any) -> Symbol:
    """As it is."""
    return o.Conv(
        x,
        w,
        bias,
        kernel_shape=list(w.shape[2:]),
        strides=list(spec.stride),
        pads=_pads(spec.padding),
        dilations=list(spec.dilation),
        group=spec.groups,
    )


def conv2d_input(o: Graph, dy: Symbol, w: Symbol, size: Dims, spec: Any) -> Symbol:
    """A transposed convolution; what its strides leave open is padding of the result.

    Where less is cut off at the end than at the beginning, that too is padding of the result.
    """
    padding, extra = [], []
    for n, out, s, (before, after), d, k in zip(
        size, dy.shape[2:], spec.stride, spec.padding, spec.dilation, w.shape[2:], strict=True
    ):
        after = before if 0 < before - after < s else after
        padding.append((before, after))
        extra.append(n - ((out - 1) * s - before - after + d * (k - 1) + 1))
    return o.ConvTranspose(
        dy,
        w,
        kernel_shape=list(w.shape[2:]),
        strides=list(spec.stride),
        pads=_pads(padding),
        dilations=list(spec.dilation),
        group=spec.groups,
        output_padding=extra,
    )


# ---- pooling -------------------------------------------------------------------------------


def _ends(x: Symbol, y: Symbol, kernel: Dims, stride: Dims, padding: Dims, dilation: Dims) -> Any:
    """Padding at the ends with which exactly the windows of the result fit."""
    return [
        max(0, (out - 1) * s + d * (k - 1) + 1 - n - p)
        for n, out, k, s, p, d in zip(
            x.shape[2:], y.shape[2:], kernel, stride, padding, dilation, strict=True
        )
    ]


def max_pool2d(o: Graph, x: Symbol, y: Symbol, params: dict[str, Any]) -> Symbol:
    """With the padding at the end that ``ceil_mode`` comes to."""
    kernel, stride, padding, dilation = (
        list(params[k]) for k in ("kernel_size", "stride", "padding", "dilation")
    )
    return o.MaxPool(
        x,
        kernel_shape=kernel,
        strides=stride,
        pads=padding + _ends(x, y, kernel, stride, padding, dilation),
        dilations=dilation,
    )


def avg_pool2d(o: Graph, x: Symbol, y: Symbol, params: dict[str, Any]) -> Symbol:
    """What is counted is padded before, what is not is left to the operator."""
    kernel, stride, padding = (list(params[k]) for k in ("kernel_size", "stride", "padding"))
    ends = _ends(x, y, kernel, stride, padding, [1, 1])
    counts, divisor = params["count_include_pad"], params["divisor_override"]
    if divisor:  # sums over windows, of which nothing beyond the image counts
        pads, include = padding + ends, 1
    elif counts and any(padding):
        width = ((0, 0), (0, 0), *((p, p) for p in padding))
        x, pads, include = (
            pad(o, x, width, 0.0),
            [0, 0, *(max(0, e - p) for e, p in zip(ends, padding, strict=True))],
            0,
        )
    else:
        pads, include = padding + ends, 0
    out: Symbol = o.AveragePool(
        x, kernel_shape=kernel, strides=stride, pads=pads, count_include_pad=include
    )
    return out * (math.prod(kernel) / divisor) if divisor else out


def _means(n: int, out: int) -> Array:
    """The matrix (out, n) of means over near-equal windows."""
    places = np.arange(n)
    starts, stops = np.arange(out) * n // out, -(-(np.arange(out) + 1) * n // out)
    inside = (places >= starts[:, None]) & (places < stops[:, None])
    means: Array = inside / inside.sum(1, keepdims=True)
    return means


def adaptive_avg_pool2d(o: Graph, x: Symbol, output_size: Dims) -> Symbol:
    """The mean of all, or of equal windows; else by products with matrices."""
    sides = list(x.shape[2:])
    if tuple(output_size) == (1, 1):
        return o.GlobalAveragePool(x)
    if all(n % out == 0 for n, out in zip(sides, output_size, strict=True)):
        kernel = [n // out for n, out in zip(sides, output_size, strict=True)]
        return o.AveragePool(x, kernel_shape=kernel, strides=kernel)
    rows, columns = (
        _means(n, out).astype(x.dtype) for n, out in zip(sides, output_size, strict=True)
    )
    return o.MatMul(o.constant(rows), o.MatMul(x, columns.T))


# ---- normalisation -------------------------------------------------------------------------


def _per_channel(o: Graph, v: Symbol, ndim: int) -> Symbol:
    return o.reshape(v, (-1, *(1,) * (ndim - 2)))


def channel_affine(o: Graph, x: Symbol, scale: Symbol, shift: Symbol | None) -> Symbol:
    """A batch normalisation, if scale and shift are those of one."""
    known = o.made_by(scale, kernels.channel_numbers)
    if known is not None and known is o.made_by(shift, kernels.channel_numbers):
        mean, var, weight, bias, eps = known[:5]
        c = x.shape[1]
        weight = o.constant(np.ones(c, x.dtype)) if weight is None else weight
        bias = o.constant(np.zeros(c, x.dtype)) if bias is None else bias
        return o.BatchNormalization(x, weight, bias, mean, var, epsilon=eps)
    y = x * _per_channel(o, scale, len(x.shape))
    return y if shift is None else y + _per_channel(o, shift, len(x.shape))


def _normalized(o: Graph, x: Symbol, dim: Dims, eps: float) -> Symbol:
    away = x - o.reduce("ReduceMean", x, dim, True)
    return away / o.Sqrt(o.reduce("ReduceMean", away * away, dim, True) + eps)


def batch_norm(
    o: Graph, x: Symbol, weight: Symbol | None, bias: Symbol | None, eps: float
) -> Symbol:
    """By the batch's own statistics."""
    y = _normalized(o, x, (0, *range(2, len(x.shape))), eps)
    y = y if weight is None else y * _per_channel(o, weight, len(x.shape))
    return y if bias is None else y + _per_channel(o, bias, len(x.shape))


def layer_norm(
    o: Graph, x: Symbol, weight: Symbol | None, bias: Symbol | None, ndim: int, eps: float
) -> Symbol:
    """An operator that wants a weight."""
    if weight is None:
        weight = o.constant(np.ones(x.shape[len(x.shape) - ndim :], x.dtype))
    return o.LayerNormalization(x, weight, bias, axis=-ndim, epsilon=eps)


def group_norm(
    o: Graph, x: Symbol, weight: Symbol | None, bias: Symbol | None, groups: int, eps: float
) -> Symbol:
    """Of rows (n, groups, rest): ONNX's own operator is deprecated in version 18."""
    n, *rest = x.shape
    rows = o.reshape(x, (n, groups, math.prod(rest) // groups))
    ones, zeros = (o.constant(np.full(groups, v, x.dtype)) for v in (1, 0))
    y = o.reshape(o.InstanceNormalization(rows, ones, zeros, epsilon=eps), x.shape)
    y = y if weight is None else y * _per_channel(o, weight, len(x.shape))
    return y if bias is None else y + _per_channel(o, bias, len(x.shape))


# ---- attention, resampling, losses ---------------------------------------------------------


def attention(
    o: Graph,
    q: Symbol,
    k: Symbol,
    v: Symbol,
    mask: Symbol | None,
    scale: float,
    causal: bool,
    dropout_p: float,
) -> Symbol:
    """Products and softmax; queries that see no key get zeros."""
    if dropout_p:
        o.refuse("dropout is random")
    n = len(k.shape)
    turned = o.Transpose(k, perm=[*range(n - 2), n - 1, n - 2])
    scores = o.MatMul(q * scale, turned)
    seen: Any = None
    if causal:
        seen = np.tri(q.shape[-2], k.shape[-2], dtype=bool)
        seen = o.constant(seen)
    if mask is not None:
        if mask.dtype == bool:
            seen = mask if seen is None else o.And(mask, seen)
        else:
            scores = scores + mask
    low = o.constant(-math.inf, q.dtype)
    if seen is not None:
        scores = o.Where(seen, scores, low)
    weights = o.Softmax(scores, axis=-1)
    if mask is not None:  # a row that is -inf throughout is NaN now
        blind = o.Equal(o.reduce("ReduceMax", scores, (n - 1,), True), low)
        weights = o.Where(blind, o.constant(0, q.dtype), weights)
    return o.MatMul(weights, v)


def _along(o: Graph, x: Symbol, matrix: Array, dim: int) -> Symbol:
    """The product of a matrix (out, n) and ``x`` along the axis ``dim``."""
    matrix, n = matrix.astype(x.dtype), len(x.shape)
    if dim == n - 1:
        return o.MatMul(x, matrix.T) if n > 1 else o.MatMul(o.constant(matrix), x)
    if dim == n - 2:
        return o.MatMul(o.constant(matrix), x)
    order = [i for i in range(n) if i != dim] + [dim]
    back = [order.index(i) for i in range(n)]
    turned = o.MatMul(o.Transpose(x, perm=order), matrix.T)
    return o.Transpose(turned, perm=back)


def resample(o: Graph, x: Symbol, index: Array, weight: Array, dim: int) -> Symbol:
    """A product with the matrix of all weights."""
    matrix = np.zeros((len(index), x.shape[dim]))
    np.add.at(matrix, (np.arange(len(index))[:, None], np.where(weight != 0, index, 0)), weight)
    return _along(o, x, matrix, dim)


def spread(o: Graph, x: Symbol, index: Array, weight: Array, dim: int, size: int) -> Symbol:
    """A product with the matrix of all weights, transposed."""
    matrix = np.zeros((size, len(index)))
    np.add.at(matrix, (index, np.arange(len(index))[:, None]), weight)
    return _along(o, x, matrix, dim)


def take_mesh(o: Graph, x: Symbol, places: Sequence[Array]) -> Symbol:
    """One axis after the other."""
    first = len(x.shape) - len(places)
    for axis, index in enumerate(places, start=first):
        x = o.Gather(x, np.asarray(index, np.int64), axis=axis)
    return x


def cross_entropy(
    o: Graph, x: Symbol, labels: Symbol, smoothing: float, ignored: int, reduction: str
) -> Symbol:
    """An operator of its own, where labels are not smoothed."""
    if smoothing:
        o.refuse("labels are smoothed")
    return o.SoftmaxCrossEntropyLoss(x, labels, ignore_index=ignored, reduction=reduction)
