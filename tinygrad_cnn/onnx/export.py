"""`export`: a model, run on an example, as an ONNX file."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.instrument.running import tensors_in
from tinygrad_cnn.nn import Module
from tinygrad_cnn.onnx.build import Builder
from tinygrad_cnn.onnx.errors import OnnxError, onnx_package
from tinygrad_cnn.onnx.files import write
from tinygrad_cnn.onnx.graph import Graph
from tinygrad_cnn.onnx.module import OnnxModule
from tinygrad_cnn.onnx.sides import mapped
from tinygrad_cnn.onnx.trace import run
from tinygrad_cnn.onnx.units import MODULES
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import INEXACT

OPSET = 18
BATCHES = 2, 3, 5


def export(
    model: Module,
    example: Any,
    path: str | os.PathLike[str],
    *,
    dynamic_batch: bool | Mapping[str, int] = True,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    opset_version: int = OPSET,
    external_data: bool | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write what ``model`` does in evaluation as an ONNX file.

    The model is run in ``eval()`` without gradients, as many times as it takes to tell what depends
    on the batch's size and on the input's numbers; it is left as it was. Each operation becomes the
    nodes that its record says (``onnx=`` of `autograd.op`). Nodes are named by the modules they are
    in, initialisers as in ``state_dict()``. The same model and example give the same bytes.

    Parameters
    ----------
    model
        The module. Its outputs are a tensor, or tuples, lists and dicts of tensors.
    example
        An input, a tuple of inputs, or a dict of them by the names of ``forward``'s arguments.
    path
        The file, which is written whole or not at all.
    dynamic_batch
        Whether the file runs on batches of every size: the first axis of each input whose first
        side is that of the first input. A dict says which axis of which input (by its name) is the
        batch. With False, all sides are those of the example.
    input_names, output_names
        Names of the graph's inputs and outputs; by default those of ``forward``'s arguments, and
        ``"output"``, or ``"output_0"`` and so on, or the keys of a dict.
    opset_version
        The version of ONNX's operators: 18 or later.
    external_data
        Whether the weights are in a file of their own, ``path`` with ``.data`` at its end. None:
        where they have more than 1 GiB (a file of ONNX's has at most 2).
    metadata
        Texts by name that the file keeps for whoever reads it; `OnnxModule.metadata` has them.

    Returns
    -------
    pathlib.Path
        The file that was written.

    Raises
    ------
    OnnxError
        An operation has no form in ONNX, or the model does something else on batches of another
        size; the text names the operation, the module and the line.
    ValueError
        An argument does not fit. `OnnxError` is one too.
    ModuleNotFoundError
        The package `onnx` is not installed.

    Examples
    --------
    >>> import tempfile
    >>> import tinygrad_cnn as tg
    >>> net = tg.nn.Sequential(tg.nn.Linear(4, 2), tg.nn.ReLU())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.onnx.export(net, tg.randn(1, 4), f"{folder}/net.onnx").name
    'net.onnx'
    """
    onnx = onnx_package("onnx.export")
    newest = onnx.defs.onnx_opset_version()
    if not 18 <= opset_version <= newest:
        raise OnnxError(
            f"onnx.export: `opset_version` is {opset_version}, expected 18 to {newest}, the newest "
            f"of onnx {onnx.__version__}"
        )
    args, kwargs = _arguments(example)
    names = _names(model, args, kwargs, input_names)
    tensors = tensors_in((args, kwargs))
    axes = _batch_axes(names, tensors, dynamic_batch)
    if axes:
        runs = [(n, _of_size(args, kwargs, axes, n, i)) for i, n in enumerate(BATCHES)]
    else:
        runs = [(0, _of_size(args, kwargs, {}, 0, i)) for i in range(2)]
    sizes = [n for n, _ in runs]
    found = [run(model, *given, leaves=MODULES) for _, given in runs]
    graph = Graph(opset_version)
    builder = Builder(graph, sizes, [trace for trace, _ in found], names)
    if axes:
        first = next(iter(axes))
        graph.batch = builder.symbols[builder.inputs[first]], axes[first]
    if isinstance(model, OnnxModule) and output_names is None:
        output_names = model.output_names
    outputs = builder.outputs([refs for _, refs in found], output_names)
    write(Path(path), graph, builder.named, outputs, model, external_data, metadata or {})
    return Path(path)


def _arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if isinstance(example, Mapping):
        kwargs = dict(example)
    else:
        args = tuple(example) if isinstance(example, (tuple, list)) else (example,)
    if not tensors_in((args, kwargs)):
        raise OnnxError(
            f"onnx.export: `example` is {type(example).__name__} without tensors, expected an "
            f"input, a tuple of inputs, or a dict of them by name"
        )
    return args, kwargs


def _names(
    model: Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    wanted: Sequence[str] | None,
) -> list[str]:
    """A name for each tensor of the inputs."""
    if isinstance(model, OnnxModule) and wanted is None:
        wanted = model.input_names
    known = list(inspect.signature(model.forward).parameters.values())
    names: list[str] = []
    positional = [p.name for p in known if p.kind is not p.VAR_POSITIONAL]
    for i, value in enumerate(args):
        base = positional[i] if i < len(positional) else f"input_{i}"
        names += _numbered(base, value)
    for name, value in kwargs.items():
        names += _numbered(name, value)
    if wanted is not None:
        if len(wanted) != len(names) or len({*wanted}) != len(names):
            raise OnnxError(
                f"onnx.export: `input_names` is {list(wanted)}, expected {len(names)} different "
                f"names (for {', '.join(names)})"
            )
        names = list(wanted)
    return names


def _numbered(base: str, value: Any) -> list[str]:
    inside = tensors_in(value)
    single = len(inside) == 1 and isinstance(value, Tensor)
    return [base] if single else [f"{base}_{i}" for i in range(len(inside))]


def _batch_axes(
    names: list[str], tensors: list[Tensor], wanted: bool | Mapping[str, int]
) -> dict[int, int]:
    """The axis that is the batch, of those inputs, by number, that have it."""
    if isinstance(wanted, Mapping):
        unknown = [n for n in wanted if n not in names]
        if unknown:
            raise OnnxError(
                f"onnx.export: `dynamic_batch` names {unknown[0]!r}, expected one of {names}"
            )
        axes = {names.index(n): axis for n, axis in wanted.items()}
        for i, axis in axes.items():
            if not -tensors[i].ndim <= axis < tensors[i].ndim:
                raise OnnxError(
                    f"onnx.export: `dynamic_batch` says axis {axis} of {names[i]!r}, which has "
                    f"shape {tensors[i].shape}"
                )
        return {i: axis % tensors[i].ndim for i, axis in axes.items()}
    if not wanted:
        return {}
    if not tensors[0].ndim:
        raise OnnxError(
            f"onnx.export: {names[0]!r} has no axes, expected a batch along the first one, or "
            f"`dynamic_batch=False`"
        )
    size = tensors[0].shape[0]
    return {i: 0 for i, t in enumerate(tensors) if t.ndim and t.shape[0] == size}


def _of_size(
    args: tuple[Any, ...], kwargs: dict[str, Any], axes: dict[int, int], n: int, turn: int
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The inputs with batches of ``n``, and in each turn with other numbers, much like theirs."""
    numbers = {id(t): i for i, t in enumerate(tensors_in((args, kwargs)))}

    def other(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        number = numbers[id(value)]
        array = value.detach().numpy()
        if number in axes:
            size = array.shape[axes[number]]
            if not size:
                raise OnnxError("onnx.export: `example` is an empty batch, expected an image or so")
            array = np.take(array, np.arange(n) % size, axis=axes[number])
        array = np.roll(array, turn) if turn else array.copy()
        if turn and array.dtype.kind in INEXACT:
            draw = np.random.default_rng(turn).uniform(0, 0.1, array.shape)
            array = array + (draw * (np.abs(array) + 1)).astype(array.dtype)
        return wrap(array)

    return mapped(args, other), mapped(kwargs, other)
