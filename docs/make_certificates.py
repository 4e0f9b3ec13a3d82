"""Write docs/certificates.md: the certificate of every operation, one row each.

python docs/make_certificates.py [NAME ...]

With names, only these operations are certified and only their rows are written anew; the other rows
stay, and those of operations that are no longer registered go.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tinygrad_cnn.autograd import REGISTRY
from tinygrad_cnn.testing import certify_all

PAGE = Path(__file__).with_name("certificates.md")
HEAD = """# Certificates

Every registered operation, certified on 40 random samples of its own record
(`python docs/make_certificates.py` writes this page; the test suite issues every certificate anew
and compares it with its row). What each check proves is told in
[certification.md](certification.md). ✓ passed · – does not apply (it does not broadcast, is not
linear, has one input, its samples have no shape () or side of 0, no kink, no error samples).

"""


def rows_of(text: str) -> dict[str, str]:
    """The rows of a table by the operation's name."""
    rows = (line for line in text.splitlines() if line.startswith("| `"))
    return {row.split("`")[1]: row for row in rows}


def page(names: Sequence[str] = (), before: str = "") -> str:
    """The whole page; with ``names``, the rows of all other operations are those of ``before``."""
    unknown = sorted(set(names) - set(REGISTRY))
    if unknown:
        raise SystemExit(f"no operation is called {', '.join(unknown)}")
    found = certify_all(names)
    assert found.certified, str(found)
    table = found.markdown()
    head = [line for line in table.splitlines() if not line.startswith("| `")]
    if names and not before.startswith(HEAD + "\n".join(head)):
        raise SystemExit("the page has another head or other checks; write all rows: no names")
    rows = {n: r for n, r in rows_of(before).items() if n in REGISTRY} if names else {}
    rows.update(rows_of(table))
    return HEAD + "\n".join([*head, *(rows[name] for name in sorted(rows))]) + "\n"


if __name__ == "__main__":
    before = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    PAGE.write_text(page(sys.argv[1:], before), encoding="utf-8")
