"""The gallery: its page and pictures are what its script writes today."""

import importlib.util
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tinygrad_cnn.viz.graph.render import has_dot

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TEXT = (DOCS / "gallery.md").read_text(encoding="utf-8")


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("make_gallery", DOCS / "make_gallery.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_picture_is_shown_and_none_is_left_over():
    shown = re.findall(r"!\[[^\]]*\]\((gallery/[^)]*)\)", TEXT)
    assert sorted(shown) == sorted(f"gallery/{p.name}" for p in (DOCS / "gallery").iterdir())
    for name in shown:
        text = (DOCS / name).read_text(encoding="utf-8")
        assert ElementTree.fromstring(text).tag.endswith("svg")
        assert len(text) < 120_000
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in re.findall(r"docs/(gallery/\w+\.svg)", readme):
        assert name in shown


def test_no_picture_is_stale(script):
    """By what they are drawn from, so that the test needs no Graphviz, of no certain version."""
    stored = json.loads((DOCS / "gallery.json").read_text(encoding="utf-8"))
    found = script.digests()
    stale = [name for name in found if found[name] != stored.get(name)]
    assert (stale, set(found)) == ([], set(stored)), "run: python docs/make_gallery.py"
    assert set(found) == {p.stem for p in (DOCS / "gallery").iterdir()}


@pytest.mark.skipif(
    not has_dot(), reason="needs Graphviz: apt install graphviz && pip install graphviz"
)
def test_the_page_is_what_its_script_writes(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "PICTURES", tmp_path / "gallery")
    assert script.page() == TEXT, "run: python docs/make_gallery.py"
    made = {p.name for p in (tmp_path / "gallery").iterdir()}
    assert made == {p.name for p in (DOCS / "gallery").iterdir()}
