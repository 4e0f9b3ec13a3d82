"""`jacobian`, `hessian` and `hvp`: against formulas, each other, and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn.func import grad, hessian, hvp, jacobian, jvp, vjp


def _random(*shape: int, seed: int = 0) -> tg.Tensor:
    return tg.from_numpy(np.asarray(np.random.default_rng(seed).standard_normal(shape)))


def _close(a: Any, b: Any, rtol: float = 1e-10) -> None:
    np.testing.assert_allclose(np.asarray(a.detach()), np.asarray(b.detach()), rtol, 1e-11)


def _f(x: tg.Tensor) -> tg.Tensor:
    """From (2, 3) to (3, 2)."""
    return (x.exp() * x.sum()).T * tg.tensor([[1.0], [2.0], [3.0]], dtype=tg.float64)


def test_jacobian_of_a_linear_map_is_its_matrix() -> None:
    a = _random(4, 3)
    found = jacobian(lambda x: a @ x)(_random(3, seed=1))
    _close(found, a)
    assert not found.requires_grad


def test_jacobian_has_the_shapes_of_result_and_argument() -> None:
    x = _random(2, 3)
    j = jacobian(_f)(x)
    assert j.shape == (3, 2, 2, 3)
    assert jacobian(lambda x: x.sum())(x).shape == (2, 3)
    assert jacobian(lambda x: x[:0])(x).shape == (0, 3, 2, 3)


def test_rows_and_columns_of_the_jacobian_are_vjp_and_jvp() -> None:
    x, v, u = _random(2, 3), _random(2, 3, seed=1), _random(3, 2, seed=2)
    j = jacobian(_f)(x)
    _close(tg.tensordot(j, v, 2), jvp(_f, (x,), (v,))[1])
    _close(tg.tensordot(u, j, 2), vjp(_f, x)[1](u))


def test_jacobians_of_nested_results_and_arguments() -> None:
    a, b = _random(2), _random(3, seed=1)
    f = lambda p: {"sum": p["a"].sum() + p["b"].sum(), "outer": p["a"][:, None] * p["b"]}
    found = jacobian(f)({"a": a, "b": b})
    assert found["sum"]["a"].tolist() == [1, 1]
    assert found["outer"]["b"].shape == (2, 3, 3)
    _close(found["outer"]["b"], a[:, None, None] * tg.eye(3, dtype=tg.float64))
    ja, jb = jacobian(lambda a, b: a[:, None] * b, argnums=(0, 1))(a, b)
    _close(jb, found["outer"]["b"])
    assert ja.shape == (2, 3, 2)
    j, aux = jacobian(lambda a: (a * a, "more"), has_aux=True)(a)
    _close(j, tg.diag(2 * a))
    assert aux == "more"


def test_hessian_is_symmetric_and_the_jacobian_of_the_gradient() -> None:
    x = _random(4)
    f = lambda x: (x**3).sum() * x.prod() + (x.sin() * x.flip(0)).sum()
    h = hessian(f)(x)
    _close(h, h.T)
    _close(h, jacobian(grad(f))(x))


def test_hessian_blocks_of_several_arguments() -> None:
    a, b = _random(2), _random(3, seed=1)
    f = lambda a, b: (a * a).sum() * (b**3).sum()
    (haa, hab), (hba, hbb) = hessian(f, argnums=(0, 1))(a, b)
    _close(haa, 2 * (b**3).sum() * tg.eye(2, dtype=tg.float64))
    _close(hab, 2 * a[:, None] * 3 * b**2)
    _close(hba, hab.T)
    _close(hbb, (a * a).sum() * tg.diag(6 * b))


def test_hessian_of_a_function_with_several_outputs() -> None:
    x = _random(3)
    h = hessian(lambda x: tg.stack([(x**2).sum(), (x**3).sum()]))(x)
    _close(h[0], 2 * tg.eye(3, dtype=tg.float64))
    _close(h[1], tg.diag(6 * x))


def test_hvp_both_ways_is_the_hessian_times_the_vector() -> None:
    x, v = _random(4), _random(4, seed=1)
    f = lambda x: (x**3).sum() * x.prod() + x.tanh().sum()
    expected = hessian(f)(x) @ v
    for mode in ("reverse", "forward"):
        value, product = hvp(f, (x,), (v,), mode=mode)
        _close(value, f(x))
        _close(product, expected)
        assert not value.requires_grad
        assert not product.requires_grad


def test_hvp_of_several_arguments() -> None:
    a, b = _random(2), _random(3, seed=1)
    va, vb = _random(2, seed=2), _random(3, seed=3)
    f = lambda a, b: ((a[:, None] * b).sin()).sum() + (a**3).sum()
    (haa, hab), (hba, hbb) = hessian(f, argnums=(0, 1))(a, b)
    for mode in ("reverse", "forward"):
        _, (pa, pb) = hvp(f, (a, b), (va, vb), mode=mode)
        _close(pa, haa @ va + hab @ vb)
        _close(pb, hba @ va + hbb @ vb)


def test_hvp_through_a_network_by_differences_of_gradients() -> None:
    tg.manual_seed(0)
    w1, w2 = _random(4, 2, 3, 3), _random(3, 4, seed=1)
    x = _random(2, 2, 6, 6, seed=2)
    labels = tg.tensor([0, 2])

    def loss(w1: tg.Tensor, w2: tg.Tensor) -> tg.Tensor:
        h = tg.nn.functional.conv2d(x, w1)
        h = tg.nn.functional.batch_norm(h, None, None, training=True)
        return tg.nn.functional.cross_entropy(h.tanh().mean((2, 3)) @ w2.T, labels)

    v1, v2 = _random(4, 2, 3, 3, seed=3), _random(3, 4, seed=4)
    g = grad(loss, argnums=(0, 1))
    h = 1e-5
    ahead, behind = g(w1 + h * v1, w2 + h * v2), g(w1 - h * v1, w2 - h * v2)
    for mode in ("reverse", "forward"):
        _, products = hvp(loss, (w1, w2), (v1, v2), mode=mode)
        for p, a, b in zip(products, ahead, behind, strict=True):
            np.testing.assert_allclose(p.numpy(), ((a - b) / (2 * h)).numpy(), 1e-5, 1e-8)


def test_bad_arguments_are_refused() -> None:
    x = _random(3)
    with pytest.raises(ValueError, match="`mode` is 'sideways'"):
        hvp(lambda x: x.sum(), (x,), (x,), mode="sideways")
    with pytest.raises(TypeError, match="must be tuples"):
        hvp(lambda x: x.sum(), x, x)
    with pytest.raises(TypeError, match="the function's result holds a int"):
        jacobian(lambda x: 3)(x)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # importing torch.func warns
def test_as_pytorch() -> None:
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    a = np.random.default_rng(0).standard_normal((2, 3))
    x, y = tg.tensor(a), torch.tensor(a)
    ours = [jacobian(lambda x: x.exp() * x.sum())(x), hessian(lambda x: (x**3).sum() * x.sum())(x)]
    theirs = [
        torch.func.jacrev(lambda x: x.exp() * x.sum())(y),
        torch.func.hessian(lambda x: (x**3).sum() * x.sum())(y),
    ]
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-12)
