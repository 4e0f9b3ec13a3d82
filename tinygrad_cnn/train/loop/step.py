"""What happens to one batch: forward, backward, clipping, the optimiser's step, its schedule."""

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from tinygrad_cnn.nn import Module
from tinygrad_cnn.nn.utils import clip_grad_norm_, get_total_norm
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.train.loop.average import WeightAverage

Loss = Callable[[Tensor, Tensor], Tensor]


class Steps(Protocol):
    """A scheduler, as far as the loop knows it."""

    def step(self) -> object: ...


class OptimizerLike(Steps, Protocol):
    """An optimiser, as far as the loop knows it."""

    param_groups: list[dict[str, Any]]

    def zero_grad(self) -> object: ...


class TrainingStep:
    """Called with a batch, it trains ``model`` on it and returns the mean loss and the scores.

    Parameters
    ----------
    scheduler
        steps after every step of the optimiser.
    clip_norm
        the largest joint norm of all gradients (`nn.utils.clip_grad_norm_`).
    accumulate
        batches whose gradients make one step, each image of them with the same weight.
    warmup
        steps in which the learning rate rises evenly from 0 to what the schedule says.
    average
        is updated after every step of the optimiser.
    skip
        whether batches whose loss or gradients are not finite are left out, and counted as
        ``skipped``; buffers, such as running means, are then as before. Without it such a loss
        is returned before anything is changed by it.
    """

    def __init__(
        self,
        model: Module,
        loss_function: Loss,
        optimizer: OptimizerLike,
        *,
        scheduler: Steps | None = None,
        clip_norm: float | None = None,
        accumulate: int = 1,
        warmup: int = 0,
        average: WeightAverage | None = None,
        skip: bool = False,
    ) -> None:
        if clip_norm is not None and not clip_norm > 0:
            raise ValueError(f"TrainingStep: `clip_norm` is {clip_norm} but a positive is expected")
        if accumulate < 1 or warmup < 0:
            raise ValueError(
                f"TrainingStep: `accumulate` is {accumulate}, expected at least 1, and `warmup` "
                f"{warmup}, expected at least 0"
            )
        self.model, self.loss_function, self.optimizer = model, loss_function, optimizer
        self.scheduler, self.average = scheduler, average
        self.clip_norm, self.accumulate, self.warmup = clip_norm, accumulate, warmup
        self.skip, self.skipped = skip, 0
        self.taken = 0
        self._batches = self._images = 0

    @property
    def pending(self) -> bool:
        """Whether gradients wait for more batches."""
        return self._batches > 0

    @property
    def rate(self) -> float:
        """The learning rate of the next step, in the first group."""
        return float(self.optimizer.param_groups[0]["lr"]) * self._warmth()

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[float, Tensor]:
        """Train on ``images`` (n, …) and ``labels``; the step follows the last of a group."""
        buffers = [(b, b._array.copy()) for b in self.model.buffers()] if self.skip else []
        scores = self.model(images)  # (n, classes)
        loss = self.loss_function(scores, labels)
        value = loss.item()
        if not math.isfinite(value):
            for buffer, before in buffers:
                np.copyto(buffer._written_by("TrainingStep"), before)
            self.skipped += self.skip
            return value, scores
        if not self.pending:
            self.optimizer.zero_grad()
        if self.accumulate == 1:
            loss.backward()
        else:
            (loss * len(images)).backward()
            self._images += len(images)
        self._batches += 1
        if self._batches == self.accumulate:
            self.finish()
        return value, scores

    def finish(self) -> None:
        """Take the step that is due; at the end of an epoch also after fewer batches."""
        if not self.pending:
            return
        parameters = [p for g in self.optimizer.param_groups for p in g["params"]]
        if self.accumulate > 1:
            for p in parameters:
                if p.grad is not None:
                    gradient = p.grad._written_by("TrainingStep")
                    np.multiply(gradient, 1 / self._images, out=gradient)
        norm = 0.0
        if self.clip_norm is not None:
            norm = float(clip_grad_norm_(parameters, self.clip_norm))
        elif self.skip:
            norm = float(get_total_norm([p.grad for p in parameters if p.grad is not None]))
        if self.skip and not math.isfinite(norm):
            self.skipped += self._batches
            self._batches = self._images = 0
            return
        self._step()
        self.taken += 1
        self._batches = self._images = 0
        if self.scheduler is not None:
            self.scheduler.step()
        if self.average is not None:
            self.average.update()

    def _warmth(self) -> float:
        return min(1.0, (self.taken + 1) / self.warmup) if self.warmup else 1.0

    def _step(self) -> None:
        warmth = self._warmth()
        if warmth == 1.0:
            self.optimizer.step()
            return
        # Schedules work on the present rate: they must not see the smaller one.
        rates = [group["lr"] for group in self.optimizer.param_groups]
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * warmth
        self.optimizer.step()
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
