"""Tables as text for terminals and as HTML for notebooks and pages."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


class TextTable(str):
    """The text of a table that notebooks show as HTML."""

    __slots__ = ("html",)
    html: str

    def _repr_html_(self) -> str:
        return self.html


def aligned(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Rows of cells as lines: the first ``left`` columns begin, the others end, below each other.

    >>> aligned([["name", "count"], ["a", "5"]], 1)
    ['name  count', 'a         5']
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = (
            text.ljust(width) if i < left else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    return lines


def html_table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: int,
    *,
    caption: str = "",
    totals: Iterable[Sequence[str]] = (),
) -> str:
    """A table in HTML; leading spaces of a row's first cell indent it.

    >>> html_table(["a"], [["  <b>"]], 1)[-77:]
    '<tbody><tr><td style="padding-left:1.2em">&lt;b&gt;</td></tr></tbody></table>'
    """

    def line(cells: Sequence[str], tag: str) -> str:
        out = []
        for i, text in enumerate(cells):
            indent = len(text) - len(text.lstrip())
            style = "text-align:right" if i >= left else ""
            style = f"padding-left:{0.6 * indent:g}em" if indent and not i else style
            attribute = f' style="{style}"' if style else ""
            out.append(f"<{tag}{attribute}>{html.escape(text.strip())}</{tag}>")
        return f"<tr>{''.join(out)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    foot = "".join(line(row, "td") for row in totals)
    return (
        "<table>"
        + (f"<caption>{html.escape(caption)}</caption>" if caption else "")
        + f"<thead>{line(head, 'th')}</thead><tbody>{body}</tbody>"
        + (f"<tfoot>{foot}</tfoot>" if foot else "")
        + "</table>"
    )
