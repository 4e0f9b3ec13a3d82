"""Averages of a model's weights over training, and what goes with them."""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tinygrad_cnn import kernels, nn
from tinygrad_cnn.autograd import no_grad
from tinygrad_cnn.autograd.devices import DeviceLike, check_device
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.functions import tensor
from tinygrad_cnn.optim.lr_scheduler import LRScheduler
from tinygrad_cnn.optim.optimizer import Optimizer
from tinygrad_cnn.tensor import Tensor

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]

Average = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``average(averaged, current, number of models so far)``: the new average."""

Averages = Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], None]
"""The same for all tensors at once, in place."""


# Functions of the module, not made inside of others, so that averaged models can be pickled.


def _mean(averaged: Tensor, current: Tensor, n: Tensor) -> Tensor:
    mean: Tensor = averaged + (current - averaged) / (n.item() + 1)
    return mean


def _decayed(averaged: Tensor, current: Tensor, n: Tensor, *, decay: float) -> Tensor:
    mean: Tensor = averaged * decay + current * (1 - decay)
    return mean


def _of_all(
    averaged: Sequence[Tensor], current: Sequence[Tensor], n: Tensor, *, average: Average
) -> None:
    with no_grad():
        for mean, new in zip(averaged, current, strict=True):
            mean.copy_(average(mean, new, n))


def _decayed_together(
    averaged: Sequence[Tensor], current: Sequence[Tensor], n: Tensor, *, decay: float
) -> None:
    rows = [
        (mean._written_by("average"), w._array) for mean, w in zip(averaged, current, strict=True)
    ]
    if not kernels.step("average", rows, np.array([1 - decay], np.float32)):
        _of_all(averaged, current, n, average=functools.partial(_decayed, decay=decay))


def get_swa_avg_fn() -> Average:
    """The mean of all models that were seen."""
    return _mean


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """An average in which the past counts ``decay`` times as much with every model.

    Raises
    ------
    ValueError
        ``decay`` is outside [0, 1].
    """
    if not 0 <= decay <= 1:
        raise ArgumentError(f"get_ema_avg_fn: `decay` is {decay}, expected 0 to 1")
    return functools.partial(_decayed, decay=decay)


def get_swa_multi_avg_fn() -> Averages:
    """`get_swa_avg_fn` for all tensors at once."""
    return functools.partial(_of_all, average=get_swa_avg_fn())


def get_ema_multi_avg_fn(decay: float = 0.999) -> Averages:
    """`get_ema_avg_fn` for all tensors at once."""
    get_ema_avg_fn(decay)  # checks it
    return functools.partial(_decayed_together, decay=decay)


class AveragedModel(nn.Module):
    """A copy of a model whose parameters are an average over training.

    Parameters
    ----------
    model
        The model that is trained; the copy is ``module``.
    device
        ``"cpu"``.
    avg_fn, multi_avg_fn
        How to average: one tensor, or all at once in place. Default: the mean.
    use_buffers
        Whether buffers, such as running means, are averaged too; else they are the model's.

    Raises
    ------
    ValueError
        Both ``avg_fn`` and ``multi_avg_fn`` are given.

    Examples
    --------
    >>> from tinygrad_cnn import nn
    >>> from tinygrad_cnn.optim.swa_utils import AveragedModel
    >>> model = nn.Linear(1, 1, bias=False)
    >>> averaged = AveragedModel(model)
    >>> for weight in (1.0, 2.0, 6.0):
    ...     _ = nn.init.constant_(model.weight, weight)
    ...     averaged.update_parameters(model)
    >>> averaged.module.weight.item()
    3.0
    """

    n_averaged: Tensor
    module: nn.Module

    def __init__(
        self,
        model: nn.Module,
        device: DeviceLike = None,
        avg_fn: Average | None = None,
        multi_avg_fn: Averages | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        check_device(device, "AveragedModel")
        if avg_fn is not None and multi_avg_fn is not None:
            raise ArgumentError("AveragedModel: `avg_fn` and `multi_avg_fn` exclude each other")
        self.module = copy.deepcopy(model)
        self.register_buffer("n_averaged", tensor(0))
        self.average = multi_avg_fn or functools.partial(
            _of_all, average=avg_fn or get_swa_avg_fn()
        )
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the averaged model says."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: nn.Module) -> None:
        """Take the model's present parameters into the average."""
        mine, its = [
            [t.detach() for t in itertools.chain(m.parameters(), m.buffers() if both else ())]
            for m, both in ((self.module, self.use_buffers), (model, self.use_buffers))
        ]
        with no_grad():
            if self.n_averaged.item() == 0:
                for mean, new in zip(mine, its, strict=True):
                    mean.copy_(new)
            else:
                self.average(mine, its, self.n_averaged)
            if not self.use_buffers:
                for held, new in zip(self.module.buffers(), model.buffers(), strict=True):
                    held.detach().copy_(new)
            self.n_averaged += 1


def update_bn(loader: Iterable[Any], model: nn.Module, device: DeviceLike = None) -> None:
    """Compute the running means and variances of batch normalisations anew, from all batches.

    Parameters
    ----------
    loader
        Batches: tensors, or tuples and lists whose first element is one.
    model
        Called on every batch, in training mode.
    device
        ``"cpu"``.
    """
    check_device(device, "update_bn")
    norms = [m for m in model.modules() if hasattr(m, "reset_running_stats")]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    was_training = model.training
    model.train()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    with no_grad():
        for batch in loader:
            model(batch[0] if isinstance(batch, list | tuple) else batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """Go to ``swa_lr`` in ``anneal_epochs`` steps, along half a cosine or a line, and stay.

    ``swa_lr`` is a number or one per group, ``anneal_strategy`` "cos" or "linear". Source: Izmailov
    et al., "Averaging weights leads to wider optima and better generalization", 2018.

    Raises
    ------
    ValueError
        ``anneal_strategy`` is unknown, or ``anneal_epochs`` is no integer of at least 0.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import optim
    >>> sgd = optim.SGD([tg.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.swa_utils.SWALR(sgd, 0.5, anneal_epochs=2, anneal_strategy="linear")
    >>> for _ in range(3):
    ...     sgd.step()
    ...     schedule.step()
    ...     print(schedule.get_last_lr())
    [0.75]
    [0.5]
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | Sequence[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        for group, lr in zip(
            optimizer.param_groups, self._per_group("swa_lr", swa_lr), strict=True
        ):
            group["swa_lr"] = lr
        if anneal_strategy not in ("cos", "linear"):
            raise ArgumentError(
                f"SWALR: `anneal_strategy` is {anneal_strategy!r} but 'cos' or 'linear' is expected"
            )
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ArgumentError(
                f"SWALR: `anneal_epochs` is {anneal_epochs!r} but an integer of at least 0 is "
                f"expected"
            )
        self.anneal_epochs, self._anneal_strategy = anneal_epochs, anneal_strategy
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the rates for this step."""
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(step - 1), self._share(step)
        rates = []
        for group in self.optimizer.param_groups:
            end = group["swa_lr"]
            start = end if before == 1 else (group["lr"] - before * end) / (1 - before)
            rates.append(end * now + start * (1 - now))
        return rates

    def _share(self, step: int) -> float:
        """How much of the way is done after ``step`` steps."""
        done = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return done if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * done)) / 2
