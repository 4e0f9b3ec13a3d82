"""Callbacks that hand figures on: also when a run is interrupted, nothing is lost or doubled."""

import csv
import sys

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.data import DataLoader
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.train import TrainError, callbacks, fit


class Stop(callbacks.Callback):
    """Stop as Ctrl-C does, after batches of the run."""

    def __init__(self, batch):
        self.left = batch

    def on_batch_end(self, trainer):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def run(toy, folder, *given, stop=None):
    """Two processes' worth of a run of 3 epochs of 3 batches; with ``stop`` the first is ended."""
    for batch in (stop, None) if stop else (None,):
        tg.manual_seed(1)
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
        making = [make() for make in given]
        data = DataLoader(toy(24, 0), 8, shuffle=True)
        options = {"epochs": 3, "seed": 1, "quiet": True, "resume": True, "save_every": 0}
        try:
            ends = [Stop(batch)] if batch else []
            rows = fit(model, data, folder=folder, callbacks=[*making, *ends], **options)
        except KeyboardInterrupt:
            assert batch
    return rows


@pytest.mark.parametrize("stop", [None, 4, 8])
def test_figures_are_handed_on_once(toy, tmp_path, stop):
    got, often = [], []

    def take(values, step):
        got.append((step, values["train_loss"]))

    def notice(values, step):
        often.append((step, values.get("batch_loss")))

    path = tmp_path / "new/figures.csv"
    made = (
        lambda: callbacks.Log(take),
        lambda: callbacks.Log(notice, every=2),
        lambda: callbacks.CSV(path),
    )
    rows = run(toy, tmp_path / "run", *made, stop=stop)
    assert got == [(row["epoch"], row["train_loss"]) for row in rows]
    assert [step for step, loss in often if loss is not None] == (
        [2, 4, 4, 6, 8] if stop == 4 else [2, 4, 6, 8, 8] if stop == 8 else [2, 4, 6, 8]
    )  # the batch after which the run was ended had not been saved
    assert [step for step, loss in often if loss is None] == [3, 6, 9]
    losses = [(step, loss) for step, loss in often if loss is not None]
    assert len(dict(losses)) == len(set(losses))  # the same step, the same loss
    with open(path, newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert [(int(r["epoch"]), float(r["train_loss"])) for r in read] == got
    assert path.read_text() == (tmp_path / "run/metrics.csv").read_text()


@pytest.mark.parametrize("every", [None, 1])
def test_tensorboard_shows_each_figure_once(toy, tmp_path, every):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="TensorBoard is not installed: pip install tensorboard",
    )

    def make():
        return callbacks.TensorBoard(tmp_path / "board", every=every, histograms=True)

    rows = run(toy, tmp_path / "run", make, stop=5)
    read = accumulator.EventAccumulator(str(tmp_path / "board")).Reload()
    assert {"loss/train", "accuracy/train", "lr"} <= set(read.Tags()["scalars"])
    shown = read.Scalars("loss/train")
    assert [e.step for e in shown] == ([1, 2, 3] if every is None else [3, 6, 9])
    np.testing.assert_allclose([e.value for e in shown], [r["train_loss"] for r in rows], 1e-6)
    if every:
        assert [e.step for e in read.Scalars("loss/batch")] == [*range(1, 10)]
    assert {"weights/1.weight", "gradients/1.bias"} <= set(read.Tags()["histograms"])


def test_what_cannot_be_done_is_said(toy, tmp_path, monkeypatch):
    with pytest.raises(ArgumentError, match="Log: `every` is 0, expected at least 1"):
        callbacks.Log(print, every=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainError, match=r"CSV: cannot write .*figures.csv"):
        run(toy, tmp_path / "run", lambda: callbacks.CSV(tmp_path / "file/figures.csv"))
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto", None)
    with pytest.raises(TrainError, match=r"pip install 'tinygrad-cnn\[tensorboard\]'"):
        callbacks.TensorBoard(tmp_path)
