"""Libraries that come with the package: the same bytes each time, used without Numba."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tinygrad_cnn.kernels import choice, prebuild
from tinygrad_cnn.kernels.jit.compile import known, linker, prebuilt, processor, vector

needs_compiler = pytest.mark.skipif(
    sys.platform != "linux" or prebuilt.target_here() is None
    or not any(shutil.which(c.split()[0]) for c in linker.COMMANDS),
    reason="for Linux on x86-64 with a linker",
)  # fmt: skip
FEW = ("pointwise.elementwise:_relu ", "norm.moments:_finish_sums_share ")

WRITE = """
import sys
from pathlib import Path
from tinygrad_cnn.kernels import prebuild
from tinygrad_cnn.kernels.jit.compile import known, prebuilt
folder, target, turn, *few = sys.argv[1:]
lanes = prebuilt.TARGETS[target][0]
wanted = [each for each in known.every(lanes) if each.startswith(tuple(few))]
assert len(wanted) >= len(few)
prebuild.prebuild(Path(folder), [target], wanted[:: int(turn)])
"""

USE = """
import sys
from pathlib import Path
sys.modules["numba"] = sys.modules["llvmlite"] = None
import numpy as np
from tinygrad_cnn.kernels.jit.compile import prebuilt
prebuilt.FOLDER = Path(sys.argv[1])
from tinygrad_cnn.kernels import choice
choice.has_numba = choice.has_llvmlite = lambda: False  # as their specifications would say
from tinygrad_cnn import kernels
kernels.set_kernels("jit")
x = np.random.default_rng(0).standard_normal((2, 3, 40, 50), np.float32)
np.testing.assert_array_equal(kernels.relu(x), np.maximum(x, 0))
from tinygrad_cnn.kernels.jit.compile import build
maps = Path("/proc/self/maps").read_text()
print(len(build.met), str(prebuilt.path_here()) in maps, "tinygrad_cnn/kernels/" in maps)
print([name for name in ("numba", "llvmlite") if sys.modules.get(name)])
try:
    kernels.sum(x, (0, 2, 3))
except choice.NoCompiler as error:
    print(error)
kernels.set_kernels("auto")
print(np.abs(kernels.sum(np.ones((8, 8, 80, 80), np.float32), (0, 2, 3)) - 51200).max())
"""


def run(code: str, *arguments: object, cache: Path, **settings: str) -> list[str]:
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        env={**os.environ, "XDG_CACHE_HOME": str(cache), **settings},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return found.stdout.splitlines()


@needs_compiler
def test_libraries_are_reproduced_and_used_without_numba(tmp_path: Path) -> None:
    pytest.importorskip("numba", reason="Numba is not installed: pip install numba")
    target = prebuilt.target_here()
    old = tmp_path / "1" / f"{target}-old.so"
    old.parent.mkdir()
    old.touch()
    for seed, turn in (("1", 1), ("2", -1)):  # and in another order
        run(WRITE, tmp_path / seed, target, turn, *FEW, cache=tmp_path, PYTHONHASHSEED=seed)
    first, second = ([*(tmp_path / seed).iterdir()] for seed in "12")
    assert [path.name for path in first] == [path.name for path in second]
    assert len(first) == 1
    assert first[0].read_bytes() == second[0].read_bytes()

    said = run(USE, tmp_path / "1", cache=tmp_path / "none")
    assert said == [
        "2 True False", "[]", "_share is not compiled yet, and Numba is missing", "0.0",
    ]  # fmt: skip
    assert not (tmp_path / "none").exists() or not [*(tmp_path / "none").rglob("*.so")]


TRAIN = """
import tinygrad_cnn as tg
from tinygrad_cnn.kernels.jit.compile import build, prebuilt
net = tg.nn.Sequential(
    tg.nn.Conv2d(3, 6, 5), tg.nn.ReLU(), tg.nn.MaxPool2d(2), tg.nn.Flatten(), tg.nn.Linear(1176, 10)
)
loss = tg.nn.functional.cross_entropy(net(tg.randn(64, 3, 32, 32)), tg.zeros(64, dtype=tg.int64))
loss.backward()
tg.optim.SGD(net.parameters(), lr=0.1, momentum=0.9).step()
print(len(build.met), prebuilt.functions() is not None)
"""


@pytest.mark.skipif(
    prebuilt.path_here() is None, reason="the package has no library for this processor"
)
def test_the_packages_library_is_used(tmp_path: Path) -> None:
    """Run by `.ci/run` on the wheel, without Numba."""
    (said,) = run(TRAIN, cache=tmp_path)
    count, there = said.split()
    assert there == "True"
    assert int(count) > 8
    assert not [*tmp_path.rglob("*.o")]


@needs_compiler
def test_libraries_for_other_processors_are_made_too(tmp_path: Path) -> None:
    pytest.importorskip("numba", reason="Numba is not installed: pip install numba")
    for target, register in (("x86-64-v3", "ymm"), ("x86-64-v4", "zmm")):
        run(WRITE, tmp_path / "out", target, 1, FEW[1], "norm.batch_norm:", cache=tmp_path)
        (path,) = (tmp_path / "out").glob(f"{target}-*.so")
        objdump = shutil.which("objdump")
        if objdump:
            shown = subprocess.run([objdump, "-d", str(path)], capture_output=True, text=True)
            assert register in shown.stdout
            assert target == "x86-64-v4" or "zmm" not in shown.stdout


@pytest.mark.parametrize(
    ("flags", "lanes", "target"),
    [
        ("", "", None),
        ("cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3", "", "x86-64-v2"),
        ("V3", "", "x86-64-v3"),
        ("V3 avx512f", "", None),  # vectors of 16, without what comes with them elsewhere
        ("V4", "", "x86-64-v4"),
        ("V4", "8", "x86-64-v3"),
        ("V3", "16", None),
    ],
)
def test_which_library_a_processor_takes(
    flags: str, lanes: str, target: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for level, (_, wanted) in prebuilt.TARGETS.items():
        flags = flags.replace(level[-2:].upper(), " ".join(wanted))
    monkeypatch.setattr(prebuilt.sys, "platform", "linux")
    monkeypatch.setattr(prebuilt.platform, "machine", lambda: "x86_64")
    monkeypatch.setenv(vector.LANES_SETTING, lanes)
    for module in (processor, vector):
        monkeypatch.setattr(module, "features", lambda: frozenset(flags.split()))
    monkeypatch.setattr(prebuilt, "TILE", vector.choose_tile())
    assert prebuilt.target_here() == target


@pytest.mark.parametrize(
    "name", [prebuilt.LOADER, *prebuilt.NUMBA_SETTINGS, "TINYGRAD_CNN_JIT_ANYTHING"]
)
def test_settings_keep_the_packages_libraries_away(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for setting in (prebuilt.LOADER, *prebuilt.NUMBA_SETTINGS):
        monkeypatch.delenv(setting, raising=False)
    monkeypatch.setattr(prebuilt, "FOLDER", tmp_path)
    monkeypatch.setattr(prebuilt, "target_here", lambda: "x86-64-v3")
    prebuilt.path_here.cache_clear()
    try:
        assert prebuilt.path_here() is None
        path = tmp_path / prebuilt.file_name("x86-64-v3")
        path.touch()
        prebuilt.path_here.cache_clear()
        assert prebuilt.path_here() == path
        prebuilt.path_here.cache_clear()
        monkeypatch.setenv(name, "x")
        assert prebuilt.path_here() is None
    finally:
        prebuilt.path_here.cache_clear()


def test_what_cannot_be_made_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prebuild, "has_numba", lambda: False)
    with pytest.raises(SystemExit, match="1"):
        prebuild.main([str(tmp_path)])
    assert "pip install numba" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        prebuild.main(["--target", "x86-64-v9"])
    assert "invalid choice: 'x86-64-v9'" in capsys.readouterr().err


@needs_compiler
def test_a_kernel_that_does_not_compile_is_named(tmp_path: Path) -> None:
    if not choice.has_numba():
        pytest.skip("Numba is not installed: pip install numba")
    with pytest.raises(prebuild.PrebuildError, match=r"not compiled: pointwise\.elementwise:gone"):
        prebuild.prebuild(tmp_path, ["x86-64-v3"], ["pointwise.elementwise:gone []"])
    assert not [*tmp_path.iterdir()]
    assert known.every(8)
