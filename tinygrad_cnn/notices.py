"""What is said to users: a line for what takes longer than a second, and warnings.

The environment variable ``TINYGRAD_CNN_QUIET``, with any value but an empty one, keeps it away.
"""

import contextlib
import os
import sys
import threading
import warnings
from collections.abc import Iterator

QUIET = "TINYGRAD_CNN_QUIET"
PATIENCE = 1.0  # seconds before anything is said


PACKAGE = os.path.dirname(__file__) + os.sep


def warn(text: str) -> None:
    """A warning that points at the line that called this package, through whatever lies between."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, stacklevel=level)


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
