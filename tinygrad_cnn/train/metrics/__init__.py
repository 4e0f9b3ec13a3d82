"""Metrics, in training or by themselves: ``update`` with batches, ``compute``, ``reset``.

>>> from tinygrad_cnn.train import metrics
>>> f1 = metrics.F1Score(average="macro")
>>> for outputs, targets in [([0, 1, 2], [0, 1, 1]), ([2, 2], [2, 0])]:
...     f1.update(outputs, targets)
>>> f1.compute().item()
0.611111111111111
"""

from tinygrad_cnn.train.metrics.classes import (
    Accuracy,
    ConfusionMatrix,
    F1Score,
    Precision,
    Recall,
)
from tinygrad_cnn.train.metrics.metric import Mean, MeanOf, Metric
from tinygrad_cnn.train.metrics.numbers import MeanAbsoluteError, MeanSquaredError, R2Score
from tinygrad_cnn.train.metrics.ranking import AUROC, AveragePrecision

__all__ = [
    "AUROC",
    "Accuracy",
    "AveragePrecision",
    "ConfusionMatrix",
    "F1Score",
    "Mean",
    "MeanAbsoluteError",
    "MeanOf",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "R2Score",
    "Recall",
]
