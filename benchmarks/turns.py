"""Workers that take turns: short bursts, one after the other, while all others sleep.

Absolute times drift on shared machines by tens of percent; the ratio of two neighbouring bursts
does not. So everything is measured in rounds, ratios are taken within a round, and what is
reported is their median and quartiles.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import environment
import numpy as np

WORKER = Path(__file__).with_name("worker.py")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
MOST_STEPS = 200  # in a burst
LEAST_ROUNDS = 3
CALM = 1 / 6  # processors that others may use meanwhile
LEAST_WALL = 0.3  # seconds of a round that the system's clock ticks can tell anything about
LONG = 0.3  # seconds of a step beyond which none is spent on settling


class WorkerError(RuntimeError):
    """A worker answered with an error, or ended."""


class Remote:
    """A worker process, from the side of the one who asks; a context that ends it.

    ``tree`` is the folder of the package and of the worker, if they are not those of this file.
    """

    def __init__(
        self, python: str | None = None, threads: int | None = None, tree: Path | None = None
    ) -> None:
        environment = dict(os.environ)
        program = WORKER if tree is None else tree / WORKER.relative_to(WORKER.parents[1])
        root = str(program.parents[1])
        environment["PYTHONPATH"] = os.pathsep.join(
            p for p in (root, os.environ.get("PYTHONPATH")) if p
        )
        if threads is not None:
            environment.update(dict.fromkeys(THREADS, str(threads)))
        self.process = subprocess.Popen(
            [python or sys.executable, str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send a command and wait for its answer.

        Raises
        ------
        WorkerError
            The worker could not do it, or is no more.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self.process.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise WorkerError(f"{do}: the process has ended") from None
        line = self.process.stdout.readline()
        if not line:
            raise WorkerError(f"{do}: the process ended with status {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{do}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the process."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:  # something was left unsent
                    pass

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@dataclass
class Turns:
    """What was timed: median steps in seconds by name and round, None where one sat out.

    ``others`` is how many processors other programs used meanwhile (None where that cannot be
    told), ``repeated`` how many rounds were thrown away for it.
    """

    times: dict[str, list[float | None]]
    others: float | None
    repeated: int

    def of(self, name: str) -> list[float]:
        """Return the times of one competitor."""
        return [t for t in self.times[name] if t is not None]

    def ratios(self, name: str, base: str) -> list[float]:
        """Return the ratio of every round in which both took part."""
        pairs = zip(self.times[name], self.times.get(base, []), strict=False)
        return [a / b for a, b in pairs if a is not None and b is not None]


def _round(plan: dict[str, tuple[Remote, int, bool]]) -> tuple[dict[str, float], float, float]:
    """Let everybody in the plan run once: median steps, seconds in all, seconds of others' work."""
    before, start, own = environment.busy(), time.perf_counter(), 0.0
    times = {}
    for name, (worker, count, settle) in plan.items():
        try:
            answer = worker.ask("run", steps=count, settle=settle)
        except WorkerError:
            continue
        times[name] = float(np.median(answer["seconds"]))
        own += answer["processor"]
    wall, after = time.perf_counter() - start, environment.busy()
    strange = 0.0 if before is None or after is None else max(0.0, after - before - own)
    return times, wall, strange


def in_turn(
    workers: dict[str, Remote],
    step: dict[str, float],
    *,
    rounds: int,
    burst: float,
    budget: float = float("inf"),
    patience: int = 2,
) -> Turns:
    """Time all workers in turn.

    ``step`` has the seconds that a step takes about, ``burst`` is for how many seconds each runs
    in a round. Whoever would need more than ``budget`` seconds in all takes part in fewer rounds
    (the first, and at least 3); whoever fails takes part no more. A round in which other programs
    used more than a sixth of a processor is done again, up to ``patience`` times as many rounds in
    all: one busy thread elsewhere makes threads wait for each other for many milliseconds. Where
    even then somebody took part in fewer than 3 calm rounds, all count.
    """
    settings = {}
    for name in workers:
        count = int(min(MOST_STEPS, max(1, round(burst / max(step[name], 1e-7)))))
        settle = step[name] < LONG
        turn = step[name] * (count + settle)
        settings[name] = count, settle, int(min(rounds, max(LEAST_ROUNDS, budget / turn)))
    done: list[tuple[dict[str, float], bool]] = []
    failed: set[str] = set()
    calm = 0
    total = strange_total = 0.0
    while calm < rounds and len(done) < rounds * patience:
        plan = {
            name: (worker, *settings[name][:2])
            for name, worker in workers.items()
            if name not in failed
            and calm < settings[name][2]
            and len(done) < settings[name][2] * patience
        }
        if not plan:
            break
        times, wall, strange = _round(plan)
        failed |= set(plan) - set(times)
        is_calm = wall < LEAST_WALL or strange < CALM * wall
        calm += is_calm
        done.append((times, is_calm))
        total, strange_total = total + wall, strange_total + strange
    going = [name for name in workers if name not in failed]
    kept = [times for times, is_calm in done if is_calm]
    if any(sum(name in t for t in kept) < min(LEAST_ROUNDS, rounds) for name in going):
        kept = [times for times, _ in done]
    return Turns(
        {name: [times.get(name) for times in kept] for name in going},
        strange_total / total if total and environment.busy() is not None else None,
        len(done) - len(kept),
    )


def median_seconds(run: Callable[[], object], repeats: int) -> float:
    """Return the median time of `repeats` calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def quartiles(values: Sequence[float]) -> list[float]:
    """Return lower quartile, median and upper quartile.

    >>> quartiles([3, 1, 2])
    [1.5, 2.0, 2.5]
    """
    return [float(q) for q in np.quantile(values, (0.25, 0.5, 0.75))]
