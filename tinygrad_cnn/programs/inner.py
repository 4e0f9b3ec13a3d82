"""The graph that one call made: what lies between its arguments, or parameters, and its results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.backward import total_of, walk_part
from tinygrad_cnn.autograd.function import FunctionCtx
from tinygrad_cnn.autograd.graph import Packed
from tinygrad_cnn.autograd.node import Gradients, GraphNode, Leaf, Node, SavedValue
from tinygrad_cnn.autograd.op import Op
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.kernels.tape import do


class InnerGraph:
    """The nodes made since the time ``began`` from which ``ends`` follow.

    Gradients leave it along edges: from input ``i`` of a node to a node that was there before. They
    are numbered in the order in which a walk comes to them, and not summed, so that whoever takes
    them in this order adds what a walk through all nodes adds, in the same order.

    Attributes
    ----------
    parents, shapes, dtypes
        For each edge, where it leads; and of what the gradient is.
    first
        And the first edge that leads there.
    """

    def __init__(self, ends: Sequence[Node], began: int) -> None:
        self.ends, self.began = list(ends), began
        nodes: set[Node] = set(ends)
        stack = list(nodes)
        self.odd = ""  # why it cannot be walked as one
        while stack:
            for parent in stack.pop().parents:
                if parent is None or parent.time < began or parent in nodes:
                    continue
                if type(parent) is Leaf:
                    self.odd = "it makes a tensor that is to collect a gradient"
                    continue
                assert isinstance(parent, Node)
                nodes.add(parent)
                stack.append(parent)
        self.nodes = sorted(nodes, key=lambda node: -node.time)
        self.edges: dict[tuple[Node, int], int] = {}
        parents: list[GraphNode] = []
        for node in self.nodes:
            for i, parent in enumerate(node.parents):
                if parent is not None and parent.time < began:
                    self.edges[node, i] = len(parents)
                    parents.append(parent)
        self.parents = tuple(parents)
        firsts: dict[GraphNode, int] = {}
        self.first = [firsts.setdefault(parent, number) for number, parent in enumerate(parents)]
        self.shapes = tuple([node.shapes[i] for node, i in self.edges])
        self.dtypes = tuple([node.dtypes[i] for node, i in self.edges])
        for node in self.nodes:
            if node.hooks or node.post_hooks or node.retain is not None:
                self.odd = "a result inside of it has hooks, or is to keep its gradient"
            if any(isinstance(value, Packed) for _, value in _kept(node)):
                self.odd = "what is saved for the derivatives goes through hooks"

    def walk(
        self,
        gradients: Mapping[int, Any],
        wanted: Sequence[bool],
        keeps: bool,
        sums: bool,
    ) -> Gradients:
        """Those of the edges that are ``wanted``, from the gradients of ends by number.

        With ``sums`` all that lead to one node come as one, at the first of them: a walk that has
        come to none of these nodes before adds in the same order.
        """
        found: list[Any] = [None] * len(self.parents)
        mine: set[int] = set()

        def leave(node: Node, i: int, g: Any) -> None:
            edge = self.edges[node, i]
            first = self.first[edge] if sums else edge
            before = found[first]
            if before is None:
                found[first] = g
            elif first in mine:
                total = before._array
                do(kernels.add_, total, g._array, writes=(total,))
            else:
                found[first] = total_of(before, g)
                mine.add(first)

        roots: dict[GraphNode, Any] = {self.ends[i]: g for i, g in gradients.items()}
        walk_part(roots, self.began, self._useful(wanted), keeps, False, leave)
        return tuple(found)

    def _useful(self, wanted: Sequence[bool]) -> set[GraphNode] | None:
        """The nodes on the ways to what is wanted; None for all."""
        if all(wanted):
            return None
        useful: set[GraphNode] = {p for p, w in zip(self.parents, wanted, strict=True) if w}
        self.extend(useful)
        return useful

    def extend(self, useful: set[GraphNode]) -> None:
        """Add the nodes that lead to ``useful`` ones."""
        for node in reversed(self.nodes):
            if any(parent in useful for parent in node.parents):
                useful.add(node)

    def made_at(self, time: int) -> None:
        """Have the nodes be as old as if the first of them had been made at ``time``."""
        for later, node in enumerate(reversed(self.nodes)):
            node.time = time + later

    def saved(
        self, ends: Sequence[int], wanted: Sequence[bool]
    ) -> Iterator[tuple[SavedValue, str, str]]:
        """What a walk asks for, as it was saved; with the names of operations and arguments."""
        useful = self._useful(wanted)
        reached: set[GraphNode] = {self.ends[i] for i in ends}
        for node in self.nodes:
            if node not in reached or (useful is not None and node not in useful):
                continue
            goes = node.wanted
            if useful is not None:
                goes = tuple([p in useful for p in node.parents])
            reached.update(
                p for p, w in zip(node.parents, goes, strict=True) if p is not None and w
            )
            names = None
            if isinstance(node.op, Op) and not node.op.variadic:
                needs = node.op.needs(goes)
                names = {name for _, name in needs.kept} | ({"y"} if needs.output else set())
            for name, value in _kept(node):
                if isinstance(value, SavedValue) and (names is None or name in names):
                    yield value, node.op.name, name


def _kept(node: Node) -> Iterator[tuple[str, Any]]:
    """What a node keeps for its rules, by the name that errors give it."""
    for name, value in (node.saved or {}).items():
        if isinstance(value, FunctionCtx):
            for part, _ in value._saved or ():
                yield "a saved tensor", part
        elif isinstance(value, list):
            for part in value:
                yield name, part
        else:
            yield name, value


def tensors_in(value: Any) -> Iterator[Variable]:
    """The tensors of a result, in the order in which it is described."""
    from tinygrad_cnn.programs.results import built_of

    if isinstance(value, Variable):
        yield value
        return
    built = built_of(value)
    for part in () if built is None else built[1]:
        yield from tensors_in(part)
