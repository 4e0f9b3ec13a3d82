"""Derivatives held against finite differences, with random cotangents, to any order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_cnn import functions as f
from tinygrad_cnn.autograd.modes import enable_grad, no_grad
from tinygrad_cnn.autograd.walk import grad
from tinygrad_cnn.tensor import Tensor

__all__ = ["GradientError", "check_adjoint", "check_gradients"]

Array = np.ndarray[Any, Any]
_STEP = 2e-3
_RELATIVE, _ABSOLUTE = 2e-6, 1e-8


class GradientError(AssertionError):
    """A derivative disagrees with finite differences, or two ways to compute it with each other."""


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Normal random numbers, an array also where the shape is ()."""
    return np.asarray(rng.standard_normal(shape))


def _directional(
    function: Callable[..., Tensor], xs: Sequence[Array], along: Sequence[Array], u: Array
) -> tuple[float, float]:
    """d/dt of ``<u, f(x + t v)>`` at 0 by Richardson extrapolation, and an estimate of its error.

    Two central differences cancel the error of order t²; a third tells how good that is
    (Richardson, 1911).
    """

    def at(t: float) -> float:
        with no_grad():
            y = function(*[f.tensor(x + t * v) for x, v in zip(xs, along, strict=True)])
        return float(np.vdot(u, y.array))

    def central(h: float) -> float:
        return (at(h) - at(-h)) / (2 * h)

    d1, d2, d4 = (central(_STEP * s) for s in (1.0, 0.5, 0.25))
    coarse, fine = (4 * d2 - d1) / 3, (4 * d4 - d2) / 3
    value = (16 * fine - coarse) / 15
    return value, abs(value - fine)


def check_gradients(
    function: Callable[..., Tensor],
    *inputs: Any,
    order: int = 2,
    seed: int = 0,
    name: str = "function",
) -> None:
    """Raise unless the gradients of ``function(*inputs)`` are right, up to ``order``.

    First order is computed with recording of the walk off (as in training) and on; both must agree
    with each other and with a finite difference along a random direction. The next order is then
    checked on the recorded gradient in the same way.

    Parameters
    ----------
    function
        Takes tensors, returns one tensor.
    inputs
        Float64 arrays or tensors.

    Raises
    ------
    GradientError
        It says at which order and how far the values are apart.

    Examples
    --------
    >>> import numpy as np
    >>> check_gradients(lambda x: (x**3).sum(), np.array([1.0, -2.0]))
    """
    xs = [np.array(getattr(x, "array", x), np.float64) for x in inputs]
    rng = np.random.default_rng(seed)
    _check(function, xs, order, rng, name, 1)


def _check(
    function: Callable[..., Tensor],
    xs: list[Array],
    order: int,
    rng: np.random.Generator,
    name: str,
    level: int,
) -> None:
    leaves = [f.tensor(x, requires_grad=True) for x in xs]
    y = function(*leaves)
    if not y.requires_grad:  # piecewise constant, or not a function of the inputs: slope 0
        u, along = _normal(rng, y.shape), [_normal(rng, x.shape) for x in xs]
        expected, error = _directional(function, xs, along, u)
        if abs(expected) > _ABSOLUTE + 10 * error:
            raise GradientError(
                f"{name}: order {level}: no gradient, but the slope is {expected:.9g}"
            )
        return
    u = _normal(rng, y.shape)
    cotangent = f.tensor(u)
    plain = grad(y, leaves, cotangent, retain_graph=True, materialize_grads=True)
    recorded = grad(y, leaves, cotangent, create_graph=True, materialize_grads=True)
    for i, (a, b) in enumerate(zip(plain, recorded, strict=True)):
        if a.shape != xs[i].shape or a.dtype != np.float64:
            raise GradientError(f"{name}: gradient {i} has shape {a.shape} and dtype {a.dtype}")
        if not np.allclose(a.array, b.array, rtol=1e-9, atol=1e-10, equal_nan=True):
            raise GradientError(
                f"{name}: order {level}: gradient {i} differs with create_graph by "
                f"{np.abs(a.array - b.array).max():.3g}"
            )
    along = [_normal(rng, x.shape) for x in xs]
    got = sum(float(np.vdot(v, g.array)) for v, g in zip(along, plain, strict=True))
    expected, error = _directional(function, xs, along, u)
    size = sum(float(np.abs(v * g.array).sum()) for v, g in zip(along, plain, strict=True))
    bound = _ABSOLUTE + _RELATIVE * max(size, abs(expected)) + 10 * error
    if not abs(got - expected) <= bound:
        raise GradientError(
            f"{name}: order {level}: slope {got:.9g} along a random direction, but finite "
            f"differences give {expected:.9g} (bound {bound:.2g}); inputs of shapes "
            f"{[x.shape for x in xs]}"
        )
    if level < order:
        us = [_normal(rng, x.shape) for x in xs]

        def slope(*ts: Tensor) -> Any:
            """The gradient of ``<cotangent, f>`` in the direction ``us``, as a function."""
            # recorded even where the caller only wants a value: it is a derivative itself
            with enable_grad():
                inner = [t if t.requires_grad else t.detach().requires_grad_() for t in ts[:-1]]
                out = function(*inner)
                if not out.requires_grad:
                    return ts[-1].sum() * 0.0
                gs = grad(out, inner, ts[-1], create_graph=True, materialize_grads=True)
                total = f.tensor(0.0, dtype=np.float64)
                for g, w in zip(gs, us, strict=True):
                    total = total + (g * f.tensor(w)).sum()
                return total

        _check(slope, [*xs, u], order, rng, name, level + 1)


def check_adjoint(
    forward: Callable[[Tensor], Tensor], x: Any, seed: int = 0, name: str = "function"
) -> None:
    """Raise unless ``<A x, u> = <x, Aᵀ u>`` for a linear function, to machine precision."""
    rng = np.random.default_rng(seed)
    leaf = f.tensor(np.asarray(x, np.float64), requires_grad=True)
    y = forward(leaf)
    u = _normal(rng, y.shape)
    (g,) = grad(y, leaf, f.tensor(u), materialize_grads=True)
    left, right = float(np.vdot(y.array, u)), float(np.vdot(leaf.array, g.array))
    scale = float(np.abs(y.array * u).sum()) + float(np.abs(leaf.array * g.array).sum())
    if abs(left - right) > 1e-13 * max(scale, 1.0):
        raise GradientError(f"{name}: <Ax, u> is {left!r} but <x, Aᵀu> is {right!r}")
