"""The floors: a file imports only from floors below its own (or from its own folder)."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tinygrad_cnn"
ROOT = PACKAGE.parent


def _floors() -> dict[str, int]:
    """The table in CONTRIBUTING.md: each unit's floor."""
    floors = {}
    for floor, units in re.findall(
        r"^\| (\d|–) \| (.*?) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE
    ):
        for unit in re.findall(r"`([^`]+)`", units):
            name = unit.removesuffix("/").removesuffix(".py").replace("/", ".")
            floors[name] = -1 if floor == "–" else int(floor)
    return floors


FLOORS = _floors()
FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def _module(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(p for p in parts if p != "__init__")


def _place(module: str) -> tuple[int, str] | None:
    """The floor and the unit a module belongs to; None for the package itself."""
    name = module.removeprefix("tinygrad_cnn").lstrip(".")
    for unit in sorted(FLOORS, key=len, reverse=True):
        if name == unit or name.startswith(unit + "."):
            return FLOORS[unit], unit
    if not name:
        return None
    raise AssertionError(f"{module} stands on no floor")


def _imports(tree: ast.Module, module: str, is_package: bool) -> list[tuple[int, str]]:
    """Modules of this package imported at run time, with their lines."""
    typing_only = {
        id(n)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for n in ast.walk(block)
    }
    out = []
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            out += [(node.lineno, a.name) for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = module.split(".")[: len(module.split(".")) - node.level + is_package]
                base = ".".join([*up, *([base] if base else [])])
            for a in node.names:
                full = f"{base}.{a.name}"
                known = PACKAGE.parent / Path(*full.split("."))
                exists = known.with_suffix(".py").exists() or (known / "__init__.py").exists()
                out.append((node.lineno, full if exists else base))
    return [(line, m) for line, m in out if m.split(".")[0] == "tinygrad_cnn"]


@pytest.mark.parametrize("path", FILES, ids=_module)
def test_imports_go_down(path: Path) -> None:
    module = _module(path)
    place = _place(module)
    assert place is not None
    floor, unit = place
    for line, target in _imports(ast.parse(path.read_text()), module, path.name == "__init__.py"):
        there = _place(target)
        assert there is not None, f"{module}:{line} imports the whole package"
        one = {"functions", "tensor"}, {"version", "_version"}  # several files, one unit
        same = there[1] == unit or {unit, there[1]} in one
        assert same or there[0] < floor, (
            f"{module}:{line} (floor {floor}) imports {target} (floor {there[0]})"
        )


@pytest.mark.parametrize("path", [p for p in FILES if p.name == "__init__.py"], ids=_module)
def test_every_folder_says_why_it_exists(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text()))
    assert text


@pytest.mark.parametrize("path", FILES, ids=_module)
def test_every_name_is_imported_by_name(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not [
        n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.names[0].name == "*"
    ]


def test_functional_is_below_the_modules() -> None:
    path = PACKAGE / "nn/functional.py"
    found = _imports(ast.parse(path.read_text()), "tinygrad_cnn.nn.functional", False)
    assert [target for _, target in found] == ["tinygrad_cnn.functions"] * len(found) != []


def test_models_and_examples_use_public_names_only() -> None:
    for folder in ("models", "examples"):
        for path in (PACKAGE.parent / folder).glob("*.py"):
            for line, target in _imports(ast.parse(path.read_text()), folder, False):
                assert not any(p.startswith("_") for p in target.split(".")), f"{path.name}:{line}"
