"""Arrays in, arrays out: the arithmetic under the operations, without tensors and without
gradients.
"""

from .algorithm import ConvAlgorithm, conv_algorithm, set_conv_algorithm
from .checks import conv2d_output_size, pool2d_output_size
from .reference import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_input,
    avg_pool2d,
    avg_pool2d_input,
    batch_norm,
    batch_norm_backward,
    channel_affine,
    channel_sum,
    conv2d,
    conv2d_input,
    conv2d_weight,
    layer_norm,
    layer_norm_backward,
    matmul,
    max_pool2d,
    max_pool2d_gather,
    max_pool2d_plane_index,
    max_pool2d_scatter,
    relu,
    relu_backward,
)

__all__ = [
    "ConvAlgorithm",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_input",
    "avg_pool2d",
    "avg_pool2d_input",
    "batch_norm",
    "batch_norm_backward",
    "channel_affine",
    "channel_sum",
    "conv2d",
    "conv2d_input",
    "conv2d_output_size",
    "conv2d_weight",
    "conv_algorithm",
    "layer_norm",
    "layer_norm_backward",
    "matmul",
    "max_pool2d",
    "max_pool2d_gather",
    "max_pool2d_plane_index",
    "max_pool2d_scatter",
    "pool2d_output_size",
    "relu",
    "relu_backward",
    "set_conv_algorithm",
]
