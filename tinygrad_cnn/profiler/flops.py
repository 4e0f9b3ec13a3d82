"""Floating-point operations of the operations for which that number says something."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["FLOPS", "flops_of"]

Shape = tuple[int, ...]


def _matmul(shapes: Sequence[Shape], params: dict[str, Any], out: Shape) -> int:
    return 2 * math.prod(out) * shapes[0][-1]


def _conv(filters: Shape, pixels: Shape) -> int:
    """Every number of (n, f, oh, ow) ``pixels`` meets (c/groups, kh, kw) of the filters once."""
    return 2 * math.prod(pixels) * math.prod(filters[1:])


FLOPS: dict[str, Callable[[Sequence[Shape], dict[str, Any], Shape], int]] = {
    "matmul": _matmul,
    "linear": _matmul,
    "conv2d": lambda shapes, params, out: _conv(shapes[1], out),
    "conv2d_input": lambda shapes, params, out: _conv(shapes[1], shapes[0]),
    "conv2d_weight": lambda shapes, params, out: _conv(out, shapes[0]),
}
"""By operation: a function of the inputs' shapes, the parameters and the output's shape.

A multiplication with its addition counts as two, biases are not counted: Golub and Van Loan,
"Matrix Computations", section 1.1, for products; Sze, Chen, Yang and Emer, "Efficient Processing of
Deep Neural Networks", Proceedings of the IEEE 105 (12), 2017, section III, for convolutions. It is
the count of the definition, as in PyTorch's ``FlopCounterMode``: Winograd's algorithm does the same
with fewer, so that its rate may exceed what the processor can multiply.
"""


def flops_of(name: str, shapes: Sequence[Shape], params: dict[str, Any], out: Shape) -> int | None:
    """Return the floating-point operations of ``name``, None if they are not in the table.

    >>> flops_of("linear", [(64, 100), (10, 100)], {}, (64, 10))
    128000
    """
    count = FLOPS.get(name)
    return None if count is None else count(shapes, params, out)
