"""``out=``: public functions write their result into memory that is there.

It is an argument in the public modules only, `tinygrad_cnn`, `tinygrad_cnn.linalg`,
`tinygrad_cnn.special` and `tinygrad_cnn.fft`. The package itself calls the functions in
`tinygrad_cnn.functions`, which do not take it and cost no more for it.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from tinygrad_cnn.autograd.modes import is_recording, no_grad
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.errors import DtypeError
from tinygrad_cnn.functions.dtypes import can_cast
from tinygrad_cnn.functions.inplace import assign
from tinygrad_cnn.functions.storages import resize_
from tinygrad_cnn.notices import warn
from tinygrad_cnn.types import AnyFunction, Args, Params

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
PACKAGE = __name__.rpartition(".")[0]

# Those with `out=` in PyTorch 2.13, of `torch` and then of `torch.special` alone. All of
# `torch.fft` but the shifts take it, and of `torch.linalg` all but `diagonal`, `matrix_exp` and
# `vander`.
NAMES = frozenset(
    """
    abs acos acosh add addbmm addcdiv addcmul addmm addmv addr alias_copy all amax amin
    aminmax angle any arange argmax argmin argsort as_strided_copy asin asinh atan atan2
    atanh baddbmm bernoulli bitwise_and bitwise_left_shift bitwise_not bitwise_or
    bitwise_right_shift bitwise_xor bmm bucketize cat ceil chain_matmul cholesky
    cholesky_inverse cholesky_solve clamp clamp_max clamp_min column_stack complex
    conj_physical copysign cos cosh cross cummax cummin cumprod cumsum deg2rad diag
    diagonal_copy diff digamma div dot dstack empty eq erf erfc erfinv exp exp2 expand_copy
    expm1 eye float_power floor floor_divide fmax fmin fmod frac frexp full gather gcd ge
    geqrf gt hardshrink heaviside histc histogram hstack hypot i0 igamma igammac index_add
    index_copy index_reduce index_select inner inverse isin isneginf isposinf kron kthvalue
    lcm ldexp le lerp lgamma linspace log log10 log1p log2 log_softmax logaddexp logaddexp2
    logcumsumexp logical_and logical_not logical_or logical_xor logit logspace logsumexp lt
    lu lu_solve lu_unpack masked_select matmul matrix_power max maximum mean median min minimum
    mm mode msort mul multinomial mv mvlgamma nan_to_num nanmean nanmedian nanquantile
    nansum narrow_copy native_batch_norm ne neg nextafter nonzero nonzero_static norm normal
    ones orgqr ormqr outer permute_copy polar polygamma pow prod qr quantile rad2deg rand
    randint randn randperm reciprocal remainder renorm round rsqrt scatter scatter_add
    scatter_reduce searchsorted select_copy sgn sigmoid sign signbit sin sinc sinh
    slice_scatter slogdet softmax sort split_copy split_with_sizes_copy sqrt square
    squeeze_copy stack std sub sum svd t_copy take take_along_dim tan tanh tensordot
    threshold topk transpose_copy triangular_solve tril triu trunc unbind_copy unfold_copy
    unsqueeze_copy var vdot view_copy vstack where xlogy zeros

    airy_ai bessel_j0 bessel_j1 bessel_y0 bessel_y1 chebyshev_polynomial_t
    chebyshev_polynomial_u chebyshev_polynomial_v chebyshev_polynomial_w entr erfcx
    hermite_polynomial_h hermite_polynomial_he i0e i1 i1e laguerre_polynomial_l
    legendre_polynomial_p log_ndtr modified_bessel_i0 modified_bessel_i1 modified_bessel_k0
    modified_bessel_k1 ndtr ndtri scaled_modified_bessel_k0 scaled_modified_bessel_k1
    shifted_chebyshev_polynomial_t shifted_chebyshev_polynomial_u
    shifted_chebyshev_polynomial_v shifted_chebyshev_polynomial_w spherical_bessel_j0
    xlog1py zeta
    """.split()
)


class TakingOut(Protocol[P, R_co]):
    """A function that takes ``out``, too."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    @overload
    def __call__(self, *args: Any, out: Any, **kwargs: Any) -> R_co: ...


class _Signature(inspect.Signature):
    """That of a function with ``out``. It is read when asked for, as that takes its time."""

    def __init__(self, function: AnyFunction) -> None:
        self._function = function

    @property
    def parameters(self) -> Any:
        found = list(inspect.signature(self._function).parameters.values())
        at = len(found) - (found[-1].kind is inspect.Parameter.VAR_KEYWORD)
        out = inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, default=None)
        return inspect.Signature([*found[:at], out, *found[at:]]).parameters

    @property
    def return_annotation(self) -> Any:
        return inspect.signature(self._function).return_annotation


def taking_out(
    function: Callable[P, R_co], module: str = f"{PACKAGE}.with_out"
) -> TakingOut[P, R_co]:
    """The function as ``module`` shows it: with ``out``, a tensor to write the result into.

    ``out`` is returned, of several results in a tuple of the kind that the function returns. A
    tensor of another shape gets that of the result, with a warning if it was not empty. One of
    another dtype gets the numbers in its own; where the function has an argument ``dtype``, that is
    what it is called with.

    Raises
    ------
    DtypeError
        ``out`` is no tensor, or no tuple of as many as there are results, or of a lower kind of
        number than the result.
    RuntimeError
        The result or ``out`` requires gradients while operations are recorded, or ``out`` is
        read-only memory.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> x, memory = tg.tensor([1.0, 2.0]), tg.empty(2)
    >>> tg.exp(x, out=memory) is memory
    True
    >>> tg.max(x, 0, out=(tg.empty(()), tg.empty((), dtype=tg.int64))).indices
    tensor(1)
    """

    @functools.wraps(function)
    def call(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        if out is None:
            return function(*args, **kwargs)
        return _written(function, args, kwargs, out)

    call.__module__ = module  # where it is found when it is pickled
    call.__signature__ = _Signature(function)  # type: ignore[attr-defined]  # functions may have one
    return call


def _written(function: AnyFunction, args: Args, kwargs: Params, out: Any) -> Any:
    """What ``function`` returns, in the memory of ``out``."""
    name = function.__name__
    grouped = isinstance(out, (tuple, list))
    outs = out if grouped else (out,)
    for x in outs:
        if not isinstance(x, Variable):
            kind = type(x).__name__
            raise DtypeError(f"{name}: `out` is of type {kind}, expected a tensor, or several")
        if is_recording() and x.current_node() is not None:
            raise _unrecorded(name, "`out` requires")
    if outs and len(args) <= _before_dtype(function) and kwargs.get("dtype") is None:
        kwargs["dtype"] = outs[0].dtype
    result = function(*args, **kwargs)
    several = isinstance(result, (tuple, list))
    results = result if several else (result,)
    if several is not grouped or len(outs) != len(results):
        expected = f"a tuple of {len(results)} tensors" if several else "a tensor"
        given = f"a {type(out).__name__} of {len(out)}" if grouped else "a tensor"
        raise DtypeError(f"{name}: `out` is {given}, expected {expected}")
    for x, y in zip(outs, results, strict=True):
        if y.current_node() is not None:
            raise _unrecorded(name, "an argument requires")
        if not can_cast(y.dtype, x.dtype):
            raise DtypeError(
                f"{name}: `out` is {x.dtype}, expected a dtype that the result, {y.dtype}, can be "
                f"cast to"
            )
        if x.numel():  # before any is changed, or resized, which would give it memory of its own
            x.check_writable(name, live=False)
    with no_grad():
        for x, y in zip(outs, results, strict=True):
            if x.shape != y.shape:
                if x.numel():
                    warn(
                        f"{name}: `out` had shape {x.shape}, and gets {y.shape}, the result's; "
                        f"give it that shape, or make it empty with resize_(0)"
                    )
                resize_(x, y.shape)
            assign(x, y, name)
    if not several:
        return out
    return result._make(outs) if hasattr(result, "_make") else type(result)(outs)


def _unrecorded(name: str, who: str) -> RuntimeError:
    return RuntimeError(
        f"{name}: {who} gradients, which are not recorded with `out`; call it under no_grad(), or "
        f"without `out`"
    )


@functools.cache
def _before_dtype(function: AnyFunction) -> float:
    """With how many arguments by position ``dtype`` is not yet given; -1 if there is none."""
    parameters = inspect.signature(function).parameters
    if "dtype" not in parameters or function.__name__ == "view_copy":  # there it is about bytes
        return -1
    by_keyword = parameters["dtype"].kind is inspect.Parameter.KEYWORD_ONLY
    return math.inf if by_keyword else list(parameters).index("dtype")
