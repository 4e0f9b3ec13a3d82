"""What is written on items, boxes and links: lines of text with a role, free of any syntax."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tinygrad_cnn.amounts import amount, byte_size
from tinygrad_cnn.viz.graph.data import Graph
from tinygrad_cnn.viz.graph.fold import Box, Drawing, Item, Link
from tinygrad_cnn.viz.graph.records import Node, Shape
from tinygrad_cnn.viz.graph.text import plural, seconds, shape_text
from tinygrad_cnn.viz.graph.theme import COLORINGS, family_of

_LONGEST = 48
_NARROW = 14
_WORDS = {
    "isolate": "identity",
    "flat": "identity",
    "getitem": "index",
    "ungetitem": "index backward",
    "put": "write",
    "overwrite": "write into the base",
    "sum_to": "sum",
}
"""What operations are called that users do not know by their names."""
UNITS: dict[str, Callable[[float], str]] = {
    "time": seconds,
    "backward": seconds,
    "memory": byte_size,
    "flops": lambda v: f"{amount(v)} FLOP",
    "gradient": lambda v: f"gradient {v:.2g}",
    "zeros": lambda v: f"{v:.0%} zeros",
}


@dataclass(frozen=True)
class Row:
    """A line of text: ``title``, ``name``, ``detail``, ``parameter``, ``figure`` or ``warning``."""

    role: str
    text: str


def short(text: str) -> str:
    """``text`` in one line and not too long."""
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def family(drawing: Drawing, item: Item) -> str:
    """Which kind of thing an item is, as the themes know it."""
    if item.folded and item.call is not None:
        call = drawing.graph.calls[item.call]
        return family_of(call.kind) if call.layer else "module"
    node = drawing.graph.nodes[item.members[0]]
    if node.kind == "operation":
        return family_of(node.name)
    return {"constant": "constant", "parameter": "parameter", "gradient": "parameter"}.get(
        node.kind, "tensor"
    )


def heading(drawing: Drawing, item: Item) -> tuple[str, str]:
    """An item's title and the name that stands beside it."""
    graph = drawing.graph
    node = graph.nodes[item.members[0]]
    if item.call is None:
        if node.kind == "operation":
            return _title(node.name), ""
        named = node.name and node.kind in ("parameter", "buffer", "constant")
        return (node.name or node.kind), node.kind if named else ""
    return _call_heading(graph, item.call, item.count)


def _title(operation: str) -> str:
    """An operation's name, in words where its own is the engine's."""
    bare = operation.removesuffix(" backward")
    return _WORDS.get(bare, bare) + operation[len(bare) :]


def _call_heading(graph: Graph, at: int, count: int) -> tuple[str, str]:
    call = graph.calls[at]
    name = call.path
    if call.number > 1:
        name = call.label if call.path else f"call {call.number}"
    title = call.kind + (" backward" if call.phase == "backward" else "")
    return title + (f" ×{count}" if count > 1 else ""), name


def item_rows(drawing: Drawing, item: Item, coloring: str) -> list[Row]:
    """The lines of an item."""
    graph = drawing.graph
    node = graph.nodes[item.members[0]]
    title, name = heading(drawing, item)
    rows = [Row("title", short(title) or "unnamed")]
    if short(name):
        rows.append(Row("name", short(name)))
    if item.folded:
        count = sum(graph.nodes[i].kind == "operation" for i in item.members)
        rows.append(Row("detail", plural(count, "operation")))
        held = parameter_count(drawing, item.members)
        if item.attached and item.call is not None and graph.calls[item.call].layer:
            rows += [Row("parameter", t) for t in _joined(_attachments(graph, item))]
        elif held:
            rows.append(Row("parameter", f"{amount(held)} parameters"))
    else:
        rows += [Row("detail", text) for text in _details(graph, item, node)]
        rows += [Row("parameter", text) for text in _joined(_attachments(graph, item))]
    if coloring != "kind":
        text = figure_text(drawing, item, coloring)
        if text:
            rows.append(Row("figure", text))
    rows += _warnings(drawing, item)
    rows += [Row("detail", short(line)) for line in node.note]
    lines = [Row(row.role, " ".join(row.text.split())) for row in rows]
    return [row for row in lines if row.text]


def _details(graph: Graph, item: Item, node: Node) -> list[str]:
    """The operation's parameters, and its name where the module's does not say it."""
    if node.kind != "operation":
        text = [] if node.shape is None else [tensor_text(node.shape, node.dtype)]
        return [node.params["value"]] if "value" in node.params else text
    params = dict(node.params)
    bare = node.name.removesuffix(" backward")
    if bare in ("reshape", "expand"):
        params.pop("shape", None)  # it stands on the edge
    words = [f"{k.removesuffix('_size').replace('_', ' ')} {v}" for k, v in params.items()]
    if item.call is not None:
        kind = graph.calls[item.call].kind.lower()
        if bare.replace("_", "") not in kind and kind not in bare.replace("_", ""):
            words.insert(0, _title(bare))
    return _joined([short(w) for w in words])


def _joined(words: list[str], width: int = 34) -> list[str]:
    """Words on as few lines as they need."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + len(word) + 3 <= width:
            lines[-1] += f" · {word}"
        else:
            lines.append(word)
    return lines


def _attachments(graph: Graph, item: Item) -> list[str]:
    """The parameters (or their gradients) that are shown in an item; buffers are not."""
    words = []
    at = graph.nodes[item.members[0]].call if item.call is None else item.call
    here = "" if at is None else graph.calls[at].path
    for node in (graph.nodes[i] for i in item.attached):
        if node.kind != "buffer":
            name = node.name.removesuffix(".grad")
            owner, _, last = name.rpartition(".")
            name = last if owner == here else name  # one that is shared says whose it is
            gradient = ".grad" if node.kind == "gradient" else ""
            words.append(f"{short(name)}{gradient} {tensor_text(node.shape, node.dtype)}")
    return words


def tensor_text(shape: Shape | None, dtype: str | None) -> str:
    kind = "" if dtype in (None, "float32") else f" {dtype}"
    return shape_text(shape) + kind


def parameter_count(drawing: Drawing, members: list[int]) -> int:
    """Elements of the parameters that these nodes are the first to read."""
    return sum(drawing.graph.nodes[i].parameter_count for i in members)


def _warnings(drawing: Drawing, item: Item) -> list[Row]:
    nodes = [drawing.graph.nodes[i] for i in item.members]
    out = []
    cuts = sorted({n.cut for n in nodes if n.cut})
    if cuts:
        out.append(Row("warning", f"no gradient passes: {', '.join(cuts)}"))
    bad = [
        w
        for w, seen in (("NaN", any(n.nan for n in nodes)), ("Inf", any(n.inf for n in nodes)))
        if seen
    ]
    if bad:
        out.append(Row("warning", f"{' and '.join(bad)} in the result"))
    if any(n.nan_gradient for n in nodes):
        out.append(Row("warning", "gradient not finite"))
    return out


def figure(drawing: Drawing, item: Item, coloring: str) -> float | None:
    """The number that an item's colour shows; None if it is not known."""
    name = COLORINGS[coloring]
    if name is None:
        return None
    values = [getattr(drawing.graph.nodes[i], name) for i in item.members]
    known = [v for v in values if v is not None and not math.isnan(v)]
    if not known or drawing.graph.nodes[item.members[0]].kind != "operation":
        return None
    if coloring == "gradient":
        return math.sqrt(sum(v * v for v in known))
    return sum(known) / len(known) if coloring == "zeros" else float(sum(known))


def figure_text(drawing: Drawing, item: Item, coloring: str) -> str:
    """The same as text; empty if it is not known."""
    value = figure(drawing, item, coloring)
    return "" if value is None else UNITS[coloring](value)


def box_rows(drawing: Drawing, box: Box) -> tuple[str, str]:
    """A frame's name and, for the line below it, its class. Narrow: edges come down beside them."""
    title, name = _call_heading(drawing.graph, box.call, box.count)
    if len(name) > _NARROW:
        name = name.rpartition(".")[2]
    return (short(name), short(title)) if short(name) else (short(title) or "unnamed", "")


def link_text(link: Link) -> str:
    """What stands on a link."""
    return tensor_text(link.shape, link.dtype)
