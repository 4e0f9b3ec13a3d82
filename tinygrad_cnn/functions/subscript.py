"""What stands in the brackets of ``x[...]``, read as PyTorch reads it.

NumPy applies all parts of an index at once, so that a number beside an array is an array too, and
where the result's axes go depends on it. PyTorch first applies what gives a view (numbers, slices,
``...``, None), then the arrays to what is left. `parse` takes an index apart in these two.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.errors import PositionError
from tinygrad_cnn.kernels.tape import do
from tinygrad_cnn.types import Array

ALL = slice(None)
_PLAIN = (int, slice, type(None), type(Ellipsis))

Index = tuple[Any, ...]


def parse(index: Any, shape: tuple[int, ...]) -> tuple[Index | None, Index | None]:
    """The two indices, one after the other, that ``index`` of a tensor of ``shape`` stands for.

    The first has numbers, slices and None, the second arrays of integers or bools and ``ALL``;
    either is None if it would change nothing. Both are NumPy's, and nobody else has their arrays.

    Raises
    ------
    IndexError
        Too many parts, two ``...``, or a part that is no index.

    >>> parse((1, [0, 2]), (2, 3))
    ((1, slice(None, None, None)), (array([0, 2]),))
    """
    parts = index if type(index) is tuple or _is_tuple(index) else (index,)
    if all([type(p) in (int, slice) for p in parts]) and len(parts) <= len(shape):
        return parts, None
    parts = tuple([p if type(p) in _PLAIN else _part(p) for p in parts])
    taken = sum(_axes(p) for p in parts)
    if taken > len(shape):
        raise PositionError(f"{taken} indices are too many for {len(shape)} axes")
    dots = sum(p is Ellipsis for p in parts)
    if dots > 1:
        raise PositionError("an index can have only one `...`")
    first: list[Any] = []
    second: list[Any] = []
    at = 0  # which axis of the tensor is next
    for part in parts if dots else (*parts, Ellipsis):
        sides = shape[at : at + _axes(part)]
        at += len(shape) - taken if part is Ellipsis else len(sides)
        if part is Ellipsis:
            first += [ALL] * (len(shape) - taken)
            second += [ALL] * (len(shape) - taken)
        elif type(part) is bool:  # an axis of length 1, of which the only number is taken or not
            first.append(None)
            second.append(np.zeros(int(part), np.int64))
        elif isinstance(part, np.ndarray):
            if part.dtype == bool and part.shape != sides:
                raise PositionError(f"a mask of shape {part.shape} is for axes of {sides}")
            first += [ALL] * _axes(part)
            second.append(part)
        else:
            first.append(part)
            if type(part) is not int:
                second.append(ALL)
    return _unless_all(first), _unless_all(second)


def _is_tuple(index: Any) -> bool:
    """Whether PyTorch takes a list for a tuple: if it is short and holds more than numbers."""
    more = (Variable, list, tuple, range, np.ndarray, slice, type(None), type(Ellipsis))
    return (
        isinstance(index, list | range)
        and len(index) < 32
        and any(isinstance(p, more) for p in index)
    )


def _unless_all(parts: list[Any]) -> Index | None:
    return None if all(type(p) is slice and p == ALL for p in parts) else tuple(parts)


def _axes(part: Any) -> int:
    """How many axes a part of an index takes up."""
    if part is None or part is Ellipsis or type(part) is bool:
        return 0
    return part.ndim if isinstance(part, np.ndarray) and part.dtype == bool else 1


def _part(p: Any) -> Any:
    """One part as NumPy takes it: numbers as int and bool, the rest as arrays."""
    if isinstance(p, slice):
        return slice(*[_part(n) if isinstance(n, Variable | np.ndarray) else n
                       for n in (p.start, p.stop, p.step)])  # fmt: skip
    if isinstance(p, Variable):
        by_place = p._value.ndim and p._value.dtype.kind == "i"  # how many do not depend on numbers
        array = do(np.ndarray.copy, p._given) if by_place else p._array.copy()
    else:
        array = np.array(_plain(p))
        if not array.size and not isinstance(p, np.ndarray | np.generic):
            array = array.astype(np.int64)
    if array.dtype == np.uint8 and not isinstance(p, np.generic):
        warnings.warn(
            "index: a uint8 tensor is taken for a mask; use a bool tensor for a mask, an int64 one "
            "for positions",
            UserWarning,
            stacklevel=5,
        )
        array = array.astype(bool)
    if array.dtype.kind not in "biu":
        is_array = isinstance(p, Variable | np.ndarray | np.generic)
        what = f"tensor of dtype {array.dtype}" if is_array else type(p).__name__
        raise PositionError(f"a {what} is no index, expected integers, bools, slices, ... or None")
    return array if array.ndim else array.item()


def array_part(p: Any) -> Array:
    """One part of an index as an array, numbers too; None as all places."""
    return ALL if p is None else np.asarray(_part(p))  # type: ignore[return-value]


def _plain(p: Any) -> Any:
    """Nested lists without tensors in them."""
    if isinstance(p, Variable):
        return p._array
    return [_plain(q) for q in p] if isinstance(p, list | tuple | range) else p
