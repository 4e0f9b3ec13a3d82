"""Launches that another one does on its way: a residual block's sum and ReLU, in its convolution.

A convolution's outputs are in the nearest cache when they are written. If what reads them next is
a launch that normalises them, adds the block's input and takes the ReLU, the convolution can do
that too, if all it needs is known before: where nobody trains the normalisation.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Sequence
from typing import Any

from tinygrad_cnn.programs.memory import LOCAL, Parts, Ref, Region
from tinygrad_cnn.programs.unit import Launch, Unit


def join(units: list[Unit], early: Sequence[Unit], half: int) -> None:
    """Have launches among the ``units`` do what can follow them.

    What these need beside is put before them, if it can. The first ``half`` of the units are one
    program, and the others another.
    """
    known = {r for u in early if u.early is not None and u.early.is_whole for r in u.born}
    for number, unit in enumerate(units):
        sums = _sum_of(unit)
        if sums is None:
            continue
        x, scale, shift, inner, other, relu, _, out = sums
        at = _last(units, x.region, number)
        shared = any(ref.region.shared for ref in (scale, shift, other, out))
        if at is None or shared or (at < half) != (number < half):
            continue
        found = _place(units[at], x)
        if found is None:
            continue
        maker = units[at]
        needed = {ref.region for ref in (scale, shift, other)} - known
        first = [u for u in units[at + 1 : number] if _changes(u) & needed]
        if _changes(maker) & needed or not _move(units, first, at, number, known):
            continue
        launch, argument = found
        given = list(launch.args.parts)
        arrays = (scale, shift, other, out)
        given[argument] = Parts(lambda made: _kind()(*made), (1, inner, relu, *arrays))
        launch.args = launch.args._replace(parts=tuple(given))
        maker.then, unit.code = unit, []


def _move(units: list[Unit], first: Sequence[Unit], at: int, end: int, known: set[Region]) -> bool:
    """Put some of ``units[at:end]`` before number ``at``; return whether that changes nothing."""
    for unit in first:
        before = units[at : units.index(unit)]
        read = {ref.region for ref in unit.work()} - _changes(unit) - known
        if not unit.native or unit.writes or unit.draws or unit.then is not None:
            return False
        if any((read | _changes(unit)) & _changes(u) for u in before if u not in first):
            return False
    units[at:end] = [*first, *(u for u in units[at:end] if u not in first)]
    return True


def _kind() -> Any:
    # here, since who has no compiled kernels has no launches either
    from tinygrad_cnn.kernels.jit.pointwise.epilogue import Epilogue

    return Epilogue


def _sum_of(unit: Unit) -> tuple[Any, ...] | None:
    """The arguments of a unit's only launch, if that is such a sum."""
    if not unit.native or unit.early is not None or unit.beside or unit.writes:
        return None
    if len(unit.code) != 1 or not isinstance(unit.code[0], Launch):
        return None
    launch = unit.code[0]
    if launch.kernel.__name__ != "_affine_add" or type(launch.args) is not Parts:
        return None
    return launch.args.parts if {r.region for r in unit.results()} <= unit.born else None


def _changes(unit: Unit) -> set[Region]:
    """What a unit may write to, but for work space, in which nothing stays for others."""
    given = {ref.region for ref in unit.operands()}
    own = {ref.region for ref in unit.work() if ref.region.kind == LOCAL} - given
    changed = own | unit.born | {ref.region for ref in unit.writes}
    return {region for region in changed if not region.shared}


def _last(units: Sequence[Unit], region: Region, number: int) -> int | None:
    """The number of the unit before ``number`` that made a region, if it is native."""
    if region.shared:
        return None
    for at in range(number - 1, -1, -1):
        if region in _changes(units[at]):
            return at if units[at].native and region in units[at].born else None
    return None


def _place(unit: Unit, x: Ref) -> tuple[Launch, int] | None:
    """A launch of a unit that writes all of x and takes an epilogue, and which argument that is."""
    for number, step in enumerate(unit.code):
        if unit.early is not None and number in unit.early.steps:
            continue
        if not isinstance(step, Launch) or type(step.args) is not Parts:
            continue
        names = _names(step.kernel)
        if "epilogue" not in names:
            continue
        given = dict(zip(names, step.args.parts, strict=True))
        g, out, strides = given["g"], given["out"], given["strides"]
        image = x.dtype.itemsize * math.prod(x.shape) // g.n  # bytes of one that is dense
        lies = type(out) is Ref and (out.region, out.at) == (x.region, x.at)
        if lies and tuple(strides[:2]) == (image, image // g.oh):
            return step, names.index("epilogue")
    return None


@functools.cache
def _names(kernel: Any) -> list[str]:
    """The arguments of a kernel's launch."""
    return list(inspect.signature(kernel.function).parameters)[2:]
