"""Activation functions made of straight pieces, as layers: relu and its relatives.

With ``inplace`` the result is written into the input. All keep the shape of their input.
"""

from __future__ import annotations

from typing import ClassVar

import numpy.typing as npt

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.functions import full
from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.nn.layers.activation_base import InplaceLayer, SettingsLayer
from tinygrad_cnn.nn.layers.checks import float_dtype, integer
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.nn.module.parameter import Parameter
from tinygrad_cnn.tensor import Tensor


class ReLU(InplaceLayer):
    """``max(x, 0)``, with derivative 0 at 0.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.ReLU()(tg.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.relu`."""
        return F.relu(input, inplace=self.inplace)


class LeakyReLU(SettingsLayer):
    """``x`` above 0 and ``negative_slope * x`` below.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.LeakyReLU(0.5)(tg.tensor([-2.0, 2.0]))
    tensor([-1., 2.])
    """

    shown = ("negative_slope",)

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.leaky_relu`."""
        return F.leaky_relu(input, self.negative_slope, self.inplace)


class PReLU(SettingsLayer):
    """`LeakyReLU` with a learned slope, one for all channels or one each (He et al., 2015).

    Shapes: input (n, c, ...), weight (num_parameters,) with ``num_parameters`` 1 or c.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.PReLU()(tg.tensor([-4.0, 1.0])).detach()
    tensor([-1., 1.])
    """

    shown = ("num_parameters",)
    weight: Parameter

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, *, dtype: npt.DTypeLike | None = None
    ) -> None:
        super().__init__()
        self.num_parameters = integer("PReLU", "num_parameters", num_parameters, least=1)
        self.init = init
        kind = float_dtype("PReLU", dtype)
        self.weight = Parameter(full((self.num_parameters,), init, dtype=kind))

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.prelu`."""
        return F.prelu(input, self.weight)


class Hardtanh(SettingsLayer):
    """Limit to [min_val, max_val], with derivative 0 at both bounds.

    Raises
    ------
    ValueError
        ``min_val`` is not below ``max_val``.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Hardtanh()(tg.tensor([-2.0, 0.5, 2.0]))
    tensor([-1.0000, 0.5000, 1.0000])
    """

    shown: ClassVar[tuple[str, ...]] = ("min_val", "max_val")

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        if not min_val < max_val:
            raise ArgumentError(
                f"{type(self).__name__}: `min_val` is {min_val} and `max_val` is {max_val} but "
                f"min_val < max_val is expected"
            )
        self.min_val = min_val
        self.max_val = max_val
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.hardtanh`."""
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)


class ReLU6(Hardtanh):
    """``min(max(x, 0), 6)``.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.ReLU6()(tg.tensor([-1.0, 3.0, 9.0]))
    tensor([0., 3., 6.])
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(0.0, 6.0, inplace)

    def extra_repr(self) -> str:
        """Return the argument if it is set."""
        return "inplace=True" if self.inplace else ""


class Hardsigmoid(InplaceLayer):
    """``relu6(x + 3) / 6``.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Hardsigmoid()(tg.tensor([-4.0, 0.0, 4.0]))
    tensor([0.0000, 0.5000, 1.0000])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.hardsigmoid`."""
        return F.hardsigmoid(input, inplace=self.inplace)

    def extra_repr(self) -> str:
        """Return nothing, as PyTorch."""
        return ""


class Hardswish(InplaceLayer):
    """``x * relu6(x + 3) / 6`` (Howard et al., "Searching for MobileNetV3", 2019).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Hardswish()(tg.tensor([-4.0, 0.0, 4.0]))
    tensor([-0., 0., 4.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.hardswish`."""
        return F.hardswish(input, inplace=self.inplace)

    def extra_repr(self) -> str:
        """Return nothing, as PyTorch."""
        return ""


class Threshold(SettingsLayer):
    """``x`` above ``threshold`` and ``value`` elsewhere.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Threshold(1.0, 20.0)(tg.tensor([0.5, 2.0]))
    tensor([20., 2.])
    """

    shown = ("threshold", "value")

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.threshold = threshold
        self.value = value
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.threshold`."""
        return F.threshold(input, self.threshold, self.value, self.inplace)


class _Shrink(Module):
    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def extra_repr(self) -> str:
        """Return the argument."""
        return f"{self.lambd}"


class Hardshrink(_Shrink):
    """``x`` where ``|x| > lambd`` and 0 elsewhere.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Hardshrink()(tg.tensor([-1.0, 0.2]))
    tensor([-1., 0.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.hardshrink`."""
        return F.hardshrink(input, self.lambd)


class Softshrink(_Shrink):
    """Move towards 0 by ``lambd``, and not beyond.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Softshrink()(tg.tensor([-1.0, 0.2]))
    tensor([-0.5000, 0.0000])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.softshrink`."""
        return F.softshrink(input, self.lambd)
