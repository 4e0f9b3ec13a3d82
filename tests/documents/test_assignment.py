"""docs/assignment.md: its pictures are there, the naive layers that it names agree with ours."""

import re
from pathlib import Path

from scripts import load

ROOT = Path(__file__).parents[2]


def test_it_shows_nine_pictures():
    page = (ROOT / "docs/assignment.md").read_text(encoding="utf-8")
    assert len(re.findall(r"\]\([^)#]+\.png\)", page)) == 9


def test_the_naive_layers_agree_with_ours(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    module = load(ROOT / "benchmarks/naive_convolution.py")
    for case in (
        module.convolution(2, 3, 2, 3, 6, 0),
        module.convolution(1, 2, 3, 5, 7, 2),
        module.pooling(2, 3, 6),
    ):
        module.compared(*case)
