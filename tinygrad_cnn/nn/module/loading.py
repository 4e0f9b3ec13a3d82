"""One value of a state on its way into a module."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

import numpy as np

from tinygrad_cnn.functions import as_tensor
from tinygrad_cnn.nn.module.parameter import Parameter
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array

undo_steps: ContextVar[list[Callable[[], None]] | None] = ContextVar("undo_steps", default=None)
"""What takes back the changes of the `load_state_dict` that is running."""


def take(owner: object, name: str, target: Tensor, value: object, assign: bool) -> str | None:
    """Copy ``value`` into ``target``, the attribute ``name`` of ``owner``, or assign it.

    Returns what is wrong with it, or None.
    """
    array = _as_array(value)
    if array is None:
        return f"is a {type(value).__name__} but a tensor is expected (tensor() makes one)"
    if array.shape == (1,) and target.shape == ():
        array = array.reshape(())
    problem = _mismatch(array, target, assign)
    if problem is not None:
        return problem
    undo = undo_steps.get()
    if assign:
        new = value if isinstance(value, Tensor) and value.shape == target.shape else array
        if undo is not None:
            undo.append(lambda: setattr(owner, name, target))
        setattr(owner, name, _like(target, as_tensor(new)))
        return None
    storage, version, writer = target.storage, target.storage.version, target.storage.writer
    values = target._written_by("load_state_dict")
    if undo is not None:
        before = values.copy()

        def restore() -> None:
            np.copyto(target._written_by("load_state_dict"), before)
            storage.version, storage.writer = version, writer  # nothing was written

        undo.append(restore)
    np.copyto(values, array, casting="unsafe")  # checked above
    return None


def _like(target: Tensor, new: Tensor) -> Tensor:
    """``new`` as a parameter, trained or not as ``target`` is; or itself if that is none."""
    if not isinstance(target, Parameter):
        return new
    if isinstance(new, Parameter):
        new.requires_grad_(target.requires_grad)
        return new
    return Parameter(new, target.requires_grad)


def _as_array(value: object) -> Array | None:
    """Return the values of a tensor: ours, or PyTorch's, which turns into an array."""
    if isinstance(value, Tensor):
        return value._array
    if isinstance(value, np.ndarray | np.generic) or not hasattr(value, "__array__"):
        return None
    return np.asarray(value)


def _mismatch(array: Array, target: Tensor, assign: bool) -> str | None:
    found = []
    if array.shape != target.shape:
        found.append(f"shape {array.shape} in the state but {target.shape} in the module")
    if not assign and array.dtype.kind == "c" != target.dtype.kind:
        found.append(f"dtype {array.dtype} in the state but {target.dtype} in the module")
    return ", ".join(found) or None
