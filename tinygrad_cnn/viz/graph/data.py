"""`Graph`: what was computed, as plain data. It holds no tensor and no node of the engine."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tinygrad_cnn.viz.graph.records import Edge, ModuleCall, Node, numel

if TYPE_CHECKING:
    from tinygrad_cnn.viz.graph.difference import Difference


Record = dict[str, Any]


@dataclass(slots=True)
class Graph:
    """Nodes, edges and module calls. Made by `trace`; see `Node`, `Edge` and `ModuleCall`.

    ``outputs`` are the ids of the nodes whose results were asked for, ``title`` names the whole.

    >>> import tinygrad_cnn as tg
    >>> x = tg.tensor(2.0, requires_grad=True)
    >>> graph = tg.viz.trace(x * x + 1)
    >>> [(node.kind, node.name) for node in graph.nodes]
    [('input', 'leaf'), ('operation', 'mul'), ('operation', 'add')]
    >>> [(edge.source, edge.target, edge.slot) for edge in graph.edges]
    [(0, 1, 0), (0, 1, 1), (1, 2, 0)]
    """

    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    calls: list[ModuleCall] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    title: str = ""

    # ---- questions -------------------------------------------------------------------------

    def operations(self) -> Iterator[Node]:
        """The nodes that are operations, in the order in which they ran."""
        return (node for node in self.nodes if node.kind == "operation")

    def chain(self, call: int | None) -> list[int]:
        """``call`` and the calls around it, the outermost first."""
        found = []
        while call is not None:
            found.append(call)
            call = self.calls[call].parent
        return found[::-1]

    def path(self, node: Node) -> str:
        """The path of the module a node ran in; ``""`` at the top."""
        return "" if node.call is None else self.calls[node.call].path

    def total(self, name: str) -> Any:
        """The sum of a figure, such as ``"flops"``, over the nodes that know it."""
        known = [value for node in self.nodes if (value := getattr(node, name)) is not None]
        return sum(known)

    def parameter_total(self) -> int:
        """Elements of all parameters that are read, each counted once."""
        return sum(numel(node.shape) for node in self.nodes if node.kind == "parameter")

    def __repr__(self) -> str:
        count = sum(1 for _ in self.operations())
        called = f" of {self.title}" if self.title else ""
        return (
            f"<Graph{called}: {count:,} operations, {len(self.calls):,} module calls, "
            f"{self.parameter_total():,} parameters>"
        )

    # ---- other forms -----------------------------------------------------------------------

    def select(self, wanted: Callable[[Node], bool]) -> Graph:
        """The part of the graph whose nodes are ``wanted``, with new ids."""
        new = {n.id: i for i, n in enumerate(n for n in self.nodes if wanted(n))}
        used: set[int] = set()
        for node in self.nodes:
            if node.id in new:
                used.update(self.chain(node.call))
        calls = {c: i for i, c in enumerate(sorted(used))}
        return Graph(
            [
                replace(n, id=new[n.id], call=None if n.call is None else calls[n.call])
                for n in self.nodes
                if n.id in new
            ],
            [
                replace(e, source=new[e.source], target=new[e.target])
                for e in self.edges
                if e.source in new and e.target in new
            ],
            [
                replace(
                    self.calls[c],
                    id=i,
                    parent=None if (p := self.calls[c].parent) is None else calls[p],
                )
                for c, i in calls.items()
            ],
            [new[i] for i in self.outputs if i in new],
            self.title,
        )

    def backward(self) -> Graph:
        """The graph of the backward pass: each recorded operation's derivative rule, reversed.

        An edge is the gradient of the tensor that the forward edge carried; where a parameter or
        an input wants one, it ends in a node of kind ``gradient``.
        """
        from tinygrad_cnn.viz.graph.reverse import reversed_graph

        return reversed_graph(self)

    def to_json(self, indent: int | None = None) -> str:
        """The graph as JSON; `from_json` reads it."""
        return json.dumps(asdict(self), indent=indent)

    @classmethod
    def from_json(cls, text: str) -> Graph:
        """The graph that `to_json` wrote."""
        data = json.loads(text)

        def shaped(record: Record) -> Record:
            shape = record.get("shape")
            return {**record, "shape": None if shape is None else tuple(shape)}

        nodes = [Node(**{**shaped(n), "note": tuple(n["note"])}) for n in data["nodes"]]
        edges = [Edge(**shaped(e)) for e in data["edges"]]
        calls = [ModuleCall(**c) for c in data["calls"]]
        return cls(nodes, edges, calls, data["outputs"], data["title"])

    def to_dot(self, **options: Any) -> str:
        """The drawing in Graphviz's language; ``options`` are those of `render`."""
        from tinygrad_cnn.viz.graph.render import Options

        return Options(**options).dot(self)

    def to_mermaid(self, **options: Any) -> str:
        """The drawing as a Mermaid flowchart, which Markdown on GitHub shows.

        Takes ``depth``, ``repeats`` and ``parameters`` as `render`.
        """
        from tinygrad_cnn.viz.graph.mermaid import to_mermaid
        from tinygrad_cnn.viz.graph.render import Options

        return to_mermaid(self, Options(**options))

    def render(self, path: str | os.PathLike[str], **options: Any) -> str:
        """Draw into ``path``: ``.svg``, ``.png``, ``.pdf``, ``.dot`` or ``.html``.

        Parameters
        ----------
        depth
            Fold every module that lies deeper than so many levels below the model into one node
            with its totals; None unfolds all.
        repeats
            Draw equal modules that follow one another once, with their number.
        parameters
            Draw parameters as nodes of their own, not as lines of the operations that read them.
        color
            What the colour of an operation says: ``kind``, ``time``, ``backward``, ``memory``,
            ``flops``, ``gradient`` or ``zeros``.
        theme
            ``light`` or ``dark``. Without, pictures are light, and a page is as the system.
        columns
            Wrap a long graph into so many columns; None chooses.

        Returns
        -------
        str
            The path of the file that was written. ``.svg``, ``.png`` and ``.pdf`` are made by
            Graphviz's program ``dot``; without it this is ``path`` with the ending ``.dot``, and a
            warning says how to install it.

        Raises
        ------
        ValueError
            An option or the ending is not one of those above.
        """
        from tinygrad_cnn.viz.graph.render import Options, render

        return render(self, path, Options(**options))

    def diff(self, other: Graph) -> Difference:
        """What ``other`` has, lacks or has otherwise; see `Difference`."""
        from tinygrad_cnn.viz.graph.difference import compare

        return compare(self, other)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """What Jupyter shows: the drawing, or the text without Graphviz."""
        from tinygrad_cnn.viz.graph.render import notebook

        return notebook(self)
