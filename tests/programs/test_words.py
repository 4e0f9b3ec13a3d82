"""Words of memory say that something has changed whenever a walk through it would."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cnn as tg
from tinygrad_cnn import nn, optim
from tinygrad_cnn.autograd.node import Leaf
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.programs import guards, words

pytest.importorskip("numba", reason="needs numba: machine code compares the words")
importlib.import_module("tinygrad_cnn.kernels.jit.threads.pool")  # compiled kernels are in use


SCALE: Any = object()


class Model(nn.Module):
    factor: Any = 2

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2, bias=False)
        self.sizes: list[Any] = [3, 4]
        self.names, self.seen = {"a": 1}, set[int]()

    def forward(self, x: Any) -> Any:
        return self.second(self.first(x)) * len(self.sizes) * self.factor * SCALE


def _step(model: Model, sgd: Any) -> tuple[Any, dict[str, Callable[[], Any]]]:
    """A function, and changes of what it can reach."""
    held, weight = 1000, model.first.weight

    def step(x: Any) -> Any:
        sgd.zero_grad()
        return model(x) * held

    def count() -> None:
        nonlocal held
        held += 1

    def elsewhere() -> None:
        model.sizes.extend(range(1000))
        del model.sizes[-1000:]

    def again() -> None:
        value = globals().pop("SCALE")
        globals()["SCALE"] = value

    changes: dict[str, Callable[[], Any]] = {
        "nothing": lambda: None,
        "numbers": lambda: weight.data.add_(1),
        "data": lambda: setattr(weight, "data", tg.ones(2, 2)),
        "frozen": lambda: weight.requires_grad_(not weight.requires_grad),
        "hook": lambda: weight.requires_grad and weight.register_hook(lambda g: g),
        "parameter": lambda: setattr(model.second, "weight", nn.Parameter(tg.ones(2, 2))),
        "append": lambda: model.sizes.append(5),
        "exchange": lambda: model.sizes.__setitem__(0, object()),
        "elsewhere": elsewhere,
        "key": lambda: model.names.__setitem__("b", 2),
        "name": lambda: model.names.__setitem__("a", object()),
        "member": lambda: model.seen.add(len(model.seen)),
        "no member": model.seen.clear,
        "cell": count,
        "global": lambda: globals().update(SCALE=object()),
        "class": lambda: setattr(Model, "factor", object()),
        "larger table": lambda: globals().update(dict.fromkeys(map(str, range(300)))),
        "again": again,
        "group": lambda: sgd.param_groups[0]["params"].reverse(),
        "mode": lambda: model.train(not model.training),
    }
    return step, changes


NAMES = sorted(_step(model := Model(), optim.SGD(model.parameters(), lr=0.1))[1])


@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=12))
def test_what_has_changed_is_seen(names: list[str]) -> None:
    model = Model()
    step, changes = _step(model, optim.SGD(model.parameters(), lr=0.1))
    state = guards.reach(step)
    for name in names:
        assert state.holds()
        assert (state.words is None) is state.tensor_hooks
        changes[name]()
        now = guards.reach(step)
        if state.holds():
            assert now.key == state.key, name
        else:
            assert name not in ("nothing", "numbers", "elsewhere", "larger table", "again")
            state = now


def test_places_are_found() -> None:
    """Or nothing would be compared in this way, and the tests here would show nothing."""
    assert words._is_known()
    for kind, name in ((Variable, "_value"), (Variable, "node"), (Leaf, "hooks")):
        place = words.slot_place(kind, name)
        assert place is not None
        assert 0 < place < kind.__basicsize__


def test_a_list_that_moves_at_every_call_is_compared_in_python() -> None:
    model = Model()
    step, changes = _step(model, optim.SGD(model.parameters(), lr=0.1))
    state = guards.reach(step)
    for _ in range(3 * guards._MOST_SEARCHES):
        changes["elsewhere"]()
        assert state.holds()
    model.sizes[0] = 7
    assert not state.holds()
