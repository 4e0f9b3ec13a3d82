"""Residual sums that wait for their ReLU, and their gradients: nobody can tell, except by the
clock.
"""

from __future__ import annotations

import numpy as np
import pytest
from test_lazy import (
    C,
    change_by_copy,
    change_data,
    change_in_place,
    change_through_a_view,
    close,
)

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from tinygrad_cnn import nn
from tinygrad_cnn.kernels.lazy import Lazy


@pytest.fixture(autouse=True)
def _compiled():
    former = tg.set_kernels("jit")
    yield
    tg.set_kernels(former)


class Block(nn.Module):
    """A residual block with a shortcut of one of three kinds."""

    def __init__(self, kind):
        super().__init__()
        self.kind, outputs = kind, 2 * C if kind == "option A" else C
        stride = 2 if kind == "option A" else 1
        self.conv1 = nn.Conv2d(C, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.short = nn.Sequential(nn.Conv2d(C, C, 1), nn.BatchNorm2d(C))

    def shortcut(self, x):
        if self.kind == "option A":
            return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, C))
        return self.short(x) if self.kind == "projection" else x

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


@pytest.fixture
def parts():
    """A normalised convolution and something to add to it, which nodes have kept already."""
    tg.manual_seed(0)
    conv, norm = nn.Conv2d(3, C, 3, padding=1), nn.BatchNorm2d(C)
    images = tg.randn(2, 3, 6, 6)
    x = tg.relu(nn.Conv2d(3, C, 3, padding=1)(images) * 1.0)
    nn.Conv2d(C, 4, 1)(x)
    return conv, norm, images, x


def waits(t):
    return type(t._value) is Lazy and t._value.expr[0] == "add"


def test_a_sum_waits_for_its_relu(parts):
    conv, norm, images, x = parts
    y = norm(conv(images))
    s = y + x
    out = F.relu(s)
    assert waits(s)
    assert type(out._value) is np.ndarray
    assert s.shape == (2, C, 6, 6)
    assert s.dtype == tg.float32
    assert out.grad_fn.fused == "computes batch_norm and add of its input"
    total = y.detach().numpy() + x.detach().numpy()
    close(s, total)
    close(out, np.maximum(total, 0))


@pytest.mark.parametrize(
    "change", [change_by_copy, change_in_place, change_through_a_view, change_data]
)
@pytest.mark.parametrize("which", ["normalised", "other"])
def test_what_it_is_computed_from_may_change(parts, change, which):
    conv, norm, images, x = parts
    with tg.no_grad():
        x = x * 1.0
        z = conv(images)
        values = norm(z).numpy() + x.numpy()
        x, z = x * 1.0, conv(images)
        s = norm(z) + x
        assert waits(s)
        change(z if which == "normalised" else x)
    close(s, values)


@pytest.mark.parametrize(
    "alias",
    [lambda x: x.detach().numpy(), lambda x: x.detach(), lambda x: x.detach()[:1]],
)
def test_memory_that_somebody_else_has(parts, alias):
    conv, norm, images, x = parts
    other = alias(x)
    values = norm(conv(images)).detach().numpy() + x.detach().clone().numpy()
    s = norm(conv(images)) + x
    assert waits(s) is isinstance(other, tg.Tensor)
    other[...] = 9
    close(s, values)


def test_a_changed_summand_is_still_an_error(parts):
    conv, norm, images, x = parts
    out = F.relu(norm(conv(images)) + x)
    loss = (nn.Conv2d(C, 2, 1)(out)).sum()
    with tg.no_grad():
        out.mul_(2)
    with pytest.raises(RuntimeError, match="changed it in place"):
        loss.backward()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", ["identity", "option A", "projection"])
def test_gradients_are_those_of_the_plain_path(kind, training):
    tg.manual_seed(1)
    blocks = nn.Sequential(Block("identity"), Block(kind), nn.Conv2d(2 * C, 2, 1))
    if kind != "option A":
        blocks = nn.Sequential(Block("identity"), Block(kind), nn.Conv2d(C, 2, 1))
    blocks.train(training)
    images = tg.randn(3, C, 6, 6)
    weights = tg.randn(3, 2, 1, 1)

    def gradients(kernels):
        tg.set_kernels(kernels)
        source = images.detach().requires_grad_()
        loss = (blocks(F.relu(source)) * weights).sum()
        leaves = [source, *(p for p in blocks.parameters() if p.requires_grad)]
        return tg.autograd.grad(loss, leaves, allow_unused=True)

    for fused, plain in zip(gradients("jit"), gradients("reference"), strict=True):
        assert (fused is None) == (plain is None)
        if fused is not None:
            scale = max(float(plain.abs().max()), 1.0)
            np.testing.assert_allclose(fused.numpy() / scale, plain.numpy() / scale, atol=5e-5)


def test_three_readers_and_a_hook_see_the_whole_gradient():
    tg.manual_seed(2)
    norm, conv = nn.BatchNorm2d(C), nn.Conv2d(C, C, 3, padding=1)
    images = tg.randn(2, C, 6, 6)

    def run(kernels):
        tg.set_kernels(kernels)
        source = images.detach().requires_grad_()
        seen = []
        x = F.relu(norm(conv(source)) + source)
        x.register_hook(lambda g: seen.append(g.numpy().copy()))
        x.retain_grad()
        out = F.relu(norm(conv(x)) + x) + x * 2
        (g,) = tg.autograd.grad((out * out).sum(), source)
        return [g.numpy(), *seen]

    found, plain = run("jit"), run("reference")
    assert len(found) == 2
    for a, b in zip(found, plain, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * (1 + np.abs(b).max()))


def test_second_derivatives_go_through_the_references():
    tg.manual_seed(3)
    norm, conv = nn.BatchNorm2d(C), nn.Conv2d(C, C, 3, padding=1)
    images, weights = tg.randn(2, C, 5, 5), tg.randn(2, C, 5, 5)

    def second(kernels):
        tg.set_kernels(kernels)
        source = images.detach().requires_grad_()
        out = F.relu(norm(conv(F.relu(source))) + F.relu(source))
        (g,) = tg.autograd.grad((out * weights).sum(), source, create_graph=True)
        return tg.autograd.grad((g**2).sum(), [source, conv.weight, norm.weight])

    for fused, plain in zip(second("jit"), second("reference"), strict=True):
        scale = float(plain.abs().max())
        np.testing.assert_allclose(fused.numpy() / scale, plain.numpy() / scale, atol=1e-4)


def test_a_sum_of_two_normalisations_waits():
    a, b = (nn.Sequential(nn.Conv2d(3, C, 3), nn.BatchNorm2d(C)) for _ in range(2))
    images = tg.randn(2, 3, 8, 8)
    left, right = a(images), b(images)
    s = left + right
    assert waits(s)
    assert left._value.expr[0] == "scale_shift"
    assert right._value.expr[0] == "load"  # one of both is computed by itself anyway
    out = F.relu(s).detach().numpy()
    np.testing.assert_allclose(
        out, np.maximum(left.detach().numpy() + right.detach().numpy(), 0), rtol=1e-5, atol=1e-6
    )
