"""The backward pass as a graph, from the forward one."""

from __future__ import annotations

from dataclasses import replace

from tinygrad_cnn.viz.graph.data import Graph
from tinygrad_cnn.viz.graph.records import Edge, Node


def reversed_graph(graph: Graph) -> Graph:
    """Each operation through which gradients flow as its derivative rule, edges turned round."""
    readers: dict[int, list[Edge]] = {}
    for edge in graph.edges:
        readers.setdefault(edge.source, []).append(edge)
    reached = set()  # has a gradient: an output, or read by something that has one
    for node in reversed(graph.nodes):
        if node.recorded and (
            node.id in graph.outputs or any(e.target in reached for e in readers.get(node.id, ()))
        ):
            reached.add(node.id)
    calls = [replace(call, phase="backward") for call in graph.calls]
    new = Graph(calls=calls, title=graph.title and f"{graph.title}, backward")
    ids: dict[int, int] = {}
    for end in graph.outputs:
        if end in reached and not readers.get(end):
            made = graph.nodes[end]
            start = Node(len(new.nodes), "input", "gradient of the output", phase="backward")
            start.shape, start.dtype, start.recorded = made.shape, made.dtype, True
            ids[-1 - end] = start.id
            new.nodes.append(start)
    for node in reversed(graph.nodes):
        if node.id not in reached:
            continue
        it = replace(node, id=len(new.nodes), phase="backward", flops=None, kept_bytes=None)
        it.forward_seconds = node.backward_seconds
        if node.kind == "operation":
            it.name = f"{node.name} backward"
            it.parameter_count = 0
        else:
            it.kind = "gradient" if node.kind == "parameter" else "result"
            it.name = f"{node.name or 'constant'}.grad"
            new.outputs.append(it.id)
        ids[node.id] = it.id
        new.nodes.append(it)
        start_id = ids.get(-1 - node.id)
        if start_id is not None:
            new.edges.append(Edge(start_id, it.id, 0, node.shape, node.dtype))
        for e in readers.get(node.id, ()):
            if e.target in reached:
                new.edges.append(Edge(ids[e.target], it.id, e.slot, e.shape, e.dtype))
    return new
