"""The documentation site: every public module has its place, tutorials run, links are checked."""

import contextlib
import io
import runpy
import sys
from pathlib import Path

import pytest
from scripts import load

import tinygrad_cnn as tg

ROOT = Path(__file__).parents[2]
SITE = ROOT / "docs/site"
TUTORIALS = sorted((SITE / "tutorials").glob("*.py"))


@pytest.fixture(scope="module")
def reference():
    return load(SITE / "reference.py")


def test_every_public_module_has_a_place(reference):
    groups = [*reference.MODULES.values(), *reference.ELSEWHERE.values()]
    placed = [module for group in groups for module in group]
    assert len(placed) == len(set(placed))
    for module in placed:
        reference.find(module)
    new = set(reference.public_modules()) - set(placed)
    assert not new, f"place {sorted(new)} in MODULES of docs/site/reference.py"


def test_every_public_name_has_a_page(reference, tmp_path):
    pages = reference.Reference().make()
    assert ".. autofunction:: tinygrad_cnn.relu(" in pages["tinygrad_cnn/relu"]
    assert ".. autoclass:: tinygrad_cnn.nn.Conv2d" in pages["tinygrad_cnn.nn/Conv2d"]
    assert (
        "`Accuracy </reference/tinygrad_cnn.train.metrics/Accuracy>`"
        in (pages["tinygrad_cnn.train.metrics"])
    )
    for name in ("backward", "detach", "numpy"):  # that are no functions too
        assert f"automethod:: tinygrad_cnn.Tensor.{name}(" in pages["tinygrad_cnn/Tensor"]
    for name in tg.__all__:
        value = getattr(tg, name)
        plain = name[:1] != "_" and not isinstance(value, type(sys))
        assert not plain or f":doc:`{name} <" in pages["tinygrad_cnn"], name
    lower = [name.lower() for name in pages]
    assert len(lower) == len(set(lower))  # files, for systems that take large letters for small
    (tmp_path / "old.rst").write_text("")
    reference.write(tmp_path)
    assert not (tmp_path / "old.rst").exists()
    assert (tmp_path / "index.rst").read_text(encoding="utf-8") == pages["index"]


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda p: p.stem)
def test_a_tutorial_runs(path):
    assert len(TUTORIALS) == 6
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        runpy.run_path(str(path), run_name="tutorial")
    assert printed.getvalue()


def test_links_inside_the_site_are_checked(tmp_path):
    check = load(SITE / "check.py")
    (tmp_path / "a.html").write_text('<p id="x"></p><a href="b.html#y"></a><a href="c.html">')
    (tmp_path / "b.html").write_text('<a href="a.html#x"></a><a href="https://e.org/"></a>')
    assert sorted(check.broken(tmp_path)) == ["a.html: b.html#y: no such place", "a.html: c.html"]
