"""Names of ``torch.utils.dlpack``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygrad_cnn.functions import from_dlpack as from_dlpack  # PyTorch's place

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


def to_dlpack(tensor: Tensor) -> Any:
    """A DLPack capsule of the tensor's memory, which `from_dlpack` takes once.

    >>> import tinygrad_cnn as tg
    >>> tg.utils.dlpack.from_dlpack(to_dlpack(tg.ones(2)))
    tensor([1., 1.])
    """
    return tensor.__dlpack__(max_version=(1, 0))
