"""Files and notebooks: DOT, and through Graphviz SVG, PNG, PDF and HTML."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path
from typing import Any

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


def to_dot(
    graph: Graph,
    *,
    depth: int | None = None,
    repeats: bool = True,
    parameters: bool = False,
    color: str = "kind",
    theme: str | None = None,
    columns: int | None = None,
) -> str:
    """The text that `Graph.to_dot` returns."""
    drawing = fold(graph, _depth(depth), repeats, parameters)
    return write_dot(drawing, style_of(theme, color, columns))


def render(graph: Graph, path: str | os.PathLike[str], **options: Any) -> str:
    """What `Graph.render` does."""
    place = Path(path)
    if place.suffix not in _ENDINGS:
        raise ValueError(
            f"render: `path` is {str(path)!r}, expected it to end in {', '.join(_ENDINGS)}"
        )
    if place.suffix == ".html":
        from tinygrad_cnn.viz.graph.html import page

        text = to_dot(graph, **options)
        if has_dot():
            place.write_text(page(graph, **options), encoding="utf-8")
            return str(place)
        return _without_dot(place, text)
    text = to_dot(graph, **options)
    if place.suffix == ".dot":
        place.write_text(text, encoding="utf-8")
        return str(place)
    if not has_dot():
        return _without_dot(place, text)
    place.write_bytes(draw(text, place.suffix[1:]))
    return str(place)


def _without_dot(place: Path, text: str) -> str:
    other = place.with_suffix(".dot")
    other.write_text(text, encoding="utf-8")
    warnings.warn(f"render: wrote {other} instead of {place.name}: {INSTALL}", stacklevel=4)
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


def drawing_of(
    graph: Graph, depth: int | None = None, repeats: bool = True, parameters: bool = False
) -> Drawing:
    """`fold` with its arguments checked."""
    return fold(graph, _depth(depth), repeats, parameters)


def _depth(depth: int | None) -> int | None:
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 0):
        raise ValueError(f"render: `depth` is {depth!r}, expected None or an integer from 0 on")
    return depth


def style_of(theme: str | None, color: str, columns: int | None) -> Style:
    """A `Style`, with its arguments checked."""
    theme = theme or "light"
    if theme not in THEMES:
        raise ValueError(f"render: `theme` is {theme!r}, expected one of {', '.join(THEMES)}")
    if color not in COLORINGS:
        raise ValueError(f"render: `color` is {color!r}, expected one of {', '.join(COLORINGS)}")
    if columns is not None and (not isinstance(columns, int) or columns < 1):
        raise ValueError(f"render: `columns` is {columns!r}, expected None or an integer from 1 on")
    return Style(theme, color, columns)
