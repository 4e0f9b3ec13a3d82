"""Modules that hold other modules: in a chain, a list or a dict."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, overload

from tinygrad_cnn.errors import ArgumentError, DtypeError, PositionError
from tinygrad_cnn.nn.module.core import Module, _frame, _indent


class _Numbered(Module):
    """Submodules named "0", "1", ...; the common part of `Sequential` and `ModuleList`."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._held())

    def _held(self) -> list[Any]:
        return list(self._modules.values())

    def _name_at(self, index: int) -> str:
        where, n = operator.index(index), len(self)
        if not -n <= where < n:
            raise PositionError(f"{type(self).__name__}: index {where} but there are {n} modules")
        return list(self._modules)[where]

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Any:
        """Return one module, or for a slice a container of the same kind that shares them."""
        if isinstance(index, slice):
            return self._sliced(index)
        return self._modules[self._name_at(index)]

    def _sliced(self, index: slice) -> Self:
        # Only ModuleList uses this one, whose constructor takes a list.
        return type(self)(self._held()[index])

    def __setitem__(self, index: int, module: Module) -> None:
        self._modules[self._name_at(index)] = _checked(self, module)

    def __delitem__(self, index: int | slice) -> None:
        names = list(self._modules)
        for name in names[index] if isinstance(index, slice) else [self._name_at(index)]:
            del self._modules[name]
        kept = list(self._modules.values())
        self._modules.clear()  # as in PyTorch, names that a user chose go too
        self._modules.update((str(i), module) for i, module in enumerate(kept))

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]

    def append(self, module: Module) -> Self:
        """Add ``module`` at the end and return the container.

        Raises
        ------
        TypeError
            ``module`` is no Module.
        """
        self.register_module(self._free_name(), _checked(self, module))
        return self

    def _free_name(self) -> str:
        return str(len(self))

    def insert(self, index: int, module: Module) -> Self:
        """Put ``module`` before the one at ``index`` and return the container.

        Raises
        ------
        IndexError
            ``index`` is outside the container.
        TypeError
            ``module`` is no Module.
        """
        n = len(self)
        if not -n <= index <= n:
            raise PositionError(f"{type(self).__name__}: index {index} but there are {n} modules")
        items = list(self._modules.items())
        items.insert(index, ("0", _checked(self, module)))
        self._modules.clear()
        for i, (name, value) in enumerate(items):  # names that a user chose stay
            self._modules[str(i) if name.isdigit() else name] = value
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add every module of ``modules`` at the end and return the container."""
        if not isinstance(modules, Iterable):
            raise DtypeError(
                f"{type(self).__name__}.extend: `modules` is a {type(modules).__name__} but an "
                f"iterable of modules is expected"
            )
        for module in list(modules):
            self.append(module)
        return self

    def pop(self, index: int | slice = -1) -> Any:
        """Remove and return the module at ``index``, or a container of those of a slice."""
        found = self[index]
        del self[index]
        return found


class Sequential(_Numbered):
    """Feed each module's output to the next one.

    Made from modules in order, or from one ordered mapping of names to modules. An integer index
    gives a module, a slice a Sequential that shares its modules. ``a + b`` is one chain after the
    other, ``a * 3`` the same modules three times in a row.

    Raises
    ------
    TypeError
        An argument is no Module.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> net(tg.ones(3, 4)).shape
    Size([3, 2])
    >>> net[:2]
    Sequential(
      (0): Linear(in_features=4, out_features=8, bias=True)
      (1): ReLU()
    )
    >>> [name for name, _ in nn.Sequential({"act": nn.ReLU()}).named_children()]
    ['act']
    """

    def __init__(self, *args: Module | Mapping[str, Module]) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], Mapping):
            for name, module in args[0].items():
                self.register_module(name, _checked(self, module))
        else:
            for i, value in enumerate(args):
                self.register_module(str(i), _checked(self, value))

    def _sliced(self, index: slice) -> Self:
        named = dict(list(self._modules.items())[index])
        return type(self)(named)  # type: ignore[arg-type]  # a chain holds no None

    def forward(self, input: Any) -> Any:
        """Apply the modules one after the other."""
        for module in self._modules.values():
            input = module(input)  # type: ignore[misc]  # a chain holds no None
        return input

    def _free_name(self) -> str:
        n = len(self)
        while str(n) in self._modules:  # after slicing, numbers need not start at 0
            n += 1
        return str(n)

    def __add__(self, other: Sequential) -> Sequential:
        if not isinstance(other, Sequential):
            return NotImplemented
        return Sequential(*self._held(), *other._held())

    def __iadd__(self, other: Sequential) -> Self:
        if not isinstance(other, Sequential):
            return NotImplemented
        return self.extend(other._held())

    def __mul__(self, times: int) -> Sequential:
        if not isinstance(times, int):
            return NotImplemented
        return Sequential(*self._held() * self._positive(times))

    __rmul__ = __mul__

    def __imul__(self, times: int) -> Self:
        if not isinstance(times, int):
            return NotImplemented
        return self.extend(self._held() * (self._positive(times) - 1))

    def _positive(self, times: int) -> int:
        if times < 1:
            raise ArgumentError(
                f"{type(self).__name__}: a chain can be repeated 1 or more times, not {times}"
            )
        return times


class ModuleList(_Numbered):
    """A list of modules whose parameters are found. It has no `forward`: index or iterate it.

    >>> from tinygrad_cnn import nn
    >>> layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
    >>> layers
    ModuleList(
      (0-2): 3 x Linear(in_features=4, out_features=4, bias=True)
    )
    >>> len(layers[1:])
    2
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def __iadd__(self, modules: Iterable[Module]) -> Self:
        return self.extend(modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def __repr__(self) -> str:
        """Set equal neighbours on one line, as PyTorch does."""
        runs: list[list[Any]] = []  # [first, last, text]
        for i, text in enumerate(repr(module) for module in self):
            if runs and runs[-1][2] == text:
                runs[-1][1] = i
            else:
                runs.append([i, i, text])
        lines = [
            f"({first}): {_indent(text)}"
            if first == last
            else f"({first}-{last}): {last - first + 1} x {_indent(text)}"
            for first, last, text in runs
        ]
        return _frame(self._get_name(), [], lines)


class ModuleDict(Module):
    """A dict of modules whose parameters are found. It has no `forward`.

    >>> from tinygrad_cnn import nn
    >>> heads = nn.ModuleDict({"coarse": nn.Linear(8, 2), "fine": nn.Linear(8, 10)})
    >>> heads["fine"]
    Linear(in_features=8, out_features=10, bias=True)
    >>> list(heads)
    ['coarse', 'fine']
    """

    def __init__(
        self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None
    ) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.register_module(key, _checked(self, module))

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def keys(self) -> Iterable[str]:
        """Return the names."""
        return self._modules.keys()

    def values(self) -> Iterable[Any]:
        """Return the modules."""
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Return pairs of name and module."""
        return self._modules.items()

    def clear(self) -> None:
        """Remove every module."""
        self._modules.clear()

    def pop(self, key: str) -> Module:
        """Remove and return the module called ``key``."""
        module: Module = self[key]
        del self[key]
        return module

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add the modules of a mapping, or of an iterable of pairs.

        Raises
        ------
        TypeError
            ``modules`` is neither, or a value is no Module.
        """
        if not isinstance(modules, Iterable):
            raise DtypeError(
                f"ModuleDict.update: `modules` is a {type(modules).__name__} but a mapping or an "
                f"iterable of (name, module) pairs is expected"
            )
        for name, module in dict(modules).items():
            self[name] = module


def _checked(owner: Module, module: Any) -> Any:
    """``module``, which may be None where nobody calls it: then the place is kept free."""
    if isinstance(module, Module) or (module is None and not isinstance(owner, Sequential)):
        return module
    if isinstance(module, type) and issubclass(module, Module):
        hint = f"the class {module.__name__}; write {module.__name__}()"
    else:
        hint = f"a {type(module).__name__}"
    raise DtypeError(f"{type(owner).__name__}: expected a Module, got {hint}")
