"""Dropout layers: active in training only."""

from __future__ import annotations

from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.nn.layers.checks import probability
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.tensor import Tensor


class _Dropout(Module):
    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        self.p = probability(type(self).__name__, "p", p)
        self.inplace = inplace

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """Zero each value with probability ``p`` and scale the rest by ``1 / (1 - p)``, in training.

    Draws come from the library's default generator. With ``inplace`` the result is written into
    the input.

    Raises
    ------
    ValueError
        ``p`` is outside [0, 1].

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> sorted(set(nn.Dropout(0.5)(tg.ones(100)).tolist()))
    [0.0, 2.0]
    >>> nn.Dropout(0.5).eval()(tg.ones(2))
    tensor([1., 1.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return a tensor of the input's shape."""
        return F.dropout(input, self.p, self.training, self.inplace)


class Dropout1d(_Dropout):
    """Zero each channel (n, c, :) with probability ``p`` and scale the rest, in training.

    Raises
    ------
    ValueError
        ``p`` is outside [0, 1].

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> y = nn.Dropout1d(0.5)(tg.ones(1, 20, 4))
    >>> bool((y.amax(2) == y.amin(2)).all())
    True
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return a tensor of the input's shape."""
        return F.dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(_Dropout):
    """Zero each channel (n, c, :, :) with probability ``p`` and scale the rest, in training.

    Raises
    ------
    ValueError
        ``p`` is outside [0, 1].

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> y = nn.Dropout2d(0.5)(tg.ones(1, 20, 2, 2))
    >>> bool((y.amax((2, 3)) == y.amin((2, 3))).all())
    True
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return a tensor of the input's shape."""
        return F.dropout2d(input, self.p, self.training, self.inplace)
