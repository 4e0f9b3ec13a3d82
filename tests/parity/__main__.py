"""What agrees with PyTorch, and what not.

``python -m tests.parity [NAME …] [--all] [--exact] [--most N] [--kind KIND …]``

NAMEs are prefixes of PyTorch's names (``nn.functional.conv``). Without ``--all`` at most 6 samples
of each kind are taken of an operator, evenly.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # `parity`, as in the tests

from parity.kinds import KINDS
from parity.opdb import results


def main() -> int:
    """Print the table; the exit status says whether anything differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__)
    parser.add_argument("names", nargs="*", help="prefixes of names; all operators without any")
    parser.add_argument("--all", action="store_true", help="all samples of each operator")
    parser.add_argument("--exact", action="store_true", help="names are whole, not prefixes")
    parser.add_argument("--most", type=int, default=6, help="samples of an operator (6)")
    parser.add_argument("--kind", nargs="*", choices=[*KINDS], default=[*KINDS], help="all without")
    given = parser.parse_args()
    names = tuple(given.names)

    def match(name: str) -> bool:
        return not names or (name in names if given.exact else name.startswith(names))

    missing: dict[str, list[str]] = {kind: [] for kind in given.kind}
    counts = {kind: [0, 0, 0] for kind in given.kind}
    with np.errstate(all="ignore"):
        for result in results(match, None if given.all else given.most, given.kind):
            if result.missing:
                missing[result.kind].append(result.name)
                continue
            differ = bool(result.differ)
            more = (bool(result.samples) and not differ, result.agreed, result.samples)
            counts[result.kind] = [a + b for a, b in zip(counts[result.kind], more, strict=True)]
            if differ:
                agreed = f"{result.agreed} of {result.samples} agree"
                print(f"{result.name} ({result.kind}): {agreed}", flush=True)
            for why in result.differ[:3]:
                print("   ", " ".join(why.split())[:300])
    for kind, found in missing.items():
        whole, agreed, samples = counts[kind]
        print(f"{kind}: {whole} operators agree; {agreed} of {samples} samples agree")
        print(f"    missing ({len(found)}): {', '.join(found)}")
    return any(agreed < samples for _, agreed, samples in counts.values())


if __name__ == "__main__":
    raise SystemExit(main())
