"""Normalisation over groups of channels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.functions.convert import own
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.normalization import layer_norm

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


@export(top=False, method=False, nn=True)
def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each sample over groups of channels and all positions.

    Shapes: input (n, c, ...), weight and bias (c,).

    Raises
    ------
    ValueError
        ``input`` has fewer than 2 axes, ``num_groups`` does not divide c, or there is one value for
        each group.

    >>> import tinygrad_cnn as tg
    >>> group_norm(tg.tensor([[1.0, 3.0, 10.0, 30.0]]), 2)
    tensor([[-1.0000, 1.0000, -1.0000, 1.0000]])
    """
    if input.ndim < 2:
        raise ShapeError(f"group_norm: `input` has shape {input.shape} but (n, c, ...) is expected")
    n, c, *rest = input.shape
    if num_groups < 1 or c % num_groups:
        raise ShapeError(
            f"group_norm: `num_groups` is {num_groups} but a divisor of the {c} channels is "
            f"expected (input {input.shape})"
        )
    size = c // num_groups * math.prod(rest)
    if n * size == 1:
        raise ShapeError(
            f"group_norm: `input` of shape {input.shape} has one value for each of {num_groups} "
            f"groups, expected more"
        )
    groups = input.reshape(n, num_groups, size)
    out: Tensor = (
        own(layer_norm(groups, (size,), eps=eps).reshape(n, c, *rest)) if size else input.clone()
    )
    per_channel = (c, *(1,) * len(rest))
    if weight is not None:
        out = out * weight.reshape(per_channel)
    if bias is not None:
        out = out + bias.reshape(per_channel)
    return out
