"""`Node`, `Edge` and `ModuleCall`: what a `Graph` is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

Shape = tuple[int, ...]


def numel(shape: Shape | None) -> int:
    """How many elements a shape has; 0 for an unknown one."""
    return 0 if shape is None else math.prod(shape)


@dataclass(slots=True)
class Node:
    """An operation, or a tensor that no operation of the graph made.

    Attributes
    ----------
    id
        Its place in `Graph.nodes`; inputs stand before what is made from them.
    kind
        ``operation``, ``parameter``, ``buffer``, ``input``, ``constant``; in a backward graph also
        ``gradient`` (of a parameter) and ``result`` (the gradient of an input).
    name
        The operation's name, or the tensor's: ``features.0.weight``.
    call
        The innermost module call it ran in (a place in `Graph.calls`), or None.
    phase
        ``forward`` or, for what the derivative rules computed, ``backward``.
    shape, dtype
        Of the result; None where the result is several tensors.
    params
        The operation's parameters that differ from its defaults, as text.
    parameter_count
        Elements of the parameters it reads, each counted at its first reader.
    flops
        Floating-point operations; see `flops`. None if unknown.
    kept_bytes
        What the backward pass keeps alive for it beyond parameters and the user's inputs, each
        array counted where it is first kept; None if unknown.
    recorded
        Whether a gradient can flow back through it.
    cut
        Why not, if something it was made from wants a gradient: ``no_grad``, ``detach`` or
        ``integer``. Empty otherwise.
    line
        Where it was called from: ``file.py:12 in forward``. Empty if unknown.
    fused
        What it ran together with, if the engine fused it; None if it ran alone.
    forward_seconds, backward_seconds
        Measured on request, else None.
    gradient_norm
        Euclidean norm of the gradient of its result, measured on request.
    norm, zeros, dead
        Of the result, measured on request: its Euclidean norm, its fraction of zeros, and its
        fraction of channels (axis 1) that are 0 for every sample.
    silent
        Of a product with a bias: the fraction of channels whose bias is so negative that no input
        as large as the largest of the batch can make them positive, measured on request.
    nan, inf
        Whether the result holds such values, measured on request.
    nan_gradient
        Whether the gradient of its result holds NaN or Inf, measured on request.
    change
        In a drawn difference: ``added``, ``removed``, ``changed`` or empty.
    note
        More lines to show under it.
    """

    id: int
    kind: str
    name: str
    call: int | None = None
    phase: str = "forward"
    shape: Shape | None = None
    dtype: str | None = None
    params: dict[str, str] = field(default_factory=dict)
    parameter_count: int = 0
    flops: int | None = None
    kept_bytes: int | None = None
    recorded: bool = False
    cut: str = ""
    line: str = ""
    fused: str | None = None
    forward_seconds: float | None = None
    backward_seconds: float | None = None
    gradient_norm: float | None = None
    norm: float | None = None
    zeros: float | None = None
    dead: float | None = None
    silent: float | None = None
    nan: bool | None = None
    inf: bool | None = None
    nan_gradient: bool | None = None
    change: str = ""
    note: tuple[str, ...] = ()


@dataclass(slots=True)
class Edge:
    """A tensor on its way from the node that made it (``source``) to one that reads it.

    ``slot`` says as which argument. ``shape`` and ``dtype`` are the tensor's.
    """

    source: int
    target: int
    slot: int = 0
    shape: Shape | None = None
    dtype: str | None = None


@dataclass(slots=True)
class ModuleCall:
    """One call of a Module: a box of the drawing.

    Attributes
    ----------
    id
        Its place in `Graph.calls`; the callers stand before the called.
    path
        The module's path, ``""`` for the model itself.
    kind
        Its class.
    number
        1 for the first call of this module, 2 for the second.
    parent
        The call it ran in, or None.
    settings
        What stands between the parentheses of its ``repr``.
    phase
        ``backward`` for the derivative rules of the operations of that call.
    layer
        Whether it is one of the framework's own layers, which is drawn as one node even where it
        is made of several operations.
    """

    id: int
    path: str
    kind: str
    number: int = 1
    parent: int | None = None
    settings: str = ""
    phase: str = "forward"
    layer: bool = False

    @property
    def name(self) -> str:
        """The last part of its path; the class of the model itself."""
        return self.path.rpartition(".")[2] or self.kind

    @property
    def label(self) -> str:
        """Its path (its class, for the model itself), and which call it is after the first."""
        label = self.path or self.kind
        return label if self.number == 1 else f"{label} (call {self.number})"
