"""Training in a given memory: what is chosen, what it takes, and that results stay the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import data, nn, optim
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.memory import fit_into, parse_size
from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.train import TrainError, fit


class Blocks(nn.Module):
    """Not a `Sequential`: blocks by name, and one that saves nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = block(), block()
        self.last = nn.Linear(200, 4)

    def forward(self, x: tg.Tensor) -> Any:
        return self.last(self.second(self.first(x)))


def block() -> nn.Module:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.drop = nn.BatchNorm1d(200), nn.Dropout(0.2)
            self.one, self.two = nn.Linear(200, 200), nn.Linear(200, 200)

        def forward(self, x: tg.Tensor) -> Any:
            return x + self.two(self.drop(self.one(self.norm(x)).tanh().exp()))

    return Block()


def flat() -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(4):
        layers += [nn.Linear(200, 200), nn.BatchNorm1d(200), nn.Tanh(), nn.Dropout(0.1)]
    return nn.Sequential(*layers, nn.Linear(200, 4))


MODELS = {"flat": flat, "blocks": Blocks, "nested": lambda: nn.Sequential(flat()[:8], flat()[8:])}


def batch() -> tuple[tg.Tensor, tg.Tensor]:
    return tg.randn(500, 200), tg.randint(4, (500,))


@pytest.mark.parametrize("name", MODELS)
def test_a_plan_takes_what_is_allowed_and_changes_no_result(name: str) -> None:
    tg.manual_seed(0)
    model = MODELS[name]()
    x, labels = batch()
    optimizer = optim.Adam(model.parameters())

    def step() -> tg.Tensor:
        return F.cross_entropy(model(x), labels)

    free = fit_into(model, step, "1GB", optimizer=optimizer)
    assert free.names == []
    state = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    random = tg.get_rng_state()
    plan = fit_into(model, step, int(0.8 * free.before), optimizer=optimizer)
    assert plan.before == free.before
    assert plan.after <= 0.8 * free.before
    assert plan.names
    assert tg.get_rng_state() == random
    assert all(p.grad is None for p in model.parameters())
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), state[key])

    def gradients() -> list[Any]:
        tg.set_rng_state(random)
        model.zero_grad()
        step().backward()
        found = [p.grad.numpy().copy() for p in model.parameters()]  # type: ignore[union-attr]
        found += [b.numpy().copy() for b in model.buffers()]
        model.load_state_dict({k: tg.tensor(v) for k, v in state.items()})
        return found

    expected = gradients()
    with plan.applied(), tg.memory.record() as m:
        found = gradients()
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert m.peak < free.before
    assert "forward" not in vars(model)
    assert ", ".join(plan.names) in str(plan)


def test_what_cannot_be_says_the_least() -> None:
    model, (x, labels) = flat(), batch()

    def step() -> tg.Tensor:
        return F.cross_entropy(model(x), labels)

    with pytest.raises(ArgumentError, match="fit_into: `most` is '1MB', expected more") as caught:
        fit_into(model, step, "1MB")
    least = int(str(caught.value).partition("can be asked for is ")[2].split()[0])
    assert fit_into(model, step, least).after == least


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GB", 2 * 10**9),
        ("1.5 GiB", 3 << 29),
        ("10k", 10_000),
        (77, 77),
        (".5m", 500_000),
        (2e9, 2 * 10**9),
        (np.int64(77), 77),
    ],
)
def test_sizes(text: Any, size: int) -> None:
    assert parse_size(text) == size


NO_SIZES = ["", "2 apples", "-1GB", "iB", "0GB", "nan", "2GBB", "²"]


@pytest.mark.parametrize("text", [*NO_SIZES, 0, -7, True, 2.5, np.nan, np.inf, [2], None])
def test_what_is_no_size(text: Any) -> None:
    with pytest.raises(ArgumentError, match=r"`size` is .*, expected a number of bytes or"):
        parse_size(text)


def test_fit_says_what_it_chose(capsys: pytest.CaptureFixture[str]) -> None:
    def run(**more: Any) -> tuple[list[Any], nn.Module]:
        tg.manual_seed(1)
        model = flat()
        x, labels = batch()
        batches = data.DataLoader(data.TensorDataset(x, labels), 250)
        history = fit(model, batches, optimizer="adam", epochs=2, seed=0, **more)
        return history, model

    history, model = run()
    limited, other = run(max_memory="5MB")
    told = " ".join(capsys.readouterr().out.split())
    assert "max_memory: a step takes 4." in told
    assert "computed again in the backward pass: " in told
    assert limited[-1]["train_loss"] == pytest.approx(history[-1]["train_loss"], rel=1e-4)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-2, atol=1e-4)
    assert "forward" not in vars(other)
    with pytest.raises(TrainError, match="fit: `max_memory` is '1MB', expected more"):
        run(max_memory="1MB", quiet=True)
    _, same = run(max_memory=5_000_000, quiet=True)  # bytes
    for a, b in zip(same.parameters(), other.parameters(), strict=True):
        assert (a == b).all()
    for wrong in ("much", 0, -1, 2.5, True, ["2GB"]):
        with pytest.raises((TrainError, ValueError), match=r"fit: `max_memory` is .*, expected"):
            run(max_memory=wrong)
