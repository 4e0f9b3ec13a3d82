"""Which algorithm convolutions use: fast or exact to the last rounding."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Literal, get_args

from tinygrad_cnn.errors import ArgumentError

ConvAlgorithm = Literal["auto", "direct", "winograd"]

_algorithm: ContextVar[ConvAlgorithm] = ContextVar("conv_algorithm", default="auto")


def set_conv_algorithm(name: ConvAlgorithm) -> ConvAlgorithm:
    """Choose the convolution algorithm of this thread or context and return the former choice.

    ``"direct"`` multiplies and adds in the defining order of magnitude of rounding; ``"winograd"``
    saves up to two thirds of the multiplications of 3x3 convolutions with stride 1 at about ten
    times the rounding error (1e-5 relative to the largest result), wherever it applies; ``"auto"``
    does so where it is faster. float64 is always direct.

    Raises
    ------
    ValueError: no such algorithm.

    >>> set_conv_algorithm("direct")
    'auto'
    >>> set_conv_algorithm("auto")
    'direct'
    """
    if name not in get_args(ConvAlgorithm):
        raise ArgumentError(
            f"set_conv_algorithm: `name` is {name!r}, expected one of "
            f"{', '.join(get_args(ConvAlgorithm))}"
        )
    former = _algorithm.get()
    _algorithm.set(name)
    return former


def conv_algorithm() -> ConvAlgorithm:
    """Return the convolution algorithm chosen in this context."""
    return _algorithm.get()
