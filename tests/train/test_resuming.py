"""A run that was interrupted goes on as if nothing had happened, to the last bit."""

import csv
import errno
import io
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

import tinygrad_cnn as tg
from tinygrad_cnn.serialization import load, save
from tinygrad_cnn.train import Callback, Checkpoint, Config, Run, RunFolder, TrainError, train_run

TIMINGS = ("seconds", "images_per_second", "data_wait")


def untimed(history):
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in history]


class Stop(Exception):
    pass


class SnapshotAfter(Callback):
    """Write the trainer's state after some batches and epochs, and stop there."""

    def __init__(self, path, epoch, batch):
        self.path, self.place = path, (epoch, batch)

    def on_batch_end(self, trainer):
        if (len(trainer.history), trainer.batch) == self.place:
            trainer.snapshot().write(self.path)
            raise Stop

    def on_epoch_end(self, trainer, row):
        if (len(trainer.history), trainer.batch) == self.place:
            trainer.snapshot().write(self.path)
            raise Stop


@pytest.mark.parametrize(
    ("place", "optimizer", "schedule", "options"),
    [
        ((2, 0), "sgd", "onecycle", {}),
        ((1, 2), "sgd", "plateau:0.5:1", {"augment": "flip,jitter,mixup"}),
        ((2, 4), "adam", "cosine", {"workers": 0, "warmup": 1.5}),
        ((0, 3), "adamw", "step:1:0.7", {"ema": 0.9}),
        ((3, 1), "sgd", "multistep:1,3", {"clip_norm": 0.1}),
        ((2, 2), "lion", "linear", {"accumulate": 2, "ema": 0.5, "workers": 4}),
        ((1, 5), "adam", "exp:0.9", {"label_smoothing": 0.1}),
        ((2, 0), "sgd", "none", {"patience": 2}),
    ],
)
def test_a_restored_run_continues_bit_for_bit(
    model_file, splits, tmp_path, place, optimizer, schedule, options
):
    config = Config(
        str(model_file),
        epochs=4,
        batch_size=8,
        optimizer=optimizer,
        schedule=schedule,
        **{"augment": "none"} | options,
    )
    whole = Run(config, splits)
    whole.trainer.run()
    first = Run(config, splits)
    first.trainer.callbacks.append(SnapshotAfter(tmp_path / "c", *place))
    with pytest.raises(Stop):
        first.trainer.run()
    del first
    tg.manual_seed(99)  # another process has another state
    second = Run(config, splits)
    second.restore(Checkpoint.read(tmp_path / "c"))
    second.trainer.run()
    assert untimed(second.history) == untimed(whole.history)
    second.trainer.snapshot().write(tmp_path / "second")
    whole.trainer.snapshot().write(tmp_path / "whole")
    ours, theirs = load(tmp_path / "second")["checkpoint"], load(tmp_path / "whole")["checkpoint"]
    for side in (ours, theirs):
        side.pop("history")
    assert repr_of(ours) == repr_of(theirs)


def repr_of(tree):
    """A nested state as text in which every bit of every tensor counts."""
    if isinstance(tree, dict):
        return {k: repr_of(v) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [repr_of(v) for v in tree]
    return tree.numpy().tobytes().hex() if isinstance(tree, tg.Tensor) else tree


def test_same_seed_same_losses_whatever_the_workers(model_file, splits):
    def losses(**changes):
        config = Config(str(model_file), epochs=2, batch_size=8, augment="flip", **changes)
        return untimed(Run(config, splits).trainer.run())

    assert losses(workers=0) == losses(workers=0) == losses(workers=1) == losses(workers=4)
    assert losses(seed=1) != losses(seed=0)


def test_a_checkpoint_of_another_model_is_refused(model_file, splits, tmp_path):
    config = Config(str(model_file), epochs=2, augment="none")
    state = Run(config, splits).trainer.snapshot()
    other = tmp_path / "other.py"
    changes = [("Conv2d(3, 4", "Conv2d(3, 5"), ("Norm2d(4)", "Norm2d(5)"), ("(16", "(20")]
    text = model_file.read_text()
    for old, new in changes:
        text = text.replace(old, new)
    other.write_text(text)
    with pytest.raises(TrainError, match=r"checkpoint does not fit .*other\.py: .*body\.0\.weight"):
        Run(replace(config, model=str(other)), splits).restore(state)


def test_damaged_checkpoints_are_refused(model_file, splits, tmp_path):
    path = tmp_path / "c"
    with pytest.raises(TrainError, match="there is no checkpoint"):
        Checkpoint.read(path)
    Run(Config(str(model_file), augment="none"), splits).trainer.snapshot().write(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(TrainError, match="is damaged"):
        Checkpoint.read(path)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(TrainError, match="is damaged"):
        Checkpoint.read(path)
    save({"model": {}}, path)
    with pytest.raises(TrainError, match="not a checkpoint of this program"):
        Checkpoint.read(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("history", {}),
        ("history", [3]),
        ("history", [{"epoch": [1]}]),
        ("seed", 1.5),
        ("batch", -1),
        ("model", None),
        ("callbacks", []),
    ],
)
def test_checkpoints_with_other_values_are_refused(model_file, splits, tmp_path, field, value):
    state = Run(Config(str(model_file), augment="none"), splits).trainer.snapshot()
    replace(state, **{field: value}).write(tmp_path / "c")
    with pytest.raises(TrainError, match=f"c is damaged: its `{field}`"):
        Checkpoint.read(tmp_path / "c")


def test_a_diverging_loss_stops_the_run_and_keeps_the_checkpoint(
    model_file, splits, tmp_path, monkeypatch
):
    monkeypatch.setattr("tinygrad_cnn.train.run.runner.load_splits", lambda *_, download: splits)
    config = Config(str(model_file), epochs=2, lr=1e30, schedule="none", augment="none")
    folder = RunFolder.create(tmp_path / "run", config)
    with pytest.raises(
        TrainError,
        match=r"epoch 1: (in validation )?the loss is (nan|inf) in batch \d+; .*try a smaller",
    ):
        train_run(config, folder, Console(file=io.StringIO()))
    assert Checkpoint.read(folder.checkpoint).history == []


def command(*arguments, cwd):
    code = "from tinygrad_cnn.cli.app import main; main()"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"},
    )


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--save-every", 0], "Continuing after epoch 2 of 4, batch 2."),
        ([], "Continuing after epoch 2 of 4."),
    ],
)
def test_killed_in_the_middle_of_an_epoch_and_resumed_equals_uninterrupted(
    model_file, tmp_path, options, said
):
    options = [*options, "--epochs", 4, "--limit", 200, "--batch-size", 32]
    options += ["--augment", "flip,crop,mixup", "--ema", 0.9]
    whole = command("train", model_file, *options, "--out", tmp_path / "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    model_file.with_name("die_at_step").write_text("15")  # of 6 an epoch: the third of the third
    killed = command("train", model_file, *options, "--out", tmp_path / "killed", cwd=tmp_path)
    assert killed.returncode == -signal.SIGKILL
    assert len((tmp_path / "killed" / "metrics.csv").read_text().splitlines()) == 3
    resumed = command("train", "--resume", tmp_path / "killed", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert said in resumed.stdout

    def rows(name):
        with open(tmp_path / name / "metrics.csv", newline="") as file:
            return untimed(csv.DictReader(file))

    assert len(rows("whole")) == 4
    assert rows("killed") == rows("whole")
    for kind in ("model.safetensors", "confusion.png"):
        ours, theirs = tmp_path / "killed" / kind, tmp_path / "whole" / kind
        assert ours.read_bytes() == theirs.read_bytes()
    states = [load(tmp_path / n / "checkpoint.safetensors") for n in ("killed", "whole")]
    for state in states:
        state["checkpoint"].pop("history")
        state["checkpoint"]["partial"] = {}
    assert repr_of(states[0]) == repr_of(states[1])


@pytest.fixture
def _no_page(monkeypatch):
    """Its twenty pictures take seconds, and have tests of their own."""
    monkeypatch.setattr("tinygrad_cnn.train.report.run_page.run_page", lambda *_: "<!DOCTYPE html>")


@pytest.mark.usefixtures("_no_page")
@pytest.mark.usefixtures("hears_control_c")
@pytest.mark.skipif(os.name != "posix", reason="needs SIGINT")
@pytest.mark.parametrize(("accumulate", "stops"), [(1, 3), (2, 4)])
def test_control_c_loses_no_batch(model_file, splits, tmp_path, monkeypatch, accumulate, stops):
    monkeypatch.setattr("tinygrad_cnn.train.run.runner.load_splits", lambda *_, download: splits)
    options = {"augment": "none", "accumulate": accumulate}
    config = Config(str(model_file), epochs=3, batch_size=8, **options)
    whole = Run(config, splits)
    whole.trainer.run()

    class Press(Callback):
        def on_batch_end(self, trainer):
            if (len(trainer.history), trainer.batch) == (1, 3):
                signal.raise_signal(signal.SIGINT)

    folder = RunFolder.create(tmp_path / "run", config)
    before = Run.__init__

    def with_press(self, *arguments, **options):
        before(self, *arguments, **options)
        self.trainer.callbacks.append(Press())

    monkeypatch.setattr(Run, "__init__", with_press)
    with pytest.raises(KeyboardInterrupt):
        train_run(config, folder, Console(file=io.StringIO()))
    monkeypatch.setattr(Run, "__init__", before)
    kept = Checkpoint.read(folder.checkpoint)
    assert (len(kept.history), kept.batch) == (1, stops)
    train_run(config, folder, Console(file=io.StringIO()), resume=True)
    last = Checkpoint.read(folder.checkpoint)
    assert untimed(last.history) == untimed(whole.history)
    assert repr_of(last.model) == repr_of(whole.trainer.snapshot().model)


@pytest.mark.usefixtures("_no_page")
def test_a_full_disk_is_one_message_and_the_last_checkpoint_stays(
    model_file, splits, tmp_path, monkeypatch
):
    monkeypatch.setattr("tinygrad_cnn.train.run.runner.load_splits", lambda *_, download: splits)
    config = Config(str(model_file), epochs=3, batch_size=8, augment="none", schedule="none")
    folder = RunFolder.create(tmp_path / "run", config)
    real, left = os.fsync, [3]

    def fsync(descriptor):  # the disk fills up while the second epoch's files are written
        if os.path.isfile(f"/proc/self/fd/{descriptor}"):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(
        TrainError, match=r"cannot write into .*run \(No space left on device\); wh"
    ):
        train_run(config, folder, Console(file=io.StringIO()))
    monkeypatch.setattr(os, "fsync", real)
    assert sorted(p.name for p in folder.path.iterdir()) == [
        "checkpoint.safetensors",
        "config.json",
        "model.safetensors",
    ]
    assert len(Checkpoint.read(folder.checkpoint).history) == 1
    train_run(config, folder, Console(file=io.StringIO()), resume=True)
    assert len(Checkpoint.read(folder.checkpoint).history) == 3


def test_weights_that_are_not_finite_never_replace_a_checkpoint(model_file, splits, tmp_path):
    trainer = Run(Config(str(model_file), augment="none"), splits).trainer
    next(trainer.model.parameters()).array[...] = np.inf
    with pytest.raises(TrainError, match=r"epoch 1: body\.0\.weight is no longer finite"):
        trainer.snapshot()
