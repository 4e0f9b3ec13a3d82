"""`fit` and the `Trainer` behind it: epochs of training and validation that can be continued."""

import contextlib
import itertools
import math
import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from tinygrad_cnn.data import DataLoader
from tinygrad_cnn.data.keyed import keys
from tinygrad_cnn.nn import Module
from tinygrad_cnn.nn.functional import cross_entropy
from tinygrad_cnn.ops.random import default_generator
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.loop import interrupt
from tinygrad_cnn.train.loop.average import WeightAverage
from tinygrad_cnn.train.loop.callbacks import (
    Callback,
    EarlyStopping,
    KeepBest,
    SaveRun,
    ShowProgress,
    best_epoch,
)
from tinygrad_cnn.train.loop.epochs import Totals, evaluate
from tinygrad_cnn.train.loop.measures import METRICS, Metrics, make_metrics, parse_monitor
from tinygrad_cnn.train.loop.progress import RunProgress
from tinygrad_cnn.train.loop.schedules import make_scheduler, when_to_step
from tinygrad_cnn.train.loop.step import Loss, TrainingStep
from tinygrad_cnn.train.run.build import make_optimizer
from tinygrad_cnn.train.run.checkpoint import Checkpoint, Row
from tinygrad_cnn.train.run.config import Config, fit_settings, with_settings
from tinygrad_cnn.train.run.folder import RunFolder

_EPOCH = 3  # which stream of random numbers gives each epoch its seed
_SUMS = "images", "loss_sum", "batches"
_METRIC = "sum of "
_COLD = 2  # batches before the speed is measured

Batches = Iterable[tuple[Tensor, Tensor]]


class Trainer:
    """A model in training, with everything that its next batch depends on; see `fit`.

    Attributes
    ----------
    history
        One row per finished epoch.
    batch
        Batches done of the epoch under way.
    totals
        Sums over these batches.
    stopped
        Why the training has ended early, or None.
    """

    def __init__(
        self,
        model: Module,
        train: Batches,
        val: Batches | None = None,
        *,
        optimizer: Any = Config.optimizer,
        scheduler: Any = None,
        schedule_every: str | None = None,
        callbacks: Sequence[Callback] = (),
        loss: Loss | None = None,
        metrics: Metrics | None = None,
        seed: int | None = None,
        **settings: Any,
    ) -> None:
        insisted = "monitor" in settings
        self.settings = settings = fit_settings(settings)
        self.model, self.train, self.val = model, train, val
        self.metrics = make_metrics(metrics)
        self.chosen_by, self.note = settings["monitor"], ""
        self.monitor = self._monitored(insisted)
        self.epochs: int = settings["epochs"]
        self.callbacks = list(callbacks)
        self.optimizer = (
            make_optimizer(optimizer, model) if isinstance(optimizer, str) else optimizer
        )
        self.loss = loss or cross_entropy
        batches = len(train) if isinstance(train, Sized) else 0
        for name, given in (("train", train), ("val", val)):
            if isinstance(given, Sized) and len(given) == 0:
                raise TrainError(f"fit: `{name}` is empty, expected at least one batch")
        steps = math.ceil(batches / settings["accumulate"])
        if (isinstance(scheduler, str) or settings["warmup"]) and not steps:
            raise TypeError(
                f"fit: `train` is a {type(train).__name__} without a length, which a `scheduler` "
                "by name and `warmup` need"
            )
        if isinstance(scheduler, str):
            self.scheduler, when = make_scheduler(
                scheduler, self.optimizer, epochs=self.epochs, steps=steps
            )
        else:
            self.scheduler, when = scheduler, when_to_step(scheduler)
        self.when = schedule_every or when
        self.average = WeightAverage(model, settings["ema"]) if settings["ema"] else None
        learned = loss or partial(cross_entropy, label_smoothing=settings["label_smoothing"])
        self.step = TrainingStep(
            model,
            learned,
            self.optimizer,
            scheduler=self.scheduler if self.when == "step" else None,
            clip_norm=settings["clip_norm"] or None,
            accumulate=settings["accumulate"],
            warmup=round(settings["warmup"] * steps),
            average=self.average,
        )
        if settings["patience"] is not None:
            self.callbacks.append(EarlyStopping(settings["patience"], self.monitor))
        self.seed = _drawn_seed(train) if seed is None else seed
        self.history: list[Row] = []
        self.batch, self.totals = 0, self._no_totals()
        self._seconds = self._waited = 0.0
        self._cold, self._warm = _COLD, (0, 0.0)
        self.stopped: str | None = None

    def _no_totals(self) -> Totals:
        """Sums of no batches."""
        return Totals(metrics=self.metrics, loss_function=self.loss)

    def _monitored(self, insisted: bool) -> str:
        """The column that decides which epoch is best."""
        monitor: str = self.settings["monitor"]
        names = ["loss", *(["accuracy"] if self.metrics is None else self.metrics)]
        if parse_monitor(monitor) not in names:
            expected = ", ".join(f"{place}_{name}" for name in names for place in ("val", "train"))
            raise TrainError(f"fit: `monitor` is {monitor!r}, expected {expected}")
        if self.val is None and monitor.startswith("val_"):
            if insisted:
                raise TrainError(
                    f"fit: `monitor` is {monitor!r} but there are no validation data; expected "
                    f"train_{parse_monitor(monitor)}, or data in `val`"
                )
            monitor = "train_loss"
            if self.settings["patience"] is not None:
                self.note = "There are no validation data: the training loss decides when to stop."
        return monitor

    def run(self) -> list[Row]:
        """Train until ``epochs`` epochs are done or a callback stops it; return the history.

        Raises
        ------
        TrainError
            The loss or a weight is no longer finite.
        KeyboardInterrupt
            Ctrl-C; what a batch does is done whole.
        """
        with interrupt.deferred():
            self._call("on_fit_begin")
            while len(self.history) < self.epochs and self.stopped is None:
                self.epoch()
                interrupt.check()
            if self.average is not None:
                self.model.load_state_dict(self.average.weights())
            self._call("on_fit_end")
        return self.history

    def stop(self, reason: str) -> None:
        """End the training after this epoch."""
        self.stopped = reason

    def weights(self) -> dict[str, Tensor]:
        """What validation looks at: the weights, or their average."""
        return self.model.state_dict() if self.average is None else self.average.weights()

    def epoch(self) -> Row:
        """Train on the batches that are left of the epoch, validate, and note the figures."""
        self.model.train()
        self._call("on_epoch_begin")
        spent = self._seconds + self._waited
        for images, labels in self._batches():
            begin = time.perf_counter()
            try:
                loss, scores = self.step(images, labels)
                self.totals.add(loss, scores, labels)
            except TrainError as error:
                raise TrainError(f"epoch {len(self.history) + 1}: {error}") from error
            self.batch += 1
            self._seconds += time.perf_counter() - begin
            self._count_warm(len(labels), spent)
            spent = self._seconds + self._waited
            self._call("on_batch_end")
            interrupt.check()
        if not self.totals.batches:
            raise TrainError(f"epoch {len(self.history) + 1}: `train` gave no batches")
        self.step.finish()
        self._call("on_validation_begin")
        row = self._row()
        self._call("on_epoch_end", row)
        return row

    def _count_warm(self, images: int, before: float) -> None:
        """Count a batch for the speed; kernels are compiled in the first ones of a process."""
        if self._cold:
            self._cold -= 1
            return
        done, seconds = self._warm
        self._warm = done + images, seconds + self._seconds + self._waited - before

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches that are left, timing how long each is waited for."""
        if isinstance(self.train, DataLoader):
            seed = int(keys(self.seed, _EPOCH, np.asarray([len(self.history)]))[0])
            source = self.train.epoch(seed, self.batch)
        else:
            source = itertools.islice(self.train, self.batch, None)
        with contextlib.ExitStack() as stack:
            if hasattr(source, "close"):  # its threads end with the loop, however that ends
                stack.callback(source.close)
            while True:
                begin = time.perf_counter()
                item = next(source, None)
                self._waited += time.perf_counter() - begin
                if item is None:
                    return
                yield item

    def _row(self) -> Row:
        """Validate, step the schedule of epochs, and add a row to the history."""
        totals, begin = self.totals, time.perf_counter()
        seen = self._validate()
        trained = self._seconds + self._waited
        images, warm = self._warm if self._warm[0] else (totals.images, trained)
        row: Row = {
            "epoch": len(self.history) + 1,
            "train_loss": totals.loss,
            **{f"train_{name}": value for name, value in totals.measured.items()},
            "val_loss": None if seen is None else seen.loss,
            **{f"val_{n}": seen.measured.get(n) if seen else None for n in totals.measured},
            "lr": self.step.rate,
            "seconds": round(trained + time.perf_counter() - begin, 3),
            "images_per_second": round(images / max(warm, 1e-9), 1),
            "data_wait": round(self._waited / max(trained, 1e-9), 4),
        }
        if self.when == "epoch":
            self.scheduler.step()
        elif self.when == "loss":
            self.scheduler.step(totals.loss if seen is None else seen.loss)
        if self.monitor not in row:
            raise TrainError(
                f"fit: `monitor` is {self.monitor!r}, but only the loss was measured: outputs and "
                "targets are not scores (n, classes) and integers (n,)"
            )
        self.history.append(row)
        self.batch, self.totals = 0, self._no_totals()
        self._seconds = self._waited = 0.0
        self._warm = 0, 0.0
        return row

    def _validate(self) -> Totals | None:
        if self.val is None:
            return None
        averaged = self.average.applied() if self.average is not None else None
        with averaged or contextlib.nullcontext():
            try:
                totals = evaluate(self.model, self.val, self.loss, metrics=self.metrics, keep=False)
            except TrainError as error:
                epoch = len(self.history) + 1
                raise TrainError(f"epoch {epoch}: in validation {error}") from error
        if not totals.batches:
            raise TrainError(f"epoch {len(self.history) + 1}: `val` gave no batches")
        return totals

    def _call(self, name: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, name)(self, *arguments)

    # -- state --------------------------------------------------------------------------------

    def snapshot(self) -> Checkpoint:
        """The state between two batches.

        Raises
        ------
        TrainError
            A weight is not finite: such a state must not take the place of a good one.
        """
        model = self.model.state_dict()
        for name, tensor in model.items():
            floating = isinstance(tensor, Tensor) and tensor.is_floating_point()
            if floating and not np.isfinite(tensor._array).all():
                raise TrainError(f"epoch {len(self.history) + 1}: {name} is no longer finite")
        return Checkpoint(
            model=model,
            optimizer=self.optimizer.state_dict(),
            scheduler=self.scheduler.state_dict() if self.scheduler is not None else None,
            generators={"default": default_generator.get_state()},
            history=self.history,
            best_epoch=best_epoch(self.history, self.chosen_by),
            average=self.average.state_dict() if self.average is not None else None,
            seed=self.seed,
            steps=self.step.taken,
            batch=self.batch,
            partial={
                **{name: getattr(self.totals, name) for name in _SUMS},
                **{_METRIC + name: value for name, value in self.totals.sums.items()},
                "seconds": self._seconds,
                "waited": self._waited,
            },
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back, or forward, to the state of `snapshot`.

        Raises
        ------
        TrainError
            The checkpoint belongs to another model or other settings.
        """
        try:
            self.model.load_state_dict(checkpoint.model)
            self.optimizer.load_state_dict(checkpoint.optimizer)
            if self.scheduler is not None:
                self.scheduler.load_state_dict(checkpoint.scheduler)
            if self.average is not None:
                self.average.load_state_dict(checkpoint.average or {})
            default_generator.set_state(checkpoint.generators["default"])
            partial = dict(checkpoint.partial)
            self._seconds, self._waited = partial.pop("seconds", 0.0), partial.pop("waited", 0.0)
            self.totals = self._no_totals()
            self.totals.sums = {
                n.removeprefix(_METRIC): v for n, v in partial.items() if _METRIC in n
            }
            if self.totals.sums and self.metrics is None:
                self.totals.metrics = {n: METRICS[n] for n in self.totals.sums}
            for name in _SUMS:
                setattr(self.totals, name, partial.get(name, 0))
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            message = " ".join(str(error).split())
            raise TrainError(f"the checkpoint does not fit: {message}") from error
        self.history, self.seed = list(checkpoint.history), checkpoint.seed
        self.step.taken, self.batch = checkpoint.steps, checkpoint.batch


def _drawn_seed(train: Batches) -> int:
    generator = train.generator if isinstance(train, DataLoader) else default_generator
    return int(generator.numpy.integers(0, 2**63))


@with_settings
def fit(
    model: Module,
    train: Batches,
    val: Batches | None = None,
    *,
    optimizer: Any = Config.optimizer,
    scheduler: Any = None,
    schedule_every: str | None = None,
    callbacks: Sequence[Callback] = (),
    loss: Loss | None = None,
    metrics: Metrics | None = None,
    keep_best: bool = False,
    folder: str | Path | None = None,
    resume: bool = False,
    seed: int | None = None,
    quiet: bool = False,
    **settings: Any,
) -> list[Row]:
    """Train ``model`` on the batches of ``train`` and return a row of figures per epoch.

    Parameters
    ----------
    train, val
        `DataLoader`s, or anything that gives batches ``(images (n, …), labels)`` each time it is
        iterated over. Validation is the same with every augmentation in ``train``.
    optimizer
        an optimiser, or a name (``sgd``, ``adam``, ``adamw``, ``lion``) for its usual settings.
    scheduler
        a scheduler, or text such as ``"onecycle"`` or ``"step:30:0.1"``.
    schedule_every
        ``"step"`` (of the optimiser) or ``"epoch"``, where a scheduler is not to go by its usual
        count.
    callbacks
        what else happens, see `Callback`.
    loss
        ``(scores, labels) -> loss`` in place of `cross_entropy` with ``label_smoothing``.
    metrics
        what else is measured: names (``accuracy``, ``top5_accuracy``, ``absolute_error``),
        functions ``(outputs, targets) -> number``, or a dict of either by name. Their means over
        all images stand in the rows as ``train_…`` and ``val_…``. The smaller is the better if a
        name ends in ``loss`` or ``error``, otherwise the larger. By default the accuracy, where the
        outputs are scores (n, classes) and the targets integers (n,); nothing elsewhere.
    settings
    keep_best
        whether the model has the weights of the best epoch in the end, by ``monitor``; without
        validation data by the training loss.
    folder
        where to keep a checkpoint, metrics.csv and the best weights.
    resume
        go on after the checkpoint in ``folder``, if there is one, to the same weights that it would
        have come to without the interruption.
    seed
        decides the order and the augmentation of every epoch; by default drawn from the loader's
        generator.
    quiet
        print nothing.

    Raises
    ------
    ValueError
        A setting is out of range.
    TrainError
        The loss diverges, there are no data, a name is unknown, or a checkpoint is damaged or does
        not fit.
    KeyboardInterrupt
        Ctrl-C; it waits for the end of a batch, and for the checkpoint.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import data, nn
    >>> tg.manual_seed(0)
    Generator(seed=0)
    >>> x = tg.randn(64, 2)
    >>> batches = data.DataLoader(data.TensorDataset(x, (x[:, 0] > 0).long()), 16, shuffle=True)
    >>> history = fit(nn.Linear(2, 2), batches, optimizer="adam", scheduler="cosine", epochs=9,
    ...     quiet=True)
    >>> len(history), history[-1]["train_loss"] < history[0]["train_loss"]
    (9, True)
    """
    trainer = Trainer(
        model,
        train,
        val,
        optimizer=optimizer,
        scheduler=scheduler,
        schedule_every=schedule_every,
        callbacks=callbacks,
        loss=loss,
        metrics=metrics,
        seed=seed,
        **settings,
    )
    if keep_best:
        trainer.callbacks.append(KeepBest(trainer.monitor))
    if folder is not None:
        place = RunFolder(Path(folder))
        place.path.mkdir(parents=True, exist_ok=True)
        if resume and place.checkpoint.exists():
            trainer.restore(Checkpoint.read(place.checkpoint))
        trainer.callbacks.append(SaveRun(place))
    if quiet:
        return trainer.run()
    images = len(train.dataset) if isinstance(train, DataLoader) else 0
    if keep_best and val is None and not trainer.note:
        trainer.note = f"There are no validation data: {trainer.monitor} chooses the best epoch."
    with RunProgress(Console(), trainer.epochs) as progress:
        if trainer.note:
            progress.note(trainer.note)
        trainer.callbacks.append(ShowProgress(progress, images))
        history = trainer.run()
        if trainer.stopped:
            progress.note(f"Stopped: {trainer.stopped}.")
    return history
