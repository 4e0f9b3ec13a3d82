"""A built graph as a file of ONNX's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_cnn.nn import Module
from tinygrad_cnn.onnx.errors import OnnxError
from tinygrad_cnn.onnx.graph import Graph, Node, Symbol
from tinygrad_cnn.onnx.sides import Side
from tinygrad_cnn.serialization import write_atomically
from tinygrad_cnn.version import __version__

BUFFERS = "tinygrad_cnn.buffers"  # in a file's metadata: weights that are no parameters
INLINE = 1 << 30  # bytes of weights that stand in the file itself
_SMALL = 1024  # bytes of an array that is not worth a place in another file
_ALIGNED = 4096  # where an array of an external file begins, for who maps it into memory


def write(
    path: Path,
    graph: Graph,
    named: Mapping[str, Any],
    outputs: list[Symbol],
    model: Module,
    external: bool | None,
    metadata: Mapping[str, str],
) -> None:
    """Write the graph's nodes that lead to ``outputs``, and the weights that they read."""
    import onnx
    from onnx import helper, numpy_helper

    nodes = _joined(_needed(graph.nodes, outputs), outputs, graph)
    used = {name for node in nodes for name in node.inputs}
    weights = {k: v for k, v in named["weights"].items() if k in used}
    constants = [
        helper.make_node("Constant", [], [k], value=numpy_helper.from_array(v), name=f"/{k}")
        for k, v in graph.constants.items()
        if k in used
    ]
    total = sum(v.nbytes for v in weights.values())
    external = total > INLINE if external is None else external
    data = path.with_name(path.name + ".data")
    offset, initializers = 0, []
    pieces: list[bytes | memoryview] = []
    for name, array in weights.items():
        proto = onnx.TensorProto(name=name, dims=array.shape)
        proto.data_type = int(helper.np_dtype_to_tensor_dtype(array.dtype))
        rows = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        if external and array.nbytes >= _SMALL:
            start = -(-offset // _ALIGNED) * _ALIGNED
            pieces += [bytes(start - offset), rows.reshape(-1).view(np.uint8).data]
            offset = start + array.nbytes
            proto.data_location = onnx.TensorProto.EXTERNAL
            where = {"location": data.name, "offset": start, "length": array.nbytes}
            for key, value in where.items():
                proto.external_data.add(key=key, value=str(value))
        else:
            proto.raw_data = rows.tobytes()
        initializers.append(proto)
    ends = {symbol.name for symbol in outputs}
    made_here = {name for node in nodes for name in node.outputs} - ends
    made = helper.make_graph(
        constants + [_node(node) for node in nodes],
        type(model).__name__,
        [_info(symbol) for symbol in named["inputs"]],
        [_info(symbol) for symbol in outputs],
        initializers,
        value_info=[_info(symbol) for name, symbol in graph.known.items() if name in made_here],
    )
    opset = helper.make_opsetid("", graph.opset)
    proto = helper.make_model(
        made,
        opset_imports=[opset],
        producer_name="tinygrad_cnn",
        producer_version=__version__,
        ir_version=helper.find_min_ir_version_for([opset]),
    )
    buffers = sorted(name for name, _ in model.named_buffers() if name in weights)
    props = {**metadata, BUFFERS: json.dumps(buffers)} if buffers else dict(metadata)
    helper.set_model_props(proto, props)
    content = proto.SerializeToString(deterministic=True)
    if len(content) >= 2**31:
        raise OnnxError("onnx.export: the graph has 2 GiB or more; use `external_data=True`")
    if pieces:
        write_atomically(data, b"".join(pieces))
    write_atomically(path, content)


def _needed(nodes: list[Node], outputs: list[Symbol]) -> list[Node]:
    """The nodes that lead to the outputs, in order."""
    wanted, kept = {symbol.name for symbol in outputs}, []
    for node in reversed(nodes):
        if wanted.intersection(node.outputs):
            wanted.update(node.inputs)
            kept.append(node)
    return kept[::-1]


def _joined(nodes: list[Node], outputs: list[Symbol], graph: Graph) -> list[Node]:
    """The nodes without the identities at the end, where a node can give the output itself."""
    makers = {name: node for node in nodes for name in node.outputs}
    ends = {symbol.name for symbol in outputs}
    renamed: dict[str, str] = {}
    kept = []
    for node in nodes:
        source = node.inputs[0] if node.kind == "Identity" else ""
        if node.outputs[0] in ends and source in makers and source not in renamed:
            if source not in ends:
                renamed[source] = node.outputs[0]
                continue
        kept.append(node)
    for node in kept:
        node.inputs = [renamed.get(name, name) for name in node.inputs]
        node.outputs = [renamed.get(name, name) for name in node.outputs]
    return kept


def _node(node: Node) -> Any:
    from onnx import helper

    proto = helper.make_node(
        node.kind, node.inputs, node.outputs, name=node.name.lstrip("/") and node.name,
        **node.attributes,
    )  # fmt: skip
    if node.place.kind:
        proto.doc_string = f"{node.place.path} ({node.place.kind})".strip()
    return proto


def _info(symbol: Symbol) -> Any:
    from onnx import helper

    sides = [str(n) if isinstance(n, Side) else int(n) for n in symbol.shape]
    kind = int(helper.np_dtype_to_tensor_dtype(np.dtype(symbol.dtype)))
    return helper.make_tensor_value_info(symbol.name, kind, sides)
