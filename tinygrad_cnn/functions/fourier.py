"""`tinygrad_cnn.fft`: discrete Fourier transforms of one, two and more axes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd import promotion
from tinygrad_cnn.autograd.devices import DeviceLike
from tinygrad_cnn.autograd.rounding import wide
from tinygrad_cnn.errors import ArgumentError, DtypeError, ShapeError
from tinygrad_cnn.functions.convert import axis, dtype_of, to_tensor
from tinygrad_cnn.functions.creation import make
from tinygrad_cnn.functions.shaping import roll
from tinygrad_cnn.ops import fourier as ops
from tinygrad_cnn.ops.conjugate import is_complex
from tinygrad_cnn.ops.index import getitem
from tinygrad_cnn.ops.shape import pad
from tinygrad_cnn.types import DTypeLike, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

_NORMS = ("backward", "ortho", "forward")


def _count(name: str, n: Any) -> int:
    try:
        count = operator.index(n)
    except TypeError:
        raise DtypeError(f"{name}: a length is {n!r}, expected an integer") from None
    if count < 1:
        raise ArgumentError(f"{name}: a length is {count}, expected at least 1")
    return count


def _resized(x: Any, dim: int, n: int) -> Any:
    """``x`` cut off, or filled up with zeros, to n values along ``dim``."""
    have = x._value.shape[dim]
    if n < have:
        return getitem(x, index=(*(slice(None),) * dim, slice(0, n)))
    if n > have:
        return pad(x, width=tuple((0, n - have if d == dim else 0) for d in range(x._value.ndim)))
    return x


def _transform(
    name: str,
    kind: str,
    inverse: bool,
    input: TensorLike,
    size: Sequence[Any],
    dims: tuple[int, ...],
    norm: str | None,
) -> Tensor:
    """One of the operations: ``kind`` is "full", "real" (to complex) or "half" (to real)."""
    x: Any = wide(to_tensor(input))
    dtype = x._value.dtype
    if norm not in (None, *_NORMS):
        raise ArgumentError(f"{name}: `norm` is {norm!r}, expected one of {_NORMS}")
    if promotion.is_half(dtype):
        raise DtypeError(
            f"{name}: `input` is {dtype}, expected float32, float64 or complex numbers"
        )
    if kind == "real" and dtype.kind == "c":
        raise DtypeError(f"{name}: `input` is {dtype}, expected real numbers")
    if dtype.kind in "biu":
        x = x.to(promotion.get_default_dtype())
    if kind != "real" and not is_complex(x):
        x = x.to(promotion.complex_dtype(x._value.dtype))
    if not dims:
        return x.clone()  # type: ignore[no-any-return]
    lengths = [
        x._value.shape[d] if n in (None, -1) else _count(name, n)
        for n, d in zip(size, dims, strict=True)
    ]
    options: dict[str, Any] = {"dims": dims, "inverse": inverse, "norm": norm or "backward"}
    if kind == "half":
        if size[-1] in (None, -1):
            lengths[-1] = 2 * (lengths[-1] - 1)
        options["n"] = lengths[-1]
        lengths[-1] = lengths[-1] // 2 + 1
    if min(lengths) < 1 or options.get("n", 1) < 1:
        raise ShapeError(f"{name}: `input` has shape {x.shape}: there are no values to transform")
    for d, n in zip(dims, lengths, strict=True):
        x = _resized(x, d, n)
    out: Tensor = getattr(ops, {"full": "dft", "real": "real_dft", "half": "half_dft"}[kind])(
        x, **options
    )
    return out


def _axes(name: str, size: Any, dim: Any, ndim: int) -> tuple[Sequence[Any], tuple[int, ...]]:
    """A length, or None, for each axis; and these axes."""
    if size is not None and not isinstance(size, (list, tuple)):
        size = (size,)
    if dim is None:
        if size is not None and len(size) > ndim:
            raise ShapeError(f"{name}: `s` is {size}, more lengths than the {ndim} axes")
        dims = tuple(range(0 if size is None else ndim - len(size), ndim))
    else:
        dims = tuple(
            axis(name, d, ndim) for d in (dim if isinstance(dim, (list, tuple)) else (dim,))
        )
    if len(set(dims)) < len(dims):
        raise ArgumentError(f"{name}: `dim` is {dim}, expected different axes")
    if size is None:
        size = (None,) * len(dims)
    if len(size) != len(dims):
        raise ArgumentError(f"{name}: `s` is {size} and `dim` {dim}, which differ in length")
    return size, dims


def _transforms(
    name: str, kind: str, inverse: bool, summary: str
) -> tuple[Callable[..., Tensor], Callable[..., Tensor], Callable[..., Tensor]]:
    """The public functions of one axis, of two, and of any number of axes."""

    def one(
        input: TensorLike, n: int | None = None, dim: int = -1, norm: str | None = None
    ) -> Tensor:
        x = to_tensor(input)
        if not x._value.ndim:
            raise ShapeError(f"{name}: `input` is a number, expected an axis to transform")
        return _transform(name, kind, inverse, x, [n], (axis(name, dim, x._value.ndim),), norm)

    def two(
        input: TensorLike, s: Any = None, dim: Any = (-2, -1), norm: str | None = None
    ) -> Tensor:
        return several(input, s, dim, norm)

    def several(
        input: TensorLike, s: Any = None, dim: Any = None, norm: str | None = None
    ) -> Tensor:
        x = to_tensor(input)
        size, dims = _axes(name, s, dim, x._value.ndim)
        if kind != "full" and not dims:
            raise ShapeError(f"{name}: `dim` is empty, expected at least one axis")
        return _transform(name, kind, inverse, x, size, dims, norm)

    lengths = "to which the input is cut off or filled up with zeros"
    if kind == "half":
        lengths = "of the result; of the last axis 2 * (n - 1) by default"
    for function, suffix, which, size in (
        (one, "", "the axis `dim`", "n\n        The length, "),
        (two, "2", "the two axes `dim`", "s\n        Lengths, "),
        (
            several,
            "n",
            "the axes `dim`, by default all, or the last ones for `s`",
            "s\n        Lengths, ",
        ),
    ):
        function.__name__ = function.__qualname__ = name + suffix
        function.__doc__ = f"""{summary.format(which.replace("`", "``"))}

    Parameters
    ----------
    {size}{lengths}.
    norm
        By what the transform is divided: "backward" (the default) an inverse one by the number of
        values, "forward" the other, "ortho" both by its root.
    """
    return one, two, several


fft, fft2, fftn = _transforms("fft", "full", False, "The Fourier transform along {}.")
ifft, ifft2, ifftn = _transforms("ifft", "full", True, "The inverse Fourier transform along {}.")
rfft, rfft2, rfftn = _transforms(
    "rfft",
    "real",
    False,
    "The Fourier transform of real numbers along {}: of the last the half that is not redundant.",
)
irfft, irfft2, irfftn = _transforms(
    "irfft", "half", True, "The inverse of `rfft`, to real numbers, along {}."
)
hfft, hfft2, hfftn = _transforms(
    "hfft", "half", False, "The real transform along {} of half of a signal that is Hermitian."
)
ihfft, ihfft2, ihfftn = _transforms("ihfft", "real", True, "The inverse of `hfft` along {}.")


def fftfreq(
    n: int,
    d: float = 1.0,
    *,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
) -> Tensor:
    """The frequencies that the values of `fft` belong to, for n samples at a distance of ``d``.

    >>> import tinygrad_cnn as tg
    >>> tg.fft.fftfreq(4)
    tensor([ 0.0000,  0.2500, -0.5000, -0.2500])
    """
    found = np.fft.fftfreq(_count("fftfreq", n), d).astype(dtype_of(dtype, "fftfreq"))
    return make("fftfreq", found, requires_grad, device)


def rfftfreq(
    n: int,
    d: float = 1.0,
    *,
    dtype: DTypeLike = None,
    requires_grad: bool = False,
    device: DeviceLike = None,
) -> Tensor:
    """The frequencies that the values of `rfft` belong to."""
    found = np.fft.rfftfreq(_count("rfftfreq", n), d).astype(dtype_of(dtype, "rfftfreq"))
    return make("rfftfreq", found, requires_grad, device)


def _shifted(name: str, input: TensorLike, dim: Any, up: bool) -> Tensor:
    x = to_tensor(input)
    _, dims = _axes(name, None, dim, x._value.ndim)
    halves = [x._value.shape[d] for d in dims]
    if not dims:
        return x.clone()
    return roll(x, [n // 2 if up else (n + 1) // 2 for n in halves], list(dims))


def fftshift(input: TensorLike, dim: Any = None) -> Tensor:
    """The values of a transform with frequency 0 moved to the middle."""
    return _shifted("fftshift", input, dim, True)


def ifftshift(input: TensorLike, dim: Any = None) -> Tensor:
    """The inverse of `fftshift`."""
    return _shifted("ifftshift", input, dim, False)
