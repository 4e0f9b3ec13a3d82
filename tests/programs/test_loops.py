"""What NumPy computes is part of a program too: its own loops are launched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cnn as tg
from tinygrad_cnn import nn, optim
from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.programs import loops

pytest.importorskip("numba", reason="needs numba, whose machine code starts the loops")

CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "arithmetic": lambda a, b: (a - b) * 2.5 / (b + 3.0),
    "powers": lambda a, b: a**2 + b.square() - a.abs().sqrt(),
    "exponentials": lambda a, b: a.exp() + b.abs().add(1).log() - (a * b).tanh(),
    "comparisons": lambda a, b: (a > b).float() + (a == b) + (a <= 0.5).double(),
    "where": lambda a, b: tg.where(a > b, a, b) + tg.where(a > 0, b, 0.0),
    "bounds": lambda a, b: a.clamp(-0.5, 0.5) + tg.maximum(a, b) - a.clamp(min=0.1),
    "sums": lambda a, b: a.sum() + b.sum(1) + a.mean(0).sum() + (a * b).mean(),
    "extremes": lambda a, b: a.amax(1) + b.amin(1) + a.amax(),
    "lengths": lambda a, b: a.norm() + b.norm(dim=1) + a.var(1) + b.std(),
    "places": lambda a, b: (a.argmax(1) == b.argmax(1)).float().mean() + a.argmin(),
    "copies": lambda a, b: tg.cat([a, b.t().contiguous().t()], 1) + tg.stack([a, b]).sum(),
    "views": lambda a, b: a.t()[1:3].clone() + b[:, 1].unsqueeze(0)[:, :1],
    "broadcast": lambda a, b: a[:, None] * b[None] - a.mean(1, keepdim=True)[:, None],
    "losses": lambda a, b: F.mse_loss(a, b) + F.l1_loss(a, b) + F.smooth_l1_loss(a, b),
}


def _bits(value: Any) -> bytes:
    return value.detach().numpy().tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(4, 6), (1, 7), (33, 65)], ids=str)
@pytest.mark.parametrize("name", CALLS)
def test_all_of_it_is_machine_code(name: str, shape: tuple[int, int], dtype: str) -> None:
    function = CALLS[name]
    compiled = tg.compile(function, fullgraph=True)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        given = [tg.tensor(rng.normal(size=shape).astype(dtype)) for _ in range(2)]
        if seed == 3:
            given[0] = given[1] * 0  # the same everywhere
        assert _bits(compiled(*given)) == _bits(function(*given))
    assert compiled.replayed == 3


UNARY = "abs neg exp sigmoid tanh square sqrt sin floor sign relu reciprocal".split()
BINARY = "add sub mul div maximum minimum atan2".split()


@given(
    st.lists(st.tuples(st.sampled_from(UNARY + BINARY), st.integers(0, 5)), max_size=8), st.data()
)
def test_random_expressions_give_the_same_bits(steps: list[tuple[str, int]], data: Any) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    other = tuple(data.draw(st.sampled_from([1, n])) for n in shape)

    def function(a: Any, b: Any) -> Any:
        known = [a, b, a.transpose(0, -1).contiguous().transpose(0, -1)]
        for name, place in steps:
            one = known[place % len(known)]
            rest = (known[-1],) if name in BINARY else ()
            known.append(getattr(one, name)(*rest))
        return known[-1] * 1.5

    compiled = tg.compile(function)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        given = [tg.tensor(rng.uniform(0.5, 2, s).astype(np.float32)) for s in (shape, other)]
        right = function(*given).numpy()
        np.testing.assert_array_equal(compiled(*given).numpy(), right)


def test_steps_with_losses_of_small_arrays_are_one_program() -> None:
    def steps(compile: Callable[[Any], Any]) -> list[bytes]:
        tg.manual_seed(0)
        net = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 3))
        sgd = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

        def step(x: Any, y: Any) -> Any:
            sgd.zero_grad()
            scores = net(x)
            loss = F.mse_loss(scores, y) + 0.01 * sum((w**2).sum() for w in net.parameters())
            loss.backward()
            sgd.step()
            return loss

        step = compile(step)
        rng = np.random.default_rng(0)
        found = []
        for _ in range(5):
            x, y = (tg.tensor(rng.normal(size=(16, n)).astype(np.float32)) for n in (8, 3))
            found.append(_bits(step(x, y)))
        return found + [_bits(w) for w in net.parameters()]

    assert steps(tg.compile) == steps(lambda step: step)


def test_what_depends_on_numbers_is_called() -> None:
    """Sums of squares that leave the range of float32 are computed in another way."""
    compiled = tg.compile(lambda x: x.norm())
    for scale in (1.0, 2.0, 1e25, 1e-30, 1.0):
        x = tg.ones(100, 100) * scale
        assert _bits(compiled(x)) == _bits(x.norm())


def test_loops_are_found() -> None:
    """Or the tests here would show that Python is called correctly."""
    assert {"fff", "ddd", "lll"} <= loops._loops(np.add).keys()
    assert {"ff", "dd"} <= loops._loops(np.exp).keys()
    assert "ff?" in loops._loops(np.greater)
