"""A tiny model and tiny images for the tests of training."""

import io
import signal

import numpy as np
import pytest
from rich.console import Console

import tinygrad_cnn as tg
from tinygrad_cnn.data import TensorDataset
from tinygrad_cnn.train.loop.progress import RunProgress
from tinygrad_cnn.train.run.splits import Splits

MODEL = """
import os, signal
from pathlib import Path
from tinygrad_cnn import nn

class Tiny(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(16, num_classes))
        self.steps = 0

    def forward(self, x):
        self.steps += self.training
        order = Path(__file__).with_name("die_at_step")
        if order.exists() and self.steps == int(order.read_text()):
            order.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.body(x)
"""


@pytest.fixture
def model_file(tmp_path):
    """The file of a small model with every kind of state: weights, statistics, dropout."""
    path = tmp_path / "tiny.py"
    path.write_text(MODEL)
    return path


@pytest.fixture(scope="session")
def toy():
    """``toy(n, seed)``: n random 8 × 8 images of 4 classes."""

    def make(n, seed):
        rng = np.random.default_rng(seed)
        images = rng.standard_normal((n, 3, 8, 8)).astype(np.float32)
        return TensorDataset(tg.from_numpy(images), tg.from_numpy(rng.integers(0, 4, n)))

    return make


@pytest.fixture
def splits(toy):
    return Splits(toy(40, 0), toy(12, 1), toy(12, 2), ("a", "b", "c", "d"))


@pytest.fixture
def silent():
    return RunProgress(Console(file=io.StringIO()), 9, quiet=True)


@pytest.fixture
def hears_control_c():
    """A shell starts background jobs deaf to it: Python then has no handler of its own."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)
