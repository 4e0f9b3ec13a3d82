"""`LRScheduler`: counts steps and writes learning rates; subclasses add the formula."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence

from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.kernels.tape import again
from tinygrad_cnn.optim.optimizer import GivenState, Optimizer, StateDict

_NOTHING_KEPT = frozenset(
    {"_is_initial", "_get_lr_called_within_step", "verbose", "mode_worse", "default_min_lr"}
)
"""What PyTorch's schedules, or older ones of it, have in their states beside what counts."""


_APART = frozenset({"optimizer", "_starting"})
"""Attributes that are no part of the state."""


class LRScheduler:
    """Base class of learning-rate schedules.

    Made with an optimiser whose learning rates it sets at once and at every `step`, which is
    called after the optimiser's. A subclass defines `get_lr` and may define `closed_form_lr`.

    Most formulas work on the present rate, not the initial one, so that several schedules can act
    on one optimiser; they are PyTorch's, down to the order of the arithmetic.

    Attributes
    ----------
    last_epoch
        The number of steps taken.
    base_lrs
        The initial learning rate of each group, which is also kept in the group as "initial_lr".

    Raises
    ------
    TypeError
        ``optimizer`` is no Optimizer.
    KeyError
        ``last_epoch`` is not -1 but a group has no "initial_lr" (load the optimiser's state first).
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self._attach(optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"{self._name()}: group {i} has no 'initial_lr', which `last_epoch` = "
                    f"{last_epoch} needs; load the optimiser's state first"
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._start()

    def _attach(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise DtypeError(
                f"{self._name()}: `optimizer` is a {type(optimizer).__name__} but an Optimizer is "
                f"expected"
            )
        self.optimizer = optimizer

    def _name(self) -> str:
        return type(self).__name__

    def _start(self) -> None:
        """Set the rates for the first step."""
        self._step_count = 1
        self._starting = True
        self._set_rates()
        self._starting = False

    def _begin(self) -> None:
        """Start anew, on the rates as they are."""
        self.last_epoch = -1
        self._start()

    def _rewind(self) -> None:
        """Take the first step back."""
        self.last_epoch -= 1

    def get_lr(self) -> list[float]:
        """Return the rates for step ``last_epoch``, given those of the step before."""
        raise NotImplementedError(f"{self._name()}: define `get_lr`")

    def closed_form_lr(self) -> list[float]:
        """Return the rates for step ``last_epoch`` from the initial ones alone."""
        return self.get_lr()

    def get_last_lr(self) -> list[float]:
        """Return the rates that were set last, one per group."""
        return self._last_lr

    def step(self, epoch: float | None = None) -> None:
        """Go on by one: call it once per epoch or per batch, after ``optimizer.step()``.

        With ``epoch``, which PyTorch advises against, go there, by the closed form if there is one.
        """
        again(self._step, epoch)

    def _step(self, epoch: float | None) -> None:
        if self._step_count == 1 and _never_stepped(self.optimizer):
            warnings.warn(
                f"{self._name()}: step() is called before the first optimizer.step(), so the first "
                f"learning rate is skipped; call optimizer.step() first",
                UserWarning,
                stacklevel=4,
            )
        self._step_count += 1
        if epoch is None:
            self._set_rates()
            return
        warnings.warn(
            f"{self._name()}: step(epoch) is deprecated, as in PyTorch; use step()",
            UserWarning,
            stacklevel=4,
        )
        self.last_epoch = epoch  # type: ignore[assignment]  # as in PyTorch, it may be a fraction
        self._write(self.closed_form_lr())

    def _set_rates(self, restart: bool = False) -> None:
        """Compute and write the rates; ``restart`` begins at step 0 from the initial rates."""
        self.last_epoch = 0 if restart else self.last_epoch + 1
        self._write(self.closed_form_lr() if restart else self.get_lr())

    def _write(self, rates: list[float]) -> None:
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = lr
        self._note_rates()

    def _note_rates(self) -> None:
        self._last_lr: list[float] = [float(group["lr"]) for group in self.optimizer.param_groups]

    def _rates(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def _scaled(self, factor: float) -> list[float]:
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def _per_group(self, name: str, value: float | Sequence[float]) -> list[float]:
        """A number for each group: the same, or one of several."""
        n = len(self.optimizer.param_groups)
        values = list(value) if isinstance(value, Sequence) else [value] * n
        if len(values) != n:
            raise ArgumentError(
                f"{self._name()}: `{name}` has {len(values)} values but the optimiser has {n} "
                f"groups"
            )
        return values

    def state_dict(self) -> StateDict:
        """Return everything but the optimiser: numbers, strings and lists, ready for JSON.

        The keys are PyTorch's, whose schedule of this name can load it.

        >>> import tinygrad_cnn as tg
        >>> from tinygrad_cnn import optim
        >>> sgd = optim.SGD([tg.zeros(1, requires_grad=True)], lr=0.5)
        >>> optim.lr_scheduler.ExponentialLR(sgd, 0.9).state_dict()["last_epoch"]
        0
        """
        return copy.deepcopy({k: v for k, v in self.__dict__.items() if k not in _APART})

    def load_state_dict(self, state_dict: GivenState) -> None:
        """Take over what `state_dict` returned, here or in PyTorch.

        The optimiser's state is loaded apart.

        Raises
        ------
        ValueError
            Entries are missing or unknown: the state belongs to another kind of schedule.
        """
        self.__dict__.update(copy.deepcopy(_kept(self, state_dict)))


def _never_stepped(optimizer: Optimizer) -> bool:
    # An optimiser with a step() of its own does not count.
    return type(optimizer).step is Optimizer.step and optimizer.step_count == 0


def _kept(scheduler: LRScheduler, given: GivenState) -> StateDict:
    """What counts of a state, if it is that of such a schedule."""
    own = vars(scheduler).keys() - _APART
    given = {k: v for k, v in given.items() if k not in _NOTHING_KEPT}
    if own != given.keys():
        missing = sorted(own - given.keys()) or "none"
        unexpected = sorted(given.keys() - own) or "none"
        raise ArgumentError(
            f"{type(scheduler).__name__}.load_state_dict: the state is another schedule's "
            f"(missing: {missing}, unexpected: {unexpected})"
        )
    return given
