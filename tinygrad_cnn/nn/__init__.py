"""Modules, layers, losses and initialisers: models are written as in PyTorch."""

from tinygrad_cnn.nn import functional, init, utils
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.nn.module.location import current_module_path, running_modules
from tinygrad_cnn.nn.module.parameter import Parameter

# -- written by docs/make_exports.py --
# fmt: off
# isort: off
from tinygrad_cnn.nn.layers.activation import (
    CELU, ELU, GELU, GLU, Hardshrink, Hardsigmoid, Hardswish, Hardtanh, LeakyReLU, LogSigmoid,
    LogSoftmax, Mish, PReLU, ReLU, ReLU6, SELU, SiLU, Sigmoid, Softmax, Softmax2d, Softmin,
    Softplus, Softshrink, Softsign, Tanh, Tanhshrink, Threshold,
)
from tinygrad_cnn.nn.layers.containers import ModuleDict, ModuleList, Sequential
from tinygrad_cnn.nn.layers.conv import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from tinygrad_cnn.nn.layers.dropout import Dropout, Dropout1d, Dropout2d
from tinygrad_cnn.nn.layers.embedding import Embedding, EmbeddingBag
from tinygrad_cnn.nn.layers.linear import (
    CosineSimilarity, Flatten, Identity, Linear, PairwiseDistance, Unflatten,
)
from tinygrad_cnn.nn.layers.loss import (
    BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, KLDivLoss, L1Loss, MSELoss, NLLLoss,
    SmoothL1Loss,
)
from tinygrad_cnn.nn.layers.normalization import (
    BatchNorm1d, BatchNorm2d, BatchNorm3d, GroupNorm, LayerNorm, SyncBatchNorm,
)
from tinygrad_cnn.nn.layers.padding import (
    CircularPad1d, CircularPad2d, CircularPad3d, ConstantPad1d, ConstantPad2d, ConstantPad3d,
    ReflectionPad1d, ReflectionPad2d, ReflectionPad3d, ReplicationPad1d, ReplicationPad2d,
    ReplicationPad3d, ZeroPad1d, ZeroPad2d, ZeroPad3d,
)
from tinygrad_cnn.nn.layers.parameter_containers import ParameterDict, ParameterList
from tinygrad_cnn.nn.layers.pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from tinygrad_cnn.nn.layers.resampling import (
    Fold, PixelShuffle, PixelUnshuffle, Unfold, Upsample, UpsamplingBilinear2d, UpsamplingNearest2d,
)

__all__ = [
    "CELU", "ELU", "GELU", "GLU", "SELU", "AdaptiveAvgPool2d", "AvgPool2d", "BCELoss",
    "BCEWithLogitsLoss", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "CircularPad1d",
    "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d", "ConstantPad3d", "Conv1d",
    "Conv2d", "ConvTranspose1d", "ConvTranspose2d", "CosineSimilarity", "CrossEntropyLoss",
    "Dropout", "Dropout1d", "Dropout2d", "Embedding", "EmbeddingBag", "Flatten", "Fold",
    "GroupNorm", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "HuberLoss", "Identity",
    "KLDivLoss", "L1Loss", "LayerNorm", "LeakyReLU", "Linear", "LogSigmoid", "LogSoftmax",
    "MSELoss", "MaxPool2d", "Mish", "Module", "ModuleDict", "ModuleList", "NLLLoss", "PReLU",
    "PairwiseDistance", "Parameter", "ParameterDict", "ParameterList", "PixelShuffle",
    "PixelUnshuffle", "ReLU", "ReLU6", "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d",
    "ReplicationPad1d", "ReplicationPad2d", "ReplicationPad3d", "Sequential", "SiLU", "Sigmoid",
    "SmoothL1Loss", "Softmax", "Softmax2d", "Softmin", "Softplus", "Softshrink", "Softsign",
    "SyncBatchNorm", "Tanh", "Tanhshrink", "Threshold", "Unflatten", "Unfold", "Upsample",
    "UpsamplingBilinear2d", "UpsamplingNearest2d", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
    "current_module_path", "functional", "init", "running_modules", "utils",
]
# isort: on
# fmt: on
# -- end --
