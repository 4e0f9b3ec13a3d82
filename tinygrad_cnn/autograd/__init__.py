"""The engine: it records operations into a graph and walks it backwards. It names no operation."""

from tinygrad_cnn.autograd import functional, grad_mode, graph, profiler
from tinygrad_cnn.autograd.backward import backward, grad
from tinygrad_cnn.autograd.function import Function, FunctionCtx, once_differentiable
from tinygrad_cnn.autograd.gradcheck.check import gradcheck, gradgradcheck
from tinygrad_cnn.autograd.gradcheck.compare import GradientError, UndecidedError
from tinygrad_cnn.autograd.hooks import RemovableHandle
from tinygrad_cnn.autograd.modes import (
    detect_anomaly,
    enable_grad,
    inference_mode,
    is_anomaly_check_nan_enabled,
    is_anomaly_enabled,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_detect_anomaly,
    set_grad_enabled,
)
from tinygrad_cnn.autograd.node import Leaf, Node, Saved
from tinygrad_cnn.autograd.op import Op
from tinygrad_cnn.autograd.registry import REGISTRY, op
from tinygrad_cnn.autograd.samples import Draw, ErrorSample, Sample

__all__ = [
    "REGISTRY",
    "Draw",
    "ErrorSample",
    "Function",
    "FunctionCtx",
    "GradientError",
    "Leaf",
    "Node",
    "Op",
    "RemovableHandle",
    "Sample",
    "Saved",
    "UndecidedError",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "functional",
    "grad",
    "grad_mode",
    "gradcheck",
    "gradgradcheck",
    "graph",
    "inference_mode",
    "is_anomaly_check_nan_enabled",
    "is_anomaly_enabled",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "no_grad",
    "once_differentiable",
    "op",
    "profiler",
    "set_detect_anomaly",
    "set_grad_enabled",
]
