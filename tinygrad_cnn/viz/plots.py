"""Plots of training runs and their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from tinygrad_cnn.viz.style import (
    PALETTE,
    QUIET,
    TRAIN,
    VALIDATION,
    Floats,
    Integers,
    Look,
    StrPath,
    new_figure,
    plain_axes,
    save,
)

History = Sequence[Mapping[str, float | int | None]]


def curves(history: History, path: StrPath | None = None) -> Figure:
    """Loss and accuracy of every epoch, the learning rate below; saved to ``path``.

    ``history`` holds the rows of ``metrics.csv``: ``epoch``, ``train_loss``, ``train_accuracy``,
    ``val_loss``, ``val_accuracy`` (the last two may be None) and ``lr``. The accuracy is drawn
    where it was measured.

    Examples
    --------
    >>> row = {"epoch": 1, "train_loss": 2.0, "train_accuracy": 0.3, "lr": 0.1}
    >>> len(curves([{**row, "val_loss": None, "val_accuracy": None}]).axes)
    3
    """
    figure = new_figure(9, 5)
    grid = figure.add_gridspec(2, 2, height_ratios=(3, 1))
    loss = figure.add_subplot(grid[0, 0])
    _pair(loss, history, "loss")
    loss.set_title("Loss")
    if not history or "train_accuracy" in history[0]:
        accuracy = figure.add_subplot(grid[0, 1])
        _pair(accuracy, history, "accuracy")
        accuracy.set_title("Accuracy")
        accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
        _epochs_below(accuracy)
    else:
        loss.set_subplotspec(grid[0, :])
    rate = figure.add_subplot(grid[1, :])
    rate.plot(*_points(history, "lr"), color=QUIET, marker="o", markersize=3, linewidth=1.6)
    rate.set_title("Learning rate at the epoch's end")
    rate.set_ylim(bottom=0)
    for axes in (loss, rate):
        _epochs_below(axes)
    return save(figure, path)


def compare(runs: Mapping[str, History], path: StrPath | None = None) -> Figure:
    """Curves of several runs over one another; saved to ``path``.

    ``runs`` has the rows of ``metrics.csv`` by name. Validation is drawn where it was measured,
    otherwise training; the titles say which, or the legend where runs differ in it.

    Examples
    --------
    >>> row = {"train_loss": 2.0, "train_accuracy": 0.3, "val_loss": 2.1, "val_accuracy": 0.3}
    >>> figure = compare({"a": [{"epoch": 1, "lr": 0.1, "seconds": 2.0, **row}]})
    >>> [axes.get_title() for axes in figure.axes]
    ['Validation loss', 'Validation accuracy', 'Validation accuracy over time']
    """
    figure = new_figure(12, 4)
    loss, accuracy, clock = figure.subplots(1, 3)
    dashes = ("-", "--", "-.", ":")
    sets = {name: "val" if _points(rows, "val_loss")[0] else "train" for name, rows in runs.items()}
    one = {"val": "Validation ", "train": "Training "}.get("".join(set(sets.values())), "")
    for i, (name, history) in enumerate(runs.items()):
        style: Look = {
            "color": PALETTE[i % len(PALETTE)],
            "linestyle": dashes[i // len(PALETTE) % len(dashes)],
            "marker": "osD^vP"[i % 6],
            "markersize": 3.5,
            "linewidth": 1.6,
        }
        measured = sets[name]
        label = name if one else f"{name} ({'validation' if measured == 'val' else 'training'})"
        loss.plot(*_points(history, f"{measured}_loss"), label=label, **style)
        accuracy.plot(*_points(history, f"{measured}_accuracy"), label=label, **style)
        minutes = np.cumsum([float(row["seconds"] or 0) for row in history]) / 60
        values = [row[f"{measured}_accuracy"] for row in history]
        clock.plot(minutes, values, label=label, **style)
    for axes, title in ((loss, "loss"), (accuracy, "accuracy"), (clock, "accuracy over time")):
        axes.set_title(f"{one}{title}".capitalize())
    for axes in (loss, accuracy):
        _epochs_below(axes)
    for axes in (accuracy, clock):
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    plain_axes(clock)
    clock.set_xlabel("Minutes")
    clock.set_xlim(left=0)
    if runs:
        handles, labels = loss.get_legend_handles_labels()
        columns = max(1, min(len(labels), 140 // (6 + max(map(len, labels)))))
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    return save(figure, path)


def confusion(matrix: Integers, classes: Sequence[str], path: StrPath | None = None) -> Figure:
    """A confusion ``matrix`` (c, c), true classes down, predicted across; saved to ``path``.

    The colour is the share of the true class, the number the count of images.

    Examples
    --------
    >>> confusion(np.array([[3, 1], [0, 4]]), ["cat", "dog"]).axes[0].get_title()
    'Confusion matrix of 8 images'
    """
    count = len(classes)
    totals = matrix.sum(axis=1, keepdims=True)  # (c, 1)
    shares = matrix / np.maximum(totals, 1)
    size = 2.4 + 0.5 * count
    figure = new_figure(size + 1.5, size)
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
        cell = axes.text(column, row, number, color=color, ha="center", va="center", fontsize=8)
        cell.set_in_layout(False)
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    bar.set_label("Share of the true class")
    bar.outline.set_visible(False)
    return save(figure, path)


def class_scores(
    precision: Floats,
    recall: Floats,
    classes: Sequence[str],
    path: StrPath | None = None,
) -> Figure:
    """Precision and recall (c,) of each class, side by side; nan leaves a gap.

    Examples
    --------
    >>> figure = class_scores(np.array([0.5, np.nan]), np.array([0.9, 0.2]), ["cat", "dog"])
    >>> figure.axes[0].get_title()
    'Precision and recall by class'
    """
    figure = new_figure(7, 1.4 + 0.32 * len(classes))
    axes = figure.subplots()
    rows = np.arange(len(classes))
    named = (("precision", precision, VALIDATION, -0.16), ("recall", recall, TRAIN, 0.16))
    for name, values, style, offset in named:
        axes.hlines(rows + offset, 0, np.nan_to_num(values), color=style["color"], linewidth=1.4)
        known = np.isfinite(values)
        axes.plot(
            values[known],
            (rows + offset)[known],
            linestyle="none",
            marker=style["marker"],
            color=style["color"],
            markersize=5,
            label=name,
        )
    axes.set_yticks(rows, classes)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_title("Precision and recall by class")
    plain_axes(axes, "x")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return save(figure, path)


def reliability(
    confidence: Floats,
    accuracy: Floats,
    counts: Integers,
    path: StrPath | None = None,
) -> Figure:
    """Accuracy over confidence in bins (b,), and the number of images in each below.

    A calibrated model follows the diagonal; bars below it mean too much confidence.

    Examples
    --------
    >>> three = np.array([0.2, np.nan, 0.8])
    >>> len(reliability(three, three, np.array([5, 0, 9])).axes)
    2
    """
    figure = new_figure(4.6, 5)
    above, below = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    bins = len(counts)
    left = np.arange(bins) / bins
    above.bar(
        left, np.nan_to_num(accuracy), 1 / bins, align="edge", color=PALETTE[5], edgecolor="white"
    )
    above.plot([0, 1], [0, 1], color=QUIET, linestyle="--", linewidth=1, label="calibrated")
    known = counts > 0
    above.plot(
        confidence[known],
        accuracy[known],
        color=PALETTE[0],
        marker="o",
        markersize=4,
        linewidth=1.4,
        label="this model",
    )
    above.set_ylabel("Accuracy")
    above.set_ylim(0, 1)
    above.set_title("Is the model as right as it is sure?")
    above.legend(frameon=False, loc="upper left")
    below.bar(left, counts, 1 / bins, align="edge", color=QUIET, edgecolor="white")
    below.set_xlabel("Probability of the predicted class")
    below.set_ylabel("Images")
    below.set_xlim(0, 1)
    above.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    below.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    for axes in (above, below):
        plain_axes(axes)
    return save(figure, path)


def _epochs_below(axes: Axes) -> None:
    axes.set_xlabel("Epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    plain_axes(axes)


def _points(history: History, key: str) -> tuple[list[float], list[float]]:
    """Epochs and values where ``key`` was measured."""
    pairs = [(row["epoch"], row[key]) for row in history]
    known = [(float(e), float(v)) for e, v in pairs if e is not None and v is not None]
    return [e for e, _ in known], [v for _, v in known]


def _pair(axes: Axes, history: History, key: str) -> None:
    """The training and, where there is one, the validation curve."""
    for prefix, label, style in (("train", "training", TRAIN), ("val", "validation", VALIDATION)):
        epochs, values = _points(history, f"{prefix}_{key}")
        if epochs:
            axes.plot(epochs, values, label=label, markersize=3.5, linewidth=1.6, **style)
    if axes.lines:
        axes.legend(frameon=False)
