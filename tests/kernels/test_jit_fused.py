"""Compiled kernels that read expressions do as on what these stand for in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import laid_out

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")

from compiled import OTHER_WIDTHS, run_at_width, team
from lazies import affine, norm_gradient, select, true, unpooled
from shared import algorithm, layouts, pads, parts, seeds, singles
from test_jit_conv import PLAIN, cases
from test_jit_kernels import assert_close

from tinygrad_cnn.kernels import reference
from tinygrad_cnn.kernels.jit.conv import conv
from tinygrad_cnn.kernels.jit.norm import batch_norm_backward as norm_backward
from tinygrad_cnn.kernels.jit.norm import moments
from tinygrad_cnn.kernels.jit.pool import max_pool
from tinygrad_cnn.kernels.lazy import Lazy

channels = st.sampled_from([1, 3, 16, 19, 33])
INPUTS = ["plain", "affine", "rectified"]
GRADIENTS = ["plain", "scattered", "masked", "norm", "masked norm", "masked scattered norm"]


def an_input(kind: str, shape: tuple[int, ...], seed: int) -> Any:
    """An array or a lazy one; relu(shift) is not 0, so that padding shows."""
    x, scale, shift = singles(seed, shape, shape[1:2], shape[1:2])
    x = laid_out(x, "nhwc")
    return x if kind == "plain" else affine(x, scale, shift + 1, kind == "rectified")


def scattered(shape: tuple[int, ...], seed: int) -> Lazy:
    """The gradient of pooling whose windows tile the images."""
    kh, kw = (next(k for k in (3, 2, 1) if length % k == 0) for length in shape[2:])
    pooled = (*shape[:2], shape[2] // kh, shape[3] // kw)
    (g,) = singles(seed + 2, pooled)
    index = np.random.default_rng(seed).integers(0, kh * kw, pooled).astype(np.uint8)
    return unpooled(laid_out(g, "nhwc"), laid_out(index, "nhwc"), shape[2:], (kh, kw))


def a_gradient(kind: str, shape: tuple[int, ...], seed: int) -> Any:
    g, x = (laid_out(a, "nhwc") for a in singles(seed, shape, shape))
    a, b, d, e, f = singles(seed + 1, *[shape[1:2]] * 5)
    if "scattered" in kind:
        g = scattered(shape, seed)
    masked = select(g, affine(x, e, f, True)) if "masked" in kind else g
    return norm_gradient(masked, x, a, b, d) if "norm" in kind else masked


def y_parts(y: Lazy) -> tuple[Any, ...]:
    """The arrays of a normalisation with its ReLU."""
    _, x, scale, shift = y.expr[1].expr
    return x.realize(), scale, shift, True


def near(found: Any, expected: Any) -> None:
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    atol = 3e-5 * (1 + np.abs(expected).max(initial=0))
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def three(x: Any, w: Any, b: Any, gradient: str, spec: Any, seed: int = 1) -> list[Any]:
    """All three directions with all that is gathered on the way, compared; returns the results."""
    found = conv.conv2d(x, w, b, moments=True, spec=spec)
    y, (mean, var) = found.realize(), found.stats["moments"]
    wide, bias = w.astype(np.float64), None if b is None else b.astype(np.float64)
    outputs = reference.conv2d(true(x), wide, bias, spec=spec)
    near(y, outputs)
    near(mean, outputs.mean((0, 2, 3)))
    near(var, outputs.var((0, 2, 3)))
    plain = conv.conv2d(x, w, b, spec=spec)
    np.testing.assert_array_equal(plain, y)
    g = a_gradient(gradient, y.shape, seed)
    size = x.shape[2:]
    gx = conv.conv2d_input(g, w, size=size, spec=spec)
    near(gx, reference.conv2d_input(true(g), wide, size=size, spec=spec))
    gw, gbias = conv.conv2d_weight(g, x, kernel_size=w.shape[2:], bias=True, spec=spec)
    near(gw, reference.conv2d_weight(true(g), true(x), kernel_size=w.shape[2:], spec=spec))
    near(gbias, true(g).sum((0, 2, 3)))
    alone = conv.conv2d_weight(g, x, kernel_size=w.shape[2:], spec=spec)
    np.testing.assert_array_equal(alone, gw)
    return [y, mean, var, gx, gw, gbias]


@given(cases(), st.sampled_from(INPUTS), st.sampled_from(GRADIENTS), st.booleans(), parts, seeds)
def test_direct(case: Any, kind: str, gradient: str, bias: bool, count: int, seed: int) -> None:
    x_shape, w_shape, spec = case
    w, b = singles(seed, w_shape, w_shape[:1])
    with algorithm("direct"), team(count):
        three(an_input(kind, x_shape, seed), w, b if bias else None, gradient, spec)


@given(
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(5, 12), st.integers(5, 30)),
    st.integers(1, 7),
    st.sampled_from(INPUTS),
    st.sampled_from(GRADIENTS),
    parts,
    seeds,
)
def test_few_filters(shape: Any, f: int, kind: str, gradient: str, count: int, seed: int) -> None:
    w, b = singles(seed, (f, shape[1], 5, 3), (f,))
    with team(count):
        three(an_input(kind, shape, seed), w, b, gradient, PLAIN._replace(padding=((1, 2), (0, 1))))


@given(
    st.integers(1, 5),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(3, 13), st.integers(3, 13)),
    st.tuples(pads, pads),
    st.sampled_from(INPUTS),
    st.sampled_from(GRADIENTS),
    parts,
    seeds,
)
def test_winograd(
    n: int, widths: Any, size: Any, padding: Any, kind: str, gradient: str, count: int, seed: int
) -> None:
    c, f = widths
    w, b = singles(seed, (f, c, 3, 3), (f,))
    x = an_input(kind, (n, c, *size), seed)
    with algorithm("winograd"), team(count):
        three(x, w, b, gradient, PLAIN._replace(padding=padding))


@given(cases(), st.integers(1, 40), st.sampled_from(INPUTS), st.sampled_from(GRADIENTS), seeds)
def test_depthwise(case: Any, c: int, kind: str, gradient: str, seed: int) -> None:
    x_shape, w_shape, spec = case
    w, b = singles(seed, (c, 1, *w_shape[2:]), (c,))
    x = an_input(kind, (x_shape[0], c, *x_shape[2:]), seed)
    three(x, w, b, gradient, spec._replace(groups=c))


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(
    ("x", "w", "padding"),
    [
        ((70, 32, 4, 4), (64, 32, 3, 3), 1),
        ((2, 17, 9, 600), (33, 17, 3, 3), 1),
        ((5, 130, 20, 8), (20, 130, 3, 3), 0),
        ((2, 20, 9, 9), (100, 20, 3, 3), 1),
        ((3, 70, 6, 6), (101, 70, 3, 3), 0),
        ((9, 3, 32, 32), (32, 3, 3, 3), 1),
        ((300, 24, 1, 1), (40, 24, 1, 1), 0),
    ],
)
def test_many_jobs(x: Any, w: Any, padding: int, count: int) -> None:
    """Strips and jobs meet without a seam, and a thread count has one result."""
    filters, b = singles(0, w, w[:1])
    spec = PLAIN._replace(padding=((padding, padding), (padding, padding)))
    results = []
    for _ in range(2):
        with team(count):
            results.append(three(an_input("rectified", x, 0), filters, b, "masked norm", spec))
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ["winograd", "direct"])
def test_moments_of_outputs_far_from_zero(kind: str) -> None:
    x, w = singles(0, (12, 16, 20, 20), (20, 16, 3, 3))
    b = np.full(20, 1e4, np.float32)
    with algorithm(kind), team(2):
        found = conv.conv2d(laid_out(x, "nhwc"), w, b, moments=True, spec=PLAIN)
    y, (mean, var) = found.realize(), found.stats["moments"]
    wide = y.astype(np.float64)
    np.testing.assert_allclose(mean, wide.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(var, wide.var((0, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize("offset", [0, 1e4])
@pytest.mark.parametrize("c", [3, 64])
def test_channel_moments_far_from_zero(c: int, offset: float) -> None:
    (x,) = singles(1, (20, c, 61, 67))
    x = laid_out(x + np.float32(offset), "nhwc")
    with team(2):
        mean, var = moments.channel_moments(x)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(mean, wide.mean((0, 2, 3)), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(var, wide.var((0, 2, 3)), rtol=1e-5)


@given(
    st.tuples(st.integers(1, 4), channels, st.integers(1, 9), st.integers(1, 40)),
    layouts,
    parts,
    seeds,
)
def test_channel_moments(shape: Any, layout: str, count: int, seed: int) -> None:
    (x,) = singles(seed, shape)
    with team(count):
        mean, var = moments.channel_moments(laid_out(x * 3 + 5, layout))
    wide = (x * 3 + 5).astype(np.float64)
    np.testing.assert_allclose(mean, wide.mean((0, 2, 3)), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(var, wide.var((0, 2, 3)), rtol=1e-4, atol=1e-4)


def test_a_nan_and_an_infinity_stay_in_their_channel() -> None:
    (x,) = singles(0, (3, 4, 5, 5))
    x[1, 1, 2, 2], x[2, 2, 0, 0] = np.nan, np.inf
    mean, var = moments.channel_moments(laid_out(x, "nhwc"))
    assert np.isfinite(mean).tolist() == np.isfinite(var).tolist() == [True, False, False, True]


@given(
    st.tuples(st.integers(1, 4), channels, st.integers(1, 9), st.integers(1, 40)),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    layouts,
    parts,
    seeds,
)
def test_batch_norm_backward(
    shape: Any, masked: bool, pooled: bool, scaled: bool, layout: str, count: int, seed: int
) -> None:
    g, x, weight, bias = singles(seed, shape, shape, shape[1:2], shape[1:2])
    x = laid_out(x * 2 + 3, "nhwc")
    weight = weight if scaled else np.ones_like(weight)
    _, mean, invstd, _ = (a.astype(np.float32) for a in reference.batch_norm(x, None, None, eps=1))
    grad: Any = laid_out(g, layout)
    if pooled:
        masked, grad = True, scattered(shape, seed)
    if masked:
        scale = weight * invstd
        grad = select(grad, affine(x, scale, bias - mean * scale, True))
    w = weight if scaled else None
    with team(count):
        wide = true(grad)
        found = norm_backward.batch_norm_backward(grad, x, w, mean, invstd)
        later, *rest = norm_backward.norm_gradient(grad, x, w, mean, invstd)
    expected = reference.batch_norm_backward(
        wide, *(a.astype(np.float64) for a in (x, weight, mean, invstd))
    )
    assert_close(found, expected, 2e-4)
    assert_close((later.realize(), *rest), expected, 2e-4)


@given(
    st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 20)),
    st.tuples(st.sampled_from([1, 16, 33, 100]), st.integers(1, 20)),
    st.sampled_from(["winograd", "direct"]),
    parts,
    seeds,
)
def test_sums_that_come_with_an_adjoint(
    size: Any, widths: Any, name: str, count: int, seed: int
) -> None:
    """The gradient of the normalisation before a convolution needs no pass for its sums."""
    (n, h, wide), (c, f) = size, widths
    x, g, w, shift = singles(seed, (n, c, h, wide), (n, f, h, wide), (f, c, 3, 3), (c,))
    x = laid_out(x * 2 + 3, "nhwc")
    _, mean, invstd, _ = (a.astype(np.float32) for a in reference.batch_norm(x, None, None, eps=1))
    y = affine(x, invstd, shift - mean * invstd, True)
    spec = PLAIN._replace(padding=((1, 1), (1, 1)))
    with algorithm(name), team(count):
        gx = conv.conv2d_input(g, w, size=(h, wide), relu_input=y, spec=spec)
        assert isinstance(gx, Lazy) == (name == "winograd")
        masked = select(gx, y)
        if name == "winograd":
            assert norm_backward._sums_before(masked) is not None
            assert norm_backward._sums_before(select(gx, affine(*y_parts(y)))) is None
        found = norm_backward.norm_gradient(masked, x, None, mean, invstd)
    plain = reference.conv2d_input(true(g), true(w), size=(h, wide), spec=spec)
    near(gx.realize() if isinstance(gx, Lazy) else gx, plain)
    expected = reference.batch_norm_backward(
        true(masked), true(x), None, mean.astype(np.float64), invstd.astype(np.float64)
    )
    assert_close((found[0].realize(), *found[1:]), expected, 1e-3)


@given(st.tuples(st.integers(2, 40), channels), parts, seeds)
def test_batch_norm_backward_of_rows(shape: Any, count: int, seed: int) -> None:
    g, x, mean, invstd = singles(seed, shape, shape, shape[1:], shape[1:])
    with team(count):
        found = norm_backward.batch_norm_backward(g, x, None, mean, invstd)
    expected = reference.batch_norm_backward(
        *(a.astype(np.float64) for a in (g, x)),
        None,
        *(a.astype(np.float64) for a in (mean, invstd)),
    )
    assert_close(found, expected, 2e-4)


@st.composite
def pools(draw: st.DrawFn) -> tuple[tuple[int, int], dict[str, Any]]:
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel, dilation = draw(pair), draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    size = tuple(
        (k - 1) * d + 1 + draw(st.integers(0, 9)) for k, d in zip(kernel, dilation, strict=True)
    )
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    return size, {
        "kernel_size": kernel, "stride": draw(pair), "padding": padding, "dilation": dilation,
        "ceil_mode": draw(st.booleans()),
    }  # fmt: skip


TWOS = {
    "kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1),
    "ceil_mode": False,
}  # fmt: skip


@given(
    st.one_of(pools(), st.tuples(st.tuples(st.integers(2, 9), st.integers(2, 9)), st.just(TWOS))),
    st.integers(1, 3),
    channels,
    st.sampled_from(INPUTS[1:]),
    parts,
    seeds,
)
def test_max_pool(case: Any, n: int, c: int, kind: str, count: int, seed: int) -> None:
    size, parameters = case
    x = an_input(kind, (n, c, *size), seed)
    with team(count):
        y, index = max_pool.max_pool2d(x, **parameters)
    expected = reference.max_pool2d(true(x), **parameters)[0]
    assert index.dtype == np.uint8
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    chosen = reference.max_pool2d_gather(true(x), index, **parameters)
    np.testing.assert_allclose(chosen, expected, rtol=1e-5, atol=1e-5)


def test_of_equal_maxima_the_first_is_taken_after_the_rectifier() -> None:
    x = laid_out(-np.ones((1, 2, 4, 4), np.float32), "nhwc")
    one = np.ones(2, np.float32)
    y, index = max_pool.max_pool2d(affine(x, one, 0 * one, True), **TWOS)
    assert not y.any()
    assert not index.any()


def test_other_dtypes_are_left_to_others() -> None:
    x = np.ones((1, 2, 5, 5))
    assert moments.channel_moments(x) is None
    g = np.ones((1, 2, 5, 5), np.float32)
    one = np.ones(2, np.float32)
    assert norm_backward.batch_norm_backward(g, x, one, one, one) is None


@given(st.tuples(st.integers(1, 4), channels, st.integers(1, 9), st.integers(1, 20)), seeds)
def test_the_mask_of_another_normalisation(shape: Any, seed: int) -> None:
    g, x, other, scale, shift, mean = singles(seed, shape, shape, shape, *[shape[1:2]] * 3)
    masked = select(g, affine(laid_out(other, "nhwc"), scale, shift, True))
    one = np.ones(shape[1:2], np.float32)
    wide = true(masked)
    found = norm_backward.batch_norm_backward(masked, laid_out(x, "nhwc"), one, mean, one)
    expected = reference.batch_norm_backward(wide, *map(true, (x, one, mean, one)))
    assert_close(found, expected, 2e-4)


NARROW = """
from test_jit_fused import *
for c, f in ((3, 6), (16, 33), (13, 20)):
    for name in ("direct", "winograd"):
        w, b = singles(0, (f, c, 3, 3), (f,))
        x = an_input("rectified", (5, c, 11, 9), 0)
        with algorithm(name):
            three(x, w, b, "masked norm", PLAIN._replace(padding=((1, 1), (2, 0))))
w, b = singles(0, (21, 1, 3, 3), (21,))
three(an_input("affine", (5, 21, 11, 9), 0), w, b, "norm", PLAIN._replace(groups=21))
"""


@pytest.mark.parametrize("lanes", OTHER_WIDTHS)
def test_every_vector_width(lanes: int) -> None:
    run_at_width(lanes, NARROW)
