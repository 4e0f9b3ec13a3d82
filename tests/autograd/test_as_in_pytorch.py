"""Changes in place, views, hooks and modes: small programs, here and in PyTorch.

Each takes the module, `T`, and returns plain values.
"""

from __future__ import annotations

from typing import Any

import pytest

import tinygrad_cnn as tg


def values(t: Any) -> Any:
    return None if t is None else t.tolist()


def retain_view(T: Any) -> Any:
    x = T.ones(3, requires_grad=True)
    y = x * 1
    v = y[0:2]
    v.retain_grad()
    v.mul_(2)
    (v.sum() + y.sum()).backward()
    return (values(v.grad), values(x.grad))


def retain_base(T: Any) -> Any:
    x = T.ones(3, requires_grad=True)
    y = x * 1
    y.retain_grad()
    v = y[0:2]
    v.retain_grad()
    v.mul_(2)
    y.sum().backward()
    return (values(y.grad), values(v.grad), values(x.grad))


def hook_base(T: Any) -> Any:
    seen = []
    x = T.ones(3, requires_grad=True)
    y = x * 1
    y.register_hook(lambda g: seen.append(("before", g.tolist())))
    v = y[0:2]
    v.mul_(2)
    y.register_hook(lambda g: seen.append(("after", g.tolist())))
    y.sum().backward()
    return (seen, values(x.grad))


def hook_view(T: Any) -> Any:
    seen = []
    x = T.ones(3, requires_grad=True)
    y = x * 1
    v = y[0:2]
    v.register_hook(lambda g: seen.append(("before", g.tolist())))
    v.mul_(2)
    v.register_hook(lambda g: seen.append(("after", g.tolist())))
    (y.sum() + v.sum()).backward()
    return (seen, values(x.grad))


def other_view(T: Any) -> Any:
    x = T.ones(4, requires_grad=True)
    y = x * 1
    a = y[:2]
    b = y[1:]
    a.mul_(3)
    return values(T.autograd.grad((b * b).sum(), x)[0])


def dirty_view(T: Any) -> Any:

    class F(T.autograd.Function):
        @staticmethod
        def forward(ctx, x, b):
            ctx.mark_dirty(x)
            ctx.save_for_backward(b)
            x.mul_(b)
            return x

        @staticmethod
        def backward(ctx, g):
            (b,) = ctx.saved_tensors
            return (g * b, g * 1)

    x = T.ones(5, requires_grad=True)
    y = x * 1
    b = T.full((2,), 3.0).requires_grad_()
    z = F.apply(y.narrow(0, 1, 2), b)
    (y * T.arange(5.0)).sum().backward()
    return (values(x.grad), values(b.grad), values(z))


def reentrant(T: Any) -> Any:

    class Deep(T.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            with T.enable_grad():
                ctx.x = x.detach().requires_grad_()
                ctx.x = ctx.x - 1
            return ctx.x.detach()

        @staticmethod
        def backward(ctx, g):
            if ctx.x < 0:
                return g
            with T.enable_grad():
                Deep.apply(ctx.x).sum().backward()
            return g

    v = T.tensor(1000.0, requires_grad=True)
    Deep.apply(v).sum().backward()
    return values(v.grad)


def materialize(T: Any) -> Any:
    x = T.tensor(0.5, requires_grad=True)
    a = T.tensor(1.0, requires_grad=True)
    y = x * a
    (d,) = T.autograd.grad(y, x, create_graph=True)
    (d2,) = T.autograd.grad(d, x, create_graph=True, materialize_grads=True)
    (d3,) = T.autograd.grad(d2, x, materialize_grads=True)
    return (values(d), values(d2), values(d3), d2.requires_grad)


def detach_output(T: Any) -> Any:
    x = T.tensor(1.0, requires_grad=True)
    a = x.clone()
    b = a.exp()
    b2 = b * 1
    b.detach_()
    b2.backward()
    return round(x.grad.item(), 5)


def unbind_write(T: Any) -> Any:
    y = T.ones(2, 3, requires_grad=True) * 1
    a, _ = y.unbind(0)
    try:
        a.mul_(2)
    except RuntimeError:
        return "raised"


def no_grad_view(T: Any) -> Any:
    y = T.ones(2, 3, requires_grad=True) * 1
    with T.no_grad():
        v = y[0]
    try:
        v.mul_(2)
    except RuntimeError:
        return "raised"


def gen(T: Any) -> Any:
    log = []

    @T.no_grad()
    def g():
        try:
            log.append(T.is_grad_enabled())
            yield 1
        except ValueError:
            log.append(("caught", T.is_grad_enabled()))
            yield 2
        finally:
            log.append(("finally", T.is_grad_enabled()))

    it = g()
    next(it)
    log.append(T.is_grad_enabled())
    log.append(it.throw(ValueError))
    it.close()
    log.append(T.is_grad_enabled())
    return log


def bare(T: Any) -> Any:

    @T.no_grad
    def f(x):
        return (x * 2).requires_grad

    return f(T.ones(1, requires_grad=True))


def expand_write(T: Any) -> Any:
    x = T.ones(2, 3)
    x.expand(2, 3).zero_()
    x.expand(1, 2, 3).add_(1)
    return values(x)


def func_grad(T: Any) -> Any:
    f = lambda x: (x**3).sum()
    g = T.func.grad(f)(T.tensor([1.0, 2.0], requires_grad=True))
    return (g.requires_grad, values(g))


def func_grad2(T: Any) -> Any:
    f = lambda x: (x**3).sum()
    g = T.func.grad(f)(T.tensor([1.0, 2.0]))
    return (g.requires_grad, values(g))


def func_vjp(T: Any) -> Any:
    f = lambda x: x**3
    y, v = T.func.vjp(f, T.tensor([1.0, 2.0]))
    r = v(T.ones(2))[0]
    return (y.requires_grad, r.requires_grad, y.grad_fn is None)


def func_jac(T: Any) -> Any:
    return T.func.hessian(lambda x: (x**3).sum())(T.tensor([1.0, 2.0])).requires_grad


def setitem_leaf_view(T: Any) -> Any:
    x = T.zeros(3)
    w = T.ones(2, requires_grad=True)
    x[1:] = w * 2
    v = x[1]
    v.mul_(3)
    x.sum().backward()
    return values(w.grad)


def view_chain(T: Any) -> Any:
    x = T.ones(2, 3, requires_grad=True)
    y = x * 2
    r = y.view(6)[1:].view(5)
    r.mul_(2)
    t = y.t()
    t[0].zero_()
    y.sum().backward()
    return (values(x.grad), r.requires_grad)


def leafview(T: Any) -> Any:
    x = T.ones(2, requires_grad=True)
    try:
        x[0].mul_(2)
    except RuntimeError:
        return "raised"


def inplace_leaf_nograd(T: Any) -> Any:
    x = T.ones(2, requires_grad=True)
    with T.no_grad():
        x[0].mul_(2)
        x.view(-1).add_(1)
    return (values(x), x.requires_grad, x._version)


def grad_alias(T: Any) -> Any:
    x = T.ones(2, requires_grad=True)
    y = T.ones(2, requires_grad=True)
    (x + y).sum().backward()
    x.grad.zero_()
    return values(y.grad)


def version(T: Any) -> Any:
    x = T.ones(4)
    v = x[:2]
    v.add_(1)
    d = x.detach()
    d.mul_(2)
    x.data.mul_(2)
    x.zero_()
    return (x._version, v._version)


def detach_view(T: Any) -> Any:
    y = T.ones(3, requires_grad=True) * 1
    v = y[:2]
    try:
        v.detach_()
        return "ok"
    except RuntimeError:
        return "raised"


def requires_grad_view(T: Any) -> Any:
    y = T.ones(3)
    v = y[:2]
    v.requires_grad_()
    v2 = v * 2
    v2.sum().backward()
    return (values(v.grad), y.requires_grad)


def saved_output_change(T: Any) -> Any:
    x = T.ones(2, requires_grad=True)
    y = x.exp()
    y.add_(1)
    try:
        y.sum().backward()
        return "ok"
    except RuntimeError:
        return "raised"


def fill_const(T: Any) -> Any:
    x = T.ones(3, requires_grad=True)
    y = x * 2
    y.fill_(3.0)
    return (y.requires_grad, values(T.autograd.grad(y.sum(), x)[0]))


def copy_grad(T: Any) -> Any:
    x = T.ones(3, requires_grad=True)
    y = T.zeros(3)
    y.copy_(x * 3)
    y[1] = 0
    y.sum().backward()
    return values(x.grad)


PROGRAMS = [
    retain_view,
    retain_base,
    hook_base,
    hook_view,
    other_view,
    dirty_view,
    reentrant,
    materialize,
    detach_output,
    unbind_write,
    no_grad_view,
    gen,
    bare,
    expand_write,
    func_grad,
    func_grad2,
    func_vjp,
    func_jac,
    setitem_leaf_view,
    view_chain,
    leafview,
    inplace_leaf_nograd,
    grad_alias,
    version,
    detach_view,
    requires_grad_view,
    saved_output_change,
    fill_const,
    copy_grad,
]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_program(program: Any) -> None:
    expected = program(
        pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch==2.13.0")
    )
    assert program(tg) == expected


def test_a_saved_tensor_that_is_cut_off() -> None:
    a = tg.tensor(1.0, requires_grad=True).clone()
    b = a.sin()
    a.detach_()
    with pytest.raises(RuntimeError, match="detach_ changed it in place"):
        b.backward()


def test_a_function_does_not_write_to_a_leaf() -> None:
    class Double(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.mark_dirty(x)
            return x.mul_(2)

    with pytest.raises(RuntimeError, match="Double: a leaf that requires gradients"):
        Double.apply(tg.ones(2, requires_grad=True))


def test_what_is_marked_dirty_is_returned() -> None:
    class Lost(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.mark_dirty(x)
            return x * 2

    with pytest.raises(RuntimeError, match="Lost: a tensor that was marked dirty is not returned"):
        Lost.apply(tg.ones(2, requires_grad=True) * 1)
