"""Grad modes, hooks, anomaly mode and autograd.Function."""

from __future__ import annotations

import math
import re
import threading
import weakref

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn.autograd import detect_anomaly, once_differentiable, set_detect_anomaly
from tinygrad_cnn.testing import check_gradients


def leaf(*values: float) -> tg.Tensor:
    return tg.tensor(list(values), dtype=tg.float64, requires_grad=True)


# ---- modes ---------------------------------------------------------------------------------


def test_no_grad_as_block_and_decorator() -> None:
    x = leaf(1.0)
    with tg.no_grad():
        assert not (x * 2).requires_grad
        with tg.enable_grad():
            assert (x * 2).requires_grad
        assert not tg.is_grad_enabled()
    assert tg.is_grad_enabled()

    @tg.no_grad()
    def double(t):
        return t * 2

    assert not double(x).requires_grad
    with tg.inference_mode():
        assert not (x * 2).requires_grad


def test_modes_are_restored_after_errors_and_when_reentered() -> None:
    block = tg.no_grad()
    with pytest.raises(ValueError, match="boom"), block, block:
        raise ValueError("boom")
    assert tg.is_grad_enabled()


def test_set_grad_enabled_acts_at_once() -> None:
    tg.set_grad_enabled(False)
    assert not tg.is_grad_enabled()
    tg.set_grad_enabled(True)
    assert tg.is_grad_enabled()
    with tg.set_grad_enabled(False):
        assert not tg.is_grad_enabled()
    assert tg.is_grad_enabled()

    @tg.set_grad_enabled(False)
    def inside():
        return tg.is_grad_enabled()

    assert tg.is_grad_enabled()
    assert inside() is False


def test_generators_do_not_leak_the_mode() -> None:
    @tg.no_grad()
    def numbers():
        for _ in range(2):
            yield tg.is_grad_enabled()

    for inside in numbers():
        assert inside is False
        assert tg.is_grad_enabled()


def test_threads_do_not_share_modes() -> None:
    seen = []
    with tg.no_grad():
        thread = threading.Thread(target=lambda: seen.append(tg.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


# ---- hooks ---------------------------------------------------------------------------------


def test_hooks_see_and_replace_complete_gradients() -> None:
    x = leaf(1.0, 2.0)
    h = x * 2
    seen = []
    handle = h.register_hook(lambda g: seen.append(g.tolist()))
    h.register_hook(lambda g: g * 10)
    (h + h * 2).sum().backward()
    assert seen == [[3.0, 3.0]]
    assert x.grad.tolist() == [60.0, 60.0]
    handle.remove()
    handle.remove()
    (x * 1.0).register_hook(lambda g: None)
    with pytest.raises(RuntimeError, match="does not require"):
        tg.ones(1).register_hook(lambda g: g)


def test_leaf_hooks() -> None:
    x = leaf(1.0)
    after = []
    x.register_hook(lambda g: g + 1)
    x.register_post_accumulate_grad_hook(lambda t: after.append(t.grad.item()))
    (x * 2).sum().backward()
    assert x.grad.item() == 3.0
    assert after == [3.0]


def test_a_bad_hook_is_named() -> None:
    x = leaf(1.0, 2.0)
    h = x * 2
    h.register_hook(lambda g: g.sum())
    with pytest.raises(RuntimeError, match=r"hook on the output of mul returned \(\)"):
        h.sum().backward()


# ---- anomaly mode --------------------------------------------------------------------------


def test_anomaly_mode_names_the_operation_and_its_place() -> None:
    x = leaf(0.0)
    with detect_anomaly():
        y = (x * 0).sqrt()
        with pytest.raises(RuntimeError, match=r"(?s)mul: .*contains NaN.*test_anomaly_mode"):
            (y * 1).sum().backward()
    found = re.escape(f"{__file__}:")
    with detect_anomaly():
        y = (x * 0).sqrt()
        with pytest.raises(RuntimeError, match=found) as caught:
            y.backward()
    assert "`a` of shape (1,) from 0 to 0." in str(caught.value)
    with set_detect_anomaly(True):
        pass
    x.sqrt().sum().backward()  # inf, but nobody asked


class Rooted(tg.nn.Module):
    """The root of what is positive, masked when it is too late."""

    def forward(self, x):
        return self.chosen(x, self.root(x))

    def root(self, x):
        return x.sqrt() * 2

    def chosen(self, x, y):
        return tg.where(x > 0, y, 0.0)


@pytest.mark.parametrize("choose", ["where", "masked_fill"])
def test_anomaly_mode_names_the_module_and_the_mask(choose: str) -> None:
    class Layer(Rooted):
        def chosen(self, x, y):
            return super().chosen(x, y) if choose == "where" else y.masked_fill(x <= 0, 0.0)

    x = leaf(4.0, 0.0, 9.0)
    with detect_anomaly():
        y = tg.nn.Sequential(tg.nn.Identity(), Layer())(x)
        with pytest.raises(RuntimeError) as caught:
            y.sum().backward()
    first, *rest = str(caught.value).splitlines()
    assert first == (
        "sqrt: its gradient for input `x`, of shape (3,), contains NaN in 1 of 3 numbers in "
        "1 (Layer)"
    )
    assert "from a masked branch: where in 1 (Layer) at" in rest[1]
    assert "`x` of shape (3,) from 0 to 9" in "\n".join(rest)


@pytest.mark.parametrize(
    ("function", "cause"),
    [
        (lambda x: (x * math.nan).log(), "The gradient that came to it"),
        (lambda x: x.log() * math.nan, "The gradient that came to it"),
        (lambda x: tg.where(x > 0, x, 0.0).sqrt(), "Its argument"),  # not masked from above
    ],
)
def test_anomaly_mode_blames_no_mask_without_cause(function, cause) -> None:
    x = leaf(0.0, 1.0)
    with detect_anomaly():
        y = (function(x) * 0.0).sum()
        with pytest.raises(RuntimeError, match=cause) as caught:
            y.backward()
    assert "masked branch" not in str(caught.value)


# ---- Function ------------------------------------------------------------------------------


class Product(tg.autograd.Function):
    """The product of two tensors, and their sum: two outputs."""

    @staticmethod
    def forward(ctx, a, b, scale):
        ctx.save_for_backward(a, b)
        ctx.scale = scale
        return a * b * scale, a + b

    @staticmethod
    def backward(ctx, g, u):
        a, b = ctx.saved_tensors
        return g * b * ctx.scale + u, g * a * ctx.scale + u, None


def test_function_with_two_outputs_to_second_order() -> None:
    def function(a, b):
        p, s = Product.apply(a, b, 3.0)
        return p * s

    rng = np.random.default_rng(0)
    check_gradients(function, rng.standard_normal(4), rng.standard_normal(4))
    a, b = leaf(1.0), leaf(2.0)
    _, s = Product.apply(a, b, 3.0)
    s.sum().backward()  # the other output's gradient is materialised as zeros
    assert (a.grad.item(), b.grad.item()) == (1.0, 1.0)


class Exp(tg.autograd.Function):
    """An exponential that saves its output."""

    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * y


def test_function_that_saves_its_output() -> None:
    check_gradients(lambda x: Exp.apply(x), np.array([0.3, -1.0]), order=2)
    x = leaf(1.0)
    y = Exp.apply(x)
    node = weakref.ref(y.grad_fn)
    del y
    assert node() is None, "a saved output must not make a cycle"


def test_function_saved_tensors_are_guarded() -> None:
    x = leaf(1.0)
    h = x * 1
    y = Exp.apply(h)
    y.sum().backward()
    with pytest.raises(RuntimeError, match=r"Exp.*retain_graph"):
        y.sum().backward()
    a = leaf(1.0) * 1
    p, _ = Product.apply(a, a, 1.0)
    a.add_(1)
    with pytest.raises(RuntimeError, match=r"Product.*add_ changed it"):
        p.sum().backward()


def test_function_mistakes_are_explained() -> None:
    class TooFew(Product):
        @staticmethod
        def backward(ctx, g, u):
            return g

    class Wrong(Exp):
        @staticmethod
        def backward(ctx, g):
            return g.sum()

    class Array(Exp):
        @staticmethod
        def backward(ctx, g):
            return np.ones(1)

    with pytest.raises(RuntimeError, match="TooFew: backward returned 1 gradients for 3"):
        TooFew.apply(leaf(1.0), leaf(1.0), 1.0)[0].sum().backward()
    with pytest.raises(RuntimeError, match=r"Wrong: .*shape \(\) for argument 0 of shape \(2,\)"):
        Wrong.apply(leaf(1.0, 2.0)).sum().backward()
    with pytest.raises(TypeError, match="Array: backward returned a ndarray"):
        Array.apply(leaf(1.0)).sum().backward()
    with pytest.raises(NotImplementedError, match="static method `forward`"):
        tg.autograd.Function.apply(leaf(1.0))


def test_function_options() -> None:
    class Split(tg.autograd.Function):
        @staticmethod
        def forward(x):
            return x * 2, x > 0

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.mark_non_differentiable(output[1])
            ctx.set_materialize_grads(False)

        @staticmethod
        def backward(ctx, g, mask):
            assert mask is None
            assert ctx.needs_input_grad == (True,)
            return g * 2

    x = leaf(1.0, -1.0)
    y, mask = Split.apply(x)
    assert not mask.requires_grad
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]

    class Once(Exp):
        @staticmethod
        @once_differentiable
        def backward(ctx, g):
            (y,) = ctx.saved_tensors
            return g * y

    y = Once.apply(x)
    tg.autograd.grad(y.sum(), x, retain_graph=True)
    (g,) = tg.autograd.grad(y.sum(), x, retain_graph=True, create_graph=True)
    assert not g.requires_grad  # nothing that it was made from does
    (g,) = tg.autograd.grad((y * y).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"Once.*once_differentiable"):
        tg.autograd.grad(g.sum(), x)


def test_function_in_place() -> None:
    class Double(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            x.array *= 2
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 2

    x = leaf(1.0)
    h = x * 1
    out = Double.apply(h)
    assert out is h
    assert h._version == 1
    (h * 3).sum().backward()
    assert x.grad.item() == 6.0


# ---- what else can be asked of modes and nodes ----------------------------------------------


def test_inference_mode_can_be_asked_for():
    @tg.inference_mode()
    def inside():
        return tg.is_inference_mode_enabled(), tg.is_grad_enabled()

    @tg.inference_mode
    def steps():
        yield tg.is_inference_mode_enabled()

    assert inside() == (True, False)
    assert next(steps()) is True
    with tg.inference_mode():
        with tg.inference_mode(False):
            assert (tg.is_inference_mode_enabled(), tg.is_grad_enabled()) == (False, True)
        assert tg.is_inference_mode_enabled()
    with tg.no_grad():
        assert not tg.is_inference_mode_enabled()
    assert not tg.is_inference_mode_enabled()


@pytest.mark.parametrize("mode", [tg.autograd.detect_anomaly, tg.autograd.set_detect_anomaly])
def test_anomalies_without_nan(mode):
    make = mode if mode is tg.autograd.detect_anomaly else lambda *a, **k: mode(True, *a, **k)
    x = tg.zeros(1, requires_grad=True)
    with make(check_nan=False):
        assert tg.autograd.is_anomaly_enabled()
        (x.sqrt() * 0).backward()  # 0 * inf
    assert x.grad.isnan().all()
    assert tg.autograd.is_anomaly_check_nan_enabled()
    assert not tg.autograd.is_anomaly_enabled()
    with make(), pytest.raises(RuntimeError, match="NaN"):
        (x.sqrt() * 0).backward()


def test_a_gradient_is_asked_for_at_a_place_in_the_graph():
    x = tg.tensor([2.0], requires_grad=True)
    y = x * x
    z = y * 3
    middle, leaf = map(tg.autograd.graph.get_gradient_edge, (y, x))
    assert middle.node is y.grad_fn
    assert leaf.output_nr == 0
    assert [g.item() for g in tg.autograd.grad(z, [middle, leaf], retain_graph=True)] == [3, 12]
    assert tg.autograd.grad(z, middle)[0].item() == 3
    other = tg.autograd.graph.get_gradient_edge(tg.ones(1, requires_grad=True))
    with pytest.raises(RuntimeError, match=r"inputs\[0\]` <leaf \(1,\)> was not used"):
        tg.autograd.grad(x * 1, other)
    with pytest.raises(RuntimeError, match="get_gradient_edge"):
        tg.autograd.graph.get_gradient_edge(tg.ones(1))


def test_nodes_keep_what_users_note():
    y = tg.ones(1, requires_grad=True) * 2
    y.grad_fn.metadata["note"] = 5
    assert y.grad_fn.metadata == {"note": 5}
    assert (y * 2).grad_fn.metadata == {}


def test_hooks_on_leaves_of_the_graph():
    x = tg.tensor([2.0], requires_grad=True)
    seen = []
    leaf = x.expand_as(x).grad_fn.next_functions[0][0]
    first = leaf.register_prehook(lambda gs: seen.append(gs[0].item()))
    leaf.register_hook(
        lambda inputs, outputs: seen.append((inputs, outputs[0].item(), x.grad.item()))
    )
    (x * 3).backward()
    assert seen == [3.0, ((), 3.0, 3.0)]
    first.remove()
    (x * 4).backward()
    assert seen[2:] == [((), 4.0, 7.0)]
