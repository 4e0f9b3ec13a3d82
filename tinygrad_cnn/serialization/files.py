"""Files that are either the old one or the new one, whatever happens in between."""

import itertools
import os
from pathlib import Path

_counter = itertools.count()


def write_atomically(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write ``data`` to ``path`` so that a reader sees the old file or the new one, never a part.

    The bytes go to a hidden file in the same folder and reach the disk before ``os.replace`` gives
    them their name, so that neither a killed process nor a power cut leaves half a file. Text is
    written as UTF-8.

    Raises
    ------
    OSError
        The folder is missing, not writable or full; ``path`` is then what it was before.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(f"{folder}/a.txt", "hello")
    ...     Path(f"{folder}/a.txt").read_text()
    'hello'
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{next(_counter)}.tmp")
    try:
        with open(temporary, "xb") as file:  # not `mkstemp`: the user's umask should hold
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name itself durable, where the system can (Windows cannot open folders)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # a file system without fsync for folders; the file itself is on the disk
        pass
    finally:
        os.close(descriptor)
