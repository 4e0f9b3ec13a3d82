"""What README and docs say is so: their code runs and prints what the comments claim."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _python_blocks(path: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


def test_the_readme_example_prints_what_its_comments_say() -> None:
    (block,) = _python_blocks(ROOT / "README.md")
    claims = re.findall(r"^ *print\(.*\) +# (.*)$", block, re.MULTILINE)
    assert len(claims) >= 3
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
    assert printed.getvalue().splitlines() == claims


def test_the_two_commands_stand_at_the_top() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first, second = re.search(r"```\n(.*?)```", text, re.DOTALL).group(1).splitlines()
    assert first.startswith("pip install '.[fast]' && tinygrad-cnn train models/lenet5.py")
    assert second.startswith("pip install -e '.[test]' && pytest")
    script = (ROOT / ".ci/run").read_text()
    assert "pip install \"${quiet[@]}\" '.[fast]' && tinygrad-cnn train models/lenet5.py" in script
    assert 'pip install "${quiet[@]}" -e \'.[test]\' "$torch" && pytest' in script


def test_the_table_of_operations_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location(
        "make_operations", ROOT / "docs/make_operations.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs/operations.md").read_text(encoding="utf-8") == module.page(), (
        "run: python docs/make_operations.py"
    )


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text(encoding="utf-8")):
        if "://" not in target:
            assert (ROOT / target).exists(), target
