"""Whether links inside the built site lead somewhere: ``python docs/site/check.py build/site``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

LINK = re.compile(r'\b(?:href|src)="([^"]*)"')
ANCHOR = re.compile(r'\bid="([^"]+)"')


def broken(site: Path) -> Iterator[str]:
    """Links to pages, files or places in pages that are not there."""
    anchors: dict[Path, set[str]] = {}

    def has(page: Path, place: str) -> bool:
        if page not in anchors:
            anchors[page] = set(ANCHOR.findall(page.read_text(encoding="utf-8")))
        return place in anchors[page]

    pages = (p for p in sorted(site.rglob("*.html")) if "_static" not in p.parts)
    for page in pages:
        for link in set(LINK.findall(page.read_text(encoding="utf-8"))):
            if re.match(r"[a-z]+:|//|#$|$", link):
                continue
            target, _, place = unquote(link).replace("&amp;", "&").partition("#")
            there = (page.parent / target.partition("?")[0]).resolve() if target else page
            if not there.exists():
                yield f"{page.relative_to(site)}: {link}"
            elif place and there.suffix == ".html" and not has(there, place):
                yield f"{page.relative_to(site)}: {link}: no such place"


if __name__ == "__main__":
    found = list(broken(Path(sys.argv[1]).resolve()))
    print("\n".join(found) or "all links inside the site lead somewhere")
    sys.exit(bool(found))
