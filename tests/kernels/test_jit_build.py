"""Compiling happens at the first call, for each set of types; it is said if it takes long."""

from __future__ import annotations

import ctypes
import importlib
import re
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")

from building import SOURCE, files, works
from shared import python

from tinygrad_cnn.kernels import progress
from tinygrad_cnn.kernels.choice import NoCompiler
from tinygrad_cnn.kernels.jit.compile import ahead, build, engine, entry

pytestmark = pytest.mark.usefixtures("cache")


def test_each_set_of_types_is_compiled_once(load: Any, cache: Path, compiled: list[str]) -> None:
    kernel = load()
    for _ in range(2):
        for dtype in ("float32", "float64"):
            for step in (1, 2):
                x, out = np.arange(6, dtype=dtype)[::step], np.ones(9, dtype)[::3]
                entry.run(kernel, 2, x[:3], out)
                np.testing.assert_array_equal(out, 1 + 2 * x[:3])
    assert len(compiled) == len(files(cache, ".o")) == len(kernel.launches) == 4


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

    code = build.Code("test.counts", "key")
    for loader in ("", "llvm"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(build.LOADER, loader)
            (address,) = build.machine_code(code, make, ["_counts"])
            count = ctypes.CFUNCTYPE(ctypes.c_int64)(address)
            assert [count(), count()] == [42, 43]
            with pytest.raises(
                RuntimeError, match=r"no function .tinygrad_cnn_test_counts_\w+_nothing"
            ):
                build.machine_code(code, make, ["_nothing"])


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
    ("terminal", "quiet", "patience", "said"),
    [
        (True, "", 0.0, r"(\r\x1b\[2Ktinygrad_cnn: WHAT [━╌]{24} [01]/1)+\r\x1b\[2K"),
        (False, "", 0.0, r"tinygrad_cnn: WHAT: 0 of about 1 \.\.\.\n"),
        (True, "1", 0.0, ""),
        (True, "", 1000.0, ""),
    ],
)
def test_long_compiling_is_said(
    load: Any,
    terminal: bool,
    quiet: str,
    patience: float,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Terminal(terminal)
    monkeypatch.setattr(progress, "PATIENCE", patience)
    monkeypatch.setattr(ahead, "progress", progress.Progress())
    monkeypatch.setenv(progress.QUIET, quiet)
    monkeypatch.setattr(sys, "stderr", screen)
    works(load())
    assert re.fullmatch(said.replace("WHAT", progress.WHAT), screen.text)
    before = screen.text
    shutil.rmtree(build.cache_folder())
    works(load())
    assert (screen.text == before) == (not terminal or not before)  # a line every few seconds


def test_counts_may_be_shown_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    monkeypatch.setattr(progress, "REFRESH", 0.0)
    seen: list[tuple[int, int]] = []
    enough = threading.Event()

    def show(done: int, total: int) -> None:
        seen.append((done, total))
        if len(seen) > 2:
            enough.set()

    shown = progress.Progress()
    shown.show, shown.counts = show, lambda: (3, 7)
    with shown:
        assert enough.wait(30)
    assert set(seen[:-1]) == {(3, 7)}
    assert seen[-1] == (0, 0)


def test_the_package_is_imported_without_numba() -> None:
    code = """
import sys, numpy as np, tinygrad_cnn as tg
from tinygrad_cnn import kernels
kernels.relu(np.ones(kernels.table.MIN_JIT_LAYER - 1, np.float32))  # few
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
