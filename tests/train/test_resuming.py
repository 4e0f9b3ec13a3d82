"""A run that was interrupted goes on as if nothing had happened, to the last bit."""

import csv
import io
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from rich.console import Console

import tinygrad_cnn as tg
from tinygrad_cnn.serialization import load, save
from tinygrad_cnn.train import Checkpoint, Config, Run, RunFolder, TrainError, fit

TIMINGS = ("seconds", "images_per_second")


def untimed(history):
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in history]


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [
        ("sgd", "onecycle"),
        ("sgd", "plateau:0.5:1"),
        ("adam", "cosine"),
        ("adamw", "step:1:0.7"),
        ("sgd", "multistep:1,3"),
        ("adam", "exp:0.9"),
        ("sgd", "none"),
    ],
)
def test_a_restored_run_continues_bit_for_bit(
    model_file, splits, silent, tmp_path, optimizer, schedule
):
    config = Config(str(model_file), epochs=4, batch_size=8, optimizer=optimizer, schedule=schedule)
    whole = Run(config, splits)
    for _ in range(4):
        whole.epoch(silent)
    first = Run(config, splits)
    for _ in range(2):
        first.epoch(silent)
    first.snapshot().write(tmp_path / "c")
    del first
    tg.manual_seed(99)  # another process has another state
    second = Run(config, splits)
    second.restore(Checkpoint.read(tmp_path / "c"))
    for _ in range(2):
        second.epoch(silent)
    assert untimed(second.history) == untimed(whole.history)
    second.snapshot().write(tmp_path / "second")
    whole.snapshot().write(tmp_path / "whole")
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


def test_same_seed_same_losses_whatever_the_workers(model_file, splits, silent):
    def losses(**changes):
        config = Config(str(model_file), epochs=2, batch_size=8, augment="flip", **changes)
        state = Run(config, splits)
        return [untimed([state.epoch(silent)]) for _ in range(2)]

    assert losses(workers=0) == losses(workers=0) == losses(workers=2)
    assert losses(seed=1) != losses(seed=0)


def test_a_checkpoint_of_another_model_is_refused(model_file, splits, tmp_path):
    config = Config(str(model_file), epochs=2)
    state = Run(config, splits).snapshot()
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
    Run(Config(str(model_file)), splits).snapshot().write(path)
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


def test_a_diverging_loss_stops_the_run_and_keeps_the_checkpoint(
    model_file, splits, tmp_path, monkeypatch
):
    monkeypatch.setattr("tinygrad_cnn.train.run.load_splits", lambda config, download: splits)
    config = Config(str(model_file), epochs=2, lr=1e30, schedule="none")
    folder = RunFolder.create(tmp_path / "run", config)
    with pytest.raises(TrainError, match=r"epoch 1: the loss is (nan|inf) in batch \d+; try a "):
        fit(config, folder, Console(file=io.StringIO()))
    assert Checkpoint.read(folder.checkpoint).history == []


def command(*arguments, cwd):
    code = "from tinygrad_cnn.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"},
    )


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_killed_in_the_middle_of_an_epoch_and_resumed_equals_uninterrupted(model_file, tmp_path):
    options = ["--epochs", 4, "--limit", 200, "--batch-size", 32, "--augment", "flip,crop"]
    whole = command("train", model_file, *options, "--out", tmp_path / "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    model_file.with_name("die_at_step").write_text("15")  # of 6 an epoch: the third one
    killed = command("train", model_file, *options, "--out", tmp_path / "killed", cwd=tmp_path)
    assert killed.returncode == -signal.SIGKILL
    assert len((tmp_path / "killed" / "metrics.csv").read_text().splitlines()) == 3
    resumed = command("train", "--resume", tmp_path / "killed", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "Continuing after epoch 2 of 4" in resumed.stdout

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
    assert repr_of(states[0]) == repr_of(states[1])
