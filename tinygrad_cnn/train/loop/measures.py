"""What is measured besides the loss: metrics by name or as functions, and which value is better."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import numpy as np

from tinygrad_cnn.nn.functional import cross_entropy
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.loop.metrics import top_k_accuracy
from tinygrad_cnn.train.loop.step import Loss
from tinygrad_cnn.types import Array

Metric = Callable[[Tensor, Tensor], "Tensor | float"]
"""``(outputs, targets) -> number``, a mean over the batch. A metric whose name ends in ``loss`` or
``error`` is better the smaller it is, any other the larger.
"""

Metrics = str | Metric | Iterable[str | Metric] | Mapping[str, str | Metric]


def class_numbers(labels: Tensor) -> Array:
    """Class numbers (n,) of labels (n,), or of probabilities (n, classes): the largest."""
    return labels._array if labels.ndim == 1 else labels._array.argmax(axis=1)  # (n,)


def _accuracy(scores: Tensor, labels: Tensor) -> float:
    return float((scores._array.argmax(axis=1) == class_numbers(labels)).mean())


def _top5_accuracy(scores: Tensor, labels: Tensor) -> float:
    return top_k_accuracy(scores._array, class_numbers(labels), min(5, scores.shape[1]))


def _absolute_error(outputs: Tensor, targets: Tensor) -> float:
    if outputs.shape != targets.shape:
        raise TrainError(
            f"the metric absolute_error: outputs have shape {outputs.shape}, targets "
            f"{targets.shape}, expected the same"
        )
    return float(np.abs(outputs._array - targets._array).mean())


METRICS: dict[str, Metric] = {
    "accuracy": _accuracy,
    "top5_accuracy": _top5_accuracy,
    "absolute_error": _absolute_error,
}
_OF_CLASSES = ("accuracy", "top5_accuracy")


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
    made: dict[str, Metric] = {}
    for name, metric in pairs:
        if isinstance(metric, str) and metric not in METRICS:
            known = ", ".join(METRICS)
            raise TrainError(f"`metrics` has {metric!r}, expected {known} or a function")
        made[name] = METRICS[metric] if isinstance(metric, str) else metric
    return made


def _name(metric: object) -> str:
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", "<lambda>")
    if name == "<lambda>":
        raise TypeError(
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


def check_targets(metrics: Iterable[str], scores: Tensor, labels: Tensor, loss: Loss) -> None:
    """Refuse a metric of classes where there are none.

    Raises
    ------
    TrainError
        Outputs or targets have another shape, or the targets are no integers.
    """
    for name in metrics:
        soft = labels.ndim == 2 and labels.shape == scores.shape and scores.shape[1] > 1
        if name in _OF_CLASSES and not (are_classes(scores, labels, loss) or soft):
            raise TrainError(
                f"the metric {name}: outputs have shape {tuple(scores.shape)} and targets "
                f"{tuple(labels.shape)} {labels.dtype}, expected (n, classes) and integers (n,)"
            )


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
