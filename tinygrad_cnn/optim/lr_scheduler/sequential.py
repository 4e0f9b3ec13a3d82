"""Schedules one after the other."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from tinygrad_cnn.optim.lr_scheduler.base import LRScheduler, _require_keys
from tinygrad_cnn.optim.lr_scheduler.plateau import ReduceLROnPlateau
from tinygrad_cnn.optim.optimizer import Optimizer


class SequentialLR(LRScheduler):
    """Follow the first schedule up to the first of ``milestones``, then the second, and so on.

    A schedule starts from its initial rates when its turn comes.

    Raises
    ------
    ValueError
        The number of milestones is not one less than that of schedules, a schedule belongs to
        another optimiser or is a `ReduceLROnPlateau`.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn.optim import SGD, lr_scheduler
    >>> sgd = SGD([tg.zeros(1, requires_grad=True)], lr=1.0)
    >>> warmup = lr_scheduler.ConstantLR(sgd, factor=0.5, total_iters=2)
    >>> decay = lr_scheduler.ExponentialLR(sgd, gamma=0.5)
    >>> schedule = lr_scheduler.SequentialLR(sgd, [warmup, decay], milestones=[2])
    >>> rates = schedule.get_last_lr()
    >>> for _ in range(4):
    ...     sgd.step()
    ...     schedule.step()
    ...     rates = rates + schedule.get_last_lr()
    >>> rates
    [0.5, 0.5, 1.0, 0.5, 0.25]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        if not schedulers:
            raise ValueError("SequentialLR: `schedulers` is empty but at least one is expected")
        for i, schedule in enumerate(schedulers):
            if isinstance(schedule, ReduceLROnPlateau):
                raise ValueError(
                    f"SequentialLR: schedule {i} is a ReduceLROnPlateau, whose step needs a metric"
                )
            if schedule.optimizer is not optimizer:
                raise ValueError(f"SequentialLR: schedule {i} belongs to another optimiser")
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"SequentialLR: {len(milestones)} milestones for {len(schedulers)} schedules but "
                f"{len(schedulers) - 1} are expected"
            )
        self._schedulers = list(schedulers)
        self._milestones = list(milestones)
        self.last_epoch = last_epoch + 1
        # Every schedule has set its first rates when it was made: undo that, start the first.
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self._rewind()
        self._start()

    def _rewind(self) -> None:
        for schedule in self._schedulers:
            if isinstance(schedule, SequentialLR):
                schedule._rewind()
            else:
                schedule.last_epoch -= 1

    def _start(self) -> None:
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._start()
        self._last_lr = first.get_last_lr()

    def _set_rates(self, restart: bool = False) -> None:
        """Begin anew, as when this sequence's turn comes in an outer one."""
        self.last_epoch = 0
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._set_rates(restart=True)
        self._last_lr = first.get_last_lr()

    def step(self) -> None:
        """Go on by one."""
        self.last_epoch += 1
        turn = bisect_right(self._milestones, self.last_epoch)
        schedule = self._schedulers[turn]
        if turn > 0 and self._milestones[turn - 1] == self.last_epoch:
            schedule._set_rates(restart=True)
        else:
            schedule.step()
        self._last_lr = schedule.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the optimiser: numbers, strings and lists, ready for JSON."""
        return {
            "last_epoch": self.last_epoch,
            "_milestones": list(self._milestones),
            "_last_lr": list(self._last_lr),
            "_schedulers": [schedule.state_dict() for schedule in self._schedulers],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned.

        Raises
        ------
        ValueError
            The state belongs to other schedules.
        """
        _require_keys(self, self.state_dict(), state_dict)
        states = state_dict["_schedulers"]
        if len(states) != len(self._schedulers):
            raise ValueError(
                f"SequentialLR.load_state_dict: {len(states)} schedules in the state but "
                f"{len(self._schedulers)} here"
            )
        for schedule, state in zip(self._schedulers, states, strict=True):
            _require_keys(schedule, schedule.state_dict(), state)
        for schedule, state in zip(self._schedulers, states, strict=True):
            schedule.load_state_dict(state)
        self.last_epoch = state_dict["last_epoch"]
        self._milestones = list(state_dict["_milestones"])
        self._last_lr = list(state_dict["_last_lr"])
