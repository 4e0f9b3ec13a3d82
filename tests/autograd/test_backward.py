"""backward() and grad(): what they collect, free, refuse."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_cnn as tg


def leaf(*values: float) -> tg.Tensor:
    return tg.tensor(list(values), dtype=tg.float64, requires_grad=True)


def test_gradients_accumulate_on_leaves_only() -> None:
    x = leaf(1.0, 2.0)
    y = x * 3
    (y * y).sum().backward()
    assert x.grad.tolist() == [18.0, 36.0]
    with pytest.warns(UserWarning, match="is the result of mul"):
        assert y.grad is None
    (x * 1.0).sum().backward()
    assert x.grad.tolist() == [19.0, 37.0]


def test_a_shared_subgraph_is_walked_once() -> None:
    runs = []

    class Count(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            runs.append(1)
            return g * 2

    x = leaf(1.0)
    h = Count.apply(x)
    (h * h + h.exp() + h).sum().backward()
    assert runs == [1]
    assert x.grad.item() == pytest.approx(2 * (2 * 2 + np.exp(2) + 1))


def test_second_walk_needs_retain_graph() -> None:
    x = leaf(1.0)
    y = x.exp().sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == pytest.approx(2 * np.e)
    with pytest.raises(RuntimeError, match=r"exp: the graph was already walked.*retain_graph=True"):
        y.backward()


def test_what_saves_nothing_can_be_walked_again() -> None:
    x = leaf(1.0)
    y = (x + 1).sum()
    y.backward()
    y.backward()
    assert x.grad.item() == 2.0


def test_missing_and_wrong_gradients_are_refused() -> None:
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"has shape \(2,\); its gradient can only be left out"):
        (x * 2).backward()
    with pytest.raises(RuntimeError, match=r"gradient 0 has shape \(3,\)"):
        (x * 2).backward(tg.ones(3))
    with pytest.raises(RuntimeError, match="does not require gradients"):
        tg.ones(()).backward()
    with pytest.raises(TypeError, match="expected a Tensor"):
        tg.autograd.backward([x * 2], [np.ones(2)])


def test_grad_touches_no_grad_and_runs_only_what_is_needed() -> None:
    x, w = leaf(1.0), leaf(2.0)
    ran = []
    h = w * 3
    h.register_hook(lambda g: ran.append(1))
    y = (x * h).sum()
    (gx,) = tg.autograd.grad(y, x, retain_graph=True)
    assert gx.item() == 6.0
    assert x.grad is None
    assert w.grad is None
    assert ran == []
    (gh,) = tg.autograd.grad(y, h)
    assert gh.item() == 1.0
    assert ran == [1]


def test_grad_of_an_unused_input() -> None:
    x, other = leaf(1.0), leaf(1.0)
    y = (x * 2).sum()
    with pytest.raises(RuntimeError, match=r"inputs\[1\].*allow_unused"):
        tg.autograd.grad(y, [x, other], retain_graph=True)
    gx, unused = tg.autograd.grad(y, [x, other], allow_unused=True)
    assert gx.item() == 2.0
    assert unused is None
    (zero,) = tg.autograd.grad((x * 2).sum(), [other], materialize_grads=True)
    assert zero.tolist() == [0.0]
    with pytest.raises(RuntimeError, match=r"inputs\[0\].*does not require"):
        tg.autograd.grad(y, tg.ones(2))


def test_backward_into_chosen_inputs() -> None:
    x, w = leaf(1.0), leaf(2.0)
    h = x * w
    (h * h).sum().backward(inputs=[w, h])
    assert x.grad is None
    assert w.grad.item() == 4.0
    assert h.grad.item() == 4.0


def test_several_outputs_and_repeated_ones() -> None:
    x = leaf(1.0, 2.0)
    y = x * 2
    tg.autograd.backward([y, y], [tg.ones(2), tg.ones(2) * 10])
    assert x.grad.tolist() == [22.0, 22.0]


def test_higher_orders() -> None:
    x = leaf(2.0)
    y = x**5
    for factor in (5, 20, 60, 120):
        (y,) = tg.autograd.grad(y, x, tg.ones(1, dtype=tg.float64), create_graph=True)
        n = {5: 4, 20: 3, 60: 2, 120: 1}[factor]
        assert y.item() == pytest.approx(factor * 2.0**n)


def test_create_graph_in_backward() -> None:
    x = leaf(3.0)
    (x**3).sum().backward(create_graph=True)
    first = x.grad
    assert first.requires_grad
    x.grad = None
    first.sum().backward()
    assert x.grad.item() == 18.0


def test_retain_grad_and_dtype_of_gradients() -> None:
    x = tg.tensor([1.0, 2.0], dtype=tg.float16, requires_grad=True)
    h = x.float() * 2
    h.retain_grad()
    assert h.retains_grad
    h.sum().backward()
    assert h.grad.dtype == tg.float32
    assert x.grad.dtype == tg.float16
    assert x.grad.tolist() == [2.0, 2.0]


def test_integers_cannot_require_gradients() -> None:
    with pytest.raises(RuntimeError, match="int64 but only floating"):
        tg.tensor([1], requires_grad=True)
    with pytest.raises(RuntimeError, match="bool but only floating"):
        tg.tensor([True]).requires_grad_()
    assert not leaf(1.0).long().requires_grad
    assert not (leaf(1.0) > 0).requires_grad


def test_requires_grad_of_results_cannot_be_changed() -> None:
    y = leaf(1.0) * 2
    with pytest.raises(RuntimeError, match="result of mul"):
        y.requires_grad = False
    assert not y.detach().requires_grad


def test_gradients_share_no_memory() -> None:
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (a + b).sum().backward()
    assert not np.shares_memory(a.grad.array, b.grad.array)
    a.grad.mul_(5)
    assert b.grad.tolist() == [1.0, 1.0]
    u = tg.ones(2, dtype=tg.float64)
    a.grad = None
    (a + 0).backward(u)
    assert not np.shares_memory(a.grad.array, u.array)


def test_a_wrong_rule_shape_names_the_operation() -> None:
    def halve(x):
        """The first half of a vector."""
        return x[: len(x) // 2]

    wrong = tg.autograd.Op(halve, lambda g: g)
    with pytest.raises(AssertionError, match=r"halve: its rule 0 gave a gradient of shape \(1,\)"):
        wrong(leaf(1.0, 2.0)).sum().backward()


def test_unused_rules_are_not_called() -> None:
    def fail(g):
        raise AssertionError("called")

    def product(a, b):
        """Elementwise product."""
        return a * b

    op = tg.autograd.Op(product, (lambda g, b: g * b, fail))
    x = leaf(2.0)
    op(x, tg.tensor([5.0])).sum().backward()
    assert x.grad.item() == 5.0


def test_graph_can_be_read() -> None:
    x = leaf(1.0)
    y = (x * 2).exp()
    assert y.grad_fn.name() == "exp"
    (parent, _), *_ = y.grad_fn.next_functions
    assert parent.name() == "mul"
    assert parent.next_functions[0][0].name() == "leaf"
    assert x.grad_fn is None
    assert x.is_leaf
    assert not y.is_leaf


def test_only_inputs_is_taken_and_deprecated() -> None:
    x = tg.tensor(3.0, requires_grad=True)
    (g,) = tg.autograd.grad(x * x, x, None, None, False, True)
    assert g.item() == 6.0
    with pytest.warns(FutureWarning, match="grad: `only_inputs` is False"):
        tg.autograd.grad(x * x, x, only_inputs=False)
