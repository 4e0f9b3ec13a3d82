"""The result of a run for people and programs: accuracy, also per class, and confusion matrix."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from tinygrad_cnn.train.loop import Totals
from tinygrad_cnn.train.metrics import confusion_matrix, per_class_accuracy

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """How a model does on ``images`` test images; ``matrix`` (c, c) has a row per true class."""

    title: str
    classes: Sequence[str]
    loss: float
    accuracy: float
    matrix: NDArray[np.int64]
    facts: dict[str, Any]

    @classmethod
    def of(
        cls, totals: Totals, classes: Sequence[str], title: str, facts: dict[str, Any]
    ) -> "Report":
        """The report of one evaluation pass; ``facts`` are further lines for it."""
        predictions, labels = np.concatenate(totals.predictions), np.concatenate(totals.labels)
        matrix = confusion_matrix(predictions, labels, len(classes))
        return cls(title, tuple(classes), totals.loss, totals.accuracy, matrix, facts)

    @property
    def images(self) -> int:
        """Number of test images."""
        return int(self.matrix.sum())

    def rows(self) -> list[tuple[str, float, int, str]]:
        """Per class: name, accuracy (nan without examples), examples, what it is mistaken for."""
        result = []
        for i, share in enumerate(per_class_accuracy(self.matrix)):
            mistakes = self.matrix[i].copy()
            mistakes[i] = 0
            worst = int(mistakes.argmax())
            taken = f"{self.classes[worst]} ({mistakes[worst]})" if mistakes[worst] else ""
            result.append((self.classes[i], float(share), int(self.matrix[i].sum()), taken))
        return result

    def to_dict(self) -> dict[str, object]:
        """Everything as JSON values; a class without examples has accuracy None."""
        return {
            "test_accuracy": self.accuracy,
            "test_loss": self.loss,
            "test_images": self.images,
            "classes": {
                name: {"accuracy": None if math.isnan(share) else share, "examples": examples}
                for name, share, examples, _ in self.rows()
            },
            "confusion_matrix": self.matrix.tolist(),
            **self.facts,
        }

    def to_markdown(self) -> str:
        """A page with two tables."""
        lines = [f"# {self.title}", "", f"**Test accuracy {self.accuracy:.2%}** on "]
        lines[-1] += f"{self.images:,} images, loss {self.loss:.4f}."
        lines += ["", *[f"* {key.replace('_', ' ')}: {v}" for key, v in self.facts.items()], ""]
        lines += ["| class | accuracy | examples | most often taken for |", "|:--|--:|--:|:--|"]
        lines += [f"| {n} | {_percent(a)} | {e:,} | {w} |" for n, a, e, w in self.rows()]
        lines += ["", "Confusion matrix: a row per true class, a column per predicted class.", ""]
        lines += ["| | " + " | ".join(self.classes) + " |", "|:--|" + "--:|" * len(self.classes)]
        for name, counts in zip(self.classes, self.matrix, strict=True):
            lines.append(f"| **{name}** | " + " | ".join(str(c) for c in counts) + " |")
        return "\n".join(lines) + "\n"

    def show(self, console: Console) -> None:
        """Print the result: one table with the accuracy per class and the confusion matrix.

        Where ``console`` is too narrow for the matrix, the most frequent mistakes stand instead.
        """
        console.print()
        console.print(
            f"[bold]Test accuracy {self.accuracy:.2%}[/bold] on {self.images:,} images, "
            f"loss {self.loss:.4f}",
            highlight=False,
        )
        console.print()
        table = self._table(console, with_matrix=True)
        unlimited = console.options.update(max_width=10_000)
        if Measurement.get(console, unlimited, table).maximum <= console.width:
            console.print(table)
            console.print("[dim]The columns count what each true class was predicted as.[/dim]")
        else:
            console.print(self._table(console, with_matrix=False))

    def _table(self, console: Console, with_matrix: bool) -> Table:
        ascii_only = console.options.ascii_only
        rule, blank = ("|", ".") if ascii_only else ("│", "[dim]·[/dim]")
        table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="bold")
        table.add_column("true class", no_wrap=True)
        for name in ("accuracy", "images"):
            table.add_column(name, justify="right", no_wrap=True)
        if with_matrix:
            table.add_column(rule, no_wrap=True)
            for short in _short(self.classes):
                table.add_column(short, justify="right", no_wrap=True)
        else:
            table.add_column("most often taken for", no_wrap=True)
        for i, (name, share, examples, taken) in enumerate(self.rows()):
            cells = [taken]
            if with_matrix:
                counts = [str(count) if count else blank for count in self.matrix[i].tolist()]
                counts[i] = f"[bold]{self.matrix[i, i]}[/bold]"
                cells = [rule, *counts]
            table.add_row(name, _percent(share), f"{examples:,}", *cells)
        return table


def _percent(share: float) -> str:
    return "no examples" if math.isnan(share) else f"{share:.1%}"


def _short(names: Sequence[str]) -> list[str]:
    """The shortest beginnings, of three letters or more, that tell the names apart."""
    result = []
    for name in names:
        length = 3
        while length < len(name) and sum(n[:length] == name[:length] for n in names) > 1:
            length += 1
        result.append(name[:length])
    return result
