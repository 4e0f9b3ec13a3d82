"""Trainings by `tg.train.fit`; what they come to is printed by rank 0, to be compared.

python -m tests.distributed.fitting NAME …
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_cnn as tg
from tinygrad_cnn import data, nn
from tinygrad_cnn.distributed import get_rank, is_initialized
from tinygrad_cnn.train import fit

COMMON = {"epochs": 2, "sync_batch_norm": True, "seed": 5, "quiet": True, "optimizer": "sgd"}


def net() -> nn.Module:
    """A small network with a normalisation."""
    tg.manual_seed(1)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(36, 5))


def loader(n: int, batch: int, shuffle: bool = True) -> data.DataLoader:
    """Images that are jittered by their index, and labels."""
    rng = np.random.default_rng(n)
    x, y = rng.normal(0, 1, (n, 3, 8, 8)).astype(np.float32), rng.integers(0, 5, n)

    def jitter(images: Any, rng: Any) -> Any:
        return images + rng.normal(0, 0.1, size=images.shape).astype(np.float32)

    transform = jitter if shuffle else None
    return data.DataLoader(
        list(zip(x, y, strict=True)), batch, shuffle=shuffle, transform=transform
    )


def plain() -> list[dict[str, Any]]:
    """An uneven last batch, which is smaller than four ranks."""
    model = net()
    rows = fit(model, loader(50, 16), loader(21, 8, False), keep_best=True, **COMMON)
    return [_figures(rows), _weights(model)]


def eager() -> list[dict[str, Any]]:
    """The same without `tg.compile`: gradients are sent while backward runs."""
    model = net()
    rows = fit(model, loader(50, 16), loader(21, 8, False), compile=False, **COMMON)
    return [_figures(rows), _weights(model)]


def compiled() -> list[dict[str, Any]]:
    """Enough batches for programs."""
    model = net()
    rows = fit(model, loader(330, 10), **{**COMMON, "epochs": 2})
    return [_figures(rows), _weights(model)]


def much() -> list[dict[str, Any]]:
    """Gradients added up, clipped, averaged weights, a schedule by the validation loss."""
    model = net()
    schedule = "plateau:0.5"
    options = {"accumulate": 3, "clip_norm": 0.5, "ema": 0.9, "schedule": schedule, "warmup": 0.1}
    rows = fit(model, loader(50, 8), loader(21, 8, False), **{**COMMON, **options})
    return [_figures(rows), _weights(model)]


def stream() -> list[dict[str, Any]]:
    """Batches that are no loader's."""
    model = net()
    batches = list(loader(30, 7).epoch(3))
    return [_figures(fit(model, batches, **COMMON)), _weights(model)]


def skipping() -> list[dict[str, Any]]:
    """One batch in which a single image is not a number is left out by all ranks."""
    model = net()
    batches = list(loader(30, 7).epoch(3))
    batches[1][0][5] = np.nan
    rows = fit(model, batches, non_finite="skip", **COMMON)
    return [_figures(rows), _weights(model)]


def resuming() -> list[dict[str, Any]]:
    """Go on in the folder that is named, or begin there."""
    model = net()
    folder, epochs = Path(sys.argv[2]), int(sys.argv[3])
    options = {**COMMON, "epochs": epochs, "folder": folder, "resume": True}
    rows = fit(model, loader(50, 16), **options)
    return [_figures(rows), _weights(model)]


def _figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    timed = ("seconds", "images_per_second", "data_wait")
    return {f"{r['epoch']} {k}": v for r in rows for k, v in r.items() if k not in timed}


def _weights(model: nn.Module) -> dict[str, Any]:
    return {name: t.tolist() for name, t in model.state_dict().items()}


if __name__ == "__main__":
    warnings.simplefilter("error")
    found: dict[str, Callable[[], Any]] = dict(vars())
    for wanted in sys.argv[1].split(","):
        result = found[wanted]()
        if not is_initialized() or get_rank() == 0:
            print(f"result: {json.dumps([wanted, result])}", flush=True)
