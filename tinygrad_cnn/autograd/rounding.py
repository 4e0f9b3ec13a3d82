"""Operations on bfloat16 tensors, which are computed in float32, and what autocast makes of others.

NumPy has no bfloat16; the package ``ml_dtypes`` adds the dtype. An operation that computes gets the
numbers in float32 and its result is rounded once, as PyTorch's kernels do on a CPU. Its rules get
float32 too, and the walk rounds the gradients. What is kept for the rules is kept in bfloat16.

None of this is asked for until `use` is called: by `bfloat16`, and where autocast begins.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from itertools import repeat
from typing import Any, TypeAlias, TypeVar

import numpy as np

from tinygrad_cnn.autograd import promotion
from tinygrad_cnn.autograd.modes import is_recording
from tinygrad_cnn.autograd.node import Leaf, Saved
from tinygrad_cnn.autograd.op import Op, Rule, lowering
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.kernels.fp_errors import within
from tinygrad_cnn.kernels.lazy import realize
from tinygrad_cnn.types import AnyFunction, Args, DType, Params

F = TypeVar("F", bound=Callable[..., Any])
_FLOAT32 = np.dtype(np.float32)
_AS_THEY_ARE = frozenset(["cast", "overwrite", "put", "replay"])  # and views: they compute nothing


def use() -> None:
    """Have operations ask, from now on, whether they are to run in another dtype."""
    if not lowering:
        lowering.append(_lowered)


@functools.cache
def bfloat16() -> DType:
    """The dtype bfloat16: float32 with the first 8 of its 24 digits.

    Raises
    ------
    ModuleNotFoundError
        ``ml_dtypes``, which adds it to NumPy, is not installed.
    """
    try:
        import ml_dtypes
    except ImportError:
        raise ModuleNotFoundError(
            "bfloat16: NumPy lacks this dtype, and ml_dtypes, which adds it, is not installed: "
            "pip install ml_dtypes"
        ) from None
    use()
    dtype: DType = np.dtype(ml_dtypes.bfloat16)
    return dtype


def limits_of(dtype: DType) -> Any:
    """NumPy's ``finfo``, of bfloat16 too."""
    if dtype.kind != "V":
        return np.finfo(dtype)
    import ml_dtypes

    finfo: Any = ml_dtypes.finfo
    return finfo(dtype)


# ---- bfloat16 ------------------------------------------------------------------------------


class Rounded(Op):
    """An operation on bfloat16 tensors: it and its rules get float32, and its result is rounded."""

    def __init__(self, op: Op) -> None:
        self.__dict__.update(op.__dict__)
        self.forward = functools.partial(_rounding, op.forward)
        self.promotes, self.lazy, self.may_wait = "", frozenset(), repeat(False)
        self.forget()
        self.array_vjp_values = tuple((n, False, users) for n, _, users in op.array_vjp_values)
        self.rules = tuple(None if r is None else _widened(r) for r in op.rules)
        self.fused = None if op.fused is None else _widened(op.fused)
        self.array_vjp = None if op.array_vjp is None else _widened(op.array_vjp)
        if op.reference is not None:
            self.reference = functools.partial(_on_wide, op.reference)


_rounded_op = functools.cache(Rounded)


def _widened(rule: Rule) -> Rule:
    """The rule, to which all that it asks for comes in float32."""
    new = Rule.__new__(Rule)
    new.function, new.names = functools.partial(_on_wide, rule.function), rule.names
    return new


def _on_wide(function: AnyFunction, *values: Any, **params: Any) -> Any:
    return function(*map(_wide, values), **params)


def _wide(value: Any) -> Any:
    """A bfloat16 tensor, array or dtype, or those in a list or tuple, as float32."""
    if type(value) in (list, tuple):
        return type(value)(map(_wide, value))
    if isinstance(value, np.dtype):
        return _FLOAT32 if value.kind == "V" else value
    if getattr(value, "dtype", _FLOAT32).kind != "V":
        return value
    return _to(value, _FLOAT32)


def _rounding(forward: AnyFunction, *arrays: Any, **params: Any) -> Any:
    """What ``forward`` returns in float32, rounded."""
    result = forward(*map(_wide, arrays), **params)
    if type(result) is Saved:
        return Saved(_rounded(result.out), **result.residuals)
    return _rounded(result)


def _rounded(result: Any) -> Any:
    return realize(result).astype(bfloat16()) if result.dtype == _FLOAT32 else result


def _lowered(op: Op, args: Args, params: Params) -> Any:
    """The result of an operation that is to run in another dtype; None for others."""
    if isinstance(op, Rounded):
        return None
    smaller = fast.get()
    if smaller is not None and op.name in _FAST:
        fewer = tuple(map(smaller, args))
        if any(a is not b for a, b in zip(args, fewer, strict=True)):
            return op(*fewer, **params)
    if op.view or op.name in _AS_THEY_ARE:
        return None
    arrays = [a._value if isinstance(a, Variable) else a for a in args]
    dtypes = [a.dtype for a in arrays if hasattr(a, "dtype")]
    if all(d.kind != "V" for d in dtypes):
        return None
    if op.promotes:
        common = promotion.common_dtype([a for a in arrays if a is not None])
        if common.kind != "V":
            return op(*op._promoted(args, arrays), **params)
        args = tuple(_beside(a, common) for a in args)
    elif next(d for d in dtypes if promotion.category(d) >= promotion.FLOAT).kind != "V":
        return op(*map(_wide, args), **params)
    return _rounded_op(op)(*args, **params)


def _beside(value: Any, dtype: DType) -> Any:
    """What stands beside bfloat16 tensors: rounded too, but for numbers and 0-d tensors."""
    own = getattr(value, "dtype", dtype)
    if own == dtype:
        return value
    wanted = dtype if value.ndim else _FLOAT32
    return _to(value, wanted)


def _to(value: Any, dtype: DType) -> Any:
    """A tensor or an array in another dtype."""
    return getattr(value, "to" if isinstance(value, Variable) else "astype")(dtype)


# ---- autocast ------------------------------------------------------------------------------

_FAST = frozenset(["conv2d", "conv2d_input", "einsum", "linear", "matmul"])
"""Operations that autocast runs in the smaller dtype."""


Cache: TypeAlias = dict[tuple[int, str], Args]
"""By its id and the dtype: a parameter, its version, and it in that dtype."""


class Fast:
    """What autocast converts to: a smaller dtype; with a cache, parameters only once."""

    def __init__(self, dtype: DType, cache: Cache | None) -> None:
        self.dtype, self.cache = dtype, cache

    def __call__(self, value: Any) -> Any:
        """``value`` in the smaller dtype if it is a tensor of another floating one, not float64."""
        if not changes(value, self.dtype):
            return value
        if self.cache is None or type(value.node) is not Leaf:
            return value.to(self.dtype)
        key = id(value), self.dtype.char
        kept = self.cache.get(key)
        usable = kept is not None and kept[1] == value.storage.version
        if kept is None or not usable or (kept[2].node is None and is_recording()):
            kept = self.cache[key] = value, value.storage.version, value.to(self.dtype)
        return kept[2]


fast: ContextVar[Fast | None] = ContextVar("tinygrad_cnn.autocast", default=None)
"""What autocast converts to; None outside of it."""


def changes(value: Any, dtype: DType = _FLOAT32) -> bool:
    """Whether autocast converts ``value`` to ``dtype``: a tensor of 16 or 32 bits, of another."""
    if not isinstance(value, Variable) or value._value.dtype == dtype:
        return False
    own = value._value.dtype
    return promotion.category(own) == promotion.FLOAT and own.itemsize < 8


def wide(value: Any) -> Any:
    """``value`` as a function gets it that autocast runs in float32."""
    return value.to(_FLOAT32) if fast.get() is not None and changes(value) else value


# ---- public functions ----------------------------------------------------------------------

_IN_FAST = frozenset(
    """
    addbmm addmm baddbmm conv_transpose1d conv_transpose2d conv_transpose3d prelu
    scaled_dot_product_attention vecdot
    """.split()
)
_IN_FLOAT32 = frozenset(
    """
    adaptive_avg_pool3d adaptive_max_pool3d avg_pool3d binary_cross_entropy
    binary_cross_entropy_with_logits cdist cholesky cholesky_inverse cholesky_solve
    cosine_embedding_loss cross_entropy ctc_loss fractional_max_pool2d fractional_max_pool3d
    grid_sample hinge_embedding_loss huber_loss inverse kl_div l1_loss linear_cross_entropy lstsq lu
    lu_solve margin_ranking_loss max_pool3d max_unpool1d max_unpool2d max_unpool3d mse_loss
    multi_margin_loss multilabel_margin_loss nanquantile nll_loss orgqr pinverse poisson_nll_loss
    polar prod qr quantile smooth_l1_loss soft_margin_loss svd trace triangular_solve
    triplet_margin_loss view_as_complex
    """.split()
)
_AS_ELSEWHERE = frozenset(["addmv", "bilinear", "dot", "mv", "vdot"])
"""Functions that autocast leaves alone though there is a matrix product in them here."""

_IN_ONE_GO = frozenset(
    """
    adaptive_avg_pool3d addbmm addcdiv addcmul addmm addmv addr baddbmm bilinear
    binary_cross_entropy conv_transpose1d conv_transpose2d conv_transpose3d grid_sample group_norm
    hardswish hypot index_reduce interpolate lerp matrix_exp matrix_norm mish ndtr renorm rms_norm
    upsample upsample_bilinear
    """.split()
)
"""Functions of several operations here that round once, as they are one of PyTorch's."""


def in_its_dtype(function: F) -> F:
    """A public function that converts its tensors before it starts, if there is cause to."""
    name = function.__name__
    lists = _IN_FAST, _IN_FLOAT32, _AS_ELSEWHERE, _IN_ONE_GO
    if not any(name in names for names in lists):
        return function

    @functools.wraps(function)
    def call(*args: Any, **params: Any) -> Any:
        if lowering:
            return _converted(function, name, args, params)
        return function(*args, **params)

    return call  # type: ignore[return-value]  # the same signature


def _converted(function: AnyFunction, name: str, args: Args, params: Params) -> Any:
    smaller = fast.get()
    if smaller is not None and name not in _IN_ONE_GO - _IN_FAST - _IN_FLOAT32:
        if name not in _AS_ELSEWHERE:
            args, params = converted(smaller if name in _IN_FAST else wide, args, params)
        return within(fast, None, _converted, (function, name, args, params), {})
    if name in _IN_ONE_GO and args and getattr(args[0], "dtype", _FLOAT32).kind == "V":
        given = args[0]
        args, params = converted(_wide, args, params)
        result = function(*args, **params)
        if params.get("inplace") or (len(args) > 1 and args[1] is True):
            return given.copy_(result)  # what was written to is what `given` was converted to
        return result.to(bfloat16()) if result.dtype == _FLOAT32 else result
    return function(*args, **params)


def converted(convert: AnyFunction, args: Args, params: Params) -> tuple[Args, Params]:
    """The arguments, of which each tensor, or each in a list or tuple, was converted."""

    def one(value: Any) -> Any:
        if type(value) in (list, tuple):
            return type(value)(map(one, value))
        return convert(value)

    return tuple(map(one, args)), {name: one(value) for name, value in params.items()}
