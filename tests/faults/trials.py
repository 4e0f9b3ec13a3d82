"""Damaged caches, kills while compiling, threads that train at once, long runs."""

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
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import tinygrad_cnn as tg
from tinygrad_cnn import kernels, nn, optim
from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.tensor import Tensor

from .forking import lazy_image, quick_switches
from .hostile import bytewise
from .kills import Child


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


def readers(count: int, seed: int) -> list[str]:
    """Have 4 threads read one result that waits to be computed, ``count`` times: the same bits."""
    wrong: list[str] = []
    rng = np.random.default_rng(seed)
    images = tg.from_numpy(rng.standard_normal((4, 8, 16, 16)).astype(np.float32))
    expected = lazy_image(images.clone()).detach().numpy().tobytes()
    with quick_switches():
        for number in range(count):
            y, start, read = lazy_image(images.clone()), threading.Barrier(4), []

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

    with quick_switches():
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
