"""Where the figures of a run go besides the screen: a file, TensorBoard, any tracker."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.serialization import write_atomically
from tinygrad_cnn.serialization.files import make_folder
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.loop.callbacks import Callback
from tinygrad_cnn.train.run.checkpoint import Row
from tinygrad_cnn.train.run.folder import as_csv

if TYPE_CHECKING:
    from tinygrad_cnn.train.loop.trainer import Trainer


class Function(Protocol):
    """What `Log` calls."""

    def __call__(self, values: dict[str, float], /, *, step: int) -> object:
        """Take figures by name, of a step."""


class Log(Callback):
    """Hand the figures of every epoch to ``function(values, step=…)``, as most trackers take them.

    ``values`` are those of the epoch's row that are numbers: ``train_loss``, ``val_accuracy``,
    ``lr`` and so on. ``step`` is the number of the epoch. With ``every`` the loss of each
    ``every``-th batch is handed over as well (``batch_loss``, the mean since the last time or the
    epoch's beginning, and ``lr``), and ``step`` counts the batches of the run, for both.

    A run that goes on after an interruption hands over what is new. What came after the last
    checkpoint is computed again, and handed over again with the same steps.

    Examples
    --------
    ``callbacks=[Log(wandb.log)]``, ``[Log(mlflow.log_metrics)]``, ``[Log(experiment.log_metrics)]``
    for Comet, or a function of your own:

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn, train
    >>> def note(values, step):
    ...     print(step, sorted(values)[-2:])
    >>> batches = [(tg.ones(2, 3), tg.tensor([0, 1]))]
    >>> _ = train.fit(nn.Linear(3, 2), batches, epochs=2, callbacks=[Log(note)], quiet=True)
    1 ['train_accuracy', 'train_loss']
    2 ['train_accuracy', 'train_loss']
    """

    def __init__(self, function: Function, every: int | None = None) -> None:
        if every is not None and every < 1:
            raise ArgumentError(
                f"{type(self).__name__}: `every` is {every}, expected at least 1, or None"
            )
        self.function, self.every = function, every
        self.batches, self._since = 0, (0.0, 0)

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """Count the sums of an epoch from its beginning."""
        if not trainer.batch:
            self._since = 0.0, 0

    def on_batch_end(self, trainer: Trainer) -> None:
        """Hand over the loss if it is time."""
        self.batches += 1
        if self.every is not None and self.batches % self.every == 0:
            (total, images), now = self._since, (trainer.totals.loss_sum, trainer.totals.images)
            self._since = now
            seen = now[1] - images
            loss = (now[0] - total) / seen if seen else math.nan  # nan: all were skipped
            self.function({"batch_loss": loss, "lr": trainer.step.rate}, step=self.batches)

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Hand over the epoch's figures."""
        values = {k: float(v) for k, v in row.items() if v is not None and k != "epoch"}
        self.function(values, step=self._step(trainer))

    def _step(self, trainer: Trainer) -> int:
        return len(trainer.history) if self.every is None else self.batches

    def state_dict(self) -> dict[str, Any]:
        """The number of batches, and the sums that have been handed over."""
        return {"batches": self.batches, "since": list(self._since)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take them over."""
        self.batches, self._since = int(state["batches"]), tuple(state["since"])


class CSV(Callback):
    """Keep the rows of the history in the file ``path``: one per epoch, written anew and whole.

    A run that goes on has the rows of the earlier epochs too; another run takes the file's place.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Write what there is: a run that goes on may have been stopped before it was written."""
        if trainer.history:
            self._write(trainer)

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Write all rows."""
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        try:
            make_folder(self.path.absolute().parent)
            write_atomically(self.path, as_csv(trainer.history))
        except OSError as error:
            raise TrainError(f"CSV: cannot write {self.path} ({error.strerror})") from error


class TensorBoard(Log):
    """Write the figures of every epoch for TensorBoard into the folder ``dir``.

    They are called ``loss/train``, ``loss/val``, ``accuracy/train`` and so on, ``lr``,
    ``images_per_second``: ``tensorboard --logdir DIR`` shows training and validation side by side.
    ``every`` is that of `Log`. With ``histograms`` the distributions of all parameters, and of the
    gradients of the last batch where they are kept, are written after each epoch.

    A run that goes on takes up its curves where its checkpoint is: what had been written after it,
    or by an earlier run into this folder, is no longer shown.

    Raises
    ------
    TrainError
        TensorBoard is not installed: ``pip install 'tinygrad-cnn[tensorboard]'``.
    """

    def __init__(
        self, dir: str | Path, *, every: int | None = None, histograms: bool = False
    ) -> None:
        super().__init__(self._scalars, every)
        self.dir, self.histograms = Path(dir), histograms
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError:
            raise TrainError(
                "TensorBoard: it is not installed: pip install 'tinygrad-cnn[tensorboard]'"
            ) from None
        self._made = event_pb2, summary_pb2, EventFileWriter
        self._writer: Any = None

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Open the file; what others have of later steps is given up."""
        events, _, make = self._made
        if self._writer is None:
            # Files are named by the second and then this, and read in the order of their names.
            suffix = f".{time.time_ns() % 10**9:09d}"
            try:
                self._writer = make(str(self.dir), flush_secs=10, filename_suffix=suffix)
            except OSError as error:
                raise TrainError(
                    f"TensorBoard: cannot write into {self.dir} ({error.strerror})"
                ) from error
            start = events.SessionLog(status=events.SessionLog.START)
            self._write(self._step(trainer) + 1, session_log=start)

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Write the epoch's figures."""
        super().on_epoch_end(trainer, row)
        if self.histograms:
            for name, p in trainer.model.named_parameters():
                for kind, tensor in (("weights", p), ("gradients", p.grad)):
                    if tensor is not None:
                        self._histogram(f"{kind}/{name}", tensor, self._step(trainer))
        self._writer.flush()

    def state_dict(self) -> dict[str, Any]:
        """As `Log`; what a checkpoint counts as written is on disk."""
        if self._writer is not None:
            self._writer.flush()
        return super().state_dict()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def _scalars(self, values: dict[str, float], /, *, step: int) -> None:
        for name, value in values.items():
            place, _, rest = name.partition("_")
            tag = f"{rest}/{place}" if place in ("train", "val", "batch") else name
            self._summary(step, tag=tag, simple_value=value)

    def _histogram(self, tag: str, tensor: Tensor, step: int) -> None:
        values = tensor.detach().to(dtype="float64").numpy().ravel()
        values = values[np.isfinite(values)]
        if values.size:
            counts, edges = np.histogram(values, 30)
            histogram = self._made[1].HistogramProto(
                min=values.min(), max=values.max(), num=len(values),
                sum=values.sum(), sum_squares=np.square(values).sum(),
                bucket_limit=edges, bucket=[0, *counts],
            )  # fmt: skip
            self._summary(step, tag=tag, histo=histogram)

    def _summary(self, step: int, **value: Any) -> None:
        summary = self._made[1].Summary
        self._write(step, summary=summary(value=[summary.Value(**value)]))

    def _write(self, step: int, **what: Any) -> None:
        event = self._made[0].Event(wall_time=time.time(), step=step, **what)
        self._writer.add_event(event)
