"""`Difference`: what one graph has, lacks or has otherwise than another."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from typing import Any

from tinygrad_cnn.amounts import amount, byte_size
from tinygrad_cnn.viz.graph.data import Graph
from tinygrad_cnn.viz.graph.records import Edge, ModuleCall, Node
from tinygrad_cnn.viz.graph.text import FIGURES, shape_text

_FACTOR = 1.5
"""A measured figure counts as changed from this factor on."""


@dataclass(frozen=True)
class Change:
    """One entry: ``kind`` is ``added``, ``removed`` or ``changed``; ``details`` says from what to

    what, ``what`` names the operation and its module.
    """

    kind: str
    what: str
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        sign = {"added": "+", "removed": "-", "changed": "~"}[self.kind]
        rest = f": {'; '.join(self.details)}" if self.details else ""
        return f"{sign} {self.what}{rest}"


@dataclass
class Difference:
    """What changed from one graph to another. `str` lists it, `render` draws it.

    Attributes
    ----------
    changes
        Entries in the order of the graphs.
    union
        Both graphs in one, each node marked.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> a = tg.viz.trace(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), (1, 4))
    >>> b = tg.viz.trace(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Softmax(1)), (1, 4))
    >>> print(a.diff(b))
    ~ parameter 0.weight: shape 8×4 → 6×4
    ~ parameter 0.bias: shape 8 → 6
    ~ linear in 0: result 1×8 → 1×6
    ~ relu in 1: result 1×8 → 1×6
    + softmax in 2
    operations 2 → 3, parameters 40 → 30, FLOPs 72 → 78, kept for backward 32 B → 48 B
    """

    changes: list[Change] = field(default_factory=list)
    union: Graph = field(default_factory=Graph)
    totals: str = ""

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __str__(self) -> str:
        lines = [str(c) for c in self.changes] or ["no difference"]
        return "\n".join([*lines, self.totals] if self.changes else lines)

    def to_dot(self, **options: Any) -> str:
        """The drawing: added green, removed red, changed amber. Options as `Graph.render`."""
        return self.union.to_dot(**{"repeats": False, **options})

    def render(self, path: str | os.PathLike[str], **options: Any) -> str:
        """Draw into a file; options as `Graph.render`."""
        return self.union.render(path, **{"repeats": False, **options})

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {**self.union._repr_mimebundle_(), "text/plain": str(self)}


def compare(old: Graph, new: Graph) -> Difference:
    """The difference: nodes are matched by module path and name, in their order."""
    pairs, removed, added = _matched(old, new)
    held = [_held(graph) for graph in (old, new)]
    found: list[tuple[float, Change]] = []
    notes: dict[int, tuple[str, ...]] = {}
    for a, b in pairs:
        details = _details(old.nodes[a], new.nodes[b])
        if new.nodes[b].kind == "operation":
            details += _parameters_changed(held[0].get(a, []), held[1].get(b, []))
        if details:
            notes[b] = details
            found.append((float(b), Change("changed", _what(new, new.nodes[b]), details)))
    for edge in new.edges:  # drawn in the operations that read them
        source = new.nodes[edge.source]
        if source.kind in ("parameter", "buffer") and source.id in notes:
            word = source.name.rpartition(".")[2]
            more = tuple(f"{word} {text.removeprefix('shape ')}" for text in notes[source.id])
            notes[edge.target] = notes.get(edge.target, ()) + more
    after = _places(pairs, removed)
    found += [(after[a], Change("removed", _what(old, old.nodes[a]))) for a in removed]
    found += [(float(b), Change("added", _what(new, new.nodes[b]))) for b in added]
    changes = [c for _, c in sorted(found, key=lambda f: f[0])]
    changes = [c for c in changes if not _implied(c)]
    union = _union(old, new, pairs, removed, added, notes, after)
    return Difference(changes, union, _totals(old, new))


def _implied(change: Change) -> bool:
    """Parameters come and go with their operations; only changes of theirs are told."""
    return (
        change.kind != "changed"
        and change.what.split()[0] != "operation"
        and (change.what.startswith(("parameter ", "buffer ", "constant", "input", "gradient")))
    )


def _key(graph: Graph, node: Node) -> tuple[str, ...]:
    return node.phase, node.kind, graph.path(node), node.name


def _matched(old: Graph, new: Graph) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Pairs of nodes that correspond, and those that have no partner."""
    a = [_key(old, n) for n in old.nodes]
    b = [_key(new, n) for n in new.nodes]
    pairs: list[tuple[int, int]] = []
    for i, j, size in SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks():
        pairs += [(i + k, j + k) for k in range(size)]
    with_a, with_b = {i for i, _ in pairs}, {j for _, j in pairs}
    removed = [i for i in range(len(a)) if i not in with_a]
    added = [j for j in range(len(b)) if j not in with_b]
    return pairs, removed, added


def _places(pairs: list[tuple[int, int]], removed: list[int]) -> dict[int, float]:
    """For each removed node where it would stand among the new ones."""
    partner = dict(pairs)
    out: dict[int, float] = {}
    last = -1.0
    gone = set(removed)
    for a in range(max([*partner, *removed], default=-1) + 1):
        if a in gone:
            last += 1e-6
            out[a] = last
        elif a in partner:
            last = float(partner[a])
    return out


def _what(graph: Graph, node: Node) -> str:
    if node.kind != "operation":
        return f"{node.kind} {node.name}".strip()
    path = graph.path(node)
    return f"{node.name} in {path}" if path else node.name


def _details(a: Node, b: Node) -> tuple[str, ...]:
    out = []
    if a.shape != b.shape:
        noun = "result" if a.kind == "operation" else "shape"
        out.append(f"{noun} {shape_text(a.shape)} → {shape_text(b.shape)}")
    if a.dtype != b.dtype:
        out.append(f"dtype {a.dtype} → {b.dtype}")
    for name in dict.fromkeys([*a.params, *b.params]):
        if name == "shape":
            continue  # it is the result's
        before, now = a.params.get(name, "default"), b.params.get(name, "default")
        if before != now:
            out.append(f"{name.replace('_', ' ')} {before} → {now}")
    if a.cut != b.cut:
        out.append(f"gradient {a.cut or 'passes'} → {b.cut or 'passes'}")
    if (a.nan or a.inf) != (b.nan or b.inf) and None not in (a.nan, b.nan):
        out.append(f"finite {not (a.nan or a.inf)} → {not (b.nan or b.inf)}")
    for name, (called, write) in FIGURES.items():
        before, now = getattr(a, name), getattr(b, name)
        if before is not None and now is not None and _differs(before, now):
            out.append(f"{called} {write(before)} → {write(now)}")
    return tuple(out)


def _held(graph: Graph) -> dict[int, list[str]]:
    """The parameters that each node reads, by the last part of their names."""
    out: dict[int, list[str]] = {}
    for edge in graph.edges:
        node = graph.nodes[edge.source]
        if node.kind == "parameter":
            out.setdefault(edge.target, []).append(node.name.rpartition(".")[2])
    return out


def _parameters_changed(old: list[str], new: list[str]) -> tuple[str, ...]:
    lost = [f"no {name} any more" for name in old if name not in new]
    return (*lost, *(f"now with {name}" for name in new if name not in old))


def _differs(a: float, b: float) -> bool:
    if not (math.isfinite(a) and math.isfinite(b)):
        return math.isfinite(a) != math.isfinite(b)
    low, high = sorted((abs(a), abs(b)))
    return high > 0 and (low == 0 or high / low >= _FACTOR)


def _totals(old: Graph, new: Graph) -> str:
    def pair(noun: str, a: int, b: int, write: Callable[[int], str]) -> str:
        return f"{noun} {write(a)} → {write(b)}" if a != b else f"{noun} {write(a)}"

    counts = [sum(1 for _ in g.operations()) for g in (old, new)]
    return ", ".join(
        [
            pair("operations", counts[0], counts[1], lambda v: f"{v:,}"),
            pair("parameters", old.parameter_total(), new.parameter_total(), lambda v: f"{v:,}"),
            pair("FLOPs", old.total("flops"), new.total("flops"), amount),
            pair("kept for backward", old.total("kept_bytes"), new.total("kept_bytes"), byte_size),
        ]
    )


def _union(
    old: Graph,
    new: Graph,
    pairs: list[tuple[int, int]],
    removed: list[int],
    added: list[int],
    notes: dict[int, tuple[str, ...]],
    after: dict[int, float],
) -> Graph:
    """Both graphs in one: the new one, and what was removed at its old place."""
    calls = list(new.calls)
    call_of = _calls(old, new, calls, removed)
    order: list[tuple[float, int, Node]] = []
    for node in new.nodes:
        change = "added" if node.id in set(added) else "changed" if node.id in notes else ""
        made = replace(node, change=change, note=notes.get(node.id, ()))
        order.append((float(node.id), 0, made))
    for a in removed:
        node = old.nodes[a]
        call = None if node.call is None else call_of[node.call]
        order.append((after[a], 1, replace(node, change="removed", call=call)))
    order.sort(key=lambda entry: (entry[0], entry[1]))
    place: dict[tuple[int, int], int] = {}
    nodes = []
    for i, (_, whose, node) in enumerate(order):
        place[whose, node.id] = i
        nodes.append(replace(node, id=i))
    partner = dict(pairs)

    def old_place(a: int) -> int:
        return place[0, partner[a]] if a in partner else place[1, a]

    edges = [replace(e, source=place[0, e.source], target=place[0, e.target]) for e in new.edges]
    gone = set(removed)
    for e in old.edges:
        if e.source in gone or e.target in gone:
            edges.append(Edge(old_place(e.source), old_place(e.target), e.slot, e.shape, e.dtype))
    outputs = [place[0, i] for i in new.outputs]
    title = " and ".join(dict.fromkeys(t for t in (old.title, new.title) if t))
    return Graph(nodes, edges, calls, outputs, title)


def _calls(old: Graph, new: Graph, calls: list[ModuleCall], removed: list[int]) -> dict[int, int]:
    """For the old module calls those of the union; calls that are gone are put into ``calls``."""
    known = {(c.path, c.kind, c.number, c.phase): c.id for c in new.calls}
    needed: set[int] = set()
    for a in removed:
        needed.update(old.chain(old.nodes[a].call))
    out: dict[int, int] = {}
    for c in sorted(needed):
        it = old.calls[c]
        same = known.get((it.path, it.kind, it.number, it.phase))
        if same is None:
            same = len(calls)
            parent = None if it.parent is None else out[it.parent]
            calls.append(replace(it, id=same, parent=parent))
        out[c] = same
    return out
