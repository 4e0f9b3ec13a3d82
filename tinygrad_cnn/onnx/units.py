"""The forms of functions on arrays, which are no operations, and of modules that are one node."""

# Operators are found by name, so that what they give is Any to mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_cnn import kernels, nn
from tinygrad_cnn.functions import (
    compare,
    elementwise,
    indexing,
    inplace_methods,
    ordering,
    reduction,
)
from tinygrad_cnn.kernels.reference.adaptive_max import near_equal
from tinygrad_cnn.nn.layers.recurrent import RNNBase
from tinygrad_cnn.onnx.graph import BOOL, INT, Graph, Symbol
from tinygrad_cnn.onnx.module import Scope

Form = Callable[..., Any]


def _compares(kind: str, negated: bool = False) -> Form:
    def form(b: Graph, y: Symbol, x: Any, other: Any) -> Symbol:
        found = b.node(kind, *_one_dtype(b, x, other))
        return b.node("Not", found) if negated else found

    return form


def _one_dtype(b: Graph, *values: Any) -> list[Any]:
    """Numbers as constants, in the dtype of the symbols."""
    like = next(v for v in values if isinstance(v, Symbol))
    return [v if isinstance(v, Symbol) else b.constant(v, like.dtype) for v in values]


def _logic(kind: str) -> Form:
    def form(b: Graph, y: Symbol, *xs: Any) -> Symbol:
        return b.node(kind, *[b.cast(x, BOOL) for x in _one_dtype(b, *xs)])

    return form


def _bits(logic: str, bitwise: str) -> Form:
    def form(b: Graph, y: Symbol, *xs: Any) -> Symbol:
        return b.node(logic if y.dtype == BOOL else bitwise, *_one_dtype(b, *xs))

    return form


def _finite(b: Graph, y: Symbol, x: Symbol) -> Symbol:
    return b.node("Not", b.node("Or", b.node("IsNaN", x), b.node("IsInf", x)))


def _found(b: Graph, y: Symbol, x: Symbol, find: Any, axis: int | None, keepdims: bool) -> Symbol:
    kind = {np.argmax: "ArgMax", np.argmin: "ArgMin"}[find]
    if axis is None:
        return b.node("Squeeze", b.node(kind, b.reshape(x, (-1,)), axis=0, keepdims=1), [0])
    return b.node(kind, x, axis=axis, keepdims=int(keepdims))


def _first_of(b: Graph, y: Symbol, x: Symbol, d: int, largest: bool, k: int) -> Symbol:
    found = b.node("TopK", x, np.array([k]), axis=d, largest=int(largest), sorted=1, outputs=2)
    found[1].dtype = INT
    return found[1]


def _order(b: Graph, y: Symbol, x: Symbol, d: int, descending: bool) -> Symbol:
    return _first_of(b, y, x, d, descending, x.shape[d])


def _one_hot(b: Graph, y: Symbol, labels: Symbol, n: int) -> Symbol:
    return b.node("OneHot", labels, np.array(n), np.array([0, 1]), axis=-1, dtype=INT)


def _truth(b: Graph, y: Symbol, x: Symbol, find: Any, dtype: Any, **how: Any) -> Symbol:
    if find not in (np.any, np.all):
        b.refuse("it has no form in ONNX")
    one = b.cast(b.cast(x, BOOL), np.dtype(np.int32))
    kind = "ReduceMax" if find is np.any else "ReduceMin"
    found = b.reduce(kind, one, how["axis"] or (), bool(how["keepdims"]))
    return b.cast(found, y.dtype)


def _holds(b: Graph, y: Symbol, than: Any, x: Any, limit: Any) -> Symbol:
    x, limit = _one_dtype(b, x, limit)
    return b.node("Or", FUNCTIONS[than](b, y, x, limit), b.node("IsNaN", limit))


def _in_dtype(b: Graph, y: Symbol, x: Any, other: Any, dtype: Any) -> list[Any]:
    return [b.cast(v, dtype) if isinstance(v, Symbol) else b.constant(v, dtype) for v in (x, other)]


def _from_start(b: Graph, y: Symbol, places: Symbol, n: int) -> Symbol:
    return b.node("Where", b.node("Less", places, 0), places + n, places)


def _update(b: Graph, y: Symbol, ufunc: Any, x: Any, other: Any) -> Symbol:
    kinds = {np.add: "Add", np.subtract: "Sub", np.multiply: "Mul", np.true_divide: "Div"}
    return b.node(kinds[ufunc], *_one_dtype(b, x, other))


def _adaptive_max_index(b: Graph, y: Symbol, x: Symbol, size: tuple[int, ...]) -> Symbol:
    """The places of each window as a row of a table, the last one again where it is a short one."""
    space = x.shape[2:]
    windows = [
        [range(start, stop) for start, stop in zip(*near_equal(m, k), strict=True)]
        for m, k in zip(space, size, strict=True)
    ]
    rows = [
        np.ravel_multi_index(np.ix_(*window), space).ravel()
        for window in itertools.product(*windows)
    ]
    longest = max(map(len, rows))
    table = np.stack([np.pad(row, (0, longest - len(row)), "edge") for row in rows])
    seen = b.node(
        "Gather", b.reshape(x, (*x.shape[:2], math.prod(space))), table, axis=2
    )  # (n, c, rows, places)
    best = b.node("ArgMax", seen, axis=3, keepdims=1)
    places = b.node("Expand", b.constant(table), b.node("Shape", seen))
    return b.reshape(b.node("GatherElements", places, best, axis=3), y.shape)


FUNCTIONS: dict[Any, Form] = {
    np.equal: _compares("Equal"),
    np.not_equal: _compares("Equal", negated=True),
    np.less: _compares("Less"),
    np.less_equal: _compares("LessOrEqual"),
    np.greater: _compares("Greater"),
    np.greater_equal: _compares("GreaterOrEqual"),
    np.logical_and: _logic("And"),
    np.logical_or: _logic("Or"),
    np.logical_xor: _logic("Xor"),
    np.logical_not: _logic("Not"),
    np.bitwise_and: _bits("And", "BitwiseAnd"),
    np.bitwise_or: _bits("Or", "BitwiseOr"),
    np.bitwise_xor: _bits("Xor", "BitwiseXor"),
    np.invert: _bits("Not", "BitwiseNot"),
    np.array: lambda b, y, x, **how: b.cast(x, y.dtype),
    np.isnan: lambda b, y, x: b.node("IsNaN", x),
    np.isinf: lambda b, y, x: b.node("IsInf", x),
    np.isfinite: _finite,
    compare._in_dtype: _in_dtype,
    elementwise._holds: _holds,
    indexing._from_start: _from_start,
    indexing._one_hot: _one_hot,
    ordering._found: _found,
    ordering._first_of: _first_of,
    ordering._order: _order,
    reduction._in_dtype: _truth,
    inplace_methods._update: _update,
    kernels.adaptive_max_index: _adaptive_max_index,
}
"""By function: ``form(graph, result, *args, **params)``."""

GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}
"""For each gate in ONNX's order its number in PyTorch's."""


def _stacked(b: Graph, parts: list[Symbol]) -> Symbol:
    """Along a new first axis."""
    return b.node("Concat", *[b.node("Unsqueeze", v, [0]) for v in parts], axis=0)


def _recurrent(
    b: Graph,
    module: RNNBase,
    results: list[Symbol],
    input: Symbol,
    hx: Any = None,
    *,
    weights: dict[str, Symbol],
) -> list[Symbol]:
    """A node for each layer, both directions in one; ONNX's axes are (steps, direction, n, h)."""
    kind = type(module).__name__
    if not isinstance(input, Symbol):
        b.refuse("packed sequences have no form in ONNX")
    if module.proj_size:
        b.refuse("projections have no form in ONNX")
    lone = len(input.shape) == 2
    steps_first = not module.batch_first or lone
    length, n, _ = (input.shape[0], 1, 0) if lone else input.shape
    x = b.node("Unsqueeze", input, [1]) if lone else input
    if not steps_first:
        length, n = n, length
        x = b.node("Transpose", x, perm=[1, 0, 2])
    d, h = 1 + module.bidirectional, module.hidden_size
    order = np.concatenate([np.arange(g * h, (g + 1) * h) for g in GATES[kind]])
    states = [] if hx is None else list(hx) if isinstance(hx, (tuple, list)) else [hx]
    if lone:
        states = [b.node("Unsqueeze", s, [1]) for s in states]
    how: dict[str, Any] = {"hidden_size": h}
    how["direction"] = "bidirectional" if module.bidirectional else "forward"
    if kind == "GRU":
        how["linear_before_reset"] = 1
    if kind == "RNN":
        how["activations"] = [module.mode.removeprefix("RNN_").capitalize()] * d
    ends: list[list[Symbol]] = []
    for layer in range(module.num_layers):
        names = module._names[layer * d : layer * d + d]
        ih, hh, bias_ih, bias_hh = (
            [b.node("Gather", weights[str(row[i])], order, axis=0) for row in names if row[i]]
            for i in range(4)
        )
        w, r = _stacked(b, ih), _stacked(b, hh)
        both = [b.node("Concat", *pair, axis=0) for pair in zip(bias_ih, bias_hh, strict=True)]
        bias = _stacked(b, both) if both else None
        at = [np.array([layer * d]), np.array([layer * d + d]), np.array([0])]
        start = [b.node("Slice", s, *at) for s in states]
        out = b.node(kind, x, w, r, bias, None, *start, outputs=len(results), **how)
        ends.append(list(out[1:]))
        y = b.node("Transpose", out[0], perm=[0, 2, 1, 3])  # (steps, n, direction, h)
        x = b.reshape(y, (length, n, d * h))
    if not steps_first:
        x = b.node("Transpose", x, perm=[1, 0, 2])
    found = [x, *(b.node("Concat", *parts, axis=0) for parts in zip(*ends, strict=True))]
    return [b.node("Squeeze", s, [1]) for s in found] if lone else found


def _as_read(
    b: Graph, module: Scope, results: list[Symbol], node: Any, *inputs: Any, weights: Any
) -> list[Symbol]:
    """A node of a file, as it is there."""
    found = b.node(node.kind, *inputs, outputs=len(results), **node.attributes)
    return list(found) if len(results) > 1 else [found]


MODULES: dict[type, Form] = {
    nn.LSTM: _recurrent,
    nn.GRU: _recurrent,
    nn.RNN: _recurrent,
    Scope: _as_read,  # of recurrent operators alone
}
"""By class: ``form(graph, module, results, *args, weights=..., **kwargs)``, a result for each."""
