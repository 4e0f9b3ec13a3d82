"""What happens besides training: hooks between batches and epochs, and the ones that come along."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tinygrad_cnn.distributed import taking_long
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.loop import interrupt
from tinygrad_cnn.train.loop.measures import known, lower_is_better
from tinygrad_cnn.train.loop.progress import RunProgress
from tinygrad_cnn.train.run.checkpoint import Row, State
from tinygrad_cnn.train.run.folder import RunFolder

if TYPE_CHECKING:
    from tinygrad_cnn.train.loop.trainer import Trainer


class Callback:
    """Base class: a subclass defines what it needs. ``trainer.stop(reason)`` ends the training.

    Examples
    --------
    >>> class Print(Callback):
    ...     def on_epoch_end(self, trainer, row):
    ...         print(row["epoch"], row["train_loss"])
    """

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Training begins, or goes on."""

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """An epoch begins, or goes on after ``trainer.batch`` batches."""

    def on_batch_end(self, trainer: Trainer) -> None:
        """A batch is done; ``trainer.totals`` has the sums over the epoch."""

    def on_validation_begin(self, trainer: Trainer) -> None:
        """All batches of the epoch are done."""

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """An epoch is done; ``row`` is the last of ``trainer.history``."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """Training is over."""

    def close(self) -> None:
        """Let go of files and the like: training has ended, by itself or by an exception."""

    def state_dict(self) -> State:
        """What a checkpoint must keep of it, so that a run goes on as if it had not stopped.

        Whatever `serialization.save` takes. Nothing by default.
        """
        return {}

    def load_state_dict(self, state: State) -> None:
        """Take over what `state_dict` returned."""


def best_epoch(history: Sequence[Row], monitor: str = "val_loss") -> int:
    """The number of the best epoch, the first of equals; the last one where nothing was measured.

    The largest value is best or, of a loss or an error, the smallest; NaN is never. 0 without
    epochs.

    Examples
    --------
    >>> best_epoch([{"val_loss": 2.0}, {"val_loss": 1.0}, {"val_loss": 1.5}], "val_loss")
    2
    """
    values = [row.get(monitor) for row in history]
    sign = -1 if lower_is_better(monitor) else 1
    found = [(sign * v, -i) for i, v in enumerate(values) if v is not None and known(v)]
    return 1 - max(found)[1] if found and None not in values else len(values)


class EarlyStopping(Callback):
    """Stop when ``monitor`` has not been better than its best for ``patience`` epochs.

    ``monitor`` is a column of the history, such as ``val_loss`` or ``val_accuracy``. What counts is
    the history alone, so a run that is continued stops where it would have stopped.
    """

    def __init__(self, patience: int, monitor: str = "val_loss") -> None:
        if patience < 1:
            raise ArgumentError(
                f"EarlyStopping: `patience` is {patience} but at least 1 is expected"
            )
        self.patience, self.monitor = patience, monitor

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Look at the epochs there are: a run that has stopped stays stopped."""
        self._look(trainer)

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Stop if it is time."""
        self._look(trainer)

    def _look(self, trainer: Trainer) -> None:
        since = len(trainer.history) - best_epoch(trainer.history, self.monitor)
        if since >= self.patience:
            trainer.stop(f"{self.monitor} has not improved for {since} epochs")


class KeepBest(Callback):
    """Keep a copy of the weights of the best epoch, and give it to the model in the end."""

    def __init__(self, monitor: str = "val_loss") -> None:
        self.monitor = monitor
        self.weights: dict[str, Tensor] | None = None

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Copy the weights if they are the best so far."""
        if best_epoch(trainer.history, self.monitor) == len(trainer.history):
            self.weights = {name: t.clone() for name, t in trainer.weights().items()}

    def state_dict(self) -> State:
        """The copy: a run that goes on may never be better than before the interruption."""
        return {} if self.weights is None else {"weights": self.weights}

    def load_state_dict(self, state: State) -> None:
        """Take over the copy."""
        self.weights = state["weights"]

    def on_fit_end(self, trainer: Trainer) -> None:
        """Load them; warn if nothing has become better."""
        values = [row.get(self.monitor) for row in trainer.history]
        if self.weights is not None:
            trainer.model.load_state_dict(self.weights)
        elif values:
            why = "the best epoch was before this run went on, and its checkpoint has no copy of it"
            warnings.warn(f"fit: {why}, so the last weights are kept", stacklevel=2)
            return
        if values and not any(map(known, values)):
            why = f"{self.monitor} was never a number, so the last weights are kept"
        elif len(values) > 1 and best_epoch(trainer.history, self.monitor) == 1:
            why = f"{self.monitor} was never better than after epoch 1, whose weights are kept"
        else:
            return
        warnings.warn(f"fit: {why}", stacklevel=2)


class SaveRun(Callback):
    """Keep the run in a folder: checkpoint, metrics, and the weights of the best epoch.

    The checkpoint is written after every epoch, within an epoch every ``seconds``, and when Ctrl-C
    is pressed; a run that is continued from it comes to the same weights, bit for bit. ``monitor``
    is the column by which an epoch is best, by default that of the trainer's setting.
    """

    def __init__(
        self, folder: RunFolder, seconds: float = 60.0, monitor: str | None = None
    ) -> None:
        self.folder, self.seconds, self.monitor = folder, seconds, monitor

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Write what there is: the process may have died between two files."""
        with self._writing():
            if trainer.history:
                self.folder.write_metrics(trainer.history)
            self._write(trainer)

    def on_batch_end(self, trainer: Trainer) -> None:
        """Write the checkpoint if it is time."""
        due = time.perf_counter() - self._last >= self.seconds
        if (due or interrupt.pending()) and not trainer.step.pending:
            with self._writing():
                self._write(trainer)

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Write everything.

        The model goes first: should the process die between the two, the epoch's last batches are
        repeated and the same model is written again.
        """
        with self._writing():
            monitor = self.monitor or trainer.chosen_by
            if best_epoch(trainer.history, monitor) == len(trainer.history):
                self.folder.write_model(trainer.weights())
            self._write(trainer)
            self.folder.write_metrics(trainer.history)

    def kept(self) -> str:
        """Which state the checkpoint has, to be said when the training fails."""
        return f"; {self.folder.checkpoint} has the state after epoch {self._after}"

    def _write(self, trainer: Trainer) -> None:
        with taking_long("writing the checkpoint"):
            trainer.snapshot().write(self.folder.checkpoint)
        self._after = f"{len(trainer.history)}, batch {trainer.batch}"
        self._last = time.perf_counter()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TrainError(
                f"cannot write into {self.folder.path} ({error.strerror}); what is there is whole, "
                "and the run can go on from it"
            ) from error


class ShowProgress(Callback):
    """A line per epoch and, on a terminal, a bar."""

    def __init__(self, progress: RunProgress, images: int) -> None:
        self.progress, self.images = progress, images
        self.skipped, self.told = 0, False

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """Start the bar."""
        self.progress.begin(len(trainer.history) + 1, self.images)

    def on_batch_end(self, trainer: Trainer) -> None:
        """Move the bar."""
        self.progress.batch(trainer.totals)

    def on_validation_begin(self, trainer: Trainer) -> None:
        """Say so."""
        self.progress.looking()

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Print the line, how many steps were skipped, and once what is not compiled."""
        self.progress.end(row)
        skipped, self.skipped = trainer.step.skipped - self.skipped, trainer.step.skipped
        if skipped:
            self.progress.note(f"Skipped {skipped} batches: loss or gradients were not finite.")
        if trainer.runs_as_usual and not self.told:
            self.told = True
            self.progress.note(f"Some batches run without tg.compile: {trainer.runs_as_usual}.")
