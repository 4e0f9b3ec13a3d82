"""Smooth activation functions as layers; those made of straight pieces are in rectifiers.py.

With ``inplace`` the result is written into the input. All but `GLU` keep the shape of their input.
"""

from __future__ import annotations

from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.nn.layers.activation_base import InplaceLayer, SettingsLayer
from tinygrad_cnn.nn.layers.checks import choice
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.tensor import Tensor


class SiLU(InplaceLayer):
    """``x * sigmoid(x)``, also known as swish.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.SiLU()(tg.tensor([0.0, 1.0]))
    tensor([0.0000, 0.7311])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.silu`."""
        return F.silu(input, inplace=self.inplace)


class Mish(InplaceLayer):
    """``x * tanh(softplus(x))`` (Misra, 2019).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Mish()(tg.tensor([0.0, 1.0]))
    tensor([0.0000, 0.8651])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.mish`."""
        return F.mish(input, inplace=self.inplace)


class SELU(InplaceLayer):
    """Scaled `ELU` that keeps mean and variance (Klambauer et al., 2017).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.SELU()(tg.tensor([1.0]))
    tensor([1.0507])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.selu`."""
        return F.selu(input, inplace=self.inplace)


class Sigmoid(Module):
    """``1 / (1 + exp(-x))``.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Sigmoid()(tg.zeros(1))
    tensor([0.5000])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.sigmoid`."""
        out: Tensor = F.sigmoid(input)
        return out


class Tanh(Module):
    """Hyperbolic tangent.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Tanh()(tg.zeros(1))
    tensor([0.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.tanh`."""
        out: Tensor = F.tanh(input)
        return out


class LogSigmoid(Module):
    """``log(sigmoid(x))``, without overflow.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.LogSigmoid()(tg.zeros(1))
    tensor([-0.6931])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.logsigmoid`."""
        return F.logsigmoid(input)


class Softsign(Module):
    """``x / (1 + |x|)``.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Softsign()(tg.ones(1))
    tensor([0.5000])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.softsign`."""
        return F.softsign(input)


class Tanhshrink(Module):
    """``x - tanh(x)``.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Tanhshrink()(tg.zeros(1))
    tensor([0.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.tanhshrink`."""
        return F.tanhshrink(input)


class ELU(SettingsLayer):
    """``x`` above 0 and ``alpha * (exp(x) - 1)`` below (Clevert et al., 2015).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.ELU()(tg.tensor([-1.0, 2.0]))
    tensor([-0.6321, 2.0000])
    """

    shown = ("alpha",)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.elu`."""
        return F.elu(input, self.alpha, self.inplace)


class CELU(SettingsLayer):
    """``max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))`` (Barron, 2017).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.CELU()(tg.tensor([-1.0, 2.0]))
    tensor([-0.6321, 2.0000])
    """

    shown = ("alpha",)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.celu`."""
        return F.celu(input, self.alpha, self.inplace)


class GELU(SettingsLayer):
    """``x * Φ(x)``, Φ being the normal distribution function (Hendrycks and Gimpel, 2016).

    ``approximate`` is "none" or "tanh" (the paper's quicker formula).

    Raises
    ------
    ValueError
        ``approximate`` is neither.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.GELU()(tg.tensor([0.0, 1.0]))
    tensor([0.0000, 0.8413])
    """

    shown = ("approximate",)

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = choice("GELU", "approximate", approximate, ("none", "tanh"))

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.gelu`."""
        return F.gelu(input, approximate=self.approximate)


class Softplus(SettingsLayer):
    """``log(1 + exp(beta * x)) / beta``, and x itself where ``beta * x > threshold``.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Softplus()(tg.zeros(1))
    tensor([0.6931])
    """

    shown = ("beta", "threshold")

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.softplus`."""
        return F.softplus(input, self.beta, self.threshold)


class _AlongDim(SettingsLayer):
    shown = ("dim",)

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim


class Softmax(_AlongDim):
    """``exp(x) / exp(x).sum(dim)``: positive values that sum to 1 along ``dim``.

    Without ``dim`` a call raises TypeError, where PyTorch guesses and warns.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Softmax(dim=1)(tg.zeros(1, 2))
    tensor([[0.5000, 0.5000]])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.softmax`."""
        return F.softmax(input, self.dim)


class LogSoftmax(_AlongDim):
    """The logarithm of `Softmax`, without overflow.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.LogSoftmax(dim=1)(tg.zeros(1, 2))
    tensor([[-0.6931, -0.6931]])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.log_softmax`."""
        return F.log_softmax(input, self.dim)


class Softmin(_AlongDim):
    """`Softmax` of the negated input.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Softmin(dim=1)(tg.zeros(1, 2))
    tensor([[0.5000, 0.5000]])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.softmin`."""
        return F.softmin(input, self.dim)


class GLU(SettingsLayer):
    """Split along ``dim`` into a and b and return ``a * sigmoid(b)``.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.GLU()(tg.zeros(3, 4)).shape
    Size([3, 2])
    """

    shown = ("dim",)

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.glu`."""
        return F.glu(input, self.dim)
