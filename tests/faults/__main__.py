"""``python -m tests.faults [PART …] [--count N] [--seed S]``: every part in its whole dose."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial

from . import forking, hostile, kills, trials

PARTS: dict[str, tuple[Callable[[int, int], list[str]], int]] = {
    "kills": (partial(kills.run, "kill"), 200),
    "interrupts": (partial(kills.run, "interrupt"), 100),
    "disks": (partial(kills.run, "full"), 50),
    "files": (hostile.run, 100_000),
    "caches": (trials.caches, 6000),
    "compiling": (trials.compiling, 20),
    "threads": (trials.threads, 100),
    "forks": (forking.forks, 100),
    "readers": (trials.readers, 1000),
    "memory": (trials.memory, 1000),
}
"""By name: from a count and a seed to what went wrong; the whole count."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--count", type=int, help="of faults; by default each part's whole dose")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if unknown := set(args.parts) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    wrong = 0
    for name in args.parts or PARTS:
        part, whole = PARTS[name]
        start = time.perf_counter()
        found = part(whole if args.count is None else args.count, args.seed)
        for line in found[:20]:
            print(f"{name}: {line}")
        seconds = time.perf_counter() - start
        print(f"{name}: {len(found)} failures in {seconds:.0f} s", flush=True)
        wrong += len(found)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
