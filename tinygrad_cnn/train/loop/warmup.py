"""Compiling kernels before they are needed, so that nobody waits for them later."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygrad_cnn import kernels
from tinygrad_cnn import nn as layers
from tinygrad_cnn.autograd import no_grad
from tinygrad_cnn.functions import randint, randn
from tinygrad_cnn.kernels.jit.compile.build import cache_folder
from tinygrad_cnn.kernels.progress import shown_by
from tinygrad_cnn.nn.functional import cross_entropy
from tinygrad_cnn.ops.choice import where
from tinygrad_cnn.ops.random import Generator
from tinygrad_cnn.optim import SGD, Adam
from tinygrad_cnn.optim.optimizer import Optimizer
from tinygrad_cnn.programs.compiled import compile
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.run.model_files import build_model, users_code

CLASSES = 10


@dataclass(frozen=True)
class Warmed:
    """What was done: so many kernels compiled in so many seconds, kept in a folder."""

    compiled: int
    seconds: float
    folder: Path


def _conv(channels: int, filters: int, kernel: int, **options: Any) -> layers.Module:
    return layers.Sequential(
        layers.Conv2d(channels, filters, kernel, **options),
        layers.BatchNorm2d(filters),
        layers.ReLU(),
        layers.Conv2d(filters, filters, 3, padding=1, bias=False),
        layers.AdaptiveAvgPool2d(2),
        layers.Flatten(),
        layers.Linear(4 * filters, CLASSES),
    )


def pieces() -> Iterator[tuple[str, Callable[[], layers.Module], tuple[int, ...]]]:
    """Small models that together use every kernel: name, constructor, shape of the images."""
    yield "convolutions of colour images", lambda: _conv(3, 32, 3, padding=1), (8, 3, 32, 32)
    yield "3 × 3 convolutions", lambda: _conv(32, 32, 3, padding=1), (8, 32, 16, 16)
    yield "convolutions with a stride", lambda: _conv(16, 32, 3, stride=2), (8, 16, 16, 16)
    yield "5 × 5 convolutions", lambda: _conv(16, 16, 5), (8, 16, 16, 16)
    yield "1 × 1 convolutions", lambda: _conv(16, 64, 1), (8, 16, 16, 16)
    yield "few filters", lambda: _conv(3, 6, 5), (8, 3, 32, 32)
    yield "depthwise", lambda: _conv(32, 32, 3, padding=1, groups=32), (8, 32, 16, 16)
    images = (8, 16, 32, 32)
    yield "max pooling", lambda: _then(layers.MaxPool2d(2)), images
    yield "overlapping max pooling", lambda: _then(layers.MaxPool2d(3, 2, 1)), images
    yield "average pooling", lambda: _then(layers.AvgPool2d(2)), images
    yield (
        "layer normalisation",
        lambda: layers.Sequential(
            layers.Linear(256, 256), layers.LayerNorm(256), layers.ReLU(),
            layers.Linear(256, CLASSES),
        ),
        (64, 256),
    )  # fmt: skip


def _then(pool: layers.Module) -> layers.Module:
    """A convolution, and the pooling of what comes straight from it or through a ReLU."""
    return layers.Sequential(
        layers.Conv2d(16, 16, 3, padding=1),
        layers.BatchNorm2d(16),
        layers.ReLU(),
        pool,
        layers.ReLU(),
        pool,
        layers.AdaptiveAvgPool2d(1),
        layers.Flatten(),
        layers.Linear(16, CLASSES),
    )


def _use(model: layers.Module, shape: tuple[int, ...], random: Generator) -> None:
    """Train a little, and evaluate."""
    x = randn(*shape, generator=random)
    y = randint(0, CLASSES, (shape[0],), generator=random)
    optimizers: list[Optimizer] = [
        SGD(model.parameters(), lr=0.0, momentum=0.9),
        Adam(model.parameters(), lr=0.0),
    ]
    for optimizer in optimizers:
        for _ in range(2):  # the first step makes the optimiser's state
            optimizer.zero_grad()
            cross_entropy(model(x), y).backward()
            optimizer.step()
    model.eval()
    with no_grad():
        model(x)


def _use_loops(random: Generator) -> None:
    """Record what NumPy's own loops do."""

    def call(x: Any, y: Any) -> Any:
        chosen = where(x > 0, x, 0.0).clamp(-1, 1) + y.float().unsqueeze(1)
        return chosen, (x.argmax(1) == y).float().mean()

    compile(call)(randn(8, CLASSES, generator=random), randint(0, CLASSES, (8,), generator=random))


@contextmanager
def _compiled_only() -> Iterator[None]:
    former = kernels.set_kernels("jit")
    try:
        yield
    finally:
        kernels.set_kernels(former)


def warm_up(model: str | None = None, watch: Callable[[str], None] = lambda name: None) -> Warmed:
    """Compile every kernel, or those that ``model`` needs, and keep them on disk.

    ``model`` is ``FILE.py[:Class]`` or ``package.module:Class``, for images (n, 3, 32, 32).
    ``watch`` is told again and again what is being done.

    Raises
    ------
    TrainError
        Numba is not installed, or the model does not run.
    """
    if not kernels.has_numba():
        raise TrainError("warmup compiles with Numba: pip install numba")
    folder, random = cache_folder(), Generator(0)
    before, start = _files(folder), time.perf_counter()
    current = model or ""

    def show(done: int, total: int) -> None:
        watch(f"{current} ({done} of about {total} kernels)" if total else current)

    with shown_by(show), _compiled_only():
        if model is None:
            for name, make, shape in pieces():
                current = name
                watch(name)
                _use(make(), shape, random)
            current = "NumPy's loops in programs"
            watch(current)
            _use_loops(random)
        else:
            watch(model)
            built = build_model(model, CLASSES)
            with users_code(model):
                _use(built, (8, 3, 32, 32), random)
    return Warmed(len(_files(folder) - before), time.perf_counter() - start, folder)


def _files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.o")}
