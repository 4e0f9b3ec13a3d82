"""`autograd.functional` and ``grad(is_grads_batched=True)``: here and in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn.autograd import functional
from tinygrad_cnn.func.tree import flatten


def _inputs(T: Any, live: bool = False) -> Any:
    rng = np.random.default_rng(0)
    x, y = (T.tensor(rng.standard_normal(n), requires_grad=live) for n in (3, 2))
    return x, y


def _one(x: Any, y: Any) -> Any:
    return (x**3).sum() * y.sin().sum() + y[0]


def _several(x: Any, y: Any) -> Any:
    return x.outer(y).tanh(), y * x.sum()


def _structures(T: Any) -> Any:
    A, (x, y) = T.autograd.functional, _inputs(T)
    u = (x.outer(y), y)
    found = [
        A.jacobian(_several, (x, y)),
        A.jacobian(_several, (x, y), vectorize=True),
        A.jacobian(lambda x: x.sin() * x.sum(), x),
        A.jacobian(lambda x: (x * 2, x[0]), x),
        A.jacobian(lambda x, y: x * 2, (x, y)),
        A.hessian(_one, (x, y)),
        A.hessian(lambda x: (x**4).sum(), x),
        A.hessian(lambda x: (x * 2).sum()[None], x),
        A.vjp(_several, (x, y), u),
        A.vjp(_one, (x, y)),
        A.jvp(_several, (x, y), (x, y)),
        A.jvp(lambda x: (x * 2, x.exp()), x[0]),
        A.vhp(_one, (x, y), (x + 1, y)),
        A.hvp(_one, (x, y), (x + 1, y)),
        A.hvp(lambda x: x**3, x[:1]),
    ]
    assert not any(t.requires_grad for t in flatten(found)[0])
    return found


def _recorded(T: Any) -> Any:
    A, found = T.autograd.functional, []
    for call in (
        lambda x, y: A.jacobian(_several, (x, y), create_graph=True),
        lambda x, y: A.hessian(_one, (x, y), create_graph=True),
        lambda x, y: A.vjp(_one, (x, y), create_graph=True),
        lambda x, y: A.jvp(_several, (x, y), (x, y), create_graph=True),
        lambda x, y: A.vhp(_one, (x, y), (x, y), create_graph=True),
        lambda x, y: A.hvp(_one, (x, y), (x, y), create_graph=True),
    ):
        x, y = _inputs(T, live=True)
        leaves = flatten(call(x, y))[0]
        found += T.autograd.grad(sum((t.sin() * t).sum() for t in leaves), (x, y))
    return found


def _batched(T: Any) -> Any:
    x, y = _inputs(T, live=True)
    a, b = _several(x, y)
    rng = np.random.default_rng(1)
    us = [T.tensor(rng.standard_normal((4, *t.shape)), requires_grad=True) for t in (a, b)]
    first = T.autograd.grad((a, b), (x, y), us, create_graph=True, is_grads_batched=True)
    second = T.autograd.grad(sum((g**2).sum() for g in first), (x, *us), retain_graph=True)
    unused = T.autograd.grad(
        b, (y, _inputs(T, True)[0]), us[1], is_grads_batched=True, allow_unused=True
    )
    assert unused[1] is None
    return [*first, *second, unused[0]]


@pytest.mark.parametrize("program", [_structures, _recorded, _batched])
def test_programs_as_in_pytorch(program: Any) -> None:
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    (found, _), (expected, _) = flatten(program(tg)), flatten(program(torch))
    for a, b in zip(found, expected, strict=True):
        assert tuple(a.shape) == tuple(b.shape)
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), 1e-10, 1e-12)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("jacobian", lambda x: tg.ones(2)),
        ("jacobian", lambda x: (x * 2, tg.ones(2))),
        ("hessian", lambda x: (x * 2).sum()),
        ("vjp", lambda x: tg.tensor(1.0)),
        ("jvp", lambda x: tg.tensor(1.0)),
        ("vhp", lambda x: x.sum()),
        ("hvp", lambda x: x.sum()),
    ],
)
def test_strict_wants_a_path(name: str, function: Any) -> None:
    x, call = tg.ones(1), getattr(functional, name)
    flat = flatten(call(function, x))[0]
    assert any(t.abs().sum().item() == 0 for t in flat)
    with pytest.raises(RuntimeError, match="strict is True"):
        call(function, x, strict=True)


@pytest.mark.parametrize("create_graph", [False, True])
def test_strict_names_the_unused_input(create_graph: bool) -> None:
    inputs = tg.ones(2), tg.ones(2)
    with pytest.raises(RuntimeError, match="output 0 does not depend on input 1"):
        functional.jacobian(lambda x, y: x * 2, inputs, create_graph, strict=True)


def test_wrong_arguments_are_refused() -> None:
    x = tg.ones(2)
    with pytest.raises(TypeError, match="vjp: `inputs` holds a list"):
        functional.vjp(tg.sin, [x])
    with pytest.raises(TypeError, match="result holds a float"):
        functional.vjp(lambda x: 1.0, x)
    with pytest.raises(RuntimeError, match="`v` can only be left out"):
        functional.vjp(tg.sin, x)
    with pytest.raises(ValueError, match=r"`v` has shapes \[\(3,\)\]"):
        functional.jvp(tg.sin, x, tg.ones(3))
    with pytest.raises(RuntimeError, match="expected one of one number"):
        functional.hessian(tg.sin, x)
    with pytest.raises(ValueError, match="`strategy` is 'sideways'"):
        functional.jacobian(tg.sin, x, strategy="sideways")
    y = tg.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match="`is_grads_batched` is True"):
        tg.autograd.grad(y * 2, y, tg.ones(0, 2), is_grads_batched=True)
    assert functional.jacobian(lambda x: x[:0], x).shape == (0, 2)
