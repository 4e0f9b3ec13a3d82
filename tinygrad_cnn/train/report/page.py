"""One HTML file with everything in it: text, tables and pictures, no script, no network."""

import base64
import html
import io
import math
from collections.abc import Iterable, Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure

from tinygrad_cnn.instrument.pages import document


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
        kind, around = (' class="wrap"', "scroll wrapped") if wrap else ("", "scroll")
        inner = f"<table{kind}><thead><tr>{head}</tr></thead>{body}</table>"
        table = f'<div class="{around}">{inner}</div>'
        if fold:
            table = f"<details><summary>{_text(fold)}</summary>{table}</details>"
        self.raw(table)

    def picture(
        self,
        data: bytes,
        caption: str,
        alt: str,
        *,
        plot: bool = False,
        dark: bytes | None = None,
    ) -> None:
        """A PNG or SVG picture.

        On a dark page ``dark`` takes its place, if it is given, or the colours of a ``plot`` are
        exchanged.
        """
        kind = ' class="plot"' if plot else ""
        image = f'<img{kind} src="{_source(data)}" alt="{_text(alt)}">'
        if dark is not None:
            other = f'<source media="(prefers-color-scheme: dark)" srcset="{_source(dark)}">'
            image = f"<picture>{other}{image}</picture>"
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
        return document(
            self._title,
            f'<h1>{_text(self._title)}</h1><p class="quiet">{_text(self._subtitle)}</p>'
            f"{self._cards}<nav>{links}</nav>\n{sections}",
        )


def _source(data: bytes) -> str:
    kind = "png" if data.startswith(b"\x89PNG") else "svg+xml"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


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
