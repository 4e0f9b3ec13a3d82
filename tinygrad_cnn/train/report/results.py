"""From a trained model to its result: test images, report, pictures, page."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from tinygrad_cnn.data import Subset
from tinygrad_cnn.distributed import taking_long
from tinygrad_cnn.nn import Module
from tinygrad_cnn.nn.functional import cross_entropy
from tinygrad_cnn.notices import saying
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.loop.callbacks import best_epoch
from tinygrad_cnn.train.loop.epochs import evaluate
from tinygrad_cnn.train.loop.mirror import MirrorAverage
from tinygrad_cnn.train.loop.ranks import Ranks
from tinygrad_cnn.train.report.report import Report
from tinygrad_cnn.train.run.checkpoint import Row
from tinygrad_cnn.train.run.config import DATA, Config
from tinygrad_cnn.train.run.folder import RunFolder
from tinygrad_cnn.train.run.initial import differences
from tinygrad_cnn.train.run.model_files import build_model, check_output, users_code
from tinygrad_cnn.train.run.splits import Splits, data_info, load_splits, load_test

Show = Callable[[Report], None]


def nothing(report: Report) -> None:
    """Show nothing of a report."""


def evaluate_run(
    config: Config, folder: RunFolder, *, data: str | None = None, download: bool = False
) -> Report:
    """How the model kept in ``folder`` does on the test images of its data, or of other ``data``.

    Of a folder of other images these are those in its folder ``test`` or ``val``, or else all.

    Raises
    ------
    TrainError
        The data, the model's code or its weights are missing or damaged, or do not fit together.
    """
    weights = folder.read_model()
    splits = load_test(config, folder, data or config.data, download=download)
    model = build_model(config.model, len(splits.classes))
    load_weights(config, model, weights)
    check_fit(config, model, splits)
    seen = config if data is None else replace(config, data=data, size=None)
    return _test(seen, model, splits, {"model": config.model, "data": seen.data})


def report_run(
    config: Config,
    folder: RunFolder,
    *,
    download: bool = False,
    show: Show = nothing,
) -> Report:
    """Write the report of the run in ``folder`` again, from its weights and metrics.

    ``show`` gets it before the pictures are drawn.

    Raises
    ------
    TrainError
        As `evaluate_run`, or metrics.csv is damaged.
    """
    history = folder.read_metrics()
    data_info(config, folder)  # how the images were split is read, not decided anew
    splits = load_splits(config, folder, download=download)
    model = build_model(config.model, len(splits.classes))
    return conclude(config, folder, model, splits, history, show)


def conclude(
    config: Config,
    folder: RunFolder,
    model: Module,
    splits: Splits,
    history: Sequence[Row],
    show: Show = nothing,
    ranks: Ranks | None = None,
) -> Report:
    """Test the model that ``folder`` keeps; write reports and plots there.

    ``show`` gets the result before the pictures are drawn, which takes some seconds. Of several
    ``ranks`` each looks at a part of the images, and the first writes.
    """
    if ranks is not None:
        ranks.agree("train", "the test images")  # the first has written the model
    load_weights(config, model, folder.read_model())
    check_fit(config, model, splits)
    facts = {
        "model": config.model,
        "data": config.data,
        "parameters": sum(p.numel() for p in model.parameters()),
        "epochs": len(history),
        "best_epoch": best_epoch(history, config.monitor),
        "training_seconds": round(sum(row["seconds"] or 0 for row in history), 1),
        "data_wait": mean_wait(history),
        "seed": config.seed,
    }
    report = _test(config, model, splits, facts, ranks)
    if ranks is not None and ranks.rank:
        return report
    with taking_long("drawing pictures"):
        _draw(config, folder, model, splits, history, show, report)
    return report


def _draw(
    config: Config,
    folder: RunFolder,
    model: Module,
    splits: Splits,
    history: Sequence[Row],
    show: Show,
    report: Report,
) -> None:
    pictures = f"\n![Curves]({folder.curves.name})\n\n![Confusion]({folder.confusion.name})\n"
    folder.write_report(report.to_markdown() + pictures, report.to_dict())
    show(report)
    from tinygrad_cnn import viz  # Matplotlib takes its time to import: not before it is needed
    from tinygrad_cnn.train.report.run_page import run_page

    said = contextlib.nullcontext() if show is not nothing else saying("drawing pictures")
    with said:
        viz.curves(history, folder.curves)
        viz.confusion(report.matrix, report.classes, folder.confusion)
        folder.write_page(run_page(config, report, history, model, splits, folder))


def mean_wait(history: Sequence[Row]) -> float:
    """Share of the training time spent waiting for data, the mean over the epochs.

    Examples
    --------
    >>> mean_wait([{"data_wait": 0.01}, {"data_wait": 0.03}])
    0.02
    """
    waits = [row.get("data_wait") or 0.0 for row in history]
    return round(sum(waits) / max(len(waits), 1), 4)


def _test(
    config: Config,
    model: Module,
    splits: Splits,
    facts: dict[str, object],
    ranks: Ranks | None = None,
) -> Report:
    looked = MirrorAverage(model) if config.flip_test else model
    count = f"{len(splits.test):,} test images"
    with users_code(config.model), saying(f"looking at {count}"):
        loader = splits.plain_loader(splits.test, config)
        totals = evaluate(looked, loader, cross_entropy, compile=config.compile, ranks=ranks)
    name = type(model).__name__
    return Report.of(totals, splits.classes, f"{name} on {config.data_name}", facts)


def load_weights(config: Config, model: Module, weights: dict[str, Tensor]) -> None:
    """Give ``model`` these weights.

    Raises
    ------
    TrainError
        They are another model's.
    """
    try:
        model.load_state_dict(weights)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        message = differences(model, weights, most=3) or " ".join(str(error).split())
        raise TrainError(f"the weights do not fit {config.model}: {message}") from error


def check_fit(config: Config, model: Module, splits: Splits) -> None:
    """Run two test images through ``model``; TrainError if it does not fit the data."""
    images, _ = next(iter(splits.plain_loader(Subset(splits.test, [0, 1]), config)))
    try:
        check_output(config.model, model, images, len(splits.classes), config.data_name)
    except TrainError as error:
        if config.data in DATA:
            raise
        size = "×".join(map(str, images.shape[2:]))
        raise TrainError(f"{error}; images of {config.data_name} are {size}: see --size") from error
