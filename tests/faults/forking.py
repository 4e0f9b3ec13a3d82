"""Forks while threads do all that takes a lock or leaves something half done for a moment.

A child must come to its end, and with the numbers that its work gives alone.
"""

from __future__ import annotations

import copy
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import tinygrad_cnn as tg
from tinygrad_cnn import kernels, nn, optim
from tinygrad_cnn.kernels import choice
from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.tensor import Tensor

from .kills import Child

CHILDS_SECONDS = 120  # after which a forked child hangs; it may have to compile
COMPILING = 10  # of so many forks one is made while the threads compile a kernel


@contextmanager
def quick_switches() -> Iterator[None]:
    """Have threads take turns as often as the interpreter can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def lazy_image(x: Tensor) -> Tensor:
    """A result that waits to be computed, where there are compiled kernels."""
    norm = F.batch_norm(x, None, None, training=True)
    return F.relu(norm)


class Work:
    """What threads and children do, each kind of work with a model of its own."""

    def __init__(self, seed: int) -> None:
        self.generator = tg.manual_seed(seed)
        self.images, self.labels = tg.randn(16, 3, 16, 16), tg.randint(4, (16,))
        self.fresh = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Dropout(0.25), nn.Flatten(), nn.Linear(8 * 8 * 8, 32), nn.GELU(), nn.Dropout(0.5),
            nn.Linear(32, 4),
        )  # fmt: skip
        self.shared = tg.compile(self.noisy)  # one function, which all threads call
        self.replay = self.step()

    @staticmethod
    def noisy(x: Tensor) -> Tensor:
        """The sum of what dropout leaves."""
        return (F.dropout(x, 0.3) * 2 + 1).relu().sum()

    def step(self) -> Callable[[], Any]:
        """A compiled step of training of a model of its own."""
        model = copy.deepcopy(self.fresh)
        optimizer = optim.Adam(model.parameters(), lr=0.01)

        @tg.compile
        def step(images: Tensor, labels: Tensor) -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            return loss

        return lambda: step(self.images, self.labels)

    def usual(self) -> None:
        """Draw, allocate, launch kernels, wait lazily, go back through a graph."""
        tg.rand(300, 300)
        tg.randn(1000, generator=self.generator)
        tg.empty(1 << 18).zero_()
        lazy_image(self.images).sum().item()
        model = copy.deepcopy(self.fresh)
        F.cross_entropy(model(self.images), self.labels).backward()
        tg.matmul(tg.ones(200, 200), tg.ones(200, 200))

    def record(self) -> None:
        """Record a step and a function, and replay them."""
        step, noisy = self.step(), tg.compile(self.noisy)
        for _ in range(3):
            step()
            noisy(self.images)

    def masks(self) -> None:
        """Draw masks of dropout, in a call and in a replay."""
        F.dropout(self.images, 0.5)
        F.dropout(tg.ones(7), 0.5)
        F.dropout2d(self.images, 0.5).sum().item()
        self.shared(self.images)

    def replays(self) -> None:
        """Replay a step of training."""
        self.replay()

    def numbers(self) -> list[float]:
        """What comes of all that after a seed: the same in every process."""
        tg.manual_seed(11)
        masked = F.dropout(self.images, 0.5).sum().item()
        step, new = self.step(), tg.compile(self.noisy)
        losses = [step().item() for _ in range(4)]
        replayed = [self.shared(self.images).item() for _ in range(2)]
        recorded = [new(self.images).item() for _ in range(3)]
        relu = F.relu(tg.arange(-9.0, 9999.0)).sum().item()
        drawn = tg.rand(3, generator=tg.Generator(5)).tolist()
        return [masked, *losses, *replayed, *recorded, relu, *drawn]


def scaled(part: int, parts: int, x: Any, out: Any) -> None:
    """A kernel (of all that it calls: none), which `Compiling` compiles again and again."""
    for i in range(x.size * part // parts, x.size * (part + 1) // parts):
        out[i] = 3 * x[i]


class Compiling:
    """Kernels whose machine code is nowhere: they are compiled when they are called."""

    def __init__(self, cache: str) -> None:
        from tinygrad_cnn.kernels.jit.compile import build

        self.folder = Path(cache)
        # What runs by now is loaded; what is compiled from here on is kept in this folder.
        os.environ.update(XDG_CACHE_HOME=cache, TINYGRAD_CNN_COMPILERS="0")
        build.cache_folder.cache_clear()

    def __call__(self) -> None:
        """Compile one, and run it."""
        from tinygrad_cnn.kernels.jit.compile import build, entry

        for path in self.folder.rglob("scaled-*"):
            path.unlink(missing_ok=True)
        x = np.arange(1000, dtype=np.float32)
        out = np.empty_like(x)
        entry.run(build.kernel(entry=True)(scaled), 2, x, out)
        np.testing.assert_array_equal(out, 3 * x)


class Busy:
    """Threads that do their work again and again, until the block ends."""

    def __init__(self, *works: Callable[[], object]) -> None:
        self.wrong: list[str] = []
        self.done = dict.fromkeys(range(len(works)), 0)
        self.end = threading.Event()
        self.threads = [
            threading.Thread(target=self.repeat, args=(number, work), daemon=True)
            for number, work in enumerate(works)
        ]

    def repeat(self, number: int, work: Callable[[], object]) -> None:
        """Work until the end."""
        try:
            while not self.end.is_set():
                work()
                self.done[number] += 1
        except BaseException as error:
            name = getattr(work, "__name__", type(work).__name__)
            self.wrong.append(f"a thread, {name}: {type(error).__name__}: {error}")

    def __enter__(self) -> Busy:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.end.set()
        for thread in self.threads:
            thread.join(60)
        self.wrong += ["a thread does not end" for t in self.threads if t.is_alive()]


def forks(count: int, seed: int) -> list[str]:
    """Fork ``count`` children while threads work; each ends with the numbers of a child alone."""
    draw, work, wrong = random.Random(seed), Work(seed), []
    # Compiling takes minutes where threads take turns every microsecond.
    for each in (work.usual, work.record, work.masks, work.replays):
        each()
    expected = str(work.numbers())  # with these kernels

    def child(more: Callable[[], object] | None = None) -> str:
        signal.alarm(CHILDS_SECONDS)
        if more is not None:
            more()
        given = str(work.numbers())
        assert given == expected, f"{given} instead of {expected}"
        return ""

    def fork(times: int, more: Callable[[], object] | None = None) -> None:
        for _ in range(times):
            time.sleep(draw.uniform(0, 0.02))
            ends(Child(lambda: child(more)))

    def ends(started: Child) -> None:
        if (ended := started.end()) != (0, ""):
            wrong.append(f"a child ended with {ended}")

    def fork_recording() -> None:
        """Fork by the thread that is recording a function at that moment."""

        @tg.compile
        def forking(x: Tensor) -> Tensor:
            assert sys.getprofile() is not None
            ends(Child(lambda: child(lambda: None if sys.getprofile() is None else 1 / 0)))
            return x * 2

        forking(work.images)

    while_compiling = -(-count // COMPILING) if choice.has_numba() else 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that threads are running
        fork(1)
        fork_recording()
        busy = Busy(work.usual, work.record, work.masks, work.replays)
        with quick_switches(), busy:
            fork(count - while_compiling)
        if while_compiling:
            kernels.set_kernels("jit")
            expected = str(work.numbers())
            with TemporaryDirectory() as cache:
                compiling = Compiling(cache)
                compiling()
                former, busy.wrong = busy.wrong, []
                busy = Busy(compiling, work.record, work.masks)
                with busy:
                    fork(while_compiling, compiling)
                busy.wrong += former
    print(f"forks: {count} children", file=sys.stderr)
    return wrong + busy.wrong
