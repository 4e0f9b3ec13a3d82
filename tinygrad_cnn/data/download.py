"""Fetch archives: resumable, checked by SHA-256, unpacked safely and all at once."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shutil
import tarfile
import tempfile
import time
import urllib.request
import zlib
from collections.abc import Callable, Collection, Iterator
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.error import HTTPError

from tinygrad_cnn.errors import ArgumentError

Report = Callable[[int, int | None], None]
_CHUNK: Final = 1 << 18
_TIMEOUT: Final = 30.0  # seconds without a byte


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(url: str, path: Path, sha256: str, *, attempts: int = 4, wait: float = 1.0) -> None:
    """Fetch ``url`` to ``path``, which exists only once all of it is there and its sum is right.

    Bytes are collected in ``path`` + ``.part``. A broken connection is taken up again where it
    broke, up to ``attempts`` times ``wait`` seconds (times the attempt) apart, and again by the
    next call.

    Raises
    ------
    OSError
        the server cannot be reached or says no.
    ValueError
        the checksum is wrong; what was received is deleted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with _progress_bar(path.name) as report:
        for attempt in range(1, attempts + 1):
            try:
                _receive(url, part, report)
                break
            except (OSError, HTTPException) as error:
                final = isinstance(error, HTTPError) and error.code < 500 and error.code != 429
                if final or attempt == attempts:
                    kept = part.stat().st_size if part.exists() else 0
                    hint = f"; {kept} bytes are in {part}, the next try goes on there"
                    raise OSError(
                        f"download: cannot fetch {url} ({error}){hint if kept else ''}"
                    ) from error
            time.sleep(wait * attempt)
    found = sha256_of(part)
    if found != sha256:
        part.unlink()
        raise ArgumentError(
            f"download: {url} has SHA-256 {found}, expected {sha256}; it was deleted, try again"
        )
    os.replace(part, path)


def _receive(url: str, part: Path, report: Report) -> None:
    """Append to ``part`` what it lacks, or write it anew where the server cannot resume."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "tinygrad-cnn"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        # addresses of data sets
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)  # nosec B310
    except HTTPError as error:
        with error:
            if error.code != 416 or not have:
                raise
            if error.headers.get("Content-Range") == f"bytes */{have}":
                return  # all of it was there already
        part.unlink()
        raise ConnectionError(f"{part} is longer than the file itself") from None
    with response:
        resumed = response.status == 206
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink()
            raise ConnectionError("the server sent another range than it was asked for")
        done = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = None if length is None else done + int(length)
        with part.open("ab" if resumed else "wb") as file:
            report(done, total)
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                report(done, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and done < total:
        raise ConnectionError(f"the connection broke after {done} of {total} bytes")


@contextlib.contextmanager
def _progress_bar(title: str) -> Iterator[Report]:
    """Show a progress bar on standard error; yields ``report(done, total)``."""
    from rich.console import Console  # here, to keep the package's import light
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def unpack(archive: Path, folder: Path, members: Collection[str]) -> None:
    """Unpack the files ``members`` of the archive's folder of the same name to ``folder``.

    They are written to a temporary folder beside it, which is renamed once they are complete.
    Other members are left out.

    Raises
    ------
    ValueError
        the archive is damaged, lacks a member, or holds a member that points outside
        (an absolute path, ``..``, a link or a device): nothing is kept then.
    """
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        inside = temporary / folder.name
        inside.mkdir()
        missing = set(members)
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name = _checked(member)
                if member.isreg() and name.parent == PurePosixPath(folder.name):
                    source = tar.extractfile(member)
                    if source is not None and name.name in missing:
                        # Copied under an expected name: the archive decides nothing but bytes.
                        with source, (inside / name.name).open("wb") as target:
                            shutil.copyfileobj(source, target)
                        missing.remove(name.name)
        if missing:
            raise ArgumentError(f"it lacks {folder.name}/{min(missing)}")
        os.replace(inside, folder)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError) as error:
        raise ArgumentError(f"unpack: {archive}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _checked(member: tarfile.TarInfo) -> PurePosixPath:
    """Return a member's name, if it can only be a file or folder inside the archive's own.

    The same refusals as tarfile's ``data`` filter, which the first Python 3.11 releases lack.
    """
    name = PurePosixPath(member.name)
    plain = member.isreg() or member.isdir()
    if not plain or name.is_absolute() or ".." in name.parts or "\\" in member.name:
        raise ArgumentError(f"it holds the member {member.name!r}, which is unsafe to unpack")
    return name
