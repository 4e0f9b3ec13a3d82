"""What a run shows while it works: a table that grows by a row per epoch, and a live bar."""

import textwrap
import time
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from tinygrad_cnn.kernels.progress import shown_by
from tinygrad_cnn.train.loop.epochs import Totals
from tinygrad_cnn.train.run.checkpoint import Row

_SHORT = {"train_accuracy": "train acc", "val_accuracy": "val acc"}
_AFTER = {"lr": "lr", "images_per_second": "images/s", "seconds": "time"}


class RunProgress:
    """Progress of a run of ``epochs`` epochs on ``console``.

    On a terminal a bar at the bottom shows the epoch, loss, accuracy, speed and the time that the
    whole run still needs, or how many kernels are compiled. Elsewhere, and with ``live=False``,
    only the rows are printed; with ``quiet`` nothing is.
    """

    def __init__(
        self, console: Console, epochs: int, *, live: bool = True, quiet: bool = False
    ) -> None:
        self._console = console
        self._epochs = epochs
        self._quiet = quiet
        self._bar: Progress | None = None
        self._instead = ExitStack()
        if live and console.is_terminal and not quiet:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[text]}"),
                console=console,
                transient=True,
                refresh_per_second=8,
            )
            self._task = self._bar.add_task("", total=1.0, text="")

    def __enter__(self) -> "RunProgress":
        if self._bar is not None:
            self._bar.start()
            self._instead.enter_context(shown_by(self._compiling))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._instead.close()
        if self._bar is not None:
            self._bar.stop()

    def _compiling(self, done: int, total: int) -> None:
        if self._bar is not None:
            text = f"compiling kernels for this CPU, once: {done}/{total}" if total else ""
            self._bar.update(self._task, text=text)

    def begin(self, epoch: int, images: int) -> None:
        """Epoch ``epoch`` (from 1) of ``images`` training images begins."""
        self._epoch, self._images, self._start = epoch, images, time.perf_counter()
        if self._bar is not None:
            name = f"epoch {epoch}/{self._epochs}"
            self._bar.reset(self._task, total=images, description=name, text="")

    def batch(self, totals: Totals) -> None:
        """Another training batch is done."""
        if self._bar is None:
            return
        seconds = max(time.perf_counter() - self._start, 1e-9)
        speed = totals.images / seconds
        left = (self._epochs - self._epoch + 1) * self._images - totals.images
        self._bar.update(
            self._task,
            completed=totals.images,
            text=f"loss {totals.loss:.3f}  {_words(totals)}"
            f"{speed:,.0f} images/s  ETA {clock(left / speed)}",
        )

    def looking(self) -> None:
        """Training is done, the validation images are next."""
        if self._bar is not None:
            self._bar.update(self._task, completed=self._images, text="validation …")

    def end(self, row: Row) -> None:
        """The epoch is done: its line of the table."""
        if self._quiet:
            return
        names, cells = _narrowed(_names(row), _cells(row, self._epochs), self._console.width)
        if row["epoch"] == 1:
            self.note(_line(names))
        self.note(_line(cells, names))

    def note(self, text: str) -> None:
        """Lines above the bar."""
        if not self._quiet:
            say(self._console, text)


def say(console: Console, text: str) -> None:
    """Print lines, broken between words where they are wider than the console."""
    lines = [
        textwrap.fill(line, console.width, break_long_words=False, break_on_hyphens=False)
        for line in text.split("\n")
    ]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
    console.file.flush()


def clock(seconds: float) -> str:
    """Seconds as ``m:ss`` or ``h:mm:ss``.

    Examples
    --------
    >>> clock(75), clock(3661)
    ('1:15', '1:01:01')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _words(totals: Totals) -> str:
    return "".join(f"{n} {_value(n, v)}  " for n, v in totals.measured.items())


def _measured(row: Row) -> list[str]:
    """The columns of the losses and the metrics."""
    return [name for name in row if name.startswith(("train_", "val_"))]


def _names(row: Row) -> list[str]:
    """The heads of the columns that ``row`` has."""
    middle = [_SHORT.get(name, name.replace("_", " ")) for name in _measured(row)]
    return ["epoch", *middle, *_AFTER.values()]


def _widths(names: Sequence[str]) -> list[int]:
    return [7 if n == "epoch" else max(9 + (n == "images/s"), len(n) + 2) for n in names]


def _narrowed(
    names: list[str], cells: list[str], width: int
) -> tuple[Sequence[str], Sequence[str]]:
    """The columns that there is room for; the last ones are missed least."""
    kept = len(names)
    while kept > 3 and sum(_widths(names[:kept])) >= width:
        kept -= 1
    return names[:kept], cells[:kept]


def _line(cells: Sequence[str], names: Sequence[str] | None = None) -> str:
    names = names or cells
    widths = _widths(names)
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _value(name: str, value: float | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1%}" if name.endswith("accuracy") else f"{value:.4f}"


def _cells(row: Row, epochs: int) -> list[str]:
    return [
        f"{row['epoch']}/{epochs}",
        *[_value(name, row[name]) for name in _measured(row)],
        f"{row['lr']:.2g}",
        f"{row['images_per_second']:,.0f}",
        f"{row['seconds']:.1f} s",
    ]
