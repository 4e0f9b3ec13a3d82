"""``report`` and ``compare``: what runs have come to."""

import dataclasses
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from tinygrad_cnn.cli.friendly import console, drawing, friendly
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.loop.progress import clock
from tinygrad_cnn.train.report.report import Report
from tinygrad_cnn.train.report.results import report_run
from tinygrad_cnn.train.run.checkpoint import Row
from tinygrad_cnn.train.run.config import Config
from tinygrad_cnn.train.run.folder import RunFolder


@click.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--model", default=None, help="The model's code, if it has moved.")
@click.option("--root", type=click.Path(), default=None, help="Folder of the CIFAR-10 files.")
@click.option("--download", is_flag=True, help="Download CIFAR-10 into --root if it is not there.")
@friendly
def report(folder: Path, model: str | None, root: str | None, download: bool) -> None:
    """Write the report of RUN again: report.html, with all pictures in it."""
    place, config = RunFolder.open(folder)
    changes: dict[str, Any] = {
        k: v for k, v in {"model": model, "root": root}.items() if v is not None
    }
    screen = console()

    def show(result: Report) -> None:
        text = f"Test accuracy {result.accuracy:.2%}, {', '.join(result.headline())}"
        screen.print(text, highlight=False, soft_wrap=True)
        drawing(screen)

    report_run(replace(config, **changes), place, download=download, show=show)
    click.echo(str(place.page))


@click.command()
@click.argument(
    "folders", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--out", type=click.Path(path_type=Path), default="compare.png", help="Picture of the curves."
)
@friendly
def compare(folders: tuple[Path, ...], out: Path) -> None:
    """Draw the curves of several runs over one another, and tabulate their results.

    A second table has the settings in which they differ.
    """
    from tinygrad_cnn import viz  # Matplotlib takes its time to import: not before it is needed

    runs = [_Run(path) for path in folders]
    names = _short_names(folders)
    histories = {name: run.history for name, run in zip(names, runs, strict=True)}
    if out.suffix.lower() not in (".png", ".svg", ".pdf", ".jpg"):
        raise click.UsageError(f"--out {out} should end in .png, .svg, .pdf or .jpg")
    viz.compare(histories, out)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", no_wrap=True)
    columns = ("epochs", "val acc", "test acc", "test loss", "parameters", "time")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for name, run in zip(names, runs, strict=True):
        table.add_row(name, *run.cells())
    screen = console()
    screen.print(table)
    settings = Table(box=None, pad_edge=False, header_style="bold")
    settings.add_column("setting", no_wrap=True)
    for name in names:
        settings.add_column(name)
    for field in dataclasses.fields(Config):
        values = [str(getattr(run.config, field.name)) for run in runs]
        if len(set(values)) > 1 and field.name != "root":
            settings.add_row(field.name.replace("_", " "), *values)
    if settings.row_count:
        screen.print()
        screen.print(settings)
    click.echo(f"Curves in {out}")


class _Run:
    """What a run's folder says about it."""

    def __init__(self, path: Path) -> None:
        folder, self.config = RunFolder.open(path)
        self.history: list[Row] = folder.read_metrics()
        self.result: dict[str, Any] = {}
        if folder.report_json.exists():  # it has not if the run is not over
            try:
                self.result = dict(json.loads(folder.report_json.read_text(encoding="utf-8")))
            except (TypeError, ValueError) as error:
                raise TrainError(f"{folder.report_json} is damaged: {error}") from error

    def cells(self) -> list[str]:
        """Epochs, best validation accuracy, test accuracy and loss, parameters, time."""
        seen = [row.get("val_accuracy") for row in self.history]
        known = [value for value in seen if value is not None]
        test, loss = self.result.get("test_accuracy"), self.result.get("test_loss")
        parameters = self.result.get("parameters")
        return [
            f"{len(self.history)}/{self.config.epochs}",
            f"{max(known):.1%}" if known else "-",
            "-" if test is None else f"{test:.2%}",
            "-" if loss is None else f"{loss:.4f}",
            "-" if parameters is None else f"{parameters:,}",
            clock(sum(row["seconds"] or 0 for row in self.history)),
        ]


def _short_names(folders: tuple[Path, ...]) -> list[str]:
    """The last part of each path, or the whole where that is not enough."""
    last = [path.resolve().name for path in folders]
    return [n if last.count(n) == 1 else str(p) for n, p in zip(last, folders, strict=True)]
