"""Floating-point operations of an operation, from its shapes.

An addition and a multiplication count 1 each, so a product of matrices (n, k) and (k, m) counts
``2 n k m``. An elementwise function counts 1 for each element of its result, however hard it is.
Rearranging counts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tinygrad_cnn.viz.graph.records import Shape, numel

_FREE = frozenset(
    "reshape permute expand getitem ungetitem cat pad flip tril triu clone detach gather scatter "
    "index_select cast put replay overwrite isolate".split()
)
# What is done with each element that goes in.
_PER_INPUT = {
    "sum": 1,
    "mean": 1,
    "prod": 1,
    "amax": 1,
    "amin": 1,
    "channel_sum": 1,
    "sum_to": 1,
    "cumsum": 1,
    "cumprod": 1,
    "norm2": 2,
    "var": 4,
    "std": 4,
    "logsumexp": 3,
    "softmax": 4,
    "log_softmax": 4,
    "channel_affine": 2,
    "batch_norm": 7,  # mean 1, centre 1, variance 2, scale 1, affine map 2
    "layer_norm": 7,
}


def flops(
    name: str, shapes: Sequence[Shape], out: Shape | None, params: Mapping[str, Any]
) -> int | None:
    """The floating-point operations of ``name`` on inputs of these ``shapes``; None if unknown.

    >>> flops("linear", [(1, 400), (120, 400), (120,)], (1, 120), {})
    96120
    >>> flops("conv2d", [(1, 3, 32, 32), (6, 3, 5, 5)], (1, 6, 28, 28), {})
    705600
    """
    if name in _FREE:
        return 0
    if name in _PER_INPUT:
        return _PER_INPUT[name] * numel(shapes[0]) if shapes else None
    if out is None:
        return None
    if name == "conv2d":  # every result is a product with (c / groups, kh, kw) numbers
        return 2 * numel(out) * numel(shapes[1][1:]) + _bias(shapes, out)
    if name in ("conv2d_input", "conv2d_weight"):  # the same products, added up elsewhere
        filters = shapes[1] if name == "conv2d_input" else out
        return 2 * numel(shapes[0]) * numel(filters[1:])
    if name == "linear":
        return 2 * numel(out) * shapes[0][-1] + _bias(shapes, out)
    if name == "matmul":
        return 2 * numel(out) * (shapes[0][-1] if shapes[0] else 1)
    if name == "einsum":
        return _einsum(str(params.get("equation", "")), shapes)
    if name in ("max_pool2d", "avg_pool2d"):
        kernel = params.get("kernel_size", ())
        return numel(out) * numel(tuple(kernel)) if isinstance(kernel, tuple) else None
    return numel(out)


def _bias(shapes: Sequence[Shape], out: Shape) -> int:
    return numel(out) if len(shapes) > 2 and shapes[2] else 0


def _einsum(equation: str, shapes: Sequence[Shape]) -> int | None:
    """A product over all indices at once: one multiplication and one addition for each."""
    sides: dict[str, int] = {}
    for letters, shape in zip(equation.partition("->")[0].split(","), shapes, strict=False):
        if "." in letters or len(letters.strip()) != len(shape):
            return None
        sides.update(zip(letters.strip(), shape, strict=True))
    return len(shapes) * numel(tuple(sides.values()))
