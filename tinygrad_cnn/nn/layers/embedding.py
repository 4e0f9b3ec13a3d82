"""Tables of vectors, looked up by integers: one by one, or a bag at a time."""

from __future__ import annotations

from typing import ClassVar, Self

from tinygrad_cnn.autograd.devices import DeviceLike
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.functions import empty
from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.nn import init
from tinygrad_cnn.nn.layers.checks import choice, factory, integer
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.nn.module.parameter import Parameter
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import DTypeLike


class _Table(Module):
    shown: ClassVar[dict[str, object]]  # arguments with their defaults, in PyTorch's order
    weight: Parameter
    sparse: bool

    def _set_table(
        self,
        sizes: tuple[int, int],
        padding_idx: int | None,
        limit: tuple[float | None, float, bool],
        given: Tensor | None,
        device: DeviceLike,
        dtype: DTypeLike,
    ) -> None:
        me = type(self).__name__
        self.num_embeddings = n = integer(me, "num_embeddings", sizes[0], least=0)
        self.embedding_dim = integer(me, "embedding_dim", sizes[1], least=0)
        if padding_idx is not None:
            padding_idx = integer(me, "padding_idx", padding_idx, least=-n)
            if not -n <= padding_idx < n:
                raise ArgumentError(f"{me}: `padding_idx` is {padding_idx} but there are {n} rows")
            padding_idx %= n
        self.padding_idx = padding_idx
        self.max_norm, self.norm_type, self.scale_grad_by_freq = limit
        kind = factory(me, device, dtype)
        if given is None:
            self.weight = Parameter(empty(n, self.embedding_dim, dtype=kind))
            self.reset_parameters()
        elif not isinstance(given, Tensor):
            raise DtypeError(f"{me}: `_weight` is {given!r}, expected a Tensor or None")
        elif given.shape == (n, self.embedding_dim):
            self.weight = Parameter(given)
        else:
            raise ArgumentError(
                f"{me}: `_weight` has shape {given.shape} but {(n, self.embedding_dim)} is expected"
            )

    def reset_parameters(self) -> None:
        """Draw the table anew."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight._written_by("reset_parameters")[self.padding_idx] = 0

    def extra_repr(self) -> str:
        """Return the arguments that differ from their defaults."""
        shown = [f"{self.num_embeddings}, {self.embedding_dim}"]
        for name, default in self.shown.items():
            if (value := getattr(self, name)) != default:
                shown.append(f"{name}={value!r}")
        return ", ".join(shown)


class Embedding(_Table):
    """A table of ``num_embeddings`` vectors, looked up by integers.

    Shapes: input (...) of ints, output (..., embedding_dim), weight (num_embeddings,
    embedding_dim). Row ``padding_idx`` starts at zero and gets no gradient. The weight is drawn
    from the standard normal distribution. The other arguments are those of `F.embedding`.

    Raises
    ------
    ValueError
        A size is negative or ``padding_idx`` is outside the table.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.Embedding(10, 3)(tg.tensor([[1, 2], [4, 9]])).shape
    Size([2, 2, 3])
    """

    shown: ClassVar[dict[str, object]] = {
        "padding_idx": None,
        "max_norm": None,
        "norm_type": 2,
        "scale_grad_by_freq": False,
        "sparse": False,
    }

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ) -> None:
        super().__init__()
        self.sparse = sparse
        limit = (max_norm, norm_type, scale_grad_by_freq)
        self._set_table((num_embeddings, embedding_dim), padding_idx, limit, _weight, device, dtype)
        self.weight.requires_grad_(not _freeze)

    def forward(self, input: Tensor) -> Tensor:
        """Look the rows up: (...) to (..., embedding_dim)."""
        return F.embedding(
            input,
            self.weight,
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.sparse,
        )

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Self:
        """Return a layer around a table (num_embeddings, embedding_dim), not trained if ``freeze``.

        >>> import tinygrad_cnn as tg
        >>> from tinygrad_cnn import nn
        >>> nn.Embedding.from_pretrained(tg.tensor([[1.0, 2.0]]))(tg.tensor([0, 0]))
        tensor([[1., 2.],
                [1., 2.]])
        """
        rows, columns = _matrix(cls.__name__, embeddings)
        limit = (max_norm, norm_type, scale_grad_by_freq)
        return cls(rows, columns, padding_idx, *limit, sparse, embeddings, freeze)


class EmbeddingBag(_Table):
    """The sum, mean or maximum of the rows of a table that each bag of integers names.

    Shapes: input (bags, n) of ints, or (total,) with ``offsets`` (bags,), where each bag begins;
    output (bags, embedding_dim), weight (num_embeddings, embedding_dim). ``mode`` is "sum", "mean"
    or "max". With ``include_last_offset`` the offsets end with the total. Row ``padding_idx``
    counts nowhere. The other arguments are those of `F.embedding_bag`.

    Raises
    ------
    ValueError
        A size is negative, ``padding_idx`` is outside the table or ``mode`` is unknown.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.EmbeddingBag(10, 3)(tg.tensor([1, 2, 4, 9]), tg.tensor([0, 3])).shape
    Size([2, 3])
    """

    shown: ClassVar[dict[str, object]] = {
        "max_norm": None,
        "norm_type": 2,
        "scale_grad_by_freq": False,
        "mode": None,
        "padding_idx": None,
    }

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ) -> None:
        super().__init__()
        self.mode = choice("EmbeddingBag", "mode", mode, ("sum", "mean", "max"))
        self.sparse = sparse
        self.include_last_offset = include_last_offset
        limit = (max_norm, norm_type, scale_grad_by_freq)
        self._set_table((num_embeddings, embedding_dim), padding_idx, limit, _weight, device, dtype)

    def forward(
        self,
        input: Tensor,
        offsets: Tensor | None = None,
        per_sample_weights: Tensor | None = None,
    ) -> Tensor:
        """Reduce each bag; ``per_sample_weights``, of the input's shape, multiply its rows."""
        return F.embedding_bag(
            input,
            self.weight,
            offsets,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.mode,
            self.sparse,
            per_sample_weights,
            self.include_last_offset,
            self.padding_idx,
        )

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> Self:
        """Return a layer around a table (num_embeddings, embedding_dim), not trained if ``freeze``.

        >>> import tinygrad_cnn as tg
        >>> from tinygrad_cnn import nn
        >>> table = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> nn.EmbeddingBag.from_pretrained(table)(tg.tensor([[0, 1]]))
        tensor([[2., 3.]])
        """
        rows, columns = _matrix(cls.__name__, embeddings)
        limit = (max_norm, norm_type, scale_grad_by_freq)
        last, pad = include_last_offset, padding_idx
        layer = cls(rows, columns, *limit, mode, sparse, embeddings, last, pad)
        layer.weight.requires_grad_(not freeze)
        return layer


def _matrix(owner: str, embeddings: Tensor) -> tuple[int, int]:
    if embeddings.ndim != 2:
        raise ArgumentError(
            f"{owner}.from_pretrained: `embeddings` has shape {embeddings.shape} but a matrix is "
            f"expected"
        )
    rows, columns = embeddings.shape
    return rows, columns
