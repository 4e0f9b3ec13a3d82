"""What is wrong with a layer's arguments, where its forward pass fails with an error of Python's.

Looked at only then, so that calls pay nothing for it.
"""

from __future__ import annotations

import inspect
import numbers
import operator
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.errors import DtypeError
from tinygrad_cnn.types import Args

if TYPE_CHECKING:
    from tinygrad_cnn.nn.module.core import Module

_PACKAGE = __name__.partition(".")[0] + "."


def _is_whole(value: object) -> bool:
    try:
        operator.index(value)  # type: ignore[arg-type]  # tried
    except TypeError:
        return False
    return True


_EXPECTED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "Tensor": ("a Tensor", lambda v: isinstance(v, Variable)),
    "Tensor | PackedSequence": (
        "a Tensor or a PackedSequence",
        lambda v: isinstance(v, Variable) or hasattr(v, "batch_sizes"),
    ),
    "Tensor | float": (
        "a Tensor or a number",
        lambda v: isinstance(v, Variable | numbers.Number | np.generic),
    ),
    "TensorLike": ("a Tensor", lambda v: isinstance(v, Variable | np.ndarray | numbers.Number)),
    "float": ("a number", lambda v: isinstance(v, numbers.Real | np.number | Variable)),
    "int": ("an int", _is_whole),
    "bool": ("a bool", lambda v: isinstance(v, bool | np.bool_)),
    "str": ("text", lambda v: isinstance(v, str)),
}
"""By annotation what it means, in words and as a test."""


def explained(module: Module, error: Exception, args: Args, kwargs: dict[str, Any]) -> Any:
    """An error that names the argument or setting of a wrong type, or None.

    Only of this library's layers, and in the place of an error that does not name it.
    """
    kind = type(module)
    ours = getattr(kind.forward, "__module__", None)  # None in code run by `exec`
    if ours is None or not ours.startswith(_PACKAGE):
        return None
    found = next(_wrong_arguments(module, args, kwargs), None)
    if not type(error).__module__.startswith(_PACKAGE):
        found = found or next(_wrong_settings(module), None)
    if found is None or f"`{found[0]}`" in str(error):
        return None
    name, value, expected = found
    text = repr(value)
    if len(text) > 40 or isinstance(value, type):
        text = f"a {type(value).__name__}" if not isinstance(value, type) else text
    else:
        text += f" ({type(value).__name__})"
    return DtypeError(f"{kind.__name__}: `{name}` is {text}, expected {expected}")


def _wrong_arguments(
    module: Module, args: Args, kwargs: dict[str, Any]
) -> Iterator[tuple[str, Any, str]]:
    signature = inspect.signature(type(module).forward)
    try:
        given = signature.bind(module, *args, **kwargs).arguments
    except TypeError:  # which says itself what is missing
        return
    for name, value in given.items():
        yield from _misfit(signature.parameters[name], value)


def _wrong_settings(module: Module) -> Iterator[tuple[str, Any, str]]:
    for name, parameter in inspect.signature(type(module).__init__).parameters.items():
        if name in vars(module):  # not where a parameter or a module has the name of a setting
            yield from _misfit(parameter, getattr(module, name))


def _misfit(parameter: inspect.Parameter, value: object) -> Iterator[tuple[str, Any, str]]:
    """The parameter's name, the value and what was expected, unless the value fits."""
    annotation = str(parameter.annotation).removesuffix(" | None")
    optional = annotation != str(parameter.annotation)
    if annotation not in _EXPECTED or (optional and value is None):
        return
    expected, fits = _EXPECTED[annotation]
    if not fits(value):
        yield parameter.name, value, expected + " or None" * optional
