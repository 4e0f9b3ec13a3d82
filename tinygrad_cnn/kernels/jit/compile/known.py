"""Which kernels will be needed next: after those of the same model's earlier runs.

The package has the signatures that its models need, in the order in which they need them
(``known.json``, by ``docs/make_kernels.py``); the folder above the cache's has those that this
user's processes have compiled, whatever the version. It is a guess: a wrong one costs time only.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

FILE = Path(__file__).with_name("known.json")
HISTORY = "history.txt"  # a line for each signature, beside the folders of machine code
MOST = 1000  # lines that count: the latest


@functools.cache
def runs(lanes: int) -> dict[str, list[str]]:
    """Return the signatures that each of the package's models needs, by the model's name, with
    vectors of so many numbers; if that is not known, of another number.
    """
    with suppress(OSError, ValueError):
        content = json.loads(FILE.read_text(encoding="utf-8"))
        found = {
            name: [content["kernels"][k] for k in order] for name, order in content["runs"].items()
        }
        right = {name: run for name, run in found.items() if name.endswith(f" {lanes}")}
        return right or found
    return {}


def every(lanes: int) -> list[str]:
    """Return all signatures that the package knows for such vectors."""
    return list(dict.fromkeys(signature for run in runs(lanes).values() for signature in run))


def history(folder: Path | None) -> list[str]:
    """Return what was compiled by this user's processes, given the cache folder, in order."""
    if folder:
        with suppress(OSError, UnicodeDecodeError):
            lines = (folder.parent / HISTORY).read_text(encoding="utf-8").splitlines()
            return list(dict.fromkeys(lines))[-MOST:]
    return []


def note(folder: Path | None, signature: str) -> None:
    """Add a signature to the history if it is not there yet."""
    there = history(folder)
    if folder and signature not in there:
        path = folder.parent / HISTORY
        with suppress(OSError):
            if len(there) == MOST and path.stat().st_size > 2 * sum(len(s) + 1 for s in there):
                path.unlink()
            with path.open("a", encoding="utf-8") as file:
                file.write(signature + "\n")  # in one piece


def forecast(
    met: Sequence[str], missing: str, runs: Sequence[Sequence[str]], history: Sequence[str]
) -> list[str]:
    """Return what will be needed after a signature, by a process that has met some, the next first.

    It is what follows in the run that has most of them, then what the user once needed.

    Examples
    --------
    >>> runs = ["abcde", "abxyz"]
    >>> "".join(forecast("a", "b", runs, history=""))
    'cde'
    >>> "".join(forecast("abx", "y", runs, history="pyq"))
    'zqp'
    >>> forecast("a", "unknown", runs, history="")
    []
    """
    have = {*met, missing}
    fitting = [run for run in runs if missing in run]
    best = max(fitting, key=lambda run: (len(have.intersection(run)), -len(run)), default=())
    after = [*best[best.index(missing) + 1 :], *best] if best else []
    if missing in history:
        after += [*history[history.index(missing) + 1 :], *history]
    return [signature for signature in dict.fromkeys(after) if signature not in have]
