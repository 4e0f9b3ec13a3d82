"""Results that are not computed until somebody reads them: nobody can tell, except by the clock."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from tinygrad_cnn import kernels, nn
from tinygrad_cnn.kernels.lazy import Lazy

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")

C = 16


@pytest.fixture(autouse=True)
def _compiled():
    former = tg.set_kernels("jit")
    yield
    tg.set_kernels(former)


@pytest.fixture
def net():
    """A convolution and a normalisation in training, and the images for it."""
    conv, norm = nn.Conv2d(3, C, 3, padding=1), nn.BatchNorm2d(C)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.uniform_(norm.bias, -0.5, 0.5)
    return conv, norm, tg.randn(2, 3, 6, 6)


def is_lazy(t):
    return type(t._value) is Lazy and t._value.expr[0] in ("scale_shift", "relu")


def expected(z, norm):
    """What `norm` makes of z, by definition and in float64."""
    v = z.astype(np.float64)
    mean = v.mean((0, 2, 3), keepdims=True)
    y = (v - mean) / np.sqrt(v.var((0, 2, 3), keepdims=True) + norm.eps)
    weight, bias = (p.detach().numpy().reshape(1, -1, 1, 1) for p in (norm.weight, norm.bias))
    return y * weight + bias


def close(t, array):
    np.testing.assert_allclose(t.detach().numpy(), array, rtol=1e-4, atol=1e-5)


def test_norm_and_relu_wait_until_they_are_read(net):
    conv, norm, x = net
    z = conv(x)
    y = norm(z)
    out = F.relu(y)
    assert is_lazy(y)
    assert is_lazy(out)
    assert y.shape == out.shape == (2, C, 6, 6)
    assert (y.ndim, y.dtype, y.numel()) == (4, tg.float32, 2 * C * 36)
    assert out.grad_fn.name() == "relu"
    values = expected(z.detach().numpy(), norm)
    assert not is_lazy(y)  # z was read, and might have been written to
    close(y, values)
    close(out, np.maximum(values, 0))


def change_by_copy(z):
    z.detach().numpy()[...] = 7


def change_in_place(z):
    z.mul_(0)


def change_through_a_view(z):
    z[0].fill_(3)


def change_data(z):
    z.data.zero_()


@pytest.mark.parametrize(
    "change",
    [change_by_copy, change_in_place, change_through_a_view, change_data],
)
@pytest.mark.parametrize("through_relu", [False, True])
def test_what_it_is_computed_from_may_change(net, change, through_relu):
    conv, norm, x = net
    with tg.no_grad():
        z = conv(x)
        values = expected(z.numpy().copy(), norm)
        z = conv(x)
        y = norm(z)
        if through_relu:
            y, values = F.relu(y), np.maximum(values, 0)
        assert is_lazy(y)
        change(z)
    close(y, values)


ALIASES = [
    lambda z: z.numpy(),
    lambda z: z.array,
    lambda z: np.asarray(z),
    lambda z: z.numpy().ravel("K"),
    lambda z: z.detach(),
    lambda z: z.data,
    lambda z: z[:],
    lambda z: z.view(-1) if z.is_contiguous() else z.permute(1, 0, 2, 3),
    lambda z: nn.Parameter(z, requires_grad=False),
]


@pytest.mark.parametrize("alias", ALIASES)
def test_memory_that_somebody_else_has(net, alias):
    conv, norm, x = net
    with tg.no_grad():
        values = expected(conv(x).numpy(), norm)
        z = conv(x)
        other = alias(z)
        y = norm(z)
        assert is_lazy(y) is isinstance(other, tg.Tensor)  # which tells when it is written to
        other[...] = 9
    close(y, values)


def test_a_leaf_does_not_wait():
    memory = np.random.default_rng(0).normal(size=(2, C, 5, 5)).astype(np.float32)
    x = tg.from_numpy(memory)
    norm = nn.BatchNorm2d(C)
    values = expected(memory.copy(), norm)
    y = norm(x)
    memory[...] = 0
    close(y, values)


def test_parameters_may_change_before_it_is_read(net):
    conv, norm, x = net
    with tg.no_grad():
        values = expected(conv(x).numpy(), norm)
        y = norm(conv(x))
        assert is_lazy(y)
        norm.weight.mul_(0)
        norm.bias.fill_(8)
    close(y, values)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_those_of_the_plain_path(net, training):
    conv, norm, x = net
    last = nn.Conv2d(C, 2, 3)
    model = nn.Sequential(conv, norm, nn.ReLU(), nn.MaxPool2d(2), last)
    model.train(training)
    weights = tg.randn(2, 2, 1, 1)

    def gradients(kernels):
        tg.set_kernels(kernels)
        source = x.detach().requires_grad_()
        loss = (model(source) * weights).sum()
        return tg.autograd.grad(loss, [source, *model.parameters()])

    for fused, plain in zip(gradients("jit"), gradients("reference"), strict=True):
        scale = max(float(plain.abs().max()), 1.0)  # the bias before a norm has none
        np.testing.assert_allclose(fused.numpy() / scale, plain.numpy() / scale, atol=2e-5)


def test_second_derivatives_go_through_the_references(net):
    conv, norm, x = net
    weights = tg.randn(2, C, 6, 6)

    def second(kernels):
        tg.set_kernels(kernels)
        source = x.detach().requires_grad_()
        out = F.relu(norm(conv(source)))
        (g,) = tg.autograd.grad((out * weights).sum(), source, create_graph=True)
        return tg.autograd.grad((g**2).sum(), [source, conv.weight, norm.weight])

    for fused, plain in zip(second("jit"), second("reference"), strict=True):
        scale = float(plain.abs().max())
        np.testing.assert_allclose(fused.numpy() / scale, plain.numpy() / scale, atol=1e-4)


def test_relu_in_place_waits_too(net):
    conv, norm, x = net
    weights = tg.randn(2, C, 6, 6)

    def run(inplace):
        source = x.detach().requires_grad_()
        y = norm(conv(source))
        out = nn.ReLU(inplace=inplace)(y)
        assert (out is y) is inplace
        assert is_lazy(out)
        (g,) = tg.autograd.grad((out * weights).sum(), source)
        return out.detach().numpy(), g.numpy()

    for a, b in zip(run(True), run(False), strict=True):
        np.testing.assert_array_equal(a, b)


def test_writing_over_a_result_that_a_rule_needs_is_still_an_error(net):
    conv, norm, x = net
    out = F.relu(norm(conv(x)))
    y = nn.Conv2d(C, 2, 1)(out)
    with tg.no_grad():
        out.mul_(2)
    with pytest.raises(RuntimeError, match="changed it in place"):
        y.sum().backward()


def test_hooks_and_kept_gradients_see_numbers(net):
    conv, norm, x = net
    seen = []
    y = norm(conv(x))
    y.register_hook(lambda g: seen.append(g))
    y.retain_grad()
    out = F.relu(y)
    out.sum().backward()
    positive = (y.detach().numpy() > 0).astype(np.float32)
    np.testing.assert_array_equal(seen[0].numpy(), positive)
    np.testing.assert_array_equal(y.grad.numpy(), positive)


def test_a_result_with_two_readers(net):
    conv, norm, x = net
    source = x.detach().requires_grad_()

    def run(kernels):
        tg.set_kernels(kernels)
        y = F.relu(norm(conv(source)))
        out = nn.functional.conv2d(y, tg.ones(1, C, 1, 1)) + y.sum(1, keepdim=True) * 2
        return tg.autograd.grad(out.sum(), source)[0].numpy()

    np.testing.assert_allclose(run("jit"), run("reference"), rtol=1e-3, atol=1e-4)


def test_it_keeps_nothing_alive(net):
    conv, norm, x = net
    gc.collect()
    gc.disable()
    try:
        z = conv(x)
        out = F.relu(norm(z))
        waiting = weakref.ref(out._value)
        del out
        assert waiting() is None
        memory = weakref.ref(z._value)
        del z
        assert memory() is None
    finally:
        gc.enable()


def test_what_runs_sees_the_callers_context():
    seen = []

    def double(x):
        """Twice."""
        seen.append((tg.is_grad_enabled(), kernels.kernel_set(), np.geterr()["divide"]))
        return x * 2

    with np.errstate(divide="warn"):
        op = tg.autograd.Op(double, lambda g: g * 2, ignore_fp_errors=True)
        op(tg.ones(2))
        tg.set_kernels("reference")
        with tg.no_grad():
            op(tg.ones(2))
        assert np.geterr()["divide"] == "warn"
    assert seen == [(True, "jit", "ignore"), (False, "reference", "ignore")]


def test_sums_that_come_with_a_gradient_are_those_of_the_normalisation(net, monkeypatch, request):
    """A 3x3 convolution right behind the ReLU takes them on its way."""
    from tinygrad_cnn.kernels.jit.conv import choose as conv_choice
    from tinygrad_cnn.kernels.jit.norm import batch_norm_backward as norm_backward

    monkeypatch.setattr(conv_choice, "PER_FILTER", 0)  # Winograd's algorithm for small images too
    conv_choice.choose.cache_clear()  # what other tests have chosen, and then what this one has
    request.addfinalizer(conv_choice.choose.cache_clear)
    conv, norm, x = net
    last = nn.Conv2d(C, C, 3, padding=1)
    weights = tg.randn(2, C, 6, 6)
    seen = []

    sums_before = norm_backward._sums_before

    def watched(g):
        found = sums_before(g)
        seen.append(found is not None)
        return found

    monkeypatch.setattr(norm_backward, "_sums_before", watched)

    def gradients(kernels):
        tg.set_kernels(kernels)
        source = x.detach().requires_grad_()
        hidden = F.relu(norm(conv(source)))
        loss = (last(hidden) * weights).sum()
        return tg.autograd.grad(loss, [source, hidden, norm.weight, norm.bias, last.weight])

    for fused, plain in zip(gradients("jit"), gradients("reference"), strict=True):
        scale = float(plain.abs().max())
        np.testing.assert_allclose(fused.numpy() / scale, plain.numpy() / scale, atol=2e-5)
    assert seen == [True]
