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


def test_pyplot_is_never_imported():
    code = (
        "import sys; from tinygrad_cnn import viz; viz.curves([]); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
