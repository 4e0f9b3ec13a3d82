"""The recipes on PyTorch are the same files with other imports."""

import subprocess
import sys
from pathlib import Path

import pytest
from scripts import load

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "benchmarks/recipe_on_pytorch.py"


@pytest.mark.parametrize("name", ["train_cifar10", "cifar10_fast"])
def test_only_imports_change_and_only_the_data_stays_ours(name):
    path = ROOT / f"examples/{name}.py"
    ours, theirs = path.read_text().splitlines(), load(PLACE).on_pytorch(path).splitlines()
    new = [line for line in theirs if line not in ours]
    assert new
    assert all("torch" in line or line == "from tinygrad_cnn import data" for line in new)
    kept = [line for line in theirs if line.startswith(("import tinygrad", "from tinygrad"))]
    assert kept == ["from tinygrad_cnn import data"]


@pytest.mark.parametrize("name", ["train_cifar10", "cifar10_fast"])
def test_recipes_run_on_pytorch(name, tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch==2.13.0")
    done = subprocess.run(
        [sys.executable, str(PLACE), name, "--epochs", "2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "epoch 2: loss" in done.stdout
