"""`vmap`, `jacrev`, `jacfwd`, `linearize`, modules as functions: programs, here and in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.func import functional_call, grad, jacfwd, stack_module_state, vmap
from tinygrad_cnn.func.tree import flatten


def _random(T: Any, *shape: int, seed: int = 0) -> Any:
    return T.tensor(np.random.default_rng(seed).standard_normal(shape))


def _dims(T: Any) -> Any:
    a, b = _random(T, 4, 3), _random(T, 3, 5, 4, seed=1)
    f = lambda a, b: (a[:, None] * b).sin()
    one = T.func.vmap(f, in_dims=(0, 2))(a, b)
    two = T.func.vmap(f, in_dims=(-2, -1), out_dims=-1)(a, b)
    three = T.func.vmap(lambda a, s: a * s, in_dims=(1, None), out_dims=1, chunk_size=2)(a, 2.0)
    return [one, two, three]


def _trees(T: Any) -> Any:
    tree = {"w": _random(T, 4, 3), "b": (_random(T, 2, 4, seed=1), [_random(T, 3, seed=2)])}
    f = lambda p, x, scale: {"y": (p["w"] * x, [p["b"][0].sum() + p["b"][1][0]]), "z": scale * x}
    dims = ({"w": 0, "b": (1, None)}, None)
    mapped = T.func.vmap(f, in_dims=dims, out_dims={"y": (1, 0), "z": 0})
    return mapped(tree, _random(T, 3, seed=3), scale=_random(T, 3, seed=4))


def _nested(T: Any) -> Any:
    x, y = _random(T, 3), _random(T, 4, seed=1)
    outer = T.func.vmap(T.func.vmap(T.mul, in_dims=(None, 0)), in_dims=(0, None))
    return outer(x, y)


def _per_sample_gradients(T: Any) -> Any:
    w, x = _random(T, 3), _random(T, 5, 3, seed=1)
    f = lambda w, x: (w @ x).tanh()
    each = T.func.vmap(T.func.grad(f), in_dims=(None, 0))(w, x)
    whole = T.func.grad(lambda w: (T.func.vmap(f, in_dims=(None, 0))(w, x) ** 2).sum())(w)
    matrix = T.func.vmap(T.func.jacrev(lambda x: x.sin() * x.sum()))(x)
    second = T.func.vmap(T.func.hessian(lambda x: (x**3).sum()))(x)
    return [each, whole, matrix, second]


def _through_a_leaf(T: Any) -> Any:
    w = _random(T, 4, 3).requires_grad_()
    y = T.func.vmap(lambda w: {"a": w.exp().sum()}, in_dims=1)(w)["a"]
    (g,) = T.autograd.grad((y**2).sum(), w, create_graph=True)
    return [y, g, *T.autograd.grad(g.sin().sum(), w)]


def _matrices(T: Any) -> Any:
    f = lambda x, y: {"a": x.sin().sum() * y, "b": (x.outer(y), [y.sum()])}
    x, y = _random(T, 3), _random(T, 2, seed=1)
    found = [
        transform(f, argnums=numbers)(x, y)
        for transform in (T.func.jacrev, T.func.jacfwd)
        for numbers in (0, 1, (0, 1))
    ]
    with_aux = T.func.jacfwd(lambda x: (x * x, {"aux": x + 1}), has_aux=True)(x)
    g = lambda x: (x**3).sum() * x[0]
    second = [T.func.jacfwd(T.func.jacrev(g))(x), T.func.jacrev(T.func.jacfwd(g))(x)]
    third = T.func.jacfwd(T.func.hessian(g))(x)
    return [found, with_aux, second, third, T.func.hessian(g)(x)]


def _lines(T: Any) -> Any:
    x, y = _random(T, 3), _random(T, 3, seed=1)
    value, push = T.func.linearize(lambda x, y: {"a": x * y.exp(), "b": x.sum()}, x, y)
    one, two = push(y, x), push(x, x * 0)
    both = T.func.grad_and_value(lambda x: ((x**2).sum(), x + 1), has_aux=True)(x)
    return [value, one, two, both, T.func.grad_and_value(lambda x, y: (x * y).sum(), 1)(x, y)]


PROGRAMS = [
    _dims, _trees, _nested, _per_sample_gradients, _through_a_leaf, _matrices, _lines
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning")
@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_as_in_pytorch(program: Any) -> None:
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    (found, _), (expected, _) = flatten(program(tg)), flatten(program(torch))
    for a, b in zip(found, expected, strict=True):
        assert tuple(a.shape) == tuple(b.shape)
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), 1e-10, 1e-12)


def test_jacfwd_is_recorded_by_what_is_around_it() -> None:
    x = tg.tensor([1.0, 2.0], dtype=tg.float64, requires_grad=True)
    jacfwd(lambda x: x**3)(x).sum().backward()
    np.testing.assert_allclose(np.asarray(x.grad), [6.0, 12.0])
    assert jacfwd(lambda x: x[:0] * 2)(tg.ones(2)).shape == (0, 2)
    assert jacfwd(lambda x: x.sum() * tg.ones(2))(tg.ones(0)).shape == (2, 0)


def test_random_numbers_in_vmap() -> None:
    x = tg.zeros(3, 2)
    noisy = lambda x: x + tg.rand(2)
    with pytest.raises(RuntimeError, match="randomness='different'"):
        vmap(noisy)(x)
    tg.manual_seed(0)
    same, after = vmap(noisy, randomness="same")(x), tg.rand(1)
    tg.manual_seed(0)
    first = tg.rand(2)
    assert tg.equal(same, first.expand(3, 2))
    assert tg.equal(after, tg.rand(1))
    tg.manual_seed(0)
    different = vmap(noisy, randomness="different")(x)
    assert tg.equal(different[0], first)
    assert not tg.equal(different[0], different[1])


def test_no_samples_and_numbers() -> None:
    f = lambda x: {"a": x.sum(), "b": x * 2}
    found = vmap(f, in_dims=1, out_dims={"a": 0, "b": 1})(tg.ones(3, 0))
    assert found["a"].shape == (0,)
    assert found["b"].shape == (3, 0)
    assert vmap(lambda x: float(x) if x > 0 else 0.0)(tg.tensor([1.0, -1.0])).tolist() == [1.0, 0.0]
    same = vmap(lambda x, c: (x + c, c), (0, None), (0, None))(tg.ones(2), tg.ones(3))
    assert same[1].shape == (3,)


def test_a_sample_is_a_view() -> None:
    x = tg.zeros(2, 3)
    vmap(lambda row: row.add_(1), in_dims=1)(x)
    assert x.sum().item() == 6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: vmap(tg.sin, in_dims=None)(x), "names no dimension"),
        (lambda x: vmap(tg.add)(x, tg.ones(3)), r"sizes \[2, 3\]"),
        (lambda x: vmap(tg.add, in_dims=(0,))(x, x), "`in_dims` is .* structure"),
        (lambda x: vmap(tg.sin, in_dims=2)(x), "`dim` is 2"),
        (lambda x: vmap(tg.mul)(x, 2.0), "`in_dims` has 0 for a float"),
        (lambda x: vmap(tg.sin)(tg.tensor(1.0)), "tensor of one number"),
        (lambda x: vmap(tg.sin, out_dims=(0, 0))(x), "`out_dims` is .* structure"),
        (lambda x: vmap(tg.sin, out_dims=None)(tg.arange(2.0)), "differs by sample"),
        (lambda x: vmap(lambda x: "a")(x), "returned a str"),
        (lambda x: vmap(tg.sin, randomness="some"), "`randomness` is 'some'"),
        (lambda x: vmap(tg.sin, chunk_size=0), "`chunk_size` is 0"),
    ],
)
def test_wrong_calls_are_refused(call: Any, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        call(tg.ones(2, 4))


def _model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1)).double()


def test_an_ensemble_is_as_its_models() -> None:
    models = [_model().eval() for _ in range(3)]
    params, buffers = stack_module_state(models)
    assert all(p.is_leaf and p.requires_grad for p in params.values())
    assert params["0.weight"].shape == (3, 4, 3)
    assert not buffers["1.running_mean"].requires_grad
    x = _random(tg, 5, 3)
    call = lambda p, b, x: functional_call(models[0], (p, b), (x,), strict=True)
    found = vmap(call, in_dims=(0, 0, None))(params, buffers, x)
    expected = tg.stack([m(x) for m in models])
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), 1e-12)
    found.sum().backward()
    expected.sum().backward()
    g = params["3.weight"].grad
    assert g is not None
    for i, m in enumerate(models):
        np.testing.assert_allclose(np.asarray(g[i]), np.asarray(m[3].weight.grad), 1e-12)


def test_gradients_of_each_sample_of_a_module() -> None:
    model, x = _model().eval(), _random(tg, 5, 3)
    params = {name: p.detach() for name, p in model.named_parameters()}
    loss = lambda p, x: functional_call(model, p, x[None]).sum()
    each = vmap(grad(loss), in_dims=(None, 0))(params, x)
    model(x).sum().backward()
    for name, p in model.named_parameters():
        np.testing.assert_allclose(np.asarray(each[name].sum(0)), np.asarray(p.grad), 1e-10, 1e-12)


def test_wrong_states_are_refused() -> None:
    linear = nn.Linear(2, 1)
    with pytest.raises(ValueError, match="given by two dictionaries"):
        functional_call(linear, ({"bias": tg.ones(1)}, {"bias": tg.ones(1)}), tg.ones(2))
    with pytest.raises(ValueError, match="missing"):
        functional_call(linear, ({"bias": tg.ones(1)},), tg.ones(2), strict=True)
    with pytest.raises(ValueError, match="empty"):
        stack_module_state([])
    with pytest.raises(ValueError, match="expected one class in one mode"):
        stack_module_state([linear, nn.Linear(2, 1).eval()])
    frozen = nn.Linear(2, 1)
    frozen.weight.requires_grad = False
    with pytest.raises(ValueError, match="`weight` requires gradients in some"):
        stack_module_state([linear, frozen])
