"""`check_gradients`: gradients of any order against numerical ones; `check_adjoint` for linear."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_cnn import functions as f
from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.backward import grad
from tinygrad_cnn.autograd.gradcheck.compare import (
    PASS,
    Finding,
    GradientError,
    judge,
    second_order,
)
from tinygrad_cnn.autograd.gradcheck.numerical import normal
from tinygrad_cnn.autograd.modes import no_grad
from tinygrad_cnn.autograd.op import Op
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.testing.types import AnyCallable, Params
from tinygrad_cnn.types import Array


def check_gradients(
    function: AnyCallable,
    *inputs: Any,
    order: int = 2,
    seed: int = 0,
    name: str | None = None,
    params: Params | None = None,
    raises: bool = True,
) -> Finding:
    """Check the gradients of ``function(*inputs)``, up to ``order``, against numerical ones.

    First order is computed with recording of the walk off (as in training) and on; both must agree
    with each other and, for random cotangents, with a numerical derivative within the bound on its
    error: a complex step where the function is analytic and takes arrays (one made of ufuncs, or
    an operation's forward pass), else Richardson extrapolation. The next order is checked on the
    recorded gradient in the same way.

    Parameters
    ----------
    function
        Takes tensors, returns one or several.
    inputs
        Float64 or complex128 arrays or tensors.
    seed
        Of the cotangents and directions.
    params
        Keyword arguments for ``function``.
    raises
        If false, the finding is returned also when it is not a pass.

    Raises
    ------
    GradientError
        A gradient is wrong. The message names the input, the worst element with both values and
        the bound, and a reproduction to paste.
    UndecidedError
        The gradient cannot be judged here: at a kink (found by comparing one-sided derivatives),
        or the numerical derivative is too inaccurate to tell.

    Examples
    --------
    >>> import numpy as np
    >>> check_gradients(lambda x: (x**3).sum(), np.array([1.0, -2.0]))
    Finding(verdict='pass', reason='')
    >>> check_gradients(lambda x: abs(x), np.array([1.0, 0.0]), raises=False).verdict
    'cannot decide'
    """
    xs = [_in_double(getattr(x, "array", x)) for x in inputs]
    called = name if name is not None else getattr(function, "__name__", "function")
    found = find_gradients(function, xs, range(1, order + 1), seed, called, params or {})
    if raises:
        found.raise_unless_passed(_reproduction(function, xs, order, seed, params or {}))
    return found


def _in_double(x: Any) -> Array:
    return np.array(x, np.complex128 if np.iscomplexobj(x) else np.float64)


def find_gradients(
    function: AnyCallable,
    xs: Sequence[Array],
    orders: Sequence[int],
    seed: int,
    name: str,
    params: Params,
    on_arrays: AnyCallable | None = None,
    locate: bool = True,
) -> Finding:
    """What `check_gradients` finds about ``orders``, without raising.

    ``on_arrays`` and ``locate`` are `judge`'s.
    """
    rng = np.random.default_rng(seed)

    def call(*tensors: Any) -> Any:
        return function(*tensors, **params)

    if on_arrays is None:
        on_arrays = _on_arrays(function, params)
    labels = [f"input {i}" for i in range(len(xs))]
    inputs, level = list(xs), call
    for k in range(1, max(orders) + 1):
        if k in orders:
            where = f"{name}: order {k}"
            found = judge(
                level,
                inputs,
                rng,
                name=where,
                labels=labels,
                on_arrays=on_arrays,
                locate=locate,
            )
            if found.verdict != PASS or k == max(orders):
                return found
        with no_grad():
            outputs = level(*[f.tensor(x) for x in inputs])
        several = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        cotangents = [normal(rng, y.shape, y.dtype) for y in several]
        level = second_order(level, len(inputs), rng)
        on_arrays = None
        inputs = [*inputs, *cotangents]
        labels = [*labels, *(f"the order-{k} cotangent" for _ in cotangents)]
    return Finding(PASS)


def _on_arrays(function: AnyCallable, params: Params) -> AnyCallable:
    """``function`` on plain arrays: the forward pass of an operation, else the function itself."""
    forward = function.forward if isinstance(function, Op) else function

    def call(*arrays: Array) -> Any:
        out = forward(*arrays, **params)
        out = getattr(out, "out", out)  # `Saved`
        if isinstance(out, Tensor):
            raise TypeError("the function makes tensors of its arrays")
        return out

    return call


def check_adjoint(
    forward: Callable[[Tensor], Tensor], x: Any, seed: int = 0, name: str = "function"
) -> None:
    """Raise unless ``<A x, u> = <x, Aᵀ u>`` for a linear function, to machine precision.

    Examples
    --------
    >>> import numpy as np
    >>> check_adjoint(lambda x: x.cumsum(0) * 3, np.array([1.0, -2.0, 4.0]))
    """
    x = _in_double(x)
    found = adjoint_error(forward, x, seed)
    if found:
        raise GradientError(f"{name}: {found}")


def adjoint_error(forward: Callable[[Tensor], Tensor], x: Array, seed: int = 0) -> str:
    """How ``<A x, u>`` and ``<x, Aᵀ u>`` differ, empty if only by rounding."""
    rng = np.random.default_rng(seed)
    leaf = f.tensor(x, requires_grad=True)
    y = forward(leaf)
    u = normal(rng, y.shape, y.dtype)
    g = np.zeros_like(x)
    if y.requires_grad:
        g = grad(y, leaf, f.tensor(u), materialize_grads=True)[0]._array
    left, right = float(np.vdot(y._array, u).real), float(np.vdot(x, g).real)
    scale = float(np.abs(y._array * u).sum()) + float(np.abs(x * g).sum())
    if abs(left - right) <= 1e-13 * max(scale, 1.0):
        return ""
    return f"<Ax, u> is {left!r} but <x, Aᵀu> is {right!r}"


# ---- reproductions -------------------------------------------------------------------------


def literal(value: Any) -> str:
    """Python source of a value: exact for arrays, dtypes, slices and what they are nested in."""
    if isinstance(value, Tensor):
        return literal(value._array)
    if isinstance(value, np.ndarray):
        if value.size == 0:
            return f"np.zeros({value.shape}, {str(value.dtype)!r})"
        return f"np.array({value.tolist()!r}, {str(value.dtype)!r})"
    if isinstance(value, np.dtype):
        return f"np.dtype({str(value)!r})"
    if isinstance(value, np.generic):
        return literal(value.item())
    if isinstance(value, Op):
        return f"REGISTRY[{value.name!r}]"
    if isinstance(value, kernels.ConvSpec):
        return f"kernels.{value}"
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k!r}: {literal(v)}" for k, v in value.items()) + "}"
    return repr(value)


def imports_for(source: str) -> str:
    """The imports that literals in ``source`` need."""
    return "import numpy as np\n" + "from tinygrad_cnn import kernels\n" * ("kernels." in source)


def _reproduction(
    function: AnyCallable, xs: list[Array], order: int, seed: int, params: Params
) -> str:
    if isinstance(function, Op):
        called, imports = (
            f"REGISTRY[{function.name!r}]",
            "from tinygrad_cnn.autograd import REGISTRY\n",
        )
    else:
        called, imports = getattr(function, "__name__", "function"), ""
        if not called.isidentifier():
            called = "function"  # a lambda: to be put in by hand
    arguments = ", ".join([called, *map(literal, xs), f"order={order}", f"seed={seed}"])
    if params:
        arguments += f", params={literal(params)}"
    return (
        "Reproduce it:\n"
        f"{imports_for(arguments)}{imports}from tinygrad_cnn.testing import check_gradients\n"
        f"check_gradients({arguments})"
    )
