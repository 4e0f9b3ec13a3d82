"""What all commands share: errors of one line, and where they print."""

import errno
import functools
import sys
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console

from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.run.model_files import describe


def friendly(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with a ``--debug`` flag, without which every error is one line."""

    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(command)
    def wrapped(*args: Any, debug: bool, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (click.ClickException, click.Abort, click.exceptions.Exit, KeyboardInterrupt):
            raise
        except OSError as error:
            if debug:
                raise
            if error.errno == errno.EPIPE:  # `tinygrad-cnn train … | head`
                sys.exit(1)
            raise click.ClickException(describe(error)) from error
        except TrainError as error:
            if debug:
                raise
            raise click.ClickException(str(error)) from error
        except Exception as error:
            if debug:
                raise
            raise click.ClickException(f"{describe(error)}; --debug shows more") from error

    return wrapped


def console() -> Console:
    """Standard output; where it is not a terminal, wide enough for the tables."""
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, 100))


def drawing(screen: Console, quiet: bool = False) -> None:
    """Say what the next seconds are for."""
    if not quiet:
        screen.print("\nDrawing pictures …", highlight=False)
        screen.file.flush()
