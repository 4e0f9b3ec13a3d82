"""The seam for those who watch operations run."""

import contextlib

import tinygrad_cnn as tg
from tinygrad_cnn.autograd.events import observer, watching


@contextlib.contextmanager
def watched(seen):
    """Note the names of what runs."""

    def observe(name, run, args, params):
        inner = observer.set(None)
        try:
            out = run(*args, **params)
        finally:
            observer.reset(inner)
        seen.append(name)
        return out

    token = observer.set(observe)
    watching.append(observe)
    try:
        yield
    finally:
        watching.pop()
        observer.reset(token)


class Twice(tg.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g * 2


def test_operations_functions_and_detach_are_seen():
    x, seen = tg.randn(3, requires_grad=True), []
    with watched(seen):
        y = Twice.apply(x.exp()) + x.detach()
        z = y.sum()
    assert seen == ["exp", "Twice", "detach", "add", "sum"]
    z.backward()
    assert len(seen) == 5
    expected = 2 * x.detach().exp()
    assert tg.allclose(x.grad, expected)


def test_what_runs_inside_a_call_is_not_seen_on_its_own():
    seen = []
    with watched(seen):
        tg.tensor([1, 2]) + tg.tensor([0.5, 1.5])  # brought to one dtype inside
    assert seen == ["add"]


def test_rules_are_seen_while_they_run():
    x, seen = tg.randn(3, requires_grad=True), []
    y = x.exp().sum()
    with watched(seen):
        y.backward()
    assert "mul" in seen
