"""The kernels in plain NumPy: complete, every dtype and layout, and the truth for faster ones."""

from .activation import relu, relu_backward
from .adding_at import add_at
from .arithmetic import add, add_, embed, leaky_relu, leaky_relu_backward, mul
from .avg_pool import adaptive_avg_pool2d, adaptive_avg_pool2d_input, avg_pool2d, avg_pool2d_input
from .channels import channel_affine
from .conv import conv2d, conv2d_input, conv2d_weight
from .max_pool import max_pool2d, max_pool2d_gather, max_pool2d_plane_index, max_pool2d_scatter
from .norm import (
    batch_norm,
    batch_norm_backward,
    channel_gradient,
    channel_moments,
    layer_norm,
    layer_norm_backward,
)
from .product import linear, linear_backward, matmul
from .sums import cumsum, sum, sum_squares

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
