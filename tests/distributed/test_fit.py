"""`tg.train.fit` on several ranks comes to what one process comes to."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
import pytest

from tests.distributed.ranks import needs_mpi, run

NAMES = ["plain", "eager", "compiled", "much", "stream", "skipping"]


@functools.cache
def results(ranks: int, turn: int = 0) -> dict[str, Any]:
    """What trainings come to; ``turn`` tells one run from another."""
    done = run(ranks, "-m", "tests.distributed.fitting", ",".join(NAMES))
    return read(done)


def read(done: Any) -> dict[str, Any]:
    """What was printed."""
    lines = [line for line in done.out.splitlines() if line.startswith("result: ")]
    assert done.code == 0, done.err
    return dict(json.loads(line.removeprefix("result: ")) for line in lines)


def same(found: Any, expected: Any, rtol: float) -> None:
    """Compare figures and weights."""
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            if value is None:
                assert theirs[name] is None
                continue
            np.testing.assert_allclose(value, theirs[name], rtol=rtol, atol=rtol, err_msg=name)


@needs_mpi
@pytest.mark.parametrize("name", NAMES)
def test_three_ranks_train_as_one(name):
    same(results(3)[name], results(1)[name], 2e-4)


@needs_mpi
def test_the_same_bits_again():
    assert results(3, turn=1) == results(3)


@needs_mpi
def test_compiled_is_eager_to_the_bit():
    assert results(3)["plain"][1] == results(3)["eager"][1]


@needs_mpi
def test_another_number_of_ranks_goes_on(tmp_path):
    program = "-m", "tests.distributed.fitting", "resuming"
    whole = read(run(1, *program, str(tmp_path / "whole"), "4"))["resuming"]
    for ranks, epochs in ((1, "1"), (3, "2"), (2, "4")):
        found = read(run(ranks, *program, str(tmp_path / "parts"), epochs))["resuming"]
    same(found, whole, 2e-4)
