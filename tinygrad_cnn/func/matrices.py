"""Whole matrices of derivatives, `jacobian` and `hessian`, and products with the latter, `hvp`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from tinygrad_cnn import functions as f
from tinygrad_cnn.autograd.arguments import need
from tinygrad_cnn.autograd.modes import enable_grad, is_grad_enabled
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.func.transforms import ArgNums, Forward, Traced, grad, jvp, select, vjp
from tinygrad_cnn.func.tree import Tree, flatten
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import AnyFunction


def jacobian(
    func: AnyFunction,
    argnums: ArgNums = 0,
    has_aux: bool = False,
    *,
    chunk_size: int | None = None,
) -> AnyFunction:
    """All first derivatives of ``func``, as a function of the same arguments; also ``jacrev``.

    For a result of shape ``s`` and an argument of shape ``t`` a tensor of shape ``s + t``, one
    reverse walk for each number of the result: `jacfwd` makes one for each number of the arguments.
    Nested results and arguments give the result's structure, with the arguments' inside.
    ``chunk_size`` is taken and changes nothing, as rows are computed one by one.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.func.jacobian(lambda x: x * x.sum())(tg.tensor([1.0, 2.0]))
    tensor([[4., 1.],
            [2., 5.]])
    """
    need("jacrev", "func", func, "AnyFunction")

    def derivative(*args: Tree, **kwargs: Any) -> Tree:
        chosen, put = select("jacobian", args, argnums)
        traced = Traced("jacobian", lambda *a: func(*a, **kwargs), put, has_aux, chosen)
        create_graph = is_grad_enabled() and traced.recorded
        _, build = flatten(chosen)
        parts = []
        with enable_grad():
            for number, y in enumerate(traced.outputs):
                rows = [_row(traced, number, k, create_graph) for k in range(y._value.size)]
                parts.append(
                    build(
                        [
                            _stacked([row[i] for row in rows], y.shape, x)
                            for i, x in enumerate(traced.inputs)
                        ]
                    )
                )
        matrix = flatten(traced.value)[1](parts)
        return (matrix, traced.aux) if has_aux else matrix

    return derivative


def _row(traced: Traced, number: int, k: int, create_graph: bool) -> list[Tensor]:
    """The gradients of element ``k`` of the result ``number``."""
    return traced.pull_back(_basis(traced.outputs, number, k), create_graph)


def _stacked(rows: list[Tensor], shape: tuple[int, ...], like: Tensor) -> Tensor:
    whole = (*shape, *like.shape)
    if not rows:
        return f.zeros(*whole, dtype=like.dtype)
    return f.stack(rows).reshape(whole)  # (elements of the result, ...) → (*shape, ...)


jacrev = jacobian


def jacfwd(
    func: AnyFunction,
    argnums: ArgNums = 0,
    has_aux: bool = False,
    *,
    chunk_size: int | None = None,
    randomness: str = "error",
) -> AnyFunction:
    """The same as `jacobian`, column by column: for functions with few inputs and many outputs.

    One reverse walk over the graph of the gradient for each number of the arguments. ``chunk_size``
    and ``randomness`` are taken and change nothing: the function runs once.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.func.jacfwd(lambda x: x * x.sum())(tg.tensor([1.0, 2.0]))
    tensor([[4., 1.],
            [2., 5.]])
    """
    need("jacfwd", "func", func, "AnyFunction")

    def derivative(*args: Tree, **kwargs: Any) -> Tree:
        chosen, put = select("jacfwd", args, argnums)
        traced = Traced("jacfwd", lambda *a: func(*a, **kwargs), put, has_aux, chosen)
        forward = Forward(traced)
        outputs, inputs = traced.outputs, traced.inputs
        parts: list[list[Tensor]] = [[] for _ in outputs]
        for number, x in enumerate(inputs):
            columns = [forward.push(_basis(inputs, number, k)) for k in range(x._value.size)]
            for y, part, i in zip(outputs, parts, range(len(outputs)), strict=True):
                whole = (*y.shape, *x.shape)
                if columns:
                    part.append(f.stack([c[i] for c in columns], -1).reshape(whole))
                else:
                    part.append(f.zeros(*whole, dtype=y.dtype))
        _, build = flatten(chosen)
        matrix = flatten(traced.value)[1]([build(part) for part in parts])
        return (matrix, traced.aux) if has_aux else matrix

    return derivative


def _basis(like: Sequence[Tensor], number: int, k: int) -> list[Tensor]:
    """Zeros like these tensors, but for a 1 in element ``k`` of the tensor ``number``."""
    arrays = [np.zeros(t.shape, t.dtype) for t in like]
    arrays[number].reshape(-1)[k] = 1.0
    return [wrap(u) for u in arrays]


def hessian(func: AnyFunction, argnums: ArgNums = 0) -> AnyFunction:
    """All second derivatives of ``func``: the `jacobian` of its jacobian.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.func.hessian(lambda x: x[0] ** 2 * x[1])(tg.tensor([1.0, 3.0]))
    tensor([[6., 2.],
            [2., 0.]])
    """
    return jacobian(jacobian(func, argnums), argnums)


def hvp(
    func: AnyFunction,
    primals: Tree,
    tangents: Tree,
    *,
    mode: Literal["reverse", "forward"] = "reverse",
) -> tuple[Tree, Tree]:
    """``func(*primals)`` and its Hessian's product with ``tangents``; the Hessian is never formed.

    Parameters
    ----------
    func
        Returns a tensor of one number.
    primals, tangents
        Tuples with one element for each argument, of the same structure.
    mode
        ``"reverse"``: the gradient's pullback of the tangents. ``"forward"``: the
        `jvp` of the gradient. Both give the same.

    Returns
    -------
    The value, and the product: a tensor for one argument, a tuple for several.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> x, v = tg.tensor([1.0, 2.0]), tg.tensor([1.0, 0.0])
    >>> tg.func.hvp(lambda x: (x**3).sum(), (x,), (v,))
    (tensor(9.), tensor([6., 0.]))
    """
    if mode not in ("reverse", "forward"):
        raise ArgumentError(f"hvp: `mode` is {mode!r}, expected 'reverse' or 'forward'")
    if not isinstance(primals, tuple) or not isinstance(tangents, tuple):
        raise DtypeError("hvp: `primals` and `tangents` must be tuples, one element per argument")
    numbers = tuple(range(len(primals)))
    # of every argument, with the value beside it
    gradient = grad(lambda *args: (func(*args),) * 2, numbers, has_aux=True)
    if mode == "forward":
        _, product, value = jvp(gradient, primals, tangents, has_aux=True)
    else:
        # The Hessian is symmetric: its product with v is what v is pulled back to.
        _, pull, value = vjp(gradient, *primals, has_aux=True)
        product = pull(tangents)
        product = product if len(primals) > 1 else (product,)
    return value, product if len(primals) > 1 else product[0]
