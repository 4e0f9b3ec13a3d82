"""Where users see a function: said beside it, by `export`, and nowhere else.

``python docs/make_exports.py`` writes what must be there for people and type checkers to read: the
names of `tinygrad_cnn`, `tinygrad_cnn.functions` and `tinygrad_cnn.nn.functional`, and the methods
of `Tensor`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from tinygrad_cnn.autograd.rounding import in_its_dtype

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Export:
    """A public function and its places."""

    function: Callable[..., Any]
    aliases: tuple[str, ...]
    top: bool
    method: bool | str
    inplace: bool | str
    nn: bool
    numpy: tuple[Any, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Its own name, and the others."""
        return (self.function.__name__, *self.aliases)


EXPORTS: dict[str, Export] = {}


def export(
    *aliases: str,
    top: bool = True,
    method: bool | str = True,
    inplace: bool | str = False,
    nn: bool = False,
    numpy: Any = (),
) -> Callable[[F], F]:
    """Say where users see the decorated function.

    Parameters
    ----------
    aliases
        Other names, in the same places.
    top, method, nn
        In `tinygrad_cnn`; as a method of `Tensor`, which may have another name; in
        `tinygrad_cnn.nn.functional`.
    inplace
        As a method ``NAME_``, too, that writes the result into the tensor; "view": that makes the
        tensor the view that the function returns.
    numpy
        NumPy's function, or several, of the same arguments: it does this with tensors.
    """
    several = numpy if isinstance(numpy, tuple) else (numpy,)

    def note(function: F) -> F:
        name = function.__name__
        assert name not in EXPORTS, f"{name} is exported twice"
        function = in_its_dtype(function)
        EXPORTS[name] = Export(function, aliases, top, method, inplace, nn, several)
        return function

    return note
