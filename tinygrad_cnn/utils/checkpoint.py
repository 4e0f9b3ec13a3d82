"""PyTorch's ``torch.utils.checkpoint``: less memory, for a second forward pass.

The graph is recorded as always, but what its rules need is thrown away. When the first of them
asks, the function runs again, and what it saves this time, in the same order, is what they get.
Written with `autograd.graph.saved_tensors_hooks`, so that derivatives of all orders work.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cnn.autograd.arguments import checked
from tinygrad_cnn.autograd.events import Call, unwatch, watch
from tinygrad_cnn.autograd.graph import Packed, packed, packing, saved_tensors_hooks
from tinygrad_cnn.autograd.modes import enable_grad, is_grad_enabled
from tinygrad_cnn.autograd.node import SavedValue
from tinygrad_cnn.autograd.rounding import fast
from tinygrad_cnn.autograd.variable import Storage
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.kernels.fp_errors import within
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.ops.random import get_rng_state, set_rng_state
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import AnyFunction, Array

__all__ = [
    "CheckpointError",
    "checkpoint",
    "checkpoint_sequential",
    "noop_context_fn",
]

Contexts = tuple[AbstractContextManager[Any], AbstractContextManager[Any]]


class CheckpointError(RuntimeError):
    """A function that was run again did not save the same as before."""


class _Enough(Exception):
    """All that was saved is there again."""


class _Place:
    """Stands in the graph for something that was thrown away."""

    __slots__ = ("__weakref__", "dtype", "shape")

    def __init__(self, t: Tensor) -> None:
        self.shape, self.dtype = tuple(t.shape), t.dtype

    def __repr__(self) -> str:
        return f"{self.dtype}{self.shape}"


class _Frame:
    """One checkpointed call."""

    def __init__(
        self,
        function: AnyFunction,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        again: AbstractContextManager[Any],
        preserve_rng_state: bool,
        check: bool,
        early_stop: bool,
    ) -> None:
        self.function, self.again = function, again
        self.fast = fast.get()  # both runs are under the same autocast
        # An enclosing checkpoint throws these away too.
        self.args = [_kept(a) for a in args]
        self.kwargs = {name: _kept(a) for name, a in kwargs.items()}
        self.random = get_rng_state() if preserve_rng_state else None
        self.check, self.early_stop = check, early_stop
        self.places: list[weakref.ref[_Place]] = []
        self.kinds: list[str] = []
        self.found: weakref.WeakKeyDictionary[_Place, tuple[Tensor, Storage, int]] = (
            weakref.WeakKeyDictionary()
        )

    def pack(self, t: Tensor) -> _Place:
        place = _Place(t)
        self.places.append(weakref.ref(place))
        self.kinds.append(repr(place))
        return place

    def unpack(self, place: _Place) -> Tensor:
        if place not in self.found:
            self.run_again()
        t, storage, version = self.found.pop(place)
        if t.storage is storage and storage.version != version:
            raise RuntimeError(
                f"checkpoint: a derivative needs a tensor of shape {place.shape} that "
                f"{storage.writer} changed in place afterwards; use the out-of-place form"
            )
        return t

    def run_again(self) -> None:
        """Run the function as it ran before, and collect what it saves."""
        args = [_restored(a) for a in self.args]
        kwargs = {name: _restored(a) for name, a in self.kwargs.items()}
        now = get_rng_state()
        count = 0

        def collect(t: Tensor) -> Tensor:
            nonlocal count
            if count < len(self.places):
                kind = repr(_Place(t))
                if self.check and kind != self.kinds[count]:
                    raise CheckpointError(
                        f"checkpoint: what was saved as number {count} was {self.kinds[count]}, "
                        f"and {kind} when the function ran again; it must do the same each time"
                    )
                place = self.places[count]()
                if place is not None:
                    self.found[place] = (t, t.storage, t.storage.version)
            count += 1
            if self.early_stop and count == len(self.places):
                raise enough
            return t

        enough = _Enough()
        try:
            if self.random is not None:
                set_rng_state(self.random)
            with _buffers_restored(), saved_tensors_hooks(collect, lambda t: t):
                with enable_grad(), self.again:
                    within(fast, self.fast, self.function, args, kwargs)
        except _Enough as error:
            if error is not enough:
                raise
            enough.__traceback__ = None  # it keeps every local variable of the run alive
        finally:
            if self.random is not None:
                set_rng_state(now)
        if count != len(self.places):
            raise CheckpointError(
                f"checkpoint: {len(self.places)} tensors were saved, and {count} when the function "
                f"ran again; it must do the same each time"
            )


class _Argument(NamedTuple):
    tensor: Tensor
    version: int


def _kept(value: object) -> object:
    """An argument for later; a tensor with the version it has now, or packed by the outer hooks."""
    if not isinstance(value, Tensor):
        return value
    node = value.current_node()
    if packing() is not None:
        return packed(SavedValue(value._value, node, value.storage))
    return _Argument(value, value.storage.version)


def _restored(kept: Any) -> Any:
    if isinstance(kept, Packed):
        return kept.unpack("checkpoint", "an argument", kept.node)
    if isinstance(kept, _Argument):
        value, version = kept
        if value.storage.version != version:
            raise RuntimeError(
                f"checkpoint: an argument of shape {value.shape} was changed in place by "
                f"{value.storage.writer} since the function ran, so it cannot run again"
            )
        return value
    return kept


@contextlib.contextmanager
def _buffers_restored() -> Any:
    """Give the modules that run inside their buffers back as they were."""
    before: dict[int, tuple[Module, dict[str, tuple[Tensor | None, Array | None]]]] = {}

    def note(call: Call, go: Callable[[], Any]) -> Any:
        module = getattr(call.run, "__self__", None)
        if call.kind == "module" and isinstance(module, Module) and id(module) not in before:
            held = {
                name: (b, None if b is None else b._array.copy())
                for name, b in module._buffers.items()
            }
            before[id(module)] = module, held
        return go()

    watch(note)
    try:
        yield
    finally:
        unwatch(note)
        for module, held in before.values():
            for name, (buffer, values) in held.items():
                module._buffers[name] = buffer
                if buffer is not None and values is not None:
                    np.copyto(buffer._written_by("checkpoint"), values)


def noop_context_fn() -> Contexts:
    """Two contexts that change nothing."""
    return contextlib.nullcontext(), contextlib.nullcontext()


@checked
def checkpoint(
    function: AnyFunction,
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable[[], Contexts] = noop_context_fn,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """``function(*args, **kwargs)`` that keeps nothing for the backward pass, which runs it again.

    Parameters
    ----------
    use_reentrant, debug
        Taken, and change nothing: there is one implementation, with PyTorch's
        ``use_reentrant=False`` semantics.
    context_fn
        Returns a context for the first run and one for the second.
    determinism_check
        ``"default"`` compares the shapes and dtypes of what both runs save; ``"none"`` does not.
    early_stop
        Stop the second run when all that the first one saved is there.
    preserve_rng_state
        The second run draws the same random numbers from the global generator, and leaves it as it
        was. (Generators of your own are not preserved.)

    Returns
    -------
    What the function returns. Buffers of modules that it calls, such as running statistics, are
    left alone by the second run; a functional ``batch_norm`` moves the statistics that it is given
    again.

    Raises
    ------
    CheckpointError
        In the backward pass: the second run saved something else.
    RuntimeError
        In the backward pass: an argument was changed in place since.
    ArgumentError
        ``determinism_check`` is neither.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn.utils.checkpoint import checkpoint
    >>> x = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> checkpoint(lambda x: x.exp().sin(), x, use_reentrant=False).sum().backward()
    >>> x.grad
    tensor([-2.4784,  3.3129])
    """
    if determinism_check not in ("default", "none"):
        raise ArgumentError(
            f"checkpoint: `determinism_check` is {determinism_check!r}, expected 'default' or "
            f"'none'"
        )
    first, again = context_fn()
    if not is_grad_enabled():
        with first:
            return function(*args, **kwargs)
    check = determinism_check == "default"
    frame = _Frame(function, args, kwargs, again, preserve_rng_state, check, early_stop)
    with saved_tensors_hooks(frame.pack, frame.unpack), first:
        return function(*args, **kwargs)


def checkpoint_sequential(
    functions: Iterable[AnyFunction],
    segments: int,
    input: Any,
    use_reentrant: bool | None = None,
    *,
    preserve_rng_state: bool = True,
) -> Any:
    """Run functions (a `Sequential`, or a list) one after the other in checkpointed segments.

    The last segment is not checkpointed, as its backward pass comes first.

    Raises
    ------
    ArgumentError
        ``segments`` is not between 1 and the number of functions.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn.utils.checkpoint import checkpoint_sequential
    >>> x = tg.tensor(0.5, requires_grad=True)
    >>> checkpoint_sequential([tg.sin, tg.exp, tg.sqrt, tg.cos], 2, x).backward()
    >>> x.grad
    tensor(-0.5328)
    """
    steps = list(functions)
    if not 1 <= segments <= len(steps):
        raise ArgumentError(
            f"checkpoint_sequential: `segments` is {segments}, expected 1 to {len(steps)}"
        )
    size = len(steps) // segments

    def run(start: int, end: int) -> AnyFunction:
        def forward(x: Any) -> Any:
            for step in steps[start:end]:
                x = step(x)
            return x

        return forward

    last = size * (segments - 1)
    for start in range(0, last, size):
        input = checkpoint(
            run(start, start + size),
            input,
            use_reentrant=use_reentrant,
            preserve_rng_state=preserve_rng_state,
        )
    return run(last, len(steps))(input)
