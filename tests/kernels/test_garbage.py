"""What memory held before is nowhere seen: every result is the same, bit for bit, over anything."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")

from compiled import team
from shared import kernel_set

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.kernels import memory

F = tg.nn.functional
FILLS = [0, 0xFF, 0x7E]  # zeros; NaN; 8e37

CONVOLUTIONS = [
    dict(zip(("size", "channels", "filters", "kernel", "stride", "padding"), v, strict=True))
    for v in itertools.product((15, 20), (1, 3, 24), (1, 4, 16, 40), (1, 3, 5), (1, 2), (0, 1))
    if not (v[3] == 1 and v[5])
]


@pytest.fixture(autouse=True)
def compiled() -> Any:
    with kernel_set("jit"):
        yield


def over(fill: int, monkeypatch: pytest.MonkeyPatch, work: Any) -> list[bytes]:
    """What ``work()`` returns where all memory comes filled with a byte."""
    aligned, take = memory.aligned, memory._Stack.take

    def filled(nbytes: int) -> Any:
        block = aligned(nbytes)
        block.fill(fill)
        return block

    def taken(self: Any, shape: Any, dtype: Any) -> Any:
        out = take(self, shape, dtype)
        out.reshape(-1).view(np.uint8)[...] = fill
        return out

    former = memory.set_store_limit(0)
    memory.clear()
    with monkeypatch.context() as patch:
        patch.setattr(memory, "SMALLEST_STORED", 0)
        patch.setattr(memory, "aligned", filled)
        patch.setattr(memory._Stack, "take", taken)
        try:
            with team(2):
                tg.manual_seed(0)
                return [np.ascontiguousarray(t.detach().numpy()).tobytes() for t in work()]
        finally:
            memory.set_store_limit(former)


def step(net: nn.Module, x: Any) -> list[Any]:
    """All numbers of a step: output, gradients, statistics; then the output without gradients."""
    x = x.requires_grad_()
    y = net(x)
    (y * y).sum().backward()
    net.eval()
    with tg.no_grad():
        again = net(x)
    return [y, x.grad, *[p.grad for p in net.parameters()], *net.buffers(), again]


def names(v: dict[str, int]) -> str:
    return "-".join(str(n) for n in v.values())


@pytest.mark.parametrize("at", range(8))
def test_convolutions(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    for shape in CONVOLUTIONS[at::24]:

        def work(shape: dict[str, int] = shape) -> list[Any]:
            c, f = shape["channels"], shape["filters"]
            conv = nn.Conv2d(c, f, shape["kernel"], shape["stride"], shape["padding"])
            net = nn.Sequential(conv, nn.BatchNorm2d(f), nn.ReLU(), nn.MaxPool2d(2))
            return step(net, tg.randn(5, c, shape["size"], shape["size"]))

        found = [over(fill, monkeypatch, work) for fill in FILLS]
        assert found[0] == found[1] == found[2], shape


NETS = {
    "depthwise": lambda: nn.Sequential(
        nn.Conv2d(24, 24, 3, padding=1, groups=24), nn.BatchNorm2d(24), nn.ReLU6(),
        nn.Conv2d(24, 32, 3, groups=4), nn.LeakyReLU(), nn.AvgPool2d(3, 2, 1),
    ),
    "linear": lambda: nn.Sequential(
        nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.LayerNorm(24 * 9), nn.Linear(24 * 9, 40),
        nn.BatchNorm1d(40), nn.ReLU(), nn.Linear(40, 7), nn.LogSoftmax(1),
    ),
    "transposed": lambda: nn.Sequential(
        nn.ConvTranspose2d(24, 9, 3, 2, 1), nn.GroupNorm(3, 9), nn.SiLU(), nn.MaxPool2d(3, 2, 1),
    ),
    "dilated": lambda: nn.Sequential(
        nn.Conv2d(24, 20, 3, dilation=2), nn.BatchNorm2d(20), nn.ReLU(), nn.AvgPool2d(2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_nets(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    work = lambda: step(NETS[name](), tg.randn(5, 24, 18, 17))
    found = [over(fill, monkeypatch, work) for fill in FILLS]
    assert found[0] == found[1] == found[2]


def test_a_residual_block(monkeypatch: pytest.MonkeyPatch) -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.ReLU())
            self.two = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1), nn.BatchNorm2d(16))

        def forward(self, x: Any) -> Any:
            return F.max_pool2d((self.two(self.one(x)) + x).relu(), 2)

    work = lambda: step(nn.Sequential(Block(), Block()), tg.randn(5, 16, 18, 18))
    found = [over(fill, monkeypatch, work) for fill in FILLS]
    assert found[0] == found[1] == found[2]
