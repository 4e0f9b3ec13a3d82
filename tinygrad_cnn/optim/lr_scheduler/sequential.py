"""Schedules one after the other."""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Sequence

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.optim.lr_scheduler.base import _APART, LRScheduler, _kept
from tinygrad_cnn.optim.lr_scheduler.plateau import ReduceLROnPlateau
from tinygrad_cnn.optim.optimizer import GivenState, Optimizer, StateDict


class _Several(LRScheduler):
    """What schedules that are made of others have in common."""

    def _take(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler]) -> None:
        """Have these schedules, after a look at them."""
        self._attach(optimizer)
        me = self._name()
        if not schedulers:
            raise ArgumentError(f"{me}: `schedulers` is empty but at least one is expected")
        for i, schedule in enumerate(schedulers):
            if isinstance(schedule, ReduceLROnPlateau):
                raise ArgumentError(
                    f"{me}: schedule {i} is a ReduceLROnPlateau, whose step needs a metric"
                )
            if schedule.optimizer is not optimizer:
                raise ArgumentError(f"{me}: schedule {i} belongs to another optimiser")
        self._schedulers = list(schedulers)

    def _rewind(self) -> None:
        for schedule in self._schedulers:
            schedule._rewind()

    def state_dict(self) -> StateDict:
        """Return everything but the optimiser: numbers, strings and lists, ready for JSON."""
        own = {k: v for k, v in vars(self).items() if k not in _APART and k != "_schedulers"}
        states = [schedule.state_dict() for schedule in self._schedulers]
        return copy.deepcopy(own) | {"_schedulers": states}

    def load_state_dict(self, state_dict: GivenState) -> None:
        """Take over what `state_dict` returned.

        Raises
        ------
        ValueError
            The state belongs to other schedules.
        """
        own = _kept(self, state_dict)
        states = own.pop("_schedulers")
        if len(states) != len(self._schedulers):
            raise ArgumentError(
                f"{self._name()}.load_state_dict: {len(states)} schedules in the state but "
                f"{len(self._schedulers)} here"
            )
        for schedule, state in zip(self._schedulers, states, strict=True):
            _kept(schedule, state)
        for schedule, state in zip(self._schedulers, states, strict=True):
            schedule.load_state_dict(state)
        vars(self).update(copy.deepcopy(own))


class SequentialLR(_Several):
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
        self._take(optimizer, schedulers)
        if len(milestones) != len(schedulers) - 1:
            raise ArgumentError(
                f"SequentialLR: {len(milestones)} milestones for {len(schedulers)} schedules but "
                f"{len(schedulers) - 1} are expected"
            )
        self._milestones = list(milestones)
        self.last_epoch = last_epoch + 1
        # Every schedule has set its first rates when it was made: undo that, start the first.
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self._rewind()
        self._start()

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

    def _begin(self) -> None:
        self.last_epoch = 0
        self._schedulers[bisect_right(self._milestones, 0)]._begin()
        self._note_rates()

    def step(self) -> None:  # type: ignore[override]  # as in PyTorch
        """Go on by one."""
        self.last_epoch += 1
        turn = bisect_right(self._milestones, self.last_epoch)
        schedule = self._schedulers[turn]
        if turn > 0 and self._milestones[turn - 1] == self.last_epoch:
            schedule._set_rates(restart=True)
        else:
            schedule.step()
        self._last_lr = schedule.get_last_lr()


class ChainedScheduler(_Several):
    """Let several schedules act on one optimiser: all go on by one at every step.

    Parameters
    ----------
    schedulers
        Schedules of one optimiser.
    optimizer
        That optimiser; default: the first schedule's.

    Raises
    ------
    ValueError
        There are no schedules, one belongs to another optimiser or is a `ReduceLROnPlateau`.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn.optim import SGD, lr_scheduler
    >>> sgd = SGD([tg.zeros(1, requires_grad=True)], lr=1.0)
    >>> warmup = lr_scheduler.ConstantLR(sgd, factor=0.5, total_iters=2)
    >>> decay = lr_scheduler.ExponentialLR(sgd, gamma=0.5)
    >>> schedule = lr_scheduler.ChainedScheduler([warmup, decay])
    >>> rates = schedule.get_last_lr()
    >>> for _ in range(2):
    ...     sgd.step()
    ...     schedule.step()
    ...     rates = rates + schedule.get_last_lr()
    >>> rates
    [0.5, 0.25, 0.25]
    """

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        given = schedulers[0].optimizer if optimizer is None and schedulers else optimizer
        self._take(given, schedulers)  # type: ignore[arg-type]  # which looks at it
        self._note_rates()

    def _start(self) -> None:
        for schedule in self._schedulers:
            schedule._start()
        self._note_rates()

    def _begin(self) -> None:
        for schedule in self._schedulers:
            schedule._begin()
        self._note_rates()

    def _set_rates(self, restart: bool = False) -> None:
        """Begin anew from the initial rates, as when the turn of this chain comes."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self._begin()

    def step(self) -> None:  # type: ignore[override]  # as in PyTorch
        """Go on by one."""
        for schedule in self._schedulers:
            schedule.step()
        self._note_rates()
