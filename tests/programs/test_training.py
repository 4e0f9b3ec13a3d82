"""Compiled modules in the user's own loop: forward passes are replayed, and backward passes."""

from __future__ import annotations

import copy
import gc
import threading
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_cnn as tg
from tinygrad_cnn import nn, optim
from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.programs.program import Handout
from tinygrad_cnn.programs.replayed import Pair
from tinygrad_cnn.testing.architectures import architectures


def _bits(value: Any) -> Any:
    if isinstance(value, tg.Tensor):
        return value.shape, str(value.dtype), value.detach().numpy().tobytes()
    if isinstance(value, (list, tuple)):
        return [_bits(v) for v in value]
    return value


def _left(net: nn.Module) -> list[Any]:
    tensors = [*net.parameters(), *(p.grad for p in net.parameters()), *net.buffers()]
    return [_bits(t) for t in tensors]


def _call(compiled: Any) -> Any:
    """The compiled function behind a module."""
    return type(compiled).__dict__["explain"].__self__


def _pairs(compiled: Any) -> list[Any]:
    found = [p for p in _call(compiled).programs.values() if isinstance(p, list)]
    return [pair for pairs in found for pair in pairs if isinstance(pair, Pair)]


def _net() -> nn.Module:
    tg.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(32, 4),
    )  # fmt: skip


def _batch(k: int, n: int = 4) -> tuple[tg.Tensor, tg.Tensor]:
    rng = np.random.default_rng(k)
    return tg.tensor(rng.normal(size=(n, 3, 8, 8)).astype("f")), tg.tensor(rng.integers(0, 4, n))


# ---- the loop ----------------------------------------------------------------------------------


def _loop(model: nn.Module, shape: Any, seed: int, compiled: bool, threads: int) -> list[Any]:
    net = copy.deepcopy(model).train()
    call = tg.compile(net) if compiled else net
    optimizer = optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    rng, seen = np.random.default_rng(seed), []
    tg.manual_seed(seed)
    before = tg.get_num_threads()
    tg.set_num_threads(threads)
    try:
        for k in range(4):
            x = tg.tensor(rng.normal(size=shape).astype("f"), requires_grad=bool(seed % 2))
            optimizer.zero_grad()
            out = call(x)
            loss = (out * tg.tensor(rng.normal(size=out.shape).astype("f"))).mean()
            loss.backward()
            if k != 2:
                optimizer.step()
            seen += [_bits(out), _bits(x.grad), *_left(net)]
    finally:
        tg.set_num_threads(before)
    if compiled:
        (pair,) = _pairs(call)
        assert pair.replays == pair.backwards == 3, call.explain()
    return seen


@settings(max_examples=10, deadline=None)
@given(architectures(), st.integers(0, 99), st.sampled_from([1, 2]))
def test_random_architectures_give_the_same_bits(made, seed, threads):
    tg.manual_seed(seed)
    model, shape = made.build(), made.input_shape
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = _loop(model, shape, seed, True, threads)
    assert found == _loop(model, shape, seed, False, threads)


def _steps(form: Callable[[nn.Module, Any, int], Any], net: nn.Module, call: Any) -> list[Any]:
    tg.manual_seed(3)
    seen = []
    for k in range(4):
        seen += [_bits(form(net, call, k)), *_left(net)]
    seen.append(_bits(tg.rand(3)))  # as many random numbers were drawn
    return seen


def _plain(net, call, k):
    net.zero_grad()
    x, y = _batch(k)
    loss = F.cross_entropy(call(x), y)
    loss.backward()
    return loss


def _added_up(net, call, k):
    x, y = _batch(k)
    loss = F.cross_entropy(call(x), y)
    loss.backward()
    return loss


def _into_zeros(net, call, k):
    net.zero_grad(set_to_none=False)
    return _added_up(net, call, k)


def _twice_in_one_loss(net, call, k):
    net.zero_grad()
    (x, y), (z, _) = _batch(k), _batch(k + 10)
    loss = F.cross_entropy(call(x), y) + (call(z) * call(z)).mean()
    loss.backward()
    return loss


def _behind_itself(net, call, k):
    net.zero_grad()
    x, y = _batch(k)
    inner = call(x).mean(1).reshape(4, 1, 1, 1) * x
    loss = F.cross_entropy(call(inner), y)
    loss.backward()
    return loss


def _retained(net, call, k):
    net.zero_grad()
    x, y = _batch(k)
    out = call(x)
    for _ in range(2):
        F.cross_entropy(out, y).backward(retain_graph=True)
    out.sum().backward()
    return out


def _late(net, call, k):
    """Three calls are alive at a time, and their backward passes come in another order."""
    net.zero_grad()
    outs = [call(_batch(k + i)[0]) for i in range(3)]
    for i in (1, 2, 0):
        F.cross_entropy(outs[i], _batch(k + i)[1]).backward()
    return outs


def _input_gradients(net, call, k):
    net.zero_grad()
    x, y = _batch(k)
    leaf = x.requires_grad_()
    inner = leaf * 2
    loss = F.cross_entropy(call(inner), y) + inner.mean()
    loss.backward()
    return leaf.grad


def _gradients_of_some(net, call, k):
    x, y = _batch(k)
    x.requires_grad_()
    loss = F.cross_entropy(call(x), y)
    return tg.autograd.grad(loss, [x, net[4].weight, net[0].bias])


def _weights_outside(net, call, k):
    net.zero_grad()
    x, y = _batch(k)
    decay = sum((p * p).sum() for p in net.parameters())
    loss = F.cross_entropy(call(x), y) + decay * 0.1
    (loss + net[0].weight.abs().sum()).backward()
    return loss


def _frozen(net, call, k):
    net[0].weight.requires_grad_(k % 2 == 0)
    return _plain(net, call, k // 2)


def _hooks_on_results(net, call, k):
    net.zero_grad()
    x, y = _batch(k)
    out, seen = call(x), []
    out.retain_grad()
    out.register_hook(lambda g: seen.append(g.clone()) or g * 2)
    F.cross_entropy(out, y).backward()
    return [out.grad, *seen]


def _results_in_place(net, call, k):
    net.zero_grad()
    x, y = _batch(k)
    out = call(x)
    out.mul_(2)
    out[0] = 0
    loss = F.cross_entropy(out, y)
    loss.backward()
    return loss


def _double(net, call, k):
    net.zero_grad()
    x, y = _batch(k)
    x.requires_grad_()
    loss = F.cross_entropy(call(x), y)
    (gx,) = tg.autograd.grad(loss, x, create_graph=True)
    ((gx * gx).sum() + loss).backward()
    return gx


def _anomalies(net, call, k):
    net.zero_grad()
    x, y = _batch(k)
    loss = F.cross_entropy(call(x), y)
    with tg.autograd.detect_anomaly():
        loss.backward()
    return loss


def _watched(net, call, k):
    net.zero_grad()
    x, y = _batch(k)
    loss = F.cross_entropy(call(x), y)
    with tg.profiler.profile() if k % 2 else nullcontext():
        loss.backward()
    return loss


def _sometimes(net, call, k):
    """Evaluation between, with and without a graph that is dropped."""
    if k % 2:
        call(_batch(k)[0])
        with tg.no_grad():
            return call(_batch(k)[0])
    return _plain(net, call, k)


REPLAYED = [
    _plain, _watched, _added_up, _into_zeros, _twice_in_one_loss, _behind_itself, _retained, _late,
    _input_gradients, _gradients_of_some, _weights_outside, _frozen, _hooks_on_results,
    _results_in_place, _sometimes,
]  # fmt: skip
AGAIN = {
    _double: "create_graph",
    _anomalies: "anomalies",
}


def _compare(form) -> Any:
    usual = _net()
    plain = _steps(form, usual, usual)
    net = _net()
    call = tg.compile(net)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        found = _steps(form, net, call)
    assert found == plain
    return call


@pytest.mark.parametrize("form", REPLAYED, ids=lambda f: f.__name__.strip("_"))
def test_a_loop_gives_the_same_bits(form):
    call = _compare(form)
    assert sum(pair.backwards for pair in _pairs(call)), call.explain()
    assert "backward passes: " in call.explain()


@pytest.mark.parametrize("form", AGAIN, ids=lambda f: f.__name__.strip("_"))
def test_what_cannot_be_replayed_runs_the_forward_pass_again(form):
    usual = _net()
    plain = _steps(form, usual, usual)
    net = _net()
    call = tg.compile(net)
    (_input_gradients if form is _double else _plain)(net, call, 0)  # recorded
    assert "another forward pass" not in call.explain()
    net.load_state_dict(_net().state_dict())
    net.zero_grad()
    assert _steps(form, net, call) == plain
    assert AGAIN[form] in call.explain()


# ---- what modules give and get -----------------------------------------------------------------


class _Several(nn.Module):
    """Results of several kinds; ``w`` is used more than once."""

    def __init__(self):
        super().__init__()
        tg.manual_seed(1)
        self.a, self.b = nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x, scale=1.0, *, more=None):
        h = self.a(x).tanh()
        for _ in range(3):
            h = self.a(h).tanh() * scale
        out = self.b(h)
        found = {"out": out, "hidden": [h, h.detach() * 2], "given": x, "best": out.argmax(1)}
        if more is not None:
            found["more"] = (out * more).exp()
        return found


def _losses(found):
    yield found["out"].square().mean()
    yield found["out"].sum() + (found["hidden"][0] * found["hidden"][1]).sum()
    yield found["hidden"][0].exp().mean()
    if "more" in found:
        yield found["more"].mean() + found["given"].sum()


@pytest.mark.parametrize("number", range(4))
def test_results_of_several_kinds(number):
    states = []
    for compiled in (False, True):
        net = _Several()
        call: Any = tg.compile(net) if compiled else net
        rng, seen = np.random.default_rng(0), []
        for k in range(5):
            x = tg.tensor(rng.normal(size=(4, 5)).astype("f"), requires_grad=number == 3)
            more = tg.tensor(rng.normal(size=(4, 3)).astype("f"), requires_grad=True)
            found = call(x * 1, 0.5, more=more if number == 3 else None)
            loss = list(_losses(found))[number]
            if k == 3:  # in another way than before
                loss = loss + found["out"].sum()
            loss.backward()
            seen += [_bits(loss)]
            seen += [_bits(found["best"]), _bits(found["hidden"]), _bits(x.grad), _bits(more.grad)]
            seen += _left(net)
        states.append(seen)
    assert states[0] == states[1]
    assert sum(pair.backwards for pair in _pairs(call)) >= 2, call.explain()


LAYERS = {
    "lstm": lambda: nn.LSTM(4, 6, num_layers=2, batch_first=True),
    "gru": lambda: nn.GRU(4, 6),
    "transformer": lambda: nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True),
    "conv1d": lambda: nn.Sequential(
        nn.Conv1d(5, 4, 3), nn.GroupNorm(2, 4), nn.GELU(), nn.AvgPool1d(2)
    ),
    "embedding": lambda: nn.Sequential(
        nn.Embedding(9, 4), nn.LayerNorm(4), nn.Dropout(0.5), nn.Softmax(-1)
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_other_kinds(name):
    states = []
    for compiled in (False, True):
        tg.manual_seed(0)
        net = LAYERS[name]()
        call = tg.compile(net) if compiled else net
        rng, seen = np.random.default_rng(0), []
        for _ in range(4):
            numbers = rng.normal(size=(3, 5, 4)).astype("f")
            words = rng.integers(0, 9, (3, 5))
            found = call(tg.tensor(words if name == "embedding" else numbers))
            out = found[0] if isinstance(found, tuple) else found
            (out * tg.tensor(rng.normal(size=out.shape).astype("f"))).sum().backward()
            seen += [_bits(out), *_left(net)]
        states.append(seen)
    assert states[0] == states[1]
    assert [pair.backwards for pair in _pairs(call)] == [3]


# ---- what is an error, and what runs as usual ----------------------------------------------------


def _message(call: Callable[[], Any]) -> str:
    with pytest.raises(RuntimeError) as error:
        call()
    return str(error.value)


def _change_weight(net, x, out):
    with tg.no_grad():
        net[2].weight.mul_(2)


def _change_input(net, x, out):
    with tg.no_grad():
        x.mul_(2)


def _change_result(net, x, out):
    out.mul_(2)


@pytest.mark.parametrize("change", [_change_weight, _change_input, _change_result])
def test_what_is_changed_in_place_afterwards_is_the_usual_error(change):
    messages = []
    for compiled in (False, True):
        tg.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2), nn.Tanh())
        call = tg.compile(net) if compiled else net
        for _ in range(2):
            call(tg.ones(2, 3)).sum().backward()
        x = tg.ones(2, 3)
        out = call(x)
        change(net, x, out)
        messages.append(_message(out.sum().backward))
    assert messages[0] == messages[1]
    assert "changed it in place" in messages[1]


def test_a_graph_is_walked_once_without_retain_graph():
    call = tg.compile(nn.Linear(3, 2))
    for _ in range(3):
        out = call(tg.ones(2, 3))
        out.sum().backward()
        assert "already walked" in _message(out.sum().backward)


def test_what_the_function_reads_must_not_change_before_it_runs_again():
    net = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))
    call = tg.compile(net)
    for _ in range(2):
        call(tg.ones(2, 3)).sum().backward()
    out = call(tg.ones(2, 3))
    net.eval()
    text = _message(lambda: out.sum().backward(create_graph=True))
    assert "was changed after its forward pass" in text
    assert "create_graph" in text


def test_weights_that_were_replaced_are_not_taken_for_those_before():
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    call = tg.compile(net)
    for _ in range(2):
        call(tg.ones(2, 3)).sum().backward()
    out = call(tg.ones(2, 3))
    net[1].weight.data = net[1].weight.data * 2
    assert "was changed after its forward pass" in _message(out.sum().backward)


class _Keeps(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.inner, self.how, self.seen = nn.Linear(3, 3), how, []

    def forward(self, x):
        h = self.inner(x)
        if self.how == "hook":
            h.register_hook(self.seen.append)
        elif self.how == "retain":
            h.retain_grad()
        elif self.how == "attribute":
            self.h = h
        elif self.how == "leaf":
            h = h + tg.ones(3, requires_grad=True)
        elif self.how == "in place":
            x.add_(1)
        elif self.how == "walk":
            (gx,) = tg.autograd.grad(h.sum(), self.inner.weight, retain_graph=True)
            h = h + gx.sum()
        elif self.how == "checkpoint":
            h = tg.utils.checkpoint.checkpoint(self.inner, h, use_reentrant=False)
        return h * h


def test_a_parameter_that_was_frozen_for_a_while():
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    call = tg.compile(net)
    for k in range(6):
        weight = net[0].weight
        weight.requires_grad_(k not in (2, 3))
        loss = call(tg.ones(2, 3)).sum()
        if weight.requires_grad:
            assert tg.autograd.grad(loss, weight)[0].shape == (4, 3)
        else:
            loss.backward()
    assert len(_pairs(call)) >= 2


def test_threads_may_be_others_in_the_backward_pass():
    states = []
    for compiled in (False, True):
        net = _net()
        call = tg.compile(net) if compiled else net
        before = tg.get_num_threads()
        try:
            for k in range(4):
                tg.set_num_threads(2)
                tg.manual_seed(k)
                loss = F.cross_entropy(call(_batch(k)[0]), _batch(k)[1])
                tg.set_num_threads(2 if k < 2 else 1)
                loss.backward()
        finally:
            tg.set_num_threads(before)
        states.append([p.grad.numpy() for p in net.parameters()])
    for a, b in zip(*states, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert "threads or kernels" in call.explain()


def test_a_backward_pass_that_failed_is_not_done_again_on_what_it_left(monkeypatch):
    call = tg.compile(nn.Linear(3, 2))
    for _ in range(2):
        call(tg.ones(2, 3)).sum().backward()
    out = call(tg.ones(2, 3)).sum()
    (pair,) = _pairs(call)

    def fails(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(pair.instance()), "_follow", fails)
        with pytest.raises(KeyboardInterrupt):
            out.backward()
    assert "already walked" in _message(out.backward)


@pytest.mark.filterwarnings("ignore:compile")
@pytest.mark.parametrize(
    "how", "hook retain attribute leaf inplace walk checkpoint".replace("inpl", "in pl").split(" ")
)
def test_modules_that_do_more_run_as_usual(how):
    states = []
    for compiled in (False, True):
        tg.manual_seed(0)
        net = _Keeps(how)
        call = tg.compile(net) if compiled else net
        for k in range(4):
            x = tg.full((2, 3), float(k), requires_grad=True)
            call(x * 2).sum().backward()
        states.append([*_left(net), _bits(net.seen), _bits(x.grad)])
    assert states[0] == states[1]


@pytest.mark.filterwarnings("ignore:compile")
def test_hooks_of_modules_are_called():
    net, seen = nn.Sequential(nn.Linear(2, 2), nn.Tanh()), []
    call = tg.compile(net)
    for k in range(4):
        if k == 2:
            net[0].register_full_backward_hook(lambda *_: seen.append("module"))
        call(tg.ones(1, 2, requires_grad=True)).sum().backward()
    assert seen == ["module"] * 2


@pytest.mark.parametrize("when", [0, 2])
def test_hooks_of_parameters_are_called_and_change_gradients(when):
    states = []
    for compiled in (False, True):
        net, seen = _net(), []
        call = tg.compile(net) if compiled else net
        tg.manual_seed(0)
        for k in range(5):
            if k == when:
                net[4].weight.register_hook(lambda g, seen=seen: seen.append(_bits(g)) or g * 2)
                net[8].bias.register_post_accumulate_grad_hook(lambda p: p.grad.mul_(3))
            _plain(net, call, k)
            seen.append(_left(net))
        states.append(seen)
    assert states[0] == states[1]
    assert sum(pair.backwards for pair in _pairs(call)) >= 3, call.explain()


@pytest.mark.filterwarnings("ignore:compile")
def test_a_loss_that_is_looked_at_before_its_backward_pass():
    """A compiled function is cut there: what comes before and the backward pass are replayed."""
    states = []
    for compiled in (False, True):
        net = _net()
        optimizer = optim.SGD(net.parameters(), lr=0.1)

        def step(x, y, net=net, optimizer=optimizer):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            seen = loss.item()
            loss.backward()
            optimizer.step()
            return seen

        run = tg.compile(step) if compiled else step
        tg.manual_seed(0)
        states.append([[run(*_batch(k)) for k in range(20)], *_left(net)])
    assert states[0] == states[1]
    assert "backward passes: 16 replayed" in run.explain()
    assert "finds another state" in run.explain()


def test_several_threads_each_have_their_own_memory():
    net = _net()
    net[7].p = 0.0
    call = tg.compile(net)
    _plain(net, call, 0)
    _plain(net, call, 1)
    batches = [_batch(k) for k in range(12)]

    def gradients(model, k):
        x, y = batches[k]
        loss = F.cross_entropy(model(x), y)
        return [_bits(g) for g in tg.autograd.grad(loss, list(net.parameters()))]

    right = [gradients(net, k) for k in range(12)]
    found: dict[int, Any] = {}

    def work(start):
        for k in range(start, 12, 3):
            found[k] = gradients(call, k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [found[k] for k in range(12)] == right


def test_memory_comes_back_when_a_graph_is_freed():
    net = _net()
    call = tg.compile(net)
    for k in range(3):
        _plain(net, call, k)
    (pair,) = _pairs(call)
    outs = [call(_batch(k)[0]) for k in range(3)]
    assert len(pair.lent) - len(pair.returned) == 3
    del outs
    gc.collect()
    for k in range(3):
        _plain(net, call, k)
    assert len(pair.free) + len(pair.returned) == 3
    assert pair.program.arena_bytes <= pair.program.usual_bytes + 64


class _Recurrent(nn.Module):
    def __init__(self, n=8):
        super().__init__()
        tg.manual_seed(2)
        self.cell = nn.RNNCell(n, n)

    def forward(self, x, h):
        for t in range(12):
            h = self.cell(x[t], h)
        return h


def _unrolled(net, call, k):
    net.zero_grad()
    x = tg.tensor(np.random.default_rng(k).normal(size=(12, 2, 8)).astype("f"), requires_grad=True)
    call(x * 1, tg.zeros(2, 8)).square().sum().backward()
    return x.grad


def _unrolled_with_weights_outside(net, call, k):
    net.zero_grad()
    x = tg.tensor(np.random.default_rng(k).normal(size=(12, 2, 8)).astype("f"), requires_grad=True)
    inner = x * 1
    loss = call(inner, tg.zeros(2, 8)).square().sum() * net.cell.weight_hh.square().mean()
    (loss * 0.1).backward()
    return x.grad


@pytest.mark.parametrize("form", [_unrolled, _unrolled_with_weights_outside])
def test_gradients_of_weights_that_are_used_often(form):
    states = []
    for compiled in (False, True):
        net = _Recurrent()
        call = tg.compile(net) if compiled else net
        states.append(_steps(form, net, call))
    assert states[0] == states[1]
    (pair,) = _pairs(call)
    assert pair.backwards == 3
    # one gradient each of x, two weights and two biases, or one for each time that it was used
    assert sum(isinstance(u, Handout) for u in pair.program.units) == (
        5 if form is _unrolled else 12 * 5
    )


def test_results_that_nobody_walks_are_recorded_rarely():
    call = tg.compile(nn.Linear(3, 2))
    for _ in range(40):
        call(tg.ones(1, 3))
    assert _call(call).recordings <= 6
    assert "no backward pass has come" in call.explain()


def test_an_error_in_a_forward_pass_leaves_a_program_that_works():
    net = nn.Embedding(4, 3)
    call = tg.compile(net)
    for _ in range(2):
        call(tg.tensor([1, 2])).sum().backward()
    with pytest.raises(IndexError):
        call(tg.tensor([1, 9]))
    net.zero_grad()
    call(tg.tensor([1, 2])).sum().backward()
    assert net.weight.grad.sum(1).tolist() == [0, 3, 3, 0]


def test_fullgraph_refuses_what_runs_in_python():
    call = tg.compile(_net(), fullgraph=True)
    x, y = _batch(0)
    with pytest.raises(RuntimeError, match="called in Python"):
        F.cross_entropy(call(x), y).backward()


class _Beside(nn.Module):
    """What is changed before: running statistics, and where random numbers come from."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(1), nn.Dropout(0.3)

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        return x + self.drop(self.norm(x - x.mean()))


def _with_far_means(whole: bool, compiles: bool) -> tuple[list[Any], Any]:
    """Train where every third mean of what is normalised is far from 0, for its spread."""
    tg.manual_seed(0)
    front = nn.Identity() if whole else _Beside()  # a whole step must have changed nothing so far
    net = nn.Sequential(front, nn.GroupNorm(1, 1), nn.Flatten(), nn.Linear(16, 2))
    sgd = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    model = tg.compile(net) if compiles and not whole else net

    def step(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        sgd.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        sgd.step()
        return loss

    run = tg.compile(step) if compiles and whole else step
    batches = [(tg.randn(2, 1, 4, 4) + 1e5 * (k % 3 == 2), tg.randint(2, (2,))) for k in range(8)]
    losses = [run(x, y).item() for x, y in batches]
    return [losses, _left(net), tg.rand(1).item()], run if whole else model


@pytest.mark.parametrize("whole", [False, True])
def test_numbers_for_which_it_does_something_else_run_as_usual(whole):
    usual, _ = _with_far_means(whole, False)
    with pytest.warns(RuntimeWarning, match="group_norm gives something of another kind"):
        found, compiled = _with_far_means(whole, True)
    assert found == usual
    call = compiled if whole else _call(compiled)
    assert call.replayed == 5
