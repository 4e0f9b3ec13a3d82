"""Reductions and normalizations of what a mask leaves, as in ``torch.masked``, of dense tensors.

``mask`` is True where a value counts. It broadcasts to ``input``, and other dtypes than bool are
read as "not 0". What is left out is replaced by the number that changes no result (0 in a sum, -inf
in a maximum); a mean, median, variance or standard deviation of nothing is NaN.

>>> import tinygrad_cnn as tg
>>> x = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
>>> mask = tg.tensor([[True, False], [True, True]])
>>> tg.masked.sum(x, 1, mask=mask)
tensor([1., 7.])
>>> tg.masked.softmax(x, 1, mask=mask)
tensor([[1.0000, 0.0000],
        [0.2689, 0.7311]])
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from tinygrad_cnn import functions as f
from tinygrad_cnn.autograd.promotion import get_default_dtype
from tinygrad_cnn.errors import ArgumentError, DtypeError, PositionError, ShapeError
from tinygrad_cnn.functions.convert import axes, axis, broadcasts, dtype_of, to_tensor
from tinygrad_cnn.functions.linalg_norms import vector_norm
from tinygrad_cnn.functions.nn_activation import softmin as _softmin
from tinygrad_cnn.functions.reduction import correction_of
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import FLOATING, INEXACT, Dims, DType, DTypeLike, TensorLike

F = TypeVar("F", bound=Callable[..., Tensor])
Reduction = Callable[..., Tensor]

__all__ = [
    "amax", "amin", "argmax", "argmin", "cumprod", "cumsum", "log_softmax", "logaddexp",
    "logsumexp", "mean", "median", "norm", "normalize", "prod", "softmax", "softmin", "std", "sum",
    "var",
]  # fmt: skip


def _mask_of(name: str, x: Tensor, mask: TensorLike) -> Tensor:
    """The mask as bools of the shape of ``x``."""
    given = to_tensor(mask)
    if given.ndim > x.ndim:
        raise PositionError(
            f"{name}: `mask` has shape {given.shape}, expected at most the {x.ndim} axes of `input`"
        )
    if not broadcasts(given.shape, x.shape):
        raise ShapeError(
            f"{name}: `mask` has shape {given.shape}, expected one that broadcasts to that of "
            f"`input`, {x.shape}"
        )
    return f.broadcast_to(given.bool(), x.shape)


def _low(dtype: DType) -> float:
    return -math.inf if dtype.kind in INEXACT else int(np.iinfo(dtype).min)


def _high(dtype: DType) -> float:
    return math.inf if dtype.kind in INEXACT else int(np.iinfo(dtype).max)


def _filled(name: str, x: Tensor, mask: TensorLike | None, fill: Any) -> Tensor:
    """``x`` with ``fill``, a number or a function of the dtype, in place of what is left out."""
    if mask is None:
        return x
    if callable(fill):
        if x.dtype.kind == "b":
            raise DtypeError(
                f"{name}: `input` is bool, expected numbers, which `mask` can leave out"
            )
        fill = fill(x.dtype)
    out: Tensor = f.where(_mask_of(name, x, mask), x, f.full((), fill, dtype=x.dtype))
    return out


def _ordered(name: str, input: TensorLike) -> Tensor:
    x = to_tensor(input)
    if x.dtype.kind == "c":
        raise DtypeError(f"{name}: `input` is {x.dtype}, expected real numbers")
    return x


def _dtype(name: str, x: Tensor, dtype: DTypeLike) -> DType:
    return x.dtype if dtype is None else dtype_of(dtype, name)


def _documented(name: str, function: F, summary: str, axes_said: str) -> F:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""{summary} along ``dim``, of what ``mask`` leaves.

    Parameters
    ----------
    {axes_said}
    dtype
        Of the result; by default that of ``input``, but int64 for a sum or product of integers.
    mask
        True where a value counts; by default everywhere.

    Raises
    ------
    ValueError
        ``mask`` does not broadcast to the shape of ``input``.
    IndexError
        ``dim`` is out of range, or ``mask`` has more axes than ``input``.
    """
    return function


_AXES = """dim
        An axis, several, or None for all.
    keepdim
        Whether they stay as axes of length 1."""


def _reduction(name: str, fill: Any, call: Callable[..., Tensor], summary: str) -> Reduction:
    """A reduction over axes: ``call(x, dims, keepdim, dtype)`` of a tensor without gaps."""

    def masked(
        input: TensorLike,
        dim: Dims = None,
        *,
        keepdim: bool = False,
        dtype: DTypeLike = None,
        mask: TensorLike | None = None,
    ) -> Tensor:
        x = to_tensor(input)
        return call(_filled(name, x, mask, fill), axes(name, dim, x.ndim), keepdim, dtype)

    return _documented(name, masked, summary, _AXES)


def _place(name: str, fill: Any, call: Callable[..., Tensor], summary: str) -> Reduction:
    """The place of an extreme: ``call(x, dim, keepdim)`` of a tensor without gaps."""

    def masked(
        input: TensorLike,
        dim: int | None = None,
        *,
        keepdim: bool = False,
        dtype: DTypeLike = None,
        mask: TensorLike | None = None,
    ) -> Tensor:
        x = _ordered(name, input)
        return call(_filled(name, x, mask, fill), dim, keepdim).to(_dtype(name, x, dtype))

    said = _AXES.replace("An axis, several, or None for all.", "An axis; None: of all in a row.")
    return _documented(name, masked, summary, said)


def _along(name: str, fill: Any, call: Callable[..., Tensor], summary: str) -> Reduction:
    """A function along an axis that keeps it: ``call(x, dim, dtype)`` of a tensor without gaps."""

    def masked(
        input: TensorLike, dim: int, *, dtype: DTypeLike = None, mask: TensorLike | None = None
    ) -> Tensor:
        x = to_tensor(input)
        d = axis(name, dim, x.ndim)
        return call(_filled(name, x, mask, fill), d, _dtype(name, x, dtype))

    return _documented(name, masked, summary, "dim\n        The axis.")


def _then_cast(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda x, dims, keepdim, dtype: function(x, dims, keepdim).to(dtype)


def _running(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda x, dim, dtype: function(x, dim, dtype=dtype)


def _product(x: Tensor, dims: tuple[int, ...], keepdim: bool, dtype: DTypeLike) -> Tensor:
    return f.prod(x, dims, keepdim, dtype=dtype)


def _sum(x: Tensor, dims: tuple[int, ...], keepdim: bool, dtype: DTypeLike) -> Tensor:
    return f.sum(x, dims, keepdim, dtype=dtype)


def _logsumexp(x: Tensor, dims: tuple[int, ...], keepdim: bool, dtype: DTypeLike) -> Tensor:
    return f.logsumexp(x, dims, keepdim).to(x.dtype if dtype is None else dtype)


sum = _reduction("sum", 0, _sum, "Sum")
prod = _reduction("prod", 1, _product, "Product")
amax = _reduction("amax", _low, _then_cast(f.amax), "Largest value")
amin = _reduction("amin", _high, _then_cast(f.amin), "Smallest value")
logsumexp = _reduction("logsumexp", _low, _logsumexp, "``log(sum(exp(input)))``")
argmax = _place("argmax", _low, f.argmax, "Place of the largest value")
argmin = _place("argmin", _high, f.argmin, "Place of the smallest value")
cumsum = _along("cumsum", 0, _running(f.cumsum), "Running sum")
cumprod = _along("cumprod", 1, _running(f.cumprod), "Running product")
softmax = _along("softmax", _low, f.softmax, "``exp(input) / sum(exp(input))``")
log_softmax = _along("log_softmax", _low, f.log_softmax, "Logarithm of `softmax`")
softmin = _along("softmin", _high, _softmin, "`softmax` of ``-input``")


def logaddexp(
    input: TensorLike,
    other: TensorLike,
    *,
    dtype: DTypeLike = None,
    input_mask: TensorLike | None = None,
    other_mask: TensorLike | None = None,
) -> Tensor:
    """``log(exp(input) + exp(other))`` with ``exp`` of what is left out of either taken as 0.

    >>> import tinygrad_cnn as tg
    >>> tg.masked.logaddexp(tg.zeros(2), tg.ones(2), other_mask=tg.tensor([False, True]))
    tensor([0.0000, 1.3133])
    """
    x, y = to_tensor(input), to_tensor(other)
    left, right = (_filled("logaddexp", v, m, _low) for v, m in ((x, input_mask), (y, other_mask)))
    return f.logaddexp(left, right).to(_dtype("logaddexp", x, dtype))


def _counted(name: str, x: Tensor, dim: Dims, keepdim: bool, mask: TensorLike | None) -> Tensor:
    """How many values are left over ``dim``."""
    every = f.ones(x.shape, dtype=np.bool_) if mask is None else _mask_of(name, x, mask)
    return f.sum(every, dim, keepdim)


def mean(
    input: TensorLike,
    dim: Dims = None,
    *,
    keepdim: bool = False,
    dtype: DTypeLike = None,
    mask: TensorLike | None = None,
) -> Tensor:
    """Mean over ``dim`` of what ``mask`` leaves; of nothing NaN.

    Raises
    ------
    TypeError
        The dtype of the result would be neither floating nor complex.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.masked.mean(tg.tensor([1.0, 2.0, 6.0]), mask=tg.tensor([True, True, False]))
    tensor(1.5000)
    """
    x = to_tensor(input)
    wanted = _dtype("mean", x, dtype)
    if wanted.kind not in INEXACT:
        raise DtypeError(f"mean: the result would be {wanted}, expected a floating `dtype`")
    total = sum(x, dim, keepdim=keepdim, dtype=wanted, mask=mask)
    return f.div(total, _counted("mean", x, dim, keepdim, mask))


def median(
    input: TensorLike,
    dim: int = -1,
    *,
    keepdim: bool = False,
    dtype: DTypeLike = None,
    mask: TensorLike | None = None,
) -> Tensor:
    """The middle value (the lower of two) along ``dim`` of what ``mask`` leaves; of nothing NaN.

    ``dtype`` is for integers; floating numbers keep theirs, as in PyTorch.

    Raises
    ------
    ValueError
        Of integers, where ``mask`` leaves nothing.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.masked.median(tg.tensor([5.0, 1.0, 9.0]), mask=tg.tensor([True, False, True]))
    tensor(5.)
    """
    x = _ordered("median", input)
    floating = x.dtype.kind in FLOATING
    wide = x if floating else x.to(get_default_dtype())
    found: Tensor = f.nanmedian(_filled("median", wide, mask, math.nan), dim, keepdim).values
    if floating:
        return found
    if f.isnan(found).any():
        raise ArgumentError(f"median: `mask` leaves nothing in some lines of `input`, {x.dtype}")
    return found.to(_dtype("median", x, dtype))


def norm(
    input: TensorLike,
    ord: float = 2.0,
    dim: Dims = None,
    *,
    keepdim: bool = False,
    dtype: DTypeLike = None,
    mask: TensorLike | None = None,
) -> Tensor:
    """`linalg.vector_norm` of what ``mask`` leaves.

    >>> import tinygrad_cnn as tg
    >>> tg.masked.norm(tg.tensor([3.0, 4.0, 5.0]), mask=tg.tensor([True, True, False]))
    tensor(5.)
    """
    x = to_tensor(input)
    left = _filled("norm", x, mask, _high if ord == -math.inf else 0)
    return vector_norm(left, ord, axes("norm", dim, x.ndim), keepdim, dtype=dtype)


def normalize(
    input: TensorLike,
    ord: float,
    dim: int,
    *,
    eps: float = 1e-12,
    dtype: DTypeLike = None,
    mask: TensorLike | None = None,
) -> Tensor:
    """What ``mask`` leaves, else 0, divided by its `norm` along ``dim``, which is at least ``eps``.

    >>> import tinygrad_cnn as tg
    >>> tg.masked.normalize(tg.tensor([3.0, 4.0, 5.0]), 2, 0, mask=tg.tensor([True, True, False]))
    tensor([0.6000, 0.8000, 0.0000])
    """
    x = to_tensor(input)
    size = norm(x, ord, dim, keepdim=True, dtype=dtype, mask=mask)
    least = f.full((), eps, dtype=size.dtype)
    return f.div(_filled("normalize", x, mask, 0), f.maximum(size, least))


def _spread(
    name: str,
    input: TensorLike,
    dim: Dims,
    unbiased: bool | None,
    correction: float | None,
    keepdim: bool,
    dtype: DTypeLike,
    mask: TensorLike | None,
) -> Tensor:
    x = to_tensor(input)
    natural = x.dtype if x.dtype.kind in INEXACT else np.dtype(np.float32)
    wanted = natural if dtype is None else dtype_of(dtype, name)
    inside = wanted if wanted.kind in INEXACT else np.dtype(np.float32)
    less = correction_of(unbiased, correction)
    centre = f.div(
        sum(x, dim, keepdim=True, dtype=wanted, mask=mask), _counted(name, x, dim, True, mask)
    )
    away = f.sub(x, centre)
    total = sum(f.mul(away, f.conj(away)), dim, keepdim=keepdim, dtype=inside, mask=mask)
    count = _counted(name, x, dim, keepdim, mask).to(total.real.dtype)
    return f.div(total, f.clamp(count - less, min=0)).to(wanted)


def var(
    input: TensorLike,
    dim: Dims = None,
    unbiased: bool | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
    dtype: DTypeLike = None,
    mask: TensorLike | None = None,
) -> Tensor:
    """Variance over ``dim`` of what ``mask`` leaves; of nothing NaN.

    It is divided by the number of values less ``correction`` (1, or 0 if not ``unbiased``). That of
    complex numbers is complex too, as in PyTorch, with imaginary part 0.

    >>> import tinygrad_cnn as tg
    >>> tg.masked.var(tg.tensor([1.0, 3.0, 8.0]), mask=tg.tensor([True, True, False]))
    tensor(2.)
    """
    return _spread("var", input, dim, unbiased, correction, keepdim, dtype, mask)


def std(
    input: TensorLike,
    dim: Dims = None,
    unbiased: bool | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
    dtype: DTypeLike = None,
    mask: TensorLike | None = None,
) -> Tensor:
    """Square root of `var`, with its arguments.

    >>> import tinygrad_cnn as tg
    >>> tg.masked.std(tg.tensor([1.0, 3.0, 8.0]), mask=tg.tensor([True, True, False]))
    tensor(1.4142)
    """
    return f.sqrt(_spread("std", input, dim, unbiased, correction, keepdim, dtype, mask))
