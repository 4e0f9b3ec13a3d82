"""Graphs that pile up are found, with the line; others are not."""

from __future__ import annotations

import gc
import inspect
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import data, nn
from tinygrad_cnn.autograd import events
from tinygrad_cnn.memory import GrowingGraph
from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.train import Callback, fit


def steps(each: Callable[[Any], None], count: int = 60) -> None:
    w = tg.randn(5, requires_grad=True)
    for _ in range(count):
        loss = (w * w).exp().sum()
        loss.backward()
        each(loss)
        w.grad = None


def added(store: dict[str, Any]) -> Callable[[Any], None]:
    def each(loss: Any) -> None:
        store["total"] = store.get("total", 0.0) + loss  # HERE

    return each


def added_in_place(store: dict[str, Any]) -> Callable[[Any], None]:
    store["total"] = tg.zeros(())

    def each(loss: Any) -> None:
        store["total"] += loss  # HERE

    return each


def line_of(function: Any, mark: str = "# HERE") -> int:
    lines, first = inspect.getsourcelines(function)
    return first + next(i for i, line in enumerate(lines) if mark in line)


@pytest.mark.parametrize("kind", [added, added_in_place])
def test_the_line_that_adds_losses_is_named(kind: Any) -> None:
    with pytest.warns(GrowingGraph, match=r"loss\.item\(\)") as caught, tg.memory.watch():
        steps(kind({}))
    (warning,) = caught
    assert (warning.filename, warning.lineno) == (__file__, line_of(kind))
    assert f"{__file__}:{line_of(kind)}" in str(warning.message)
    assert not events.watching


def test_the_line_that_makes_what_is_kept_is_named() -> None:
    kept: list[Any] = []
    with pytest.warns(GrowingGraph, match="kept after each step") as caught, tg.memory.watch():
        steps(kept.append)
    (warning,) = caught
    assert (warning.filename, warning.lineno) == (__file__, line_of(steps, ".exp().sum()"))


@pytest.mark.parametrize(
    "each",
    [
        lambda loss, kept=[]: kept.append(loss.item()),
        lambda loss, kept=[]: kept.append(loss.detach()),
        lambda loss, kept=[]: kept.__setitem__(slice(None), [*kept, loss][-3:]),
    ],
)
def test_what_does_not_grow_is_not_told(each: Any) -> None:
    with tg.memory.watch():
        steps(each)


def batches() -> Any:
    tg.manual_seed(0)
    x = tg.randn(320, 6)
    return data.DataLoader(data.TensorDataset(x, (x[:, 0] > 0).long()), 8)


def test_fit_watches() -> None:
    class Summing:
        total: Any = 0.0

        def __call__(self, scores: Any, labels: Any) -> Any:
            loss = F.cross_entropy(scores, labels)
            self.total = self.total + loss  # HERE
            return loss

    with pytest.warns(GrowingGraph) as caught:
        fit(nn.Linear(6, 2), batches(), loss=Summing(), epochs=1, quiet=True)
    (warning,) = caught
    assert (warning.filename, warning.lineno) == (__file__, line_of(Summing.__call__))
    assert not events.watching


def test_fit_lets_go_also_where_it_is_stopped_while_it_looks() -> None:
    class Stop(Exception):
        pass

    class Keep(Callback):
        kept: Any = []  # noqa: RUF012

        def on_batch_end(self, trainer: Any) -> None:
            if events.watching:
                raise Stop

    keep = Keep()

    def loss(scores: Any, labels: Any) -> Any:
        keep.kept.append(scores)
        return F.cross_entropy(scores, labels)

    with pytest.raises(Stop):
        fit(nn.Linear(6, 2), batches(), loss=loss, epochs=1, callbacks=[keep], quiet=True)
    assert not events.watching


def test_fit_warns_of_nothing_and_keeps_no_graph() -> None:
    alive: list[Any] = []

    def loss(scores: Any, labels: Any) -> Any:
        alive.append(weakref.ref(scores.node))
        return F.cross_entropy(scores, labels)

    fit(nn.Linear(6, 2), batches(), loss=loss, epochs=2, quiet=True)
    gc.collect()
    assert len(alive) == 80
    assert not any(ref() for ref in alive)
