"""Two commits in turn in one run: fails where a step of the second is slower.

    python benchmarks/gate.py [BEFORE [AFTER]] [--models minivgg ...] [--batch 64 1]
                              [--what step inference] [--rounds 9] [--most 1.02] [--json out.json]

Each commit (default: HEAD and the working tree) is checked out into a folder of its own and runs in
a process of its own; both take turns (`turns`), so that a machine that drifts slows both. What is
reported is the median over the rounds of the ratio within a round, and the most memory that each
process had. Exit status 1 where a ratio exceeds ``--most`` by more than its quartiles allow.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from compare import WARM, WHAT, save_weights
from competitors import OURS
from turns import Remote, in_turn, quartiles

ROOT = Path(__file__).parents[1]
MODELS = ["lenet5", "minivgg", "resnet20"]


def checked_out(commit: str | None, folder: Path) -> Path:
    """Return the folder with a commit's files, or the working tree's."""
    if commit is None:
        return ROOT
    folder.mkdir()
    archive = subprocess.run(
        ["git", "archive", commit], cwd=ROOT, capture_output=True, check=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder


def compared(
    trees: dict[str, Path],
    model: str,
    batch: int,
    what: str,
    args: argparse.Namespace,
    weights: Path,
) -> dict[str, Any]:
    """Return times, ratios and memory of one network at one batch size."""
    with ExitStack() as stack:
        workers: dict[str, Remote] = {}
        step: dict[str, float] = {}
        for name, tree in trees.items():
            worker = stack.enter_context(Remote(threads=args.threads, tree=tree))
            worker.ask("open", competitor=OURS, threads=args.threads)
            worker.ask("network", name=model, batch=batch, what=what, weights=str(weights))
            step[name] = min(worker.ask("warm", steps=WARM)["seconds"][2:])
            workers[name] = worker
        turns = in_turn(workers, step, rounds=args.rounds, burst=args.burst)
        memory = {name: worker.ask("memory")["peak_rss_mb"] for name, worker in workers.items()}
    return {
        "model": model,
        "batch": batch,
        "what": what,
        "ms": {name: [1e3 * q for q in quartiles(turns.of(name))] for name in trees},
        "ratio": quartiles(turns.ratios("after", "before")),
        "peak_rss_mb": memory,
        "rounds": len(turns.of("after")),
    }


def show(cell: dict[str, Any]) -> None:
    """Print one comparison."""
    low, middle, high = cell["ratio"]
    before, after = cell["ms"]["before"][1], cell["ms"]["after"][1]
    rss = cell["peak_rss_mb"]
    print(
        f"{cell['model']:10} batch {cell['batch']:<4} {WHAT[cell['what']]:14} "
        f"{before:9.3f} → {after:9.3f} ms  {middle:5.3f} ({low:.3f} to {high:.3f})  "
        f"{rss['before']:.0f} → {rss['after']:.0f} MB",
        flush=True,
    )


def main() -> int:
    """Compare, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", nargs="?", default="HEAD")
    parser.add_argument("after", nargs="?", default=None)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--batch", nargs="+", type=int, default=[64, 1])
    parser.add_argument("--what", nargs="+", default=list(WHAT), choices=list(WHAT))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--burst", type=float, default=0.5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--most", type=float, default=1.02)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    cells, slower = [], []
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        trees = {
            "before": checked_out(args.before, base / "before"),
            "after": checked_out(args.after, base / "after"),
        }
        for model in args.models:
            weights = save_weights(model, base)
            for batch in args.batch:
                for what in args.what:
                    cell = compared(trees, model, batch, what, args, weights)
                    show(cell)
                    cells.append(cell)
                    if cell["ratio"][0] > args.most:
                        slower.append(cell)
    if args.json:
        args.json.write_text(json.dumps(cells, indent=1) + "\n", encoding="utf-8")
    for cell in slower:
        print(
            f"slower: {cell['model']}, batch {cell['batch']}, {WHAT[cell['what']]}", file=sys.stderr
        )
    return bool(slower)


if __name__ == "__main__":
    sys.exit(main())
