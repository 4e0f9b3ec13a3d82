"""The graph that is being built: symbols, nodes, constants, names."""

# Operators are found by name, so that what they give is Any to mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from tinygrad_cnn.onnx.errors import OnnxError
from tinygrad_cnn.onnx.sides import Side
from tinygrad_cnn.onnx.trace import Place, Step
from tinygrad_cnn.types import Array, DType

BOOL, INT = np.dtype(np.bool_), np.dtype(np.int64)
_INTS = {"ArgMax", "ArgMin", "Shape", "Size", "NonZero"}
_BOOLS = {"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Xor", "Not"}
_BOOLS |= {"IsNaN", "IsInf"}


class Symbol:
    """A value of the graph (`autograd.forms`)."""

    def __init__(self, graph: Graph, name: str, shape: Sequence[Any], dtype: DType) -> None:
        self.graph, self.name = graph, name
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self.step: Step | None = None  # which function on arrays made it
        self.why = ""  # the graph does not have it

    def __add__(self, other: Any) -> Symbol:
        return self.graph.node("Add", self, other)

    def __sub__(self, other: Any) -> Symbol:
        return self.graph.node("Sub", self, other)

    def __mul__(self, other: Any) -> Symbol:
        return self.graph.node("Mul", self, other)

    def __truediv__(self, other: Any) -> Symbol:
        return self.graph.node("Div", self, other)

    def __neg__(self) -> Symbol:
        return self.graph.node("Neg", self)


class Node:
    """A node of the graph, before it is written."""

    __slots__ = ("attributes", "inputs", "kind", "name", "outputs", "place")

    def __init__(
        self, kind: str, inputs: list[str], attributes: dict[str, Any], name: str, place: Place
    ) -> None:
        self.kind, self.inputs, self.attributes = kind, inputs, attributes
        self.name, self.place = name, place
        self.outputs: list[str] = []


class Graph:
    """What forms are written in (`autograd.forms.Graph`)."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}
        self.known: dict[str, Symbol] = {}  # whose shape is, by name
        self.place = Place("", "", "")
        self.step: Step | None = None
        self.batch: tuple[Symbol, int] | None = None  # an input, and its axis that is the batch
        self._taken: Counter[str] = Counter()
        self._same: dict[tuple[Any, ...], Symbol] = {}
        self._batch: Symbol | None = None

    def __getattr__(self, kind: str) -> Callable[..., Any]:
        if not kind[0].isupper():
            raise AttributeError(kind)
        return lambda *inputs, **attributes: self.node(kind, *inputs, **attributes)

    def name(self, wanted: str) -> str:
        """``wanted``, with a number if it is taken."""
        number = self._taken[wanted]
        self._taken[wanted] += 1
        return self.name(f"{wanted}_{number}") if number else wanted

    # ---- values ----------------------------------------------------------------------------

    def constant(self, value: Any, dtype: Any = None) -> Symbol:
        """A constant array, the same one each time."""
        array = np.asarray(value, dtype)
        if array.dtype.kind == "O":
            self.refuse("it needs a constant that depends on the batch's size")
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._same:
            symbol = Symbol(self, self.name("constant"), array.shape, array.dtype)
            self.constants[symbol.name] = array
            self._same[key] = symbol
        return self._same[key]

    def node(
        self, kind: str, *inputs: Any, outputs: int = 1, dtype: Any = None, **attributes: Any
    ) -> Any:
        """The result of a node, or a tuple of them."""
        while inputs and inputs[-1] is None:
            inputs = inputs[:-1]
        given = [x for x in inputs if isinstance(x, Symbol)]
        like = next((x.dtype for x in given if x.dtype != BOOL), given[0].dtype if given else INT)
        names = []
        for x in inputs:
            if x is None:
                names.append("")
                continue
            if not isinstance(x, Symbol):
                x = self.constant(x, like if np.isscalar(x) else None)
            if x.why:
                raise OnnxError(f"onnx.export: {x.why}")
            names.append(x.name)
        for value in attributes.values():
            if "Side" in str(value):
                self.refuse("it depends on the batch's size")
        if dtype is None:
            dtype = INT if kind in _INTS else BOOL if kind in _BOOLS else like
        scope = "/" + self.place.path.replace(".", "/") if self.place.path else ""
        made = Node(kind, names, attributes, self.name(f"{scope}/{kind}"), self.place)
        made.outputs = [self.name(f"{made.name}_output_{i}") for i in range(outputs)]
        self.nodes.append(made)
        symbols = tuple(Symbol(self, name, (), dtype) for name in made.outputs)
        return symbols if outputs > 1 else symbols[0]

    def cast(self, x: Symbol, dtype: Any) -> Symbol:
        """``x`` in a dtype."""
        if x.dtype == dtype:
            return x
        from onnx.helper import np_dtype_to_tensor_dtype

        out: Symbol = self.node(
            "Cast", x, to=int(np_dtype_to_tensor_dtype(np.dtype(dtype))), dtype=np.dtype(dtype)
        )
        out.shape = x.shape
        return out

    # ---- sides -----------------------------------------------------------------------------

    def _side(self, side: Any) -> Symbol:
        """A side as int64 (1,)."""
        if not isinstance(side, Side):
            return self.constant([side], INT)
        if self._batch is None:
            assert self.batch is not None
            symbol, axis = self.batch
            here, self.place = self.place, Place("", "", "")
            self._batch = self.node("Shape", symbol, start=axis, end=axis + 1)
            self.place = here
        out = self._batch
        out = out if side.times == 1 else out * self.constant([side.times], INT)
        return out + self.constant([side.more], INT) if side.more else out

    def vector(self, sides: Sequence[Any]) -> Symbol:
        """Sides, some of which may follow the batch's size, as int64 (n,)."""
        if not any(isinstance(side, Side) for side in sides):
            return self.constant(list(sides), INT)
        parts = [self._side(side) for side in sides]
        out: Symbol = parts[0] if len(parts) == 1 else self.node("Concat", *parts, axis=0)
        return out

    def number(self, side: Any, like: Symbol) -> Symbol:
        """A side as a number of the dtype of ``like``."""
        if not isinstance(side, Side):
            return self.constant(side, like.dtype)
        return self.cast(self.node("Squeeze", self._side(side), [0]), like.dtype)

    @staticmethod
    def count(shape: Sequence[Any], dim: Sequence[int]) -> Any:
        """How many numbers there are along axes of a shape: a side."""
        number: Any = math.prod(shape[i] for i in dim if not isinstance(shape[i], Side))
        for i in dim:
            number = shape[i] * number if isinstance(shape[i], Side) else number
        return number

    def reshape(self, x: Symbol, shape: Sequence[Any]) -> Symbol:
        """``x`` in another shape, whose sides may follow the batch's size."""
        sides = list(shape)
        moving = [i for i, side in enumerate(sides) if isinstance(side, Side)]
        if len(moving) == 1 and 0 not in sides:
            sides[moving[0]] = -1
        zero = {"allowzero": 1} if 0 in sides else {}
        return self.node("Reshape", x, self.vector(sides), **zero)

    def reduce(self, kind: str, x: Symbol, dim: Sequence[int], keepdim: bool) -> Symbol:
        """A reduction over the axes ``dim``."""
        axes = self.constant(list(dim), INT)
        none = {"noop_with_empty_axes": 1} if not dim else {}
        return self.node(kind, x, axes, keepdims=int(keepdim), **none)

    def made_by(self, x: Symbol | None, function: Callable[..., Any]) -> tuple[Any, ...] | None:
        """What ``function`` got if ``x`` is among its results."""
        step = None if x is None else x.step
        return step.args if step is not None and step.function is function else None

    def refuse(self, why: str) -> NoReturn:
        """Raise an error that says that, and where, the operation cannot be exported."""
        name = self.step.name if self.step is not None else "?"
        raise OnnxError(f"onnx.export: operation `{name}`: {why} ({self.place})")
