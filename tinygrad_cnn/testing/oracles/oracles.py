"""Every registered operation's result, computed in another way: by definition, element by element.

They are slow and plain, and share no code with the operations: the standard library's mathematics
for elementwise functions, loops over windows for convolution and pooling, `numpy.einsum` and
comprehensions for the rest.
"""

from __future__ import annotations

import cmath
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.op import Op
from tinygrad_cnn.testing.oracles.images import IMAGE_ORACLES
from tinygrad_cnn.testing.oracles.matrices import MATRIX_ORACLES
from tinygrad_cnn.testing.oracles.sequences import SEQUENCE_ORACLES
from tinygrad_cnn.testing.oracles.special import SPECIAL_ORACLES
from tinygrad_cnn.testing.types import AnyCallable, Params, Shape
from tinygrad_cnn.types import Array

Steps = Sequence[tuple[Op, Params]]  # views of views


def _each(function: Callable[..., complex]) -> Callable[..., Array]:
    """``function`` of numbers, on every element of arrays that broadcast."""

    def on_arrays(*arrays: Array, **params: Any) -> Array:
        whole = np.broadcast_arrays(*arrays)
        out = np.empty(whole[0].shape, np.complex128)
        for at in np.ndindex(out.shape):
            out[at] = function(*[a[at].item() for a in whole], **params)
        return out if out.imag.any() else out.real

    return on_arrays


def _any_complex(arrays: Iterable[Any]) -> bool:
    return any(np.iscomplexobj(a) for a in arrays)


def _by_parts(oracle: Callable[..., Any]) -> Callable[..., Any]:
    """An oracle of real numbers, of complex ones by their parts: the operation is affine."""

    def on_arrays(*arrays: Any, **params: Any) -> Any:
        if not _any_complex(arrays):
            return oracle(*arrays, **params)
        split = [isinstance(a, np.ndarray) and a.dtype.kind in "fc" for a in arrays]
        parts = [
            oracle(*[part(a) if s else a for a, s in zip(arrays, split, strict=True)], **params)
            for part in (np.real, np.imag, lambda a: a.real * 0.0)
        ]
        return np.asarray(parts[0]) + 1j * (np.asarray(parts[1]) - parts[2])

    return on_arrays


def _along(function: Callable[[list[float]], list[float]]) -> Callable[..., Array]:
    """``function`` of a list, on every line along the axis ``dim``."""

    def on_array(x: Array, *, dim: int) -> Array:
        lines = np.moveaxis(x, dim, -1)
        out = np.empty(lines.shape, np.result_type(x, np.float64))
        for at in np.ndindex(lines.shape[:-1]):
            out[at] = function(lines[at].tolist())
        return np.moveaxis(out, -1, dim)

    return on_array


def _over(function: Callable[..., float]) -> Callable[..., Array]:
    """``function`` of a list, on the elements over the axes ``dim``."""

    def on_array(x: Array, *, dim: tuple[int, ...], keepdim: bool, **params: Any) -> Array:
        rest = [i for i in range(x.ndim) if i not in dim]
        front = x.transpose(*rest, *dim)
        out = np.empty([x.shape[i] for i in rest], np.result_type(x, np.float64))
        for at in np.ndindex(out.shape):
            out[at] = function(front[at].ravel().tolist(), **params)
        return (
            out.reshape([1 if i in dim else n for i, n in enumerate(x.shape)]) if keepdim else out
        )

    return on_array


# ---- numbers -------------------------------------------------------------------------------


def _sigmoid(x: complex) -> complex:
    return 1 / (1 + cmath.exp(-x))


def _gelu(x: float, approximate: str = "none") -> float:
    if approximate == "tanh":
        return x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return x / 2 * math.erfc(-x / math.sqrt(2))


def _clamp(x: float, min: float | None = None, max: float | None = None) -> float:
    if max is not None and x > max:
        return max
    return min if min is not None and x < min else x


def _softplus(x: float, beta: float = 1.0, threshold: float = 20.0) -> float:
    return x if beta * x > threshold else math.log1p(math.exp(beta * x)) / beta


# ---- lists ---------------------------------------------------------------------------------


def _softmax(v: list[float]) -> list[float]:
    total = math.fsum(map(math.exp, v))
    return [math.exp(a) / total for a in v]


def _log_softmax(v: list[float]) -> list[float]:
    return [a - _logsumexp(v) for a in v]


def _logsumexp(v: list[Any]) -> Any:
    if all(isinstance(a, float) for a in v):
        return math.log(math.fsum(map(math.exp, v)))
    return cmath.log(sum(map(cmath.exp, v)))


def _var(v: list[Any], correction: float = 1) -> float:
    centre = complex(math.fsum(a.real for a in v), math.fsum(a.imag for a in v)) / len(v)
    total = math.fsum(abs(a - centre) ** 2 for a in v)
    return total / (len(v) - correction) if len(v) > correction else math.nan


# ---- arrays --------------------------------------------------------------------------------


def _elements(x: Array) -> Iterator[tuple[tuple[int, ...], float]]:
    return ((at, float(x[at])) for at in np.ndindex(x.shape))


def _sum_to(x: Array, *, shape: Shape) -> Array:
    out = np.zeros(shape)
    lead = x.ndim - len(shape)
    for at, value in _elements(x):
        out[tuple(0 if n == 1 else k for k, n in zip(at[lead:], shape, strict=True))] += value
    return out


def _expand(x: Array, *, shape: Shape) -> Array:
    out = np.empty(shape)
    lead = len(shape) - x.ndim
    for at in np.ndindex(shape):
        out[at] = x[tuple(0 if n == 1 else k for k, n in zip(at[lead:], x.shape, strict=True))]
    return out


def _permute(x: Array, *, dims: tuple[int, ...]) -> Array:
    out = np.empty([x.shape[d] for d in dims])
    for at in np.ndindex(out.shape):
        place = [0] * x.ndim
        for k, d in zip(at, dims, strict=True):
            place[d] = k
        out[at] = x[tuple(place)]
    return out


def _reshape(x: Array, *, shape: Shape) -> Array:
    return np.array([v for _, v in _elements(x)]).reshape(shape)


def _moved(to: Callable[[int, int, int], int]) -> Callable[..., Array]:
    """Elements moved along axes: ``to(position, length, which of the axes)``."""

    def on_array(x: Array, dims: tuple[int, ...], *shifts: tuple[int, ...]) -> Array:
        out = np.empty(x.shape)
        for at, value in _elements(x):
            place = list(at)
            for which, d in enumerate(dims):
                place[d] = to(place[d], x.shape[d], shifts[0][which] if shifts else 0)
            out[tuple(place)] = value
        return out

    return on_array


def _flip(x: Array, *, dims: tuple[int, ...]) -> Array:
    return _moved(lambda k, n, _: n - 1 - k)(x, dims)


def _roll(x: Array, *, shifts: tuple[int, ...], dims: tuple[int, ...]) -> Array:
    return _moved(lambda k, n, shift: (k + shift) % n)(x, dims, shifts)


def _cat(*xs: Array, dim: int) -> Array:
    lists = [line for x in xs for line in np.moveaxis(x, dim, 0)]
    lead = np.moveaxis(xs[0], dim, 0).shape[1:]
    return np.moveaxis(np.array(lists).reshape(len(lists), *lead), 0, dim)


def _pad(x: Array, *, width: Sequence[tuple[int, int]], value: float = 0.0) -> Array:
    return np.pad(x, width, constant_values=value) if x.ndim else x


def _triangle(keep: Callable[[int, int, int], bool]) -> Callable[..., Array]:
    def on_array(x: Array, *, diagonal: int = 0) -> Array:
        out = np.zeros(x.shape)
        for at, value in _elements(x):
            if keep(at[-2], at[-1], diagonal):
                out[at] = value
        return out

    return on_array


def _where(condition: Array, a: Array, b: Array) -> Array:
    return _each(lambda c, p, q: p if c else q)(condition, a, b)


def _numbered(shape: Shape) -> Array:
    return np.arange(math.prod(shape)).reshape(shape)


def _strided(
    x: Array, *, size: Shape, stride: Shape, start: int, steps: Shape
) -> Array:  # fmt: skip
    """Read from a memory of zeros that has x's elements; the mean of those at one place."""
    memory: dict[int, list[Any]] = {}
    for at in np.ndindex(*x.shape):
        memory.setdefault(sum(i * s for i, s in zip(at, steps, strict=True)), []).append(x[at])
    out = np.zeros(size, x.dtype)
    for at in np.ndindex(*size):
        held = memory.get(start + sum(i * s for i, s in zip(at, stride, strict=True)))
        if held:
            out[at] = sum(held) / len(held)
    return out


def _windows(x: Array, *, dim: int, size: int, step: int) -> Array:
    count = (x.shape[dim] - size) // step + 1
    out = np.empty((*x.shape[:dim], count, *x.shape[dim + 1 :], size), x.dtype)
    for k, j in itertools.product(range(count), range(size)):
        out[(slice(None),) * dim + (k, ..., j)] = x.take(k * step + j, dim)
    return out


def _getitem(x: Array, *, index: Any) -> Array:
    return np.array(x.ravel()[np.asarray(_numbered(x.shape)[index])])


def _ungetitem(x: Array, *, index: Any, shape: Shape) -> Array:
    places = np.asarray(_numbered(shape)[index]).ravel()
    return np.bincount(places, x.ravel(), math.prod(shape)).reshape(shape)


def _put(x: Array, value: Array, *, index: Any) -> Array:
    out, places = x.ravel().copy(), np.asarray(_numbered(x.shape)[index])
    for k, v in zip(places.ravel(), np.broadcast_to(value, places.shape).ravel(), strict=True):
        out[k] = v
    return out.reshape(x.shape)


def _followed(shape: Shape, steps: Steps) -> Array:
    """The numbers of the elements that a chain of views shows."""
    places = _numbered(shape)
    for step, params in steps:
        places = step.forward(places, **params)
    return np.asarray(places)


def _replay(x: Array, *, steps: Steps) -> Array:
    return x.ravel()[_followed(x.shape, steps)]


def _overwrite(x: Array, value: Array, *, steps: Steps) -> Array:
    out = x.ravel().copy()
    out[_followed(x.shape, steps)] = value
    return out.reshape(x.shape)


def _place(at: tuple[int, ...], index: Array, dim: int) -> tuple[int, ...]:
    return (*at[:dim], int(index[at]), *at[dim + 1 :])


def _gather(x: Array, index: Array, *, dim: int) -> Array:
    out = np.empty(index.shape)
    for at in np.ndindex(index.shape):
        out[at] = x[_place(at, index, dim)]
    return out


def _scatter(adds: bool) -> Callable[..., Array]:
    def on_arrays(x: Array, index: Array, source: Array, *, dim: int) -> Array:
        out = x.copy()
        for at in np.ndindex(index.shape):
            place = _place(at, index, dim)
            out[place] = source[at] + (out[place] if adds else 0)
        return out

    return on_arrays


def _diagonal(x: Array, *, offset: int = 0) -> Array:
    pairs = [(i, i + offset) for i in range(x.shape[-2]) if 0 <= i + offset < x.shape[-1]]
    out = [x[..., i, j] for i, j in pairs]
    return np.stack(out, -1) if out else np.zeros((*x.shape[:-2], 0))


def _index_select(x: Array, index: Array, *, dim: int) -> Array:
    parts = [np.moveaxis(x, dim, 0)[k] for k in index]
    lead = np.moveaxis(x, dim, 0).shape[1:]
    return np.moveaxis(np.array(parts).reshape(len(parts), *lead), 0, dim)


def _index_add(x: Array, index: Array, source: Array, *, dim: int) -> Array:
    out = x.copy()
    for number, k in enumerate(index):
        np.moveaxis(out, dim, 0)[k] += np.moveaxis(source, dim, 0)[number]
    return out


def _resample(x: Array, *, index: Array, weight: Array, dim: int) -> Array:
    lines = np.moveaxis(x, dim, 0)
    rows = [
        [w * lines[k] for k, w in zip(*row, strict=True)] for row in zip(index, weight, strict=True)
    ]
    return np.moveaxis(np.array([np.sum(row, 0) for row in rows]), 0, dim)


def _spread(x: Array, *, index: Array, weight: Array, dim: int, size: int) -> Array:
    lines = np.moveaxis(x, dim, 0)
    out = np.zeros((size, *lines.shape[1:]))
    for line, places, factors in zip(lines, index, weight, strict=True):
        for k, w in zip(places, factors, strict=True):
            out[k] += w * line
    return np.moveaxis(out, 0, dim)


def _take_mesh(x: Array, *, places: Sequence[Array]) -> Array:
    index: Any = (..., *np.ix_(*places))
    return np.asarray(x[index])


def _add_mesh(x: Array, *, places: Sequence[Array], size: Sequence[int]) -> Array:
    out = np.zeros((*x.shape[: x.ndim - len(size)], *size))
    for at in itertools.product(*(range(len(p)) for p in places)):
        to: Any = (..., *(p[k] for p, k in zip(places, at, strict=True)))
        source: Any = (..., *at)
        out[to] += x[source]
    return out


def _taps(index: Array) -> Iterator[tuple[int, int, int, int]]:
    for (n, t, p), place in np.ndenumerate(index):
        if place >= 0:
            yield n, t, p, place


def _sample_taps(x: Array, index: Array, weight: Array) -> Array:
    out = np.zeros((*x.shape[:2], index.shape[2]))
    for n, t, p, place in _taps(index):
        out[n, :, p] += weight[n, t, p] * x[n, :, place]
    return out


def _spread_taps(x: Array, index: Array, weight: Array, *, size: int) -> Array:
    out = np.zeros((*x.shape[:2], size))
    for n, t, p, place in _taps(index):
        out[n, :, place] += weight[n, t, p] * x[n, :, p]
    return out


def _weigh_taps(x: Array, source: Array, index: Array) -> Array:
    out = np.zeros(index.shape)
    for n, t, p, place in _taps(index):
        out[n, t, p] = math.fsum(x[n, :, p] * source[n, :, place])
    return out


def _matmul(a: Array, b: Array) -> Array:
    return np.asarray((a[..., :, :, None] * b[..., None, :, :]).sum(-2))


def _linear(x: Array, w: Array, bias: Array | None) -> Array:
    out = (x[:, None, :] * w[None]).sum(-1)  # (n, 1, k) · (1, m, k) → (n, m)
    return np.asarray(out if bias is None else out + bias)


def _einsum(*xs: Array, equation: str) -> Array:
    inputs, output = equation.split("->")
    terms = inputs.split(",")
    size = {c: n for t, x in zip(terms, xs, strict=True) for c, n in zip(t, x.shape, strict=True)}
    out = np.zeros([size[c] for c in output], np.result_type(*xs))
    for values in itertools.product(*(range(n) for n in size.values())):
        at = dict(zip(size, values, strict=True))
        factors = [x[tuple(at[c] for c in t)].item() for t, x in zip(terms, xs, strict=True)]
        out[tuple(at[c] for c in output)] += math.prod(factors)
    return out


def _cross_entropy(
    x: Array, labels: Array, *, smoothing: float, ignored: int, reduction: str
) -> Array:
    losses = []
    for scores, label in zip(x.tolist(), labels.tolist(), strict=True):
        target = [
            smoothing / len(scores) + (1 - smoothing) * (k == label) for k in range(len(scores))
        ]
        logs = _log_softmax(scores)
        loss = -math.fsum(t * v for t, v in zip(target, logs, strict=True))
        losses.append(0.0 if label == ignored else loss)
    if reduction == "none":
        return np.array(losses)
    count = sum(label != ignored for label in labels.tolist()) if reduction == "mean" else 1
    return np.array(math.fsum(losses) / count if count else math.nan)


ORACLES: dict[str, AnyCallable] = {
    # choices and activations
    "where": _where,
    "clamp": _each(_clamp),
    "sigmoid": _each(_sigmoid),
    "silu": _each(lambda x: x * _sigmoid(x)),
    "gelu": _each(_gelu),
    "softplus": _each(_softplus),
    # reductions and running sums
    "sum": _over(math.fsum),
    "mean": _over(lambda v: math.fsum(v) / len(v)),
    "prod": _over(math.prod),
    "var": _over(_var),
    "std": _over(lambda v, correction=1: math.sqrt(_var(v, correction))),
    "amax": _over(max),
    "amin": _over(min),
    "norm2": _over(lambda v: math.hypot(*v)),
    "logsumexp": _over(_logsumexp),
    "cumsum": _along(lambda v: list(itertools.accumulate(v))),
    "cumprod": _along(lambda v: list(itertools.accumulate(v, lambda a, b: a * b))),
    "logcumsumexp": _along(lambda v: [_logsumexp(v[: k + 1]) for k in range(len(v))]),
    "softmax": _along(_softmax),
    "log_softmax": _along(_log_softmax),
    # shapes
    "reshape": _reshape,
    "permute": _permute,
    "expand": _expand,
    "sum_to": _sum_to,
    "flip": _flip,
    "roll": _roll,
    "cat": _cat,
    "pad": _pad,
    "tril": _triangle(lambda i, j, d: j <= i + d),
    "triu": _triangle(lambda i, j, d: j >= i + d),
    # indices
    "getitem": _getitem,
    "strided": _strided,
    "windows": _windows,
    "ungetitem": _ungetitem,
    "put": _put,
    "replay": _replay,
    "overwrite": _overwrite,
    "diagonal": _diagonal,
    "gather": _gather,
    "scatter": _scatter(adds=False),
    "scatter_add": _scatter(adds=True),
    "index_select": _index_select,
    "index_add": _index_add,
    "resample": _resample,
    "spread": _spread,
    "take_mesh": _take_mesh,
    "add_mesh": _add_mesh,
    "sample_taps": _sample_taps,
    "spread_taps": _spread_taps,
    "weigh_taps": _weigh_taps,
    # products
    "matmul": _matmul,
    "linear": _linear,
    "einsum": _einsum,
    # losses
    "softmax_cross_entropy": _cross_entropy,
    **IMAGE_ORACLES,
    **SEQUENCE_ORACLES,
    **MATRIX_ORACLES,
    **{name: _each(function) for name, function in SPECIAL_ORACLES.items()},
}
"""By name: a function of the operation's arguments and parameters that returns the result."""


def oracle_of(op: Op) -> AnyCallable | None:
    """The oracle of a record: its own, on every element, or the one of that name above."""
    found = ORACLES.get(op.name) if op.oracle is None else _each(op.oracle)
    return _by_parts(found) if op.complex == "parts" and found is not None else found
