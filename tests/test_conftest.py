"""What the options and the end of a run of the tests do."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scripts import load

TESTS = Path(__file__).parent


class Reporter:
    """What pytest's terminal would show."""

    def __init__(self, *reasons: str) -> None:
        skipped = [SimpleNamespace(longrepr=("a.py", 1, f"Skipped: {r}")) for r in reasons]
        self.stats = {"skipped": skipped}
        self.lines: list[str] = []

    def section(self, title: str) -> None:
        self.lines.append(title)

    def line(self, text: str) -> None:
        self.lines.append(text)


def said(kernels: str, *reasons: str) -> list[str]:
    config: Any = SimpleNamespace(getoption={"--kernels": kernels}.__getitem__)
    reporter = Reporter(*reasons)
    load(TESTS / "conftest.py").pytest_terminal_summary(reporter, config)
    return reporter.lines


def test_what_was_not_run_stands_at_the_end_with_what_brings_it() -> None:
    torch = "PyTorch is not installed: pip install torch==2.13.0"
    reasons = (torch, "needs Graphviz: apt install graphviz", torch, "slow: pytest --slow")
    assert said("jit", *reasons, "only Linux has /proc/self/maps") == [
        "not run",
        "    2  to run them: pip install torch==2.13.0",
        "    1  to run it: apt install graphviz",
        "    1  to run it: pytest --slow",
        "    1  not here: only Linux has /proc/self/maps",
    ]
    assert said("auto", torch)[-1].endswith("pytest --kernels both")
    assert said("auto") == []


def test_on_both_sets_of_kernels_runs_what_reaches_compiled_ones() -> None:
    pytest.importorskip("numba", reason="Numba is not installed: pip install numba")
    norm = f"{TESTS / 'kernels/test_kernel_norm.py'}::"
    names = ["test_sum_and_affine", "test_batch_norm_backward_is_the_derivative"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider", "--kernels",
         "both", *(norm + name for name in names), f"{TESTS / 'test_exports.py'}"],
        cwd=TESTS.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    passed = int(re.search(r"(\d+) passed", done.stdout)[1])
    assert passed == 2 + 1 + 3  # the first reaches some; the last are no tests of kernels
