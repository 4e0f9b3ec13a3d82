"""400 programs, run with our kernels and in PyTorch; `python -m tests.differential` runs more."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, seed, settings

import tinygrad_cnn as tg
from tinygrad_cnn.kernels import choice

from .compare import differences
from .known import known
from .programs import Statement, programs
from .run import torch
from .shrink import script, shrink

SHARES = 8  # so that several processes can take them
PROGRAMS = 400


def check(statements: list[Statement], kernels: str, against: Any) -> None:
    found = differences([s.text for s in statements], [kernels], against=[against])
    if found and not known(*shrink(statements, found[0])):
        pytest.fail(script(statements, found[0]), pytrace=False)


def run_share(share: int, kernels: str, against: Any) -> None:
    @seed(share)
    @settings(max_examples=PROGRAMS // SHARES)
    @given(programs())
    def test(statements: list[Statement]) -> None:
        check(statements, kernels, against)

    test()


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("kernels", ["jit", "reference"])
def test_as_in_pytorch(kernels: str, share: int) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch==2.13.0")
    if kernels == "jit" and not choice.has_numba():
        pytest.skip("Numba is not installed: pip install numba")
    run_share(share, kernels, torch)


@pytest.mark.parametrize("share", range(SHARES))
def test_compiled_kernels_as_numpy(share: int) -> None:
    """With other programs than above: from these on, NumPy's kernels are what is compared with."""
    pytest.importorskip("numba", reason="Numba is not installed: pip install numba")
    run_share(SHARES + share, "jit", tg)
