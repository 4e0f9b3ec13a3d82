"""Which files of the framework one training step crosses, once it is warm.

    python benchmarks/files_crossed.py [--list] [--batch 64] [--kernels auto]

The step is convolution → batch normalisation → ReLU → max-pooling on images that want a gradient,
and the backward pass from the sum of the result. Counted are the files of `tinygrad_cnn` in which a
function ran, by `sys.setprofile`; ``--list`` names them in the order in which they are first
reached, with the functions that ran.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import tinygrad_cnn as tg
from tinygrad_cnn import nn

PACKAGE = Path(tg.__file__).parent
WARM = 5  # steps before: kernels are compiled, layouts and choices are known

Crossed = dict[str, list[str]]


def crossed(run: Callable[[], Any]) -> tuple[Any, Crossed]:
    """Return what ``run`` returns, and the functions that it ran by file, both in order."""
    files: Crossed = {}
    base = str(PACKAGE) + "/"

    def note(frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        name = Path(code.co_filename).as_posix()
        if event == "call" and name.startswith(base):
            functions = files.setdefault(name.removeprefix(base), [])
            if code.co_name not in functions:
                functions.append(code.co_name)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        result = run()
    finally:
        sys.setprofile(before)
    return result, files


def measured(batch: int) -> tuple[Crossed, Crossed]:
    """Return the files of the forward and of the backward pass of a warm step."""
    tg.manual_seed(0)
    layers = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)
    model = nn.Sequential(*layers)
    images = tg.randn(batch, 3, 32, 32, requires_grad=True)
    for _ in range(WARM):
        model(images).sum().backward()
    y, forward = crossed(lambda: model(images))
    _, backward = crossed(y.sum().backward)
    return forward, backward


def main(arguments: list[str] | None = None) -> None:
    """Print the counts, and the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--kernels", default="auto", choices=["auto", "reference", "jit"])
    args = parser.parse_args(arguments)
    former = tg.set_kernels(args.kernels)
    try:
        passes = dict(zip(("forward", "backward"), measured(args.batch), strict=True))
    finally:
        tg.set_kernels(former)
    for name, files in passes.items():
        print(f"{name}: {len(files)} files")
        if args.list:
            for file, functions in files.items():
                print(f"  {file}: {', '.join(functions)}")


if __name__ == "__main__":
    main()
