"""Counts and sizes as short text, and sizes read from text.

One unit everywhere: a kB has 1,000 bytes, an MB 1,000 kB, as on a disk's label. Whoever means 1,024
writes KiB and MiB, which are read too.
"""

from __future__ import annotations

import math
import re
from numbers import Integral, Real

from tinygrad_cnn.errors import ArgumentError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS |= {f"{unit}i": 2 ** (10 * power) for power, unit in enumerate("kmgt", 1)}


def amount(value: float) -> str:
    """A count with three digits and a letter: ``815k``.

    >>> amount(896), amount(815018), amount(11_689_512)
    ('896', '815k', '11.7M')
    """
    return _scaled(value, ("", "k", "M", "G", "T", "P"))


def byte_size(value: float) -> str:
    """Bytes with three digits and a unit.

    >>> byte_size(512), byte_size(131072), byte_size(2e9)
    ('512 B', '131 kB', '2 GB')
    """
    return _scaled(value, (" B", " kB", " MB", " GB", " TB"))


def parse_size(size: float | str, name: str = "parse_size: `size`") -> int:
    """Bytes from ``"2GB"``, ``"1.5GiB"``, ``"800 MB"`` or a number of bytes.

    Raises
    ------
    ArgumentError
        It is nothing of the kind, or less than one byte; ``name`` begins the message.

    Examples
    --------
    >>> parse_size("2GB"), parse_size("1.5 GiB"), parse_size(4096)
    (2000000000, 1610612736, 4096)
    """
    number = math.nan
    if isinstance(size, str):
        found = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([kmgt]?i?)b?", size.strip().lower(), re.ASCII)
        if found and found[2] in _UNITS:
            number = float(found[1]) * _UNITS[found[2]]
    elif isinstance(size, Real) and not isinstance(size, bool):  # 2e9 is a whole number too
        whole = isinstance(size, Integral) or float(size).is_integer()
        number = size if whole else number
    if not 1 <= number < math.inf:
        raise ArgumentError(
            f"{name} is {size!r}, expected a number of bytes or a text such as '2GB' or '800MiB'"
        )
    return int(number)


def _scaled(value: float, units: tuple[str, ...]) -> str:
    at = 0
    while abs(value) >= 999.5 and at < len(units) - 1:
        value, at = value / 1000, at + 1
    return f"{three_digits(value)}{units[at]}"


def three_digits(value: float) -> str:
    """A number of at most three digits before the point with three digits: ``12.3``."""
    if abs(value) >= 99.95 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}"
