"""Schedules along a cosine, and the one-cycle policy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tinygrad_cnn.optim.lr_scheduler.base import LRScheduler
from tinygrad_cnn.optim.optimizer import Optimizer


class CosineAnnealingLR(LRScheduler):
    """Follow half a cosine from the initial rate to ``eta_min`` in ``T_max`` steps, then back.

    Source: Loshchilov and Hutter, "SGDR", 2016, without restarts.

    Raises
    ------
    ValueError
        ``T_max`` is not positive.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> sgd = optim.SGD([tg.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.CosineAnnealingLR(sgd, T_max=2)
    >>> sgd.step()
    >>> schedule.step()
    >>> [round(lr, 4) for lr in schedule.get_last_lr()]
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_max: int,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if T_max < 1:
            raise ValueError(f"CosineAnnealingLR: `T_max` is {T_max} but at least 1 is expected")
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the rates for this step."""
        if self._starting:
            return self._rates()
        step, period, low = self.last_epoch, self.T_max, self.eta_min
        if (step - 1 - period) % (2 * period) == 0:
            # The step before was at eta_min, from where the ratio below has no value.
            rise = (1 - math.cos(math.pi / period)) / 2
            return [
                lr + (base - low) * rise
                for base, lr in zip(self.base_lrs, self._rates(), strict=True)
            ]
        ratio = (1 + math.cos(math.pi * step / period)) / (
            1 + math.cos(math.pi * (step - 1) / period)
        )
        return [ratio * (lr - low) + low for lr in self._rates()]

    def closed_form_lr(self) -> list[float]:
        """Return the rates from the initial ones."""
        height = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]


class CosineAnnealingWarmRestarts(LRScheduler):
    """Follow half a cosine to ``eta_min`` in ``T_0`` steps, start again, ``T_mult`` times longer.

    Source: Loshchilov and Hutter, "SGDR", 2016.

    Raises
    ------
    ValueError
        ``T_0`` or ``T_mult`` is not a positive int.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> sgd = optim.SGD([tg.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.CosineAnnealingWarmRestarts(sgd, T_0=2)
    >>> for _ in range(2):
    ...     sgd.step()
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [1.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        for name, value in (("T_0", T_0), ("T_mult", T_mult)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"CosineAnnealingWarmRestarts: `{name}` is {value!r} but a positive int is "
                    f"expected"
                )
        self.T_0 = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the rates for this step."""
        done, period = self.last_epoch, self.T_0
        if self.T_mult == 1:
            done %= period
        while done >= period:
            done -= period
            period *= self.T_mult
        height = (1 + math.cos(math.pi * done / period)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]


class OneCycleLR(LRScheduler):
    """Rise to ``max_lr`` and sink far below the initial rate, once: the one-cycle policy.

    Call `step` after every batch. The rate goes from ``max_lr / div_factor`` to ``max_lr`` in the
    fraction ``pct_start`` of all steps, then to ``initial / final_div_factor``; with
    ``three_phase`` it first comes back symmetrically to the initial rate. Meanwhile, with
    ``cycle_momentum``, momentum (or Adam's beta1) goes from ``max_momentum`` to
    ``base_momentum`` and back. ``anneal_strategy`` is "cos" or "linear". ``max_lr`` and the
    momenta are numbers or one per group. Source: Smith and Topin, "Super-convergence", 2017.

    Raises
    ------
    ValueError
        Neither ``total_steps`` nor both ``epochs`` and ``steps_per_epoch`` are given, a number is
        out of range, the optimiser has no momentum to cycle; from `step`, after ``total_steps``.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> sgd = optim.SGD([tg.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
    >>> schedule = optim.lr_scheduler.OneCycleLR(sgd, max_lr=0.5, total_steps=10)
    >>> rates = schedule.get_last_lr()
    >>> for _ in range(9):
    ...     sgd.step()
    ...     schedule.step()
    ...     rates += schedule.get_last_lr()
    >>> max(rates), rates.index(max(rates)), rates[-1]
    (0.5, 2, 2e-06)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError(
                    "OneCycleLR: `total_steps` or both `epochs` and `steps_per_epoch` are expected"
                )
            total_steps = _positive("epochs", epochs) * _positive(
                "steps_per_epoch", steps_per_epoch
            )
        self.total_steps = _positive("total_steps", total_steps)
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: `pct_start` is {pct_start} but [0, 1] is expected")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"OneCycleLR: `anneal_strategy` is {anneal_strategy!r} but 'cos' or 'linear' is "
                f"expected"
            )
        self.anneal_strategy = anneal_strategy
        # Each phase: its last step, and the keys of a group between which it goes.
        peak = float(pct_start * self.total_steps)
        up = ["initial_lr", "max_lr", "max_momentum", "base_momentum"]
        self.phases: list[list[Any]] = [[peak - 1, *up]]
        if three_phase:
            back = ["max_lr", "initial_lr", "base_momentum", "max_momentum"]
            self.phases.append([2 * peak - 2, *back])
            self.phases.append(
                [self.total_steps - 1, "initial_lr", "min_lr", "max_momentum", "max_momentum"]
            )
        else:
            self.phases.append(
                [self.total_steps - 1, "max_lr", "min_lr", "base_momentum", "max_momentum"]
            )
        self.cycle_momentum = cycle_momentum
        self.use_beta1 = "betas" in optimizer.defaults
        if cycle_momentum and not self.use_beta1 and "momentum" not in optimizer.defaults:
            raise ValueError(
                f"OneCycleLR: `cycle_momentum` is set but {type(optimizer).__name__} has neither "
                f"momentum nor betas; pass cycle_momentum=False"
            )
        highest = self._per_group("max_lr", max_lr)
        top = self._per_group("max_momentum", max_momentum)
        bottom = self._per_group("base_momentum", base_momentum)
        if last_epoch == -1:
            for i, group in enumerate(optimizer.param_groups):
                group["initial_lr"] = highest[i] / div_factor
                group["max_lr"] = highest[i]
                group["min_lr"] = group["initial_lr"] / final_div_factor
                if cycle_momentum:
                    group["max_momentum"] = top[i]
                    group["base_momentum"] = bottom[i]
                    self._set_momentum(group, top[i])
        super().__init__(optimizer, last_epoch)

    def _per_group(self, name: str, value: float | Sequence[float]) -> list[float]:
        n = len(self.optimizer.param_groups)
        values = list(value) if isinstance(value, Sequence) else [value] * n
        if len(values) != n:
            raise ValueError(
                f"OneCycleLR: `{name}` has {len(values)} values but the optimiser has {n} groups"
            )
        return values

    def _set_momentum(self, group: dict[str, Any], value: float) -> None:
        if self.use_beta1:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value

    def get_lr(self) -> list[float]:
        """Return the rates for this step; momenta are set on the way."""
        step = self.last_epoch
        if step > self.total_steps:
            raise ValueError(
                f"OneCycleLR: step {step} but the schedule has {self.total_steps} (`total_steps`)"
            )
        start: float = 0.0
        for phase in self.phases[:-1]:
            if step <= phase[0]:
                break
            start = phase[0]
        else:
            phase = self.phases[-1]
        end, lr_from, lr_to, momentum_from, momentum_to = phase
        done = (step - start) / (end - start) if end != start else 1.0
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._anneal(group[lr_from], group[lr_to], done))
            if self.cycle_momentum:
                value = self._anneal(group[momentum_from], group[momentum_to], done)
                self._set_momentum(group, value)
        return rates

    def _anneal(self, start: float, end: float, done: float) -> float:
        if self.anneal_strategy == "linear":
            return (end - start) * done + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * done) + 1)


def _positive(name: str, value: int) -> int:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"OneCycleLR: `{name}` is {value!r} but a positive int is expected")
    return value
