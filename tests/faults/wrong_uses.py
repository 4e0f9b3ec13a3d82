"""Wrong uses of layers, functions, states and files: what is done, and what the error must say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from tinygrad_cnn import nn, optim, train


class Use(NamedTuple):
    """A wrong use; the error's text has all of ``parts``."""

    name: str
    run: Callable[[], Any]
    parts: tuple[str, ...]


def _ones(*shape: int, dtype: Any = "float32") -> tg.Tensor:
    return tg.full(shape, 0.5).to(dtype) if dtype != "int64" else tg.ones(*shape, dtype=dtype)


ROWS, SIGNALS, IMAGES, VOLUMES = (
    _ones(2, 4),
    _ones(2, 4, 9),
    _ones(2, 4, 9, 9),
    _ones(2, 4, 6, 6, 6),
)
PROBABILITIES = ROWS.softmax(1)
LABELS = tg.tensor([0, 1])

LAYERS: dict[str, tuple[tuple[Any, ...], Any]] = {
    "Linear": ((4, 3), ROWS),
    "Bilinear": ((4, 4, 3), (ROWS, ROWS)),
    "Conv1d": ((4, 3, 3), SIGNALS),
    "Conv2d": ((4, 3, 3), IMAGES),
    "Conv3d": ((4, 3, 3), VOLUMES),
    "ConvTranspose1d": ((4, 3, 3), SIGNALS),
    "ConvTranspose2d": ((4, 3, 3), IMAGES),
    "ConvTranspose3d": ((4, 3, 3), VOLUMES),
    "BatchNorm1d": ((4,), SIGNALS),
    "BatchNorm2d": ((4,), IMAGES),
    "BatchNorm3d": ((4,), VOLUMES),
    "InstanceNorm1d": ((4,), SIGNALS),
    "InstanceNorm2d": ((4,), IMAGES),
    "InstanceNorm3d": ((4,), VOLUMES),
    "LayerNorm": ((4,), ROWS),
    "GroupNorm": ((2, 4), IMAGES),
    "RMSNorm": ((4,), ROWS),
    "LocalResponseNorm": ((2,), IMAGES),
    "MaxPool1d": ((2,), SIGNALS),
    "MaxPool2d": ((2,), IMAGES),
    "MaxPool3d": ((2,), VOLUMES),
    "AvgPool1d": ((2,), SIGNALS),
    "AvgPool2d": ((2,), IMAGES),
    "AvgPool3d": ((2,), VOLUMES),
    "AdaptiveAvgPool1d": ((2,), SIGNALS),
    "AdaptiveAvgPool2d": ((2,), IMAGES),
    "AdaptiveAvgPool3d": ((2,), VOLUMES),
    "AdaptiveMaxPool1d": ((2,), SIGNALS),
    "AdaptiveMaxPool2d": ((2,), IMAGES),
    "LPPool1d": ((2, 2), SIGNALS),
    "LPPool2d": ((2, 2), IMAGES),
    "FractionalMaxPool2d": ((2, 3), IMAGES),
    "Embedding": ((5, 3), LABELS),
    "EmbeddingBag": ((5, 3), tg.tensor([[0, 1]])),
    "RNN": ((4, 3), _ones(5, 2, 4)),
    "LSTM": ((4, 3), _ones(5, 2, 4)),
    "GRU": ((4, 3), _ones(5, 2, 4)),
    "RNNCell": ((4, 3), ROWS),
    "LSTMCell": ((4, 3), ROWS),
    "GRUCell": ((4, 3), ROWS),
    "MultiheadAttention": ((4, 2), (_ones(3, 2, 4),) * 3),
    "TransformerEncoderLayer": ((4, 2), _ones(3, 2, 4)),
    "Dropout": ((0.5,), ROWS),
    "Dropout1d": ((0.5,), SIGNALS),
    "Dropout2d": ((0.5,), IMAGES),
    "AlphaDropout": ((0.5,), ROWS),
    "Softmax": ((1,), ROWS),
    "LogSoftmax": ((1,), ROWS),
    "Softmin": ((1,), ROWS),
    "Softmax2d": ((), IMAGES),
    "GLU": ((1,), ROWS),
    "PReLU": ((4,), ROWS),
    "ReLU": ((), ROWS),
    "ReLU6": ((), ROWS),
    "LeakyReLU": ((), ROWS),
    "RReLU": ((), ROWS),
    "ELU": ((), ROWS),
    "CELU": ((), ROWS),
    "SELU": ((), ROWS),
    "GELU": ((), ROWS),
    "SiLU": ((), ROWS),
    "Mish": ((), ROWS),
    "Sigmoid": ((), ROWS),
    "LogSigmoid": ((), ROWS),
    "Tanh": ((), ROWS),
    "Softplus": ((), ROWS),
    "Softsign": ((), ROWS),
    "Softshrink": ((), ROWS),
    "Hardshrink": ((), ROWS),
    "Hardtanh": ((), ROWS),
    "Hardswish": ((), ROWS),
    "Hardsigmoid": ((), ROWS),
    "Tanhshrink": ((), ROWS),
    "Threshold": ((0.1, 0.2), ROWS),
    "Flatten": ((), IMAGES),
    "Unflatten": ((1, (2, 2)), ROWS),
    "Upsample": ((12,), IMAGES),
    "PixelShuffle": ((2,), IMAGES),
    "PixelUnshuffle": ((3,), IMAGES),
    "ChannelShuffle": ((2,), IMAGES),
    "ZeroPad2d": ((1,), IMAGES),
    "ConstantPad1d": ((1, 2.0), SIGNALS),
    "ReflectionPad2d": ((1,), IMAGES),
    "ReplicationPad1d": ((1,), SIGNALS),
    "CircularPad2d": ((1,), IMAGES),
    "Fold": (((4, 4), 2), _ones(1, 8, 9)),
    "Unfold": ((2,), IMAGES),
    "CosineSimilarity": ((), (ROWS, ROWS)),
    "PairwiseDistance": ((), (ROWS, ROWS)),
    "L1Loss": ((), (ROWS, ROWS)),
    "MSELoss": ((), (ROWS, ROWS)),
    "SmoothL1Loss": ((), (ROWS, ROWS)),
    "HuberLoss": ((), (ROWS, ROWS)),
    "CrossEntropyLoss": ((), (ROWS, LABELS)),
    "NLLLoss": ((), (ROWS, LABELS)),
    "BCELoss": ((), (ROWS, ROWS)),
    "BCEWithLogitsLoss": ((), (ROWS, ROWS)),
    "KLDivLoss": ((None, None, "batchmean"), (ROWS, PROBABILITIES)),
    "PoissonNLLLoss": ((), (ROWS, ROWS)),
    "GaussianNLLLoss": ((), (ROWS, ROWS, ROWS)),
    "HingeEmbeddingLoss": ((), (ROWS, ROWS)),
    "MarginRankingLoss": ((), (ROWS, ROWS, ROWS)),
    "SoftMarginLoss": ((), (ROWS, ROWS)),
    "MultiMarginLoss": ((), (ROWS, LABELS)),
    "MultiLabelMarginLoss": ((), (ROWS, tg.tensor([[0, 1, -1, -1]] * 2))),
    "MultiLabelSoftMarginLoss": ((), (ROWS, ROWS)),
    "CosineEmbeddingLoss": ((), (ROWS, ROWS, _ones(2))),
    "TripletMarginLoss": ((), (ROWS, ROWS, ROWS)),
}
"""By name arguments, and inputs that are right."""
REFUSED: dict[str, tuple[str, ...]] = {
    "Linear": ("7-d 0-d sides complex64 bool int64 float64",),
    "Bilinear": (
        "7-d 0-d sides",
        "7-d 0-d sides",
    ),
    "Conv1d": ("7-d 0-d sides complex64 bool int64 float64",),
    "Conv2d": ("7-d 0-d sides complex64 bool int64 float64",),
    "Conv3d": ("7-d 0-d sides complex64 bool int64 float64",),
    "ConvTranspose1d": ("7-d 0-d sides complex64 bool int64 float64",),
    "ConvTranspose2d": ("7-d 0-d sides complex64 bool int64 float64",),
    "ConvTranspose3d": ("7-d 0-d sides complex64 bool int64 float64",),
    "BatchNorm1d": ("7-d 0-d sides complex64 bool int64",),
    "BatchNorm2d": ("7-d 0-d sides complex64 bool int64",),
    "BatchNorm3d": ("7-d 0-d sides complex64 bool int64",),
    "InstanceNorm1d": ("7-d 0-d complex64 bool int64",),
    "InstanceNorm2d": ("7-d 0-d complex64 bool int64",),
    "InstanceNorm3d": ("7-d 0-d complex64 bool int64",),
    "LayerNorm": ("7-d 0-d sides complex64 bool int64",),
    "GroupNorm": ("7-d 0-d sides complex64 bool int64",),
    "RMSNorm": ("7-d 0-d sides complex64 bool int64",),
    "LocalResponseNorm": ("0-d complex64 bool int64",),
    "MaxPool1d": ("7-d 0-d complex64 bool",),
    "MaxPool2d": ("7-d 0-d complex64 bool",),
    "MaxPool3d": ("7-d 0-d complex64 bool",),
    "AvgPool1d": ("7-d 0-d complex64 bool int64",),
    "AvgPool2d": ("7-d 0-d complex64 bool int64",),
    "AvgPool3d": ("7-d 0-d complex64 bool int64",),
    "AdaptiveAvgPool1d": ("7-d 0-d complex64 bool int64",),
    "AdaptiveAvgPool2d": ("7-d 0-d complex64 bool int64",),
    "AdaptiveAvgPool3d": ("7-d 0-d complex64 bool int64",),
    "AdaptiveMaxPool1d": ("7-d 0-d",),
    "AdaptiveMaxPool2d": ("7-d 0-d",),
    "LPPool1d": ("7-d 0-d complex64 bool int64",),
    "LPPool2d": ("7-d 0-d complex64 bool int64",),
    "FractionalMaxPool2d": ("7-d 0-d",),
    "Embedding": ("complex64 bool float64",),
    "EmbeddingBag": ("7-d 0-d complex64 bool float64",),
    "RNN": ("7-d 0-d sides complex64 bool int64 float64",),
    "LSTM": ("7-d 0-d sides complex64 bool int64 float64",),
    "GRU": ("7-d 0-d sides complex64 bool int64 float64",),
    "RNNCell": ("7-d 0-d sides complex64 bool int64 float64",),
    "LSTMCell": ("7-d 0-d sides complex64 bool int64 float64",),
    "GRUCell": ("7-d 0-d sides complex64 bool int64 float64",),
    "MultiheadAttention": (
        "7-d 0-d sides complex64 bool int64 float64",
        "7-d 0-d sides complex64 bool int64 float64",
        "7-d 0-d sides complex64 bool int64 float64",
    ),
    "TransformerEncoderLayer": ("7-d 0-d sides complex64 bool int64 float64",),
    "Dropout": ("complex64 bool int64",),
    "Dropout1d": ("7-d 0-d complex64 bool int64",),
    "Dropout2d": ("0-d complex64 bool int64",),
    "AlphaDropout": ("complex64 bool int64",),
    "Softmax": ("0-d complex64",),
    "LogSoftmax": ("0-d complex64",),
    "Softmin": ("0-d complex64 bool",),
    "Softmax2d": ("7-d 0-d complex64",),
    "GLU": ("7-d 0-d sides",),
    "PReLU": ("7-d 0-d sides complex64 bool int64 float64",),
    "ReLU": ("complex64",),
    "ReLU6": ("complex64",),
    "LeakyReLU": ("complex64 bool int64",),
    "RReLU": ("complex64 bool int64",),
    "ELU": ("complex64 bool int64",),
    "CELU": ("complex64 bool int64",),
    "SELU": ("complex64 bool int64",),
    "GELU": ("complex64 bool int64",),
    "SiLU": ("bool int64",),
    "Mish": ("complex64 bool int64",),
    "Sigmoid": ("",),
    "LogSigmoid": ("complex64 bool int64",),
    "Tanh": ("",),
    "Softplus": ("complex64 bool int64",),
    "Softsign": ("",),
    "Softshrink": ("complex64 bool",),
    "Hardshrink": ("complex64",),
    "Hardtanh": ("complex64",),
    "Hardswish": ("complex64 bool int64",),
    "Hardsigmoid": ("complex64 bool int64",),
    "Tanhshrink": ("bool",),
    "Threshold": ("complex64",),
    "Flatten": ("",),
    "Unflatten": ("7-d 0-d sides",),
    "Upsample": ("7-d 0-d",),
    "PixelShuffle": ("7-d 0-d sides",),
    "PixelUnshuffle": ("7-d 0-d sides",),
    "ChannelShuffle": ("7-d 0-d sides",),
    "ZeroPad2d": ("0-d",),
    "ConstantPad1d": ("0-d",),
    "ReflectionPad2d": ("7-d 0-d",),
    "ReplicationPad1d": ("0-d",),
    "CircularPad2d": ("7-d 0-d",),
    "Fold": ("7-d 0-d sides complex64",),
    "Unfold": ("7-d 0-d complex64",),
    "CosineSimilarity": (
        "sides bool int64",
        "sides bool int64",
    ),
    "PairwiseDistance": (
        "sides bool",
        "sides bool",
    ),
    "L1Loss": (
        "sides bool",
        "sides bool",
    ),
    "MSELoss": (
        "sides bool",
        "sides bool",
    ),
    "SmoothL1Loss": (
        "sides bool",
        "sides bool",
    ),
    "HuberLoss": (
        "sides bool",
        "sides bool",
    ),
    "CrossEntropyLoss": (
        "7-d 0-d sides complex64",
        "7-d 0-d sides complex64 bool float64",
    ),
    "NLLLoss": (
        "7-d 0-d sides bool int64",
        "7-d 0-d sides complex64 bool float64",
    ),
    "BCELoss": (
        "7-d 0-d sides complex64 bool int64 float64",
        "7-d 0-d sides complex64 bool int64 float64",
    ),
    "BCEWithLogitsLoss": (
        "7-d 0-d sides complex64 bool int64",
        "7-d 0-d sides bool",
    ),
    "KLDivLoss": (
        "sides",
        "sides",
    ),
    "PoissonNLLLoss": (
        "sides",
        "sides",
    ),
    "GaussianNLLLoss": (
        "7-d 0-d sides bool",
        "sides bool",
        "7-d 0-d sides bool",
    ),
    "HingeEmbeddingLoss": (
        "sides complex64 bool",
        "sides",
    ),
    "MarginRankingLoss": (
        "sides complex64 bool",
        "sides complex64 bool",
        "sides complex64 bool",
    ),
    "SoftMarginLoss": (
        "sides complex64",
        "sides complex64 bool",
    ),
    "MultiMarginLoss": (
        "7-d 0-d sides complex64 bool",
        "7-d 0-d sides complex64 bool float64",
    ),
    "MultiLabelMarginLoss": (
        "7-d 0-d sides complex64 bool",
        "7-d 0-d sides complex64 bool float64",
    ),
    "MultiLabelSoftMarginLoss": (
        "0-d sides complex64 bool int64",
        "sides bool",
    ),
    "CosineEmbeddingLoss": (
        "7-d 0-d sides complex64",
        "7-d 0-d sides complex64",
        "7-d 0-d sides",
    ),
    "TripletMarginLoss": (
        "7-d 0-d sides bool",
        "7-d 0-d sides bool",
        "7-d 0-d sides bool",
    ),
}
"""By layer, for each of its inputs the kinds of `tensors_like` that it cannot take."""


def tensors_like(x: tg.Tensor) -> dict[str, tg.Tensor]:
    """Tensors that may be wrong where ``x`` is right: by shape or by dtype."""
    dtypes = ("complex64", "bool", "int64", "float64")
    return {
        "7-d": _ones(*(1,) * 7, dtype=x.dtype),
        "0-d": _ones(dtype=x.dtype),
        "sides": _ones(*(side + 1 for side in x.shape), dtype=x.dtype),
        **{dtype: _ones(*x.shape, dtype=dtype) for dtype in dtypes},
    }


SETTINGS = [
    Use(
        "dropout text", lambda: nn.Dropout("x"), ("Dropout: `p` is 'x'", "real number is expected")
    ),
    Use("dropout above 1", lambda: nn.Dropout(1.5), ("Dropout: `p` is 1.5", "between 0 and 1")),
    Use("dropout none", lambda: nn.Dropout2d(None), ("Dropout2d: `p` is None", "expected")),
    Use("conv groups", lambda: nn.Conv2d(3, 4, 3, groups=2), ("Conv2d", "`groups`", "2", "3")),
    Use("conv channels", lambda: nn.Conv2d(3.5, 4, 3), ("Conv2d: `in_channels` is 3.5", "int")),
    Use("conv kernel", lambda: nn.Conv2d(3, 4, 0), ("Conv2d: `kernel_size` is 0", "at least 1")),
    Use("conv pairs", lambda: nn.Conv2d(3, 4, (3, 3, 3)), ("`kernel_size` is (3, 3, 3)", "2 ints")),
    Use("conv stride", lambda: nn.Conv2d(3, 4, 3, stride=0), ("`stride` is 0", "at least 1")),
    Use(
        "conv padding", lambda: nn.Conv2d(3, 4, 3, padding="all"), ("`padding` is 'all'", "'same'")
    ),
    Use("conv mode", lambda: nn.Conv2d(3, 4, 3, padding_mode="x"), ("`padding_mode` is 'x'",)),
    Use("linear size", lambda: nn.Linear("4", 3), ("Linear: `in_features` is '4' (str)", "int")),
    Use("linear negative", lambda: nn.Linear(-4, 3), ("Linear: `in_features` is -4", "at least 0")),
    Use("linear dtype", lambda: nn.Linear(4, 3, dtype="int64"), ("`dtype` is 'int64'", "floating")),
    Use("linear device", lambda: nn.Linear(4, 3, device="cuda"), ("Linear", "'cuda'", "cpu")),
    Use(
        "padding_idx", lambda: nn.Embedding(5, 3, padding_idx="x"), ("`padding_idx` is 'x'", "int")
    ),
    Use(
        "padding_idx far",
        lambda: nn.Embedding(5, 3, padding_idx=5),
        ("`padding_idx` is 5", "5 rows"),
    ),
    Use("a table", lambda: nn.Embedding(5, 3, _weight=7), ("`_weight` is 7", "expected a Tensor")),
    Use("norm groups", lambda: nn.GroupNorm(3, 4), ("GroupNorm", "`num_groups`", "3", "4")),
    Use("heads", lambda: nn.MultiheadAttention(4, 3), ("`num_heads`", "3", "4")),
    Use("gelu", lambda: nn.GELU("fast"), ("GELU: `approximate` is 'fast'", "'none', 'tanh'")),
    Use("hardtanh", lambda: nn.Hardtanh(2, 1), ("`min_val` is 2 and `max_val` is 1", "expected")),
    Use(
        "reduction",
        lambda: nn.MSELoss(reduction="max")(ROWS, ROWS),
        ("`reduction` is 'max'", "expected"),
    ),
    Use(
        "upsample", lambda: nn.Upsample(2, mode="cubic")(IMAGES), ("`mode` is 'cubic'", "expected")
    ),
    Use(
        "eps",
        lambda: nn.Sequential(nn.LayerNorm(4, "x"))(ROWS),
        ("LayerNorm: `eps` is 'x' (str), expected a number [in 0 (LayerNorm)]",),
    ),
    Use(
        "slope", lambda: nn.LeakyReLU("x")(ROWS), ("LeakyReLU: `negative_slope` is 'x'", "a number")
    ),
    Use("alpha", lambda: nn.ELU([])(ROWS), ("ELU: `alpha` is [] (list), expected a number",)),
    Use(
        "norm_type", lambda: nn.LPPool1d(0, 2)(SIGNALS), ("lp_pool1d: `norm_type` is 0", "expected")
    ),
    Use(
        "windows",
        lambda: nn.FractionalMaxPool2d(0, 3)(IMAGES),
        ("`kernel_size` is (0, 0)", "at least 1"),
    ),
    Use(
        "dilation",
        lambda: nn.MaxPool2d(2, dilation=None)(IMAGES),
        ("`dilation` is None", "expected"),
    ),
    Use("glu", lambda: nn.GLU(-3)(ROWS), ("glu: `dim` is -3", "expected -2 to 1")),
    Use("softmax", lambda: F.softmax(ROWS, 2), ("softmax: `dim` is 2", "expected -2 to 1")),
]
"""Layers made, or used, with settings that cannot be."""

_weights = nn.Linear(4, 3)
_state = _weights.state_dict()
FUNCTIONS = [
    Use(
        "add",
        lambda: ROWS + _ones(3),
        ("add: shapes (2, 4) and (3,) do not broadcast", "`a`", "expected"),
    ),
    Use("mul", lambda: ROWS * _ones(3), ("mul: shapes (2, 4) and (3,)", "`b`", "expected")),
    Use("matmul", lambda: ROWS @ ROWS, ("matmul", "(2, 4)")),
    Use("reshape", lambda: ROWS.reshape(3, 3), ("reshape: `shape` is (3, 3)", "8 elements")),
    Use("transpose", lambda: ROWS.transpose(0, 5), ("transpose: `dim` is 5", "expected -2 to 1")),
    Use("cat", lambda: tg.cat([ROWS, SIGNALS]), ("cat", "(2, 4, 9)")),
    Use("cat one", lambda: tg.cat(3), ("cat: `tensors` is 3", "expected a list or tuple")),
    Use("stack", lambda: tg.stack([ROWS, SIGNALS]), ("stack", "(2, 4, 9)")),
    Use(
        "sub of bools",
        lambda: ROWS.bool() - ROWS,
        ("sub: `input` is bool, expected numbers", "use ^"),
    ),
    Use("neg of bools", lambda: -ROWS.bool(), ("neg: `input` is bool, expected numbers", "use ~")),
    Use("order", lambda: ROWS.to("complex64") < 1, ("lt: `input` is complex64", "expected real")),
    Use(
        "clamp", lambda: ROWS.to("complex64").clamp(0), ("clamp: `x` is complex64", "expected real")
    ),
    Use("index", lambda: ROWS[5], ("5", "2")),
    Use("gather", lambda: ROWS.gather(3, LABELS), ("gather: `dim` is 3", "expected")),
    Use("norm", lambda: tg.norm(ROWS, "x"), ("norm: `p` is 'x'", "expected a number")),
    Use("item", lambda: ROWS.item(), ("item", "(2, 4)")),
    Use("ragged", lambda: tg.tensor([[1], [2, 3]]), ("tensor: `data` is not rectangular",)),
    Use("text", lambda: tg.tensor("x"), ("tensor: `data` is a str", "expected")),
    Use("dtype", lambda: tg.zeros(2, dtype="float31"), ("float31",)),
    Use(
        "leaf", lambda: ROWS.backward(), ("backward: output 0 (shape (2, 4))", "requires_grad=True")
    ),
    Use(
        "labels",
        lambda: F.cross_entropy(ROWS, tg.tensor([0, 9])),
        ("cross_entropy: `target` holds 9", "expected class numbers from 0 to 3"),
    ),
    Use(
        "float labels",
        lambda: F.cross_entropy(ROWS, _ones(2)),
        ("cross_entropy: `target` has dtype float32", "expected integers"),
    ),
    Use(
        "no probabilities",
        lambda: F.binary_cross_entropy(ROWS * 4, ROWS),
        (
            "`input` has values from 2",
            "[0, 1] are expected",
            "use binary_cross_entropy_with_logits",
        ),
    ),
    Use(
        "beta",
        lambda: F.smooth_l1_loss(ROWS, ROWS, beta=-1),
        ("`beta` is -1", "at least 0 is expected"),
    ),
    Use(
        "delta",
        lambda: F.huber_loss(ROWS, ROWS, delta=0),
        ("`delta` is 0", "positive number is expected"),
    ),
    Use(
        "variance",
        lambda: F.gaussian_nll_loss(ROWS, ROWS, -ROWS),
        ("`var` holds -0.5", "expected none below 0"),
    ),
    Use(
        "broadcast",
        lambda: F.binary_cross_entropy(ROWS, _ones(2, 1)),
        ("`target` (2, 1)", "must be the same", "use expand()"),
    ),
    Use(
        "large window", lambda: F.max_pool2d(IMAGES, 20), ("max_pool2d", "expected at least 1 x 1")
    ),
    Use("dropout", lambda: F.dropout(ROWS, 2), ("dropout: `p` is 2", "expected a probability")),
    Use(
        "unknown setting of fit",
        lambda: train.fit(_weights, [], pateince=3),
        ("fit: there is no setting `pateince`, expected", "patience"),
    ),
    Use(
        "non_finite",
        lambda: train.fit(_weights, [], non_finite="ignore"),
        ("fit: `non_finite` is 'ignore', expected stop or skip",),
    ),
    Use("no batches", lambda: train.fit(_weights, []), ("fit: `train` is empty", "expected")),
]
"""Functions, methods and training."""

STATES = [
    Use("lr", lambda: optim.SGD(_weights.parameters(), lr=-1), ("SGD: `lr` is -1", "expected")),
    Use(
        "betas",
        lambda: optim.Adam(_weights.parameters(), betas=(0.9, 1)),
        ("Adam: `betas[1]` is 1", "[0, 1) is expected"),
    ),
    Use("no parameters", lambda: optim.Adam([]), ("Adam: `params` is empty", "read only once")),
    Use(
        "one tensor", lambda: optim.Adam(_weights.weight), ("Adam: `params` is a", "expected", "[")
    ),
    Use(
        "no leaf",
        lambda: optim.SGD([_weights.weight * 2], 0.1),
        ("SGD: parameter 0", "a leaf is expected"),
    ),
    Use(
        "twice", lambda: optim.SGD([_weights.weight] * 2, 0.1), ("SGD: parameter 1", "given twice")
    ),
    Use("missing", lambda: _weights.load_state_dict({}), ("missing", "weight", "bias")),
    Use("unexpected", lambda: _weights.load_state_dict({**_state, "x": ROWS}), ("unexpected", "x")),
    Use(
        "shape",
        lambda: _weights.load_state_dict({**_state, "bias": ROWS}),
        ("bias", "(2, 4)", "(3,)"),
    ),
    Use(
        "optimizer's",
        lambda: optim.SGD(_weights.parameters(), 0.1).load_state_dict({}),
        ("SGD.load_state_dict: `state_dict` has []", "expected"),
    ),
    Use("scheduler", lambda: optim.lr_scheduler.StepLR(None, 3), ("StepLR", "None")),
]
"""Optimisers, and states that belong to others."""
