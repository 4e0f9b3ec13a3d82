"""Saving and loading a module's state: by name, all or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinygrad_cnn.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_cnn.nn.module import Module

__all__ = ["IncompatibleKeys", "collect", "load"]


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


def collect(module: Module, prefix: str = "") -> dict[str, Tensor]:
    """Return every parameter and persistent buffer by its path, in the order of registration."""
    found: dict[str, Tensor] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        part._warn_of_lost()
        at = f"{prefix}{path}." if path else prefix
        for name, param in part._parameters.items():
            if param is not None:
                found[at + name] = param
        for name, buffer in part._buffers.items():
            if buffer is not None and name not in part._non_persistent_buffers_set:
                found[at + name] = buffer
    return found


def load(module: Module, state: Mapping[str, Any], strict: bool) -> IncompatibleKeys:
    """Copy ``state`` into the module's tensors after having checked all of it."""
    if not isinstance(state, Mapping):
        raise TypeError(
            f"load_state_dict: `state_dict` is a {type(state).__name__} but a mapping from names "
            f"to tensors is expected"
        )
    targets = collect(module)
    keys = IncompatibleKeys(
        [name for name in targets if name not in state],
        [name for name in state if name not in targets],
    )
    problems: list[str] = []
    if strict:
        problems += [f"missing: {name} {targets[name].shape}" for name in keys.missing_keys]
        problems += [f"unexpected: {name}" for name in keys.unexpected_keys]
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for name, target in targets.items():
        if name in state:
            array = _as_array(state[name])
            problem = _mismatch(array, target, state[name])
            if problem:
                problems.append(f"{name}: {problem}")
            elif array is not None:
                arrays[name] = array
    if problems:
        raise RuntimeError(
            f"load_state_dict: the state does not fit {type(module).__name__}; nothing was "
            "loaded:\n  " + "\n  ".join(problems)
        )
    for name, array in arrays.items():
        values = targets[name]._written_by("load_state_dict")
        np.copyto(values, array, casting="same_kind")
    return keys


def _as_array(value: Any) -> np.ndarray[Any, Any] | None:
    """Return the values of a tensor of ours, an array, or anything that turns into one."""
    if isinstance(value, Tensor):
        return value._array
    if isinstance(value, np.ndarray | np.generic | bool | int | float) or hasattr(
        value, "__array__"
    ):
        return np.asarray(value)
    return None


def _mismatch(array: np.ndarray[Any, Any] | None, target: Tensor, value: Any) -> str | None:
    if array is None:
        return f"is a {type(value).__name__} but a tensor or array is expected"
    found = []
    if array.shape != target.shape:
        found.append(f"shape {array.shape} in the state but {target.shape} in the module")
    if array.dtype.kind != target.dtype.kind and not (
        array.dtype.kind in "iu" and target.dtype.kind in "iu"
    ):
        found.append(f"dtype {array.dtype} in the state but {target.dtype} in the module")
    return ", ".join(found) or None
