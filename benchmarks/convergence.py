"""Does training to the end come out the same with fast convolutions as with exact ones?

    python benchmarks/convergence.py [--root FOLDER] [--model models/minivgg.py] [--epochs 10]
                                     [--algorithms winograd direct] [--seeds 3] [--json out.json]

Winograd's rounding errors are some ten times those of the defining sums. Every run here is a whole
run of ``tinygrad-cnn train`` with its defaults: same seed, same images in the same order, same
first weights, one algorithm or the other (`tinygrad_cnn.set_conv_algorithm`). Printed are the test
accuracies, mean and spread over the seeds, and the difference of the means with its standard
error. Images are CIFAR-10 where ``--root`` names its folder, the built-in shapes otherwise. Runs
already in the JSON file are not made again: an interrupted measurement goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import environment
from rich.console import Console

import tinygrad_cnn as tg
from tinygrad_cnn.train import Config, RunFolder, train_run
from tinygrad_cnn.train.report.report import Report

ALGORITHMS = ("winograd", "auto", "direct")
MODEL = Path(__file__).parents[1] / "models" / "minivgg.py"


def rounding(algorithm: str) -> bytes:
    """Return the result of a fixed convolution, to tell algorithms apart by their last bits."""
    former = tg.set_conv_algorithm(algorithm)
    state = tg.get_rng_state()
    try:
        tg.manual_seed(0)
        x, w = tg.randn(8, 64, 16, 16), tg.randn(64, 64, 3, 3)
        return tg.nn.functional.conv2d(x, w, padding=1).numpy().tobytes()
    finally:
        tg.set_rng_state(state)
        tg.set_conv_algorithm(former)


class _Tested(Exception):
    """The result is there: nobody needs the pictures of the run."""


def run(config: Config, algorithm: str) -> dict[str, Any]:
    """Train once and return the accuracy on the test images, the seconds, and the losses."""

    def stop(report: Report) -> None:
        raise _Tested(report)

    former = tg.set_conv_algorithm(algorithm)
    start = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory() as folder:
            place = RunFolder.create(Path(folder) / "run", config)
            train_run(config, place, Console(file=io.StringIO()), quiet=True, show=stop)
    except _Tested as tested:
        (report,) = tested.args
    finally:
        tg.set_conv_algorithm(former)
    return {
        "algorithm": algorithm,
        "seed": config.seed,
        "accuracy": report.accuracy,
        "loss": report.loss,
        "seconds": time.perf_counter() - start,
    }


def summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return mean, standard deviation and range of the accuracies of each algorithm."""
    rows = []
    for algorithm in dict.fromkeys(r["algorithm"] for r in runs):
        values = [r["accuracy"] for r in runs if r["algorithm"] == algorithm]
        rows.append(
            {
                "algorithm": algorithm,
                "runs": len(values),
                "mean": statistics.fmean(values),
                "spread": statistics.stdev(values) if len(values) > 1 else math.nan,
                "lowest": min(values),
                "highest": max(values),
            }
        )
    return rows


def difference(rows: list[dict[str, Any]]) -> tuple[float, float]:
    """Return the first algorithm's mean less the last one's, and its standard error."""
    first, last = rows[0], rows[-1]
    error = math.sqrt(sum(row["spread"] ** 2 / row["runs"] for row in (first, last)))
    return first["mean"] - last["mean"], error


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--root", help="folder of the CIFAR-10 files; without, the built-in images")
    add("--model", default=str(MODEL), help="FILE.py[:Class]")
    add("--algorithms", nargs="+", choices=ALGORITHMS, default=["winograd", "direct"])
    add("--seeds", type=int, default=3, help="runs with each algorithm")
    add("--epochs", type=int, default=Config.epochs)
    add("--batch-size", type=int, default=Config.batch_size)
    add("--limit", type=int, help="training images to use, at most")
    add("--json", help="write all figures to this file, and go on from what it has")
    return parser.parse_args(arguments)


def read_runs(path: str | None, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the runs in a file that was written with the same settings."""
    if path is None or not Path(path).exists():
        return []
    kept = json.loads(Path(path).read_text(encoding="utf-8"))
    if kept["settings"] != settings:
        raise SystemExit(f"{path} has runs with other settings: name another file or remove it")
    runs: list[dict[str, Any]] = kept["runs"]
    return runs


def main(arguments: list[str] | None = None) -> None:
    """Make all runs, print how they end, and keep it."""
    args = parse(arguments)
    config = Config(
        model=args.model,
        data="cifar10" if args.root else "shapes",
        root=args.root or "data",
        epochs=args.epochs,
        batch_size=args.batch_size,
        limit=args.limit,
    )
    settings = dataclasses.asdict(config)
    settings = {k: v for k, v in settings.items() if k not in ("root", "seed", "workers")}
    settings["model"] = Path(args.model).name
    result: dict[str, Any] = {
        "kind": "convergence",
        "environment": environment.describe(),
        "settings": settings,
        "runs": read_runs(args.json, settings),
    }
    print(environment.sentence(result["environment"]))
    if len({rounding(a) for a in args.algorithms}) < len(set(args.algorithms) - {"auto"}):
        raise SystemExit(
            f"{' and '.join(args.algorithms)} give the same bits: there is nothing to compare"
        )
    done = {(r["algorithm"], r["seed"]) for r in result["runs"]}
    for seed in range(args.seeds):
        for algorithm in args.algorithms:
            if (algorithm, seed) in done:
                continue
            found = run(dataclasses.replace(config, seed=seed), algorithm)
            result["runs"].append(found)
            environment.write(args.json, result)
            print(
                f"  {algorithm:9} seed {seed}: {found['accuracy']:.2%} of the test images right, "
                f"{found['seconds']:.0f} s",
                flush=True,
            )
    environment.write(args.json, result)
    rows = summary([r for r in result["runs"] if r["algorithm"] in args.algorithms])
    for row in rows:
        print(
            f"{row['algorithm']:9} mean {row['mean']:.2%}, standard deviation {row['spread']:.2%}, "
            f"{row['lowest']:.2%} to {row['highest']:.2%} over {row['runs']} seeds"
        )
    if len(rows) > 1:
        apart, error = difference(rows)
        print(
            f"{rows[0]['algorithm']} less {rows[-1]['algorithm']}: {100 * apart:+.2f} points, "
            f"standard error {100 * error:.2f}"
        )


if __name__ == "__main__":
    main()
