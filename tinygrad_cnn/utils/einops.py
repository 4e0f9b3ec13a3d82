"""einops' layers as modules: ``from tinygrad_cnn.utils.einops import Rearrange, Reduce, EinMix``.

Its functions take tensors as they are: ``from einops import rearrange, reduce, repeat, einsum``.

>>> import tinygrad_cnn as tg
>>> from tinygrad_cnn.utils.einops import Rearrange
>>> flat = tg.nn.Sequential(Rearrange("b c h w -> b (c h w)"), tg.nn.Linear(12, 5))
>>> flat(tg.ones(2, 3, 2, 2)).shape
Size([2, 5])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygrad_cnn import functions as f
from tinygrad_cnn.nn import Module, Parameter

try:
    from einops.layers import RearrangeMixin, ReduceMixin
    from einops.layers._einmix import _EinmixMixin
except ImportError as error:
    raise ImportError("tinygrad_cnn.utils.einops needs einops: pip install einops") from error

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

__all__ = ["EinMix", "Rearrange", "Reduce"]


class Rearrange(RearrangeMixin, Module):  # type: ignore[misc]  # einops says nothing of its types
    """`einops.rearrange` as a layer.

    Parameters
    ----------
    pattern
        Such as ``"b c h w -> b (c h w)"``.
    axes_lengths
        Sides that the pattern does not tell.
    """

    def __init__(self, pattern: str, **axes_lengths: int) -> None:
        RearrangeMixin.__init__(self, pattern, **axes_lengths)

    def forward(self, input: Tensor) -> Tensor:
        """``input`` in the other shape."""
        out: Tensor = self._apply_recipe(input)
        return out


class Reduce(ReduceMixin, Module):  # type: ignore[misc]
    """`einops.reduce` as a layer: ``Reduce("b c (h 2) (w 2) -> b c h w", "max")``."""

    def __init__(self, pattern: str, reduction: str, **axes_lengths: int) -> None:
        ReduceMixin.__init__(self, pattern, reduction, **axes_lengths)

    def forward(self, input: Tensor) -> Tensor:
        """``input`` reduced."""
        out: Tensor = self._apply_recipe(input)
        return out


class EinMix(_EinmixMixin, Module):  # type: ignore[misc]
    """einops' `EinMix`: a product with weights of a shape that names its axes, and a bias.

    >>> import tinygrad_cnn as tg
    >>> mix = EinMix("b t c -> b t d", weight_shape="c d", bias_shape="d", c=3, d=4)
    >>> mix(tg.ones(2, 5, 3)).shape, mix.weight.shape
    (Size([2, 5, 4]), Size([3, 4]))
    """

    def _create_parameters(
        self, weight_shape: Any, weight_bound: float, bias_shape: Any, bias_bound: float
    ) -> None:
        def drawn(shape: Any, bound: float) -> Parameter:
            return Parameter(f.rand(*shape) * (2 * bound) - bound)

        self.weight = drawn(weight_shape, weight_bound)
        self.bias = None if bias_shape is None else drawn(bias_shape, bias_bound)

    def _create_rearrange_layers(
        self,
        pre_reshape_pattern: str | None,
        pre_reshape_lengths: Any,
        post_reshape_pattern: str | None,
        post_reshape_lengths: Any,
    ) -> None:
        self.pre_rearrange = self.post_rearrange = None
        if pre_reshape_pattern is not None:
            self.pre_rearrange = Rearrange(pre_reshape_pattern, **pre_reshape_lengths)
        if post_reshape_pattern is not None:
            self.post_rearrange = Rearrange(post_reshape_pattern, **post_reshape_lengths)

    def forward(self, input: Tensor) -> Tensor:
        """The product, with the bias added."""
        x = input if self.pre_rearrange is None else self.pre_rearrange(input)
        x = f.einsum(self.einsum_pattern, x, self.weight)
        if self.bias is not None:
            x = x + self.bias
        return x if self.post_rearrange is None else self.post_rearrange(x)
