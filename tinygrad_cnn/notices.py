"""A line on standard error for what takes longer than a second.

The environment variable ``TINYGRAD_CNN_QUIET``, with any value but an empty one, keeps it away.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

QUIET = "TINYGRAD_CNN_QUIET"
PATIENCE = 1.0  # seconds before anything is said


@contextlib.contextmanager
def saying(what: str) -> Iterator[None]:
    """Inside, say ``what`` is being done if it takes long.

    Examples
    --------
    >>> with saying("adding two numbers"):
    ...     print(1 + 2)
    3
    """
    if os.environ.get(QUIET):
        yield
        return
    timer = threading.Timer(PATIENCE, _say, [what])
    timer.name, timer.daemon = "tinygrad_cnn notice", True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _say(what: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody reads it
        print(f"tinygrad_cnn: {what} ...", file=sys.stderr, flush=True)
