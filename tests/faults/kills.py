"""Kills, Ctrl-C and full disks at random moments of training, and in every step of a save.

Each run is struck again and again until it comes to its end, while another process reads its
folder. Then it must have the weights, the history and the files of a run that nobody disturbed.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import itertools
import json
import os
import random
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import tinygrad_cnn as tg
from tinygrad_cnn import nn, optim
from tinygrad_cnn.data import DataLoader, TensorDataset
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.train import Checkpoint, RunFolder, TrainError, fit
from tinygrad_cnn.train.loop import compiled
from tinygrad_cnn.train.run.augmentations import make_augmentation

TIMINGS = {"seconds", "images_per_second", "data_wait"}
SETTINGS: dict[str, dict[str, Any]] = {
    "compiled": {"keep_best": True, "clip_norm": 1.0, "augment": "flip", "compile": True},
    "keep_best": {"keep_best": True, "ema": 0.9},
    "accumulate": {"accumulate": 2, "clip_norm": 1.0, "augment": "flip,mixup"},
    "large saves": {"keep_best": True, "width": 2000},  # a checkpoint of 13 MB
    "all": {
        "keep_best": True,
        "ema": 0.5,
        "accumulate": 3,
        "augment": "flip,jitter,mixup",
        "compile": True,
    },
}
"""Of `fit`, and the width of a layer; steps are replayed (`tg.compile`) where that is asked for."""


def train(folder: Path, options: dict[str, Any]) -> str:
    """Train in ``folder`` from where it stands; what came of it, in 64 letters."""
    options = {"compile": False, **options}
    compiled.WORTH = 0  # however few steps there are
    augment, width = options.pop("augment", "none"), options.pop("width", 16)
    tg.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(4),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 4),
    )  # fmt: skip
    transform = make_augmentation(augment, size=8, classes=4)
    history = fit(
        model,
        DataLoader(_images(44, 0), 8, shuffle=True, transform=transform),
        DataLoader(_images(12, 1), 8),
        optimizer=optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        schedule="onecycle",
        epochs=4,
        folder=folder,
        resume=True,
        save_every=0,
        quiet=True,
        **options,
    )
    digest = hashlib.sha256(json.dumps(_untimed(history)).encode())
    for value in model.state_dict().values():
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def _images(count: int, seed: int) -> TensorDataset:
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((count, 3, 8, 8)).astype(np.float32)
    return TensorDataset(tg.from_numpy(images), tg.from_numpy(rng.integers(0, 4, count)))


def _untimed(history: list[Any]) -> list[Any]:
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in history]


class Child:
    """A forked process that does something and answers in a line."""

    def __init__(self, work: Callable[[], str]) -> None:
        self.read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.close(self.read)
                os.write(write, work().encode())
                code = 0
            except BaseException as error:
                os.write(write, f"{type(error).__name__}: {error}".encode()[:4000])
            finally:
                os._exit(code)
        os.close(write)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def end(self) -> tuple[int, str]:
        """How it ended (negative: by a signal), and its answer."""
        answer = b""
        while part := os.read(self.read, 4096):
            answer += part
        os.close(self.read)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]), answer.decode()


def start(folder: RunFolder, options: dict[str, Any], fault: Fault | None = None) -> Child:
    """A process that trains; it prepares its own death if the fault says so."""

    def work() -> str:
        warnings.simplefilter("ignore")  # that these weights do not become better
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if fault is not None and fault.in_a_save:
            fault.prepare()
        return train(folder.path, options)

    return Child(work)


class Fault:
    """What happens to a process at a random moment or, half of the time, in a step of a save.

    It is killed, it gets Ctrl-C (once or twice), or from then on the disk takes no more than some
    bytes of a file, which to a program is a full one.
    """

    def __init__(self, kind: str, draw: random.Random, seconds: float) -> None:
        self.kind, self.wait = kind, draw.uniform(0, seconds)
        self.call = draw.choice(["fsync", "replace"])
        self.in_a_save = kind == "full" or draw.random() < 0.5
        self.number, self.after = draw.randint(1, 30), draw.random() < 0.5
        self.signals = [signal.SIGKILL] if kind == "kill" else [signal.SIGINT] * draw.randint(1, 2)
        self.room = draw.choice([0, 100, 1000, 10_000, 100_000])

    def strike(self, folder: RunFolder, options: dict[str, Any]) -> tuple[int, str]:
        """Train, and be struck."""
        child = start(folder, options, self)
        if not self.in_a_save:
            time.sleep(self.wait)
            self.send(child.pid)
        return child.end()

    def send(self, process: int) -> None:
        """Send the signals."""
        for number in self.signals:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def prepare(self) -> None:
        """Have this process struck at a certain call of ``os.fsync`` or ``os.replace``."""
        real, left = getattr(os, self.call), self.number

        def strike() -> None:
            if self.kind == "full":
                hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
                resource.setrlimit(resource.RLIMIT_FSIZE, (self.room, hard))
            else:
                self.send(os.getpid())

        def counting(*arguments: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0 and not self.after:
                strike()
            result = real(*arguments)
            if left == 0 and self.after:
                strike()
            return result

        setattr(os, self.call, counting)

    def struck(self, code: int, answer: str) -> bool:
        """Whether the process ended by this, as it should."""
        expected = {"interrupt": "KeyboardInterrupt", "full": "TrainError: cannot write into"}
        if self.kind == "kill":
            return code == -signal.SIGKILL
        return code == 1 and answer.startswith(expected[self.kind])


def look(folder: RunFolder) -> str:
    """Read a run's folder for ever, as `compare` and `predict` do; ends at what is not whole."""
    while True:
        for read in (folder.read_metrics, folder.read_model, lambda: place(folder)):
            try:
                read()
            except TrainError as error:
                if "no trained model yet" not in str(error) and "no metrics.csv" not in str(error):
                    return str(error)
        time.sleep(0.002)


def place(folder: RunFolder) -> tuple[int, int]:
    """Epoch and batch of a folder's checkpoint."""
    if not folder.checkpoint.exists():
        return 0, 0
    kept = Checkpoint.read(folder.checkpoint)
    return len(kept.history), kept.batch


def files(folder: RunFolder) -> dict[str, Any]:
    """What a run leaves, without what depends on the clock."""
    kept = Checkpoint.read(folder.checkpoint)
    with open(folder.metrics, newline="", encoding="utf-8") as file:
        rows = _untimed(list(csv.DictReader(file)))
    return {
        "names": sorted(p.name for p in folder.path.iterdir()),
        "model": folder.model.read_bytes(),
        "metrics": rows,
        "checkpoint": _bits([kept.model, kept.optimizer, kept.scheduler, kept.average]),
        "callbacks": _bits(kept.callbacks),
        "history": _untimed(list(kept.history)),
    }


def _bits(tree: Any) -> Any:
    """A nested state in which every bit of every tensor counts."""
    if isinstance(tree, dict):
        return {name: _bits(value) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_bits(value) for value in tree]
    return tree.numpy().tobytes() if isinstance(tree, Tensor) else tree


def strike_until_it_ends(
    options: dict[str, Any], folder: RunFolder, faults: Iterator[Fault]
) -> tuple[str, int, list[str]]:
    """The digest of a run that met these faults, how many of them, and what was wrong."""
    wrong: list[str] = []
    met, before = 0, (0, 0)
    reader = Child(lambda: look(folder))
    try:
        while True:
            fault = next(faults, None)
            code, answer = fault.strike(folder, options) if fault else start(folder, options).end()
            try:
                now = place(folder)
            except TrainError as error:
                wrong.append(str(error))
                break
            if now < before:
                wrong.append(f"epoch and batch {before} were saved, now it is at {now}")
            before = now
            if fault is None or not fault.struck(code, answer):
                wrong += [answer] * bool(code)
                break
            met += 1
            drafts = [p.name for p in folder.path.glob("*.tmp")]  # if there is a folder yet
            if drafts and fault.kind != "kill" and len(fault.signals) == 1:
                wrong.append(f"after {fault.kind} there are {drafts}")
    finally:
        reader.kill()
        ended, said = reader.end()
        if ended != -signal.SIGKILL:
            wrong.append(f"a reader: {said}")
    return answer, met, wrong


def run(kind: str, count: int, seed: int) -> list[str]:
    """Let ``count`` faults of a kind happen, in turn to all settings."""
    wrong: list[str] = []
    draw, met, runs = random.Random(seed), 0, 0
    with TemporaryDirectory() as root:
        whole: dict[str, tuple[str, float, dict[str, Any]]] = {}
        for name, options in itertools.cycle(SETTINGS.items()):
            if met >= count:
                break
            if name not in whole:
                begin, undisturbed = time.perf_counter(), RunFolder(Path(root, f"{name} whole"))
                code, digest = start(undisturbed, options).end()
                if code:
                    return [digest]
                if options.get("compile"):
                    usual = start(
                        RunFolder(Path(root, f"{name} usual")), {**options, "compile": False}
                    )
                    if usual.end() != (0, digest):
                        wrong.append(f"{name}: compiled steps give something else")
                whole[name] = digest, time.perf_counter() - begin, files(undisturbed)
            expected, seconds, left = whole[name]
            runs += 1
            folder = RunFolder(Path(root, f"{name} {runs}"))
            faults = (Fault(kind, draw, seconds) for _ in range(count - met))
            digest, more, found = strike_until_it_ends(options, folder, faults)
            met += more
            wrong += [f"run {runs}, {name}: {what}" for what in found]
            if digest != expected:
                wrong.append(f"run {runs}, {name}: other weights or history")
                continue
            for part, value in files(folder).items():
                if value != left[part]:
                    wrong.append(f"run {runs}, {name}: other {part}")
    print(f"{kind}: {met} of {runs} runs, {len(whole)} settings", file=sys.stderr)
    return wrong
