"""Norms, limits and vectors of all parameters or gradients of a model at once."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from types import GeneratorType
from typing import TypeAlias

import numpy as np

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd import no_grad
from tinygrad_cnn.autograd.arguments import checked
from tinygrad_cnn.autograd.promotion import get_default_dtype, is_half
from tinygrad_cnn.autograd.rounding import limits_of
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import DtypeError, ShapeError
from tinygrad_cnn.functions import cat
from tinygrad_cnn.kernels.fp_errors import ignore_fp_errors, ignoring_fp_errors
from tinygrad_cnn.kernels.tape import do
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array

Arrays: TypeAlias = tuple[Array, ...]


def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Return the norm of the norms of all tensors: for most orders that of their joint values.

    ``norm_type`` is any number, inf, -inf or 0 (how many norms are not 0). It is computed in
    float64 and neither overflows nor underflows on the way; the result, 0-d, has the tensors'
    common dtype. ``foreach`` is PyTorch's and changes nothing.

    Raises
    ------
    RuntimeError
        The norm is not finite and ``error_if_nonfinite`` is set, or a tensor without values has no
        norm of that order.

    >>> import tinygrad_cnn as tg
    >>> get_total_norm([tg.tensor([3.0]), tg.tensor([4.0])])
    tensor(5.)
    """
    given = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    arrays = tuple(t._given for t in given)
    out: Tensor = wrap(do(_joint_norm, arrays, norm_type, error_if_nonfinite))
    return out


def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    total_norm: Tensor | float,
    foreach: bool | None = None,
) -> None:
    """Scale all gradients, in place, so that a joint norm of ``total_norm`` becomes ``max_norm``.

    Nothing is changed if it is not above that already.

    >>> import tinygrad_cnn as tg
    >>> x = tg.zeros(2, requires_grad=True)
    >>> x.grad = tg.tensor([3.0, 4.0])
    >>> clip_grads_with_norm_([x], 1.0, get_total_norm([x.grad]))
    >>> x.grad
    tensor([0.6000, 0.8000])
    """
    written = tuple(g._written_by("clip_grads_with_norm_") for g in _gradients(parameters))
    total = total_norm._given if isinstance(total_norm, Tensor) else total_norm
    do(_scale, written, max_norm, total, writes=written)


@checked
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale all gradients together, in place, so that their joint norm is at most ``max_norm``.

    The norm is that of `get_total_norm`.

    Returns
    -------
    Tensor
        The norm before scaling, 0-d.

    Raises
    ------
    RuntimeError
        As `get_total_norm`.

    >>> import tinygrad_cnn as tg
    >>> x = tg.tensor([3.0, 4.0], requires_grad=True)
    >>> (x * x / 2).sum().backward()
    >>> clip_grad_norm_([x], max_norm=1.0)
    tensor(5.)
    >>> x.grad
    tensor([0.6000, 0.8000])
    """
    params = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    if not params and isinstance(parameters, GeneratorType):
        warnings.warn(
            "clip_grad_norm_: `parameters` is an empty generator (one such as model.parameters() "
            "can be read only once)",
            stacklevel=2,
        )
    grads = _gradients(params)
    written = tuple(g._written_by("clip_grad_norm_") for g in grads)
    total = do(_clipped, written, max_norm, norm_type, error_if_nonfinite, writes=written)
    out: Tensor = wrap(total)
    return out


@checked
def clip_grad_value_(
    parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None
) -> None:
    """Limit every entry of every gradient to [-clip_value, clip_value], in place.

    >>> import tinygrad_cnn as tg
    >>> x = tg.tensor([3.0, -4.0], requires_grad=True)
    >>> (x * x / 2).sum().backward()
    >>> clip_grad_value_([x], 3.5)
    >>> x.grad
    tensor([ 3.0000, -3.5000])
    """
    limit = float(clip_value)
    for g in _gradients(parameters):
        bound = ignoring_fp_errors(g.dtype.type, (limit,), {})  # beyond float16, it is none
        values = g._written_by("clip_grad_value_")
        do(np.clip, values, -bound, bound, values, writes=(values,))


@checked
def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """Join all values into one vector, in order; differentiable.

    >>> from tinygrad_cnn import nn
    >>> parameters_to_vector(nn.Linear(3, 2).parameters()).shape
    Size([8])
    """
    return cat([param.reshape(-1) for param in parameters])


@checked
def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Copy the parts of a vector into the parameters, in order: undoes `parameters_to_vector`.

    Raises
    ------
    ValueError
        ``vec`` does not have as many values as the parameters together.
    TypeError
        ``vec`` is no Tensor.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> layer = nn.Linear(1, 1)
    >>> vector_to_parameters(tg.tensor([2.0, 3.0]), layer.parameters())
    >>> layer(tg.ones(1, 1)).item()
    5.0
    """
    if not isinstance(vec, Tensor):
        raise DtypeError(
            f"vector_to_parameters: `vec` is a {type(vec).__name__} but a Tensor is expected"
        )
    params = list(parameters)
    wanted = sum(param.numel() for param in params)
    if vec.shape != (wanted,):
        raise ShapeError(
            f"vector_to_parameters: `vec` has shape {vec.shape} but the parameters have {wanted} "
            f"values, so ({wanted},) is expected"
        )
    start = 0
    with no_grad():
        for param in params:
            end = start + param.numel()
            param.copy_(vec[start:end].reshape(param.shape))
            start = end


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    params = [parameters] if isinstance(parameters, Tensor) else parameters
    return [param.grad for param in params if param.grad is not None]


# ---- norms ---------------------------------------------------------------------------------

_ROW = 1024


def _joint_norm(arrays: Arrays, norm_type: float, finite: bool) -> Array:
    return _zero_dim(_total_norm("get_total_norm", arrays, norm_type, finite), arrays)


def _clipped(arrays: Arrays, max_norm: float, norm_type: float, finite: bool) -> Array:
    if norm_type == 2 and not finite:
        norm = np.empty((), np.float32)
        if kernels.step("clip", [(x,) for x in arrays], float(max_norm), norm):
            return norm
    total = _total_norm("clip_grad_norm_", arrays, norm_type, finite)
    _scale(arrays, max_norm, total)
    return _zero_dim(total, arrays)


def _total_norm(name: str, arrays: Arrays, norm_type: float, finite: bool) -> float:
    p = float(norm_type)
    norms = [_norm(name, x, p) for x in arrays]
    total = _norm(name, np.asarray(norms, np.float64), p) if norms else 0.0
    if finite and not math.isfinite(total):
        raise RuntimeError(
            f"{name}: the joint norm is {total} but a finite number is expected; pass "
            f"error_if_nonfinite=False to go on all the same"
        )
    return total


@ignore_fp_errors  # a norm of float16 values may be beyond float16
def _zero_dim(total: float, arrays: Arrays) -> Array:
    dtype = np.result_type(*arrays) if arrays else get_default_dtype()
    return np.asarray(total, dtype)


@ignore_fp_errors
def _norm(name: str, x: Array, p: float) -> float:
    """The norm of order ``p`` of all values, in float64."""
    if p == 0:
        return float(np.count_nonzero(x))
    if not x.size and (p < 0 or p == math.inf):
        raise RuntimeError(f"{name}: a tensor of shape {x.shape} has no norm of order {p}")
    flat = x.ravel(order="K")  # a view unless there are gaps
    if is_half(flat.dtype):
        flat = flat.astype(np.float32)
    if p == 2:
        squares, limits = _sum_of_squares(flat), np.finfo(flat.dtype)
        # Not if a square was too large, or so small that it lost digits that count.
        if flat.size * float(limits.tiny / limits.eps) < squares < math.inf:
            return math.sqrt(squares)
    size = np.abs(flat).astype(np.float64)
    scale = float(size.max(initial=0.0) if p > 0 else size.min())
    if math.isinf(p) or scale == 0 or not math.isfinite(scale):
        return scale
    ratios = float(((size / scale) ** p).sum())
    return float(scale * ratios ** (1 / p))


def _sum_of_squares(x: Array) -> float:
    """One reading of ``x`` (n,): rows by BLAS in its own dtype, their sums in float64."""
    whole = x.size - x.size % _ROW
    rows, rest = x[:whole].reshape(-1, _ROW), x[whole:]
    return float(np.vecdot(rows, rows).sum(dtype=np.float64)) + float(np.dot(rest, rest))


@ignore_fp_errors
def _scale(arrays: Arrays, max_norm: float, total: float | Array) -> None:
    factor = float(max_norm) / (float(total) + 1e-6)
    if factor >= 1.0:  # a nan is not: it, too, is passed on
        return
    for array in arrays:
        # A factor below the dtype's normal numbers would lose digits.
        fits = factor == 0 or not abs(factor) < limits_of(array.dtype).tiny
        wide = array.dtype if fits else np.dtype(np.float64)
        np.multiply(array, factor, out=array, dtype=wide, casting="same_kind")
