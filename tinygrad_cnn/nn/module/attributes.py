"""What a module owns and under which names: attributes that register themselves."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeGuard

from tinygrad_cnn.autograd.hooks import Hooks
from tinygrad_cnn.errors import DtypeError
from tinygrad_cnn.nn.module.parameter import Buffer, Parameter
from tinygrad_cnn.nn.module.tree import TreeMixin, walk
from tinygrad_cnn.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_cnn.nn.module.core import Module

_REGISTRIES = ("_parameters", "_buffers", "_modules")
_FOR_CONTAINER = {list: "List", tuple: "List", dict: "Dict", set: "List", frozenset: "List"}
_MOST_MEMBERS = 64  # of a class, whose modules may have a new name each
_LOOKED_AT = 100  # entries of a plain container that are searched for lost modules


registering = {kind: Hooks() for kind in ("parameter", "buffer", "module")}
"""By kind the hooks that see what modules are about to own."""


def _seen(kind: str, module: OwnerMixin, name: str, member: Any) -> Any:
    """What the hooks make of a member."""
    for hook in tuple(registering[kind].values()):
        changed = hook(module, name, member)
        member = member if changed is None else changed
    return member


class Changes:
    """How often attributes of modules were set or deleted, or members registered."""

    count = 0


changes = Changes()


def _counted(name: str) -> Any:
    change = getattr(dict, name)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        changes.count += 1
        return change(self, *args, **kwargs)

    method.__name__ = name
    return method


class Members(dict[Any, Any]):
    """A dictionary whose changes are counted among those of modules."""

    __slots__ = ()

    __setitem__ = _counted("__setitem__")
    __delitem__ = _counted("__delitem__")
    __ior__ = _counted("__ior__")
    clear = _counted("clear")
    pop = _counted("pop")
    popitem = _counted("popitem")
    setdefault = _counted("setdefault")
    update = _counted("update")


class _Member:
    """What modules of a class own under a name, found without `OwnerMixin.__getattr__`.

    That is asked only after Python has made an AttributeError, which takes four times as long. An
    attribute of the module itself comes before this one, as it has no ``__set__``.
    """

    __slots__ = ("name", "registry")

    def __init__(self, name: str, registry: str) -> None:
        self.name, self.registry = name, registry

    def __get__(self, module: OwnerMixin | None, owner: type | None = None) -> Any:
        if module is not None:
            members = module.__dict__.get(self.registry)
            if members is not None and self.name in members:
                return members[self.name]
        raise AttributeError(self.name)  # `__getattr__` looks further


class OwnerMixin:
    """The part of `Module` that registers parameters, buffers and submodules."""

    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _non_persistent_buffers_set: set[str]

    # -- attributes ---------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        # Called only where the usual lookup found nothing.
        held = self.__dict__
        if "_modules" in held:
            if name in (members := held["_modules"]):
                return members[name]
            if name in (members := held["_parameters"]) or name in (members := held["_buffers"]):
                return members[name]
        elif name[:1] == "_" and name[:2] != "__":
            raise AttributeError(self._uninitialised(f"`{name}` is used"))
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        changes.count += 1
        if isinstance(value, Parameter):
            self._require_init(f"parameter `{name}` is assigned")
            self._forget(name, keep="_parameters")
            self.register_parameter(name, value)
            return
        if isinstance(value, Buffer):
            self._require_init(f"buffer `{name}` is assigned")
            self._forget(name, keep="_buffers")
            self.register_buffer(name, value, value.persistent)
            return
        if _is_module(value):
            self._require_init(f"module `{name}` is assigned")
            self._forget(name, keep="_modules")
            self.register_module(name, value)
            return
        held = self.__dict__
        if "_modules" in held:
            for registry, kind, wanted in (
                ("_parameters", "parameter", "nn.Parameter"),
                ("_modules", "submodule", "nn.Module"),
                ("_buffers", "buffer", "Tensor"),
            ):
                if name in held[registry]:
                    if value is not None and not (kind == "buffer" and isinstance(value, Tensor)):
                        raise DtypeError(
                            f"{type(self).__name__}: cannot assign {type(value).__name__} to "
                            f"{kind} `{name}` (expected {wanted} or None; `del` it first to reuse "
                            f"the name)"
                        )
                    held[registry][name] = value
                    return
        object.__setattr__(self, name, value)
        if isinstance(value, list | tuple | dict | set | frozenset):
            self._warn_if_lost(name, value)

    def __delattr__(self, name: str) -> None:
        changes.count += 1
        for registry in _REGISTRIES:
            if name in self.__dict__.get(registry, ()):
                del self.__dict__[registry][name]
                self._non_persistent_buffers_set.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        names = set(object.__dir__(self))
        for registry in _REGISTRIES:
            names.update(self.__dict__.get(registry, ()))
        return sorted(names)

    def _forget(self, name: str, *, keep: str) -> None:
        """Free ``name`` for another kind of member."""
        self.__dict__.pop(name, None)
        for registry in _REGISTRIES:
            if registry != keep:
                self.__dict__[registry].pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    def _require_init(self, what: str) -> None:
        if "_modules" not in self.__dict__:
            raise AttributeError(self._uninitialised(what))

    def _uninitialised(self, what: str) -> str:
        name = type(self).__name__
        return (
            f"{name}: {what} before Module.__init__() has run; call `super().__init__()` first in "
            f"{name}.__init__"
        )

    # -- registration -------------------------------------------------------------------------

    def _check_name(self, registry: str, name: str) -> None:
        kind = registry.strip("_").removesuffix("s")
        self._require_init(f"{kind} `{name}` is registered")
        if not isinstance(name, str):
            raise DtypeError(f"{kind} name: expected a str, got {type(name).__name__}")
        if "." in name:
            raise KeyError(f"{kind} name {name!r} contains a dot, which separates levels of a path")
        if name == "":
            raise KeyError(f"{kind} name is empty")
        if name not in self.__dict__[registry] and hasattr(self, name):
            raise KeyError(f"attribute {name!r} of {type(self).__name__} already exists")
        self._find_fast(registry, name)

    def _find_fast(self, registry: str, name: str) -> None:
        """Have the class find members of this name, unless somebody else answers for it."""
        kind = type(self)
        if kind.__getattr__ is not OwnerMixin.__getattr__ or not name.isidentifier():
            return
        found = [vars(base)[name] for base in kind.__mro__ if name in vars(base)]
        if not found and sum(type(v) is _Member for v in vars(kind).values()) < _MOST_MEMBERS:
            setattr(kind, name, _Member(name, registry))

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Own ``param`` under ``name``; None keeps the name free of values (``bias=False``).

        Raises
        ------
        KeyError
            The name is empty, contains a dot or belongs to something else.
        TypeError
            ``param`` is no `Parameter`.
        """
        self._check_name("_parameters", name)
        if param is not None and not isinstance(param, Parameter):
            raise DtypeError(
                f"register_parameter: `{name}` is a {type(param).__name__} but nn.Parameter or "
                f"None is expected; wrap it: nn.Parameter(...)"
            )
        self._parameters[name] = _seen("parameter", self, name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Own ``tensor`` as state that is saved (if ``persistent``) but not trained.

        Raises
        ------
        KeyError
            The name is empty, contains a dot or belongs to something else.
        TypeError
            ``tensor`` is neither a Tensor nor None.
        """
        self._check_name("_buffers", name)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise DtypeError(
                f"register_buffer: `{name}` is a {type(tensor).__name__} but Tensor or None is "
                f"expected"
            )
        self._buffers[name] = _seen("buffer", self, name, tensor)
        self._non_persistent_buffers_set.discard(name)
        if not persistent:
            self._non_persistent_buffers_set.add(name)

    def register_module(self, name: str, module: Module | None) -> None:
        """Own ``module`` under ``name``, as ``self.name = module`` does.

        Raises
        ------
        KeyError
            The name is empty, contains a dot or belongs to something else.
        TypeError
            ``module`` is neither a Module nor None.
        """
        self._check_name("_modules", name)
        if module is not None and not _is_module(module):
            raise DtypeError(
                f"register_module: `{name}` is a {_name_of(module)} but a Module or None is "
                f"expected (an instance, not a class)"
            )
        self._modules[name] = _seen("module", self, name, module)

    def add_module(self, name: str, module: Module | None) -> None:
        """Do the same as `register_module`."""
        self.register_module(name, module)

    # -- modules in plain containers ----------------------------------------------------------

    def _warn_if_lost(self, name: str, container: Iterable[object]) -> None:
        """Warn, once per attribute, of modules and parameters that nobody will ever find."""
        lost = [v for v in _leaves(container) if _is_module(v) or isinstance(v, Parameter)]
        if not lost or name in self.__dict__.get("_warned_of", ()):
            return
        known = set()
        if "_modules" in self.__dict__:
            known = {id(m) for _, m in walk(self, set(), "", True)}
            known |= {id(p) for _, m in walk(self, set(), "", True) for p in m._parameters.values()}
        lost = [v for v in lost if id(v) not in known]
        if not lost:
            return
        self.__dict__.setdefault("_warned_of", set()).add(name)
        kind = "Module" if _is_module(lost[0]) else "Parameter"
        plain = type(container).__name__
        use = f"{kind}{_FOR_CONTAINER.get(type(container), 'List')}"
        warnings.warn(
            f"{type(self).__name__}.{name} is a plain {plain} holding a {type(lost[0]).__name__}: "
            f"its parameters will not be found by parameters(), state_dict() or train(). Use "
            f"nn.{use}({'{...}' if use.endswith('Dict') else '[...]'}) instead",
            UserWarning,
            stacklevel=3,
        )

    def _warn_of_lost(self) -> None:
        """Look again at containers that may have been filled after they were assigned."""
        for name, value in list(self.__dict__.items()):
            if isinstance(value, list | tuple | dict) and name[0] != "_":
                self._warn_if_lost(name, value)


def _is_module(value: object) -> TypeGuard[Module]:
    return isinstance(value, TreeMixin)


def _name_of(value: object) -> str:
    return f"class {value.__name__}" if isinstance(value, type) else type(value).__name__


def _leaves(container: Iterable[object], depth: int = 3) -> Iterator[object]:
    """Yield what plain containers hold, also inside one another."""
    values = container.values() if isinstance(container, dict) else container
    for value in itertools.islice(values, _LOOKED_AT):
        if isinstance(value, list | tuple | dict | set | frozenset) and depth:
            yield from _leaves(value, depth - 1)
        else:
            yield value
