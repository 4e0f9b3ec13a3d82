"""Activation functions as layers.

With ``inplace`` the result is written into the input. All but `GLU` keep the shape of their input.
"""

from __future__ import annotations

from tinygrad_cnn.autograd.devices import DeviceLike
from tinygrad_cnn.errors import ArgumentError, ShapeError
from tinygrad_cnn.functions import full
from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.nn.layers.checks import choice, factory, integer
from tinygrad_cnn.nn.layers.function_layer import UnaryLayer, calls
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.nn.module.parameter import Parameter
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import DTypeLike


@calls(F.relu)
class ReLU(UnaryLayer):
    """``max(x, 0)``, with derivative 0 at 0.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.ReLU()(tg.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    inplace: bool = False


@calls(F.silu)
class SiLU(UnaryLayer):
    """``x * sigmoid(x)``, also known as swish.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.SiLU()(tg.tensor([0.0, 1.0]))
    tensor([0.0000, 0.7311])
    """

    inplace: bool = False


@calls(F.mish)
class Mish(UnaryLayer):
    """``x * tanh(softplus(x))`` (Misra, 2019).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Mish()(tg.tensor([0.0, 1.0]))
    tensor([0.0000, 0.8651])
    """

    inplace: bool = False


@calls(F.selu)
class SELU(UnaryLayer):
    """Scaled `ELU` that keeps mean and variance (Klambauer et al., 2017).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.SELU()(tg.tensor([1.0]))
    tensor([1.0507])
    """

    inplace: bool = False


@calls(F.sigmoid)
class Sigmoid(UnaryLayer):
    """``1 / (1 + exp(-x))``.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Sigmoid()(tg.zeros(1))
    tensor([0.5000])
    """


@calls(F.tanh)
class Tanh(UnaryLayer):
    """Hyperbolic tangent.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Tanh()(tg.zeros(1))
    tensor([0.])
    """


@calls(F.logsigmoid)
class LogSigmoid(UnaryLayer):
    """``log(sigmoid(x))``, without overflow.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.LogSigmoid()(tg.zeros(1))
    tensor([-0.6931])
    """


@calls(F.softsign)
class Softsign(UnaryLayer):
    """``x / (1 + |x|)``.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Softsign()(tg.ones(1))
    tensor([0.5000])
    """


@calls(F.tanhshrink)
class Tanhshrink(UnaryLayer):
    """``x - tanh(x)``.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Tanhshrink()(tg.zeros(1))
    tensor([0.])
    """


@calls(F.elu, "alpha={alpha}")
class ELU(UnaryLayer):
    """``x`` above 0 and ``alpha * (exp(x) - 1)`` below (Clevert et al., 2015).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.ELU()(tg.tensor([-1.0, 2.0]))
    tensor([-0.6321, 2.0000])
    """

    alpha: float = 1.0
    inplace: bool = False


@calls(F.celu, "alpha={alpha}")
class CELU(UnaryLayer):
    """``max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))`` (Barron, 2017).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.CELU()(tg.tensor([-1.0, 2.0]))
    tensor([-0.6321, 2.0000])
    """

    alpha: float = 1.0
    inplace: bool = False


@calls(F.gelu, "approximate={approximate!r}")
class GELU(UnaryLayer):
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

    approximate: str = "none"

    def __post_init__(self) -> None:
        choice("GELU", "approximate", self.approximate, ("none", "tanh"))


@calls(F.softplus, "beta={beta}, threshold={threshold}")
class Softplus(UnaryLayer):
    """``log(1 + exp(beta * x)) / beta``, and x itself where ``beta * x > threshold``.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Softplus()(tg.zeros(1))
    tensor([0.6931])
    """

    beta: float = 1.0
    threshold: float = 20.0


@calls(F.softmax, "dim={dim}")
class Softmax(UnaryLayer):
    """``exp(x) / exp(x).sum(dim)``: positive values that sum to 1 along ``dim``.

    Without ``dim`` a call raises TypeError, where PyTorch guesses and warns.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Softmax(dim=1)(tg.zeros(1, 2))
    tensor([[0.5000, 0.5000]])
    """

    dim: int | None = None


@calls(F.log_softmax, "dim={dim}")
class LogSoftmax(UnaryLayer):
    """The logarithm of `Softmax`, without overflow.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.LogSoftmax(dim=1)(tg.zeros(1, 2))
    tensor([[-0.6931, -0.6931]])
    """

    dim: int | None = None


@calls(F.softmin, "dim={dim}")
class Softmin(UnaryLayer):
    """`Softmax` of the negated input.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Softmin(dim=1)(tg.zeros(1, 2))
    tensor([[0.5000, 0.5000]])
    """

    dim: int | None = None


@calls(F.glu, "dim={dim}")
class GLU(UnaryLayer):
    """Split along ``dim`` into a and b and return ``a * sigmoid(b)``.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.GLU()(tg.zeros(3, 4)).shape
    Size([3, 2])
    """

    dim: int = -1


@calls(F.leaky_relu, "negative_slope={negative_slope}")
class LeakyReLU(UnaryLayer):
    """``x`` above 0 and ``negative_slope * x`` below.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.LeakyReLU(0.5)(tg.tensor([-2.0, 2.0]))
    tensor([-1., 2.])
    """

    negative_slope: float = 0.01
    inplace: bool = False


@calls(F.hardtanh, "min_val={min_val}, max_val={max_val}")
class Hardtanh(UnaryLayer):
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

    min_val: float = -1.0
    max_val: float = 1.0
    inplace: bool = False

    def __post_init__(self) -> None:
        if not self.min_val < self.max_val:
            raise ArgumentError(
                f"{type(self).__name__}: `min_val` is {self.min_val} and `max_val` is "
                f"{self.max_val} but min_val < max_val is expected"
            )


class ReLU6(Hardtanh):
    """``min(max(x, 0), 6)``.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.ReLU6()(tg.tensor([-1.0, 3.0, 9.0]))
    tensor([0., 3., 6.])
    """

    shown = ""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(0.0, 6.0, inplace)


@calls(F.hardsigmoid)
class Hardsigmoid(UnaryLayer):
    """``relu6(x + 3) / 6``.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Hardsigmoid()(tg.tensor([-4.0, 0.0, 4.0]))
    tensor([0.0000, 0.5000, 1.0000])
    """

    inplace: bool = False

    def extra_repr(self) -> str:
        """Return nothing, as PyTorch."""
        return ""


@calls(F.hardswish)
class Hardswish(UnaryLayer):
    """``x * relu6(x + 3) / 6`` (Howard et al., "Searching for MobileNetV3", 2019).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Hardswish()(tg.tensor([-4.0, 0.0, 4.0]))
    tensor([-0., 0., 4.])
    """

    inplace: bool = False

    def extra_repr(self) -> str:
        """Return nothing, as PyTorch."""
        return ""


@calls(F.threshold, "threshold={threshold}, value={value}")
class Threshold(UnaryLayer):
    """``x`` above ``threshold`` and ``value`` elsewhere.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Threshold(1.0, 20.0)(tg.tensor([0.5, 2.0]))
    tensor([20., 2.])
    """

    threshold: float
    value: float
    inplace: bool = False


@calls(F.hardshrink, "{lambd}")
class Hardshrink(UnaryLayer):
    """``x`` where ``|x| > lambd`` and 0 elsewhere.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Hardshrink()(tg.tensor([-1.0, 0.2]))
    tensor([-1., 0.])
    """

    lambd: float = 0.5


@calls(F.softshrink, "{lambd}")
class Softshrink(UnaryLayer):
    """Move towards 0 by ``lambd``, and not beyond.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Softshrink()(tg.tensor([-1.0, 0.2]))
    tensor([-0.5000, 0.0000])
    """

    lambd: float = 0.5


class PReLU(Module):
    """`LeakyReLU` with a learned slope, one for all channels or one each (He et al., 2015).

    Shapes: input (n, c, ...), weight (num_parameters,) with ``num_parameters`` 1 or c.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.PReLU()(tg.tensor([-4.0, 1.0])).detach()
    tensor([-1., 1.])
    """

    weight: Parameter

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ) -> None:
        super().__init__()
        self.num_parameters = integer("PReLU", "num_parameters", num_parameters, least=1)
        self.init = init
        kind = factory("PReLU", device, dtype)
        self.weight = Parameter(full((self.num_parameters,), init, dtype=kind))

    def reset_parameters(self) -> None:
        """Set every slope to ``init``."""
        self.weight.detach().fill_(self.init)

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.prelu`."""
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        """Return the argument."""
        return f"num_parameters={self.num_parameters}"


@calls(F.rrelu, "lower={lower}, upper={upper}", also=("training",))
class RReLU(UnaryLayer):
    """`LeakyReLU` whose slope is drawn for each value, in training; else the mean of both bounds.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.RReLU().eval()(tg.tensor([1.0]))
    tensor([1.])
    """

    lower: float = 1.0 / 8
    upper: float = 1.0 / 3
    inplace: bool = False


class Softmax2d(Module):
    """`Softmax` over the channels of (n, c, h, w) or (c, h, w).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Softmax2d()(tg.zeros(1, 2, 1, 1)).flatten()
    tensor([0.5000, 0.5000])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply `F.softmax`."""
        if input.ndim not in (3, 4):
            raise ShapeError(
                f"Softmax2d: `input` has shape {input.shape} but (n, c, h, w) or (c, h, w) is "
                f"expected"
            )
        return F.softmax(input, -3)
