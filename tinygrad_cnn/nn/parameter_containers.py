"""Lists and dicts of parameters that a module finds."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from tinygrad_cnn.nn.module import Module, _frame
from tinygrad_cnn.nn.parameter import Parameter
from tinygrad_cnn.tensor import Tensor

__all__ = ["ParameterDict", "ParameterList"]


class ParameterList(Module):
    """A list of parameters. Plain tensors are turned into parameters on the way in.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> scales = nn.ParameterList([tg.ones(2), tg.zeros(3)])
    >>> [name for name, _ in scales.named_parameters()]
    ['0', '1']
    """

    def __init__(self, values: Iterable[Tensor] | None = None) -> None:
        super().__init__()
        if values is not None:
            self.extend(values)

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._parameters.values()))

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return self._parameters[self._name_at(index)]

    def __setitem__(self, index: int, value: Tensor) -> None:
        self._parameters[self._name_at(index)] = _parameter(self, value)

    def _name_at(self, index: int) -> str:
        where, n = operator.index(index), len(self)
        if not -n <= where < n:
            raise IndexError(f"ParameterList: index {where} but there are {n} parameters")
        return str(where % n)

    def append(self, value: Tensor) -> Self:
        """Add ``value`` at the end and return the list.

        Raises
        ------
        TypeError
            ``value`` is no Tensor.
        """
        self.register_parameter(str(len(self)), _parameter(self, value))
        return self

    def extend(self, values: Iterable[Tensor]) -> Self:
        """Add every tensor of ``values`` at the end and return the list."""
        for value in list(values):
            self.append(value)
        return self

    def __iadd__(self, values: Iterable[Tensor]) -> Self:
        return self.extend(values)

    def __repr__(self) -> str:
        return _describe(self)


class ParameterDict(Module):
    """A dict of parameters. Plain tensors are turned into parameters on the way in.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> table = nn.ParameterDict({"left": tg.ones(2), "right": tg.zeros(3)})
    >>> table["right"].shape
    (3,)
    """

    def __init__(
        self, parameters: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]] | None = None
    ) -> None:
        super().__init__()
        if parameters is not None:
            self.update(parameters)

    def __getitem__(self, key: str) -> Any:
        return self._parameters[key]

    def __setitem__(self, key: str, value: Tensor) -> None:
        self.register_parameter(key, _parameter(self, value))

    def __delitem__(self, key: str) -> None:
        del self._parameters[key]

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __contains__(self, key: object) -> bool:
        return key in self._parameters

    def keys(self) -> Iterable[str]:
        """Return the names."""
        return self._parameters.keys()

    def values(self) -> Iterable[Any]:
        """Return the parameters."""
        return self._parameters.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Return pairs of name and parameter."""
        return self._parameters.items()

    def pop(self, key: str) -> Any:
        """Remove and return the parameter called ``key``."""
        value = self[key]
        del self[key]
        return value

    def update(self, parameters: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]]) -> None:
        """Add the tensors of a mapping, or of an iterable of pairs.

        Raises
        ------
        TypeError
            A value is no Tensor.
        """
        for name, value in dict(parameters).items():
            self[name] = value

    def __repr__(self) -> str:
        return _describe(self)


def _parameter(owner: Module, value: Any) -> Parameter:
    if isinstance(value, Parameter):
        return value
    if isinstance(value, Tensor):
        return Parameter(value)
    raise TypeError(f"{type(owner).__name__}: expected a Tensor, got {type(value).__name__}")


def _describe(owner: Module) -> str:
    lines = [
        f"({name}): Parameter containing: [{param.dtype} of size {_size(param)}]"
        for name, param in owner._parameters.items()
        if param is not None
    ]
    return _frame(type(owner).__name__, [], lines)


def _size(param: Parameter) -> str:
    return "x".join(str(n) for n in param.shape)
