"""From a `Graph` to what is drawn: boxes for modules, folded modules, repeated ones once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tinygrad_cnn.viz.graph.data import Graph
from tinygrad_cnn.viz.graph.records import Edge, Node, Shape

_ATTACHED = {"parameter", "buffer", "gradient"}


@dataclass(slots=True)
class Item:
    """What is drawn as one node: an operation, a tensor, or a folded module.

    ``members`` are the nodes that it stands for (those of repeated modules included), ``call`` the
    module call that it shows (None for a bare operation), ``attached`` the parameters shown in it.
    """

    key: str
    members: list[int]
    call: int | None = None
    folded: bool = False
    box: int | None = None
    count: int = 1
    attached: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Box:
    """A module call drawn as a frame around its items; ``count`` equal ones follow one another."""

    call: int
    parent: int | None
    members: list[int]
    count: int = 1


@dataclass(slots=True)
class Link:
    """An edge between two items (places in `Drawing.items`)."""

    source: int
    target: int
    shape: Shape | None
    dtype: str | None
    backward: bool = False


@dataclass(slots=True)
class Drawing:
    """Items in the order in which they ran, the boxes around them by call, and the links."""

    graph: Graph
    items: list[Item] = field(default_factory=list)
    boxes: dict[int, Box] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)

    def around(self, box: int | None) -> list[int]:
        """``box`` and the boxes around it, the outermost first."""
        found = []
        while box is not None:
            found.append(box)
            box = self.boxes[box].parent
        return found[::-1]

    def total(self, members: Iterable[int], name: str) -> Any:
        """The sum of a figure over some nodes; None if none of them knows it."""
        known = [v for i in members if (v := getattr(self.graph.nodes[i], name)) is not None]
        return sum(known) if known else None


def fold(
    graph: Graph, depth: int | None = None, repeats: bool = True, parameters: bool = False
) -> Drawing:
    """What to draw of ``graph``; the arguments are those of `Graph.render`."""
    return _Folding(graph, depth, repeats, parameters).drawing()


class _Folding:
    def __init__(self, graph: Graph, depth: int | None, repeats: bool, parameters: bool) -> None:
        self.graph, self.depth = graph, depth
        self.readers: dict[int, list[Edge]] = defaultdict(list)
        self.sources: dict[int, list[Edge]] = defaultdict(list)
        for edge in graph.edges:
            self.readers[edge.source].append(edge)
            self.sources[edge.target].append(edge)
        self.attached = set() if parameters else self._attachments()
        self.shown = self._shown_calls()
        self.chains = {c.id: self._chain(c.id) for c in graph.calls}
        self.place = {n.id: self._place(n) for n in graph.nodes}
        self.inside: dict[int, list[int]] = defaultdict(list)  # the nodes in each call
        self.operations: dict[int, int] = defaultdict(int)  # how many of them are operations
        for node in graph.nodes:
            if node.id not in self.attached:
                for call in self._chain_of(node.id):
                    self.inside[call].append(node.id)
                    self.operations[call] += node.kind == "operation"
        self.same_as: dict[int, int] = {}  # a node of a repeated module: the one drawn
        self.copies: dict[int, list[int]] = {}  # the first of equal modules: all of them
        if repeats:
            self._find_repeats()

    def _attachments(self) -> set[int]:
        """The parameters, buffers and gradients that are shown in the operations they belong to."""
        ends = set(self.graph.outputs)
        return {
            n.id
            for n in self.graph.nodes
            if n.kind in _ATTACHED
            and (n.kind == "gradient" or n.id not in ends)
            and (self.readers[n.id] or self.sources[n.id])
        }

    def _shown_calls(self) -> set[int]:
        """All calls but that of the whole model, if there is one (a forward and a backward)."""
        hidden: set[int] = set()
        for phase in ("forward", "backward"):
            roots = [c.id for c in self.graph.calls if c.parent is None and c.phase == phase]
            named = [i for i in roots if not self.graph.calls[i].path]
            if len(named) == 1 and self.depth != 0:
                hidden.update(named)
        return {c.id for c in self.graph.calls} - hidden

    def _chain(self, call: int) -> list[int]:
        """The calls around ``call`` that are drawn, cut at the one that is folded."""
        chain = [c for c in self.graph.chain(call) if c in self.shown]
        if self.depth is None:
            return chain
        return chain[: max(self.depth, 1)]

    def _chain_of(self, node: int) -> list[int]:
        call = self.place[node]
        return [] if call is None else self.chains[call]

    def _place(self, node: Node) -> int | None:
        """The call in which a node is drawn: a constant's is its reader's."""
        if node.kind in ("operation", "input"):
            return node.call
        edges = self.readers[node.id]
        if edges:
            return self.graph.nodes[edges[0].target].call
        edges = self.sources[node.id]
        return self.graph.nodes[edges[0].source].call if edges else None

    # ---- repeated modules ------------------------------------------------------------------

    def _find_repeats(self) -> None:
        families: dict[tuple[int | None, str], list[int]] = defaultdict(list)
        for call in self.graph.calls:
            if call.id in self.inside:
                families[call.parent, call.phase].append(call.id)
        gone: set[int] = set()
        for (parent, _), siblings in sorted(families.items(), key=lambda f: f[1][0]):
            if parent in gone:
                gone.update(siblings)
                continue
            siblings.sort(key=lambda c: self.inside[c][0])
            run = [siblings[0]]
            signature = None
            for before, after in pairwise(siblings):
                if self._alike(before, after) and self._joined(before, after):
                    signature = signature or self._signature(run[0])
                    if self._signature(after) == signature:
                        run.append(after)
                        continue
                gone.update(self._merge(run))
                run, signature = [after], None
            gone.update(self._merge(run))

    def _alike(self, a: int, b: int) -> bool:
        x, y = self.graph.calls[a], self.graph.calls[b]
        return x.kind == y.kind and len(self.inside[a]) == len(self.inside[b])

    def _joined(self, a: int, b: int) -> bool:
        """Whether what ``a`` computes goes to ``b`` only, and ``b`` reads nothing else."""
        mine, theirs = set(self.inside[a]), set(self.inside[b])
        out = {e.target for i in mine for e in self.readers[i]} - mine - self.attached
        read = {e.source for i in theirs for e in self.sources[i]} - theirs - self.attached
        return bool(out) and out <= theirs and read <= mine and not mine & set(self.graph.outputs)

    def _signature(self, call: int) -> tuple[object, ...]:
        """Equal for calls that do the same to tensors of the same shapes."""
        nodes = self.graph.nodes
        members = self.inside[call]
        at = {node: i for i, node in enumerate(members)}
        outside = self.graph.calls[call].path
        parts = []
        for i in members:
            node = nodes[i]
            read = tuple(
                (e.slot, at.get(e.source, nodes[e.source].kind in _ATTACHED), e.shape, e.dtype)
                for e in self.sources[i]
            )
            within = "" if node.call is None else self._path(node.call).removeprefix(outside)
            params = tuple(node.params.items())
            parts.append((node.kind, node.name, params, node.shape, node.dtype, within, read))
        return tuple(parts)

    def _path(self, call: int) -> str:
        return self.graph.calls[call].path

    def _merge(self, run: list[int]) -> list[int]:
        """Draw only the first of equal calls; returns the others."""
        if len(run) < 2:
            return []
        first = self.inside[run[0]]
        self.copies[run[0]] = [i for call in run for i in self.inside[call]]
        for call in run[1:]:
            self.same_as.update(zip(self.inside[call], first, strict=True))
        return run[1:]

    # ---- the drawing -----------------------------------------------------------------------

    def drawing(self) -> Drawing:
        out = Drawing(self.graph)
        item_of: dict[int, int] = {}
        folded: dict[int, int] = {}  # by call
        for node in self.graph.nodes:
            if node.id in self.attached or node.id in self.same_as:
                continue
            chain = self._chain_of(node.id)
            whole = self._folded_call(node, chain)
            if whole is not None and whole in folded:
                item_of[node.id] = folded[whole]
                continue
            boxes = [c for c in chain if c != whole and not self._is_layer(c)]
            for outer, call in zip([None, *boxes], boxes, strict=False):
                if call not in out.boxes:
                    copies = self.copies.get(call, self.inside[call])
                    count = len(copies) // len(self.inside[call])
                    out.boxes[call] = Box(call, outer, copies, count)
            box = boxes[-1] if boxes else None
            item = Item(f"n{node.id}", [node.id], box=box)
            if whole is not None:
                members = self.copies.get(whole, self.inside[whole])
                if self._is_layer(whole):  # the operation before its constants
                    kinds = {i: self.graph.nodes[i].kind for i in members}
                    members = sorted(members, key=lambda i: kinds[i] != "operation")
                    if not self._is_folded(chain):
                        members = [i for i in members if kinds[i] not in _ATTACHED]
                item = Item(f"c{whole}", members, whole, self.operations[whole] > 1, box)
                item.count = len(self.copies.get(whole, ())) // len(self.inside[whole]) or 1
                folded[whole] = len(out.items)
            item_of[node.id] = len(out.items)
            out.items.append(item)
        for copy, original in self.same_as.items():
            item_of[copy] = item_of[original]
        self._attach(out, item_of)
        self._link(out, item_of)
        return out

    def _folded_call(self, node: Node, chain: list[int]) -> int | None:
        """The call that is drawn as one node with ``node`` in it."""
        if not chain:
            return None
        if self._is_folded(chain):
            return chain[-1]
        if self._is_layer(chain[-1]) and node.kind not in _ATTACHED:
            return chain[-1]
        return None

    def _is_folded(self, chain: list[int]) -> bool:
        return self.depth is not None and len(chain) == max(self.depth, 1)

    def _is_layer(self, call: int) -> bool:
        """Whether a call is one node in any case: of one operation, or of the framework's own."""
        return self.operations[call] == 1 or self.graph.calls[call].layer

    def _attach(self, out: Drawing, item_of: dict[int, int]) -> None:
        for i in sorted(self.attached):
            near = {e.target for e in self.readers[i]} | {e.source for e in self.sources[i]}
            for other in sorted(near - self.attached):
                if other not in self.same_as and i not in out.items[item_of[other]].attached:
                    out.items[item_of[other]].attached.append(i)

    def _link(self, out: Drawing, item_of: dict[int, int]) -> None:
        seen: set[tuple[int, int, int]] = set()
        for e in self.graph.edges:
            if e.source in self.attached or e.target in self.attached or e.target in self.same_as:
                continue
            source, target = item_of[e.source], item_of[e.target]
            made = self.same_as.get(e.source, e.source)
            if source == target or (made, source, target) in seen:
                continue
            seen.add((made, source, target))
            late = self.graph.nodes[e.target].phase == "backward"
            out.links.append(Link(source, target, e.shape, e.dtype, late))
