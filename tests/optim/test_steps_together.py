"""One kernel for all parameters gives what one formula for each does."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import kernels, optim

pytest.importorskip("llvmlite", reason="Numba is not installed: pip install numba")

SHAPES = [(), (1,), (17,), (64, 3, 5, 5), (70001,), (0, 3), (15,), (256, 33)]
CASES = [
    (optim.SGD, {"lr": 0.1}),
    (optim.SGD, {"lr": 0.1, "weight_decay": 0.1, "maximize": True}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    (optim.Adam, {"lr": 0.01}),
    (optim.Adam, {"lr": 0.01, "weight_decay": 0.1, "maximize": True, "betas": (0.8, 0.9)}),
    (optim.AdamW, {"lr": 0.01, "weight_decay": 0.1, "eps": 1e-4}),
    (optim.AdamW, {"lr": 0.01, "weight_decay": 0.1, "amsgrad": True}),
]


@pytest.fixture(autouse=True)
def _compiled():
    former = tg.set_kernels("jit")
    yield
    tg.set_kernels(former)


def parameters(dtype=np.float32):
    rng = np.random.default_rng(0)
    return [tg.tensor(rng.normal(size=s).astype(dtype), requires_grad=True) for s in SHAPES]


def train(optimizer, params, steps=4):
    rng = np.random.default_rng(1)
    for _ in range(steps):
        for p in params:
            p.grad = tg.tensor(rng.normal(size=p.shape).astype(p.dtype))
        optimizer.step()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_all_at_once(kind, options, threads, monkeypatch):
    before = tg.get_num_threads()
    tg.set_num_threads(threads)
    monkeypatch.setattr(kernels.table, "_give_up", None)
    done = []
    step = kernels.step
    monkeypatch.setattr(kernels, "step", lambda *a, **k: done.append(step(*a, **k)) or done[-1])
    try:
        ours, exact = parameters(), parameters(np.float64)
        a, b = kind(ours, **options), kind(exact, **options)
        train(a, ours)
        tg.set_kernels("reference")
        train(b, exact)
    finally:
        tg.set_num_threads(before)
    assert done.count(True) >= 3
    for x, y in zip(ours, exact, strict=True):
        np.testing.assert_allclose(x.detach().numpy(), y.detach().numpy(), rtol=2e-5, atol=2e-6)
        for name, value in a.state[x].items():
            np.testing.assert_allclose(
                value.numpy(), b.state[y][name].numpy(), rtol=2e-5, atol=2e-6
            )


def test_the_largest_average_stays_nan():
    x = tg.ones(20, requires_grad=True)
    adam = optim.Adam([x], lr=0.1, amsgrad=True)
    for gradient in (1.0, np.nan, 3.0):
        x.grad = tg.full((20,), 1.0)
        x.grad[3] = gradient
        adam.step()
    state = adam.state[x]
    assert list(state) == ["step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"]
    assert [k for k in range(20) if math.isnan(state["max_exp_avg_sq"][k].item())] == [3]
    assert state["step"].item() == 3


def test_every_change_is_noticed():
    (x,) = params = [tg.ones(3, requires_grad=True)]
    optimizer = optim.SGD(params, lr=0.1, momentum=0.9)
    train(optimizer, params, 1)
    y = (x * x).sum()
    train(optimizer, params, 1)
    with pytest.raises(RuntimeError, match=r"SGD.step changed it in place"):
        y.backward()


def test_parameters_that_do_not_fit_are_stepped_one_by_one():
    whole = tg.ones(4, requires_grad=True)
    turned = tg.from_numpy(np.ones((3, 4), np.float32).T).requires_grad_()
    double = tg.ones(2, dtype=tg.float64, requires_grad=True)
    params = [whole, turned, double]
    optimizer = optim.SGD(params, lr=0.5)
    for p in params:
        p.grad = tg.ones(*p.shape, dtype=p.dtype)
    optimizer.step()
    assert all((p.detach() == 0.5).all() for p in params)


def test_a_formula_of_ones_own_is_used():
    class Signs(optim.SGD):
        def update(self, param, grad, state, group):
            param.array -= group["lr"] * np.sign(grad)

    x = tg.zeros(2, requires_grad=True)
    optimizer = Signs([x], lr=0.5)
    x.grad = tg.tensor([3.0, -7.0])
    optimizer.step()
    assert x.tolist() == [-0.5, 0.5]
