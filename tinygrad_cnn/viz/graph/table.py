"""`summary`: the table of layers that people expect."""

from __future__ import annotations

from dataclasses import dataclass, field

from tinygrad_cnn.amounts import amount, byte_size
from tinygrad_cnn.instrument.pages import document
from tinygrad_cnn.instrument.tables import aligned, html_table
from tinygrad_cnn.nn import Module
from tinygrad_cnn.viz.graph.data import Graph
from tinygrad_cnn.viz.graph.quoting import html_escaped
from tinygrad_cnn.viz.graph.records import Shape, numel
from tinygrad_cnn.viz.graph.text import shape_text
from tinygrad_cnn.viz.graph.tracing import trace

_HEAD = ("layer", "class", "output", "parameters", "FLOPs", "kept")
_LEFT = 3  # columns of words


@dataclass
class Layer:
    """A row: a module call, or an operation that runs in no module of its own.

    ``level`` is how deep it lies, ``parameters`` those of its operations that no row above it
    counted already; ``kept_bytes`` is what the backward pass keeps.
    """

    name: str
    kind: str
    level: int
    shape: Shape | None
    parameters: int
    flops: int
    kept_bytes: int
    operations: int


@dataclass
class Summary:
    """Layers and totals. `str` writes the table as text, a notebook shows it as HTML.

    Attributes
    ----------
    layers
        Rows, in the order in which they ran.
    parameters, trainable, flops, kept_bytes
        Totals: elements of all parameters of the model, of those that want a gradient,
        floating-point operations, and bytes kept for the backward pass.
    unused
        Names of parameters that the forward pass did not read.
    """

    title: str
    layers: list[Layer] = field(default_factory=list)
    parameters: int = 0
    trainable: int = 0
    flops: int = 0
    kept_bytes: int = 0
    parameter_bytes: int = 0
    unused: list[str] = field(default_factory=list)

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                "  " * layer.level + layer.name,
                layer.kind,
                shape_text(layer.shape),
                f"{layer.parameters:,}" if layer.parameters else "",
                amount(layer.flops) if layer.flops else "",
                byte_size(layer.kept_bytes) if layer.kept_bytes else "",
            )
            for layer in self.layers
        ]

    def _totals(self) -> list[tuple[str, str]]:
        fixed = self.parameters - self.trainable
        out = [
            ("parameters", f"{self.parameters:,} ({byte_size(self.parameter_bytes)})"),
            ("FLOPs forward", amount(self.flops)),
            ("kept for backward", byte_size(self.kept_bytes)),
        ]
        if fixed:
            out.insert(1, ("of these frozen", f"{fixed:,}"))
        if self.unused:
            out.append(("not read", ", ".join(self.unused)))
        return out

    def __str__(self) -> str:
        lines = aligned([_HEAD, *self._rows()], _LEFT)
        rule = "─" * max(map(len, lines))
        totals = [f"{name}: {value}" for name, value in self._totals()]
        return "\n".join([self.title, rule, lines[0], rule, *lines[1:], rule, *totals])

    __repr__ = __str__

    def to_html(self) -> str:
        """The table as HTML, to be put into a page."""
        totals = "".join(
            f"<dt>{html_escaped(name)}</dt><dd>{html_escaped(value)}</dd>"
            for name, value in self._totals()
        )
        table = html_table(_HEAD, self._rows(), _LEFT, caption=self.title)
        return f"{table}<dl>{totals}</dl>"

    def to_page(self) -> str:
        """The table as an HTML page of its own."""
        return document(self.title, f'<section class="scroll">{self.to_html()}</section>')

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self.to_html()}


def summary(model: Module, *inputs: object, depth: int | None = None) -> Summary:
    """The layers of ``model`` with output shapes, parameters, FLOPs and memory.

    The model is run once on ``inputs`` and left as it was; see `trace`, which also says what may
    be given. A module that is called twice has two rows, and its parameters count in the first.

    Parameters
    ----------
    depth
        Show modules only down to this level; 1 shows the model's own children.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
    >>> print(tg.viz.summary(model, (1, 3, 8, 8)))
    Sequential, input 1×3×8×8
    ───────────────────────────────────────────────────
    layer  class    output   parameters  FLOPs     kept
    ───────────────────────────────────────────────────
    0      Conv2d   1×8×6×6         224  15.6k
    1      ReLU     1×8×6×6                288  1.15 kB
    2      Flatten  1×288
    3      Linear   1×10          2,890  5.76k
    ───────────────────────────────────────────────────
    parameters: 3,114 (12.5 kB)
    FLOPs forward: 21.6k
    kept for backward: 1.15 kB
    """
    graph = trace(model, *inputs)
    shown = [shape_text(n.shape) for n in graph.nodes if n.kind == "input"]
    out = Summary(f"{graph.title}, input {', '.join(shown)}" if shown else graph.title)
    out.layers = _layers(graph, depth)
    held = list(model.named_parameters())
    out.parameters = sum(numel(p.shape) for _, p in held)
    out.trainable = sum(numel(p.shape) for _, p in held if p.requires_grad)
    out.parameter_bytes = sum(numel(p.shape) * p.dtype.itemsize for _, p in held)
    out.flops, out.kept_bytes = graph.total("flops"), graph.total("kept_bytes")
    read = {n.name for n in graph.nodes if n.kind == "parameter"}
    out.unused = [name for name, _ in held if name not in read]
    return out


def _layers(graph: Graph, depth: int | None) -> list[Layer]:
    """Rows of calls, parents first, and of operations that stand beside modules."""
    layers: list[Layer] = []
    row_of: dict[int, Layer] = {}
    has_calls = {c.parent for c in graph.calls}
    for node in graph.operations():
        chain = graph.chain(node.call)
        if chain and not graph.calls[chain[0]].path:
            chain = chain[1:]  # the model itself is the whole table
        bare = not chain or (chain[-1] in has_calls)
        visible = chain if depth is None else chain[:depth]
        for level, call in enumerate(visible):
            if call not in row_of:
                it = graph.calls[call]
                row_of[call] = Layer(it.label, it.kind, level, None, 0, 0, 0, 0)
                layers.append(row_of[call])
        rows = [row_of[c] for c in visible]
        if bare and (depth is None or len(visible) < depth):
            rows.append(Layer(node.name, "", len(visible), None, 0, 0, 0, 0))
            layers.append(rows[-1])
        for row in rows:
            row.shape = node.shape
            row.parameters += node.parameter_count
            row.flops += node.flops or 0
            row.kept_bytes += node.kept_bytes or 0
            row.operations += 1
    return layers
