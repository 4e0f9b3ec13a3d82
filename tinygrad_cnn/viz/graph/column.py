"""A drawing as SVG without Graphviz: all in one column, in the order in which it ran.

An edge to the next item is a straight line. Any other one leaves its item on the right and comes
back to its target in a lane of its own. The elements and their names are those that Graphviz
writes, so that the page folds and paints them alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Final

from tinygrad_cnn.viz.graph.dot import Style, TextLine, Writer
from tinygrad_cnn.viz.graph.fold import Box, Drawing, Item
from tinygrad_cnn.viz.graph.labels import box_rows
from tinygrad_cnn.viz.graph.theme import Theme

_GAP, _TEXT_GAP, _LANE, _MARGIN, _PAD = 14.0, 24.0, 14.0, 12.0, 8.0
_ROUND: Final = 6.0
_WIDE: Final = "MWmw@%"
_NARROW: Final = "iljtf.,:;|!'()[] "


def _width(text: str, size: float, bold: bool = False) -> float:
    """About how wide Helvetica makes a text."""
    units = sum(0.85 if c in _WIDE else 0.3 if c in _NARROW else 0.57 for c in text)
    return units * size * (1.08 if bold else 1.0)


@dataclass
class _Node:
    """Something at a height of its own: an item, or the mark of an output."""

    key: str
    lines: list[list[TextLine]]
    fill: str
    border: str
    top: float = 0.0
    dashed: bool = False
    heavy: bool = False

    @property
    def width(self) -> float:
        """Of its widest line, with some room."""
        return 18 + max(
            sum(_width(part.text, part.size, part.bold) for part in line) for line in self.lines
        )

    @property
    def height(self) -> float:
        """Of all lines."""
        return 8 + sum(line[0].size * 1.25 for line in self.lines)

    @property
    def middle(self) -> float:
        """Half way down."""
        return self.top + self.height / 2


@dataclass
class _Line:
    """An edge between two nodes."""

    key: str
    source: _Node
    target: _Node
    text: str
    dashed: bool
    right: float = 0.0


@dataclass
class _Frame:
    """A module around some of the nodes."""

    box: Box
    top: float
    bottom: float = 0.0
    left: float = 0.0
    right: float = 0.0


def write_svg(drawing: Drawing, style: Style) -> str:
    """The whole drawing. The same drawing always gives the same text."""
    return _Column(drawing, style).svg()


class _Column:
    def __init__(self, drawing: Drawing, style: Style) -> None:
        self.drawing, self.writer = drawing, Writer(drawing, style)
        self.theme: Theme = self.writer.theme
        self.nodes: dict[str, _Node] = {}
        self.frames: dict[int, _Frame] = {}
        self.y, self.gap = 0.0, _GAP if self.writer.scalar else _TEXT_GAP
        self._place()
        self.lines = list(self._links())
        self._widen()

    # ---- places --------------------------------------------------------------------------------

    def _place(self) -> None:
        """Heights from top to bottom: frames within frames, without recursion."""
        ends = dict(self.writer.ends())
        marked = []
        self.ends: list[tuple[_Node, _Node, int]] = []
        opened: list[_Frame] = []
        for at, item in self.writer.in_boxes():
            around = self.drawing.around(item.box)
            while opened and opened[-1].box.call not in around:
                self._close(opened.pop())
            for call in around[len(opened) :]:
                opened.append(self._open(self.drawing.boxes[call]))
            node = self._add(self._node(at, item))
            if at in ends:
                marked.append((node, ends[at]))
        while opened:
            self._close(opened.pop())
        for node, end in marked:
            self._add_end(node, end)

    def _open(self, box: Box) -> _Frame:
        _, detail = box_rows(self.drawing, box)
        frame = self.frames[box.call] = _Frame(box, self.y)
        self.y += 22 + 11 * bool(detail)
        return frame

    def _close(self, frame: _Frame) -> None:
        frame.bottom = self.y - self.gap + _PAD
        self.y = frame.bottom + self.gap

    def _add(self, node: _Node) -> _Node:
        node.top = self.y
        self.nodes[node.key] = node
        self.y += node.height + self.gap
        return node

    def _node(self, at: int, item: Item) -> _Node:
        fill, border, extra = self.writer.colors(at, item)
        lines = self.writer.text_lines(item)
        return _Node(
            item.key, lines, fill, border, dashed="dashed" in extra, heavy="width" in extra
        )

    def _add_end(self, node: _Node, end: int) -> None:
        fill, border = self.theme.families["tensor"]
        words = [[TextLine("output", 10, self.theme.text, True)]]
        mark = self._add(_Node(f"o{end}", words, fill, border, heavy=True))
        self.ends.append((node, mark, end))

    def _links(self) -> Iterator[_Line]:
        keys = [item.key for item in self.drawing.items]
        for i, link in enumerate(self.drawing.links):
            source, target = self.nodes[keys[link.source]], self.nodes[keys[link.target]]
            yield _Line(f"e{i}", source, target, self.writer.link_text(link), link.backward)
        for node, mark, end in self.ends:
            yield _Line(f"eo{end}", node, mark, self.writer.end_text(end), False)

    def _widen(self) -> None:
        """Lanes and frames to the right, the shortest first, beyond all that they pass."""
        order = list(self.nodes.values())
        place = {node.key: i for i, node in enumerate(order)}
        half = max((node.width / 2 for node in order), default=0.0)
        self.straight = {
            line.key for line in self.lines if place[line.target.key] == place[line.source.key] + 1
        }
        spans: list[tuple[float, float, _Line | _Frame]] = [
            (*sorted((line.source.middle, line.target.middle)), line)  # type: ignore[misc]
            for line in self.lines
            if line.key not in self.straight
        ]
        spans += [(frame.top, frame.bottom, frame) for frame in self.frames.values()]
        labels = [
            (line.source.middle, line.target.middle, _width(line.text, 8) + 12)
            for line in self.lines
            if line.key in self.straight
        ]
        done: list[tuple[float, float, float]] = [*labels]
        for top, bottom, thing in sorted(spans, key=lambda span: (span[1] - span[0], span[0])):
            passed = [right for a, b, right in done if a < bottom and b > top]
            passed += [n.width / 2 for n in order if n.top < bottom and n.top + n.height > top]
            thing.right = max(passed, default=half) + (_LANE if isinstance(thing, _Line) else _PAD)
            if isinstance(thing, _Frame):
                title, detail = box_rows(self.drawing, thing.box)
                words = max(_width(title, 9, bold=True), _width(detail, 8)) + 2 * _PAD
                thing.right = max(thing.right, words / 2)
                thing.left = -thing.right
            done.append((top, bottom, thing.right))

    # ---- text ----------------------------------------------------------------------------------

    def svg(self) -> str:
        """Frames first, then lines, then nodes."""
        halves = [node.width / 2 for node in self.nodes.values()]
        left = min([-h for h in halves] + [f.left for f in self.frames.values()], default=0.0)
        rights = [line.right + _width(line.text, 8) for line in self.lines]
        rights += [f.right for f in self.frames.values()]
        right = max([*halves, *rights], default=0.0)
        x, y = left - _MARGIN, -_MARGIN
        width, height = right - left + 2 * _MARGIN, self.y + 2 * _MARGIN
        parts = [
            f'<svg width="{width:.0f}pt" height="{height:.0f}pt" '
            f'viewBox="{x:.2f} {y:.2f} {width:.2f} {height:.2f}" '
            'xmlns="http://www.w3.org/2000/svg">',
            '<g id="graph0" class="graph">',
            f'<polygon fill="{self.theme.paper}" stroke="transparent" points="{x:.1f},{y:.1f} '
            f"{x + width:.1f},{y:.1f} {x + width:.1f},{y + height:.1f} {x:.1f},{y + height:.1f}"
            '"/>',
            *map(self._frame, self.frames.values()),  # the outer before the inner
            *map(self._edge, self.lines),
            *map(self._drawn, self.nodes.values()),
            "</g>",
            "</svg>",
        ]
        return "\n".join(parts) + "\n"

    def _frame(self, frame: _Frame) -> str:
        fill, border = self.theme.box
        title, detail = box_rows(self.drawing, frame.box)
        weight = 1.6 if frame.box.count > 1 else 0.8
        x, y = frame.left + _PAD, frame.top + 13
        words = _text(x, y, [TextLine(title, 9, self.theme.muted, True)], "start")
        if detail:
            words += _text(x, y + 11, [TextLine(detail, 8, self.theme.muted)], "start")
        size = frame.right - frame.left, frame.bottom - frame.top
        path = _rounded(frame.left, frame.top, *size)
        return (
            f'<g id="b{frame.box.call}" class="cluster">\n<path fill="{fill}" stroke="{border}" '
            f'stroke-width="{weight}" d="{path}"/>\n{words}</g>'
        )

    def _drawn(self, node: _Node) -> str:
        more = ' stroke-dasharray="5,2"' if node.dashed else ""
        more += ' stroke-width="1.6"' if node.heavy else ""
        path = _rounded(-node.width / 2, node.top, node.width, node.height)
        y, words = node.top + 3, ""
        for line in node.lines:
            y += line[0].size * 1.25
            words += _text(0, y - 1.5, line, "middle")
        return (
            f'<g id="{node.key}" class="node">\n<path fill="{node.fill}" stroke="{node.border}"'
            f'{more} d="{path}"/>\n{words}</g>'
        )

    def _edge(self, line: _Line) -> str:
        a, b, color = line.source, line.target, self.theme.edge
        words = [TextLine(line.text, 8, self.theme.muted)]
        if line.key in self.straight:
            start, end = a.top + a.height, b.top
            path = f"M0,{start:.1f}L0,{end - 5:.1f}"
            tip = f"0,{end:.1f} -1.75,{end - 5:.1f} 1.75,{end - 5:.1f}"
            text = _text(4, (start + end) / 2 + 2, words, "start")
        else:
            down = 1 if b.middle > a.middle else -1
            start_x, end_x = a.width / 2, b.width / 2
            start, end, x, r = a.middle + 3 * down, b.middle - 3 * down, line.right, _ROUND
            path = (
                f"M{start_x:.1f},{start:.1f}L{x - r:.1f},{start:.1f}"
                f"Q{x:.1f},{start:.1f} {x:.1f},{start + r * down:.1f}"
                f"L{x:.1f},{end - r * down:.1f}Q{x:.1f},{end:.1f} {x - r:.1f},{end:.1f}"
                f"L{end_x + 5:.1f},{end:.1f}"
            )
            tip = f"{end_x:.1f},{end:.1f} {end_x + 5:.1f},{end - 1.75:.1f} "
            tip += f"{end_x + 5:.1f},{end + 1.75:.1f}"
            text = _text(x - 4, end - 3, words, "end")
        dashed = ' stroke-dasharray="5,2"' if line.dashed else ""
        return (
            f'<g id="{line.key}" class="edge">\n<path fill="none" stroke="{color}" '
            f'stroke-width="0.9"{dashed} d="{path}"/>\n<polygon fill="{color}" stroke="{color}" '
            f'stroke-width="0.9" points="{tip}"/>\n{text if line.text else ""}</g>'
        )


def _text(x: float, y: float, parts: list[TextLine], anchor: str) -> str:
    """Words of several looks, one after another."""
    first = parts[0]
    words = escape(first.text)
    if len(parts) > 1:
        words = "".join(f"<tspan{_look(part)}>{escape(part.text)}</tspan>" for part in parts)
    return (
        f'<text text-anchor="{anchor}" x="{x:.1f}" y="{y:.1f}" '
        f'font-family="Helvetica,Arial,sans-serif" font-size="{first.size:.2f}"'
        f"{_look(first)}>{words}</text>\n"
    )


def _look(part: TextLine) -> str:
    weight = "bold" if part.bold else "normal"
    return f' font-weight="{weight}" fill="{part.color}"'


def _rounded(x: float, y: float, w: float, h: float, r: float = _ROUND) -> str:
    return (
        f"M{x + r:.1f},{y:.1f}h{w - 2 * r:.1f}a{r},{r} 0 0 1 {r},{r}v{h - 2 * r:.1f}"
        f"a{r},{r} 0 0 1 {-r},{r}h{-(w - 2 * r):.1f}a{r},{r} 0 0 1 {-r},{-r}"
        f"v{-(h - 2 * r):.1f}a{r},{r} 0 0 1 {r},{-r}z"
    )
