"""A node of a file that was read: what runs it, and how it stands in its model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_cnn.onnx.errors import OnnxError
from tinygrad_cnn.tensor import Tensor

Reader = Callable[..., Any]
_MORE = "activations", "direction", "hidden_size", "layout"  # of all recurrent operators


@dataclass
class Node:
    """An operator, called with tensors (None for an optional input that is left out).

    Attributes
    ----------
    kind, name
        The operator, and what the file calls the node.
    opset
        The version of the operators that the file is written in.
    attributes
        By name, as Python's values and arrays.
    inputs, outputs
        Names of values; empty where an optional one is left out.
    training
        Whether the module is in training when the node runs.
    """

    kind: str
    name: str
    opset: int
    attributes: Mapping[str, Any]
    inputs: Sequence[str]
    outputs: Sequence[str]
    reader: Reader
    training: bool = False

    def __post_init__(self) -> None:
        known = inspect.signature(self.reader).parameters
        more = _MORE if any(p.kind is p.VAR_KEYWORD for p in known.values()) else ()
        unknown = next((a for a in self.attributes if a not in known and a not in more), None)
        if unknown is not None:
            raise OnnxError(
                f"onnx.load: {self.kind} ({self.name!r}) has the attribute {unknown!r}, expected "
                f"one of {sorted([*known][1:])}"
            )
        by_name = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD
        places = [p for p in known.values() if p.kind not in by_name][1:]
        places = [p for p in places if p.name not in self.attributes]
        several = any(p.kind is p.VAR_POSITIONAL for p in places)
        least = sum(p.default is p.empty and p.kind is not p.VAR_POSITIONAL for p in places)
        if (len(self.inputs) > len(places) and not several) or len(self.inputs) < least:
            raise OnnxError(
                f"onnx.load: {self.kind} ({self.name!r}) has {len(self.inputs)} inputs, expected "
                f"{least}{' or more' if several else f' to {len(places)}'}"
            )

    def run(self, *inputs: Tensor | None) -> tuple[Any, ...]:
        """The outputs."""
        found = self.reader(self, *inputs, **self.attributes)
        return tuple(found) if isinstance(found, (tuple, list)) else (found,)

    def refuse(self, why: str) -> OnnxError:
        """An error that says what of the operator is not read."""
        return OnnxError(f"onnx: {self.kind} ({self.name!r}): {why}")


def ints(value: Any) -> list[int]:
    """An attribute, or the numbers of a tensor, as Python's integers."""
    if isinstance(value, Tensor):
        value = value.detach().numpy()
    return [int(v) for v in np.asarray(value).reshape(-1)]


def number(value: Any) -> Any:
    """A number, of a tensor of one or as it is."""
    return value.detach().numpy().reshape(-1)[0].item() if isinstance(value, Tensor) else value
