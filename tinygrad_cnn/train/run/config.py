"""Everything that determines a run, as one record that is written beside its results."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from tinygrad_cnn.train.errors import TrainError

# Runs made before these settings existed have their defaults.
_ADDED = {"ema", "clip_norm", "accumulate", "warmup", "patience", "flip_test"}


@dataclass(frozen=True)
class Config:
    """The settings of a run; with the same settings and seed a run gives the same bits.

    ``model`` is ``FILE.py[:Class]`` or ``package.module:Class``, ``root`` the folder of the data,
    ``limit`` the number of training images to use (None for all), ``lr`` the largest learning rate
    of the ``schedule`` (`tinygrad_cnn.train.loop.schedules`), ``augment`` one of
    `tinygrad_cnn.train.run.augmentations`. ``ema`` is the decay of an average of the weights,
    ``clip_norm`` the largest norm of the gradient (0: off, both), ``accumulate`` the batches in a
    step, ``warmup`` the epochs in which the learning rate rises, ``patience`` the epochs without a
    better validation accuracy after which to stop; ``flip_test`` averages the scores of a test
    image and its mirror image.

    Examples
    --------
    >>> config = Config(model="models/lenet5.py", epochs=3)
    >>> Config.from_json(config.to_json()) == config
    True
    """

    model: str
    data: str = "shapes"
    root: str = "data"
    epochs: int = 10
    batch_size: int = 64
    optimizer: str = "sgd"
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "onecycle"
    augment: str = "flip"
    label_smoothing: float = 0.0
    val_fraction: float = 0.1
    limit: int | None = None
    seed: int = 0
    workers: int = 1
    ema: float = 0.0
    clip_norm: float = 0.0
    accumulate: int = 1
    warmup: float = 0.0
    patience: int | None = None
    flip_test: bool = False

    def to_json(self) -> str:
        """The settings as JSON text, one per line."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Config":
        """Read what `to_json` wrote.

        Raises
        ------
        TrainError
            The text is not JSON, or settings are missing, unknown or of the wrong type; the
            message lists all of them.
        """
        try:
            values: dict[str, Any] = dict(json.loads(text))
        except (TypeError, ValueError) as error:
            raise TrainError(f"not a JSON object of settings ({error})") from error
        fields = {f.name: f for f in dataclasses.fields(cls)}
        wrong = [f"unknown setting {name!r}" for name in values if name not in fields]
        wrong += [
            f"missing setting {name!r}"
            for name in fields
            if name not in values and name not in _ADDED
        ]
        for name, value in values.items():
            if name in fields and not _fits(value, fields[name].type):
                wrong.append(f"setting {name!r} is {value!r}")
        if wrong:
            raise TrainError("; ".join(wrong))
        return cls(**values)


def _fits(value: object, kind: Any) -> bool:
    """Whether ``value`` has the type of a field; JSON may have turned 1.0 into 1."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)
