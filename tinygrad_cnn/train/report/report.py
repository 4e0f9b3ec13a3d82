"""The result of a run for people and programs: accuracies, scores per class, confusion matrix."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from tinygrad_cnn.train.loop.epochs import Totals
from tinygrad_cnn.train.metrics.functions import (
    Calibration,
    calibration,
    class_scores,
    confident_mistakes,
    confusion_matrix,
    most_confused,
    probabilities,
    top_k_accuracy,
)

# What Markdown or HTML may take for a mark; an underscore within a word is none.
_SPECIAL = re.compile(r"[\\`*\[\]<>|~&$]|(?<![^\W_])_|_(?![^\W_])")


class Mistake(NamedTuple):
    """A test image that is taken for another class, with the probability given to each."""

    image: int
    label: int
    predicted: int
    confidence: float
    label_share: float


@dataclass(frozen=True)
class Report:
    """How a model does on ``images`` test images; ``matrix`` (c, c) has a row per true class.

    ``top5`` is the share of images whose class is among the five with the largest scores, None
    with five classes or fewer; ``mistakes`` has the wrong predictions of largest probability.
    """

    title: str
    classes: Sequence[str]
    loss: float
    accuracy: float
    matrix: NDArray[np.int64]
    facts: dict[str, object]
    top5: float | None = None
    calibration: Calibration | None = None
    mistakes: list[Mistake] = field(default_factory=list)

    @classmethod
    def of(
        cls, totals: Totals, classes: Sequence[str], title: str, facts: dict[str, object]
    ) -> "Report":
        """The report of one evaluation pass; ``facts`` are further lines for it."""
        matrix = confusion_matrix(totals.predictions, totals.labels, len(classes))
        shares, labels = probabilities(totals.scores), totals.labels
        worst = confident_mistakes(shares, labels)
        chosen = shares[worst].argmax(axis=1)
        mistakes = [
            Mistake(
                int(i), int(labels[i]), int(p), float(shares[i, p]), float(shares[i, labels[i]])
            )
            for i, p in zip(worst, chosen, strict=True)
        ]
        return cls(
            title,
            tuple(classes),
            totals.loss,
            totals.accuracy,
            matrix,
            facts,
            top5=top_k_accuracy(totals.scores, labels) if len(classes) > 5 else None,
            calibration=calibration(shares, labels),
            mistakes=mistakes,
        )

    @property
    def images(self) -> int:
        """Number of test images."""
        return int(self.matrix.sum())

    def rows(self) -> list[tuple[str, float, int, str]]:
        """Per class: name, accuracy (nan without examples), examples, what it is mistaken for."""
        result = []
        for i, share in enumerate(class_scores(self.matrix).recall):
            mistakes = self.matrix[i].copy()
            mistakes[i] = 0
            worst = int(mistakes.argmax())
            taken = f"{self.classes[worst]} ({mistakes[worst]})" if mistakes[worst] else ""
            result.append((self.classes[i], float(share), int(self.matrix[i].sum()), taken))
        return result

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the classes that have examples."""
        return float(np.nanmean(class_scores(self.matrix).f1)) if self.images else math.nan

    def confused(self, count: int = 5) -> list[tuple[str, str, int]]:
        """The most frequent mistakes: true class, predicted class, images."""
        pairs = most_confused(self.matrix, count)
        return [(self.classes[t], self.classes[p], n) for t, p, n in pairs]

    def headline(self) -> list[str]:
        """The result in a few phrases."""
        words = [f"loss {self.loss:.4f}"]
        if self.top5 is not None:
            words.append(f"top-5 {self.top5:.2%}")
        words.append(f"mean F1 {self.macro_f1:.3f}")
        if self.calibration is not None:
            words.append(f"calibration error {self.calibration.error:.1%}")
        return words

    def to_dict(self) -> dict[str, object]:
        """Everything as JSON values; what a class has not (without examples, F1) is None."""
        scores = class_scores(self.matrix)
        return {
            "test_accuracy": self.accuracy,
            "test_loss": self.loss,
            "test_images": self.images,
            "classes": {
                name: {
                    "accuracy": _known(scores.recall[i]),
                    "precision": _known(scores.precision[i]),
                    "recall": _known(scores.recall[i]),
                    "f1": _known(scores.f1[i]),
                    "examples": int(scores.examples[i]),
                }
                for i, name in enumerate(self.classes)
            },
            "test_top5_accuracy": self.top5,
            "test_macro_f1": _known(self.macro_f1),
            "calibration_error": self.calibration.error if self.calibration else None,
            "most_confused": [list(pair) for pair in self.confused()],
            "confusion_matrix": self.matrix.tolist(),
            **self.facts,
        }

    def to_markdown(self) -> str:
        """A page with two tables; names stand there as text, whatever they look like."""
        lines = [f"# {as_text(self.title)}", "", f"**Test accuracy {self.accuracy:.2%}** on "]
        lines[-1] += f"{self.images:,} images, {', '.join(self.headline())}."
        lines += [
            "",
            *[f"* {key.replace('_', ' ')}: {as_text(v)}" for key, v in self.facts.items()],
        ]
        lines.append("")
        lines += ["| class | accuracy | precision | F1 | examples | most often taken for |"]
        lines += ["|:--|--:|--:|--:|--:|:--|"]
        scores = class_scores(self.matrix)
        for i, (name, share, examples, taken) in enumerate(self.rows()):
            precision = "never predicted"
            if not math.isnan(scores.precision[i]):
                precision = f"{scores.precision[i]:.1%}"
            f1 = "" if math.isnan(scores.f1[i]) else f"{scores.f1[i]:.3f}"
            cells = as_text(name), _percent(share), precision, f1, f"{examples:,}", as_text(taken)
            lines.append("| " + " | ".join(cells) + " |")
        lines += ["", "Confusion matrix: a row per true class, a column per predicted class.", ""]
        names = [as_text(name) for name in self.classes]
        lines += ["| | " + " | ".join(names) + " |", "|:--|" + "--:|" * len(names)]
        for name, counts in zip(names, self.matrix, strict=True):
            lines.append(f"| **{name}** | " + " | ".join(str(c) for c in counts) + " |")
        return "\n".join(lines) + "\n"

    def show(self, console: Console) -> None:
        """Print the result: one table with the accuracy per class and the confusion matrix.

        Where ``console`` is too narrow for the matrix, the most frequent mistakes stand instead.
        """
        console.print()
        console.print(
            f"[bold]Test accuracy {self.accuracy:.2%}[/bold] on {self.images:,} images, "
            f"{', '.join(self.headline())}",
            highlight=False,
            soft_wrap=True,
        )
        console.print()
        table = self._table(console, with_matrix=True)
        unlimited = console.options.update(max_width=10_000)
        if Measurement.get(console, unlimited, table).maximum <= console.width:
            console.print(table)
            console.print("[dim]The columns count what each true class was predicted as.[/dim]")
        else:
            console.print(self._table(console, with_matrix=False))
        if self.confused():
            pairs = [f"{t} for {p} ({n})" for t, p, n in self.confused()]
            text = f"Most often mistaken: {', '.join(pairs)}"
            console.print(text, highlight=False, markup=False)

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
                table.add_column(escape(short), justify="right", no_wrap=True)
        else:
            table.add_column("most often taken for", no_wrap=True)
        for i, (name, share, examples, taken) in enumerate(self.rows()):
            cells = [escape(taken)]
            if with_matrix:
                counts = [str(count) if count else blank for count in self.matrix[i].tolist()]
                counts[i] = f"[bold]{self.matrix[i, i]}[/bold]"
                cells = [rule, *counts]
            table.add_row(escape(name), _percent(share), f"{examples:,}", *cells)
        return table


def as_text(value: object) -> str:
    r"""``value`` in a line of Markdown, as it is: no tag, link, emphasis or cell begins in it.

    Examples
    --------
    >>> print(as_text("*a*|<b>"), as_text("train_data/lenet5.py"))
    \*a\*\|\<b\> train_data/lenet5.py
    """
    return _SPECIAL.sub(r"\\\g<0>", " ".join(str(value).split()))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


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
