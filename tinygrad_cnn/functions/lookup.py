"""Table lookup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygrad_cnn.errors import DtypeError, PositionError, ShapeError
from tinygrad_cnn.functions.export import export

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
