"""Damaged caches, kills while compiling, threads that train at once, forks, long runs."""

from __future__ import annotations

import copy
import gc
import os
import random
import shutil
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import tinygrad_cnn as tg
from tinygrad_cnn import kernels, nn, optim
from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.tensor import Tensor

from .hostile import bytewise
from .kills import Child

CHILDS_SECONDS = 120  # after which a forked child hangs; it may have to compile


def _reluing() -> str:
    """Run a kernel from a cache that may be in any state; raise if its result is wrong."""
    kernels.set_kernels("jit")
    x = np.linspace(-1, 1, 10_000, dtype=np.float32)
    np.testing.assert_array_equal(kernels.relu(x), np.maximum(x, 0))
    return ""


def _in(folder: str) -> None:
    """Have machine code kept in a folder, by this process and those it makes."""
    from tinygrad_cnn.kernels.jit.compile import build

    os.environ.update(XDG_CACHE_HOME=folder, TINYGRAD_CNN_QUIET="1")
    build.cache_folder.cache_clear()


def caches(count: int, seed: int) -> list[str]:
    """Damage ``count`` cache files; none is accepted. A process in 30 runs what is left."""
    from tinygrad_cnn.kernels.jit.compile import build

    draw, wrong, runs = random.Random(seed), [], 0
    with TemporaryDirectory() as root:
        _in(root)
        if (ended := Child(_reluing).end()) != (0, ""):
            return [f"compiling: {ended}"]
        folder = build.cache_folder()
        whole = {p: p.read_bytes() for p in folder.iterdir() if p.suffix in (".o", ".so")}
        for number in range(count):
            for path, content in whole.items():  # a new file: the old one may be loaded
                path.unlink(missing_ok=True)
                path.write_bytes(content)
            path = draw.choice(list(whole))
            damaged = bytewise(whole[path], draw)
            if damaged == whole[path]:
                damaged = damaged[:-1]
            path.write_bytes(damaged)
            stem = path.name.rpartition("-")[0]
            if number % 30 == 0:
                runs += 1
                ended = Child(_reluing).end()
                if ended != (0, ""):
                    wrong.append(f"{path.suffix}: the process ended with {ended}")
            elif (found := build._find(folder, stem, path.suffix)) and found[1] == damaged:
                wrong.append(f"{path.name} is taken though it is damaged")
    print(f"caches: {count} damaged files, {runs} of them before a process ran", file=sys.stderr)
    return wrong


def compiling(count: int, seed: int) -> list[str]:
    """Kill ``count`` processes while they compile into a cache; then others use that cache."""
    draw, wrong, kills = random.Random(seed), [], 0
    with TemporaryDirectory() as root:
        _in(root)
        start = time.perf_counter()
        if (ended := Child(_reluing).end()) != (0, ""):
            return [f"compiling: {ended}"]
        seconds = time.perf_counter() - start
        while kills < count:
            if draw.random() < 0.3:
                shutil.rmtree(root, ignore_errors=True)
            child = Child(_reluing)
            time.sleep(draw.uniform(0, seconds))
            child.kill()
            code, answer = child.end()
            if code == 0:  # it was faster: there is nothing left to compile
                shutil.rmtree(root, ignore_errors=True)
                continue
            if code != -signal.SIGKILL:
                wrong.append(answer)
            kills += 1
        if (ended := Child(_reluing).end()) != (0, ""):
            wrong.append(f"after the kills: {ended}")
        Path(root).mkdir(exist_ok=True)
    print(f"compiling: {count} kills", file=sys.stderr)
    return wrong


def _model() -> nn.Sequential:
    tg.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(8 * 8 * 8, 32), nn.GELU(), nn.Linear(32, 4),
    )  # fmt: skip


def _steps(model: nn.Module, images: Tensor, labels: Tensor, count: int) -> bytes:
    """Train, and return every bit of the weights."""
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    for _ in range(count):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return b"".join(t.numpy().tobytes() for t in model.state_dict().values())


@contextmanager
def _quick_switches() -> Iterator[None]:
    """Have threads take turns as often as the interpreter can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def _lazy_image(x: Tensor) -> Tensor:
    """A result that waits to be computed, where there are compiled kernels."""
    norm = F.batch_norm(x, None, None, training=True)
    return F.relu(norm)


def _everything(
    generator: tg.Generator, images: Tensor, labels: Tensor, model: nn.Module, compiled: Any
) -> None:
    """Draw, allocate, launch kernels, wait lazily, record: what takes any lock of the package."""
    tg.rand(300, 300)
    tg.randn(1000, generator=generator)
    tg.empty(1 << 18).zero_()
    _lazy_image(images).sum().item()
    F.cross_entropy(model(images), labels).backward()
    compiled(images)
    tg.matmul(tg.ones(200, 200), tg.ones(200, 200))


def forks(count: int, seed: int) -> list[str]:
    """Fork ``count`` children while 4 threads do everything; each child does it too, and ends."""
    wrong: list[str] = []
    fresh, generator = _model(), tg.manual_seed(seed)
    images, labels = tg.randn(16, 3, 16, 16), tg.randint(4, (16,))
    compiled = tg.compile(lambda x: (x * 2 + 1).relu().sum())
    # Compiling takes minutes where threads take turns every microsecond.
    _everything(generator, images, labels, copy.deepcopy(fresh), compiled)
    end = threading.Event()

    def busy(model: nn.Module) -> None:
        try:
            while not end.is_set():
                _everything(generator, images, labels, model, compiled)
        except BaseException as error:
            wrong.append(f"a thread: {type(error).__name__}: {error}")

    def child() -> str:
        signal.alarm(CHILDS_SECONDS)
        for _ in range(2):
            _everything(generator, images, labels, copy.deepcopy(fresh), compiled)
        expected = np.maximum(np.arange(-9, 9999), 0)
        np.testing.assert_array_equal(F.relu(tg.arange(-9.0, 9999.0)).numpy(), expected)
        return ""

    running = [
        threading.Thread(target=busy, args=(copy.deepcopy(fresh),), daemon=True) for _ in range(4)
    ]
    with _quick_switches(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that threads are running
        for thread in running:
            thread.start()
        try:
            for number in range(count):
                if (ended := Child(child).end()) != (0, ""):
                    wrong.append(f"child {number} ended with {ended}")
        finally:
            end.set()
            for thread in running:
                thread.join(60)
    print(f"forks: {count} children", file=sys.stderr)
    return wrong


def readers(count: int, seed: int) -> list[str]:
    """Have 4 threads read one result that waits to be computed, ``count`` times: the same bits."""
    wrong: list[str] = []
    rng = np.random.default_rng(seed)
    images = tg.from_numpy(rng.standard_normal((4, 8, 16, 16)).astype(np.float32))
    expected = _lazy_image(images.clone()).detach().numpy().tobytes()
    with _quick_switches():
        for number in range(count):
            y, start, read = _lazy_image(images.clone()), threading.Barrier(4), []

            def look(y: Tensor = y, start: Any = start, read: list[bytes] = read) -> None:
                start.wait()
                read.append(y.detach().numpy().tobytes())

            looking = [threading.Thread(target=look, daemon=True) for _ in range(4)]
            for thread in looking:
                thread.start()
            for thread in looking:
                thread.join(60)
            if read != [expected] * 4:
                wrong.append(f"result {number}: {len(read)} threads read {len(set(read))} values")
    print(f"readers: {count} results read by 4 threads", file=sys.stderr)
    return wrong


def threads(count: int, seed: int) -> list[str]:
    """Train in 8 threads at once, ``count`` steps each, with the quickest switches there are."""
    rng, fresh = np.random.default_rng(seed), _model()
    images = tg.from_numpy(rng.standard_normal((16, 3, 16, 16)).astype(np.float32))
    labels = tg.from_numpy(rng.integers(0, 4, 16))
    expected = _steps(copy.deepcopy(fresh), images, labels, count)
    models, results = [copy.deepcopy(fresh) for _ in range(8)], {}

    def work(number: int) -> None:
        try:
            results[number] = _steps(models[number], images, labels, count)
        except BaseException as error:
            results[number] = f"{type(error).__name__}: {error}".encode()

    with _quick_switches():
        running = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(8)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join(60 + count)
    print(f"threads: {count} steps in each of 8", file=sys.stderr)
    said = {n: results.get(n, b"does not end") for n in range(8)}
    return [f"thread {n}: {text[:200]!r}" for n, text in said.items() if text != expected]


def memory(count: int, seed: int) -> list[str]:
    """Train ``count`` epochs with the collector of cycles off: memory stays as it is."""
    rng, model = np.random.default_rng(seed), _model()
    images = tg.from_numpy(rng.standard_normal((16, 3, 16, 16)).astype(np.float32))
    labels = tg.from_numpy(rng.integers(0, 4, 16))
    gc.disable()
    try:
        _steps(model, images, labels, 20)
        before = _resident()
        for _ in range(count):
            _steps(model, images, labels, 3)
        grown = _resident() - before
    finally:
        gc.enable()
    print(f"memory: {count} epochs, {grown / 1024:.0f} KiB more at the end", file=sys.stderr)
    return [f"{count} epochs take {grown:,} bytes"] if grown > 8 << 20 else []


def _resident() -> int:
    """Bytes that this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
