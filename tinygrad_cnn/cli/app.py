"""The command line: ``tinygrad-cnn train``, ``evaluate``, ``warmup``, and those of other files."""

import functools
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import click
from click.core import ParameterSource
from rich.console import Console

from tinygrad_cnn.cli import graph as cli_graph
from tinygrad_cnn.cli import ranks
from tinygrad_cnn.cli.export import export
from tinygrad_cnn.cli.friendly import console, drawing, friendly
from tinygrad_cnn.cli.images import features, predict
from tinygrad_cnn.cli.results import compare, report
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.loop.progress import say
from tinygrad_cnn.train.loop.warmup import warm_up
from tinygrad_cnn.train.report.report import Report
from tinygrad_cnn.train.report.results import evaluate_run
from tinygrad_cnn.train.run.config import DATA, SETTINGS, Config, Setting, parse_data
from tinygrad_cnn.train.run.folder import RunFolder
from tinygrad_cnn.train.run.model_files import find_model
from tinygrad_cnn.train.run.runner import train_run
from tinygrad_cnn.version import __version__

_INTERRUPTED = 130


class _OneLineErrors(click.Group):
    """A group whose errors are one line on stderr, as users read them.

    The exit status is 2 for wrong input, 1 for any other failure, 130 after Ctrl-C.
    """

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        rest: dict[str, Any] = {"complete_var": complete_var, "standalone_mode": False, **extra}
        if not standalone_mode:
            return super().main(args, prog_name, **rest)
        given = list(sys.argv[1:] if args is None else args)
        ranks.joined(given)
        try:
            call = functools.partial(super().main, args, prog_name, **rest)
            status = ranks.on_one(call, given)
        except click.ClickException as error:
            ranks.failed(error)
        except (click.Abort, KeyboardInterrupt):
            if ranks.first():
                click.echo("Interrupted.", err=True)
            sys.exit(_INTERRUPTED)
        sys.exit(status if isinstance(status, int) else 0)


def _checked(check: Callable[[str], object]) -> Callable[..., str | None]:
    """A callback for an option whose text ``check`` must accept."""

    def callback(
        context: click.Context, parameter: click.Parameter, value: str | None
    ) -> str | None:
        try:
            if value is not None:
                check(value)
        except (TrainError, ArgumentError) as error:
            raise click.BadParameter(str(error), context, parameter) from error
        return value

    return callback


@click.group(
    cls=_OneLineErrors,
    invoke_without_command=True,
    context_settings={"max_content_width": 100, "show_default": True},
)
@click.version_option(__version__, prog_name="tinygrad-cnn", message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context, /) -> None:
    """Train convolutional networks on the CPU, and look at what they have learned."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for _command in (cli_graph.graph, cli_graph.summary):
    main.command(_command.__name__)(friendly(_command))


def _type_of(setting: Setting, kind: object) -> Any:
    """What Click reads and checks the text of a setting with."""
    if setting.among:
        return click.Choice(setting.among)
    if setting.path:
        return click.Path()
    if kind is bool:
        return bool
    if str in (kind, *get_args(kind)):
        return str
    low = setting.at_least if setting.above is None else setting.above
    bounds: dict[str, Any] = {"min": low, "max": setting.below}
    if kind is float:
        opened = {"min_open": setting.above is not None, "max_open": setting.below is not None}
        return _Finite(**bounds, **opened)
    return click.IntRange(**bounds)


class _Finite(click.FloatRange):
    """A number, neither NaN nor infinite."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        return number if math.isfinite(number) else self.fail(f"{value} is not finite", param, ctx)


def _settings(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with an option for every field of `Config` but the model."""
    for field in reversed(fields(Config)):
        setting, flag = SETTINGS.get(field.name), f"--{field.name.replace('_', '-')}"
        if setting is None:
            continue
        command = click.option(
            f"{flag}/{setting.off or f'--no-{flag[2:]}'}" if field.type is bool else flag,
            type=_type_of(setting, field.type),
            default=field.default,
            callback=_checked(setting.parse) if setting.parse else None,
            metavar=setting.form,
            help=setting.help,
        )(command)
    return command


@main.command()
@click.argument("model", required=False)
@_settings
@click.option("--download", is_flag=True, help="Download CIFAR-10 into --root if it is not there.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the run.  [runs/MODEL-DATA-N]"
)
@click.option(
    "--resume", type=click.Path(path_type=Path), metavar="RUN", help="Continue the run in RUN."
)
@click.option(
    "--save-every",
    type=_Finite(min=0),
    default=60.0,
    help="Seconds between checkpoints within an epoch.",
)
@click.option("--quiet", is_flag=True, help="Print the result only.")
@friendly
@click.pass_context
def train(
    context: click.Context,
    /,
    model: str | None,
    out: Path | None,
    resume: Path | None,
    quiet: bool,
    download: bool,
    save_every: float,
    **options: Any,
) -> None:
    """Train MODEL and report how it does on the test images.

    MODEL is FILE.py[:Class] or package.module:Class. Of a FOLDER of images, FOLDER/train and
    FOLDER/test (or val) are used as they are; without them a fifth of each class is for testing,
    chosen by --seed and kept in split.json. Every run has a folder with its settings,
    metrics.csv, a checkpoint after every epoch, the best weights, plots and a report.
    """
    if resume is not None:
        if out is not None:
            raise click.UsageError("--resume writes into its own folder; drop --out")
        folder, config = _settings_to_resume(context, resume, model, options)
    else:
        if model is None:
            raise click.UsageError("name a MODEL (FILE.py[:Class]) or --resume a run")
        find_model(model)  # before a folder is made for a model that is not there
        config = Config(model=model, **options)
        ranks.agree(config)
        folder = ranks.make_folder(out, config)
    screen, quiet = ranks.screen(), quiet or not ranks.first()

    def show(report: Report) -> None:
        _show(report, screen, quiet)
        drawing(screen, quiet)

    try:
        train_run(
            config,
            folder,
            screen,
            resume=resume is not None,
            download=download,
            quiet=quiet,
            save_every=save_every,
            show=show,
        )
    except KeyboardInterrupt:
        if not folder.checkpoint.exists():
            raise
        if ranks.first():
            click.echo(
                f"Interrupted. Continue with: tinygrad-cnn train --resume {folder.path}", err=True
            )
        sys.exit(_INTERRUPTED)
    finally:
        if resume is None and ranks.first():
            folder.abandon()
    files = "report.html, report.md, metrics.csv, curves.png, confusion.png, model.safetensors"
    text = f"\n{folder.path} has {files}" if not quiet else f"Files in {folder.path}"
    say(screen, text)


@main.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--model", default=None, help="The model's code, if it has moved.")
@click.option(
    "--data",
    type=click.Path(),
    callback=_checked(parse_data),
    metavar="NAME|FOLDER",
    help="Other images than its own.",
)
@click.option("--root", type=click.Path(), default=None, help="Folder of the CIFAR-10 files.")
@click.option("--download", is_flag=True, help="Download CIFAR-10 into --root if it is not there.")
@click.option("--quiet", is_flag=True, help="Print the accuracy only.")
@friendly
def evaluate(folder: Path, download: bool, quiet: bool, data: str | None, **options: Any) -> None:
    """Report how the model of RUN does on the test images."""
    place, config = RunFolder.open(folder)
    config = replace(config, **{k: v for k, v in options.items() if v is not None})
    report = evaluate_run(config, place, data=data, download=download)
    _show(report, console(), quiet)
    if data is not None and os.path.abspath(data) != os.path.abspath(config.data):
        click.echo(f"These are images of {data}; the model was trained on {config.data}.")


@main.command()
@click.argument("model", metavar="[MODEL]", required=False)
@friendly
def warmup(model: str | None) -> None:
    """Compile the kernels for this CPU now, all or those of MODEL, and keep them on disk."""
    screen = console()
    with screen.status("compiling kernels for this CPU") as status:
        done = warm_up(model, lambda name: status.update(f"compiling kernels: {name}"))
    what = "1 kernel" if done.compiled == 1 else f"{done.compiled} kernels"
    text = (
        f"Compiled {what} in {done.seconds:.0f} s" if done.compiled else "Nothing left to compile"
    )
    say(screen, f"{text}; they are kept in {done.folder}")


def _settings_to_resume(
    context: click.Context, path: Path, model: str | None, options: dict[str, Any]
) -> tuple[RunFolder, Config]:
    """The run at ``path``; options that were typed must agree with it, except a few."""
    folder, config = RunFolder.open(path)
    typed = {
        name: value
        for name, value in {"model": model, **options}.items()
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    for field in fields(config):
        name, before = field.name, getattr(config, field.name)
        setting = SETTINGS.get(name, Setting(path=True))
        if name not in typed or typed[name] == before or setting.free:
            continue
        if setting.path and before and os.path.abspath(typed[name]) == os.path.abspath(before):
            continue
        if name == "data" and not {typed[name], before} & {*DATA}:  # the folder has moved
            config = replace(config, data=typed[name])
            continue
        flag = "MODEL" if name == "model" else f"--{name.replace('_', '-')}"
        raise click.UsageError(f"the run in {path} has {flag} {before}, not {typed[name]}")
    changes = {n: typed[n] for n, setting in SETTINGS.items() if setting.free and n in typed}
    epochs = changes.get("epochs", config.epochs)
    if epochs != config.epochs:
        done = len(folder.read_metrics()) if folder.metrics.exists() else 0
        if epochs < done:
            raise click.UsageError(
                f"the run in {path} has done {done} of {config.epochs} epochs: --epochs {epochs} "
                "is fewer"
            )
        if config.schedule.startswith(("cosine", "linear", "onecycle")):
            raise click.UsageError(
                f"the schedule {config.schedule} of the run in {path} was made for --epochs "
                f"{config.epochs}, not {epochs}; to train its weights further, begin another run: "
                f"tinygrad-cnn train {config.model} --init {path} --epochs {epochs}"
            )
    return folder, replace(config, **changes)


def _show(report: Report, console: Console, quiet: bool) -> None:
    if quiet:
        console.print(f"Test accuracy {report.accuracy:.2%}", highlight=False)
    else:
        report.show(console)


for command in (report, compare, predict, features, export):
    main.add_command(command)

if __name__ == "__main__":
    main()
