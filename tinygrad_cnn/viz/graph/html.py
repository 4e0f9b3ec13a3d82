"""One HTML file with the drawing and all figures in it, for any browser, without a network."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from typing import Any

from tinygrad_cnn.amounts import amount, byte_size
from tinygrad_cnn.viz.graph.data import Graph, Record
from tinygrad_cnn.viz.graph.fold import Box, Drawing, Item
from tinygrad_cnn.viz.graph.labels import (
    UNITS,
    box_rows,
    family,
    figure,
    heading,
    parameter_count,
    tensor_text,
)
from tinygrad_cnn.viz.graph.quoting import html_escaped, script_json
from tinygrad_cnn.viz.graph.records import Edge, Node
from tinygrad_cnn.viz.graph.render import Options, svg_of
from tinygrad_cnn.viz.graph.scale import Scale
from tinygrad_cnn.viz.graph.text import FIGURES, plural, seconds
from tinygrad_cnn.viz.graph.theme import COLORINGS, THEMES

_SCRIPTS = ("page.layout.js", "page.controls.js")


def page(graph: Graph, options: Options) -> str:
    """The text of the file. It is laid out unfolded; ``depth`` says what is folded at first."""
    drawing = replace(options, depth=None).drawing(graph)
    svg = re.sub(r"<title>.*?</title>", "", svg_of(drawing), flags=re.DOTALL)
    data = script_json(json.dumps(_data(drawing, options.depth, options.color, options.theme)))
    here = files(__package__)
    title = graph.title or "Computation graph"
    parts = {
        "title": html_escaped(title),
        "style": (here / "page.css").read_text(encoding="utf-8") + _theme_css(),
        "summary": html_escaped(_summary(graph)),
        "svg": svg,
        "data": data,
        "script": "\n".join((here / name).read_text(encoding="utf-8") for name in _SCRIPTS),
    }
    template = (here / "page.html").read_text(encoding="utf-8")
    # One pass, so that nothing in one part is taken for the name of another.
    return re.sub(r"\{\{(\w+)\}\}", lambda m: parts[m[1]], template)


def _summary(graph: Graph) -> str:
    """The totals in one line."""
    words = [
        plural(sum(1 for _ in graph.operations()), "operation"),
        f"{amount(graph.parameter_total())} parameters",
        f"{amount(graph.total('flops'))} FLOP",
        f"{byte_size(graph.total('kept_bytes'))} kept for backward",
    ]
    if any(n.forward_seconds is not None for n in graph.nodes):
        words.append(f"forward {seconds(graph.total('forward_seconds'))}")
    if any(n.backward_seconds is not None for n in graph.nodes):
        words.append(f"backward {seconds(graph.total('backward_seconds'))}")
    return " · ".join(words)


def _theme_css() -> str:
    """Graphviz's colours, role by role, exchanged for those of the theme that is chosen."""
    light, dark = THEMES["light"], THEMES["dark"]
    pairs: dict[str, str] = {}

    def add(a: Any, b: Any) -> None:
        if isinstance(a, str):
            pairs.setdefault(a, b)
        elif isinstance(a, dict):
            for key in a:
                add(a[key], b[key])
        else:
            for x, y in zip(a, b, strict=True):
                add(x, y)

    for role in (
        "paper",
        "text",
        "muted",
        "edge",
        "parameter",
        "warning",
        "box",
        "families",
        "changes",
    ):
        add(getattr(light, role), getattr(dark, role))
    rules = []
    for on, off in pairs.items():
        rules.append(f'[data-theme=dark] svg [fill="{on}"]{{fill:{off}}}')
        rules.append(f'[data-theme=dark] svg [stroke="{on}"]{{stroke:{off}}}')
    for name, theme in THEMES.items():
        steps = "".join(f"--scale-{i}:{c};" for i, c in enumerate(theme.scale))
        rules.append(
            f":root[data-theme={name}]{{--paper:{theme.paper};--text:{theme.text};"
            f"--muted:{theme.muted};--line:{theme.box[1]};--panel:{theme.box[0]};"
            f"--edge:{theme.edge};--module:{theme.families['module'][0]};"
            f"--module-line:{theme.families['module'][1]};{steps}}}"
        )
    # Graphviz writes pure white by its name.
    rules.append(f'[data-theme=dark] svg [fill="white"]{{fill:{dark.paper}}}')
    return "\n".join(rules)


def _data(drawing: Drawing, depth: int | None, color: str, theme: str | None) -> Record:
    colorings = [
        name
        for name in COLORINGS
        if name == "kind" or any(figure(drawing, i, name) is not None for i in drawing.items)
    ]
    scales = {}
    for name in colorings[1:]:
        scale = Scale.of(name, (figure(drawing, item, name) for item in drawing.items))
        scales[name] = {"low": scale.low, "high": scale.high, "text": scale.ends()}
    read: dict[int, list[Edge]] = {}
    for edge in drawing.graph.edges:
        read.setdefault(edge.target, []).append(edge)
    return {
        "items": [
            _item(drawing, item, colorings, read.get(item.members[0], [])) for item in drawing.items
        ],
        "boxes": [_box(drawing, box, depth) for box in drawing.boxes.values()],
        "links": [[link.source, link.target] for link in drawing.links],
        "outputs": {
            end: item.key
            for item in drawing.items
            for end in drawing.graph.outputs
            if end in item.members
        },
        "colorings": colorings,
        "scales": scales,
        "color": color if color in colorings else "kind",
        "theme": theme,
        "steps": len(THEMES["light"].scale),
    }


def _item(drawing: Drawing, item: Item, colorings: list[str], edges: list[Edge]) -> Record:
    graph = drawing.graph
    node = graph.nodes[item.members[0]]
    title, name = heading(drawing, item)
    values = {c: figure(drawing, item, c) for c in colorings[1:]}
    texts = {c: UNITS[c](v) for c, v in values.items() if v is not None}
    return {
        "key": item.key,
        "box": item.box,
        "title": f"{title} {name}".strip(),
        "plain": family(drawing, item) in ("tensor", "constant", "parameter"),
        "values": {c: v for c, v in values.items() if v is not None},
        "texts": texts,
        "facts": _facts(drawing, item, node, edges),
    }


def _facts(drawing: Drawing, item: Item, node: Node, edges: list[Edge]) -> list[tuple[str, str]]:
    """All that is known, as pairs of texts."""
    graph = drawing.graph
    facts: list[tuple[str, str | None]] = [
        (
            "operation" if node.kind == "operation" else "kind",
            node.name if node.kind == "operation" else node.kind,
        )
    ]
    if node.call is not None:
        call = graph.calls[node.call]
        facts.append(("module", f"{call.path or '(the model)'}: {call.kind}({call.settings})"))
        if call.number > 1:
            facts.append(("call", f"number {call.number} of this module"))
    read = [e for e in edges if graph.nodes[e.source].kind != "parameter"]
    facts += [("input", tensor_text(e.shape, e.dtype or "?")) for e in read]
    if node.shape is not None:
        facts.append(("result", f"{tensor_text(node.shape, node.dtype)} ({node.dtype})"))
    facts += [(name.replace("_", " "), value) for name, value in node.params.items()]
    for i in item.attached:
        held = graph.nodes[i]
        facts.append((held.kind, f"{held.name} {tensor_text(held.shape, held.dtype)}"))
    if node.parameter_count:
        facts.append(("parameters", f"{node.parameter_count:,}"))
    facts += [
        ("FLOPs", None if node.flops is None else f"{node.flops:,}"),
        ("kept for backward", None if node.kept_bytes is None else byte_size(node.kept_bytes)),
        *((called, _known(getattr(node, n), write)) for n, (called, write) in FIGURES.items()),
        ("channels that are all 0", _known(node.dead, lambda v: f"{v:.1%}")),
        ("NaN", "yes" if node.nan else None),
        ("Inf", "yes" if node.inf else None),
        ("no gradient passes", node.cut or None),
        ("runs together", node.fused),
        ("called from", node.line or None),
    ]
    return [(name, value) for name, value in facts if value is not None]


def _known(value: float | None, write: Callable[[float], str]) -> str | None:
    return None if value is None else write(value)


def _box(drawing: Drawing, box: Box, depth: int | None) -> Record:
    graph = drawing.graph
    call = graph.calls[box.call]
    name, kind = box_rows(drawing, box)
    level = len(drawing.around(box.call))
    count = sum(graph.nodes[i].kind == "operation" for i in box.members)
    held = parameter_count(drawing, box.members)
    short = plural(count, "operation") + (f" · {amount(held)} parameters" if held else "")
    sums: dict[str, tuple[float | None, Callable[[float], str]]] = {
        "FLOPs": (drawing.total(box.members, "flops"), lambda v: f"{v:,}"),
        "kept for backward": (drawing.total(box.members, "kept_bytes"), byte_size),
        "forward time": (drawing.total(box.members, "forward_seconds"), seconds),
        "backward time": (drawing.total(box.members, "backward_seconds"), seconds),
    }
    facts = [("module", f"{call.path or '(the model)'}: {call.kind}")]
    if box.count > 1:
        facts.append(("equal modules", f"{box.count}, drawn once"))
    facts += [("operations", f"{count:,}"), ("parameters", f"{held:,}")]
    facts += [(k, write(v)) for k, (v, write) in sums.items() if v is not None]
    stand_in = Item(f"b{box.call}", box.members)
    values = {c: figure(drawing, stand_in, c) for c in COLORINGS if c != "kind"}
    return {
        "id": box.call,
        "parent": box.parent,
        "title": f"{name} {kind}".strip(),
        "short": short,
        "folded": depth is not None and level >= max(depth, 1),
        "values": {c: v for c, v in values.items() if v is not None},
        "facts": facts,
    }
