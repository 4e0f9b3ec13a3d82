"""Grad modes: whether operations are recorded, and whether anomalies are looked for.

Both live in `contextvars`, so a mode set in one thread or task is not seen by another, and every
block restores what it found, whatever happens inside.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, ClassVar, Self, TypeVar

import numpy as np

from tinygrad_cnn.errors import DtypeError
from tinygrad_cnn.kernels.fp_errors import within
from tinygrad_cnn.types import AnyFunction

_F = TypeVar("_F", bound=AnyFunction)

recording: ContextVar[bool] = ContextVar("tinygrad_cnn.recording", default=True)
_anomaly: ContextVar[bool] = ContextVar("tinygrad_cnn.anomaly", default=False)
_check_nan: ContextVar[bool] = ContextVar("tinygrad_cnn.check_nan", default=True)
_inference: ContextVar[bool] = ContextVar("tinygrad_cnn.inference", default=False)

is_recording = recording.get  # the hot path calls the C function itself
is_anomaly_enabled = _anomaly.get
is_anomaly_check_nan_enabled = _check_nan.get


def is_grad_enabled() -> bool:
    """Whether operations on tensors that require gradients are being recorded."""
    return recording.get()


def is_inference_mode_enabled() -> bool:
    """Whether an `inference_mode` is on."""
    return _inference.get()


class _Mode:
    """A value of one context variable for the length of a ``with`` block or of a decorated call."""

    variable: ClassVar[ContextVar[bool]] = recording
    __slots__ = ("_applied", "_before", "_value")

    def __init__(self, value: bool) -> None:
        if not isinstance(value, (bool, np.bool_)):
            raise DtypeError(f"{type(self).__name__}: got {value!r}, expected True or False")
        self._value = bool(value)
        self._applied = False
        self._before: list[bool] = []  # a stack: one object may be entered again inside itself

    def __enter__(self) -> Self:
        self._before.append(self.variable.get())
        self.variable.set(self._value)
        return self

    def __exit__(self, *error: object) -> None:
        self.variable.set(self._before.pop())

    def __call__(self, function: _F) -> _F:
        """Decorate ``function`` (a generator function too) so that its body runs in this mode."""
        value = self._value

        def fresh() -> _Mode:
            block = copy.copy(self)
            block._before = []
            return block

        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def generate(*args: Any, **kwargs: Any) -> Any:
                running = function(*args, **kwargs)
                step: Callable[[Any], Any] = running.send
                given: Any = None
                while True:
                    try:
                        with fresh():
                            out = step(given)
                    except StopIteration as stop:
                        return stop.value
                    try:
                        step, given = running.send, (yield out)
                    except GeneratorExit:
                        with fresh():
                            running.close()
                        raise
                    except BaseException as error:  # thrown into it: for its body to see
                        step, given = running.throw, error

            return generate  # type: ignore[return-value]  # same call signature, by wraps

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return within(self.variable, value, function, args, kwargs)

        return call  # type: ignore[return-value]  # same call signature, by wraps


class _Immediate(_Mode):
    """A mode that begins when it is made; a ``with`` block around it ends it."""

    __slots__ = ()

    def __init__(self, mode: bool) -> None:
        super().__init__(mode)
        super().__enter__()
        self._applied = True

    def __enter__(self) -> Self:
        if not self._applied:
            return super().__enter__()
        self._applied = False
        return self

    def __call__(self, function: _F) -> _F:
        """As a decorator it changes nothing outside the call."""
        self.__exit__()
        return super().__call__(function)


class set_grad_enabled(_Immediate):
    """Record operations, or do not: takes effect at once, and is undone at the end of a ``with``.

    >>> import tinygrad_cnn as tg
    >>> with tg.set_grad_enabled(False):
    ...     tg.is_grad_enabled()
    False
    """

    __slots__ = ()


class _Bare(_Mode):
    """A mode that also decorates without parentheses."""

    __slots__ = ()

    def __new__(cls, function: Any = None) -> Any:
        return super().__new__(cls) if not callable(function) else cls()(function)


class no_grad(_Bare):
    """Do not record operations in this block or decorated function.

    >>> import tinygrad_cnn as tg
    >>> w = tg.ones(2, requires_grad=True)
    >>> with tg.no_grad():
    ...     (w * 2).requires_grad
    False
    """

    __slots__ = ()

    def __init__(self, function: Any = None) -> None:
        super().__init__(False)


class enable_grad(_Bare):
    """Record operations in this block or decorated function, even inside `no_grad`."""

    __slots__ = ()

    def __init__(self, function: Any = None) -> None:
        super().__init__(True)


class inference_mode(_Bare):
    """Do not record operations; ``inference_mode(False)`` records them. The same as `no_grad` here:

    a tensor made inside is an ordinary constant outside, where PyTorch would refuse it.

    >>> import tinygrad_cnn as tg
    >>> with tg.inference_mode():
    ...     tg.is_inference_mode_enabled(), tg.is_grad_enabled()
    (True, False)
    """

    __slots__ = ()

    def __init__(self, mode: bool = True) -> None:
        super().__init__(mode)
        self._value = not self._value

    def __enter__(self) -> Self:
        super().__enter__()
        self._before.append(_inference.get())
        _inference.set(not self._value)
        return self

    def __exit__(self, *error: object) -> None:
        _inference.set(self._before.pop())
        super().__exit__(*error)

    def __call__(self, function: _F) -> _F:
        """Decorate ``function``, as `no_grad` does."""
        recorded = super().__call__(function)
        if inspect.isgeneratorfunction(function):
            return recorded  # its steps enter blocks

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return within(_inference, not self._value, recorded, args, kwargs)

        return call  # type: ignore[return-value]  # same call signature, by wraps


class detect_anomaly(_Mode):
    """Look for trouble: a backward rule that makes a NaN raises RuntimeError.

    The error names the operation, the module and the line that ran it, the ranges of its inputs and
    of the gradient, and says if a masked branch, as of ``where``, is the cause. Slow: every
    operation keeps the stack that called it. Without ``check_nan`` a NaN passes.

    >>> import tinygrad_cnn as tg
    >>> x = tg.tensor([4.0, 0.0], requires_grad=True)
    >>> with detect_anomaly():  # doctest: +ELLIPSIS
    ...     tg.where(x > 0, x.sqrt(), 0.0).sum().backward()
    Traceback (most recent call last):
    RuntimeError: sqrt: its gradient for input `x`, of shape (2,), contains NaN in 1 of 2 numbers
    ...
    """

    variable = _anomaly
    __slots__ = ("_check_nan",)

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__(True)
        self._check_nan = bool(check_nan)

    def __enter__(self) -> Self:
        super().__enter__()
        self._before.append(_check_nan.get())
        _check_nan.set(self._check_nan)
        return self

    def __exit__(self, *error: object) -> None:
        _check_nan.set(self._before.pop())
        super().__exit__(*error)

    def __call__(self, function: _F) -> _F:
        """Decorate ``function``, as `no_grad` does."""
        looking = super().__call__(function)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return within(_check_nan, self._check_nan, looking, args, kwargs)

        return call  # type: ignore[return-value]  # same call signature, by wraps


class set_detect_anomaly(_Immediate):
    """Turn `detect_anomaly` on or off at once; undone at the end of a ``with``."""

    variable = _anomaly
    __slots__ = ("_check_nan",)

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        super().__init__(mode)
        self._check_nan = bool(check_nan)
        self._note()

    def _note(self) -> None:
        self._before.append(_check_nan.get())
        _check_nan.set(self._check_nan)

    def __enter__(self) -> Self:
        applied = self._applied
        super().__enter__()
        if not applied:
            self._note()
        return self

    def __exit__(self, *error: object) -> None:
        _check_nan.set(self._before.pop())
        super().__exit__(*error)
