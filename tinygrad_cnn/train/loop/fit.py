"""`fit`: training in one call."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from tinygrad_cnn.data import DataLoader
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.nn import Module
from tinygrad_cnn.optim import Optimizer
from tinygrad_cnn.train.loop.callbacks import Callback, KeepBest, SaveRun, ShowProgress
from tinygrad_cnn.train.loop.epochs import Batches
from tinygrad_cnn.train.loop.measures import Metrics
from tinygrad_cnn.train.loop.progress import RunProgress
from tinygrad_cnn.train.loop.step import Loss
from tinygrad_cnn.train.loop.trainer import Trainer
from tinygrad_cnn.train.run.checkpoint import Checkpoint, Row
from tinygrad_cnn.train.run.config import Config, with_settings
from tinygrad_cnn.train.run.folder import RunFolder


@with_settings
def fit(
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
    keep_best: bool = False,
    folder: str | Path | None = None,
    resume: bool = False,
    save_every: float = 60.0,
    seed: int | None = None,
    quiet: bool = False,
    **settings: Any,
) -> list[Row]:
    """Train ``model`` on the batches of ``train`` and return a row of figures per epoch.

    Started by ``mpiexec``, all ranks call this with the same arguments: each trains on a part of
    every batch, and figures are those of all (docs/distributed.md).

    Parameters
    ----------
    train, val
        `DataLoader`s, or anything that gives batches ``(images (n, …), labels)`` each time it is
        iterated over. Validation is the same with every augmentation in ``train``.
    optimizer
        an optimiser, or a name (``sgd``, ``adam``, ``adamw``, ``lion``) for its usual settings.
    schedule
        how the learning rate goes over the run, such as ``"onecycle"`` or ``"step:30:0.1"``, as on
        the command line.
    scheduler
        an object of `optim.lr_scheduler` in its place.
    schedule_every
        ``"step"`` (of the optimiser) or ``"epoch"``, where a scheduler is not to go by its usual
        count.
    callbacks
        what else happens, see `Callback`.
    loss
        ``(scores, labels) -> loss`` in place of `cross_entropy` with ``label_smoothing``.
    metrics
        what else is measured: names (``accuracy``, ``top5_accuracy``, ``f1_score``, …), metrics of
        `tg.train.metrics`, functions ``(outputs, targets) -> number``, of which the mean over all
        images is taken, or a dict of any of them by name. Their values stand in the rows as
        ``train_…`` and ``val_…``. The smaller is the better if a name ends in ``loss`` or
        ``error``, otherwise the larger. By default the accuracy, where the outputs are scores
        (n, classes) and the targets integers (n,); nothing elsewhere.
    settings
    keep_best
        whether the model has the weights of the best epoch in the end, by ``monitor``; without
        validation data by the training loss.
    folder
        where to keep a checkpoint, metrics.csv and the best weights. One process at a time trains
        into a folder; others may read it meanwhile.
    resume
        go on after the checkpoint in ``folder``, if there is one, to the same weights that it would
        have come to without the interruption, also those of the best epoch.
    save_every
        seconds between checkpoints within an epoch.
    seed
        decides the order and the augmentation of every epoch; by default drawn from the loader's
        generator.
    quiet
        print nothing.

    Raises
    ------
    ValueError
        A setting is out of range, or ``resume`` is without ``folder``.
    TypeError
        There is no such setting, or ``model`` or ``loss`` is something else.
    TrainError
        The loss diverges, there are no data, a name is unknown, a checkpoint is damaged or does
        not fit, or another process trains into ``folder``.
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
    >>> history = fit(nn.Linear(2, 2), batches, optimizer="adam", schedule="cosine", epochs=9,
    ...     quiet=True)
    >>> len(history), history[-1]["train_loss"] < history[0]["train_loss"]
    (9, True)
    """
    if not isinstance(model, Module):
        raise DtypeError(f"fit: `model` is {model!r}, expected a Module")
    if loss is not None and not callable(loss):
        raise DtypeError(f"fit: `loss` is {loss!r}, expected a function of scores and labels")
    if resume and folder is None:
        raise ArgumentError("fit: `resume` is True, expected a `folder` too, to go on from")
    trainer = Trainer(
        model,
        train,
        val,
        optimizer=optimizer,
        schedule=schedule,
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
    leads = trainer.ranks is None or trainer.ranks.rank == 0
    with contextlib.ExitStack() as stack:
        if folder is not None:
            place = RunFolder(Path(folder))
            if leads:
                stack.enter_context(place.held())
            if resume and place.checkpoint.exists():
                trainer.restore(Checkpoint.read(place.checkpoint))
            monitor = trainer.monitor if keep_best else None
            if leads:
                trainer.callbacks.append(SaveRun(place, save_every, monitor))
        return _run(trainer, train, keep_best, quiet or not leads)


def _run(trainer: Trainer, train: Batches, keep_best: bool, quiet: bool) -> list[Row]:
    if quiet:
        return trainer.run()
    images = len(train.dataset) if isinstance(train, DataLoader) else 0
    if keep_best and trainer.val is None and not trainer.note:
        trainer.note = f"There are no validation data: {trainer.monitor} chooses the best epoch."
    with RunProgress(Console(), trainer.epochs) as progress:
        if trainer.note:
            progress.note(trainer.note)
        trainer.callbacks.append(ShowProgress(progress, images))
        history = trainer.run()
        if trainer.stopped:
            progress.note(f"Stopped: {trainer.stopped}.")
    return history
