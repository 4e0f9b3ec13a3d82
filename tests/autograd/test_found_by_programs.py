"""Faults that random programs found, each as the few lines that were left of it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn


def leaf(*shape: int) -> tg.Tensor:
    return tg.ones(*shape, requires_grad=True)


def test_what_rules_keep_follows_memory_that_is_brought_into_rows() -> None:
    bn, conv = nn.BatchNorm2d(4).eval(), nn.Conv2d(4, 1, 3, bias=False)
    with tg.no_grad():
        x = nn.Conv2d(3, 4, 3)(tg.randn(1, 3, 6, 6))
        h = bn(x)
    y = conv(h)
    h.numpy()[...] = 1.0  # as in PyTorch the rule sees it
    y.sum().backward()
    np.testing.assert_allclose(conv.weight.grad.numpy(), 4.0)


def test_a_leaf_that_wants_no_gradient_any_more_gets_none() -> None:
    x = leaf(2)
    y = x * 2
    x.requires_grad_(False)
    y.sum().backward()
    assert x.grad is None


def test_hooks_of_a_root_run_even_if_nothing_is_reached() -> None:
    seen = []
    x, other = leaf(2), leaf(2)
    y = x * 2
    y.retain_grad()
    y.register_hook(lambda g: seen.append(g.tolist()))
    tg.autograd.grad(y.sum(), other, allow_unused=True)
    assert seen == []
    tg.autograd.grad(y, other, tg.ones(2), allow_unused=True)
    assert seen == [[1.0, 1.0]]
    assert y.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "write",
    [
        lambda y, v: y.copy_(v),
        lambda y, v: y.fill_(v[0]),
        lambda y, v: y.__setitem__(..., v),
        lambda y, v: y.zero_(),
    ],
)
def test_what_is_replaced_has_a_gradient_of_zeros(write: Any) -> None:
    x = leaf(2)
    y = x * 2
    write(y, leaf(2) * 3)
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 0.0]


def test_a_change_that_was_refused_is_none() -> None:
    x = leaf(2)
    y = x * 1
    z = (y * y).sum()
    for change in (
        lambda: y.add_(tg.ones(3)),
        lambda: y.copy_(tg.ones(3)),
        lambda: y.__setitem__(0, tg.ones(2)),
        lambda: y.masked_fill_(tg.ones(3) > 0, 1.0),
        lambda: y.fill_(tg.ones(2)),
    ):
        with tg.no_grad(), pytest.raises((RuntimeError, ValueError)):
            change()
    z.backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_a_hook_on_a_view_outlives_a_change_that_was_refused() -> None:
    seen = []
    y = (leaf(4) * 1)[1:3]
    y.register_hook(lambda g: seen.append(g.tolist()))
    with pytest.raises((RuntimeError, ValueError)):
        y.mul_(tg.ones(3))
    (y * 2).sum().backward()
    assert seen == [[2.0, 2.0]]


def test_views_of_one_of_several_views_are_not_written_to() -> None:
    part = (leaf(4) * 1).split(2)[0]
    with pytest.raises(RuntimeError, match="split"):
        part[:1].mul_(2)


def test_a_rule_that_needs_no_tensor_can_be_walked_twice() -> None:
    x = leaf(2)
    y = (x + 1).reshape(1, 2).sum()
    y.backward()
    y.backward()
    assert x.grad.tolist() == [2.0, 2.0]
    z = (x * x).sum()
    z.backward()
    with pytest.raises(RuntimeError, match="already walked"):
        z.backward()


def test_a_function_that_saved_nothing_can_be_walked_twice() -> None:
    class Twice(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.factor = 2
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * ctx.factor

    x = leaf(1)
    y = Twice.apply(x)
    y.backward()
    y.backward()
    assert x.grad.item() == 4


def test_what_a_function_saved_follows_data_that_is_set() -> None:
    class Square(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return g * 2 * x

    x = leaf(1)
    y = Square.apply(x)
    x.data = tg.full((1,), 5.0)
    y.backward()
    assert x.grad.item() == 10


def test_gradients_are_added_in_place_though_they_have_a_graph() -> None:
    x = leaf(2)
    (x * x).sum().backward(create_graph=True)
    before = x.grad
    (x * x).sum().backward()
    assert x.grad is before
    assert before.tolist() == [4.0, 4.0]


def test_results_without_a_view_can_be_written_to_wherever_they_were_made() -> None:
    x, v = tg.randn(2, 3, 4), tg.tensor(2.0, requires_grad=True)
    for function in (
        lambda: x.max(1).values,
        lambda: x.median(1).values,
        lambda: x @ tg.ones(4, 5),
    ):
        with tg.no_grad():
            y = function()
        y[0] = v
        assert y.requires_grad


def test_view_is_in_the_same_memory_or_an_error() -> None:
    x = tg.arange(6.0).reshape(2, 3)
    x.view(3, 2)[0, 0] = 9
    assert x[0, 0] == 9
    with pytest.raises(RuntimeError, match=r"view: .*reshape\(\)"):
        x.t().view(6)
    assert x.t().reshape(6).tolist() == [9.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    y = nn.Conv2d(3, 8, 3)(tg.randn(2, 3, 7, 7)).detach()
    y[0].view(8, 25)[3].fill_(7)
    assert (y[0, 3] == 7).all()


def test_requires_grad_is_set_on_leaves_only() -> None:
    y = leaf(2) * 1
    with pytest.raises(RuntimeError, match="leaves"):
        y.requires_grad = True
    assert y.requires_grad_() is y


def test_dlpack_both_ways() -> None:
    x = tg.zeros(3)
    array = np.from_dlpack(x)
    x[2] = 4
    assert array.tolist() == [0.0, 0.0, 4.0]
    with pytest.raises(BufferError, match="requires gradients"):
        np.from_dlpack(leaf(2))
    with pytest.raises(TypeError, match="from_dlpack"):
        tg.from_dlpack([1.0])
    if not array.flags.writeable:
        pytest.skip("NumPy before 2.1 takes memory that comes by DLPack for read-only")
    array[0] = 5
    assert x.tolist() == [5.0, 0.0, 4.0]
    y = tg.from_dlpack(array)
    y[1] = 6
    assert x.tolist() == [5.0, 6.0, 4.0]


def test_a_parameter_is_copied_without_its_gradient() -> None:
    p = nn.Parameter(tg.ones(2))
    p.grad = tg.ones(2)
    assert copy.deepcopy(p).grad is None
    assert p.grad is not None


def test_hooks_run_on_a_leaf_that_wants_its_gradient_no_more() -> None:
    x, seen = leaf(2), []
    x.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad))
    y = (x * 1).sum()
    x.requires_grad_(False)
    y.backward()
    assert seen == [None]
    assert x.grad is None


def test_a_function_runs_for_either_of_its_outputs() -> None:
    class Two(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1, x * 2

        @staticmethod
        def backward(ctx, g, h):
            return g + 2 * h

    a, b = Two.apply(leaf(2))
    seen = []
    c = b * 3
    b.register_hook(seen.append)
    (g,) = tg.autograd.grad(c.sum(), a, allow_unused=True)
    assert g is None
    assert seen[0].tolist() == [3.0, 3.0]


def test_a_view_of_what_was_a_leaf_is_not_written_to() -> None:
    x = leaf(2)
    view = x[...]
    x.requires_grad_(False)
    with pytest.raises(RuntimeError, match="leaf"):
        view.add_(1)


def test_grad_gives_a_result_that_goes_on_what_arrives_before_its_hooks() -> None:
    x = leaf(2)
    y = x * 1
    y.register_hook(lambda g: g * 10)
    dy, dx = tg.autograd.grad(y.sum(), [y, x], retain_graph=True)
    assert dy.tolist() == [1.0, 1.0]
    assert dx.tolist() == [10.0, 10.0]
    (dy,) = tg.autograd.grad(y.sum(), y)
    assert dy.tolist() == [10.0, 10.0]
