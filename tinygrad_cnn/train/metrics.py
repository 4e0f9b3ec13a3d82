"""What a classifier gets right: accuracy, accuracy per class, confusion matrix."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["accuracy", "confusion_matrix", "per_class_accuracy"]

Integers = NDArray[np.integer[Any]]


def accuracy(predictions: Integers, labels: Integers) -> float:
    """Share of ``predictions`` (n,) that equal ``labels`` (n,); nan without examples.

    Examples
    --------
    >>> accuracy(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2]))
    0.75
    """
    if predictions.shape != labels.shape:
        raise ValueError(
            f"accuracy: `predictions` has shape {predictions.shape}, `labels` {labels.shape}"
        )
    return float(np.mean(predictions == labels)) if labels.size else float("nan")


def confusion_matrix(predictions: Integers, labels: Integers, classes: int) -> NDArray[np.int64]:
    """Counts (classes, classes): row the true class, column the predicted one.

    Raises
    ------
    ValueError
        The shapes differ, or a value is not in ``0 … classes - 1``.

    Examples
    --------
    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 1, 0]), 2)
    array([[1, 1],
           [0, 1]])
    """
    if predictions.shape != labels.shape:
        raise ValueError(
            f"confusion_matrix: `predictions` has shape {predictions.shape}, "
            f"`labels` {labels.shape}"
        )
    for name, values in (("predictions", predictions), ("labels", labels)):
        if values.size and not 0 <= values.min() <= values.max() < classes:
            raise ValueError(
                f"confusion_matrix: `{name}` has values from {values.min()} to {values.max()}, "
                f"expected 0 to {classes - 1}"
            )
    cells = labels.astype(np.int64) * classes + predictions  # each pair's place in the flat matrix
    counts = np.bincount(cells.ravel(), minlength=classes * classes)
    return counts.reshape(classes, classes)


def per_class_accuracy(matrix: Integers) -> NDArray[np.float64]:
    """Share of each true class (c,) that a confusion ``matrix`` (c, c) has right.

    A class without examples has no accuracy: its entry is nan.

    Examples
    --------
    >>> per_class_accuracy(np.array([[3, 1], [0, 0]]))
    array([0.75,  nan])
    """
    totals = matrix.sum(axis=1)
    return np.where(totals > 0, np.diagonal(matrix) / np.maximum(totals, 1), np.nan)
