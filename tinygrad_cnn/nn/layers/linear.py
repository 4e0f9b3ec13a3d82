"""Layers without a neighbourhood: affine maps, lookup tables, changes of shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from tinygrad_cnn.errors import ArgumentError, PositionError
from tinygrad_cnn.functions import empty
from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.nn import init
from tinygrad_cnn.nn.layers.checks import float_dtype, integer
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.nn.module.parameter import Parameter
from tinygrad_cnn.tensor import Tensor


class Identity(Module):
    """Return the input. Takes and ignores any arguments, to stand in for another layer.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Identity()(tg.ones(2))
    tensor([1., 1.])
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
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
        *,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__()
        self.in_features = integer("Linear", "in_features", in_features, least=0)
        self.out_features = integer("Linear", "out_features", out_features, least=0)
        kind = float_dtype("Linear", dtype)
        self.weight = Parameter(empty(self.out_features, self.in_features, dtype=kind))
        if bias:
            self.bias = Parameter(empty(self.out_features, dtype=kind))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weight anew, set the bias to zero."""
        init.kaiming_normal_(self.weight, nonlinearity="relu")
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Embedding(Module):
    """A table of ``num_embeddings`` vectors, looked up by integers.

    Shapes: input (...) of ints, output (..., embedding_dim), weight (num_embeddings,
    embedding_dim). Row ``padding_idx`` starts at zero and gets no gradient. The weight is drawn
    from the standard normal distribution.

    Raises
    ------
    ValueError
        A size is negative or ``padding_idx`` is outside the table.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Embedding(10, 3)(tg.tensor([[1, 2], [4, 9]])).shape
    Size([2, 2, 3])
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__()
        self.num_embeddings = integer("Embedding", "num_embeddings", num_embeddings, least=0)
        self.embedding_dim = integer("Embedding", "embedding_dim", embedding_dim, least=0)
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise ArgumentError(
                    f"Embedding: `padding_idx` is {padding_idx} but there are {num_embeddings} rows"
                )
            padding_idx %= num_embeddings
        self.padding_idx = padding_idx
        kind = float_dtype("Embedding", dtype)
        self.weight = Parameter(empty(self.num_embeddings, self.embedding_dim, dtype=kind))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table anew."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight._written_by("reset_parameters")[self.padding_idx] = 0

    def forward(self, input: Tensor) -> Tensor:
        """Look the rows up: (...) to (..., embedding_dim)."""
        return F.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """Return the arguments."""
        pad = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{pad}"


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
            raise TypeError(
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
