"""``report`` and ``compare``: what runs have come to."""

import dataclasses
import reprlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from tinygrad_cnn.cli.friendly import console, drawing, friendly, out_file
from tinygrad_cnn.notices import saying
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.loop.progress import clock, say
from tinygrad_cnn.train.report.report import Report
from tinygrad_cnn.train.report.results import report_run
from tinygrad_cnn.train.run.checkpoint import Row
from tinygrad_cnn.train.run.config import Config
from tinygrad_cnn.train.run.folder import RunFolder
from tinygrad_cnn.train.run.reading import read_object

_LARGEST = 1e15  # of the numbers in a report


@click.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--model", default=None, help="The model's code, if it has moved.")
@click.option("--data", type=click.Path(), help="The folder of images, if it has moved.")
@click.option("--root", type=click.Path(), default=None, help="Folder of the CIFAR-10 files.")
@click.option("--download", is_flag=True, help="Download CIFAR-10 into --root if it is not there.")
@friendly
def report(folder: Path, download: bool, **options: str | None) -> None:
    """Write the report of RUN again: report.html, with all pictures in it."""
    place, config = RunFolder.open(folder)
    changes: dict[str, Any] = {k: v for k, v in options.items() if v is not None}
    screen = console()

    def show(result: Report) -> None:
        text = f"Test accuracy {result.accuracy:.2%}, {', '.join(result.headline())}"
        say(screen, text)
        drawing(screen)

    report_run(replace(config, **changes), place, download=download, show=show)
    click.echo(str(place.page))


@click.command()
@click.argument(
    "folders", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="compare.png",
    callback=out_file,
    help="Picture of the curves.",
)
@friendly
def compare(folders: tuple[Path, ...], out: Path) -> None:
    """Draw the curves of several runs over one another, and tabulate their results.

    A second table has the settings in which they differ.
    """
    runs = [_Run(path) for path in folders]
    names = _short_names(folders)
    histories = {name: run.history for name, run in zip(names, runs, strict=True)}
    if out.suffix.lower() not in (".png", ".svg", ".pdf", ".jpg"):
        raise click.UsageError(f"--out {out} should end in .png, .svg, .pdf or .jpg")
    with saying(f"drawing {out}"):
        from tinygrad_cnn import viz  # Matplotlib takes its time to import

        viz.compare(histories, out)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", no_wrap=True)
    columns = ("epochs", "val acc", "test acc", "test loss", "parameters", "time")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for name, run in zip(names, runs, strict=True):
        table.add_row(escape(name), *run.cells())
    screen = console()
    screen.print(table)
    settings = Table(box=None, pad_edge=False, header_style="bold")
    settings.add_column("setting", no_wrap=True)
    for name in names:
        settings.add_column(escape(name))
    for field in dataclasses.fields(Config):
        values = [str(getattr(run.config, field.name)) for run in runs]
        if len(set(values)) > 1 and field.name != "root":
            settings.add_row(field.name.replace("_", " "), *map(escape, values))
    if settings.row_count:
        screen.print()
        screen.print(settings)
    click.echo(f"Curves in {out}")


class _Run:
    """What a run's folder says about it."""

    def __init__(self, path: Path) -> None:
        folder, self.config = RunFolder.open(path)
        self.history: list[Row] = folder.read_metrics()
        self.result: dict[str, float | None] = {}
        if folder.report_json.exists():  # it has not if the run is not over
            self.result = _results(folder.report_json)

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


def _results(path: Path) -> dict[str, float | None]:
    """What report.json says, as far as it is shown."""
    found = read_object(path)
    shown = {name: found.get(name) for name in ("test_accuracy", "test_loss", "parameters")}
    for name, value in shown.items():
        if not isinstance(value, int | float | None) or abs(value or 0) > _LARGEST:
            text = reprlib.repr(value)
            raise TrainError(f"{path} is damaged: {name} is {text}, expected a number")
    return shown


def _short_names(folders: tuple[Path, ...]) -> list[str]:
    """The last part of each path, or the whole where that is not enough."""
    last = [path.resolve().name for path in folders]
    return [n if last.count(n) == 1 else str(p) for n, p in zip(last, folders, strict=True)]
