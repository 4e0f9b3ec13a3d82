"""Products of vectors, matrices and tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.errors import ArgumentError, DtypeError, ShapeError
from tinygrad_cnn.functions.convert import axis, broadcasts, older_call, one_dtype, own, to_tensor
from tinygrad_cnn.functions.elementwise import add, mul
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.padding import diagonal
from tinygrad_cnn.functions.reduction import sum
from tinygrad_cnn.functions.shaping import permute, reshape
from tinygrad_cnn.ops import linalg as ops
from tinygrad_cnn.ops.conjugate import conj, is_complex
from tinygrad_cnn.types import TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


@export(numpy=np.matmul)
def matmul(input: TensorLike, other: TensorLike) -> Tensor:
    """``input @ other``: vectors, matrices, and batches of matrices, which broadcast.

    >>> import tinygrad_cnn as tg
    >>> tg.matmul(tg.ones(2, 3), tg.ones(3))
    tensor([3., 3.])
    """
    a, b = to_tensor(input), to_tensor(other)
    if not a._value.ndim or not b._value.ndim:
        raise ShapeError(
            f"matmul: shapes {a.shape} and {b.shape}, but a number is no matrix; use *"
        )
    row, column = a._value.ndim == 1, b._value.ndim == 1
    if row:
        a = reshape(a, 1, -1)
    if column:
        b = reshape(b, -1, 1)
    if (
        a._value.ndim > 2 and b._value.ndim == 2
    ):  # one large product instead of a batch of small ones
        lead = a._value.shape[:-1]
        flat = ops.matmul(reshape(a, (int(np.prod(lead)), a._value.shape[-1])), b)
        out = own(reshape(flat, (*lead, b._value.shape[-1])))
    else:
        out = ops.matmul(a, b)
    if row or column:
        shape = list(out._value.shape)
        if column:
            del shape[-1]
        if row:
            del shape[-1 if column else -2]
        out = own(reshape(out, shape))
    return out


def _of_rank(name: str, **tensors: tuple[TensorLike, int]) -> list[Tensor]:
    out = []
    for argument, (value, rank) in tensors.items():
        x = to_tensor(value)
        if x._value.ndim != rank:
            raise ShapeError(
                f"{name}: `{argument}` has shape {x.shape}, expected {rank} dimensions"
            )
        out.append(x)
    return out


@export()
def mm(input: TensorLike, mat2: TensorLike) -> Tensor:
    """The product of two matrices (n, k) and (k, m)."""
    return matmul(*_of_rank("mm", input=(input, 2), mat2=(mat2, 2)))


@export()
def bmm(input: TensorLike, mat2: TensorLike) -> Tensor:
    """The products of two batches of matrices (b, n, k) and (b, k, m)."""
    a, b = _of_rank("bmm", input=(input, 3), mat2=(mat2, 3))
    if a._value.shape[0] != b._value.shape[0]:
        raise ShapeError(f"bmm: batches of {a._value.shape[0]} and {b._value.shape[0]} matrices")
    return matmul(a, b)


@export()
def mv(input: TensorLike, vec: TensorLike) -> Tensor:
    """A matrix (n, k) times a vector (k,)."""
    return matmul(*_of_rank("mv", input=(input, 2), vec=(vec, 1)))


@export()
def dot(input: TensorLike, tensor: TensorLike) -> Tensor:
    """The inner product of two vectors."""
    return matmul(*_of_rank("dot", input=(input, 1), tensor=(tensor, 1)))


@export("ger")
def outer(input: TensorLike, vec2: TensorLike) -> Tensor:
    """The matrix of all products of two vectors' elements."""
    a, b = _of_rank("outer", input=(input, 1), vec2=(vec2, 1))
    return mul(reshape(a, -1, 1), b)


@export()
def inner(input: TensorLike, other: TensorLike) -> Tensor:
    """The products of all vectors along the last axes; of numbers, with everything.

    >>> import tinygrad_cnn as tg
    >>> tg.inner(tg.tensor([1, 2]), tg.tensor([[3, 4], [5, 6]]))
    tensor([11, 17])
    """
    a, b = to_tensor(input), to_tensor(other)
    if not a._value.ndim or not b._value.ndim:
        return mul(a, b)
    if a._value.shape[-1] != b._value.shape[-1]:
        raise ShapeError(f"inner: shapes {a.shape} and {b.shape}, expected the same last side")
    return tensordot(a, b, ([-1], [-1]))


@export()
def vdot(input: TensorLike, other: TensorLike) -> Tensor:
    """The inner product of two vectors, the first of them conjugated."""
    a, b = _of_rank("vdot", input=(input, 1), other=(other, 1))
    return dot(conj(a) if is_complex(a) else a, b)


def _added(name: str, input: TensorLike, product: Tensor, beta: float, alpha: float) -> Tensor:
    """``beta * input + alpha * product``, of the shape of the product.

    With a ``beta`` of 0, ``input`` is not looked at: NaN in it does not matter. Of integers and
    bools the factors are such numbers too, as in PyTorch.
    """
    x = to_tensor(input)
    if product._value.dtype.kind in "biu":
        whole = bool if product._value.dtype.kind == "b" else int
        beta, alpha = whole(beta), whole(alpha)
    one_dtype(name, x, product=product)
    if not broadcasts(x._value.shape, product._value.shape):
        raise ShapeError(
            f"{name}: `input` has shape {x.shape}, which does not broadcast to {product.shape}"
        )
    if beta == 0:
        return product if alpha == 1 else mul(product, alpha)
    return add(mul(x, beta) if beta != 1 else x, product, alpha=alpha)


@export(inplace=True)
@older_call("beta", "alpha")
def addmm(
    input: TensorLike, mat1: TensorLike, mat2: TensorLike, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """``beta * input + alpha * (mat1 @ mat2)``."""
    return _added("addmm", input, mm(mat1, mat2), beta, alpha)


@export(inplace=True)
@older_call("beta", "alpha")
def addmv(
    input: TensorLike, mat: TensorLike, vec: TensorLike, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """``beta * input + alpha * (mat @ vec)``."""
    return _added("addmv", input, mv(mat, vec), beta, alpha)


@export(inplace=True)
@older_call("beta", "alpha")
def addr(
    input: TensorLike, vec1: TensorLike, vec2: TensorLike, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """``beta * input + alpha * outer(vec1, vec2)``."""
    return _added("addr", input, outer(vec1, vec2), beta, alpha)


@export(inplace=True)
@older_call("beta", "alpha")
def baddbmm(
    input: TensorLike, batch1: TensorLike, batch2: TensorLike, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """``beta * input + alpha * bmm(batch1, batch2)``.

    >>> import tinygrad_cnn as tg
    >>> tg.baddbmm(tg.ones(1, 1, 1), tg.ones(2, 1, 3), tg.ones(2, 3, 1), alpha=2).flatten()
    tensor([7., 7.])
    """
    return _added("baddbmm", input, bmm(batch1, batch2), beta, alpha)


@export(inplace=True)
@older_call("beta", "alpha")
def addbmm(
    input: TensorLike, batch1: TensorLike, batch2: TensorLike, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """``beta * input + alpha`` times the sum of ``bmm(batch1, batch2)`` over the batch."""
    product = bmm(batch1, batch2)
    return _added("addbmm", input, sum(product, 0, dtype=product.dtype), beta, alpha)


@export(method=False, nn=True)
def linear(input: TensorLike, weight: TensorLike, bias: TensorLike | None = None) -> Tensor:
    """``input @ weight.T + bias``: (..., in), (out, in) or (in,), and (out,) → (..., out)."""
    x, weight = to_tensor(input), to_tensor(weight)
    bias = None if bias is None else to_tensor(bias)
    if weight._value.ndim == 1:
        out = matmul(x, weight)
        return out if bias is None else add(out, bias)
    if not x._value.ndim or weight._value.ndim != 2:
        raise ShapeError(
            f"linear: `input` has shape {x.shape} and `weight` {weight.shape}, "
            f"expected (..., in) and (out, in)"
        )
    one_dtype("linear", x, weight=weight, bias=bias)
    if x._value.ndim == 2:
        return ops.linear(x, weight, bias)
    lead = x._value.shape[:-1]
    flat = reshape(x, (int(np.prod(lead)), x._value.shape[-1]))
    return own(reshape(ops.linear(flat, weight, bias), (*lead, weight._value.shape[0])))


@export()
def tensordot(a: TensorLike, b: TensorLike, dims: Any = 2) -> Tensor:
    """Products of ``a`` and ``b`` summed over axes: the last and first ``dims``, or two lists."""
    a, b = to_tensor(a), to_tensor(b)
    if isinstance(dims, int):
        if dims < 0 or dims > min(a._value.ndim, b._value.ndim):
            raise ShapeError(
                f"tensordot: `dims` is {dims}, more axes than {a.shape} or {b.shape} has"
            )
        of_a, of_b = list(range(a._value.ndim - dims, a._value.ndim)), list(range(dims))
    else:
        first, second = dims
        of_a = [
            axis("tensordot", d, a._value.ndim)
            for d in ([first] if isinstance(first, int) else first)
        ]
        of_b = [
            axis("tensordot", d, b._value.ndim)
            for d in ([second] if isinstance(second, int) else second)
        ]
    sides = [(a.shape[p], b.shape[q]) for p, q in zip(of_a, of_b, strict=False)]
    if len(of_a) != len(of_b) or any(m != n and 1 not in (m, n) for m, n in sides):
        raise ShapeError(
            f"tensordot: axes {of_a} of {a.shape} and {of_b} of {b.shape} differ in length"
        )
    for p, q, (m, n) in zip(of_a, of_b, sides, strict=True):  # an axis of length 1 is stretched
        if m != n:
            stretched, along = (b, q) if m == 1 else (a, p)
            total = stretched.sum(along, keepdim=True, dtype=stretched.dtype)
            a, b = (a, total) if m == 1 else (total, b)
    keep_a = [d for d in range(a._value.ndim) if d not in of_a]
    keep_b = [d for d in range(b._value.ndim) if d not in of_b]
    k = int(np.prod([a._value.shape[d] for d in of_a]))
    shape_a = tuple(a._value.shape[d] for d in keep_a)
    shape_b = tuple(b._value.shape[d] for d in keep_b)
    left = reshape(permute(a, (*keep_a, *of_a)), (int(np.prod(shape_a)), k))
    right = reshape(permute(b, (*of_b, *keep_b)), (k, int(np.prod(shape_b))))
    return own(reshape(ops.matmul(left, right), (*shape_a, *shape_b)))


_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@export(method=False)
def einsum(equation: Any, *operands: Any) -> Tensor:
    """Einstein's sum, such as ``"bij,bjk->bik"``, with ``...`` and repeated indices.

    Indices may also come as lists of numbers from 0 to 51 (and `Ellipsis`) behind the operands:
    ``einsum(x, [0, 1], y, [1, 2], [0, 2])``.

    >>> import tinygrad_cnn as tg
    >>> tg.einsum("ii->", tg.eye(3))
    tensor(3.)
    """
    if not isinstance(equation, str):
        equation, operands = _written_out((equation, *operands))
    if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        operands = tuple(operands[0])
    xs = [to_tensor(x) for x in operands]
    terms, output = _parse(equation.replace(" ", ""), [x._value.ndim for x in xs])
    size: dict[str, int] = {}
    for i, (term, x) in enumerate(zip(terms, xs, strict=True)):
        for c, n in zip(term, x._value.shape, strict=True):
            if size.get(c, 1) == 1:
                size[c] = n
            elif n not in (1, size[c]):
                raise ArgumentError(
                    f"einsum: index '{c}' has length {size[c]} and, in operand {i}, {n} "
                    f"({equation})"
                )
    flat: list[Any] = []
    for i, (term, x) in enumerate(zip(terms, xs, strict=True)):
        x = x.expand(tuple(size[c] for c in term))  # sides of 1 stretch
        while len(set(term)) < len(term):  # an index twice: the diagonal
            c = next(c for c in term if term.count(c) > 1)
            p, q = [j for j, d in enumerate(term) if d == c][:2]
            x = diagonal(x, 0, p, q)
            term = "".join(d for j, d in enumerate(term) if j not in (p, q)) + c
        terms[i] = term
        flat.append(x)
    letters = "".join(map("".join, map(set, terms)))
    if any(c not in output and letters.count(c) == 1 for c in letters):  # a sum of one operand
        flat = [x.to(np.int64) if x._value.dtype.kind in "biu" else x for x in flat]
    return ops.einsum(*flat, equation=f"{','.join(terms)}->{output}")


def _written_out(args: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """The equation and the operands of ``x, [0, 1], y, [1, 2], [0, 2]``; the last list is optional.

    Numbers become letters in their order, by which PyTorch orders an output that is left out.
    """
    letters = _LETTERS[26:] + _LETTERS[:26]

    def term(indices: TensorLike) -> str:
        if not isinstance(indices, (tuple, list)):
            raise DtypeError(f"einsum: got {indices!r}, expected a list of indices")
        out = ""
        for i in indices:
            if i is not Ellipsis and not (isinstance(i, (int, np.integer)) and 0 <= i < 52):
                raise ArgumentError(f"einsum: index {i!r} is no number from 0 to 51")
            out += "..." if i is Ellipsis else letters[i]
        return out

    pairs = len(args) // 2 * 2
    equation = ",".join(term(indices) for indices in args[1:pairs:2])
    if len(args) > pairs:
        equation += f"->{term(args[-1])}"
    return equation, args[:pairs:2]


def _parse(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """The terms and the output with one letter for each axis."""
    inputs, arrow, output = equation.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(ranks):
        raise ArgumentError(
            f"einsum: {equation!r} has {len(terms)} terms for {len(ranks)} operands"
        )
    for part in (*terms, output):
        letters = part.replace("...", "", 1)
        if letters and not (letters.isascii() and letters.isalpha()):
            raise ArgumentError(
                f"einsum: {part!r} in {equation!r} is not made of letters and '...'"
            )
    unused = [c for c in _LETTERS if c not in equation]
    hidden = [r - len(t.replace("...", "")) for t, r in zip(terms, ranks, strict=True)]
    for t, r, h in zip(terms, ranks, hidden, strict=True):
        if h < 0 or (h and "..." not in t):
            raise ArgumentError(f"einsum: term {t!r} of {equation!r} is for another rank than {r}")
    dots = "".join(
        unused[: max((h for h, t in zip(hidden, terms, strict=True) if "..." in t), default=0)]
    )
    full = [
        t.replace("...", dots[len(dots) - h :] if h else "")
        for t, h in zip(terms, hidden, strict=True)
    ]
    if arrow:
        result = output.replace("...", dots)
    else:
        joined = "".join(full)
        result = dots + "".join(
            c for c in sorted(set(joined)) if joined.count(c) == 1 and c not in dots
        )
    for c in result:
        if not any(c in t for t in full):
            raise ArgumentError(f"einsum: the output of {equation!r} has '{c}', which no term has")
    if len(set(result)) != len(result):
        raise ArgumentError(f"einsum: the output of {equation!r} repeats an index")
    return full, result
