"""From settings as text to objects: optimiser, learning-rate schedule, augmentation.

Schedules are written ``name`` or ``name:value:value``:

* ``none``: constant.
* ``step:SIZE[:GAMMA]``: times GAMMA (0.1) every SIZE epochs.
* ``multistep:E1,E2,…[:GAMMA]``: times GAMMA (0.1) after each of these epochs.
* ``exp:GAMMA``: times GAMMA every epoch.
* ``plateau[:FACTOR[:PATIENCE]]``: times FACTOR (0.1) when the validation loss has not improved for
  more than PATIENCE (2) epochs.
* ``cosine``: half a cosine down to 0 over the run.
* ``onecycle[:WARMUP]``: up for the first WARMUP (0.3) of the run, then down to 0, per batch.

Augmentations are ``none`` or a comma-separated list of ``flip``, ``shift``, ``rotation``, ``crop``.
"""

from collections.abc import Callable
from typing import Any

from tinygrad_cnn import optim
from tinygrad_cnn.data import transforms
from tinygrad_cnn.nn import Module
from tinygrad_cnn.optim import lr_scheduler
from tinygrad_cnn.train.config import Config
from tinygrad_cnn.train.errors import TrainError

__all__ = [
    "AUGMENTATIONS",
    "OPTIMIZERS",
    "SCHEDULES",
    "default_lr",
    "make_augmentation",
    "make_optimizer",
    "make_scheduler",
]

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = {
    "none": "none",
    "step": "step:SIZE[:GAMMA]",
    "multistep": "multistep:E1,E2,...[:GAMMA]",
    "exp": "exp:GAMMA",
    "plateau": "plateau[:FACTOR[:PATIENCE]]",
    "cosine": "cosine",
    "onecycle": "onecycle[:WARMUP]",
}
AUGMENTATIONS: dict[str, Callable[[], transforms.Transform]] = {
    "flip": lambda: transforms.RandomHorizontalFlip(),
    "shift": lambda: transforms.RandomShift(0.125),
    "rotation": lambda: transforms.RandomRotation(15),
    "crop": lambda: transforms.RandomCrop(32, padding=4),
}


def default_lr(optimizer: str) -> float:
    """A learning rate that trains the models of this repository well."""
    return 0.05 if optimizer == "sgd" else 0.003


def make_optimizer(config: Config, model: Module) -> Any:
    """The optimiser that ``config`` asks for, over all parameters of ``model``."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise TrainError(f"{config.model} has no parameters to train")
    if config.optimizer == "sgd":
        return optim.SGD(
            parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
        )
    kind = {"adam": optim.Adam, "adamw": optim.AdamW}[config.optimizer]
    return kind(parameters, lr=config.lr, weight_decay=config.weight_decay)


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
    most = {"none": 0, "cosine": 0, "exp": 1, "onecycle": 1}.get(name, 2)
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


def _positive(value: Any) -> Any:
    if not value > 0 or value == float("inf"):
        raise ValueError
    return value


def make_scheduler(config: Config, optimizer: Any, batches: int) -> tuple[Any, str]:
    """The scheduler that ``config`` asks for, and when it steps.

    ``batches`` is the number of batches in an epoch. The second value is ``"batch"``, ``"epoch"``,
    ``"loss"`` (after every epoch, with its validation loss) or ``"never"`` (the scheduler is None).
    """
    name, values = parse_schedule(config.schedule)
    if name == "step":
        return lr_scheduler.StepLR(optimizer, step_size=values[0], gamma=values[1]), "epoch"
    if name == "multistep":
        return lr_scheduler.MultiStepLR(optimizer, milestones=values[0], gamma=values[1]), "epoch"
    if name == "exp":
        return lr_scheduler.ExponentialLR(optimizer, gamma=values[0]), "epoch"
    if name == "plateau":
        factor, patience = values
        return lr_scheduler.ReduceLROnPlateau(optimizer, factor=factor, patience=patience), "loss"
    if name == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, T_max=config.epochs), "epoch"
    if name == "onecycle":
        scheduler = lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=config.lr,
            total_steps=max(config.epochs * batches, 2),
            pct_start=values[0],
            cycle_momentum=False,  # --momentum means what it says
        )
        return scheduler, "batch"
    return None, "never"


def make_augmentation(text: str) -> transforms.Transform | None:
    """The batch transforms named in ``text``, in that order; None for none.

    Raises
    ------
    TrainError
        A name is unknown.
    """
    if text == "none":
        return None
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in AUGMENTATIONS]
    if unknown:
        raise TrainError(
            f"unknown augmentation {unknown[0]!r}; known: none, {', '.join(AUGMENTATIONS)}"
        )
    return transforms.Compose([AUGMENTATIONS[name]() for name in names])
