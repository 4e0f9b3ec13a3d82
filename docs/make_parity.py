"""Write docs/parity.md: what of PyTorch's own operator samples agrees, differs and is missing.

python docs/make_parity.py               # all operators, 30 samples of each and kind, evenly
python docs/make_parity.py diff cov      # these anew, the others as the page has them
python docs/make_parity.py --all         # all samples: long

It needs PyTorch (``pip install torch==2.13.0 expecttest``).
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/parity.md"
HEAD = """# Parity with PyTorch

PyTorch 2.13 comes with samples of the arguments of its operators (`op_db`), for its own tests. They
are run here and there, in kinds: dtypes, layouts in memory, forms of the call, arguments to refuse.
`python docs/make_parity.py` writes this page, with names it runs these operators only. `python -m
tests.parity --all NAME` prints differences. The functions are those of other names too: an operator
is one of `op_db`, with its variant after a dot. Of operators with more samples, 30 of each kind are
run, evenly, or all.

"""
Row = dict[str, tuple[int, int]]
"""By kind: how many samples agree, of how many. Empty where the operator is missing."""
Why = tuple[str, str]
"""A kind, and why samples of it differ."""


def kinds() -> dict[str, Any]:
    """The kinds of samples, by name."""
    if str(ROOT / "tests") not in sys.path:
        sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from parity.kinds import KINDS

    return KINDS


class Page:
    """What the page says: the rows of operators, and how many samples of which differ, and why."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.whys: dict[Why, Counter[str]] = {}

    def differs(self, kind: str, why: str, name: str, count: int = 1) -> None:
        """Count samples of an operator that differ."""
        self.whys.setdefault((kind, why), Counter())[name] += count

    def replace(self, new: Page) -> None:
        """Take the rows of ``new`` in place of those of the same operators."""
        self.rows |= new.rows
        for found in self.whys.values():
            for name in new.rows:
                found.pop(name, None)
        for (kind, why), found in new.whys.items():
            for name, count in found.items():
                self.differs(kind, why, name, count)


def measured(names: list[str], most: int | None) -> Page:
    """The rows of operators, all without names."""
    every = tuple(kinds())  # finds the folder, too
    import numpy as np
    from parity import opdb

    page = Page()
    with np.errstate(all="ignore"):
        for found in opdb.results(lambda n: not names or n in names, most, every):
            row = page.rows.setdefault(found.name, {})
            if found.samples:
                row[found.kind] = (found.agreed, found.samples)
            for why in found.decided:
                page.differs(found.kind, why, found.name)
            for said in found.differ:
                why = " ".join(said.split(" | ")[0].split())[:90].replace("|", "/")
                page.differs(found.kind, why, found.name)
    return page


def written(text: str) -> Page:
    """What a page says."""
    page = Page()
    _, operators, differ, missing = text.split("\n## ")[1:]
    for name, cells in re.findall(r"^\| `(\S+)` \| (.*) \|$", operators, re.MULTILINE):
        row = page.rows[name] = {}
        for kind, cell in zip(kinds(), cells.split(" | "), strict=True):
            if numbers := re.findall(r"\d+", cell):
                row[kind] = (int(numbers[0]), int(numbers[-1]))
    for kind, why, names in re.findall(r"^\| (.*?) \| (.*) \| (`.*) \|$", differ, re.MULTILINE):
        for name, count in re.findall(r"`(\S+)`\s(\d+)", names):
            page.differs(kind, why, name, int(count))
    page.rows |= {name: {} for name in re.findall(r"`(\S+)`", missing.partition("\n\n")[2])}
    return page


def text(page: Page) -> str:
    """The page."""
    every, rows = kinds(), dict(sorted(page.rows.items()))
    present = {name: row for name, row in rows.items() if row}
    total = [sum(cell[i] for row in rows.values() for cell in row.values()) for i in (0, 1)]
    out = HEAD + (
        f"Of {len(rows)} operators, {len(present)} are here and {len(rows) - len(present)} are "
        f"missing; {total[0]} of {total[1]} samples agree, the others differ on purpose.\n\n"
    )
    out += "## Kinds\n\n| kind | what is run | operators | all agree | samples | agree |\n"
    out += "|---|---|---|---|---|---|\n"
    for kind in every.values():
        cells = [row[kind.name] for row in rows.values() if kind.name in row]
        agreed, samples = sum(a for a, _ in cells), sum(n for _, n in cells)
        whole = sum(a == n for a, n in cells)
        out += f"| {kind.name} | {kind.says} | {len(cells)} | {whole} | {samples} | {agreed} |\n"
    out += "\n## Operators\n\nHow many samples of each kind agree, and of how many if not all.\n\n"
    out += f"| operator | {' | '.join(every)} |\n|---{'|---' * len(every)}|\n"
    for name, row in present.items():
        out += f"| `{name}` | {' | '.join(_cell(row.get(kind)) for kind in every)} |\n"
    out += "\n## What differs\n\nAnd why; with the number of samples of each operator.\n\n"
    out += "| kind | why | operators |\n|---|---|---|\n"
    order = list(every)
    for kind, why in sorted(page.whys, key=lambda key: (order.index(key[0]), key[1])):
        counts = page.whys[kind, why]
        if counts:
            names = ", ".join(f"`{n}` {k}" for n, k in sorted(counts.items()))
            out += f"| {kind} | {why} | {names} |\n"
    out += "\n## What is missing\n\nOr has no samples that could be run.\n\n"
    return out + filled(f"`{name}`" for name, row in rows.items() if not row) + "\n"


def _cell(found: tuple[int, int] | None) -> str:
    if found is None:
        return ""
    agreed, samples = found
    return str(samples) if agreed == samples else f"{agreed} of {samples}"


def filled(names: Iterable[str]) -> str:
    """Names in lines."""
    return textwrap.fill(", ".join(names), 100, break_long_words=False, break_on_hyphens=False)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="operators; all without any")
    parser.add_argument("--all", action="store_true", help="all samples, not 30 of a kind")
    given = parser.parse_args()
    page = written(PAGE.read_text(encoding="utf-8")) if given.names else Page()
    page.replace(measured(given.names, None if given.all else 30))
    PAGE.write_text(text(page), encoding="utf-8")


if __name__ == "__main__":
    main()
