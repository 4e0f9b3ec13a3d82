"""One training step, ours and PyTorch eager's: `compare` with nothing else.

python benchmarks/training_step.py [--model minivgg] [--batch 64] [--rounds 15]
"""

from __future__ import annotations

import argparse

import compare
import networks


def main(arguments: list[str] | None = None) -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", choices=[*networks.NETWORKS], default="minivgg")
    parser.add_argument("--batch", default="64", help="images in a batch")
    parser.add_argument("--rounds", default="15", help="turns of each")
    parser.add_argument("--against", nargs="*", default=["torch"], help="as for compare.py")
    parser.add_argument("--threads", help="of both; without, each decides for itself")
    args = parser.parse_args(arguments)
    threads = ["--threads", args.threads] if args.threads else []
    options = [*threads, "--models", args.model, "--batch", args.batch, "--rounds", args.rounds]
    compare.main([*options, "--what", "step", "--imports", "0", "--against", *args.against])


if __name__ == "__main__":
    main()
