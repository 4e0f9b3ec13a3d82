"""Normalisation, per-channel passes and the rectifier."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import (
    LAYOUTS,
    TOLERANCE,
    batch_norm_loops,
    is_channels_last,
    laid_out,
    layer_norm_loops,
    randoms,
)
from shared import dtypes, layouts, pytorch, seeds

from tinygrad_cnn import kernels

shapes = st.lists(st.integers(1, 5), min_size=2, max_size=5).map(tuple)
EPS = 1e-5


@given(shapes, st.booleans(), st.booleans(), layouts, dtypes, seeds)
def test_batch_norm_is_the_definition(
    shape: Any, scaled: bool, shifted: bool, layout: str, dtype: str, seed: int
) -> None:
    x, weight, bias = randoms(seed, shape, shape[1:2], shape[1:2], dtype=dtype)
    given_x = laid_out(x, layout)
    w, b = (weight if scaled else None), (bias if shifted else None)
    y, mean, invstd, var = kernels.batch_norm(given_x, w, b, eps=EPS)
    expected, true_mean, true_var = batch_norm_loops(x, w, b, EPS)
    assert y.dtype == x.dtype
    assert (
        mean.dtype == invstd.dtype == var.dtype == (np.float32 if dtype == "float16" else x.dtype)
    )
    if x.ndim == 4:
        assert is_channels_last(y)
    tolerance = TOLERANCE[dtype]
    # a channel of nearly equal numbers magnifies rounding by invstd
    magnified = tolerance * (1 + np.abs(x).max() / np.sqrt(true_var + EPS).min())
    np.testing.assert_allclose(
        y, expected.astype(np.float64), rtol=tolerance, atol=4 * float(magnified)
    )
    np.testing.assert_allclose(mean, true_mean.astype(float), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(var, true_var.astype(float), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(invstd, 1 / np.sqrt(var + EPS), rtol=1e-3)
    np.testing.assert_array_equal(given_x, x)


@pytest.mark.parametrize("shape", [(64, 3, 17, 16), (512, 3), (8, 3, 500)])
def test_batch_norm_of_a_large_mean(shape: Any) -> None:
    """|mean| = 3000 std: sums of squares in float32 would have no correct digit left."""
    rng = np.random.default_rng(0)
    x = (3000 + rng.standard_normal(shape)).astype(np.float32)
    y, mean, invstd, var = kernels.batch_norm(x, None, None, eps=EPS)
    expected, true_mean, true_var = batch_norm_loops(x, None, None, EPS)
    np.testing.assert_allclose(mean, true_mean.astype(float), rtol=1e-7)
    np.testing.assert_allclose(var, true_var.astype(float), rtol=1e-5)
    np.testing.assert_allclose(y, expected.astype(float), atol=1e-3)
    (g,) = randoms(1, shape, dtype="float32")
    gx, gweight, _ = kernels.batch_norm_backward(g, x, None, mean, invstd)
    wide = [a.astype(np.float64) for a in (g, x, true_mean, 1 / np.sqrt(true_var + EPS))]
    true_gx, true_gweight, _ = kernels.batch_norm_backward(wide[0], wide[1], None, wide[2], wide[3])
    np.testing.assert_allclose(gweight, true_gweight, rtol=1e-3, atol=0.2)
    np.testing.assert_allclose(gx, true_gx, atol=1e-3)


@given(shapes, st.booleans(), layouts, seeds)
def test_batch_norm_backward_is_the_derivative(
    shape: Any, scaled: bool, layout: str, seed: int
) -> None:
    x, g, u, weight, bias = randoms(seed, shape, shape, shape, shape[1:2], shape[1:2])
    w = weight if scaled else None
    eps, step = 0.1, 1e-5
    _, mean, invstd, _ = kernels.batch_norm(x, w, bias, eps=eps)
    given_x, given_g = laid_out(x, layout), laid_out(g, layout)
    gx, gweight, gbias = kernels.batch_norm_backward(given_g, given_x, w, mean, invstd)
    assert gx.shape == shape
    if x.ndim == 4:
        assert is_channels_last(gx)
    ahead, behind = (kernels.batch_norm(x + s * u, w, bias, eps=eps)[0] for s in (step, -step))
    np.testing.assert_allclose(
        np.vdot(gx, u), np.vdot(g, ahead - behind) / (2 * step), rtol=1e-5, atol=1e-5
    )
    axes = tuple(a for a in range(x.ndim) if a != 1)
    normalised = kernels.batch_norm(x, None, None, eps=eps)[0]
    np.testing.assert_allclose(gweight, (g * normalised).sum(axes), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(gbias, g.sum(axes), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(given_x, x)
    np.testing.assert_array_equal(given_g, g)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(9, 5, 60, 50), (3, 2048, 7), (3000, 40)])
def test_many_blocks(shape: Any, layout: str) -> None:
    """Arrays larger than a block: statistics of the blocks are merged, and no row is left out."""
    x, g = randoms(0, shape, shape)
    x += np.arange(shape[0]).reshape(-1, *(1,) * (len(shape) - 1))  # blocks with different means
    axes = tuple(a for a in range(x.ndim) if a != 1)
    given_x, given_g = laid_out(x, layout), laid_out(g, layout)
    y, mean, invstd, var = kernels.batch_norm(given_x, None, None, eps=EPS)
    np.testing.assert_allclose(mean, x.mean(axes), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(var, x.var(axes), rtol=1e-12)
    column = (1, -1, *(1,) * (len(shape) - 2))
    z = (x - mean.reshape(column)) * invstd.reshape(column)
    np.testing.assert_allclose(y, z, rtol=1e-9, atol=1e-9)
    gx, gweight, gbias = kernels.batch_norm_backward(given_g, given_x, None, mean, invstd)
    np.testing.assert_allclose(gbias, g.sum(axes), atol=1e-9)
    np.testing.assert_allclose(gweight, (g * z).sum(axes), atol=1e-9)
    count = x.size // shape[1]
    inner = g - (gbias / count).reshape(column) - z * (gweight / count).reshape(column)
    np.testing.assert_allclose(gx, inner * invstd.reshape(column), atol=1e-9)
    np.testing.assert_allclose(kernels.sum(given_g, axes), gbias, atol=1e-9)
    relu = kernels.relu(given_x)
    np.testing.assert_array_equal(relu, np.maximum(x, 0))
    np.testing.assert_array_equal(kernels.relu_backward(given_g, relu), np.where(x > 0, g, 0))


@given(shapes, layouts, dtypes, seeds)
def test_sum_and_affine(shape: Any, layout: str, dtype: str, seed: int) -> None:
    x, scale, shift = randoms(seed, shape, shape[1:2], shape[1:2], dtype=dtype)
    given_x = laid_out(x, layout)
    axes = tuple(a for a in range(x.ndim) if a != 1)
    total = kernels.sum(given_x, axes)
    tolerance = TOLERANCE[dtype]
    assert total.dtype == x.dtype
    np.testing.assert_allclose(
        total, x.sum(axes, dtype=np.float64), rtol=tolerance, atol=20 * tolerance
    )
    y = kernels.channel_affine(given_x, scale, shift)
    assert y.dtype == x.dtype
    if x.ndim == 4:
        assert is_channels_last(y)
    column = (1, -1, *(1,) * (len(shape) - 2))
    wide = x.astype(np.float64) * scale.reshape(column) + shift.reshape(column)
    np.testing.assert_allclose(y, wide, rtol=tolerance, atol=4 * tolerance)
    assert not np.may_share_memory(y, given_x)


@given(shapes, st.data(), st.booleans(), layouts, dtypes, seeds)
def test_layer_norm_is_the_definition(
    shape: Any, data: st.DataObject, scaled: bool, layout: str, dtype: str, seed: int
) -> None:
    ndim = data.draw(st.integers(1, len(shape)))
    inner = shape[len(shape) - ndim :]
    x, weight, bias = randoms(seed, shape, inner, inner, dtype=dtype)
    w, b = (weight, bias) if scaled else (None, None)
    given_x = laid_out(x, layout)
    eps = 0.01
    y, mean, invstd = kernels.layer_norm(given_x, w, b, ndim=ndim, eps=eps)
    assert y.dtype == x.dtype
    assert mean.shape == invstd.shape == (*shape[: len(shape) - ndim], *(1,) * ndim)
    tolerance = 20 * TOLERANCE[dtype]
    expected = layer_norm_loops(x, w, b, ndim, eps)
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(given_x, x)


@given(shapes, st.data(), st.booleans(), layouts, seeds)
def test_layer_norm_backward_is_the_derivative(
    shape: Any, data: st.DataObject, scaled: bool, layout: str, seed: int
) -> None:
    ndim = data.draw(st.integers(1, len(shape)))
    inner = shape[len(shape) - ndim :]
    x, g, u, weight, bias = randoms(seed, shape, shape, shape, inner, inner)
    w = weight if scaled else None
    eps, step = 0.1, 1e-5
    _, mean, invstd = kernels.layer_norm(x, w, bias, ndim=ndim, eps=eps)
    given_x, given_g = laid_out(x, layout), laid_out(g, layout)
    gx, gweight, gbias = kernels.layer_norm_backward(given_g, given_x, w, mean, invstd, ndim=ndim)
    ahead, behind = (
        kernels.layer_norm(x + s * u, w, bias, ndim=ndim, eps=eps)[0] for s in (step, -step)
    )
    np.testing.assert_allclose(
        np.vdot(gx, u), np.vdot(g, ahead - behind) / (2 * step), rtol=1e-5, atol=1e-5
    )
    axes = tuple(range(len(shape) - ndim))
    normalised = kernels.layer_norm(x, None, None, ndim=ndim, eps=eps)[0]
    np.testing.assert_allclose(gweight, (g * normalised).sum(axes), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(gbias, g.sum(axes), rtol=1e-9, atol=1e-9)
    assert gx.shape == shape
    np.testing.assert_array_equal(given_x, x)


KINKS = [-1.0, -0.0, 0.0, 2.0, np.nan, np.inf, -np.inf]


@pytest.mark.parametrize("dtype", sorted(TOLERANCE))
def test_relu_at_its_kinks(dtype: str) -> None:
    y = kernels.relu(np.array(KINKS, dtype))
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, [0, 0, 0, 2, np.nan, np.inf, 0])
    g = np.array([1, np.inf, np.nan, 4, 5, np.inf, -np.inf], dtype)
    gx = kernels.relu_backward(g, y)
    assert gx.dtype == dtype
    np.testing.assert_array_equal(gx, [0, 0, 0, 4, 5, np.inf, 0])


@given(shapes, layouts, layouts, seeds)
def test_relu_in_any_layout(shape: Any, layout: str, other: str, seed: int) -> None:
    x, g = randoms(seed, shape, shape)
    y = kernels.relu(laid_out(x, layout))
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    gx = kernels.relu_backward(laid_out(g, other), laid_out(y, layout))
    np.testing.assert_array_equal(gx, np.where(x > 0, g, 0))


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (2, 0, 4), (0, 2, 3, 3), (2, 0, 3, 3)])
def test_nothing_in_nothing_out(shape: Any) -> None:
    x = np.zeros(shape)
    assert kernels.relu(x).shape == shape
    assert kernels.relu_backward(x, x).shape == shape
    if len(shape) < 2:
        return
    c = shape[1]
    y, mean, invstd, var = kernels.batch_norm(x, np.ones(c), np.ones(c), eps=EPS)
    assert y.shape == shape
    assert mean.shape == invstd.shape == var.shape == (c,)
    gx, gweight, gbias = kernels.batch_norm_backward(x, x, np.ones(c), mean, invstd)
    assert gx.shape == shape
    np.testing.assert_array_equal(gweight, np.zeros(c))
    np.testing.assert_array_equal(gbias, np.zeros(c))
    assert kernels.channel_affine(x, np.ones(c), np.ones(c)).shape == shape
    np.testing.assert_array_equal(kernels.sum(x, (0, *range(2, x.ndim))), np.zeros(c))
    y, mean, invstd = kernels.layer_norm(x, None, None, ndim=1, eps=EPS)
    assert y.shape == shape
    assert kernels.layer_norm_backward(x, x, None, mean, invstd, ndim=1)[0].shape == shape


def test_errors_name_what_does_not_fit() -> None:
    x, two = np.ones((2, 3, 4)), np.ones(2)
    with pytest.raises(
        ValueError, match=r"batch_norm: `x` has shape \(2,\), expected at least 2 dim"
    ):
        kernels.batch_norm(two, None, None, eps=EPS)
    with pytest.raises(
        ValueError, match=r"batch_norm: `weight` has shape \(2,\), expected \(3,\) for"
    ):
        kernels.batch_norm(x, two, None, eps=EPS)
    with pytest.raises(
        ValueError, match=r"batch_norm: `bias` has shape \(2,\), expected \(3,\) for"
    ):
        kernels.batch_norm(x, None, two, eps=EPS)
    with pytest.raises(ValueError, match=r"`g` has shape \(2, 3\), expected \(2, 3, 4\)"):
        kernels.batch_norm_backward(x[..., 0], x, None, np.ones(3), np.ones(3))
    with pytest.raises(ValueError, match="layer_norm: `ndim` is 4, expected 1 to 3"):
        kernels.layer_norm(x, None, None, ndim=4, eps=EPS)
    with pytest.raises(ValueError, match=r"layer_norm: `weight` has shape \(2,\), expected \(4,\)"):
        kernels.layer_norm(x, two, None, ndim=1, eps=EPS)
    with pytest.raises(ValueError, match=r"`shift` has shape \(2,\), expected \(3,\)"):
        kernels.channel_affine(x, np.ones(3), two)
    with pytest.raises(
        ValueError, match=r"relu_backward: `g` has shape \(2,\), expected \(2, 3, 4\)"
    ):
        kernels.relu_backward(two, x)


@given(shapes.filter(lambda s: int(np.prod(s)) > s[1]), seeds)
@settings(max_examples=30)
def test_norms_agree_with_pytorch(shape: Any, seed: int) -> None:
    torch = pytorch()
    x, g, w, b = randoms(seed, shape, shape, shape[1:2], shape[1:2])
    tx, tw, tb = (torch.from_numpy(a).requires_grad_() for a in (x, w, b))
    ty = torch.nn.functional.batch_norm(tx, None, None, tw, tb, True, 0.1, EPS)
    ty.backward(torch.from_numpy(g))
    y, mean, invstd, _ = kernels.batch_norm(x, w, b, eps=EPS)
    ours = kernels.batch_norm_backward(g, x, w, mean, invstd)
    np.testing.assert_allclose(y, ty.detach().numpy(), rtol=1e-7, atol=1e-7)
    for gradient, tensor in zip(ours, (tx, tw, tb), strict=True):
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-6, atol=1e-6)


def test_relu_agrees_with_pytorch() -> None:
    torch = pytorch()
    x = torch.tensor(KINKS, requires_grad=True)
    y = torch.relu(x)
    y.backward(torch.arange(1.0, 8.0))
    ours = kernels.relu(x.detach().numpy())
    np.testing.assert_array_equal(ours, y.detach().numpy())
    gx = kernels.relu_backward(np.arange(1, 8, dtype=np.float32), ours)
    np.testing.assert_array_equal(gx, x.grad.numpy())
