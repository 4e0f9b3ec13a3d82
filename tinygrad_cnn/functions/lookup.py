"""Table lookup, and normalisation over groups of channels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tinygrad_cnn.errors import DtypeError, PositionError, ShapeError
from tinygrad_cnn.functions.convert import own
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.normalization import layer_norm

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


@export(top=False, method=False, nn=True)
def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Return the rows of ``weight`` that ``input`` names.

    Shapes: input (...) of ints, weight (rows, d), result (..., d). Row ``padding_idx`` gets no
    gradient.

    Raises
    ------
    TypeError
        ``input`` does not hold integers.
    ValueError
        ``weight`` is no matrix.
    IndexError
        A number in ``input`` is outside the table.

    >>> import tinygrad_cnn as tg
    >>> embedding(tg.tensor([1, 0, 1]), tg.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[3., 4.],
            [1., 2.],
            [3., 4.]])
    """
    if input.dtype.kind not in "iu":
        raise DtypeError(f"embedding: `input` has dtype {input.dtype} but integers are expected")
    if weight.ndim != 2:
        raise ShapeError(
            f"embedding: `weight` has shape {weight.shape} but a matrix (rows, d) is expected"
        )
    rows, d = weight.shape
    outside = (input._array < 0) | (input._array >= rows)
    if outside.any():
        raise PositionError(
            f"embedding: `input` holds {input._array[outside].flat[0]} but 0 to {rows - 1} is "
            f"expected (weight {weight.shape})"
        )
    found = weight.index_select(0, input.reshape(-1)).reshape(*input.shape, d)
    if padding_idx is None:
        return found
    # The same values, but the padding rows are constants.
    blank = (input == padding_idx % rows).unsqueeze(-1)
    out: Tensor = found.masked_fill(blank, 0.0) + found.detach().masked_fill(~blank, 0.0)
    return out


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
