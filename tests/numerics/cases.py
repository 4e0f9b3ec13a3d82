"""What is tried at extreme numbers: losses, activations, norms, reductions and optimisers.

A case is a function of a library (`tinygrad_cnn` or `torch`, which have the same names), its
functional module and one tensor ``x`` (4, 12), so that both can run it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Case = Callable[[Any, Any, Any], Any]
ROWS, COLUMNS = 24, 12


def _like(lib: Any, x: Any, values: Array) -> Any:
    """A constant of the dtype of ``x``."""
    return lib.tensor(values).to(x.dtype)


def _draw(*shape: int, seed: int = 5) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def _target(lib: Any, x: Any) -> Any:
    return _like(lib, x, _draw(ROWS, COLUMNS))


def _share(lib: Any, x: Any) -> Any:
    """Targets between 0 and 1."""
    return _like(lib, x, np.random.default_rng(6).random((ROWS, COLUMNS)))


def _chances(lib: Any, x: Any) -> Any:
    """A probability for every class."""
    p = np.random.default_rng(7).random((ROWS, COLUMNS))
    return _like(lib, x, p / p.sum(1, keepdims=True))


def _classes(lib: Any) -> Any:
    return lib.tensor(np.array([0, 3, 7, 11] * 6))


def _signs(lib: Any, x: Any, *shape: int) -> Any:
    return _like(lib, x, np.where(_draw(*shape) > 0, 1.0, -1.0))


def _scale(lib: Any, x: Any, count: int) -> tuple[Any, Any]:
    """A weight and a bias."""
    return _like(lib, x, 1 + 0.1 * _draw(count)), _like(lib, x, _draw(count, seed=8))


ACTIVATIONS: dict[str, Case] = {
    "relu": lambda lib, F, x: F.relu(x),
    "relu6": lambda lib, F, x: F.relu6(x),
    "leaky_relu": lambda lib, F, x: F.leaky_relu(x, 0.1),
    "elu": lambda lib, F, x: F.elu(x, 1.3),
    "selu": lambda lib, F, x: F.selu(x),
    "celu": lambda lib, F, x: F.celu(x, 1.3),
    "gelu": lambda lib, F, x: F.gelu(x),
    "gelu tanh": lambda lib, F, x: F.gelu(x, approximate="tanh"),
    "silu": lambda lib, F, x: F.silu(x),
    "mish": lambda lib, F, x: F.mish(x),
    "softplus": lambda lib, F, x: F.softplus(x),
    "softplus beta": lambda lib, F, x: F.softplus(x, 0.5, 10),
    "softsign": lambda lib, F, x: F.softsign(x),
    "sigmoid": lambda lib, F, x: F.sigmoid(x),
    "tanh": lambda lib, F, x: F.tanh(x),
    "hardtanh": lambda lib, F, x: F.hardtanh(x, -2.0, 2.0),
    "hardsigmoid": lambda lib, F, x: F.hardsigmoid(x),
    "hardswish": lambda lib, F, x: F.hardswish(x),
    "logsigmoid": lambda lib, F, x: F.logsigmoid(x),
    "tanhshrink": lambda lib, F, x: F.tanhshrink(x),
    "softshrink": lambda lib, F, x: F.softshrink(x, 0.5),
    "hardshrink": lambda lib, F, x: F.hardshrink(x, 0.5),
    "threshold": lambda lib, F, x: F.threshold(x, 0.1, 20.0),
    "prelu": lambda lib, F, x: F.prelu(x, _like(lib, x, np.array([0.25]))),
    "rrelu": lambda lib, F, x: F.rrelu(x, training=False),
}

SOFTMAX: dict[str, Case] = {
    "glu": lambda lib, F, x: F.glu(x, 1),
    "softmax": lambda lib, F, x: F.softmax(x, 1),
    "softmax of columns": lambda lib, F, x: F.softmax(x, 0),
    "softmin": lambda lib, F, x: F.softmin(x, 1),
    "log_softmax": lambda lib, F, x: F.log_softmax(x, 1),
    "log_softmax of columns": lambda lib, F, x: F.log_softmax(x, 0),
}

LOSSES: dict[str, Case] = {
    "l1_loss": lambda lib, F, x: F.l1_loss(x, _target(lib, x)),
    "mse_loss": lambda lib, F, x: F.mse_loss(x, _target(lib, x)),
    "mse_loss sum": lambda lib, F, x: F.mse_loss(x, _target(lib, x), reduction="sum"),
    "smooth_l1_loss": lambda lib, F, x: F.smooth_l1_loss(x, _target(lib, x), beta=0.5),
    "huber_loss": lambda lib, F, x: F.huber_loss(x, _target(lib, x), delta=2.0),
    "cross_entropy": lambda lib, F, x: F.cross_entropy(x, _classes(lib)),
    "cross_entropy none": lambda lib, F, x: F.cross_entropy(x, _classes(lib), reduction="none"),
    "cross_entropy smooth": lambda lib, F, x: F.cross_entropy(
        x, _classes(lib), label_smoothing=0.1
    ),
    "cross_entropy weight": lambda lib, F, x: F.cross_entropy(
        x, _classes(lib), weight=_chances(lib, x)[0]
    ),
    "cross_entropy chances": lambda lib, F, x: F.cross_entropy(x, _chances(lib, x)),
    "nll_loss": lambda lib, F, x: F.nll_loss(x, _classes(lib)),
    "binary_cross_entropy": lambda lib, F, x: F.binary_cross_entropy(
        lib.sigmoid(x), _share(lib, x)
    ),
    "binary_cross_entropy_with_logits": lambda lib, F, x: F.binary_cross_entropy_with_logits(
        x, _share(lib, x)
    ),
    "binary_cross_entropy_with_logits pos_weight": lambda lib, F, x: (
        F.binary_cross_entropy_with_logits(
            x, _share(lib, x), pos_weight=_like(lib, x, np.array([3.0]))
        )
    ),
    "kl_div": lambda lib, F, x: F.kl_div(x, _chances(lib, x), reduction="batchmean"),
    "kl_div log_target": lambda lib, F, x: F.kl_div(
        F.log_softmax(x, 1), lib.log(_chances(lib, x)), reduction="sum", log_target=True
    ),
    "poisson_nll_loss": lambda lib, F, x: F.poisson_nll_loss(x, 10 * _share(lib, x), full=True),
    "poisson_nll_loss rates": lambda lib, F, x: F.poisson_nll_loss(
        lib.abs(x), 10 * _share(lib, x), log_input=False
    ),
    "gaussian_nll_loss": lambda lib, F, x: F.gaussian_nll_loss(
        x, _target(lib, x), _share(lib, x) + 0.1, full=True
    ),
    "gaussian_nll_loss variance": lambda lib, F, x: F.gaussian_nll_loss(
        _target(lib, x), _share(lib, x), lib.abs(x)
    ),
    "hinge_embedding_loss": lambda lib, F, x: F.hinge_embedding_loss(
        x, _signs(lib, x, ROWS, COLUMNS)
    ),
    "margin_ranking_loss": lambda lib, F, x: F.margin_ranking_loss(
        x, _target(lib, x), _signs(lib, x, ROWS, COLUMNS), margin=0.5
    ),
    "soft_margin_loss": lambda lib, F, x: F.soft_margin_loss(x, _signs(lib, x, ROWS, COLUMNS)),
    "multi_margin_loss": lambda lib, F, x: F.multi_margin_loss(x, _classes(lib), p=2),
    "multilabel_margin_loss": lambda lib, F, x: F.multilabel_margin_loss(
        x, lib.tensor(np.array([[2, 5, -1, *(0,) * 9]] * ROWS))
    ),
    "multilabel_soft_margin_loss": lambda lib, F, x: F.multilabel_soft_margin_loss(
        x, _share(lib, x)
    ),
    "cosine_embedding_loss": lambda lib, F, x: F.cosine_embedding_loss(
        x, _target(lib, x), _signs(lib, x, ROWS), margin=-0.5
    ),
    "triplet_margin_loss": lambda lib, F, x: F.triplet_margin_loss(
        x, _target(lib, x), -_target(lib, x)
    ),
    "ctc_loss": lambda lib, F, x: F.ctc_loss(
        F.log_softmax(x[:4], 1),  # (time, classes)
        lib.tensor(np.array([2, 5])),
        lib.tensor(np.array(4)),
        lib.tensor(np.array(2)),
    ),
}

NORMS: dict[str, Case] = {
    "layer_norm": lambda lib, F, x: F.layer_norm(x, (COLUMNS,)),
    "layer_norm weight": lambda lib, F, x: F.layer_norm(x, (COLUMNS,), *_scale(lib, x, COLUMNS)),
    "layer_norm of all": lambda lib, F, x: F.layer_norm(x, (ROWS, COLUMNS)),
    "rms_norm": lambda lib, F, x: F.rms_norm(x, (COLUMNS,)),
    "rms_norm weight": lambda lib, F, x: F.rms_norm(
        x, (COLUMNS,), _scale(lib, x, COLUMNS)[0], eps=1e-6
    ),
    "batch_norm": lambda lib, F, x: F.batch_norm(x, None, None, training=True),
    "batch_norm images": lambda lib, F, x: F.batch_norm(
        x.reshape(8, 3, 3, 4), None, None, *_scale(lib, x, 3), training=True
    ),
    "batch_norm eval": lambda lib, F, x: F.batch_norm(
        x, _scale(lib, x, COLUMNS)[1], lib.abs(_scale(lib, x, COLUMNS)[0])
    ),
    "group_norm": lambda lib, F, x: F.group_norm(x, 3, *_scale(lib, x, COLUMNS)),
    "group_norm images": lambda lib, F, x: F.group_norm(x.reshape(6, 4, 3, 4), 2),
    "instance_norm": lambda lib, F, x: F.instance_norm(x.reshape(8, 3, 3, 4)),
    "local_response_norm": lambda lib, F, x: F.local_response_norm(x.reshape(3, 8, 12), 3),
    "normalize": lambda lib, F, x: F.normalize(x),
    "normalize 1": lambda lib, F, x: F.normalize(x, 1.0, 0),
    "cosine_similarity": lambda lib, F, x: F.cosine_similarity(x, _target(lib, x), 1),
    "cosine_similarity to itself": lambda lib, F, x: F.cosine_similarity(x[:12], x[12:], 1),
    "pairwise_distance": lambda lib, F, x: F.pairwise_distance(x[:12], x[12:]),
    "pdist": lambda lib, F, x: F.pdist(x),
    "cdist": lambda lib, F, x: lib.cdist(x, _target(lib, x)),
    "cdist 1": lambda lib, F, x: lib.cdist(x, _target(lib, x), p=1.0),
}

REDUCTIONS: dict[str, Case] = {
    "sum": lambda lib, F, x: lib.sum(x, 1),
    "sum of all": lambda lib, F, x: lib.sum(x),
    "nansum": lambda lib, F, x: lib.nansum(x, 1),
    "mean": lambda lib, F, x: lib.mean(x, 1),
    "mean of columns": lambda lib, F, x: lib.mean(x, 0),
    "nanmean": lambda lib, F, x: lib.nanmean(x, 1),
    "prod": lambda lib, F, x: lib.prod(x[:, :3], 1),
    "var": lambda lib, F, x: lib.var(x, 1),
    "var of columns": lambda lib, F, x: lib.var(x, 0),
    "var of all": lambda lib, F, x: lib.var(x),
    "std": lambda lib, F, x: lib.std(x, 1),
    "std of all": lambda lib, F, x: lib.std(x),
    "var_mean": lambda lib, F, x: lib.stack(lib.var_mean(x, 1)),
    "std_mean": lambda lib, F, x: lib.stack(lib.std_mean(x, 0)),
    "norm": lambda lib, F, x: lib.norm(x, dim=1),
    "norm of all": lambda lib, F, x: lib.norm(x),
    "vector_norm 1": lambda lib, F, x: lib.linalg.vector_norm(x, 1, 1),
    "vector_norm 2": lambda lib, F, x: lib.linalg.vector_norm(x, 2, 0),
    "vector_norm 3": lambda lib, F, x: lib.linalg.vector_norm(x, 3, 1),
    "vector_norm 0.5": lambda lib, F, x: lib.linalg.vector_norm(x, 0.5, 1),
    "vector_norm inf": lambda lib, F, x: lib.linalg.vector_norm(x, float("inf"), 1),
    "vector_norm -inf": lambda lib, F, x: lib.linalg.vector_norm(x, float("-inf"), 1),
    "matrix_norm": lambda lib, F, x: lib.linalg.matrix_norm(x),
    "dist": lambda lib, F, x: lib.dist(x, _target(lib, x)),
    "renorm": lambda lib, F, x: lib.renorm(x, 2, 0, 5.0),
    "logsumexp": lambda lib, F, x: lib.logsumexp(x, 1),
    "logsumexp of columns": lambda lib, F, x: lib.logsumexp(x, 0),
    "amax": lambda lib, F, x: lib.amax(x, 1),
    "amin": lambda lib, F, x: lib.amin(x, 0),
    "max": lambda lib, F, x: lib.max(x),
    "min": lambda lib, F, x: lib.min(x, 1)[0],
    "median": lambda lib, F, x: lib.median(x, 1)[0],
    "nanmedian": lambda lib, F, x: lib.nanmedian(x, 1)[0],
    "quantile": lambda lib, F, x: lib.quantile(x, 0.3, 1),
    "cumsum": lambda lib, F, x: lib.cumsum(x, 1),
    "cumprod": lambda lib, F, x: lib.cumprod(x[:, :3], 1),
    "logcumsumexp": lambda lib, F, x: lib.logcumsumexp(x, 1),
    "cummax": lambda lib, F, x: lib.cummax(x, 1)[0],
}

OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "SGD": ("SGD", {"lr": 0.1}),
    "SGD momentum": ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    "SGD nesterov": ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "Adam": ("Adam", {"lr": 0.1}),
    "Adam weight_decay": ("Adam", {"lr": 0.1, "weight_decay": 0.1}),
    "Adam amsgrad": ("Adam", {"lr": 0.1, "amsgrad": True}),
    "AdamW": ("AdamW", {"lr": 0.1}),
    "Adamax": ("Adamax", {"lr": 0.1}),
    "NAdam": ("NAdam", {"lr": 0.1}),
    "RAdam": ("RAdam", {"lr": 0.1}),
    "RMSprop": ("RMSprop", {"lr": 0.1}),
    "RMSprop centered": ("RMSprop", {"lr": 0.1, "centered": True, "momentum": 0.9}),
    "Adadelta": ("Adadelta", {"lr": 0.1}),
    "Adagrad": ("Adagrad", {"lr": 0.1}),
    "Rprop": ("Rprop", {"lr": 0.1}),
    "ASGD": ("ASGD", {"lr": 0.1}),
    "Adafactor": ("Adafactor", {"lr": 0.1}),
    "Muon": ("Muon", {"lr": 0.1}),
}


def _set(x: Array, value: float) -> Array:
    """``x`` with ``value`` in one place of the second row."""
    x = x.copy()
    x[1, 4] = value
    return x


_plain = _draw(ROWS, COLUMNS, seed=1)
DATA: dict[str, Array] = {
    name: values.astype(np.float32)
    for name, values in {
        "1e4": 1e4 * _plain,
        "1e20": 1e20 * _plain,
        "3e37": 3e37 * np.sign(_plain),
        "one 1e20": _set(_plain, 1e20),
        "one -1e20": _set(_plain, -1e20),
        "1e-20": 1e-20 * _plain,
        "subnormal": 1e-40 * _plain,
        "zero": 0 * _plain,
        "equal": 0 * _plain + 3.7,
        "equal large": 0 * _plain + 1e6 + 0.1,
        "mean 1e6": _plain + 1e6,
        "mean -1e6": _plain - 1e6,
        "saturated": 30 * _plain,
        "inf": _set(_plain, np.inf),
        "-inf": _set(_plain, -np.inf),
        "nan": _set(_plain, np.nan),
        "all inf": 0 * _plain + np.inf,
    }.items()
}

OTHERS = SOFTMAX | LOSSES | NORMS | REDUCTIONS


def _every_alignment(lib: Any, F: Any, x: Any) -> Any:
    """`ctc_loss` as a sum over the paths that spell 2, 5; 0 is the blank."""
    log_probs = F.log_softmax(x[:4], 1)
    scores = []
    for path in itertools.product((0, 2, 5), repeat=4):
        if [label for label, _ in itertools.groupby(path) if label] == [2, 5]:
            scores.append(log_probs[range(4), path].sum())
    stacked = lib.stack(scores)
    top = stacked.max().detach()
    return -(lib.log(lib.exp(stacked - top).sum()) + top) / 2


def _logsumexp(lib: Any, x: Any, dim: int) -> Any:
    """In which equal numbers share the gradient, however large they are."""
    top = x.amax(dim, keepdim=True).detach()
    top = lib.where(lib.isfinite(top), top, lib.zeros_like(top))
    return lib.log(lib.exp(x - top).sum(dim)) + top.squeeze(dim)


EXACT: dict[str, Case] = {
    "logsumexp": lambda lib, F, x: _logsumexp(lib, x, 1),
    "logsumexp of columns": lambda lib, F, x: _logsumexp(lib, x, 0),
    "ctc_loss": _every_alignment,
    "soft_margin_loss": lambda lib, F, x: F.softplus(-x * _signs(lib, x, ROWS, COLUMNS)).mean(),
    "logcumsumexp": lambda lib, F, x: lib.stack(
        [_logsumexp(lib, x[:, : k + 1], 1) for k in range(COLUMNS)], 1
    ),
    "var_mean": lambda lib, F, x: lib.stack([lib.var(x, 1), lib.mean(x, 1)]),
    "std_mean": lambda lib, F, x: lib.stack([lib.std(x, 0), lib.mean(x, 0)]),
}
"""The same in PyTorch's float64, where its own way loses what it looks for even there."""

REFUSED = {("binary_cross_entropy", "nan")}

OURS_IS_NAN = {
    ("multi_margin_loss", "nan"): "NaN counts as a margin that is kept in PyTorch",
    ("multi_margin_loss", "all inf"): "so does the difference of two infinities",
    ("multilabel_margin_loss", "nan"): "as multi_margin_loss",
    ("multilabel_margin_loss", "all inf"): "as multi_margin_loss",
}
