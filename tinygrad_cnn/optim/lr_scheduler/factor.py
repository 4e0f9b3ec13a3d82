"""Schedules that multiply the learning rate by a factor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.optim.lr_scheduler.base import LRScheduler
from tinygrad_cnn.optim.optimizer import GivenState, Optimizer, StateDict


class StepLR(LRScheduler):
    """Multiply by ``gamma`` every ``step_size`` steps.

    Raises
    ------
    ValueError
        ``step_size`` is not positive.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> sgd = optim.SGD([tg.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.StepLR(sgd, step_size=2, gamma=0.5)
    >>> for _ in range(4):
    ...     sgd.step()
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        if step_size < 1:
            raise ArgumentError(f"StepLR: `step_size` is {step_size} but at least 1 is expected")
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the rates for this step."""
        if self.last_epoch == 0 or self.last_epoch % self.step_size:
            return self._rates()
        return self._scaled(self.gamma)

    def closed_form_lr(self) -> list[float]:
        """Return the rates from the initial ones."""
        return [lr * self.gamma ** (self.last_epoch // self.step_size) for lr in self.base_lrs]


class MultiStepLR(LRScheduler):
    """Multiply by ``gamma`` at each of the steps in ``milestones``.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> sgd = optim.SGD([tg.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.MultiStepLR(sgd, milestones=[2, 3], gamma=0.5)
    >>> for _ in range(4):
    ...     sgd.step()
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones = Counter(milestones)  # one may come twice
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the rates for this step."""
        times = self.milestones[self.last_epoch]
        return self._scaled(self.gamma**times) if times else self._rates()

    def closed_form_lr(self) -> list[float]:
        """Return the rates from the initial ones."""
        passed = sum(n for step, n in self.milestones.items() if step <= self.last_epoch)
        return [lr * self.gamma**passed for lr in self.base_lrs]

    def load_state_dict(self, state_dict: GivenState) -> None:
        """Take over what `state_dict` returned, here or in PyTorch."""
        super().load_state_dict(state_dict)
        # JSON has no integers for keys.
        self.milestones = Counter({int(step): n for step, n in self.milestones.items()})


class ExponentialLR(LRScheduler):
    """Multiply by ``gamma`` at every step.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> sgd = optim.SGD([tg.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.ExponentialLR(sgd, gamma=0.5)
    >>> for _ in range(3):
    ...     sgd.step()
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.125]
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the rates for this step."""
        return self._rates() if self._starting else self._scaled(self.gamma)

    def closed_form_lr(self) -> list[float]:
        """Return the rates from the initial ones."""
        return [lr * self.gamma**self.last_epoch for lr in self.base_lrs]


class ConstantLR(LRScheduler):
    """Multiply by ``factor`` for the first ``total_iters`` steps.

    Raises
    ------
    ValueError
        ``factor`` is outside [0, 1].

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> sgd = optim.SGD([tg.zeros(1, requires_grad=True)], lr=1.0)
    >>> optim.lr_scheduler.ConstantLR(sgd, factor=0.5, total_iters=4).get_last_lr()
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 <= factor <= 1:
            raise ArgumentError(
                f"ConstantLR: `factor` is {factor} but a number in [0, 1] is expected"
            )
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the rates for this step."""
        if self.last_epoch == 0:
            return self._scaled(self.factor)
        if self.last_epoch != self.total_iters:
            return self._rates()
        return self._scaled(1.0 / self.factor)

    def closed_form_lr(self) -> list[float]:
        """Return the rates from the initial ones."""
        over = self.last_epoch >= self.total_iters
        return [lr * (self.factor + over * (1 - self.factor)) for lr in self.base_lrs]


class LinearLR(LRScheduler):
    """Multiply by a factor that goes from ``start_factor`` to ``end_factor`` in ``total_iters``.

    Raises
    ------
    ValueError
        ``start_factor`` is outside (0, 1] or ``end_factor`` outside [0, 1].

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> sgd = optim.SGD([tg.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.LinearLR(sgd, start_factor=0.5, total_iters=2)
    >>> rates = schedule.get_last_lr()
    >>> for _ in range(3):
    ...     sgd.step()
    ...     schedule.step()
    ...     rates += schedule.get_last_lr()
    >>> rates
    [0.5, 0.75, 1.0, 1.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1:
            raise ArgumentError(
                f"LinearLR: `start_factor` is {start_factor} but a number in (0, 1] is expected"
            )
        if not 0 <= end_factor <= 1:
            raise ArgumentError(
                f"LinearLR: `end_factor` is {end_factor} but a number in [0, 1] is expected"
            )
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the rates for this step."""
        if self.last_epoch == 0:
            return self._scaled(self.start_factor)
        if self._starting or self.last_epoch > self.total_iters:
            return self._rates()
        rise = self.end_factor - self.start_factor
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * rise
        return self._scaled(1.0 + rise / before)

    def closed_form_lr(self) -> list[float]:
        """Return the rates from the initial ones."""
        rise = self.end_factor - self.start_factor
        done = min(self.total_iters, self.last_epoch)
        return [lr * (self.start_factor + rise * done / self.total_iters) for lr in self.base_lrs]


class PolynomialLR(LRScheduler):
    """Multiply by ``(1 - step / total_iters) ** power``, down to 0.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> sgd = optim.SGD([tg.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.PolynomialLR(sgd, total_iters=4, power=2.0)
    >>> sgd.step()
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5625]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_iters: int = 5,
        power: float = 1.0,
        last_epoch: int = -1,
    ) -> None:
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the rates for this step."""
        if self._starting or self.last_epoch > self.total_iters:
            return self._rates()
        now = 1.0 - self.last_epoch / self.total_iters
        before = 1.0 - (self.last_epoch - 1) / self.total_iters
        return self._scaled((now / before) ** self.power)

    def closed_form_lr(self) -> list[float]:
        """Return the rates from the initial ones."""
        left = 1.0 - min(self.total_iters, self.last_epoch) / self.total_iters
        return [lr * left**self.power for lr in self.base_lrs]


class LambdaLR(LRScheduler):
    """Multiply the initial rate by ``lr_lambda(step)``, one function or one per group.

    Functions are not part of `state_dict`; the attributes of callable objects are.

    Raises
    ------
    ValueError
        The number of functions is not that of the groups.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> sgd = optim.SGD([tg.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.LambdaLR(sgd, lambda step: 1 / (1 + step))
    >>> sgd.step()
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        n = len(optimizer.param_groups)
        self.lr_lambdas = [lr_lambda] * n if callable(lr_lambda) else list(lr_lambda)
        if len(self.lr_lambdas) != n:
            raise ArgumentError(
                f"{self._name()}: `lr_lambda` has {len(self.lr_lambdas)} functions but the "
                f"optimiser has {n} groups"
            )
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the rates for this step."""
        return [
            lr * factor(self.last_epoch)
            for lr, factor in zip(self.base_lrs, self.lr_lambdas, strict=True)
        ]

    def state_dict(self) -> StateDict:
        """Return everything but the optimiser and the functions."""
        functions = self.lr_lambdas
        try:
            self.lr_lambdas = []
            found = super().state_dict()
        finally:
            self.lr_lambdas = functions
        found["lr_lambdas"] = [dict(vars(f)) if _is_object(f) else None for f in functions]
        return found

    def load_state_dict(self, state_dict: GivenState) -> None:
        """Take over what `state_dict` returned; the functions stay."""
        functions = self.lr_lambdas
        super().load_state_dict(state_dict)
        self.lr_lambdas = functions
        for function, held in zip(functions, state_dict["lr_lambdas"], strict=True):
            if held is not None:
                vars(function).update(held)


class MultiplicativeLR(LambdaLR):
    """Multiply the present rate by ``lr_lambda(step)``, one function or one per group.

    Functions are not part of `state_dict`; the attributes of callable objects are.

    Raises
    ------
    ValueError
        The number of functions is not that of the groups.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> sgd = optim.SGD([tg.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.MultiplicativeLR(sgd, lambda step: 0.5)
    >>> for _ in range(2):
    ...     sgd.step()
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def get_lr(self) -> list[float]:
        """Return the rates for this step."""
        if self._starting:
            return self._rates()
        return [
            lr * factor(self.last_epoch)
            for lr, factor in zip(self._rates(), self.lr_lambdas, strict=True)
        ]


def _is_object(function: Callable[[int], float]) -> bool:
    return hasattr(function, "__dict__") and not hasattr(function, "__code__")
