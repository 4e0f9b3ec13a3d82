"""Metrics of numbers: how far outputs are from targets."""

from __future__ import annotations

from typing import Self

import numpy as np

from tinygrad_cnn.train.metrics.metric import Mean, Metric, Values, same_shapes
from tinygrad_cnn.types import Array


class MeanSquaredError(Mean):
    """Mean of the squared differences; with ``squared=False`` its root.

    Examples
    --------
    >>> MeanSquaredError()([1.0, 2.0], [1.0, 4.0]).item()
    2.0
    """

    higher_is_better = False

    def __init__(self, squared: bool = True) -> None:
        super().__init__()
        self.squared = squared

    def update(self, outputs: Values, targets: Values) -> None:  # type: ignore[override]
        """Count a batch: outputs and targets of one shape.

        Raises
        ------
        ArgumentError
            The shapes differ.
        """
        a, b = same_shapes(self, outputs, targets)
        super().update(np.square(np.subtract(a, b, dtype=np.float64)))

    def value(self) -> Array:
        """Of the sums."""
        mean = super().value()
        return mean if self.squared else np.sqrt(mean)


class MeanAbsoluteError(Mean):
    """Mean of the absolute differences.

    Examples
    --------
    >>> MeanAbsoluteError()([1.0, 2.0], [1.0, 4.0]).item()
    1.0
    """

    higher_is_better = False

    def update(self, outputs: Values, targets: Values) -> None:  # type: ignore[override]
        """Count a batch: outputs and targets of one shape.

        Raises
        ------
        ArgumentError
            The shapes differ.
        """
        a, b = same_shapes(self, outputs, targets)
        super().update(np.abs(np.subtract(a, b, dtype=np.float64)))


class R2Score(Metric):
    """Share of the targets' variance that the outputs explain, 1 - residuals / variance.

    Of targets (n, outputs) the mean over the columns. A column whose targets are all equal has 1 if
    the outputs are these, else 0, as scikit-learn has it. Means and squares around them are merged
    batch by batch. Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for
    computing sample variances", 1979.

    Examples
    --------
    >>> R2Score()([2.5, 0.0, 2.0, 8.0], [3.0, -0.5, 2.0, 7.0]).item()
    0.9486081370449679
    """

    def empty(self) -> dict[str, Array]:
        """Of no examples."""
        names = "mean", "squares", "residuals"
        return {"count": np.zeros(()), **{name: np.zeros(0) for name in names}}

    def update(self, outputs: Values, targets: Values) -> None:
        """Count a batch: outputs and targets (n,) or (n, outputs).

        Raises
        ------
        ArgumentError
            The shapes differ.
        """
        a, b = same_shapes(self, outputs, targets)
        if not a.size:
            return
        a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (a, b))  # (n, outputs)
        mean = b.mean(axis=0)
        part = self.fresh()
        part.sums = {
            "count": np.asarray(float(len(b))),
            "mean": mean,
            "squares": np.square(b - mean).sum(axis=0),
            "residuals": np.square(b - a).sum(axis=0),
        }
        self.merge(part)

    def merge(self, *others: Self) -> None:
        """Take over what others have counted, of other parts of the data."""
        for other in others:
            mine, more = self.sums, other.sums
            if not mine["count"] or not more["count"]:
                self.sums = dict(more if not mine["count"] else mine)
                continue
            n, m = mine["count"], more["count"]
            apart = more["mean"] - mine["mean"]
            self.sums = {
                "count": np.asarray(n + m),
                "mean": mine["mean"] + apart * m / (n + m),
                "squares": mine["squares"] + more["squares"] + apart**2 * n * m / (n + m),
                "residuals": mine["residuals"] + more["residuals"],
            }

    def value(self) -> Array | float:
        """Of the sums."""
        if self.sums["count"] < 2:
            return np.nan
        left, whole = self.sums["residuals"], self.sums["squares"]
        each = np.where(whole > 0, 1 - left / np.where(whole > 0, whole, 1), left == 0)
        return np.asarray(each.mean())
