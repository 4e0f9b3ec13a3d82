"""One pass over the data, to learn or to look: the loop that everyone writes by hand."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_cnn.autograd import no_grad
from tinygrad_cnn.nn import Module
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.loop import interrupt
from tinygrad_cnn.train.loop.step import Loss, OptimizerLike, Steps, TrainingStep

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass
class Totals:
    """Sums over the batches of one pass; with ``keep`` also the scores and labels themselves."""

    images: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    batches: int = 0
    keep: bool = False
    all_scores: list[NDArray[Any]] = field(default_factory=list)
    all_labels: list[NDArray[np.int64]] = field(default_factory=list)

    def add(self, loss: float, scores: Tensor, labels: Tensor) -> None:
        """Count one batch: its mean ``loss``, ``scores`` (n, classes) and ``labels``.

        ``labels`` are class numbers (n,), or probabilities (n, classes), of which the largest
        counts.
        """
        self.batches += 1
        if not math.isfinite(loss):
            raise TrainError(f"the loss is {loss} in batch {self.batches}")
        numbers = labels._array if labels.ndim == 1 else labels._array.argmax(axis=1)  # (n,)
        self.images += len(numbers)
        self.loss_sum += loss * len(numbers)
        self.correct += int((scores._array.argmax(axis=1) == numbers).sum())
        if self.keep:
            self.all_scores.append(scores._array)
            self.all_labels.append(numbers)

    @property
    def loss(self) -> float:
        """Mean loss per image so far; nan before the first."""
        return self.loss_sum / self.images if self.images else math.nan

    @property
    def accuracy(self) -> float:
        """Share of right predictions so far; nan before the first."""
        return self.correct / self.images if self.images else math.nan

    @property
    def scores(self) -> NDArray[Any]:
        """All scores (n, classes), if kept."""
        return np.concatenate(self.all_scores)

    @property
    def labels(self) -> NDArray[np.int64]:
        """All labels (n,), if kept."""
        return np.concatenate(self.all_labels)

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The class with the largest score of each image (n,), if scores were kept."""
        numbers: NDArray[np.int64] = self.scores.argmax(axis=1)
        return numbers


Watch = Callable[[Totals], None]


def train_epoch(
    model: Module,
    batches: Batches,
    loss_function: Loss,
    optimizer: OptimizerLike,
    *,
    scheduler: Steps | None = None,
    watch: Watch | None = None,
) -> Totals:
    """Train ``model`` on every batch once; ``scheduler``, if given, steps after every batch.

    ``batches`` gives images (n, c, h, w) and labels (n,). ``watch`` sees the running sums after
    every batch. Loss and accuracy are those of the model while it learns.

    Raises
    ------
    TrainError
        The loss is no longer finite.
    """
    model.train()
    totals = Totals()
    step = TrainingStep(model, loss_function, optimizer, scheduler=scheduler)
    for images, labels in batches:
        loss, scores = step(images, labels)
        totals.add(loss, scores, labels)
        if watch is not None:
            watch(totals)
        interrupt.check()
    return totals


def evaluate(
    model: Module, batches: Batches, loss_function: Loss, *, watch: Watch | None = None
) -> Totals:
    """Look at every batch with ``model`` in evaluation mode, recording no graph; keeps the scores.

    Raises
    ------
    TrainError
        The loss is not finite.
    """
    model.eval()
    totals = Totals(keep=True)
    with no_grad():
        for images, labels in batches:
            scores = model(images)  # (n, classes)
            totals.add(loss_function(scores, labels).item(), scores, labels)
            if watch is not None:
                watch(totals)
            interrupt.check()
    return totals
