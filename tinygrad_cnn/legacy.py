"""PyTorch's constructors by dtype, from before there was `tensor`."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.errors import DtypeError
from tinygrad_cnn.functions import tensor, zeros
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import LEGACY_DTYPES, Size


class LegacyType:
    """Makes tensors of one dtype, and knows them by ``isinstance``.

    Called with integers it makes a tensor of that size, of zeros; with a sequence or an array
    one that holds it.

    Raises
    ------
    TypeError
        It is called with something else, or with a tensor of another dtype.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.FloatTensor(2, 3).shape, tg.LongTensor([1, 2])
    (Size([2, 3]), tensor([1, 2]))
    >>> isinstance(tg.ones(2), tg.FloatTensor), isinstance(tg.ones(2), tg.LongTensor)
    (True, False)
    """

    def __init__(self, name: str) -> None:
        self.__name__, self.dtype = name, LEGACY_DTYPES[name]

    def __call__(self, *args: Any) -> Tensor:
        if all(isinstance(a, int | np.integer) for a in args):
            return zeros(args or (0,), dtype=self.dtype)
        (data, *more) = args
        if isinstance(data, Size) and not more:
            return zeros(data, dtype=self.dtype)
        fits = isinstance(data, list | tuple | range | np.ndarray | Tensor) and not more
        if not fits or (isinstance(data, Tensor) and data.dtype != self.dtype):
            kind = f"{data.dtype} tensor" if isinstance(data, Tensor) else type(data).__name__
            raise DtypeError(
                f"{self.__name__}: got {len(args)} arguments, the first a {kind}; expected "
                f"integers, one sequence or array, or a tensor of {self.dtype}"
            )
        return data.detach() if isinstance(data, Tensor) else tensor(data, dtype=self.dtype)

    def __instancecheck__(self, value: object) -> bool:
        return isinstance(value, Tensor) and value.dtype == self.dtype

    def __repr__(self) -> str:
        return f"<class {self.__name__!r}>"


BoolTensor = LegacyType("BoolTensor")
ByteTensor = LegacyType("ByteTensor")
CharTensor = LegacyType("CharTensor")
ShortTensor = LegacyType("ShortTensor")
IntTensor = LegacyType("IntTensor")
LongTensor = LegacyType("LongTensor")
HalfTensor = LegacyType("HalfTensor")
FloatTensor = LegacyType("FloatTensor")
DoubleTensor = LegacyType("DoubleTensor")


class VariableType:
    """What `autograd.Variable` is: a tensor, and it makes one of a tensor.

    Programs from before 2018 write ``Variable(x)`` where ``x`` stands today.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> x = tg.autograd.Variable(tg.ones(2), requires_grad=True)
    >>> x.requires_grad, x.is_leaf, isinstance(x, tg.autograd.Variable)
    (True, True, True)
    """

    __name__ = "Variable"

    def __call__(self, data: Tensor, requires_grad: bool = False, volatile: bool = False) -> Tensor:
        """A leaf that shares its memory with ``data``."""
        if not isinstance(data, Tensor):
            raise DtypeError(
                f"Variable: `data` is a {type(data).__name__} but a Tensor is expected"
            )
        return data.detach().requires_grad_(requires_grad and not volatile)

    def __instancecheck__(self, value: object) -> bool:
        return isinstance(value, Tensor)


VARIABLE = VariableType()
