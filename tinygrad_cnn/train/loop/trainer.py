"""The `Trainer`: epochs of training and validation that can be continued."""

import contextlib
import itertools
import math
import time
from collections.abc import Iterator, Sequence, Sized
from functools import partial
from typing import Any

import numpy as np

from tinygrad_cnn.data import DataLoader
from tinygrad_cnn.data.keyed import keys
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.memory import fit_into
from tinygrad_cnn.memory.growth import StepWatch
from tinygrad_cnn.nn import Module, SyncBatchNorm
from tinygrad_cnn.nn.functional import cross_entropy
from tinygrad_cnn.ops.random import default_generator
from tinygrad_cnn.optim import Optimizer
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.loop import interrupt, state
from tinygrad_cnn.train.loop.average import WeightAverage
from tinygrad_cnn.train.loop.callbacks import Callback, EarlyStopping, SaveRun, ShowProgress
from tinygrad_cnn.train.loop.compiled import calls_of
from tinygrad_cnn.train.loop.epochs import Batches, Looking, Totals
from tinygrad_cnn.train.loop.measures import (
    Metrics,
    lower_is_better,
    make_metrics,
    parse_monitor,
)
from tinygrad_cnn.train.loop.ranks import Ranks
from tinygrad_cnn.train.loop.schedules import check_scheduler, make_scheduler, when_to_step
from tinygrad_cnn.train.loop.step import Loss, TrainingStep
from tinygrad_cnn.train.run.build import make_optimizer
from tinygrad_cnn.train.run.checkpoint import Checkpoint, Row
from tinygrad_cnn.train.run.config import Config, fit_settings

_EPOCH = 3  # which stream of random numbers gives each epoch its seed
_COLD = 2  # batches before the speed is measured


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
    seconds, waited
        Spent on these batches, and on waiting for them.
    stopped
        Why the training has ended early, or None.
    """

    def __init__(
        self,
        model: Module,
        train: Batches,
        val: Batches | None = None,
        *,
        optimizer: Optimizer | str = Config.optimizer,
        schedule: str | None = None,
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
        self.ranks = Ranks.here()
        if self.ranks is not None:
            self.ranks.check_loader(train)
            if settings["max_memory"] is not None:
                raise TrainError("fit: `max_memory` is for one process, not for several ranks")
            if settings["sync_batch_norm"]:
                model = SyncBatchNorm.convert_sync_batchnorm(model)
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
        if (schedule is not None or settings["warmup"]) and not steps:
            raise DtypeError(
                f"fit: `train` is a {type(train).__name__} without a length, which a `schedule` "
                "and `warmup` need"
            )
        check_scheduler(schedule, scheduler)
        self.scheduler, when = scheduler, when_to_step(scheduler)
        if schedule is not None:
            self.scheduler, when = make_scheduler(
                schedule, self.optimizer, epochs=self.epochs, steps=steps
            )
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
            skip=settings["non_finite"] == "skip",
            compile=settings["compile"] and settings["max_memory"] is None,  # it has an arena too
            batches=calls_of(train, self.epochs),
            ranks=self.ranks,
        )
        self.looking = Looking(
            model,
            self.loss,
            calls=calls_of(val, self.epochs),
            compile=settings["compile"],
            ranks=self.ranks,
        )
        self._compiled = self.step.learn, self.looking.look
        self.way_out = "; non_finite='skip' leaves such batches out"
        if settings["patience"] is not None:
            self.callbacks.append(EarlyStopping(settings["patience"], self.monitor))
        self.seed = _drawn_seed(train) if seed is None else seed
        if self.ranks is not None:
            self.seed = self.ranks.seeded(self.seed)
        self.history: list[Row] = []
        self.batch, self.totals = 0, self.no_totals()
        self.seconds = self.waited = 0.0
        self._cold, self._warm = _COLD, (0, 0.0)
        self._recordings = 0
        self.stopped: str | None = None
        self._most: float | str | None = None  # memory of a step, until it is seen to
        self._steps, self._growth = contextlib.ExitStack(), StepWatch()

    def _limit_memory(self, most: float | str, images: Tensor, labels: Tensor) -> None:
        """Choose by the first batch what is computed again, and say so."""
        self._most = None
        learn = self.step.loss_function
        try:
            plan = fit_into(
                self.model,
                lambda: learn(self.model(images), labels),
                most,
                optimizer=self.optimizer,
            )
        except ArgumentError as error:
            what = str(error).removeprefix("fit_into: `most`")
            raise TrainError(f"fit: `max_memory`{what}") from error
        self._steps.enter_context(plan.applied())
        for callback in self.callbacks:
            if isinstance(callback, ShowProgress):
                callback.progress.note(str(plan))

    @property
    def runs_as_usual(self) -> str:
        """Why something is not done by `tg.compile`, though it should be; mostly empty."""
        return next((compiled.why for compiled in self._compiled if compiled.why), "")

    def no_totals(self) -> Totals:
        """Sums of no batches."""
        return Totals(metrics=self.metrics, loss_function=self.loss, ranks=self.ranks)

    def _monitored(self, insisted: bool) -> str:
        """The column that decides which epoch is best."""
        monitor: str = self.settings["monitor"]
        names = ["loss", *(["accuracy"] if self.metrics is None else self.metrics)]
        if parse_monitor(monitor) not in names:
            expected = ", ".join(f"{place}_{name}" for name in names for place in ("val", "train"))
            raise TrainError(f"fit: `monitor` is {monitor!r}, expected {expected}")
        metric = (self.metrics or {}).get(parse_monitor(monitor))
        if metric is not None and not metric.higher_is_better and not lower_is_better(monitor):
            raise TrainError(
                f"fit: `monitor` is {monitor!r}, which is better the smaller it is; expected a "
                "name that says so: it ends in `loss` or `error`"
            )
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
        self._most = self.settings["max_memory"]
        if self.ranks is not None:  # and all have read the checkpoint, which will be written
            where = f"epoch {len(self.history) + 1}, batch {self.batch}, seed {self.seed}"
            self.ranks.agree("fit", where)
        with interrupt.deferred(), self._steps:
            self._steps.callback(self._growth.close)
            for callback in self.callbacks:
                self._steps.callback(callback.close)
            self._call("on_fit_begin")
            while len(self.history) < self.epochs and self.stopped is None:
                self.epoch()
                if self.ranks is None:
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
        spent = self.seconds + self.waited
        for images, labels, *counts in self._batches():
            if self.ranks is not None:
                self.ranks.draws_apart([self.seed, len(self.history), self.batch])
            if self._most is not None:
                self._limit_memory(self._most, images, labels)
            begin, loss = time.perf_counter(), 0.0
            try:
                loss, scores = self.step(images, labels, *counts)
                if math.isfinite(loss) or not self.step.skip:
                    self.totals.add(loss, scores, labels, *counts[:1])
            except TrainError as error:
                kept = "".join(c.kept() for c in self.callbacks if isinstance(c, SaveRun))
                way_out = "" if math.isfinite(loss) else self.way_out
                raise TrainError(
                    f"epoch {len(self.history) + 1}: {error}{kept}{way_out}"
                ) from error
            self.batch += 1
            self.seconds += time.perf_counter() - begin
            self._count_warm(counts[1] if counts else len(labels), spent)
            spent = self.seconds + self.waited
            self._call("on_batch_end")
            self._growth.step(scores)
            if not self.step.pending:  # in between nothing can be saved
                self.totals.check_interrupt()
        if not self.totals.batches:
            skipped = f", all {self.batch} of which were skipped: no loss was finite"
            raise TrainError(
                f"epoch {len(self.history) + 1}: `train` gave no batches"
                f"{skipped if self.batch else ''}"
            )
        self.step.finish()
        self._call("on_validation_begin")
        row = self._row()
        self._call("on_epoch_end", row)
        return row

    def _count_warm(self, images: int, before: float) -> None:
        """Count a batch for the speed; kernels are compiled in the first ones of a process.

        Nor does a batch that was recorded count.
        """
        before_it, self._recordings = self._recordings, self._compiled[0].recordings
        if self._cold or self._recordings > before_it:
            self._cold = max(self._cold - 1, 0)
            return
        done, seconds = self._warm
        self._warm = done + images, seconds + self.seconds + self.waited - before

    def _batches(self) -> Iterator[Sequence[Any]]:
        """The batches that are left, timing how long each is waited for.

        Images and labels; on several ranks a `ranks.Share`.
        """
        seed = int(keys(self.seed, _EPOCH, np.asarray([len(self.history)]))[0])
        source: Iterator[Any]
        if self.ranks is not None:
            source = self.ranks.batches(self.train, seed, self.batch)
        elif isinstance(self.train, DataLoader):
            source = self.train.epoch(seed, self.batch)
        else:
            source = itertools.islice(self.train, self.batch, None)
        with contextlib.ExitStack() as stack:
            close = getattr(source, "close", None)
            if close is not None:  # its threads end with the loop, however that ends
                stack.callback(close)
            while True:
                begin = time.perf_counter()
                item = next(source, None)
                self.waited += time.perf_counter() - begin
                if item is None:
                    return
                yield item

    def _row(self) -> Row:
        """Validate, step the schedule of epochs, and add a row to the history."""
        totals, begin = self.totals, time.perf_counter()
        seen = self._validate()
        trained = self.seconds + self.waited
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
            "data_wait": round(self.waited / max(trained, 1e-9), 4),
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
        self.batch, self.totals = 0, self.no_totals()
        self.seconds = self.waited = 0.0
        self._warm = 0, 0.0
        return row

    def _validate(self) -> Totals | None:
        if self.val is None:
            return None
        averaged = self.average.applied() if self.average is not None else None
        with averaged or contextlib.nullcontext():
            try:
                totals = self.looking.over(self.val, metrics=self.metrics, keep=False)
            except TrainError as error:
                epoch = len(self.history) + 1
                raise TrainError(f"epoch {epoch}: in validation {error}") from error
        if not totals.batches:
            raise TrainError(f"epoch {len(self.history) + 1}: `val` gave no batches")
        return totals

    def _call(self, name: str, *arguments: object) -> None:
        for callback in self.callbacks:
            getattr(callback, name)(self, *arguments)

    def snapshot(self) -> Checkpoint:
        """The state between two batches.

        Raises
        ------
        TrainError
            A weight is not finite: such a state must not take the place of a good one.
        """
        return state.snapshot(self)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back, or forward, to the state of `snapshot`.

        Raises
        ------
        TrainError
            The checkpoint belongs to another model or other settings.
        """
        state.restore(self, checkpoint)


def _drawn_seed(train: Batches) -> int:
    generator = train.generator if isinstance(train, DataLoader) else default_generator
    return int(generator.numpy.integers(0, 2**63))
