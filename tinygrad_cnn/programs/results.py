"""What a recorded call returned: how the like of it is made of arrays of a replay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tinygrad_cnn.autograd.node import Leaf, Node
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.programs.memory import EXTERNAL, INPUT, Ref
from tinygrad_cnn.programs.recorder import Recorder
from tinygrad_cnn.programs.unit import Refused


class Argument(NamedTuple):
    """The result that is an argument, by number."""

    number: int


class Kept(NamedTuple):
    """The result that is an object which was there before."""

    value: Any


class New(NamedTuple):
    """A result with memory of its own.

    ``op`` is the operation that made it, if its graph was walked; ``live`` its number among the
    tensors that gradients may still come to, if it is one.
    """

    ref: Ref
    op: Any
    live: int | None


class Build(NamedTuple):
    """A tuple, list or dictionary of results."""

    make: Callable[[list[Any]], Any]
    parts: tuple[Any, ...]


class Description:
    """A call's result.

    Attributes
    ----------
    template
        How to make it.
    refs
        The arrays that it takes.
    live
        The tensors in it that gradients may still come to.
    """

    def __init__(
        self, value: Any, known: Sequence[Variable], leaves: Sequence[Any], recorder: Recorder
    ) -> None:
        self.known, self.leaves, self.recorder = known, leaves, recorder
        self.refs: list[Ref] = []
        self.live: list[Variable] = []
        self.template = self._of(value)

    def _of(self, value: Any) -> Any:
        for number, leaf in enumerate(self.leaves):
            if value is leaf:
                return Argument(number)
        if isinstance(value, Variable):
            return self._tensor(value)
        built = built_of(value)
        if built is not None:
            make, parts = built
            return Build(make, tuple(map(self._of, parts)))
        if value is None or isinstance(value, (bool, int, float, str, Module)):
            return Kept(value)
        raise Refused(f"it returns a {type(value).__name__}")

    def _tensor(self, value: Variable) -> Any:
        if any(value is t for t in self.known):
            return Kept(value)
        if value._grad is not None:
            raise Refused("it returns a tensor that has a gradient")
        node = value.current_node()
        array = value._array
        region = self.recorder.regions.find(array)
        if region is None:
            raise Refused("it returns a tensor that was computed outside of operations")
        if region.kind in (INPUT, EXTERNAL):
            raise Refused("it returns a view of a tensor that it did not make")
        if any(r.region is region for r in self.refs):
            raise Refused("it returns tensors that share memory")
        if type(node) is Leaf:
            raise Refused("it returns a tensor that it made and that is to collect a gradient")
        self.refs.append(self.recorder.regions.ref(array, region))
        if type(node) is Node and _is_alive(node):
            self.live.append(value)
            return New(self.refs[-1], None, len(self.live) - 1)
        return New(self.refs[-1], None if node is None else node.op, None)


def built_of(value: Any) -> tuple[Callable[[list[Any]], Any], list[Any]] | None:
    """How a container is made of parts, and these; None for anything else."""
    kind = type(value)
    if isinstance(value, tuple) and kind is not tuple:
        named = hasattr(kind, "_fields")
        return (lambda made: kind(*made) if named else kind(made)), list(value)
    if kind in (tuple, list):
        return kind, list(value)
    if kind is dict:
        keys = list(value)
        return (lambda made: dict(zip(keys, made, strict=True))), list(value.values())
    return None


def result_of(template: Any, leaves: Sequence[Any], new: Callable[[New], Any]) -> Any:
    """The result, with what ``new`` makes in the places of new tensors."""
    kind = type(template)
    if kind is New:
        return new(template)
    if kind is Build:
        return template.make([result_of(part, leaves, new) for part in template.parts])
    if kind is Argument:
        return leaves[template.number]
    return template.value


def _is_alive(node: Node) -> bool:
    """Whether a graph can be walked: nothing in it was freed."""
    stack, seen = [node], {node}
    while stack:
        one = stack.pop()
        if one.saved is None:
            return False
        for parent in one.parents:
            if type(parent) is Node and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return True
