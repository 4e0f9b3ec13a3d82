"""Machine code is kept for all processes; a broken cache costs time only."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")

from building import files, works

from tinygrad_cnn import notices
from tinygrad_cnn.kernels.jit.compile import build, entry, linker, private, processor

LINKER = any(shutil.which(command.split()[0]) for command in linker.COMMANDS)
needs_linker = pytest.mark.skipif(
    not LINKER or sys.platform == "win32", reason="this system has no linker"
)
posix = pytest.mark.skipif(sys.platform == "win32", reason="permissions of folders are POSIX's")
pytestmark = pytest.mark.usefixtures("cache")


def test_the_second_process_finds_machine_code(load: Any, cache: Path, compiled: list[str]) -> None:
    works(load())
    assert compiled == ["add_doubles"]
    (path,) = files(cache, ".o")
    assert path.name.startswith("some_kernels.add_doubles-")
    works(load())
    assert compiled == ["add_doubles"]


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
    monkeypatch.setattr(build, "open_library", lambda path: None)
    works(load())
    monkeypatch.setattr(build, "link", None)  # it would be of no use
    works(load())
    assert compiled == ["add_doubles"]


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
@pytest.mark.parametrize("way", ["link", "link to a link", "folder", "folder above"])
@pytest.mark.parametrize("open_to", ["writers", "its owner"])
def test_a_cache_that_is_reached_through_what_others_can_exchange_is_not_used(
    load: Any, cache: Path, compiled: list[str], way: str, open_to: str
) -> None:
    others = cache.parent / "others"
    (others / "above" / "cache").mkdir(parents=True, mode=0o700)
    goal = others / "above" / "cache" if way == "folder above" else others / "cache"
    goal.mkdir(mode=0o700, exist_ok=True)
    if way == "link to a link":
        (others / "link").symlink_to(goal.rename(cache.parent / "mine"))
        goal = others / "link"
    cache.symlink_to(os.path.relpath(goal, cache.parent))
    works(load())
    works(load())
    assert compiled == ["add_doubles"]  # a link by itself is no danger
    if open_to == "writers":
        others.chmod(0o777)
        reason = f"others can write to {others}:"
    elif os.geteuid() == 0:
        os.chown(others, 54321, -1)
        reason = f"{others} belongs to another user:"
    else:
        pytest.skip("only the superuser gives folders away")
    with pytest.warns(RuntimeWarning, match=reason):
        works(load())
    works(load())
    assert compiled == ["add_doubles"] * 3


@posix
@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only the superuser gives links away"
)
def test_a_link_of_somebody_else_is_not_followed(
    load: Any, cache: Path, compiled: list[str]
) -> None:
    (cache.parent / "mine").mkdir(mode=0o700)
    cache.symlink_to(cache.parent / "mine")
    os.chown(cache, 54321, -1, follow_symlinks=False)
    with pytest.warns(RuntimeWarning, match="the link .*/cache belongs to another user"):
        works(load())
    assert compiled == ["add_doubles"]


@posix
def test_links_in_a_circle_are_no_cache(load: Any, cache: Path, compiled: list[str]) -> None:
    cache.symlink_to(cache)
    works(load())
    assert compiled == ["add_doubles"]
    with pytest.raises(OSError, match="symbolic links"):
        private.check_folder(cache, own=0)


@posix
@pytest.mark.parametrize("kind", ["pipe", "link", "socket", "device", "somebody's"])
def test_entries_that_are_not_plain_files_of_the_users_are_not_read(
    load: Any, cache: Path, compiled: list[str], kind: str
) -> None:
    works(load())
    if kind in ("device", "somebody's") and os.geteuid() != 0:
        pytest.skip("only the superuser makes devices and gives files away")
    for path in files(cache):
        if kind == "somebody's":
            os.chown(path, 54321, -1)
            continue
        path.rename(cache.parent / path.name)
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "link":
            path.symlink_to(cache.parent / path.name)
        elif kind == "device":
            os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero, which never ends
        else:
            with socket.socket(socket.AF_UNIX) as end, pytest.MonkeyPatch.context() as patch:
                patch.chdir(path.parent)  # addresses are short
                end.bind(path.name[:80])
                os.rename(path.name[:80], path)
    with pytest.warns(RuntimeWarning, match="is no plain file:|belongs to another user:"):
        works(load())
    assert compiled == ["add_doubles"] * 2
    works(load())  # what was in the way has been replaced
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
    monkeypatch.setenv(notices.QUIET, "1")
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
