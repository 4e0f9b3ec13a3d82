"""The kernels in plain NumPy: complete, every dtype and layout, and the truth for faster ones."""

from tinygrad_cnn.kernels.reference.activation import relu, relu_backward
from tinygrad_cnn.kernels.reference.adding_at import add_at
from tinygrad_cnn.kernels.reference.arithmetic import (
    add,
    add_,
    embed,
    leaky_relu,
    leaky_relu_backward,
    mul,
)
from tinygrad_cnn.kernels.reference.avg_pool import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_input,
    avg_pool2d,
    avg_pool2d_input,
)
from tinygrad_cnn.kernels.reference.channels import channel_affine
from tinygrad_cnn.kernels.reference.conv import conv2d, conv2d_input, conv2d_weight
from tinygrad_cnn.kernels.reference.max_pool import (
    max_pool2d,
    max_pool2d_gather,
    max_pool2d_plane_index,
    max_pool2d_scatter,
)
from tinygrad_cnn.kernels.reference.norm import (
    batch_norm,
    batch_norm_backward,
    channel_gradient,
    channel_moments,
    layer_norm,
    layer_norm_backward,
)
from tinygrad_cnn.kernels.reference.product import linear, linear_backward, matmul
from tinygrad_cnn.kernels.reference.sums import cumsum, sum, sum_squares

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_input",
    "add",
    "add_",
    "add_at",
    "avg_pool2d",
    "avg_pool2d_input",
    "batch_norm",
    "batch_norm_backward",
    "channel_affine",
    "channel_gradient",
    "channel_moments",
    "conv2d",
    "conv2d_input",
    "conv2d_weight",
    "cumsum",
    "embed",
    "layer_norm",
    "layer_norm_backward",
    "leaky_relu",
    "leaky_relu_backward",
    "linear",
    "linear_backward",
    "matmul",
    "max_pool2d",
    "max_pool2d_gather",
    "max_pool2d_plane_index",
    "max_pool2d_scatter",
    "mul",
    "relu",
    "relu_backward",
    "sum",
    "sum_squares",
]
