"""Plots: what they show, and that they leave no global state behind."""

import subprocess
import sys

import numpy as np
import pytest

from tinygrad_cnn import viz

HISTORY = [
    {
        "epoch": i,
        "train_loss": 2.0 / i,
        "train_accuracy": 1 - 1 / i,
        "val_loss": 2.1 / i,
        "val_accuracy": 0.9 - 1 / i,
        "lr": 0.1 / i,
    }
    for i in range(1, 6)
]


def lines(axes):
    return {
        line.get_label(): (line.get_xdata().tolist(), line.get_ydata().tolist())
        for line in axes.lines
    }


def test_curves_show_the_history(tmp_path):
    figure = viz.curves(HISTORY, tmp_path / "curves.png")
    loss, accuracy, rate = figure.axes
    epochs = [1, 2, 3, 4, 5]
    assert lines(loss) == {
        "training": (epochs, [row["train_loss"] for row in HISTORY]),
        "validation": (epochs, [row["val_loss"] for row in HISTORY]),
    }
    assert lines(accuracy)["validation"] == (epochs, [row["val_accuracy"] for row in HISTORY])
    assert rate.lines[0].get_ydata().tolist() == [row["lr"] for row in HISTORY]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("epochs", [0, 1])
def test_curves_without_validation(epochs):
    history = [{**row, "val_loss": None, "val_accuracy": None} for row in HISTORY[:epochs]]
    figure = viz.curves(history)
    assert list(lines(figure.axes[0])) == ["training"][:epochs]


def test_compared_runs_lie_over_one_another(tmp_path):
    history = [{**row, "seconds": 30.0} for row in HISTORY]
    blind = [{**row, "val_loss": None, "val_accuracy": None} for row in history[:3]]
    figure = viz.compare({"first": history, "second": blind}, tmp_path / "c.png")
    loss, accuracy, clock = figure.axes
    assert lines(loss) == {
        "first (validation)": ([1, 2, 3, 4, 5], [row["val_loss"] for row in HISTORY]),
        "second (training)": ([1, 2, 3], [row["train_loss"] for row in HISTORY[:3]]),
    }
    assert lines(clock)["first (validation)"] == (
        [0.5, 1.0, 1.5, 2.0, 2.5],
        lines(accuracy)["first (validation)"][1],
    )
    assert [t.get_text() for t in figure.legends[0].texts] == [
        "first (validation)",
        "second (training)",
    ]
    assert [axes.get_title() for axes in figure.axes][:2] == ["Loss", "Accuracy"]
    alike = viz.compare({"a": blind, "b": blind})
    assert [axes.get_title() for axes in alike.axes][:2] == ["Training loss", "Training accuracy"]
    assert [t.get_text() for t in alike.legends[0].texts] == ["a", "b"]


@pytest.mark.parametrize("epochs", [1, 2, 3, 7])
def test_epochs_are_whole_numbers(epochs):
    history = [{**HISTORY[0], "epoch": i + 1, "seconds": 1.0} for i in range(epochs)]
    for figure in (viz.curves(history), viz.compare({"a": history})):
        figure.draw_without_rendering()
        for axes in figure.axes:
            if axes.get_xlabel() == "Epoch":
                low, high = axes.get_xlim()
                ticks = [t for t in axes.get_xticks() if low <= t <= high]
                assert ticks
                assert all(t == int(t) for t in ticks)


def test_class_scores_and_reliability_show_their_numbers():
    figure = viz.class_scores(np.array([0.5, np.nan]), np.array([0.25, 1.0]), ["ant", "bee"])
    assert lines(figure.axes[0])["precision"][0] == [0.5]
    assert lines(figure.axes[0])["recall"][0] == [0.25, 1.0]
    mean, right = np.array([0.2, np.nan, 0.9]), np.array([0.3, np.nan, 0.7])
    above, below = viz.reliability(mean, right, np.array([4, 0, 6])).axes
    assert lines(above)["this model"] == ([0.2, 0.9], [0.3, 0.7])
    assert [bar.get_height() for bar in below.patches] == [4, 0, 6]


def test_confusion_shows_every_count(tmp_path):
    matrix = np.array([[5, 1, 0], [0, 0, 0], [2, 0, 7]])
    names = ["ant", "bee", "cat"]
    figure = viz.confusion(matrix, names, tmp_path / "c.png")
    axes = figure.axes[0]
    shown = {tuple(map(int, t.get_position()[::-1])): int(t.get_text()) for t in axes.texts}
    assert shown == {(0, 0): 5, (0, 1): 1, (2, 0): 2, (2, 2): 7}
    shares = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(shares, [[5 / 6, 1 / 6, 0], [0, 0, 0], [2 / 9, 0, 7 / 9]])
    assert [t.get_text() for t in axes.get_yticklabels()] == names
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_notebooks_can_show_a_figure():
    assert viz.curves(HISTORY)._repr_png_().startswith(b"\x89PNG")


def test_pyplot_is_never_imported():
    code = (
        "import sys; from tinygrad_cnn import viz; viz.curves([]); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
