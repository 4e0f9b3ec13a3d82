"""The report and the run folder."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.train import Config, Report, RunFolder, Totals, TrainError, fit, train_run
from tinygrad_cnn.train.run.folder_data import FolderSplit

MATRIX = np.array([[8, 2, 0], [0, 0, 0], [1, 0, 9]])
REPORT = Report("Net on toys", ("ant", "antler", "cat"), 0.25, 0.85, MATRIX, {"best_epoch": 3})


def test_a_class_without_examples_is_said_to_have_none():
    values = REPORT.to_dict()
    nothing = dict.fromkeys(("accuracy", "recall", "f1"), None)
    assert values["classes"]["antler"] == {**nothing, "precision": 0.0, "examples": 0}
    cat = {"accuracy": 0.9, "recall": 0.9, "precision": 1.0, "f1": 18 / 19, "examples": 10}
    assert values["classes"]["cat"] == cat
    assert values["most_confused"] == [["ant", "antler", 2], ["cat", "ant", 1]]
    assert values["test_top5_accuracy"] is None
    assert json.loads(json.dumps(values, allow_nan=False))["confusion_matrix"] == MATRIX.tolist()
    assert "| antler | no examples | 0.0% |  | 0 |  |" in REPORT.to_markdown()


def test_markdown_has_every_figure():
    lines = REPORT.to_markdown().splitlines()
    assert lines[0] == "# Net on toys"
    assert "**Test accuracy 85.00%** on 20 images, loss 0.2500, mean F1 0.895." in lines
    assert "* best epoch: 3" in lines
    assert "| ant | 80.0% | 88.9% | 0.842 | 10 | antler (2) |" in lines
    assert "| **cat** | 1 | 0 | 9 |" in lines


def test_the_screen_shows_names_that_differ():
    text = io.StringIO()
    REPORT.show(Console(file=text, width=80))
    lines = [line.split() for line in text.getvalue().splitlines()]
    assert [
        "Test",
        "accuracy",
        "85.00%",
        "on",
        "20",
        "images,",
        "loss",
        "0.2500,",
        "mean",
        "F1",
        "0.895",
    ] in lines
    assert ["true", "class", "accuracy", "images", "│", "ant", "antl", "cat"] in lines
    assert ["ant", "80.0%", "10", "│", "8", "2", "·"] in lines
    assert ["antler", "no", "examples", "0", "│", "·", "0", "·"] in lines
    assert "Most often mistaken: ant for antler (2), cat for ant (1)" in text.getvalue()


def test_a_report_of_scores_has_top5_calibration_and_the_worst_mistakes():
    totals = Totals(keep=True)
    labels = np.array([0, 1, 2, 3, 4, 5])
    shares = np.full((6, 6), 0.02)
    shares[np.arange(6), [0, 1, 5, 3, 1, 5]] = 0.9
    shares[4, 1] = 0.6
    scores = tg.from_numpy(np.log(shares))
    totals.add(0.5, scores, tg.from_numpy(labels))
    report = Report.of(totals, "abcdef", "x", {})
    assert report.top5 == 1.0
    wrong = [(m.image, m.label, m.predicted) for m in report.mistakes]
    assert wrong == [(2, 2, 5), (4, 4, 1)]
    assert report.mistakes[0].confidence == pytest.approx(0.9)
    assert report.mistakes[1].label_share == pytest.approx(0.02 / 0.7)
    assert report.calibration.counts.sum() == 6
    assert "top-5 100.00%" in report.headline()


def test_names_are_text_wherever_they_stand():
    names = "<script>x</script>", "[/bold] *b* | ![](https://x)", "a_b"
    facts = {"model": "n.py\n# <img src=x>"}
    report = Report("<h1> on ___", names, 0.25, 0.85, MATRIX, facts)
    page = report.to_markdown()
    assert re.findall(r"(?<!\\)[<>\[\]`&]", page) == []
    assert "* model: n.py # \\<img src=x\\>\n" in page
    assert "| a_b |" in page
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows[:4]}) == 1
    for width in (200, 40):
        screen = io.StringIO()
        report.show(Console(file=screen, width=width))
        assert "<script>" in screen.getvalue()
        assert "[/b" in screen.getvalue()


def test_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").touch()
    config = Config(model="net.py")
    names = [RunFolder.create(None, config).path.as_posix() for _ in range(2)]
    assert names == ["runs/net-shapes-1", "runs/net-shapes-2"]
    folder, found = RunFolder.open(tmp_path / "runs/net-shapes-1")
    assert found.model == "net.py"
    assert json.loads(folder.config.read_text())["model"] == str(tmp_path / "net.py")
    with pytest.raises(TrainError, match="holds a run already; continue it with --resume"):
        RunFolder.create(folder.path, config)
    with pytest.raises(TrainError, match="there is no run folder nowhere"):
        RunFolder.open(tmp_path.__class__("nowhere"))
    with pytest.raises(TrainError, match=r"is not a run folder \(it has no config\.json\)"):
        RunFolder.open(tmp_path)
    folder.config.write_text("{")
    with pytest.raises(TrainError, match=r"config\.json is damaged: not a JSON object"):
        RunFolder.open(folder.path)
    for content in (b"\xff{}", b"[" * 10**5, b'{"model": ' + b"[" * 500 + b"]" * 500 + b"}"):
        folder.config.write_bytes(content)
        with pytest.raises(TrainError, match=r"config\.json is damaged") as caught:
            RunFolder.open(folder.path)
        assert len(str(caught.value)) < 1000 + len(str(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(TrainError, match="is not a folder"):
        RunFolder.create(tmp_path / "file", config)


def test_leftovers_of_a_killed_process_are_removed_by_who_writes_not_by_who_reads(tmp_path):
    folder = RunFolder.create(tmp_path / "run", Config(model="zoo:Net"))
    names = ".metrics.csv.123-0.tmp", ".metrics.csv.mine.tmp", "config.json"
    for name in names[:2]:
        (folder.path / name).touch()
    RunFolder.open(folder.path)
    assert sorted(p.name for p in folder.path.iterdir()) == sorted(names)
    folder.write_metrics([])
    assert sorted(p.name for p in folder.path.iterdir()) == [*names[1:], "metrics.csv"]


@pytest.mark.skipif(os.name != "posix", reason="Windows has no locks of folders")
def test_one_process_at_a_time_trains_into_a_folder(tmp_path):
    config = Config(model="zoo:Net")
    folder = RunFolder.create(tmp_path / "run", config)
    with folder.held():
        with pytest.raises(TrainError, match=r"another process trains into .*run; wait"):
            fit(nn.Linear(1, 2), [()], folder=folder.path, quiet=True)
        with pytest.raises(TrainError, match="another process trains into"):
            train_run(config, folder, Console(file=io.StringIO()))
        folder.abandon()
        assert folder.config.exists()
        RunFolder.open(folder.path)
    for _ in range(2):
        folder.abandon()
        assert not folder.path.exists()


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_the_folder_of_a_killed_process_is_free_though_its_workers_live(tmp_path):
    code = (
        "import os, pathlib, signal, sys, time\n"
        "from tinygrad_cnn.train import RunFolder\n"
        "with RunFolder(pathlib.Path(sys.argv[1])).held():\n"
        "    ready, there = os.pipe()\n"
        "    if os.fork():\n"
        "        os.read(ready, 1)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    os.write(there, b'.')\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.wait() == -signal.SIGKILL
        with RunFolder(tmp_path).held():
            process.stdin.write(b"the child is alive")
            process.stdin.flush()


SPLIT = FolderSplit("root", ("a", "b"), 8, [("a/1.png", 0)], [("b/1.png", 1)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ()}, "are not names"),
        ({"classes": ("a", 1)}, "are not names"),
        ({"classes": ("a", "\x1b[2J")}, "control characters"),
        ({"size": 2**40}, "`size` is 1099511627776"),
        ({"size": True}, "`size` is True"),
        ({"train": [("a", 2)]}, "'a' is of class 2, expected one of 2 classes"),
        ({"test": [("a", -1)]}, "'a' is of class -1"),
        ({"test": [("a", 0.5)]}, "is not a file and its class"),
        ({"validation": [("a\0", 0)]}, "is not a file and its class"),
        ({"mean": (1, 2)}, "`mean` is"),
        ({"std": (1, 0, 1)}, "`std` is"),
        ({"std": (1, "x", 1)}, "`std` is"),
    ],
)
def test_splits_with_other_values_are_refused(tmp_path, changes, message):
    SPLIT.write(tmp_path / "split")
    assert FolderSplit.read(tmp_path / "split") == SPLIT
    replace(SPLIT, **changes).write(tmp_path / "split")
    with pytest.raises(TrainError, match=message):
        FolderSplit.read(tmp_path / "split")


def test_metrics_keep_every_bit(tmp_path):
    folder = RunFolder.create(tmp_path / "run", Config(model="zoo:Net"))
    row = dict.fromkeys(("epoch", "seconds", "images_per_second", "data_wait"), 1)
    row |= {"train_loss": 0.1 + 0.2, "train_accuracy": 1 / 3, "lr": 1e-5}
    row |= {"val_loss": None, "val_accuracy": None}
    folder.write_metrics([row])
    header, line = folder.metrics.read_text().splitlines()
    assert header.startswith("epoch,train_loss,train_accuracy,val_loss,val_accuracy,lr,seconds,")
    assert line == "1,0.30000000000000004,0.3333333333333333,,,1e-05,1,1,1"


def test_weights_that_are_missing_or_damaged(tmp_path):
    folder = RunFolder.create(tmp_path / "run", Config(model="zoo:Net"))
    with pytest.raises(TrainError, match=r"no trained model yet"):
        folder.read_model()
    folder.write_model({"w": tg.ones(3)})
    folder.model.write_bytes(folder.model.read_bytes()[:-1])
    with pytest.raises(TrainError, match=r"model\.safetensors is damaged"):
        folder.read_model()


def test_too_many_classes_for_the_screen_show_the_mistakes_instead_of_the_matrix():
    names = [f"class {i}" for i in range(30)]
    matrix = np.diag(np.full(30, 5))
    matrix[7, 3] = 2
    text = io.StringIO()
    Report("Net", names, 0.25, 0.85, matrix, {}).show(Console(file=text, width=80))
    lines = [line.split() for line in text.getvalue().splitlines()]
    assert ["class", "7", "71.4%", "7", "class", "3", "(2)"] in lines
    assert max(map(len, text.getvalue().splitlines())) <= 80
