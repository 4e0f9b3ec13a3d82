"""A whole run: training with checkpoints, then the test images and the report."""

import contextlib
from pathlib import Path

from rich.console import Console

from tinygrad_cnn.kernels import get_num_threads
from tinygrad_cnn.ops.random import manual_seed
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.loop import interrupt
from tinygrad_cnn.train.loop.callbacks import SaveRun, ShowProgress
from tinygrad_cnn.train.loop.progress import RunProgress
from tinygrad_cnn.train.loop.ranks import Ranks
from tinygrad_cnn.train.loop.trainer import Trainer
from tinygrad_cnn.train.report.report import Report
from tinygrad_cnn.train.report.results import Show, check_fit, conclude, mean_wait, nothing
from tinygrad_cnn.train.run.build import make_optimizer
from tinygrad_cnn.train.run.checkpoint import Checkpoint, Row
from tinygrad_cnn.train.run.config import Config, fit_settings
from tinygrad_cnn.train.run.folder import RunFolder
from tinygrad_cnn.train.run.initial import freeze, start_from
from tinygrad_cnn.train.run.model_files import build_model, users_code
from tinygrad_cnn.train.run.splits import Splits, load_splits


class Run:
    """A model in training as ``config`` says, on the images of ``splits``.

    All randomness comes from ``config.seed``: the first weights and dropout through the library's
    default generator, the order of the images and their augmentation through the trainer's seed.
    ``notes`` say which weights it begins with, if ``fresh``, and which are frozen.
    """

    def __init__(self, config: Config, splits: Splits, *, fresh: bool = True) -> None:
        self.config, self.splits = config, splits
        manual_seed(config.seed)
        self.model = build_model(config.model, len(splits.classes))
        check_fit(config, self.model, splits)
        self.notes: list[str] = []
        if fresh and config.init is not None:
            self.notes.append(start_from(self.model, Path(config.init)))
        if config.freeze is not None:
            self.notes.append(freeze(self.model, config.freeze))
        self.loader = splits.training_loader(config)
        with users_code(config.model):
            optimizer = make_optimizer(
                config.optimizer,
                self.model,
                lr=config.lr,
                momentum=config.momentum,
                weight_decay=config.weight_decay,
            )
        names = set(fit_settings({}))
        if config.monitor == Config.monitor:  # to name what is monitored is to insist on it
            names.remove("monitor")
        self.trainer = Trainer(
            self.model,
            self.loader,
            splits.plain_loader(splits.validation, config) if splits.validation else None,
            optimizer=optimizer,
            schedule=config.schedule,
            seed=config.seed,
            **{n: getattr(config, n) for n in names},
        )
        self.trainer.way_out = ""  # `train` has the words of the command line

    @property
    def history(self) -> list[Row]:
        """One row per finished epoch."""
        return self.trainer.history

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go to the state of a checkpoint.

        Raises
        ------
        TrainError
            The checkpoint belongs to another model or other settings.
        """
        try:
            self.trainer.restore(checkpoint)
        except TrainError as error:
            message = str(error).partition(": ")[2]
            raise TrainError(
                f"the checkpoint does not fit {self.config.model}: {message}"
            ) from error

    def train(self) -> None:
        """Train to the end.

        Raises
        ------
        TrainError
            The model fails, or the loss or a weight is no longer finite.
        """
        try:
            with users_code(self.config.model):
                self.trainer.run()
        except TrainError as error:
            if error.__cause__ is not None and not isinstance(error.__cause__, TrainError):
                raise
            hint = f"; try a smaller --lr than {self.config.lr:g}, or --non-finite skip"
            raise TrainError(f"{error}{hint}") from error


def train_run(
    config: Config,
    folder: RunFolder,
    console: Console,
    *,
    resume: bool = False,
    download: bool = False,
    quiet: bool = False,
    save_every: float = 60.0,
    show: Show = nothing,
) -> Report:
    """Train as ``config`` says, keep everything in ``folder``, and return the test result.

    With ``resume`` the run goes on after the last batch in the folder's checkpoint, which is
    written after every epoch and every ``save_every`` seconds, to the very weights that it would
    have reached without the interruption. ``show`` gets the result before the pictures are drawn.
    Ctrl-C stops after the batch that is under way; pressed
    twice, at once.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C; the checkpoint is that of the last batch.
    TrainError
        Anything that the user can mend: data, model, folder, checkpoint, a loss that diverges,
        another process that trains into ``folder``.
    """
    ranks = Ranks.here()
    leads = ranks is None or ranks.rank == 0
    with folder.held() if leads else contextlib.nullcontext():
        checkpoint = Checkpoint.read(folder.checkpoint) if resume else None
        with ranks.first("reading the images") if ranks else contextlib.nullcontext():
            splits = load_splits(config, folder, download=download and leads)
        state = Run(config, splits, fresh=checkpoint is None)
        if checkpoint is not None:
            state.restore(checkpoint)
        if checkpoint is not None and leads:
            folder.write_config(config)  # it may ask for more epochs than before
        with (
            interrupt.deferred(),
            RunProgress(console, config.epochs, quiet=quiet or not leads) as progress,
        ):
            progress.note(_summary(state, folder))
            for note in state.notes:
                progress.note(note)
            if checkpoint is not None:
                progress.note(_whence(state.trainer))
            if state.trainer.note:
                progress.note(state.trainer.note)
            progress.note("")
            if leads:
                state.trainer.callbacks.append(SaveRun(folder, save_every))
            state.trainer.callbacks.append(ShowProgress(progress, len(state.splits.train)))
            state.train()
            if state.trainer.stopped:
                progress.note(f"Stopped: {state.trainer.stopped}.")
            waited = mean_wait(state.history)
            progress.note(f"Waiting for data took {waited:.1%} of the training time.")
        return conclude(config, folder, state.model, splits, state.history, show, ranks)


def _whence(trainer: Trainer) -> str:
    after = f"epoch {len(trainer.history)} of {trainer.epochs}"
    return f"Continuing after {after}" + (f", batch {trainer.batch}." if trainer.batch else ".")


def _summary(state: Run, folder: RunFolder) -> str:
    splits, config = state.splits, state.config
    parameters = sum(p.numel() for p in state.model.parameters())
    ranks, threads = state.trainer.ranks, get_num_threads()
    shared = "" if ranks is None else f" on {ranks.size} ranks of {threads} thread(s)"
    held = len(splits.validation) if splits.validation is not None else 0
    return (
        f"{type(state.model).__name__} with {parameters:,} parameters on {config.data_name}: "
        f"{len(splits.train):,} training, "
        f"{held:,} validation and {len(splits.test):,} test images; {config.optimizer}, "
        f"lr {config.lr:g} ({config.schedule}), batch {config.batch_size}{shared}, "
        f"augmentation {config.augment}, seed {config.seed}; files in {folder.path}"
    )
