"""The code in docs/certification.md runs and prints what its comments say."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tinygrad_cnn.autograd import REGISTRY
from tinygrad_cnn.testing import CHECK_NAMES

PAGE = (Path(__file__).parents[2] / "docs" / "certification.md").read_text(encoding="utf-8")


@pytest.fixture
def registry_as_it_was() -> Iterator[None]:
    before = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(before)


@pytest.mark.usefixtures("registry_as_it_was")
def test_the_examples_print_what_their_comments_say() -> None:
    code = "".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    claims = re.findall(r"^print\(.*\)  # (.*)$", code, re.MULTILINE)
    assert len(claims) >= 6
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "certification.md", "exec"), {"__name__": "certification"})
    assert printed.getvalue().splitlines() == claims


def test_every_check_is_explained() -> None:
    rows = re.findall(r"^\| ([^|]+?) \| ", PAGE, re.MULTILINE)
    assert tuple(rows[1:]) == CHECK_NAMES
