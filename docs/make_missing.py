"""Write which of PyTorch's public names are not here, place by place, for programs and for people.

python docs/make_missing.py [--check]    # needs PyTorch: pip install torch==2.13.0

It writes tinygrad_cnn/missing/names.py, and docs/from_pytorch.md with what docs/parity.md says of
operators.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from tinygrad_cnn import torch_names
from tinygrad_cnn.missing.attributes import PLACES, TENSOR
from tinygrad_cnn.missing.instead import SENTENCES

PAGE = Path(__file__).with_name("from_pytorch.md")
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


def names_of(place: str) -> list[str]:
    """PyTorch's public names in a place, such as ``nn`` or ``Tensor``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that are deprecated
        return list(public(torch_names.find(_dotted(place), "torch")))


def missing(place: str) -> list[str]:
    """Those that we have not."""
    return [name for name in names_of(place) if not torch_names.has(f"{_dotted(place)}.{name}")]


def _dotted(place: str) -> str:
    return f"torch.{place}" if place else "torch"


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


# ---- the page ----------------------------------------------------------------------------------

TOP = """# The same, different, missing

What a user of PyTorch 2.13 finds here. `python docs/make_missing.py` writes this page, by PyTorch's
lists of names and by what running its own operator samples gave ([parity.md](parity.md)).
`python -m tinygrad_cnn.torch_names NAME …` says whether a name is here, and who asks for one that
is not gets an error that names the nearest.

## The same

A script for PyTorch runs with its imports changed: `import tinygrad_cnn as torch`, `from
tinygrad_cnn import nn`. Names, arguments, defaults, dtypes, promotion, views, hooks, `state_dict`
keys, printing and errors' classes are PyTorch's.

"""


def parity() -> Any:
    """What docs/parity.md says."""
    path = Path(__file__).with_name("make_parity.py")
    spec = importlib.util.spec_from_file_location("make_parity", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.written(path.with_name("parity.md").read_text(encoding="utf-8"))


def page() -> str:
    """docs/from_pytorch.md."""
    out = TOP + "| place | PyTorch's public names | here | missing |\n|---|---|---|---|\n"
    absent: list[str] = []
    for place in (*PLACES, TENSOR):
        names, gone = names_of(place), missing(place)
        absent += [f"{place}.{name}" if place else name for name in gone]
        counts = f"{len(names)} | {len(names) - len(gone)} | {len(gone)}"
        out += f"| `{_dotted(place)}` | {counts} |\n"
    rows = parity()
    present = [row for row in rows.rows.values() if row]
    agreed, samples = (sum(cell[i] for row in present for cell in row.values()) for i in (0, 1))
    out += (
        f"\nOf {len(rows.rows)} operators in PyTorch's own tests {len(present)} are here, and "
        f"{agreed:,} of {samples:,} samples of\ntheir arguments agree: values, gradients, dtypes, "
        "layouts, `out=`, errors.\n\n## Different, and why\n\n[differences.md](differences.md) "
        "has everything that differs on purpose. In these operators' samples it is:\n\n"
        "| why | operators |\n|---|---|\n"
    )
    whys: dict[str, set[str]] = {}
    for (_, why), counts in rows.whys.items():
        whys.setdefault(why, set()).update(name for name, n in counts.items() if n)
    for why, names in sorted(whys.items()):
        if names:
            some = ", ".join(f"`{n}`" for n in sorted(names)[:6])
            more = f" and {len(names) - 6} more" if len(names) > 6 else ""
            out += f"| {why} | {some}{more} |\n"
    out += "\n## Missing\n\n"
    groups: dict[str, list[str]] = {}
    for name in absent:
        said = (sentence for pattern, sentence in SENTENCES if re.search(pattern, name))
        groups.setdefault(next(said, ""), []).append(name)
    out += "| what there is | missing |\n|---|---|\n"
    for sentence, names in sorted(groups.items()):
        if sentence:
            out += f"| {sentence} | {', '.join(f'`{n}`' for n in names)} |\n"
    rest = ", ".join(f"`{n}`" for n in groups.get("", []))
    return out + f"\nAnd, for no such reason:\n\n{_lines([rest])}\n"


if __name__ == "__main__":
    for path, made in ((FILE, text()), (PAGE, page())):
        if "--check" not in sys.argv:
            path.write_text(made, encoding="utf-8")
        elif path.read_text(encoding="utf-8") != made:
            sys.exit(f"{path.name} is not up to date, run: python docs/make_missing.py")
