"""`Function`: operations written as a pair of static methods, for people who bring PyTorch code."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from tinygrad_cnn.autograd.events import observe, observed, watching
from tinygrad_cnn.autograd.graph import Packed, packed
from tinygrad_cnn.autograd.modes import is_recording, no_grad, set_grad_enabled
from tinygrad_cnn.autograd.node import Gradients, Node, Parents, SavedValue
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.errors import DtypeError
from tinygrad_cnn.types import INEXACT, AnyFunction, Args, DType, Shape

Blank = tuple[tuple[int, ...], DType]
"""The shape and dtype of an output."""


class FunctionCtx:
    """Carries what `Function.forward` leaves for `Function.backward`; any attribute may be set."""

    def __init__(self) -> None:
        self.needs_input_grad: tuple[bool, ...] = ()
        self._to_save: Args = ()
        self._saved: list[Any] | None = []
        self._non_differentiable: Args = ()
        self._dirty: Args = ()
        self._materialize = True
        self._name = ""
        self._node: Callable[[], Node | None] = lambda: None

    def save_for_backward(self, *tensors: Variable | None) -> None:
        """Keep inputs, outputs or other tensors (or None) for the backward pass."""
        for i, t in enumerate(tensors):
            if t is not None and not isinstance(t, Variable):
                raise DtypeError(
                    f"save_for_backward: `tensors[{i}]` is a {type(t).__name__}, expected a Tensor "
                    f"or None; keep other things as attributes of `ctx`"
                )
        self._to_save = tensors

    @property
    def saved_tensors(self) -> Args:
        """What was saved; inputs and outputs still know where they came from."""
        if self._saved is None:
            raise RuntimeError(
                f"{self._name}: what it saved was already freed; pass retain_graph=True to the "
                f"first backward() or grad() call"
            )
        out = []
        for value, output in self._saved:
            if not isinstance(value, (SavedValue, Packed)):
                out.append(value)
                continue
            node = value.node if output is None else self._output_node(output)
            if isinstance(value, Packed):
                out.append(value.unpack(self._name, "a saved tensor", node))
                continue
            value.check(self._name, "a saved tensor")
            out.append(wrap(value._value, node, value.storage))
        return tuple(out)

    def mark_non_differentiable(self, *tensors: Variable) -> None:
        """Say which outputs have no gradient."""
        self._non_differentiable = tensors

    def mark_dirty(self, *tensors: Variable) -> None:
        """Say which inputs ``forward`` changed in place and returned."""
        self._dirty = tensors

    def free(self) -> None:
        """Let go of what was saved; asking for it is an error from now on."""
        if self._saved:
            self._saved = None

    def set_materialize_grads(self, value: bool) -> None:
        """With False, ``backward`` gets None instead of zeros for an output nobody used."""
        self._materialize = value

    def _output_node(self, i: int) -> Node | None:
        node = self._node()
        return None if node is None else _output(node, i)


class Function:
    """A differentiable operation from ``forward(ctx, ...)`` and ``backward(ctx, *gradients)``.

    Call it as ``MyFunction.apply(...)``. ``forward`` runs unrecorded. ``backward`` returns one
    gradient (or None) for every argument of ``forward`` and, if written in operations on tensors,
    can itself be differentiated. ``setup_context(ctx, inputs, output)`` may be split off, in which
    case ``forward`` takes no ``ctx``.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> class Cube(tg.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x * x
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         (x,) = ctx.saved_tensors
    ...         return g * 3 * x * x
    >>> x = tg.tensor(2.0, requires_grad=True)
    >>> Cube.apply(x).backward()
    >>> x.grad
    tensor(12.)
    """

    setup_context: ClassVar[Callable[[Any, Any, Any], None] | None] = None

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the output or outputs; to be overridden."""
        raise NotImplementedError("Function: a subclass must define the static method `forward`")

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Compute the gradient of every argument of ``forward``; to be overridden."""
        raise NotImplementedError("Function: a subclass must define the static method `backward`")

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run the operation on arguments of ``forward`` and record it.

        ``backward`` has a gradient for each of them, in the order of ``forward``; for those that
        were left out too if there is ``setup_context``.
        """
        if kwargs or cls.setup_context is not None:
            args = _in_order(cls, args, kwargs)
        if watching and observed(cls.apply):
            return observe("operation", cls.__name__, cls.apply, args, {})
        ctx = FunctionCtx()
        ctx._name = cls.__name__
        inputs = [a if isinstance(a, Variable) else None for a in args]
        parents = tuple([None if t is None else t.current_node() for t in inputs])
        ctx.needs_input_grad = tuple([p is not None for p in parents])
        before = {id(t): t.storage.version for t in inputs if t is not None}
        with no_grad():
            if cls.setup_context is None:
                result = cls.forward(ctx, *args)
            else:
                result = cls.forward(*args)
                cls.setup_context(ctx, args, result)
        outputs = list(result) if isinstance(result, (tuple, list)) else [result]
        for t in ctx._dirty:
            if not any(t is o for o in outputs):
                raise RuntimeError(
                    f"{cls.__name__}: a tensor that was marked dirty is not returned by forward"
                )
        live = is_recording() and any(ctx.needs_input_grad)
        _seal(ctx, inputs, parents, outputs)
        if live:
            outputs = _record(cls, ctx, inputs, parents, outputs)
        else:  # what was changed in place comes back as a constant
            dirty = {id(t) for t in ctx._dirty if t.node is not None}
            outputs = [o.detach() if id(o) in dirty else o for o in outputs]
        for t in ctx._dirty:
            if t.storage.version == before.get(id(t)):
                t.storage.written(cls.__name__)
        ctx._to_save = ctx._non_differentiable = ctx._dirty = ()
        return tuple(outputs) if isinstance(result, (tuple, list)) else outputs[0]


def _in_order(cls: type[Function], args: Args, kwargs: dict[str, Any]) -> Args:
    """The arguments of ``forward`` by position."""
    with_context = cls.setup_context is None  # which stands first and is not ours to give
    bound = inspect.signature(cls.forward).bind(*(None,) * with_context, *args, **kwargs)
    if not with_context:
        bound.apply_defaults()
    return bound.args[1:] if with_context else bound.args


def once_differentiable(backward: AnyFunction) -> AnyFunction:
    """Decorate a `Function.backward` that cannot itself be differentiated: it runs unrecorded."""

    def run(ctx: FunctionCtx, *gradients: Variable | None) -> Any:
        with no_grad():
            found = backward(ctx, *gradients)
        parents = tuple([g.current_node() for g in gradients if isinstance(g, Variable)])
        if not is_recording() or all(p is None for p in parents):
            return found
        once = _Once(ctx._name)
        parts = list(found) if isinstance(found, (tuple, list)) else [found]
        for i, t in enumerate(parts):
            if isinstance(t, Variable):
                parts[i] = wrap(t._array, Node(once, parents, (), (), {}, {}), t.storage)
        return tuple(parts) if isinstance(found, (tuple, list)) else parts[0]

    return run


class _Once:
    """The derivative of a gradient that cannot be differentiated again."""

    broadcasts = False

    def __init__(self, name: str) -> None:
        self.name = name

    def pullback(
        self, node: Node, g: Variable, wanted: tuple[bool, ...], recording: bool
    ) -> Gradients:
        raise RuntimeError(
            f"{self.name}: its backward is marked once_differentiable, so it has no second "
            f"derivative"
        )


def _seal(
    ctx: FunctionCtx, inputs: list[Variable | None], parents: Parents, outputs: list[Any]
) -> None:
    """Turn the tensors to save into arrays and nodes: a node that held tensors would be a cycle."""
    sealed: list[Any] = []
    for t in ctx._to_save:
        if not isinstance(t, Variable):
            sealed.append((t, None))
            continue
        number = next((i for i, o in enumerate(outputs) if o is t), None)
        node = next((p for x, p in zip(inputs, parents, strict=True) if x is t), None)
        if node is not None or any(x is t for x in inputs):
            number = None
        is_input = number is None and any(x is t for x in inputs)
        value = t.kept(node) if is_input else SavedValue(t._value, node, t.storage)
        sealed.append((packed(value), number))
    ctx._saved = sealed


def _record(
    cls: type[Function],
    ctx: FunctionCtx,
    inputs: list[Variable | None],
    parents: Parents,
    outputs: list[Any],
) -> list[Any]:
    shapes = tuple([() if t is None else t._value.shape for t in inputs])
    dtypes = tuple([None if t is None else t._value.dtype for t in inputs])
    derivative = _FunctionDerivative(cls, [_blank(o) for o in outputs])
    node = Node(derivative, parents, shapes, dtypes, {}, {"ctx": ctx})
    ctx._node = weakref.ref(node)
    recorded: list[Any] = []
    for i, out in enumerate(outputs):
        constant = (
            not isinstance(out, Variable)
            or any(out is t for t in ctx._non_differentiable)
            or out._value.dtype.kind not in INEXACT
        )
        if constant:
            recorded.append(out)
        elif any(out is t for t in ctx._dirty):
            out.check_writable(cls.__name__, True)
            out.take_history(wrap(out._value, _output(node, i), out.storage))
            out._grad = None  # as in PyTorch: it was of another value
            recorded.append(out)
        else:
            recorded.append(wrap(out._array, _output(node, i), out.storage))
            out.storage.shared_by(out, recorded[-1])
    return recorded


def _blank(out: object) -> Blank | None:
    return (out._value.shape, out._value.dtype) if isinstance(out, Variable) else None


def _output(node: Node, i: int) -> Node:
    """The node of output ``i``: it hands its gradient to the function's node as part ``i``."""
    blank = node.op.outputs[i]  # type: ignore[attr-defined]  # a _FunctionDerivative
    return Node(OutputPart(node.op.name, i), (node,), (blank[0],), (blank[1],), {}, {})


def _stretched(shape: Shape, to: Shape) -> bool:
    """Whether ``to`` is ``shape``, or broadcasting makes one of the other."""
    rest = to[len(to) - len(shape) :]
    return len(to) >= len(shape) and all(a in (1, b) for a, b in zip(shape, rest, strict=True))


class _Parts(dict[int, Any]):
    """Gradients of some of a function's outputs, by output number."""

    def __add__(self, other: _Parts) -> _Parts:
        out = _Parts(self)
        for i, g in other.items():
            out[i] = out[i] + g if i in out else g
        return out


class OutputPart:
    """One output among a function's several."""

    broadcasts = False

    def __init__(self, name: str, i: int) -> None:
        self.name, self.i = name, i

    def pullback(
        self, node: Node, g: Variable, wanted: tuple[bool, ...], recording: bool
    ) -> Gradients:
        return (_Parts({self.i: g}),)  # type: ignore[return-value]  # no tensor


class _FunctionDerivative:
    """Runs a `Function`'s backward; a gradient that was stretched is summed, as PyTorch's."""

    broadcasts = True

    def __init__(self, cls: type[Function], outputs: list[Blank | None]) -> None:
        self.cls, self.outputs = cls, outputs
        self.name = cls.__name__

    def pullback(self, node: Node, g: Any, wanted: tuple[bool, ...], recording: bool) -> Gradients:
        assert node.saved is not None
        ctx = node.saved["ctx"]
        parts = []
        for i, blank in enumerate(self.outputs):
            part = g.get(i)
            if part is None and ctx._materialize and blank is not None:
                part = wrap(np.zeros(blank[0], blank[1]))
            parts.append(part)
        with set_grad_enabled(recording):
            got = self.cls.backward(ctx, *parts)
        gradients = tuple(got) if isinstance(got, (tuple, list)) else (got,)
        n = len(wanted)
        if len(gradients) > n and all(x is None for x in gradients[n:]):
            gradients = gradients[:n]
        if len(gradients) != n:
            raise RuntimeError(
                f"{self.name}: backward returned {len(gradients)} gradients for {n} arguments of "
                f"forward"
            )
        for i, gx in enumerate(gradients):
            if gx is not None and not isinstance(gx, Variable):
                raise DtypeError(
                    f"{self.name}: backward returned a {type(gx).__name__} for argument {i}, "
                    f"expected a Tensor or None"
                )
            if gx is not None and wanted[i] and not _stretched(node.shapes[i], gx._value.shape):
                raise RuntimeError(
                    f"{self.name}: backward returned a gradient of shape {gx._value.shape} for "
                    f"argument {i} of shape {node.shapes[i]}"
                )
        return gradients
