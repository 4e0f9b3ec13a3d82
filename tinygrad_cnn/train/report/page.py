"""One HTML file with everything in it: text, tables and pictures, no script, no network."""

import base64
import html
import io
import math
from collections.abc import Iterable, Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure

_STYLE = """
:root { --ink: #1f2933; --quiet: #616e7c; --line: #e4e7eb; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; background: #f5f7fa; color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1060px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 1.2rem; margin: 0 0 4px; }
p { margin: 4px 0 12px; max-width: 75ch; }
.quiet { color: var(--quiet); }
nav { margin: 10px 0 18px; font-size: .92rem; }
nav a { color: var(--accent); text-decoration: none; margin-right: 14px; white-space: nowrap; }
section { background: #fff; border: 1px solid var(--line); border-radius: 8px;
  padding: 18px 20px; margin: 0 0 18px; }
.cards { display: grid; gap: 10px; margin: 0 0 18px;
  grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); }
.card { background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px; }
.card b { display: block; font-size: 1.3rem; font-weight: 600; overflow-wrap: anywhere; }
.card span { color: var(--quiet); font-size: .85rem; }
.pair { display: grid; gap: 12px 26px; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); }
figure { margin: 10px 0; }
figure img { max-width: 100%; height: auto; display: block; margin: 0 auto; }
figcaption { color: var(--quiet); font-size: .88rem; margin-top: 4px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; margin: 6px 0 12px; }
th, td { padding: 4px 12px 4px 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
th { color: var(--quiet); font-weight: 600; white-space: nowrap; }
td { white-space: nowrap; }
td.share { min-width: 110px; padding-left: 8px; background: linear-gradient(90deg,
  color-mix(in srgb, var(--accent) 22%, transparent) var(--share), transparent var(--share))
  no-repeat 0 50% / calc(100% - 12px) 70%; }
table.wrap td { white-space: normal; overflow-wrap: anywhere; }
pre { background: #f5f7fa; border: 1px solid var(--line); border-radius: 6px; padding: 10px 12px;
  overflow-x: auto; font: .85rem/1.45 ui-monospace, "DejaVu Sans Mono", monospace; margin: 6px 0; }
summary { cursor: pointer; color: var(--accent); }
@media print { body { background: #fff; } section, .card { break-inside: avoid; } }
"""


class Share(float):
    """A cell of a table that is a share: a number, and a bar of that length behind it."""

    def __str__(self) -> str:
        return f"{self:.1%}" if math.isfinite(self) else "–"


class Page:
    """A page of sections, built from top to bottom. All text is escaped.

    Examples
    --------
    >>> page = Page("A < B", "a subtitle")
    >>> page.section("numbers", "Some numbers")
    >>> page.table(["name", "value"], [["x", 1.5]])
    >>> "<h1>A &lt; B</h1>" in page.html()
    True
    """

    def __init__(self, title: str, subtitle: str) -> None:
        self._title, self._subtitle = title, subtitle
        self._cards = ""
        self._sections: list[tuple[str, str, list[str]]] = []

    def cards(self, values: Iterable[tuple[str, str]]) -> None:
        """The most important figures: name and value."""
        each = (
            f'<div class="card"><b>{_text(value)}</b><span>{_text(name)}</span></div>'
            for name, value in values
        )
        self._cards = f'<div class="cards">{"".join(each)}</div>'

    def section(self, anchor: str, title: str) -> None:
        """Begin a section; what follows goes there."""
        self._sections.append((anchor, title, []))

    def paragraph(self, text: str) -> None:
        """A paragraph of plain text."""
        self.raw(f"<p>{_text(text)}</p>")

    def code(self, text: str) -> None:
        """Text as it is, in a typewriter's letters."""
        self.raw(f"<pre>{_text(text)}</pre>")

    def table(
        self,
        names: Sequence[str],
        rows: Iterable[Sequence[object]],
        *,
        fold: str = "",
        wrap: bool = False,
    ) -> None:
        """A table; numbers stand right. With ``fold`` it is closed until that is clicked.

        Long cells are broken into lines with ``wrap``; otherwise a wide table can be scrolled.
        """
        rows = [list(row) for row in rows]
        right = [
            bool(rows) and all(_is_number(row[i]) for row in rows if row[i] != "")
            for i in range(len(names))
        ]
        head = "".join(_cell("th", n, r) for n, r in zip(names, right, strict=True))
        body = "".join(
            "<tr>" + "".join(_cell("td", v, r) for v, r in zip(row, right, strict=True)) + "</tr>"
            for row in rows
        )
        kind = ' class="wrap"' if wrap else ""
        inner = f"<table{kind}><thead><tr>{head}</tr></thead>{body}</table>"
        table = f'<div class="scroll">{inner}</div>'
        if fold:
            table = f"<details><summary>{_text(fold)}</summary>{table}</details>"
        self.raw(table)

    def picture(self, data: bytes, caption: str, alt: str) -> None:
        """A PNG or SVG picture."""
        kind = "png" if data.startswith(b"\x89PNG") else "svg+xml"
        source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        image = f'<img src="{source}" alt="{_text(alt)}">'
        note = f"<figcaption>{_text(caption)}</figcaption>" if caption else ""
        self.raw(f"<figure>{image}{note}</figure>")

    def open_pair(self) -> None:
        """What follows stands side by side where there is room, until `close_pair`."""
        self.raw('<div class="pair">')

    def close_pair(self) -> None:
        """The end of what stands side by side."""
        self.raw("</div>")

    def raw(self, text: str) -> None:
        """HTML as it is."""
        self._sections[-1][2].append(text)

    def html(self) -> str:
        """The whole page."""
        links = "".join(f'<a href="#{a}">{_text(t)}</a>' for a, t, _ in self._sections)
        sections = "\n".join(
            f'<section id="{anchor}"><h2>{_text(title)}</h2>\n{"".join(parts)}</section>'
            for anchor, title, parts in self._sections
        )
        return (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{_text(self._title)}</title><style>{_STYLE}</style></head>\n"
            f'<body><main><h1>{_text(self._title)}</h1><p class="quiet">{_text(self._subtitle)}</p>'
            f"{self._cards}<nav>{links}</nav>\n{sections}\n</main></body></html>\n"
        )


def as_png(figure: Figure) -> bytes:
    """A figure of images as PNG."""
    out = io.BytesIO()
    # As wide as the page shows it, and packed less tightly in half the time.
    figure.savefig(out, format="png", dpi=104, pil_kwargs={"compress_level": 4})
    return out.getvalue()


def as_svg(figure: Figure) -> bytes:
    """A figure of lines as SVG, the same bytes each time."""
    out = io.BytesIO()
    with rc_context({"svg.hashsalt": "tinygrad_cnn", "svg.fonttype": "none"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def _text(value: object) -> str:
    return html.escape(str(value))


def _is_number(value: object) -> bool:
    text = str(value).rstrip("%s ").replace(",", "").replace("–", "")
    try:
        float(text)
    except ValueError:
        return text in ("", "nan")
    return True


def _cell(tag: str, value: object, right: bool) -> str:
    kind = ' class="number"' if right else ""
    if isinstance(value, Share) and math.isfinite(value):
        kind = f' class="number share" style="--share:{value:.1%}"'
    return f"<{tag}{kind}>{_text(value)}</{tag}>"
