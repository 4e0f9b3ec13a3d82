"""The trace file: valid, and its slices lie inside each other as operations and modules do."""

from __future__ import annotations

import json
from collections import defaultdict

import pytest
from clock import stand_still

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from tinygrad_cnn import nn, optim
from tinygrad_cnn.profiler import profile


def read(p, folder):
    p.export_chrome_trace(folder / "trace.json")
    return json.loads((folder / "trace.json").read_text())["traceEvents"]


@pytest.fixture
def trace(tmp_path):
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Sequential(nn.Flatten(), nn.Linear(4 * 36, 5))
    )
    sgd = optim.SGD(net.parameters(), lr=0.1)
    with profile() as p:
        for _ in range(2):
            F.cross_entropy(net(tg.randn(2, 3, 8, 8)), tg.tensor([1, 2])).backward()
            sgd.step()
    return read(p, tmp_path)


def slices(trace):
    tracks = defaultdict(list)
    for e in trace:
        if e["ph"] == "X":
            tracks[e["tid"]].append(e)
    return tracks


def test_slices_of_a_track_nest(trace):
    tracks = slices(trace)
    assert sorted(tracks) == [1, 2, 3]
    for track in tracks.values():
        open_until = []
        for e in sorted(track, key=lambda e: (e["ts"], -e["dur"])):
            assert e["ts"] >= 0
            assert e["dur"] >= 0
            while open_until and open_until[-1] <= e["ts"] + 1e-3:
                open_until.pop()
            end = e["ts"] + e["dur"]
            assert not open_until or end <= open_until[-1] + 1e-3, e["name"]
            open_until.append(end)


@pytest.mark.parametrize("tid", [1, 2])
def test_operations_stand_inside_their_modules(trace, tid):
    track = slices(trace)[tid]
    found = 0
    for e in track:
        label = e.get("args", {}).get("module")
        if e["cat"] != "operation" or not label:
            continue
        around = [
            m
            for m in track
            if m["cat"] == "module"
            and m["ts"] <= e["ts"] + 1e-3
            and e["ts"] + e["dur"] <= m["ts"] + m["dur"] + 1e-3
        ]
        names = [m["name"] for m in sorted(around, key=lambda m: -m["dur"])]
        assert label in names
        assert "Sequential" in names
        assert ("Sequential.2 (Sequential)" in names) == label.startswith("Sequential.2")
        found += 1
    assert found >= 8


def test_backward_modules_follow_each_other_in_reverse(trace):
    modules = [e for e in slices(trace)[2] if e["cat"] == "module"]
    names = [e["name"] for e in sorted(modules, key=lambda e: (e["ts"], -e["dur"]))]
    once = [
        "Sequential",
        "Sequential.2 (Sequential)",
        "Sequential.2.1 (Linear)",
        "Sequential.2.0 (Flatten)",
        "Sequential.1 (ReLU)",
        "Sequential.0 (Conv2d)",
    ]
    assert names == once * 2


def test_arrows_lead_from_forward_to_backward(trace):
    starts = {e["id"]: e for e in trace if e["ph"] == "s"}
    ends = {e["id"]: e for e in trace if e["ph"] == "f"}
    assert len(starts) >= 10
    assert starts.keys() == ends.keys()
    for key, start in starts.items():
        assert start["tid"] == 1
        assert ends[key]["tid"] == 2
        assert start["ts"] < ends[key]["ts"]


def test_tracks_have_names_and_memory_a_curve(trace):
    names = {e["args"]["name"] for e in trace if e["ph"] == "M"}
    assert names == {"tinygrad_cnn", "forward", "backward", "optimizer"}
    assert all(e["args"]["bytes"] >= 0 for e in trace if e["ph"] == "C")


def test_times_and_details(monkeypatch, tmp_path):
    clock = stand_still(monkeypatch)
    slow = clock.operation("slow", 5, 7)
    with profile():
        clock.work(3)
        with profile(with_stack=True) as p:
            clock.work(2)
            slow(tg.ones(2, 3))
    (e,) = [e for e in read(p, tmp_path) if e["ph"] == "X"]
    assert (e["ts"], e["dur"]) == (pytest.approx(2000), pytest.approx(5000))
    assert e["args"]["input_shapes"] == [[2, 3]]
    assert e["args"]["lines"][0].endswith("test_times_and_details")


def test_the_other_name_and_an_empty_profile(tmp_path):
    with profile() as p:
        pass
    p.save_chrome_trace(str(tmp_path / "empty.json"))
    found = json.loads((tmp_path / "empty.json").read_text())
    assert [e["ph"] for e in found["traceEvents"]] == ["M"] * 4
