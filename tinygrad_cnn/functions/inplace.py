"""Changing a tensor in place, with the graph and all views of its memory kept right."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd.events import observe, observed, watching
from tinygrad_cnn.autograd.graph import Packed
from tinygrad_cnn.autograd.layout import steps_of
from tinygrad_cnn.autograd.modes import is_recording
from tinygrad_cnn.autograd.node import Node, SavedValue, clock
from tinygrad_cnn.autograd.promotion import category
from tinygrad_cnn.autograd.variable import Storage, Variable
from tinygrad_cnn.functions.written import number
from tinygrad_cnn.kernels.lazy import realize
from tinygrad_cnn.kernels.tape import do
from tinygrad_cnn.ops import index as ops
from tinygrad_cnn.types import TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


def assign(x: Any, result: Tensor, by: str, since: int | None = None) -> Tensor:
    """Write ``result`` into ``x`` and return ``x``, which now has the history of ``result``.

    What the nodes made after the time ``since`` keep of ``x``, by default the last one, is kept
    apart: it is about to be overwritten.

    Raises
    ------
    RuntimeError
        ``x`` must not be changed, is too small for the result, or of a lower kind of number.
    """
    x.check_writable(by, result.node is not None)
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
    if result.node is None:
        return write(x, ..., result, by)
    if type(result.node) is Node:
        _keep_apart(result.node, x.storage, result.node.time - 1 if since is None else since)
    values = x._written_by(by)
    do(np.copyto, values, result._given, writes=(values,))
    x.take_history(result)
    written: Tensor = x
    return written


def _keep_apart(node: Node, storage: Storage, since: int) -> None:
    """Copy what nodes newer than ``since`` keep of a storage."""
    for name, value in (node.saved or {}).items():
        if name != "y" and type(value) is SavedValue and value.storage is storage:
            assert node.saved is not None
            apart = do(np.ndarray.copy, realize(value._value))
            node.saved[name] = SavedValue(apart, value.node, Storage())
        elif type(value) is Packed:
            value.keep_apart(storage)
    for parent in node.parents:
        if type(parent) is Node and parent.time > since:
            _keep_apart(parent, storage, since)


def write(x: Any, index: Any, value: Tensor, by: str) -> Tensor:
    """Write ``value``, which broadcasts to it, to ``x[index]`` (an index of NumPy's); return ``x``.

    As in PyTorch what was there has a gradient of zeros then.
    """
    if watching and observed(_put):
        written: Tensor = observe("operation", "put", _put, (x, value), {"index": index, "by": by})
        return written
    return _put(x, value, index=index, by=by)


def _put(x: Any, value: Any, *, index: Any, by: str) -> Tensor:
    node, from_ = x.current_node(), value.current_node()
    x.check_writable(by, from_ is not None)
    written = value._given
    if value.ndim and np.shares_memory(written, x._given):
        written = do(np.ndarray.copy, written)
    values = x._written_by(by)
    do(operator.setitem, values, index, written, writes=(values,))
    if is_recording() and (node is not None or from_ is not None):
        arrays, parents = (x._given, value._given), (node, from_)
        x.take_history(ops.put.record(x._given, (x, value), arrays, parents, {"index": index}, {}))
    changed: Tensor = x
    return changed


def fill_(x: Any, value: TensorLike) -> Tensor:
    """Write one number everywhere into ``x`` and return ``x``."""
    with x.changing():
        return write(x, ..., number("fill_", value, x._value.dtype), "fill_")


def in_place(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The method that writes what ``function`` returns into its first argument."""
    name = f"{function.__name__}_"

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        with self.changing():
            since = clock()
            return assign(self, function(self, *args, **kwargs), name, since)

    method.__name__ = name
    method.__doc__ = f"`{function.__name__}` in place."
    return method


def become(x: Variable, view: Variable, by: str) -> None:
    """Make ``x`` the ``view`` of it that the function ``by`` returned.

    As in PyTorch, what was a view of ``x`` before is one by place in memory from now on.
    """
    if others := x.views(but=view):
        start = x.offset_in_storage() - view.offset_in_storage()
        steps = steps_of(view._given)
        sides, apart = x._value.shape, steps_of(x._given)
        whole = {"size": sides, "stride": apart, "start": start, "steps": steps}
        for other in others:
            (op, params), *rest = other.steps
            if op is ops.strided:
                params = {**params, "start": params["start"] + start, "steps": steps}
                other.steps = ((op, params), *rest)
            else:
                other.steps = ((ops.strided, whole), *other.steps)
    x.become(view, by)


def view_in_place(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The method that makes its first argument the view of itself that ``function`` returns."""
    name = f"{function.__name__}_"

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self.check_changeable(name, False)
        with self.changing():
            become(self, function(self, *args, **kwargs), name)
        return self

    method.__name__ = name
    method.__doc__ = f"`{function.__name__}` in place: the tensor has another shape then."
    return method
