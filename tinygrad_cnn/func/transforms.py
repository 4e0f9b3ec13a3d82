"""`grad`, `value_and_grad`, `vjp` and `jvp`, with the arguments of PyTorch's `torch.func`.

Each makes fresh tensors of its inputs, so that two transforms of the same tensor do not see each
other's gradients, and records its own result only if something outside can still be differentiated
through it: an enclosing transform, or a tensor that requires gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.arguments import need
from tinygrad_cnn.autograd.backward import grad as backward_grad
from tinygrad_cnn.autograd.modes import enable_grad, is_grad_enabled
from tinygrad_cnn.autograd.node import GraphNode
from tinygrad_cnn.autograd.op import isolate
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError, DtypeError, ShapeError
from tinygrad_cnn.func.tree import Tree, flatten, tensors, transform
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import AnyFunction, Args

ArgNums = int | tuple[int, ...]
Put = Callable[[Sequence[Tensor]], Args]


class Traced:
    """A call of ``function``, recorded from fresh tensors of the ``wanted`` inputs' values.

    ``arguments`` makes the call's arguments from the fresh tensors.

    Attributes
    ----------
    inputs
        The fresh tensors, in the order of the leaves of ``wanted``.
    value, outputs, aux
        What the function returned, its tensors, and what came with it if ``has_aux``.
    recorded
        Whether derivatives are themselves to be recorded.
    """

    def __init__(
        self,
        name: str,
        function: AnyFunction,
        arguments: Put,
        has_aux: bool,
        wanted: Tree,
    ) -> None:
        need(name, "func", function, "AnyFunction")
        outside = is_grad_enabled()
        tensors(name, "an argument to be differentiated", wanted)
        with enable_grad():
            self.inputs = [_fresh(t) for t in flatten(wanted)[0]]
            value = function(*arguments(self.inputs))
        self.aux: Tree = None
        if has_aux:
            if not (isinstance(value, tuple) and len(value) == 2):
                raise DtypeError(f"{name}: with has_aux=True the function must return (value, aux)")
            value, self.aux = value
        self.value = value
        self.outputs = tensors(name, "the function's result", value)
        own = {t.current_node() for t in self.inputs}
        self.recorded = outside and _reaches_outside(self.outputs, own)
        if not self.recorded:  # cut off from the private inputs
            self.aux = transform(_plain, self.aux)

    def pull_back(self, cotangents: Sequence[Tensor], create_graph: bool) -> list[Tensor]:
        """The gradients of all inputs, zeros where there is no path."""
        pairs = [
            (y, u)
            for y, u in zip(self.outputs, cotangents, strict=True)
            if y.current_node() is not None
        ]
        if not pairs:
            return [wrap(np.zeros_like(t._array)) for t in self.inputs]
        found = backward_grad(
            [y for y, _ in pairs],
            self.inputs,
            [u for _, u in pairs],
            retain_graph=True,
            create_graph=create_graph,
            materialize_grads=True,
        )
        return list(found)

    def result(self) -> Tree:
        """The function's value, cut off from the private inputs unless it is recorded."""
        return self.value if self.recorded else transform(_plain, self.value)


def _fresh(t: Tensor) -> Tensor:
    """A tensor of the same values whose gradient is its own; connected to ``t`` if that is live."""
    if t.current_node() is not None:
        return isolate(t)
    new: Tensor = wrap(t._array, storage=t.storage)  # a change in place is noticed
    t.storage.shared_by(t, new)
    new.want_gradient(True)
    return new


def _plain(value: object) -> object:
    return value.detach() if isinstance(value, Tensor) else value


def _reaches_outside(outputs: Sequence[Tensor], own: set[GraphNode | None]) -> bool:
    """Whether a result depends on a leaf that is not one of ``own``."""
    seen: set[GraphNode] = set()
    stack: list[GraphNode] = [n for n in (y.current_node() for y in outputs) if n is not None]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if not node.parents and node not in own:
            return True
        stack.extend(p for p in node.parents if p is not None)
    return False


def select(name: str, args: Args, argnums: ArgNums) -> tuple[Tree, Put]:
    """The arguments ``argnums``, and the function that puts others in their places."""
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for n in numbers:
        if isinstance(n, bool) or not isinstance(n, int) or not -len(args) <= n < len(args):
            raise ArgumentError(
                f"{name}: `argnums` is {argnums!r} but there are {len(args)} arguments"
            )
    places = [n % len(args) for n in numbers]
    if len(set(places)) != len(places):
        raise ArgumentError(f"{name}: `argnums` is {argnums!r}, which names an argument twice")
    chosen = args[places[0]] if isinstance(argnums, int) else tuple(args[p] for p in places)
    _, build = flatten(chosen)

    def put(values: Sequence[Tensor]) -> Args:
        new = build(values)
        every = list(args)
        for place, part in zip(places, (new,) if isinstance(argnums, int) else new, strict=True):
            every[place] = part
        return tuple(every)

    return chosen, put


def value_and_grad(func: AnyFunction, argnums: ArgNums = 0, has_aux: bool = False) -> AnyFunction:
    """A function that returns ``(func(...), its gradient)``; see `grad`.

    With ``has_aux`` it returns ``((value, aux), gradient)``.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.func.value_and_grad(lambda x: x**3)(tg.tensor(2.0))
    (tensor(8.), tensor(12.))
    """
    need("value_and_grad", "func", func, "AnyFunction")

    def derivative(*args: Tree, **kwargs: Any) -> Tree:
        chosen, put = select("value_and_grad", args, argnums)
        traced = Traced("value_and_grad", lambda *a: func(*a, **kwargs), put, has_aux, chosen)
        if not isinstance(traced.value, Tensor) or traced.value._value.size != 1:
            what = getattr(traced.value, "shape", f"a {type(traced.value).__name__}")
            raise RuntimeError(
                f"grad: the function must return a tensor of one number, got {what}; "
                f"jacobian() differentiates others"
            )
        one = wrap(np.ones_like(traced.value._array))
        with enable_grad():
            found = traced.pull_back([one], traced.recorded)
        gradient = flatten(chosen)[1](found)
        value = traced.result()
        return ((value, traced.aux), gradient) if has_aux else (value, gradient)

    return derivative


def grad_and_value(func: AnyFunction, argnums: ArgNums = 0, has_aux: bool = False) -> AnyFunction:
    """As `value_and_grad` in PyTorch's order: ``(gradient, value)``.

    With ``has_aux`` it returns ``(gradient, (value, aux))``.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.func.grad_and_value(lambda x: x**3)(tg.tensor(2.0))
    (tensor(12.), tensor(8.))
    """
    function = value_and_grad(func, argnums, has_aux)
    return lambda *args, **kwargs: function(*args, **kwargs)[::-1]


def grad(func: AnyFunction, argnums: ArgNums = 0, has_aux: bool = False) -> AnyFunction:
    """The gradient of ``func``, as a function of the same arguments.

    Parameters
    ----------
    func
        Takes tensors, or nested tuples, lists and dicts of them; returns a tensor of one number.
    argnums
        Which argument, or a tuple of several, to differentiate with respect to.
    has_aux
        ``func`` returns ``(value, aux)``, and the result is ``(gradient, aux)``.

    Raises
    ------
    RuntimeError
        The function did not return a tensor of one number.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn.func import grad
    >>> grad(tg.sin)(tg.tensor(0.0))
    tensor(1.)
    >>> grad(grad(lambda x: x**4))(tg.tensor(2.0))
    tensor(48.)
    """
    function = value_and_grad(func, argnums, has_aux)

    def derivative(*args: Tree, **kwargs: Any) -> Tree:
        value, gradient = function(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return derivative


def vjp(func: AnyFunction, *primals: Tree, has_aux: bool = False) -> Args:
    """``func(*primals)`` and the function from a cotangent to the gradients of ``primals``.

    The cotangent has the structure and shapes of the result. The gradient is that of the one
    primal, or a tuple for several. With ``has_aux`` a third result is what came with the value.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> y, pull = tg.func.vjp(lambda a, b: a * b, tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0]))
    >>> pull(tg.tensor([1.0, 10.0]))
    (tensor([ 3., 40.]), tensor([ 1., 20.]))
    """
    if not primals:
        raise ArgumentError("vjp: `primals` is empty, so there is nothing to differentiate")
    _, build = flatten(primals)
    traced = Traced("vjp", func, build, has_aux, primals)

    def pullback(*cotangents: Tree) -> Any:
        given = cotangents[0] if len(cotangents) == 1 else cotangents
        us = _matching("vjp", "the cotangent", given, traced.outputs)
        live = is_grad_enabled() and any(u.current_node() is not None for u in us)
        create_graph = (is_grad_enabled() and traced.recorded) or live
        with enable_grad():
            found = traced.pull_back(us, create_graph)
        gradients = build(found)
        return gradients[0] if len(primals) == 1 else gradients

    out = traced.result()
    return (out, pullback, traced.aux) if has_aux else (out, pullback)


def jvp(func: AnyFunction, primals: Tree, tangents: Tree, *, has_aux: bool = False) -> Args:
    """``func(*primals)`` and its directional derivative along ``tangents``.

    By differentiating twice in reverse: the gradient is linear in the cotangent, and the slope of
    that linear map, in the direction of the tangents, is the forward derivative (J. Townsend,
    "A new trick for calculating Jacobian vector products", 2017).

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.func.jvp(lambda x: x**2, (tg.tensor([1.0, 2.0]),), (tg.tensor([1.0, 10.0]),))
    (tensor([1., 4.]), tensor([ 2., 40.]))
    """
    if not isinstance(primals, tuple) or not isinstance(tangents, tuple):
        raise DtypeError("jvp: `primals` and `tangents` must be tuples, one element per argument")
    _, build = flatten(primals)
    traced = Traced("jvp", func, build, has_aux, primals)
    vs = _matching("jvp", "`tangents`", tangents, traced.inputs)
    slope = flatten(traced.value)[1](Forward(traced).push(vs))
    out = traced.result()
    return (out, slope, traced.aux) if has_aux else (out, slope)


def linearize(func: AnyFunction, *primals: Tree) -> tuple[Tree, AnyFunction]:
    """``func(*primals)`` and the function from tangents to the directional derivative there.

    The function is traced once; every call of the second result is one reverse walk, as in `jvp`.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> y, push = tg.func.linearize(lambda x: x**2, tg.tensor([1.0, 2.0]))
    >>> push(tg.tensor([1.0, 0.0])), push(tg.tensor([0.0, 1.0]))
    (tensor([2., 0.]), tensor([0., 4.]))
    """
    if not primals:
        raise ArgumentError("linearize: `primals` is empty, so there is nothing to differentiate")
    _, build = flatten(primals)
    traced = Traced("linearize", func, build, False, primals)
    forward = Forward(traced)

    def push(*tangents: Tree) -> Tree:
        vs = _matching("linearize", "the tangents", tangents, traced.inputs)
        return flatten(traced.value)[1](forward.push(vs))

    return traced.result(), push


class Forward:
    """Directional derivatives of a traced call."""

    def __init__(self, traced: Traced) -> None:
        self.traced = traced
        with enable_grad():
            self.us = [wrap(np.zeros_like(y._array)) for y in traced.outputs]
            for u in self.us:
                u.want_gradient(True)
            self.gradients = traced.pull_back(self.us, True)

    def push(self, vs: Sequence[Tensor]) -> Args:
        """The derivative of every output along the tangents ``vs`` of the inputs."""
        live = any(v.current_node() is not None for v in vs)
        pairs = [
            (g, v) for g, v in zip(self.gradients, vs, strict=True) if g.current_node() is not None
        ]
        if not pairs:
            return tuple(wrap(np.zeros_like(y._array)) for y in self.traced.outputs)
        create_graph = is_grad_enabled() and (self.traced.recorded or live)
        with enable_grad():
            return backward_grad(
                [g for g, _ in pairs],
                self.us,
                [v for _, v in pairs],
                retain_graph=True,
                create_graph=create_graph,
                materialize_grads=True,
            )


def _matching(name: str, what: str, tree: Tree, like: Sequence[Tensor]) -> list[Tensor]:
    """The tensors of ``tree``; ValueError unless they have the shapes of ``like``."""
    given = tensors(name, what, tree)
    shapes, expected = [tuple(t.shape) for t in given], [tuple(t.shape) for t in like]
    if shapes != expected:
        raise ShapeError(f"{name}: {what} has shapes {shapes}, expected {expected}")
    return [g if g.dtype == t.dtype else g.to(t.dtype) for g, t in zip(given, like, strict=True)]
