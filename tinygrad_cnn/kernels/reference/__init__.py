"""The kernels in plain NumPy: complete, every dtype and layout, and the truth for faster ones."""

from tinygrad_cnn.kernels.reference.activations import activate as activate
from tinygrad_cnn.kernels.reference.activations import activate_backward as activate_backward
from tinygrad_cnn.kernels.reference.adding_at import add_at as add_at
from tinygrad_cnn.kernels.reference.attention import attention as attention
from tinygrad_cnn.kernels.reference.attention import attention_backward as attention_backward
from tinygrad_cnn.kernels.reference.avg_pool import adaptive_avg_pool2d as adaptive_avg_pool2d
from tinygrad_cnn.kernels.reference.avg_pool import (
    adaptive_avg_pool2d_input as adaptive_avg_pool2d_input,
)
from tinygrad_cnn.kernels.reference.avg_pool import avg_pool2d as avg_pool2d
from tinygrad_cnn.kernels.reference.avg_pool import avg_pool2d_input as avg_pool2d_input
from tinygrad_cnn.kernels.reference.bags import bag_sum as bag_sum
from tinygrad_cnn.kernels.reference.bags import bag_sum_backward as bag_sum_backward
from tinygrad_cnn.kernels.reference.channels import channel_affine as channel_affine
from tinygrad_cnn.kernels.reference.conv import conv2d as conv2d
from tinygrad_cnn.kernels.reference.conv import conv2d_input as conv2d_input
from tinygrad_cnn.kernels.reference.conv import conv2d_weight as conv2d_weight
from tinygrad_cnn.kernels.reference.elementwise import add as add
from tinygrad_cnn.kernels.reference.elementwise import add_ as add_
from tinygrad_cnn.kernels.reference.elementwise import embed as embed
from tinygrad_cnn.kernels.reference.elementwise import leaky_relu as leaky_relu
from tinygrad_cnn.kernels.reference.elementwise import leaky_relu_backward as leaky_relu_backward
from tinygrad_cnn.kernels.reference.elementwise import mul as mul
from tinygrad_cnn.kernels.reference.elementwise import relu as relu
from tinygrad_cnn.kernels.reference.elementwise import relu_backward as relu_backward
from tinygrad_cnn.kernels.reference.max_pool import max_pool2d as max_pool2d
from tinygrad_cnn.kernels.reference.max_pool import max_pool2d_gather as max_pool2d_gather
from tinygrad_cnn.kernels.reference.max_pool import max_pool2d_plane_index as max_pool2d_plane_index
from tinygrad_cnn.kernels.reference.max_pool import max_pool2d_scatter as max_pool2d_scatter
from tinygrad_cnn.kernels.reference.mesh import add_mesh as add_mesh
from tinygrad_cnn.kernels.reference.mesh import take_mesh as take_mesh
from tinygrad_cnn.kernels.reference.norm import batch_norm as batch_norm
from tinygrad_cnn.kernels.reference.norm import batch_norm_backward as batch_norm_backward
from tinygrad_cnn.kernels.reference.norm import channel_gradient as channel_gradient
from tinygrad_cnn.kernels.reference.norm import channel_moments as channel_moments
from tinygrad_cnn.kernels.reference.norm import group_norm as group_norm
from tinygrad_cnn.kernels.reference.norm import group_norm_backward as group_norm_backward
from tinygrad_cnn.kernels.reference.norm import layer_norm as layer_norm
from tinygrad_cnn.kernels.reference.norm import layer_norm_backward as layer_norm_backward
from tinygrad_cnn.kernels.reference.product import linear as linear
from tinygrad_cnn.kernels.reference.product import linear_backward as linear_backward
from tinygrad_cnn.kernels.reference.product import matmul as matmul
from tinygrad_cnn.kernels.reference.recurrent import recurrence as recurrence
from tinygrad_cnn.kernels.reference.recurrent import recurrence_backward as recurrence_backward
from tinygrad_cnn.kernels.reference.resample import resample as resample
from tinygrad_cnn.kernels.reference.softmax import cross_entropy as cross_entropy
from tinygrad_cnn.kernels.reference.softmax import cross_entropy_backward as cross_entropy_backward
from tinygrad_cnn.kernels.reference.softmax import log_softmax as log_softmax
from tinygrad_cnn.kernels.reference.softmax import log_softmax_backward as log_softmax_backward
from tinygrad_cnn.kernels.reference.softmax import softmax as softmax
from tinygrad_cnn.kernels.reference.softmax import softmax_backward as softmax_backward
from tinygrad_cnn.kernels.reference.sums import cumsum as cumsum
from tinygrad_cnn.kernels.reference.sums import sum as sum
from tinygrad_cnn.kernels.reference.sums import sum_squares as sum_squares
