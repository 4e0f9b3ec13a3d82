"""A whole run: epochs with a checkpoint after each, then the test images and the report."""

import time
from dataclasses import replace
from typing import Any

from rich.console import Console

from tinygrad_cnn.data import Subset
from tinygrad_cnn.nn import Module
from tinygrad_cnn.nn.functional import cross_entropy
from tinygrad_cnn.ops.random import Generator, default_generator, manual_seed
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.train import interrupt
from tinygrad_cnn.train.build import make_optimizer, make_scheduler
from tinygrad_cnn.train.checkpoint import Checkpoint, Row
from tinygrad_cnn.train.config import Config
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.folder import RunFolder
from tinygrad_cnn.train.loop import evaluate, train_epoch
from tinygrad_cnn.train.model_files import build_model, check_output, users_code
from tinygrad_cnn.train.progress import RunProgress
from tinygrad_cnn.train.report import Report
from tinygrad_cnn.train.splits import Splits, load_splits

__all__ = ["Run", "evaluate_run", "fit"]


class Run:
    """A model in training, with everything that its next epoch depends on.

    All randomness comes from ``config.seed``: the first weights and dropout through the library's
    default generator, the order of the images and their augmentation through ``self.loading``.
    """

    def __init__(self, config: Config, splits: Splits) -> None:
        self.config, self.splits = config, splits
        manual_seed(config.seed)
        self.loading = Generator(config.seed)
        self.model = build_model(config.model, len(splits.classes))
        _check_fit(config, self.model, splits)
        self.loader = splits.training_loader(config, self.loading)
        self.optimizer = make_optimizer(config, self.model)
        self.scheduler, self.when = make_scheduler(config, self.optimizer, len(self.loader))
        self.history: list[Row] = []
        self.best_epoch = 0

    def snapshot(self) -> Checkpoint:
        """The state between two epochs."""
        return Checkpoint(
            model=self.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            scheduler=self.scheduler.state_dict() if self.scheduler is not None else None,
            generators={
                "default": default_generator.get_state(),
                "loading": self.loading.get_state(),
            },
            history=self.history,
            best_epoch=self.best_epoch,
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
            default_generator.set_state(checkpoint.generators["default"])
            self.loading.set_state(checkpoint.generators["loading"])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            message = " ".join(str(error).split())
            raise TrainError(
                f"the checkpoint does not fit {self.config.model}: {message}"
            ) from error
        self.history, self.best_epoch = list(checkpoint.history), checkpoint.best_epoch

    def epoch(self, progress: RunProgress) -> Row:
        """Train once over all images, look at the validation images, and note the figures."""
        number = len(self.history) + 1
        start = time.perf_counter()
        progress.begin(number, len(self.splits.train))
        try:
            trained = train_epoch(
                self.model,
                self.loader,
                self._loss,
                self.optimizer,
                scheduler=self.scheduler if self.when == "batch" else None,
                watch=progress.batch,
            )
            seconds = time.perf_counter() - start
            progress.looking()
            looked = self._validate()
        except TrainError as error:
            raise TrainError(
                f"epoch {number}: {error}; try a smaller --lr than {self.config.lr:g}"
            ) from error
        rate = self.optimizer.param_groups[0]["lr"]
        val_loss, val_accuracy = looked or (None, None)
        if self.when == "epoch":
            self.scheduler.step()
        elif self.when == "loss":
            self.scheduler.step(trained.loss if val_loss is None else val_loss)
        row: Row = {
            "epoch": number,
            "train_loss": trained.loss,
            "train_accuracy": trained.accuracy,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "lr": rate,
            "seconds": round(time.perf_counter() - start, 3),
            "images_per_second": round(trained.images / seconds, 1),
        }
        self.history.append(row)
        return row

    def is_best(self) -> bool:
        """Whether the last epoch has the best validation accuracy; without validation, always."""
        accuracies = [row["val_accuracy"] for row in self.history]
        last = accuracies[-1]
        return last is None or all(a is None or last > a for a in accuracies[:-1])

    def _loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(scores, labels, label_smoothing=self.config.label_smoothing)

    def _validate(self) -> tuple[float, float] | None:
        if self.splits.validation is None:
            return None
        loader = self.splits.plain_loader(self.splits.validation, self.config)
        totals = evaluate(self.model, loader, cross_entropy)
        return totals.loss, totals.accuracy


def fit(
    config: Config,
    folder: RunFolder,
    console: Console,
    *,
    resume: bool = False,
    download: bool = False,
    quiet: bool = False,
) -> Report:
    """Train as ``config`` says, keep everything in ``folder``, and return the test result.

    With ``resume`` the run goes on after the last epoch in the folder's checkpoint, to the very
    weights that it would have reached without the interruption. Ctrl-C stops after the batch that
    is under way; pressed twice, at once.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C; the checkpoint is that of the last whole epoch.
    TrainError
        Anything that the user can mend: data, model, folder, checkpoint, a loss that diverges.
    """
    checkpoint = Checkpoint.read(folder.checkpoint) if resume else None
    state = Run(config, load_splits(config, download=download))
    if checkpoint is not None:
        state.restore(checkpoint)
        folder.write_config(config)  # it may ask for more epochs than before
        folder.write_metrics(state.history)  # the process may have died just before it did
    else:
        state.snapshot().write(folder.checkpoint)
    with interrupt.deferred(), RunProgress(console, config.epochs, quiet=quiet) as progress:
        progress.note(_summary(state, folder))
        if checkpoint is not None:
            progress.note(f"Continuing after epoch {len(state.history)} of {config.epochs}.")
        progress.note("")
        while len(state.history) < config.epochs:
            with users_code(config.model):
                row = state.epoch(progress)
            # The model goes first: should the process die between the two, the next one repeats
            # the epoch and writes the same model again.
            if state.is_best():
                state.best_epoch = len(state.history)
                folder.write_model(state.model.state_dict())
            state.snapshot().write(folder.checkpoint)
            folder.write_metrics(state.history)
            progress.end(row)
            interrupt.check()
    return _conclude(config, folder, state)


def evaluate_run(config: Config, folder: RunFolder, *, download: bool = False) -> Report:
    """How the model kept in ``folder`` does on the test images of ``config.data``.

    Raises
    ------
    TrainError
        The data, the model's code or its weights are missing or damaged, or do not fit together.
    """
    weights = folder.read_model()
    splits = load_splits(replace(config, val_fraction=0.0), download=download)
    model = build_model(config.model, len(splits.classes))
    _load(config, model, weights)
    _check_fit(config, model, splits)
    return _test(config, model, splits, {"model": config.model, "data": config.data})


def _conclude(config: Config, folder: RunFolder, state: Run) -> Report:
    """Test the best model; write the report and the plots."""
    from tinygrad_cnn import viz  # Matplotlib takes its time to import: not before it is needed

    _load(config, state.model, folder.read_model())
    facts = {
        "model": config.model,
        "data": config.data,
        "parameters": sum(p.numel() for p in state.model.parameters()),
        "epochs": len(state.history),
        "best_epoch": state.best_epoch,
        "training_seconds": round(sum(row["seconds"] or 0 for row in state.history), 1),
        "seed": config.seed,
    }
    report = _test(config, state.model, state.splits, facts)
    pictures = f"\n![Curves]({folder.curves.name})\n\n![Confusion]({folder.confusion.name})\n"
    folder.write_report(report.to_markdown() + pictures, report.to_dict())
    viz.curves(state.history, folder.curves)
    viz.confusion(report.matrix, report.classes, folder.confusion)
    return report


def _test(config: Config, model: Module, splits: Splits, facts: dict[str, Any]) -> Report:
    with users_code(config.model):
        totals = evaluate(model, splits.plain_loader(splits.test, config), cross_entropy)
    name = type(model).__name__
    return Report.of(totals, splits.classes, f"{name} on {config.data}", facts)


def _load(config: Config, model: Module, weights: dict[str, Tensor]) -> None:
    try:
        model.load_state_dict(weights)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        message = " ".join(str(error).split())
        raise TrainError(f"the weights do not fit {config.model}: {message}") from error


def _check_fit(config: Config, model: Module, splits: Splits) -> None:
    images, _ = next(iter(splits.plain_loader(Subset(splits.test, [0, 1]), config)))
    check_output(config.model, model, images, len(splits.classes), config.data)


def _summary(state: Run, folder: RunFolder) -> str:
    splits, config = state.splits, state.config
    parameters = sum(p.numel() for p in state.model.parameters())
    held = len(splits.validation) if splits.validation is not None else 0
    return (
        f"{type(state.model).__name__} with {parameters:,} parameters on {config.data}: "
        f"{len(splits.train):,} training,\n"
        f"{held:,} validation and {len(splits.test):,} test images; {config.optimizer}, "
        f"lr {config.lr:g} ({config.schedule}), batch {config.batch_size},\n"
        f"augmentation {config.augment}, seed {config.seed}; files in {folder.path}"
    )
