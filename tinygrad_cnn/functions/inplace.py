"""Changing a tensor in place, with the graph and all views of its memory kept right."""

# Operations and `wrap` are typed Any: the class Tensor is made of them, further up.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd.modes import is_recording
from tinygrad_cnn.autograd.node import Leaf, Node, SavedValue
from tinygrad_cnn.autograd.promotion import category
from tinygrad_cnn.autograd.storage import Storage
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.functions.elementwise import to
from tinygrad_cnn.ops import index as ops

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

__all__ = ["assign", "check_writable", "fill_", "in_place", "take_history"]


def check_writable(x: Variable, by: str, live: bool) -> None:
    """Raise where writing to ``x`` would lose something.

    ``live`` says whether the write itself is to be recorded.
    """
    if not x._array.flags.writeable:
        raise RuntimeError(
            f"{by}: this tensor (shape {x.shape}) is read-only memory, such as the result of "
            f"expand(), where one number stands for many; write to a clone()"
        )
    node = x.current_node()
    if is_recording() and type(node) is Leaf:
        raise RuntimeError(
            f"{by}: a leaf that requires gradients cannot be changed in place while operations are "
            f"recorded; do it under no_grad(), or on a result made from it"
        )
    view = x.view_of
    if view is not None and is_recording() and (live or view.base.node is not None):
        if type(view.base.node) is Leaf:
            raise RuntimeError(
                f"{by}: this is a view of a leaf that requires gradients, which cannot be changed "
                f"in place while operations are recorded; do it under no_grad()"
            )
        if not view.tracked:
            raise RuntimeError(
                f"{by}: this view was made under no_grad(), or for a module's backward hook, so "
                f"the change could not be recorded; make the view again, write under no_grad() or "
                f"to a clone()"
            )


def take_history(x: Variable, result: Variable) -> None:
    """Say that ``x`` (and what it is a view of) now has the history of ``result``.

    ``x`` has its values already.
    """
    if not is_recording():
        return
    node = result.node
    old = x.node
    if type(node) is Node:
        if type(old) is Node and old.retain is not None and old.retain() is x:
            node.retain, old.retain = old.retain, None
        if node.saved and "y" in node.saved:  # kept for the rule: now it lies in x
            node.saved["y"] = SavedValue(x._value, None, x.storage)
    view = x.view_of
    if view is not None and (node is not None or view.base.node is not None):
        base = view.base
        params = {"steps": view.steps}
        parents = (base.node, node)
        whole = ops.overwrite.record(
            base._array, (base, result), (base._array, x._array), parents, params, {}
        )
        base.node = view.node = whole.node
    x.node = node


def assign(x: Any, result: Any, by: str) -> Tensor:
    """Write ``result`` into ``x`` and return ``x``, which now has the history of ``result``.

    Raises
    ------
    RuntimeError
        ``x`` must not be changed, is too small for the result, or of a lower kind of number.
    """
    check_writable(x, by, result.node is not None)
    if result._value.shape != x._value.shape:
        raise RuntimeError(
            f"{by}: the result has shape {result.shape} but must fit in place into {x.shape}"
        )
    if result._value.dtype != x._value.dtype:
        if category(result._value.dtype) > category(x._value.dtype):
            raise RuntimeError(
                f"{by}: the result is {result.dtype}, which does not fit in place into {x.dtype}"
            )
        result = result.to(x._value.dtype)
    if result.node is None and is_recording() and type(x.current_node()) is Node:
        # a constant takes its place: as in PyTorch it still is a result, whose gradient is 0
        arrays = (x._array, result._array)
        recorded = ops.put.record(x._array, (x, result), arrays, (x.node, None), {"index": ...}, {})
        np.copyto(x._written_by(by), result._array)
        take_history(x, recorded)
        return x  # a Tensor
    if type(result.node) is Node and result.node.saved:
        for name, value in result.node.saved.items():
            if name != "y" and type(value) is SavedValue and value.storage is x.storage:
                # its own rule needs what is about to be overwritten
                result.node.saved[name] = SavedValue(value._array.copy(), value.node, Storage())
    np.copyto(x._written_by(by), result._array)
    take_history(x, result)
    return x  # a Tensor


def fill_(x: Any, value: Any) -> Tensor:
    """Write one number everywhere into ``x`` and return ``x``."""
    number = to(value, x._value.dtype)
    if number._value.ndim:
        raise RuntimeError(f"fill_: `value` has shape {number.shape}, expected a number")
    return assign(x, number.expand(x._value.shape), "fill_")


def in_place(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The method that writes what ``function`` returns into its first argument."""
    name = f"{function.__name__}_"

    def method(self: Any, *args: Any, **kwargs: Any) -> Tensor:
        return assign(self, function(self, *args, **kwargs), name)

    method.__name__ = name
    method.__doc__ = f"`{function.__name__}` in place."
    return method
