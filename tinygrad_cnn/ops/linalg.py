"""Products of matrices and their generalisation, Einstein's sum."""

# A rule may name its own operation, whose type mypy does not know yet at that place.
# mypy: disable-error-code="has-type"

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, ErrorSample, Sample
from tinygrad_cnn.ops.shape import expand, permute, reshape

__all__ = ["einsum", "linear", "matmul"]

Array = np.ndarray[Any, Any]


def _mT(x: Any) -> Any:  # PyTorch's name for the matrix transpose
    n = x._value.ndim
    return permute(x, dims=(*range(n - 2), n - 1, n - 2))


def _matmul_samples(draw: Draw) -> Sample:
    n, k, m = (draw.integer(0, 3) for _ in range(3))
    a, b = draw.broadcast_shapes() if draw.choice((False, True)) else ((), ())
    return Sample((draw.array((*a, n, k)), draw.array((*b, k, m))))


@op(
    vjp=(lambda g, b: matmul(g, _mT(b)), lambda g, a: matmul(_mT(a), g)),
    broadcasts=True,
    promotes="common",
    quiet=True,
    samples=_matmul_samples,
    errors=(
        ErrorSample((np.zeros((2, 3)), np.zeros((2, 3))), {}, ValueError, "matmul: `a` has 3"),
    ),
)
def matmul(a: Array, b: Array) -> Array:
    """Products ``a`` (..., n, k) times ``b`` (..., k, m) → (..., n, m), batches broadcast."""
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(
            f"matmul: `a` has {a.shape[-1]} columns but `b` has {b.shape[-2]} rows "
            f"(a {a.shape}, b {b.shape})"
        )
    return kernels.matmul(a, b)


def _column_sum(g: Any) -> Any:
    return g.sum_to_size(g._value.shape[1:])


def _linear_gradients(g: Array, x: Array, w: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
    wanted = (needs[0], needs[1], len(needs) > 2 and needs[2])  # without a bias there are two
    return kernels.linear_backward(g, x, w, wanted)[: len(needs)]


def _linear_samples(draw: Draw) -> Sample:
    n, k, m = (draw.integer(0, 4) for _ in range(3))
    bias = draw.array((m,)) if draw.choice((False, True)) else None
    return Sample((draw.array((n, k)), draw.array((m, k)), bias))


@op(
    vjp=(
        lambda g, w: matmul(g, w),
        lambda g, x: matmul(_mT(g), x),
        _column_sum,
    ),
    joint=_linear_gradients,
    quiet=True,
    samples=_linear_samples,
    errors=(
        ErrorSample(
            (np.zeros((2, 3)), np.zeros((4, 5)), None), {}, ValueError, "linear: `x` has 3 features"
        ),
        ErrorSample(
            (np.zeros((2, 3)), np.zeros((4, 3)), np.zeros(3)), {}, ValueError, "linear: `bias`"
        ),
    ),
)
def linear(x: Array, w: Array, bias: Array | None = None) -> Array:
    """``x`` (n, k) times ``w`` (m, k) transposed, plus ``bias`` (m,) → (n, m)."""
    if x.shape[1] != w.shape[1]:
        raise ValueError(
            f"linear: `x` has {x.shape[1]} features but `weight` expects {w.shape[1]} "
            f"(x {x.shape}, weight {w.shape})"
        )
    if bias is not None and bias.shape != w.shape[:1]:
        raise ValueError(
            f"linear: `bias` has shape {bias.shape}, expected {w.shape[:1]} (weight {w.shape})"
        )
    return kernels.linear(x, w, bias)


def _einsum_rule(g: Any, xs: Any, equation: str, shapes: Any, needs: Any) -> tuple[Any, ...]:
    inputs, output = equation.split("->")
    terms = inputs.split(",")
    gradients: list[Any] = []
    for i, term in enumerate(terms):
        if not needs[i]:
            gradients.append(None)
            continue
        others = [t for j, t in enumerate(terms) if j != i]
        arrays = [x for j, x in enumerate(xs) if j != i]
        known = set(output).union(*others)
        reachable = "".join(c for c in term if c in known)
        part = einsum(g, *arrays, equation=f"{','.join([output, *others])}->{reachable}")
        # An index summed inside this operand alone: its gradient is the same along that axis.
        shape = tuple(n if c in known else 1 for c, n in zip(term, shapes[i], strict=True))
        gradients.append(expand(reshape(part, shape=shape), shape=shapes[i]))
    return tuple(gradients)


def _einsum_samples(draw: Draw) -> Sample:
    equation = draw.choice(
        (
            "ij,jk->ik",
            "ij,ij->",
            "i,j->ij",
            "bij,bjk->bki",
            "ij->ji",
            "ij->",
            "ij,jk,kl->il",
            "ab,c->a",
        )
    )
    size = {c: draw.integer(1, 3) for c in "abcijkl"}
    terms = equation.split("->")[0].split(",")
    xs = [draw.array(tuple(size[c] for c in t)) for t in terms]
    return Sample(tuple(xs), {"equation": equation})


@op(vjp=_einsum_rule, promotes="common", quiet=True, samples=_einsum_samples)
def einsum(*xs: Array, equation: str) -> Array:
    """Sum of products by index, as ``numpy.einsum``.

    ``equation`` is explicit ("ij,jk->ik"): no ellipsis, no index twice in one term.
    """
    if len(xs) == 1:
        return np.asarray(np.einsum(equation, xs[0])).copy()
    return np.asarray(np.einsum(equation, *xs, optimize="greedy"))
