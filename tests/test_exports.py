"""The written lists of public names are what `export` says."""

from pathlib import Path

import pytest
from scripts import load

import tinygrad_cnn as tg

SCRIPT = Path(__file__).parents[1] / "docs/make_exports.py"


@pytest.fixture(scope="module")
def script():
    return load(SCRIPT)


def test_the_lists_are_up_to_date(script):
    for path, text in script.files().items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run python docs/make_exports.py"


def test_a_new_export_would_be_written(script, monkeypatch):
    from tinygrad_cnn.functions import export

    def gone(input):
        return input

    monkeypatch.setattr("tinygrad_cnn.functions.creation.gone", gone, raising=False)

    monkeypatch.setattr(export, "EXPORTS", {**export.EXPORTS})
    export.export("vanished", inplace=True, nn=True)(gone)
    texts = {path.relative_to(script.PACKAGE).as_posix(): t for path, t in script.files().items()}
    assert "gone" in texts["__init__.py"]
    assert "vanished = gone" in texts["functions/__init__.py"]
    assert "gone = vanished = f.gone" in texts["functions/methods.py"]
    assert "gone_ = vanished_ = in_place(f.gone)" in texts["functions/methods.py"]
    assert "gone" in texts["nn/functional.py"]


def test_what_is_listed_is_there():
    for name in tg.__all__:
        assert hasattr(tg, name), name
