"""Training step and inference, ours and others', side by side and in turn in one run.

    python benchmarks/compare.py [--models minivgg ...] [--batch 1 64 256] [--what step inference]
                                 [--against torch jax ...] [--json out.json]

Every competitor has a process of its own, so that its memory is its own, and its threads; the
processes take turns (`turns`). All start from the same weights, and must give the same scores and,
where nothing is random, the same losses, or they are listed as computing something else. What is
not installed is listed with the command that installs it; ``--python jax=PATH`` lets one competitor
run in another environment. A step is forward pass, loss, backward pass and SGD with momentum and
weight decay, at a rate at which nothing is learnt, on random images (n, 3, 32, 32) in float32.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import environment
import networks
import numpy as np
from competitors import BASELINE, COMPETITORS, OURS
from turns import Remote, WorkerError, in_turn, quartiles

import tinygrad_cnn as tg

WHAT = {"step": "training step", "inference": "inference"}
WARM = 4  # steps before anything is timed: some frameworks compile at the second one, too
SAME = 1e-3  # relative to the largest score: rounding stays far below
SAME_LOSS = 2e-2  # rounding flips a few rectifiers and grows with every step


def save_weights(model: str, folder: Path) -> Path:
    """Write the weights that all competitors start from, and return the file."""
    path = folder / f"{model}.npz"
    if not path.exists():
        tg.manual_seed(0)
        state = networks.load(model, tg).state_dict()
        np.savez(path, **{key: value.numpy() for key, value in state.items()})
    return path


class Comparison:
    """The competitors of one run and where their interpreters are."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.pythons = dict(item.split("=", 1) for item in args.python)
        self.absent: dict[str, str] = {}
        self.names = [OURS]
        for name in args.against:
            if name not in self.names and self._installed(name):
                self.names.append(name)

    def worker(self, name: str) -> Remote:
        """Return a new process for a competitor."""
        return Remote(self.pythons.get(name), self.args.threads)

    def _installed(self, name: str) -> bool:
        with self.worker(name) as worker:
            if worker.ask("installed", module=COMPETITORS[name].module)["installed"]:
                return True
        self.absent[name] = COMPETITORS[name].install
        return False

    def imports(self) -> list[dict[str, Any]]:
        """Return import time, memory after importing, and size on disk of every framework."""
        rows: dict[str, list[Any]] = {n: [] for n in self.names if "-" not in n}
        for _ in range(self.args.imports):
            for name, seen in rows.items():
                with self.worker(name) as worker:
                    seen.append(worker.ask("importing", module=COMPETITORS[name].module))
        found = []
        for name, seen in rows.items():
            row: dict[str, Any] = {"competitor": name}
            row["seconds"] = quartiles([s["seconds"] for s in seen])
            row["rss_mb"] = max((s["peak_rss_mb"] or 0) for s in seen) or None
            extras = ["fast"] if name == OURS else []
            with self.worker(name) as worker:
                try:
                    size = worker.ask(
                        "size", distributions=COMPETITORS[name].on_disk, extras=extras
                    )
                    row["disk_mb"], row["parts"] = size["megabytes"], size["parts"]
                except WorkerError as error:
                    row["error"] = str(error)
            found.append(row)
        return found

    def cell(self, model: str, batch: int, what: str, weights: Path) -> dict[str, Any]:
        """Return what all competitors do with one network at one batch size."""
        results: dict[str, dict[str, Any]] = {}
        task = {"name": model, "batch": batch, "what": what, "weights": str(weights)}
        with ExitStack() as stack:
            workers: dict[str, Remote] = {}
            for name in self.names:
                if what == "step" and not COMPETITORS[name].trains:
                    continue
                try:
                    if COMPETITORS[name].keeps_code:  # compiles, and leaves that to the next
                        with self.worker(name) as first:
                            self._start(first, name, task)
                    worker = stack.enter_context(self.worker(name))
                    results[name] = self._start(worker, name, task)
                    workers[name] = worker
                except WorkerError as error:
                    results[name] = {"error": str(error)}
            for name in list(workers):
                wrong = difference(results[name], results.get(OURS, {}), model)
                if wrong:
                    results[name] = {"error": wrong}
                    workers.pop(name)
            turns = in_turn(
                workers,
                {name: results[name]["step"] for name in workers},
                rounds=self.args.rounds,
                burst=self.args.burst,
                budget=self.args.budget,
            )
            for name, worker in workers.items():
                times = turns.of(name) if name in turns.times else []
                if not times:
                    results[name] = {"error": "it ended while it was being timed"}
                    continue
                row = results[name]
                row["ms"] = [1e3 * q for q in quartiles(times)]
                row["rounds"] = len(times)
                if against := turns.ratios(name, BASELINE):
                    row["ratio"] = quartiles(against)
                row.update(worker.ask("memory"))
        for row in results.values():
            for key in ("scores", "values", "step"):
                row.pop(key, None)
        return {
            "model": model,
            "batch": batch,
            "what": what,
            "others": turns.others,
            "repeated": turns.repeated,
            "results": results,
        }

    def _start(self, worker: Remote, name: str, task: dict[str, Any]) -> dict[str, Any]:
        """Let a worker do its first steps and return what is known of it then."""
        opened = worker.ask("open", competitor=name, threads=self.args.threads)
        scores = worker.ask("network", **task)["scores"]
        warm = worker.ask("warm", steps=WARM)
        return {
            "version": opened["version"],
            "scores": scores,
            "values": warm["values"],
            "start_s": warm["first_done"],
            "step": min(warm["seconds"][2:]),
        }


def difference(row: dict[str, Any], ours: dict[str, Any], model: str) -> str:
    """Return how a competitor's results differ from ours, or nothing if they are the same."""
    if "scores" not in ours:
        return ""
    ours_scores = np.array(ours["scores"])
    apart = np.abs(np.array(row["scores"]) - ours_scores).max() / np.abs(ours_scores).max()
    if not apart < SAME:
        return f"computes something else: scores differ by {apart:.1e} of the largest"
    losses = [(a, b) for a, b in zip(row["values"], ours["values"], strict=True) if a is not None]
    if "Dropout" not in networks.source(model, "torch"):
        for k, (a, b) in enumerate(losses):
            if not abs(a - b) <= SAME_LOSS * max(abs(b), 1):
                return f"computes something else: loss {a:.4f} after {k} steps, ours {b:.4f}"
    return ""


def show_imports(rows: list[dict[str, Any]]) -> None:
    """Print import times and sizes."""
    print("import                         seconds   RSS MB  on disk MB")
    for row in rows:
        low, middle, high = row["seconds"]
        disk = f"{row['disk_mb']:9.0f}" if "disk_mb" in row else row.get("error", "")
        rss = f"{row['rss_mb']:6.0f}" if row["rss_mb"] else "     –"
        text = COMPETITORS[row["competitor"]].text
        print(f"  {text:28} {middle:7.3f}   {rss}   {disk}   ({low:.3f} to {high:.3f} s)")
    print(flush=True)


def show(cell: dict[str, Any]) -> None:
    """Print one comparison."""
    print(f"{cell['model']}, batch {cell['batch']}, {WHAT[cell['what']]}")
    for name, row in cell["results"].items():
        text = COMPETITORS[name].text
        if "error" in row:
            print(f"  {text:28} {row['error']}")
            continue
        ratio = ""
        if "ratio" in row:
            low, middle, high = row["ratio"]
            ratio = f"{middle:6.2f} × PyTorch eager ({low:.2f} to {high:.2f})"
        rss = f"{row['peak_rss_mb']:5.0f} MB" if row["peak_rss_mb"] else ""
        print(
            f"  {text:28} {row['ms'][1]:9.3f} ms {ratio:38} {rss:9} "
            f"first result after {row['start_s']:.1f} s"
        )
    if cell["others"] is not None and cell["others"] > environment.BUSY:
        print(f"  (other programs used {cell['others']:.1f} processors meanwhile: repeat this)")
    print(flush=True)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    others = [name for name in COMPETITORS if name != OURS]
    add = parser.add_argument
    add("--models", nargs="+", choices=[*networks.NETWORKS], default=[*networks.NETWORKS])
    add("--batch", nargs="+", type=int, default=[1, 64, 256], help="images in a batch")
    add("--against", nargs="*", choices=others, default=others, help="whom to compare with")
    add("--what", nargs="+", choices=[*WHAT], default=[*WHAT])
    add("--rounds", type=int, default=11, help="turns of each")
    add("--burst", type=float, default=0.2, help="seconds of a turn")
    add("--budget", type=float, default=20.0, help="seconds of one competitor in all its turns")
    add("--imports", type=int, default=5, help="times that each framework is imported; 0 for none")
    add("--threads", type=int, help="of everybody; without, each decides for itself")
    add(
        "--python",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="the interpreter of a competitor that is installed elsewhere",
    )
    add("--json", help="write all figures to this file")
    args = parser.parse_args(arguments)
    for item in args.python:
        if item.partition("=")[0] not in COMPETITORS:
            parser.error(f"--python {item}: expected NAME=PATH, NAME one of {', '.join(others)}")
    return args


def main(arguments: list[str] | None = None) -> None:
    """Run the comparison, print it, and keep it."""
    args = parse(arguments)
    comparison = Comparison(args)
    result: dict[str, Any] = {
        # a table of its own, in which nothing is left out that others disturbed
        "kind": "compiled" if "compiled" in comparison.names else "comparison",
        "environment": environment.describe(),
        "threads": args.threads,
        "rounds": args.rounds,
        "absent": comparison.absent,
        "imports": [],
        "cells": [],
    }
    print(environment.sentence(result["environment"]))
    for name, install in comparison.absent.items():
        print(f"  {COMPETITORS[name].text}: not installed: {install}")
    print(flush=True)
    if args.imports:
        result["imports"] = comparison.imports()
        show_imports(result["imports"])
    with tempfile.TemporaryDirectory() as folder:
        for model in args.models:
            weights = save_weights(model, Path(folder))
            for what in args.what:
                for batch in args.batch:
                    result["cells"].append(comparison.cell(model, batch, what, weights))
                    show(result["cells"][-1])
                    environment.write(args.json, result)
    environment.write(args.json, result)


if __name__ == "__main__":
    main()
