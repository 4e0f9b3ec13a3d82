"""What layers draw their weights from when they are made, or asked for PyTorch's distributions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

from tinygrad_cnn.nn import init
from tinygrad_cnn.nn.module.parameter import Parameter
from tinygrad_cnn.tensor import Tensor


class Weighted(Protocol):
    """A layer with a weight and perhaps a bias."""

    weight: Parameter
    bias: Parameter | None


def he(layer: Weighted) -> None:
    """Draw a layer's weight from He's normal distribution (fan-in, relu) and set its bias to 0."""
    init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        init.zeros_(layer.bias)


def uniform(tensors: Iterable[Tensor | None], bound: float) -> None:
    """Fill every tensor uniformly in [-bound, bound]."""
    for tensor in tensors:
        if tensor is not None:
            init.uniform_(tensor, -bound, bound)


def as_pytorch(layer: Weighted) -> None:
    """Draw a layer's weight and bias uniformly within ``fan_in ** -0.5``."""
    fan_in = math.prod(layer.weight.shape[1:])
    uniform((layer.weight, layer.bias), fan_in**-0.5 if fan_in else 0.0)
