"""Kernels are compiled ahead by other processes, each once, and nobody stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")

from shared import python

from tinygrad_cnn.kernels.jit.compile import ahead, build, claims, known, prebuilt, signature
from tinygrad_cnn.kernels.jit.compile.vector import TILE

pytestmark = pytest.mark.skipif(
    not claims.CAN_CLAIM or not hasattr(os, "posix_spawn"), reason="this system has no locks"
)

RUN = known.every(TILE.lanes)
# Of those that compile fast, in the order of a run.
FAST = [s for s in RUN if s.startswith(("pointwise.elementwise:", "norm.moments:_finish_sums"))]


def until(done: Callable[[], Any], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def objects(folder: Path) -> set[str]:
    return {build.beginning_of_file(path) for path in folder.rglob("[!.]*.o")}


def gone(pid: int) -> bool:
    """Whether a process has ended, though nobody may have asked for its status yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[..., ahead.Worker]]:
    """Start workers whose cache is the test's own."""
    started: list[ahead.Worker] = []

    def start(slot: str = "0", **settings: str) -> ahead.Worker:
        settings = {"XDG_CACHE_HOME": str(tmp_path), **settings}
        started.append(ahead.Worker(None, slot, settings, blocking=True))
        return started[-1]

    yield start
    for each in started:
        each.end()
        until(lambda each=each: gone(each.pid))


def test_what_the_package_knows_can_be_compiled_by_its_kernels() -> None:
    """If this fails: python docs/make_kernels.py."""
    for lanes in (8, 16):
        assert len(known.every(lanes)) > 30
        for each in known.every(lanes):
            assert signature.signature_of(*signature.found(each)) == each


def test_a_models_step_needs_what_the_package_knows() -> None:
    """If this fails: python docs/make_kernels.py."""
    code = """
import tinygrad_cnn as tg
from tinygrad_cnn.kernels.jit.compile import build
from tinygrad_cnn.train.run.model_files import build_model
net = build_model("models/lenet5.py", 10)
loss = tg.nn.functional.cross_entropy(net(tg.randn(64, 3, 32, 32)), tg.zeros(64, dtype=tg.int64))
loss.backward()
tg.optim.SGD(net.parameters(), lr=0.1, momentum=0.9).step()
print("\\n".join(build.met))
"""
    met = [each for each in python(code).splitlines() if each != "pool"]
    assert len(met) > 10
    assert set(met) <= set(RUN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pool",
        "nothing.here:_relu []",
        "pointwise.elementwise:nothing []",
        "pointwise.elementwise:_relu []",
        "pointwise.elementwise:_relu [[]]",
        "pointwise.elementwise:_relu {",
        'pointwise.elementwise:_relu [["tuple","os:stat_result"],["int"]]',
        'pointwise.elementwise:_relu [["tuple","tinygrad_cnn.kernels.jit.conv.plan:Tables"]]',
    ],
)
def test_signatures_of_other_versions_are_left(text: str) -> None:
    with pytest.raises(LookupError):
        signature.found(text)
    assert not signature.prepare(text)


def test_what_follows_is_what_followed(tmp_path: Path) -> None:
    folder = tmp_path / "version"
    folder.mkdir()
    for each in "abcab":
        known.note(folder, each)
    assert known.history(folder) == ["a", "b", "c"]
    assert known.forecast([], "b", [], known.history(folder)) == ["c", "a"]
    assert known.forecast(["x"], "z", ["zy", "xzw"], []) == ["w"]
    (tmp_path / known.HISTORY).write_bytes(b"\xff\xfe")
    assert known.history(folder) == known.history(None) == []


def test_a_long_history_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "MOST", 5)
    for number in range(40):
        known.note(tmp_path / "version", str(number))
        assert known.history(tmp_path / "version")[-1] == str(number)
    assert len((tmp_path / known.HISTORY).read_text().splitlines()) < 12


def test_a_worker_compiles_what_it_is_told_to(worker: Any, tmp_path: Path) -> None:
    told = ["pointwise.elementwise:gone []", *FAST[:2]]
    worker().tell(wanted=told, last=True)
    until(lambda: {signature.beginning_of(each) for each in FAST[:2]} <= objects(tmp_path))


TOGETHER = """
import ctypes, os, sys, time
from pathlib import Path
from tinygrad_cnn.kernels.jit.compile import build, engine
made = Path(sys.argv[1])
def make(symbol):
    with made.open("a") as file:
        file.write(f"{os.getpid()}\\n")
    if sys.argv[2] == "slow":
        time.sleep(600)
    time.sleep(1)
    return engine.emit_assembly("define i64 @{}() {{ ret i64 42 }}".format(symbol))
(address,) = build.machine_code(build.Code("test.answer", "key"), make)
print(ctypes.CFUNCTYPE(ctypes.c_int64)(address)())
"""


@pytest.mark.parametrize("first_dies", [False, True])
def test_nothing_is_made_twice_unless_its_maker_dies(first_dies: bool, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.touch()

    def start(how: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", TOGETHER, str(made), how], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        )  # fmt: skip

    processes = [start("slow" if first_dies else "")]
    until(made.read_text)
    processes.append(start(""))
    if first_dies:
        time.sleep(1.0)  # the second waits, or will
        assert len(made.read_text().splitlines()) == 1
        processes[0].kill()
    answers = [process.communicate(timeout=300)[0] for process in processes]
    assert answers == ["" if first_dies else "42\n", "42\n"]
    assert len(made.read_text().splitlines()) == 1 + first_dies


def test_a_claim_of_the_dead_is_free(tmp_path: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
from tinygrad_cnn.kernels.jit.compile.claims import claimed
with claimed(Path({str(tmp_path)!r}), "one", wait=False) as mine:
    print(mine, flush=True)
    time.sleep(600)
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        for what, free in (("one", False), ("another", True)):
            with claims.claimed(tmp_path, what, wait=False) as mine:
                assert mine == free
        other.kill()
        with claims.claimed(tmp_path, "one", wait=True) as mine:
            assert mine
    finally:
        other.kill()
        other.communicate()


def test_without_a_folder_everybody_compiles(tmp_path: Path) -> None:
    for folder in (None, tmp_path / "nowhere"):
        with claims.claimed(folder, "one", wait=False) as mine:
            assert mine


@pytest.mark.parametrize("way", ["end", "kill the other", "second of a slot", "quiet"])
def test_workers_end(way: str, worker: Any, tmp_path: Path) -> None:
    first = worker()
    first.tell(wanted=FAST[:1], busy=way != "quiet")
    until(lambda: objects(tmp_path))
    if way == "end":
        first.end()
    elif way == "second of a slot":
        first = worker()
    elif way == "kill the other":
        code = (
            "import os, sys, time\n"
            "from tinygrad_cnn.kernels.jit.compile.ahead import Worker\n"
            "found = Worker(None, '5', blocking=True)\n"
            "print(found.pid, flush=True)\n"
            "time.sleep(600)\n"
        )
        other = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        )  # fmt: skip
        assert other.stdout is not None
        pid = int(other.stdout.readline())
        assert not gone(pid)
        other.send_signal(signal.SIGKILL)
        other.communicate()
        until(lambda: gone(pid), 60)
        return
    until(lambda: not first.is_alive(), 60)


AHEAD = """
import json, sys
from functools import partial
from tinygrad_cnn.kernels.jit.compile import ahead, build, signature
for text in json.loads(sys.argv[1]):
    kernel, kinds = signature.found(text)
    make = partial(signature.compile_for, kernel, kinds)
    build.machine_code(signature.code_of(kernel, kinds), make)
print(*[worker.pid for worker in ahead._state.workers], flush=True)
sys.stdin.read()
"""


def ask(tmp_path: Path, told: list[str], **environment: str) -> subprocess.Popen[str]:
    """Start a process that needs kernels, prints its workers' numbers, and waits."""
    settings = {"XDG_CACHE_HOME": str(tmp_path), prebuilt.LOADER: "cache", ahead.COMPILERS: "1"}
    return subprocess.Popen(
        [sys.executable, "-c", AHEAD, json.dumps(told)], text=True, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, **settings, **environment},
    )  # fmt: skip


@pytest.mark.parametrize("way", ["as usual", "Ctrl-C"])
def test_what_follows_is_compiled_ahead(way: str, tmp_path: Path) -> None:
    """Until the process ends, whichever way."""
    run = known.runs(TILE.lanes)[f"lenet5 {TILE.lanes}"]
    first = next(each for each in run if each in FAST)
    process = ask(tmp_path, [first])
    assert process.stdout is not None
    (pid,) = map(int, process.stdout.readline().split())
    own = {signature.beginning_of(first)}
    until(lambda: len({each for each in objects(tmp_path) if "pool" not in each} - own) > 0)
    compiled = {each for each in objects(tmp_path) if "pool" not in each} - own
    assert compiled <= set(map(signature.beginning_of, RUN))
    if way == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    process.communicate(timeout=60)
    assert process.returncode == (0 if way == "as usual" else -signal.SIGINT)
    until(lambda: gone(pid), 60)


@pytest.mark.parametrize(
    ("told", "environment"),
    [
        ("known", {ahead.COMPILERS: "0"}),
        ("known", {ahead.COMPILERS: "", "OMP_NUM_THREADS": "1"}),
        ("unknown", {}),
    ],
)
def test_nothing_is_started_where_it_does_not_pay(
    told: str, environment: dict[str, str], tmp_path: Path
) -> None:
    relu = next(each for each in FAST if ":_relu " in each)
    if told == "unknown":
        relu = relu.replace('"C"', '"A"')
        assert relu not in RUN
    process = ask(tmp_path, [relu], **environment)
    out, errors = process.communicate("", timeout=300)
    assert (out, errors) == ("\n", "")
    assert objects(tmp_path) >= {signature.beginning_of(relu)}


def test_a_process_that_waits_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    """It compiles something else while another process is at what it needs."""
    state = ahead._State()
    monkeypatch.setattr(ahead, "_state", state)
    done: list[str] = []
    monkeypatch.setattr(signature, "prepare", lambda name: done.append(name) is None)
    state.expected = ["needed", "first:a", "second:b"]
    assert ahead.help_along()
    assert ahead.help_along()
    assert not ahead.help_along()
    assert done == ["first:a", "second:b"]
