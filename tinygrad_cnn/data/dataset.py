"""Data sets, numbered and streamed, and ways to cut and join them."""

from __future__ import annotations

import bisect
import contextlib
import itertools
import math
import operator
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from tinygrad_cnn.autograd.arguments import checked
from tinygrad_cnn.data.keyed import begin_sample
from tinygrad_cnn.errors import ArgumentError, DtypeError, PositionError
from tinygrad_cnn.functions import as_tensor
from tinygrad_cnn.ops.random import Generator, numpy_generator
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from tinygrad_cnn.data.transforms import Transform

T_co = TypeVar("T_co", covariant=True)


class Dataset(Generic[T_co]):
    """A collection with a length and numbered samples: subclasses define both methods below.

    A data set may also define ``__getitems__(indices)``, to read many samples at once: it returns
    a list of samples, or a tuple of arrays that already are the batch (much the faster).

    A class that sets ``transforms_batches`` leaves two attributes to `DataLoader`: ``transform``, a
    batch transform for the first array of each batch, and ``finish``, one more for a batch that is
    still uint8 after that. Otherwise they are the data set's own business, which may use a
    ``transform`` for its samples.

    Examples
    --------
    >>> class Squares(Dataset[int]):
    ...     def __len__(self) -> int:
    ...         return 4
    ...     def __getitem__(self, index: int) -> int:
    ...         return index**2
    >>> (Squares() + Squares())[6]
    4
    """

    transforms_batches: bool = False
    transform: Transform | None = None
    finish: Transform | None = None

    def __len__(self) -> int:
        """Return the number of samples."""
        raise NotImplementedError(f"{type(self).__name__} does not define `__len__`")

    def __getitem__(self, index: int) -> T_co:
        """Return one sample."""
        raise NotImplementedError(f"{type(self).__name__} does not define `__getitem__`")

    def __add__(self, other: Dataset[Any]) -> ConcatDataset:
        """Return both data sets one after the other."""
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T_co]):
    """A stream of samples: subclasses define ``__iter__``, and ``__len__`` where it is known.

    Each worker of a `DataLoader` reads a (shallow) copy of its own; `get_worker_info` says which
    worker it is, so that each can read its share.

    Examples
    --------
    >>> class Countdown(IterableDataset[int]):
    ...     def __iter__(self) -> Iterator[int]:
    ...         return iter([3, 2, 1])
    >>> list(Countdown() + Countdown())
    [3, 2, 1, 3, 2, 1]
    """

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} does not define `__iter__`")

    def __len__(self) -> int:
        """Not known (a TypeError, after which ``list()`` goes on without)."""
        raise DtypeError(f"{type(self).__name__}: a stream has no length, unless it defines one")

    def __bool__(self) -> bool:
        return True

    def __add__(self, other: Dataset[Any]) -> ChainDataset:  # type: ignore[override]
        """Return both streams one after the other."""
        return ChainDataset([self, other])


class ChainDataset(IterableDataset[Any]):
    """Streams one after the other.

    Raises
    ------
    TypeError
        when it is read, one of ``datasets`` is no `IterableDataset`.
    """

    def __init__(self, datasets: Iterable[Dataset[Any]]) -> None:
        self.datasets = datasets

    def _streams(self) -> Iterator[IterableDataset[Any]]:
        for i, part in enumerate(self.datasets):
            if not isinstance(part, IterableDataset):
                kind = type(part).__name__
                raise DtypeError(
                    f"ChainDataset: `datasets[{i}]` is a {kind}, expected an IterableDataset"
                )
            yield part

    def __iter__(self) -> Iterator[Any]:
        return itertools.chain.from_iterable(self._streams())

    def __len__(self) -> int:
        return sum(map(len, self._streams()))


def batch_transform(dataset: Any, name: str) -> Any:
    """The data set's ``transform`` or ``finish``, if it leaves them to the loader; else None."""
    return getattr(dataset, name, None) if getattr(dataset, "transforms_batches", False) else None


def fetch(dataset: Any, indices: Sequence[int]) -> Any:
    """Return the samples of ``indices``: a list, or a tuple of arrays that already is a batch."""
    if _reads_many(type(dataset)):
        return dataset.__getitems__(indices)
    return samples(dataset, indices)


def samples(dataset: Any, indices: Sequence[Any]) -> list[Any]:
    """The samples of ``indices`` one by one, each with its own random numbers."""
    return [sample(dataset, i) for i in indices]


def sample(dataset: Any, index: Any) -> Any:
    """One sample, with random numbers of its own if ``index`` is a number."""
    if not isinstance(index, int):
        with contextlib.suppress(TypeError):  # a key, or a list of numbers
            index = operator.index(index)
    begin_sample(index if isinstance(index, int) else None)
    return dataset[index]


def _reads_many(kind: type) -> bool:
    """Whether there is a ``__getitems__``, and no ``__getitem__`` nearer to the class."""
    for cls in kind.__mro__:
        if "__getitems__" in vars(cls):
            return True
        if "__getitem__" in vars(cls):
            return False
    return False


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Samples along the first dimension of tensors (or arrays) of equal length.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> pairs = TensorDataset(tg.tensor([1.0, 2.0, 3.0]), tg.tensor([1, 4, 9]))
    >>> len(pairs), pairs[1][1].item()
    (3, 4)
    """

    def __init__(self, *tensors: Tensor | Array) -> None:
        if not tensors:
            raise ArgumentError("TensorDataset: at least one tensor is needed")
        self.tensors = tuple(as_tensor(t) for t in tensors)
        shapes = [tuple(t.shape) for t in self.tensors]
        if any(not shape or shape[0] != shapes[0][0] for shape in shapes):
            listed = ", ".join(map(str, shapes))
            raise ArgumentError(
                f"TensorDataset: first dimensions must be equal, got shapes {listed}"
            )

    def __len__(self) -> int:
        return int(self.tensors[0].shape[0])

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def __getitems__(self, indices: Sequence[int]) -> tuple[Array, ...]:
        """Return arrays of the given rows."""
        rows = np.asarray(indices, np.int64)
        return tuple(t._array[rows] for t in self.tensors)


class Subset(Dataset[T_co]):
    """The samples of ``dataset`` at ``indices``.

    Its batch ``transform``, if the data set has one for the loader, is that one's until it is given
    another.

    Examples
    --------
    >>> Subset([10, 11, 12, 13], [3, 1])[0]
    13
    """

    transforms_batches = True

    def __init__(self, dataset: Dataset[T_co] | Sequence[T_co], indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices
        self.transform = batch_transform(dataset, "transform")
        self.finish = batch_transform(dataset, "finish")

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int | slice | list[int]) -> Any:
        """One sample; for a slice or a list of numbers what ``dataset`` has for a list."""
        if isinstance(index, slice):
            index = list(range(*index.indices(len(self.indices))))
        if isinstance(index, list):
            return self.dataset[[int(self.indices[i]) for i in index]]  # type: ignore[index, call-overload, unused-ignore]  # which may take lists
        return self.dataset[int(self.indices[index])]

    def __getitems__(self, indices: Sequence[int]) -> Any:
        """Return many samples as ``dataset`` does."""
        return fetch(self.dataset, [int(self.indices[i]) for i in indices])


class ConcatDataset(Dataset[Any]):
    """Data sets one after the other; a batch ``transform`` is theirs where all have the same.

    Examples
    --------
    >>> ConcatDataset([[1, 2], [3]])[2]
    3
    """

    transforms_batches = True

    def __init__(self, datasets: Sequence[Dataset[Any] | Sequence[Any]]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ArgumentError("ConcatDataset: `datasets` is empty")
        for i, part in enumerate(self.datasets):
            if isinstance(part, IterableDataset):
                raise DtypeError(
                    f"ConcatDataset: `datasets[{i}]` is a stream, expected numbered samples; "
                    "ChainDataset joins streams"
                )
        self.cumulative_sizes = list(itertools.accumulate(len(d) for d in self.datasets))
        for name in ("transform", "finish"):
            values = [batch_transform(d, name) for d in self.datasets]
            if all(v is values[0] for v in values):
                setattr(self, name, values[0])

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise PositionError(
                f"ConcatDataset: index {index} is out of range ({len(self)} samples)"
            )
        part = bisect.bisect_right(self.cumulative_sizes, position)
        return self.datasets[part][position - (self.cumulative_sizes[part - 1] if part else 0)]


class StackDataset(Dataset[Any]):
    """Samples with a field from each data set: tuples, or dictionaries of those given by name.

    Raises
    ------
    ValueError
        lengths differ, nothing is given, or some with a name and some without.

    Examples
    --------
    >>> StackDataset([1, 2], "ab")[1], StackDataset(number=[1, 2], letter="ab")[0]
    ((2, 'b'), {'number': 1, 'letter': 'a'})
    """

    datasets: tuple[Any, ...] | dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if bool(args) == bool(kwargs):
            given = f"got {len(args)} without and {len(kwargs)} with"
            raise ArgumentError(f"StackDataset: data sets all with a name or all without, {given}")
        self.datasets = args or kwargs
        lengths = [len(d) for d in (args or kwargs.values())]
        if len(set(lengths)) > 1:
            raise ArgumentError(f"StackDataset: lengths must be equal, got {lengths}")
        self._length = lengths[0]

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.datasets, Mapping):
            return {name: d[index] for name, d in self.datasets.items()}
        return tuple(d[index] for d in self.datasets)


@checked
def random_split(
    dataset: Dataset[T_co] | Sequence[T_co],
    lengths: Sequence[int | float],
    generator: Generator | None = None,
) -> list[Subset[T_co]]:
    """Divide a data set at random into parts of given lengths, or fractions that sum to 1.

    With fractions, each part gets the floor of its share and the remaining samples go one each to
    the first parts, as in PyTorch.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> parts = random_split(range(10), [0.75, 0.25], generator=tg.Generator(0))
    >>> [len(part) for part in parts]
    [8, 2]
    """
    total = len(dataset)
    if not lengths or any(length < 0 for length in lengths):
        raise ArgumentError(f"random_split: `lengths` must be numbers >= 0, got {list(lengths)}")
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1 + 1e-9 and max(lengths) <= 1:
        sizes = [math.floor(total * share) for share in lengths]
        for i in range(total - sum(sizes)):
            sizes[i % len(sizes)] += 1
        for i, size in enumerate(sizes):
            if size == 0:
                warnings.warn(f"random_split: part {i} is empty", stacklevel=2)
    else:
        sizes = [int(length) for length in lengths]
        if sizes != list(lengths) or sum(sizes) != total:
            raise ArgumentError(
                f"random_split: `lengths` {list(lengths)} must sum to the {total} samples of the "
                "data set, or be fractions that sum to 1"
            )
    order = numpy_generator(generator).permutation(total).tolist()
    ends = list(itertools.accumulate(sizes))
    return [Subset(dataset, order[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
