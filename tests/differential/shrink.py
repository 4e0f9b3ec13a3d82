"""Makes a program that fails small, and prints it as a script that needs nothing of ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import tinygrad_cnn as tg

from .compare import Difference, differences
from .programs import UNRECORDED, Statement
from .run import VARIABLE, Raised, definitions, needed, run, torch


def shrink(
    statements: list[Statement], difference: Difference
) -> tuple[list[Statement], Difference]:
    """The smallest program found in which the same run differs in the same kind of thing."""
    against = tg if difference.against == tg.__name__ else torch

    def fails(some: list[Statement]) -> Difference | None:
        texts = [s.text for s in some]
        found = differences(texts, [difference.kernels], [difference.dtype], [against])
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
    """With a plainer statement here and there."""
    for at in range(len(statements)):
        for simpler in _alternatives(statements[at]):
            rest = [*statements[:at], simpler, *statements[at + 1 :]]
            if simpler != statements[at] and fails(rest):
                statements = rest
                break
    return _without_aliases(statements, fails)


def _without_aliases(
    statements: list[Statement], fails: Callable[[list[Statement]], object]
) -> list[Statement]:
    """With one name for what has two."""
    for at in reversed(range(len(statements))):
        if alias := re.fullmatch(r"(x\d+) = (x\d+)", statements[at].text):
            new, old = alias.groups()
            rest = [
                Statement(re.sub(rf"\b{new}\b", old, s.text), s.instruction)
                for s in statements[at + 1 :]
            ]
            if fails(statements[:at] + rest):
                statements = statements[:at] + rest
    return statements


def _alternatives(statement: Statement) -> Iterator[Statement]:
    text, instruction = statement.text, statement.instruction
    if text.startswith(UNRECORDED):
        yield Statement(text.removeprefix(UNRECORDED), instruction.removeprefix(UNRECORDED))
    if made := re.fullmatch(r"(x\d+)(?:, (x\d+))? = (.*)", text):
        *names, value = made.groups()
        for other in dict.fromkeys(re.findall(r"\bx\d+\b", value)):
            for name in names:
                if name and value != other:
                    yield Statement(f"{name} = {other}", "{newx} = {x}")
                    yield Statement(f"{name} = {other} * 1", "{newx} = {x} * 1")
    for sides in re.finditer(r"(?<=tensor\()\d+((?:, \d+)+)(?=\))", text):
        start, end = sides.span(1)
        for smaller in ("2", "1"):
            changed = re.sub(r"\d\d+|[3-9]", smaller, text[start:end])
            yield Statement(text[:start] + changed + text[end:], instruction)


def script(statements: list[Statement], difference: Difference) -> str:
    """A program as a script: ``python FILE torch`` or ``python FILE tinygrad_cnn reference``."""
    kernels, dtype = difference.kernels, difference.dtype
    texts = [s.text for s in statements]
    raised = {
        int(label.split()[0])
        for module in (tg, torch or tg)
        for label, value in run(texts, module, dtype, kernels)
        if isinstance(value, Raised) and value.does and label[0].isdigit()  # none at the end
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
