"""Convolutions of many shapes, ours against PyTorch eager in turn: where do we lose?

    python benchmarks/convolutions.py [--quick] [--count 240] [--compiled] [--json out.json]

Forward pass, gradient of the input (dx) and of the weights (dw), each by itself, through the
public functions (`conv2d`, `autograd.grad`), on arrays as a user has them, (n, c, h, w) in memory.
With ``--channels-last`` ours are as a layer before would have left them, (n, h, w, c) in memory,
while PyTorch's stay as they are. With ``--compiled`` ours are programs (`tg.compile`), dx and dw of
the operations that a backward pass calls, without a graph. The shapes are those of the measured
networks and a sample, always the same, over channels 1 to 256, odd and even sizes, kernels 1, 3, 5
and 7, strides, groups and batch sizes. Whatever is slower than PyTorch is timed a second time,
longer, before it is believed.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any, NamedTuple

import environment
import numpy as np
from competitors import BASELINE, COMPETITORS, OURS
from turns import Remote, WorkerError, in_turn, quartiles

DIRECTIONS = ("forward", "dx", "dw")
LARGE = 1e6  # floating-point operations from which on a convolution should not be slower
SLOWER = 1.1  # times PyTorch's time
SMALLEST, LARGEST = 5e4, 2e9  # floating-point operations of a sampled shape
PATIENCE = 3  # times that a shape is timed if others use the processors meanwhile
BUDGET = 3.0  # seconds for one shape of either


class Shape(NamedTuple):
    """A convolution: batch, channels, rows, columns, filters, kernel size."""

    n: int
    c: int
    h: int
    w: int
    f: int
    k: int
    stride: int = 1
    padding: int = 0
    groups: int = 1

    @property
    def flops(self) -> int:
        """Multiplications and additions of the definition, in each of the three directions."""
        rows, columns = (
            (size + 2 * self.padding - self.k) // self.stride + 1 for size in (self.h, self.w)
        )
        return 2 * self.n * rows * columns * self.f * self.c // self.groups * self.k**2

    def __str__(self) -> str:
        text = f"{self.n}×{self.c}×{self.h}×{self.w} → {self.f}, {self.k}×{self.k}"
        for name in ("stride", "padding", "groups"):
            if getattr(self, name) != Shape._field_defaults[name]:
                text += f", {name} {getattr(self, name)}"
        return text


def of_networks(batch: int) -> list[Shape]:
    """Return the different convolutions of the measured networks."""
    shapes = [
        Shape(batch, 3, 32, 32, 6, 5),  # LeNet-5
        Shape(batch, 6, 14, 14, 16, 5),
        Shape(batch, 3, 32, 32, 32, 3, padding=1),  # MiniVGG
        Shape(batch, 32, 32, 32, 32, 3, padding=1),
        Shape(batch, 32, 16, 16, 64, 3, padding=1),
        Shape(batch, 64, 16, 16, 64, 3, padding=1),
        Shape(batch, 64, 8, 8, 128, 3, padding=1),
        Shape(batch, 128, 8, 8, 128, 3, padding=1),
        Shape(batch, 3, 32, 32, 16, 3, padding=1),  # ResNet-20
        Shape(batch, 16, 32, 32, 16, 3, padding=1),
        Shape(batch, 16, 32, 32, 32, 3, stride=2, padding=1),
        Shape(batch, 32, 16, 16, 32, 3, padding=1),
        Shape(batch, 32, 16, 16, 64, 3, stride=2, padding=1),
        Shape(batch, 64, 8, 8, 64, 3, padding=1),
    ]
    size = 32
    for c, stride, f in [(32, 1, 64), (64, 2, 128), (128, 2, 256), (256, 2, 512)]:
        shapes.append(Shape(batch, c, size, size, c, 3, stride=stride, padding=1, groups=c))
        size //= stride
        shapes.append(Shape(batch, c, size, size, f, 1))
    return shapes


def sample(count: int) -> list[Shape]:
    """Return the first ``count`` of an endless list of different shapes, always the same."""
    rng = np.random.default_rng(1998)
    channels = (1, 2, 3, 4, 7, 8, 12, 16, 24, 31, 32, 48, 64, 96, 128, 192, 256)
    sizes = (5, 7, 8, 9, 13, 14, 16, 17, 23, 28, 32, 33, 45, 56, 64)
    found: dict[Shape, None] = {}
    while len(found) < count:
        c, f = (int(v) for v in rng.choice(channels, 2))
        h, w = (int(v) for v in rng.choice(sizes, 2))
        if rng.random() < 0.6:
            w = h
        k = int(rng.choice((1, 3, 3, 3, 5, 7)))
        kind, groups = rng.random(), 1
        if kind < 0.2:  # depthwise, some with two filters for each channel
            groups, f = c, c * int(rng.choice((1, 1, 2)))
        elif kind < 0.35:
            groups = int(rng.choice((2, 4, 8)))
        shape = Shape(
            int(rng.choice((1, 4, 16, 64))), c, h, w, f, k,
            stride=int(rng.choice((1, 1, 1, 2, 2, 3))),
            padding=int(rng.choice((0, k // 2, k // 2))),
            groups=groups,
        )  # fmt: skip
        fits = min(h, w) + 2 * shape.padding >= k and c % groups == 0 and f % groups == 0
        if fits and SMALLEST <= shape.flops <= LARGEST:
            found[shape] = None
    return list(found)


class Sweep:
    """The two workers, and how long they are timed."""

    def __init__(self, args: argparse.Namespace, workers: dict[str, Remote]) -> None:
        self.args, self.workers = args, workers

    def row(self, shape: Shape, what: str) -> dict[str, Any]:
        """Return the times of one shape in one direction, and their ratio if both could do it."""
        arguments = {**shape._asdict(), "channels_last": self.args.channels_last}
        row: dict[str, Any] = {**shape._asdict(), "what": what, "flops": shape.flops}
        step = {}
        for name, worker in self.workers.items():
            try:
                worker.ask("convolution", shape=arguments, what=what)
                step[name] = min(worker.ask("warm", steps=3)["seconds"])
            except WorkerError as error:
                row["error"] = f"{COMPETITORS[name].text}: {error}"
                return row
        row |= self._time(step, self.args.rounds, self.args.burst)
        if row.get("ratio", [0, 0])[1] > 1:
            row |= self._time(step, 2 * self.args.rounds + 1, 2 * self.args.burst)
        return row

    def _time(self, step: dict[str, float], rounds: int, burst: float) -> dict[str, Any]:
        for _ in range(PATIENCE):
            turns = in_turn(self.workers, step, rounds=rounds, burst=burst, budget=BUDGET)
            if (turns.others or 0) <= environment.BUSY:
                break
        row: dict[str, Any] = {"others": turns.others}
        row |= {name: 1e3 * quartiles(turns.of(name))[1] for name in turns.times}
        if ratios := turns.ratios(OURS, BASELINE):
            row["ratio"] = quartiles(ratios)
        return row


def slow_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the large convolutions at which we are slower, worst first."""
    slow = [r for r in rows if r["flops"] >= LARGE and "ratio" in r and r["ratio"][1] > SLOWER]
    return sorted(slow, key=lambda r: -r["ratio"][1])


def line(row: dict[str, Any]) -> str:
    """Return one result in a line of text."""
    shape = Shape(*(row[field] for field in Shape._fields))
    head = f"{row['what']:8} {shape!s:48} {row['flops'] / 1e6:8.1f} MFLOP"
    if "ratio" not in row:
        return f"{head}  {row.get('error', '')} {row.get(OURS, float('nan')):8.3f} ms"
    low, middle, high = row["ratio"]
    busy = (
        ""
        if (row["others"] or 0) <= environment.BUSY
        else f"  (others: {row['others']:.1f} processors)"
    )
    return (
        f"{head} {row[OURS]:8.3f} ms, PyTorch {row[BASELINE]:8.3f} ms, "
        f"{middle:5.2f} ({low:.2f} to {high:.2f}){busy}"
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--quick", action="store_true", help="few shapes, for a first look")
    add("--count", type=int, help="shapes of the sample (240, quick: 24)")
    add("--what", nargs="+", choices=DIRECTIONS, default=[*DIRECTIONS])
    add("--rounds", type=int, default=5, help="turns of each")
    add("--burst", type=float, default=0.02, help="seconds of a turn")
    add("--threads", type=int, help="of both; without, each decides for itself")
    add("--channels-last", action="store_true", help="our images are (n, h, w, c) in memory")
    add("--compiled", action="store_true", help="ours in a function that `tg.compile` made")
    add("--worst", type=int, default=15, help="how many of the worst ratios to print")
    add("--json", help="write all figures to this file")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the sweep, print the worst, and keep everything."""
    args = parse(arguments)
    count = args.count if args.count is not None else 24 if args.quick else 240
    shapes = of_networks(64) if args.quick else of_networks(64) + of_networks(1)
    shapes = list(dict.fromkeys(shapes + sample(count))) if count else shapes[:2]
    result: dict[str, Any] = {
        "kind": "compiled convolutions" if args.compiled else "convolutions",
        "environment": environment.describe(),
        "threads": args.threads,
        "channels_last": args.channels_last,
        "rows": [],
    }
    print(environment.sentence(result["environment"]))
    workers = {OURS: Remote(threads=args.threads), BASELINE: Remote(threads=args.threads)}
    try:
        for name in list(workers):
            try:
                who = "compiled" if args.compiled and name == OURS else name
                opened = workers[name].ask("open", competitor=who, threads=args.threads)
                print(f"  {COMPETITORS[who].text} {opened['version']}", flush=True)
            except WorkerError:
                if name == OURS:
                    raise
                print(f"  {COMPETITORS[name].text}: not installed: {COMPETITORS[name].install}")
                workers.pop(name).close()
        sweep = Sweep(args, workers)
        for k, shape in enumerate(shapes):
            for what in args.what:
                result["rows"].append(sweep.row(shape, what))
            if sys.stderr.isatty():
                print(f"\r{k + 1} of {len(shapes)} shapes", end="", file=sys.stderr, flush=True)
            if k % 20 == 19:
                environment.write(args.json, result)
    finally:
        for worker in workers.values():
            worker.close()
    environment.write(args.json, result)
    report(result["rows"], args.worst)


def report(rows: list[dict[str, Any]], worst: int) -> None:
    """Print the worst ratios, all large shapes at which we are slower, and what failed."""
    for row in rows:
        if "ratio" not in row:
            print(line(row))
    ratios = [r for r in rows if "ratio" in r]
    timed = [r for r in ratios if (r["others"] or 0) <= environment.BUSY]
    if len(timed) < len(ratios):
        print(
            f"\n{len(ratios) - len(timed)} of {len(ratios)} ratios were disturbed by other "
            "programs and do not count: repeat this"
        )
    if not timed:
        return
    print(f"\nThe worst of {len(timed)} ratios to PyTorch eager:")
    for row in sorted(timed, key=lambda r: -r["ratio"][1])[:worst]:
        print("  " + line(row))
    slow = slow_rows(timed)
    print(f"\nOf at least {LARGE / 1e6:.0f} MFLOP and slower than {SLOWER} ×: {len(slow)}")
    for row in slow:
        print("  " + line(row))
    for what in dict.fromkeys(r["what"] for r in timed):
        low, middle, high = quartiles([r["ratio"][1] for r in timed if r["what"] == what])
        print(f"{what:8} median ratio {middle:.2f} (quartiles {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
