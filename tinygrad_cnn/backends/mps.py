"""Apple's graphics processors, which are not used."""


def is_available() -> bool:
    """Whether tensors can be on one: never."""
    return False


def is_built() -> bool:
    """Whether tensors could be on one: never."""
    return False
