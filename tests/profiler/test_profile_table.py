"""The tables: right sums, readable text, clear errors."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from clock import stand_still

import tinygrad_cnn as tg
from tinygrad_cnn import optim
from tinygrad_cnn.profiler import profile


@pytest.fixture
def recorded(monkeypatch):
    """``fast`` 2 × (1 + 0) ms, ``slow`` 5 + 7 ms, 8 ms of something else: 22 ms."""
    clock = stand_still(monkeypatch)
    slow, fast = clock.operation("slow", 5, 7), clock.operation("fast", 1, 0)
    x = tg.ones(500, 500, requires_grad=True)  # 1 MB
    with profile(with_stack=True) as p:
        y = slow(fast(fast(x)))
        y.backward(x.detach())
        clock.work(8)
    return p


def test_the_table(recorded):
    assert str(recorded) == recorded.table() == str(recorded.key_averages())
    lines = recorded.table().splitlines()
    cells = {line.split("  ")[0].strip(): line.split() for line in lines}
    assert cells["slow"][1:] == "1 5.000 7.000 12.000 54.5% 12.000 1.00".split()
    assert cells["fast"][1:] == "2 2.000 2.000 9.1% 1.000 2.00".split()
    assert cells["(outside of operations)"][3:] == "8.000 36.4%".split()
    assert cells["total"][1:] == "7.000 7.000 22.000 100.0% 3.00".split()
    assert max(map(len, lines)) <= 120
    names = [line.split()[0] for line in lines if line]
    assert names.index("slow") < names.index("fast")


def test_a_notebook_shows_it_as_a_table(recorded):
    for shown in (recorded, recorded.table(), recorded.key_averages()):
        text = shown._repr_html_()
        rows = ElementTree.fromstring(text).findall(".//tr")
        found = {row[0].text: [cell.text or "" for cell in row[1:]] for row in rows}
        assert found["slow"][:5] == ["1", "5.000", "7.000", "12.000", "54.5%"]
        assert found["operation"][0] == "calls"
    assert isinstance(recorded.table(), str)
    assert "no operation" in profile()._repr_html_()


def test_sorting_and_limit(recorded):
    text = recorded.table(sort="calls", limit=1)
    assert "fast" in text
    assert "slow" not in text
    assert "(2 more)" in text  # slow and the walk
    names = [row.name for row in recorded.key_averages()]
    assert names == ["slow", "fast", "(reverse walk)"]
    by_name = recorded.key_averages().table(sort_by="name")
    assert by_name.index("fast") < by_name.index("slow")
    assert recorded.key_averages().table(sort_by="cpu_time_total", row_limit=0).count("more") == 1


def test_steps_have_a_column_when_there_are_any():
    w = tg.ones(3, requires_grad=True)
    with profile() as p:
        w.exp().sum().backward()
    assert "optimiser" not in str(p)
    with profile() as p:
        optim.SGD([w], lr=0.1).step()
    assert "optimiser" in str(p)


def test_a_long_name_keeps_its_end():
    with profile() as p:
        tg.ones(2).exp()
    p.events[0].modules = ("Model." + "block." * 20 + "last (ReLU)",)
    assert "block.last (ReLU)" in p.table("module")
    assert "Model" not in p.table("module")


def test_by_line(recorded):
    (first, _) = [row.name for row in recorded.key_averages("line")]
    assert first.startswith("test_profile_table.py:")
    assert first.endswith("recorded")


def test_a_profile_of_nothing():
    never = profile()
    assert str(never) == "profile: no operation was recorded in 0.000 ms"
    assert repr(never) == "<profile: 0 operations, 0.000 ms>"
    with profile() as empty:
        sum(range(10))
    assert str(empty).startswith("profile: no operation was recorded in ")
    assert empty.key_averages() == []


def test_repr(recorded):
    assert repr(recorded) == "<profile: 6 operations, 22.000 ms>"


def test_errors(recorded):
    with pytest.raises(
        ValueError, match="table: `sort_by` is 'size', expected one of time, forward"
    ):
        recorded.table(sort="size")
    with pytest.raises(ValueError, match="key_averages: `by` is 'layer', expected 'op', 'module'"):
        recorded.table(by="layer")
    with profile() as p:
        tg.ones(2).exp()
    with pytest.raises(ValueError, match=r"open it as profile\(with_stack=True\)"):
        p.table(by="line")
