"""Schedules along a cosine, and the one-cycle policy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.optim.lr_scheduler.base import LRScheduler
from tinygrad_cnn.optim.optimizer import GivenState, Group, Optimizer, StateDict


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
            raise ArgumentError(f"CosineAnnealingLR: `T_max` is {T_max} but at least 1 is expected")
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
                raise ArgumentError(
                    f"CosineAnnealingWarmRestarts: `{name}` is {value!r} but a positive int is "
                    f"expected"
                )
        self.T_0 = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur: float = last_epoch  # steps in this period, which has T_i
        self.T_i = T_0
        super().__init__(optimizer, last_epoch)

    def step(self, epoch: float | None = None) -> None:
        """Go on by one, or to ``epoch``, which may have a fraction: ``step(epoch + i / n)``."""
        if epoch is None:
            super().step()
            return
        if epoch < 0:
            raise ArgumentError(
                f"CosineAnnealingWarmRestarts: `epoch` is {epoch} but at least 0 is expected"
            )
        self._step_count += 1
        self.last_epoch = math.floor(epoch)
        self._go(epoch)
        self._write(self.get_lr())

    def _go(self, steps: float) -> None:
        """Find the period in which so many steps from the beginning end."""
        self.T_i = self.T_0
        self.T_cur = steps % self.T_0 if self.T_mult == 1 else steps
        while self.T_cur >= self.T_i:
            self.T_cur -= self.T_i
            self.T_i *= self.T_mult

    def _set_rates(self, restart: bool = False) -> None:
        # The fraction of a step that `step` was told stays.
        self._go(0 if restart else max(0, self.last_epoch + 1) + self.T_cur % 1)
        super()._set_rates(restart)

    def get_lr(self) -> list[float]:
        """Return the rates for this step."""
        height = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]


class _WithMomentum(LRScheduler):
    """A schedule that may also set the momentum, or Adam's beta1."""

    cycle_momentum: bool
    use_beta1: bool

    def _look_for_momentum(self) -> None:
        if not self.cycle_momentum:
            return
        known = self.optimizer.defaults
        self.use_beta1 = "betas" in known
        if not self.use_beta1 and "momentum" not in known:
            raise ArgumentError(
                f"{self._name()}: `cycle_momentum` is set but {type(self.optimizer).__name__} has "
                f"neither momentum nor betas; pass cycle_momentum=False"
            )

    def _set_momentum(self, group: Group, value: float) -> None:
        if self.use_beta1:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value


class OneCycleLR(_WithMomentum):
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
                raise ArgumentError(
                    "OneCycleLR: `total_steps` or both `epochs` and `steps_per_epoch` are expected"
                )
            total_steps = _positive("epochs", epochs) * _positive(
                "steps_per_epoch", steps_per_epoch
            )
        self.total_steps = _positive("total_steps", total_steps)
        if not 0 <= pct_start <= 1:
            raise ArgumentError(f"OneCycleLR: `pct_start` is {pct_start} but [0, 1] is expected")
        if anneal_strategy not in ("cos", "linear"):
            raise ArgumentError(
                f"OneCycleLR: `anneal_strategy` is {anneal_strategy!r} but 'cos' or 'linear' is "
                f"expected"
            )
        self._anneal_func_type = anneal_strategy
        # Each phase: its last step, and the keys of a group between which it goes.
        peak, last = float(pct_start * self.total_steps), self.total_steps - 1
        low, high = "base_momentum", "max_momentum"
        phases: list[tuple[Any, ...]] = [(peak - 1, "initial_lr", "max_lr", high, low)]
        if three_phase:
            phases.append((2 * peak - 2, "max_lr", "initial_lr", low, high))
            phases.append((last, "initial_lr", "min_lr", high, high))
        else:
            phases.append((last, "max_lr", "min_lr", low, high))
        self._schedule_phases = [dict(zip(_PHASE, phase, strict=True)) for phase in phases]
        self.cycle_momentum = cycle_momentum
        self._look_for_momentum()
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

    def get_lr(self) -> list[float]:
        """Return the rates for this step; momenta are set on the way."""
        step = self.last_epoch
        if step > self.total_steps:
            raise ArgumentError(
                f"OneCycleLR: step {step} but the schedule has {self.total_steps} (`total_steps`)"
            )
        start: float = 0.0
        for phase in self._schedule_phases[:-1]:
            if step <= phase["end_step"]:
                break
            start = phase["end_step"]
        else:
            phase = self._schedule_phases[-1]
        end, lr_from, lr_to, momentum_from, momentum_to = (phase[key] for key in _PHASE)
        done = (step - start) / (end - start) if end != start else 1.0
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._anneal(group[lr_from], group[lr_to], done))
            if self.cycle_momentum:
                value = self._anneal(group[momentum_from], group[momentum_to], done)
                self._set_momentum(group, value)
        return rates

    def _anneal(self, start: float, end: float, done: float) -> float:
        if self._anneal_func_type == "linear":
            return (end - start) * done + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * done) + 1)


_PHASE = ("end_step", "start_lr", "end_lr", "start_momentum", "end_momentum")


def _positive(name: str, value: int) -> int:
    if not isinstance(value, int) or value < 1:
        raise ArgumentError(f"OneCycleLR: `{name}` is {value!r} but a positive int is expected")
    return value


class CyclicLR(_WithMomentum):
    """Rise from ``base_lr`` to ``max_lr`` and sink back, again and again.

    Call `step` after every batch. A cycle has ``step_size_up`` steps up and ``step_size_down`` down
    (default: as many). The height of the cycles stays ("triangular"), is halved with every cycle
    ("triangular2"), is ``gamma ** step`` of the first ("exp_range"), or is what ``scale_fn``
    returns for the number of the cycle (``scale_mode`` "cycle") or of the step ("iterations").
    Meanwhile, with ``cycle_momentum``, momentum (or Adam's beta1) goes from ``max_momentum`` to
    ``base_momentum`` and back. Rates and momenta are numbers or one per group. ``scale_fn`` is no
    part of `state_dict`. Source: Smith, "Cyclical learning rates", 2015.

    Raises
    ------
    ValueError
        ``mode`` is unknown, or the optimiser has no momentum to cycle.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> sgd = optim.SGD([tg.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
    >>> schedule = optim.lr_scheduler.CyclicLR(sgd, base_lr=0.25, max_lr=1.0, step_size_up=3)
    >>> rates = schedule.get_last_lr()
    >>> for _ in range(4):
    ...     sgd.step()
    ...     schedule.step()
    ...     rates += schedule.get_last_lr()
    >>> [round(rate, 3) for rate in rates]
    [0.25, 0.5, 0.75, 1.0, 0.75]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | Sequence[float],
        max_lr: float | Sequence[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.8,
        max_momentum: float | Sequence[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        if scale_fn is None and mode not in ("triangular", "triangular2", "exp_range"):
            raise ArgumentError(
                f"CyclicLR: `mode` is {mode!r} but 'triangular', 'triangular2' or 'exp_range' is "
                f"expected, or a `scale_fn`"
            )
        self.cycle_momentum = cycle_momentum
        self._look_for_momentum()
        lowest = self._per_group("base_lr", base_lr)
        self.max_lrs = self._per_group("max_lr", max_lr)
        down = step_size_up if step_size_down is None else step_size_down
        self.total_size = float(step_size_up + down)
        self.step_ratio = step_size_up / self.total_size
        self.mode, self.gamma, self._scale_fn_custom = mode, gamma, scale_fn
        self.scale_mode = scale_mode
        if scale_fn is None:
            self.scale_mode = "iterations" if mode == "exp_range" else "cycle"
        if cycle_momentum:
            self.base_momentums = self._per_group("base_momentum", base_momentum)
            self.max_momentums = self._per_group("max_momentum", max_momentum)
        if last_epoch == -1:
            for i, group in enumerate(optimizer.param_groups):
                group["lr"] = lowest[i]
                if cycle_momentum:
                    self._set_momentum(group, self.max_momentums[i])
                    group["max_momentum"] = self.max_momentums[i]
                    group["base_momentum"] = self.base_momentums[i]
        super().__init__(optimizer, last_epoch)
        self.base_lrs = lowest

    def get_lr(self) -> list[float]:
        """Return the rates for this step; momenta are set on the way."""
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        place = 1.0 + self.last_epoch / self.total_size - cycle
        up = place <= self.step_ratio
        height = place / self.step_ratio if up else (place - 1) / (self.step_ratio - 1)
        scale = self._scale(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            for group, low, high in zip(
                self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True
            ):
                self._set_momentum(group, high - (high - low) * height * scale)
        tops = zip(self.base_lrs, self.max_lrs, strict=True)
        return [low + (top - low) * height * scale for low, top in tops]

    def _scale(self, x: float) -> float:
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "exp_range":
            return float(self.gamma**x)
        return 1.0 if self.mode == "triangular" else 1.0 / 2.0 ** (x - 1)

    def state_dict(self) -> StateDict:
        """Return everything but the optimiser and ``scale_fn``."""
        function, self._scale_fn_custom = self._scale_fn_custom, None
        try:
            return super().state_dict()
        finally:
            self._scale_fn_custom = function

    def load_state_dict(self, state_dict: GivenState) -> None:
        """Take over what `state_dict` returned; ``scale_fn`` stays."""
        function = self._scale_fn_custom
        super().load_state_dict(state_dict)
        self._scale_fn_custom = function
