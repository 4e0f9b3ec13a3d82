"""The notebook runs from top to bottom, draws its pictures and stands in the repository empty."""

import json
from pathlib import Path

import pytest

PLACE = Path(__file__).parents[2] / "examples/cifar10_tour.ipynb"
HOW = "pip install nbclient ipykernel"


def test_no_output_is_kept():
    for cell in json.loads(PLACE.read_text())["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_it_runs_and_draws(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason=f"nbclient is not installed: {HOW}")
    pytest.importorskip("ipykernel", reason=f"ipykernel is not installed: {HOW}")
    nbformat = pytest.importorskip("nbformat", reason=f"nbformat is not installed: {HOW}")
    monkeypatch.setenv("PYTHONPATH", str(PLACE.parents[1]))
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # the tests beside it have the other cores
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    book = nbformat.read(PLACE, as_version=4)
    nbclient.NotebookClient(
        book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = [
        output
        for cell in book.cells
        for output in cell.get("outputs", [])
        if output["output_type"] in ("display_data", "execute_result")
    ]
    pictures = [output["data"] for output in shown if "image/png" in output["data"]]
    assert len(pictures) == 10
    assert not list(tmp_path.iterdir())
