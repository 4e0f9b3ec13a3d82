"""What programs written for PyTorch ask of accelerators before they use the CPU."""


def is_available() -> bool:
    """Whether there is one: never."""
    return False


def current_accelerator(check_available: bool = False) -> None:
    """None: there is no accelerator."""
    return None


def device_count() -> int:
    """How many accelerators there are: none."""
    return 0
