"""What kind of thing an argument is, said in the error if it is of another.

`checked` costs nothing but a call while all is well: only when a function has failed are its
arguments compared with its annotations.
"""

from __future__ import annotations

import functools
import inspect
import numbers
import operator
import re
import reprlib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.errors import DtypeError

F = TypeVar("F", bound=Callable[..., Any])


def _is_real(value: Any) -> bool:
    return isinstance(value, (numbers.Real, np.generic, np.ndarray, Variable))


def _is_index(value: Any) -> bool:
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def _is_layer(value: Any) -> bool:
    return callable(getattr(value, "named_modules", None))


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "Tensor": ("a Tensor", lambda value: isinstance(value, Variable)),
    **dict.fromkeys(("Module", "Linear", "_Conv", "_BatchNorm"), ("a Module", _is_layer)),
    "AnyFunction": ("a function", callable),
    "Callable": ("a function", callable),
    "bool": ("True or False", lambda value: isinstance(value, (bool, np.bool_))),
    "int": ("an integer", _is_index),
    "float": ("a number", _is_real),
    "str": ("a text", lambda value: isinstance(value, str)),
    "PackedSequence": ("a PackedSequence", lambda value: hasattr(value, "batch_sizes")),
    "Dataset": ("something with a length", lambda value: hasattr(value, "__len__")),
    "Sized": ("something with a length", lambda value: hasattr(value, "__len__")),
}
_KINDS |= dict.fromkeys(
    ("Iterable", "Sequence", "list", "tuple"),
    ("several, such as a list", lambda value: isinstance(value, Iterable)),
)
_MEMBERS = re.compile(r"(?:Iterable|Sequence|list)\[(Tensor|Module)\]")


def need(operation: str, argument: str, value: Any, kind: str) -> None:
    """Raise DtypeError unless ``value`` is of a kind, such as ``"AnyFunction"`` or ``"bool"``."""
    text, fits = _KINDS[kind]
    if not fits(value):
        raise DtypeError(
            f"{operation}: `{argument}` is {reprlib.repr(value)} ({type(value).__name__}), "
            f"expected {text}"
        )


def checked(function: F) -> F:
    """Have ``function`` say which of its arguments was of the wrong kind, if it failed for that."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (AttributeError, TypeError, ValueError) as error:
            if isinstance(error, RuntimeError) or str(error).startswith(f"{_name(function)}:"):
                raise  # it is one of ours
            wrong = _wrong_argument(function, args, kwargs)
            if wrong is None:
                raise
            raise wrong from error

    return call  # type: ignore[return-value]  # same call signature, by wraps


def _name(function: Callable[..., Any]) -> str:
    return function.__qualname__.removesuffix(".__init__")


def _wrong_argument(function: Callable[..., Any], args: Any, kwargs: Any) -> DtypeError | None:
    name = _name(function)
    signature = inspect.signature(function)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:  # too few, or too many
        return None
    for argument, value in bound.arguments.items():
        parameter = signature.parameters[argument]
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        wanted = str(parameter.annotation)
        try:
            _compare(name, argument, value, wanted)
        except DtypeError as error:
            return error
    return None


def _compare(name: str, argument: str, value: Any, annotation: str) -> None:
    """Raise DtypeError if a value is of none of the kinds that an annotation names."""
    parts = [part.strip() for part in re.sub(r"\[.*\]", "", annotation).split("|")]
    if value is None and "None" in parts:
        return
    known = [part for part in parts if part != "None"]
    if not known or any(part not in _KINDS for part in known):
        return
    if not any(_KINDS[part][1](value) for part in known):
        need(name, argument, value, known[0])
    members = _MEMBERS.fullmatch(annotation)
    if members and isinstance(value, (list, tuple)):
        for number, member in enumerate(value):
            need(name, f"{argument}[{number}]", member, members[1])
