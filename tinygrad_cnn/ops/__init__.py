"""Every differentiable primitive, by family; each is one record of forward, rules and samples."""

from tinygrad_cnn.ops import (
    activation,
    choice,
    conv,
    elementwise,
    index,
    linalg,
    loss,
    norm,
    pool,
    random,
    reduce,
    resample,
    shape,
    trigonometry,
)

__all__ = [
    "activation",
    "choice",
    "conv",
    "elementwise",
    "index",
    "linalg",
    "loss",
    "norm",
    "pool",
    "random",
    "reduce",
    "resample",
    "shape",
    "trigonometry",
]
