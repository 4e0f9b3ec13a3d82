"""The public functions, with PyTorch's names and arguments, each written once."""

# Written by docs/make_exports.py. To add a name, see `export` beside its function.
# fmt: off
# isort: off
from tinygrad_cnn.functions.activation import (
    elu, gelu, leaky_relu, log_softmax, relu, sigmoid, silu, softmax, softplus,
)
from tinygrad_cnn.functions.compare import (
    allclose, bitwise_and, bitwise_not, bitwise_or, bitwise_xor, eq, equal, ge, gt, isclose,
    isfinite, isinf, isnan, le, logical_and, logical_not, logical_or, logical_xor, lt, ne,
)
from tinygrad_cnn.functions.convolution import (
    adaptive_avg_pool2d, avg_pool2d, conv1d, conv2d, conv_transpose1d, conv_transpose2d, max_pool2d,
)
from tinygrad_cnn.functions.creation import (
    arange, as_tensor, empty, empty_like, eye, from_dlpack, from_numpy, full, full_like,
    is_floating_point, is_tensor, linspace, logspace, numel, ones, ones_like, tensor, zeros,
    zeros_like,
)
from tinygrad_cnn.functions.distance import cosine_similarity, normalize, pairwise_distance
from tinygrad_cnn.functions.elementwise import (
    abs, acos, add, addcdiv, addcmul, asin, atan, atan2, ceil, clamp, clamp_max, clamp_min, clone,
    cos, cosh, div, erf, exp, exp2, expm1, floor, floor_divide, fmod, frac, lerp, log, log10, log1p,
    log2, logaddexp, masked_fill, maximum, minimum, mul, nan_to_num, neg, pow, reciprocal,
    remainder, round, rsqrt, rsub, sign, sin, sinc, sinh, sqrt, square, sub, tan, tanh, to, trunc,
    where,
)
from tinygrad_cnn.functions.embedding import embedding, embedding_bag
from tinygrad_cnn.functions.image import fold, interpolate, pixel_shuffle, pixel_unshuffle, unfold
from tinygrad_cnn.functions.indexing import (
    argwhere, gather, index_add, index_copy, index_fill, index_put, index_select, isin,
    masked_scatter, masked_select, nonzero, one_hot, scatter, scatter_add, take_along_dim,
)
from tinygrad_cnn.functions.joining import (
    cat, chunk, hstack, meshgrid, narrow, select, split, stack, unbind, vstack,
)
from tinygrad_cnn.functions.linear_algebra import (
    addmm, bmm, dot, einsum, linear, matmul, mm, mv, outer, tensordot,
)
from tinygrad_cnn.functions.lookup import group_norm
from tinygrad_cnn.functions.losses import (
    binary_cross_entropy_with_logits, cross_entropy, l1_loss, mse_loss, nll_loss,
)
from tinygrad_cnn.functions.nn_activation import (
    celu, glu, hardshrink, hardsigmoid, hardswish, hardtanh, logsigmoid, mish, prelu, relu6, selu,
    softmin, softshrink, softsign, tanhshrink, threshold,
)
from tinygrad_cnn.functions.normalization import (
    batch_norm, dropout, dropout1d, dropout2d, layer_norm,
)
from tinygrad_cnn.functions.ordering import (
    aminmax, argmax, argmin, argsort, bincount, max, median, min, sort, topk, unique,
)
from tinygrad_cnn.functions.padding import diag, diagonal, pad, tril, triu
from tinygrad_cnn.functions.reduction import (
    all, amax, amin, any, count_nonzero, cumprod, cumsum, diff, logsumexp, mean, nanmean, nansum,
    norm, prod, std, std_mean, sum, var, var_mean,
)
from tinygrad_cnn.functions.sampling import (
    bernoulli, multinomial, normal, rand, rand_like, randint, randn, randn_like, randperm,
)
from tinygrad_cnn.functions.shaping import (
    broadcast_tensors, broadcast_to, expand, expand_as, flatten, flip, movedim, permute, ravel,
    repeat, repeat_interleave, reshape, reshape_as, roll, squeeze, sum_to_size, swapaxes, t, tile,
    transpose, unflatten, unsqueeze,
)
from tinygrad_cnn.functions.weighted_losses import (
    binary_cross_entropy, huber_loss, kl_div, smooth_l1_loss,
)

absolute = abs
arccos = acos
arcsin = asin
arctan = atan
concat = cat
concatenate = cat
clip = clamp
divide = div
true_divide = div
moveaxis = movedim
multiply = mul
negative = neg
subtract = sub
swapdims = swapaxes

__all__ = [
    "abs", "absolute", "acos", "adaptive_avg_pool2d", "add", "addcdiv", "addcmul", "addmm", "all",
    "allclose", "amax", "amin", "aminmax", "any", "arange", "arccos", "arcsin", "arctan", "argmax",
    "argmin", "argsort", "argwhere", "as_tensor", "asin", "atan", "atan2", "avg_pool2d",
    "batch_norm", "bernoulli", "binary_cross_entropy", "binary_cross_entropy_with_logits",
    "bincount", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "bmm",
    "broadcast_tensors", "broadcast_to", "cat", "ceil", "celu", "chunk", "clamp", "clamp_max",
    "clamp_min", "clip", "clone", "concat", "concatenate", "conv1d", "conv2d", "conv_transpose1d",
    "conv_transpose2d", "cos", "cosh", "cosine_similarity", "count_nonzero", "cross_entropy",
    "cumprod", "cumsum", "diag", "diagonal", "diff", "div", "divide", "dot", "dropout", "dropout1d",
    "dropout2d", "einsum", "elu", "embedding", "embedding_bag", "empty", "empty_like", "eq",
    "equal", "erf", "exp", "exp2", "expand", "expand_as", "expm1", "eye", "flatten", "flip",
    "floor", "floor_divide", "fmod", "fold", "frac", "from_dlpack", "from_numpy", "full",
    "full_like", "gather", "ge", "gelu", "glu", "group_norm", "gt", "hardshrink", "hardsigmoid",
    "hardswish", "hardtanh", "hstack", "huber_loss", "index_add", "index_copy", "index_fill",
    "index_put", "index_select", "interpolate", "is_floating_point", "is_tensor", "isclose",
    "isfinite", "isin", "isinf", "isnan", "kl_div", "l1_loss", "layer_norm", "le", "leaky_relu",
    "lerp", "linear", "linspace", "log", "log1p", "log2", "log10", "log_softmax", "logaddexp",
    "logical_and", "logical_not", "logical_or", "logical_xor", "logsigmoid", "logspace",
    "logsumexp", "lt", "masked_fill", "masked_scatter", "masked_select", "matmul", "max",
    "max_pool2d", "maximum", "mean", "median", "meshgrid", "min", "minimum", "mish", "mm",
    "moveaxis", "movedim", "mse_loss", "mul", "multinomial", "multiply", "mv", "nan_to_num",
    "nanmean", "nansum", "narrow", "ne", "neg", "negative", "nll_loss", "nonzero", "norm", "normal",
    "normalize", "numel", "one_hot", "ones", "ones_like", "outer", "pad", "pairwise_distance",
    "permute", "pixel_shuffle", "pixel_unshuffle", "pow", "prelu", "prod", "rand", "rand_like",
    "randint", "randn", "randn_like", "randperm", "ravel", "reciprocal", "relu", "relu6",
    "remainder", "repeat", "repeat_interleave", "reshape", "reshape_as", "roll", "round", "rsqrt",
    "rsub", "scatter", "scatter_add", "select", "selu", "sigmoid", "sign", "silu", "sin", "sinc",
    "sinh", "smooth_l1_loss", "softmax", "softmin", "softplus", "softshrink", "softsign", "sort",
    "split", "sqrt", "square", "squeeze", "stack", "std", "std_mean", "sub", "subtract", "sum",
    "sum_to_size", "swapaxes", "swapdims", "t", "take_along_dim", "tan", "tanh", "tanhshrink",
    "tensor", "tensordot", "threshold", "tile", "to", "topk", "transpose", "tril", "triu",
    "true_divide", "trunc", "unbind", "unflatten", "unfold", "unique", "unsqueeze", "var",
    "var_mean", "vstack", "where", "zeros", "zeros_like",
]
