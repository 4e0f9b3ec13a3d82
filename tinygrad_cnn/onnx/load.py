"""`load`: an ONNX file as a module."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.onnx import layers, places, sequences, values
from tinygrad_cnn.onnx.errors import OnnxError, onnx_package
from tinygrad_cnn.onnx.files import BUFFERS
from tinygrad_cnn.onnx.module import OnnxModule
from tinygrad_cnn.onnx.node import Node
from tinygrad_cnn.types import Array

OPERATORS = {**values.OPERATORS, **layers.OPERATORS, **places.OPERATORS, **sequences.OPERATORS}
OLDEST = 7

# Inputs that are no weights, though they may be floating: numbers of the operator itself.
_NUMBERS = {
    "Clip": (1, 2), "Pad": (1, 2), "Resize": (1, 2, 3), "Upsample": (1,), "Dropout": (1,),
    "OneHot": (1, 2), "Range": (0, 1, 2), "Where": (0,), "BatchNormalization": (3, 4),
}  # fmt: skip


def load(path: str | os.PathLike[str]) -> OnnxModule:
    """The model of an ONNX file, as a module that runs, trains and is exported again.

    Weights are parameters and buffers by the names that they have in the file, so that
    ``state_dict()`` has the keys of a model that `export` wrote. A floating initialiser is a
    parameter, unless it is a single number, a statistic of a batch normalisation or a number that
    an operator takes, such as a bound or a scale; what comes of ``Constant`` nodes is none. In
    ``train()`` batch normalisation moves its statistics and dropout drops.

    Parameters
    ----------
    path
        The file. Weights in files beside it are read from its folder only.

    Raises
    ------
    OnnxError
        It is no ONNX file, damaged, or has operators, attributes or types that are not read.
    OSError
        It cannot be read.
    ModuleNotFoundError
        The package `onnx` is not installed.

    Examples
    --------
    >>> import tempfile
    >>> import tinygrad_cnn as tg
    >>> net = tg.nn.Sequential(tg.nn.Linear(4, 2), tg.nn.Tanh())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     again = tg.onnx.load(tg.onnx.export(net, tg.randn(1, 4), f"{folder}/net.onnx"))
    >>> sorted(again.state_dict())
    ['0.bias', '0.weight']
    >>> x = tg.randn(3, 4)
    >>> bool((again(x) == net(x)).all())
    True
    """
    onnx = onnx_package("onnx.load")
    from google.protobuf.message import DecodeError

    place = Path(path)
    try:
        model = onnx.ModelProto.FromString(place.read_bytes())
    except (DecodeError, RuntimeError) as error:
        raise OnnxError(f"onnx.load: {place} is not an ONNX file: {error}") from None
    try:
        return _module(model, place)
    except OnnxError:
        raise
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise OnnxError(f"onnx.load: {place} is damaged: {error}") from None


def _module(model: Any, place: Path) -> OnnxModule:
    graph = model.graph
    if not graph.node and not graph.output:
        raise OnnxError(f"onnx.load: {place} is not an ONNX file, or has an empty graph")
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST:
        raise OnnxError(f"onnx.load: {place} has operators of version {opset}, expected {OLDEST}+")
    if graph.sparse_initializer or model.functions:
        raise OnnxError(f"onnx.load: {place} has sparse weights or functions, which are not read")
    weights = {t.name: _array(t, place) for t in graph.initializer}
    nodes = list(_nodes(graph, opset))
    inputs = [_input(i) for i in graph.input if i.name not in weights]
    known = {"", *weights, *(name for name, _, _ in inputs)}
    for node in nodes:
        for name in node.inputs:
            if name not in known:
                raise OnnxError(
                    f"onnx.load: {node.kind} ({node.name!r}) reads {name!r}, which nothing before "
                    f"it gives"
                )
        for name in node.outputs:
            if name and name in known:
                raise OnnxError(f"onnx.load: {name!r} is given twice, by {node.name!r} too")
            known.add(name)
    outputs = [o.name for o in graph.output]
    missing = next((name for name in outputs if name not in known or not name), None)
    if missing is not None:
        raise OnnxError(f"onnx.load: the output {missing!r} is given by no node")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    buffers = json.loads(metadata.get(BUFFERS, "[]"))
    kinds = _kinds(nodes, weights, {name for name in buffers if isinstance(name, str)})
    held = {name: (wrap(array), kinds[name]) for name, array in weights.items()}
    return OnnxModule(nodes, inputs, outputs, held, metadata)


def _kinds(nodes: list[Node], weights: dict[str, Array], buffers: set[str]) -> dict[str, str]:
    """Whether each weight is a parameter, a buffer, or a constant that is in no state."""
    kinds = {}
    for name, array in weights.items():
        learned = array.dtype.kind == "f" and array.ndim > 0 and name not in buffers
        kinds[name] = "parameter" if learned else "buffer"
    for node in nodes:
        for i in _NUMBERS.get(node.kind, ()):
            if i < len(node.inputs) and node.inputs[i] in kinds:
                kinds[node.inputs[i]] = "buffer"
    return kinds


def _nodes(graph: Any, opset: int) -> Iterator[Node]:
    from onnx import AttributeProto, helper, numpy_helper

    taken: set[str] = set()
    for number, proto in enumerate(graph.node):
        own = proto.domain in ("", "ai.onnx")
        kind = proto.op_type if own else f"{proto.domain}.{proto.op_type}"
        reader = OPERATORS.get(kind)
        if reader is None:
            raise OnnxError(
                f"onnx.load: the operator {kind} ({proto.name!r}) is not read; docs/onnx.md lists "
                f"those that are"
            )
        attributes: dict[str, Any] = {}
        for a in proto.attribute:
            if a.type == AttributeProto.TENSOR:
                _check_size(a.t)
                attributes[a.name] = numpy_helper.to_array(a.t)
                continue
            if a.type not in (
                AttributeProto.FLOAT, AttributeProto.INT, AttributeProto.STRING,
                AttributeProto.FLOATS, AttributeProto.INTS, AttributeProto.STRINGS,
            ) or a.ref_attr_name:  # fmt: skip
                raise OnnxError(
                    f"onnx.load: {kind} ({proto.name!r}): the attribute {a.name!r} is of a kind "
                    f"that is not read"
                )
            value = helper.get_attribute_value(a)
            attributes[a.name] = value.decode() if isinstance(value, bytes) else value
            if a.type in (AttributeProto.INTS, AttributeProto.FLOATS):
                attributes[a.name] = list(value)
        name = proto.name or f"{kind}_{number}"
        while name in taken:
            name = f"{name}_{number}"
        taken.add(name)
        yield Node(kind, name, opset, attributes, list(proto.input), list(proto.output), reader)


def _input(proto: Any) -> tuple[str, Any, list[int | None] | None]:
    """Name, dtype and sides of an input; None for a side of any length."""
    from onnx import helper

    kind = proto.type.tensor_type
    if proto.type.WhichOneof("value") != "tensor_type" or not kind.elem_type:
        raise OnnxError(f"onnx.load: the input {proto.name!r} is no tensor")
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type))
    if dtype.kind not in "biuf":
        raise OnnxError(f"onnx.load: the input {proto.name!r} is {dtype}, which is not read")
    if not kind.HasField("shape"):
        return proto.name, dtype, None
    sides = [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]
    return proto.name, dtype, sides


def _check_size(tensor: Any) -> int:
    """The bytes of a tensor, if they can be those of its dims."""
    if any(d < 0 for d in tensor.dims):
        raise OnnxError(f"onnx.load: {tensor.name!r} has the shape {list(tensor.dims)}")
    count = math.prod(tensor.dims)
    held = (
        len(tensor.raw_data) + len(tensor.float_data) * 4 + len(tensor.int32_data) * 4
        + len(tensor.int64_data) * 8 + len(tensor.double_data) * 8 + len(tensor.uint64_data) * 8
    )  # fmt: skip
    if not tensor.HasField("data_location") or tensor.data_location == tensor.DEFAULT:
        if count > held * 8:
            raise OnnxError(
                f"onnx.load: {tensor.name!r} has the shape {list(tensor.dims)}, and {held} bytes"
            )
    return int(count)


def _array(tensor: Any, place: Path) -> Array:
    from onnx import helper, numpy_helper

    count = _check_size(tensor)
    if tensor.data_location != tensor.EXTERNAL:
        array = np.array(numpy_helper.to_array(tensor))  # with memory of its own
        dtype = array.dtype
    else:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
        array = _external(tensor, place, count, dtype)
    if dtype.kind not in "biuf":
        raise OnnxError(f"onnx.load: {tensor.name!r} is {dtype}, which is not read")
    return array


def _external(tensor: Any, place: Path, count: int, dtype: Any) -> Array:
    """A tensor in a file of the same folder."""
    where = {entry.key: entry.value for entry in tensor.external_data}
    name = where.get("location", "")
    if not name or Path(name).name != name or name in (".", "..") or "\\" in name or "\0" in name:
        raise OnnxError(
            f"onnx.load: {tensor.name!r} is in {name!r}, expected a file beside {place.name}"
        )
    offset, length = int(where.get("offset", 0)), int(where.get("length", count * dtype.itemsize))
    if length != count * dtype.itemsize or offset < 0:
        raise OnnxError(f"onnx.load: {tensor.name!r} has {length} bytes, not those of its shape")
    file = place.parent / name
    if not file.is_file() or file.is_symlink() or file.stat().st_size < offset + length:
        raise OnnxError(f"onnx.load: {file} is missing or too short for {tensor.name!r}")
    return (
        np.fromfile(file, dtype.newbyteorder("<"), count, offset=offset)
        .astype(dtype, copy=False)
        .reshape(tuple(tensor.dims))
    )
