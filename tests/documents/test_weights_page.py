"""The page on weights: its code runs as it stands, and prints what it says."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path

import pytest

from tinygrad_cnn.serialization import load_state

PAGE = Path(__file__).parents[2] / "docs/weights.md"


def test_code_prints_what_its_comments_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = "\n".join(
        re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    )
    claims = re.findall(r"^ *print\(.*\) +# (.*)$", code, re.MULTILINE)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(PAGE), "exec"), {"__name__": "page"})
    assert printed.getvalue().splitlines() == claims
    assert len(claims) == 9
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    theirs = torch.load("weights.pt", weights_only=True)
    assert {name: tuple(value.shape) for name, value in theirs.items()} == {
        name: tuple(value.shape) for name, value in load_state("weights.pt").items()
    }


def test_the_models_of_the_table_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PAGE.parents[1]))
    rows = re.findall(r"^\| \[`models/(\w+)\.py`\].*?\| (.*?) \|", PAGE.read_text(), re.MULTILINE)
    assert len(rows) == 4
    for name, classes in rows:
        module = __import__(f"models.{name}", fromlist=["__all__"])
        assert re.findall(r"`(\w+)`", classes) == module.__all__
    assert "models.vit" in sys.modules
