"""What an operation's form in ONNX is written in: a small protocol, which the exporter fits.

A form is a function ``form(o, x, dim)``: the graph that is being built, then, by name, what it
needs of the operation's arguments (as `Symbol`, or None where left out), its parameters and ``y``,
of which shape and dtype are known. It returns the result's `Symbol`. Arithmetic on symbols adds
nodes, as the attributes of the graph do, which are ONNX's operators by name::

    onnx=lambda o, x: x * o.Sigmoid(x)

Nothing here imports `onnx`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol

from tinygrad_cnn.types import DType


class Symbol(Protocol):
    """A value of the graph. Sides that follow the batch's size are no integers (`onnx.sides`)."""

    shape: tuple[Any, ...]
    """Known for what the operation gets and gives, () for what a form makes in between."""
    dtype: DType

    def __add__(self, other: Any) -> Symbol: ...
    def __sub__(self, other: Any) -> Symbol: ...
    def __mul__(self, other: Any) -> Symbol: ...
    def __truediv__(self, other: Any) -> Symbol: ...
    def __neg__(self) -> Symbol: ...


class Graph(Protocol):
    """The graph that is being built.

    ``o.Softmax(x, axis=1)`` adds a node and returns its result (a tuple with ``outputs=2``);
    ``dtype=`` says the result's if it is not that of the first input. Numbers and arrays among the
    inputs become constants, numbers in the dtype of the first symbol.
    """

    opset: int

    def __getattr__(self, kind: str) -> Callable[..., Any]: ...

    def constant(self, value: Any, dtype: Any = None) -> Symbol:
        """A constant array."""
        ...

    def vector(self, sides: Sequence[Any]) -> Symbol:
        """Sides, some of which may follow the batch's size, as int64 (n,)."""
        ...

    def number(self, side: Any, like: Symbol) -> Symbol:
        """A side as a number of the dtype of ``like``."""
        ...

    def count(self, shape: Sequence[Any], dim: Sequence[int]) -> Any:
        """How many numbers there are along axes of a shape: a side."""
        ...

    def reshape(self, x: Symbol, shape: Sequence[Any]) -> Symbol:
        """``x`` in another shape, whose sides may follow the batch's size."""
        ...

    def reduce(self, kind: str, x: Symbol, dim: Sequence[int], keepdim: bool) -> Symbol:
        """A reduction of ONNX's, such as ``"ReduceMax"``, over the axes ``dim``; none for ()."""
        ...

    def cast(self, x: Symbol, dtype: DType) -> Symbol:
        """``x`` in a dtype."""
        ...

    def made_by(self, x: Symbol | None, function: Callable[..., Any]) -> tuple[Any, ...] | None:
        """What ``function``, done by `kernels.tape.do`, got if ``x`` is among its results."""
        ...

    def refuse(self, why: str) -> NoReturn:
        """Raise an error that says that, and where, the operation cannot be exported."""
        ...
