"""The class of shapes, and names for types that stand in many signatures."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeAlias, overload

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tinygrad_cnn.kernels.lazy import Lazy
    from tinygrad_cnn.tensor import Tensor

_item: Callable[[tuple[int, ...], Any], Any] = tuple.__getitem__
_new = tuple.__new__  # for sides that are known to be integers


class Size(tuple[int, ...]):
    """The sides of a tensor, as `torch.Size`: a tuple whose parts and sums are of this class too.

    In a format (``f"{x.shape}"``) it is written as the tuple.

    Raises
    ------
    TypeError
        A side is not an integer.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> size = tg.zeros(2, 3, 4).shape
    >>> size, size.numel(), size[1:]
    (Size([2, 3, 4]), 24, Size([3, 4]))
    >>> (5,) + size == (5, 2, 3, 4)
    True
    """

    __slots__ = ()

    def __new__(cls, sides: Iterable[SupportsIndex] = ()) -> Size:
        try:
            return super().__new__(cls, map(operator.index, sides))
        except TypeError:
            raise TypeError(f"Size: `sides` is {sides!r}, expected integers") from None

    def numel(self) -> int:
        """How many elements a tensor of this shape has."""
        return math.prod(self)

    @overload
    def __getitem__(self, key: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> Size: ...
    def __getitem__(self, key: SupportsIndex | slice) -> int | Size:
        found: Any = _item(self, key)
        size: int | Size = _new(Size, found) if type(key) is slice else found
        return size

    def __add__(self, other: object) -> Size:
        return Size((*self, *other)) if isinstance(other, tuple) else NotImplemented

    def __radd__(self, other: object) -> Size:
        return Size((*other, *self)) if isinstance(other, tuple) else NotImplemented

    def __mul__(self, times: SupportsIndex) -> Size:
        return _new(Size, tuple(self) * times)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"Size({list(self)})"

    def __format__(self, spec: str) -> str:
        return format(str(tuple(self)), spec)


Array: TypeAlias = np.ndarray[Any, Any]
DType: TypeAlias = np.dtype[Any]
FLOATING = "fV"
"""The kinds of floating dtypes: V is bfloat16's, as no other dtype of that kind is let in."""

INEXACT = "fcV"
"""The kinds of floating and complex dtypes."""

LEGACY_DTYPES: dict[str, DType] = {
    name + "Tensor": np.dtype(dtype)
    for name, dtype in {
        "Bool": np.bool_,
        "Byte": np.uint8,
        "Char": np.int8,
        "Short": np.int16,
        "Int": np.int32,
        "Long": np.int64,
        "Half": np.float16,
        "Float": np.float32,
        "Double": np.float64,
    }.items()
}
"""Dtypes by the names that PyTorch's constructors had before there was `tensor`."""

AnyFunction: TypeAlias = Callable[..., Any]
Args: TypeAlias = tuple[Any, ...]
"""Arguments by position: tensors, arrays, numbers, None for one that is left out."""

Params: TypeAlias = dict[str, Any]
"""Arguments by keyword, which no gradient goes to."""

DTypeLike: TypeAlias = "npt.DTypeLike | None"
"""What a user may write for a dtype; None for the default one."""

TensorLike: TypeAlias = "Tensor | Array | np.generic | float | Sequence[Any]"
"""What a function takes for a tensor: one, an array, a number, or nested lists of numbers."""

Sizes: TypeAlias = "int | Sequence[int]"
"""An integer, or one for each axis of space."""

Shape: TypeAlias = tuple[int, ...]
Shapes: TypeAlias = tuple[Shape, ...]
"""The shapes of all inputs of an operation, as rules get them."""

Gradients: TypeAlias = "tuple[Array | Lazy | None, ...]"
"""What a rule on arrays returns: a gradient for each input, or None."""

Dims: TypeAlias = "int | Sequence[int] | None"
"""An axis, several, or None for all."""

Tensors: TypeAlias = "Sequence[TensorLike] | Tensor | Array"
"""Several tensors, or the slices of one."""

OutputSize: TypeAlias = "int | Sequence[int | None] | None"
"""A size, or one for each axis of space, where None keeps that of the input."""
