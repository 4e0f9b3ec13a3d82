"""Saving and loading a module's state: by name, all or nothing, with PyTorch's hooks on the way."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from tinygrad_cnn.autograd import RemovableHandle
from tinygrad_cnn.errors import DtypeError
from tinygrad_cnn.nn.module.hooks import Hook, HookTable
from tinygrad_cnn.nn.module.loading import take, undo_steps
from tinygrad_cnn.nn.module.near_names import inner_hint, near_names, prefix_hint
from tinygrad_cnn.nn.module.parameter import Parameter, is_lazy
from tinygrad_cnn.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_cnn.nn.module.core import Module

State: TypeAlias = dict[str, Any]
"""What is saved, by path: tensors, and whatever `get_extra_state` returns."""

_EXTRA = "_extra_state"


class _Keys(NamedTuple):
    missing_keys: list[str]
    unexpected_keys: list[str]


class IncompatibleKeys(_Keys):
    """``missing_keys``, expected but absent, and ``unexpected_keys``, there but not expected."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return (
            f"IncompatibleKeys(missing_keys={self.missing_keys}, "
            f"unexpected_keys={self.unexpected_keys})"
        )

    __str__ = __repr__


class StateMixin:
    """The part of `Module` that saves and loads parameters, buffers and what else belongs to it."""

    _version: int = 1
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _non_persistent_buffers_set: set[str]
    _state_dict_pre_hooks: HookTable
    _state_dict_hooks: HookTable
    _load_state_dict_pre_hooks: HookTable
    _load_state_dict_post_hooks: HookTable

    # -- saving -------------------------------------------------------------------------------

    def state_dict(
        self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> State:
        """Return all parameters and persistent buffers by path, and modules' extra state.

        The tensors share memory with the module's; with ``keep_vars`` they are the module's own
        `Parameter` objects. ``prefix`` is put before each path. ``destination`` is a mapping to add
        to, by default a new one. PyTorch's older form, all three by position, is taken with a
        warning.

        >>> from tinygrad_cnn import nn
        >>> list(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).state_dict())[:3]
        ['0.weight', '0.bias', '1.weight']
        """
        if args:
            warnings.warn(
                "state_dict: give `destination`, `prefix` and `keep_vars` by keyword",
                FutureWarning,
                stacklevel=2,
            )
            given: Any = (*args, *(destination, prefix, keep_vars)[len(args) :])
            destination, prefix, keep_vars = given
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = metadata
        for hook, _ in tuple(self._state_dict_pre_hooks.values()):
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(
                    destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars
                )
        for hook, may_replace in tuple(self._state_dict_hooks.values()):
            changed = hook(self, destination, prefix, metadata)
            if changed is not None and not may_replace:
                raise RuntimeError(
                    f"state_dict post-hook: returned a {type(changed).__name__}, expected None"
                )
            destination = destination if changed is None else changed
        saved: State = destination
        return saved

    def _save_to_state_dict(self, destination: State, prefix: str, keep_vars: bool) -> None:
        """Add this module's own state, not that of those below, to ``destination``."""
        self._warn_of_lost()  # type: ignore[attr-defined]  # of OwnerMixin
        for name, tensor in self._own_state().items():
            destination[prefix + name] = tensor if keep_vars else tensor.detach()
        if type(self).get_extra_state is not StateMixin.get_extra_state:
            destination[prefix + _EXTRA] = self.get_extra_state()

    def _own_state(self) -> dict[str, Tensor]:
        """Parameters and persistent buffers, in the order of registration."""
        buffers = {
            k: v for k, v in self._buffers.items() if k not in self._non_persistent_buffers_set
        }
        return {k: v for k, v in (self._parameters | buffers).items() if v is not None}

    def get_extra_state(self) -> Any:
        """Return what is to be saved beside parameters and buffers; subclasses may define it.

        It comes under the name ``_extra_state`` and goes back through `set_extra_state`.
        """
        raise RuntimeError(f"{type(self).__name__}: get_extra_state is not defined")

    def set_extra_state(self, state: Any) -> None:
        """Take back what `get_extra_state` returned."""
        raise RuntimeError(f"{type(self).__name__}: set_extra_state is not defined")

    # -- loading ------------------------------------------------------------------------------

    def load_state_dict(
        self, state_dict: Mapping[str, object], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy the values of ``state_dict`` (tensors or arrays by path) into this module.

        If anything is wrong, parameters, buffers and extra state are what they were before.
        Values take the dtype that the module's have, as in PyTorch; only complex ones do not become
        real. With ``assign`` the module takes the tensors themselves, in their dtype,
        instead of copying: `Parameter` objects are then new ones, which only optimisers made later
        know.

        Returns
        -------
        IncompatibleKeys
            ``(missing_keys, unexpected_keys)``, both empty if ``strict``.

        Raises
        ------
        RuntimeError
            Names are missing or unexpected (only if ``strict``), shapes differ, or a
            complex value meets a real one.
            The text lists all of it, and what may have been meant: names that are near, a prefix.
        TypeError
            ``state_dict`` is no mapping.

        >>> from tinygrad_cnn import nn
        >>> nn.Linear(3, 2).load_state_dict(nn.Linear(3, 2).state_dict())
        <All keys matched successfully>
        >>> nn.Linear(3, 2).load_state_dict(nn.Linear(4, 2, bias=False).state_dict())
        Traceback (most recent call last):
        ...
        RuntimeError: load_state_dict: the state does not fit Linear; nothing was loaded:
          missing: bias (2,)
          weight: shape (2, 4) in the state but (2, 3) in the module
        """
        if not isinstance(state_dict, Mapping):
            raise DtypeError(
                f"load_state_dict: `state_dict` is a {type(state_dict).__name__} but a mapping "
                f"from names to tensors is expected"
            )
        keys = IncompatibleKeys([], [])
        problems: list[str] = []
        undo: list[Callable[[], None]] = []
        token = undo_steps.set(undo)
        try:
            _load(self, state_dict, assign, keys, problems)
            if strict:
                problems[:0] = _names_that_differ(self, state_dict, keys)
            if problems:
                raise RuntimeError(
                    f"load_state_dict: the state does not fit {type(self).__name__}; nothing was "
                    "loaded:\n  " + "\n  ".join(problems)
                )
        except BaseException:
            for step in reversed(undo):
                step()
            raise
        finally:
            undo_steps.reset(token)
        return keys

    def _load_from_state_dict(
        self,
        state_dict: State,
        prefix: str,
        local_metadata: State,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Take this module's own state, not that of those below, out of ``state_dict``.

        Names that are absent or not expected go to the lists, what else is wrong to ``error_msgs``.
        """
        args = (prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        for hook, with_module in tuple(self._load_state_dict_pre_hooks.values()):
            if with_module:
                hook(self, state_dict, *args)
            else:
                hook(state_dict, *args)
        own = self._own_state()
        assign = local_metadata.get("assign_to_params_buffers", False)
        for name, target in own.items():
            key = prefix + name
            if key in state_dict:
                problem = take(self, name, target, state_dict[key], assign)
                if problem is not None:
                    error_msgs.append(f"{key}: {problem}")
            elif strict:
                missing_keys.append(key)
        extra = prefix + _EXTRA
        if type(self).set_extra_state is not StateMixin.set_extra_state:
            if extra in state_dict:
                self._keep_extra_state()
                self.set_extra_state(state_dict[extra])
            elif strict:
                missing_keys.append(extra)
        elif strict and extra in state_dict:
            unexpected_keys.append(extra)
        if strict:
            for key in state_dict:
                if key.startswith(prefix) and key != extra:
                    name, dot, _ = key[len(prefix) :].partition(".")
                    if name not in (self._modules if dot else own):
                        unexpected_keys.append(key)

    def _keep_extra_state(self) -> None:
        """Have what `get_extra_state` returns set again if the state turns out not to fit."""
        undo = undo_steps.get()
        if undo is not None and type(self).get_extra_state is not StateMixin.get_extra_state:
            before = deepcopy(self.get_extra_state())
            undo.append(lambda: self.set_extra_state(before))

    # -- hooks --------------------------------------------------------------------------------

    def register_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(module, prefix, keep_vars)`` before this module's state is saved."""
        return self._state_dict_pre_hooks.add(hook)

    def register_state_dict_post_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata)`` when the state of this module
        and of those below is saved; it may change ``state_dict`` in place.

        >>> from tinygrad_cnn import nn
        >>> layer = nn.Linear(3, 2)
        >>> handle = layer.register_state_dict_post_hook(
        ...     lambda module, state, prefix, metadata: state.pop(prefix + "bias")
        ...     and None
        ... )
        """
        return self._state_dict_hooks.add(hook)

    def _register_state_dict_hook(self, hook: Hook) -> RemovableHandle:
        """Do as `register_state_dict_post_hook`; the hook may also return another mapping."""
        return self._state_dict_hooks.add(hook, flag=True)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata, strict, missing_keys,
        unexpected_keys, error_msgs)`` before this module loads its state.

        It may change ``state_dict``, a copy of the caller's, as to rename what was saved earlier.
        """
        return self._load_state_dict_pre_hooks.add(hook, flag=True)

    def _register_load_state_dict_pre_hook(
        self, hook: Callable[..., None], with_module: bool = False
    ) -> RemovableHandle:
        """Do as `register_load_state_dict_pre_hook`; without the module unless asked for."""
        return self._load_state_dict_pre_hooks.add(hook, flag=with_module)

    def register_load_state_dict_post_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Call ``hook(module, incompatible_keys)`` when this module and those below have loaded.

        What it removes from the two lists is no error, what it adds is.
        """
        return self._load_state_dict_post_hooks.add(hook)


def _load(
    module: StateMixin,
    state_dict: Mapping[str, object],
    assign: bool,
    keys: IncompatibleKeys,
    problems: list[str],
) -> None:
    """Have ``module`` and those below load, and note what is wrong."""
    metadata = getattr(state_dict, "_metadata", None) or {}

    def load(at: Any, state: State, prefix: str) -> None:
        known = dict(metadata.get(prefix[:-1], {}))
        if assign:
            known["assign_to_params_buffers"] = True
        at._load_from_state_dict(state, prefix, known, True, *keys, problems)
        for name, child in at._modules.items():
            if child is not None:
                below = f"{prefix}{name}."
                load(child, {k: v for k, v in state.items() if k.startswith(below)}, below)
        for hook, _ in tuple(at._load_state_dict_post_hooks.values()):
            if hook(at, keys) is not None:
                raise RuntimeError(
                    "load_state_dict post-hook: returned something but None is expected; change "
                    "the lists of `incompatible_keys` in place"
                )

    load(module, OrderedDict(state_dict), "")


def _names_that_differ(
    module: StateMixin, state_dict: Mapping[str, object], keys: IncompatibleKeys
) -> list[str]:
    """Lines with the names that are missing or unexpected, and what may have been meant."""
    wanted = {name: _shape_at(module, name) for name in keys.missing_keys}
    given = {name: getattr(state_dict.get(name), "shape", None) for name in keys.unexpected_keys}
    hint = prefix_hint(keys.missing_keys, keys.unexpected_keys)
    hint = hint or inner_hint(state_dict, keys.unexpected_keys)
    near = {} if hint else near_names(wanted, given)
    lines = []
    for name, shape in wanted.items():
        line = f"missing: {name}" if shape is None else f"missing: {name} {shape}"
        lines.append(f"{line} (is it {near[name]}?)" if name in near else line)
    return [*lines, *(f"unexpected: {name}" for name in given), *filter(None, [hint])]


def _shape_at(module: Any, key: str) -> tuple[int, ...] | None:
    """The shape of what ``key`` names; None if it names no tensor, or that is not known yet."""
    path, _, name = key.rpartition(".")
    try:
        found = module.get_submodule(path)._own_state().get(name)
    except AttributeError:
        return None
    return None if found is None or is_lazy(found) else tuple(found.shape)
