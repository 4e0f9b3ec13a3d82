"""What the measured figures of a `Recording` tell: the first NaN, ReLUs that are always 0."""

from __future__ import annotations

from tinygrad_cnn.viz.graph.notes import Notes
from tinygrad_cnn.viz.graph.records import Node

_SHARE = 0.1
"""Rectifiers are told of from this fraction of dead channels on."""

Told = tuple[tuple[str, ...], str, str]


def _where(node: Node, notes: Notes) -> str:
    path = "" if node.call is None else notes.calls[node.call].path
    name = f"`{node.name}`" if node.kind == "operation" else f"{node.kind} {node.name}".strip()
    return f"{name} in {path}" if path else name


def first_not_finite(notes: Notes) -> list[Told]:
    """The first operation whose result, and the first whose derivative rule, was not finite."""
    sources: dict[int, list[Node]] = {}
    readers: dict[int, list[Node]] = {}
    for e in notes.edges:
        sources.setdefault(e.target, []).append(notes.nodes[e.source])
        readers.setdefault(e.source, []).append(notes.nodes[e.target])
    bad = [n for n in notes.nodes if (n.nan or n.inf) and n.phase == "forward"]
    for node in bad:
        if any(s.nan or s.inf for s in sources.get(node.id, ())):
            continue
        what = "NaN" if node.nan else "Inf"
        if node.kind == "operation":
            why = f"the first {what} is in its result (shape {node.shape}); what it read was finite"
        else:
            why = f"{what} was in it from the beginning"
        return [((_where(node, notes),), why, node.line)]
    for node in sorted(notes.nodes, key=lambda n: -n.id):
        if not node.nan_gradient:
            continue
        later = [r for r in readers.get(node.id, ()) if r.gradient_norm is not None]
        if all(not r.nan_gradient for r in later):
            rules = later or [node]
            why = (
                f"the first gradient that is not finite comes out of its derivative rule, for its "
                f"input of shape {node.shape}"
            )
            return [(tuple(_where(r, notes) for r in rules), why, rules[0].line)]
    return []


def sick_rectifiers(notes: Notes) -> list[tuple[str, str, str]]:
    """ReLUs of which many channels are 0 for the whole batch."""
    out = []
    for node in notes.nodes:
        if node.dead is not None and node.dead >= _SHARE and node.shape and node.phase == "forward":
            channels = node.shape[1]
            why = f"{round(node.dead * channels)} of {channels} channels are 0 for the whole batch"
            out.append((_where(node, notes), why, node.line))
    return out
