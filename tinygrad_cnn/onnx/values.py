"""Readers of operators on numbers, axes and indices: each is a function of a node and tensors.

Parameters have the names of ONNX's attributes; where one became an input in a later version, it may
come either way.
"""

# Operators of tensors are methods whose types mypy does not know.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import builtins
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_cnn.functions as f
from tinygrad_cnn.onnx.node import Node, Reader, ints, number
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import DType

Axes = Any  # a tensor, a list of integers, or None


def _of(function: Callable[..., Any]) -> Reader:
    """A reader of an operator with one input and no attributes."""
    return lambda n, x: function(x)


def _pair(function: Callable[..., Any]) -> Reader:
    return lambda n, x, other: function(x, other)


def _fold(function: Callable[..., Any]) -> Reader:
    """A reader of an operator with any number of inputs."""
    return lambda n, x, *xs: functools.reduce(function, xs, x)


def dtype_of(n: Node, kind: int) -> DType:
    """The dtype that ONNX has a number for."""
    from onnx.helper import tensor_dtype_to_np_dtype

    try:
        dtype = np.dtype(tensor_dtype_to_np_dtype(kind))
    except (KeyError, ValueError):
        raise n.refuse(f"there is no type {kind}") from None
    if dtype.kind not in "biuf":
        raise n.refuse(f"the type {dtype} is not read")
    return dtype


# ---- arithmetic ----------------------------------------------------------------------------


def _div(n: Node, x: Tensor, other: Tensor) -> Tensor:
    if x.dtype.kind in "iu":
        return f.div(x, other, rounding_mode="trunc")
    return f.div(x, other)


def _mod(n: Node, x: Tensor, other: Tensor, fmod: int = 0) -> Tensor:
    return f.fmod(x, other) if fmod else f.remainder(x, other)


def _pow(n: Node, x: Tensor, other: Tensor) -> Tensor:
    return f.pow(x, other).to(x.dtype)


def _mean(n: Node, x: Tensor, *xs: Tensor) -> Tensor:
    return f.div(functools.reduce(f.add, xs, x), 1 + len(xs))


def _is_inf(n: Node, x: Tensor, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    found = f.isinf(x)
    if not detect_negative:
        found = found & (x > 0)
    return found if detect_positive else found & (x < 0)


def _clip(
    n: Node, x: Tensor, min: Tensor | float | None = None, max: Tensor | float | None = None
) -> Tensor:
    for function, bound in ((f.maximum, min), (f.minimum, max)):
        if bound is not None:
            x = function(x, bound if isinstance(bound, Tensor) else f.tensor(bound, dtype=x.dtype))
    return x


def _shift(n: Node, x: Tensor, other: Tensor, direction: str = "") -> Tensor:
    shift = f.bitwise_left_shift if direction == "LEFT" else f.bitwise_right_shift
    return shift(x, other)


def _elu(n: Node, x: Tensor, alpha: float = 1.0) -> Tensor:
    return f.elu(x, alpha)


def _selu(
    n: Node, x: Tensor, alpha: float = 1.6732631921768188, gamma: float = 1.0507010221481323
) -> Tensor:
    return f.elu(x, alpha) * gamma


def _hard_sigmoid(n: Node, x: Tensor, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    return f.clamp(x * alpha + beta, 0, 1)


def _prelu(n: Node, x: Tensor, slope: Tensor) -> Tensor:
    return f.where(x < 0, x * slope, x)


def _gelu(n: Node, x: Tensor, approximate: str = "none") -> Tensor:
    return f.gelu(x, approximate=approximate)


def _swish(n: Node, x: Tensor, alpha: float = 1.0) -> Tensor:
    return f.silu(x) if alpha == 1 else x * f.sigmoid(x * alpha)


def _shrink(n: Node, x: Tensor, bias: float = 0.0, lambd: float = 0.5) -> Tensor:
    zero = f.zeros_like(x)
    return f.where(x < -lambd, x + bias, f.where(x > lambd, x - bias, zero)).to(x.dtype)


def _softmax(name: str) -> Reader:
    function = getattr(f, name)

    def read(n: Node, x: Tensor, axis: int | None = None) -> Tensor:
        if n.opset >= 13:
            return function(x, -1 if axis is None else axis)
        axis = (1 if axis is None else axis) % max(x.ndim, 1)  # then of all axes from it on
        rows = f.flatten(x, axis)
        return function(rows, axis).reshape(x.shape)

    return read


def _hardmax(n: Node, x: Tensor, axis: int = -1) -> Tensor:
    best = f.argmax(x, axis, keepdim=True)
    return f.scatter(f.zeros_like(x), axis, best, 1.0)


def _lp_normalization(n: Node, x: Tensor, axis: int = -1, p: int = 2) -> Tensor:
    size = f.sum(f.abs(x), axis, keepdim=True) if p == 1 else f.norm(x, 2, axis, keepdim=True)
    return x / f.where(size == 0, f.ones_like(size), size)


# ---- reductions ----------------------------------------------------------------------------


def _reduction(function: Callable[[Tensor, list[int], bool], Tensor]) -> Reader:
    def read(
        n: Node, x: Tensor, axes: Axes = None, keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> Tensor:
        dims = [] if axes is None else ints(axes)
        if not dims and noop_with_empty_axes:
            return function(x[None], [0], False)
        dims = [d % max(x.ndim, 1) for d in dims] or list(range(x.ndim))
        return function(x, dims, bool(keepdims)).to(x.dtype)

    return read


def _log_sum_exp(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    return f.logsumexp(x, dims, keep)


def _product(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    for d in sorted(dims, reverse=True):
        x = f.prod(x, d, keep)
    return x


def _extreme(name: str) -> Callable[[Tensor, list[int], bool], Tensor]:
    def read(x: Tensor, dims: list[int], keep: bool) -> Tensor:
        if x.dtype.kind == "b":
            return getattr(f, {"amax": "any", "amin": "all"}[name])(x, dims, keep)
        if not math.prod(x.shape[d] for d in dims):  # of nothing
            least = -math.inf if name == "amax" else math.inf
            sides = [(1 if keep else 0) if i in dims else s for i, s in enumerate(x.shape)]
            shape = [s for i, s in enumerate(sides) if keep or i not in dims]
            return f.full(tuple(shape), least, dtype=x.dtype)
        return getattr(f, name)(x, dims, keep)

    return read


def _arg(find: Callable[..., Tensor]) -> Reader:
    def read(
        n: Node, x: Tensor, axis: int = 0, keepdims: int = 1, select_last_index: int = 0
    ) -> Tensor:
        if select_last_index:
            return x.shape[axis] - 1 - find(f.flip(x, (axis,)), axis, bool(keepdims))
        return find(x, axis, bool(keepdims))

    return read


def _cumsum(n: Node, x: Tensor, axis: Tensor, exclusive: int = 0, reverse: int = 0) -> Tensor:
    d = int(number(axis))
    x = f.flip(x, (d,)) if reverse else x
    out = f.cumsum(x, d).to(x.dtype)
    out = out - x if exclusive else out
    return f.flip(out, (d,)) if reverse else out


def _top_k(
    n: Node, x: Tensor, k: Any, axis: int = -1, largest: int = 1, sorted: int = 1
) -> tuple[Tensor, Tensor]:
    found = f.topk(x, int(number(k)), axis, bool(largest))
    return found.values, found.indices


# ---- shapes --------------------------------------------------------------------------------


def _cast(n: Node, x: Tensor, to: int, saturate: int = 1, round_mode: str = "up") -> Tensor:
    return x.to(dtype_of(n, to))


def _constant(
    n: Node,
    value: Any = None,
    value_float: float | None = None,
    value_floats: list[float] | None = None,
    value_int: int | None = None,
    value_ints: list[int] | None = None,
) -> Tensor:
    if value is not None:
        return f.tensor(value)
    for given, dtype in ((value_float, "f4"), (value_floats, "f4"), (value_int, "i8")):
        if given is not None:
            return f.tensor(np.array(given, dtype))
    if value_ints is None:
        raise n.refuse("it has no value that is read")
    return f.tensor(np.array(value_ints, np.int64))


def _constant_of_shape(n: Node, shape: Tensor, value: Any = None) -> Tensor:
    fill = np.zeros(1, np.float32) if value is None else np.asarray(value)
    return f.full(tuple(ints(shape)), fill.reshape(-1)[0].item(), dtype=fill.dtype)


def _shape(n: Node, x: Tensor, start: int = 0, end: int | None = None) -> Tensor:
    return f.tensor(np.array(tuple(x.shape)[start:end], np.int64))


def _reshape(n: Node, x: Tensor, shape: Axes = None, allowzero: int = 0) -> Tensor:
    sides = ints(shape)
    if not allowzero:
        sides = [x.shape[i] if s == 0 and i < x.ndim else s for i, s in enumerate(sides)]
    return f.reshape(x, tuple(sides))


def _flatten(n: Node, x: Tensor, axis: int = 1) -> Tensor:
    axis = axis + x.ndim if axis < 0 else axis
    rest = math.prod(x.shape[axis:])
    return f.reshape(x, (-1, rest) if rest else (math.prod(x.shape[:axis]), rest))


def _squeeze(n: Node, x: Tensor, axes: Axes = None) -> Tensor:
    return f.squeeze(x) if axes is None else f.squeeze(x, tuple(ints(axes)))


def _unsqueeze(n: Node, x: Tensor, axes: Axes = None) -> Tensor:
    places = ints(axes)
    for axis in builtins.sorted(a % (x.ndim + len(places)) for a in places):
        x = f.unsqueeze(x, axis)
    return x


def _expand(n: Node, x: Tensor, shape: Tensor) -> Tensor:
    return f.expand(x, np.broadcast_shapes(tuple(x.shape), tuple(ints(shape))))


def _transpose(n: Node, x: Tensor, perm: list[int] | None = None) -> Tensor:
    return f.permute(x, tuple(reversed(range(x.ndim))) if perm is None else tuple(perm))


def _concat(n: Node, x: Tensor, *xs: Tensor, axis: int = 1) -> Tensor:
    return f.cat([x, *xs], axis)


def _split(
    n: Node, x: Tensor, split: Axes = None, axis: int = 0, num_outputs: int | None = None
) -> tuple[Tensor, ...]:
    if split is not None:
        return f.split(x, ints(split), axis)
    parts = num_outputs or len(n.outputs)
    return f.split(x, -(-x.shape[axis] // parts), axis)


def _slice(
    n: Node,
    x: Tensor,
    starts: Axes = None,
    ends: Axes = None,
    axes: Axes = None,
    steps: Axes = None,
) -> Tensor:
    first, last = ints(starts), ints(ends)
    places = list(range(len(first))) if axes is None else ints(axes)
    apart = [1] * len(first) if steps is None else ints(steps)
    turned: list[int] = []
    index: list[slice] = [slice(None)] * x.ndim
    for a, b, axis, step in zip(first, last, places, apart, strict=True):
        axis %= x.ndim
        size = x.shape[axis]
        if step < 0:  # the same places, the other way round
            seen = range(*slice(a, b if b >= -size else None, step).indices(size))
            turned.append(axis)
            low, high = (seen[-1], seen[0] + 1) if len(seen) else (0, 0)
            index[axis] = slice(low, high, -step)
        else:
            index[axis] = slice(a if a else None, b if b < size or b < 0 else None, step)
    x = x[tuple(index)]
    return f.flip(x, tuple(turned)) if turned else x


def _tile(n: Node, x: Tensor, repeats: Tensor) -> Tensor:
    return f.tile(x, tuple(ints(repeats)))


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def _pad(
    n: Node,
    x: Tensor,
    pads: Axes = None,
    value: Any = None,
    axes: Axes = None,
    mode: str = "constant",
) -> Tensor:
    width = ints(pads)
    places = list(range(x.ndim)) if axes is None else [a % x.ndim for a in ints(axes)]
    before, after = width[: len(places)], width[len(places) :]
    if mode not in _PAD_MODES:
        raise n.refuse(f"the mode {mode!r} is not read")
    fill = 0.0 if value is None else number(value)
    for axis, b, a in zip(places, before, after, strict=True):
        if mode == "constant" or min(a, b) < 0:
            flat = [0, 0] * (x.ndim - 1 - axis) + [b, a]
            x = f.pad(x, tuple(flat), value=fill)
        elif a or b:
            where = np.pad(np.arange(x.shape[axis]), (b, a), mode=mode)  # type: ignore[call-overload]
            x = f.index_select(x, axis, f.tensor(where))
    return x


def _depth_to_space(n: Node, x: Tensor, blocksize: int, mode: str = "DCR") -> Tensor:
    if mode == "CRD":
        return f.pixel_shuffle(x, blocksize)
    c, b = x.shape[1] // blocksize**2, blocksize
    h, w = x.shape[2:]
    y = x.reshape(-1, b, b, c, h, w).permute(0, 3, 4, 1, 5, 2)  # (n, c, h, b, w, b)
    return y.reshape(-1, c, h * b, w * b)


def _space_to_depth(n: Node, x: Tensor, blocksize: int, mode: str = "DCR") -> Tensor:
    if mode == "CRD":
        return f.pixel_unshuffle(x, blocksize)
    c, b = x.shape[1], blocksize
    h, w = (s // b for s in x.shape[2:])
    y = x.reshape(-1, c, h, b, w, b).permute(0, 3, 5, 1, 2, 4)  # (n, b, b, c, h, w)
    return y.reshape(-1, c * b * b, h, w)


def _trilu(n: Node, x: Tensor, k: Tensor | None = None, upper: int = 1) -> Tensor:
    return (f.triu if upper else f.tril)(x, 0 if k is None else int(number(k)))


def _range(n: Node, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    return f.tensor(np.arange(number(start), number(limit), number(delta), dtype=start.dtype))


def _eye_like(n: Node, x: Tensor, dtype: int | None = None, k: int = 0) -> Tensor:
    wanted = x.dtype if dtype is None else dtype_of(n, dtype)
    return f.tensor(np.eye(x.shape[0], x.shape[1], k, dtype=wanted))


# ---- indices -------------------------------------------------------------------------------


def _places(index: Tensor, size: int) -> Tensor:
    """Places of which the negative ones count from the end."""
    return f.where(index < 0, index + size, index).to(np.int64)


def _gather(n: Node, x: Tensor, index: Tensor, axis: int = 0) -> Tensor:
    axis %= x.ndim
    places = _places(index, x.shape[axis])
    found = f.index_select(x, axis, places.reshape(-1))
    return found.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


def _gather_elements(n: Node, x: Tensor, index: Tensor, axis: int = 0) -> Tensor:
    return f.gather(x, axis, _places(index, x.shape[axis]))


def _lead(x: Tensor, index: Tensor, batch_dims: int) -> tuple[Tensor, ...]:
    """For each axis that the index is a batch along its own place, then those that it names."""
    sides = index.shape[:-1]
    first = []
    for d in range(batch_dims):
        side = [1] * len(sides)
        side[d] = sides[d]
        first.append(f.arange(sides[d]).reshape(*side))
    named = (_places(index[..., i], x.shape[batch_dims + i]) for i in range(index.shape[-1]))
    return (*first, *named)


def _gather_nd(n: Node, x: Tensor, index: Tensor, batch_dims: int = 0) -> Tensor:
    return x[_lead(x, index, batch_dims)]


_REDUCED = {"add": "sum", "mul": "prod", "min": "amin", "max": "amax"}


def _scatter_elements(
    n: Node, x: Tensor, index: Tensor, updates: Tensor, axis: int = 0, reduction: str = "none"
) -> Tensor:
    places = _places(index, x.shape[axis])
    if reduction == "none":
        return f.scatter(x, axis, places, updates)
    return f.scatter_reduce(x, axis, places, updates, _REDUCED[reduction])


def _scatter_nd(
    n: Node, x: Tensor, index: Tensor, updates: Tensor, reduction: str = "none"
) -> Tensor:
    k = index.shape[-1]
    inner = math.prod(x.shape[k:])
    rows = f.zeros(tuple(index.shape[:-1]), dtype=np.int64)
    for i in range(k):
        rows = rows * x.shape[i] + _places(index[..., i], x.shape[i])
    at = (rows.reshape(-1, 1) * inner + f.arange(inner)).reshape(-1)
    flat, source = x.reshape(-1), updates.reshape(-1)
    if reduction == "none":
        return f.scatter(flat, 0, at, source).reshape(x.shape)
    return f.scatter_reduce(flat, 0, at, source, _REDUCED[reduction]).reshape(x.shape)


def _one_hot(n: Node, index: Tensor, depth: Tensor, values: Tensor, axis: int = -1) -> Tensor:
    size = int(number(depth))
    axis = axis + index.ndim + 1 if axis < 0 else axis
    here = f.arange(size).reshape(size, *(1,) * (index.ndim - axis))
    hit = _places(index.to(np.int64), size).unsqueeze(axis) == here
    return f.where(hit, values[1], values[0])


def _non_zero(n: Node, x: Tensor) -> Tensor:
    return f.tensor(np.stack(np.nonzero(x.detach().numpy())).astype(np.int64))


def _compress(n: Node, x: Tensor, condition: Tensor, axis: int | None = None) -> Tensor:
    x, axis = (x.reshape(-1), 0) if axis is None else (x, axis)
    return f.index_select(x, axis, f.tensor(np.nonzero(condition.numpy())[0]))


def _where(n: Node, condition: Tensor, x: Tensor, other: Tensor) -> Tensor:
    return f.where(condition, x, other)


def _einsum(n: Node, *xs: Tensor, equation: str = "") -> Tensor:
    return f.einsum(equation, *xs)


def _gemm(
    n: Node,
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    a = a.T if transA else a
    if transB and alpha == 1 and (c is None or (beta == 1 and c.ndim == 1 and len(c) == len(b))):
        return f.linear(a, b, c)
    y = f.matmul(a, b.T if transB else b)
    y = y if alpha == 1 else y * alpha
    return y if c is None else y + (c if beta == 1 else c * beta)


OPERATORS: dict[str, Reader] = {
    **{
        kind: _of(getattr(f, name or kind.lower()))
        for kind, name in {
            "Abs": "", "Acos": "", "Acosh": "", "Asin": "", "Asinh": "", "Atan": "", "Atanh": "",
            "BitwiseNot": "bitwise_not", "Ceil": "", "Cos": "", "Cosh": "", "Det": "", "Erf": "",
            "Exp": "", "Floor": "", "HardSwish": "", "IsNaN": "", "Log": "", "Mish": "", "Neg": "",
            "Not": "logical_not", "Reciprocal": "", "Relu": "", "Round": "", "Sigmoid": "",
            "Sign": "", "Sin": "", "Sinh": "", "Softplus": "", "Softsign": "", "Sqrt": "",
            "Tan": "", "Tanh": "",
        }.items()
    },
    **{
        kind: _pair(getattr(f, name))
        for kind, name in {
            "Add": "add", "Sub": "sub", "Mul": "mul", "And": "logical_and", "Or": "logical_or",
            "Xor": "logical_xor", "Equal": "eq", "Less": "lt", "LessOrEqual": "le",
            "Greater": "gt", "GreaterOrEqual": "ge", "BitwiseAnd": "bitwise_and",
            "BitwiseOr": "bitwise_or", "BitwiseXor": "bitwise_xor", "MatMul": "matmul",
        }.items()
    },
    "Identity": lambda n, x: x,
    "Max": _fold(f.maximum),
    "Min": _fold(f.minimum),
    "Sum": _fold(f.add),
    "Mean": _mean,
    "Div": _div,
    "Mod": _mod,
    "Pow": _pow,
    "IsInf": _is_inf,
    "Clip": _clip,
    "BitShift": _shift,
    "Celu": lambda n, x, alpha=1.0: f.celu(x, alpha),
    "Elu": _elu,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "LeakyRelu": lambda n, x, alpha=0.01: f.leaky_relu(x, alpha),
    "PRelu": _prelu,
    "Selu": _selu,
    "Shrink": _shrink,
    "Swish": _swish,
    "ThresholdedRelu": lambda n, x, alpha=1.0: f.where(x > alpha, x, f.zeros_like(x)),
    "Softmax": _softmax("softmax"),
    "LogSoftmax": _softmax("log_softmax"),
    "Hardmax": _hardmax,
    "LpNormalization": _lp_normalization,
    "ReduceSum": _reduction(f.sum),
    "ReduceMean": _reduction(lambda x, d, k: f.mean(x, d, k) if x.dtype.kind == "f" else (
        f.div(f.sum(x, d, k), math.prod(x.shape[i] for i in d)))),
    "ReduceProd": _reduction(_product),
    "ReduceMax": _reduction(_extreme("amax")),
    "ReduceMin": _reduction(_extreme("amin")),
    "ReduceL1": _reduction(lambda x, d, k: f.sum(f.abs(x), d, k)),
    "ReduceL2": _reduction(lambda x, d, k: f.sqrt(f.sum(f.square(x), d, k))),
    "ReduceLogSum": _reduction(lambda x, d, k: f.log(f.sum(x, d, k))),
    "ReduceLogSumExp": _reduction(_log_sum_exp),
    "ReduceSumSquare": _reduction(lambda x, d, k: f.sum(f.square(x), d, k)),
    "ArgMax": _arg(f.argmax),
    "ArgMin": _arg(f.argmin),
    "CumSum": _cumsum,
    "TopK": _top_k,
    "Cast": _cast,
    "CastLike": lambda n, x, other, saturate=1, round_mode="up": x.to(other.dtype),
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Shape": _shape,
    "Size": lambda n, x: f.tensor(np.array(x.numel(), np.int64)),
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Expand": _expand,
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Tile": _tile,
    "Pad": _pad,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Trilu": _trilu,
    "Range": _range,
    "EyeLike": _eye_like,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "OneHot": _one_hot,
    "NonZero": _non_zero,
    "Compress": _compress,
    "Where": _where,
    "Einsum": _einsum,
    "Gemm": _gemm,
}  # fmt: skip
"""By ONNX's names."""
