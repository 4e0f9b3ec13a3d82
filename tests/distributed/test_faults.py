"""A rank that dies, raises or hangs: the whole run ends, and one message says who and why."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tests.distributed.ranks import needs_mpi, run

PROGRAM = """
import os, signal, sys, time
import tinygrad_cnn as tg
from tinygrad_cnn import distributed as dist

dist.init_process_group()
rank, kind = dist.get_rank(), sys.argv[1]
dist.barrier()
if rank == 1:
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "raise":
        raise ValueError("bad luck")
    if kind == "hang":
        time.sleep(1e6)
    if kind == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if kind == "exit":
        sys.exit(3)
    if kind == "long":
        with dist.taking_long("a nap"):
            time.sleep(3)
if kind == "all":
    raise KeyError("all of us")
if kind == "crossed" and rank == 0:
    dist.recv(tg.ones(1), 2)
for _ in range(3):
    dist.all_reduce(tg.ones(3))
sys.stdout.write(f"done {rank}\\n")
"""


def _run(kind: str, folder: Path):
    environment = {"TINYGRAD_CNN_TIMEOUT": "1.5", "TMPDIR": str(folder)}
    done = run(3, "-c", PROGRAM, kind, limit=30, env=environment)
    for _ in range(50):
        if not _left(folder):
            break
        time.sleep(0.1)
    assert not _left(folder), "left behind"
    said = [line for line in done.err.splitlines() if line.startswith("tinygrad_cnn: ")]
    return done, said


def _left(folder: Path) -> list[str]:
    """Processes of a run whose temporary folder this is, guardians too, and their files."""
    found = [path.name for path in folder.glob("tinygrad_cnn-*")]
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            environment = path.read_bytes()
        except OSError:
            continue
        if f"TMPDIR={folder}\0".encode() in environment:
            found.append(path.parent.name)
    return found


@needs_mpi
@pytest.mark.skipif(sys.platform != "linux", reason="/proc lists processes on Linux")
@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("kill", "rank 1 of 3 (process {n} on {h}) died without a word: killed (SIGKILL"),
        ("raise", "rank 1 of 3 (process {n} on {h}) failed: ValueError: bad luck; the run ends"),
        ("hang", "rank 1 of 3 did not come: hung"),
        ("stop", "rank 1 of 3 did not come: hung"),
        ("exit", "all_reduce: SUM of float32 (3,); rank 1: the end of the program; the run ends"),
        ("all", "all ranks failed: KeyError: 'all of us'; the run ends"),
        ("crossed", "the ranks wait for one another: rank 0 in recv from rank 2; rank 1 in all_r"),
    ],
)
def test_one_message_ends_the_run(kind, says, tmp_path):
    done, said = _run(kind, tmp_path)
    assert done.code != 0
    assert done.seconds < 15
    assert "done" not in done.out
    assert len(said) == 1, done.err
    for part in says.split("{n}" if "{n}" in says else "\0"):
        assert part.split("{h}")[0] in said[0]
        assert part.split("{h}")[-1] in said[0]
    assert done.err.count("Traceback") == (1 if kind in ("raise", "exit", "all") else 0)


@needs_mpi
def test_what_takes_long_is_waited_for_if_it_is_announced(tmp_path):
    done, said = _run("long", tmp_path)
    assert (done.code, said) == (0, [])
    assert sorted(done.out.split()) == ["0", "1", "2", "done", "done", "done"]
