"""What a classifier gets right and wrong: accuracies, confusion matrix, calibration, mistakes.

All take arrays, tensors or lists.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.tensor import Tensor

Integers = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]
_Function = TypeVar("_Function", bound=Callable[..., object])


def _of_arrays(function: _Function) -> _Function:
    """``function`` that takes tensors and lists too."""

    @functools.wraps(function)
    def wrapped(*args: object, **kwargs: object) -> object:
        return function(*map(_array, args), **{k: _array(v) for k, v in kwargs.items()})

    return wrapped  # type: ignore[return-value]


def _array(value: object) -> object:
    if isinstance(value, Tensor):
        return value._array
    return np.asarray(value) if isinstance(value, list | tuple) else value


@_of_arrays
def accuracy(predictions: Integers, labels: Integers) -> float:
    """Share of ``predictions`` (n,) that equal ``labels`` (n,); nan without examples.

    Examples
    --------
    >>> accuracy(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2]))
    0.75
    """
    if predictions.shape != labels.shape:
        raise ArgumentError(
            f"accuracy: `predictions` has shape {predictions.shape}, `labels` {labels.shape}"
        )
    return float(np.mean(predictions == labels)) if labels.size else float("nan")


@_of_arrays
def confusion_matrix(predictions: Integers, labels: Integers, classes: int) -> NDArray[np.int64]:
    """Counts (classes, classes): row the true class, column the predicted one.

    Raises
    ------
    ValueError
        The shapes differ, or a value is not in ``0 … classes - 1``.

    Examples
    --------
    >>> confusion_matrix([0, 1, 1], [0, 1, 0], 2)
    array([[1, 1],
           [0, 1]])
    """
    if predictions.shape != labels.shape:
        raise ArgumentError(
            f"confusion_matrix: `predictions` has shape {predictions.shape}, "
            f"`labels` {labels.shape}"
        )
    for name, values in (("predictions", predictions), ("labels", labels)):
        if values.dtype.kind not in "iu":
            raise ArgumentError(
                f"confusion_matrix: `{name}` are {values.dtype}, expected integers: class numbers"
            )
        if values.size and not 0 <= values.min() <= values.max() < classes:
            raise ArgumentError(
                f"confusion_matrix: `{name}` has values from {values.min()} to {values.max()}, "
                f"expected 0 to {classes - 1}"
            )
    cells = labels.astype(np.int64) * classes + predictions  # each pair's place in the flat matrix
    counts = np.bincount(cells.ravel(), minlength=classes * classes)
    return counts.reshape(classes, classes)


@_of_arrays
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


@_of_arrays
def top_k_accuracy(scores: Floats, labels: Integers, k: int = 5) -> float:
    """Share of ``labels`` (n,) among the ``k`` classes of largest ``scores`` (n, classes).

    Of equal scores those of the first classes count as larger; nan without examples.

    Raises
    ------
    ValueError
        ``k`` is not between 1 and the number of classes.

    Examples
    --------
    >>> top_k_accuracy(np.array([[0.1, 0.7, 0.2], [0.5, 0.4, 0.1]]), np.array([2, 2]), k=2)
    0.5
    """
    if not 1 <= k <= scores.shape[1]:
        raise ArgumentError(f"top_k_accuracy: `k` is {k}, expected 1 to {scores.shape[1]} classes")
    own = np.take_along_axis(scores, labels[:, None], axis=1)  # (n, 1)
    before = np.arange(scores.shape[1]) < labels[:, None]  # (n, classes)
    rank = ((scores > own) | ((scores == own) & before)).sum(axis=1)
    return float(np.mean(rank < k)) if labels.size else float("nan")


class ClassScores(NamedTuple):
    """Per class (c,); nan where there is nothing to divide by."""

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    examples: NDArray[np.int64]


@_of_arrays
def class_scores(matrix: Integers) -> ClassScores:
    """Precision, recall and F1 of each class from a confusion ``matrix`` (c, c), true classes down.

    Precision is the share of right ones among the predictions of a class, recall among its
    examples, and F1 their harmonic mean, ``2 right / (predictions + examples)``. A class that is
    never predicted has no precision, a class without examples neither recall nor F1: nan.

    Examples
    --------
    >>> class_scores(np.array([[3, 1], [0, 0]])).precision
    array([1., 0.])
    >>> class_scores(np.array([[3, 1], [0, 0]])).f1.round(3)
    array([0.857,   nan])
    """
    right = np.diagonal(matrix).astype(np.float64)
    examples, predicted = matrix.sum(axis=1), matrix.sum(axis=0)

    def share(count: Floats, of: Integers, known: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.where(known, count / np.maximum(of, 1), np.nan)

    return ClassScores(
        precision=share(right, predicted, predicted > 0),
        recall=share(right, examples, examples > 0),
        f1=share(2 * right, predicted + examples, examples > 0),
        examples=examples.astype(np.int64),
    )


@_of_arrays
def probabilities(scores: Floats) -> NDArray[np.float64]:
    """Softmax of ``scores`` (n, classes) over the classes."""
    shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    result: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return result


class Calibration(NamedTuple):
    """How far the confidence of predictions is from their accuracy.

    ``error`` is the expected calibration error: the mean distance of the two over bins of equal
    width, weighted by the images in each. ``confidence`` and ``accuracy`` (bins,) are the means in
    each bin, nan in an empty one, ``counts`` its images.
    """

    error: float
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    counts: NDArray[np.int64]


@_of_arrays
def calibration(shares: Floats, labels: Integers, bins: int = 15) -> Calibration:
    """Compare the largest probability with how often it is right.

    ``shares`` (n, classes) are probabilities, ``labels`` (n,). Source: Guo et al., "On calibration
    of modern neural networks", 2017.

    Examples
    --------
    >>> calibration(np.array([[0.8, 0.2], [0.8, 0.2]]), np.array([0, 1]), bins=5).error
    0.30000000000000004
    """
    confidence = shares.max(axis=1)  # (n,)
    right = shares.argmax(axis=1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    full = counts > 0

    def means(values: Floats | NDArray[np.bool_]) -> NDArray[np.float64]:
        sums = np.bincount(place, weights=values, minlength=bins)
        return np.where(full, sums / np.maximum(counts, 1), np.nan)

    mean, hits = means(confidence), means(right)
    gaps = np.where(full, np.abs(mean - hits), 0.0)
    error = float((gaps * counts).sum() / counts.sum()) if len(labels) else float("nan")
    return Calibration(error, mean, hits, counts)


@_of_arrays
def most_confused(matrix: Integers, count: int = 5) -> list[tuple[int, int, int]]:
    """The largest mistakes in a confusion ``matrix``: true class, predicted class, images.

    Examples
    --------
    >>> most_confused(np.array([[8, 2, 0], [5, 5, 0], [0, 1, 9]]), 2)
    [(1, 0, 5), (0, 1, 2)]
    """
    wrong = np.array(matrix)
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    pairs = [divmod(int(i), len(matrix)) for i in order]
    return [(t, p, int(wrong[t, p])) for t, p in pairs if wrong[t, p]]


@_of_arrays
def confident_mistakes(shares: Floats, labels: Integers, count: int = 24) -> NDArray[np.int64]:
    """Which images are wrong with the largest probability, the worst first (up to ``count``,).

    Examples
    --------
    >>> shares = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    >>> confident_mistakes(shares, np.array([1, 1, 1]))
    array([0, 1])
    """
    wrong = np.flatnonzero(shares.argmax(axis=1) != labels)
    order = np.argsort(-shares.max(axis=1)[wrong], kind="stable")
    return wrong[order[:count]]
