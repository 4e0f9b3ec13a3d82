"""A compiled function is replayed while a profile is open, which shows what it launches."""

from __future__ import annotations

from typing import Any

import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn, optim
from tinygrad_cnn.nn import functional as F

pytest.importorskip("numba", reason="needs numba, whose kernels programs launch")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU())
        self.classifier = nn.Linear(16, 5)

    def forward(self, x: Any) -> Any:
        return self.classifier(self.features(x).mean((2, 3)))


def _made(whole: bool) -> tuple[Any, Any, list[Any]]:
    """A step, what was compiled, and the parameters."""
    tg.manual_seed(0)
    net = Net()
    sgd = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    model = net if whole else tg.compile(net)

    def step(x: Any, y: Any) -> Any:
        sgd.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        sgd.step()
        return loss

    step = tg.compile(step) if whole else step
    return step, step if whole else model, list(net.parameters())


def _batches() -> list[Any]:
    random = tg.Generator().manual_seed(1)
    make = (lambda: tg.randn(16, 3, 12, 12, generator=random)), (lambda: tg.arange(16) % 5)
    return [tuple(f() for f in make) for _ in range(6)]


@pytest.mark.parametrize("whole", [True, False])
def test_the_bits_are_the_same_and_all_of_it_is_seen(whole: bool) -> None:
    plain, _, weights = _made(whole)
    losses = [plain(*batch).item() for batch in _batches()]
    step, compiled, others = _made(whole)
    found = []
    for number, batch in enumerate(_batches()):
        if number < 3:
            found.append(step(*batch).item())
            continue
        with tg.profiler.profile() as p:
            found.append(step(*batch).item())
    assert found == losses
    assert all(
        a.data.numpy().tobytes() == b.data.numpy().tobytes()
        for a, b in zip(weights, others, strict=True)
    )
    assert compiled.explain().splitlines()[0].endswith("6 calls, 1 recorded, 5 replayed")
    seen = {(e.name, e.phase, e.module) for e in p.events}
    assert ("conv2d", "forward", "Net.features.0 (Conv2d)") in seen
    assert ("conv2d", "backward", "Net.features.0 (Conv2d)") in seen
    assert ("linear", "backward", "Net.classifier (Linear)") in seen
    assert any(e.kind == "optimizer" and e.name == "SGD.step" for e in p.events)
    assert all(e.name for e in p.events)
    assert 0 < sum(e.own for e in p.events) <= p.total


def test_inference_is_shown_by_module() -> None:
    model = tg.compile(Net().eval())
    x = tg.randn(16, 3, 12, 12)
    with tg.no_grad():
        _, _, wanted = (model(x) for _ in range(3))
        with tg.profiler.profile() as p, tg.profiler.profile() as inner:
            got = model(x)
    assert got.numpy().tobytes() == wanted.numpy().tobytes()
    rows = {row.name for row in p.key_averages("module") if row.calls}
    assert {"Net.features.0 (Conv2d)", "Net.classifier (Linear)"} <= rows
    assert [e.name for e in p.events] == [e.name for e in inner.events]
    assert "conv2d" in str(p)


def test_a_first_call_is_watched_as_usual_and_recorded_later() -> None:
    model = tg.compile(Net().eval())
    x = tg.randn(16, 3, 12, 12)
    with tg.no_grad(), tg.profiler.profile() as p:
        model(x)
    assert {"conv2d", "mean", "linear"} <= {e.name for e in p.events}
    with tg.no_grad():
        for _ in range(2):
            model(x)
    assert model.explain().splitlines()[0].endswith("3 calls, 1 recorded, 1 replayed")


def test_drawings_see_calls() -> None:
    model = tg.compile(Net().eval())
    x = tg.randn(16, 3, 12, 12)
    with tg.no_grad():
        for _ in range(2):
            model(x)
        with pytest.warns(RuntimeWarning, match="watched"):
            tg.viz.trace(model, x)
