"""``mpiexec -n N tinygrad-cnn train``: one line of errors, one folder, figures of all ranks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.distributed.ranks import ROOT, ended, mpiexec, needs_mpi, run, start
from tinygrad_cnn.train import Checkpoint

MODEL = str(ROOT / "models/lenet5.py")
APP = "-c", "from tinygrad_cnn.cli.app import main; main()"


@needs_mpi
def test_rank_0_prints_and_writes_and_others_may_go_on(tmp_path):
    folder = str(tmp_path / "run")
    small = ("--limit", "203", "--batch-size", "33")
    first = run(2, *APP, "train", MODEL, *small, "--epochs", "2", "--out", folder)
    assert (first.code, first.err) == (0, "")
    assert first.out.count("LeNet5 with") == first.out.count("Test accuracy") == 1
    assert "on 2 ranks of 1 thread" in first.out
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert sum(map(sum, report["confusion_matrix"])) == 2000  # of all ranks, each image once
    assert (tmp_path / "run/report.html").exists()
    (tmp_path / "run/report.html").unlink()
    Checkpoint.read(tmp_path / "run/checkpoint.safetensors")
    again = run(3, *APP, "train", "--resume", folder, "--quiet")
    assert (again.code, again.err) == (0, "")
    assert again.out.count("Test accuracy") == 1
    assert (tmp_path / "run/report.html").exists()


@needs_mpi
@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        (["train", "nowhere.py"], 2, "tinygrad-cnn: there is no file nowhere.py"),
        (["train", MODEL, "--out", "FILE/run"], 2, "rank 0 of 2 (process"),
        (["train", "MODEL"], 2, "different things: rank 0: train: with settings"),
    ],
)
def test_mistakes_are_one_line(tmp_path, command, code, says):
    (tmp_path / "FILE").write_text("")
    program = "import os, sys; from tinygrad_cnn.cli.app import main\n"
    if command[-1] == "MODEL":  # another file on each rank
        text = Path(MODEL).read_text()
        for rank in "01":
            (tmp_path / rank).mkdir()
            (tmp_path / rank / "net.py").write_text(f"{text}\n# {rank}\n")
        program += "os.chdir(os.environ['PMI_RANK']); sys.argv[-1] = 'net.py'\n"
    done = run(2, "-c", f"{program}main()", *command, cwd=tmp_path)
    lines = [line for line in done.err.splitlines() if line.startswith("tinygrad")]
    assert (done.code, len(lines)) == (code, 1), done.err
    assert says in lines[0]
    assert "Traceback" not in done.err


@needs_mpi
@pytest.mark.skipif(sys.platform != "linux", reason="/proc lists processes on Linux")
def test_a_rank_that_is_killed_leaves_a_checkpoint_from_which_one_goes_on(tmp_path):
    folder = tmp_path / "run"
    settings = ("--limit", "2000", "--epochs", "500", "--save-every", "0.01", "--quiet")
    process = start(2, *APP, "train", MODEL, *settings, "--out", str(folder))
    checkpoint = folder / "checkpoint.safetensors"
    limit = time.monotonic() + 60
    while not checkpoint.exists() or checkpoint.stat().st_size == 0:
        assert time.monotonic() < limit
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    os.kill(_rank(1, str(folder)), signal.SIGKILL)
    done = ended(process, 30)
    assert done.code != 0
    said = [line for line in done.err.splitlines() if line.startswith("tinygrad_cnn")]
    assert len(said) == 1
    assert "rank 1 of 2" in said[0]
    assert "died without a word: killed" in said[0]
    before = Checkpoint.read(checkpoint)
    epochs = str(len(before.history) + 1)
    assert len(before.history) < 500
    text = (folder / "config.json").read_text().replace('"epochs": 500', f'"epochs": {epochs}')
    (folder / "config.json").write_text(text)
    command = [sys.executable, *APP, "train", "--resume", str(folder), "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    assert len(Checkpoint.read(checkpoint).history) == int(epochs)


def _rank(rank: int, folder: str) -> int:
    """The process of a rank that trains into a folder."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line = (path / "cmdline").read_bytes().split(b"\0")
            environment = (path / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        mine = f"PMI_RANK={rank}".encode() in environment and b"guardian.py" not in b"".join(line)
        if mine and folder.encode() in line and str(mpiexec()).encode() not in line:
            return int(path.name)
    raise AssertionError("there is no such process")
