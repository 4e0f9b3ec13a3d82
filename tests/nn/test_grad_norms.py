"""Joint norms of gradients are PyTorch's, of any order and dtype, and do not overflow."""

import math

import numpy as np
import pytest
from parity import require_torch

import tinygrad_cnn as tg
from tinygrad_cnn.nn import utils

ORDERS = [2.0, 1.0, 0.5, 1.5, 3.0, 0.0, -1.0, -2.0, math.inf, -math.inf]
ODD = [0.0, math.nan, math.inf, -math.inf]


def pairs(arrays):
    """Parameters with these gradients in both libraries."""
    torch = require_torch()
    ours = [tg.zeros(*a.shape, dtype=str(a.dtype), requires_grad=True) for a in arrays]
    theirs = [torch.zeros(q.shape, dtype=getattr(torch, str(q.dtype))) for q in ours]
    for q, r, a in zip(ours, theirs, arrays, strict=True):
        q.grad, r.grad = tg.tensor(a.copy()), torch.tensor(a.copy())
    return ours, theirs


def assert_clipped_alike(arrays, *args, rtol=2e-5, **kwargs):
    torch = require_torch()
    ours, theirs = pairs(arrays)
    a = utils.clip_grad_norm_(ours, *args, **kwargs)
    b = torch.nn.utils.clip_grad_norm_(theirs, *args, **kwargs)
    assert str(a.dtype) == str(b.dtype).removeprefix("torch.")
    assert a.shape == tuple(b.shape)
    np.testing.assert_allclose(a.item(), b.item(), rtol=rtol)
    for q, r in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(q.grad.numpy(), r.grad.numpy(), rtol=rtol)


@pytest.mark.parametrize("p", ORDERS)
@pytest.mark.parametrize("max_norm", [0.0, 0.5, 2, 1e9])
def test_any_order(p, max_norm):
    rng = np.random.default_rng(7)
    arrays = [rng.standard_normal(s).astype(np.float32) for s in ((3, 4), (5,), ())]
    assert_clipped_alike(arrays, max_norm, p)
    arrays[1][2] = 0
    assert_clipped_alike(arrays, max_norm, p)
    assert_clipped_alike([*arrays, np.zeros(3, np.float32)], max_norm, p)
    arrays[0] = arrays[0].astype(np.float64)
    assert_clipped_alike(arrays, max_norm, p)


@pytest.mark.parametrize("p", ORDERS)
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("where", [0, 1])
def test_one_value_that_is_not_finite(p, odd, where):
    arrays = [np.array([3.0, 4.0, 1.0], np.float32), np.array([1.0, 2.0], np.float32)]
    arrays[where][1] = odd
    assert_clipped_alike(arrays, 1.0, p)


@pytest.mark.parametrize("foreach", [None, True, False])
def test_arguments(foreach):
    arrays = [np.array([3.0, 4.0])]
    assert_clipped_alike(arrays, 1.0, "inf", foreach=foreach)
    assert_clipped_alike(arrays, "1.0", 2, False, foreach)
    x = pairs(arrays)[0]
    utils.clip_grad_value_(x, 3.5, foreach=foreach)
    assert x[0].grad.tolist() == [3.0, 3.5]


def test_half_precision():
    h = tg.zeros(4, dtype=tg.float16, requires_grad=True)
    h.grad = tg.full((4,), 5000.0).half()
    total = utils.clip_grad_norm_([h], 1.0)
    assert total.dtype == tg.float16
    assert total.item() == 1e4
    assert h.grad.tolist() == [0.5] * 4
    h.grad = tg.full((4,), 60000.0).half()  # the norm is no number of float16
    assert utils.clip_grad_norm_([h], 1.0).item() == math.inf
    assert h.grad.tolist() == [0.5] * 4
    utils.clip_grad_value_([h], 1e9)
    assert h.grad.tolist() == [0.5] * 4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("p", [2.0, 3.0, 1.0])
def test_no_overflow_and_no_underflow(dtype, p):
    info = np.finfo(dtype)
    for size in (info.max / 100, info.tiny * 100):
        x = tg.zeros(16, dtype=dtype, requires_grad=True)
        x.grad = tg.full((16,), float(size), dtype=dtype)
        total = utils.clip_grad_norm_([x], float(size) / 2, p)
        np.testing.assert_allclose(float(total), float(size) * 16 ** (1 / p), rtol=1e-6)
        if size > 1:  # below, PyTorch's 1e-6 in the denominator counts
            np.testing.assert_allclose(x.grad.numpy(), size / 2 / 16 ** (1 / p), rtol=1e-6)
    x.grad = tg.full((16,), 1e38, dtype=dtype)
    utils.clip_grad_norm_([x], 1e-3, p)  # a factor that float32 holds with few digits only
    np.testing.assert_allclose(x.grad.numpy(), 1e-3 / 16 ** (1 / p), rtol=1e-6)


def test_many_values():
    values = np.random.default_rng(3).standard_normal(1_000_003).astype(np.float32)
    exact = math.sqrt(np.square(values, dtype=np.float64).sum())
    assert abs(utils.get_total_norm(tg.from_numpy(values)).item() - exact) < 2e-7 * exact


def test_norm_and_scaling_apart():
    torch = require_torch()
    ours, theirs = pairs([np.array([3.0, 4.0]), np.array([12.0])])
    a = utils.get_total_norm([q.grad for q in ours])
    b = torch.nn.utils.get_total_norm([q.grad for q in theirs])
    assert a.item() == b.item() == 13.0
    utils.clip_grads_with_norm_(ours, 1.0, a)
    torch.nn.utils.clip_grads_with_norm_(theirs, 1.0, b)
    for q, r in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(q.grad.numpy(), r.grad.numpy(), rtol=1e-12)
    assert utils.get_total_norm([]).item() == 0
    with pytest.raises(RuntimeError, match="get_total_norm: the joint norm is inf"):
        utils.get_total_norm(tg.tensor([math.inf]), error_if_nonfinite=True)


@pytest.mark.parametrize("p", [-1.0, math.inf, -math.inf])
def test_no_values_have_no_such_norm(p):
    with pytest.raises(RuntimeError, match=r"shape \(0,\) has no norm of order"):
        utils.get_total_norm([tg.zeros(0)], p)
    assert utils.get_total_norm([tg.zeros(0)]).item() == 0


def test_a_generator_that_was_read_already():
    with pytest.warns(UserWarning, match="is an empty generator"):
        utils.clip_grad_norm_((p for p in ()), 1.0)
