"""Metrics of the order in which scores put examples; they keep all scores until the end."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.stats import rankdata

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.train.metrics.metric import Metric, Values, array
from tinygrad_cnn.types import Array


class _Ranking(Metric):
    """What both have in common: scores (n, c) and whether each example is of each class (n, c)."""

    joins = True

    def __init__(self, *, average: Literal["macro", "weighted", "none"] | None = "macro") -> None:
        if average not in ("macro", "weighted", "none", None):
            raise ArgumentError(
                f"{type(self).__name__}: `average` is {average!r}, expected 'macro', 'weighted', "
                "'none' or None"
            )
        super().__init__()
        self.average = average

    def empty(self) -> dict[str, Array]:
        """Of no examples."""
        return {"scores": np.zeros((0, 0)), "right": np.zeros((0, 0), np.bool_)}

    def update(self, outputs: Values, targets: Values) -> None:
        """Keep a batch: scores (n,) and 0 or 1 (n,); or scores (n, c) and class numbers (n,).

        Scores (n, c) with 0 or 1 (n, c) are of c questions.

        Raises
        ------
        ArgumentError
            The shapes do not fit, or a class number is out of range.
        """
        scores, labels = array(outputs), array(targets)
        if scores.shape == labels.shape and scores.ndim in (1, 2):
            scores, right = (x.reshape(len(x), -1) for x in (scores, labels))  # (n, c)
            low, high = 0, 1
        elif scores.ndim == 2 and labels.shape == scores.shape[:1]:
            right = labels[:, None] == np.arange(scores.shape[1])  # (n, c)
            low, high = 0, scores.shape[1] - 1
        else:
            raise ArgumentError(
                f"{type(self).__name__}: outputs have shape {tuple(scores.shape)} and targets "
                f"{tuple(labels.shape)}, expected (n,) and (n,), (n, classes) and (n,) or "
                "(n, classes) and (n, classes)"
            )
        strange = labels[~np.isin(labels, np.arange(low, high + 1))]
        if strange.size:
            raise ArgumentError(
                f"{type(self).__name__}: `targets` has {strange[0]}, expected {low} to {high}"
            )
        self.add(scores=scores, right=right.astype(np.bool_))

    def _one(self, scores: Array, right: Array) -> float:
        """The value of one class: scores (n,), of which some are right (n,), but not all."""
        raise NotImplementedError

    def value(self) -> Array | float:
        """Of each class, nan where an answer is missing; the average is of the others."""
        scores, right = self.sums["scores"], self.sums["right"]
        each = np.full(scores.shape[1], np.nan)
        counts = right.sum(axis=0)  # (c,)
        for i, count in enumerate(counts):
            if self._answers(int(count), len(right)):
                each[i] = self._one(scores[:, i], right[:, i])
        known = ~np.isnan(each)
        if len(each) == 1:
            return float(each[0])
        if self.average in ("none", None):
            return each
        if not known.any():
            return np.nan
        weights = counts[known] if self.average == "weighted" else None
        return np.asarray(np.average(each[known], weights=weights))

    def _answers(self, right: int, all: int) -> bool:
        return 0 < right < all


class AUROC(_Ranking):
    """Area under the ROC curve: how often a right example has a larger score than a wrong one.

    Equal scores count half. Of several classes, each against the others; ``average`` is
    ``"macro"``, ``"weighted"`` by examples, or None for each class. A class without examples, or
    without others, has none. Source: Hanley and McNeil, "The meaning and use of the area under a
    receiver operating characteristic (ROC) curve", 1982.

    Examples
    --------
    >>> auroc = AUROC()
    >>> auroc.update([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
    >>> auroc.compute().item()
    0.75
    """

    def _one(self, scores: Array, right: Array) -> float:
        yes = int(right.sum())
        ranks = rankdata(scores)[right].sum() - yes * (yes + 1) / 2
        return float(ranks / (yes * (len(right) - yes)))


class AveragePrecision(_Ranking):
    """Precision at each threshold, weighted by the growth of recall; ``average`` as in `AUROC`.

    Examples
    --------
    >>> AveragePrecision()([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]).item()
    0.8333333333333333
    """

    def _answers(self, right: int, all: int) -> bool:
        return right > 0

    def _one(self, scores: Array, right: Array) -> float:
        order = np.argsort(-scores, kind="stable")
        found = np.cumsum(right[order])  # right ones down to each place (n,)
        last = np.append(np.diff(scores[order]) != 0, True)  # of equal scores the last place
        found, places = found[last], np.flatnonzero(last) + 1
        return float((found / places * np.diff(found, prepend=0)).sum() / found[-1])
