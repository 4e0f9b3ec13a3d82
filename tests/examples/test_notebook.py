"""The notebook has the outputs that it has when it is run today."""

import copy
import json
from pathlib import Path

import pytest
from scripts import load

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "examples/cifar10_tour.ipynb").read_text(encoding="utf-8")
HOW = "pip install nbclient ipykernel"


@pytest.fixture(scope="module")
def script():
    for needed in ("nbclient", "ipykernel", "nbformat"):
        pytest.importorskip(needed, reason=f"{needed} is not installed: {HOW}")
    return load(ROOT / "docs/make_notebook.py")


@pytest.fixture(scope="module")
def written(script):
    return script.nbformat.reads(TEXT, as_version=4)


def test_it_is_what_its_script_writes(script, written, tmp_path, monkeypatch):
    for name in (*script.SETTINGS, "PYTHONPATH"):
        monkeypatch.setenv(name, "")  # and as it was, afterwards
    made = script.run(copy.deepcopy(written), tmp_path)
    assert script.differences(written, made) == [], "run: python docs/make_notebook.py"
    assert not list(tmp_path.iterdir())


def test_it_shows_ten_pictures_and_no_path():
    cells = json.loads(TEXT)["cells"]
    assert TEXT.count('"image/png"') == 10
    numbers = [cell["execution_count"] for cell in cells if cell["cell_type"] == "code"]
    assert numbers == list(range(1, len(numbers) + 1))
    texts = [json.dumps(o.get("text", "")) for c in cells for o in c.get("outputs", ())]
    assert not any("/" in text for text in texts)


def _swap(book):
    first, second = (cell.outputs[-1] for cell in (book.cells[3], book.cells[10]))
    first.data, second.data = second.data, first.data


CHANGES = {
    "the cells differ": lambda book: book.cells[0].update(source="other"),
    "it shows": lambda book: book.cells[3].outputs.pop(),
    "cell 6 says": lambda book: book.cells[6].outputs[0].update(text="(1, 4, 5)"),
    "cell 3 shows another": _swap,
}


@pytest.mark.parametrize("said", CHANGES)
def test_what_is_stale_is_said(script, written, said):
    book = copy.deepcopy(written)
    CHANGES[said](book)
    assert script.differences(written, book)[0].startswith(said)


def test_decimals_may_differ(script, written):
    book = copy.deepcopy(written)
    book.cells[10].outputs[0].text = book.cells[10].outputs[0].text.replace("2.303", "2.299")
    assert script.differences(written, book) == []
