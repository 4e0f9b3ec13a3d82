"""Every example runs, checks itself and stays short."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))


def test_there_are_examples():
    assert {"train_by_hand", "custom_operation", "double_backward", "certify_your_own_op"} <= {
        p.stem for p in EXAMPLES
    }


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example_is_short(path):
    longest = {"train_cifar10": 80, "cifar10_fast": 160}.get(path.stem, 60)
    assert len(path.read_text().splitlines()) <= longest


RUNS = [pytest.param(path, [], id=path.stem) for path in EXAMPLES]
RUNS.append(pytest.param(FOLDER / "train_cifar10.py", ["--turns", "--lr", "0.2"], id="turns"))


@pytest.mark.parametrize(("path", "arguments"), RUNS)
def test_example_runs(path, arguments, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(path.parents[1]), "PYTHONWARNINGS": "error"}
    environment["OPENBLAS_NUM_THREADS"] = "1"  # the tests beside it have the other cores
    done = subprocess.run(
        [sys.executable, str(path), *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert not done.stderr
    assert not list(tmp_path.iterdir())  # no litter
