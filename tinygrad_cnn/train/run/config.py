"""Every setting of a run, once: name, type, default, check and help.

The options of ``tinygrad-cnn train``, the settings of `fit`, and ``config.json`` are made from it.
"""

import dataclasses
import inspect
import json
import math
import os
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

from tinygrad_cnn.amounts import parse_size
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.loop.measures import parse_monitor
from tinygrad_cnn.train.loop.schedules import SCHEDULES, parse_schedule
from tinygrad_cnn.train.run.augmentations import AUGMENTATIONS, make_augmentation
from tinygrad_cnn.train.run.build import OPTIMIZERS, default_lr
from tinygrad_cnn.train.run.reading import parse_object

DATA = ("shapes", "cifar10")
_Function = TypeVar("_Function", bound=Callable[..., Any])


class Setting(NamedTuple):
    """What is known of a setting besides its name, type and default.

    A number is ``at_least``, ``above`` or ``below`` a bound. A text is ``among`` some, or what
    ``parse`` accepts, written as ``form``. `fit` has the settings with ``fit``; those with
    ``free`` may differ when a run goes on, and older ``config.json`` lack those with ``added``.
    The option that turns a true one ``off`` may have another name than ``--no-…``.
    """

    help: str | None = None
    at_least: float | None = None
    above: float | None = None
    below: float | None = None
    among: tuple[str, ...] = ()
    parse: Callable[[Any], object] | None = None
    form: str | None = None
    path: bool = False
    fit: bool = False
    free: bool = False
    added: bool = False
    off: str | None = None

    @property
    def expected(self) -> str:
        """The values it takes, in words."""
        bounds = {"at least": self.at_least, "above": self.above, "below": self.below}
        words = [f"{name} {bound:g}" for name, bound in bounds.items() if bound is not None]
        return " and ".join(words) or " or ".join(self.among) or self.form or "another type"

    def accepts(self, value: object, kind: Any) -> bool:
        """Whether ``value`` is of the type ``kind`` (an int may stand for a float) and in range."""
        if isinstance(value, bool) or not isinstance(value, int | float if kind is float else kind):
            return isinstance(value, bool) and kind is bool
        if isinstance(value, int | float) and not (
            math.isfinite(value)
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        ):
            return False
        if self.parse is not None and value is not None:
            self.parse(value)
        return not self.among or value in self.among


def parse_data(text: str) -> str:
    """The name of a data set, or the path of a folder, which need not be there.

    Raises
    ------
    TrainError
        It looks like the name of a data set that there is not.
    """
    if text not in DATA and not os.path.isdir(text) and os.path.basename(text) == text:
        raise TrainError(
            f"{text!r} is neither {' nor '.join(DATA)} nor a folder with a folder for each class"
        )
    return text


def _set(default: Any, *known: Any, **more: Any) -> Any:
    return dataclasses.field(default=default, metadata={"setting": Setting(*known, **more)})


@dataclass(frozen=True)
class Config:
    """The settings of a run; with the same settings and seed a run gives the same bits.

    ``model`` is ``FILE.py[:Class]`` or ``package.module:Class``; ``lr`` of None is the usual one of
    the optimiser. What the others mean is in their fields' `Setting`, and in ``tinygrad-cnn train
    --help``.

    Raises
    ------
    ValueError
        A setting is out of range.
    TrainError
        A text cannot be understood.

    Examples
    --------
    >>> config = Config(model="models/lenet5.py", epochs=3)
    >>> Config.from_json(config.to_json()) == config
    True
    >>> Config(model="models/lenet5.py", epochs=0)
    Traceback (most recent call last):
    tinygrad_cnn.errors.ArgumentError: Config: `epochs` is 0, expected at least 1
    """

    model: str
    data: str = _set(
        "shapes",
        "Images to learn: shapes, cifar10, or a folder with one folder of images for each class.",
        parse=parse_data,
        form="NAME|FOLDER",
        path=True,
    )
    size: int | None = _set(
        None,
        "Side that the images of a FOLDER are brought to.  [the usual shorter side, at most 64]",
        8,
        added=True,
    )
    root: str = _set("data", "Folder of the CIFAR-10 files.", path=True)
    init: str | None = _set(
        None,
        "Weights to begin with: another run's, or those in a .safetensors file.",
        form="RUN|FILE",
        path=True,
        added=True,
    )
    freeze: str | None = _set(
        None,
        "Comma-separated patterns of parameters that stay as they are, such as 'features.*'.",
        form="PATTERNS",
        added=True,
    )
    epochs: int = _set(10, "Passes over the images.", 1, fit=True, free=True)
    batch_size: int = _set(64, "Images per step.", 1)
    optimizer: str = _set("sgd", among=OPTIMIZERS)
    lr: float = _set(None, "Largest.  [sgd 0.05, lion 0.0005, adam 0.003]", above=0)
    momentum: float = _set(0.9, "Of sgd.", 0, below=1)
    weight_decay: float = _set(5e-4, None, 0)
    schedule: str = _set(
        "onecycle",
        f"Learning rate over the run: {', '.join(SCHEDULES.values())}.",
        parse=parse_schedule,
        form="NAME[:VALUE...]",
    )
    augment: str = _set(
        "flip",
        "Comma-separated: " + ", ".join(f"{name}[:{v}]" for name, (v, _) in AUGMENTATIONS.items()),
        parse=make_augmentation,
        form="NAMES",
    )
    label_smoothing: float = _set(
        0.0, "Share of a label that all classes have.", 0, below=1, fit=True
    )
    val_fraction: float = _set(
        0.1, "Share of the training images held back to choose the best epoch.", 0, below=1
    )
    limit: int | None = _set(None, "Use only this many training images.", 1)
    seed: int = _set(0, "Source of all randomness.", 0)
    workers: int = _set(1, "Loader threads.", 0, free=True)
    ema: float = _set(
        0.0, "Decay of an average of the weights; 0: none.", 0, below=1, fit=True, added=True
    )
    clip_norm: float = _set(
        0.0, "Largest joint norm of all gradients; 0 does not clip.", 0, fit=True, added=True
    )
    accumulate: int = _set(1, "Batches in a step.", 1, fit=True, added=True)
    warmup: float = _set(0.0, "Epochs until the full rate.", 0, fit=True, added=True)
    patience: int | None = _set(
        None,
        "Stop after so many epochs without a better value of what is monitored.",
        1,
        fit=True,
        free=True,
        added=True,
    )
    monitor: str = _set(
        "val_loss",
        "What chooses the best epoch: val_loss, val_accuracy, train_loss, ...",
        parse=parse_monitor,
        form="COLUMN",
        fit=True,
        added=True,
    )
    non_finite: str = _set(
        "stop",
        "What a loss that is NaN or infinite does: stop the run before its step, or skip the step.",
        among=("stop", "skip"),
        fit=True,
        free=True,
        added=True,
    )
    max_memory: int | float | str | None = _set(
        None,
        "Memory of a step, such as 2GB: what does not fit is computed again in backward passes.",
        parse=partial(parse_size, name="`max_memory`"),
        form="SIZE",
        fit=True,
        free=True,
        added=True,
    )
    flip_test: bool = _set(
        False, "Average the scores of a test image and its mirror image.", free=True, added=True
    )

    compile: bool = _set(
        True,
        "Record a step once and do it again without Python (tg.compile): the same bits, sooner.",
        fit=True,
        free=True,
        added=True,
        off="--eager",
    )

    sync_batch_norm: bool = _set(
        False,
        "On several ranks, normalise by the whole batch of all instead of each rank's part.",
        fit=True,
        free=True,
        added=True,
    )

    @property
    def data_name(self) -> str:
        """The name of the images: of a folder the last part of its path."""
        return os.path.basename(os.path.abspath(self.data))

    def __post_init__(self) -> None:
        if self.size is not None and self.data in DATA:
            raise TrainError(f"--size is for a folder of images; those of {self.data} are 32x32")
        if self.lr is None:
            object.__setattr__(self, "lr", default_lr(self.optimizer))
        check("Config", {name: getattr(self, name) for name in SETTINGS})

    def to_json(self) -> str:
        """The settings as JSON text, one per line."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Config":
        """Read what `to_json` wrote.

        Raises
        ------
        TrainError
            The text is not JSON, or settings are missing, unknown or not what they may be; the
            message lists all of them.
        """
        try:
            values = parse_object(text)
        except ValueError as error:
            raise TrainError(f"not a JSON object of settings ({error})") from error
        needed = ["model", *(name for name, setting in SETTINGS.items() if not setting.added)]
        wrong = [f"unknown setting {reprlib.repr(n)}" for n in values if n not in _TYPES]
        wrong += [f"missing setting {name!r}" for name in needed if name not in values]
        for name, value in values.items():
            try:
                if name in _TYPES and not _setting(name).accepts(value, _TYPES[name]):
                    wrong.append(f"setting {name!r} is {reprlib.repr(value)}")
            except (TrainError, ValueError) as error:
                wrong.append(f"setting {name!r}: {error}")
        if wrong:
            more = f"; and {len(wrong) - 20} more" if len(wrong) > 20 else ""
            raise TrainError("; ".join(wrong[:20]) + more)
        return cls(**values)


_TYPES: dict[str, Any] = {f.name: f.type for f in dataclasses.fields(Config)}
SETTINGS: dict[str, Setting] = {
    f.name: f.metadata["setting"] for f in dataclasses.fields(Config) if f.name != "model"
}
"""By name, all but the model."""


def _setting(name: str) -> Setting:
    return SETTINGS.get(name, Setting())


def check(function: str, values: Mapping[str, object]) -> None:
    """Refuse values that the settings of these names do not take.

    Raises
    ------
    ValueError
        A value has another type, or is out of range.
    TrainError
        A text cannot be understood.
    """
    for name, value in values.items():
        try:
            accepted = _setting(name).accepts(value, _TYPES[name])
        except ArgumentError as error:  # it names the setting
            raise ArgumentError(f"{function}: {error}") from error
        if not accepted:
            raise ArgumentError(
                f"{function}: `{name}` is {value!r}, expected {_setting(name).expected}"
            )


def fit_settings(given: Mapping[str, object]) -> dict[str, Any]:
    """All settings that `fit` has: those ``given``, and the defaults of the others.

    Raises
    ------
    TypeError
        There is no such setting.
    ValueError
        As `check`.

    >>> fit_settings({"epochs": 3})["accumulate"]
    1
    """
    known = {n: getattr(Config, n) for n, setting in SETTINGS.items() if setting.fit}
    for name in given:
        if name not in known:
            raise DtypeError(f"fit: there is no setting `{name}`, expected {', '.join(known)}")
    check("fit", given)
    return {**known, **given}


def with_settings(function: _Function) -> _Function:
    """``function(…, **settings)`` with the settings of `fit` in its signature and its docstring."""
    signature = inspect.signature(function)
    keyword = inspect.Parameter.KEYWORD_ONLY
    ours = [
        inspect.Parameter(name, keyword, default=default, annotation=_TYPES[name])
        for name, default in fit_settings({}).items()
    ]
    parameters = [*list(signature.parameters.values())[:-1], *ours]
    function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    lines = [f"    {p.name}\n        {SETTINGS[p.name].help}\n" for p in ours]
    doc = function.__doc__ or ""
    function.__doc__ = doc.replace("    settings\n", "".join(lines), 1)
    return function
