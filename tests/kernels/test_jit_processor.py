"""The processor is described without LLVM, as LLVM sees it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tinygrad_cnn.kernels.jit.compile import processor, vector

TEXT = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 33
model name\t: Some Processor
stepping\t: 2
cpu MHz\t\t: {clock}
flags\t\t: fpu sse2 fma avx2{more}
bugs\t\t: sysret_ss_attrs

processor\t: 1
flags\t\t: avx512f
"""


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is known of the processor, before and after."""
    monkeypatch.setattr(processor.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(processor.sys, "platform", "linux")
    monkeypatch.delenv(vector.LANES_SETTING, raising=False)
    forget()
    yield
    forget()


def forget() -> None:
    for function in (processor._described, processor.identity, processor.features):
        function.cache_clear()


def describe(
    path: Path, monkeypatch: pytest.MonkeyPatch, clock: str = "2000", more: str = ""
) -> str:
    path.write_text(TEXT.format(clock=clock, more=more))
    monkeypatch.setattr(processor, "CPUINFO", path)
    forget()
    return processor.identity()


def test_what_linux_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = describe(tmp_path / "cpuinfo", monkeypatch)
    assert processor.features() == {"fpu", "sse2", "fma", "avx2"}
    assert vector.choose_tile().lanes == 8
    assert describe(tmp_path / "cpuinfo", monkeypatch, clock="3000") == first
    assert describe(tmp_path / "cpuinfo", monkeypatch, more=" avx512f") != first
    assert vector.choose_tile().lanes == 16


def test_the_setting_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    describe(tmp_path / "cpuinfo", monkeypatch)
    monkeypatch.setenv(vector.LANES_SETTING, "4")
    assert vector.choose_tile().lanes == 4


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc/cpuinfo")
def test_llvm_sees_the_same() -> None:
    llvm = pytest.importorskip(
        "llvmlite.binding", reason="Numba is not installed: pip install numba"
    )
    if processor._described() is None:
        pytest.skip("this machine's /proc/cpuinfo is another")
    there = llvm.get_host_cpu_features()
    for name in ("avx", "avx2", "fma", "avx512f", "avx512vl", "bmi2", "f16c"):
        assert (name in processor.features()) == there.get(name, False), name


@pytest.mark.parametrize("text", [None, "", "processor : 0\nmodel : 1\n\n", "\xff\xfe"])
def test_where_linux_says_too_little_llvm_is_asked(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    llvm = pytest.importorskip(
        "llvmlite.binding", reason="Numba is not installed: pip install numba"
    )
    path = tmp_path / "cpuinfo"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(processor, "CPUINFO", path)
    assert processor.identity().startswith(llvm.get_host_cpu_name())
    monkeypatch.setattr(llvm, "get_host_cpu_features", lambda: {"avx2": True, "fma": False})
    assert processor.features() == {"avx2"}


@pytest.mark.parametrize(("system", "machine"), [("darwin", "arm64"), ("linux", "aarch64")])
def test_other_systems_and_machines(
    system: str, machine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe(tmp_path / "cpuinfo", monkeypatch)
    forget()
    monkeypatch.setattr(processor.platform, "machine", lambda: machine)
    monkeypatch.setattr(processor.sys, "platform", system)
    assert processor._described() is None
