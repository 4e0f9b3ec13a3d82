"""The walks over a tree of modules, and the search in it by path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.nn.module.parameter import Parameter
from tinygrad_cnn.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_cnn.nn.module.core import Module

Lookup: TypeAlias = Callable[[Any], Mapping[str, Tensor | None]]
"""Which of a module's members are meant: parameters, buffers."""


class TreeMixin:
    """The part of `Module` that finds what it and the modules below own."""

    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]

    def named_modules(
        self,
        memo: set[Module] | None = None,
        prefix: str = "",
        remove_duplicate: bool = True,
    ) -> Iterator[tuple[str, Module]]:
        """Yield ``(path, module)`` for this module (``""``) and all below it, parents first.

        A module that is reached twice is yielded once, unless ``remove_duplicate`` is False.

        >>> from tinygrad_cnn import nn
        >>> [path for path, _ in nn.Sequential(nn.ReLU(), nn.Sequential(nn.Tanh())).named_modules()]
        ['', '0', '1', '1.0']
        """
        seen: set[Module] = set() if memo is None else memo
        return walk(self, seen, prefix, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """Yield this module and all below it, each once."""
        for _, module in self.named_modules():
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield ``(name, module)`` for the modules directly below, each once."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """Yield the modules directly below, each once."""
        for _, module in self.named_children():
            yield module

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Yield ``(path, parameter)``, of this module only if ``recurse`` is False.

        A parameter that two modules share is yielded once, under its first path, unless
        ``remove_duplicate`` is False.

        >>> from tinygrad_cnn import nn
        >>> [(name, p.shape) for name, p in nn.Linear(3, 2).named_parameters()]
        [('weight', Size([2, 3])), ('bias', Size([2]))]
        """
        return self._named_members(_params, prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield the parameters, each once, in the order of registration."""
        for _, param in self.named_parameters(recurse=recurse):
            yield param

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield ``(path, buffer)``, of this module only if ``recurse`` is False."""
        return self._named_members(
            lambda module: module._buffers, prefix, recurse, remove_duplicate
        )

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Yield the buffers, each once, in the order of registration."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def _named_members(
        self,
        of: Lookup,
        prefix: str,
        recurse: bool,
        remove_duplicate: bool,
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        at: Iterable[tuple[str, Any]] = [(prefix, self)]
        if recurse:
            at = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
        for path, module in at:
            module._warn_of_lost()
            for name, value in of(module).items():
                if value is None or id(value) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(value))
                yield (f"{path}.{name}" if path else name), value

    def get_submodule(self, target: str) -> Module:
        """Return the module at the dotted path ``target`` (``""`` is this module).

        Raises
        ------
        AttributeError
            There is none; the text says where the path ends and what is there.
        """
        module: Any = self
        for i, name in enumerate(target.split(".") if target else ()):
            children = module._modules
            if children.get(name) is None:
                at = ".".join(target.split(".")[:i])
                raise AttributeError(
                    f"get_submodule: no module {name!r} in {at or 'the root'} "
                    f"({type(module).__name__}), which has {sorted(children) or 'none'}"
                )
            module = children[name]
        found: Module = module
        return found

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put ``module`` at the dotted path ``target``.

        Raises
        ------
        AttributeError
            The module above is not there, or, with ``strict``, none at ``target``, or something
            else is.
        ValueError
            ``target`` is empty, or ``module`` no module.

        >>> from tinygrad_cnn import nn
        >>> net = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
        >>> net.set_submodule("1", nn.Tanh())
        >>> net[1]
        Tanh()
        """
        path, _, name = target.rpartition(".")
        if not name:
            raise ArgumentError(f"set_submodule: `target` is {target!r} but a path is expected")
        if not isinstance(module, TreeMixin):
            raise ArgumentError(
                f"set_submodule: `module` is {module!r} ({type(module).__name__}) but an nn.Module "
                f"is expected"
            )
        above = self.get_submodule(path)
        if strict:
            self.get_submodule(target)
        elif not isinstance(getattr(above, name, module), TreeMixin):
            raise AttributeError(f"set_submodule: {target!r} is there but no nn.Module")
        setattr(above, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """Return the parameter at the dotted path ``target``.

        Raises
        ------
        AttributeError
            There is none.
        """
        found: Parameter = self._get_member(target, _params, "parameter")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """Return the buffer at the dotted path ``target``.

        Raises
        ------
        AttributeError
            There is none.
        """
        found: Tensor = self._get_member(target, lambda module: module._buffers, "buffer")
        return found

    def _get_member(self, target: str, of: Lookup, kind: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        members = of(module)
        if members.get(name) is None:
            raise AttributeError(
                f"get_{kind}: no {kind} {name!r} in {path or 'the root'} "
                f"({type(module).__name__}), which has {sorted(members) or 'none'}"
            )
        return members[name]


def _params(module: TreeMixin) -> Mapping[str, Parameter | None]:
    return module._parameters


def walk(
    module: Any, seen: set[Module], prefix: str, remove_duplicate: bool
) -> Iterator[tuple[str, Module]]:
    """Yield ``(path, module)``, parents first; ``seen`` is left out and added to."""
    if module in seen:
        return
    if remove_duplicate:
        seen.add(module)
    yield prefix, module
    for name, child in module._modules.items():
        if child is not None:
            path = f"{prefix}.{name}" if prefix else name
            yield from walk(child, seen, path, remove_duplicate)
