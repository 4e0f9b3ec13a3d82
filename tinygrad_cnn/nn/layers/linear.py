"""Layers without a neighbourhood: affine maps, distances, changes of shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from tinygrad_cnn.autograd.devices import DeviceLike
from tinygrad_cnn.errors import DtypeError, PositionError
from tinygrad_cnn.functions import empty
from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.nn.layers import reset
from tinygrad_cnn.nn.layers.checks import factory, integer
from tinygrad_cnn.nn.layers.function_layer import BinaryLayer, calls
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.nn.module.parameter import Parameter
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import DTypeLike

_T = TypeVar("_T")


class Identity(Module):
    """Return the input. Takes and ignores any arguments, to stand in for another layer.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Identity()(tg.ones(2))
    tensor([1., 1.])
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__()

    def forward(self, input: _T) -> _T:
        """Return ``input``."""
        return input


class Linear(Module):
    """Affine map ``x @ weight.T + bias``.

    Shapes: input (..., in_features), output (..., out_features), weight (out_features,
    in_features), bias (out_features,).

    The weight starts with He's normal initialisation (fan-in, relu) and the bias with zeros, where
    PyTorch draws both uniformly with a standard deviation √6 times smaller.

    Raises
    ------
    ValueError
        A size is negative.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Linear(20, 30)(tg.ones(128, 20)).shape
    Size([128, 30])
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ) -> None:
        super().__init__()
        self.in_features = integer("Linear", "in_features", in_features, least=0)
        self.out_features = integer("Linear", "out_features", out_features, least=0)
        kind = factory("Linear", device, dtype)
        self.weight = Parameter(empty(self.out_features, self.in_features, dtype=kind))
        if bias:
            self.bias = Parameter(empty(self.out_features, dtype=kind))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weight anew, set the bias to zero."""
        reset.he(self)

    def _reset_as_pytorch(self) -> None:
        reset.as_pytorch(self)

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Bilinear(Module):
    """Bilinear map ``x1 @ weight[k] @ x2 + bias[k]``.

    Shapes: x1 (..., in1_features), x2 (..., in2_features), output (..., out_features), weight
    (out_features, in1_features, in2_features), bias (out_features,). All are drawn uniformly within
    ``in1_features ** -0.5``, as in PyTorch.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Bilinear(2, 3, 4)(tg.ones(5, 2), tg.ones(5, 3)).shape
    Size([5, 4])
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ) -> None:
        super().__init__()
        self.in1_features = integer("Bilinear", "in1_features", in1_features, least=1)
        self.in2_features = integer("Bilinear", "in2_features", in2_features, least=0)
        self.out_features = integer("Bilinear", "out_features", out_features, least=0)
        kind = factory("Bilinear", device, dtype)
        shape = (self.out_features, self.in1_features, self.in2_features)
        self.weight = Parameter(empty(shape, dtype=kind))
        shift = Parameter(empty(self.out_features, dtype=kind)) if bias else None
        self.register_parameter("bias", shift)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        reset.uniform(self.parameters(), self.in1_features**-0.5)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """Apply `F.bilinear`."""
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )


@calls(F.cosine_similarity)
class CosineSimilarity(BinaryLayer):
    """The cosine of the angle between two tensors along ``dim``; norms are at least ``eps``.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.CosineSimilarity()(tg.ones(1, 2), tg.tensor([[2.0, 2.0]]))
    tensor([1.0000])
    """

    dim: int = 1
    eps: float = 1e-8


@calls(F.pairwise_distance)
class PairwiseDistance(BinaryLayer):
    """The norm of order ``p`` of ``x1 - x2 + eps`` along the last axis.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.PairwiseDistance()(tg.zeros(1, 2), tg.tensor([[3.0, 4.0]]))
    tensor([5.0000])
    """

    p: float = 2.0
    eps: float = 1e-6
    keepdim: bool = False

    @property
    def norm(self) -> float:
        """``p``, under PyTorch's name."""
        return self.p


class Flatten(Module):
    """Join the axes from ``start_dim`` to ``end_dim`` into one.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Flatten()(tg.ones(32, 1, 5, 5)).shape
    Size([32, 25])
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        """Return the reshaped input."""
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Split axis ``dim`` into axes of the sizes ``unflattened_size``, one of which may be -1.

    Raises
    ------
    TypeError
        ``unflattened_size`` is no tuple of ints.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Unflatten(1, (2, 5, 5))(tg.ones(8, 50)).shape
    Size([8, 2, 5, 5])
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        self.dim = integer("Unflatten", "dim", dim, least=-64)
        if not isinstance(unflattened_size, tuple | list):
            raise DtypeError(
                f"Unflatten: `unflattened_size` is {unflattened_size!r} but a tuple of ints is "
                f"expected"
            )
        self.unflattened_size = tuple(
            integer("Unflatten", "unflattened_size", n, least=-1) for n in unflattened_size
        )

    def forward(self, input: Tensor) -> Tensor:
        """Return the reshaped input."""
        if not -input.ndim <= self.dim < input.ndim:
            raise PositionError(
                f"Unflatten: `dim` is {self.dim} but the input has shape {input.shape}"
            )
        dim = self.dim % input.ndim
        return input.reshape(*input.shape[:dim], *self.unflattened_size, *input.shape[dim + 1 :])

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
