"""Functions of tensors that compute with arrays, done so that they can be recorded."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tinygrad_cnn.autograd.modes import is_recording
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.kernels.tape import do, taping
from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])


def computed(function: Callable[..., Array], *args: Any, **params: Any) -> Tensor:
    """What ``function`` of arrays, those of the tensors among ``args``, gives: a constant."""
    arrays = [a._given if isinstance(a, Variable) else a for a in args]
    return wrap(do(function, *arrays, **params))


def one_unit(function: F) -> F:
    """A function of tensors that looks at their numbers, which is done as one (`kernels.tape.do`).

    Its results lie in memory of their own, whatever the numbers are, or in that of the same
    argument. While its operations are recorded for derivatives, it is called as it is.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if taping and not (is_recording() and any(map(_has_history, args))):
            return do(function, *args, **kwargs)
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]


def _has_history(value: object) -> bool:
    return isinstance(value, Variable) and value.current_node() is not None


def check(function: Callable[..., None], *args: Any, **params: Any) -> None:
    """Call a function of arrays that raises an error if their numbers are not as they should be."""
    arrays = [a._given if isinstance(a, Variable) else a for a in args]
    if taping:
        do(_checking, function, *arrays, **params)
    else:
        function(*arrays, **params)


def _checking(function: Callable[..., None], *args: Any, **params: Any) -> Array:
    function(*args, **params)
    return np.empty(1, np.bool_)  # what has no result would not be done again
