"""What figures tell: the first NaN, units that are always 0, gradients that vanish or explode."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

import numpy as np

from tinygrad_cnn import autograd
from tinygrad_cnn.autograd.node import GraphNode
from tinygrad_cnn.instrument.running import reachable
from tinygrad_cnn.nn import Embedding, Module
from tinygrad_cnn.nn.module.parameter import Parameter
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.viz.graph.measures import norm_of
from tinygrad_cnn.viz.graph.notes import Notes
from tinygrad_cnn.viz.graph.records import Node

_LEAST = 1e-5
"""What has less than this probability is no chance."""
_APART = 1e3
"""A layer's ratio is out of the ordinary from this factor off the median on."""
_TINY, _HUGE = 1e-8, 1e3
_MOST_GAIN = 30.0
"""A weight is out of proportion if what goes through it grows or shrinks by more than this."""
_MOVING = {"reshape", "permute", "getitem", "expand", "cast", "clone"}

Told = tuple[tuple[str, ...], str, str]
"""What it is about, why, and the line."""


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


def dead_rectifiers(notes: Notes) -> list[Told]:
    """ReLUs of which more channels are 0 for the whole batch than chance explains.

    With random weights, and inputs that are all alike, each channel is negative with probability
    1/2. That many of them are means nothing; what is told of is improbable by that measure, or a
    channel whose bias is so negative that no input of this size makes up for it.
    """
    out: list[Told] = []
    sources: dict[int, Node] = {}
    for e in notes.edges:
        if e.slot == 0:
            sources[e.target] = notes.nodes[e.source]
    for node in notes.nodes:
        if node.dead is None or not node.shape or node.phase != "forward":
            continue
        channels = node.shape[1]
        count, before = round(node.dead * channels), sources.get(node.id)
        silent = 0.0 if before is None else before.silent or 0.0
        if not (count and silent) and not _improbable(count, channels):
            continue
        why = f"{count} of {channels} channels are 0 for the whole batch"
        if silent and before is not None:
            why += (
                f": {round(silent * channels)} biases of {_where(before, notes)} are so negative "
                f"that no input of this size makes up for them"
            )
        out.append(((_where(node, notes),), why, node.line))
        if count == channels:
            break  # what comes behind it gets nothing but zeros
    return out


def _improbable(count: int, of: int) -> bool:
    """Whether so many heads in so many throws of a coin are a sign that it is not a fair one."""
    ways = sum(math.comb(of, k) for k in range(count, of + 1))
    return bool(ways < _LEAST * 2**of)


def silent_units(held: Sequence[tuple[str, Parameter]]) -> list[Told]:
    """The last layer of which improbably many units have a gradient of exactly 0.

    Layers before it have none because of it. A weight that begins at zero, as the last one of a
    residual branch may, lets nothing through in the first step: that is no illness.
    """
    grads = [(name, p, p.grad._array) for name, p in held if p.grad is not None]
    if any(not p._array.any() and g.any() for name, p, g in grads if name.endswith("weight")):
        return []
    for name, _, g in reversed(grads):
        units = g.shape[0] if g.ndim > 1 else 0
        dead = units - int(np.any(g.reshape(units, -1), axis=1).sum()) if units else 0
        if _improbable(dead, units) and dead:
            why = (
                f"the gradient is exactly 0 for {dead} of {units} units: what comes "
                f"behind them (a ReLU that is 0 for the whole batch, a mask) lets nothing through"
            )
            return [((name,), why, "")]
    return []


def history(loss: Tensor) -> set[GraphNode]:
    """The engine's nodes from which ``loss`` was made, leaves included."""
    first = loss.current_node()
    starts = [] if first is None else [first]
    return reachable(starts, lambda node: [p for p in node.parents if p is not None])


def softmax_before_loss(loss: Tensor, notes: Notes | None) -> Told | None:
    """A softmax or sigmoid whose result goes into a cross-entropy, which computes a softmax."""
    for node in history(loss):
        if node.parents and node.name() in ("softmax_cross_entropy", "log_softmax"):
            before = node.parents[0]
            while isinstance(before, autograd.Node) and before.name() in _MOVING:
                before = before.parents[0]
            if isinstance(before, autograd.Node) and before.name() in ("softmax", "sigmoid"):
                name = before.name()
                at = None if notes is None else notes.node_of(name)
                why = (
                    f"cross_entropy takes scores and computes log_softmax itself; behind a {name} "
                    f"its gradients are small and the loss cannot come near 0"
                )
                where = f"`{name}`" if at is None or notes is None else _where(at, notes)
                return (where,), why, "" if at is None else at.line
    return None


def out_of_the_ordinary(model: Module) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Weights out of all proportion, else gradients that vanish or explode: one cause of each kind.

    Only weights are looked at, not biases or scales. A gradient is compared with its weight, and
    the weight counts at least as large as one that is drawn as PyTorch's layers draw theirs.
    """
    embedded = {id(m.weight) for m in model.modules() if isinstance(m, Embedding)}
    weights = [
        (name, p)
        for name, p in model.named_parameters()
        if p.ndim > 1 and p.numel() and id(p) not in embedded
    ]
    wrong = False
    for name, p in weights:
        gain = norm_of(p._array) / math.sqrt(p.shape[0])  # of a layer: its row's norm
        if gain and not 1 / _MOST_GAIN < gain < _MOST_GAIN:
            wrong = True
            kind = "exploding" if gain > 1 else "vanishing"
            why = (
                f"its weights multiply what comes in by about {gain:.1g}, where layers begin with "
                f"0.5 to 1.5: they were drawn so, or the learning rate is too high"
            )
            yield kind, (name,), why
    if wrong:
        return
    ratios = {
        name: norm_of(p.grad._array) / max(norm_of(p._array), math.sqrt(p.shape[0] / 3))
        for name, p in weights
        if p.grad is not None
    }
    ratios = {name: r for name, r in ratios.items() if r > 0 and math.isfinite(r)}
    if not ratios:
        return
    median = statistics.median(ratios.values())
    small = [n for n, r in ratios.items() if r < max(median / _APART, _TINY)]
    large = [n for n, r in ratios.items() if r > min(median * _APART, _HUGE)]
    for kind, names in (("vanishing", small), ("exploding", large)):
        if names:
            ends = [f"{ratios[n]:.1e}" for n in dict.fromkeys((names[0], names[-1]))]
            yield (
                kind,
                tuple(names),
                f"gradient / weight is {' to '.join(ends)}, the median of all layers {median:.1e}",
            )
    (first, a), (last, b) = next(iter(ratios.items())), list(ratios.items())[-1]
    if len(ratios) > 2 and not small and not large and not 1 / _APART <= a / b <= _APART:
        step = (a / b) ** (1 / (len(ratios) - 1))
        text = f"from {last} to {first} the ratio changes by {a / b:.1e}, {step:.2g} per layer"
        yield "vanishing" if a < b else "exploding", (f"{first} … {last}",), text
