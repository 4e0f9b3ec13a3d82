"""Write the machine code of the kernels that the package knows into shared libraries, for levels
of x86-64: ``python -m tinygrad_cnn.kernels.prebuild [--target x86-64-v3] ... [OUT]``.

A process whose package has the library for its processor needs neither Numba nor a linker for these
kernels (`jit.compile.prebuilt`). The same sources and versions give the same bytes. It takes as
many processes as there are processors, and needs Numba and a linker.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tinygrad_cnn.kernels.choice import has_numba
from tinygrad_cnn.kernels.jit.compile import known
from tinygrad_cnn.kernels.jit.compile.ahead import Worker
from tinygrad_cnn.kernels.jit.compile.build import beginning_of_file
from tinygrad_cnn.kernels.jit.compile.linker import link
from tinygrad_cnn.kernels.jit.compile.prebuilt import (
    FOLDER,
    NUMBA_SETTINGS,
    TARGETS,
    file_name,
)
from tinygrad_cnn.kernels.jit.compile.signature import beginning_of
from tinygrad_cnn.kernels.jit.compile.vector import LANES_SETTING
from tinygrad_cnn.kernels.threads import processors

DEFAULT = ("x86-64-v3", "x86-64-v4")
REFRESH = 0.2  # seconds between looks at what is done
SAID = 10.0  # and between lines


class PrebuildError(Exception):
    """The libraries cannot be made here."""


def prebuild(
    folder: Path, targets: Sequence[str] = DEFAULT, signatures: Sequence[str] | None = None
) -> list[Path]:
    """Write a library for each target into a folder, in place of older ones; return their paths.

    Parameters
    ----------
    folder
        Where processes look for them is `jit.compile.prebuilt.FOLDER`.
    targets
        Levels of x86-64, of `jit.compile.prebuilt.TARGETS`.
    signatures
        Which kernels, if not all that the package knows.

    Raises
    ------
    PrebuildError: Numba or a linker is missing, it is another system, or a kernel does not
        compile.
    """
    if not has_numba() or sys.platform != "linux" or platform.machine() != "x86_64":
        raise PrebuildError("prebuild compiles with Numba, on Linux on x86-64: pip install numba")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for target in targets:
        wanted = known.every(TARGETS[target][0]) if signatures is None else signatures
        with tempfile.TemporaryDirectory(prefix="tinygrad_cnn") as cache:
            library = link(_compiled(Path(cache), target, wanted), Path(cache))
        if library is None:
            raise PrebuildError("prebuild: no linker works here; it takes `cc` or `ld`")
        for old in folder.glob(f"{target}-*.so"):
            old.unlink()
        paths.append(folder / file_name(target))
        paths[-1].write_bytes(library)
    return paths


def _compiled(cache: Path, target: str, wanted: Sequence[str]) -> list[bytes]:
    """Return object code for a target, of the pool of threads too, in the order of its names."""
    settings = {
        LANES_SETTING: str(TARGETS[target][0]),
        **dict(zip(NUMBA_SETTINGS, (target, ""), strict=True)),
        "XDG_CACHE_HOME": str(cache),
    }
    workers = [Worker(None, str(k), settings, blocking=True) for k in range(processors())]
    try:
        for worker in workers:
            worker.tell(wanted=list(wanted), last=True)
        said = time.monotonic()
        while any([worker.is_alive() for worker in workers]):
            time.sleep(REFRESH)
            if time.monotonic() - said > SAID:
                said = time.monotonic()
                _say(f"{target}: {len(_objects(cache))} of {len(wanted) + 1}")
    finally:
        for worker in workers:
            worker.end()
    objects = _objects(cache)
    there = set(map(beginning_of_file, objects))
    missing = [each.partition(" ")[0] for each in wanted if beginning_of(each) not in there]
    if missing or not any(each.startswith("pool-") for each in there):
        raise PrebuildError(f"{target}: not compiled: {', '.join(missing) or 'the pool'}")
    return [path.read_bytes() for path in objects]


def _objects(cache: Path) -> list[Path]:
    return sorted((path for path in cache.rglob("*.o") if path.name[0] != "."), key=str)


def _say(text: str) -> None:
    print(f"tinygrad_cnn: {text}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the libraries that the command line asks for."""
    parser = argparse.ArgumentParser(prog="prebuild", description="Write compiled kernels' code.")
    parser.add_argument("--target", action="append", choices=TARGETS, help="again for another")
    parser.add_argument("out", metavar="OUT", nargs="?", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    start = time.monotonic()
    try:
        for path in prebuild(options.out, options.target or DEFAULT):
            _say(f"{path} has {path.stat().st_size / 1e6:.1f} MB")
    except PrebuildError as error:
        parser.exit(1, f"{error}\n")
    _say(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
