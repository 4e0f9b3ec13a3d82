"""The state of a run between two batches, in one file that is always whole.

Everything that the next batch depends on is in it, so that a run continued from it does exactly
what it would have done without the interruption. One safetensors file holds tensors and JSON
together: a pair of files could be torn apart by a crash between the two.
"""

import reprlib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tinygrad_cnn.serialization import SerializationError, load, save
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.train.errors import TrainError

State = dict[str, Any]
"""A ``state_dict``."""

Row = dict[str, float | int | None]
"""One epoch's line in ``metrics.csv``; None where nothing was measured."""


@dataclass
class Checkpoint:
    """State after ``len(history)`` epochs and ``batch`` batches of the next one.

    ``model``, ``optimizer``, ``scheduler`` and ``average`` are their ``state_dict``s,
    ``generators`` the states of the random generators by name, ``best_epoch`` the epoch (from 1)
    whose model was kept. ``seed`` gives every epoch its order and augmentation, ``steps`` counts
    the optimiser's steps, ``partial`` has the sums over the batches of the epoch under way, and
    ``callbacks`` the states of callbacks that have one.
    """

    model: dict[str, Tensor]
    optimizer: State
    scheduler: State | None
    generators: dict[str, State]
    history: list[Row] = field(default_factory=list)
    best_epoch: int = 0
    average: State | None = None
    seed: int = 0
    steps: int = 0
    batch: int = 0
    partial: State = field(default_factory=dict)
    callbacks: dict[str, State] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Replace the file at ``path`` by this state, whole or not at all."""
        save({"checkpoint": {f.name: getattr(self, f.name) for f in fields(self)}}, path)

    @classmethod
    def read(cls, path: Path) -> "Checkpoint":
        """Read what `write` wrote.

        Raises
        ------
        TrainError
            There is no such file, it is damaged, or it is not a checkpoint.
        """
        try:
            state = load(path)
        except FileNotFoundError:
            raise TrainError(f"there is no checkpoint {path}") from None
        except SerializationError as error:
            raise TrainError(str(error).removeprefix("load: ")) from error
        try:
            checkpoint = cls(**state["checkpoint"])
        except (KeyError, TypeError) as error:
            raise TrainError(f"{path} is not a checkpoint of this program") from error
        checkpoint._check(path)
        return checkpoint

    def _check(self, path: Path) -> None:
        """Refuse what `write` does not write; what is in the states, their owners look at."""
        numbers = "best_epoch", "seed", "steps", "batch"
        for f in fields(self):
            value: Any = getattr(self, f.name)
            if f.name in numbers:
                fits = type(value) is int and value >= 0
            elif value is None:
                fits = f.name in ("scheduler", "average")
            else:
                fits = isinstance(value, list if f.name == "history" else dict)
            if not fits:
                raise TrainError(f"{path} is damaged: its `{f.name}` is {reprlib.repr(value)}")
        for row in self.history:
            known = isinstance(row, dict)
            if not known or not all(isinstance(n, int | float | None) for n in row.values()):
                raise TrainError(f"{path} is damaged: its `history` has {reprlib.repr(row)}")
