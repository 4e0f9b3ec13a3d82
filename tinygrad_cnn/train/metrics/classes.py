"""Metrics of classes: accuracy, precision, recall, F1, and the confusion matrix."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.train.metrics.functions import confusion_matrix
from tinygrad_cnn.train.metrics.metric import Metric, Values, array
from tinygrad_cnn.types import Array

Average = Literal["micro", "macro", "weighted", "binary", "none"] | None
_AVERAGES = "micro", "macro", "weighted", "binary", "none", None


class _Seen(NamedTuple):
    """Of m examples: the true class (m,), the predicted one (m,), scores (m, c) or None."""

    labels: Array
    predicted: Array
    scores: Array | None


class _OfClasses(Metric):
    """What metrics of classes have in common: what they take for an answer.

    Parameters
    ----------
    num_classes
        how many classes there are; without it, as many as the scores have or as were seen.
    threshold
        for scores of one class: from where on they mean class 1; probabilities have 0.5, logits 0.
    ignore_index
        a label that does not count; the default is that of `nn.functional.cross_entropy`.
    """

    def __init__(
        self,
        *,
        num_classes: int | None = None,
        threshold: float | None = None,
        ignore_index: int | None = -100,
    ) -> None:
        self.num_classes = 2 if threshold is not None else num_classes
        self.threshold, self.ignore_index = threshold, ignore_index
        super().__init__()

    def _classes(self) -> int:
        return self.num_classes or 0

    def _seen(self, outputs: Values, targets: Values) -> _Seen:
        """What a batch says; the errors are those of ``update``."""
        given, labels, scores = array(outputs), array(targets), None
        if self.threshold is None and labels.ndim == given.ndim == 2 and _soft(given, labels):
            labels = labels.argmax(axis=1)  # (n,)
        fits = labels.dtype.kind in "iub" or self.threshold is not None
        if self.threshold is not None and given.shape == labels.shape:
            predicted = (given > self.threshold).astype(np.int64)
        elif given.dtype.kind in "iub" and given.shape == labels.shape:
            predicted = given
        elif given.ndim == labels.ndim + 1 and given.shape[:1] + given.shape[2:] == labels.shape:
            predicted = given.argmax(axis=1)  # (n, …)
            scores = np.moveaxis(given, 1, -1).reshape(-1, given.shape[1])  # (m, c)
        else:
            fits = False
        if not fits:
            raise ArgumentError(
                f"{type(self).__name__}: outputs have shape {tuple(given.shape)} and targets "
                f"{tuple(labels.shape)} {labels.dtype}, expected (n, classes) and integers (n,), "
                "class numbers in one shape, or one shape and a `threshold`"
            )
        labels, predicted = labels.ravel(), predicted.ravel()
        if self.ignore_index is not None:
            kept = labels != self.ignore_index
            labels, predicted = labels[kept], predicted[kept]
            scores = None if scores is None else scores[kept]
        return _Seen(labels.astype(np.int64), predicted.astype(np.int64), scores)

    def _count(self, seen: _Seen) -> int:
        """How many classes a batch has.

        Raises
        ------
        ArgumentError
            A class number is not in ``0 … c - 1``.
        """
        pairs = {"targets": seen.labels, "outputs": seen.predicted}
        c = self.num_classes
        for name, numbers in pairs.items():
            low, high = int(numbers.min(initial=0)), int(numbers.max(initial=-1))
            if low < 0 or (c is not None and high >= c):
                expected = "0 or more" if c is None else f"0 to {c - 1}"
                raise ArgumentError(
                    f"{type(self).__name__}: `{name}` has class numbers from {low} to {high}, "
                    f"expected {expected}"
                )
        scored = 0 if seen.scores is None else seen.scores.shape[1]
        return c or max(scored, *(int(n.max(initial=-1)) + 1 for n in pairs.values()))


def _soft(scores: Array, labels: Array) -> bool:
    """Whether labels are probabilities (n, c) of several classes."""
    several: bool = scores.shape[1] > 1
    return several and labels.dtype.kind == "f" and labels.shape == scores.shape


class ConfusionMatrix(_OfClasses):
    """Counts (classes, classes): row the true class, column the predicted one.

    ``normalize`` divides them: ``"true"`` by the examples of each class, ``"pred"`` by its
    predictions, ``"all"`` by the number of examples.

    Examples
    --------
    >>> matrix = ConfusionMatrix()
    >>> matrix.update([0, 1, 1], [0, 1, 0])
    >>> matrix.compute().tolist()
    [[1, 1], [0, 1]]
    """

    def __init__(
        self,
        *,
        normalize: Literal["true", "pred", "all"] | None = None,
        num_classes: int | None = None,
        threshold: float | None = None,
        ignore_index: int | None = -100,
    ) -> None:
        if normalize not in ("true", "pred", "all", None):
            raise ArgumentError(
                f"ConfusionMatrix: `normalize` is {normalize!r}, expected 'true', 'pred', 'all' "
                "or None"
            )
        super().__init__(num_classes=num_classes, threshold=threshold, ignore_index=ignore_index)
        self.normalize = normalize

    def empty(self) -> dict[str, Array]:
        """No counts."""
        return {"matrix": np.zeros((self._classes(),) * 2, np.int64)}

    def update(self, outputs: Values, targets: Values) -> None:
        """Count a batch: scores (n, c, …) or class numbers (n, …), and class numbers (n, …).

        Raises
        ------
        ArgumentError
            Shapes do not fit, or a class number is out of range.
        """
        seen = self._seen(outputs, targets)
        self.add(matrix=confusion_matrix(seen.predicted, seen.labels, self._count(seen)))

    def value(self) -> Array:
        """Of the counts."""
        counts = self.sums["matrix"]
        if self.normalize is None:
            return counts
        axis = {"true": 1, "pred": 0, "all": None}[self.normalize]
        return np.asarray(counts / np.maximum(counts.sum(axis=axis, keepdims=True), 1))


class _Shares(_OfClasses):
    """Shares of counts per class: ``right``, ``predicted`` and ``examples`` (c,)."""

    def __init__(
        self,
        *,
        average: Average = "macro",
        num_classes: int | None = None,
        threshold: float | None = None,
        ignore_index: int | None = -100,
    ) -> None:
        if average not in _AVERAGES:
            names = ", ".join(map(repr, _AVERAGES))
            raise ArgumentError(
                f"{type(self).__name__}: `average` is {average!r}, expected one of {names}"
            )
        super().__init__(num_classes=num_classes, threshold=threshold, ignore_index=ignore_index)
        self.average = average

    def empty(self) -> dict[str, Array]:
        """No counts."""
        return {n: np.zeros(self._classes(), np.int64) for n in ("right", "predicted", "examples")}

    def update(self, outputs: Values, targets: Values) -> None:
        """Count a batch: scores (n, c, …) or class numbers (n, …), and class numbers (n, …).

        Probabilities (n, c) of several classes are targets too: the largest counts.

        Raises
        ------
        ArgumentError
            Shapes do not fit, or a class number is out of range.
        """
        seen = self._seen(outputs, targets)
        c = self._count(seen)
        self.add(
            right=np.bincount(seen.labels[self._right(seen)], minlength=c),
            predicted=np.bincount(seen.predicted, minlength=c),
            examples=np.bincount(seen.labels, minlength=c),
        )

    def _right(self, seen: _Seen) -> Array:
        """Which examples are right (m,)."""
        return np.asarray(seen.labels == seen.predicted)

    def _share(self, right: Array, predicted: Array, examples: Array) -> tuple[Array, Array]:
        """The two counts that are divided."""
        raise NotImplementedError

    def value(self) -> Array | float:
        """The share of each class, 0 where there is nothing to divide by, or their average."""
        counts = [self.sums[n] for n in ("right", "predicted", "examples")]
        if self.average == "micro":
            counts = [c.sum(keepdims=True) for c in counts]
        above, below = self._share(*counts)  # (c,)
        each = np.asarray(above / np.maximum(below, 1))
        if self.average in ("none", None):
            return each
        if not self.sums["examples"].any():
            return np.nan
        if self.average == "binary":
            if len(each) != 2:
                raise ArgumentError(
                    f"{type(self).__name__}: `average` is 'binary', but there are {len(each)} "
                    "classes, expected 2"
                )
            return float(each[1])
        if self.average == "weighted":
            return np.asarray(np.average(each, weights=self.sums["examples"]))
        return np.asarray(each[(counts[1] + counts[2]) > 0].mean())  # classes that occur


class Accuracy(_Shares):
    """Share of right predictions; with ``top_k``, of labels among the k largest scores.

    ``average="macro"`` is the mean over classes. Of equal scores those of the first classes count
    as larger. Where there are no more than k classes everything is right.

    Examples
    --------
    >>> accuracy = Accuracy()
    >>> accuracy.update([[0.1, 0.7, 0.2], [0.5, 0.4, 0.1]], [1, 1])
    >>> accuracy.compute().item()
    0.5
    >>> Accuracy(top_k=2)([[0.1, 0.7, 0.2], [0.5, 0.4, 0.1]], [1, 1]).item()
    1.0
    >>> Accuracy(threshold=0.0)([2.0, -1.0, 3.0], [1, 0, 0]).item()  # of logits
    0.6666666666666666
    """

    def __init__(
        self,
        *,
        top_k: int = 1,
        average: Average = "micro",
        num_classes: int | None = None,
        threshold: float | None = None,
        ignore_index: int | None = -100,
    ) -> None:
        if top_k < 1:
            raise ArgumentError(f"Accuracy: `top_k` is {top_k}, expected at least 1")
        super().__init__(
            average=average,
            num_classes=num_classes,
            threshold=threshold,
            ignore_index=ignore_index,
        )
        self.top_k = top_k

    def _right(self, seen: _Seen) -> Array:
        if self.top_k == 1:
            return super()._right(seen)
        if seen.scores is None:
            raise ArgumentError(f"Accuracy: `top_k` is {self.top_k}, which needs scores (n, c)")
        labels = seen.labels[:, None]  # (m, 1)
        c = seen.scores.shape[1]
        own = np.take_along_axis(seen.scores, np.minimum(labels, c - 1), axis=1)  # (m, 1)
        before = np.arange(c) < labels  # (m, c)
        rank = ((seen.scores > own) | ((seen.scores == own) & before)).sum(axis=1)  # (m,)
        return np.asarray((rank < self.top_k) & (seen.labels < c))

    def _share(self, right: Array, predicted: Array, examples: Array) -> tuple[Array, Array]:
        return right, examples


class Precision(_Shares):
    """Share of right ones among the predictions of a class.

    ``average``: ``"macro"``, the mean over the classes that occur in labels or predictions;
    ``"micro"``, of all classes' counts together; ``"weighted"`` by examples; ``"binary"``, of
    class 1 of two; None, each class.

    Examples
    --------
    >>> precision = Precision(average=None)
    >>> precision.update([0, 1, 1, 1], [0, 1, 0, 1])
    >>> [round(each, 3) for each in precision.compute().tolist()]
    [1.0, 0.667]
    """

    def _share(self, right: Array, predicted: Array, examples: Array) -> tuple[Array, Array]:
        return right, predicted


class Recall(_Shares):
    """Share of right ones among the examples of a class; ``average`` as in `Precision`.

    Examples
    --------
    >>> Recall(average="binary")([0, 1, 1, 0], [0, 1, 1, 1]).item()
    0.6666666666666666
    """

    def _share(self, right: Array, predicted: Array, examples: Array) -> tuple[Array, Array]:
        return right, examples


class F1Score(_Shares):
    """The harmonic mean of precision and recall; ``average`` as in `Precision`.

    Examples
    --------
    >>> F1Score(average="binary")([0, 1, 1, 0], [0, 1, 1, 1]).item()
    0.8
    """

    def _share(self, right: Array, predicted: Array, examples: Array) -> tuple[Array, Array]:
        return 2 * right, predicted + examples
