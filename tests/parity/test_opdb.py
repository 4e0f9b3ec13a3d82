"""PyTorch's own samples, evenly taken, of every operator that we have; what differs is listed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts import load

import tinygrad_cnn as tg
from parity import require_torch

pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch==2.13.0")
pytest.importorskip("expecttest", reason="PyTorch's samples need it: pip install expecttest")

from torch.testing._internal.common_methods_invocations import op_db

from parity import kinds, opdb

ROOT = Path(__file__).parents[2]

OFFERED = sorted({i.name for i in op_db if kinds.with_ours(i.op) or kinds.ours(i.name)})
NOTHING = ("nn.functional.triplet_margin_with_distance_loss",)
"""Samples that hold PyTorch's own layers are not run."""

SAMPLES = 8  # of each operator and kind, evenly; all of them: pytest --slow


@pytest.mark.parametrize("name", OFFERED)
def test_samples_of_every_kind_agree(name: str, request: pytest.FixtureRequest) -> None:
    most = None if request.config.getoption("--slow") else SAMPLES
    with np.errstate(all="ignore"):
        found = list(opdb.results(lambda n: n == name, most, tuple(kinds.KINDS)))
    assert not [f"{r.name} ({r.kind}): {why}" for r in found for why in r.differ]


def test_the_page_lists_every_operator_where_it_belongs() -> None:
    page = load(ROOT / "docs/make_parity.py").written((ROOT / "docs/parity.md").read_text("utf-8"))
    assert set(page.rows) == {opdb.label(info) for info in op_db}
    for info in op_db:
        known = kinds.ours(info.name) if kinds.with_ours(info.op) is None else None
        known = known and info.supported_dtypes("cpu") and info.name not in NOTHING
        row = page.rows[opdb.label(info)]
        assert bool(row) <= bool(info.name in OFFERED), f"{info.name} is missing"
        assert row or not known, f"run python docs/make_parity.py {info.name}"
        for kind, (agreed, samples) in row.items():
            differ = sum(n[opdb.label(info)] for (k, _), n in page.whys.items() if k == kind)
            assert agreed + differ == samples, info.name
    assert {why for _, why in page.whys} == {d.why for d in opdb.DECISIONS}


def test_a_difference_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(input: Any, other: Any) -> Any:
        return tg.hypot(input, other) + (input - input.detach())

    for function, said in ((wrong, "order 1"), (lambda a, b: tg.hypot(a, b) * 2, "result 0")):
        monkeypatch.setattr(kinds, "ours", lambda name, function=function: function)
        (found,) = opdb.results(lambda n: n == "hypot", 2)
        assert found.differ
        assert all(said in why for why in found.differ)


def test_fractional_pooling_of_given_places() -> None:
    torch = require_torch()
    rng = np.random.default_rng(3)
    for n, name in ((2, "fractional_max_pool2d"), (3, "fractional_max_pool3d")):
        x, places = rng.normal(size=(2, 3, *(9, 8, 7)[:n])), rng.random((2, 3, n))
        kwargs = {"kernel_size": 2, "output_size": (4, 3, 2)[:n], "return_indices": True}
        theirs = getattr(torch.nn.functional, name)(
            torch.tensor(x), **kwargs, _random_samples=torch.tensor(places)
        )
        ours = getattr(tg.nn.functional, name)(
            tg.tensor(x), **kwargs, _random_samples=tg.tensor(places)
        )
        for a, b in zip(ours, theirs, strict=True):
            assert np.array_equal(a.numpy(), b.numpy())
