"""PyTorch's ``torch.autograd.functional``: Jacobians, Hessians and products with them.

`tg.func` has the same for nested arguments, and nests in any order. Here the function takes one
tensor or several and returns one or several; results have the structure of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tinygrad_cnn.autograd.arguments import checked
from tinygrad_cnn.autograd.backward import grad
from tinygrad_cnn.autograd.modes import enable_grad
from tinygrad_cnn.autograd.op import isolate
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.errors import ArgumentError, DtypeError, ShapeError
from tinygrad_cnn.types import AnyFunction, Args

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

__all__ = [
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "vhp",
    "vjp",
]

Tensors = Any
"""A tensor, or a tuple of tensors."""


@enable_grad()
@checked
def jacobian(
    func: AnyFunction,
    inputs: Tensors,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: Literal["reverse-mode", "forward-mode"] = "reverse-mode",
) -> Tensors:
    """The first derivatives of ``func`` at ``inputs``.

    Parameters
    ----------
    func
        Takes the inputs and returns a tensor, or a tuple of them.
    create_graph
        Record, so that the result can be differentiated.
    strict
        Raise an error, instead of having zeros, for an output that does not depend on an input.
    vectorize, strategy
        Taken, and change nothing: there is one reverse walk for each number of the outputs.

    Returns
    -------
    A tensor of shape output + input. A tuple of them for a tuple of inputs, and around that a
    tuple for a tuple of outputs.

    Raises
    ------
    TypeError
        Inputs or outputs are no tensors.
    RuntimeError
        With ``strict``, an output does not depend on an input.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.autograd.functional.jacobian(lambda x, y: x * y.sum(), (tg.ones(2), tg.ones(2)))
    (tensor([[2., 0.],
            [0., 2.]]), tensor([[1., 1.],
            [1., 1.]]))
    """
    if strategy not in ("reverse-mode", "forward-mode"):
        raise ArgumentError(
            f"jacobian: `strategy` is {strategy!r}, expected 'reverse-mode' or 'forward-mode'"
        )
    call = _Call("jacobian", func, inputs, create_graph, strict)
    rows = []
    for i, y in enumerate(call.outputs):
        found = [call.pull(_basis(call.outputs, i, k), i) for k in range(y._value.size)]
        columns = zip(*found, strict=True) if found else [()] * len(call.inputs)
        row = [_stacked(c, y, x) for c, x in zip(columns, call.inputs, strict=True)]
        rows.append(call.as_inputs(row))
    return call.as_outputs(rows)


@enable_grad()
@checked
def hessian(
    func: AnyFunction,
    inputs: Tensors,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: Literal["reverse-mode", "forward-mode"] = "reverse-mode",
) -> Tensors:
    """The second derivatives of ``func``, which returns one number, at ``inputs``.

    The arguments are those of `jacobian`.

    Returns
    -------
    A tensor of shape input + input; for a tuple of inputs a tuple of tuples of them.

    Raises
    ------
    RuntimeError
        The function returned something else than a tensor of one number, or, with ``strict``, it,
        or its gradient, does not depend on an input.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.autograd.functional.hessian(lambda x: (x**3).sum(), tg.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """

    def gradient(*args: Tensor) -> Args:
        call = _Call("hessian", func, args, True, strict)
        one = _one_number(call)
        found = call.pull([wrap(np.ones_like(one._array))], 0)
        return tuple(found)

    several = isinstance(inputs, tuple)
    found = jacobian(
        gradient, inputs if several else (inputs,), create_graph, strict, vectorize,
        outer_jacobian_strategy,
    )  # fmt: skip
    return found if several else found[0][0]


@enable_grad()
@checked
def vjp(
    func: AnyFunction,
    inputs: Tensors,
    v: Tensors = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Tensors, Tensors]:
    """``func(*inputs)`` and the product of ``v``, shaped as that, with the Jacobian.

    ``v`` may be left out for an output of one number. See `jacobian` for the rest.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.autograd.functional.vjp(lambda x: x * x, tg.tensor([1.0, 2.0]), tg.tensor([1.0, 10.0]))
    (tensor([1., 4.]), tensor([ 2., 40.]))
    """
    call = _Call("vjp", func, inputs, create_graph, strict)
    us = _vector("vjp", v, call.outputs, "the function's result")
    return call.result(), call.as_inputs(call.pull(us))


@enable_grad()
@checked
def jvp(
    func: AnyFunction,
    inputs: Tensors,
    v: Tensors = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Tensors, Tensors]:
    """``func(*inputs)`` and the product of the Jacobian with ``v``, shaped as the inputs.

    Computed by differentiating twice in reverse; `tg.func.jvp` says how. ``v`` may be left out for
    an input of one number. See `jacobian` for the rest.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.autograd.functional.jvp(lambda x: x * x, tg.tensor([1.0, 2.0]), tg.tensor([1.0, 10.0]))
    (tensor([1., 4.]), tensor([ 2., 40.]))
    """
    call = _Call("jvp", func, inputs, create_graph, strict)
    vs = _vector("jvp", v, call.inputs, "`inputs`")
    us = [wrap(np.zeros_like(y._array)) for y in call.outputs]
    for u in us:
        u.want_gradient(True)
    gradients = call.pull(us, record=True)
    found = _gradients(gradients, us, vs, create_graph)
    return call.result(), call.as_outputs(found)


@enable_grad()
@checked
def vhp(
    func: AnyFunction,
    inputs: Tensors,
    v: Tensors = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Tensors, Tensors]:
    """``func(*inputs)``, one number, and the product of ``v`` with its Hessian.

    See `jacobian` for the arguments, and `hessian` for the errors.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> x, v = tg.tensor([1.0, 2.0]), tg.tensor([1.0, 0.0])
    >>> tg.autograd.functional.vhp(lambda x: (x**3).sum(), x, v)
    (tensor(9.), tensor([6., 0.]))
    """
    return _hessian_product("vhp", func, inputs, v, create_graph, strict)


@enable_grad()
@checked
def hvp(
    func: AnyFunction,
    inputs: Tensors,
    v: Tensors = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Tensors, Tensors]:
    """The same as `vhp`, as Hessians are symmetric: here too, without forward mode.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> x, v = tg.tensor([1.0, 2.0]), tg.tensor([1.0, 0.0])
    >>> tg.autograd.functional.hvp(lambda x: (x**3).sum(), x, v)
    (tensor(9.), tensor([6., 0.]))
    """
    return _hessian_product("hvp", func, inputs, v, create_graph, strict)


def _hessian_product(
    name: str, func: AnyFunction, inputs: Tensors, v: Tensors, create_graph: bool, strict: bool
) -> tuple[Tensors, Tensors]:
    call = _Call(name, func, inputs, create_graph, strict)
    one = _one_number(call)
    vs = _vector(name, v, call.inputs, "`inputs`")
    gradients = call.pull([wrap(np.ones_like(one._array))], record=True)
    if strict:
        call.check(gradients, "the gradient of input")
    found = _gradients(gradients, call.inputs, vs, create_graph)
    return call.result(), call.as_inputs(found)


class _Call:
    """A recorded call of a function of one tensor or several.

    Attributes
    ----------
    inputs
        Fresh tensors, connected with the given ones if ``create_graph``.
    outputs
        What the function returned.
    """

    def __init__(
        self, name: str, func: AnyFunction, inputs: Tensors, create_graph: bool, strict: bool
    ) -> None:
        self.name, self.create_graph, self.strict = name, create_graph, strict
        self.several = isinstance(inputs, tuple)
        given = _as_tuple(name, "`inputs`", inputs)
        self.inputs: list[Tensor] = []
        for t in given:
            live = create_graph and t.current_node() is not None
            new = isolate(t) if live else t.detach()
            if not live:
                new.want_gradient(True)
            self.inputs.append(new)
        value = func(*self.inputs)
        self.several_outputs = isinstance(value, (tuple, list))
        value = tuple(value) if self.several_outputs else value
        self.outputs = list(_as_tuple(name, "the function's result", value))
        if strict:
            self.check(self.outputs, "output")

    def check(self, tensors: Sequence[Tensor], what: str) -> None:
        """Raise RuntimeError if one of these does not depend on anything."""
        for i, t in enumerate(tensors):
            if t.current_node() is None:
                raise RuntimeError(
                    f"{self.name}: {what} {i} does not depend on the inputs, and strict is True"
                )

    def pull(
        self, us: Sequence[Tensor], output: int | None = None, record: bool = False
    ) -> list[Tensor]:
        """The inputs' gradients from those of the outputs, or of the one of this number."""
        outputs = self.outputs
        if output is not None:
            outputs, us = [outputs[output]], [us[output]]
        create_graph = self.create_graph or record
        unused = _unused if self.strict else None
        found = _gradients(outputs, self.inputs, us, create_graph, unused)
        for i, g in enumerate(found):
            if g is _unused:
                which = "the outputs" if output is None else f"output {output}"
                raise RuntimeError(
                    f"{self.name}: {which} does not depend on input {i}, and strict is True"
                )
        return found

    def as_inputs(self, found: Sequence[Any]) -> Tensors:
        """As many values as there are inputs, in their structure."""
        return tuple(found) if self.several else found[0]

    def as_outputs(self, found: Sequence[Any]) -> Tensors:
        """As many values as there are outputs, in their structure."""
        return tuple(found) if self.several_outputs else found[0]

    def result(self) -> Tensors:
        """The outputs, outside the graph unless it is to be kept."""
        return self.as_outputs([y if self.create_graph else y.detach() for y in self.outputs])


_unused: Any = object()
"""In the place of a gradient where there is no path."""


def _gradients(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    us: Sequence[Tensor],
    create_graph: bool,
    unused: Any = None,
) -> list[Tensor]:
    """The inputs' gradients; zeros, or ``unused``, where there is no path."""
    pairs = [(y, u) for y, u in zip(outputs, us, strict=True) if y.current_node() is not None]
    found: Sequence[Tensor | None] = [None] * len(inputs)
    if pairs:
        found = grad(
            [y for y, _ in pairs],
            inputs,
            [u for _, u in pairs],
            retain_graph=True,
            create_graph=create_graph,
            allow_unused=True,
        )
    zeros = [wrap(np.zeros_like(x._array)) if unused is None else unused for x in inputs]
    return [z if g is None else g for g, z in zip(found, zeros, strict=True)]


def _as_tuple(name: str, what: str, value: Tensors) -> tuple[Tensor, ...]:
    several = value if isinstance(value, tuple) else (value,)
    for t in several:
        if not isinstance(t, Variable):
            raise DtypeError(f"{name}: {what} holds a {type(t).__name__}, expected tensors")
    return several


def _one_number(call: _Call) -> Tensor:
    if call.several_outputs or call.outputs[0]._value.size != 1:
        shapes = [tuple(y.shape) for y in call.outputs]
        raise RuntimeError(
            f"{call.name}: the function returned tensors of shapes {shapes}, expected one of one "
            f"number"
        )
    return call.outputs[0]


def _vector(name: str, v: Tensors, like: Sequence[Tensor], what: str) -> list[Tensor]:
    """The vector as a list of tensors that are shaped as ``like``."""
    if v is None:
        if len(like) != 1 or like[0]._value.size != 1:
            raise RuntimeError(
                f"{name}: `v` can only be left out where {what} is one number, got shapes "
                f"{[tuple(t.shape) for t in like]}"
            )
        return [wrap(np.ones_like(like[0]._array))]
    vs = _as_tuple(name, "`v`", v)
    if [tuple(t.shape) for t in vs] != [tuple(t.shape) for t in like]:
        raise ShapeError(
            f"{name}: `v` has shapes {[tuple(t.shape) for t in vs]}, expected those of {what}, "
            f"{[tuple(t.shape) for t in like]}"
        )
    return list(vs)


def _basis(like: Sequence[Tensor], number: int, k: int) -> list[Tensor]:
    arrays = [np.zeros(t.shape, t.dtype) for t in like]
    arrays[number].reshape(-1)[k] = 1
    return [wrap(u) for u in arrays]


def _stacked(rows: Sequence[Tensor], y: Tensor, x: Tensor) -> Tensor:
    whole = (*y.shape, *x.shape)
    if not rows:
        return wrap(np.zeros(whole, y.dtype))
    # NumPy's function on tensors: the engine itself has no operation
    stacked: Tensor = np.stack(rows)  # type: ignore[assignment]
    return stacked.reshape(whole)  # (elements of y, *x.shape) → (*y.shape, *x.shape)
