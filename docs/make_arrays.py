"""Write the table at the end of docs/arrays.md: how each of NumPy's functions stands to tensors.

python docs/make_arrays.py
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import tinygrad_cnn  # noqa: F401  (fills the table of what is served)
from tinygrad_cnn.functions.numpy_protocol import kinds

PAGE = Path(__file__).parent / "arrays.md"
HEAD = "## NumPy's functions, sorted\n"


def rows() -> dict[str, list[str]]:
    """The names of NumPy's public functions by how they stand, which is said in words."""
    found: dict[str, list[str]] = {}
    for name, function in sorted(kinds.public().items()):
        kind, said = kinds.sort_of(function)
        title = kind if kind in ("served", "refused") else f"{kind}: {said}"
        found.setdefault(title, []).append(name)
    return found


def table() -> str:
    """The part of the page."""
    parts = [HEAD]
    for title, names in sorted(rows().items(), key=lambda row: (row[0] != "served", row[0])):
        listed = textwrap.fill(", ".join(f"`{n}`" for n in names), 110, break_on_hyphens=False)
        parts.append(f"**{title[0].upper()}{title[1:]}** ({len(names)})\n\n{listed}\n")
    return "\n".join(parts)


def main() -> None:
    """Write the page anew."""
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(text[: text.index(HEAD)] + table(), encoding="utf-8")


if __name__ == "__main__":
    main()
