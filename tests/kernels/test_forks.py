"""Forks while other threads work (in numbers: ``python -m tests.faults forks``)."""

from __future__ import annotations

import ast
import contextlib
import copy
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tinygrad_cnn as tg
from tinygrad_cnn.kernels import forks

PACKAGE = Path(tg.__file__).parent
KINDS = {"Lock", "RLock", "Condition", "Event", "Semaphore", "BoundedSemaphore", "Barrier"}
# Of one call or piece of work, which a child does not know; or the gate, which has its own hook.
OF_ONE_CALL = {
    "kernels/forks.py": 1,
    "kernels/threads.py": 1,
    "kernels/jit/compile/worker.py": 1,
    "kernels/progress.py": 2,
}

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def test_every_lock_of_the_package_is_free_in_a_child() -> None:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
        freed = {id(c.args[0]) for c in calls if ast.unparse(c.func).endswith("free_in_child")}
        locks = [c for c in calls if ast.unparse(c.func) in {f"threading.{k}" for k in KINDS}]
        if count := sum(id(lock) not in freed for lock in locks):
            found[path.relative_to(PACKAGE).as_posix()] = count
    assert found == OF_ONE_CALL


@contextlib.contextmanager
def _held_by_a_thread(*held: contextlib.AbstractContextManager[object]) -> Iterator[None]:
    """Inside, another thread is within all of these."""
    inside, end = threading.Event(), threading.Event()

    def hold() -> None:
        with contextlib.ExitStack() as stack:
            for each in held:
                stack.enter_context(each)
            inside.set()
            end.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait(30)
    try:
        yield
    finally:
        end.set()
        holder.join()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_lock_that_a_thread_holds_is_free_in_the_child_and_held_in_the_parent() -> None:
    lock, generator = forks.free_in_child(threading.Lock()), copy.deepcopy(tg.Generator(3))
    expected = tg.rand(3, generator=copy.deepcopy(generator))
    with _held_by_a_thread(lock, generator.numpy.bit_generator.lock):
        child = os.fork()
        if child == 0:
            free = lock.acquire(timeout=5) and generator.numpy.bit_generator.lock.acquire(timeout=5)
            os._exit(0 if free and tg.equal(tg.rand(3, generator=generator), expected) else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert lock.locked()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_waits_for_what_must_be_whole_but_not_for_its_own_thread() -> None:
    half_done = threading.Event()
    done: list[int] = []

    def work() -> None:
        with forks.whole(), forks.whole():
            half_done.set()
            time.sleep(0.2)
            done.append(1)

    worker = threading.Thread(target=work)
    worker.start()
    half_done.wait(30)
    with forks.whole():
        child = os.fork()
        if child == 0:
            with forks.whole():
                os._exit(0 if done == [1] and len(forks._working) == 1 else 1)
    worker.join()
    assert os.waitpid(child, 0)[1] == 0
    assert forks._working == {}


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_does_not_wait_for_what_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "MOST_WAIT", 0.05)
    with _held_by_a_thread(forks.whole()):
        child = os.fork()
        if child == 0:
            os._exit(0 if not forks._working else 1)
    assert os.waitpid(child, 0)[1] == 0
