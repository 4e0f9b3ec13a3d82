"""Arrays in, arrays out: the arithmetic under the operations, without tensors and without
gradients.
"""

from .algorithm import ConvAlgorithm, conv_algorithm, set_conv_algorithm
from .checks import conv2d_output_size, pool2d_output_size
from .choice import KernelSet, has_numba, kernel_set, set_kernels
from .dispatch import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_input,
    avg_pool2d,
    avg_pool2d_input,
    batch_norm,
    batch_norm_backward,
    channel_affine,
    channel_moments,
    channel_sum,
    conv2d,
    conv2d_input,
    conv2d_weight,
    fuses,
    layer_norm,
    layer_norm_backward,
    max_pool2d,
    max_pool2d_gather,
    max_pool2d_scatter,
    relu,
    relu_backward,
    step,
)
from .memory import (
    max_memory_allocated,
    memory_allocated,
    memory_stats,
    reset_peak_memory_stats,
)
from .reference import matmul, max_pool2d_plane_index
from .threads import get_num_threads, set_num_threads

__all__ = [
    "ConvAlgorithm",
    "KernelSet",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_input",
    "avg_pool2d",
    "avg_pool2d_input",
    "batch_norm",
    "batch_norm_backward",
    "channel_affine",
    "channel_moments",
    "channel_sum",
    "conv2d",
    "conv2d_input",
    "conv2d_output_size",
    "conv2d_weight",
    "conv_algorithm",
    "fuses",
    "get_num_threads",
    "has_numba",
    "kernel_set",
    "layer_norm",
    "layer_norm_backward",
    "matmul",
    "max_memory_allocated",
    "max_pool2d",
    "max_pool2d_gather",
    "max_pool2d_plane_index",
    "max_pool2d_scatter",
    "memory_allocated",
    "memory_stats",
    "pool2d_output_size",
    "relu",
    "relu_backward",
    "reset_peak_memory_stats",
    "set_conv_algorithm",
    "set_kernels",
    "set_num_threads",
    "step",
]
