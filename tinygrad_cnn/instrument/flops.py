"""Floating-point operations of the operations for which that number says something."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

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


def joint_flops_of(
    name: str, shapes: Sequence[Shape], wanted: Sequence[bool], out: Shape
) -> int | None:
    """Return the floating-point operations of a joint derivative rule on raw arrays, inside which
    no operation is seen; None if it has no such rule, or it is not known.

    A product for each wanted factor, as large as that of the forward pass; the bias's sum is not
    counted.

    >>> joint_flops_of("linear", [(64, 100), (10, 100)], (True, True), (64, 10))
    256000
    """
    if name not in ("linear", "conv2d"):
        return None
    one = flops_of(name, shapes, {}, out)
    return None if one is None else one * sum(wanted[:2]) or None
