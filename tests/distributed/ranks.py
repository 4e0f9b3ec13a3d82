"""Programs under ``mpiexec``: one start runs all checks of a file, and each is a test of its own.

A file of checks has functions ``check_…()``, which all ranks run in the same order, and ends with
``main(globals())``.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
_MARK = "result: "
LIMIT = 120


def mpiexec() -> str | None:
    """The launcher: the one that came with MPI from PyPI, beside Python, or the system's."""
    return shutil.which("mpiexec", path=os.path.dirname(sys.executable)) or shutil.which("mpiexec")


def why_not() -> str | None:
    """What is missing to run ranks, with the command that brings it."""
    if importlib.util.find_spec("mpi4py") is None or mpiexec() is None:
        return "MPI is not installed: pip install mpi4py mpich"
    return None


needs_mpi = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


class Ended(NamedTuple):
    """A run that has ended."""

    code: int
    out: str
    err: str
    seconds: float


def start(ranks: int, *command: str, **options: Any) -> subprocess.Popen[str]:
    """Start ``command``, arguments of Python, on so many ranks."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OPENBLAS_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
        **options.pop("env", {}),
    }
    return subprocess.Popen(
        [str(mpiexec()), "-n", str(ranks), sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
        **options,
    )


def ended(process: subprocess.Popen[str], limit: float = LIMIT) -> Ended:
    """Wait for the end of a run."""
    begin = time.monotonic()
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        err += f"\nnot ended after {limit} seconds"
    return Ended(process.returncode, out, err, time.monotonic() - begin)


def run(ranks: int, *command: str, limit: float = LIMIT, **options: Any) -> Ended:
    """Run ``command`` on so many ranks."""
    return ended(start(ranks, *command, **options), limit)


def names(file: str) -> list[str]:
    """The checks of a file, in their order."""
    lines = (HERE / file).read_text().splitlines()
    return [line[4:].split("(")[0] for line in lines if line.startswith("def check_")]


@functools.cache
def results(file: str, ranks: int) -> tuple[dict[str, list[str | None]], str]:
    """What each rank says of each check (None is good), and all that was printed."""
    done = run(ranks, "-m", f"tests.distributed.{Path(file).stem}")
    found: dict[str, list[str | None]] = {}
    for line in done.out.splitlines():
        if line.startswith(_MARK):
            name, said = json.loads(line.removeprefix(_MARK))
            found.setdefault(name, []).append(said)
    return found, f"exit status {done.code}\n{done.out}\n{done.err}"


def expect_good(file: str, name: str, ranks: int) -> None:
    """Fail unless the check has been good on all ranks."""
    found, printed = results(file, ranks)
    said = found.get(name, [])
    assert len(said) == ranks, f"{name} did not end on all ranks:\n{printed}"
    for text in said:
        assert text is None, text


def main(place: dict[str, Any]) -> None:
    """Run all checks on this rank."""
    import tinygrad_cnn as tg

    tg.distributed.init_process_group()
    for name, check in list(place.items()):
        if name.startswith("check_"):
            tg.manual_seed(0)
            said = None
            try:
                check()
            except BaseException:
                said = f"rank {tg.distributed.get_rank()}: {traceback.format_exc()}"
            sys.stdout.write(f"{_MARK}{json.dumps([name, said])}\n")
            sys.stdout.flush()
    tg.distributed.destroy_process_group()
