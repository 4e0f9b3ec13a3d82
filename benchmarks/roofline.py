"""What this processor could do at best, and what the networks ask of it.

    python benchmarks/roofline.py [--batch 64] [--json out.json]

Measured are the speed of NumPy's matrix product (the peak of multiply-and-add) on one thread and on
all, and of copying arrays that lie in cache and that do not. Counted are, for a training step and
for inference of every network, floating-point operations of convolutions and linear layers, and
bytes of the arrays between layers. Operations divided by the peak, and bytes by the bandwidth, are
times that no program with these operations and these passes over memory can beat.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import environment
import networks
import numpy as np

import tinygrad_cnn as tg
from tinygrad_cnn import nn

SIDE = 1536  # of the matrices
SIZES = (8, 128)  # megabytes read and written: one lies in cache, the other does not
SAVING = 4  # multiplications of F(4×4, 3×3): 36 instead of 144 for 4 × 4 outputs


def best(work: Callable[[], object], seconds: float) -> float:
    """Return the shortest time of one call, of as many as fit into ``seconds``."""
    work()
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not times:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def product_peak(threads: int, side: int, seconds: float) -> float:
    """Return the GFLOP/s of the product of two square float32 matrices."""
    former = tg.set_num_threads(threads)
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((side, side), dtype=np.float32) for _ in range(2))
    out = np.empty_like(a)
    try:
        return 2 * side**3 / best(lambda: np.matmul(a, b, out=out), seconds) / 1e9
    finally:
        tg.set_num_threads(former)


def bandwidth(megabytes: int, threads: int, seconds: float) -> float:
    """Return the GB/s, read and written, of copying half of ``megabytes`` to the other half."""
    count = megabytes * 1_000_000 // 8
    source, target = np.ones(count, np.float32), np.ones(count, np.float32)
    parts = list(zip(np.array_split(source, threads), np.array_split(target, threads), strict=True))
    times = max(1, SIZES[-1] // megabytes)  # or handing over to threads would count

    def copy(part: tuple[np.ndarray, np.ndarray]) -> None:
        for _ in range(times):
            np.copyto(part[1], part[0])

    with ThreadPoolExecutor(threads) as pool:
        return 2 * times * source.nbytes / best(lambda: list(pool.map(copy, parts)), seconds) / 1e9


def count(model: str, batch: int) -> dict[str, dict[str, float]]:
    """Return GFLOP and MB of a training step and of inference.

    ``winograd_gflop`` has the multiplications that remain where F(4×4, 3×3) applies: 3 × 3
    filters with stride 1 over at least 16 channels; its transforms are not counted. Bytes are
    counted twice: ``single_mb`` if every layer by itself reads its input and writes its output
    (backward it reads the gradient of its output and its input and writes the gradient of its
    input), ``fused_mb`` if only convolutions, pooling and linear layers do and the rest happens on
    the way. Weights are read forward and backward and their gradients written; SGD with
    momentum reads weight, gradient and velocity and writes weight and velocity.
    """
    network = networks.load(model, tg)
    layers: list[tuple[nn.Module, tuple[int, ...], tuple[int, ...]]] = []

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        layers.append((module, tuple(inputs[0].shape), tuple(output.shape)))

    for module in network.modules():
        if not list(module.children()) and not isinstance(module, nn.Flatten):
            module.register_forward_hook(note)
    with tg.no_grad():
        network.eval()(tg.zeros(batch, *networks.IMAGE))
    totals = {
        what: dict.fromkeys(("gflop", "winograd_gflop", "single_mb", "fused_mb"), 0.0)
        for what in ("step", "inference")
    }
    weights = 4 * sum(p.numel() for p in network.parameters()) / 1e6
    for what, passes in (("step", 8), ("inference", 1)):  # 3 in the layers, 5 in the optimiser
        for kind in ("single_mb", "fused_mb"):
            totals[what][kind] += passes * weights
    first = True
    for module, shape, out in layers:
        flops, saving = 0.0, 1
        if isinstance(module, nn.Conv2d):
            kh, kw = module.kernel_size
            depth = module.in_channels // module.groups
            flops = 2.0 * np.prod(out) * depth * kh * kw
            plain = module.stride == (1, 1) and module.dilation == (1, 1)
            if (kh, kw) == (3, 3) and plain and depth >= 16:
                saving = SAVING
        elif isinstance(module, nn.Linear):
            flops = 2.0 * np.prod(out) * module.in_features
        given, made = 4 * np.prod(shape) / 1e6, 4 * np.prod(out) / 1e6
        pooling = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
        heavy = isinstance(module, (nn.Conv2d, nn.Linear, *pooling))
        times = {"inference": 1, "step": 3}
        if first and flops:  # nobody asks for the gradient of the images
            times["step"], first = 2, False
        for what, total in totals.items():
            moved = given + made + (given * (times[what] - 1) + made if what == "step" else 0)
            total["gflop"] += times[what] * flops / 1e9
            total["winograd_gflop"] += times[what] * flops / saving / 1e9
            total["single_mb"] += moved
            total["fused_mb"] += moved if heavy else 0
    return totals


def main(arguments: list[str] | None = None) -> None:
    """Measure, count, print, and keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--batch", type=int, default=64)
    add("--models", nargs="+", choices=[*networks.NETWORKS], default=[*networks.NETWORKS])
    add("--side", type=int, default=SIDE, help="rows and columns of the matrices")
    add("--seconds", type=float, default=2.0, help="of each measurement")
    add("--patience", type=int, default=5, help="times to measure if others work meanwhile")
    add("--json", help="write all figures to this file")
    args = parser.parse_args(arguments)
    threads = tg.get_num_threads()
    for _ in range(args.patience):  # until nobody else works meanwhile
        neighbours = environment.Neighbours()
        peak = {n: product_peak(n, args.side, args.seconds) for n in sorted({1, threads})}
        speed = {size: bandwidth(size, threads, args.seconds) for size in SIZES}
        others = neighbours.processors()
        if (others or 0) <= environment.BUSY:
            break
    else:
        print(f"(other programs used {others:.1f} processors meanwhile: repeat this)")
    result: dict[str, Any] = {
        "kind": "roofline",
        "environment": environment.describe(),
        "threads": threads,
        "batch": args.batch,
        "others": others,
        "peak": peak,
        "bandwidth": speed,
        "counts": {model: count(model, args.batch) for model in args.models},
    }
    environment.write(args.json, result)
    print(environment.sentence(result["environment"]))
    for n, value in peak.items():
        print(f"  matrix product, {n} thread{'s' if n > 1 else ''}: {value:.0f} GFLOP/s")
    for size, value in speed.items():
        print(f"  copying, {size} MB, {threads} threads: {value:.0f} GB/s")
    highest, memory = peak[threads], speed[SIZES[-1]]
    for model, totals in result["counts"].items():
        for what, t in totals.items():
            print(
                f"  {model:10} {what:9} {t['gflop']:7.2f} GFLOP: "
                f"{1e3 * t['gflop'] / highest:6.2f} ms "
                f"(Winograd {1e3 * t['winograd_gflop'] / highest:6.2f} ms); "
                f"{t['single_mb']:6.0f} MB: {t['single_mb'] / memory:6.2f} ms "
                f"(fused {t['fused_mb'] / memory:6.2f} ms)"
            )


if __name__ == "__main__":
    main()
