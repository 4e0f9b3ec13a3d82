"""The seam for those who watch operations run."""

import contextlib

import tinygrad_cnn as tg
from tinygrad_cnn import nn, optim
from tinygrad_cnn.autograd.events import unwatch, watch, watching


@contextlib.contextmanager
def watched(seen, kinds=("operation", "detach"), blind=True):
    """Note the names of what runs."""

    def observe(call, go):
        if call.kind not in kinds:
            return go()
        out = go(blind=blind)
        seen.append(call.name)
        tg.ones(1) * 2  # nobody is told of what an observer does
        return out

    watch(observe)
    try:
        yield
    finally:
        unwatch(observe)


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


def test_whoever_wants_to_sees_inside_of_calls_too():
    seen = []
    with watched(seen, blind=False):
        tg.tensor([1, 2]) + tg.tensor([0.5, 1.5])
        Twice.apply(tg.ones(2))
    assert seen == ["cast", "add", "mul", "Twice"]


def test_all_kinds_of_calls():
    model, seen = nn.Sequential(nn.Linear(2, 1)), []
    sgd = optim.SGD(model.parameters(), lr=0.1)

    def loss():
        out = model(tg.ones(3, 2)).sum()
        out.backward()
        return out

    kinds = ("rule", "walk", "module", "step", "closure")
    with watched(seen, kinds, blind=False):
        sgd.step(loss)
    modules, rules = ["Linear", "Sequential"], ["sum", "linear"]
    assert seen == [*modules, *rules, "reverse walk", "closure", "SGD.step"]
    assert not watching


def test_two_observers_see_the_same():
    outer, inner = [], []
    with watched(outer, blind=False), watched(inner):
        Twice.apply(tg.ones(2)) + 1
    assert outer == ["mul", "Twice", "add"]
    assert inner == ["Twice", "add"]
