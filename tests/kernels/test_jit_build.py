"""Compiling happens at the first call, once for all processes; a broken cache costs time only."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

numba = pytest.importorskip(
    "numba", reason="Numba is not installed: pip install 'tinygrad-cnn[fast]'"
)

from tinygrad_cnn.kernels.jit import build  # noqa: E402

SOURCE = """
import numba
from tinygrad_cnn.kernels.jit.build import kernel

@kernel(inline=True)
def doubled(value):
    return value * 2

@kernel(parallel=True)
def add_doubles(x, out, parts):
    for part in numba.prange(parts):
        for i in range(x.size * part // parts, x.size * (part + 1) // parts):
            out[i] += doubled(x[i])
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder of the test's own."""
    monkeypatch.setattr(build, "user_cache_folder", lambda: tmp_path / "cache")
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


def works(kernel: Any) -> tuple[int, int]:
    """Check the kernel's result; return how many times the cache had it and had it not."""
    out = np.ones(7, np.float32)
    kernel(np.arange(7, dtype=np.float32), out, 3)
    np.testing.assert_array_equal(out, 1 + 2 * np.arange(7))
    stats = kernel.stats
    return sum(stats.cache_hits.values()), sum(stats.cache_misses.values())


def test_the_second_process_finds_machine_code(load: Any, cache: Path) -> None:
    assert works(load()) == (0, 1)
    assert list(cache.rglob("*add_doubles*.nbc"))
    assert works(load()) == (1, 0)


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("content", [b"", b"not a cache", None])
def test_a_broken_cache_is_ignored(
    load: Any, cache: Path, suffix: str, content: bytes | None
) -> None:
    works(load())
    for path in cache.rglob(f"*.{suffix}"):
        path.write_bytes(path.read_bytes()[:-20] if content is None else content)
    works(load())


def test_a_cache_that_is_no_folder_is_ignored(load: Any, cache: Path) -> None:
    cache.write_text("in the way")
    assert works(load()) == (0, 1)
    assert cache.read_text() == "in the way"


def test_a_cache_that_disappears_is_ignored(load: Any, cache: Path) -> None:
    works(load())
    shutil.rmtree(cache)
    assert works(load()) == (0, 1)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of folders are POSIX's")
@pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() == 0, reason="the superuser may write everywhere"
)
def test_a_cache_that_cannot_be_written_is_ignored(load: Any, cache: Path) -> None:
    cache.mkdir(mode=0o500)
    assert works(load()) == (0, 1)


def test_a_cache_that_cannot_be_written_at_all_is_ignored(
    load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", full)
    assert works(load()) == (0, 1)


def test_the_key_follows_what_the_code_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {build.cache_folder()}
    for change in (
        lambda: monkeypatch.setattr(numba, "__version__", "0.0"),
        lambda: monkeypatch.setattr(numba.config, "CPU_NAME", "other"),
        lambda: monkeypatch.setattr(numba.config, "CPU_FEATURES", "+other"),
        lambda: monkeypatch.setenv("TINYGRAD_CNN_JIT_TEST", "1"),
        lambda: monkeypatch.setattr(Path, "read_bytes", lambda self: b"another source"),
    ):
        change()
        build.cache_folder.cache_clear()
        seen.add(build.cache_folder())
    assert len(seen) == 6
    monkeypatch.setenv(build.QUIET, "1")
    build.cache_folder.cache_clear()
    assert build.cache_folder() in seen


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "{here}/tinygrad_cnn"),
        ("linux", None, "{home}/.cache/tinygrad_cnn"),
        ("darwin", None, "{home}/Library/Caches/tinygrad_cnn"),
        ("win32", "LOCALAPPDATA", "{here}/tinygrad_cnn"),
    ],
)
def test_the_folder_follows_the_platform(
    platform: str,
    variable: str | None,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "here"))
    folder = expected.format(here=tmp_path / "here", home=tmp_path / "home")
    assert build.user_cache_folder() == Path(folder)


class Terminal:
    """Standard error that is, or is not, somebody's screen."""

    def __init__(self, terminal: bool) -> None:
        self.terminal, self.text = terminal, ""

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


@pytest.mark.parametrize(
    ("terminal", "quiet", "patience", "lines"),
    [(True, "", 0.0, 1), (True, "1", 0.0, 0), (False, "", 0.0, 0), (True, "", 1000.0, 0)],
)
def test_long_compiling_says_one_line_on_a_terminal(
    load: Any,
    terminal: bool,
    quiet: str,
    patience: float,
    lines: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Terminal(terminal)
    monkeypatch.setattr(build, "_progress", build._Progress())
    monkeypatch.setattr(build, "PATIENCE", patience)
    monkeypatch.setenv(build.QUIET, quiet)
    monkeypatch.setattr(sys, "stderr", screen)
    works(load())
    shutil.rmtree(build.cache_folder())
    works(load())
    assert screen.text.count("compiling kernels for this CPU, once") == lines
    assert screen.text.count("\n") == lines
    assert build._progress.timer is None or build._progress.said


def python(code: str, **environment: str) -> str:
    """Run code in a new interpreter and return what it printed."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_the_package_is_imported_without_numba() -> None:
    code = """
import sys, numpy as np, tinygrad_cnn as tg
from tinygrad_cnn import kernels
kernels.relu(np.ones(100, np.float32))
print("numba" in sys.modules)
"""
    assert python(code) == "False"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork processes")
def test_a_forked_child_computes_without_openmp() -> None:
    code = """
import os, warnings, numpy as np
from tinygrad_cnn import kernels
x = np.ones(1 << 20, np.float32)
kernels.relu(x)
warnings.simplefilter("ignore", DeprecationWarning)
child = os.fork()
if child == 0:
    right = kernels.relu(-x).max() == 0 and kernels.channel_sum(-x[None]).max() == -1
    os._exit(0 if right else 1)
assert kernels.relu(x).min() == 1
print(os.waitpid(child, 0)[1])
"""
    assert python(code, OPENBLAS_NUM_THREADS="2") == "0"


def test_waiting_is_set_for_our_threads_only() -> None:
    code = """
import os, numpy as np
from tinygrad_cnn import kernels
before = dict(os.environ)
kernels.relu(np.ones(1 << 20, np.float32))
print(before == dict(os.environ))
"""
    assert python(code) == "True"


def test_numbas_own_pool_serves_several_callers_one_by_one() -> None:
    code = """
import threading, numpy as np
from tinygrad_cnn import kernels
x = np.arange(1 << 16, dtype=np.float32) - 1000
expected = np.maximum(x, 0)
wrong = []
def call():
    for _ in range(50):
        if not np.array_equal(kernels.relu(x), expected):
            wrong.append(1)
callers = [threading.Thread(target=call) for _ in range(4)]
for caller in callers: caller.start()
for caller in callers: caller.join()
import numba
print(numba.threading_layer(), len(wrong))
"""
    found = python(
        code,
        NUMBA_THREADING_LAYER="workqueue",
        OPENBLAS_NUM_THREADS="2",
    )
    assert found == "workqueue 0"  # without the lock, Numba ends the process


def test_compiling_keeps_no_array_alive(tmp_path: Path) -> None:
    code = """
import gc, weakref, numpy as np
from tinygrad_cnn import kernels
gc.disable()
kernels.set_kernels("jit")
two, one, none = (2, 2), (1, 1), (0, 0)
def step():
    x = np.ones((2, 3, 8, 8), np.float32)
    kernels.max_pool2d(
        x, kernel_size=two, stride=two, padding=none, dilation=one, ceil_mode=False
    )
    return weakref.ref(x)
print(step()() is None)
"""
    empty = {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    assert python(code, **empty) == "True"
