"""Products of matrices and their generalisation, Einstein's sum."""

# A rule may name its own operation, whose type mypy does not know yet at that place.
# mypy: disable-error-code="has-type"

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, ErrorSample, Sample
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.ops import forms
from tinygrad_cnn.ops.conjugate import conj
from tinygrad_cnn.ops.shape import expand, permute, reshape
from tinygrad_cnn.types import Array, Gradients, Shapes

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

FEW_TERMS = 1 << 10  # of a sum that `einsum` leaves to NumPy, which may add them one by one


def _mT(x: Tensor) -> Tensor:  # PyTorch's name for the matrix transpose
    n = x._value.ndim
    return permute(x, dims=(*range(n - 2), n - 1, n - 2))


def _matmul_samples(draw: Draw) -> Sample:
    n, k, m = (draw.integer(0, 3) for _ in range(3))
    a, b = draw.broadcast_shapes() if draw.choice((False, True)) else ((), ())
    return Sample((draw.array((*a, n, k)), draw.array((*b, k, m))))


@op(
    complex="whole",
    vjp=(lambda g, b: matmul(g, _mT(conj(b))), lambda g, a: matmul(_mT(conj(a)), g)),
    broadcasts=True,
    promotes="common",
    ignore_fp_errors=True,
    samples=_matmul_samples,
    errors=(
        ErrorSample((np.zeros((2, 3)), np.zeros((2, 3))), {}, ValueError, "matmul: `a` has 3"),
    ),
    onnx="MatMul",
)
def matmul(a: Array, b: Array) -> Array:
    """Products ``a`` (..., n, k) times ``b`` (..., k, m) → (..., n, m), batches broadcast."""
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"matmul: `a` has {a.shape[-1]} columns but `b` has {b.shape[-2]} rows "
            f"(a {a.shape}, b {b.shape})"
        )
    return kernels.matmul(a, b)


def _column_sum(g: Tensor) -> Tensor:
    return g.sum_to_size(g._value.shape[1:])


def _linear_gradients(g: Array, x: Array, w: Array, needs: tuple[bool, ...]) -> Gradients:
    wanted = (needs[0], needs[1], len(needs) > 2 and needs[2])  # without a bias there are two
    return kernels.linear_backward(g, conj(x), conj(w), wanted)[: len(needs)]


def _linear_samples(draw: Draw) -> Sample:
    n, k, m = (draw.integer(0, 4) for _ in range(3))
    bias = draw.array((m,)) if draw.choice((False, True)) else None
    return Sample((draw.array((n, k)), draw.array((m, k)), bias))


@op(
    complex="whole",
    vjp=(
        lambda g, w: matmul(g, conj(w)),
        lambda g, x: matmul(_mT(g), conj(x)),
        _column_sum,
    ),
    array_vjp=_linear_gradients,
    ignore_fp_errors=True,
    samples=_linear_samples,
    errors=(
        ErrorSample(
            (np.zeros((2, 3)), np.zeros((4, 5)), None), {}, ValueError, "linear: `x` has 3 features"
        ),
        ErrorSample(
            (np.zeros((2, 3)), np.zeros((4, 3)), np.zeros(3)), {}, ValueError, "linear: `bias`"
        ),
    ),
    onnx=forms.linear,
)
def linear(x: Array, w: Array, bias: Array | None = None) -> Array:
    """``x`` (n, k) times ``w`` (m, k) transposed, plus ``bias`` (m,) → (n, m)."""
    if x.shape[1] != w.shape[1]:
        raise ShapeError(
            f"linear: `x` has {x.shape[1]} features but `weight` expects {w.shape[1]} "
            f"(x {x.shape}, weight {w.shape})"
        )
    if bias is not None and bias.shape != w.shape[:1]:
        raise ShapeError(
            f"linear: `bias` has shape {bias.shape}, expected {w.shape[:1]} (weight {w.shape})"
        )
    return kernels.linear(x, w, bias)


def _einsum_rule(
    g: Tensor, xs: list[Tensor], equation: str, shapes: Shapes, needs: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    inputs, output = equation.split("->")
    terms = inputs.split(",")
    gradients: list[Any] = []
    for i, term in enumerate(terms):
        if not needs[i]:
            gradients.append(None)
            continue
        others = [t for j, t in enumerate(terms) if j != i]
        arrays = [conj(x) for j, x in enumerate(xs) if j != i]
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


def _reduced(x: Array, term: str, kept: str) -> tuple[Array, str]:
    """``x`` summed over the indices of its ``term`` that are not in ``kept``."""
    axes = tuple(i for i, c in enumerate(term) if c not in kept)
    return (kernels.sum(x, axes) if axes else x), "".join(c for c in term if c in kept)


def _in_order(x: Array, term: str, wanted: str) -> Array:
    """``x`` with its indices in the order ``wanted``, of length 1 where it has none."""
    x = x.transpose([term.index(c) for c in wanted if c in term])
    return x[tuple(slice(None) if c in term else None for c in wanted)]


def _contract(a: Array, first: str, b: Array, second: str, kept: str) -> tuple[Array, str]:
    """The products of ``a`` and ``b`` summed over the indices that are not in ``kept``."""
    a, first = _reduced(a, first, kept + second)
    b, second = _reduced(b, second, kept + first)
    size = {**dict(zip(first, a.shape, strict=True)), **dict(zip(second, b.shape, strict=True))}
    both = "".join(c for c in first if c in second and c in kept)
    summed = "".join(c for c in first if c not in kept)
    left, right = ("".join(c for c in t if c not in both + summed) for t in (first, second))
    if not summed or (both and not (left and right)):
        out = both + left + right
        product = np.multiply(_in_order(a, first, out + summed), _in_order(b, second, out + summed))
        return _reduced(product, out + summed, out)
    batch, n, k, m = (math.prod(size[c] for c in t) for t in (both, left, summed, right))
    a = _in_order(a, first, both + left + summed).reshape(batch, n, k)
    b = _in_order(b, second, both + summed + right).reshape(batch, k, m)
    product = kernels.matmul(a, b) if both else kernels.matmul(a[0], b[0])
    out = both + left + right
    return product.reshape([size[c] for c in out]), out


@op(
    complex="whole",
    vjp=_einsum_rule,
    promotes="common",
    ignore_fp_errors=True,
    samples=_einsum_samples,
    onnx=lambda o, xs, equation: o.Einsum(*xs, equation=equation),
)
def einsum(*xs: Array, equation: str) -> Array:
    """Sum of products by index, as ``numpy.einsum``.

    ``equation`` is explicit ("ij,jk->ik"): no ellipsis, no index twice in one term. Two operands
    are contracted at a time, in NumPy's order, as matrix products where that can be; short sums are
    left to NumPy.
    """
    inputs, output = equation.split("->")
    operands = list(zip(xs, inputs.split(","), strict=True))
    size = {c: n for x, term in operands for c, n in zip(term, x.shape, strict=True)}
    terms = math.prod(n for c, n in size.items() if c not in output)
    if xs[0].dtype.kind != "f" or (terms <= FEW_TERMS and xs[0].dtype != np.float16):
        found = np.asarray(np.einsum(equation, *xs, optimize="greedy" if len(xs) > 1 else False))
        return found.copy() if len(xs) == 1 else found
    path = np.einsum_path(equation, *xs, optimize="greedy")[0][1:] if len(xs) > 2 else [(0, 1)]
    for step in path if len(xs) > 1 else ():
        some = [operands.pop(i) for i in sorted(step, reverse=True)]
        while len(some) > 1:
            (a, first), (b, second) = some.pop(), some.pop()
            kept = output + "".join(term for _, term in operands + some)
            some.append(_contract(a, first, b, second, kept))
        operands += some
    x, term = _reduced(*operands[0], output)
    found = _in_order(x, term, output)
    return found.copy() if any(np.may_share_memory(found, x) for x in xs) else found
