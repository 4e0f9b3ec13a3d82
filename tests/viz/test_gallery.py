"""The gallery: its page is what its script writes, its pictures are there and small."""

import importlib.util
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tinygrad_cnn.viz.graph.render import has_dot

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "gallery.md").read_text(encoding="utf-8")


def test_every_picture_is_shown_and_none_is_left_over():
    shown = re.findall(r"!\[[^\]]*\]\((gallery/[^)]*)\)", TEXT)
    assert sorted(shown) == sorted(f"gallery/{p.name}" for p in (DOCS / "gallery").iterdir())
    for name in shown:
        text = (DOCS / name).read_text(encoding="utf-8")
        assert ElementTree.fromstring(text).tag.endswith("svg")
        assert len(text) < 120_000


@pytest.mark.skipif(
    not has_dot(), reason="needs Graphviz: apt install graphviz && pip install graphviz"
)
def test_the_page_is_what_its_script_writes(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("make_gallery", DOCS / "make_gallery.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PICTURES", tmp_path / "gallery")
    assert module.page() == TEXT, "run: python docs/make_gallery.py"
    made = {p.name for p in (tmp_path / "gallery").iterdir()}
    assert made == {p.name for p in (DOCS / "gallery").iterdir()}
