"""Every differentiable primitive, by family; each is one record of forward, rules and samples."""

from tinygrad_cnn.ops import (
    activation,
    attention,
    choice,
    conv,
    elementwise,
    index,
    linalg,
    loss,
    norm,
    pool,
    random,
    recurrent,
    reduce,
    resample,
    shape,
    trigonometry,
)

__all__ = [
    "activation",
    "attention",
    "choice",
    "conv",
    "elementwise",
    "index",
    "linalg",
    "loss",
    "norm",
    "pool",
    "random",
    "recurrent",
    "reduce",
    "resample",
    "shape",
    "trigonometry",
]
