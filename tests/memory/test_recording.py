"""`tg.memory.record`: numbers that are known beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn, optim
from tinygrad_cnn.memory.recording import Holder

SMALL, LARGE = (10, 50), (1000, 500)  # 2,000 bytes, and 2,000,000, which the store has


@pytest.mark.parametrize("shape", [SMALL, LARGE])
def test_arrays_are_counted_while_they_live(shape: tuple[int, ...]) -> None:
    size = 4 * shape[0] * shape[1]
    x = tg.ones(shape)
    with tg.memory.record() as m:
        y = x * 2
        view = y[1:]
        assert m.allocated == 2 * size
        z = y + 1
        del y
        z.abs()  # at the end: x, z, y by its view, and what abs gives
        del view, z
        w = x.sqrt()
    assert m.peak == 4 * size
    assert m.allocated == 2 * size
    assert m.by_operation() == dict.fromkeys(["abs", "add", "inputs", "mul"], size)
    assert [moment.nbytes // size for moment in m.timeline] == [2, 3, 4, 2]
    assert w.shape == shape


def test_a_step_by_operation_module_and_phase() -> None:
    model = nn.Sequential(nn.Linear(500, 500, bias=False), nn.Tanh())
    optimizer = optim.Adam(model.parameters())
    x = tg.randn(100, 500)
    weight, rows = 4 * 500 * 500, 4 * 100 * 500
    with tg.memory.record() as m:
        y = model(x)
        assert m.allocated == weight + 2 * rows  # x and y: tanh needs no more
        y.backward(tg.ones(100, 500))
        optimizer.step()
    at = m.at_peak
    assert at[Holder("parameters", "Sequential.0 (Linear)", "")] == weight
    assert at[Holder("linear", "Sequential.0 (Linear)", "backward")] == weight
    state = [n for h, n in at.items() if h.phase == "optimizer"]
    assert sum(state) == pytest.approx(2 * weight, rel=0.01)
    assert m.by_module()["Sequential.1 (Tanh)"] == rows  # y, which the caller still has
    assert m.peak == sum(at.values())


def test_what_rules_keep_is_counted_and_freed_by_the_backward_pass() -> None:
    x = tg.ones(*LARGE).requires_grad_()
    with tg.memory.record() as m:
        y = x.exp().sum()  # exp keeps its result
        kept = m.allocated
        y.backward()
        x.grad = None
        tg.ones(3).neg()
    assert kept == 2 * 2_000_000 + 4
    assert m.allocated < 2 * 2_000_000
    assert m.peak == 3 * 2_000_000 + 8  # with the gradient of the sum


def test_nested_blocks_and_exceptions() -> None:
    def fail() -> None:
        with tg.memory.record() as inner:
            inners.append(inner)
            tg.ones(*SMALL) * 2
            raise KeyError

    inners: list[Any] = []
    with tg.memory.record() as outer:
        with pytest.raises(KeyError):
            fail()
        kept = tg.ones(*SMALL) * 3
    assert inners[0].peak == 4000
    assert outer.peak == 4000
    assert kept.shape == SMALL


def test_the_report_and_the_picture(tmp_path: Path) -> None:
    with tg.memory.record() as m:
        x = tg.ones(*LARGE)
        y = (x * 2).exp()
    text = m.report(width=20)
    first = text.splitlines()[0]
    assert first.startswith("peak of tensors' memory: 6 MB")
    assert "inputs  " in text
    assert "mul  " in text
    assert "33%" in text
    assert "└────────────────────" in text
    assert "█" in text
    assert m.report() in tg.memory.report()
    assert "allocated_bytes" in tg.memory.report()
    m.plot(tmp_path / "memory.png")
    assert (tmp_path / "memory.png").read_bytes()[:4] == b"\x89PNG"
    assert x.shape == y.shape


def test_an_empty_block() -> None:
    with tg.memory.record() as m:
        pass
    assert m.peak == 0
    assert "no tensor" in m.report()


def test_the_numbers_of_the_store() -> None:
    tg.memory.reset_peak()
    before = tg.memory.allocated()
    x = tg.relu(tg.ones(1024, 1024))
    assert tg.memory.allocated() - before == 4 << 20
    del x
    assert tg.memory.max_allocated() - before >= 4 << 20
    tg.memory.reset_peak()
    assert tg.memory.max_allocated() == tg.memory.allocated()
    assert tg.memory.stats()["allocated_bytes"] == tg.memory.allocated()
