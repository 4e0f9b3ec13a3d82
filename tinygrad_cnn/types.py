"""Names for types that stand in many signatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

Array: TypeAlias = np.ndarray[Any, Any]
DType: TypeAlias = np.dtype[Any]
DTypeLike: TypeAlias = "npt.DTypeLike | None"
"""What a user may write for a dtype; None for the default one."""

TensorLike: TypeAlias = "Tensor | Array | np.generic | float | Sequence[Any]"
"""What a function takes for a tensor: one, an array, a number, or nested lists of numbers."""

Sizes: TypeAlias = "int | Sequence[int]"
"""An integer, or one for each axis of space."""
