"""Run one of the recipes in examples/ on PyTorch: the same file with its imports changed.

    python benchmarks/recipe_on_pytorch.py train_cifar10 --root data --epochs 30
    python benchmarks/recipe_on_pytorch.py cifar10_fast --root data

What comes after the recipe's name are its own arguments. The images come from the same loader, in
the same order with the same augmentation; model, loss, gradients, optimiser and schedule are
PyTorch's (`pip install torch==2.13.0`). The first weights are drawn by PyTorch.
"""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMPORTS = re.compile(r"^(from|import) tinygrad_cnn(\S*)( .*)$", re.MULTILINE)


def on_pytorch(path: Path) -> str:
    """The source of ``path`` with its imports changed: all but ``data`` comes from torch."""

    def changed(found: re.Match[str]) -> str:
        kind, module, rest = found.groups()
        if kind == "import" or module:
            return f"{kind} torch{module}{rest}"
        names = [name.strip() for name in rest.removeprefix(" import ").split(",")]
        lines = ["from tinygrad_cnn import data"] if "data" in names else []
        others = [name for name in names if name != "data"]
        return "\n".join([*lines, f"from torch import {', '.join(others)}"])

    return IMPORTS.sub(changed, path.read_text(encoding="utf-8"))


def main() -> None:
    """Run the recipe."""
    if len(sys.argv) < 2 or not (ROOT / "examples" / f"{sys.argv[1]}.py").is_file():
        sys.exit(__doc__)
    recipe = ROOT / "examples" / f"{sys.argv[1]}.py"
    for path in (ROOT / "models").glob("*.py"):
        module = types.ModuleType(path.stem)
        exec(compile(on_pytorch(path), path, "exec"), module.__dict__)
        sys.modules[path.stem] = module  # found before the folder that the recipe adds
    sys.argv = [str(recipe), *sys.argv[2:]]
    space = {"__name__": "__main__", "__file__": str(recipe)}
    exec(compile(on_pytorch(recipe), recipe, "exec"), space)


if __name__ == "__main__":
    main()
