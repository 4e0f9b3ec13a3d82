"""Functions under the names of ``torch.nn.functional``."""

# Written by docs/make_exports.py. To add a name, see `export` beside its function.
# fmt: off
# isort: off
from tinygrad_cnn.functions import (
    adaptive_avg_pool2d, avg_pool2d, batch_norm, binary_cross_entropy,
    binary_cross_entropy_with_logits, celu, conv1d, conv2d, conv_transpose1d, conv_transpose2d,
    cosine_similarity, cross_entropy, dropout, dropout1d, dropout2d, elu, embedding, embedding_bag,
    fold, gelu, glu, group_norm, hardshrink, hardsigmoid, hardswish, hardtanh, huber_loss,
    interpolate, kl_div, l1_loss, layer_norm, leaky_relu, linear, log_softmax, logsigmoid,
    max_pool2d, mish, mse_loss, nll_loss, normalize, one_hot, pad, pairwise_distance, pixel_shuffle,
    pixel_unshuffle, prelu, relu, relu6, selu, sigmoid, silu, smooth_l1_loss, softmax, softmin,
    softplus, softshrink, softsign, tanh, tanhshrink, threshold, unfold,
)

__all__ = [
    "adaptive_avg_pool2d", "avg_pool2d", "batch_norm", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "celu", "conv1d", "conv2d", "conv_transpose1d",
    "conv_transpose2d", "cosine_similarity", "cross_entropy", "dropout", "dropout1d", "dropout2d",
    "elu", "embedding", "embedding_bag", "fold", "gelu", "glu", "group_norm", "hardshrink",
    "hardsigmoid", "hardswish", "hardtanh", "huber_loss", "interpolate", "kl_div", "l1_loss",
    "layer_norm", "leaky_relu", "linear", "log_softmax", "logsigmoid", "max_pool2d", "mish",
    "mse_loss", "nll_loss", "normalize", "one_hot", "pad", "pairwise_distance", "pixel_shuffle",
    "pixel_unshuffle", "prelu", "relu", "relu6", "selu", "sigmoid", "silu", "smooth_l1_loss",
    "softmax", "softmin", "softplus", "softshrink", "softsign", "tanh", "tanhshrink", "threshold",
    "unfold",
]
