"""``python -m tests.differential --programs 20000 --seed 0 --jobs 2 --out FOLDER``."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

from .compare import KERNELS
from .indices import FORMS
from .instructions import GROUPS
from .search import Outcome, search
from .shrink import script


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--programs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0, help="of the first program")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, help="folder for a script of every distinct failure")
    parser.add_argument("--kernels", default=",".join(KERNELS), help="which of ours, by commas")
    parser.add_argument("--off", default="", help=f"not these: {', '.join((*GROUPS, *FORMS))}")
    parser.add_argument("--only", default="", help="no other groups, but what must be")
    parser.add_argument("--without", default="", help="no lines in which this expression is found")
    args = parser.parse_args()
    only, off = ({g.strip() for g in text.split(",") if g} for text in (args.only, args.off))
    if unknown := (only | off) - {*GROUPS, *FORMS}:
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    args.off = tuple(sorted(off | (GROUPS.keys() - only if only else set())))
    args.kernels = tuple(args.kernels.split(","))
    return args


def write(outcome: Outcome, number: int, folder: Path | None) -> None:
    """The failure as a script."""
    if outcome.difference is None:
        text = f"# program {outcome.seed}: {outcome.end}\n"
    else:
        text = f"# program {outcome.seed}\n{script(outcome.statements, outcome.difference)}"
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:03}.py").write_text(text, encoding="utf-8")
    else:
        print(text)


def main() -> int:
    args = arguments()
    counts: Counter[str] = Counter()
    stay: Counter[str] = Counter()
    start, done, statements = time.monotonic(), 0, 0
    seeds = range(args.seed, args.seed + args.programs)
    for outcome in search(seeds, args.jobs, args.kernels, args.off, args.without):
        done, statements = done + 1, statements + outcome.length
        if outcome.known:
            stay[outcome.known] += 1
        elif outcome.what:
            counts[outcome.what] += 1
            if counts[outcome.what] == 1:
                write(outcome, len(counts), args.out)
        if done % 50 == 0 or done == args.programs:
            seconds = time.monotonic() - start
            print(
                f"{done} programs of {statements} statements, {done / seconds:.1f} programs/s: "
                f"{sum(counts.values())} fail in {len(counts)} ways",
                file=sys.stderr,
            )
    for why, count in stay.items():
        print(f"\n{count} differences that stay: {why}")
    for number, (what, count) in enumerate(counts.items(), 1):
        print(f"\n{number:03}, {count} times: {what}")
    return 1 if counts else 0


if __name__ == "__main__":
    sys.exit(main())
