"""A graph that was read, as a module: parameters by their names, nodes that run one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tinygrad_cnn.nn import Module, Parameter
from tinygrad_cnn.onnx.errors import OnnxError
from tinygrad_cnn.onnx.node import Node
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import DType

RECURRENT = "LSTM", "GRU", "RNN"
"""Operators that run in a module of their own: a second export has them as they are."""


class Scope(Module):
    """A part of a module that was read: it holds what the file names so, and runs its nodes."""

    def forward(self, node: Node, *inputs: Any) -> tuple[Any, ...]:
        """Run a node, so that it is known in which module that is."""
        return node.run(*inputs)


class OnnxModule(Module):
    """What `load` returns. Call it with the graph's inputs, in their order or by their names.

    Attributes
    ----------
    input_names, output_names
        Those of the graph. With one output the result is a tensor, otherwise a tuple.
    nodes
        What is run, in this order.
    metadata
        Texts that the file has, by name.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        inputs: Sequence[tuple[str, DType, Sequence[int | None] | None]],
        outputs: Sequence[str],
        values: Mapping[str, tuple[Tensor, str]],
        metadata: Mapping[str, str],
    ) -> None:
        super().__init__()
        self.metadata = dict(metadata)
        self.nodes, self.inputs = list(nodes), list(inputs)
        self.input_names = [name for name, _, _ in inputs]
        self.output_names = list(outputs)
        self._held: dict[str, tuple[Module, str]] = {}
        self._scopes: dict[str, Module] = {}
        for name, (tensor, kind) in values.items():
            self._hold(name, tensor, kind)
        for node in nodes:
            path = [p.replace(".", "_") for p in node.name.split("/")[1:-1] if p]
            if node.kind in RECURRENT and not path:
                path = [node.kind.lower()]
            self._scopes[node.name] = self._scope(path)
        last = {name: i for i, node in enumerate(nodes) for name in node.inputs}
        self._done = [  # what nobody reads after a node
            [n for n in {*node.inputs, *node.outputs} if last.get(n, -1) <= i and n not in outputs]
            for i, node in enumerate(nodes)
        ]

    def _scope(self, path: Sequence[str]) -> Module:
        """The module of this path, which is made if it is not there."""
        here: Module = self
        for part in path:
            if part not in here._modules and hasattr(here, part):
                part = f"{part}_"  # a name that modules use themselves
            if part not in here._modules:
                here.add_module(part, Scope())
            here = here._modules[part]  # type: ignore[assignment]
        return here

    def _hold(self, name: str, tensor: Tensor, kind: str) -> None:
        *path, last = [p or "_" for p in name.split(".")]
        holder = self._scope(path)
        while hasattr(holder, last):
            last = f"{last}_"
        if kind == "parameter":
            holder.register_parameter(last, Parameter(tensor))
        else:
            holder.register_buffer(last, tensor, persistent=kind == "buffer")
        self._held[name] = holder, last

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """The outputs of the graph."""
        given = dict(zip(self.input_names, inputs, strict=False)) | named
        if len(inputs) > len(self.input_names) or set(given) != set(self.input_names):
            raise OnnxError(
                f"{type(self).__name__}: called with {len(inputs)} inputs and {sorted(named)}, "
                f"expected {', '.join(self.input_names)}"
            )
        values: dict[str, Any] = {"": None}
        for name, dtype, sides in self.inputs:
            self._check(name, given[name], dtype, sides)
            values[name] = given[name]
        for name, (holder, last) in self._held.items():
            values[name] = getattr(holder, last)
        for node, done in zip(self.nodes, self._done, strict=True):
            node.training = self.training
            scope = self._scopes[node.name]
            got = [values[name] for name in node.inputs]
            found = node.run(*got) if scope is self else scope(node, *got)
            values.update(zip(node.outputs, found, strict=False))
            values[""] = None
            for name in done:
                if name:
                    values.pop(name, None)
        out = tuple(values[name] for name in self.output_names)
        return out[0] if len(out) == 1 else out

    @staticmethod
    def _check(name: str, x: Any, dtype: DType, sides: Sequence[int | None] | None) -> None:
        if not isinstance(x, Tensor) or x.dtype != dtype:
            found = f"a tensor of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
            raise OnnxError(f"OnnxModule: `{name}` is {found}, expected a tensor of {dtype}")
        fits = sides is None or (
            len(sides) == x.ndim
            and all(s is None or s == m for s, m in zip(sides, x.shape, strict=True))
        )
        if not fits:
            wanted = ", ".join("any" if s is None else str(s) for s in sides or ())
            raise OnnxError(f"OnnxModule: `{name}` has shape {tuple(x.shape)}, expected ({wanted})")

    def extra_repr(self) -> str:
        """Inputs, outputs, and how many nodes there are."""
        return (
            f"{', '.join(self.input_names)} -> {', '.join(self.output_names)}, "
            f"{len(self.nodes)} nodes"
        )
