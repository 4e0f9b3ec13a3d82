"""`trace`: a `Graph` of a model or of a result."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinygrad_cnn.autograd import grad
from tinygrad_cnn.errors import DtypeError
from tinygrad_cnn.functions import from_numpy
from tinygrad_cnn.instrument.running import tensors_in, unchanged
from tinygrad_cnn.nn import Module
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.viz.graph.data import Graph
from tinygrad_cnn.viz.graph.notes import Notes
from tinygrad_cnn.viz.graph.recording import Recording

_ROUNDS = 3


def trace(
    target: object,
    *inputs: object,
    model: Module | None = None,
    names: Mapping[str, Tensor] | None = None,
    loss: Callable[[Any], Tensor] | None = None,
    backward: bool = False,
    timed: bool = False,
    health: bool = False,
) -> Graph:
    """The graph of a model's forward pass, or of what a result was made from.

    With a Module, ``target(*inputs)`` is run in its present mode, and everything that ran is in the
    graph: modules, lines, operations that the engine does not record. Parameters, buffers,
    gradients and random numbers are afterwards as they were before.

    With a tensor (or several), the graph that the engine has recorded is read. It knows operations,
    shapes, what is kept for backward, and leaves; of ``model``, if given, the names of parameters.
    To know modules and lines as well, make the result inside a `Recording`.

    Parameters
    ----------
    inputs
        For a Module: its arguments. A tuple of integers stands for a float32 tensor of that shape,
        filled with normal random numbers that are always the same.
    model
        For a tensor: whose parameters to name.
    names
        Names for other tensors.
    loss
        For a Module: makes a number of its output; that is part of the graph too.
    backward
        For a Module: run the backward pass too and return its graph, `Graph.backward`. Without a
        ``loss`` it starts from ones in the shape of the output.
    timed, health
        For a Module: measure time, or norms, zeros and gradients; see `Recording`. Times are
        medians of 3 runs after one that is not measured.

    Raises
    ------
    TypeError
        ``target`` is neither a Module nor a tensor, or an option does not fit it.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten())
    >>> graph = tg.viz.trace(model, (1, 3, 8, 8))
    >>> graph
    <Graph of Sequential: 3 operations, 4 module calls, 224 parameters>
    >>> [(node.name, node.shape) for node in graph.operations()]
    [('conv2d', Size([1, 8, 6, 6])), ('relu', Size([1, 8, 6, 6])), ('reshape', Size([1, 288]))]
    """
    if not isinstance(target, Module):
        outputs = tensors_in(target)
        if not outputs:
            raise DtypeError(
                f"trace: `target` is a {type(target).__name__}, expected a Module or a tensor"
            )
        if inputs or loss is not None or timed or health:
            raise DtypeError("trace: inputs, loss, timed and health need a Module to run")
        graph = Notes(model, names).graph(outputs)
        return graph.backward() if backward else graph
    arguments = [_as_input(x) for x in inputs]
    called = dict(names or {})
    given = [a for a in arguments if isinstance(a, Tensor)]
    for i, tensor in enumerate(given):
        called.setdefault("input" if len(given) == 1 else f"input {i}", tensor)
    with unchanged(target):
        plain = None
        if timed or health:  # to measure changes what the engine runs together, and keeps
            plain = _run(target, arguments, called, loss, True, False)
        graphs = [
            _run(target, arguments, called, loss, backward or health, timed, health)
            for _ in range(_ROUNDS if timed else 1)
        ]
    graph = graphs[-1]
    if timed:
        _take_medians(graph, graphs)
    if plain is not None and len(plain.nodes) == len(graph.nodes):
        for node, other in zip(graph.nodes, plain.nodes, strict=True):
            node.kept_bytes, node.fused = other.kept_bytes, other.fused
    return graph.backward() if backward else graph


def _run(
    model: Module,
    arguments: list[object],
    names: Mapping[str, Tensor],
    loss: Callable[[Any], Tensor] | None,
    differentiate: bool,
    timed: bool,
    health: bool = False,
) -> Graph:
    with Recording(model, names, timed=timed, health=health) as recording:
        output = model(*arguments)
        if loss is not None:
            output = loss(output)
        results = tensors_in(output)
        if not results:
            raise DtypeError(
                f"trace: {type(model).__name__} returned a {type(output).__name__}, expected a "
                f"tensor or tensors in tuples, lists and dicts"
            )
        graph = recording.graph(results)
        live = [t for t in results if t.requires_grad]
        wanted: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        wanted += [t for t in names.values() if t.requires_grad]
        if differentiate and live and wanted:
            ones = [t.new_ones(t.shape) for t in live]
            grad(live, wanted, ones, allow_unused=True)
            graph = recording.graph(results)
    return graph


def _take_medians(graph: Graph, rounds: list[Graph]) -> None:
    if len({len(g.nodes) for g in rounds}) > 1:
        return  # the model did something else every time
    for node in graph.nodes:
        for figure in ("forward_seconds", "backward_seconds"):
            values = [getattr(g.nodes[node.id], figure) for g in rounds]
            known = [v for v in values if v is not None]
            if known:
                setattr(node, figure, statistics.median(known))


def _as_input(value: object) -> object:
    """A tensor of random numbers for a shape; anything else as it is."""
    if isinstance(value, tuple) and value and all(type(side) is int for side in value):
        return from_numpy(np.random.default_rng(0).standard_normal(value, np.float32))
    return value
