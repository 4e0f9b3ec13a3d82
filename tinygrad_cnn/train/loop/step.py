"""What happens to one batch: forward, backward, clipping, the optimiser's step, its schedule."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from tinygrad_cnn.autograd.units import check
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.kernels.tape import again, do
from tinygrad_cnn.nn import Module
from tinygrad_cnn.nn.module.attributes import changes
from tinygrad_cnn.nn.utils import clip_grad_norm_, get_total_norm
from tinygrad_cnn.ops.random import default_generator
from tinygrad_cnn.programs.memory import TooLate
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.train.loop.average import WeightAverage
from tinygrad_cnn.train.loop.compiled import Compiled
from tinygrad_cnn.train.loop.ranks import Ranks, SharedModel
from tinygrad_cnn.types import Array

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
    compile
        whether to do again what was recorded of an earlier batch (`tg.compile`): the same bits in
        less time. What cannot be recorded runs as usual; ``learn.why`` says why.
    batches
        how many there will be, if that is known: a few are not worth a recording.
    ranks
        those that train together: each gets a part of every batch, and the step is that of all.
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
        compile: bool = False,
        batches: int | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        if clip_norm is not None and not clip_norm > 0:
            raise ArgumentError(
                f"TrainingStep: `clip_norm` is {clip_norm} but a positive is expected"
            )
        if accumulate < 1 or warmup < 0:
            raise ArgumentError(
                f"TrainingStep: `accumulate` is {accumulate}, expected at least 1, and `warmup` "
                f"{warmup}, expected at least 0"
            )
        self.model, self.loss_function, self.optimizer = model, loss_function, optimizer
        self.scheduler, self.average = scheduler, average
        self.clip_norm, self.accumulate, self.warmup = clip_norm, accumulate, warmup
        self.skip, self.skipped = skip, 0
        self.taken = 0
        self._batches = self._images = 0
        self._refused = False
        self._buffers: tuple[int, list[Tensor]] = -1, []
        self._held: dict[int, Tensor] = {}
        if ranks is not None and skip:  # a replay that is undone is so on one rank alone
            compile = False
        self.learn = Compiled(
            self._learn, model, loss_function, optimizer, calls=batches, enabled=compile
        )
        self.shared: SharedModel | None = None
        if ranks is not None:
            overlap = accumulate == 1 and self.learn.program is None
            self.shared = SharedModel(ranks, model, overlap)

    @property
    def pending(self) -> bool:
        """Whether gradients wait for more batches."""
        return self._batches > 0

    @property
    def rate(self) -> float:
        """The learning rate of the next step, in the first group."""
        return float(self.optimizer.param_groups[0]["lr"]) * self._warmth()

    def __call__(
        self, images: Tensor, labels: Tensor, mine: int | None = None, whole: int | None = None
    ) -> tuple[float, Tensor]:
        """Train on ``images`` (n, …) and ``labels``; the step follows the last of a group.

        Of several ranks' images these are ``mine`` of ``whole`` (see `ranks.Share`).
        """
        weight, count = 1.0, len(images) if whole is None else whole
        if self.shared is not None:
            mine = len(images) if mine is None else mine
            self.shared.begin()
            weight = self.shared.weight(mine, count)
            if self.accumulate > 1:
                weight = float(mine)
            if self.shared.empties and mine < len(images):
                images, labels = images[:mine], labels[:mine]
        before = self._before() if self.skip or self.learn.program is not None else None
        begins, ends = not self.pending, self._batches + 1 == self.accumulate
        images_so_far = self._images + count if self.accumulate > 1 else 1
        try:
            with self._warmed(ends):
                total, undo = images_so_far if ends else 0, before.undo if before else None
                extra = () if self.shared is None else (weight,)
                loss, scores = self.learn(images, labels, begins, total, *extra, undo=undo)
                if self.shared is not None:
                    self.shared.end()
        except _NotFinite as found:
            if self.skip and before is not None:
                before.restore_buffers()
            self.skipped += self.skip
            return found.loss, found.scores
        self._batches, self._images = self._batches + 1, images_so_far
        if ends:
            self._stepped()
        elif begins and self.learn.program is not None:
            self._hold_gradients()
        return loss.item(), scores

    def _learn(
        self,
        images: Tensor,
        labels: Tensor,
        begins: bool,
        total: int,
        weight: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Loss and scores of a batch, and its gradients, to which others are added.

        It ``begins`` a group, or ends one with ``total`` images, which is the time for the step;
        0 if it does not. Of several ranks', the loss has a ``weight``.
        """
        scores = self.model(images)  # (n, classes)
        loss = self.loss_function(scores, labels) if len(images) else scores.sum()
        if loss.numel() != 1:
            loss.item()  # says so
        seen = [scores] if isinstance(scores, Tensor) else []
        if self.shared is not None and self.skip:
            self._expect_finite_on_all(loss, *seen)
        elif weight != 0:
            check(_expect_finite, loss, *seen)
        if begins:
            self.optimizer.zero_grad()
        if weight is None:
            weight = 1.0 if self.accumulate == 1 else len(images)
        (loss if weight == 1 else loss * weight).backward()
        if total:
            self._update(total)
        return loss, scores

    def finish(self) -> None:
        """Take the step that is due; at the end of an epoch also after fewer batches."""
        if self.pending:
            with self._warmed(True):
                self._update(self._images)
            self._stepped()

    def _update(self, images: int) -> None:
        """Have the gradients of a group of so many images change the parameters."""
        if self.shared is not None:
            again(self._across_ranks, images)
            return
        self._divide(images)
        if self.skip:
            again(self._clip_and_step)  # whether it is taken depends on their norm
        else:
            self._clip_and_step()

    def _divide(self, images: int, ranks: int = 1) -> None:
        """Have means over images of gradients that are sums over them."""
        if self.accumulate > 1:
            for p in self._parameters():
                if p.grad is not None:
                    gradient = p.grad._written_by("TrainingStep")
                    do(np.multiply, gradient, ranks / images, gradient, writes=(gradient,))

    def _across_ranks(self, images: int) -> None:
        """Average the gradients over the ranks, and step."""
        assert self.shared is not None
        self.shared.reduce()
        self._divide(images, self.shared.ranks.size)
        self._clip_and_step()

    def _expect_finite_on_all(self, loss: Tensor, *scores: Tensor) -> None:
        assert self.shared is not None
        if self.shared.ranks.total([not math.isfinite(loss.item())])[0]:
            raise _NotFinite(math.nan, *[wrap(s._array.copy(order="K")) for s in scores])

    def _clip_and_step(self) -> None:
        parameters = self._parameters()
        norm: Tensor | None = None
        if self.clip_norm is not None:
            norm = clip_grad_norm_(parameters, self.clip_norm)
        elif self.skip:
            norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
        self._refused = self.skip and norm is not None and not math.isfinite(norm.item())
        if not self._refused:
            self.optimizer.step()

    def _stepped(self) -> None:
        """Count a group, and have what follows the optimiser's step follow it."""
        count, self._batches, self._images = self._batches, 0, 0
        if self._refused:
            self.skipped += count
            return
        self.taken += 1
        if self.scheduler is not None:
            self.scheduler.step()
        if self.average is not None:
            self.average.update()

    def _before(self) -> _Before:
        """What is needed to go back to before this batch."""
        if self._buffers[0] != changes.count:  # looking for them takes long
            self._buffers = changes.count, list(self.model.buffers())
        gradients = [p.grad for p in self._parameters()] if self.pending else []
        return _Before(self.optimizer, self._buffers[1], [g for g in gradients if g is not None])

    def _parameters(self) -> list[Tensor]:
        return [p for g in self.optimizer.param_groups for p in g["params"]]

    def _hold_gradients(self) -> None:
        """Have the gradients of each group in the same tensors, to which a recording adds."""
        for p in self._parameters():
            if p.grad is None:
                continue
            array, held = p.grad._array, self._held.get(id(p))
            if held is None or held._array.strides != array.strides or held.dtype != array.dtype:
                held = self._held[id(p)] = wrap(array.copy(order="K"))
            else:
                np.copyto(held._written_by("backward"), array)
            p.grad = held

    def _warmth(self) -> float:
        return min(1.0, (self.taken + 1) / self.warmup) if self.warmup else 1.0

    @contextlib.contextmanager
    def _warmed(self, steps: bool) -> Iterator[None]:
        """Within, the rate is that of a step: schedules work on the one without warm-up."""
        warmth = self._warmth()
        if warmth == 1.0 or not steps:
            yield
            return
        rates = [group["lr"] for group in self.optimizer.param_groups]
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * warmth
        try:
            yield
        finally:
            for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate


class _Before:
    """Buffers, gradients and random numbers as they were before a batch."""

    def __init__(
        self, optimizer: OptimizerLike, buffers: list[Tensor], gradients: list[Tensor]
    ) -> None:
        self.buffers, self.gradients = _copies(buffers), _copies(gradients)
        self.random = default_generator.get_state()
        self.optimizer, self.steps = optimizer, getattr(optimizer, "step_count", 0)

    def restore_buffers(self) -> None:
        """Have the running means, for example, that there were."""
        for tensor, array in self.buffers:
            np.copyto(tensor._written_by("TrainingStep"), array)

    def undo(self) -> None:
        """Have everything as it was.

        Raises
        ------
        TooLate
            The optimiser has stepped already.
        """
        if getattr(self.optimizer, "step_count", 0) != self.steps:
            raise TooLate("TrainingStep: a replay failed after its step; use compile=False")
        self.restore_buffers()
        for tensor, array in self.gradients:
            np.copyto(tensor._written_by("TrainingStep"), array)
        default_generator.set_state(self.random)


def _copies(tensors: list[Tensor]) -> list[tuple[Tensor, Array]]:
    return [(t, t._array.copy()) for t in tensors]


class _NotFinite(Exception):
    """The loss of a batch that is left out, or ends the training; and the scores, if one tensor."""

    def __init__(self, loss: float, scores: Any = None) -> None:
        super().__init__(loss)
        self.loss, self.scores = loss, scores


def _expect_finite(loss: Array, *scores: Array) -> None:
    value = loss.item()
    if not math.isfinite(value):
        raise _NotFinite(value, *[wrap(array.copy(order="K")) for array in scores])
