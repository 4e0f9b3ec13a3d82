"""What functions return as views, as tensors in memory of their own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tinygrad_cnn.functions import arranging, joining, padding, shaping
from tinygrad_cnn.functions.convert import own, to_tensor
from tinygrad_cnn.functions.elementwise import clone
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.types import TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


def _copied(
    function: Callable[..., Any], name: str | None = None, *, method: bool = False
) -> Callable[..., Any]:
    """``function``, whose results are copies. Its name ends in ``_copy`` unless one is given."""
    signature = inspect.signature(function)

    def copy(input: Any, *args: Any, **kwargs: Any) -> Any:
        x = to_tensor(input)
        out = function(x, *args, **kwargs)
        if isinstance(out, tuple):
            return tuple(own(clone(part)) for part in out)
        return own(out, x)

    copy.__name__ = copy.__qualname__ = name or f"{function.__name__}_copy"
    copy.__doc__ = f"`{function.__name__}`, whose result shares no memory."
    copy.__module__ = __name__
    copy.__signature__ = signature  # type: ignore[attr-defined]
    return export(method=method)(copy)


@functools.wraps(shaping.view)
def _view(input: TensorLike, *args: Any, **kwargs: Any) -> Tensor:
    return shaping.view(to_tensor(input).contiguous(), *args, **kwargs)  # a copy may lie otherwise


alias_copy = _copied(clone, "alias_copy")
as_strided_copy = _copied(arranging.as_strided)
diagonal_copy = _copied(padding.diagonal)
expand_copy = _copied(shaping.expand)
narrow_copy = _copied(joining.narrow, method=True)
permute_copy = _copied(shaping.permute)
select_copy = _copied(joining.select)
split_copy = _copied(joining.split)
split_with_sizes_copy = _copied(joining.split_with_sizes)
squeeze_copy = _copied(shaping.squeeze)
t_copy = _copied(shaping.t)
transpose_copy = _copied(shaping.transpose)
unbind_copy = _copied(joining.unbind)
unfold_copy = _copied(arranging.unfold_axis, "unfold_copy")
unsafe_chunk = _copied(joining.chunk, "unsafe_chunk", method=True)
unsafe_split = _copied(joining.split, "unsafe_split", method=True)
unsafe_split_with_sizes = _copied(joining.split_with_sizes, "unsafe_split_with_sizes", method=True)
unsqueeze_copy = _copied(shaping.unsqueeze)
view_copy = _copied(_view)
