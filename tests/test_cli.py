"""The command line as users meet it: results, and errors of one line."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from tinygrad_cnn.cli.app import main
from tinygrad_cnn.serialization import load
from tinygrad_cnn.version import __version__

MODEL = """
from tinygrad_cnn import nn

class Tiny(nn.Sequential):
    def __init__(self, num_classes=10):
        super().__init__(
            nn.AvgPool2d(4), nn.Conv2d(3, 4, 3), nn.ReLU(),
            nn.Flatten(), nn.Linear(144, num_classes))
"""
SMALL = ["--epochs", "2", "--limit", "60", "--batch-size", "20"]


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """``cli(*arguments)`` in a folder with ``tiny.py``; every error is one line and status 2."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("tinygrad_cnn.train.run.splits.SHAPES_TEST", 60)
    # Its twenty pictures take seconds, and have tests of their own.
    monkeypatch.setattr("tinygrad_cnn.train.report.run_page.run_page", lambda *_: "<!DOCTYPE html>")
    (tmp_path / "tiny.py").write_text(MODEL)

    def invoke(*arguments):
        result = CliRunner().invoke(main, list(map(str, arguments)))
        assert result.exception is None or isinstance(result.exception, SystemExit), result
        if result.exit_code == 2:
            assert result.stderr.startswith("tinygrad-cnn: ")
            assert result.stderr.count("\n") == 1
        return result

    return invoke


def test_train_then_evaluate_then_resume(cli, tmp_path):
    trained = cli("train", "tiny.py", *SMALL, "--out", "run")
    assert trained.exit_code == 0, trained.output
    assert "Test accuracy" in trained.stdout
    assert re.search(r"Waiting for data took \d+\.\d% of the training time\.", trained.stdout)
    assert sorted(os.listdir("run")) == [
        "checkpoint.safetensors",
        "config.json",
        "confusion.png",
        "curves.png",
        "metrics.csv",
        "model.safetensors",
        "report.html",
        "report.json",
        "report.md",
    ]
    with open("run/metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(float(row["images_per_second"]) > 0 for row in rows)
    accuracy = json.loads((tmp_path / "run/report.json").read_text())["test_accuracy"]
    line = f"Test accuracy {accuracy:.2%}"
    assert line in trained.stdout
    assert trained.stdout.index(line) < trained.stdout.index("Drawing pictures …")
    assert line in cli("evaluate", "run").stdout
    assert cli("evaluate", "run", "--quiet").stdout.strip() == line
    before = (tmp_path / "run/metrics.csv").read_bytes()
    again = cli("train", "--resume", "run", "--quiet")
    assert (again.exit_code, line in again.stdout) == (0, True)
    assert (tmp_path / "run/metrics.csv").read_bytes() == before


def test_a_recipe_of_many_options(cli, tmp_path):
    options = ["--optimizer", "lion", "--schedule", "linear", "--warmup", 0.5, "--ema", 0.9]
    options += ["--clip-norm", 1, "--accumulate", 2, "--patience", 5, "--flip-test"]
    options += ["--monitor", "val_accuracy"]
    options += ["--augment", "flip,shift:0.1,cutout:4,jitter,mixup:0.3", "--label-smoothing", 0.1]
    done = cli("train", "tiny.py", *SMALL, *options, "--out", "run", "--save-every", 0)
    assert done.exit_code == 0, done.output
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert (config["optimizer"], config["lr"], config["flip_test"]) == ("lion", 0.0005, True)
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert 0 <= report["test_accuracy"] <= report["test_top5_accuracy"] <= 1
    line = f"Test accuracy {report['test_accuracy']:.2%}"
    assert cli("evaluate", "run", "--quiet").stdout.strip() == line
    assert cli("train", "--resume", "run", "--quiet").stdout.startswith(line)
    refused = cli("train", "--resume", "run", "--ema", 0.5)
    assert "has --ema 0.9, not 0.5" in refused.stderr


def test_without_validation_the_last_model_is_kept(cli, tmp_path):
    assert cli("train", "tiny.py", *SMALL, "--val-fraction", 0, "--out", "run").exit_code == 0
    with open("run/metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["val_loss"] + row["val_accuracy"] for row in rows] == ["", ""]
    model, checkpoint = load("run/model.safetensors"), load("run/checkpoint.safetensors")
    for name, weights in checkpoint["checkpoint"]["model"].items():
        assert (weights == model[name]).all().item()


def test_a_run_is_made_longer_where_the_schedule_allows(cli, tmp_path):
    assert cli("train", "tiny.py", *SMALL, "--out", "a", "--schedule", "none").exit_code == 0
    longer = cli("train", "--resume", "a", "--epochs", 3)
    assert longer.exit_code == 0
    assert json.loads((tmp_path / "a/config.json").read_text())["epochs"] == 3
    whole = cli("train", "tiny.py", *SMALL, "--out", "b", "--schedule", "none", "--epochs", 3)
    assert whole.exit_code == 0
    ours, theirs = (tmp_path / name / "model.safetensors" for name in "ab")
    assert ours.read_bytes() == theirs.read_bytes()
    assert cli("train", "tiny.py", *SMALL, "--out", "c").exit_code == 0
    refused = cli("train", "--resume", "c", "--epochs", 3)
    assert refused.exit_code == 2
    assert "onecycle of the run in c was made for --epochs 2, not 3" in refused.stderr
    assert "tinygrad-cnn train tiny.py --init c --epochs 3" in refused.stderr
    fewer = cli("train", "--resume", "c", "--epochs", 1)
    assert "has done 2 of 2 epochs: --epochs 1 is fewer" in fewer.stderr


WRONG = {
    "unknown flag": (["train", "tiny.py", "--epoch", 3], "No such option '--epoch'"),
    "unknown command": (["trian"], "No such command 'trian'"),
    "no model": (["train"], r"name a MODEL"),
    "no epochs": (["train", "tiny.py", "--epochs", 0], "--epochs"),
    "no number": (["train", "tiny.py", "--lr", "fast"], "'fast' is not a valid float"),
    "unknown data": (
        ["train", "tiny.py", "--data", "mnist"],
        "'mnist' is neither shapes nor",
    ),
    "schedule": (["train", "tiny.py", "--schedule", "step"], "expected step:SIZE[:GAMMA]"),
    "monitor": (["train", "tiny.py", "--monitor", "acc"], "expected val_loss, val_accuracy"),
    "no such column": (
        ["train", "tiny.py", *SMALL, "--monitor", "val_f1"],
        "is 'val_f1', expected",
    ),
    "augment": (["train", "tiny.py", "--augment", "spin"], "unknown augmentation 'spin'"),
    "no finite number": (["train", "tiny.py", "--lr", "nan"], "'--lr': nan is not finite"),
    "size of shapes": (["train", "tiny.py", "--size", 40], "--size is for a folder of images"),
    "no weights": (["train", "tiny.py", "--init", "gone"], "there is no such run or file"),
    "frozen": (
        ["train", "tiny.py", "--freeze", "x*"],
        "--freeze 'x*' matches no parameter",
    ),
    "all frozen": (["train", "tiny.py", "--freeze", "*"], "leaves no parameter to train"),
    "no folder": (["graph", "tiny.py", "--out", "gone/x.svg"], "'--out': there is no folder gone"),
    "a folder": (["summary", "tiny.py", "--out", "."], "'--out': . is a folder, expected a file"),
    "too large": (["graph", "tiny.py", "--input", "9,9,99999,999999"], "cannot be made"),
    "too many axes": (["graph", "tiny.py", "--input", ",".join("1" * 70)], "cannot be made"),
    "no file": (["train", "nothing.py"], "there is no file nothing.py"),
    "no class": (["train", "tiny.py:Big"], "has no class Big; its Modules: Tiny"),
    "no images": (["train", "tiny.py", "--data", "cifar10", "--root", "void"], "--download"),
    "no run": (["evaluate", "nowhere"], "there is no run folder nowhere"),
    "nothing to resume": (["train", "--resume", "nowhere"], "there is no run folder nowhere"),
    "two folders": (["train", "--resume", "a", "--out", "b"], "drop --out"),
    "too few images": (["train", "tiny.py", "--limit", 1], "leave 1 to train and 0 to validate"),
    "diverges": (["train", "tiny.py", *SMALL, "--lr", "1e30"], "try a smaller --lr than 1e+30"),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_one_line(cli, name):
    arguments, message = WRONG[name]
    result = cli(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


BROKEN = {
    "ends the program": ("import sys\nsys.exit(3)\n", "ends the program: sys.exit(3)"),
    "classes": (MODEL.replace("num_classes=10", "n=7").replace("num_classes", "7"), "(2, 7)"),
    "shape": (MODEL.replace("nn.Flatten(), nn.Linear(144, num_classes)", ""), "(2, 4, 6, 6)"),
    "layers": (MODEL.replace("144", "100"), "100"),
    "syntax": (MODEL.replace("class", "clas"), "SyntaxError"),
    "no module": ("x = 1\n", "no subclass of tinygrad_cnn.nn.Module"),
    "no parameters": (
        "from tinygrad_cnn import nn\nclass Net(nn.Module):\n"
        "    def forward(self, x):\n        return x.flatten(1)[:, :10]\n",
        "no parameters to train",
    ),
    "only in training": (
        MODEL + "\n    def forward(self, x):\n        if self.training:\n"
        "            raise IndexError('here')\n        return super().forward(x)\n",
        "IndexError: here [in Tiny] (tiny.py:12, in forward)",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_models_that_do_not_work(cli, tmp_path, name):
    text, message = BROKEN[name]
    (tmp_path / "tiny.py").write_text(text)
    result = cli("train", "tiny.py", *SMALL)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "tiny.py" in result.stderr
    begun = name == "only in training"
    assert [p.name for p in tmp_path.glob("runs/*")] == ["tiny-shapes-1"] * begun


def test_damaged_runs(cli, tmp_path):
    assert cli("train", "tiny.py", *SMALL, "--out", "run").exit_code == 0
    used = cli("train", "tiny.py", "--out", "run")
    assert "holds a run already" in used.stderr
    other = cli("train", "tiny.py", "--resume", "run", "--lr", 0.3)
    assert "has --lr 0.05, not 0.3" in other.stderr
    for name, command in (
        ("checkpoint.safetensors", ["train", "--resume", "run"]),
        ("model.safetensors", ["evaluate", "run"]),
        ("config.json", ["evaluate", "run"]),
    ):
        path = tmp_path / "run" / name
        path.write_bytes(path.read_bytes()[:-9])
        result = cli(*command)
        assert (result.exit_code, f"{name} is damaged" in result.stderr) == (2, True), result.stderr
        path.unlink()
        assert cli(*command).exit_code == 2


def test_debug_shows_the_traceback(cli):
    result = CliRunner().invoke(main, ["train", "nothing.py", "--debug"])
    assert type(result.exception).__name__ == "TrainError"


def test_version_and_help(cli):
    assert cli("--version").stdout == f"tinygrad-cnn {__version__}\n"
    assert cli().stdout == cli("--help").stdout
    for command in ([], ["train"], ["evaluate"]):
        result = cli(*command, "--help")
        assert result.exit_code == 0
        assert max(map(len, result.stdout.splitlines())) <= 100


def start(*arguments, **options):
    code = "from tinygrad_cnn.cli.app import main; main()"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OPENBLAS_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=_hear_control_c if os.name == "posix" else None,
        **options,
    )


def _hear_control_c():
    """A shell starts background jobs deaf to it, and their children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_real_process_fails_with_one_line(tmp_path):
    with start("train", "nothing.py", cwd=tmp_path) as process:
        out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    assert err == "tinygrad-cnn: there is no file nothing.py\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="needs SIGINT")
def test_control_c_keeps_the_checkpoint(tmp_path):
    (tmp_path / "tiny.py").write_text(MODEL)
    options = ["--epochs", "9999", "--limit", "100", "--out", "run"]
    with start("train", "tiny.py", *options, cwd=tmp_path) as process:
        metrics = tmp_path / "run" / "metrics.csv"
        give_up = time.monotonic() + 60
        while not metrics.exists() and time.monotonic() < give_up:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "Interrupted. Continue with: tinygrad-cnn train --resume run\n"
    with start("evaluate", "run", "--quiet", cwd=tmp_path) as process:
        assert process.communicate()[0].startswith("Test accuracy")
