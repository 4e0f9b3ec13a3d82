"""A drawing in Graphviz's language."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tinygrad_cnn.viz.graph.columns import first_of_columns
from tinygrad_cnn.viz.graph.fold import Box, Drawing, Item, Link
from tinygrad_cnn.viz.graph.labels import (
    box_rows,
    family,
    figure,
    item_rows,
    link_text,
    tensor_text,
)
from tinygrad_cnn.viz.graph.quoting import dot_quoted, label_escaped
from tinygrad_cnn.viz.graph.scale import Scale
from tinygrad_cnn.viz.graph.theme import THEMES, Theme

_FONT = '"Helvetica,Arial,sans-serif"'


@dataclass(frozen=True)
class Style:
    """How to draw: the options of `Graph.render` that are not about folding."""

    theme: str = "light"
    color: str = "kind"
    columns: int | None = 1


@dataclass(frozen=True)
class TextLine:
    """Words of one look."""

    text: str
    size: float
    color: str
    bold: bool = False


def write_dot(drawing: Drawing, style: Style) -> str:
    """The whole drawing. The same drawing always gives the same text."""
    return "\n".join(Writer(drawing, style).lines()) + "\n"


class Writer:
    """The lines of a drawing; what else draws takes colours and words from it."""

    def __init__(self, drawing: Drawing, style: Style) -> None:
        self.drawing, self.style = drawing, style
        self.theme: Theme = THEMES[style.theme]
        self.values = [figure(drawing, i, style.color) for i in drawing.items]
        nodes = drawing.graph.nodes
        self.is_difference = any(n.change for n in nodes)
        self.mixed = len({n.phase for n in nodes if n.kind == "operation"}) > 1
        self.scale = Scale.of(style.color, self.values)
        self.scalar = all(link.shape == () for link in drawing.links)  # then no edge says so
        self.breaks = set(first_of_columns(drawing, style.columns))
        self.beside: dict[int, list[str]] = {}  # nodes of each column that are no items
        self.column_of: list[int] = []
        column = 0
        for i in range(len(drawing.items)):
            column += i in self.breaks
            self.column_of.append(column)

    def lines(self) -> Iterator[str]:
        t = self.theme
        rank, pack = 0.16, ""
        if self.breaks:  # each column is laid out for itself
            rank, pack = 0.07, f' pack=16 packmode="array_tu{len(self.breaks) + 2}"'
        yield "digraph {"
        yield (
            f'  graph [bgcolor="{t.paper}" fontname={_FONT} fontsize=10 fontcolor="{t.muted}" '
            f"labeljust=l nodesep=0.18 ranksep={rank} pad=0.2{pack}]"
        )
        yield (
            f'  node [shape=box style="rounded,filled" fontname={_FONT} fontsize=10 '
            f'fontcolor="{t.text}" penwidth=1 margin="0.12,0.05" height=0.2 width=0.6]'
        )
        yield (
            f'  edge [fontname={_FONT} fontsize=8 fontcolor="{t.muted}" color="{t.edge}" '
            f"arrowsize=0.5 penwidth=0.9]"
        )
        edges = [*self._links(), *self._outputs()]
        for column in range(len(self.breaks) + 1):
            if self.breaks:  # Graphviz packs boxes, seen or not, in the order of the text
                yield f"  subgraph cluster_column_{column} {{ peripheries=0 margin=0"
            yield from self._boxes_and_items(column)
            yield from self.beside.get(column, [])
            if self.breaks:
                yield "  }"
        yield from edges
        if self.scale.known:
            label = self.scale.legend(self.theme)
            yield (
                f"  subgraph cluster_legend {{ peripheries=0 margin=0 "
                f'legend [id="legend" label=<{label}> shape=plain style=""] }}'
            )
        yield "}"

    # ---- boxes -----------------------------------------------------------------------------

    def _boxes_and_items(self, column: int) -> Iterator[str]:
        """Boxes inside boxes, without recursion: the path to the present one is kept."""
        inside: dict[int | None, list[tuple[int, Box | Item | str]]] = {None: []}
        opened: set[int] = set()
        for i, item in enumerate(self.drawing.items):
            if self.column_of[i] != column:
                continue
            inside.setdefault(item.box, []).append((i, item))
            box = item.box
            while box is not None and box not in opened:
                opened.add(box)
                frame = self.drawing.boxes[box]
                inside.setdefault(frame.parent, []).append((i, frame))
                box = frame.parent
        for holder, words in self._words(column).items():
            inside.setdefault(holder, []).extend(words)
        stack: list[Iterator[tuple[int, Box | Item | str]]] = [_in_order(inside[None])]
        while stack:
            indent = "  " * len(stack)
            entry = next(stack[-1], None)
            if entry is None:
                stack.pop()
                if stack:
                    yield "  " * len(stack) + "}"
            elif isinstance(entry[1], str):
                yield f"{indent}{entry[1]}"
            elif isinstance(entry[1], Item):
                yield f"{indent}{self._item(entry[0], entry[1])}"
            else:
                call = entry[1].call
                part = f"_{column}" if self.breaks else ""
                yield f"{indent}subgraph cluster_{call}{part} {{"
                yield f"{indent}  {self._frame(entry[1], part)}"
                stack.append(_in_order(inside[call]))

    def _frame(self, box: Box, part: str) -> str:
        title, detail = box_rows(self.drawing, box)
        fill, border = self.theme.box
        weight = 1.6 if box.count > 1 else 0.8
        lines = f'<tr><td align="left"><b>{label_escaped(title)}</b></td></tr>'
        if detail:
            small = f'<font point-size="8">{label_escaped(detail)}</font>'
            lines += f'<tr><td align="left">{small}</td></tr>'
        label = f'<table border="0" cellspacing="0" cellpadding="0">{lines}</table>'
        return (
            f'id="b{box.call}{part}" label=<{label}> style="rounded,filled" fillcolor="{fill}" '
            f'color="{border}" fontsize=9 penwidth={weight} peripheries=1 margin=7'
        )

    def _item(self, at: int, item: Item) -> str:
        fill, border, extra = self.colors(at, item)
        return (
            f'{item.key} [id="{item.key}" label=<{self._label(item)}> '
            f'fillcolor="{fill}" color="{border}"{extra}]'
        )

    def colors(self, at: int, item: Item) -> tuple[str, str, str]:
        """Of an item the colours of its face and its border, and other attributes."""
        t = self.theme
        kind = family(self.drawing, item)
        node = self.drawing.graph.nodes[item.members[0]]
        extra = ""
        if kind == "constant":
            extra = ' style="filled,dashed"'
        elif kind == "module":
            extra = " penwidth=1.8"
        elif kind == "tensor":
            extra = " penwidth=1.4"
        fill, border = t.families[kind]
        if self.is_difference:
            states = {self.drawing.graph.nodes[i].change for i in item.members}
            state = states.pop() if len(states) == 1 else "changed"
            fill, border = t.changes[state]
            if state == "removed":
                extra = ' style="rounded,filled,dashed"'
            elif state:
                extra = " penwidth=1.8"
        elif self.style.color != "kind" and kind not in ("tensor", "constant", "parameter"):
            fill = self.scale.shade(self.values[at], self.theme)
        elif node.phase == "backward" and self.mixed:
            extra += ' style="rounded,filled,dashed"'
        if any(self.drawing.graph.nodes[i].cut for i in item.members):
            extra += f' color="{t.warning}"'
        return fill, border, extra

    def _label(self, item: Item) -> str:
        lines = []
        for parts in self.text_lines(item):
            line = ""
            for part in parts:
                text = label_escaped(part.text)
                text = f"<b>{text}</b>" if part.bold else text
                color, size = f' color="{part.color}"', f' point-size="{part.size:g}"'
                if part.size == 10:  # as all words are without a size
                    size, color = "", "" if part.bold or part.text == " " else color
                line += f"<font{size}{color}>{text}</font>" if size or color else text
            lines.append(line)
        cells = "".join(f"<tr><td>{line}</td></tr>" for line in lines)
        return f'<table border="0" cellspacing="0" cellpadding="0">{cells}</table>'

    def text_lines(self, item: Item) -> list[list[TextLine]]:
        """What stands in an item, line by line, each of parts side by side."""
        t = self.theme
        colors = {"parameter": t.parameter, "warning": t.warning, "figure": t.text}
        muted = t.muted
        if self.style.color != "kind":  # readable on every colour of the scale
            muted = t.text
            colors = {"warning": t.text}
        title, *rest = item_rows(self.drawing, item, self.style.color)
        head = [TextLine(title.text, 10, t.text, True)]
        if rest and rest[0].role == "name":
            head += [TextLine(" ", 10, t.text), TextLine(rest.pop(0).text, 10, muted)]
        lines = [head]
        for row in rest:
            bold = row.role in ("figure", "warning")
            lines.append([TextLine(row.text, 8, colors.get(row.role, muted), bold)])
        return lines

    # ---- columns, ends, legend ---------------------------------------------------------------

    def _links(self) -> Iterator[str]:
        """Edges; one that would lead to another column ends in a circle, and goes on from one."""
        letters: dict[int, str] = {}  # for each source whose tensor changes the column
        arrived: set[tuple[int, int]] = set()
        for i, link in enumerate(self.drawing.links):
            a, b = self.drawing.items[link.source].key, self.drawing.items[link.target].key
            start, end = self.column_of[link.source], self.column_of[link.target]
            dashed = "style=dashed" if link.backward else ""
            if start == end:
                yield self._edge(a, b, f"e{i}", self.link_text(link), dashed)
                continue
            if link.source not in letters:
                letters[link.source] = _letter(len(letters))
                self._put(start, self._circle(f"out_{a}", letters[link.source]))
                self._put(start, f"  l{i} {self._word(self.link_text(link))}")
                yield self._edge(a, f"out_{a}", f"e{i}", self.link_text(link), dashed)
            if (link.source, end) not in arrived:
                arrived.add((link.source, end))
                self._put(end, self._circle(f"in{end}_{a}", letters[link.source]))
            yield f'  in{end}_{a} -> {b} [id="e{i}b" {dashed}]'

    def _edge(self, a: str, b: str, key: str, text: str, extra: str = "") -> str:
        """An edge with a label. Packed columns have no room for labels, but for nodes."""
        if not self.breaks:
            label = f"label={dot_quoted(' ' + text)} " if text else ""
            return f'  {a} -> {b} [id="{key}" {label}{extra}]'
        word = f"l{key[1:]}"
        return f'  {a} -> {word} [arrowhead=none {extra}]\n  {word} -> {b} [id="{key}" {extra}]'

    def link_text(self, link: Link) -> str:
        """What stands at an edge between items."""
        return "" if self.scalar else link_text(link)

    def end_text(self, end: int) -> str:
        """What stands at the edge from a node to the mark of an output."""
        node = self.drawing.graph.nodes[end]
        return "" if self.scalar else tensor_text(node.shape, node.dtype)

    def _word(self, text: str) -> str:
        """The attributes of a node that is the label of an edge."""
        t = self.theme
        return f'[shape=plain style="" fontsize=8 fontcolor="{t.muted}" label={dot_quoted(text)}]'

    def _words(self, column: int) -> dict[int | None, list[tuple[int, str]]]:
        """Labels of edges that are nodes, by the box that holds both ends, with their place."""
        found: dict[int | None, list[tuple[int, str]]] = {}
        if not self.breaks:
            return found
        for i, link in enumerate(self.drawing.links):
            start, end = self.column_of[link.source], self.column_of[link.target]
            if start == end == column:
                a, b = (
                    self.drawing.around(self.drawing.items[at].box)
                    for at in (link.source, link.target)
                )
                box = next((box for box in reversed(b) if box in a), None)
                word = f"l{i} {self._word(self.link_text(link))}"
                found.setdefault(box, []).append((link.source, word))
        return found

    def _put(self, column: int, line: str) -> None:
        self.beside.setdefault(column, []).append(line)

    def _circle(self, key: str, letter: str) -> str:
        t = self.theme
        return (
            f'  {key} [shape=circle label="{letter}" fixedsize=true width=0.24 fontsize=9 '
            f'fillcolor="{t.paper}" color="{t.edge}" fontcolor="{t.muted}"]'
        )

    def _outputs(self) -> Iterator[str]:
        """A small mark behind each node whose result was asked for."""
        t = self.theme
        fill, border = t.families["tensor"]
        for at, end in self.ends():
            column = self.column_of[at]
            mark = (
                f'  o{end} [id="o{end}" label=<<b>output</b>> fillcolor="{fill}" '
                f'color="{border}" penwidth=1.4]'
            )
            self._put(column, mark)
            text = self.end_text(end)
            if self.breaks:
                self._put(column, f"  lo{end} {self._word(text)}")
            yield self._edge(self.drawing.items[at].key, f"o{end}", f"eo{end}", text)

    def ends(self) -> Iterator[tuple[int, int]]:
        """Places of items whose result was asked for, and its node."""
        graph = self.drawing.graph
        at = {i: n for n, item in enumerate(self.drawing.items) for i in item.members}
        for end in graph.outputs:
            if end in at and graph.nodes[end].kind == "operation":
                yield at[end], end

    def in_boxes(self) -> Iterator[tuple[int, Item]]:
        """All items with their places: those of a box follow one another."""
        first: dict[int, int] = {}
        keys = []
        for i, item in enumerate(self.drawing.items):
            chain = self.drawing.around(item.box)
            keys.append((*((first.setdefault(call, i), call) for call in chain), (i, -1)))
        for i in sorted(range(len(keys)), key=keys.__getitem__):
            yield i, self.drawing.items[i]


def _in_order(
    entries: list[tuple[int, Box | Item | str]],
) -> Iterator[tuple[int, Box | Item | str]]:
    return iter(sorted(entries, key=lambda entry: entry[0]))


def _letter(n: int) -> str:
    """A, B, … Z, then A1, B1 and so on."""
    return chr(ord("A") + n % 26) + (str(n // 26) if n >= 26 else "")
