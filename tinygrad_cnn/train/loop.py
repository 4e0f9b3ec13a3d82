"""One pass over the data, to learn or to look: the loop that everyone writes by hand."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tinygrad_cnn.autograd import no_grad
from tinygrad_cnn.nn import Module
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.train import interrupt
from tinygrad_cnn.train.errors import TrainError

__all__ = ["Totals", "evaluate", "train_epoch"]

Batches = Iterable[tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, Tensor], Tensor]


class Steps(Protocol):
    """A scheduler, as far as the loop knows it."""

    def step(self) -> Any: ...


class Optimizer(Steps, Protocol):
    """An optimiser, as far as the loop knows it."""

    def zero_grad(self) -> Any: ...


@dataclass
class Totals:
    """Sums over the batches of one pass, and the labels and predictions themselves."""

    images: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    predictions: list[NDArray[np.int64]] = field(default_factory=list)
    labels: list[NDArray[np.int64]] = field(default_factory=list)

    def add(self, loss: float, scores: Tensor, labels: Tensor) -> None:
        """Count one batch: its mean ``loss``, ``scores`` (n, classes) and ``labels`` (n,)."""
        if not math.isfinite(loss):
            raise TrainError(f"the loss is {loss} in batch {len(self.labels) + 1}")
        predictions = scores.array.argmax(axis=1)  # (n,)
        self.images += len(predictions)
        self.loss_sum += loss * len(predictions)
        self.correct += int((predictions == labels.array).sum())
        self.predictions.append(predictions)
        self.labels.append(labels.array)

    @property
    def loss(self) -> float:
        """Mean loss per image so far; nan before the first."""
        return self.loss_sum / self.images if self.images else math.nan

    @property
    def accuracy(self) -> float:
        """Share of right predictions so far; nan before the first."""
        return self.correct / self.images if self.images else math.nan


Watch = Callable[[Totals], None]


def train_epoch(
    model: Module,
    batches: Batches,
    loss_function: Loss,
    optimizer: Optimizer,
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
    for images, labels in batches:
        scores = model(images)  # (n, classes)
        loss = loss_function(scores, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        totals.add(loss.item(), scores, labels)
        if watch is not None:
            watch(totals)
        interrupt.check()
    return totals


def evaluate(
    model: Module, batches: Batches, loss_function: Loss, *, watch: Watch | None = None
) -> Totals:
    """Look at every batch with ``model`` in evaluation mode, recording no graph.

    Raises
    ------
    TrainError
        The loss is not finite.
    """
    model.eval()
    totals = Totals()
    with no_grad():
        for images, labels in batches:
            scores = model(images)  # (n, classes)
            totals.add(loss_function(scores, labels).item(), scores, labels)
            if watch is not None:
                watch(totals)
            interrupt.check()
    return totals
