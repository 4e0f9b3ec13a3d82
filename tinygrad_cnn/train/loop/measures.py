"""What is measured besides the loss: metrics by name, as objects or as functions, and which value
is better.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from tinygrad_cnn.errors import DtypeError
from tinygrad_cnn.nn.functional import cross_entropy
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.train import metrics
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.loop.step import Loss
from tinygrad_cnn.train.metrics import MeanOf, Metric
from tinygrad_cnn.types import Array

Function = Callable[[Tensor, Tensor], "Tensor | float"]
"""``(outputs, targets) -> number``, a mean over the batch."""

Named = str | Metric | Function
"""A metric whose name ends in ``loss`` or ``error`` is better the smaller it is, any other the
larger.
"""

Metrics = Named | Iterable[Named] | Mapping[str, Named]


def class_numbers(labels: Tensor) -> Array:
    """Class numbers (n,) of labels (n,), or of probabilities (n, classes): the largest."""
    return labels._array if labels.ndim == 1 else labels._array.argmax(axis=1)  # (n,)


METRICS: dict[str, Callable[[], Metric]] = {
    "accuracy": metrics.Accuracy,
    "top5_accuracy": lambda: metrics.Accuracy(top_k=5),
    "precision": metrics.Precision,
    "recall": metrics.Recall,
    "f1_score": metrics.F1Score,
    "auroc": metrics.AUROC,
    "absolute_error": metrics.MeanAbsoluteError,
    "squared_error": metrics.MeanSquaredError,
    "r2_score": metrics.R2Score,
}


def make_metrics(given: Metrics | None) -> dict[str, Metric] | None:
    """Metrics by name; None, for those that suit the data, stays None.

    Raises
    ------
    TrainError
        A name is unknown.
    TypeError
        A metric is neither a name nor a function with a name.

    >>> list(make_metrics(["accuracy", "absolute_error"]))
    ['accuracy', 'absolute_error']
    """
    if given is None:
        return None
    if isinstance(given, str) or callable(given):
        given = [given]
    pairs = given.items() if isinstance(given, Mapping) else [(_name(m), m) for m in given]
    return {name: _metric(metric) for name, metric in pairs}


def _metric(given: Named) -> Metric:
    if isinstance(given, str):
        if given not in METRICS:
            raise TrainError(
                f"`metrics` has {given!r}, expected {', '.join(METRICS)}, a metric of "
                "tg.train.metrics or a function"
            )
        return METRICS[given]()
    return given if isinstance(given, Metric) else MeanOf(given)


def _name(metric: object) -> str:
    if isinstance(metric, Metric):  # R2Score: r2_score
        return re.sub(r"(?<=[a-z\d])(?=[A-Z])", "_", type(metric).__name__).lower()
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", "<lambda>")
    if name == "<lambda>":
        raise DtypeError(
            f"fit: `metrics` has {metric!r}, which has no name, expected a dict such as "
            "{'name': function}"
        )
    return str(name)


def are_classes(scores: Tensor, labels: Tensor, loss: Loss) -> bool:
    """Whether ``scores`` are (n, classes) and ``labels`` their class numbers (n,).

    Probabilities (n, classes) are labels too, where the ``loss`` is cross-entropy.
    """
    if scores.ndim != 2 or scores.shape[1] < 2:
        return False
    if labels.ndim == 1:
        return labels.dtype.kind in "iu"
    found = loss.func if isinstance(loss, partial) else loss
    return found is cross_entropy and labels.shape == scores.shape


def lower_is_better(name: str) -> bool:
    """Whether a column such as ``val_loss`` or ``val_accuracy`` is better the smaller it is.

    >>> lower_is_better("val_loss"), lower_is_better("val_accuracy")
    (True, False)
    """
    return name.endswith(("loss", "error"))


def parse_monitor(text: str) -> str:
    """The metric of a column such as ``val_loss``.

    Raises
    ------
    TrainError
        It begins neither with ``train_`` nor with ``val_``.

    >>> parse_monitor("val_accuracy")
    'accuracy'
    """
    place, _, name = text.partition("_")
    if place not in ("train", "val") or not name:
        raise TrainError(f"bad monitor {text!r}; expected val_loss, val_accuracy, train_loss, ...")
    return name


def known(value: float | int | None) -> bool:
    """Whether a cell of the history holds a number."""
    return value is not None and not math.isnan(value)
