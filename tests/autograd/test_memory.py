"""Depth, memory and lifetime: no recursion, no cycles, nothing kept that no rule needs."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_chain_of_100_000_operations(no_collector: None) -> None:
    x = tg.ones((), requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    y.backward()
    assert x.grad.item() == 1.0
    last = weakref.ref(y.grad_fn)
    del y
    assert last() is None


def test_a_chain_is_destroyed_without_having_been_walked(no_collector: None) -> None:
    x = tg.ones((), requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y * 1.0
    last = weakref.ref(y.grad_fn)
    del y
    assert last() is None


def test_a_deep_chain_to_second_order(no_collector: None) -> None:
    x = tg.tensor(0.5, dtype=tg.float64, requires_grad=True)
    y = x
    for _ in range(3000):
        y = y * 1.0001
    (g,) = tg.autograd.grad(y * y, x, create_graph=True)
    (h,) = tg.autograd.grad(g, x)
    assert h.item() == pytest.approx(2 * 1.0001**6000)


@pytest.mark.parametrize("how", ["never walked", "walked", "retained", "create_graph"])
def test_memory_returns_without_the_collector(no_collector: None, how: str) -> None:
    w = tg.randn(4, 3, 3, 3, requires_grad=True)
    x = tg.randn(2, 3, 8, 8)
    h = F.relu(F.conv2d(x, w, padding=1))
    y = F.batch_norm(h, training=True)
    loss = F.max_pool2d(y, 2).square().mean()
    nodes = [weakref.ref(t.grad_fn) for t in (h, y, loss)]
    arrays = [weakref.ref(t) for t in (h, y, loss)]
    if how == "walked":
        loss.backward()
    elif how == "retained":
        loss.backward(retain_graph=True)
    elif how == "create_graph":
        loss.backward(create_graph=True)
    del h, y, loss
    w.grad = None
    assert [r() for r in (*nodes, *arrays)] == [None] * 6


def test_no_cycle_through_create_graph_gradients(no_collector: None) -> None:
    w = tg.ones(3, requires_grad=True)
    (w**3).sum().backward(create_graph=True)
    node = weakref.ref(w.grad.grad_fn)
    del w
    assert node() is None


def test_activations_no_rule_names_die_at_once() -> None:
    n = 1 << 20  # float32: 4 MiB each
    x = tg.ones(n, requires_grad=True)
    tracemalloc.start()
    y = x
    for _ in range(8):
        y = y + 1.0  # the sum's rule needs neither operand nor result
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 1.5 * 4 * n


def test_what_only_an_unneeded_rule_names_is_not_kept() -> None:
    x = tg.ones(10, requires_grad=True)
    constant = tg.ones(10)
    h = x * 2
    inner = weakref.ref(h.array)
    y = h * constant  # d/dconstant would need h, but nobody wants it
    del h
    assert inner() is None
    assert y.requires_grad


def test_saved_values_are_freed_during_the_walk() -> None:
    x = tg.ones(5, requires_grad=True)
    h = (x * 2).exp()
    saved = weakref.ref(h.array)
    y = h.sum()
    del h
    assert saved() is not None
    y.backward()
    assert saved() is None


def test_a_dead_leaf_collects_nothing() -> None:
    x = tg.ones(3, requires_grad=True)
    y = (x * 2).sum()
    del x
    y.backward()


def test_views_take_no_memory() -> None:
    x = tg.zeros(100, 100)
    for y in (x.t(), x[3], x[:, ::2], x.reshape(-1), x.unsqueeze(0), x.expand(5, 100, 100)):
        assert np.shares_memory(x.array, y.array)
