"""`gradcheck` and `gradgradcheck`, with PyTorch's names and a verdict in place of a tolerance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.arguments import checked
from tinygrad_cnn.autograd.backward import grad
from tinygrad_cnn.autograd.gradcheck.compare import (
    FAIL,
    PASS,
    Finding,
    as_tuple,
    judge,
    second_order,
)
from tinygrad_cnn.autograd.gradcheck.numerical import normal
from tinygrad_cnn.autograd.modes import enable_grad, no_grad
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.types import AnyFunction, Array

_HOW = frozenset(
    [
        "check_backward_ad",
        "check_batched_forward_grad",
        "check_batched_grad",
        "check_forward_ad",
        "check_grad_dtypes",
        "check_undefined_grad",
        "fast_mode",
        "masked",
    ]
)


@checked
def gradcheck(
    func: AnyFunction,
    inputs: Variable | Sequence[object],
    eps: float | None = None,
    atol: float = 0.0,
    rtol: float = 0.0,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    **how: Any,
) -> bool:
    """Whether the gradients of ``func(*inputs)`` are right at this point.

    As `torch.autograd.gradcheck`, but the numerical derivative comes with a bound on its error
    (Richardson extrapolation), so no tolerance has to be guessed. Of complex inputs both the real
    and the imaginary parts are changed.

    Parameters
    ----------
    func
        Takes tensors, returns one tensor or a tuple of tensors.
    inputs
        A tensor, or a tuple; those that require gradients are checked. Use float64: in float32
        rounding hides errors, and many checks cannot be decided.
    eps
        The first step of the differences; default: chosen for the dtype.
    atol, rtol
        What is allowed beyond the error bound.
    raise_exception
        If false, return False instead of raising.
    nondet_tol
        How far the gradients of a second run may be from the first's.
    how
        PyTorch's other arguments (``fast_mode``, ``check_batched_grad`` and the like), which choose
        what it checks. They change nothing: the whole gradient is checked in reverse mode.

    Raises
    ------
    GradientError
        A gradient is wrong.
    UndecidedError
        It cannot be judged here: at a kink, or the numerical derivative is too inaccurate.
    ValueError
        No input requires a gradient.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> x = tg.tensor([0.5, 2.0], dtype=tg.float64, requires_grad=True)
    >>> tg.autograd.gradcheck(lambda x: x.log() * x, x)
    True
    >>> tg.autograd.gradcheck(tg.abs, x.detach().mul(0).requires_grad_(), raise_exception=False)
    False
    """
    unknown = sorted(how.keys() - _HOW)
    if unknown:
        raise DtypeError(f"gradcheck: unexpected arguments {', '.join(unknown)}")
    given = _inputs("gradcheck", inputs)
    wanted = [i for i, t in enumerate(given) if _live(t)]
    if not wanted:
        raise ArgumentError("gradcheck: no element of `inputs` requires a gradient")

    def function(*tensors: Any) -> Any:
        every = list(given)
        for i, t in zip(wanted, tensors, strict=True):
            every[i] = t
        return func(*every)

    xs = [np.array(given[i]._array) for i in wanted]
    labels = [f"inputs[{i}]" for i in wanted]
    name = getattr(func, "__name__", "func")
    found = judge(
        function,
        xs,
        np.random.default_rng(0),
        name=name,
        labels=labels,
        step=eps,
        rtol=rtol,
        atol=atol,
    )
    if found.verdict == PASS:
        found = _same_again(function, xs, labels, name, nondet_tol)
    if raise_exception:
        found.raise_unless_passed()
    return found.verdict == PASS


@checked
def gradgradcheck(
    func: AnyFunction,
    inputs: Variable | Sequence[object],
    grad_outputs: Variable | Sequence[Variable] | None = None,
    *,
    eps: float | None = None,
    atol: float = 0.0,
    rtol: float = 0.0,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
) -> bool:
    """Whether the second derivatives of ``func(*inputs)`` are right at this point.

    As `torch.autograd.gradgradcheck`; see `gradcheck`. ``grad_outputs`` are the outputs' gradients
    at which the first derivatives are taken (random ones if left out).

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> x = tg.tensor([0.5, 2.0], dtype=tg.float64, requires_grad=True)
    >>> tg.autograd.gradgradcheck(lambda x: x.log() * x, x)
    True
    """
    given = _inputs("gradgradcheck", inputs)
    rng = np.random.default_rng(1)
    if grad_outputs is None:
        with no_grad():
            outputs = as_tuple(func(*given))
        cotangents = [wrap(normal(rng, y._value.shape, y._value.dtype)) for y in outputs]
    else:
        cotangents = [wrap(np.array(u._array)) for u in as_tuple(grad_outputs)]
    for u in cotangents:
        u.want_gradient(True)
    wanted = [i for i, t in enumerate(given) if _live(t)]
    if not wanted:
        raise ArgumentError("gradgradcheck: no element of `inputs` requires a gradient")

    def function(*tensors: Any) -> Any:
        every = list(given)
        for i, t in zip(wanted, tensors, strict=True):
            every[i] = t
        return func(*every)

    function.__name__ = f"the gradient of {getattr(func, '__name__', 'func')}"
    directional = second_order(function, len(wanted), rng)
    directional.__name__ = function.__name__
    return gradcheck(
        directional,
        (*[given[i] for i in wanted], *cotangents),
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
    )


def _same_again(
    function: AnyFunction, xs: list[Array], labels: list[str], name: str, tolerance: float
) -> Finding:
    """Whether two runs give the same gradients."""
    runs = []
    for _ in range(2):
        leaves = [wrap(x.copy()) for x in xs]
        for t in leaves:
            t.want_gradient(True)
        with enable_grad():
            ys = [y for y in as_tuple(function(*leaves)) if y.current_node() is not None]
        if not ys:
            return Finding(PASS)
        ones = [wrap(np.ones_like(y._array)) for y in ys]
        runs.append(grad(ys, leaves, ones, materialize_grads=True))
    for label, a, b in zip(labels, *runs, strict=True):
        off = float(np.max(np.abs(a._array - b._array), initial=0.0))
        if off > tolerance:
            return Finding(
                FAIL,
                f"{name}: two runs give gradients of {label} that differ by {off:.3g} "
                f"(`nondet_tol` is {tolerance:g})",
            )
    return Finding(PASS)


def _inputs(name: str, inputs: object) -> list[Any]:
    given = list(as_tuple(inputs))
    for i, t in enumerate(given):
        if _live(t) and t._value.dtype.itemsize < 4:
            raise ArgumentError(f"{name}: `inputs[{i}]` is {t._value.dtype}; use float64")
    return given


def _live(t: object) -> bool:
    return isinstance(t, Variable) and t.current_node() is not None
