"""A small process beside each rank that says so if the rank ends without a word.

Run as a file by `watch.Watch`, without imports of the package. Its standard input is a pipe whose
other end the rank holds: it ends when the rank does, however that ends. Of the ranks of one host
that then end, as the launcher kills them all, only the first is named. They know of one another by
a file: a ``.`` for each guardian that has ended, after the last of which it goes, and a ``!`` once
it is said why the run ends.

    python guardian.py FILE COUNT TEXT
"""

import os
import signal
import sys

try:
    import fcntl
except ImportError:  # Windows: two guardians at once may both speak
    fcntl = None  # type: ignore[assignment]

GOODBYE = b"."
SAID = b"!"


def claim(path: str, mark: bytes, count: int = 0) -> bool:
    """Add ``mark`` to the file; whether nobody had said anything before.

    With ``count`` marks of ended guardians the file goes.
    """
    file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        before = os.read(file, 4096)
        os.write(file, mark)
        if count and (before + mark).count(GOODBYE) == count:
            os.unlink(path)
        return SAID not in before
    finally:
        os.close(file)


def main(path: str, count: str, text: str) -> None:
    """Wait for the end of the rank."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are meant for the rank
    last = b""
    while got := os.read(0, 4096):
        last = got
    well = last.endswith(GOODBYE)
    if claim(path, GOODBYE if well else SAID + GOODBYE, int(count)) and not well:
        os.write(2, f"tinygrad_cnn: {text}\n".encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
