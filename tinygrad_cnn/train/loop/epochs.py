"""One pass over the data, to learn or to look: the loop that everyone writes by hand."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_cnn.autograd import no_grad
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.functions import from_numpy
from tinygrad_cnn.nn import Module
from tinygrad_cnn.nn.functional import cross_entropy
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.loop import interrupt
from tinygrad_cnn.train.loop.compiled import Compiled, calls_of
from tinygrad_cnn.train.loop.measures import (
    Metrics,
    are_classes,
    class_numbers,
    make_metrics,
)
from tinygrad_cnn.train.loop.ranks import Ranks
from tinygrad_cnn.train.loop.step import Loss, OptimizerLike, Steps, TrainingStep
from tinygrad_cnn.train.metrics import Metric
from tinygrad_cnn.types import Array

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass
class Totals:
    """Sums over the batches of one pass; with ``keep`` also the scores and labels themselves.

    ``metrics`` are those of `fit`; each is counted by a metric of ``meters``, its own. By default
    it is the accuracy, if the first batch has scores (n, classes) and class numbers (n,), and
    nothing otherwise. With ``ranks`` all is of all ranks together.
    """

    images: int = 0
    loss_sum: float = 0.0
    batches: int = 0
    keep: bool = False
    metrics: Metrics | None = None
    loss_function: Loss = cross_entropy
    meters: dict[str, Metric] | None = None
    ranks: Ranks | None = None
    interrupted: bool = False
    all_scores: list[Array] = field(default_factory=list)
    all_labels: list[Array] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.metrics is not None:
            self.measure(self.metrics)

    def measure(self, metrics: Metrics) -> None:
        """Begin to count these, each anew."""
        self.meters = {name: m.fresh() for name, m in (make_metrics(metrics) or {}).items()}

    def add(self, loss: float, scores: Tensor, labels: Tensor, mine: int | None = None) -> None:
        """Count one batch: its mean ``loss``, ``scores`` (n, …) and ``labels`` (n, …).

        ``mine``, all by default, is 0 where a rank has only looked at an image of another's.

        Raises
        ------
        TrainError
            The loss is not finite, or a metric does not suit the data.
        """
        self.batches += 1
        if mine != 0 and not math.isfinite(loss):
            raise TrainError(f"the loss is {loss} in batch {self.batches}")
        if self.ranks is not None:
            loss, scores, labels = self._of_all(loss, scores[:mine], labels[:mine])
        if self.meters is None:
            self.measure(["accuracy"] if are_classes(scores, labels, self.loss_function) else [])
        with no_grad():
            for name, meter in (self.meters or {}).items():
                try:
                    meter.update(scores, labels)
                except ArgumentError as error:
                    said = str(error).removeprefix(f"{type(meter).__name__}: ")
                    raise TrainError(f"the metric {name}: {said}") from error
        n = len(labels)
        self.images += n
        self.loss_sum += loss * n
        if self.keep:
            self.all_scores.append(scores._array)
            soft = labels.ndim == 2 and are_classes(scores, labels, self.loss_function)
            self.all_labels.append(class_numbers(labels) if soft else labels._array)

    def _of_all(self, loss: float, scores: Tensor, labels: Tensor) -> tuple[float, Tensor, Tensor]:
        """The mean loss, the scores and the labels of the whole batch, of which these are a part.

        Also whether Ctrl-C was pressed anywhere: all stop after the same batch.
        """
        assert self.ranks is not None
        n = len(labels)
        part = [n, loss * n if n else 0.0, interrupt.pending()]
        count, total, pressed = self.ranks.total(part)
        if pressed:
            interrupt.note()
            self.interrupted = True
        arrays = self.ranks.gathered(scores._array), self.ranks.gathered(labels._array)
        return total / count, from_numpy(arrays[0]), from_numpy(arrays[1])

    def check_interrupt(self) -> None:
        """Stop here if Ctrl-C was pressed; of several ranks all stop after the same batch."""
        if self.ranks is None or self.interrupted:
            interrupt.check()

    def counted(self) -> dict[str, Any]:
        """What the metrics have counted, for a checkpoint."""
        return {name: meter.state_dict() for name, meter in (self.meters or {}).items()}

    def recount(self, states: Mapping[str, Any]) -> None:
        """Take over what `counted` returned."""
        if states and self.meters is None:
            self.measure(list(states))
        for name, meter in (self.meters or {}).items():
            if self.batches or name in states:
                meter.load_state_dict(states[name])

    @property
    def loss(self) -> float:
        """Mean loss per image so far; nan before the first."""
        return self.loss_sum / self.images if self.images else math.nan

    @property
    def measured(self) -> dict[str, float]:
        """The metrics so far, by name; nan before the first.

        Raises
        ------
        TrainError
            A metric is not one number.
        """
        return {name: _number(name, meter) for name, meter in (self.meters or {}).items()}

    @property
    def accuracy(self) -> float:
        """Share of right predictions so far; nan if it is not measured."""
        return self.measured.get("accuracy", math.nan)

    @property
    def scores(self) -> Array:
        """All scores (n, classes), if kept."""
        return np.concatenate(self.all_scores)

    @property
    def labels(self) -> NDArray[np.int64]:
        """All labels (n,), if kept; of probabilities the largest."""
        return np.concatenate(self.all_labels)

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The class with the largest score of each image (n,), if scores were kept."""
        numbers: NDArray[np.int64] = self.scores.argmax(axis=1)
        return numbers


def _number(name: str, meter: Metric) -> float:
    value = meter.compute()
    if value.ndim:
        raise TrainError(
            f"the metric {name}: {meter!r} has shape {value.shape}, expected a single number, such "
            "as an average"
        )
    return float(value)


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
    totals = Totals(loss_function=loss_function)
    step = TrainingStep(model, loss_function, optimizer, scheduler=scheduler)
    for images, labels in batches:
        loss, scores = step(images, labels)
        totals.add(loss, scores, labels)
        if watch is not None:
            watch(totals)
        interrupt.check()
    return totals


def evaluate(
    model: Module,
    batches: Batches,
    loss_function: Loss,
    *,
    watch: Watch | None = None,
    metrics: Metrics | None = None,
    keep: bool = True,
    compile: bool = True,
    ranks: Ranks | None = None,
) -> Totals:
    """Look at every batch with ``model`` in evaluation mode, recording no graph.

    The scores are kept with ``keep``; ``metrics`` are those of `Totals`. With ``compile`` many
    batches are done by `tg.compile`, with the same bits. With ``ranks`` each looks at a part, and
    all have the result.

    Raises
    ------
    TrainError
        The loss is not finite.
    """
    looking = Looking(model, loss_function, calls=calls_of(batches), compile=compile, ranks=ranks)
    return looking.over(batches, watch=watch, metrics=metrics, keep=keep)


class Looking:
    """Passes over batches that are only looked at, one after the other; see `evaluate`."""

    def __init__(
        self,
        model: Module,
        loss_function: Loss,
        *,
        calls: int | None = None,
        compile: bool = True,
        ranks: Ranks | None = None,
    ) -> None:
        self.model, self.loss_function, self.ranks = model, loss_function, ranks
        self.look = Compiled(self._look, model, loss_function, calls=calls, enabled=compile)

    def _look(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.model(images)  # (n, classes)
        return self.loss_function(scores, labels), scores

    def over(
        self,
        batches: Batches,
        *,
        watch: Watch | None = None,
        metrics: Metrics | None = None,
        keep: bool = True,
    ) -> Totals:
        """What `evaluate` returns."""
        self.model.eval()
        totals = Totals(
            keep=keep, metrics=metrics, loss_function=self.loss_function, ranks=self.ranks
        )
        with no_grad():
            for images, labels, *counts in self.ranks.batches(batches) if self.ranks else batches:
                loss, scores = self.look(images, labels)
                totals.add(loss.item(), scores, labels, *counts[:1])
                if watch is not None:
                    watch(totals)
                totals.check_interrupt()
        return totals
