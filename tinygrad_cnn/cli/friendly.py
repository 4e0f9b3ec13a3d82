"""What all commands share: errors of one line, and where they print."""

import errno
import functools
import shutil
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console

from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.run.model_files import describe


class WrongInput(click.ClickException):
    """Something that the user can mend."""

    exit_code = 2


def friendly(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with a ``--debug`` flag, without which every error is one line."""

    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(command)
    def wrapped(*args: object, debug: bool, **kwargs: object) -> None:
        try:
            command(*args, **kwargs)
        except (click.ClickException, click.Abort, click.exceptions.Exit, KeyboardInterrupt):
            raise
        except OSError as error:
            if debug:
                raise
            if error.errno == errno.EPIPE:  # `tinygrad-cnn train … | head`
                sys.exit(1)
            raise click.ClickException(_plainly(error)) from error
        except TrainError as error:
            if debug:
                raise
            raise WrongInput(str(error)) from error
        except MemoryError as error:
            if debug:
                raise
            raise click.ClickException(f"there is not enough memory: {error}") from error
        except Exception as error:
            if debug:
                raise
            raise click.ClickException(f"{describe(error)}; --debug shows more") from error

    return wrapped


def _plainly(error: OSError) -> str:
    """An error of the system's in words: what cannot be done, and why."""
    if error.filename is None or not error.strerror:
        return describe(error)
    return f"cannot read or write {error.filename}: {error.strerror.lower()}"


def out_file(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """A callback for a file to write: its folder is there, and it is none itself."""
    if value is not None and value.is_dir():
        raise click.BadParameter(f"{value} is a folder, expected a file", context, parameter)
    if value is not None and not value.parent.is_dir():
        raise click.BadParameter(f"there is no folder {value.parent}", context, parameter)
    return value


def complain(message: str) -> None:
    """An error on stderr: one line, or on a terminal lines that are broken between words."""
    text = f"tinygrad-cnn: {' '.join(message.split())}"
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        text = textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
    click.echo(text, err=True)


def console() -> Console:
    """Standard output; where it is not a terminal, wide enough for the tables."""
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, 100))


def drawing(screen: Console, quiet: bool = False) -> None:
    """Say what the next seconds are for."""
    if not quiet:
        screen.print("\nDrawing pictures …", highlight=False)
        screen.file.flush()
