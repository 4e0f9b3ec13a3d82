"""A unit of a recording: a function of arrays that the engine hands over, and its launches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.kernels.fp_errors import ignoring_fp_errors
from tinygrad_cnn.kernels.lazy import Lazy, realize
from tinygrad_cnn.kernels.streams import Stream
from tinygrad_cnn.kernels.tape import Prepared
from tinygrad_cnn.programs.memory import (
    Ref,
    Region,
    Views,
    build,
    bytes_of,
    put,
    refs_of,
    same_bits,
)
from tinygrad_cnn.programs.origins import Origin
from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from tinygrad_cnn.programs.early import Early


class Refused(Exception):
    """Why a function cannot be recorded."""


class Launch:
    """A compiled kernel's launch."""

    def __init__(self, kernel: Any, parts: int, args: Any) -> None:
        self.kernel, self.launch, self.parts, self.args = kernel, kernel.launch, parts, args

    def refs(self) -> list[Ref]:
        """The arrays among its arguments."""
        return refs_of(self.args)


class Count:
    """An integer to which one is added."""

    def __init__(self, at: Ref) -> None:
        self.at = at

    def refs(self) -> list[Ref]:
        """Where it is."""
        return [self.at]


class Look:
    """Numbers by which the function decided how to go on, as they were."""

    def __init__(self, at: Ref) -> None:
        self.at, self.expected = at, np.array(at.array)

    def refs(self) -> list[Ref]:
        """Where it is."""
        return [self.at]


class Unit:
    """A function of arrays, called once; and the launches it made."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.function, self.name = function, name
        self.args: Any = ()
        self.params: Any = {}
        self.out: Any = None
        self.beside: list[tuple[Any, Any]] = []  # lazy arguments that it has computed
        self.filled: dict[str, Any] = {}  # lists among its parameters
        self.writes: tuple[Ref, ...] = ()
        self.code: list[Launch | Count | Look] = []
        self.born: set[Region] = set()
        self.native = False
        self.of_loops = False  # NumPy's, which were found by a call
        self.origin = Origin()
        self.early: Early | None = None
        self.then: Unit | None = None  # what its launches do on their way
        self.opaque = False  # it is called again as it is
        self.prepared: Prepared | None = None  # or its launches are made, if that is ready
        self.draws = False  # random numbers
        self.stream: Stream | None = None  # by launches alone, from here
        self.has_addresses = False  # of memory that is nobody's, among its launches' arguments
        self.gradients: list[tuple[Variable, Ref | None]] = []  # what it finds

    @property
    def is_python(self) -> bool:
        """Whether it is called, where all is as it was when it was recorded."""
        return not self.native and self.prepared is None

    def operands(self) -> list[Ref]:
        """The arrays that it got."""
        return [*refs_of(self.args), *refs_of(self.params), *self.writes]

    def results(self) -> list[Ref]:
        """The arrays that it made and did not keep to itself."""
        made = [self.out, *(after for _, after in self.beside), *self.filled.values()]
        return [ref for template in made for ref in refs_of(template)]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of the arrays that it got."""
        return tuple([ref.shape for ref in refs_of(self.args)])

    def work(self) -> list[Ref]:
        """The arrays of its launches."""
        return [ref for step in self.code for ref in step.refs()]

    def call(self, views: Views) -> None:
        """Call the function on arrays of ``views``, and write its results there."""
        memo: dict[int, Lazy] = {}
        args, params = build(self.args, views, memo), build(self.params, views, memo)
        found = ignoring_fp_errors(self.function, args, params)
        born = frozenset(self.born)
        put(self.out, found, views, born)
        for before, after in self.beside:
            put(after, realize(memo[id(before.lazy)]), views, born)
        for name, template in self.filled.items():
            put(template, params[name], views, born)


def bytes_at(region: Region) -> Array:
    """The memory of a region."""
    return bytes_of(region.low, region.nbytes)


def make(step: Launch | Count | Look, views: Views) -> None:
    """Do a step of a unit's code on arrays of ``views``.

    Raises
    ------
    Refused
        The function would have gone on in another way.
    """
    if type(step) is Launch:
        memo: dict[int, Any] = {}
        args = build(step.args, views, memo)
        if step.launch(step.parts, *args):
            raise Refused("arguments of other types")
    elif type(step) is Count:
        views[step.at][...] += 1
    elif type(step) is Look and not same_bits(views[step.at], step.expected):
        raise Refused("numbers that lead elsewhere")
