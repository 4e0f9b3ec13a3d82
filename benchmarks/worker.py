"""One competitor in a process of its own, which does what it is told and otherwise sleeps.

Commands come as lines of JSON on standard input, and each is answered by one line on standard
output, so that whoever asks can let many workers take turns (`turns`). Whatever a framework prints
goes to standard error. Only NumPy and the one framework are imported.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

START = time.perf_counter()


def peak_rss() -> float | None:
    """Return the most memory, in MB, that this process has had; None where that is not known."""
    try:  # of this program alone, where getrusage counts what the process was before it as well
        with open("/proc/self/status", encoding="ascii") as status:
            lines = dict(line.split(":", 1) for line in status)
        return int(lines["VmHWM"].split()[0]) * 1024 / 1e6
    except (OSError, KeyError):
        pass
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


class Worker:
    """What the commands do; each returns its answer."""

    def __init__(self) -> None:
        self.contender: Any = None
        self.step: Any = None

    def open(self, competitor: str, threads: int | None = None) -> dict[str, Any]:
        """Become ``competitor``."""
        import competitors  # NumPy comes with it: not before its time is asked for

        self.contender = competitors.Contender(competitor, threads)
        return {"version": self.contender.version}

    def installed(self, module: str) -> dict[str, Any]:
        """Tell whether ``module`` could be imported."""
        from importlib.util import find_spec

        return {"installed": find_spec(module) is not None}

    def importing(self, module: str) -> dict[str, Any]:
        """Import ``module``, and nothing before: how long it takes, what memory is in use then."""
        start = time.perf_counter()
        __import__(module)
        return {"seconds": time.perf_counter() - start, "peak_rss_mb": peak_rss()}

    def size(self, distributions: list[str], extras: list[str]) -> dict[str, Any]:
        """Measure what is installed for ``distributions``."""
        import sizes

        return sizes.measure(distributions, extras)

    def network(self, name: str, batch: int, what: str, weights: str) -> dict[str, Any]:
        """Get ready for steps of a network, with the weights in a ``.npz`` file."""
        import numpy as np

        with np.load(weights) as file:
            state = dict(file)
        self.step, scores = self.contender.network(name, batch, what, state)
        return {"scores": np.asarray(scores).tolist()}

    def convolution(self, shape: dict[str, Any], what: str) -> dict[str, Any]:
        """Get ready for convolutions of one shape."""
        self.step = None  # the arrays of the last one
        self.step = self.contender.convolution(shape, what)
        return {}

    def layer(self, name: str, index: int, what: str) -> dict[str, Any]:
        """Get ready for calls of one layer."""
        import layers

        self.step = layers.step(self.contender.module, name, index, what)
        return {}

    def warm(self, steps: int) -> dict[str, Any]:
        """Do the first steps: the compiler's time, when the first was done, results that are
        numbers.
        """
        times, values = [], []
        for k in range(steps):
            start = time.perf_counter()
            value = self.step()
            times.append(time.perf_counter() - start)
            values.append(value if isinstance(value, float) else None)
            if k == 0:
                first = time.perf_counter() - START
        if self.contender.name == "numpy" and "tinygrad_cnn.kernels.jit" in sys.modules:
            raise RuntimeError("set_kernels('reference') was chosen, yet compiled kernels ran")
        return {"seconds": times, "values": values, "first_done": first}

    def run(self, steps: int, settle: bool) -> dict[str, Any]:
        """Time ``steps`` steps; before, one that only lets the others' threads fall asleep."""
        before = time.process_time()
        if settle:
            self.step()
        times = []
        for _ in range(steps):
            start = time.perf_counter()
            self.step()
            times.append(time.perf_counter() - start)
        return {"seconds": times, "processor": time.process_time() - before}

    def memory(self) -> dict[str, Any]:
        """Tell the most memory that has been in use so far."""
        return {"peak_rss_mb": peak_rss()}


COMMANDS = ("installed", "importing", "size", "open", "network", "convolution", "layer", "warm")
COMMANDS += ("run", "memory")


def main() -> None:
    """Answer commands until there are no more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        command = json.loads(line)
        do = command.pop("do")
        try:
            if do not in COMMANDS:
                raise ValueError(f"`do` is {do!r}, expected one of {', '.join(COMMANDS)}")
            answer = getattr(worker, do)(**command)
        except Exception as error:
            answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
