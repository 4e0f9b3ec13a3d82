"""Why a parameter got no gradient: where the path to the loss ends, by a `Recording`'s notes."""

from __future__ import annotations

from dataclasses import dataclass

from tinygrad_cnn.instrument.running import reachable
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.viz.graph.notes import Notes
from tinygrad_cnn.viz.graph.records import Node

_WORDS = {
    "detach": "detach() cuts its path to the loss",
    "no_grad": "`{name}` ran under no_grad()",
    "integer": "`{name}` makes {dtype} of it, through which no gradient flows",
    "unrecorded": "`{name}` was not recorded",
}


@dataclass(frozen=True)
class Cause:
    """``kind`` is ``unused``, ``detach``, ``no_grad``, ``integer``, ``unrecorded``, ``lost`` (its

    results go nowhere) or ``connected`` (a path is there). ``module`` and ``line`` say where.
    """

    kind: str
    text: str
    module: str = ""
    line: str = ""


def cause_of(name: str, notes: Notes, loss: Tensor) -> Cause:
    """Why no gradient of ``loss`` reaches the parameter ``name``."""
    start = next((n.id for n in notes.nodes if n.kind == "parameter" and n.name == name), None)
    if start is None:
        return Cause("unused", "no operation read it")
    end = notes.find(loss)
    readers: dict[int, list[int]] = {}
    for edge in notes.edges:
        readers.setdefault(edge.source, []).append(edge.target)
    reached = reachable([start], lambda i: readers.get(i, ())) - {start}
    path = reached & notes.ancestors([end])
    if path:
        cuts = [notes.nodes[i] for i in sorted(path) if notes.nodes[i].cut]
        live = {i for i in path if notes.nodes[i].recorded}
        if cuts and end not in reachable([start], lambda i: live.intersection(readers.get(i, ()))):
            return _at(cuts[0], _WORDS[cuts[0].cut], cuts[0].cut, notes)
        return Cause(
            "connected",
            "the loss was made from it, and nothing cuts the path: backward() has not run, its "
            "gradient was cleared since, or a Function's backward returned None",
        )
    forward = [notes.nodes[i] for i in sorted(reached) if notes.nodes[i].phase == "forward"]
    ends = [n for n in forward if not readers.get(n.id) and n.kind == "operation"]
    cuts = [n for n in forward if n.cut]
    if cuts:
        return _at(cuts[0], _WORDS[cuts[0].cut] + "; the loss does not use it", cuts[0].cut, notes)
    if ends:
        last = ends[-1]
        text = (
            "no further operation used the result of `{name}`: it was dropped, or read as plain "
            "numbers (item, numpy, argmax, a comparison, tg.tensor)"
        )
        return _at(last, text, "lost", notes)
    return Cause("unused", "no operation that leads to the loss read it")


def _at(node: Node, text: str, kind: str, notes: Notes) -> Cause:
    module = "" if node.call is None else notes.calls[node.call].path
    return Cause(kind, text.format(name=node.name, dtype=node.dtype), module, node.line)
