"""Plots of a training run, drawn without a display and without pyplot's global state.

Colours are from Okabe and Ito's palette ("Color Universal Design", 2008), which people with any
kind of colour vision can tell apart; the two curves also differ in their markers and dashes.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

__all__ = ["confusion", "curves"]

_TRAIN: dict[str, Any] = {"color": "#0072B2", "marker": "o", "linestyle": "-"}
_VALIDATION: dict[str, Any] = {"color": "#D55E00", "marker": "s", "linestyle": "--"}
_QUIET = "#666666"

StrPath = str | os.PathLike[str]


def curves(
    history: Sequence[Mapping[str, float | int | None]], path: StrPath | None = None
) -> Figure:
    """Loss, accuracy and learning rate of every epoch, side by side; saved to ``path``.

    ``history`` holds the rows of ``metrics.csv``: ``epoch``, ``train_loss``, ``train_accuracy``,
    ``val_loss``, ``val_accuracy`` (the last two may be None) and ``lr``.
    """
    figure = _figure(11, 3.4)
    loss, accuracy, rate = figure.subplots(1, 3)
    _pair(loss, history, "loss")
    loss.set_title("Loss")
    _pair(accuracy, history, "accuracy")
    accuracy.set_title("Accuracy")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    rate.plot(*_points(history, "lr"), color=_QUIET, marker="o", markersize=3.5, linewidth=1.6)
    rate.set_title("Learning rate at the epoch's end")
    rate.set_ylim(bottom=0)
    for axes in (loss, accuracy, rate):
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color="#dddddd", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return _save(figure, path)


def confusion(
    matrix: NDArray[np.integer[Any]], classes: Sequence[str], path: StrPath | None = None
) -> Figure:
    """A confusion ``matrix`` (c, c), true classes down, predicted across; saved to ``path``.

    The colour is the share of the true class, the number the count of images.
    """
    count = len(classes)
    totals = matrix.sum(axis=1, keepdims=True)  # (c, 1)
    shares = matrix / np.maximum(totals, 1)
    size = 2.4 + 0.5 * count
    figure = _figure(size + 1.5, size)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(count), classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), classes)
    axes.set_xlabel("Predicted class")
    axes.set_ylabel("True class")
    axes.set_title(f"Confusion matrix of {int(totals.sum()):,} images")
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(1, count) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, count) - 0.5, minor=True)
    axes.grid(which="minor", color="#cccccc", linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    for row, column in np.argwhere(matrix > 0):
        color = "white" if shares[row, column] > 0.5 else "black"
        number = f"{matrix[row, column]}"
        axes.text(column, row, number, ha="center", va="center", color=color, fontsize=8)
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    bar.set_label("Share of the true class")
    bar.outline.set_visible(False)
    return _save(figure, path)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _points(
    history: Sequence[Mapping[str, float | int | None]], key: str
) -> tuple[list[float], list[float]]:
    """Epochs and values where ``key`` was measured."""
    pairs = [(row["epoch"], row[key]) for row in history]
    known = [(float(e), float(v)) for e, v in pairs if e is not None and v is not None]
    return [e for e, _ in known], [v for _, v in known]


def _pair(axes: Axes, history: Sequence[Mapping[str, float | int | None]], key: str) -> None:
    """The training and, where there is one, the validation curve."""
    for prefix, label, style in (("train", "training", _TRAIN), ("val", "validation", _VALIDATION)):
        epochs, values = _points(history, f"{prefix}_{key}")
        if epochs:
            axes.plot(epochs, values, label=label, markersize=3.5, linewidth=1.6, **style)
    if axes.lines:
        axes.legend(frameon=False)


def _save(figure: Figure, path: StrPath | None) -> Figure:
    if path is not None:
        figure.savefig(path)
    return figure
