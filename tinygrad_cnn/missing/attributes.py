"""Errors that name the nearest thing there is; what they say is found out when it is shown.

So ``hasattr`` and ``getattr`` with a default cost nothing. Modules get a ``__getattr__``, after
what they had, and `Tensor` an attribute for each of PyTorch's names that is missing, which raises:
with a ``__getattr__`` each access to any attribute would be slower.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, NoReturn

PACKAGE = "tinygrad_cnn"
PLACES = (
    "", "nn", "nn.functional", "nn.init", "nn.utils", "nn.utils.rnn", "optim", "optim.lr_scheduler",
    "linalg", "fft", "special", "func", "autograd", "autograd.functional", "utils", "utils.data",
    "distributions", "amp", "signal.windows", "masked", "random", "backends", "profiler", "jit",
)  # fmt: skip
TENSOR = "Tensor"
_FEW = 16


class MissingNameError(AttributeError):
    """A name that is not in a module or on a tensor."""

    def __init__(self, place: str, name: str) -> None:
        super().__init__(f"{place}.{name}", name=name)
        self.place = place

    def __str__(self) -> str:
        return said(self.place, str(self.name))

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return AttributeError, (str(self),)


class Absent:
    """An attribute of a class that is one of PyTorch's, and not here."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        return said(TENSOR, self.name)

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise MissingNameError(TENSOR, self.name)


def attach(module: ModuleType) -> None:
    """Let a module say what is missing; what its own ``__getattr__`` finds, it finds as before.

    One that is not imported with the package calls this itself.
    """
    place = module.__name__.removeprefix(PACKAGE).lstrip(".")
    former: Callable[[str], Any] | None = vars(module).get("__getattr__")

    def __getattr__(name: str) -> Any:
        if former is not None:
            try:
                return former(name)
            except AttributeError as error:
                if error.__traceback__ and error.__traceback__.tb_next.tb_next:  # type: ignore[union-attr]
                    raise  # of something else, deeper down
        raise MissingNameError(place, name)

    vars(module)["__getattr__"] = __getattr__


def attach_all(tensor: type) -> None:
    """The modules that have been imported, and `Tensor`."""
    from tinygrad_cnn.missing.names import TENSOR_NAMES

    for place in PLACES:
        if module := sys.modules.get(_module(place)):
            attach(module)
    for name in TENSOR_NAMES.split():
        if not hasattr(tensor, name):
            setattr(tensor, name, Absent(name))
    everything: Any = tensor.__dir__

    def __dir__(self: object) -> list[str]:
        return [n for n in everything(self) if not isinstance(vars(tensor).get(n), Absent)]

    setattr(tensor, "__dir__", __dir__)  # noqa: B010


def said(place: str, name: str) -> str:
    """What the error says: whether PyTorch has the name, and the nearest one here."""
    dotted = f"{place}.{name}" if place else name
    what = "'Tensor' object" if place == TENSOR else f"module {_module(place)!r}"
    said = f"{what} has no attribute {name!r}"
    if name[:2] == "__":
        return said
    theirs = name in _theirs(place)
    if theirs:
        said += f": PyTorch's `{dotted}` is not here"
    there = _elsewhere(place, name)
    if there:
        return f"{said}; there is `{there}`"
    if theirs:
        from tinygrad_cnn.missing.instead import SENTENCES

        for pattern, sentence in SENTENCES:
            if re.search(pattern, dotted):
                return f"{said}; {sentence}"
    names = _names(place)
    nearest = _nearest(name, names)
    if nearest:
        return f"{said}; the nearest is `{f'{place}.{nearest}' if place else nearest}`"
    classes = [n for n in names if n[:1].isupper()]
    if theirs and name[:1].isupper() and 0 < len(classes) <= _FEW:
        said += f"; there are {', '.join(classes)}"
    return said


def _module(place: str) -> str:
    return f"{PACKAGE}.{place}" if place else PACKAGE


def _theirs(place: str) -> Iterable[str]:
    from tinygrad_cnn.missing.names import MODULE_NAMES, TENSOR_NAMES

    return (TENSOR_NAMES if place == TENSOR else MODULE_NAMES.get(place, "")).split()


def _names(place: str) -> list[str]:
    """The public names of a place."""
    there: Any = sys.modules.get(_module(place))
    if place == TENSOR:
        there = sys.modules[PACKAGE].Tensor
    names = getattr(there, "__all__", None) or dir(there)
    static = vars(there) if there is not None else {}
    return [n for n in names if n[:1] != "_" and not isinstance(static.get(n), Absent)]


def _elsewhere(place: str, name: str) -> str:
    """The same name, in small or large letters, in this or another place."""
    first = (place, *(p for p in (*PLACES, TENSOR) if p != place))
    for exact in (True, False):
        for other in first:
            for found in _names(other):
                if found == name if exact else found.lower() == name.lower():
                    return f"{other}.{found}" if other else found
    return ""


def _nearest(name: str, names: Iterable[str]) -> str:
    from difflib import get_close_matches

    small = {n.lower(): n for n in names}
    return next((small[n] for n in get_close_matches(name.lower(), small, 1, 0.6)), "")
