"""What agrees with PyTorch, and what not.

``python -m tests.parity [NAME …] [--all] [--exact] [--most N] [--complex]``

NAMEs are prefixes of PyTorch's names (``nn.functional.conv``). Without ``--all`` at most 6 samples
of an operator are taken, evenly.
"""

from __future__ import annotations

import argparse

from tests.parity.opdb import results


def main() -> int:
    """Print the table; the exit status says whether anything differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__)
    parser.add_argument("names", nargs="*", help="prefixes of names; all operators without any")
    parser.add_argument("--all", action="store_true", help="all samples of each operator")
    parser.add_argument("--exact", action="store_true", help="names are whole, not prefixes")
    parser.add_argument("--most", type=int, default=6, help="samples of an operator (6)")
    parser.add_argument("--complex", action="store_true", help="samples of complex numbers")
    given = parser.parse_args()
    names = tuple(given.names)

    def match(name: str) -> bool:
        return not names or (name in names if given.exact else name.startswith(names))

    missing, differ, whole, samples, agreed = [], [], 0, 0, 0
    for result in results(match, None if given.all else given.most, given.complex):
        if result.missing:
            missing.append(result.name)
            continue
        samples += result.samples
        agreed += result.agreed
        whole += not result.differ
        if result.differ:
            differ.append(result.name)
            print(f"{result.name}: {result.agreed} of {result.samples} agree")
            for why in result.differ[:3]:
                print("   ", " ".join(why.split())[:300])
    print(f"missing ({len(missing)}): {', '.join(missing)}")
    print(f"{whole} operators agree, {len(differ)} differ; {agreed} of {samples} samples agree")
    return bool(differ)


if __name__ == "__main__":
    raise SystemExit(main())
