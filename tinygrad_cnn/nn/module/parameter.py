"""`Parameter`: a tensor that a module trains."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.functions import empty
from tinygrad_cnn.functions.convert import to_tensor
from tinygrad_cnn.tensor import Tensor


class Parameter(Tensor):
    """A leaf tensor that a `Module` registers when it is assigned to an attribute.

    ``data`` is a tensor or array, whose memory is shared; it must be floating unless
    ``requires_grad`` is False.

    Raises
    ------
    TypeError
        ``data`` is neither a tensor nor an array.
    RuntimeError
        ``data`` is not floating and ``requires_grad`` is set.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Parameter(tg.ones(2))
    Parameter containing:
    tensor([1., 1.], requires_grad=True)
    """

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        if data is None:
            data = empty(0)
        if not isinstance(data, Tensor | np.ndarray):
            raise TypeError(
                f"Parameter: `data` is a {type(data).__name__} but a tensor or array is expected"
            )
        source = to_tensor(data)
        self._value, self.storage = source._array, source.storage
        self.storage.shared_by(source, self)
        self.node = self.view_of = self._saved = self._grad = None
        if requires_grad:
            self.want_gradient(True)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """A copy without the gradient, as PyTorch's."""
        gradient, self._grad = self._grad, None
        try:
            return super().__deepcopy__(memo)
        finally:
            self._grad = gradient

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()
