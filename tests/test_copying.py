"""Copies by `copy.deepcopy` and `pickle`: what was shared stays shared, what was hung on stays."""

from __future__ import annotations

import copy
import functools
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parity import require_torch

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.functions import copying
from tinygrad_cnn.testing.draws import HypothesisDraw


def through_pickle(value: Any, protocol: int = pickle.DEFAULT_PROTOCOL) -> Any:
    return pickle.loads(pickle.dumps(value, protocol))


WAYS = {
    "deepcopy": copy.deepcopy,
    "pickle": through_pickle,
    "pickle 2": functools.partial(through_pickle, protocol=2),
}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


class Marked(tg.Tensor):
    """A tensor with a slot and attributes."""

    __slots__ = ("mark",)


class Scale(nn.Parameter):
    """A kind of parameter."""


@every_way
def test_views_stay_views_of_one_memory(way: Any) -> None:
    x = tg.arange(12.0).reshape(3, 4)
    parts = [x, x[1:], x.t(), x[:, ::2], x[0], x.detach(), x.data, x[:, :1].expand(3, 5)]
    twins = way(parts)
    for old, new in zip(parts, twins, strict=True):
        assert new.equal(old)
        assert new.stride() == old.stride()
        assert not np.shares_memory(new.numpy(), x.numpy())
    before = twins[0]._version
    twins[3].mul_(10)
    assert twins[0]._version == before + 1
    for old, new in zip(parts, twins, strict=True):
        assert not new.equal(old)
    assert twins[0][0].tolist() == [0.0, 1.0, 20.0, 3.0]
    with pytest.raises(RuntimeError, match="read-only memory"):
        twins[-1].zero_()


@every_way
def test_a_lazy_value_of_a_shared_memory(way: Any) -> None:
    pytest.importorskip("numba", reason="Numba is not installed: pip install numba")
    tg.set_kernels("jit")
    bn = nn.BatchNorm2d(8).eval()
    with tg.no_grad():
        x, y = way([x := tg.ones(1, 8, 12, 12) * 3, x[:]])
        waiting = bn(x)
        y.zero_()
        assert abs(waiting[0, 0, 0, 0].item() - 3) < 1e-3


@pytest.mark.parametrize("pieces", [2, 3])
def test_pytorch_shares_too(pieces: int) -> None:
    torch = require_torch()
    found = []
    for m in (tg, torch):
        x = m.arange(12.0).reshape(3, 4)
        twins = copy.deepcopy([x[i] for i in range(pieces)] + [x])
        twins[0].zero_()
        found.append([t.tolist() for t in twins])
    assert found[0] == found[1]


@given(st.data())
def test_any_view(data: Any) -> None:
    draw = HypothesisDraw(data)
    base = tg.arange(24.0).reshape(2, 3, 4)
    for _ in range(draw.integer(0, 3)):
        base = base.permute(*np.random.default_rng(draw.integer(0, 9)).permutation(base.ndim))
    views = [base, *(base[draw._basic(2), draw._basic(1)] for _ in range(2)), base.flatten()]
    for way in WAYS.values():
        twins = way(views)
        for i, target in enumerate(twins):
            for old, new in zip(views, twins, strict=True):
                assert new.equal(old)
                shared = np.shares_memory(old.numpy(), views[i].numpy())
                assert np.shares_memory(new.numpy(), target.numpy()) == shared


@every_way
def test_tied_weights(way: Any) -> None:
    a, b, c = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
    b.weight = a.weight
    c.weight = nn.Parameter(a.weight.data)
    twin = way(nn.Sequential(a, b, c))
    assert twin[0].weight is twin[1].weight
    twin[0].weight.data.zero_()
    assert twin[2].weight.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert a.weight.tolist() != [[0.0, 0.0], [0.0, 0.0]]


def test_threads_that_copy_one_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(root: Any) -> Any:
        time.sleep(0.02)  # in which other threads come to the same memory
        return bytes_of(root)

    bytes_of = copying.bytes_of
    monkeypatch.setattr(copying, "bytes_of", slowly)
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    b.weight = nn.Parameter(a.weight.data)
    model = nn.Sequential(a, b)
    with ThreadPoolExecutor(4) as threads:
        twins = list(threads.map(copy.deepcopy, [model] * 8))
    for twin in twins:
        twin[0].weight.data.zero_()
        assert not twin[1].weight.any()
        assert a.weight.any()


@every_way
def test_parameters_that_are_parts_of_one_vector(way: Any) -> None:
    flat = tg.randn(6)
    parts = nn.ParameterList([nn.Parameter(flat[:4].reshape(2, 2)), nn.Parameter(flat[4:])])
    twin, vector = way((parts, flat))
    vector.zero_()
    assert all(not p.any() for p in twin)
    twin[1].data.fill_(1.0)
    assert vector.tolist() == [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]


@every_way
def test_a_model_and_its_optimiser(way: Any) -> None:
    model = nn.Linear(3, 2)
    optimizer = tg.optim.Adam(model.parameters())
    for p in model.parameters():
        p.grad = tg.ones_like(p)
    optimizer.step()
    twin, other = way((model, optimizer))
    assert other.param_groups[0]["params"][0] is twin.weight
    old, new = optimizer.state[model.weight]["exp_avg"], other.state[twin.weight]["exp_avg"]
    assert new.equal(old)
    assert not np.shares_memory(new.numpy(), old.numpy())


@every_way
@pytest.mark.parametrize("kind", [tg.Tensor, nn.Parameter, Scale, Marked])
def test_attributes_and_classes(way: Any, kind: Any) -> None:
    x = kind(tg.ones(2))
    x.names, x.itself = ["a"], x
    if kind is Marked:
        x.mark = {"one": 1}
    y = way(x)
    assert type(y) is kind
    assert y.requires_grad == x.requires_grad
    assert y.names == ["a"]
    assert y.names is not x.names
    assert y.itself is y
    if kind is Marked:
        assert y.mark == {"one": 1}
        assert y.mark is not x.mark
    assert not hasattr(way(kind(tg.ones(2))), "names")


@every_way
@pytest.mark.parametrize(
    "make",
    [
        lambda: tg.tensor(3.0),
        lambda: tg.zeros(0, 3),
        lambda: tg.tensor([True, False]),
        lambda: tg.from_numpy(np.arange(20.0)[::2]),
        lambda: tg.from_numpy(np.arange(5.0)[::-1]),
        lambda: tg.from_numpy(np.frombuffer(b"0123456789abcdef", np.float32)),
        lambda: tg.from_numpy(np.asfortranarray(np.arange(6.0).reshape(2, 3))),
        lambda: tg.randn(2, 3, 4, 5).permute(0, 2, 3, 1),
    ],
)
def test_any_memory(way: Any, make: Any) -> None:
    x = make()
    y = way(x)
    assert y.equal(x)
    assert y.dtype == x.dtype
    assert y.stride() == x.stride()
    y.fill_(1)
    assert y.all()


def test_hooks_of_tensors_stay_behind_as_in_pytorch() -> None:
    torch = require_torch()
    found = []
    for m in (tg, torch):
        x = m.ones(2, requires_grad=True)
        x.register_hook(lambda g: g * 5)
        y = copy.deepcopy(x)
        y.sum().backward()
        found.append(y.grad.tolist())
    assert found[0] == found[1] == [1.0, 1.0]


@pytest.mark.parametrize("kind", ["register_forward_pre_hook", "register_forward_hook"])
def test_hooks_of_modules_come_along_as_in_pytorch(kind: str) -> None:
    torch = require_torch()
    found = []
    for m in (tg, torch):
        layer, calls = m.nn.Linear(2, 2), []
        handle = getattr(layer, kind)(lambda *a, calls=calls: calls.append(type(a[0]).__name__))
        twin = copy.deepcopy(layer)
        handle.remove()
        layer(m.ones(1, 2))
        twin(m.ones(1, 2))
        found.append(calls)
    assert found[0] == found[1] == ["Linear"]


def test_a_shallow_copy_shares_everything() -> None:
    p = nn.Parameter(tg.ones(3))
    p.names = ["a"]
    q = copy.copy(p)
    assert type(q) is nn.Parameter
    assert q is not p
    assert q.requires_grad
    assert q.names is p.names
    with tg.no_grad():
        q.zero_()
    assert not p.any()
    assert p._version == q._version == 1
    with pytest.raises(RuntimeError, match="copy: only leaves"):
        copy.copy(p * 2)
