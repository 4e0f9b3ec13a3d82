"""`tinygrad_cnn.linalg`: norms, products of several matrices and of vectors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd.rounding import in_its_dtype
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError, DtypeError, ShapeError
from tinygrad_cnn.functions import arranging, padding, reduction
from tinygrad_cnn.functions.convert import axis, own, to_tensor
from tinygrad_cnn.functions.elementwise import abs as size_of
from tinygrad_cnn.functions.elementwise import mul
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.joining import stack
from tinygrad_cnn.functions.linalg_factorizations import svdvals
from tinygrad_cnn.functions.linalg_systems import inv_ex, matrices, same_dtypes
from tinygrad_cnn.functions.linear_algebra import matmul
from tinygrad_cnn.kernels.tape import made
from tinygrad_cnn.ops.conjugate import conj, is_complex
from tinygrad_cnn.types import INEXACT, DTypeLike, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


def _floating(name: str, x: TensorLike, dtype: DTypeLike) -> Tensor:
    out = to_tensor(x)
    if dtype is not None:
        wanted = np.dtype(dtype)
        if is_complex(out) and wanted.kind != "c":
            raise DtypeError(f"{name}: `dtype` is {wanted}, but the tensor is {out.dtype}")
        if wanted.itemsize < out._value.dtype.itemsize:
            raise DtypeError(f"{name}: `dtype` is {wanted}, narrower than the tensor's {out.dtype}")
        out = out.to(dtype)
    if out._value.dtype.kind not in INEXACT:
        raise DtypeError(f"{name}: got {out.dtype}, expected a floating or complex dtype")
    return out


def vector_norm(
    x: TensorLike,
    ord: float = 2,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: DTypeLike = None,
) -> Tensor:
    """The norm ``sum(|x|**ord)**(1/ord)`` over the axes ``dim``, of all elements by default.

    ``ord`` is any number; inf and -inf stand for the largest and the smallest size, 0 for the
    number of elements that are not 0.
    """
    x = _floating("vector_norm", x, dtype)
    if isinstance(ord, (str, bytes)) or not isinstance(ord, (int, float)):
        raise ArgumentError(f"vector_norm: `ord` is {ord!r}, expected a number")
    if isinstance(dim, (list, tuple)) and not dim:
        dim = None
    return reduction.norm(size_of(x) if is_complex(x) else x, ord, dim, keepdim)


def _two_axes(name: str, dim: Any, ndim: int) -> tuple[int, int]:
    if not isinstance(dim, (list, tuple)) or len(dim) != 2:
        raise ArgumentError(f"{name}: `dim` is {dim!r}, expected two axes")
    first, second = (axis(name, d, ndim) for d in dim)
    if first == second:
        raise ArgumentError(f"{name}: `dim` is {dim!r}, expected two different axes")
    return first, second


@in_its_dtype
def matrix_norm(
    A: TensorLike,
    ord: Any = "fro",
    dim: Any = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: DTypeLike = None,
) -> Tensor:
    """The norm of the matrices that lie along the two axes ``dim``.

    Parameters
    ----------
    ord
        "fro" (Frobenius), "nuc" (the sum of singular values), 2 or -2 (the largest or smallest of
        them), inf or -inf (the largest or smallest sum of a row's sizes), 1 or -1 (of a column's).
    """
    sums = ord not in ("nuc", 2, -2)  # the others need singular values
    x = matrices("matrix_norm", _floating("matrix_norm", A, dtype), half=sums)
    rows, columns = _two_axes("matrix_norm", dim, x._value.ndim)
    if ord == "fro":
        return vector_norm(x, 2, (rows, columns), keepdim)
    largest = {"nuc": reduction.sum, 2: reduction.amax, -2: reduction.amin}.get(ord)
    if largest is not None:
        values = svdvals(x.movedim((rows, columns), (-2, -1)))
        if ord == 2 and not values.shape[-1]:
            largest = reduction.sum  # of nothing it is 0
        out: Any = largest(values, -1)
        if keepdim:
            for d in sorted((rows, columns)):
                out = out.unsqueeze(d)
        return own(out)
    if ord not in (1, -1, math.inf, -math.inf):
        raise ArgumentError(
            f"matrix_norm: `ord` is {ord!r}, expected 'fro', 'nuc', inf, -inf, 1, -1, 2 or -2"
        )
    inner, outer = (rows, columns) if abs(ord) == 1 else (columns, rows)
    lines = reduction.sum(size_of(x), inner, True)
    most = reduction.amax if x._value.shape[outer] else reduction.sum  # of nothing it is 0
    extreme = (most if ord > 0 else reduction.amin)(lines, outer, True)
    return extreme if keepdim else own(extreme.squeeze((rows, columns)))


def norm(
    A: TensorLike,
    ord: Any = None,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: DTypeLike = None,
) -> Tensor:
    """`vector_norm` or `matrix_norm`.

    Of matrices if ``dim`` names two axes and ``ord`` is given, or if ``ord`` is given, ``dim`` is
    not, and ``A`` has two axes. Without ``ord`` it is the 2-norm of all elements along ``dim``.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> A = tg.tensor([[3.0, 0.0], [0.0, 4.0]])
    >>> [tg.linalg.norm(A, p).item() for p in (None, 2, "nuc")]
    [5.0, 4.0, 7.0]
    """
    x = to_tensor(A)
    if ord is None:
        return vector_norm(x, 2, dim, keepdim, dtype=dtype)
    axes = 1 if isinstance(dim, int) else x._value.ndim if dim is None else len(dim)
    if dim is None and axes not in (1, 2):
        raise ArgumentError(
            f"norm: `ord` is {ord!r} and `dim` is left out, but `A` has shape {x.shape}, "
            f"expected one or two axes"
        )
    if axes == 2:
        return matrix_norm(x, ord, (0, 1) if dim is None else dim, keepdim, dtype=dtype)
    return vector_norm(x, ord, dim, keepdim, dtype=dtype)


def cond(A: TensorLike, p: Any = None) -> Tensor:
    """The condition numbers of matrices in the norm ``p`` (of `matrix_norm`; default 2).

    For 2 and -2 the ratio of singular values; for the others ``norm(A) * norm(inv(A))``, infinite
    where a matrix is singular.
    """
    x: Any = matrices("cond", A)
    out: Tensor
    if p is None or p in (2, -2):
        values = svdvals(x)
        if not values._value.shape[-1]:
            return wrap(made(np.zeros(x.shape[:-2], values.dtype)))  # as PyTorch
        first, last = values[..., 0], values[..., -1]
        out = last / first if p == -2 else first / last
        return out
    x = matrices("cond", x, square=True)
    if p not in ("fro", "nuc", 1, -1, math.inf, -math.inf):
        raise ArgumentError(f"cond: `p` is {p!r}, expected 'fro', 'nuc', inf, -inf, 1, -1, 2 or -2")
    inverse, info = inv_ex(x)
    singular = info != 0
    if info._array.any():
        inverse = inverse.masked_fill(singular[..., None, None], 0.0)
    out = mul(matrix_norm(x, p), matrix_norm(inverse, p))
    return out.masked_fill(singular, math.inf) if info._array.any() else out


def multi_dot(tensors: Sequence[TensorLike]) -> Tensor:
    """The product of two or more matrices, in the order of multiplications that is cheapest.

    The first and the last may be vectors.
    """
    xs = [to_tensor(x) for x in tensors]
    if len(xs) < 2:
        raise ArgumentError(f"multi_dot: got {len(xs)} tensors, expected at least 2")
    for i, x in enumerate(xs):
        if x._value.ndim != 2 and not (x._value.ndim == 1 and i in (0, len(xs) - 1)):
            raise ShapeError(f"multi_dot: `tensors[{i}]` has shape {x.shape}, expected a matrix")
    same_dtypes("multi_dot", **{f"tensors[{i}]": x for i, x in enumerate(xs)})
    row, column = xs[0]._value.ndim == 1, xs[-1]._value.ndim == 1
    xs[0] = xs[0].unsqueeze(0) if row else xs[0]
    xs[-1] = xs[-1].unsqueeze(1) if column else xs[-1]
    for i, (a, b) in enumerate(itertools.pairwise(xs)):
        if a._value.shape[1] != b._value.shape[0]:
            raise ShapeError(
                f"multi_dot: `tensors[{i}]` has shape {a.shape} and the next {b.shape}"
            )
    out = _product(xs, _cheapest([x._value.shape[0] for x in xs] + [xs[-1]._value.shape[1]]))
    if row:
        out = out.squeeze(0)
    return own(out.squeeze(-1) if column else out)


def _cheapest(sides: list[int]) -> dict[tuple[int, int], int]:
    """Where to split each chain of matrices i to j (T. Cormen et al., section 15.2)."""
    n = len(sides) - 1
    cost = {(i, i): 0 for i in range(n)}
    split: dict[tuple[int, int], int] = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            options = {
                k: cost[i, k] + cost[k + 1, j] + sides[i] * sides[k + 1] * sides[j + 1]
                for k in range(i, j)
            }
            split[i, j] = min(options, key=options.__getitem__)
            cost[i, j] = options[split[i, j]]
    return split


def _product(xs: list[Tensor], split: dict[tuple[int, int], int]) -> Tensor:
    def between(i: int, j: int) -> Tensor:
        if i == j:
            return xs[i]
        k = split[i, j]
        return matmul(between(i, k), between(k + 1, j))

    return between(0, len(xs) - 1)


@export(method=False)
def chain_matmul(*matrices: TensorLike) -> Tensor:
    """The product of matrices, as `linalg.multi_dot`."""
    return to_tensor(matrices[0]).clone() if len(matrices) == 1 else multi_dot(matrices)


def cross(input: TensorLike, other: TensorLike, *, dim: int = -1) -> Tensor:
    """The vector product of vectors of three along ``dim``; shapes broadcast."""
    a, b = to_tensor(input), to_tensor(other)
    if a._value.ndim != b._value.ndim:
        raise ShapeError(f"cross: shapes {a.shape} and {b.shape} differ in their number of axes")
    d = axis("cross", dim, a._value.ndim)
    if a._value.shape[d] != 3 or b._value.shape[d] != 3:
        raise ShapeError(
            f"cross: shapes {a.shape} and {b.shape}, expected 3 elements along axis {d}"
        )
    return arranging.cross(a, b, d)


def diagonal(A: TensorLike, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonals of matrices, ``offset`` columns to the right: a view."""
    return padding.diagonal(A, offset, dim1, dim2)


def vander(x: TensorLike, *, N: int | None = None) -> Tensor:
    """The powers 0 to N - 1 of vectors, side by side: (..., n) → (..., n, N), by default N = n."""
    v = to_tensor(x)
    if not v._value.ndim and N is None:
        raise ShapeError("vander: `x` is a number, expected a vector, or `N` beside it")
    v = v if v._value.ndim else v.reshape(1)
    columns = v._value.shape[-1] if N is None else N
    if columns < 1:
        raise ArgumentError(f"vander: `N` is {columns}, expected at least 1")
    dtype = np.int64 if v._value.dtype.kind in "biu" else v._value.dtype
    powers = [wrap(made(np.ones(v._value.shape, dtype)))]
    for _ in range(columns - 1):
        powers.append(mul(powers[-1], v))
    return stack(powers, -1)


@in_its_dtype
def vecdot(x: TensorLike, y: TensorLike, *, dim: int = -1) -> Tensor:
    """The inner products of vectors along ``dim``, the first conjugated; shapes broadcast."""
    return reduction.sum(mul(conj(to_tensor(x)), y), dim)
