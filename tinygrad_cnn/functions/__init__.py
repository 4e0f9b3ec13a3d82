"""The public functions, with PyTorch's names and arguments, each written once."""

# Written by docs/make_exports.py. To add a name, see `export` beside its function.
# fmt: off
# isort: off
from tinygrad_cnn.functions.activation import (
    elu, gelu, leaky_relu, log_softmax, relu, sigmoid, silu, softmax, softplus,
)
from tinygrad_cnn.functions.arranging import (
    as_strided, atleast_1d, atleast_2d, atleast_3d, block_diag, column_stack, constant_pad_nd,
    cross, diag_embed, diagflat, dsplit, dstack, fliplr, flipud, hsplit, kron, rot90, tensor_split,
    trace, unfold_axis, vsplit,
)
from tinygrad_cnn.functions.attention import (
    multi_head_attention_forward, scaled_dot_product_attention,
)
from tinygrad_cnn.functions.calculus import cumulative_trapezoid, gradient, trapezoid
from tinygrad_cnn.functions.compare import (
    allclose, bitwise_and, bitwise_not, bitwise_or, bitwise_xor, eq, equal, ge, gt, isclose,
    isfinite, isinf, isnan, le, logical_and, logical_not, logical_or, logical_xor, lt, ne,
)
from tinygrad_cnn.functions.complex import (
    adjoint, angle, complex, conj, conj_physical, imag, is_complex, is_conj, is_neg, isreal, polar,
    real, resolve_conj, resolve_neg, sgn, view_as_complex, view_as_real,
)
from tinygrad_cnn.functions.convolution import (
    conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d,
)
from tinygrad_cnn.functions.copies import (
    alias_copy, as_strided_copy, diagonal_copy, expand_copy, narrow_copy, permute_copy, select_copy,
    split_copy, split_with_sizes_copy, squeeze_copy, t_copy, transpose_copy, unbind_copy,
    unfold_copy, unsafe_chunk, unsafe_split, unsafe_split_with_sizes, unsqueeze_copy, view_copy,
)
from tinygrad_cnn.functions.creation import (
    arange, as_tensor, asarray, empty, empty_like, empty_permuted, empty_strided, eye, finfo,
    from_dlpack, from_numpy, frombuffer, full, full_like, is_floating_point, is_tensor, linspace,
    logspace, numel, ones, ones_like, scalar_tensor, tensor, tril_indices, triu_indices, zeros,
    zeros_like,
)
from tinygrad_cnn.functions.ctc import ctc_loss
from tinygrad_cnn.functions.distance import (
    bilinear, cdist, cosine_similarity, dist, normalize, pairwise_distance, pdist, renorm,
)
from tinygrad_cnn.functions.dtypes import can_cast, promote_types, result_type
from tinygrad_cnn.functions.elementwise import (
    abs, acos, acosh, add, addcdiv, addcmul, asin, asinh, atan, atan2, atanh, ceil, clamp,
    clamp_max, clamp_min, clone, cos, cosh, div, erf, exp, exp2, expm1, floor, floor_divide, fmax,
    fmin, fmod, frac, hypot, lerp, log, log10, log1p, log2, logaddexp, masked_fill, maximum,
    minimum, mul, nan_to_num, neg, pow, reciprocal, remainder, round, rsqrt, rsub, sign, sin, sinc,
    sinh, sqrt, square, sub, tan, tanh, to, trunc, where,
)
from tinygrad_cnn.functions.embeddings import embedding, embedding_bag
from tinygrad_cnn.functions.image import (
    affine_grid, channel_shuffle, fold, grid_sample, interpolate, pixel_shuffle, pixel_unshuffle,
    unfold, upsample, upsample_bilinear, upsample_nearest,
)
from tinygrad_cnn.functions.indexing import (
    argwhere, fill, gather, index_add, index_copy, index_fill, index_put, index_select, isin,
    masked_scatter, masked_select, nonzero, nonzero_static, one_hot, scatter, scatter_add,
    take_along_dim, unravel_index,
)
from tinygrad_cnn.functions.joining import (
    cartesian_prod, cat, chunk, combinations, hstack, meshgrid, narrow, select, split,
    split_with_sizes, stack, unbind, vstack,
)
from tinygrad_cnn.functions.linalg_factorizations import geqrf, lu_unpack, ormqr
from tinygrad_cnn.functions.linalg_legacy import (
    cholesky, det, inverse, lu, lu_solve, matrix_power, orgqr, pca_lowrank, pinverse, qr, slogdet,
    svd, svd_lowrank, triangular_solve, vander,
)
from tinygrad_cnn.functions.linalg_norms import chain_matmul
from tinygrad_cnn.functions.linalg_systems import (
    cholesky_inverse, cholesky_solve, logdet, matrix_exp,
)
from tinygrad_cnn.functions.linear_algebra import (
    addbmm, addmm, addmv, addr, baddbmm, bmm, dot, einsum, inner, linear, matmul, mm, mv, outer,
    tensordot, vdot,
)
from tinygrad_cnn.functions.losses import (
    binary_cross_entropy_with_logits, cross_entropy, l1_loss, linear_cross_entropy, mse_loss,
    nll_loss,
)
from tinygrad_cnn.functions.margin_losses import (
    cosine_embedding_loss, hinge_embedding_loss, margin_ranking_loss, multi_margin_loss,
    multilabel_margin_loss, multilabel_soft_margin_loss, soft_margin_loss, triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from tinygrad_cnn.functions.native import (
    grid_sampler_2d, grid_sampler_3d, native_batch_norm, native_group_norm, native_layer_norm,
)
from tinygrad_cnn.functions.nn_activation import (
    celu, celu_, elu_, glu, gumbel_softmax, hardshrink, hardsigmoid, hardswish, hardtanh, hardtanh_,
    leaky_relu_, logsigmoid, mish, prelu, relu6, relu_, rrelu, rrelu_, selu, selu_, softmin,
    softshrink, softsign, tanhshrink, threshold, threshold_,
)
from tinygrad_cnn.functions.normalization import (
    alpha_dropout, batch_norm, dropout, dropout1d, dropout2d, dropout3d, feature_alpha_dropout,
    group_norm, instance_norm, layer_norm, local_response_norm, rms_norm,
)
from tinygrad_cnn.functions.ordering import (
    aminmax, argmax, argmin, argsort, bincount, max, median, min, sort, topk, unique,
)
from tinygrad_cnn.functions.padding import diag, diagonal, pad, tril, triu
from tinygrad_cnn.functions.pooling import (
    adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d, adaptive_max_pool1d,
    adaptive_max_pool2d, adaptive_max_pool3d, avg_pool1d, avg_pool2d, avg_pool3d,
    fractional_max_pool2d, fractional_max_pool3d, lp_pool1d, lp_pool2d, lp_pool3d, max_pool1d,
    max_pool2d, max_pool3d, max_unpool1d, max_unpool2d, max_unpool3d,
)
from tinygrad_cnn.functions.reduction import (
    all, amax, amin, any, count_nonzero, cumprod, cumsum, diff, logsumexp, mean, nanmean, nansum,
    norm, prod, std, std_mean, sum, var, var_mean,
)
from tinygrad_cnn.functions.sampling import (
    bernoulli, multinomial, normal, rand, rand_like, randint, randint_like, randn, randn_like,
    randperm,
)
from tinygrad_cnn.functions.scattering import (
    as_strided_scatter, diagonal_scatter, index_reduce, put, scatter_reduce, select_scatter,
    slice_scatter, take,
)
from tinygrad_cnn.functions.shaping import (
    broadcast_shapes, broadcast_tensors, broadcast_to, expand, expand_as, flatten, flip, movedim,
    permute, ravel, repeat, repeat_interleave, reshape, reshape_as, roll, squeeze, sum_to_size,
    swapaxes, t, tile, transpose, unflatten, unsqueeze,
)
from tinygrad_cnn.functions.short_time import istft, stft
from tinygrad_cnn.functions.special import (
    airy_ai, bessel_j0, bessel_j1, bessel_y0, bessel_y1, bitwise_left_shift, bitwise_right_shift,
    chebyshev_polynomial_t, chebyshev_polynomial_u, chebyshev_polynomial_v, chebyshev_polynomial_w,
    copysign, cummax, cummin, deg2rad, digamma, entr, erfc, erfcx, erfinv, float_power, frexp, gcd,
    heaviside, hermite_polynomial_h, hermite_polynomial_he, i0, i0e, i1, i1e, igamma, igammac,
    isneginf, isposinf, laguerre_polynomial_l, lcm, ldexp, legendre_polynomial_p, lgamma, log_ndtr,
    logaddexp2, logcumsumexp, logit, modified_bessel_i0, modified_bessel_i1, modified_bessel_k0,
    modified_bessel_k1, mvlgamma, ndtr, ndtri, nextafter, polygamma, positive, rad2deg,
    scaled_modified_bessel_k0, scaled_modified_bessel_k1, shifted_chebyshev_polynomial_t,
    shifted_chebyshev_polynomial_u, shifted_chebyshev_polynomial_v, shifted_chebyshev_polynomial_w,
    signbit, spherical_bessel_j0, xlog1py, xlogy, zeta,
)
from tinygrad_cnn.functions.statistics import (
    bucketize, corrcoef, cov, histc, histogram, kthvalue, mode, msort, nanmedian, nanquantile,
    quantile, searchsorted, unique_consecutive,
)
from tinygrad_cnn.functions.storages import resize_as_
from tinygrad_cnn.functions.weighted_losses import (
    binary_cross_entropy, gaussian_nll_loss, huber_loss, kl_div, poisson_nll_loss, smooth_l1_loss,
)
from tinygrad_cnn.functions.windows import (
    bartlett_window, blackman_window, hamming_window, hann_window, kaiser_window,
)

absolute = abs
arccos = acos
arccosh = acosh
arcsin = asin
arcsinh = asinh
arctan = atan
arctan2 = atan2
arctanh = atanh
concat = cat
concatenate = cat
clip = clamp
divide = div
true_divide = div
greater_equal = ge
greater = gt
less_equal = le
less = lt
moveaxis = movedim
multiply = mul
not_equal = ne
negative = neg
ger = outer
subtract = sub
swapdims = swapaxes
trapz = trapezoid
fix = trunc
row_stack = vstack

__all__ = [
    "abs", "absolute", "acos", "acosh", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
    "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
    "add", "addbmm", "addcdiv", "addcmul", "addmm", "addmv", "addr", "adjoint", "affine_grid",
    "airy_ai", "alias_copy", "all", "allclose", "alpha_dropout", "amax", "amin", "aminmax", "angle",
    "any", "arange", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh",
    "argmax", "argmin", "argsort", "argwhere", "as_strided", "as_strided_copy",
    "as_strided_scatter", "as_tensor", "asarray", "asin", "asinh", "atan", "atan2", "atanh",
    "atleast_1d", "atleast_2d", "atleast_3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "baddbmm",
    "bartlett_window", "batch_norm", "bernoulli", "bessel_j0", "bessel_j1", "bessel_y0",
    "bessel_y1", "bilinear", "binary_cross_entropy", "binary_cross_entropy_with_logits", "bincount",
    "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift",
    "bitwise_xor", "blackman_window", "block_diag", "bmm", "broadcast_shapes", "broadcast_tensors",
    "broadcast_to", "bucketize", "can_cast", "cartesian_prod", "cat", "cdist", "ceil", "celu",
    "celu_", "chain_matmul", "channel_shuffle", "chebyshev_polynomial_t", "chebyshev_polynomial_u",
    "chebyshev_polynomial_v", "chebyshev_polynomial_w", "cholesky", "cholesky_inverse",
    "cholesky_solve", "chunk", "clamp", "clamp_max", "clamp_min", "clip", "clone", "column_stack",
    "combinations", "complex", "concat", "concatenate", "conj", "conj_physical", "constant_pad_nd",
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "copysign", "corrcoef", "cos", "cosh", "cosine_embedding_loss", "cosine_similarity",
    "count_nonzero", "cov", "cross", "cross_entropy", "ctc_loss", "cummax", "cummin", "cumprod",
    "cumsum", "cumulative_trapezoid", "deg2rad", "det", "diag", "diag_embed", "diagflat",
    "diagonal", "diagonal_copy", "diagonal_scatter", "diff", "digamma", "dist", "div", "divide",
    "dot", "dropout", "dropout1d", "dropout2d", "dropout3d", "dsplit", "dstack", "einsum", "elu",
    "elu_", "embedding", "embedding_bag", "empty", "empty_like", "empty_permuted", "empty_strided",
    "entr", "eq", "equal", "erf", "erfc", "erfcx", "erfinv", "exp", "exp2", "expand", "expand_as",
    "expand_copy", "expm1", "eye", "feature_alpha_dropout", "fill", "finfo", "fix", "flatten",
    "flip", "fliplr", "flipud", "float_power", "floor", "floor_divide", "fmax", "fmin", "fmod",
    "fold", "frac", "fractional_max_pool2d", "fractional_max_pool3d", "frexp", "from_dlpack",
    "from_numpy", "frombuffer", "full", "full_like", "gather", "gaussian_nll_loss", "gcd", "ge",
    "gelu", "geqrf", "ger", "glu", "gradient", "greater", "greater_equal", "grid_sample",
    "grid_sampler_2d", "grid_sampler_3d", "group_norm", "gt", "gumbel_softmax", "hamming_window",
    "hann_window", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "hardtanh_", "heaviside",
    "hermite_polynomial_h", "hermite_polynomial_he", "hinge_embedding_loss", "histc", "histogram",
    "hsplit", "hstack", "huber_loss", "hypot", "i0", "i0e", "i1", "i1e", "igamma", "igammac",
    "imag", "index_add", "index_copy", "index_fill", "index_put", "index_reduce", "index_select",
    "inner", "instance_norm", "interpolate", "inverse", "is_complex", "is_conj",
    "is_floating_point", "is_neg", "is_tensor", "isclose", "isfinite", "isin", "isinf", "isnan",
    "isneginf", "isposinf", "isreal", "istft", "kaiser_window", "kl_div", "kron", "kthvalue",
    "l1_loss", "laguerre_polynomial_l", "layer_norm", "lcm", "ldexp", "le", "leaky_relu",
    "leaky_relu_", "legendre_polynomial_p", "lerp", "less", "less_equal", "lgamma", "linear",
    "linear_cross_entropy", "linspace", "local_response_norm", "log", "log1p", "log2", "log10",
    "log_ndtr", "log_softmax", "logaddexp", "logaddexp2", "logcumsumexp", "logdet", "logical_and",
    "logical_not", "logical_or", "logical_xor", "logit", "logsigmoid", "logspace", "logsumexp",
    "lp_pool1d", "lp_pool2d", "lp_pool3d", "lt", "lu", "lu_solve", "lu_unpack",
    "margin_ranking_loss", "masked_fill", "masked_scatter", "masked_select", "matmul", "matrix_exp",
    "matrix_power", "max", "max_pool1d", "max_pool2d", "max_pool3d", "max_unpool1d", "max_unpool2d",
    "max_unpool3d", "maximum", "mean", "median", "meshgrid", "min", "minimum", "mish", "mm", "mode",
    "modified_bessel_i0", "modified_bessel_i1", "modified_bessel_k0", "modified_bessel_k1",
    "moveaxis", "movedim", "mse_loss", "msort", "mul", "multi_head_attention_forward",
    "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss", "multinomial",
    "multiply", "mv", "mvlgamma", "nan_to_num", "nanmean", "nanmedian", "nanquantile", "nansum",
    "narrow", "narrow_copy", "native_batch_norm", "native_group_norm", "native_layer_norm", "ndtr",
    "ndtri", "ne", "neg", "negative", "nextafter", "nll_loss", "nonzero", "nonzero_static", "norm",
    "normal", "normalize", "not_equal", "numel", "one_hot", "ones", "ones_like", "orgqr", "ormqr",
    "outer", "pad", "pairwise_distance", "pca_lowrank", "pdist", "permute", "permute_copy",
    "pinverse", "pixel_shuffle", "pixel_unshuffle", "poisson_nll_loss", "polar", "polygamma",
    "positive", "pow", "prelu", "prod", "promote_types", "put", "qr", "quantile", "rad2deg", "rand",
    "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm", "ravel", "real",
    "reciprocal", "relu", "relu6", "relu_", "remainder", "renorm", "repeat", "repeat_interleave",
    "reshape", "reshape_as", "resize_as_", "resolve_conj", "resolve_neg", "result_type", "rms_norm",
    "roll", "rot90", "round", "row_stack", "rrelu", "rrelu_", "rsqrt", "rsub", "scalar_tensor",
    "scaled_dot_product_attention", "scaled_modified_bessel_k0", "scaled_modified_bessel_k1",
    "scatter", "scatter_add", "scatter_reduce", "searchsorted", "select", "select_copy",
    "select_scatter", "selu", "selu_", "sgn", "shifted_chebyshev_polynomial_t",
    "shifted_chebyshev_polynomial_u", "shifted_chebyshev_polynomial_v",
    "shifted_chebyshev_polynomial_w", "sigmoid", "sign", "signbit", "silu", "sin", "sinc", "sinh",
    "slice_scatter", "slogdet", "smooth_l1_loss", "soft_margin_loss", "softmax", "softmin",
    "softplus", "softshrink", "softsign", "sort", "spherical_bessel_j0", "split", "split_copy",
    "split_with_sizes", "split_with_sizes_copy", "sqrt", "square", "squeeze", "squeeze_copy",
    "stack", "std", "std_mean", "stft", "sub", "subtract", "sum", "sum_to_size", "svd",
    "svd_lowrank", "swapaxes", "swapdims", "t", "t_copy", "take", "take_along_dim", "tan", "tanh",
    "tanhshrink", "tensor", "tensor_split", "tensordot", "threshold", "threshold_", "tile", "to",
    "topk", "trace", "transpose", "transpose_copy", "trapezoid", "trapz", "triangular_solve",
    "tril", "tril_indices", "triplet_margin_loss", "triplet_margin_with_distance_loss", "triu",
    "triu_indices", "true_divide", "trunc", "unbind", "unbind_copy", "unflatten", "unfold",
    "unfold_axis", "unfold_copy", "unique", "unique_consecutive", "unravel_index", "unsafe_chunk",
    "unsafe_split", "unsafe_split_with_sizes", "unsqueeze", "unsqueeze_copy", "upsample",
    "upsample_bilinear", "upsample_nearest", "vander", "var", "var_mean", "vdot", "view_as_complex",
    "view_as_real", "view_copy", "vsplit", "vstack", "where", "xlog1py", "xlogy", "zeros",
    "zeros_like", "zeta",
]
