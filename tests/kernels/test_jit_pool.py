"""Every part of every launch runs exactly once, whoever launches, sleeps, forks or ends."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")

import shared

from tinygrad_cnn.kernels import threads
from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.pointwise.sums import sum_squares
from tinygrad_cnn.kernels.jit.threads import pool

Array = Any


@kernel(entry=True)
def add_mark(part: int, parts: int, work: int, mark: float, seen: Array) -> None:
    """Add the mark to the part's row, after a while that is different for each part."""
    for i in range(work * (part + 1)):
        seen[part, i % 3] += i % 7
    for i in range(3):
        seen[part, i] = mark


def check(launches: int, seed: int, seen: Array) -> None:
    """Launch again and again; raise AssertionError if a part has not run or ran with others."""
    random = np.random.default_rng(seed)
    for mark in range(1, launches + 1):
        parts, work = int(random.integers(1, 6)), int(random.integers(0, 300))
        seen[:] = 0
        run(add_mark, parts, work, seed + mark / 2, seen)
        assert (seen[:parts] == seed + mark / 2).all()
        assert (seen[parts:] == 0).all()


@pytest.fixture(scope="module", autouse=True)
def _five_threads() -> None:
    check(10, 0, np.zeros((8, 3)))
    assert len(pool._workers.threads) >= 3


def sleepers() -> int:
    """Wait until all workers sleep and return how many there are."""
    deadline = time.monotonic() + 30
    while pool._sleeping.value < len(pool._workers.threads) and time.monotonic() < deadline:
        time.sleep(0.002)
    return pool._sleeping.value


def test_every_part_runs_once_with_its_arguments() -> None:
    check(3000, 0, np.zeros((8, 3)))


def test_several_threads_launch_at_once() -> None:
    errors: list[BaseException] = []

    def call(seed: int) -> None:
        try:
            check(1000, 1000 * seed, np.zeros((8, 3)))
        except BaseException as error:
            errors.append(error)

    callers = [threading.Thread(target=call, args=(seed,)) for seed in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert errors == []
    assert pool._busy.value == 0


def test_workers_fall_asleep_and_wake() -> None:
    rounds, seen = pool._spins.value, np.zeros((8, 3))
    for _ in range(20):
        assert sleepers() >= len(pool._workers.threads)  # more if one was woken for nothing
        pool._spins.value = 1 << 60  # nobody falls asleep
        try:
            deadline = time.monotonic() + 30
            while pool._sleeping.value and time.monotonic() < deadline:
                check(3, 0, seen)
                run(add_mark, 3, 0, 1.0, seen)
            assert pool._sleeping.value == 0
        finally:
            pool._spins.value = rounds


def test_an_idle_pool_uses_no_processor() -> None:
    assert sleepers() > 0
    used = []
    for _ in range(5):  # other threads of the tests' process may work in one of them
        start = time.process_time()
        time.sleep(0.2)
        used.append(time.process_time() - start)
    assert min(used) < 0.1


@pytest.mark.parametrize("turns", [1, 2, pool.PATIENT_TURNS])
def test_nobody_is_left_sleeping(turns: int) -> None:
    rounds = pool._spins.value
    pool._spins.value = 1  # everybody sleeps at once: whoever needs them must wake them
    pool._at(pool.TURNS).value = turns
    try:
        check(1000, 0, np.zeros((8, 3)))
    finally:
        pool._spins.value = rounds
        pool._at(pool.TURNS).value = pool.PATIENT_TURNS


def test_workers_sleep_at_once_if_another_thread_wants_their_processor() -> None:
    sleepers()
    long, turns = pool._long.value, pool._at(pool.TURNS)
    turns.value = 1 << 60  # nobody falls asleep for want of work
    pool._long.value = 0  # however short it is, handing over the processor took long
    try:
        check(3, 0, np.zeros((8, 3)))
        assert sleepers() >= len(pool._workers.threads)
    finally:
        pool._long.value, turns.value = long, pool.PATIENT_TURNS


@pytest.mark.parametrize("ticks", [0, pool.ALWAYS])
def test_long_jobs_are_left_to_workers_and_short_ones_are_not(ticks: int) -> None:
    rounds, long = pool._spins.value, pool._long.value
    try:
        for spins in (rounds, 1):
            pool._spins.value, pool._long.value = spins, ticks
            check(300, 0, np.zeros((8, 3)))
    finally:
        pool._spins.value, pool._long.value = rounds, long


def test_a_launch_during_another_runs_alone_with_the_same_result() -> None:
    x = np.random.default_rng(0).standard_normal((1 << 15, 8), np.float32)
    former = threads._chosen.team
    threads._chosen.team = 4
    try:
        shared = sum_squares(x, (0,), centred=True)
        pool._busy.value = 1  # as if somebody else's launch never ended
        np.testing.assert_array_equal(sum_squares(x, (0,), centred=True), shared)
        check(20, 0, np.zeros((8, 3)))
        assert pool._busy.value == 1
    finally:
        pool._busy.value, threads._chosen.team = 0, former


PRELUDE = """
import os, threading, time, warnings, numpy as np
from tinygrad_cnn import kernels
warnings.simplefilter("ignore", DeprecationWarning)  # of forks while threads run
kernels.set_kernels("jit")
kernels.set_num_threads(3)
x = np.random.default_rng(0).standard_normal((2, 8, 256, 256), np.float32)
expected = kernels.relu(x)
def right():
    return all(np.array_equal(kernels.relu(x), expected) for _ in range(20))
"""


def python(code: str) -> str:
    """Run code after the prelude in a new interpreter and return what it printed."""
    return shared.python(PRELUDE + code)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork processes")
def test_a_forked_child_has_threads_of_its_own() -> None:
    code = """
from tinygrad_cnn.kernels.jit import pool
def names():
    return sum("tinygrad_cnn worker" in t.name for t in threading.enumerate())
child = os.fork()
if child == 0:
    before = names()
    fine = right() and before == 0 and names() == 2
    os._exit(0 if fine else 1)
print(right(), os.waitpid(child, 0)[1])
"""
    assert python(code) == "True 0"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork processes")
def test_forks_while_another_thread_launches() -> None:
    code = """
end = False
def go_on():
    while not end:
        kernels.relu(x)
other = threading.Thread(target=go_on)
other.start()
codes = []
for _ in range(10):
    child = os.fork()
    if child == 0:
        os._exit(0 if right() else 1)
    codes.append(os.waitpid(child, 0)[1])
end = True
other.join()
print(codes == [0] * 10, right())
"""
    assert python(code) == "True True"


@pytest.mark.parametrize(
    "code",
    [
        "time.sleep(0.1)",  # workers sleep
        "kernels.relu(x)",  # workers wait actively
        "import atexit; atexit.register(lambda: kernels.relu(x))",
        "threading.Thread(target=lambda: [kernels.relu(x) for _ in range(10**6)], daemon=True)"
        ".start(); time.sleep(0.01)",
        "thread = threading.Thread(target=lambda: [time.sleep(0.2), right()]); thread.start()",
    ],
)
def test_the_interpreter_ends(code: str) -> None:
    start = time.monotonic()
    assert python(f"{code}\nprint('end')") == "end"
    assert time.monotonic() - start < 60
