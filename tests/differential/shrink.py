"""Makes a program that fails small, and prints it as a script that needs nothing of ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import tinygrad_cnn as tg

from .compare import Difference, differences
from .programs import Statement
from .run import VARIABLE, definitions, needed, run

__all__ = ["script", "shrink"]


def shrink(
    statements: list[Statement], difference: Difference
) -> tuple[list[Statement], Difference]:
    """The smallest program found in which the same run differs in the same kind of thing."""
    kernels, dtype = difference.who.split()

    def fails(some: list[Statement]) -> Difference | None:
        found = differences([s.text for s in some], [kernels], [dtype])
        return found[0] if found and found[0].kind == difference.kind else None

    before = None
    while before != statements:
        before = statements
        statements = _fewer(statements, fails)
        statements = _simpler(statements, fails)
    return statements, fails(statements) or difference


def _fewer(
    statements: list[Statement], fails: Callable[[list[Statement]], object]
) -> list[Statement]:
    """Without the statements that can be left out: many at once, then one by one, from the end."""
    size = max(len(statements) // 2, 1)
    while size:
        end = len(statements)
        while end > 0:
            rest = statements[: max(end - size, 0)] + statements[end:]
            if fails(rest):
                statements = rest
            end -= size
        size //= 2
    return statements


def _simpler(
    statements: list[Statement], fails: Callable[[list[Statement]], object]
) -> list[Statement]:
    for at in range(len(statements)):
        for text in _alternatives(statements[at].text):
            rest = list(statements)
            rest[at] = Statement(
                text, statements[at].instruction.removeprefix("with T.no_grad(): ")
            )
            if fails(rest):
                statements = rest
                break
    return statements


def _alternatives(text: str) -> Iterator[str]:
    """The same statement, simpler."""
    if text.startswith("with T.no_grad(): "):
        yield text.removeprefix("with T.no_grad(): ")
    for sides in re.finditer(r"(?<=tensor\()\d+((?:, \d+)+)(?=\))", text):
        start, end = sides.span(1)
        for smaller in ("2", "1"):
            yield text[:start] + re.sub(r"\d\d+|[3-9]", smaller, text[start:end]) + text[end:]


def script(statements: list[Statement], difference: Difference) -> str:
    """A program as a script: ``python FILE torch`` or ``python FILE tinygrad_cnn reference``."""
    kernels, dtype = difference.who.split()
    texts = [s.text for s in statements]
    raised = {
        int(label.split()[0])
        for module, name in ((tg, kernels), (None, ""))
        for label, value in run(texts, module or tg, dtype, name or "reference")
        if label.endswith(" raised") and value
    }
    lines = [
        *(f"# {line}" for line in str(difference).splitlines()),
        "import copy",
        "import importlib",
        "import sys",
        "",
        "import numpy as np",
        "",
        'T = importlib.import_module(sys.argv[1] if sys.argv[1:] else "tinygrad_cnn")',
        f"D = T.{dtype}",
        'if T.__name__ != "torch":',
        f'    T.set_kernels(sys.argv[2] if sys.argv[2:] else "{kernels}")',
        "", "",
        "def log(name, value):",
        "    print(name, value)",
        "", "",
    ]  # fmt: skip
    sources = definitions()
    lines += [f"{sources[name]}\n\n" for name in needed("\n".join(texts), ("log",))]
    for i, text in enumerate(texts):
        lines += _guarded(text) if i in raised else [text]
    names = dict.fromkeys(VARIABLE.findall("\n".join(texts)))
    shown = " ".join(name for name in names if name[0] in "xabi")
    lines.append(f'for name in "{shown}".split():')
    lines.append("    x = globals().get(name)")
    lines.append('    print(name, x, getattr(x, "shape", ""), "grad", getattr(x, "grad", None))')
    return "\n".join(lines) + "\n"


def _guarded(text: str) -> list[str]:
    return ["try:", f"    {text}", "except Exception as error:", '    print("raised", error)']
