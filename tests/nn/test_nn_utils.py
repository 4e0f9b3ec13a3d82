"""Gradient clipping and parameters as one vector."""

import math

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.nn import utils


def with_grads(dtype=np.float64):
    rng = np.random.default_rng(0)
    params = [tg.zeros(*s, dtype=dtype, requires_grad=True) for s in ((3, 4), (5,), ())]
    for p in params:
        p.grad = tg.tensor(np.asarray(3 * rng.standard_normal(p.shape), dtype))
    params.append(tg.zeros(2, requires_grad=True))  # no gradient
    return params


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_norm_clipping(p, max_norm):
    params = with_grads()
    before = np.concatenate([q.grad.numpy().ravel() for q in params[:3]])
    total = utils.clip_grad_norm_(params, max_norm, p)
    norm = np.linalg.norm(before, p)
    assert total.item() == pytest.approx(norm, rel=1e-12)
    after = np.concatenate([q.grad.numpy().ravel() for q in params[:3]])
    np.testing.assert_allclose(after, before * min(1, max_norm / (norm + 1e-6)), rtol=1e-12)
    assert params[3].grad is None


def test_norms_that_are_not_finite():
    (x, *_) = with_grads()
    x.grad = tg.full((3, 4), math.inf, dtype=tg.float64)
    with pytest.raises(RuntimeError, match="is inf but a finite number"):
        utils.clip_grad_norm_(x, 1.0, error_if_nonfinite=True)
    assert np.isinf(x.grad.numpy()).all()
    x.grad = tg.full((3, 4), math.nan, dtype=tg.float64)
    assert math.isnan(utils.clip_grad_norm_(x, 1.0).item())
    assert np.isnan(x.grad.numpy()).all()


def test_no_gradients():
    assert utils.clip_grad_norm_([tg.ones(1)], 1.0).item() == 0
    utils.clip_grad_value_([tg.ones(1)], 1.0)


def test_transposed_gradients():
    x = tg.zeros(2, 3, requires_grad=True)
    x.grad = tg.from_numpy(np.full((3, 2), 2, np.float32).T)
    assert utils.clip_grad_norm_(x, 1.0).item() == pytest.approx(math.sqrt(24))
    np.testing.assert_allclose(x.grad.numpy(), 2 / math.sqrt(24), rtol=1e-5)


def test_value_clipping():
    params = with_grads()
    before = [p.grad.numpy().copy() for p in params[:3]]
    utils.clip_grad_value_(params, 1.5)
    for p, b in zip(params[:3], before, strict=True):
        np.testing.assert_array_equal(p.grad.numpy(), np.clip(b, -1.5, 1.5))


def test_vectors():
    net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    vector = utils.parameters_to_vector(net.parameters())
    assert vector.shape == (11,)
    (vector * vector).sum().backward()
    assert (net[0].weight.grad == 2 * net[0].weight).all()
    other = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    utils.vector_to_parameters(vector, other.parameters())
    x = tg.randn(4, 3)
    assert (other(x) == net(x)).all()
    assert other[0].weight.is_leaf
    with pytest.raises(ValueError, match="have 11 values"):
        utils.vector_to_parameters(tg.ones(10), net.parameters())
    with pytest.raises(TypeError, match="`vec` is a list"):
        utils.vector_to_parameters([1.0], net.parameters())
