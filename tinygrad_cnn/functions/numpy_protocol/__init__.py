"""What NumPy's functions do with tensors: ``np.exp(t)`` is differentiable, or says why not.

`serving` has the table of what is served, `kinds` how every other function of NumPy's stands. What
serves a function has NumPy's arguments and gives NumPy's values, shapes and dtypes; where it cannot
(``out=``, say), NumPy computes if no gradient is wanted, and otherwise there is a TypeError.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.modes import is_recording
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.functions.convert import as_native
from tinygrad_cnn.functions.numpy_protocol import algebra as algebra
from tinygrad_cnn.functions.numpy_protocol import curves as curves
from tinygrad_cnn.functions.numpy_protocol import layout as layout
from tinygrad_cnn.functions.numpy_protocol import reductions as reductions
from tinygrad_cnn.functions.numpy_protocol import ufuncs
from tinygrad_cnn.functions.numpy_protocol.kinds import CONSTANT, REFUSED, is_refused
from tinygrad_cnn.functions.numpy_protocol.serving import (
    LAYOUT,
    SERVED,
    Unserved,
    is_inexact,
    name_of,
    tensors_in,
)
from tinygrad_cnn.types import Params


def _arrays(value: Any) -> Any:
    """Arrays in place of tensors, in nested lists too."""
    if isinstance(value, Variable):
        return value.array
    if isinstance(value, (list, tuple)):
        make = getattr(value, "_make", type(value))
        return make([_arrays(v) for v in value])
    return value


def _wrapped(value: Any) -> Any:
    """Tensors in place of arrays; what a tensor cannot be, such as texts, stays."""
    if isinstance(value, (np.ndarray, np.generic)):
        if value.dtype.kind not in "biufcV":
            return value
        result = wrap(as_native(np.asarray(value)))
        result.storage.expose()  # NumPy may have returned a view of an argument
        return result
    if isinstance(value, (list, tuple)):
        make = getattr(value, "_make", type(value))
        return make([_wrapped(v) for v in value])
    return value


def _wants_gradient(values: Any) -> bool:
    return is_recording() and any(t.current_node() is not None for t in tensors_in(values))


def _by_numpy(name: str, function: Callable[..., Any], args: Any, kwargs: Params) -> Any:
    """What NumPy computes on the arrays; tensors in ``out`` are told that they were written to."""
    out = kwargs.get("out")
    targets = list(tensors_in([out]))
    for t in targets:
        t.check_writable(name, False)
    result = function(*_arrays(tuple(args)), **{k: _arrays(v) for k, v in kwargs.items()})
    for t in targets:
        t._written_by(name)
    if out is None:
        return _wrapped(result)
    return out[0] if isinstance(out, tuple) and len(out) == 1 else out


def _apply(
    name: str,
    ours: Callable[[], Any] | None,
    numpys: Callable[[], Any],
    values: Any,
    constant: bool,
) -> Any:
    """By our function, or by NumPy's where no gradient is lost.

    Raises
    ------
    TypeError
        A gradient would be lost.
    """
    why = ""
    if ours is not None:
        try:
            return ours()
        except Unserved as error:
            why = f": {error}"
    if _wants_gradient(values) and not constant:
        raise TypeError(
            f"{name} has no derivative here{why}, and its argument requires gradients: use the "
            f"tensor's own function, or pass detach() to compute without gradients"
        )
    return numpys()


def apply_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: Params) -> Any:
    """``Tensor.__array_ufunc__``."""
    called = method == "__call__"
    if is_refused(ufunc, _wants_gradient(inputs)):
        raise TypeError(REFUSED[ufunc])
    name = f"np.{ufunc.__name__}" + ("" if called else f".{method}")
    of_operator = called and isinstance(inputs[0], (np.ndarray, np.generic)) and not kwargs
    ours = None
    if ufunc in SERVED and (is_inexact(inputs) or (of_operator and ufuncs.is_operator(ufunc))):
        ours = (
            (lambda: ufuncs.call(ufunc, inputs, kwargs))
            if called
            else (lambda: ufuncs.method(ufunc, method, inputs, kwargs))
        )
    function = ufunc if called else getattr(ufunc, method)
    return _apply(
        name,
        ours,
        lambda: _by_numpy(name, function, inputs, kwargs),
        [*inputs, kwargs.get("out")],
        called and ufunc in CONSTANT and kwargs.get("out") is None,
    )


def apply_function(function: Any, args: tuple[Any, ...], kwargs: Params) -> Any:
    """``Tensor.__array_function__``."""
    name, values = name_of(function), [args, kwargs]
    if is_refused(function, _wants_gradient(values)):
        raise TypeError(REFUSED[function])
    ours = None
    known = SERVED.get(function)
    if known is not None and function not in CONSTANT:
        if function in LAYOUT or is_inexact(values):
            ours = lambda: _served(known, args, kwargs)
    return _apply(
        name, ours, lambda: _by_numpy(name, function, args, kwargs), values, function in CONSTANT
    )


_AS_IF_NOT_GIVEN: Params = {"out": None, "where": True, "order": "K", "like": None}


def _served(known: Callable[..., Any], args: tuple[Any, ...], kwargs: Params) -> Any:
    """Our function, of those arguments that are not what NumPy takes them for anyway.

    Raises
    ------
    Unserved
        It does not have one of the arguments.
    """
    given = {
        k: v
        for k, v in kwargs.items()
        if not (k in _AS_IF_NOT_GIVEN and v is _AS_IF_NOT_GIVEN[k]) and v is not np._NoValue
    }
    accepted = _parameters(known)
    if accepted is not None:
        for key in given:
            if key not in accepted:
                raise Unserved(f"`{key}` is not served")
    return known(*args, **given)


@functools.cache
def _parameters(function: Callable[..., Any]) -> frozenset[str] | None:
    """The names of its arguments; None where it takes any."""
    found = inspect.signature(function).parameters
    any_name = any(p.kind is p.VAR_KEYWORD for p in found.values())
    return None if any_name else frozenset(found)
