"""Convolution and its adjoints against loops, each other and PyTorch."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracles import (
    TOLERANCE,
    assert_adjoint,
    conv2d_loops,
    is_channels_last,
    laid_out,
    randoms,
)
from shared import algorithm, convolutions, dtypes, layouts, pytorch, seeds

from tinygrad_cnn import kernels
from tinygrad_cnn.kernels import ConvSpec, conv_spec

PLAIN = ConvSpec()
cases = partial(
    convolutions, st.integers(0, 2), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), 4
)


@given(cases(), st.booleans(), layouts, dtypes, seeds)
def test_conv2d_is_the_definition(
    case: Any, bias: bool, layout: str, dtype: str, seed: int
) -> None:
    x_shape, w_shape, spec = case
    x, w, b = randoms(seed, x_shape, w_shape, w_shape[:1], dtype=dtype)
    expected = conv2d_loops(*(a.astype(np.float64) for a in (x, w)), b if bias else None, spec)
    given_x, given_w, given_b = laid_out(x, layout), laid_out(w, layout), laid_out(b, "sliced")
    y = kernels.conv2d(given_x, given_w, given_b if bias else None, spec=spec)
    assert y.dtype == x.dtype
    assert is_channels_last(y)
    tolerance = TOLERANCE[dtype]
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance * w[0].size)
    np.testing.assert_array_equal(given_x, x)
    assert y.shape[2:] == spec.output_size(x_shape[2:], w_shape[2:])


@given(cases(), layouts, seeds)
def test_the_three_are_adjoints(case: Any, layout: str, seed: int) -> None:
    x_shape, w_shape, spec = case
    x, w = (laid_out(a, layout) for a in randoms(seed, x_shape, w_shape))
    y = kernels.conv2d(x, w, spec=spec)
    g = laid_out(randoms(seed + 1, y.shape)[0], layout)
    gx = kernels.conv2d_input(g, w, size=x_shape[2:], spec=spec)
    gw = kernels.conv2d_weight(g, x, kernel_size=w_shape[2:], spec=spec)
    assert gx.shape == x_shape
    assert is_channels_last(gx)
    assert gw.shape == w_shape
    assert_adjoint(y, g, x, gx)
    assert_adjoint(y, g, w, gw)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_direct_convolution_keeps_a_nan_in_its_windows(dtype: str, value: float) -> None:
    x, w = randoms(0, (1, 16, 12, 12), (16, 16, 3, 3), dtype=dtype)
    x[0, 5, 6, 6] = value
    with algorithm("direct"):
        y = kernels.conv2d(x, w, spec=PLAIN)
    reached = np.zeros((10, 10), bool)
    reached[4:7, 4:7] = True
    np.testing.assert_array_equal(~np.isfinite(y[0]).all(0), reached)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@given(case=cases(), seed=seeds)
@settings(max_examples=25)
def test_adjoints_in_low_precision(case: Any, seed: int, dtype: str) -> None:
    x_shape, w_shape, spec = case
    x, w = randoms(seed, x_shape, w_shape, dtype=dtype)
    (g,) = randoms(seed + 1, kernels.conv2d(x, w, spec=spec).shape, dtype=dtype)
    wide = [a.astype(np.float64) for a in (g, x, w)]
    for low, high in (
        (
            kernels.conv2d_input(g, w, size=x_shape[2:], spec=spec),
            kernels.conv2d_input(wide[0], wide[2], size=x_shape[2:], spec=spec),
        ),
        (
            kernels.conv2d_weight(g, x, kernel_size=w_shape[2:], spec=spec),
            kernels.conv2d_weight(wide[0], wide[1], kernel_size=w_shape[2:], spec=spec),
        ),
    ):
        assert low.dtype == dtype
        scale = 1 + np.abs(high).max(initial=0)
        np.testing.assert_allclose(low, high, rtol=0, atol=2 * TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
def test_images_too_large_for_one_chunk(groups: int, stride: tuple[int, int]) -> None:
    """Rows of one image go to several chunks, and must meet without a seam."""
    spec = PLAIN._replace(groups=groups, stride=stride, padding=((2, 1), (0, 2)))
    x, w = randoms(0, (2, 4, 150, 140), (4, 4 // groups, 5, 5))
    y = kernels.conv2d(x, w, spec=spec)
    for p, q in ((0, 0), (17, 33), (y.shape[2] - 1, y.shape[3] - 1)):  # windows by hand
        padded = np.pad(x, ((0, 0), (0, 0), (2, 1), (0, 2)))
        window = padded[:, :, p * stride[0] :, q * stride[1] :][:, :, :5, :5]
        expected = conv2d_loops(window, w, None, ConvSpec(groups=groups))
        np.testing.assert_allclose(y[:, :, p, q], expected[:, :, 0, 0], rtol=1e-12, atol=1e-12)
    (g,) = randoms(1, y.shape)
    assert_adjoint(y, g, x, kernels.conv2d_input(g, w, size=(150, 140), spec=spec))
    assert_adjoint(y, g, w, kernels.conv2d_weight(g, x, kernel_size=(5, 5), spec=spec))


def test_rows_that_no_window_reaches_get_no_gradient() -> None:
    spec = PLAIN._replace(stride=(3, 3))
    gx = kernels.conv2d_input(np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2)), size=(6, 7), spec=spec)
    reached = np.array([1, 1, 0, 1, 1, 0, 0])
    np.testing.assert_array_equal(gx[0, 0], np.outer(reached[:6], reached))


@pytest.mark.parametrize("empty", ["batch", "channels", "filters"])
def test_empty_axes(empty: str) -> None:
    n, c, f = (0 if empty == name else 2 for name in ("batch", "channels", "filters"))
    x, w, b = np.ones((n, c, 3, 3)), np.ones((f, c, 2, 2)), np.arange(f) + 1.0
    y = kernels.conv2d(x, w, b, spec=PLAIN)
    assert y.shape == (n, f, 2, 2)
    if empty == "channels":
        np.testing.assert_array_equal(y, np.broadcast_to(b[:, None, None], y.shape))
    np.testing.assert_array_equal(
        kernels.conv2d_input(y, w, size=(3, 3), spec=PLAIN), np.zeros(x.shape)
    )
    np.testing.assert_array_equal(
        kernels.conv2d_weight(y, x, kernel_size=(2, 2), spec=PLAIN), np.zeros(w.shape)
    )


def test_a_broadcast_gradient_is_read_as_it_is() -> None:
    """`y.sum()` sends back one number seen at every place: strides of 0."""
    g = np.broadcast_to(np.float32(2), (2, 3, 4, 4))
    (x, w) = randoms(0, (2, 2, 5, 5), (3, 2, 2, 2), dtype="float32")
    gw = kernels.conv2d_weight(g, x, kernel_size=(2, 2), spec=PLAIN)
    np.testing.assert_array_equal(
        gw, kernels.conv2d_weight(g.copy(), x, kernel_size=(2, 2), spec=PLAIN)
    )
    gx = kernels.conv2d_input(g, w, size=(5, 5), spec=PLAIN)
    np.testing.assert_array_equal(gx, kernels.conv2d_input(g.copy(), w, size=(5, 5), spec=PLAIN))


@given(case=cases(), layout=layouts)
@settings(max_examples=20)
def test_results_are_fresh_and_inputs_untouched(case: Any, layout: str) -> None:
    x_shape, w_shape, spec = case
    x, w = randoms(3, x_shape, w_shape)
    given_x, given_w = laid_out(x, layout), laid_out(w, layout)
    y = kernels.conv2d(given_x, given_w, spec=spec)
    g = laid_out(y, layout)
    gx = kernels.conv2d_input(g, given_w, size=x_shape[2:], spec=spec)
    gw = kernels.conv2d_weight(g, given_x, kernel_size=w_shape[2:], spec=spec)
    for result in (y, gx, gw):
        assert result.flags.writeable
        for source in (given_x, given_w, g):
            assert not np.may_share_memory(result, source)
    np.testing.assert_array_equal(given_x, x)
    np.testing.assert_array_equal(given_w, w)
    np.testing.assert_array_equal(g, y)


IMAGE, FILTERS = (1, 3, 8, 8), (4, 3, 3, 3)


@pytest.mark.parametrize(
    ("x", "w", "change", "message"),
    [
        (
            IMAGE,
            (4, 2, 3, 3),
            {},
            "conv2d: `x` has 3 channels but `weight` expects 2 "
            "(x (1, 3, 8, 8), weight (4, 2, 3, 3))",
        ),
        ((3, 8, 8), FILTERS, {}, "`x` has shape (3, 8, 8), expected 4 dimensions"),
        (IMAGE, (4, 3, 3), {}, "`weight` has shape (4, 3, 3), expected 4 dimensions"),
        (IMAGE, FILTERS, {"groups": 2}, "`x` has 3 channels, not a multiple of groups=2"),
        ((1, 4, 8, 8), (3, 2, 3, 3), {"groups": 2}, "`weight` has 3 filters, not a multiple of"),
        (
            (1, 4, 8, 8),
            (4, 4, 3, 3),
            {"groups": 2},
            "4 channels but `weight` expects 4 in each of 2",
        ),
        (IMAGE, FILTERS, {"groups": 0}, "`groups` is 0, expected a positive integer"),
        ((1, 3, 2, 8), FILTERS, {}, "`weight` covers 3 rows but the padded `x` has only 2"),
        (
            (1, 3, 8, 4),
            FILTERS,
            {"dilation": (1, 2)},
            "`weight` covers 5 columns but the padded `x` has only 4",
        ),
        (IMAGE, FILTERS, {"stride": (0, 1)}, "`stride` is (0, 1), expected two positive integers"),
        (IMAGE, FILTERS, {"dilation": (1, -1)}, "`dilation` is (1, -1), expected two positive"),
        (IMAGE, (4, 3, 0, 3), {}, "`kernel_size` is (0, 3), expected two positive integers"),
        (
            IMAGE,
            FILTERS,
            {"padding": ((0, -1), (0, 0))},
            "`padding` is ((0, -1), (0, 0)), expected",
        ),
    ],
)
def test_errors_name_what_does_not_fit(x: Any, w: Any, change: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - compared in full below
        kernels.conv2d(np.ones(x), np.ones(w), spec=conv_spec(**change))
    assert message in str(caught.value)


def test_errors_of_bias_and_gradient_shapes() -> None:
    x, w, g = np.ones((1, 2, 4, 4)), np.ones((3, 2, 3, 3)), np.ones((1, 3, 3, 2))
    with pytest.raises(ValueError, match=r"conv2d: `bias` has shape \(2,\), expected \(3,\)"):
        kernels.conv2d(x, w, np.ones(2), spec=PLAIN)
    with pytest.raises(ValueError, match=r"`g` has shape \(1, 3, 3, 2\), expected \(1, 3, 2, 2\)"):
        kernels.conv2d_input(g, w, size=(4, 4), spec=PLAIN)
    with pytest.raises(ValueError, match=r"`g` has shape \(1, 3, 3, 2\), expected \(1, 3, 2, 2\)"):
        kernels.conv2d_weight(g, x, kernel_size=(3, 3), spec=PLAIN)


@given(case=cases(), seed=seeds)
@settings(max_examples=30)
def test_agrees_with_pytorch(case: Any, seed: int) -> None:
    torch = pytorch()
    x_shape, w_shape, spec = case
    assume(x_shape[0] > 0)
    x, w, b = randoms(seed, x_shape, w_shape, w_shape[:1])
    tx, tw, tb = (torch.from_numpy(a).requires_grad_() for a in (x, w, b))
    (top, bottom), (left, right) = spec.padding
    padded = torch.nn.functional.pad(tx, (left, right, top, bottom))
    others = (spec.stride, 0, spec.dilation, spec.groups)
    ty = torch.nn.functional.conv2d(padded, tw, tb, *others)
    y = kernels.conv2d(x, w, b, spec=spec)
    np.testing.assert_allclose(y, ty.detach().numpy(), rtol=1e-10, atol=1e-10)
    (g,) = randoms(seed + 1, y.shape)
    ty.backward(torch.from_numpy(g))
    gx = kernels.conv2d_input(g, w, size=x_shape[2:], spec=spec)
    gw = kernels.conv2d_weight(g, x, kernel_size=w_shape[2:], spec=spec)
    np.testing.assert_allclose(gx, tx.grad.numpy(), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(gw, tw.grad.numpy(), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(kernels.sum(g, (0, 2, 3)), tb.grad.numpy(), rtol=1e-10, atol=1e-10)
