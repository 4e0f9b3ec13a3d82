"""A drawing as a Mermaid flowchart."""

from __future__ import annotations

from collections.abc import Iterator

from tinygrad_cnn.viz.graph.data import Graph
from tinygrad_cnn.viz.graph.fold import Box, Drawing, Item
from tinygrad_cnn.viz.graph.labels import box_rows, family, item_rows, link_text
from tinygrad_cnn.viz.graph.quoting import mermaid_escaped
from tinygrad_cnn.viz.graph.render import Options


def to_mermaid(graph: Graph, options: Options) -> str:
    """The text that `Graph.to_mermaid` returns.

    >>> import tinygrad_cnn as tg
    >>> x = tg.tensor(2.0, requires_grad=True)
    >>> print(tg.viz.trace(x * 3).to_mermaid())
    flowchart TD
      n0(["leaf<br>scalar"])
      n1["mul<br>b 3"]
      n0 -->|"scalar"| n1
    <BLANKLINE>
    """
    drawing = options.drawing(graph)
    lines = ["flowchart TD", *_nodes(drawing)]
    for link in drawing.links:
        arrow = "-.->" if link.backward else "-->"
        a, b = drawing.items[link.source].key, drawing.items[link.target].key
        lines.append(f'  {a} {arrow}|"{mermaid_escaped(link_text(link))}"| {b}')
    return "\n".join(lines) + "\n"


def _nodes(drawing: Drawing) -> Iterator[str]:
    """Nodes inside subgraphs; both in the order in which they ran, without recursion."""
    inside: dict[int | None, list[Item | Box]] = {None: []}
    for item in drawing.items:
        inner: Item | Box = item
        box = item.box
        while box is not None and box not in inside:
            inside[box] = [inner]
            inner, box = drawing.boxes[box], drawing.boxes[box].parent
        inside[box].append(inner)
    stack = [iter(inside[None])]
    while stack:
        entry = next(stack[-1], None)
        indent = "  " * len(stack)
        if entry is None:
            stack.pop()
            if stack:
                yield "  " * len(stack) + "end"
        elif isinstance(entry, Item):
            yield f"{indent}{_node(drawing, entry)}"
        else:
            title = " ".join(box_rows(drawing, entry)).strip()
            yield f'{indent}subgraph b{entry.call}["{mermaid_escaped(title)}"]'
            stack.append(iter(inside[entry.call]))


def _node(drawing: Drawing, item: Item) -> str:
    rows = [mermaid_escaped(row.text) for row in item_rows(drawing, item, "kind")]
    left, right = "([", "])"
    if family(drawing, item) not in ("tensor", "constant", "parameter"):
        left, right = ("[[", "]]") if item.folded else ("[", "]")
    return f'{item.key}{left}"{"<br>".join(rows)}"{right}'
