"""What serves NumPy's functions on tensors, by NumPy's names, and how arguments come to it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tinygrad_cnn import functions as f
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.functions.convert import to_tensor
from tinygrad_cnn.functions.export import EXPORTS
from tinygrad_cnn.types import INEXACT, DType

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])
NO_VALUE = np._NoValue
"""What NumPy has for an argument that was not given."""


class Unserved(TypeError):
    """What was asked has no derivative here: NumPy computes it where none is wanted."""


SERVED: dict[Any, Callable[..., Any]] = {
    theirs: export.function for export in EXPORTS.values() for theirs in export.numpy
}
"""What does it with tensors of floating or complex numbers, by NumPy's function."""

LAYOUT: set[Any] = set()
"""NumPy's functions that are served for every dtype: they compute no numbers."""


def numpys(name: str) -> Any:
    """NumPy's function of a name such as ``"linalg.norm"``; None where this NumPy lacks it."""
    try:
        return operator.attrgetter(name)(np)
    except AttributeError:
        return None


def serves(*names: str, layout: bool = False) -> Callable[[F], F]:
    """Note that the decorated function does with tensors what NumPy's of these names do.

    It has NumPy's arguments as far as it can serve them.
    """

    def note(function: F) -> F:
        for theirs in filter(None, map(numpys, names)):
            SERVED[theirs] = function
            if layout:
                LAYOUT.add(theirs)
        return function

    return note


def name_of(function: Any) -> str:
    """NumPy's function as users write it."""
    module = getattr(function, "__module__", None) or "numpy"
    return f"{module}.{function.__name__}".replace("numpy", "np", 1)


def tensors_in(values: Any) -> Iterable[Variable]:
    """All tensors among nested lists, tuples and dictionaries."""
    if isinstance(values, Variable):
        yield values
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from tensors_in(value)
    elif isinstance(values, dict):
        yield from tensors_in(list(values.values()))


def is_inexact(values: Any) -> bool:
    """Whether any tensor among them has numbers that can have gradients."""
    return any(t._value.dtype.kind in INEXACT for t in tensors_in(values))


def as_tensor(value: Any) -> Tensor:
    """A tensor of NumPy's dtype for ``value``: lists may hold tensors, and keep their gradients."""
    if isinstance(value, (list, tuple)) and any(True for _ in tensors_in(value)):
        return f.stack(promoted(*value))
    return to_tensor(value if isinstance(value, Variable) else np.asarray(value))


def dtype_of_all(values: Iterable[Any]) -> DType:
    """The dtype in which NumPy brings ``values`` together: Python's numbers adapt to the others."""
    kinds = [
        v if isinstance(v, (bool, int, float, complex)) else v._value.dtype
        if isinstance(v, Variable) else as_tensor(v).dtype
        for v in values
    ]  # fmt: skip
    return np.result_type(*kinds)


def promoted(*values: Any, dtype: Any = None) -> list[Tensor]:
    """Tensors of one dtype, NumPy's for all of them unless it is given."""
    wanted = dtype_of_all(values) if dtype is None else np.dtype(dtype)
    return [f.to(as_tensor(v), wanted) for v in values]


def arrays(*values: Any) -> list[Tensor]:
    """`promoted`, where NumPy makes arrays of Python's numbers first, which then do not adapt."""
    return promoted(*map(as_tensor, values))


def numbers(value: Any) -> Any:
    """The numbers of what no gradient goes to: indices, counts, shares."""
    if isinstance(value, Variable):
        if value.current_node() is not None:
            raise Unserved(
                "no gradient can go to this argument: pass detach() of it to compute without"
            )
        return value.array
    return [numbers(v) for v in value] if isinstance(value, list) else value


def positions(axis: Any, ndim: int) -> tuple[int, ...]:
    """``axis`` (a number, several, or None for all) as numbers from 0.

    Raises
    ------
    AxisError
        One is out of range, or given twice.
    """
    if axis is None:
        return tuple(range(ndim))
    given: Sequence[Any] = axis if isinstance(axis, (tuple, list)) else (axis,)
    return np.lib.array_utils.normalize_axis_tuple(given, ndim)
