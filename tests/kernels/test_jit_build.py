"""Compiling happens at the first call, once for all processes; a broken cache costs time only."""

from __future__ import annotations

import ctypes
import importlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")

from tinygrad_cnn.kernels.choice import NoCompiler
from tinygrad_cnn.kernels.jit.compile import build, engine, entry, linker, processor
from tinygrad_cnn.kernels.jit.compile import numba_lowering as compiling

LINKER = any(shutil.which(command.split()[0]) for command in linker.COMMANDS)
needs_linker = pytest.mark.skipif(
    not LINKER or sys.platform == "win32", reason="this system has no linker"
)
posix = pytest.mark.skipif(sys.platform == "win32", reason="permissions of folders are POSIX's")

SOURCE = """
from typing import NamedTuple
from tinygrad_cnn.kernels.jit.compile.build import kernel

class Line(NamedTuple):
    slope: int
    offsets: object

class Points(NamedTuple):
    x: object
    line: Line
    range: tuple

@kernel(entry=True)
def add_line(part, parts, points, out):
    for i in range(points.range[0] + part, points.range[1], parts):
        out[i] += points.line.slope * points.x[i] + points.line.offsets[i]

FACTOR = 2

@kernel(inline=True)
def doubled(value):
    return value * FACTOR

@kernel(entry=True)
def add_doubles(part, parts, x, out):
    for i in range(x.size * part // parts, x.size * (part + 1) // parts):
        out[i] += doubled(x[i])
"""


@pytest.fixture(autouse=True)
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
    names: list[str] = []
    true = compiling.compile_entry

    def spy(kernel: Any, *args: Any) -> bytes:
        names.append(kernel.__name__)
        return true(kernel, *args)

    monkeypatch.setattr(compiling, "compile_entry", spy)
    return names


def works(kernel: Any) -> None:
    """Check the kernel's result."""
    out = np.ones(7, np.float32)
    entry.run(kernel, 3, np.arange(7, dtype=np.float32), out)
    np.testing.assert_array_equal(out, 1 + 2 * np.arange(7))


def files(cache: Path, suffix: str = "") -> list[Path]:
    return [path for path in cache.rglob(f"*{suffix}") if path.is_file()]


def test_the_second_process_finds_machine_code(load: Any, cache: Path, compiled: list[str]) -> None:
    works(load())
    assert compiled == ["add_doubles"]
    (path,) = files(cache, ".o")
    assert path.name.startswith("some_kernels.add_doubles-")
    works(load())
    assert compiled == ["add_doubles"]


def test_each_set_of_types_is_compiled_once(load: Any, cache: Path, compiled: list[str]) -> None:
    kernel = load()
    for _ in range(2):
        for dtype in ("float32", "float64"):
            for step in (1, 2):
                x, out = np.arange(6, dtype=dtype)[::step], np.ones(9, dtype)[::3]
                entry.run(kernel, 2, x[:3], out)
                np.testing.assert_array_equal(out, 1 + 2 * x[:3])
    assert len(compiled) == len(files(cache, ".o")) == len(kernel.launches) == 4


def test_numbers_that_were_set_in_a_process_stay_there(
    load: Any, cache: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test's, say, that has small blocks: what is compiled with them is nobody else's."""
    kernel = load()
    monkeypatch.setattr(sys.modules["some_kernels"], "FACTOR", 5)
    out = np.zeros(3, np.float32)
    entry.run(kernel, 1, np.ones(3, np.float32), out)
    assert out.tolist() == [5, 5, 5]
    works(load())
    assert len(compiled) == 2


@pytest.mark.parametrize("damage", ["empty", "foreign", "cut off", "one bit", "of another kernel"])
@pytest.mark.parametrize("suffixes", [(".so",), (".so", ".o")])
def test_a_broken_cache_is_ignored(
    load: Any, cache: Path, compiled: list[str], damage: str, suffixes: tuple[str, ...]
) -> None:
    kernel = load()
    works(kernel)
    whole = {path: path.read_bytes() for path in files(cache)}
    others = damage == "of another kernel"
    if others:
        entry.run(kernel, 1, np.ones(3), np.ones(3))
        compiled.pop()
    for path, content in whole.items():
        if path.suffix in suffixes:
            bit = bytearray(content)
            bit[-20] ^= 1
            broken = {"empty": b"", "foreign": b"not a cache", "cut off": content[:-20]}
            if others:
                (other,) = set(files(cache, path.suffix)) - set(whole)
                broken[damage] = other.read_bytes()
            draft = path.with_name("draft")  # this process has loaded the file itself
            draft.write_bytes(broken.get(damage, bytes(bit)))
            draft.replace(path)
    for _ in range(2):
        works(load())
        assert compiled == ["add_doubles"] * len(suffixes)
        assert all(path.read_bytes() == whole[path] for path in whole if path.exists())
        assert len(files(cache, ".o")) == others + 1
        assert len(files(cache, ".so")) == LINKER * (others + 1)


@needs_linker
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc/self/maps")
def test_debuggers_and_profilers_see_a_kernels_file(load: Any, cache: Path) -> None:
    works(load())
    (path,) = files(cache, ".so")
    assert str(path) in Path("/proc/self/maps").read_text()
    assert b"tinygrad_cnn_some_kernels_add_doubles_" in path.read_bytes()


def test_without_a_linker_llvm_loads_object_code(
    load: Any, cache: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "which", lambda name: None)
        for _ in range(2):
            works(load())
            assert [path.suffix for path in files(cache)] == [".o"]
    works(load())  # now there is one
    assert compiled == ["add_doubles"]
    assert len(files(cache, ".so")) == LINKER


@needs_linker
def test_the_first_linker_that_works_is_the_first_that_is_tried(
    load: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    run, true = linker._run, next(c for c in linker.COMMANDS if shutil.which(c.split()[0]))

    def spy(command: str, code: bytes) -> bytes | None:
        tried.append(command)
        return run(command, code)

    broken = f"{sys.executable} -c raise(SystemExit(1))"
    monkeypatch.setattr(linker, "_run", spy)
    monkeypatch.setattr(linker, "COMMANDS", (broken, "tinygrad-cnn-no-such-linker", true))
    kernel = load()
    works(kernel)
    assert (build.cache_folder() / linker.NOTE).read_text() == true
    assert tried == [broken, true]
    linker._broken.clear()  # as in another process
    entry.run(kernel, 1, np.ones(3), np.ones(3))
    assert tried[2:] == [true]
    assert len(files(cache, ".so")) == 2


def test_where_libraries_cannot_be_loaded_llvm_loads_object_code(
    load: Any, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system without programs, for example."""
    monkeypatch.setattr(build, "_open", lambda path: None)
    works(load())
    monkeypatch.setattr(build, "link", None)  # it would be of no use
    works(load())
    assert compiled == ["add_doubles"]


def test_functions_that_are_not_there_are_an_error(cache: Path) -> None:
    text = """
@counter = global i64 41
define i64 @{symbol}_counts() {{
  %old = load i64, i64* @counter
  %new = add i64 %old, 1
  store i64 %new, i64* @counter
  ret i64 %new
}}
"""

    def make(symbol: str) -> bytes:
        return engine.emit_assembly(text.format(symbol=symbol))

    for loader in ("", "llvm"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(build.LOADER, loader)
            address = build.machine_code("test.counts", "key", make)
        count = ctypes.CFUNCTYPE(ctypes.c_int64)(address("_counts"))
        assert [count(), count()] == [42, 43]
        with pytest.raises(
            RuntimeError, match=r"no function .tinygrad_cnn_test_counts_\w+_nothing"
        ):
            address("_nothing")


@posix
@pytest.mark.parametrize("place", ["", "kernels", "cache", "above"])
@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_cache_that_others_can_write_to_is_not_used_and_that_is_said_once(
    load: Any, cache: Path, compiled: list[str], place: str, mode: int
) -> None:
    works(load())
    folder, before = build.cache_folder(), set(files(cache))
    at = {"": folder, "kernels": folder.parent, "cache": cache, "above": cache.parent}[place]
    at.chmod(mode)
    with pytest.warns(RuntimeWarning, match="others can write to .*: compiled kernels are neither"):
        works(load())
    works(load())
    assert compiled == ["add_doubles"] * 3
    at.chmod(0o700)
    works(load())
    assert compiled == ["add_doubles"] * 3
    assert set(files(cache)) == before


@posix
def test_a_cache_of_somebody_else_is_not_used(
    load: Any, cache: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    works(load())
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    with pytest.warns(RuntimeWarning, match="belongs to another user"):
        works(load())
    assert compiled == ["add_doubles"] * 2


@posix
def test_the_cache_is_the_users_alone_whatever_the_mask(load: Any, cache: Path) -> None:
    mask = os.umask(0)
    try:
        works(load())
    finally:
        os.umask(mask)
    folder = build.cache_folder()
    modes = [path.stat().st_mode & 0o777 for path in (cache, folder.parent, folder)]
    assert modes == [0o700] * 3


@posix
def test_a_folder_for_everybodys_temporary_files_is_no_danger(
    load: Any, cache: Path, compiled: list[str]
) -> None:
    cache.parent.chmod(0o1777)  # nobody may exchange what is another's
    works(load())
    works(load())
    assert compiled == ["add_doubles"]


def test_a_cache_that_is_no_folder_is_ignored(load: Any, cache: Path, compiled: list[str]) -> None:
    cache.write_text("in the way")
    works(load())
    works(load())
    assert compiled == ["add_doubles"] * 2
    assert cache.read_text() == "in the way"


def test_a_cache_that_disappears_is_ignored(load: Any, cache: Path, compiled: list[str]) -> None:
    works(load())
    shutil.rmtree(cache)
    works(load())
    assert compiled == ["add_doubles"] * 2


@posix
@pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() == 0, reason="the superuser may write everywhere"
)
def test_a_cache_that_cannot_be_written_is_ignored(load: Any, cache: Path) -> None:
    cache.mkdir(mode=0o500)
    works(load())


def test_a_full_disk_leaves_no_file(
    load: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    works(load())
    assert files(cache) == []


def test_folders_that_nobody_uses_go_when_a_new_one_comes(load: Any, cache: Path) -> None:
    kernels = cache / "kernels"
    for name, age in (("old", build.OLD + 100), ("recent", build.OLD - 100)):
        (kernels / name).mkdir(parents=True)
        (kernels / name / "some.o").write_bytes(b"code")
        os.utime(kernels / name, (time.time() - age,) * 2)
    works(load())
    assert sorted(p.name for p in kernels.iterdir()) == sorted(
        [build.cache_folder().name, "recent"]
    )


def test_using_a_folder_keeps_it(load: Any) -> None:
    works(load())
    folder = build.cache_folder()
    os.utime(folder, (0, 0))
    build.cache_folder.cache_clear()  # as in another process
    assert time.time() - build.cache_folder().stat().st_mtime < 100


def test_without_numba_what_is_compiled_runs_and_the_rest_is_missing(
    load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    works(load())

    monkeypatch.delitem(
        sys.modules, "tinygrad_cnn.kernels.jit.compile.numba_lowering", raising=False
    )
    monkeypatch.setitem(sys.modules, "numba", None)
    kernel = load()
    works(kernel)
    for _ in range(2):
        with pytest.raises(NoCompiler, match="add_doubles is not compiled"):
            entry.run(kernel, 1, np.ones(3), np.ones(3))


def test_what_is_no_argument_of_a_kernel_is_an_error(load: Any) -> None:
    kernel, x = load(), np.ones(3, np.float32)
    works(kernel)
    for wrong in (None, "x", object()):
        with pytest.raises(TypeError, match="a compiled kernel takes no"):
            entry.run(kernel, 1, x, wrong)
    works(kernel)


def test_arrays_may_be_fields_of_named_tuples(load: Any, tmp_path: Path) -> None:
    load()
    module = sys.modules["some_kernels"]
    for kind in ("float32", "float64", "float32"):
        x, offsets, out = np.arange(9, dtype=kind), np.ones(9, np.float64), np.zeros(9)
        for given in (x, np.memmap(tmp_path / "x", kind, "w+", shape=9)):
            given[...] = x
            out[...] = 0
            points = module.Points(given, module.Line(3, offsets), (1, 8))
            entry.run(module.add_line, 2, points, out)
            np.testing.assert_array_equal(out[1:8], 3 * x[1:8] + 1)
            assert out[0] == out[8] == 0
    assert len(module.add_line.launches) == 2
    with pytest.raises(TypeError, match="takes no NoneType"):
        entry.run(module.add_line, 2, module.Points(None, module.Line(3, offsets), (1, 8)), out)


def test_arrays_of_subclasses_are_arrays(load: Any, tmp_path: Path) -> None:
    kernel = load()
    out = np.memmap(tmp_path / "numbers", np.float32, "w+", shape=3)
    entry.run(kernel, 2, np.arange(3, dtype=np.float32), out)
    np.testing.assert_array_equal(out, [0, 2, 4])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("out[i] = np.sinh(x[i])", "machine code calls 'sinhf'"),  # of a library of Numba's choice
        ("out[i] = np.zeros(part + 3)[0]", "zeros"),  # memory needs Numba's helpers
    ],
)
def test_machine_code_needs_no_helper_of_numbas(
    load: Any, tmp_path: Path, line: str, message: str
) -> None:
    source = SOURCE.replace("out[i] += doubled(x[i])", line)
    (tmp_path / "more_kernels.py").write_text(f"import numpy as np\n{source}")
    sys.modules.pop("more_kernels", None)
    importlib.invalidate_caches()
    kernel = importlib.import_module("more_kernels").add_doubles
    with pytest.raises(Exception, match=message):
        entry.run(kernel, 1, np.ones(3, np.float32), np.ones(3, np.float32))
    assert not kernel.launches


def test_exponentials_and_logarithms_are_the_c_librarys(load: Any, tmp_path: Path) -> None:
    line = "out[i] = np.exp(x[i]) + np.log(x[i]) + np.tanh(x[i])"
    source = SOURCE.replace("out[i] += doubled(x[i])", line)
    (tmp_path / "more_kernels.py").write_text(f"import numpy as np\n{source}")
    sys.modules.pop("more_kernels", None)
    importlib.invalidate_caches()
    kernel = importlib.import_module("more_kernels").add_doubles
    for dtype in ("float32", "float64"):
        x, out = np.linspace(0.1, 5, 50).astype(dtype), np.empty(50, dtype)
        entry.run(kernel, 2, x, out)
        np.testing.assert_allclose(out, np.exp(x) + np.log(x) + np.tanh(x), rtol=1e-6)


def test_the_key_follows_what_the_code_depends_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "_version.py").write_text("version_version = '0.0'")
    other = ModuleSpec("llvmlite", None, origin=str(tmp_path / "__init__.py"))
    seen = {build.cache_folder()}
    for change in (
        lambda: monkeypatch.setattr(build, "find_spec", lambda name: other),
        (tmp_path / "_version.py").unlink,  # then llvmlite itself is asked
        lambda: monkeypatch.setattr("llvmlite.__version__", "0.0"),
        lambda: monkeypatch.setattr(processor, "identity", lambda: "another processor"),
        lambda: monkeypatch.setenv("NUMBA_CPU_NAME", "other"),
        lambda: monkeypatch.setenv("NUMBA_CPU_FEATURES", "+other"),
        lambda: monkeypatch.setenv("TINYGRAD_CNN_JIT_TEST", "1"),
        lambda: monkeypatch.setattr(Path, "read_bytes", lambda self: b"another source"),
    ):
        change()
        build.cache_folder.cache_clear()
        seen.add(build.cache_folder())
    assert len(seen) == 9
    monkeypatch.setenv(build.QUIET, "1")
    build.cache_folder.cache_clear()
    assert build.cache_folder() in seen


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other conventions")
def test_the_folder_follows_the_systems_convention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert build.user_cache_folder() == tmp_path / ".cache" / "tinygrad_cnn"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "here"))
    assert build.user_cache_folder() == tmp_path / "here" / "tinygrad_cnn"


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
    [(True, "", 0.0, 1), (True, "1", 0.0, 0), (False, "", 0.0, 1), (True, "", 1000.0, 0)],
)
def test_long_compiling_says_one_line(
    load: Any,
    terminal: bool,
    quiet: str,
    patience: float,
    lines: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Terminal(terminal)
    monkeypatch.setattr(build, "progress", build._Progress())
    monkeypatch.setattr(build, "PATIENCE", patience)
    monkeypatch.setenv(build.QUIET, quiet)
    monkeypatch.setattr(sys, "stderr", screen)
    works(load())
    shutil.rmtree(build.cache_folder())
    works(load())
    assert screen.text.count("compiling kernels for this CPU, once") == lines
    assert screen.text.count("\n") == lines
    assert build.progress.timer is None or build.progress.said


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


def test_kernels_run_without_numba() -> None:
    code = """
import sys, numpy as np
from tinygrad_cnn import kernels
kernels.set_kernels("jit")
kernels.relu(np.ones(1 << 20, np.float32))
print("numba" in sys.modules)
"""
    python(code)  # compiles what is missing
    assert python(code) == "False"


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
