"""What README and docs say is so: their code runs and prints what the comments claim."""

from __future__ import annotations

import contextlib
import io
import re
import textwrap
from pathlib import Path

import pytest
from scripts import load

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md"]
PAGES += sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize(
    ("page", "count"),
    [
        ("README.md", 3),
        ("docs/arrays.md", 8),
        ("docs/assignment.md", 5),
        ("docs/performance.md", 0),
        ("docs/start.md", 3),
        ("docs/trackers.md", 1),
    ],
)
def test_code_prints_what_its_comments_say(page: str, count: int) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```python\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    code = "\n".join(textwrap.dedent(block) for block in blocks)
    claims = re.findall(r"^ *print\(.*\) +# (.*)$", code, re.MULTILINE) if count else []
    assert len(claims) == count
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, page, "exec"), {"__name__": "page"})
    assert printed.getvalue()
    assert not count or printed.getvalue().splitlines() == claims


def test_the_two_commands_stand_at_the_top() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first, second = re.search(r"```\n(.*?)```", text, re.DOTALL).group(1).splitlines()
    assert first.startswith("pip install '.[fast]' && tinygrad-cnn train models/lenet5.py")
    assert second.startswith("pip install -e '.[test]' && pytest")
    script = (ROOT / ".ci/run").read_text()
    assert "pip install \"${quiet[@]}\" '.[fast]' && tinygrad-cnn train models/lenet5.py" in script
    assert 'pip install "${quiet[@]}" -e \'.[test]\' "$torch" && pytest' in script


def test_the_table_of_operations_is_up_to_date() -> None:
    page = load(ROOT / "docs/make_operations.py").page()
    assert (ROOT / "docs/operations.md").read_text(encoding="utf-8") == page, (
        "run: python docs/make_operations.py"
    )


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_the_first_page_on_speed_is_short() -> None:
    text = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 80
