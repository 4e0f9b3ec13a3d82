"""Every operation in the registry, by properties that all of them must have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cnn as tg
from tinygrad_cnn.autograd import REGISTRY, Op
from tinygrad_cnn.autograd.walk import grad
from tinygrad_cnn.testing import GradientError, HypothesisDraw, check_gradients

OPS = sorted(REGISTRY)


def _split(args: tuple[Any, ...]) -> list[int]:
    """The positions of the arguments that can have gradients."""
    return [i for i, a in enumerate(args) if isinstance(a, np.ndarray) and a.dtype.kind == "f"]


def _differentiable(op: Op, args: tuple[Any, ...]) -> list[int]:
    if op.fused is not None or op.variadic:
        return _split(args)
    return [i for i in _split(args) if op.rules[i] is not None]


@pytest.mark.parametrize("name", OPS)
def test_has_samples_and_docstring(name: str) -> None:
    op = REGISTRY[name]
    assert op.samples is not None, "an operation without samples cannot be tested"
    assert op.__doc__


@pytest.mark.parametrize("name", OPS)
@given(data=st.data())
def test_gradients_to_second_order(name: str, data: st.DataObject) -> None:
    op = REGISTRY[name]
    sample = op.samples(HypothesisDraw(data))
    where = _differentiable(op, sample.args)

    def function(*ts: tg.Tensor) -> tg.Tensor:
        args = list(sample.args)
        for i, t in zip(where, ts, strict=True):
            args[i] = t
        return op(*args, **sample.params)

    check_gradients(function, *[sample.args[i] for i in where], order=2, name=name)


@pytest.mark.parametrize("name", OPS)
@given(data=st.data())
def test_float32_stays_float32_and_nothing_is_mutated(name: str, data: st.DataObject) -> None:
    op = REGISTRY[name]
    sample = op.samples(HypothesisDraw(data))
    params = dict(sample.params)
    if "dtype" in params:
        params["dtype"] = np.dtype(np.float32)
    args = []
    for a in sample.args:
        if isinstance(a, np.ndarray):
            a = np.array(a, np.float32 if a.dtype.kind == "f" else a.dtype)
            a.flags.writeable = False
        args.append(a)
    copies = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    where = _differentiable(op, tuple(args))
    leaves = {i: tg.from_numpy(args[i]).requires_grad_() for i in where}
    y = op(*[leaves.get(i, a) for i, a in enumerate(args)], **params)
    assert y.dtype == np.float32
    u = np.full(y.shape, 0.5, np.float32)
    u.flags.writeable = False
    grads = grad(y, list(leaves.values()), tg.from_numpy(u), allow_unused=True)
    memory = [y.array, u, *args]
    for i, g in zip(where, grads, strict=True):
        if g is None:
            continue
        assert g.dtype == np.float32
        assert g.shape == args[i].shape
        for other in memory:
            if isinstance(other, np.ndarray):
                assert not np.shares_memory(g.array, other), "a gradient aliases other memory"
        memory.append(g.array)
    for a, b in zip(args, copies, strict=True):
        assert np.array_equal(a, b, equal_nan=True) if isinstance(a, np.ndarray) else a is b


@pytest.mark.parametrize("name", OPS)
@given(data=st.data())
def test_any_layout_gives_the_same(name: str, data: st.DataObject) -> None:
    op = REGISTRY[name]
    draw = HypothesisDraw(data)
    sample = op.samples(draw)
    where = _differentiable(op, sample.args)

    def run(layout: str) -> list[np.ndarray]:
        args = list(sample.args)
        for i in where:
            args[i] = tg.from_numpy(_laid_out(args[i], layout)).requires_grad_()
        leaves = [args[i] for i in where]
        y = op(*args, **sample.params)
        u = np.asarray(np.random.default_rng(0).standard_normal(y.shape))
        grads = grad(y, leaves, tg.from_numpy(_laid_out(u, layout)), materialize_grads=True)
        return [y.array, *[g.array for g in grads]]

    plain = run("C")
    other = run(draw.choice(("F", "negative", "sliced", "broadcast")))
    for a, b in zip(plain, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def _laid_out(a: np.ndarray, layout: str) -> np.ndarray:
    """The same values in another memory layout."""
    if layout == "F":
        return np.asarray(a, order="F")
    if layout == "negative" and a.ndim:
        return np.flip(np.flip(a).copy())
    if layout == "sliced":
        wide = np.zeros([*(2 * n for n in a.shape), 2], a.dtype)
        wide[(*(slice(None, None, 2) for _ in a.shape), 0)] = a
        return wide[(*(slice(None, None, 2) for _ in a.shape), ..., 0)]
    if layout == "broadcast" and a.ndim:  # a read-only view that owns nothing
        return np.broadcast_to(a[None], (2, *a.shape))[1]
    return np.array(a)


def _error_samples() -> list[Any]:
    return [
        pytest.param(name, e, id=f"{name}-{i}")
        for name in OPS
        for i, e in enumerate(REGISTRY[name].errors)
    ]


@pytest.mark.parametrize(("name", "error"), _error_samples())
def test_bad_arguments_are_refused(name: str, error: Any) -> None:
    with pytest.raises(error.error, match=error.match):
        REGISTRY[name](*error.args, **error.params)


def test_the_check_finds_a_wrong_rule() -> None:
    def cube(x: np.ndarray) -> np.ndarray:
        """Elementwise cube."""
        return x**3

    for wrong in (lambda g, x: g * 2 * x**2, lambda g, x: g * 3 * x**2 + 1e-4, lambda g: g * 3):
        with pytest.raises(GradientError):
            check_gradients(Op(cube, wrong), np.array([0.5, -1.2, 2.0]))
    check_gradients(Op(cube, lambda g, x: g * 3 * x**2), np.array([0.5, -1.2, 2.0]))


def test_the_check_finds_a_wrong_second_derivative() -> None:
    def cube(x: np.ndarray) -> np.ndarray:
        """Elementwise cube."""
        return x**3

    blind = Op(cube, lambda g, x: g * 3 * (x**2).detach())
    check_gradients(blind, np.array([0.5, -1.2]), order=1)
    with pytest.raises(GradientError, match="order 2"):
        check_gradients(blind, np.array([0.5, -1.2]), order=2)
