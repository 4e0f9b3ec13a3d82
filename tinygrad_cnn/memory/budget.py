"""Training in a given memory: what is computed again instead of kept is chosen by measuring."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cnn.amounts import byte_size, parse_size
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.memory.recording import record
from tinygrad_cnn.nn import Module, Sequential
from tinygrad_cnn.ops.random import get_rng_state, set_rng_state
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.utils.checkpoint import checkpoint


class Unit(NamedTuple):
    """What may run again: a module, or children of a `Sequential` from ``start`` to ``end``."""

    name: str
    owner: Module
    start: int = 0
    end: int = 0

    def modules(self) -> list[Module]:
        """The modules that are called."""
        if not self.end:
            return [self.owner]
        return list(self.owner.children())[self.start : self.end]


class MemoryPlan:
    """What a model computes again in the backward pass, so that its steps take less memory.

    Attributes
    ----------
    names
        The modules that run again.
    before, after
        Bytes of a step without and with that.
    """

    def __init__(self, units: Sequence[Unit], before: int, after: int, most: int) -> None:
        self.units, self.before, self.after, self.most = list(units), before, after, most

    @property
    def names(self) -> list[str]:
        """The modules that run again."""
        return [unit.name for unit in self.units]

    def __str__(self) -> str:
        if not self.units:
            return f"max_memory: a step takes {byte_size(self.before)}; nothing is computed again"
        return (
            f"max_memory: a step takes {byte_size(self.after)} instead of "
            f"{byte_size(self.before)}: computed again in the backward pass: "
            + ", ".join(self.names)
        )

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the modules run again in backward passes; state dicts are as ever."""
        with contextlib.ExitStack() as stack:
            by_owner: dict[int, list[Unit]] = {}
            for unit in self.units:
                by_owner.setdefault(id(unit.owner), []).append(unit)
            for units in by_owner.values():
                owner = units[0].owner
                forward = _segmented(owner, units) if units[0].end else _again(owner)
                object.__setattr__(owner, "forward", forward)
                stack.callback(object.__delattr__, owner, "forward")
            yield


def _again(module: Module) -> Callable[..., Any]:
    """A module's ``forward`` that keeps nothing while it is trained."""
    forward = module.forward

    def run(*args: Any, **kwargs: Any) -> Any:
        if not module.training:
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run


def _segmented(owner: Module, units: Sequence[Unit]) -> Callable[[Any], Any]:
    """The ``forward`` of a `Sequential` some segments of which keep nothing."""
    ends = {unit.start: unit.end for unit in units}

    def run(x: Any) -> Any:
        children = list(owner.children())
        place = 0
        while place < len(children):
            end = ends.get(place, place + 1)

            def part(x: Any, part: list[Module] = children[place:end]) -> Any:
                for child in part:
                    x = child(x)
                return x

            again = place in ends and owner.training
            x = checkpoint(part, x, use_reentrant=False) if again else part(x)
            place = end
        return x

    return run


def _units(module: Module, name: str = "") -> list[Unit]:
    """What may be computed again in a model."""
    found: list[Unit] = []
    children = list(module.named_children())
    simple = [not list(child.children()) for _, child in children]
    if type(module) is Sequential and all(simple) and len(children) > 1:
        size = math.ceil(math.sqrt(len(children)))
        for start in range(0, len(children), size):
            end = min(start + size, len(children))
            first, last = children[start][0], children[end - 1][0]
            span = first if first == last else f"{first}-{last}"
            found.append(Unit(f"{name}{'.' if name else ''}{span}", module, start, end))
        return found
    for child_name, child in children:
        path = f"{name}{'.' if name else ''}{child_name}"
        if type(child) is Sequential:
            found += _units(child, path)
        else:
            found.append(Unit(path, child))
    return found


def fit_into(
    model: Module,
    step: Callable[[], Tensor],
    most: float | str,
    *,
    optimizer: Any = None,
) -> MemoryPlan:
    """Choose which modules of ``model`` to run again so that a training step takes ``most`` bytes.

    ``step`` is run some times: as it is, and then with as many modules run again
    (`utils.checkpoint`) as are needed, those first that save most. What is measured is what
    `record` counts: parameters, inputs, what is kept, gradients; and the optimiser's state.

    Parameters
    ----------
    step
        Returns the loss of a batch. The model's buffers and gradients and the random numbers are
        afterwards as they were.
    most
        Bytes, or a text such as ``"2GB"``.
    optimizer
        The one whose state comes on top.

    Returns
    -------
    MemoryPlan, which says what was chosen; ``with plan.applied():`` trains by it.

    Raises
    ------
    ArgumentError
        It cannot be done; the message says how much it takes at least.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> model = nn.Sequential(*[nn.Tanh() for _ in range(9)])
    >>> x = tg.randn(1000, 250, requires_grad=True)
    >>> plan = fit_into(model, lambda: model(x).sum(), "9MB")
    >>> plan.before > 10_000_000, plan.after <= 9_000_000
    (True, True)
    """
    size = parse_size(most, "fit_into: `most`")
    state = _state_bytes(optimizer)
    plain = _measured(model, step, MemoryPlan([], 0, 0, size))
    before = plain.peak + state
    if before <= size:
        return MemoryPlan([], before, before, size)
    everything = _units(model)
    saves = [
        (sum(plain.kept_by_module[id(module)] for module in unit.modules()), unit)
        for unit in everything
    ]
    order = [pair for pair in sorted(saves, key=lambda pair: -pair[0]) if pair[0] > 0]
    least, expected = before, before
    for count, (saved, _) in enumerate(order, 1):
        expected -= saved
        if expected > size and count < len(order):
            continue  # certainly not yet
        chosen = [unit for _, unit in order[:count]]
        units = [unit for unit in everything if unit in chosen]  # in the model's order
        after = _measured(model, step, MemoryPlan(units, 0, 0, size)).peak + state
        least = min(least, after)
        if after <= size:
            return MemoryPlan(units, before, after, size)
    raise ArgumentError(
        f"fit_into: `most` is {most!r}, expected more: a step takes {byte_size(before)}, and "
        f"with all modules computed again that save memory {byte_size(least)}; the least that can "
        f"be asked for is {least} bytes; smaller batches take less"
    )


def _measured(model: Module, step: Callable[[], Tensor], plan: MemoryPlan) -> record:
    """Run a step by a plan, and leave everything as it was."""
    random = get_rng_state()
    buffers = [(b, b._array.copy()) for b in model.buffers()]
    gradients = [(p, p.grad) for p in model.parameters()]
    try:
        for parameter, _ in gradients:
            parameter.grad = None
        with record() as recorded, plan.applied():
            step().backward()
    finally:
        set_rng_state(random)
        for buffer, values in buffers:
            np.copyto(buffer._written_by("max_memory"), values)
        for parameter, gradient in gradients:
            parameter.grad = gradient
    return recorded


def _state_bytes(optimizer: Any) -> int:
    """Bytes of an optimiser's state after its first step, which a copy of it makes."""
    if optimizer is None:
        return 0
    twin = copy.deepcopy(optimizer)
    if not any(twin.state.values()):
        for group in twin.param_groups:
            for parameter in group["params"]:
                array = np.zeros(tuple(parameter.shape), parameter.dtype)
                parameter.grad = Tensor(array)
        with contextlib.suppress(TypeError):  # it wants a closure
            twin.step()
    values = [v for state in twin.state.values() if isinstance(state, dict) for v in state.values()]
    return sum(v._value.nbytes for v in values if isinstance(v, Tensor))
