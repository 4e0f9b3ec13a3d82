"""Learning-rate schedules as text.

They are written ``name`` or ``name:value:value``:

* ``none``: constant.
* ``step:SIZE[:GAMMA]``: times GAMMA (0.1) every SIZE epochs.
* ``multistep:E1,E2,…[:GAMMA]``: times GAMMA (0.1) after each of these epochs.
* ``exp:GAMMA``: times GAMMA every epoch.
* ``plateau[:FACTOR[:PATIENCE]]``: times FACTOR (0.1) when the validation loss has not improved for
  more than PATIENCE (2) epochs.
* ``cosine``: half a cosine down to 0 over the run, per epoch.
* ``linear``: straight down to 0 over the run, per step.
* ``onecycle[:WARMUP]``: up for the first WARMUP (0.3) of the run, then down to 0, per step.
"""

from typing import Any, TypeVar

from tinygrad_cnn.errors import DtypeError
from tinygrad_cnn.optim import Optimizer, lr_scheduler
from tinygrad_cnn.train.errors import TrainError

_Number = TypeVar("_Number", int, float)

SCHEDULES = {
    "none": "none",
    "step": "step:SIZE[:GAMMA]",
    "multistep": "multistep:E1,E2,...[:GAMMA]",
    "exp": "exp:GAMMA",
    "plateau": "plateau[:FACTOR[:PATIENCE]]",
    "cosine": "cosine",
    "linear": "linear",
    "onecycle": "onecycle[:WARMUP]",
}


def parse_schedule(text: str) -> tuple[str, tuple[Any, ...]]:
    """Name and values of a schedule, with the defaults filled in.

    Raises
    ------
    TrainError
        The name is unknown or the values do not fit; the message shows the right form.

    Examples
    --------
    >>> parse_schedule("step:30")
    ('step', (30, 0.1))
    >>> parse_schedule("multistep:5,8:0.2")
    ('multistep', ([5, 8], 0.2))
    """
    name, *values = text.split(":")
    if name not in SCHEDULES:
        raise TrainError(f"unknown schedule {text!r}; known: {', '.join(SCHEDULES.values())}")
    try:
        parsed = _parse_values(name, values)
    except (IndexError, ValueError):
        raise TrainError(f"bad schedule {text!r}; expected {SCHEDULES[name]}") from None
    return name, parsed


def _parse_values(name: str, values: list[str]) -> tuple[Any, ...]:
    """Values of the schedule ``name``; ValueError or IndexError if they do not fit."""
    most = {"none": 0, "cosine": 0, "linear": 0, "exp": 1, "onecycle": 1}.get(name, 2)
    if len(values) > most:
        raise ValueError
    if name == "step":
        return _positive(int(values[0])), _positive(float(values[1]) if values[1:] else 0.1)
    if name == "multistep":
        epochs = [_positive(int(v)) for v in values[0].split(",")]
        return epochs, _positive(float(values[1]) if values[1:] else 0.1)
    if name == "exp":
        return (_positive(float(values[0])),)
    if name == "plateau":
        factor = float(values[0]) if values else 0.1
        if not 0 < factor < 1:
            raise ValueError
        return factor, _positive(int(values[1])) if values[1:] else 2
    if name == "onecycle":
        warmup = float(values[0]) if values else 0.3
        if not 0 < warmup < 1:
            raise ValueError
        return (warmup,)
    return ()


def _positive(value: _Number) -> _Number:
    if not value > 0 or value == float("inf"):
        raise ValueError
    return value


def make_scheduler(text: str, optimizer: Optimizer, *, epochs: int, steps: int) -> tuple[Any, str]:
    """The scheduler that ``text`` describes, and when it steps (see `when_to_step`).

    ``steps`` is the number of the optimiser's steps in an epoch. Without a schedule the result is
    ``(None, "never")``. The largest learning rate is that of ``optimizer``.

    Raises
    ------
    TrainError
        As `parse_schedule`.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> sgd = tg.optim.SGD([tg.zeros(1, requires_grad=True)], lr=0.1)
    >>> scheduler, when = make_scheduler("step:30:0.5", sgd, epochs=90, steps=100)
    >>> type(scheduler).__name__, when
    ('StepLR', 'epoch')
    """
    name, values = parse_schedule(text)
    scheduler: Any = None
    if name == "step":
        scheduler = lr_scheduler.StepLR(optimizer, step_size=values[0], gamma=values[1])
    elif name == "multistep":
        scheduler = lr_scheduler.MultiStepLR(optimizer, milestones=values[0], gamma=values[1])
    elif name == "exp":
        scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=values[0])
    elif name == "plateau":
        factor, patience = values
        scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=factor, patience=patience)
    elif name == "cosine":
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    elif name == "linear":
        total = max(epochs * steps, 1)
        scheduler = lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=total)
        return scheduler, "step"
    elif name == "onecycle":
        scheduler = lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=[group["lr"] for group in optimizer.param_groups],
            total_steps=max(epochs * steps, 2),
            pct_start=values[0],
            cycle_momentum=False,  # --momentum means what it says
        )
    return scheduler, when_to_step(scheduler)


def check_scheduler(schedule: object, scheduler: object) -> None:
    """Refuse a text in the place of a scheduler, a scheduler in that of a text, and both.

    Raises
    ------
    TypeError
        One of these.
    """
    if isinstance(scheduler, str):
        raise DtypeError(
            f"fit: `scheduler` is {scheduler!r}, expected an object of optim.lr_scheduler; text is "
            f"schedule={scheduler!r}"
        )
    if schedule is not None and not isinstance(schedule, str):
        raise DtypeError(
            f"fit: `schedule` is a {type(schedule).__name__}, expected text such as 'onecycle'; an "
            "object of optim.lr_scheduler is `scheduler`"
        )
    if schedule is not None and scheduler is not None:
        raise DtypeError("fit: `schedule` and `scheduler` are given, expected one of them")


def when_to_step(scheduler: object) -> str:
    """``"step"`` (after every step of the optimiser), ``"epoch"``, ``"loss"`` or ``"never"``.

    ``"loss"`` is after every epoch, with its validation loss. `OneCycleLR` counts steps, all others
    epochs, as PyTorch's documentation uses them.
    """
    if scheduler is None:
        return "never"
    if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
        return "loss"
    return "step" if isinstance(scheduler, lr_scheduler.OneCycleLR) else "epoch"
