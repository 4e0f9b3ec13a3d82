"""`array_vjp`, on arrays, stands for the rules of the arguments while nothing is recorded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cnn as tg
from tinygrad_cnn.autograd import REGISTRY, Op
from tinygrad_cnn.autograd.backward import grad
from tinygrad_cnn.testing import HypothesisDraw

JOINT = sorted(name for name, op in REGISTRY.items() if op.array_vjp is not op.fused)


def product_op(calls: list[Any]) -> Op:
    def product(a: Any, b: Any) -> Any:
        """Product."""
        return a * b

    def array_vjp(g: Any, a: Any, b: Any, needs: Any) -> tuple[Any, ...]:
        calls.append((a, b, needs))
        return (g * b if needs[0] else None, g * a if needs[1] else None)

    return Op(product, (lambda g, b: g * b, lambda g, a: g * a), array_vjp=array_vjp)


def test_a_joint_rule_gets_what_the_wanted_gradients_depend_on() -> None:
    calls: list[Any] = []
    product = product_op(calls)
    a, b = (tg.tensor([x], requires_grad=True) for x in (2.0, 3.0))
    product(a, b).sum().backward()
    assert (a.grad.item(), b.grad.item()) == (3, 2)
    (only_a,) = grad(product(a, b).sum(), a)
    assert only_a.item() == 3
    product(a, 5.0).sum().backward()
    assert calls[0][2] == (True, True)
    assert calls[1][0] is None  # no gradient in b, which a is kept for
    assert calls[1][2] == (True, False)
    assert calls[2][0] is None


def test_a_recorded_walk_uses_the_rules_that_can_be_differentiated() -> None:
    calls: list[Any] = []
    a, b = (tg.tensor([x], requires_grad=True) for x in (2.0, 3.0))
    (first,) = grad((product_op(calls)(a, b) * a).sum(), a, create_graph=True)
    assert not calls
    (second,) = grad(first.sum(), a)
    assert (first.item(), second.item()) == (12, 6)


def test_an_argument_changed_in_place_counts_where_it_is_needed_only() -> None:
    a, b = (tg.tensor([x], requires_grad=True) for x in (2.0, 3.0))
    held = a * 1.0
    y = product_op([])(held, b).sum()
    held.add_(1.0)
    (ga,) = grad(y, a, retain_graph=True)
    assert ga.item() == 3
    with pytest.raises(RuntimeError, match="product"):
        grad(y, b)


@pytest.mark.parametrize("name", JOINT)
@given(data=st.data())
def test_joint_rules_agree_with_the_others(name: str, data: st.DataObject) -> None:
    op = REGISTRY[name]
    sample = op.samples(HypothesisDraw(data))
    args = [tg.from_numpy(a.copy()) if isinstance(a, np.ndarray) else a for a in sample.args]
    leaves = [
        a.requires_grad_() for a in args if isinstance(a, tg.Tensor) and a.is_floating_point()
    ]
    y = op(*args, **sample.params)
    u = tg.from_numpy(np.cos(np.arange(y.array.size)).reshape(y.shape))
    recorded = grad(y, leaves, u, create_graph=True)
    quick = grad(y, leaves, u)
    for a, b in zip(quick, recorded, strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-12, atol=1e-12)
