"""Write docs/parity.md: what of PyTorch's own operator samples agrees, differs and is missing.

python docs/make_parity.py               # all operators, all samples: long
python docs/make_parity.py diff cov      # these anew, the others as the page has them

It needs PyTorch (``pip install torch==2.13.0 expecttest``).
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/parity.md"
HEAD = """# Parity with PyTorch

PyTorch 2.13 comes with samples of the arguments of its operators (`op_db`), for its own tests. They
are run here and there, in float64 where it is possible: values, first and second derivatives.
`python docs/make_parity.py` writes this page, with names it runs these operators only. `python -m
tests.parity --all NAME` prints differences. The functions are those of other names too: an operator
is one of `op_db`, with its variant after a dot.

"""
Row = tuple[int, int, str]
"""How many samples agree, of how many, why the others do not; (0, 0, "") where it is missing."""


def measured(names: list[str], most: int | None) -> dict[str, Row]:
    """The rows of operators, all without names."""
    import numpy as np

    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from parity import opdb

    rows: dict[str, Row] = {}
    with np.errstate(all="ignore"):
        for found in opdb.results(lambda name: not names or name in names, most):
            reasons = [r for prefix, r in opdb.REASONS.items() if found.name.startswith(prefix)]
            reasons += [" ".join(why.split(" | ")[0].split())[:90] for why in found.differ]
            why = reasons[0].replace("|", "/") if found.differ else ""
            rows[found.name] = (found.agreed, found.samples, why)
    return rows


def written(page: str) -> dict[str, Row]:
    """The rows that a page has."""
    agree, differ, missing = (part.partition("\n\n")[2] for part in page.split("\n## ")[1:])
    rows: dict[str, Row] = {n: (0, 0, "") for n in re.findall(r"`(\S+)`", missing)}
    rows |= {n: (int(k), int(k), "") for n, k in re.findall(r"`(\S+)`\s(\d+)", agree)}
    found = re.findall(r"^\| `(\S+)` \| (\d+) of (\d+) \| (.*) \|$", differ, re.MULTILINE)
    return rows | {n: (int(a), int(k), why) for n, a, k, why in found}


def text(rows: dict[str, Row]) -> str:
    """The page."""
    agree = {n: row for n, row in sorted(rows.items()) if row[0] == row[1] and row[1]}
    missing = [n for n, row in sorted(rows.items()) if not row[1]]
    differ = {n: row for n, row in sorted(rows.items()) if row[0] != row[1]}
    samples, same = sum(r[1] for r in rows.values()), sum(r[0] for r in rows.values())
    out = HEAD + (
        f"Of {len(rows)} operators, {len(agree)} agree wholly, {len(differ)} differ somewhere and "
        f"{len(missing)} are missing; {same} of {samples} samples agree.\n\n"
    )
    out += "## What agrees\n\nEach with its samples.\n\n"
    out += filled(f"`{n}`\N{NO-BREAK SPACE}{row[1]}" for n, row in agree.items())
    out += "\n\n## What differs\n\n| operator | agree | the others |\n|---|---|---|\n"
    out += "".join(f"| `{n}` | {a} of {k} | {why} |\n" for n, (a, k, why) in differ.items())
    out += "\n## What is missing\n\nOr has no samples that could be run.\n\n"
    return out + filled(f"`{n}`" for n in missing) + "\n"


def filled(names: Iterable[str]) -> str:
    """Names in lines."""
    return textwrap.fill(", ".join(names), 100, break_long_words=False, break_on_hyphens=False)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="operators; all without any")
    parser.add_argument("--most", type=int, help="samples of each; all without it")
    given = parser.parse_args()
    rows = written(PAGE.read_text(encoding="utf-8")) if given.names else {}
    PAGE.write_text(text(rows | measured(given.names, given.most)), encoding="utf-8")


if __name__ == "__main__":
    main()
