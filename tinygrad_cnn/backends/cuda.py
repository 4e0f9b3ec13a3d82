"""Settings of CUDA, which may be made and change nothing."""

from types import SimpleNamespace

matmul = SimpleNamespace(allow_tf32=False)


def is_built() -> bool:
    """Whether there is CUDA: never."""
    return False
