"""docs/assignment.md: its code runs and prints what it says, its links and pictures are there."""

import contextlib
import importlib.util
import io
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/assignment.md"


def test_the_code_prints_what_its_comments_say():
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    claims = re.findall(r"^print\(.*\) +# (.*)$", code, re.MULTILINE)
    assert len(claims) == 5
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "assignment.md", "exec"), {"__name__": "assignment"})
    assert printed.getvalue().splitlines() == claims


def test_links_lead_somewhere():
    targets = re.findall(r"\]\(([^)#]+)\)", PAGE.read_text())
    assert len([t for t in targets if t.endswith(".png")]) == 9
    for target in targets:
        assert (PAGE.parent / target).exists(), target


def test_the_naive_layers_agree_with_ours():
    path = ROOT / "benchmarks/naive_convolution.py"
    spec = importlib.util.spec_from_file_location("naive_convolution", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for case in (
        module.convolution(2, 3, 2, 3, 6, 0),
        module.convolution(1, 2, 3, 5, 7, 2),
        module.pooling(2, 3, 6),
    ):
        module.compared(*case)
