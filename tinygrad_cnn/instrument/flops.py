"""Floating-point operations of an operation, from its shapes: one table for profiler and drawings.

A multiplication with its addition counts as two, so a product of matrices (n, k) and (k, m) counts
``2 n k m``; biases are not counted: Golub and Van Loan, "Matrix Computations", section 1.1, for
products; Sze, Chen, Yang and Emer, "Efficient Processing of Deep Neural Networks", Proceedings of
the IEEE 105 (12), 2017, section III, for convolutions. It is the count of the definition, as in
PyTorch's ``FlopCounterMode``: Winograd's algorithm does the same with fewer, so that its rate may
exceed what the processor can multiply.

An elementwise function counts 1 for each element of its result, however hard it is, a reduction 1
or a few for each element that goes in. Rearranging counts nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

Shape = tuple[int, ...]
Params = Mapping[str, Any]
_Count = Callable[[Sequence[Shape], Shape, Params], int | None]


def _matmul(shapes: Sequence[Shape], out: Shape, params: Params) -> int:
    return 2 * prod(out) * (shapes[0][-1] if shapes[0] else 1)


def _conv(filters: Shape, pixels: Shape) -> int:
    """Every number of (n, f, oh, ow) ``pixels`` meets (c/groups, kh, kw) of the filters once."""
    return 2 * prod(pixels) * prod(filters[1:])


def _einsum(shapes: Sequence[Shape], out: Shape, params: Params) -> int | None:
    """A product over all indices at once: one multiplication and one addition for each."""
    sides: dict[str, int] = {}
    terms = str(params.get("equation", "")).partition("->")[0].split(",")
    for letters, shape in zip(terms, shapes, strict=False):
        if "." in letters or len(letters.strip()) != len(shape):
            return None
        sides.update(zip(letters.strip(), shape, strict=True))
    return len(shapes) * prod(sides.values())


def _pool(shapes: Sequence[Shape], out: Shape, params: Params) -> int | None:
    kernel = params.get("kernel_size", ())
    return prod(out) * prod(kernel) if isinstance(kernel, tuple) else None


FLOPS: dict[str, _Count] = {
    "matmul": _matmul,
    "linear": _matmul,
    "conv2d": lambda shapes, out, params: _conv(shapes[1], out),
    "conv2d_input": lambda shapes, out, params: _conv(shapes[1], shapes[0]),
    "conv2d_weight": lambda shapes, out, params: _conv(out, shapes[0]),
    "einsum": _einsum,
}
"""The products, by name: a function of the inputs' shapes, the output's shape and the parameters.

The profiler counts them alone: of their derivative rules it knows the number too.
"""

_POOLS: dict[str, _Count] = {"max_pool2d": _pool, "avg_pool2d": _pool}
_FREE = frozenset(
    "reshape permute expand getitem ungetitem cat pad flip tril triu clone detach gather scatter "
    "index_select cast put replay overwrite isolate".split()
)
_PER_INPUT = {  # what is done with each element that goes in
    **dict.fromkeys("sum mean prod amax amin channel_sum sum_to cumsum cumprod".split(), 1),
    **dict.fromkeys("norm2 channel_affine".split(), 2),
    **dict.fromkeys("var std softmax log_softmax".split(), 4),
    "logsumexp": 3,
    "batch_norm": 7,  # mean 1, centre 1, variance 2, scale 1, affine map 2
    "layer_norm": 7,
    "group_norm": 7,
}


def flops(name: str, shapes: Sequence[Shape], out: Shape | None, params: Params) -> int | None:
    """The floating-point operations of ``name`` on inputs of these ``shapes``; None if unknown.

    >>> flops("linear", [(64, 100), (10, 100), (10,)], (64, 10), {})
    128000
    >>> flops("conv2d", [(1, 3, 32, 32), (6, 3, 5, 5)], (1, 6, 28, 28), {})
    705600
    """
    if name in _FREE:
        return 0
    if name in _PER_INPUT:
        return _PER_INPUT[name] * prod(shapes[0]) if shapes else None
    if out is None:
        return None
    count = FLOPS.get(name) or _POOLS.get(name)
    return prod(out) if count is None else count(shapes, out, params)


def joint_flops(
    name: str, shapes: Sequence[Shape], wanted: Sequence[bool], out: Shape
) -> int | None:
    """The floating-point operations of a joint derivative rule on raw arrays, inside which no
    operation is seen; None if it has no such rule, or it is not known.

    A product for each wanted factor, as large as that of the forward pass; the bias's sum is not
    counted.

    >>> joint_flops("linear", [(64, 100), (10, 100)], (True, True), (64, 10))
    256000
    """
    if name not in ("linear", "conv2d"):
        return None
    one = flops(name, shapes, out, {})
    return None if one is None else one * sum(wanted[:2]) or None
