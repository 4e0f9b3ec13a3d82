"""Hooks before, after and behind a module's forward pass."""

import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn


class Scale(nn.Module):
    def forward(self, x, factor=1.0):
        return x * factor


def test_pre_hooks_replace_arguments():
    m = Scale()
    handle = m.register_forward_pre_hook(lambda module, args: args[0] + 1)  # not a tuple: wrapped
    assert m(tg.ones(1)).item() == 2
    m.register_forward_pre_hook(
        lambda module, args, kwargs: (args, {"factor": kwargs["factor"] * 10}), with_kwargs=True
    )
    assert m(tg.ones(1), factor=2.0).item() == 40
    handle.remove()
    handle.remove()
    assert m(tg.ones(1), factor=2.0).item() == 20
    m.register_forward_pre_hook(lambda module, args, kwargs: 3, with_kwargs=True)
    with pytest.raises(TypeError, match=r"expected None or \(args, kwargs\), got int"):
        m(tg.ones(1), factor=2.0)


def test_forward_hooks_see_and_replace_the_output():
    m, seen = Scale(), []
    m.register_forward_hook(lambda module, args, out: seen.append((module, len(args), out.item())))
    m(tg.ones(1), factor=3.0)
    assert seen == [(m, 1, 3.0)]
    m.register_forward_hook(
        lambda module, args, kwargs, out: out + kwargs["factor"], with_kwargs=True
    )
    assert m(tg.ones(1), factor=3.0).item() == 6


def test_order_and_prepend():
    m, order = Scale(), []
    for name in "ab":
        m.register_forward_hook(lambda *_, name=name: order.append(name))
    first = m.register_forward_hook(lambda *_: order.append("first"), prepend=True)
    m(tg.ones(1))
    assert order == ["first", "a", "b"]
    first.remove()
    m(tg.ones(1))
    assert order[3:] == ["a", "b"]


def test_a_hook_may_remove_itself():
    m, calls = Scale(), []

    def once(*_):
        calls.append(1)
        handle.remove()

    handle = m.register_forward_hook(once)
    m(tg.ones(1))
    m(tg.ones(1))
    assert calls == [1]


def test_handles_work_in_with_blocks():
    m, calls = Scale(), []
    with m.register_forward_hook(lambda *_: calls.append(1)):
        m(tg.ones(1))
    m(tg.ones(1))
    assert calls == [1]


def test_backward_hooks_see_gradients_of_this_use_only():
    m, seen = Scale(), []
    m.register_full_backward_hook(
        lambda module, gx, gy: seen.append((gx[0].tolist(), gx[1], gy[0].tolist()))
    )
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    (m(x, 3.0).sum() + 100 * x.sum()).backward()
    assert seen == [([3.0, 3.0], None, [1.0, 1.0])]  # the number 3.0 has no gradient
    assert x.grad.tolist() == [103.0, 103.0]


def test_backward_hooks_replace_the_gradient():
    layer = nn.Linear(2, 1)
    handle = layer.register_full_backward_hook(lambda module, gx, gy: (gx[0] * 0 + 7,))
    x = tg.ones(3, 2, requires_grad=True)
    layer(x).sum().backward()
    assert (x.grad == 7).all()
    assert (layer.weight.grad == 3).all()  # the module's own parameters are not concerned
    handle.remove()
    x.grad = None
    layer(x).sum().backward()
    assert (x.grad == layer.weight).all()
