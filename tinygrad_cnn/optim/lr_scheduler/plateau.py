"""A schedule that reacts to a metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import SupportsFloat

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.optim.lr_scheduler.base import LRScheduler
from tinygrad_cnn.optim.optimizer import GivenState, Optimizer, StateDict


class ReduceLROnPlateau(LRScheduler):
    """Multiply by ``factor`` when a metric has not improved for more than ``patience`` steps.

    ``mode`` is "min" or "max"; better means better than the best so far by ``threshold``, a
    fraction of it ("rel") or an amount ("abs"). After a reduction ``cooldown`` steps are not
    counted. Rates do not sink below ``min_lr`` (a number or one per group), and changes of at most
    ``eps`` are not made.

    Raises
    ------
    ValueError
        ``factor`` is not below 1, a mode is unknown, ``min_lr`` does not fit the groups.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> sgd = optim.SGD([tg.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.ReduceLROnPlateau(sgd, factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     schedule.step(loss)
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        self._attach(optimizer)
        if factor >= 1.0:
            raise ArgumentError(f"ReduceLROnPlateau: `factor` is {factor} but below 1 is expected")
        for name, value, known in (
            ("mode", mode, ("min", "max")),
            ("threshold_mode", threshold_mode, ("rel", "abs")),
        ):
            if value not in known:
                raise ArgumentError(
                    f"ReduceLROnPlateau: `{name}` is {value!r} but one of {known} is expected"
                )
        n = len(optimizer.param_groups)
        self.min_lrs = list(min_lr) if isinstance(min_lr, Sequence) else [min_lr] * n
        if len(self.min_lrs) != n:
            raise ArgumentError(
                f"ReduceLROnPlateau: `min_lr` has {len(self.min_lrs)} values but the optimiser has "
                f"{n} groups"
            )
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.eps = eps
        self.best: float | None = None  # None: nothing seen yet (JSON has no infinity)
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        self.last_epoch = 0
        self._note_rates()

    @property
    def in_cooldown(self) -> bool:
        """Whether steps are not being counted after a reduction."""
        return self.cooldown_counter > 0

    def step(  # type: ignore[override]  # as in PyTorch
        self, metrics: SupportsFloat, epoch: int | None = None
    ) -> None:
        """Take note of the metric and reduce the rates if it is time.

        ``epoch``, which PyTorch advises against, sets ``last_epoch``.
        """
        current = float(metrics)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self._is_better(current):
            self.best = current
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._note_rates()

    def state_dict(self) -> StateDict:
        """Return everything but the optimiser; no best metric if none has been seen."""
        state = super().state_dict()
        return state if self.best is not None else {k: v for k, v in state.items() if k != "best"}

    def load_state_dict(self, state_dict: GivenState) -> None:
        """Take over what `state_dict` returned, here or in PyTorch."""
        super().load_state_dict({"best": None, **state_dict})

    def _is_better(self, value: float) -> bool:
        if self.best is None:
            return value < math.inf if self.mode == "min" else value > -math.inf
        sign = 1 if self.mode == "min" else -1
        if self.threshold_mode == "rel":
            bar = self.best * (1.0 - sign * self.threshold)
        else:
            bar = self.best - sign * self.threshold
        return value < bar if self.mode == "min" else value > bar

    def _reduce(self) -> None:
        missing = len(self.optimizer.param_groups) - len(self.min_lrs)
        lowest = self.min_lrs + [self.min_lrs[-1]] * missing  # groups added since
        for group, least in zip(self.optimizer.param_groups, lowest, strict=True):
            old = float(group["lr"])
            new = max(old * self.factor, least)
            if old - new > self.eps:
                group["lr"] = new
