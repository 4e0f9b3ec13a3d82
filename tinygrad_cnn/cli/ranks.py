"""Commands under ``mpiexec``: rank 0 prints and writes, and an error is said once."""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import click
from rich.console import Console

from tinygrad_cnn.cli.friendly import complain, console
from tinygrad_cnn.distributed import taking_long
from tinygrad_cnn.distributed.group import WORLD
from tinygrad_cnn.notices import QUIET
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.loop.ranks import Ranks
from tinygrad_cnn.train.run.config import Config
from tinygrad_cnn.train.run.folder import RunFolder


def joined(arguments: list[str]) -> None:
    """Make this process one of the ranks that ``mpiexec`` has started, if it has.

    Of commands but ``train`` there is nothing to do for ranks but the first: they end here.
    """
    try:
        ranks = Ranks.here()
    except RuntimeError as error:
        complain(str(error).removeprefix("init_process_group: "))
        sys.exit(1)
    if ranks is None:
        return
    if ranks.rank:
        os.environ[QUIET] = "1"
        warnings.simplefilter("ignore")
        if arguments[:1] != ["train"] or "--help" in arguments:
            sys.exit(0)


def on_one(run: Callable[[], object], arguments: list[str]) -> object:
    """Run a command; where it is not ``train``, the other ranks wait for its end."""
    if not WORLD or arguments[:1] == ["train"]:
        return run()
    with taking_long(" ".join(arguments[:1])):
        return run()


def failed(error: click.ClickException) -> NoReturn:
    """Say what is wrong, once, and end all ranks."""
    message = error.format_message()
    if WORLD:
        WORLD[0].watch.failed(error, lambda: complain(message), said=message, code=error.exit_code)
    complain(message)
    sys.exit(error.exit_code)


def first() -> bool:
    """Whether this is rank 0, or the only process."""
    return not WORLD or WORLD[0].rank == 0


def screen() -> Console:
    """Where to print: nowhere on other ranks than the first."""
    return console() if first() else Console(file=open(os.devnull, "w"))


def make_folder(out: Path | None, config: Config) -> RunFolder:
    """A new folder of a run, which rank 0 makes."""
    ranks = Ranks.here()
    if ranks is None:
        return RunFolder.create(out, config)
    made = RunFolder.create(out, config) if ranks.rank == 0 else None
    return RunFolder(Path(ranks.told(str(made.path) if made is not None else "")))


def agree(config: Config) -> None:
    """Refuse settings, or a file of the model, that are not the same on all ranks.

    Raises
    ------
    TrainError
        They are not.
    """
    ranks = Ranks.here()
    if ranks is None:
        return
    file = config.model.partition(".py")[0] + ".py"
    parts = {"settings": config.to_json().encode()}
    if ".py" in config.model and os.path.isfile(file):
        parts[os.path.basename(file)] = Path(file).read_bytes()
    digests = [f"{n} {hashlib.sha256(data).hexdigest()[:12]}" for n, data in parts.items()]
    try:
        ranks.agree("train", "with " + ", ".join(digests))
    except RuntimeError as error:
        raise TrainError(str(error)) from error
