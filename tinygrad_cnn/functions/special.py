"""Special functions, and elementwise ones of numbers as computers hold them.

`tinygrad_cnn.special` has them under the names of ``torch.special``, with others from elsewhere.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinygrad_cnn.autograd import promotion
from tinygrad_cnn.autograd.units import check, computed
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.functions.convert import (
    axis,
    broadcast_shape,
    numpy_names,
    operand,
    to_tensor,
    unary,
)
from tinygrad_cnn.functions.elementwise import (
    add,
    clamp,
    clone,
    div,
    log,
    mul,
    neg,
    pow,
    sub,
    to,
    where,
)
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.ordering import ValuesIndices
from tinygrad_cnn.functions.reduction import has_order
from tinygrad_cnn.functions.written import wrapped
from tinygrad_cnn.kernels.fp_errors import ignore_fp_errors
from tinygrad_cnn.kernels.tape import do, made
from tinygrad_cnn.ops import index as indexing
from tinygrad_cnn.ops import reduce as reductions
from tinygrad_cnn.ops import special as ops
from tinygrad_cnn.ops.conjugate import is_complex
from tinygrad_cnn.types import FLOATING, INEXACT, Array, DType, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

digamma = unary(ops.digamma, inplace=True)
erfc = unary(ops.erfc, inplace=True)
erfcx = unary(ops.erfcx, top=False, method=False)
erfinv = unary(ops.erfinv, inplace=True)
i0 = unary(ops.i0, inplace=True, numpy=np.i0)
i0e = unary(ops.i0e, top=False, method=False)
i1 = unary(ops.i1, top=False, method=False)
i1e = unary(ops.i1e, top=False, method=False)
lgamma = unary(ops.lgamma, inplace=True)
log_ndtr = unary(ops.log_ndtr, top=False, method=False)
ndtri = unary(ops.ndtri, top=False, method=False)


# ---- compositions --------------------------------------------------------------------------


@export(top=False, method=False)
def ndtr(input: TensorLike) -> Tensor:
    """The normal distribution function ``erfc(-x / √2) / 2``."""
    return mul(erfc(mul(input, -math.sqrt(0.5))), 0.5)


@export(top=False, method=False)
def entr(input: TensorLike) -> Tensor:
    """``-x log(x)``; 0 at 0 and minus infinity below."""
    x = to_tensor(input)
    out = neg(ops.xlogy(x, x))
    result: Tensor = where(computed(np.less, x, 0), -math.inf, out)
    return result


@export(inplace=True)
def logit(input: TensorLike, eps: float | None = None) -> Tensor:
    """``log(x / (1 - x))``, of x limited to [eps, 1 - eps] if ``eps`` is given.

    >>> import tinygrad_cnn as tg
    >>> tg.logit(tg.tensor([0.5, 0.75]))
    tensor([0.0000, 1.0986])
    """
    x = to_tensor(input)
    x = x if x._value.dtype.kind in "fc" else to(x, promotion.get_default_dtype())
    x = x if eps is None else clamp(x, eps, 1 - eps)
    return log(div(x, sub(1, x)))


@export(inplace=True)
def polygamma(n: Any, input: Any) -> Tensor:
    """Derivative number ``n`` of `digamma`. The arguments may be given in either order.

    >>> import tinygrad_cnn as tg
    >>> tg.polygamma(1, tg.tensor([1.0]))
    tensor([1.6449])
    """
    if isinstance(input, int):
        n, input = input, n
    if n < 0:
        raise ArgumentError(f"polygamma: `n` is {n}, which must not be negative")
    x = to_tensor(input)
    return ops.digamma(x) if n == 0 else ops.polygamma(x, n=n)


def _above_half(x: Array, p: int) -> None:
    if p < 1 or (x <= (p - 1) / 2).any():
        raise ArgumentError(
            f"mvlgamma: `p` is {p} and `input` has a value of {np.min(x, initial=np.inf)}, "
            f"expected p of at least 1 and values above (p - 1) / 2"
        )


@export(inplace=True)
def mvlgamma(input: TensorLike, p: int) -> Tensor:
    """The logarithm of the multivariate gamma function of dimension ``p``."""
    x = to_tensor(input)
    check(_above_half, x, p)
    total = lgamma(x)
    for i in range(1, p):
        total = add(total, lgamma(sub(x, i / 2)))
    return add(total, p * (p - 1) / 4 * math.log(math.pi))


@export()
@numpy_names
def logcumsumexp(input: TensorLike, dim: int) -> Tensor:
    """Running `logsumexp` along ``dim``.

    >>> import tinygrad_cnn as tg
    >>> tg.logcumsumexp(tg.zeros(2), 0)
    tensor([0.0000, 0.6931])
    """
    x = to_tensor(input)
    d = axis("logcumsumexp", dim, x.ndim)
    return reductions.logcumsumexp(x, dim=d) if x.ndim else clone(x)


@export()
@numpy_names
def cummax(input: TensorLike, dim: int) -> ValuesIndices:
    """The largest value so far along ``dim``, and where it was last.

    >>> import tinygrad_cnn as tg
    >>> tg.cummax(tg.tensor([2, 1, 3]), 0).values
    tensor([2, 2, 3])
    """
    return _running("cummax", input, dim, np.maximum)


@export()
@numpy_names
def cummin(input: TensorLike, dim: int) -> ValuesIndices:
    """The smallest value so far along ``dim``, and where it was last."""
    return _running("cummin", input, dim, np.minimum)


def _running(name: str, input: TensorLike, dim: int, choose: np.ufunc) -> ValuesIndices:
    x = to_tensor(input)
    has_order(name, x)
    d = axis(name, dim, x.ndim)
    if not x.ndim:
        return ValuesIndices(clone(x), wrap(made(np.zeros((), np.int64))))
    index = computed(_last_best, x, d, choose)
    return ValuesIndices(indexing.gather(x, index, dim=d), index)


def _last_best(values: Array, d: int, choose: np.ufunc) -> Array:
    """Where, up to each place, the best value is: the last one."""
    best = choose.accumulate(values, axis=d)
    shape = [1] * values.ndim
    shape[d] = -1
    here = np.arange(values.shape[d]).reshape(shape)
    hit = (values == best) | np.isnan(values)
    found: Array = np.maximum.accumulate(np.where(hit, here, 0), axis=d)
    return found


# ---- of two arguments ----------------------------------------------------------------------


def _two(
    name: str, input: TensorLike, other: TensorLike, in_floats: bool = True
) -> tuple[Any, ...]:
    a, b = operand(input), operand(other)
    if isinstance(a, (bool, int, float)) and isinstance(b, (bool, int, float)):
        raise DtypeError(f"{name}: `input` and `other` are numbers, expected a tensor")
    values = [getattr(v, "_value", v) for v in (a, b)]
    broadcast_shape(name, *values)
    dtype = promotion.common_dtype(values)  # of a number alone NumPy would make float64
    if in_floats and dtype.kind not in INEXACT:
        dtype = promotion.get_default_dtype()
    return wrapped(a, dtype), wrapped(b, dtype)


@export(inplace=True, numpy=np.copysign)
def copysign(input: TensorLike, other: TensorLike) -> Tensor:
    """``|input|`` with the sign of ``other``; the derivative at 0 is 0.

    >>> import tinygrad_cnn as tg
    >>> tg.copysign(tg.tensor([1.0, -2.0]), -0.0)
    tensor([-1., -2.])
    """
    return ops.copysign(*_two("copysign", input, other))


@export(numpy=np.logaddexp2)
def logaddexp2(input: TensorLike, other: TensorLike) -> Tensor:
    """``log2(2**input + 2**other)``, without overflow."""
    return ops.logaddexp2(*_two("logaddexp2", input, other))


@export(inplace=True)
def xlogy(input: TensorLike, other: TensorLike) -> Tensor:
    """``input * log(other)``, 0 where ``input`` is 0."""
    return ops.xlogy(*_two("xlogy", input, other))


@export(top=False, method=False)
def xlog1py(input: TensorLike, other: TensorLike) -> Tensor:
    """``input * log(1 + other)``, 0 where ``input`` is 0."""
    return ops.xlog1py(*_two("xlog1py", input, other))


@export(inplace=True)
def igamma(input: TensorLike, other: TensorLike) -> Tensor:
    """The regularised lower incomplete gamma function; its derivative is ``other``'s only."""
    return ops.igamma(*_two("igamma", input, other))


@export(inplace=True)
def igammac(input: TensorLike, other: TensorLike) -> Tensor:
    """The regularised upper incomplete gamma function; its derivative is ``other``'s only."""
    return ops.igammac(*_two("igammac", input, other))


@export(inplace=True)
def float_power(input: TensorLike, exponent: TensorLike) -> Tensor:
    """``input ** exponent`` in float64, of complex numbers in complex128."""
    base, exponent = operand(input), operand(exponent)
    wide = np.complex128 if is_complex(base) or is_complex(exponent) else np.float64
    if not isinstance(exponent, (bool, int, float, complex)):
        exponent = to(exponent, wide)
    return pow(to(base, wide), exponent)


@export(inplace=True)
def ldexp(input: TensorLike, other: TensorLike) -> Tensor:
    """``input * 2**other``, in the floating dtype of the two."""
    given = _two("ldexp", input, other)
    dtype = promotion.common_dtype([getattr(v, "_value", v) for v in given])
    dtype = dtype if dtype.kind in "fc" else promotion.get_default_dtype()
    return mul(to(given[0], dtype), pow(2.0, to(given[1], dtype)))


class Frexp(NamedTuple):
    """What `frexp` returns."""

    mantissa: Tensor
    exponent: Tensor


@export()
def frexp(input: TensorLike) -> Frexp:
    """Mantissas of 0.5 up to 1, and exponents: ``input = mantissa * 2**exponent``.

    >>> import tinygrad_cnn as tg
    >>> tg.frexp(tg.tensor(10.0))
    Frexp(mantissa=tensor(0.6250), exponent=tensor(4, dtype=int32))
    """
    x = to_tensor(input)
    if x.dtype.kind not in FLOATING:
        raise DtypeError(f"frexp: `input` is {x.dtype}, expected a floating dtype")
    exponent, first, second = map(wrap, do(_exponents, x._given))
    return Frexp(mul(mul(x, first), second), exponent)


def _exponents(x: Array) -> tuple[Array, Array, Array]:
    """The exponents of numbers, and two factors, as 2**-1074 has no inverse, that undo them."""
    exponent = np.frexp(x)[1]
    half = exponent // 2
    one = x.dtype.type(1)
    factors = [np.asarray(np.ldexp(one, e), x.dtype) for e in (-half, half - exponent)]
    return np.asarray(exponent, np.int32), factors[0], factors[1]


# ---- without a derivative ------------------------------------------------------------------


def _constant(
    name: str,
    compute: Callable[..., Array],
    kinds: str | None,
    input: TensorLike,
    other: TensorLike,
) -> Tensor:
    """An elementwise function of two tensors whose result has no derivative.

    Its dtype is of one of ``kinds`` or, without them, made floating.
    """
    given = _two(name, input, other, kinds is None)
    dtype = promotion.common_dtype([getattr(v, "_value", v) for v in given])
    if kinds is None:
        dtype = dtype if dtype.kind in FLOATING else promotion.get_default_dtype()
    elif dtype.kind not in kinds:
        expected = "integers" if "f" not in kinds else "floating dtypes or integers"
        raise DtypeError(f"{name}: the operands are {dtype}, expected {expected}")
    return computed(_in_dtype, *given, compute, dtype)


@ignore_fp_errors
def _in_dtype(a: Any, b: Any, compute: Callable[..., Any], dtype: DType) -> Array:
    return np.asarray(compute(np.asarray(a, dtype), np.asarray(b, dtype)), dtype)


@export(inplace=True, numpy=np.gcd)
def gcd(input: TensorLike, other: TensorLike) -> Tensor:
    """The greatest common divisor of integers."""
    return _constant("gcd", np.gcd, "iu", input, other)


@export(inplace=True, numpy=np.lcm)
def lcm(input: TensorLike, other: TensorLike) -> Tensor:
    """The least common multiple of integers."""
    return _constant("lcm", np.lcm, "iu", input, other)


@export(inplace=True, numpy=np.left_shift)
def bitwise_left_shift(input: TensorLike, other: TensorLike) -> Tensor:
    """``input * 2**other`` of integers; 0 where the dtype has fewer bits."""
    return _constant("bitwise_left_shift", _shifted(np.left_shift), "iu", input, other)


@export(inplace=True, numpy=np.right_shift)
def bitwise_right_shift(input: TensorLike, other: TensorLike) -> Tensor:
    """``floor(input / 2**other)`` of integers."""
    return _constant("bitwise_right_shift", _shifted(np.right_shift), "iu", input, other)


def _shifted(shift: np.ufunc) -> Callable[..., Array]:
    def call(a: Array, b: Array) -> Array:
        bits = 8 * a.dtype.itemsize
        far = (b < 0) | (b >= bits)
        beyond = np.zeros_like(a) if shift is np.left_shift else np.where(a < 0, -1, 0)
        return np.where(far, beyond, shift(a, np.where(far, 0, b)))

    return call


@export(inplace=True, numpy=np.nextafter)
def nextafter(input: TensorLike, other: TensorLike) -> Tensor:
    """The next floating number after ``input`` towards ``other``; its derivative is 1 or 0."""
    a, b = to_tensor(input), to_tensor(other)
    out = _constant("nextafter", np.nextafter, "fV", a.detach(), b.detach())
    zero = where(computed(_moves, a, b), neg(sub(a.detach(), a)), -0.0)  # adding it keeps signs
    return add(out, to(zero, out.dtype))


def _moves(a: Array, b: Array) -> Array:
    moves: Array = (a != b) & np.isfinite(a)
    return moves


@export(inplace=True)
def heaviside(input: TensorLike, values: TensorLike) -> Tensor:
    """0 below 0, 1 above, and ``values`` at 0."""
    x, v = to_tensor(input), to_tensor(values)
    if x.dtype != v.dtype:
        raise DtypeError(f"heaviside: `input` is {x.dtype} but `values` {v.dtype}")
    return _constant(
        "heaviside", lambda a, b: np.where(a == 0, b, a > 0), "biufV", x.detach(), v.detach()
    )


@export()
def signbit(input: TensorLike) -> Tensor:
    """Whether the sign is minus, that of -0.0 too."""
    x = to_tensor(input)
    return computed(np.signbit, x) if x.dtype.kind in FLOATING else computed(np.less, x, 0)


@export()
def isposinf(input: TensorLike) -> Tensor:
    """Whether values are plus infinity."""
    return computed(np.equal, to_tensor(input), np.inf)


@export()
def isneginf(input: TensorLike) -> Tensor:
    """Whether values are minus infinity."""
    return computed(np.equal, to_tensor(input), -np.inf)


@export()
def positive(input: TensorLike) -> Tensor:
    """``+input``."""
    x = to_tensor(input)
    if x.dtype.kind == "b":
        raise DtypeError("positive: `input` is bool, expected numbers")
    return x


@export(inplace=True, numpy=np.deg2rad)
def deg2rad(input: TensorLike) -> Tensor:
    """From degrees to radians."""
    return mul(input, math.pi / 180)


@export(inplace=True, numpy=np.rad2deg)
def rad2deg(input: TensorLike) -> Tensor:
    """From radians to degrees."""
    return mul(input, 180 / math.pi)


def _floats(input: TensorLike) -> Array:
    """The values, of the default dtype unless they are floating."""
    x = to_tensor(input)
    return (x if x.dtype.kind in FLOATING else x.to(promotion.get_default_dtype()))._given


def _of_scipy(name: str, theirs: str, says: str) -> Callable[..., Tensor]:
    """A function of one tensor, in SciPy's words, that has no derivative here or in PyTorch."""

    def call(input: TensorLike) -> Tensor:
        return wrap(ops.scipy_special(theirs, _floats(input)))

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"{says}; without a derivative, as in PyTorch."
    return export(top=False, method=False)(call)


bessel_j0 = _of_scipy("bessel_j0", "j0", says="Bessel function of the first kind and order 0")
bessel_j1 = _of_scipy("bessel_j1", "j1", says="Bessel function of the first kind and order 1")
bessel_y0 = _of_scipy("bessel_y0", "y0", says="Bessel function of the second kind and order 0")
bessel_y1 = _of_scipy("bessel_y1", "y1", says="Bessel function of the second kind and order 1")
modified_bessel_i0 = _of_scipy("modified_bessel_i0", "i0", says="Modified Bessel function I₀")
modified_bessel_i1 = _of_scipy("modified_bessel_i1", "i1", says="Modified Bessel function I₁")
modified_bessel_k0 = _of_scipy("modified_bessel_k0", "k0", says="Modified Bessel function K₀")
modified_bessel_k1 = _of_scipy("modified_bessel_k1", "k1", says="Modified Bessel function K₁")
scaled_modified_bessel_k0 = _of_scipy(
    "scaled_modified_bessel_k0", "k0e", says="``exp(x)`` times the modified Bessel function K₀"
)
scaled_modified_bessel_k1 = _of_scipy(
    "scaled_modified_bessel_k1", "k1e", says="``exp(x)`` times the modified Bessel function K₁"
)


@export(top=False, method=False)
def spherical_bessel_j0(input: TensorLike) -> Tensor:
    """``sin(x) / x``, 1 at 0; without a derivative, as in PyTorch."""
    values = _floats(input)
    return wrap(do(_sinc, values))


def _sinc(values: Array) -> Array:
    return np.where(np.isinf(values), 0, np.sinc(values / np.pi)).astype(values.dtype)


@export(top=False, method=False)
def airy_ai(input: TensorLike) -> Tensor:
    """The Airy function Ai; without a derivative, as in PyTorch."""
    from scipy import special

    return wrap(do(_airy, special.airy, _floats(input)))


def _airy(airy: Callable[..., Any], values: Array) -> Array:
    return np.asarray(airy(values)[0], values.dtype)


@export(top=False, method=False)
def zeta(input: TensorLike, other: TensorLike) -> Tensor:
    """Hurwitz' zeta function of ``input`` and ``other``; without a derivative."""
    return _constant("zeta", functools.partial(ops.scipy_special, "zeta"), None, input, other)


def _polynomial(
    name: str, says: str, first: Callable[[Array], Array], step: Callable[..., Array],
    shifted: bool = False,
) -> Callable[..., Tensor]:  # fmt: skip
    """A family of polynomials: 1, ``first(x)``, and ``step(k, x, p_k, p_{k-1})`` of degree k + 1.

    Degrees below 0 give 0, and what is not whole is cut off, as in PyTorch.
    """

    def compute(x: Array, n: Array) -> Array:
        degree = np.trunc(n).astype(np.int64)
        x, degree = np.broadcast_arrays(x, degree)
        if shifted:
            x = 2 * x - 1
        before, now = np.ones_like(x), first(x)
        out = np.where(degree < 0, 0, np.where(degree == 0, before, now))
        for k in range(1, int(degree.max(initial=0))):
            before, now = now, step(k, x, now, before)
            out = np.where(degree == k + 1, now, out)
        return out

    def call(input: TensorLike, n: TensorLike) -> Tensor:
        return _constant(name, compute, None, input, n)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"{says} of degree ``n``; without a derivative, as in PyTorch."
    return export(top=False, method=False)(call)


def _chebyshev(k: int, x: Array, now: Array, before: Array) -> Array:
    return 2 * x * now - before


def _of_chebyshev(
    letter: str, first: Callable[[Array], Array], shifted: bool
) -> Callable[..., Tensor]:
    name = f"{'shifted_' if shifted else ''}chebyshev_polynomial_{letter}"
    says = f"{'Shifted ' if shifted else ''}Chebyshev polynomial {letter.upper()}"
    return _polynomial(name, says, first, _chebyshev, shifted)


_FIRST: dict[str, Callable[[Array], Array]] = {
    "t": lambda x: x,
    "u": lambda x: 2 * x,
    "v": lambda x: 2 * x - 1,
    "w": lambda x: 2 * x + 1,
}
chebyshev_polynomial_t = _of_chebyshev("t", _FIRST["t"], shifted=False)
chebyshev_polynomial_u = _of_chebyshev("u", _FIRST["u"], shifted=False)
chebyshev_polynomial_v = _of_chebyshev("v", _FIRST["v"], shifted=False)
chebyshev_polynomial_w = _of_chebyshev("w", _FIRST["w"], shifted=False)
shifted_chebyshev_polynomial_t = _of_chebyshev("t", _FIRST["t"], shifted=True)
shifted_chebyshev_polynomial_u = _of_chebyshev("u", _FIRST["u"], shifted=True)
shifted_chebyshev_polynomial_v = _of_chebyshev("v", _FIRST["v"], shifted=True)
shifted_chebyshev_polynomial_w = _of_chebyshev("w", _FIRST["w"], shifted=True)
hermite_polynomial_h = _polynomial(
    "hermite_polynomial_h",
    "Physicist's Hermite polynomial",
    lambda x: 2 * x,
    lambda k, x, now, before: 2 * x * now - 2 * k * before,
)
hermite_polynomial_he = _polynomial(
    "hermite_polynomial_he",
    "Probabilist's Hermite polynomial",
    lambda x: x,
    lambda k, x, now, before: x * now - k * before,
)
laguerre_polynomial_l = _polynomial(
    "laguerre_polynomial_l",
    "Laguerre polynomial",
    lambda x: 1 - x,
    lambda k, x, now, before: ((2 * k + 1 - x) * now - k * before) / (k + 1),
)
legendre_polynomial_p = _polynomial(
    "legendre_polynomial_p",
    "Legendre polynomial",
    lambda x: x,
    lambda k, x, now, before: ((2 * k + 1) * x * now - k * before) / (k + 1),
)
