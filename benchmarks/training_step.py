"""Time whole training steps, ours and PyTorch's, in turn in one process.

    python benchmarks/training_step.py [--model minivgg|lenet5] [--batch 64] [--rounds 15]

A step is forward pass, loss, backward pass and SGD with momentum on random images. The two take
turns, a few steps each, for a number of rounds: absolute times drift on shared machines, the ratio
of neighbouring rounds does not. PyTorch's model is made from the very same source file, with its
import changed. Without PyTorch (`pip install torch==2.13.0`) only our own times are printed, and
that is said.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import tinygrad_cnn as tg

MODELS = {"lenet5": "LeNet5", "minivgg": "MiniVGG"}
FOLDER = Path(__file__).parents[1] / "models"


def load_model(name: str, framework: ModuleType) -> Any:
    """The class in ``models/<name>.py``, built on ``framework`` (tinygrad_cnn or torch)."""
    source = (FOLDER / f"{name}.py").read_text()
    source = source.replace("from tinygrad_cnn import", f"from {framework.__name__} import")
    namespace: dict[str, Any] = {"__name__": f"{name}_on_{framework.__name__}"}
    exec(compile(source, f"{name}.py", "exec"), namespace)
    return namespace[MODELS[name]]()


def training_step(framework: ModuleType, model: Any, batch: int) -> Callable[[], float]:
    """A function that trains ``model`` for one step and returns the loss."""
    rng = np.random.default_rng(0)
    x = framework.from_numpy(rng.standard_normal((batch, 3, 32, 32), dtype=np.float32))
    y = framework.from_numpy(rng.integers(0, 10, batch))
    optimizer = framework.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def step() -> float:
        optimizer.zero_grad()
        loss = framework.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def milliseconds(step: Callable[[], float], repeats: int) -> float:
    """The median time of ``repeats`` steps."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def quartiles(values: list[float]) -> str:
    """Median and quartiles, for people."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} (quartiles {low:.2f} to {high:.2f})"


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=sorted(MODELS), default="minivgg")
    parser.add_argument("--batch", type=int, default=64, help="images in a batch")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each")
    parser.add_argument("--repeats", type=int, default=5, help="steps in a turn")
    args = parser.parse_args()

    tg.manual_seed(0)
    steps = {"tinygrad_cnn": training_step(tg, load_model(args.model, tg), args.batch)}
    try:
        import torch
    except ImportError:
        print("PyTorch is not installed (pip install torch==2.13.0): only our own time follows")
    else:
        torch.manual_seed(0)
        steps["PyTorch eager"] = training_step(torch, load_model(args.model, torch), args.batch)

    for step in steps.values():  # warm up
        milliseconds(step, 3)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(args.rounds):
        for name, step in steps.items():
            milliseconds(step, 1)  # let the other's threads go to sleep
            times[name].append(milliseconds(step, args.repeats))

    print(f"{args.model}, batch {args.batch}, float32, one training step, {args.rounds} rounds")
    for name, values in times.items():
        print(f"  {name:14} {quartiles(values)} ms")
    if len(times) == 2:
        ratios = [a / b for a, b in zip(*times.values(), strict=True)]
        print(f"  ratio          {quartiles(ratios)}")


if __name__ == "__main__":
    main()
