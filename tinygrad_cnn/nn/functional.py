"""Functions under the names of ``torch.nn.functional``."""

# Written by docs/make_exports.py. To add a name, see `export` beside its function.
# fmt: off
# isort: off
from tinygrad_cnn.functions import (
    adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d, adaptive_max_pool1d,
    adaptive_max_pool2d, adaptive_max_pool3d, affine_grid, avg_pool1d, avg_pool2d, avg_pool3d,
    batch_norm, binary_cross_entropy, binary_cross_entropy_with_logits, celu, channel_shuffle,
    conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d, cosine_similarity,
    cross_entropy, dropout, dropout1d, dropout2d, elu, embedding, fold, fractional_max_pool2d,
    fractional_max_pool3d, gelu, glu, grid_sample, group_norm, hardshrink, hardsigmoid, hardswish,
    hardtanh, huber_loss, interpolate, kl_div, l1_loss, layer_norm, leaky_relu, linear, log_softmax,
    logsigmoid, lp_pool1d, lp_pool2d, lp_pool3d, max_pool1d, max_pool2d, max_pool3d, max_unpool1d,
    max_unpool2d, max_unpool3d, mish, mse_loss, nll_loss, normalize, one_hot, pad,
    pairwise_distance, pixel_shuffle, pixel_unshuffle, prelu, relu, relu6, selu, sigmoid, silu,
    smooth_l1_loss, softmax, softmin, softplus, softshrink, softsign, tanh, tanhshrink, threshold,
    unfold, upsample, upsample_bilinear, upsample_nearest,
)

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "adaptive_max_pool3d", "affine_grid", "avg_pool1d", "avg_pool2d",
    "avg_pool3d", "batch_norm", "binary_cross_entropy", "binary_cross_entropy_with_logits", "celu",
    "channel_shuffle", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "cosine_similarity", "cross_entropy", "dropout", "dropout1d", "dropout2d",
    "elu", "embedding", "fold", "fractional_max_pool2d", "fractional_max_pool3d", "gelu", "glu",
    "grid_sample", "group_norm", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "huber_loss",
    "interpolate", "kl_div", "l1_loss", "layer_norm", "leaky_relu", "linear", "log_softmax",
    "logsigmoid", "lp_pool1d", "lp_pool2d", "lp_pool3d", "max_pool1d", "max_pool2d", "max_pool3d",
    "max_unpool1d", "max_unpool2d", "max_unpool3d", "mish", "mse_loss", "nll_loss", "normalize",
    "one_hot", "pad", "pairwise_distance", "pixel_shuffle", "pixel_unshuffle", "prelu", "relu",
    "relu6", "selu", "sigmoid", "silu", "smooth_l1_loss", "softmax", "softmin", "softplus",
    "softshrink", "softsign", "tanh", "tanhshrink", "threshold", "unfold", "upsample",
    "upsample_bilinear", "upsample_nearest",
]
