"""Write the lists of names that follow from `tinygrad_cnn.functions.export`.

python docs/make_exports.py

They are files of Python that people and type checkers read: `tinygrad_cnn/functions/__init__.py`,
`tinygrad_cnn/functions/methods.py`, `tinygrad_cnn/functions/with_out.py`,
`tinygrad_cnn/nn/functional.py`, and parts of `tinygrad_cnn/__init__.py` and
`tinygrad_cnn/nn/__init__.py`: for that, every class in `nn/layers/` whose file is not in `BASES`.
``tests/test_exports.py`` compares them.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "tinygrad_cnn"
FUNCTIONS = PACKAGE / "functions"
HEAD = "# Written by docs/make_exports.py. To add a name, see `export` beside its function.\n"
VERSION = frozenset(["__version__"])
BASES = ("checks", "function_layer", "reset")
BEGIN, END = "# -- written by docs/make_exports.py --\n", "# -- end --\n"


def families() -> list[str]:
    """The modules of functions/ that export something."""
    says = re.compile(r"^@export\(|= (unary|_in_place|_copied)\(", re.MULTILINE)
    return [p.stem for p in sorted(FUNCTIONS.glob("*.py")) if says.search(p.read_text("utf-8"))]


def packed(names: Iterable[str], indent: str = "    ") -> str:
    """Names in lines of 100 characters."""
    return textwrap.fill(
        ", ".join(names) + ",", 100, initial_indent=indent, subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def listed(names: Iterable[str], name: str = "__all__") -> str:
    """A list of strings."""
    return f"{name} = [\n" + packed(f'"{n}"' for n in sorted(names, key=order)) + "\n]\n"


def order(name: str) -> tuple[bool, bool, list[tuple[int, str]]]:
    """Names in capitals, classes, functions, as ruff sorts; and numbers as people count."""
    parts = re.findall(r"(\d+)|(\D+)", name)
    return (
        not name.isupper(),
        not name[0].isupper(),
        [(int(digits or 0), text) for digits, text in parts],
    )


def imported(module: str, names: Iterable[str]) -> str:
    """An import statement."""
    line = f"from {module} import {', '.join(sorted(names))}\n"
    if len(line) <= 101:
        return line
    return f"from {module} import (\n" + packed(sorted(names)) + "\n)\n"


def files() -> dict[Path, str]:
    """Every file with what should be in it."""
    modules = [import_module(f"tinygrad_cnn.functions.{family}") for family in families()]
    from tinygrad_cnn.functions.export import EXPORTS
    from tinygrad_cnn.functions.out import NAMES

    exports = sorted(EXPORTS.values(), key=lambda e: e.names[0])
    place = {
        name: module.__name__
        for module in modules
        for name in names_of(Path(str(module.__file__)).read_text(encoding="utf-8"), imports=False)
        if name in EXPORTS and vars(module)[name] is EXPORTS[name].function
    }
    aliases = [(a, e.names[0]) for e in exports for a in e.aliases]
    every = [n for e in exports for n in e.names]

    text = '"""The public functions, with PyTorch\'s names and arguments, each written once."""\n\n'
    text += HEAD + "# fmt: off\n# isort: off\n"
    for module in sorted(set(place.values())):
        text += imported(module, [n for n, m in place.items() if m == module])
    text += "\n" + "".join(f"{a} = {n}\n" for a, n in aliases)
    out = {FUNCTIONS / "__init__.py": f"{text}\n{listed(every)}"}

    text = '"""The public functions as methods of `Tensor`."""\n\n' + HEAD
    text += (
        "\nfrom tinygrad_cnn import functions as f\n"
        "from tinygrad_cnn.autograd.variable import Variable\n"
        "from tinygrad_cnn.functions.inplace import in_place, view_in_place\n\n\n"
        'class Methods(Variable):\n    """Every function of one tensor and more."""\n\n'
        "    __slots__ = ()\n\n"
    )
    for e in exports:
        if e.method:
            names = [e.method] if isinstance(e.method, str) else e.names
            text += f"    {' = '.join(names)} = f.{e.names[0]}\n"
    text += "\n"
    for e in exports:
        if e.inplace:
            kind = "view_in_place" if e.inplace == "view" else "in_place"
            text += f"    {' = '.join(n + '_' for n in e.names)} = {kind}(f.{e.names[0]})\n"
    out[FUNCTIONS / "methods.py"] = text

    with_out = [e for e in exports if e.names[0] in NAMES]
    text = '"""The public functions that take ``out``, with it."""\n\n'
    text += HEAD.replace("`export` beside its function", "`functions/out.py`") + (
        "\nfrom tinygrad_cnn import functions as f\n"
        "from tinygrad_cnn.functions.out import taking_out\n\n"
    )
    for e in with_out:
        text += f"{' = '.join(e.names)} = taking_out(f.{e.names[0]})\n"
    out[FUNCTIONS / "with_out.py"] = text

    names = [e.names[0] for e in exports if e.nn]
    text = '"""Functions under the names of ``torch.nn.functional``."""\n\n' + HEAD
    text += "# fmt: off\n# isort: off\n" + imported("tinygrad_cnn.functions", names)
    out[PACKAGE / "nn/functional.py"] = f"{text}\n{listed(names)}"

    layers = {
        f"tinygrad_cnn.nn.layers.{p.stem}": sorted(classes_of(p.read_text(encoding="utf-8")))
        for p in sorted((PACKAGE / "nn/layers").glob("*.py"))
        if p.stem not in BASES
    }
    made = "".join(imported(module, names) for module, names in layers.items() if names)
    path = PACKAGE / "nn/__init__.py"
    out[path] = between(path, made, [n for names in layers.values() for n in names], VERSION)

    top = [n for e in exports if e.top for n in e.names]
    writing = {n for e in with_out for n in e.names}
    made = imported("tinygrad_cnn.functions", [n for n in top if n not in writing])
    made += imported("tinygrad_cnn.functions.with_out", [n for n in top if n in writing])
    path = PACKAGE / "__init__.py"
    out[path] = between(path, made, top)
    return out


def between(path: Path, made: str, names: list[str], unlisted: frozenset[str] = frozenset()) -> str:
    """The file with new imports between the marks, and the list of all its names."""
    before, rest = path.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    whole = listed({*names, *names_of(before + after)} - unlisted)
    made = f"# fmt: off\n# isort: off\n{made}\n{whole}# isort: on\n# fmt: on\n"
    return before + BEGIN + made + END + after


def classes_of(source: str) -> set[str]:
    """The public classes that a module makes."""
    nodes = ast.parse(source).body
    return {n.name for n in nodes if isinstance(n, ast.ClassDef) and n.name[0] != "_"}


def names_of(source: str, *, imports: bool = True) -> set[str]:
    """The public names that a module's own statements give it."""
    found = {"__version__"} if imports else set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and imports:
            found |= {a.asname or a.name for a in node.names}
        elif isinstance(node, ast.Assign):
            found |= {t.id for t in node.targets if isinstance(t, ast.Name)}
        elif isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.If):
            found |= names_of("\n".join(ast.unparse(n) for n in node.body))
    return {n for n in found if not n.startswith("_") or n == "__version__"}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
