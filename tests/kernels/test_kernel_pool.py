"""Pooling against loops that follow its definition, and against PyTorch."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import (
    TOLERANCE,
    adaptive_avg_pool2d_loops,
    assert_adjoint,
    avg_pool2d_loops,
    is_channels_last,
    laid_out,
    max_pool2d_loops,
    randoms,
)
from shared import TWOS as PLAIN
from shared import dtypes, layouts, poolings, pytorch, seeds

from tinygrad_cnn import kernels

AVERAGE: dict[str, Any] = {
    **{k: v for k, v in PLAIN.items() if k != "dilation"},
    "count_include_pad": True,
    "divisor_override": None,
}

cases = partial(poolings, st.integers(0, 2), st.integers(1, 3), 5)
special = st.sampled_from(["ties", "distinct", "infinite", "nan"])


def values(kind: str, shape: tuple[int, ...], seed: int, dtype: str = "float64") -> Any:
    rng = np.random.default_rng(seed)
    if kind == "distinct":
        return rng.permutation(int(np.prod(shape))).reshape(shape).astype(dtype)
    x = rng.integers(-2, 3, shape).astype(dtype)
    if kind == "infinite":
        x[rng.random(shape) < 0.6] = -np.inf
    if kind == "nan":
        x[rng.random(shape) < 0.2] = np.nan
    return x


@given(cases(), special, layouts, dtypes, seeds)
def test_max_pool2d_is_the_definition(
    case: Any, kind: str, layout: str, dtype: str, seed: int
) -> None:
    shape, parameters = case
    x = values(kind, shape, seed, dtype)
    given_x = laid_out(x, layout)
    y, index = kernels.max_pool2d(given_x, **parameters)
    expected, place, plane = max_pool2d_loops(x, **parameters)
    assert y.dtype == x.dtype
    assert index.dtype == np.uint8
    assert is_channels_last(y)
    assert is_channels_last(index)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(index, place)
    sized = {"size": shape[2:], **parameters}
    np.testing.assert_array_equal(kernels.max_pool2d_plane_index(index, **sized), plane)
    np.testing.assert_array_equal(kernels.max_pool2d_gather(given_x, index, **parameters), y)
    np.testing.assert_array_equal(given_x, x)
    assert y.shape[2:] == kernels.pool2d_output_size(shape[2:], **parameters)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_max_pool2d_of_integers(dtype: Any) -> None:
    x = np.array([[0, 3, 0, 0], [3, 1, 0, 0]], dtype).reshape(1, 1, 2, 4)
    y, index = kernels.max_pool2d(x, **{**PLAIN, "padding": (1, 1)})
    assert y.dtype == dtype
    assert y.tolist() == [[[[0, 3, 0], [3, 1, 0]]]]
    assert index.tolist() == [[[[3, 2, 2], [1, 0, 0]]]]


def test_a_large_window_has_a_wide_index() -> None:
    x = np.zeros((1, 1, 20, 20))
    x[0, 0, 19, 18] = 1
    parameters = {**PLAIN, "kernel_size": (20, 20), "stride": (1, 1)}
    _, index = kernels.max_pool2d(x, **parameters)
    assert index.dtype == np.int32
    assert index.item() == 19 * 20 + 18
    g = kernels.max_pool2d_scatter(np.full((1, 1, 1, 1), 5.0), index, size=(20, 20), **parameters)
    np.testing.assert_array_equal(g, 5 * x)


@given(cases(), special, layouts, seeds)
def test_scatter_is_the_adjoint_of_gather(case: Any, kind: str, layout: str, seed: int) -> None:
    shape, parameters = case
    _, index = kernels.max_pool2d(values(kind, shape, seed), **parameters)
    u, g = (laid_out(a, layout) for a in randoms(seed, shape, index.shape))
    gx = kernels.max_pool2d_scatter(g, laid_out(index, layout), size=shape[2:], **parameters)
    assert gx.shape == shape
    assert is_channels_last(gx)
    assert_adjoint(kernels.max_pool2d_gather(u, index, **parameters), g, u, gx)


@pytest.mark.parametrize("dtype", sorted(TOLERANCE))
def test_scatter_keeps_infinities_where_they_belong(dtype: str) -> None:
    _, index = kernels.max_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), **PLAIN)
    g = np.array([[np.inf, np.nan], [-0.0, 2]], dtype).reshape(1, 1, 2, 2)
    gx = kernels.max_pool2d_scatter(g, index, size=(4, 4), **PLAIN)
    assert gx.dtype == dtype
    np.testing.assert_array_equal(gx[0, 0, 1::2, 1::2], g[0, 0])
    gx[0, 0, 1::2, 1::2] = 0
    assert not gx.any()


def test_pooling_large_images_in_chunks() -> None:
    x = values("distinct", (3, 8, 96, 100), 0, "float32")
    parameters = {**PLAIN, "kernel_size": (3, 3), "padding": (1, 1)}
    y, index = kernels.max_pool2d(x, **parameters)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))[:, :, ::2, ::2]
    np.testing.assert_array_equal(y, windows.max((4, 5)))
    np.testing.assert_array_equal(index, windows.reshape(*y.shape, 9).argmax(-1))
    gx = kernels.max_pool2d_scatter(np.ones_like(y), index, size=(96, 100), **parameters)
    plane = kernels.max_pool2d_plane_index(index, size=(96, 100), **parameters)
    counts = [np.bincount(p.ravel(), minlength=9600) for p in plane.reshape(24, -1)]
    np.testing.assert_array_equal(gx.reshape(24, 9600), counts)


divisors = st.sampled_from([None, None, 3, -2])


@given(cases(max_dilation=1), st.booleans(), divisors, layouts, dtypes, seeds)
def test_avg_pool2d_is_the_definition(
    case: Any, include: bool, divisor: int | None, layout: str, dtype: str, seed: int
) -> None:
    shape, parameters = case
    del parameters["dilation"]
    parameters |= {"count_include_pad": include, "divisor_override": divisor}
    (x,) = randoms(seed, shape, dtype=dtype)
    given_x = laid_out(x, layout)
    y = kernels.avg_pool2d(given_x, **parameters)
    expected = avg_pool2d_loops(x.astype(np.float64), **parameters)
    assert y.dtype == x.dtype
    assert is_channels_last(y)
    np.testing.assert_allclose(y, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    np.testing.assert_array_equal(given_x, x)


@given(cases(max_dilation=1), st.booleans(), divisors, layouts, seeds)
def test_avg_pool2d_input_is_the_adjoint(
    case: Any, include: bool, divisor: int | None, layout: str, seed: int
) -> None:
    shape, parameters = case
    del parameters["dilation"]
    parameters |= {"count_include_pad": include, "divisor_override": divisor}
    (x,) = randoms(seed, shape)
    y = kernels.avg_pool2d(x, **parameters)
    g = laid_out(randoms(seed + 1, y.shape)[0], layout)
    gx = kernels.avg_pool2d_input(g, size=shape[2:], **parameters)
    assert gx.shape == shape
    assert is_channels_last(gx)
    assert_adjoint(y, g, x, gx)


sizes = st.tuples(st.integers(1, 6), st.integers(1, 6))


@given(sizes, sizes, layouts, dtypes, seeds)
def test_adaptive_avg_pool2d(size: Any, output: Any, layout: str, dtype: str, seed: int) -> None:
    (x,) = randoms(seed, (2, 3, *size), dtype=dtype)
    y = kernels.adaptive_avg_pool2d(laid_out(x, layout), output_size=output)
    assert y.dtype == x.dtype
    assert is_channels_last(y)
    tolerance = TOLERANCE[dtype]
    expected = adaptive_avg_pool2d_loops(x.astype(np.float64), output)
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)
    u, g = randoms(seed, x.shape, y.shape)
    gx = kernels.adaptive_avg_pool2d_input(laid_out(g, layout), size=size)
    assert is_channels_last(gx)
    assert_adjoint(kernels.adaptive_avg_pool2d(u, output_size=output), g, u, gx)


def test_an_infinite_pixel_stays_in_its_windows() -> None:
    x = np.zeros((1, 1, 4, 5))
    x[0, 0, 0, 0] = np.inf
    y = kernels.adaptive_avg_pool2d(x, output_size=(2, 2))
    assert y.tolist() == [[[[np.inf, 0], [0, 0]]]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"padding": (2, 0)}, "`padding` is (2, 0), expected at most half of `kernel_size` (2, 2)"),
        ({"padding": (-1, 0)}, "`padding` is (-1, 0), expected two integers (rows, col"),
        ({"kernel_size": (6, 2)}, "would be 0 x 2, expected at least 1 x 1 (x (1, 1, 5, 5)"),
        ({"stride": (2, 0)}, "`stride` is (2, 0), expected two positive integers"),
        ({"kernel_size": (2, -1)}, "`kernel_size` is (2, -1), expected two positive integers"),
    ],
)  # fmt: skip
def test_errors_name_what_does_not_fit(change: Any, message: str) -> None:
    x = np.ones((1, 1, 5, 5))
    for name, options in (("max_pool2d", PLAIN), ("avg_pool2d", AVERAGE)):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - compared in full below
            getattr(kernels, name)(x, **{**options, **change})
        assert str(caught.value).startswith(f"{name}: ")
        assert message in str(caught.value)


def test_errors_of_other_shapes() -> None:
    x, index = np.ones((1, 1, 4, 4)), np.zeros((1, 1, 3, 3), np.uint8)
    with pytest.raises(ValueError, match=r"`x` has shape \(4, 4\), expected 4 dimensions"):
        kernels.max_pool2d(x[0, 0], **PLAIN)
    with pytest.raises(
        ValueError, match=r"`index` has shape \(1, 1, 3, 3\), expected \(1, 1, 2, 2\)"
    ):
        kernels.max_pool2d_gather(x, index, **PLAIN)
    with pytest.raises(ValueError, match=r"`g` has shape \(1, 1, 3, 3\), expected \(1, 1, 2, 2\)"):
        kernels.max_pool2d_scatter(index * 1.0, index, size=(4, 4), **PLAIN)
    with pytest.raises(ValueError, match=r"`g` has shape \(1, 1, 3, 3\), expected \(1, 1, 2, 2\)"):
        kernels.avg_pool2d_input(index * 1.0, size=(4, 4), **AVERAGE)
    with pytest.raises(ValueError, match="`divisor_override` is 0"):
        kernels.avg_pool2d(x, **{**AVERAGE, "divisor_override": 0})
    with pytest.raises(ValueError, match="`x` has 0 x 4 pixels, expected at least 1 x 1"):
        kernels.adaptive_avg_pool2d(x[:, :, :0], output_size=(1, 1))


@given(cases(), special, seeds)
@settings(max_examples=40)
def test_max_pool2d_agrees_with_pytorch(case: Any, kind: str, seed: int) -> None:
    torch = pytorch()
    shape, parameters = case
    shape = (2, *shape[1:])
    x = values(kind, shape, seed)
    order = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    arguments = [parameters[name] for name in order]
    tx = torch.from_numpy(x).requires_grad_()
    ty, plane = torch.nn.functional.max_pool2d(tx, *arguments, return_indices=True)
    y, index = kernels.max_pool2d(x, **parameters)
    np.testing.assert_array_equal(y, ty.detach().numpy())
    ours = kernels.max_pool2d_plane_index(index, size=shape[2:], **parameters)
    np.testing.assert_array_equal(ours, plane.numpy())
    (g,) = randoms(seed, y.shape)
    ty.backward(torch.from_numpy(g))
    gx = kernels.max_pool2d_scatter(g, index, size=shape[2:], **parameters)
    np.testing.assert_allclose(gx, tx.grad.numpy(), rtol=1e-12, atol=1e-12)


@given(cases(max_dilation=1), st.booleans(), divisors, sizes, seeds)
@settings(max_examples=40)
def test_averages_agree_with_pytorch(
    case: Any, include: bool, divisor: int | None, output: Any, seed: int
) -> None:
    torch = pytorch()
    shape, parameters = case
    shape = (2, *shape[1:])
    del parameters["dilation"]
    parameters |= {"count_include_pad": include, "divisor_override": divisor}
    (x,) = randoms(seed, shape)
    expected = torch.nn.functional.avg_pool2d(torch.from_numpy(x), *parameters.values()).numpy()
    np.testing.assert_allclose(
        kernels.avg_pool2d(x, **parameters), expected, rtol=1e-12, atol=1e-12
    )
    expected = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(x), output).numpy()
    ours = kernels.adaptive_avg_pool2d(x, output_size=output)
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12)
