"""How much disk space a framework takes, with everything that it needs to be imported."""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
OURS = "tinygrad-cnn"


def _requirements() -> Any:
    """Return the class that reads requirements: `packaging`, which pip brings along if need be."""
    for name in ("packaging.requirements", "pip._vendor.packaging.requirements"):
        try:
            return importlib.import_module(name).Requirement
        except ImportError:
            continue
    raise ImportError("packaging is not installed: pip install packaging")


def _needed(found: Distribution | None, extras: Iterable[str]) -> list[tuple[str, set[str]]]:
    """Return the names and extras that a distribution requires here; ours from pyproject.toml."""
    if found is None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        texts = list(project["dependencies"])
        for extra in extras:
            texts += project["optional-dependencies"].get(extra, [])
    else:
        texts = found.requires or []
    requirement = _requirements()
    needed = [requirement(text) for text in texts]
    return [
        (r.name, set(r.extras))
        for r in needed
        if r.marker is None or any(r.marker.evaluate({"extra": e}) for e in ("", *extras))
    ]


def _on_disk(found: Distribution | None) -> int:
    """Return the bytes of a distribution's files, without byte code; ours are those in here."""
    if found is None:
        files: Iterable[Path] = (ROOT / "tinygrad_cnn").rglob("*")
    else:
        files = (Path(str(file.locate())) for file in found.files or ())
    return sum(p.stat().st_size for p in files if p.suffix != ".pyc" and p.is_file())


def measure(distributions: list[str], extras: list[str]) -> dict[str, Any]:
    """Return the megabytes of ``distributions`` and all that they require, and of each part.

    ``extras`` are those of this package, whose own requirements come from pyproject.toml.
    """
    sizes: dict[str, float] = {}
    todo = [(name, set(extras) if name == OURS else set()) for name in distributions]
    while todo:
        name, wanted = todo.pop()
        key = name.lower().replace("_", "-")
        if key in sizes:
            continue
        try:
            found = None if key == OURS else distribution(name)
        except PackageNotFoundError:  # optional after all
            continue
        sizes[key] = _on_disk(found) / 1e6
        todo += _needed(found, wanted)
    return {"megabytes": sum(sizes.values()), "parts": sizes}
