"""What these tests share: a model exported, checked, and run by onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

import tinygrad_cnn as tg
from tinygrad_cnn import nn


class Calls(nn.Module):
    """A module that calls a function of tensors."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *xs: tg.Tensor) -> Any:
        return self.function(*xs)


def session(path: Path) -> Any:
    """The file, checked and loaded."""
    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(there: Any, *arrays: np.ndarray) -> list[np.ndarray]:
    """What onnxruntime gives."""
    names = [i.name for i in there.get_inputs()]
    return there.run(None, dict(zip(names, arrays, strict=True)))


def agrees(there: Any, model: nn.Module, *inputs: tg.Tensor, within: float = 1e-5) -> None:
    """Compare all outputs; ``within`` is relative to the largest number."""
    with tg.no_grad():
        ours = model.eval()(*inputs)
    ours = list(ours) if isinstance(ours, (tuple, list)) else [ours]
    for y, z in zip(ours, run(there, *[x.numpy() for x in inputs]), strict=True):
        assert y.shape == z.shape
        assert y.dtype == z.dtype
        if z.size:
            atol = within * float(np.nanmax(np.abs(np.where(np.isfinite(z), z, 0)), initial=1))
            np.testing.assert_allclose(y.numpy(), z, rtol=within, atol=atol)
