"""Lists and dicts of parameters that a module finds."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, KeysView, Mapping
from typing import Any, Self

from tinygrad_cnn.errors import DtypeError, PositionError
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.nn.module.parameter import Parameter
from tinygrad_cnn.tensor import Tensor


class ParameterList(Module):
    """A list of parameters. Plain tensors are turned into parameters on the way in.

    It may hold other things too, which no one but its owner sees.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> scales = nn.ParameterList([tg.ones(2), tg.zeros(3)])
    >>> [name for name, _ in scales.named_parameters()]
    ['0', '1']
    """

    def __init__(self, values: Iterable[object] | None = None) -> None:
        super().__init__()
        self._size = 0
        if values is not None:
            self.extend(values)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return iter([getattr(self, str(i)) for i in range(self._size)])

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return getattr(self, self._name_at(index))

    def __setitem__(self, index: int, value: object) -> None:
        _put(self, self._name_at(index), value)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]

    def _name_at(self, index: int) -> str:
        where, n = operator.index(index), len(self)
        if not -n <= where < n:
            raise PositionError(f"ParameterList: index {where} but there are {n} parameters")
        return str(where % n)

    def append(self, value: object) -> Self:
        """Add ``value`` at the end and return the list."""
        _put(self, str(self._size), value)
        self._size += 1
        return self

    def extend(self, values: Iterable[object]) -> Self:
        """Add every one of ``values`` at the end and return the list.

        Raises
        ------
        TypeError
            ``values`` is no iterable, or is a tensor.
        """
        if not isinstance(values, Iterable) or isinstance(values, Tensor):
            raise DtypeError(
                f"ParameterList.extend: `values` is a {type(values).__name__} but an iterable of "
                f"parameters is expected"
            )
        for value in list(values):
            self.append(value)
        return self

    def __iadd__(self, values: Iterable[object]) -> Self:
        return self.extend(values)

    def extra_repr(self) -> str:
        """Return one line for each member."""
        return _describe(enumerate(self))


class ParameterDict(Module):
    """A dict of parameters. Plain tensors are turned into parameters on the way in.

    It may hold other things too, which no one but its owner sees. As in PyTorch, the parameters of
    a plain dict go in by name; an `OrderedDict`, another ParameterDict and pairs keep their order.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> table = nn.ParameterDict({"left": tg.ones(2), "right": tg.zeros(3)})
    >>> table["right"].shape
    Size([3])
    """

    def __init__(self, parameters: object = None) -> None:
        super().__init__()
        self._keys: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    def __getitem__(self, key: str) -> Any:
        if key not in self._keys:
            raise KeyError(key)
        return getattr(self, key)

    def __setitem__(self, key: str, value: object) -> None:
        if not isinstance(key, str):
            raise DtypeError(
                f"ParameterDict: key {key!r} is a {type(key).__name__}, expected a str"
            )
        _put(self, key, value)
        self._keys[key] = None

    def __delitem__(self, key: str) -> None:
        del self._keys[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __or__(self, other: ParameterDict) -> ParameterDict:
        joined = self.copy()
        joined.update(other)
        return joined

    def __ror__(self, other: ParameterDict) -> ParameterDict:
        joined = type(self)(other)
        joined.update(self)
        return joined

    def __ior__(self, other: ParameterDict) -> Self:
        self.update(other)
        return self

    def keys(self) -> KeysView[str]:
        """Return the names."""
        return self._keys.keys()

    def values(self) -> Iterable[Any]:
        """Return the parameters."""
        return (self[key] for key in self._keys)

    def items(self) -> Iterable[tuple[str, Any]]:
        """Return pairs of name and parameter."""
        return ((key, self[key]) for key in self._keys)

    def copy(self) -> ParameterDict:
        """Return another dict of the same parameters."""
        return ParameterDict(self)

    def get(self, key: str, default: object = None) -> Any:
        """Return the parameter called ``key``, or ``default``."""
        return self[key] if key in self else default

    def setdefault(self, key: str, default: object = None) -> Any:
        """Return the parameter called ``key``, after having put in ``default`` if it is missing."""
        if key not in self:
            self[key] = default
        return self[key]

    def fromkeys(self, keys: Iterable[str], default: object = None) -> ParameterDict:
        """Return another dict with ``default`` under each of ``keys``."""
        return ParameterDict((key, default) for key in keys)

    def clear(self) -> None:
        """Remove every parameter."""
        for key in list(self._keys):
            del self[key]

    def pop(self, key: str) -> Any:
        """Remove and return the parameter called ``key``."""
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Remove and return the last name and its parameter."""
        if not self._keys:
            raise KeyError("ParameterDict.popitem: there is nothing in it")
        key = next(reversed(self._keys))
        return key, self.pop(key)

    def update(self, parameters: object) -> None:
        """Add the parameters of a mapping, or of an iterable of pairs.

        Raises
        ------
        TypeError
            ``parameters`` is neither, or a name is no str.
        """
        if not isinstance(parameters, Iterable):
            raise DtypeError(
                f"ParameterDict.update: `parameters` is a {type(parameters).__name__} but a "
                f"mapping or an iterable of (name, parameter) pairs is expected"
            )
        pairs: Iterable[Any] = parameters
        if isinstance(parameters, OrderedDict | ParameterDict):
            pairs = parameters.items()
        elif isinstance(parameters, Mapping):
            pairs = sorted(parameters.items(), key=operator.itemgetter(0))
        for key, value in list(pairs):
            self[key] = value

    def extra_repr(self) -> str:
        """Return one line for each member."""
        return _describe(self.items())


def _put(owner: Module, name: str, value: object) -> None:
    if isinstance(value, Tensor) and not isinstance(value, Parameter):
        value = Parameter(value, value.is_floating_point())
    setattr(owner, name, value)


def _describe(members: Iterable[tuple[int | str, object]]) -> str:
    lines = []
    for name, value in members:
        if isinstance(value, Tensor):
            size = "x".join(str(n) for n in value.shape)
            lines.append(f"  ({name}): Parameter containing: [{value.dtype} of size {size}]")
        else:
            lines.append(f"  ({name}): Object of type: {type(value).__name__}")
    return "\n".join(lines)
