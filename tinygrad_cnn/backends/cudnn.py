"""Settings of cuDNN, which may be made and change nothing."""

enabled, benchmark, deterministic, allow_tf32 = False, False, False, False


def is_available() -> bool:
    """Whether there is cuDNN: never."""
    return False


def version() -> None:
    """None: there is no cuDNN."""
    return None
