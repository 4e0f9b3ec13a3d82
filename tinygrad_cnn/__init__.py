"""tinygrad_cnn: define-by-run autograd over NumPy, with PyTorch's names and semantics."""

import sys as _sys
import typing as _typing
from importlib import import_module as _import_module

import numpy as _np

from tinygrad_cnn import (
    accelerator,
    autograd,
    backends,
    cuda,
    distributed,
    fft,
    func,
    jit,
    linalg,
    masked,
    random,
    signal,
    special,
)
from tinygrad_cnn.autograd import (
    enable_grad,
    inference_mode,
    is_anomaly_check_nan_enabled,
    is_anomaly_enabled,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from tinygrad_cnn.autograd.devices import device
from tinygrad_cnn.autograd.layout import memory_format
from tinygrad_cnn.autograd.promotion import get_default_dtype, set_default_dtype
from tinygrad_cnn.autograd.rounding import bfloat16 as _bfloat16
from tinygrad_cnn.func.mapping import vmap
from tinygrad_cnn.functions.printing import set_printoptions
from tinygrad_cnn.kernels import (
    get_num_threads,
    max_memory_allocated,
    memory_allocated,
    memory_stats,
    reset_peak_memory_stats,
    set_conv_algorithm,
    set_kernels,
    set_num_threads,
)
from tinygrad_cnn.legacy import (
    VARIABLE as _VARIABLE,
)
from tinygrad_cnn.legacy import (
    BoolTensor,
    ByteTensor,
    CharTensor,
    DoubleTensor,
    FloatTensor,
    HalfTensor,
    IntTensor,
    LongTensor,
    ShortTensor,
)
from tinygrad_cnn.ops.random import (
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from tinygrad_cnn.settings import (
    are_deterministic_algorithms_enabled,
    get_default_device,
    get_float32_matmul_precision,
    is_deterministic_algorithms_warn_only_enabled,
    set_default_device,
    set_float32_matmul_precision,
    use_deterministic_algorithms,
)
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Size
from tinygrad_cnn.version import __version__

# -- written by docs/make_exports.py --
# fmt: off
# isort: off
from tinygrad_cnn.functions import (
    adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d, adaptive_max_pool1d,
    adaptive_max_pool2d, adaptive_max_pool3d, adjoint, allclose, alpha_dropout, argwhere,
    as_strided, as_strided_scatter, as_tensor, asarray, atleast_1d, atleast_2d, atleast_3d,
    avg_pool1d, avg_pool2d, avg_pool3d, bartlett_window, batch_norm, bilinear,
    binary_cross_entropy_with_logits, bincount, blackman_window, block_diag, broadcast_shapes,
    broadcast_tensors, broadcast_to, can_cast, cartesian_prod, cdist, celu, celu_, channel_shuffle,
    chunk, clone, combinations, conj, constant_pad_nd, conv1d, conv2d, conv3d, conv_transpose1d,
    conv_transpose2d, conv_transpose3d, corrcoef, cosine_embedding_loss, cosine_similarity,
    count_nonzero, cov, cross_entropy, ctc_loss, cumulative_trapezoid, det, diag_embed, diagflat,
    diagonal, diagonal_scatter, dist, dropout, dropout1d, dropout2d, dropout3d, dsplit, einsum, elu,
    elu_, empty_like, empty_permuted, empty_strided, equal, expand, expand_as,
    feature_alpha_dropout, fill, finfo, flatten, flip, fliplr, flipud, fractional_max_pool2d,
    fractional_max_pool3d, from_dlpack, from_numpy, frombuffer, full_like, gelu, gradient,
    grid_sampler_2d, grid_sampler_3d, group_norm, hamming_window, hann_window, hardtanh_,
    hinge_embedding_loss, hsplit, imag, index_fill, index_put, instance_norm, is_complex, is_conj,
    is_floating_point, is_neg, is_tensor, isclose, isfinite, isinf, isnan, isreal, istft,
    kaiser_window, l1_loss, layer_norm, leaky_relu, leaky_relu_, linear, logdet, lp_pool1d,
    lp_pool2d, lp_pool3d, margin_ranking_loss, masked_fill, masked_scatter, matrix_exp, max_pool1d,
    max_pool2d, max_pool3d, max_unpool1d, max_unpool2d, max_unpool3d, meshgrid, moveaxis, movedim,
    mse_loss, narrow, native_group_norm, native_layer_norm, nll_loss, numel, one_hot, ones_like,
    pad, pairwise_distance, pca_lowrank, pdist, permute, pinverse, pixel_shuffle, pixel_unshuffle,
    positive, prelu, promote_types, put, rand_like, randint_like, randn_like, ravel, real, relu,
    relu_, repeat, repeat_interleave, reshape, reshape_as, resize_as_, resolve_conj, resolve_neg,
    result_type, rms_norm, roll, rot90, rrelu, rrelu_, rsub, scalar_tensor, select, select_scatter,
    selu, selu_, silu, softplus, split, split_with_sizes, squeeze, std_mean, stft, sum_to_size,
    svd_lowrank, swapaxes, swapdims, t, tensor, tensor_split, threshold_, tile, trace, transpose,
    trapezoid, trapz, tril_indices, triplet_margin_loss, triu_indices, unbind, unflatten, unique,
    unique_consecutive, unravel_index, unsafe_chunk, unsafe_split, unsafe_split_with_sizes,
    unsqueeze, vander, var_mean, view_as_complex, view_as_real, vsplit, zeros_like,
)
from tinygrad_cnn.functions.with_out import (
    abs, absolute, acos, acosh, add, addbmm, addcdiv, addcmul, addmm, addmv, addr, alias_copy, all,
    amax, amin, aminmax, angle, any, arange, arccos, arccosh, arcsin, arcsinh, arctan, arctan2,
    arctanh, argmax, argmin, argsort, as_strided_copy, asin, asinh, atan, atan2, atanh, baddbmm,
    bernoulli, bitwise_and, bitwise_left_shift, bitwise_not, bitwise_or, bitwise_right_shift,
    bitwise_xor, bmm, bucketize, cat, ceil, chain_matmul, cholesky, cholesky_inverse,
    cholesky_solve, clamp, clamp_max, clamp_min, clip, column_stack, complex, concat, concatenate,
    conj_physical, copysign, cos, cosh, cross, cummax, cummin, cumprod, cumsum, deg2rad, diag,
    diagonal_copy, diff, digamma, div, divide, dot, dstack, empty, eq, erf, erfc, erfinv, exp, exp2,
    expand_copy, expm1, eye, fix, float_power, floor, floor_divide, fmax, fmin, fmod, frac, frexp,
    full, gather, gcd, ge, geqrf, ger, greater, greater_equal, gt, hardshrink, heaviside, histc,
    histogram, hstack, hypot, i0, igamma, igammac, index_add, index_copy, index_reduce,
    index_select, inner, inverse, isin, isneginf, isposinf, kron, kthvalue, lcm, ldexp, le, lerp,
    less, less_equal, lgamma, linspace, log, log10, log1p, log2, log_softmax, logaddexp, logaddexp2,
    logcumsumexp, logical_and, logical_not, logical_or, logical_xor, logit, logspace, logsumexp, lt,
    lu, lu_solve, lu_unpack, masked_select, matmul, matrix_power, max, maximum, mean, median, min,
    minimum, mm, mode, msort, mul, multinomial, multiply, mv, mvlgamma, nan_to_num, nanmean,
    nanmedian, nanquantile, nansum, narrow_copy, native_batch_norm, ne, neg, negative, nextafter,
    nonzero, nonzero_static, norm, normal, not_equal, ones, orgqr, ormqr, outer, permute_copy,
    polar, polygamma, pow, prod, qr, quantile, rad2deg, rand, randint, randn, randperm, reciprocal,
    remainder, renorm, round, row_stack, rsqrt, scatter, scatter_add, scatter_reduce, searchsorted,
    select_copy, sgn, sigmoid, sign, signbit, sin, sinc, sinh, slice_scatter, slogdet, softmax,
    sort, split_copy, split_with_sizes_copy, sqrt, square, squeeze_copy, stack, std, sub, subtract,
    sum, svd, t_copy, take, take_along_dim, tan, tanh, tensordot, threshold, topk, transpose_copy,
    triangular_solve, tril, triu, true_divide, trunc, unbind_copy, unfold_copy, unsqueeze_copy, var,
    vdot, view_copy, vstack, where, xlogy, zeros,
)

__all__ = [
    "BoolTensor", "ByteTensor", "CharTensor", "DoubleTensor", "FloatTensor", "Generator",
    "GradScaler", "HalfTensor", "IntTensor", "LongTensor", "ShortTensor", "Size", "Tensor",
    "__version__", "abs", "absolute", "accelerator", "acos", "acosh", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "add", "addbmm", "addcdiv", "addcmul", "addmm", "addmv", "addr",
    "adjoint", "alias_copy", "all", "allclose", "alpha_dropout", "amax", "amin", "aminmax", "amp",
    "angle", "any", "arange", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2",
    "arctanh", "are_deterministic_algorithms_enabled", "argmax", "argmin", "argsort", "argwhere",
    "array_api", "as_strided", "as_strided_copy", "as_strided_scatter", "as_tensor", "asarray",
    "asin", "asinh", "atan", "atan2", "atanh", "atleast_1d", "atleast_2d", "atleast_3d", "autocast",
    "autograd", "avg_pool1d", "avg_pool2d", "avg_pool3d", "backends", "baddbmm", "bartlett_window",
    "batch_norm", "bernoulli", "bilinear", "binary_cross_entropy_with_logits", "bincount",
    "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift",
    "bitwise_xor", "blackman_window", "block_diag", "bmm", "bool", "broadcast_shapes",
    "broadcast_tensors", "broadcast_to", "bucketize", "can_cast", "cartesian_prod", "cat", "cdist",
    "cdouble", "ceil", "celu", "celu_", "cfloat", "chain_matmul", "channel_shuffle",
    "channels_last", "channels_last_3d", "cholesky", "cholesky_inverse", "cholesky_solve", "chunk",
    "clamp", "clamp_max", "clamp_min", "clear_autocast_cache", "clip", "clone", "column_stack",
    "combinations", "compile", "complex", "complex64", "complex128", "concat", "concatenate",
    "conj", "conj_physical", "constant_pad_nd", "contiguous_format", "conv1d", "conv2d", "conv3d",
    "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "copysign", "corrcoef", "cos",
    "cosh", "cosine_embedding_loss", "cosine_similarity", "count_nonzero", "cov", "cpu", "cross",
    "cross_entropy", "ctc_loss", "cuda", "cummax", "cummin", "cumprod", "cumsum",
    "cumulative_trapezoid", "data", "default_generator", "deg2rad", "det", "device", "diag",
    "diag_embed", "diagflat", "diagonal", "diagonal_copy", "diagonal_scatter", "diff", "digamma",
    "dist", "distributed", "distributions", "div", "divide", "dot", "double", "dropout",
    "dropout1d", "dropout2d", "dropout3d", "dsplit", "dstack", "e", "einsum", "elu", "elu_",
    "empty", "empty_like", "empty_permuted", "empty_strided", "enable_grad", "eq", "equal", "erf",
    "erfc", "erfinv", "exp", "exp2", "expand", "expand_as", "expand_copy", "expm1", "eye",
    "feature_alpha_dropout", "fft", "fill", "finfo", "fix", "flatten", "flip", "fliplr", "flipud",
    "float", "float16", "float32", "float64", "float_power", "floor", "floor_divide", "fmax",
    "fmin", "fmod", "frac", "fractional_max_pool2d", "fractional_max_pool3d", "frexp",
    "from_dlpack", "from_numpy", "frombuffer", "full", "full_like", "func", "gather", "gcd", "ge",
    "gelu", "geqrf", "ger", "get_autocast_cpu_dtype", "get_autocast_dtype", "get_default_device",
    "get_default_dtype", "get_float32_matmul_precision", "get_num_threads", "get_rng_state",
    "gradient", "greater", "greater_equal", "grid_sampler_2d", "grid_sampler_3d", "group_norm",
    "gt", "half", "hamming_window", "hann_window", "hardshrink", "hardtanh_", "heaviside",
    "hinge_embedding_loss", "histc", "histogram", "hsplit", "hstack", "hypot", "i0", "igamma",
    "igammac", "iinfo", "imag", "index_add", "index_copy", "index_fill", "index_put",
    "index_reduce", "index_select", "inf", "inference_mode", "initial_seed", "inner",
    "instance_norm", "int", "int8", "int16", "int32", "int64", "inverse",
    "is_anomaly_check_nan_enabled", "is_anomaly_enabled", "is_autocast_cpu_enabled",
    "is_autocast_enabled", "is_complex", "is_conj", "is_deterministic_algorithms_warn_only_enabled",
    "is_floating_point", "is_grad_enabled", "is_inference_mode_enabled", "is_neg", "is_tensor",
    "isclose", "isfinite", "isin", "isinf", "isnan", "isneginf", "isposinf", "isreal", "istft",
    "jit", "kaiser_window", "kron", "kthvalue", "l1_loss", "layer_norm", "lcm", "ldexp", "le",
    "leaky_relu", "leaky_relu_", "lerp", "less", "less_equal", "lgamma", "linalg", "linear",
    "linspace", "load", "log", "log1p", "log2", "log10", "log_softmax", "logaddexp", "logaddexp2",
    "logcumsumexp", "logdet", "logical_and", "logical_not", "logical_or", "logical_xor", "logit",
    "logspace", "logsumexp", "long", "lp_pool1d", "lp_pool2d", "lp_pool3d", "lt", "lu", "lu_solve",
    "lu_unpack", "manual_seed", "margin_ranking_loss", "masked", "masked_fill", "masked_scatter",
    "masked_select", "matmul", "matrix_exp", "matrix_power", "max", "max_memory_allocated",
    "max_pool1d", "max_pool2d", "max_pool3d", "max_unpool1d", "max_unpool2d", "max_unpool3d",
    "maximum", "mean", "median", "memory", "memory_allocated", "memory_format", "memory_stats",
    "meshgrid", "min", "minimum", "mm", "mode", "moveaxis", "movedim", "mse_loss", "msort", "mul",
    "multinomial", "multiply", "mv", "mvlgamma", "nan", "nan_to_num", "nanmean", "nanmedian",
    "nanquantile", "nansum", "narrow", "narrow_copy", "native_batch_norm", "native_group_norm",
    "native_layer_norm", "ne", "neg", "negative", "newaxis", "nextafter", "nll_loss", "nn",
    "no_grad", "nonzero", "nonzero_static", "norm", "normal", "not_equal", "numel", "one_hot",
    "ones", "ones_like", "onnx", "optim", "orgqr", "ormqr", "outer", "pad", "pairwise_distance",
    "pca_lowrank", "pdist", "permute", "permute_copy", "pi", "pinverse", "pixel_shuffle",
    "pixel_unshuffle", "polar", "polygamma", "positive", "pow", "prelu", "preserve_format", "prod",
    "profiler", "promote_types", "put", "qr", "quantile", "rad2deg", "rand", "rand_like", "randint",
    "randint_like", "randn", "randn_like", "random", "randperm", "ravel", "real", "reciprocal",
    "relu", "relu_", "remainder", "renorm", "repeat", "repeat_interleave",
    "reset_peak_memory_stats", "reshape", "reshape_as", "resize_as_", "resolve_conj", "resolve_neg",
    "result_type", "rms_norm", "roll", "rot90", "round", "row_stack", "rrelu", "rrelu_", "rsqrt",
    "rsub", "save", "scalar_tensor", "scatter", "scatter_add", "scatter_reduce", "searchsorted",
    "seed", "select", "select_copy", "select_scatter", "selu", "selu_", "set_autocast_dtype",
    "set_autocast_enabled", "set_conv_algorithm", "set_default_device", "set_default_dtype",
    "set_float32_matmul_precision", "set_grad_enabled", "set_kernels", "set_num_threads",
    "set_printoptions", "set_rng_state", "sgn", "short", "sigmoid", "sign", "signal", "signbit",
    "silu", "sin", "sinc", "sinh", "slice_scatter", "slogdet", "softmax", "softplus", "sort",
    "special", "split", "split_copy", "split_with_sizes", "split_with_sizes_copy", "sqrt", "square",
    "squeeze", "squeeze_copy", "stack", "std", "std_mean", "stft", "sub", "subtract", "sum",
    "sum_to_size", "svd", "svd_lowrank", "swapaxes", "swapdims", "t", "t_copy", "take",
    "take_along_dim", "tan", "tanh", "tensor", "tensor_split", "tensordot", "threshold",
    "threshold_", "tile", "topk", "trace", "train", "transpose", "transpose_copy", "trapezoid",
    "trapz", "triangular_solve", "tril", "tril_indices", "triplet_margin_loss", "triu",
    "triu_indices", "true_divide", "trunc", "uint8", "uint16", "uint32", "uint64", "unbind",
    "unbind_copy", "unflatten", "unfold_copy", "unique", "unique_consecutive", "unravel_index",
    "unsafe_chunk", "unsafe_split", "unsafe_split_with_sizes", "unsqueeze", "unsqueeze_copy",
    "use_deterministic_algorithms", "utils", "vander", "var", "var_mean", "vdot", "view_as_complex",
    "view_as_real", "view_copy", "viz", "vmap", "vsplit", "vstack", "where", "xlogy", "zeros",
    "zeros_like",
]
# isort: on
# fmt: on
# -- end --

from tinygrad_cnn import amp, cpu, data, distributions, nn, optim, utils  # isort: skip  (they use what stands above)
from tinygrad_cnn.amp import GradScaler, autocast  # isort: skip
from tinygrad_cnn.amp.autocast_mode import (  # isort: skip
    clear_autocast_cache,
    get_autocast_cpu_dtype,
    get_autocast_dtype,
    is_autocast_cpu_enabled,
    is_autocast_enabled,
    set_autocast_dtype,
    set_autocast_enabled,
)
from tinygrad_cnn.programs import compile  # isort: skip
from tinygrad_cnn.serialization import load, save  # isort: skip
from tinygrad_cnn.utils.imported import when_imported as _when_imported  # isort: skip
from tinygrad_cnn.missing import attributes as _missing  # isort: skip

_when_imported(
    "einops._backends", lambda: _import_module("tinygrad_cnn.utils.einops_backend")
)  # einops, whose functions take tensors then
_sys.modules["tinygrad_cnn.autograd"].Variable = _VARIABLE  # type: ignore[attr-defined]

float16 = half = _np.dtype(_np.float16)
float32 = float = _np.dtype(_np.float32)
float64 = double = _np.dtype(_np.float64)
complex64 = cfloat = _np.dtype(_np.complex64)
complex128 = cdouble = _np.dtype(_np.complex128)
int8 = _np.dtype(_np.int8)
int16 = short = _np.dtype(_np.int16)
int32 = int = _np.dtype(_np.int32)
int64 = long = _np.dtype(_np.int64)
uint8 = _np.dtype(_np.uint8)
uint16 = _np.dtype(_np.uint16)
uint32 = _np.dtype(_np.uint32)
uint64 = _np.dtype(_np.uint64)
bool = _np.dtype(_np.bool_)

iinfo = _np.iinfo

contiguous_format = memory_format.contiguous_format
preserve_format = memory_format.preserve_format
channels_last = memory_format.channels_last
channels_last_3d = memory_format.channels_last_3d

inf = _np.inf
nan = _np.nan
pi = _np.pi
e = _np.e
newaxis = None

if _typing.TYPE_CHECKING:
    from tinygrad_cnn import array_api, memory, onnx, profiler, train, viz

    bfloat16: _np.dtype[_typing.Any]
else:

    def __getattr__(name):
        """Import these when they are first used: many programs do without them."""
        if name in ("memory", "onnx", "profiler", "train", "viz"):
            return _import_module(f"tinygrad_cnn.{name}")
        if name == "array_api":
            return _import_module("tinygrad_cnn.array_api")
        if name == "bfloat16":
            return _bfloat16()
        if name.endswith("_") and not name.startswith("_"):  # `relu_(x)`, as PyTorch has it
            method = getattr(Tensor, name, None)
            if method is not None:
                return method
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}", name=name, obj=_sys.modules[__name__]
        )

    _missing.attach_all(Tensor)
