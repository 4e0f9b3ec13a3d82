"""Sequences of several lengths in one tensor: padded, or packed step by step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from tinygrad_cnn.autograd.arguments import checked
from tinygrad_cnn.errors import ArgumentError, ShapeError
from tinygrad_cnn.functions import cat, from_numpy, full
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class _Packed(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None


class PackedSequence(_Packed):
    """Sequences of several lengths without padding: all first steps, then all second ones, ...

    Made by `pack_padded_sequence` and `pack_sequence`; recurrent layers take and return it.

    Attributes
    ----------
    data
        The steps, (total, ...).
    batch_sizes
        How many sequences have each step.
    sorted_indices, unsorted_indices
        The order of the sequences, longest first, and back; None if they were so.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn.nn.utils.rnn import pack_sequence
    >>> packed = pack_sequence([tg.tensor([1, 2, 3]), tg.tensor([4, 5])])
    >>> packed.data, packed.batch_sizes
    (tensor([1, 4, 2, 5, 3]), tensor([2, 2, 1]))
    """

    __slots__ = ()

    def to(self, *args: Any, **options: Any) -> Self:
        """Convert the steps, with the arguments of `Tensor.to`."""
        data = self.data.to(*args, **options)
        return self if data is self.data else self._replace(data=data)

    def double(self) -> Self:
        """Convert the steps to float64."""
        return self.to(np.float64)

    def float(self) -> Self:
        """Convert the steps to float32."""
        return self.to(np.float32)

    def half(self) -> Self:
        """Convert the steps to float16."""
        return self.to(np.float16)

    def long(self) -> Self:
        """Convert the steps to int64."""
        return self.to(np.int64)

    def cpu(self) -> Self:
        """Return the sequences themselves: there is no other device."""
        return self

    @property
    def is_cuda(self) -> bool:
        """False."""
        return False


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """Return the permutation that undoes ``permutation``.

    >>> import tinygrad_cnn as tg
    >>> invert_permutation(tg.tensor([2, 0, 1]))
    tensor([1, 2, 0])
    """
    return None if permutation is None else from_numpy(np.argsort(permutation._array))


@checked
def pack_padded_sequence(
    input: Tensor,
    lengths: Tensor | Sequence[int],
    batch_first: bool = False,
    enforce_sorted: bool = True,
) -> PackedSequence:
    """Pack sequences of ``lengths`` out of a padded tensor (l, n, ...), or (n, l, ...).

    Raises
    ------
    ValueError
        ``lengths`` do not fit, or, with ``enforce_sorted``, do not fall.

    >>> import tinygrad_cnn as tg
    >>> pack_padded_sequence(tg.tensor([[1, 2], [3, 0]]), [2, 1]).data
    tensor([1, 2, 3])
    """
    sizes = np.asarray(lengths._array if isinstance(lengths, Tensor) else lengths, np.int64)
    steps_first = input.transpose(0, 1) if batch_first else input
    length, n = steps_first.shape[:2]
    if sizes.shape != (n,) or not n or sizes.min() < 1 or sizes.max() > length:
        raise ArgumentError(
            f"pack_padded_sequence: `lengths` is {sizes.tolist()} but {n} numbers from 1 to "
            f"{length} are expected (input {input.shape})"
        )
    order = back = None
    if enforce_sorted:
        if (np.diff(sizes) > 0).any():
            raise ArgumentError(
                f"pack_padded_sequence: `lengths` is {sizes.tolist()} but numbers that do not grow "
                f"are expected; pass enforce_sorted=False to have the sequences sorted"
            )
    else:
        order = from_numpy(np.argsort(-sizes, kind="stable"))
        sizes, back = sizes[order._array], invert_permutation(order)
        steps_first = steps_first.index_select(1, order)
    there = np.arange(length)[:, None] < sizes  # (l, n)
    rows = np.flatnonzero(there)
    data = steps_first.reshape(length * n, *steps_first.shape[2:]).index_select(0, rows)
    counts = there.sum(1)
    return PackedSequence(data, from_numpy(counts[counts > 0]), order, back)


@checked
def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Undo `pack_padded_sequence`: a padded tensor (l, n, ...), or (n, l, ...), and the lengths.

    Raises
    ------
    ValueError
        ``total_length`` is less than that of the longest sequence.

    >>> import tinygrad_cnn as tg
    >>> pad_packed_sequence(pack_sequence([tg.tensor([1, 2]), tg.tensor([3])]))
    (tensor([[1, 3],
            [2, 0]]), tensor([2, 1]))
    """
    counts = sequence.batch_sizes._array
    longest, n = len(counts), int(counts[0])
    length = longest if total_length is None else total_length
    if length < longest:
        raise ArgumentError(
            f"pad_packed_sequence: `total_length` is {total_length} but the longest sequence has "
            f"{longest} steps"
        )
    rest = sequence.data.shape[1:]
    there = np.zeros((length, n), bool)
    there[:longest] = np.arange(n) < counts[:, None]
    padded = full((length * n, *rest), padding_value, dtype=sequence.data.dtype)
    padded = padded.index_copy(0, from_numpy(np.flatnonzero(there)), sequence.data)
    out = padded.reshape(length, n, *rest)
    lengths = there.sum(0)
    if sequence.unsorted_indices is not None:
        out = out.index_select(1, sequence.unsorted_indices)
        lengths = lengths[sequence.unsorted_indices._array]
    return out.transpose(0, 1) if batch_first else out, from_numpy(lengths)


def pad_sequence(
    sequences: Iterable[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Stack sequences (l, ...) of several lengths, padded to the longest: (l, n, ...).

    Raises
    ------
    ValueError
        ``padding_side`` is neither "right" nor "left", or there are no sequences.

    >>> import tinygrad_cnn as tg
    >>> pad_sequence([tg.tensor([1, 2]), tg.tensor([3])], batch_first=True)
    tensor([[1, 2],
            [3, 0]])
    """
    given = list(sequences)
    if not given:
        raise ArgumentError("pad_sequence: `sequences` is empty")
    if padding_side not in ("right", "left"):
        raise ArgumentError(
            f"pad_sequence: `padding_side` is {padding_side!r} but 'right' or 'left' is expected"
        )
    length, rest = max(s.shape[0] for s in given), given[0].shape[1:]
    rows = []
    for s in given:
        if s.shape[1:] != rest:
            raise ShapeError(
                f"pad_sequence: sequences have shapes {s.shape} and {given[0].shape} but may "
                f"differ in the first axis only"
            )
        padding = full((length - s.shape[0], *rest), padding_value, dtype=s.dtype)
        rows.append(cat([s, padding] if padding_side == "right" else [padding, s]).unsqueeze(0))
    out = cat(rows)  # (n, l, ...)
    return out if batch_first else out.transpose(0, 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False
) -> list[Tensor]:
    """Undo `pad_sequence`.

    >>> import tinygrad_cnn as tg
    >>> unpad_sequence(tg.tensor([[1, 2], [3, 0]]), [2, 1], batch_first=True)
    [tensor([1, 2]), tensor([3])]
    """
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    sizes: Array = np.asarray(lengths._array if isinstance(lengths, Tensor) else lengths)
    return [row[:size] for row, size in zip(rows, sizes.tolist(), strict=True)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences (l, ...) of several lengths.

    Raises
    ------
    ValueError
        With ``enforce_sorted``, the lengths grow.

    >>> import tinygrad_cnn as tg
    >>> pack_sequence([tg.tensor([1, 2]), tg.tensor([3])]).batch_sizes
    tensor([2, 1])
    """
    lengths = [s.shape[0] for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """Undo `pack_sequence`.

    >>> import tinygrad_cnn as tg
    >>> unpack_sequence(pack_sequence([tg.tensor([1, 2]), tg.tensor([3])]))
    [tensor([1, 2]), tensor([3])]
    """
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
