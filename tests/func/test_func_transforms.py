"""`grad`, `value_and_grad`, `vjp`, `jvp`: against formulas, each other, and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from tinygrad_cnn.func import grad, jvp, value_and_grad, vjp


def _random(*shape: int, seed: int = 0) -> tg.Tensor:
    return tg.from_numpy(np.asarray(np.random.default_rng(seed).standard_normal(shape)))


def _close(a: Any, b: Any, rtol: float = 1e-10) -> None:
    np.testing.assert_allclose(np.asarray(a.detach()), np.asarray(b.detach()), rtol, 1e-11)


def test_grad_of_a_formula() -> None:
    x = _random(3, 4)
    g = grad(lambda x: (x.sin() * x).sum())(x)
    _close(g, x.cos() * x + x.sin())
    assert not g.requires_grad
    assert not x.requires_grad
    assert x.grad is None


def test_grad_of_grad_of_grad() -> None:
    x = tg.tensor(1.3, dtype=tg.float64)
    f = tg.sin
    for expected in (np.cos(1.3), -np.sin(1.3), -np.cos(1.3), np.sin(1.3)):
        f = grad(f)
        assert f(x).item() == pytest.approx(expected, abs=1e-12)
        assert not f(x).requires_grad


def test_inner_and_outer_variables_are_not_confused() -> None:
    x = tg.tensor(2.0, dtype=tg.float64)
    # d/dx x * (d/dy (x + y)) = 1, not 2
    assert grad(lambda x: x * grad(lambda y: x + y)(tg.tensor(1.0)))(x).item() == 1.0
    # d/dx x * d/dy (x * y²) at y = x is d/dx x * 2 x² = 6 x²
    assert grad(lambda x: x * grad(lambda y: x * y * y)(x))(x).item() == 24.0


def test_argnums() -> None:
    a, b = _random(3), _random(3, seed=1)
    f = lambda a, b: (a * b * b).sum()
    _close(grad(f)(a, b), b * b)
    _close(grad(f, argnums=1)(a, b), 2 * a * b)
    _close(grad(f, argnums=-1)(a, b), 2 * a * b)
    ga, gb = grad(f, argnums=(0, 1))(a, b)
    _close(ga, b * b)
    _close(gb, 2 * a * b)
    (only,) = grad(f, argnums=(1,))(a, b)
    _close(only, 2 * a * b)


def test_the_same_tensor_twice_gives_two_gradients() -> None:
    x = _random(3)
    ga, gb = grad(lambda a, b: (a * a * b).sum(), argnums=(0, 1))(x, x)
    _close(ga, 2 * x * x)
    _close(gb, x * x)


def test_nested_arguments_keep_their_structure() -> None:
    tree = {"w": _random(2, 3), "rest": [_random(2, seed=1), (_random(1, seed=2),)]}
    f = lambda p, x: ((p["w"] @ x + p["rest"][0]) ** 2).sum() * p["rest"][1][0].sum()
    x = _random(3, seed=3)
    found = grad(f)(tree, x)
    assert list(found) == ["w", "rest"]
    assert isinstance(found["rest"], list)
    assert isinstance(found["rest"][1], tuple)
    y = tree["w"] @ x + tree["rest"][0]
    _close(found["rest"][1][0], (y**2).sum().reshape(1))
    _close(found["rest"][0], 2 * y * tree["rest"][1][0])


def test_aux_comes_along() -> None:
    x = _random(4)
    g, aux = grad(lambda x: ((x * x).sum(), {"twice": 2 * x}), has_aux=True)(x)
    _close(g, 2 * x)
    _close(aux["twice"], 2 * x)
    assert not aux["twice"].requires_grad
    (value, aux), g = value_and_grad(lambda x: ((x * x).sum(), 7), has_aux=True)(x)
    assert aux == 7
    _close(value, (x * x).sum())
    _close(g, 2 * x)
    with pytest.raises(TypeError, match="has_aux"):
        grad(lambda x: x.sum(), has_aux=True)(x)


def test_keyword_arguments_are_passed_on() -> None:
    x = _random(4)
    _close(grad(lambda x, *, power: (x**power).sum())(x, power=3), 3 * x * x)


def test_what_the_function_closes_over_can_still_be_differentiated() -> None:
    w = tg.tensor(3.0, dtype=tg.float64, requires_grad=True)
    g = grad(lambda x: w * x * x)(tg.tensor(2.0, dtype=tg.float64))
    assert g.requires_grad
    g.backward()
    assert w.grad.item() == 4.0
    with tg.no_grad():
        assert not grad(lambda x: w * x * x)(tg.tensor(2.0, dtype=tg.float64)).requires_grad
        assert grad(grad(lambda x: x**3))(tg.tensor(2.0)).item() == 12.0


def test_a_live_argument_stays_connected() -> None:
    x = tg.tensor(2.0, dtype=tg.float64, requires_grad=True)
    value, g = value_and_grad(lambda x: x**3)(x)
    (value + g).backward()
    assert x.grad.item() == 24.0  # 3 x² + 6 x


def test_an_unused_argument_has_a_gradient_of_zeros() -> None:
    a, b = _random(2), _random(3)
    assert grad(lambda a, b: a.sum(), argnums=1)(a, b).tolist() == [0, 0, 0]
    assert grad(lambda a: tg.tensor(1.0, dtype=tg.float64))(a).tolist() == [0, 0]


def test_vjp_many_times_and_for_several_outputs() -> None:
    a, b = _random(2, 3), _random(3, seed=1)
    y, pull = vjp(lambda a, b: {"p": a * b, "s": [a.sum()]}, a, b)
    _close(y["p"], a * b)
    assert not y["p"].requires_grad
    for seed in (5, 6):
        u = {"p": _random(2, 3, seed=seed), "s": [_random(seed=seed + 9)]}
        ga, gb = pull(u)
        _close(ga, u["p"] * b + u["s"][0])
        _close(gb, (u["p"] * a).sum(0))
        assert not ga.requires_grad
    _, pull, aux = vjp(lambda a: (a.exp(), "more"), a, has_aux=True)
    assert aux == "more"
    _close(pull(a), a.exp() * a)


def test_jvp_is_the_slope_along_the_tangents() -> None:
    a, b = _random(2, 3), _random(3, seed=1)
    va, vb = _random(2, 3, seed=2), _random(3, seed=3)
    f = lambda a, b: (a * b).tanh() + a.sum()
    y, slope = jvp(f, (a, b), (va, vb))
    _close(y, f(a, b))
    h = 1e-6
    numeric = (f(a + h * va, b + h * vb) - f(a - h * va, b - h * vb)) / (2 * h)
    _close(slope, numeric, 1e-7)
    assert not slope.requires_grad


def test_jvp_and_vjp_are_adjoint() -> None:
    x, w = _random(2, 3, 7, 7), _random(4, 3, 3, 3, seed=1)
    vx, vw, u = (
        _random(2, 3, 7, 7, seed=2),
        _random(4, 3, 3, 3, seed=3),
        _random(2, 4, 3, 3, seed=4),
    )

    def f(x: tg.Tensor, w: tg.Tensor) -> tg.Tensor:
        return F.max_pool2d(F.silu(F.conv2d(x, w, padding=1)), 3, 2)

    _, slope = jvp(f, (x, w), (vx, vw))
    _, pull = vjp(f, x, w)
    gx, gw = pull(u)
    left, right = (slope * u).sum().item(), ((gx * vx).sum() + (gw * vw).sum()).item()
    assert left == pytest.approx(right, rel=1e-12)


def test_jvp_where_the_result_does_not_depend_on_the_input() -> None:
    x = _random(3)
    y, slope = jvp(lambda x: x.detach() * 2, (x,), (x,))
    _close(y, 2 * x)
    assert slope.tolist() == [0, 0, 0]


def test_jvp_composes_with_grad_and_with_itself() -> None:
    x, v = tg.tensor(1.3, dtype=tg.float64), tg.tensor(1.0, dtype=tg.float64)
    along = lambda f: lambda x: jvp(f, (x,), (v,))[1]
    for second in (along(along(tg.sin)), along(grad(tg.sin)), grad(along(tg.sin))):
        assert second(x).item() == pytest.approx(-np.sin(1.3), abs=1e-12)


def test_bad_arguments_are_refused() -> None:
    x = _random(3)
    with pytest.raises(RuntimeError, match=r"must return a tensor of one number, got \(3,\)"):
        grad(lambda x: x * 2)(x)
    with pytest.raises(TypeError, match="the function's result holds a float"):
        grad(lambda x: 2.0)(x)
    with pytest.raises(ValueError, match="`argnums` is 1 but there are 1 arguments"):
        grad(lambda x: x.sum(), argnums=1)(x)
    with pytest.raises(ValueError, match="names an argument twice"):
        grad(lambda a, b: a.sum(), argnums=(0, -2))(x, x)
    with pytest.raises(TypeError, match="dtype int64, expected a floating one"):
        grad(lambda x: x.sum())(tg.tensor([1, 2]))
    with pytest.raises(TypeError, match="holds a float, expected tensors"):
        grad(lambda x: x)(2.0)
    with pytest.raises(
        ValueError, match=r"the cotangent has shapes \[\(2,\)\], expected \[\(3,\)\]"
    ):
        vjp(lambda x: x * 2, x)[1](_random(2))
    with pytest.raises(ValueError, match="`primals` is empty"):
        vjp(lambda: x)
    with pytest.raises(TypeError, match="must be tuples"):
        jvp(lambda x: x, x, x)
    with pytest.raises(ValueError, match="`tangents` has shapes"):
        jvp(lambda x: x, (x,), (_random(2),))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # importing torch.func warns
def test_as_pytorch() -> None:
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    a, b = np.random.default_rng(0).standard_normal((2, 3, 4))

    def run(library: Any, transforms: Any) -> list[Any]:
        x, y = (library.tensor(v) for v in (a, b))
        f = lambda x, y: (x * y).exp().sum() * x.sin().mean()
        out = [
            transforms.grad(f)(x, y),
            *transforms.grad(f, argnums=(0, 1))(x, y),
            *transforms.jvp(f, (x, y), (y, x)),
            transforms.vjp(f, x, y)[0],
            *transforms.vjp(f, x, y)[1](library.tensor(0.7, dtype=library.float64)),
            transforms.grad(lambda x: transforms.grad(f)(x, y).sum())(x),
        ]
        return [np.asarray(t) for t in out]

    for ours, theirs in zip(run(tg, tg.func), run(torch, torch.func), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
