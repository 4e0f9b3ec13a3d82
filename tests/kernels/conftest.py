"""Fixtures of the tests that compile kernels of their own (`building`)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from building import SOURCE

from tinygrad_cnn.kernels.jit.compile import build, linker


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder of the test's own."""
    monkeypatch.setattr(build, "user_cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(linker, "_broken", set())
    build.cache_folder.cache_clear()
    yield tmp_path / "cache"
    build.cache_folder.cache_clear()


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that imports kernels anew, as another process would."""
    (tmp_path / "some_kernels.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)

    def fresh() -> Any:
        sys.modules.pop("some_kernels", None)
        return importlib.import_module("some_kernels").add_doubles

    yield fresh
    sys.modules.pop("some_kernels", None)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is compiled during the test."""
    from tinygrad_cnn.kernels.jit.compile import numba_lowering as compiling

    names: list[str] = []
    true = compiling.compile_entry

    def spy(kernel: Any, *args: Any) -> bytes:
        names.append(kernel.__name__)
        return true(kernel, *args)

    monkeypatch.setattr(compiling, "compile_entry", spy)
    return names
