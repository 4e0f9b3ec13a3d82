"""Every differentiable primitive, by family; each is one record of forward pass, rules and samples."""

from tinygrad_cnn.ops import (
    activation,
    conv,
    elementwise,
    index,
    linalg,
    norm,
    pool,
    random,
    reduce,
    shape,
)

__all__ = [
    "activation",
    "conv",
    "elementwise",
    "index",
    "linalg",
    "norm",
    "pool",
    "random",
    "reduce",
    "shape",
]
