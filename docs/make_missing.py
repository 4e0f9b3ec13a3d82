"""Write tinygrad_cnn/missing/names.py: PyTorch's public names that are not here, place by place.

python docs/make_missing.py    # needs PyTorch: pip install torch==2.13.0
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from tinygrad_cnn import torch_names
from tinygrad_cnn.missing.attributes import PLACES, TENSOR

FILE = Path(__file__).parents[1] / "tinygrad_cnn/missing/names.py"
HEAD = '''"""PyTorch 2.13's public names that are not here; written by `docs/make_missing.py`."""

'''


def public(place: Any) -> Iterator[str]:
    """The public names of a module or class of PyTorch's: those it lists, or its own; modules."""
    listed = set(getattr(place, "__all__", ()))
    for name in sorted({*listed, *dir(place)}):
        value = getattr(place, name, None)
        if isinstance(value, ModuleType):
            own = value.__name__ == f"{place.__name__}.{name}"
        else:
            home = getattr(value, "__module__", None)
            own = not listed and (not isinstance(home, str) or home.startswith("torch"))
        if name[:1] != "_" and (own or name in listed):
            yield name


def missing(place: str) -> list[str]:
    """The names of a place, such as ``nn`` or ``Tensor``, that PyTorch has and we have not."""
    dotted = f"torch.{place}" if place else "torch"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that are deprecated
        theirs = list(public(torch_names.find(dotted, "torch")))
        return [name for name in theirs if not torch_names.has(f"{dotted}.{name}")]


def text() -> str:
    """The file."""
    found = {place: missing(place) for place in PLACES}
    out = HEAD + f'TENSOR_NAMES = """\n{_lines(missing(TENSOR))}\n"""\n\n'
    out += "MODULE_NAMES = {\n"
    for place, names in found.items():
        if names:
            out += f'    "{place}": """\n{_lines(names)}\n""",\n'
    return out + "}\n"


def _lines(names: list[str]) -> str:
    return textwrap.fill(" ".join(names), 99, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
