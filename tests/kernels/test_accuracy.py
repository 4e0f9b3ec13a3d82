"""Errors of sums against float64, as docs/accuracy.md bounds them: none grows with the count."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from tinygrad_cnn import kernels

Array = np.ndarray[Any, Any]

U = 2.0**-24  # unit roundoff of float32
SUM = 132  # roundings of a sum: SHORT - 1 additions, and those of the result
INSIDE = 1200  # of sums inside other kernels: pieces of 1024, 128 of them
PRODUCT = 2200  # of products by BLAS: 65536 numbers, of which it adds at least 32 sums side by side
HALF, HALF_TINY = 2.0**-11, 2.0**-25  # of one rounding to float16


pytestmark = pytest.mark.usefixtures("each_set_of_kernels")


def _normal(shape: tuple[int, ...]) -> Array:
    return (np.random.default_rng(1).standard_normal(shape, np.float32) + 1000).astype(np.float32)


def _heavy(shape: tuple[int, ...]) -> Array:
    x = np.random.default_rng(2).standard_cauchy(shape)
    return np.clip(x, -1e4, 1e4).astype(np.float32)


def _cancelling(shape: tuple[int, ...]) -> Array:
    """Neighbours that all but cancel, 0.1 being left of two."""
    x = np.full(shape, -1000, np.float32)
    x.reshape(-1)[::2] = 1000.1
    return x


DATA: dict[str, Callable[[tuple[int, ...]], Array]] = {
    "ones": lambda shape: np.ones(shape, np.float32),
    "halves": lambda shape: np.full(shape, 0.5, np.float32),
    "tenths": lambda shape: np.full(shape, 0.1, np.float32),
    "thousands": lambda shape: np.full(shape, 1e3, np.float32),
    "normal": _normal,
    "heavy": _heavy,
    "cancelling": _cancelling,
}
data = pytest.mark.parametrize("make", DATA.values(), ids=DATA)

LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "contiguous": lambda x: x,
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "channels_last": lambda x: np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1),
    "strided": lambda x: np.repeat(np.repeat(x, 2, 1), 2, -1)[:, ::2, ..., ::2],
    "reversed": lambda x: np.ascontiguousarray(x[::-1, ..., ::-1])[::-1, ..., ::-1],
    "expanded": lambda x: np.broadcast_to(x[:, :1], x.shape),
}
layouts = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float16])


def _values(x: Any) -> Array:
    return np.asarray(x.detach().numpy() if isinstance(x, tg.Tensor) else x)


def _check(found: Any, exact: Any, size: Any, roundings: int = SUM) -> None:
    """Check that errors are at most so many roundings of `size`, and in float16 one more."""
    found, exact = _values(found), np.asarray(exact, np.float64)
    bound = np.broadcast_to(roundings * U * np.asarray(size, np.float64), exact.shape)
    if found.dtype == np.float16:
        bound = bound + HALF * np.abs(exact) + HALF_TINY
    else:
        assert found.dtype == np.float32
    assert found.shape == exact.shape
    wrong = np.abs(found.astype(np.float64) - exact)
    at = np.unravel_index(np.argmax(wrong - bound), wrong.shape)
    assert wrong[at] <= bound[at], f"{wrong[at] / max(bound[at], 1e-300):.1f} times the bound"


def _sums(x: Array, axes: int | tuple[int, ...] | None) -> tuple[Array, Array]:
    """Sum and sum of magnitudes in float64."""
    wide = x.astype(np.float64)
    return wide.sum(axes), np.abs(wide).sum(axes)


def _leaf(x: Array) -> tg.Tensor:
    return tg.tensor(x, requires_grad=True)


# ---- sums and means --------------------------------------------------------------------------


@layouts
@dtypes
def test_sum_and_mean_over_all_axes(layout: Any, dtype: Any) -> None:
    shape = (2, 150, 3, 140)
    x = layout(_cancelling(shape).astype(dtype))
    tenths = layout(np.full(shape, 0.1, dtype))
    for count in range(1, 5):
        for axes in itertools.combinations(range(4), count):
            n = math.prod(shape[a] for a in axes)
            for y in (x, tenths):
                total, size = _sums(y, axes)
                with np.errstate(over="ignore"):
                    found = kernels.sum(y, axes)
                if np.abs(total).max() < 65504 or dtype == np.float32:
                    _check(found, total, size)
                _check(kernels.sum(y, axes, False, n), total / n, size / n)


@data
@dtypes
@pytest.mark.parametrize(
    ("shape", "dim"), [((200_000,), 0), ((200_000, 2), 0), ((3, 200_001), 1), ((2, 100_000, 3), 1)]
)
def test_long_sums(make: Any, dtype: Any, shape: tuple[int, ...], dim: int) -> None:
    x = make(shape).astype(dtype)
    n = shape[dim]
    total, size = _sums(x, dim)
    _check(tg.tensor(x).mean(dim), total / n, size / n)
    if dtype == np.float32:
        _check(tg.tensor(x).sum(dim), total, size)
        _check(tg.norm(tg.tensor(x), p=1, dim=dim), size, size)
        square = np.square(x.astype(np.float64)).sum(dim)
        _check(tg.norm(tg.tensor(x), dim=dim), np.sqrt(square), np.sqrt(square))


def test_against_exact_sums() -> None:
    for make in DATA.values():
        x = make((30_011, 5))
        exact = [math.fsum(column) for column in x.T.tolist()]
        size = [math.fsum(np.abs(column)) for column in x.T.tolist()]
        _check(tg.tensor(x).sum(0), exact, size)


@dtypes
@pytest.mark.parametrize(("shape", "dim"), [((200_000,), 0), ((50_000, 3), 0), ((3, 50_001), 1)])
def test_cumsum(dtype: Any, shape: tuple[int, ...], dim: int) -> None:
    for make in (DATA["tenths"], _cancelling, _heavy):
        x = make(shape).astype(dtype)
        if dtype == np.float16:
            x = (x * dtype(1e-3)).astype(dtype)
        wide = x.astype(np.float64)
        size = np.abs(wide).cumsum(dim)
        _check(tg.cumsum(tg.tensor(x), dim), wide.cumsum(dim), size)
        leaf = _leaf(x)
        tg.cumsum(leaf, dim).backward(tg.tensor(x))
        back = (slice(None),) * dim + (slice(None, None, -1),)
        _check(leaf.grad, wide[back].cumsum(dim)[back], np.abs(wide)[back].cumsum(dim)[back])


# ---- variances -------------------------------------------------------------------------------


@layouts
@pytest.mark.parametrize("mean", [0, 1000, 100_000])
def test_variance_with_a_large_mean(layout: Any, mean: int) -> None:
    noise = np.random.default_rng(3).standard_normal((130, 140, 10))
    x = layout((noise + mean).astype(np.float32))
    for axes in ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)):
        wide = x.astype(np.float64)
        var = wide.var(axes)
        off = np.square(SUM * U * wide.mean(axes)) / (SUM * U)  # the mean's own error, squared
        _check(tg.tensor(x).var(axes, correction=0), var, 3 * var + off)
        std = np.sqrt(var)
        _check(tg.tensor(x).std(axes, correction=0), std, 2 * std + off / np.maximum(std, U))


def test_std_of_a_million() -> None:
    x = _normal((1_000_000,))
    exact = x.astype(np.float64).std(ddof=1)
    _check(tg.tensor(x).std(), exact, exact)
    columns = x.reshape(-1, 4)
    exact = columns.astype(np.float64).std(0, ddof=1)
    _check(tg.tensor(columns).std(0), exact, exact)


# ---- softmax ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "dim"), [((300_000,), 0), ((100_000, 3), 0), ((3, 100_000), 1)])
def test_softmax_over_a_long_axis(shape: tuple[int, ...], dim: int) -> None:
    for x in (np.zeros(shape, np.float32), np.sin(np.arange(math.prod(shape), dtype=np.float32))):
        x = x.reshape(shape)
        wide = x.astype(np.float64)
        top = wide.max(dim, keepdims=True)
        total = np.exp(wide - top).sum(dim, keepdims=True)
        y = np.exp(wide - top) / total
        logarithm = np.log(total) + top
        t = tg.tensor(x)
        _check(tg.softmax(t, dim), y, y)
        _check(tg.logsumexp(t, dim), logarithm.squeeze(dim), 1 + np.abs(logarithm.squeeze(dim)))
        _check(tg.log_softmax(t, dim), wide - logarithm, 1 + np.abs(wide) + np.abs(logarithm))
        half = tg.tensor(x.astype(np.float16))
        _check(tg.logsumexp(half, dim),
               np.log(np.exp(x.astype(np.float16).astype(np.float64)).sum(dim)), 20)  # fmt: skip


def test_logsumexp_against_mpmath() -> None:
    mpmath = pytest.importorskip("mpmath")
    x = np.linspace(-3, 3, 20_000, dtype=np.float32)
    with mpmath.workdps(40):
        exact = float(mpmath.log(mpmath.fsum(mpmath.exp(float(v)) for v in x)))
    _check(tg.logsumexp(tg.tensor(x), 0), exact, 1 + exact)


# ---- pooling ---------------------------------------------------------------------------------


@data
def test_average_pooling(make: Any) -> None:
    for size in ((1, 3, 512, 512), (2, 5, 17, 40), (1, 2, 1, 30_000)):
        x = make(size)
        mean, bound = (v / (size[2] * size[3]) for v in _sums(x, (2, 3)))
        for layout in (LAYOUTS["contiguous"], LAYOUTS["channels_last"]):
            t = tg.tensor(layout(x))
            _check(F.avg_pool2d(t, size[2:])[:, :, 0, 0], mean, bound)
            _check(F.adaptive_avg_pool2d(t, 1)[:, :, 0, 0], mean, bound)


def test_gradient_of_average_pooling_with_many_windows_over_a_pixel() -> None:
    leaf = _leaf(np.zeros((1, 2, 40, 40), np.float32))
    y = F.avg_pool2d(leaf, 40, stride=1, padding=20)
    y.backward(tg.tensor(np.full(y.shape, 0.1, np.float32)))
    ones = np.minimum(np.arange(40) + 21, 40).astype(float)
    count = np.minimum(ones, 41 - np.maximum(np.arange(40) - 19, 0))
    exact = np.float64(np.float32(0.1)) / 1600 * np.outer(count, count)
    exact = np.broadcast_to(exact, leaf.shape)
    _check(leaf.grad, exact, exact)


# ---- normalisation ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [DATA["tenths"], _normal, _heavy], ids=["tenths", "normal", "heavy"]
)
@pytest.mark.parametrize("shape", [(32, 5, 60, 60), (100_000, 5), (4, 6, 20_000)])
def test_batch_norm(make: Any, shape: tuple[int, ...]) -> None:
    c, axes = shape[1], tuple(a for a in range(len(shape)) if a != 1)
    x, n = make(shape), math.prod(shape) // shape[1]
    wide = x.astype(np.float64)
    mean, var = tg.zeros(c), tg.zeros(c)
    weight, bias = _leaf(np.ones(c, np.float32)), _leaf(np.zeros(c, np.float32))
    y = F.batch_norm(tg.tensor(x), mean, var, weight, bias, training=True, momentum=1.0)
    total, size = _sums(x, axes)
    _check(mean, total / n, size / n, INSIDE)
    exact = wide.var(axes, ddof=1)
    # The sums are of what is away from a pilot, a rounded mean of a few numbers.
    _check(var, exact, 3 * exact + np.square(U * size / n), INSIDE)
    g = make(shape)
    y.backward(tg.tensor(g))
    _check(bias.grad, *_sums(g, axes), INSIDE)
    column = (1, c, *(1,) * (len(shape) - 2))
    spread = np.sqrt(wide.var(axes) + 1e-5).reshape(column)
    z = (wide - wide.mean(axes).reshape(column)) / spread
    away = np.abs(z) + np.abs(wide.mean(axes).reshape(column)) / spread
    _check(weight.grad, (g * z).sum(axes), (np.abs(g) * away).sum(axes), INSIDE)


@pytest.mark.parametrize("shape", [(4, 100_000), (50_000, 7)])
def test_layer_norm(shape: tuple[int, ...]) -> None:
    for make in (DATA["tenths"], _normal, _heavy):
        x, g, d = make(shape), make(shape), shape[1]
        wide = x.astype(np.float64)
        weight, bias = _leaf(np.ones(d, np.float32)), _leaf(np.zeros(d, np.float32))
        y = F.layer_norm(tg.tensor(x), (d,), weight, bias)
        y.backward(tg.tensor(g))
        spread = np.sqrt(wide.var(1, keepdims=True) + 1e-5)
        z = (wide - wide.mean(1, keepdims=True)) / spread
        away = 2 * np.abs(z) + np.abs(wide).mean(1, keepdims=True) / spread
        _check(y, z, away, INSIDE)
        _check(bias.grad, *_sums(g, 0), INSIDE)
        _check(weight.grad, (g * z).sum(0), (np.abs(g) * away).sum(0), INSIDE)


# ---- gradients that sum ----------------------------------------------------------------------


@data
@dtypes
@pytest.mark.parametrize("shape", [(1,), (3,), (30_000, 1), (1, 1), (1, 3)])
def test_gradients_of_broadcasting(make: Any, dtype: Any, shape: tuple[int, ...]) -> None:
    g = make((30_000, 3)).astype(dtype)
    scale = dtype(1 / 1024)
    g *= scale  # sums that float16 can hold
    other = tg.tensor(np.full(g.shape, 2, dtype))
    axes = tuple(a for a in range(2) if (1,) * (2 - len(shape)) + shape != g.shape and
                 ((1,) * (2 - len(shape)) + shape)[a] == 1)  # fmt: skip
    total, size = (v.reshape(shape) for v in _sums(g, axes))
    for use, factor in (
        (lambda x: x + other, 1),
        (lambda x: x * other, 2),
        (lambda x: x.expand(g.shape), 1),
    ):
        leaf = _leaf(np.ones(shape, dtype))
        use(leaf).backward(tg.tensor(g))
        if np.abs(total).max() < 65504 or dtype == np.float32:
            _check(leaf.grad, total * factor, size * factor)


@data
@dtypes
def test_gradients_of_repeated_rows(make: Any, dtype: Any) -> None:
    g = make((30_000, 4)).astype(dtype) * dtype(1 / 1024)
    index = np.arange(30_000) % 3
    index[::5] = 4 + np.arange(6_000) % 300  # few times each
    exact, size = np.zeros((310, 4)), np.zeros((310, 4))
    np.add.at(exact, index, g.astype(np.float64))
    np.add.at(size, index, np.abs(g.astype(np.float64)))
    t = tg.tensor(index)
    mesh = np.broadcast_to(index[:, None], g.shape).copy()
    for use in (
        lambda x: F.embedding(t, x),
        lambda x: x[t],
        lambda x: x[t - 310],
        lambda x: x.gather(0, tg.tensor(mesh)),
        lambda x: x.permute(1, 0).index_select(1, t).permute(1, 0),
        lambda x: x[t, ::1],
        lambda x: x[t, tg.tensor(np.arange(4))[:, None]].permute(1, 0),
        lambda x: x[None, t][0],
    ):
        leaf = _leaf(np.zeros((310, 4), dtype))
        use(leaf).backward(tg.tensor(g))
        _check(leaf.grad, exact, size)
    one = _leaf(np.zeros(310, dtype))
    one[t].backward(tg.tensor(g[:, 0]))
    _check(one.grad, exact[:, 0], size[:, 0])


@pytest.mark.parametrize(
    "make", [DATA["tenths"], _normal, _heavy], ids=["tenths", "normal", "heavy"]
)
def test_linear_and_its_gradients(make: Any) -> None:
    x, g = make((200_000, 6)), make((200_000, 5))
    weight, bias = _leaf(make((5, 6))), _leaf(make((5,)))
    F.linear(tg.tensor(x), weight, bias).backward(tg.tensor(g))
    _check(bias.grad, *_sums(g, 0))
    size = np.abs(g).astype(float).T @ np.abs(x).astype(float)
    _check(weight.grad, g.astype(float).T @ x, size, PRODUCT)


@pytest.mark.parametrize(
    "make", [DATA["tenths"], _normal, _heavy], ids=["tenths", "normal", "heavy"]
)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 3), (4, 3), (33, 40)])
def test_long_products(make: Any, n: int, m: int) -> None:
    k = 300_000 if n * m < 100 else 70_000
    a, b = make((n, k)), make((m, k))
    exact = a.astype(float) @ b.T.astype(float)
    size = np.abs(a).astype(float) @ np.abs(b).T.astype(float)
    _check(F.linear(tg.tensor(a), tg.tensor(b)), exact, size, PRODUCT)
    _check(tg.tensor(a) @ tg.tensor(b).T, exact, size, PRODUCT)
    _check(tg.einsum("nk,mk->nm", tg.tensor(a), tg.tensor(b)), exact, size, PRODUCT)


@pytest.mark.parametrize(
    "make", [DATA["tenths"], _normal, _heavy], ids=["tenths", "normal", "heavy"]
)
@pytest.mark.parametrize(("c", "f", "side"), [(3, 8, 1), (3, 8, 3), (16, 16, 3), (1, 1, 5)])
def test_gradients_of_convolution(make: Any, c: int, f: int, side: int) -> None:
    x, g = make((2, c, 150, 150)), make((2, f, 150, 150))
    weight, bias = _leaf(make((f, c, side, side))), _leaf(make((f,)))
    F.conv2d(tg.tensor(x), weight, bias, padding=side // 2).backward(tg.tensor(g))
    _check(bias.grad, *_sums(g, (0, 2, 3)), INSIDE)
    edge = side // 2
    wide = np.pad(x.astype(float), ((0, 0), (0, 0), (edge, edge), (edge, edge)))
    windows = np.lib.stride_tricks.sliding_window_view(wide, (side, side), (2, 3))
    exact, size = (
        np.stack([
            [np.tensordot(of(g).astype(float), of(windows[..., i, j]), ((0, 2, 3), (0, 2, 3)))
             for j in range(side)] for i in range(side)
        ]).transpose(2, 3, 0, 1)
        for of in (np.asarray, np.abs)
    )  # fmt: skip
    _check(weight.grad, exact, size, PRODUCT)


# ---- up to 10**8 numbers ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(10**8,), (10**7, 10), (10, 10**7), (100, 10**4, 100)])
def test_sums_of_many_numbers(shape: tuple[int, ...]) -> None:
    x = np.full(shape, 0.1, np.float32)
    each = float(x.flat[0])
    for axes in [(a,) for a in range(len(shape))] + [tuple(range(len(shape)))]:
        n = math.prod(shape[a] for a in axes)
        found = kernels.sum(x, axes)
        exact = np.full(found.shape, n * each)
        _check(found, exact, exact)
        _check(kernels.sum(x, axes, False, n), exact / n, exact / n)
        if n > 1000:
            square = np.full(found.shape, n * each**2)
            _check(np.float32(kernels.sum_squares(x, axes)), square, 2 * square)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(10**8,), (10**7, 10)])
def test_cumsum_softmax_and_std_of_many_numbers(shape: tuple[int, ...]) -> None:
    x = np.full(shape, 0.1, np.float32)
    found = kernels.cumsum(x, 0)[:: 10**4 + 1]
    exact = float(x.flat[0]) * (np.arange(shape[0])[:: 10**4 + 1] + 1.0)
    exact = np.broadcast_to(exact.reshape(-1, *(1,) * (len(shape) - 1)), found.shape)
    _check(found, exact, exact)
    y = _values(tg.softmax(tg.tensor(x), 0))[::1001]
    _check(y, np.full(y.shape, 1 / shape[0]), 1 / shape[0])
    x = _normal(shape)
    mean = x.mean(0, dtype=np.float64)
    squares = [np.square(part - mean).sum(0) for part in np.array_split(x, 100)]
    exact = np.sqrt(sum(squares) / (shape[0] - 1))
    _check(tg.tensor(x).std(0), exact, exact)


@pytest.mark.slow
def test_mean_of_many_float16_numbers() -> None:
    x = np.full(10**8, 0.1, np.float16)
    _check(kernels.sum(x, (0,), False, 10**8), float(x[0]), float(x[0]))


@pytest.mark.slow
def test_pooling_products_and_rows_of_many_numbers() -> None:
    x = np.full((1, 1, 10**4, 10**4), 1e3, np.float32)
    mean = np.full((1, 1, 1, 1), 1e3)
    _check(F.avg_pool2d(tg.tensor(x), 10**4), mean, mean)
    _check(F.adaptive_avg_pool2d(tg.tensor(x), 1), mean, mean)
    a = np.full((2, 10**7), 0.1, np.float32)
    exact = np.full((2, 2), 1e7 * float(a[0, 0]) ** 2)
    _check(F.linear(tg.tensor(a), tg.tensor(a)), exact, exact, PRODUCT)
    leaf = _leaf(np.zeros((2, 2), np.float32))
    leaf[tg.tensor(np.zeros(10**7, np.int64))].backward(tg.tensor(a.reshape(-1, 2)))
    exact = np.array([[1e7], [0]]) * float(a[0, 0]) * np.ones(2)
    _check(leaf.grad, exact, exact)
