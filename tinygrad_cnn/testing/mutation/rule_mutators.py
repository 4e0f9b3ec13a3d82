"""Mutants whose rules return something else than they compute."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.node import Node
from tinygrad_cnn.autograd.op import Op, Rule
from tinygrad_cnn.kernels.lazy import realize
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.testing.mutation.mutant import Mutant, like
from tinygrad_cnn.types import Array

Gradient = Tensor | Array  # a fused rule's are arrays


def _transposed(a: Gradient) -> Gradient:
    """Two axes of one length swapped, if there are any."""
    shape = _array(a).shape
    for i in range(len(shape)):
        for j in range(i + 1, len(shape)):
            if shape[i] == shape[j] > 1:
                dims = list(range(len(shape)))
                dims[i], dims[j] = j, i
                return a.permute(tuple(dims)) if isinstance(a, Tensor) else a.transpose(dims)
    return a


def _reversed(a: Gradient) -> Gradient:
    """The first axis with more than one element the other way round."""
    for axis, n in enumerate(_array(a).shape):
        if n > 1:
            return a.flip(axis) if isinstance(a, Tensor) else np.flip(a, axis)
    return a


def _array(a: Gradient) -> Array:
    return a._array if isinstance(a, Tensor) else a


def _differ(result: Gradient | None, bent: Gradient | None) -> bool:
    """Whether a gradient has been changed: in its values (None is 0), or in being recorded."""
    if result is None:
        return False
    if bent is None:
        return bool(np.any(_array(result)))
    if isinstance(result, Tensor) and isinstance(bent, Tensor):
        if (result.node is None) != (bent.node is None):
            return True
    return not np.array_equal(_array(result), _array(bent), equal_nan=True)


_CUT_OFF = "its result cut off from the graph"
Bend = Callable[[Gradient], Gradient | None]
_BENDS: dict[str, Bend] = {
    "its result times 2": lambda a: a * 2.0,
    "its result with the sign flipped": lambda a: -a,
    "its result off by a millionth": lambda a: a * (1 + 1e-6),
    "its result off by a constant": lambda a: a + 1e-4,
    "its result made 0": lambda a: a * 0.0,
    "its result left out": lambda a: None,
    "two axes of its result transposed": _transposed,
    "its result reversed along an axis": _reversed,
    "its result in float32": lambda a: a.to(np.float32) if isinstance(a, Tensor) else None,
    _CUT_OFF: lambda a: a.detach() if isinstance(a, Tensor) else a,
}


def bent(op: Op) -> Iterator[Mutant]:
    """Mutants with results scaled, turned, cut off, left out, or of another rule."""
    for number, rule in enumerate(op.rules):
        for part in (0, 1) if op.variadic else (None,):
            if rule is not None:
                where = f"rule {number}" + ("" if part is None else f", gradient {part}")
                yield from _all_bends(op, where, rule, number, part, _BENDS)
    if op.array_vjp is not None:
        arrays = {k: v for k, v in _BENDS.items() if k != _CUT_OFF}  # arrays have no graph
        for part in range(len(op.args)):
            where = f"gradient {part} of the array_vjp rule"
            yield from _all_bends(op, where, op.array_vjp, None, part, arrays)
    if op.broadcasts:
        undeclared = functools.partial(like, op, broadcasts=False)
        yield Mutant(op.name, "broadcasting undeclared", undeclared, [True])
        first = functools.partial(_without_sums, op)
        yield Mutant(op.name, "sums over broadcast axes left out", first, [True])
    places = [i for i, r in enumerate(op.rules) if r is not None]
    for i, j in itertools.pairwise(places):
        if _same_code(op.rules[i], op.rules[j]):
            continue
        swapped = list(op.rules)
        swapped[i], swapped[j] = swapped[j], swapped[i]
        make = functools.partial(like, op, rules=tuple(swapped))
        yield Mutant(op.name, f"rules {i} and {j} swapped", make, [True])


def _all_bends(
    op: Op,
    where: str,
    rule: Rule,
    number: int | None,
    part: int | None,
    bends: dict[str, Bend],
) -> Iterator[Mutant]:
    for what, bend in bends.items():
        acted: list[bool] = []
        make = functools.partial(_with_rule, op, number, rule, bend, part, acted)
        yield Mutant(op.name, f"{where}: {what}", make, acted)


def _same_code(a: Rule | None, b: Rule | None) -> bool:
    """Whether two rules are one function, or compiled from the same words."""
    assert a is not None
    assert b is not None
    f, g = a.function.__code__, b.function.__code__
    return f is g or (f.co_code, f.co_consts, f.co_names) == (g.co_code, g.co_consts, g.co_names)


def _with_rule(
    op: Op,
    number: int | None,
    rule: Rule,
    bend: Bend,
    part: int | None,
    acted: list[bool],
) -> Op:
    """The operation with what one of its rules returns (or one part of it) changed by ``bend``.

    ``number`` is the rule's, None for the array_vjp rule on arrays.
    """

    def changed(result: Gradient | None) -> Gradient | None:
        if not isinstance(result, Tensor) and result is not None:
            result = realize(result)
        bent = None if result is None else bend(result)
        if not acted and _differ(result, bent):
            acted.append(True)
        return bent

    @functools.wraps(rule.function)
    def wrong(g: Gradient, *values: Any) -> Any:
        result = rule.function(g, *values)
        if part is None:
            return changed(result)
        return tuple(changed(r) if k == part else r for k, r in enumerate(result))

    new = Rule(wrong)
    if number is None:
        return like(op, array_vjp=new, fused=None if op.fused is None else new)
    return like(op, rules=tuple(new if k == number else r for k, r in enumerate(op.rules)))


class _First(Op):
    """An operation whose gradients are cut to the inputs' shapes instead of summed."""

    def pullback(self, node: Node, g: Any, wanted: Any, recording: bool) -> tuple[Any, ...]:
        """The first elements along the axes that should have been summed."""
        out = []
        for gx, shape in zip(
            super().pullback(node, g, wanted, recording), node.shapes, strict=True
        ):
            if gx is not None and gx._value.shape != shape:
                lead = gx._value.ndim - len(shape)
                gx = gx[(0,) * lead]
                gx = gx[tuple(slice(0, n) for n in shape)]
            out.append(gx)
        return tuple(out)


def _without_sums(op: Op) -> Op:
    new = like(op)
    new.__class__ = _First
    return new
