"""Files and notebooks: DOT, and through Graphviz SVG, PNG, PDF and HTML."""

from __future__ import annotations

import os
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.viz.graph.column import write_svg
from tinygrad_cnn.viz.graph.data import Graph
from tinygrad_cnn.viz.graph.dot import Style, write_dot
from tinygrad_cnn.viz.graph.fold import Drawing, fold
from tinygrad_cnn.viz.graph.theme import COLORINGS, THEMES

_ENDINGS = (".svg", ".png", ".pdf", ".dot", ".html")
_MOST_ITEMS = 300
"""A notebook's drawing is folded until it has no more than so many items."""
INSTALL = (
    "install Graphviz (apt install graphviz, brew install graphviz, or graphviz.org/download) and "
    "pip install graphviz"
)


@dataclass(frozen=True)
class Options:
    """The options of `Graph.render`, checked."""

    depth: int | None = None
    repeats: bool = True
    parameters: bool = False
    color: str = "kind"
    theme: str | None = None
    columns: int | None = None

    def __post_init__(self) -> None:
        wrong = ""
        if self.depth is not None and (type(self.depth) is not int or self.depth < 0):
            wrong = f"`depth` is {self.depth!r}, expected None or an integer from 0 on"
        elif self.theme not in (None, *THEMES):
            wrong = f"`theme` is {self.theme!r}, expected one of {', '.join(THEMES)}"
        elif self.color not in COLORINGS:
            wrong = f"`color` is {self.color!r}, expected one of {', '.join(COLORINGS)}"
        elif self.columns is not None and (type(self.columns) is not int or self.columns < 1):
            wrong = f"`columns` is {self.columns!r}, expected None or an integer from 1 on"
        if wrong:
            raise ArgumentError(f"render: {wrong}")

    def drawing(self, graph: Graph) -> Drawing:
        """What is to be drawn of ``graph``."""
        return fold(graph, self.depth, self.repeats, self.parameters)

    def dot(self, graph: Graph) -> str:
        """The drawing in Graphviz's language."""
        style = Style(self.theme or "light", self.color, self.columns)
        return write_dot(self.drawing(graph), style)


def render(graph: Graph, path: str | os.PathLike[str], options: Options) -> str:
    """What `Graph.render` does."""
    place = Path(path)
    if place.suffix not in _ENDINGS:
        raise ArgumentError(
            f"render: `path` is {str(path)!r}, expected it to end in {', '.join(_ENDINGS)}"
        )
    if place.suffix == ".html":
        from tinygrad_cnn.viz.graph.html import page

        place.write_text(page(graph, options), encoding="utf-8")
        return str(place)
    text = options.dot(graph)
    if place.suffix == ".dot":
        place.write_text(text, encoding="utf-8")
    elif not has_dot():
        return _without_dot(place, text)
    else:
        place.write_bytes(draw(text, place.suffix[1:]))
    return str(place)


def _without_dot(place: Path, text: str) -> str:
    other = place.with_suffix(".dot")
    other.write_text(text, encoding="utf-8")
    warnings.warn(f"render: wrote {other} instead of {place.name}: {INSTALL}", stacklevel=3)
    return str(other)


def has_dot() -> bool:
    """Whether the program ``dot`` and the package that runs it are there."""
    try:
        import graphviz  # noqa: F401  (optional: the extra `graph`)
    except ImportError:
        return False
    return shutil.which("dot") is not None


def draw(dot: str, format: str) -> bytes:
    """``dot`` laid out by Graphviz."""
    import graphviz

    out: bytes = graphviz.Source(dot).pipe(format=format)
    return out


def svg_of(drawing: Drawing, theme: str = "light") -> str:
    """A drawing in one column as SVG: laid out by Graphviz or, without it, by `write_svg`."""
    style = Style(theme, "kind", 1)
    if not has_dot():
        return write_svg(drawing, style)
    svg = draw(write_dot(drawing, style), "svg").decode()
    return svg[svg.index("<svg") :]


def notebook(graph: Graph) -> dict[str, str]:
    """The forms that a notebook may choose from."""
    found = {"text/plain": repr(graph)}
    if not has_dot():
        return {**found, "text/plain": f"{graph!r}\nTo see it drawn, {INSTALL}."}
    deepest = max((len(graph.chain(c.id)) for c in graph.calls), default=1)
    for depth in [None, *range(deepest, 0, -1)]:
        drawing = fold(graph, depth)
        if len(drawing.items) <= _MOST_ITEMS:
            break
    else:
        return found
    svg = draw(write_dot(drawing, Style(columns=None)), "svg").decode()
    return {**found, "image/svg+xml": svg[svg.index("<svg") :]}
