"""What may be read from and written to ``.grad``, and when PyTorch warns."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from parity import require_torch

import tinygrad_cnn as tg


def leaf(m: Any) -> Any:
    return m.ones(2, requires_grad=True)


def retained(m: Any) -> Any:
    y = leaf(m) * 2
    y.retain_grad()
    return y


def walked(m: Any) -> Any:
    y = leaf(m) * 2
    y.sum().backward()
    return y


def given(m: Any) -> Any:
    y = leaf(m) * 2
    y.grad = m.ones(2)
    return y


READ = {
    "a leaf": leaf,
    "a constant": lambda m: m.ones(2) * 2,
    "a result": lambda m: leaf(m) * 2,
    "a view": lambda m: leaf(m)[0],
    "a result after the walk": walked,
    "a result that keeps it": retained,
    "a result that was given one": given,
    "a detached result": lambda m: (leaf(m) * 2).detach_(),
    "a result made in place": lambda m: (leaf(m) * 2).mul_(3),
}
WRITE: dict[str, Callable[[Any, Any], Any]] = {
    "itself": lambda m, x: x,
    "its values": lambda m, x: x.detach(),
    "a view of it": lambda m, x: x.reshape(2),
    "another shape": lambda m, x: m.ones(3),
    "another rank": lambda m, x: m.ones(1, 2),
    "another dtype": lambda m, x: m.ones(2).double(),
    "an array": lambda m, x: np.ones(2, np.float32),
    "a number": lambda m, x: 1.0,
    "None": lambda m, x: None,
    "a result": lambda m, x: x * 2,
}


@pytest.mark.parametrize("name", READ)
def test_reading(name: str) -> None:
    found = []
    for m in (tg, require_torch()):
        x = READ[name](m)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            grad = x.grad
        found.append((None if grad is None else grad.tolist(), [w.category for w in caught]))
    assert found[0] == found[1]


@pytest.mark.parametrize("name", WRITE)
@pytest.mark.parametrize("wanted", [False, True])
def test_writing(name: str, wanted: bool) -> None:
    found: list[Any] = []
    for m in (tg, require_torch()):
        x = m.ones(2, requires_grad=wanted)
        value = WRITE[name](m, x)
        try:
            x.grad = value
        except (RuntimeError, TypeError, ValueError):
            found.append("an error")
        else:
            found.append((x.grad is value, x.grad is not None and x.grad.tolist()))
    assert found[0] == found[1]


def test_what_it_says() -> None:
    y = leaf(tg) * 2
    with pytest.warns(UserWarning, match="this tensor is the result of mul") as caught:
        assert y.grad is None
    assert caught[0].filename == __file__
    with pytest.raises(RuntimeError, match="grad: a tensor cannot be its own gradient"):
        y.grad = y


def test_nothing_inside_asks_results_for_their_gradient() -> None:
    net = tg.nn.Sequential(tg.nn.Linear(2, 2), tg.nn.ReLU())
    loss = net(tg.ones(1, 2)).sum()
    loss.backward()
    tg.optim.SGD(net.parameters()).zero_grad()
    net.zero_grad(set_to_none=False)
    tg.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    repr(loss)
