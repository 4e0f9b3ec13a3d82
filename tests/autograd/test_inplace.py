"""Changes in place and through views: right gradients, or an error that says what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tg


def leaf(*shape: int) -> tg.Tensor:
    return tg.randn(*shape, dtype=tg.float64).requires_grad_()


def test_a_changed_input_is_noticed_and_both_places_are_named() -> None:
    x = leaf(3)
    h = x * 1.0
    y = h * h
    h.add_(1)
    with pytest.raises(
        RuntimeError, match=r"mul: its derivative needs `[ab]`.*but add_ changed it"
    ):
        y.sum().backward()


def test_a_changed_output_is_noticed() -> None:
    x = leaf(3)
    y = x.exp()
    y[0] = 5.0
    with pytest.raises(RuntimeError, match=r"exp: .*its output.*x\[i\] = v changed it"):
        y.sum().backward()
    z = x.exp()
    z.detach().mul_(2)  # the same memory, outside the graph
    with pytest.raises(RuntimeError, match=r"exp: .*mul_ changed it"):
        z.sum().backward()


def test_changes_that_no_rule_sees_are_fine() -> None:
    x = leaf(3)
    h = x + 1
    y = h + 2
    h.mul_(3)
    (y.sum() + h.sum()).backward()
    assert x.grad.tolist() == [4.0, 4.0, 4.0]


def test_an_operation_in_place_keeps_what_its_own_rule_needs() -> None:
    x, w = leaf(3), leaf(3)
    h = x * 1.0
    h.mul_(w)  # d/dw needs h as it was
    h.sum().backward()
    np.testing.assert_allclose(w.grad.array, x.array)
    np.testing.assert_allclose(x.grad.array, w.array)
    x.grad = None
    h = x * 1.0
    h.pow_(3)
    h.exp_()
    h.sum().backward()
    np.testing.assert_allclose(x.grad.array, 3 * x.array**2 * np.exp(x.array**3))


def test_leaves_that_require_gradients_are_protected() -> None:
    x = leaf(3)
    with pytest.raises(RuntimeError, match=r"add_: a leaf.*no_grad"):
        x += 1
    with pytest.raises(RuntimeError, match="view of a leaf"):
        x[0:2].zero_()
    with pytest.raises(RuntimeError, match="leaf"):
        x[0] = 1.0
    with tg.no_grad():
        x += 1
        x[0] = 3.0
    assert x[0].item() == 3.0
    assert x.is_leaf


def test_writes_through_a_view_reach_the_base() -> None:
    x, w = leaf(2, 3), leaf(3)
    h = x * 1.0
    h[1].mul_(w)
    (h * h).sum().backward()
    np.testing.assert_allclose(x.grad.array[0], 2 * x.array[0])
    np.testing.assert_allclose(x.grad.array[1], 2 * x.array[1] * w.array**2)
    np.testing.assert_allclose(w.grad.array, 2 * x.array[1] ** 2 * w.array)


def test_a_view_sees_what_its_base_became() -> None:
    x = leaf(4)
    h = x * 1.0
    view = h.reshape(2, 2).t()[0]
    h.mul_(x)  # h is x² now, and so is every view of it
    view.sum().backward()
    np.testing.assert_allclose(x.grad.array, [2 * x.array[0], 0, 2 * x.array[2], 0])


def test_views_see_each_other() -> None:
    x = leaf(4)
    h = x * 1.0
    a, b = h[:3], h[1:]
    a.mul_(2)
    b.mul_(3)
    a.sum().backward()
    np.testing.assert_allclose(x.grad.array, [2, 6, 6, 0])


def test_a_constant_becomes_part_of_the_graph() -> None:
    w = leaf(2)
    z = tg.zeros(2, 2, dtype=tg.float64)
    z[0] = w
    z[1, 0] = w[1] * 2
    assert z.requires_grad
    assert not z.is_leaf
    (z * tg.tensor([[1.0, 10.0], [100.0, 1000.0]], dtype=tg.float64)).sum().backward()
    np.testing.assert_allclose(w.grad.array, [1.0, 210.0])


def test_setitem_is_differentiable_in_both() -> None:
    x, v = leaf(3, 2), leaf(2)
    h = x * 2
    h[1] = v * 3
    (h * h).sum().backward()
    np.testing.assert_allclose(v.grad.array, 18 * v.array)
    assert (x.grad.array[1] == 0).all()
    np.testing.assert_allclose(x.grad.array[0], 8 * x.array[0])


def test_of_repeated_writes_only_the_last_counts() -> None:
    v = leaf(3)
    z = tg.zeros(2, dtype=tg.float64)
    z[[0, 0, 1]] = v
    z.sum().backward()
    assert z.tolist() == [v[1].item(), v[2].item()]
    assert v.grad.tolist() == [0.0, 1.0, 1.0]


def test_views_made_unrecorded_refuse_recorded_writes() -> None:
    x = leaf(3)
    h = x * 1.0
    with tg.no_grad():
        view = h[:2]
    with pytest.raises(RuntimeError, match="made under no_grad"):
        view.mul_(2)


def test_expanded_tensors_refuse_writes() -> None:
    wide = tg.zeros(3).expand(2, 3)
    with pytest.raises(RuntimeError, match=r"read-only.*clone"):
        wide.add_(1)
    with pytest.raises(RuntimeError, match="read-only"):
        wide[0, 0] = 1.0


def test_results_must_fit_in_place() -> None:
    x = tg.zeros(3)
    with pytest.raises(RuntimeError, match=r"fit in place"):
        x.add_(tg.zeros(2, 3))
    ints = tg.tensor([1, 2])
    with pytest.raises(RuntimeError, match=r"float32, which does not fit in place into int64"):
        ints.add_(0.5)
    with pytest.raises(ValueError, match=r"does not broadcast"):
        x[0:2] = tg.zeros(3)


def test_versions_are_shared_by_views_and_detached_tensors() -> None:
    x = tg.zeros(4)
    view, constant = x[1:], x.detach()
    view.add_(1)
    assert x._version == view._version == constant._version == 1


def test_inplace_relu_saves_memory_and_is_right() -> None:
    x = leaf(50)
    h = x * 1.0
    out = h.relu_()
    assert out is h
    (h * h).sum().backward()
    np.testing.assert_allclose(x.grad.array, 2 * np.maximum(x.array, 0))


def test_hooks_and_retained_gradients_follow_the_value() -> None:
    x = leaf(2)
    h = x * 2
    h.retain_grad()
    h.mul_(3)
    h.sum().backward()
    assert h.grad.tolist() == [1.0, 1.0]
    assert x.grad.tolist() == [6.0, 6.0]


@pytest.mark.parametrize(
    ("name", "args"), [("mvlgamma", (1,)), ("logit", (0.1,)), ("renorm", (2, 0, 0.5))]
)
def test_what_a_composite_keeps_of_what_it_overwrites_is_kept_apart(name: str, args: Any) -> None:
    values = np.random.default_rng(0).uniform(0.6, 0.9, (3, 4))
    u, found = tg.tensor(np.linspace(-1, 1, 12).reshape(3, 4)), []
    for form in (name, f"{name}_"):
        x = tg.tensor(values, requires_grad=True)
        (getattr(x * 1.0, form)(*args) * u).sum().backward()
        found.append(x.grad.numpy())
    np.testing.assert_array_equal(*found)
