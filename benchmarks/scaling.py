"""Steps on several ranks of this machine, and what they say of up to 256 ranks of others.

python benchmarks/scaling.py [--model minivgg] [--batch 64] [--rounds 3] [--json FILE] [--plot FILE]

In turn, each in processes of its own: 1 rank of 2 threads, and 1, 2 and 4 ranks of 1 thread, with
the same whole batch. The model of a step on p ranks of n images each:

    step(p)    = compute(n) + exposed(p)
    compute(n) = a + b n                      fitted to one rank with B, B/2 and B/4 images
    reduce(p)  = 2 log2(p) k latency + 2 (p - 1)/p bytes/bandwidth       for k buckets
    exposed(p) = max(reduce of the last bucket, reduce(p) - backward)

latency and bandwidth are fitted to `all_reduce` of 8 bytes to 2 MiB on 2 ranks (Hockney, 1994; the
two terms of a ring or of halving and doubling: Thakur et al., 2005). "hidden" is the share of the
time of all buckets, taken without backward beside them, that a step does not wait for once all
ranks have come to the end of backward; "early" is the share of bytes that were reduced by the end
of a rank's own.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
SIZES = [8 << k for k in range(0, 20, 2)]  # bytes
ASSUMED = {"10 Gbit/s Ethernet": (30e-6, 1.1e9), "100 Gbit/s InfiniBand": (2e-6, 11e9)}
RANKS = [1, 2, 4, 8, 16, 32, 64, 128, 256]


def worker(model: str, batch: int, threads: int, steps: int) -> None:
    """Measure on all ranks of this process's group; rank 0 prints."""
    sys.path.insert(0, str(ROOT))
    import tinygrad_cnn as tg
    from tinygrad_cnn import distributed as dist
    from tinygrad_cnn.nn.functional import cross_entropy
    from tinygrad_cnn.nn.parallel import DistributedDataParallel
    from tinygrad_cnn.train.run.model_files import build_model

    dist.init_process_group(timeout=600)
    tg.set_num_threads(threads)
    size, rank = dist.get_world_size(), dist.get_rank()
    tg.manual_seed(rank)
    net = DistributedDataParallel(build_model(str(ROOT / f"models/{model}.py"), 10))
    optimizer = tg.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    found: dict[str, Any] = {"ranks": size, "threads": threads, "step": {}, "backward": {}}
    parts = [batch // size] if size > 1 or threads > 1 else [batch, batch // 2, batch // 4]
    for n in parts:
        x, y = tg.randn(n, 3, 32, 32), tg.randint(10, (n,))
        times, backwards, waits, apart = [], [], [], []
        for _ in range(3 + steps):
            dist.barrier()
            begin, waited, others = time.perf_counter(), net.reducer.waited, net.reducer.apart
            optimizer.zero_grad()
            loss = cross_entropy(net(x), y)
            middle = time.perf_counter()
            loss.backward()
            backwards.append(time.perf_counter() - middle)
            optimizer.step()
            times.append(time.perf_counter() - begin)
            waits.append(net.reducer.waited - waited)
            apart.append(net.reducer.apart - others)
        found["step"][n] = float(np.median(times[3:]))
        found["backward"][n] = float(np.median(backwards[3:]) - np.median(waits[3:]))
        found["waited"] = float(np.median(waits[3:]))
        found["apart"] = float(np.median(apart[3:]))
    found["early"] = net.reducer.hidden / net.reducer.sent
    alone = []
    for _ in range(3 + steps):
        dist.barrier()
        begin = time.perf_counter()
        net.reducer.begin()
        net.reducer.send(all_of_them=True)
        for bucket in net.reducer.buckets:
            net.reducer.group.wait(bucket.request, "all buckets")
        alone.append(time.perf_counter() - begin)
    found["alone"] = float(np.median(alone[3:]))
    found["bytes"] = sum(bucket.flat.nbytes for bucket in net.reducer.buckets)
    found["buckets"] = [bucket.flat.nbytes for bucket in net.reducer.buckets]
    found["reduce"] = {}
    for nbytes in SIZES if size == 2 else []:
        t, some = tg.zeros(nbytes // 4), []
        for _ in range(12):
            dist.barrier()
            begin = time.perf_counter()
            dist.all_reduce(t)
            some.append(time.perf_counter() - begin)
        found["reduce"][nbytes] = float(np.median(some[2:]))
    if rank == 0:
        print("result: " + json.dumps(found), flush=True)


def measure(ranks: int, threads: int, options: argparse.Namespace) -> dict[str, Any]:
    """Start the worker on so many ranks."""
    beside = shutil.which("mpiexec", path=os.path.dirname(sys.executable))
    command = [beside or "mpiexec", "-n", str(ranks), sys.executable, __file__, "--worker"]
    command += ["--model", options.model, "--batch", str(options.batch)]
    command += ["--threads", str(threads), "--steps", str(options.steps)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TINYGRAD_CNN_QUIET": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("result: "):
            found: dict[str, Any] = json.loads(line.removeprefix("result: "))
            return found
    raise SystemExit(f"{ranks} ranks: {done.stderr}")


def fitted(times: dict[str, float]) -> tuple[float, float]:
    """Latency in seconds and bandwidth in bytes per second of all-reduces on 2 ranks."""
    sizes = np.array([float(n) for n in times])
    seconds = np.array(list(times.values()))
    rows = np.stack([np.full_like(sizes, 2.0), sizes], axis=1)  # 2 log2(2) = 2; 2 (2 - 1)/2 = 1
    weights = 1 / seconds  # relative errors count alike
    (latency, per_byte), *_ = np.linalg.lstsq(
        rows * weights[:, None], seconds * weights, rcond=None
    )
    return max(float(latency), 1e-7), 1 / max(float(per_byte), 1e-13)


def predicted(
    p: int, n: float, line: tuple[float, float], backward: float, buckets: list[int],
    network: tuple[float, float],
) -> tuple[float, float]:  # fmt: skip
    """Seconds of a step on p ranks of n images, and those of them that wait for the others."""
    latency, bandwidth = network
    rounds, share = 2 * math.log2(p), 2 * (p - 1) / p
    each = [rounds * latency + share * nbytes / bandwidth for nbytes in buckets]
    exposed = max(each[-1], sum(each) - backward * n) if p > 1 else 0.0
    return line[0] + line[1] * n + exposed, exposed


def table(data: dict[str, Any]) -> list[str]:
    """What is predicted, in lines."""
    batch, line, backward = data["batch"], data["compute"], data["backward_per_image"]
    lines = []
    for name, network in data["networks"].items():
        latency, bandwidth = network
        lines.append(f"{name}: {latency * 1e6:.1f} µs, {bandwidth / 1e9:.2f} GB/s")
        lines.append("  ranks   same batch   same images per rank")
        one, _ = predicted(1, batch, line, backward, data["buckets"], network)
        for p in RANKS:
            strong, _ = predicted(p, batch / p, line, backward, data["buckets"], network)
            weak, _ = predicted(p, batch, line, backward, data["buckets"], network)
            lines.append(f"  {p:5}   {one / (p * strong):10.0%}   {one / weak:10.0%}")
    return lines


def plot(data: dict[str, Any], path: Path) -> None:
    """Draw the predicted efficiency."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    batch, line, backward = data["batch"], data["compute"], data["backward_per_image"]
    for name, network in data["networks"].items():
        one, _ = predicted(1, batch, line, backward, data["buckets"], network)
        for images, style in (("same images per rank", "-"), ("same batch", "--")):
            values = []
            for p in RANKS:
                n = batch if style == "-" else batch / p
                step, _ = predicted(p, n, line, backward, data["buckets"], network)
                values.append(one / step / (1 if style == "-" else p))
            axes.plot(RANKS, values, style, label=f"{name}, {images}")
    axes.set(xscale="log", xticks=RANKS, xlabel="ranks", ylabel="efficiency", ylim=(0, 1.05))
    axes.set_xticks(RANKS, [str(p) for p in RANKS])
    axes.legend(fontsize=7)
    axes.set_title(f"{data['model']}, batch {batch}: predicted", fontsize=10)
    figure.savefig(path, bbox_inches="tight")


def main() -> None:
    """Measure, fit, predict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="minivgg")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.model, options.batch, options.threads, options.steps)
        return
    turns: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for _ in range(options.rounds):
        for kind in ((1, 2), (2, 1), (1, 1), (4, 1)):
            turns.setdefault(kind, []).append(measure(*kind, options))
    best = {k: min(v, key=lambda r: max(r["step"].values())) for k, v in turns.items()}
    whole, batch = str(options.batch), options.batch
    alone, two = best[1, 1], best[2, 1]
    counts = np.array([float(n) for n in alone["step"]])
    slope, start = np.polyfit(counts, np.array(list(alone["step"].values())), 1)
    here = fitted(two["reduce"])
    data: dict[str, Any] = {
        "model": options.model,
        "batch": batch,
        "measured": [best[k] for k in best],
        "compute": (max(float(start), 0.0), float(slope)),
        "backward_per_image": alone["backward"][whole] / batch,
        "buckets": two["buckets"],
        "networks": {"this machine": here, **ASSUMED},
    }
    print(
        f"{options.model}, batch {batch}, best of {options.rounds} turns; buckets {two['buckets']}"
    )
    print(
        "  ranks x threads   step      images/s   waited     for others   alone    hidden   early"
    )
    for (ranks, threads), r in best.items():
        step = r["step"][str(batch // ranks)]
        hidden = f"{1 - r['waited'] / r['alone']:6.0%}   {r['early']:6.0%}" if ranks > 1 else "-"
        waits = [f"{r[name] * 1e3:6.2f} ms" for name in ("waited", "apart", "alone")]
        print(
            f"  {ranks} x {threads}             {step * 1e3:6.1f} ms {batch / step:8.0f}   "
            f"{'  '.join(waits)} {hidden}"
        )
    seconds = two["step"][str(batch // 2)]
    rates = batch / seconds, batch / best[1, 2]["step"][whole]
    print(
        f"2 ranks x 1 thread have {rates[0] / rates[1]:.2f} of the images/s of 1 rank x 2 threads"
    )
    expected, _ = predicted(
        2, batch / 2, data["compute"], data["backward_per_image"], data["buckets"], here
    )
    print(f"2 ranks: predicted {expected * 1e3:.1f} ms, measured {seconds * 1e3:.1f} ms\n")
    data["check"] = {"predicted": expected, "measured": seconds}
    print("\n".join(table(data)))
    if options.json:
        options.json.write_text(json.dumps(data, indent=1) + "\n")
    if options.plot:
        plot(data, options.plot)


if __name__ == "__main__":
    main()
